use std::path::Path;

use medcards::ErrorKind;
use medcards_examples::secret::{ensure_secret, guest_secret, read_secret, secret_path};
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
    assert_is_private(folder.path());
}

fn assert_is_private(data: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        let metadata = std::fs::metadata(secret_path(data)).expect("the secret");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
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

#[test]
fn processes_that_start_at_once_in_one_folder_share_a_secret() {
    // What a process that was stopped half-way may have left.
    for left in [None, Some("0123")] {
        let folder = tempfile::tempdir().unwrap();
        let unfinished = secret_path(folder.path()).with_extension("new");
        if let Some(left) = left {
            std::fs::write(&unfinished, left).unwrap();
        }
        let secrets: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| ensure_secret(folder.path()).unwrap()))
                .collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap())
                .collect()
        });
        let first = secrets[0].expose_secret();
        assert_eq!(first.len(), 64);
        assert!(secrets.iter().all(|secret| secret.expose_secret() == first));
        assert!(!unfinished.exists());
        assert_is_private(folder.path());
    }
}

/// Another vector would make the tokens of all guests worthless.
#[test]
fn the_secret_of_guests_is_the_same_wherever_the_other_is() {
    let of = |secret: &str| guest_secret(&secret.into()).expose_secret().to_owned();
    assert_eq!(
        of("a secret of at least thirty-two bytes"),
        "5a9e699aa8a475110e384ab388a09d0016b1783206d5298c16678b8610a0c553"
    );
    assert_ne!(of("one"), of("other"));
}
