//! Answers: one user's choice on one case version at one time.

mod store;

pub use store::{AnswerStore, NextCase, NextCaseReason, RecordOutcome, RecordedAnswer, UserStats};

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::case::{CaseVersion, OptionOrder, OptionSet};
use crate::id::{AnswerId, CaseId, UserId};
use crate::shard::Bucket;
use crate::{Error, ErrorKind, Result};

/// How far the instant in an answer's id may lie before now: 90 days.
///
/// An offline client may sync late; a client whose clock stands in another year is broken.
pub const ANSWER_AGE_MAX: Duration = Duration::from_hours(90 * 24);

/// How far the instant in an answer's id may lie after now: 5 minutes of a client's clock error.
pub const ANSWER_SKEW_MAX: Duration = Duration::from_mins(5);

/// One user's choice on one case version: the row of `interactions`. It never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the row of interactions: every store writes all of it"
)]
pub struct Answer {
    /// The client's idempotency key, unique per user.
    pub id: AnswerId,
    /// Who answered.
    pub user_id: UserId,
    /// What was answered.
    pub case_id: CaseId,
    /// The version that the student saw.
    pub case_version: CaseVersion,
    /// What the student chose, by authored position.
    pub chosen: OptionSet,
    /// The order in which the student saw the options.
    pub shown: OptionOrder,
    /// Whether the choice was right by that version.
    pub is_correct: bool,
    /// How long the student took, in milliseconds, as the client measured it.
    pub time_to_answer_ms: Option<u32>,
    /// How sure the student was, if asked.
    pub confidence: Option<Confidence>,
    /// The instant inside the id, to the millisecond; see [`AnswerStore::record_answer`].
    pub created_at: Timestamp,
}

impl Answer {
    /// The bucket of the user who answered.
    #[must_use]
    pub fn bucket(&self) -> Bucket {
        Bucket::of(&self.user_id)
    }
}

/// Reads the instant inside a client's answer id and checks it against the clock.
///
/// # Errors
/// [`ErrorKind::Invalid`] if the id is not a UUIDv7, or its instant lies more than
/// [`ANSWER_AGE_MAX`] before or [`ANSWER_SKEW_MAX`] after `now`.
pub fn answer_instant(id: AnswerId, now: Timestamp) -> Result<Timestamp> {
    let invalid = |context| Error::new(ErrorKind::Invalid, "read answer id", context);
    let instant = id.instant().ok_or_else(|| {
        invalid("it must be a UUID of version 7 (RFC 9562), made when the student answered")
    })?;
    let (oldest, newest) = (now - ANSWER_AGE_MAX, now + ANSWER_SKEW_MAX);
    if instant < oldest {
        return Err(invalid(
            "its instant is more than 90 days ago: check the client's clock",
        ));
    }
    if instant > newest {
        return Err(invalid(
            "its instant is in the future: check the client's clock",
        ));
    }
    Ok(instant)
}

/// How sure a student was of an answer, in percent: 0 is a guess, 100 is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Confidence(u8);

impl Confidence {
    /// The percentage, 0 to 100.
    #[must_use]
    pub const fn percent(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Confidence {
    type Error = Error;

    fn try_from(percent: u8) -> Result<Self> {
        if percent <= 100 {
            return Ok(Self(percent));
        }
        Err(Error::new(
            ErrorKind::Invalid,
            "read confidence",
            "it is a percentage, 0 to 100",
        ))
    }
}

impl From<Confidence> for u8 {
    fn from(confidence: Confidence) -> Self {
        confidence.0
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}
