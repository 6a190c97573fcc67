//! One error for every ability: what kind, in which operation, and whether to try again.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What went wrong, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A bounded queue or pool is full: slow down and try again.
    Busy,
    /// The write contradicts what is stored.
    Conflict,
    /// Stored or received data is damaged or not in the expected form.
    Corrupt,
    /// The other side knows us and says no: wrong key, no right, no credit.
    Denied,
    /// The disk or quota is full.
    Full,
    /// The input is wrong, and will stay wrong.
    Invalid,
    /// The thing named does not exist, or is not the caller's to see.
    NotFound,
    /// The other side asks us to slow down.
    RateLimited,
    /// The storage cannot be written.
    ReadOnly,
    /// The time allowed ran out; whether the work was done is unknown.
    Timeout,
    /// The other side cannot be reached or is failing.
    Unavailable,
    /// A defect or a condition nobody foresaw.
    Unexpected,
}

impl ErrorKind {
    /// The stable name, as it appears in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
            Self::Denied => "denied",
            Self::Full => "full",
            Self::Invalid => "invalid",
            Self::NotFound => "not found",
            Self::RateLimited => "rate limited",
            Self::ReadOnly => "read-only",
            Self::Timeout => "timed out",
            Self::Unavailable => "unavailable",
            Self::Unexpected => "unexpected",
        }
    }

    /// Whether the same call may succeed later without anyone changing anything.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Busy | Self::RateLimited | Self::Timeout | Self::Unavailable
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error of every trait in this crate.
///
/// Its message is a lower-case fragment that says what to do next where that is known. It never
/// carries a secret or a student's text.
///
/// ```
/// use medcards_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::NotFound, "find case", "no case has this id");
/// assert_eq!(error.to_string(), "find case: no case has this id");
/// assert!(!error.is_retryable());
/// ```
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    operation: &'static str,
    context: Cow<'static, str>,
    retry_after: Option<Duration>,
    source: Option<Source>,
}

impl Error {
    /// Describes a failure of `operation`; `context` says what happened and what to do.
    pub fn new(
        kind: ErrorKind,
        operation: &'static str,
        context: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            kind,
            operation,
            context: context.into(),
            retry_after: None,
            source: None,
        }
    }

    /// Keeps the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says how long the other side asked us to wait.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The operation that failed, as a verb phrase.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// What happened, without the operation.
    #[must_use]
    pub fn context(&self) -> &str {
        &self.context
    }

    /// How long the other side asked us to wait, if it did.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the same call may succeed later. The only thing a retry layer reads.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind.is_transient()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.context)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
