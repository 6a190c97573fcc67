use medcards::ErrorKind;
use medcards_examples::secret::{ensure_secret, read_secret, secret_path};
use secrecy::ExposeSecret;

#[test]
fn the_secret_is_made_once_and_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        read_secret(folder.path()).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let made = ensure_secret(folder.path()).unwrap();
    assert_eq!(made.expose_secret().len(), 64, "32 bytes, two digits each");
    for again in [ensure_secret(folder.path()), read_secret(folder.path())] {
        assert_eq!(again.unwrap().expose_secret(), made.expose_secret());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        let mode = std::fs::metadata(secret_path(folder.path()))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn an_empty_secret_is_refused_rather_than_used_or_replaced() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(secret_path(folder.path()), "\n").unwrap();
    for refused in [ensure_secret(folder.path()), read_secret(folder.path())] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn two_folders_have_two_secrets() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (
        ensure_secret(one.path()).unwrap(),
        ensure_secret(other.path()).unwrap(),
    );
    assert_ne!(one.expose_secret(), other.expose_secret());
}
