//! The answer log: what happened, in commit order. Everything derived is a view of it.

use std::fmt;
use std::fmt::{Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::case::{CaseVersion, KeyCorrection};
use crate::id::{CaseId, UserId};
use crate::shard::Bucket;
use crate::store::Hint;
use crate::user::UserSettings;
use crate::{Error, ErrorKind, Result};

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
    /// Cases were calibrated, from the answers so far.
    CasesCalibrated {
        /// What was found.
        calibrations: Vec<CaseCalibration>,
        /// When.
        calibrated_at: Timestamp,
    },
    /// The key of a version of a case was corrected.
    KeyCorrected {
        /// The correction.
        correction: KeyCorrection,
    },
    /// Students could not answer for a while, through no fault of theirs.
    OutageDeclared {
        /// From when.
        began_at: Timestamp,
        /// Until when.
        ended_at: Timestamp,
        /// When somebody said so.
        declared_at: Timestamp,
    },
    /// A user changed their settings.
    SettingsChanged {
        /// The new settings.
        settings: UserSettings,
        /// When.
        changed_at: Timestamp,
    },
    /// Something that this program cannot read: a newer one wrote it, or it is damaged. Never stored.
    #[serde(skip)]
    Unreadable {
        /// The kind that stands in the log.
        kind: String,
        /// Why it cannot be read, without anything that it says.
        reason: String,
    },
}

/// How hard a version of a case is and how well it tells students apart, in the two-parameter logistic
/// model: the chance of a right answer is 1 / (1 + exp(-a (ability - b))).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "part of an event")]
pub struct CaseCalibration {
    /// The case.
    pub case_id: CaseId,
    /// Which version.
    pub version: CaseVersion,
    /// The discrimination a, in millionths.
    pub discrimination_millionths: i64,
    /// The difficulty b, in millionths, where abilities have mean 0 and deviation 1.
    pub difficulty_millionths: i64,
    /// From how many answers.
    pub answers: u64,
}

/// The most calibrations of one event: about 100 kB.
pub const CALIBRATIONS_PER_EVENT_MAX: usize = 500;

impl EventBody {
    /// The stable name of the kind, as stored.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::AnswerRecorded { .. } => "answer_recorded",
            Self::CasesCalibrated { .. } => "cases_calibrated",
            Self::KeyCorrected { .. } => "key_corrected",
            Self::OutageDeclared { .. } => "outage_declared",
            Self::SettingsChanged { .. } => "settings_changed",
            Self::Unreadable { kind, .. } => kind,
        }
    }

    /// Whether it is of no one user: its [`Event::user_id`] is [`UserId::EVERYONE`].
    #[must_use]
    pub const fn is_of_everyone(&self) -> bool {
        match self {
            Self::CasesCalibrated { .. }
            | Self::KeyCorrected { .. }
            | Self::OutageDeclared { .. } => true,
            Self::AnswerRecorded { .. }
            | Self::SettingsChanged { .. }
            | Self::Unreadable { .. } => false,
        }
    }

    /// Checks that it is of everyone, and not too long.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is not.
    pub fn check_everyone(&self) -> Result<()> {
        let invalid = |context| Err(Error::new(ErrorKind::Invalid, "append event", context));
        if let Self::CasesCalibrated { calibrations, .. } = self
            && calibrations.len() > CALIBRATIONS_PER_EVENT_MAX
        {
            return invalid("it has over 500 calibrations: make several events of it");
        }
        if !self.is_of_everyone() {
            return invalid("it is of one user, and is written with what it tells of");
        }
        Ok(())
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

/// The most events that are counted: who is further behind need not know how far.
pub const EVENTS_COUNTED_MAX: u64 = 10_000_000;

/// Reads the log of one shard, and keeps how far each reader has come.
#[async_trait]
pub trait EventLog: Debug + Display + Send + Sync + 'static {
    /// The events after a place, oldest commit first, at most `limit` and at most
    /// [`EVENTS_PER_READ_MAX`].
    ///
    /// Reading on from the last event's place misses nothing and repeats nothing, however many
    /// writers commit meanwhile: an event is shown only when none can appear before it any more. One
    /// that cannot be read is [`EventBody::Unreadable`].
    ///
    /// # Errors
    /// Those of the storage.
    async fn read_events(&self, after: LogPosition, limit: usize) -> Result<Vec<Event>>;

    /// Appends events that are of [everyone](EventBody::is_of_everyone), in one transaction.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an event that is of one user; then none is appended. Those of the
    /// storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves all of them appended or none.
    async fn append_events(&self, bodies: Vec<EventBody>) -> Result<()>;

    /// How many events can be read after a place, counted up to [`EVENTS_COUNTED_MAX`].
    ///
    /// # Errors
    /// Those of the storage.
    async fn count_events(&self, after: LogPosition) -> Result<u64>;

    /// Hints that events were probably appended by this or another process.
    fn appended(&self) -> Hint;

    /// How far the reader with this name has come; [`LogPosition::START`] if it never said.
    ///
    /// # Errors
    /// Those of the storage.
    async fn find_cursor(&self, reader: &ReaderName) -> Result<LogPosition>;

    /// Moves a reader from `from` to `to`, durably.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the reader is not at `from`: another
    /// process moved it. [`ErrorKind::Invalid`] if `to` lies before
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

    async fn append_events(&self, bodies: Vec<EventBody>) -> Result<()> {
        (**self).append_events(bodies).await
    }

    async fn count_events(&self, after: LogPosition) -> Result<u64> {
        (**self).count_events(after).await
    }

    fn appended(&self) -> Hint {
        (**self).appended()
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
