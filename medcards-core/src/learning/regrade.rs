//! Who is told that the key of a case was corrected.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use uuid::Uuid;

use crate::case::CaseVersion;
use crate::event::LogPosition;
use crate::id::CaseId;
use crate::job::{JobKind, NewJob};
use crate::{Error, ErrorKind, Result};

/// The name of the kind of job that walks the log for those who are to be told.
pub const NOTIFY_REGRADED: &str = "notify-regraded";

/// A walk through the log for the students who answered a version whose key was corrected: the payload
/// of a job of the kind [`NOTIFY_REGRADED`].
///
/// Enqueue its [job](Self::job) [with the correction](crate::case::CaseCorrection::jobs).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegradeWalk {
    /// Names the walk, whichever part of it is under way.
    pub id: Uuid,
    /// The case.
    pub case_id: CaseId,
    /// The versions whose keys were corrected.
    pub versions: Vec<CaseVersion>,
    /// When.
    pub corrected_at: Timestamp,
    /// How far it has come.
    pub position: LogPosition,
    /// Whether it has come past the event of the correction: then no answer of before is missing.
    pub has_seen_correction: bool,
}

impl RegradeWalk {
    /// A walk that has not begun.
    #[must_use]
    pub fn new(case_id: CaseId, versions: Vec<CaseVersion>, corrected_at: Timestamp) -> Self {
        Self {
            // Only unlike others: any id will do.
            id: *crate::id::JobId::new(corrected_at).as_uuid(),
            case_id,
            versions,
            corrected_at,
            position: LogPosition::START,
            has_seen_correction: false,
        }
    }

    /// The job that does it, or goes on with it.
    #[must_use]
    pub fn job(&self, now: Timestamp) -> NewJob {
        NewJob::new(JobKind::named(NOTIFY_REGRADED), self.to_string(), now)
    }
}

impl fmt::Display for RegradeWalk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, case_id, at) = (self.id, self.case_id, self.corrected_at);
        let LogPosition {
            transaction,
            sequence,
        } = self.position;
        let seen = u8::from(self.has_seen_correction);
        write!(f, "{id} {case_id} {at} {transaction} {sequence} {seen}")?;
        self.versions
            .iter()
            .try_for_each(|version| write!(f, " {version}"))
    }
}

impl FromStr for RegradeWalk {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            let context = "it is not the payload of a walk for regraded answers";
            Error::new(ErrorKind::Invalid, "read job", context)
        };
        let mut words = text.split(' ');
        let mut next = || words.next().ok_or_else(invalid);
        let number = |word: &str| word.parse::<u64>().ok().ok_or_else(invalid);
        let id = next()?.parse().ok().ok_or_else(invalid)?;
        let case_id = next()?.parse()?;
        let corrected_at = next()?.parse().ok().ok_or_else(invalid)?;
        let position = LogPosition {
            transaction: number(next()?)?,
            sequence: number(next()?)?,
        };
        let has_seen_correction = number(next()?)? != 0;
        let version = |word: &str| {
            let number = word.parse().ok().ok_or_else(invalid)?;
            CaseVersion::new(number).ok_or_else(invalid)
        };
        Ok(Self {
            id,
            case_id,
            versions: words.map(version).collect::<Result<_>>()?,
            corrected_at,
            position,
            has_seen_correction,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_is_read_as_it_was_written() {
        let at = "2026-11-25T23:00:00.5Z".parse().unwrap();
        let version = |number| CaseVersion::new(number).unwrap();
        for versions in [vec![], vec![version(1)], vec![version(2), version(7)]] {
            let mut walk = RegradeWalk::new(CaseId::new(at), versions, at);
            walk.position = LogPosition {
                transaction: 5,
                sequence: 7,
            };
            walk.has_seen_correction = true;
            assert_eq!(walk.to_string().parse::<RegradeWalk>().unwrap(), walk);
        }
        for wrong in ["", "x", "a b c d e f", "{}"] {
            let error = wrong.parse::<RegradeWalk>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong}");
        }
    }
}
