use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use medcards_core::cache::Cache;
use medcards_core::feedback::FeedbackKey;
use medcards_core::{CaseId, Error, ErrorKind, Result};

/// A cache in the memory of this process, as the near part of a [`TieredCache`](super::TieredCache).
pub trait NearCache: Cache {
    /// Forgets everything that was kept before the call.
    fn clear(&self);
}

/// A cache that processes share, as the far part of a [`TieredCache`](super::TieredCache).
///
/// It has a log of removals that all processes read. The log may lose entries; whoever reads it is
/// told so.
#[async_trait]
pub trait FarCache: Cache {
    /// Whether it is known to be out of reach: then every call would fail at once.
    fn is_away(&self) -> bool;

    /// Tells all processes of a removal, this one included, and who says so. Once this returns, whoever
    /// reads the log finds it, or finds that the log does not follow.
    ///
    /// The position is that of the notice, where it has one of its own.
    ///
    /// # Errors
    /// Those of the backend; others may then have been told.
    async fn announce(&self, removal: &Removal, by: &str) -> Result<Option<LogPosition>>;

    /// Reads what was announced after a position, oldest first. Without a position it says where the
    /// log ends.
    ///
    /// # Errors
    /// Those of the backend.
    async fn announced_after(&self, position: Option<&LogPosition>) -> Result<LogPage>;
}

impl<T: NearCache + ?Sized> NearCache for Arc<T> {
    fn clear(&self) {
        (**self).clear();
    }
}

#[async_trait]
impl<T: FarCache + ?Sized> FarCache for Arc<T> {
    fn is_away(&self) -> bool {
        (**self).is_away()
    }

    async fn announce(&self, removal: &Removal, by: &str) -> Result<Option<LogPosition>> {
        (**self).announce(removal, by).await
    }

    async fn announced_after(&self, position: Option<&LogPosition>) -> Result<LogPage> {
        (**self).announced_after(position).await
    }
}

/// What is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the two removals of a cache")]
pub enum Removal {
    /// Every key of a case.
    Case(CaseId),
    /// One key.
    Key(FeedbackKey),
}

impl Removal {
    /// The case that it is about.
    #[must_use]
    pub fn case_id(&self) -> CaseId {
        match self {
            Self::Case(case_id) => *case_id,
            Self::Key(key) => key.case_id,
        }
    }
}

impl fmt::Display for Removal {
    /// The stable form, as logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Case(case_id) => write!(f, "case/{case_id}"),
            Self::Key(key) => key.fmt(f),
        }
    }
}

impl FromStr for Removal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some(case_id) = text.strip_prefix("case/") else {
            return text.parse().map(Self::Key);
        };
        case_id.parse().map(Self::Case).map_err(|source| {
            Error::new(
                ErrorKind::Invalid,
                "read removal",
                "it names neither a key nor a case",
            )
            .with_source(source)
        })
    }
}

/// A place in the log, in the words of the backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogPosition(String);

impl LogPosition {
    /// A place that the backend calls this.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// What the backend calls it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What was announced.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "made by every far cache")]
pub struct Notice {
    /// Its place.
    pub position: LogPosition,
    /// What is to be forgotten; `None` if we do not understand it and must forget everything.
    pub removal: Option<Removal>,
    /// Who said so.
    pub by: String,
}

/// A part of the log.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "made by every far cache")]
pub struct LogPage {
    /// What was announced, oldest first.
    pub notices: Vec<Notice>,
    /// Whether the position that was asked for is still in the log, so that nothing is missing.
    pub follows: bool,
    /// Where to read on.
    pub end: Option<LogPosition>,
    /// Whether there was more than fits on a page.
    pub has_more: bool,
}
