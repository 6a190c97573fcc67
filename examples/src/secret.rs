//! The secret that signs tokens, kept in the data folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use medcards::{Error, ErrorKind, Result};
use secrecy::SecretString;

/// As many random bytes as the hash of HS256 has.
const SECRET_BYTES: usize = 32;

/// The file of the secret in a data folder.
#[must_use]
pub fn secret_path(data: &Path) -> PathBuf {
    data.join("jwt-secret")
}

/// Reads the secret that a server made.
///
/// # Errors
/// [`ErrorKind::NotFound`] if no server made one yet; [`ErrorKind::Corrupt`] if the file is empty.
pub fn read_secret(data: &Path) -> Result<SecretString> {
    let path = secret_path(data);
    let text = fs::read_to_string(&path).map_err(|source| {
        let context = format!(
            "{} cannot be read: start the server once, which makes it, or set MEDCARDS_JWT_SECRET",
            path.display()
        );
        Error::new(ErrorKind::NotFound, "read the token secret", context).with_source(source)
    })?;
    if text.trim().is_empty() {
        let context = format!(
            "{} is empty: delete it to have a new one made",
            path.display()
        );
        return Err(Error::new(
            ErrorKind::Corrupt,
            "read the token secret",
            context,
        ));
    }
    Ok(text.trim().into())
}

/// Reads the secret, or makes one that only this user of the machine can read.
///
/// Call it while holding the store of this folder, so that no two processes make one.
///
/// # Errors
/// Those of [`read_secret`] for a file that is there; [`ErrorKind::ReadOnly`] if none can be made.
pub fn ensure_secret(data: &Path) -> Result<SecretString> {
    let path = secret_path(data);
    if path.exists() {
        return read_secret(data);
    }
    let mut secret = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut secret).map_err(|source| {
        let context = "the system has no randomness";
        Error::new(ErrorKind::Unavailable, "make the token secret", context).with_source(source)
    })?;
    let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    write_whole(&path, &text).map_err(|source| {
        let context = format!("{} cannot be written", path.display());
        Error::new(ErrorKind::ReadOnly, "make the token secret", context).with_source(source)
    })?;
    Ok(text.into())
}

/// Writes a file that is there whole or not at all.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(source),
        _ => {}
    }
    let mut file = create_private(&unfinished)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync_folder(path)
}

/// Makes the new name survive a loss of power. Elsewhere than on Unix folders cannot be opened.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent().filter(|_| cfg!(unix)) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}
