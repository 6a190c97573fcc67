//! The answer log: what happened, in commit order. Everything derived is a view of it.

use std::fmt;
use std::fmt::{Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::answer::Answer;
use crate::id::UserId;
use crate::shard::Bucket;
use crate::user::UserSettings;

/// An entry of the answer log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every store")]
pub struct Event {
    /// Where it stands in its log.
    pub position: LogPosition,
    /// Whom it concerns.
    pub user_id: UserId,
    /// The bucket of that user.
    pub bucket: Bucket,
    /// What happened.
    pub body: EventBody,
}

/// What happened, whole: a view needs nothing else to follow it.
///
/// The serialised form is stored for ever. Fields may be added with a default; anything else is a
/// new kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventBody {
    /// A user answered a case.
    AnswerRecorded {
        /// The answer.
        answer: Answer,
    },
    /// A user changed their settings.
    SettingsChanged {
        /// The new settings.
        settings: UserSettings,
        /// When.
        changed_at: Timestamp,
    },
}

impl EventBody {
    /// The stable name of the kind, as stored.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::AnswerRecorded { .. } => "answer_recorded",
            Self::SettingsChanged { .. } => "settings_changed",
        }
    }
}

/// A place in one log. Later commits have greater places.
///
/// Two numbers, because a database with concurrent writers orders by transaction and then within
/// it. Only the log that gave it can say what it means; between two places there may be none.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[expect(clippy::exhaustive_structs, reason = "made by every store")]
pub struct LogPosition {
    /// The transaction, or 0 where commits have one order anyway.
    pub transaction: u64,
    /// The place within it.
    pub sequence: u64,
}

impl LogPosition {
    /// Before the first event.
    pub const START: Self = Self {
        transaction: 0,
        sequence: 0,
    };
}

impl Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transaction, self.sequence)
    }
}

/// The most events one read may return: about 500 kB.
pub const EVENTS_PER_READ_MAX: usize = 1_000;

/// Reads the log of one shard, and keeps how far each reader has come.
#[async_trait]
pub trait EventLog: Debug + Display + Send + Sync + 'static {
    /// The events after a place, oldest commit first, at most `limit` and at most
    /// [`EVENTS_PER_READ_MAX`].
    ///
    /// Reading on from the last event's place misses nothing and repeats nothing, however many
    /// writers commit meanwhile: an event is shown only when none can appear before it any more.
    ///
    /// # Errors
    /// Those of the storage.
    async fn read_events(&self, after: LogPosition, limit: usize) -> Result<Vec<Event>>;

    /// How far the reader with this name has come; [`LogPosition::START`] if it never said.
    ///
    /// # Errors
    /// Those of the storage.
    async fn find_cursor(&self, reader: &ReaderName) -> Result<LogPosition>;

    /// Moves a reader from `from` to `to`, durably.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if the reader is not at `from`: another
    /// process moved it. [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `to` lies before
    /// `from`.
    ///
    /// # Cancel safety
    /// A dropped future leaves the reader at one of the two places.
    async fn move_cursor(
        &self,
        reader: &ReaderName,
        from: LogPosition,
        to: LogPosition,
    ) -> Result<()>;
}

/// The name of a reader of the log, such as `user-stats`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReaderName(Box<str>);

impl ReaderName {
    /// Takes a name of 1 to 64 lower-case letters, digits and hyphens; else `None`.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let fits = (1..=64).contains(&name.len());
        let plain = name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        (fits && plain).then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for ReaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[async_trait]
impl<T: EventLog + ?Sized> EventLog for Arc<T> {
    async fn read_events(&self, after: LogPosition, limit: usize) -> Result<Vec<Event>> {
        (**self).read_events(after, limit).await
    }

    async fn find_cursor(&self, reader: &ReaderName) -> Result<LogPosition> {
        (**self).find_cursor(reader).await
    }

    async fn move_cursor(
        &self,
        reader: &ReaderName,
        from: LogPosition,
        to: LogPosition,
    ) -> Result<()> {
        (**self).move_cursor(reader, from, to).await
    }
}
