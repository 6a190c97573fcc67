//! The file itself: whose it is, who holds it, and how it is made.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use medcards_core::{Error, ErrorKind, Result};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use crate::error;
use crate::migrate::APPLICATION_ID;
use crate::store::connect;

const OPERATION: &str = "open store";

/// How every SQLite file begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Where the header has the application id, as four bytes in network order.
const APPLICATION_ID_AT: usize = 68;

/// A file that this process alone holds, until this is dropped.
#[derive(Debug)]
pub(crate) struct HeldFile {
    path: PathBuf,
    /// Locked by the operating system, which frees it however the process ends.
    _lock: File,
}

impl HeldFile {
    /// Takes hold of the file, and makes it if it is missing.
    ///
    /// A file is looked at before anything is written beside it, and made whole under another
    /// name before it gets its own: a crash leaves no half file.
    pub(crate) async fn take(path: &Path) -> Result<Self> {
        let path = resolve(path)?;
        look_at(&path)?;
        refuse_marked_read_only(&path)?;
        let held = Self {
            _lock: lock(&path)?,
            path,
        };
        // Looked at again: another process may have made it before this one held it.
        if look_at(held.path())? == Found::Nothing {
            make(held.path()).await?;
        }
        Ok(held)
    }

    /// The file, with all links followed.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes its write-ahead log has.
    pub(crate) fn wal_bytes(&self) -> u64 {
        fs::metadata(beside(&self.path, "-wal")).map_or(0, |metadata| metadata.len())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Store,
}

/// Follows all links, so that one file has one lock.
fn resolve(path: &Path) -> Result<PathBuf> {
    if let Ok(path) = fs::canonicalize(path) {
        return Ok(path);
    }
    let name = path.file_name().ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            OPERATION,
            "the path names no file: give it a file name",
        )
    })?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = fs::canonicalize(folder).map_err(|source| {
        let context = format!("the folder {} cannot be used: create it", folder.display());
        Error::new(ErrorKind::Invalid, OPERATION, context).with_source(source)
    })?;
    Ok(folder.join(name))
}

fn look_at(path: &Path) -> Result<Found> {
    let header = match read_header(path) {
        Ok(header) => header,
        Err(source) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(unusable(path, source)),
    };
    if header.is_empty() {
        return refuse_orphaned_log(path).map(|()| Found::Nothing);
    }
    if !header.starts_with(MAGIC) {
        let context = format!(
            "{} is not a SQLite file: choose another name for the store",
            path.display()
        );
        return Err(Error::new(ErrorKind::Corrupt, OPERATION, context));
    }
    if header.get(APPLICATION_ID_AT..APPLICATION_ID_AT + 4) != Some(&APPLICATION_ID.to_be_bytes()) {
        let context = format!(
            "{} belongs to another program: choose another name for the store",
            path.display()
        );
        return Err(Error::new(ErrorKind::Invalid, OPERATION, context));
    }
    Ok(Found::Store)
}

fn read_header(path: &Path) -> io::Result<Vec<u8>> {
    let mut header = Vec::with_capacity(100);
    File::open(path)?.take(100).read_to_end(&mut header)?;
    Ok(header)
}

/// A log without its file holds answers of a file that somebody moved or deleted. SQLite would
/// apply it to whatever file comes to stand there.
fn refuse_orphaned_log(path: &Path) -> Result<()> {
    let log = beside(path, "-wal");
    if fs::metadata(&log).map_or(0, |metadata| metadata.len()) == 0 {
        return Ok(());
    }
    let context = format!(
        "{} is missing, but its log {} is there: put the file back, or move the log away",
        path.display(),
        log.display()
    );
    Err(Error::new(ErrorKind::Corrupt, OPERATION, context))
}

/// Some users, such as root, may write what is marked read-only. The mark is meant all the same.
fn refuse_marked_read_only(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|_| cfg!(unix));
    for marked in [Some(path), folder].into_iter().flatten() {
        if fs::metadata(marked).is_ok_and(|metadata| metadata.permissions().readonly()) {
            return Err(read_only(marked));
        }
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File> {
    let lock_path = beside(path, ".lock");
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(|source| unusable(&lock_path, source))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(held_elsewhere(path, &mut lock)),
        Err(TryLockError::Error(source)) => return Err(unusable(&lock_path, source)),
    }
    // For people who ask who holds the file; nothing depends on it.
    let noted = lock
        .set_len(0)
        .and_then(|()| writeln!(lock, "{}", std::process::id()));
    noted.map_err(|source| unusable(&lock_path, source))?;
    Ok(lock)
}

fn held_elsewhere(path: &Path, lock: &mut File) -> Error {
    let mut holder = String::new();
    // A process id has at most ten digits.
    let read = Read::take(lock, 16).read_to_string(&mut holder);
    let holder = match (read, holder.trim().parse::<u32>()) {
        (Ok(_), Ok(id)) => format!("process {id}"),
        _ => "another process".to_owned(),
    };
    let context = format!(
        "{} is in use by {holder}: one process at a time may open it, so stop the other or use \
         another file",
        path.display()
    );
    Error::new(ErrorKind::Busy, OPERATION, context)
}

fn unusable(path: &Path, source: io::Error) -> Error {
    let kind = match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            return read_only(path).with_source(source);
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        io::ErrorKind::IsADirectory => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    Error::new(
        kind,
        OPERATION,
        format!("{} cannot be used", path.display()),
    )
    .with_source(source)
}

fn read_only(path: &Path) -> Error {
    let context = format!(
        "{} cannot be written: give this program the right to write it and its folder",
        path.display()
    );
    Error::new(ErrorKind::ReadOnly, OPERATION, context)
}

/// Makes a store of the newest format, and gives it its name when it is whole and on the disk.
async fn make(path: &Path) -> Result<()> {
    let unfinished = beside(path, ".new");
    remove_if_there(&unfinished)?;
    remove_if_there(&beside(&unfinished, "-journal"))?;
    let options = SqliteConnectOptions::new()
        .filename(&unfinished)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Delete)
        .synchronous(SqliteSynchronous::Full)
        .pragma("application_id", APPLICATION_ID.to_string());
    let made = match connect(&options).await {
        Ok(connection) => connection
            .close()
            .await
            .map_err(|source| error::storage(OPERATION, source)),
        Err(failure) => Err(failure),
    };
    if made.is_err() {
        // What is left would only take room on a full disk.
        remove_if_there(&unfinished)?;
    }
    made?;
    fs::rename(&unfinished, path).map_err(|source| unusable(path, source))?;
    sync_folder(path).map_err(|source| unusable(path, source))
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(unusable(path, source)),
        _ => Ok(()),
    }
}

/// Makes the new name survive a loss of power. Elsewhere than on Unix folders cannot be opened.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent().filter(|_| cfg!(unix)) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
