//! The secret that signs tokens, kept in the data folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use medcards::{Error, ErrorKind, Result};
use secrecy::{ExposeSecret, SecretString};

/// As many random bytes as the hash of HS256 has.
const SECRET_BYTES: usize = 32;

/// What the secret of guests is derived with. Another text makes the tokens of all guests worthless.
const GUESTS: &[u8] = b"medcards guest tokens";

/// Only its owner reads and writes it.
#[cfg(unix)]
const PRIVATE: u32 = 0o600;

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
/// Processes that share a folder get the same one, also if they start at once.
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
    write_once(&path, &hex(&secret)).map_err(|source| {
        let context = format!("{} cannot be written", path.display());
        Error::new(ErrorKind::ReadOnly, "make the token secret", context).with_source(source)
    })?;
    read_secret(data)
}

/// Derives a secret for the tokens of guests from the one that signs all others.
///
/// All servers with that secret get the same. It does not lead back to that secret, and what is
/// signed with it is worthless to any other service that believes that secret.
#[must_use]
pub fn guest_secret(secret: &SecretString) -> SecretString {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    hex(hmac::sign(&key, GUESTS).as_ref()).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file that is there whole or not at all, unless another process has.
fn write_once(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = open_private(&unfinished)?;
    // Until the process ends, at the latest: whoever comes second waits and finds the file.
    file.lock()?;
    if path.exists() {
        // Empty, and made after the first had put its own in place.
        return fs::remove_file(&unfinished).or_else(|source| match source.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(source),
        });
    }
    // A process that was stopped half-way may have left something.
    file.set_len(0)?;
    make_private(&file)?;
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
fn open_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE)
        .open(path)
}

#[cfg(not(unix))]
fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// For a file that was there and others may read.
#[cfg(unix)]
fn make_private(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    file.set_permissions(fs::Permissions::from_mode(PRIVATE))
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "as on Unix, where it may fail")]
fn make_private(_file: &File) -> io::Result<()> {
    Ok(())
}
