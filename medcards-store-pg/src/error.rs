//! Turns the errors of Postgres into those of the contract.

use deadpool::managed::{PoolError, TimeoutType};
use medcards_core::{Error, ErrorKind};

/// [SQLSTATE codes](https://www.postgresql.org/docs/current/errcodes-appendix.html) that mean
/// something to a caller.
mod code {
    pub(super) const ADMIN_SHUTDOWN: &str = "57P01";
    pub(super) const CANNOT_CONNECT_NOW: &str = "57P03";
    pub(super) const CHECK_VIOLATION: &str = "23514";
    pub(super) const CRASH_SHUTDOWN: &str = "57P02";
    pub(super) const DATABASE_DROPPED: &str = "57P04";
    pub(super) const DEADLOCK_DETECTED: &str = "40P01";
    pub(super) const DISK_FULL: &str = "53100";
    pub(super) const IDLE_IN_TRANSACTION: &str = "25P03";
    pub(super) const DATA_CORRUPTED: &str = "XX001";
    pub(super) const INDEX_CORRUPTED: &str = "XX002";
    pub(super) const INSUFFICIENT_PRIVILEGE: &str = "42501";
    pub(super) const INVALID_CATALOG_NAME: &str = "3D000";
    pub(super) const INVALID_SCHEMA_NAME: &str = "3F000";
    pub(super) const LOCK_NOT_AVAILABLE: &str = "55P03";
    pub(super) const OUT_OF_MEMORY: &str = "53200";
    pub(super) const QUERY_CANCELED: &str = "57014";
    pub(super) const READ_ONLY: &str = "25006";
    pub(super) const SERIALIZATION_FAILURE: &str = "40001";
    pub(super) const TOO_MANY_CONNECTIONS: &str = "53300";
    pub(super) const UNTRANSLATABLE_CHARACTER: &str = "22P05";
    pub(super) const BAD_ENCODING: &str = "22021";

    /// Classes: the first two characters.
    pub(super) const CLASS_CONNECTION: &str = "08";
    pub(super) const CLASS_DATA: &str = "22";
    pub(super) const CLASS_INTEGRITY: &str = "23";
    pub(super) const CLASS_AUTHORISATION: &str = "28";
}

/// Why something was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// All connections are lent, and none came back in time.
    Busy,
    /// The store is closed.
    Closed,
    /// No host that takes writes was found.
    NoPrimary,
    /// The host took no connection, so nothing was asked of it.
    NotReached(Option<sqlx::Error>),
    /// This call alone is refused, and has changed nothing.
    Refused(Error),
    /// A connection was open, and no answer came in time.
    Silent,
    /// The server or the driver says no.
    Sql(sqlx::Error),
    /// A stored value cannot be read.
    Unreadable(&'static str),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<PoolError<Self>> for Failure {
    fn from(error: PoolError<Self>) -> Self {
        match error {
            PoolError::Backend(failure) => failure,
            PoolError::Closed => Self::Closed,
            PoolError::Timeout(TimeoutType::Wait) => Self::Busy,
            PoolError::Timeout(_)
            | PoolError::NoRuntimeSpecified
            | PoolError::PostCreateHook(_) => Self::NotReached(None),
        }
    }
}

impl Failure {
    /// Names the operation that failed.
    pub(crate) fn during(self, operation: &'static str) -> Error {
        let (kind, context) = match &self {
            Self::Busy => (
                ErrorKind::Busy,
                "all connections are in use: try again, or allow more of them",
            ),
            Self::Closed => (ErrorKind::Unavailable, "the store is closed: open it again"),
            Self::NoPrimary => (
                ErrorKind::Unavailable,
                "no server here takes writes: promote one, or name its address",
            ),
            Self::NotReached(_) => (
                ErrorKind::Unavailable,
                "the server takes no connection: look at its address and whether it runs",
            ),
            Self::Refused(_) => (ErrorKind::Unexpected, ""),
            Self::Silent => (
                ErrorKind::Timeout,
                "the server did not answer in time; whether it was done is unknown: try again",
            ),
            Self::Sql(error) => describe(error),
            Self::Unreadable(what) => return corrupt(operation, what),
        };
        match self {
            Self::Refused(error) => error,
            Self::NotReached(Some(source)) | Self::Sql(source) => {
                Error::new(kind, operation, context).with_source(source)
            }
            _ => Error::new(kind, operation, context),
        }
    }

    /// The same failure, if it happened before there was a connection.
    pub(crate) fn while_connecting(self) -> Self {
        match self {
            Self::Sql(error) if Self::is_link_error(&error) => Self::NotReached(Some(error)),
            other => other,
        }
    }

    /// Whether the connection, not the statement, is at fault: another connection may do better.
    pub(crate) fn is_of_link(&self) -> bool {
        match self {
            Self::Sql(error) => Self::is_link_error(error),
            Self::NoPrimary | Self::NotReached(_) | Self::Silent => true,
            Self::Busy | Self::Closed | Self::Refused(_) | Self::Unreadable(_) => false,
        }
    }

    fn is_link_error(error: &sqlx::Error) -> bool {
        match sqlstate(error).as_deref() {
            Some(code) => is_link_code(code),
            None => !is_of_value(error) && !is_of_address(error),
        }
    }

    /// Whether the database user may not do this.
    pub(crate) fn is_of_right(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        sqlstate(error).as_deref() == Some(code::INSUFFICIENT_PRIVILEGE)
    }

    /// Whether the connection had been lost before anything was sent on it.
    ///
    /// A silent one is not among them: what waits once need not wait twice.
    pub(crate) fn is_of_dead_link(&self) -> bool {
        self.is_of_link() && !matches!(self, Self::Silent | Self::NotReached(_))
    }

    /// Whether one of several values is at fault, so that the others may do better alone.
    pub(crate) fn is_of_one_value(&self) -> bool {
        let error = match self {
            Self::Refused(_) => return true,
            Self::Sql(error) => error,
            _ => return false,
        };
        match sqlstate(error).as_deref() {
            Some(code) => {
                code.starts_with(code::CLASS_DATA) || code.starts_with(code::CLASS_INTEGRITY)
            }
            None => is_of_value(error),
        }
    }

    /// Whether two transactions stood in each other's way, and this one was chosen to give way.
    pub(crate) fn is_of_clash(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        matches!(
            sqlstate(error).as_deref(),
            Some(code::DEADLOCK_DETECTED | code::SERIALIZATION_FAILURE)
        )
    }

    /// Whether the month of an answer has no partition.
    ///
    /// Postgres gives no constraint name for it, unlike for a check of ours.
    pub(crate) fn is_of_missing_partition(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        sqlstate(error).as_deref() == Some(code::CHECK_VIOLATION)
            && error.as_database_error().is_some_and(|error| {
                error.constraint().is_none() && error.table() == Some("interactions")
            })
    }

    /// Whether a row with this key is there already.
    pub(crate) fn is_of_duplicate(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        error
            .as_database_error()
            .is_some_and(sqlx::error::DatabaseError::is_unique_violation)
    }

    /// Whether a lock was not had in time.
    pub(crate) fn is_of_lock(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        sqlstate(error).as_deref() == Some(code::LOCK_NOT_AVAILABLE)
    }
}

/// A stored value that cannot be read.
pub(crate) fn corrupt(operation: &'static str, what: &'static str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        operation,
        format!("a stored {what} is not in the expected form: keep the database and look into it"),
    )
}

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

fn is_link_code(code: &str) -> bool {
    code.starts_with(code::CLASS_CONNECTION)
        || matches!(
            code,
            code::ADMIN_SHUTDOWN
                | code::CANNOT_CONNECT_NOW
                | code::CRASH_SHUTDOWN
                | code::DATABASE_DROPPED
                | code::IDLE_IN_TRANSACTION
                | code::READ_ONLY
        )
}

/// Whether no connection can be made as it was asked for.
fn is_of_address(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Configuration(_) | sqlx::Error::Tls(_))
}

/// Whether the driver could not write or read a value.
fn is_of_value(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::Decode(_)
            | sqlx::Error::Encode(_)
            | sqlx::Error::RowNotFound
            | sqlx::Error::TypeNotFound { .. }
    )
}

fn describe(error: &sqlx::Error) -> (ErrorKind, &'static str) {
    let Some(code) = sqlstate(error) else {
        return describe_driver(error);
    };
    match code.as_str() {
        code::DISK_FULL => (
            ErrorKind::Full,
            "the disk of the server is full: nothing of this was stored; make room and try again",
        ),
        code::QUERY_CANCELED => (
            ErrorKind::Timeout,
            "the statement took longer than it may: try again when the server has less to do",
        ),
        code::READ_ONLY => (
            ErrorKind::Unavailable,
            "the server takes no writes any more: another is looked for, try again",
        ),
        code::DEADLOCK_DETECTED | code::LOCK_NOT_AVAILABLE | code::SERIALIZATION_FAILURE => {
            (ErrorKind::Busy, "others change the same: try again")
        }
        code::TOO_MANY_CONNECTIONS => (
            ErrorKind::Busy,
            "the server takes no more connections: allow each process fewer of them",
        ),
        code::OUT_OF_MEMORY => (ErrorKind::Unavailable, "the server has no memory left"),
        code::INVALID_CATALOG_NAME => (
            ErrorKind::Invalid,
            "the server has no such database: create it, or name another",
        ),
        code::INVALID_SCHEMA_NAME => (
            ErrorKind::Invalid,
            "no schema of the search path is there: create it, or set another search_path",
        ),
        code::BAD_ENCODING | code::UNTRANSLATABLE_CHARACTER => (
            ErrorKind::Invalid,
            "a text has a NUL character, which Postgres cannot keep: leave it out",
        ),
        code::INSUFFICIENT_PRIVILEGE => (
            ErrorKind::Denied,
            "the database user lacks a right: grant it what the documentation names",
        ),
        code::DATA_CORRUPTED | code::INDEX_CORRUPTED => (
            ErrorKind::Corrupt,
            "the server reports damaged data: keep it, and restore a backup",
        ),
        other if is_link_code(other) => (
            ErrorKind::Unavailable,
            "the connection to the server broke; whether it was done is unknown: try again",
        ),
        other if other.starts_with(code::CLASS_AUTHORISATION) => (
            ErrorKind::Denied,
            "the server refuses the user: look at user, password and certificate",
        ),
        _ => (ErrorKind::Unexpected, "postgres refused the statement"),
    }
}

fn describe_driver(error: &sqlx::Error) -> (ErrorKind, &'static str) {
    match error {
        sqlx::Error::Configuration(_) => (
            ErrorKind::Invalid,
            "the address of the database cannot be used: it must look like \
             postgres://user:password@host:5432/database",
        ),
        sqlx::Error::Tls(_) => (
            ErrorKind::Denied,
            "no secure connection could be made: look at sslmode and the certificates",
        ),
        error if is_of_value(error) => (
            ErrorKind::Corrupt,
            "a stored row is not in the expected form",
        ),
        _ => (
            ErrorKind::Unavailable,
            "the connection to the server broke; whether it was done is unknown: try again",
        ),
    }
}
