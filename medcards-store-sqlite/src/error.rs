//! Turns the errors of SQLite into those of the contract.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use medcards_core::{Error, ErrorKind};

/// [Result codes](https://www.sqlite.org/rescode.html) that mean something to a caller. The lowest
/// byte of an extended code is its primary code.
mod code {
    pub(super) const ERROR: i32 = 1;
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const NOMEM: i32 = 7;
    pub(super) const READONLY: i32 = 8;
    pub(super) const IOERR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const CONSTRAINT: i32 = 19;
    pub(super) const NOTADB: i32 = 26;
    /// The shared-memory file beside the store could not grow, which only a full disk causes.
    pub(super) const IOERR_SHMSIZE: i32 = IOERR | (19 << 8);
}

/// Why a write was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// This write alone is refused, and has changed nothing.
    Refused(Error),
    /// The statement failed; the transaction may not be committed.
    Storage(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Storage(error)
    }
}

/// Describes a failure of the storage in `operation`.
pub(crate) fn storage(operation: &'static str, source: sqlx::Error) -> Error {
    let (kind, context) = describe(&source);
    Error::new(kind, operation, context).with_source(source)
}

/// The same for each of several writes that failed together.
pub(crate) fn storage_shared(operation: &'static str, source: &Arc<sqlx::Error>) -> Error {
    let (kind, context) = describe(source);
    Error::new(kind, operation, context).with_source(Shared(Arc::clone(source)))
}

/// A stored value that cannot be read.
pub(crate) fn corrupt(operation: &'static str, what: &'static str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        operation,
        format!("a stored {what} is not in the expected form: keep the file and look into it"),
    )
}

/// The same within a transaction, which then may not be committed.
pub(crate) fn unreadable(what: &'static str) -> Failure {
    Failure::Storage(sqlx::Error::Decode(
        format!("a stored {what} is damaged").into(),
    ))
}

/// A value without a stored form within a transaction, which then may not be committed.
pub(crate) fn unwritable(error: impl StdError + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Encode(Box::new(error))
}

/// The error of every call after the store was closed.
pub(crate) fn closed(operation: &'static str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        operation,
        "the store is closed: open it again",
    )
}

/// Whether no other write would fare better.
pub(crate) fn is_storage_wide(error: &sqlx::Error) -> bool {
    match primary_code(error) {
        Some(code) => !matches!(code, code::ERROR | code::CONSTRAINT),
        None => !matches!(
            error,
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_)
        ),
    }
}

/// Whether a row with this key is there already.
pub(crate) fn is_duplicate(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// Whether `ROLLBACK` found that SQLite had rolled back by itself.
pub(crate) fn is_nothing_to_roll_back(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(code::ERROR)
}

fn describe(error: &sqlx::Error) -> (ErrorKind, &'static str) {
    if extended_code(error) == Some(code::IOERR_SHMSIZE) {
        return full();
    }
    let Some(primary) = primary_code(error) else {
        return describe_driver(error);
    };
    match primary {
        code::FULL => full(),
        code::READONLY => (
            ErrorKind::ReadOnly,
            "the store cannot be written: make its file and folder writable",
        ),
        code::CORRUPT | code::NOTADB => (
            ErrorKind::Corrupt,
            "the file is damaged: keep it, and restore a backup",
        ),
        code::BUSY | code::LOCKED => (
            ErrorKind::Busy,
            "another program holds the file: close that program, then try again",
        ),
        code::NOMEM => (ErrorKind::Unavailable, "memory ran out"),
        code::IOERR | code::CANTOPEN => (
            ErrorKind::Unavailable,
            "the disk does not answer as it should: look at its log",
        ),
        _ => (ErrorKind::Unexpected, "sqlite refused the statement"),
    }
}

fn full() -> (ErrorKind, &'static str) {
    (
        ErrorKind::Full,
        "the disk or the size allowed to the store is full: nothing of this was stored; make room \
         and try again",
    )
}

fn describe_driver(error: &sqlx::Error) -> (ErrorKind, &'static str) {
    match error {
        sqlx::Error::PoolClosed => (ErrorKind::Unavailable, "the store is closed: open it again"),
        sqlx::Error::PoolTimedOut => (ErrorKind::Busy, "all readers are busy: try again"),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => (
            ErrorKind::Corrupt,
            "a stored row is not in the expected form",
        ),
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => (
            ErrorKind::Unavailable,
            "the connection to the file broke: try again",
        ),
        _ => (ErrorKind::Unexpected, "the sqlite driver failed"),
    }
}

fn extended_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    extended_code(error).map(|code| code & 0xff)
}

/// One cause of several errors.
#[derive(Debug)]
struct Shared(Arc<sqlx::Error>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Shared {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}
