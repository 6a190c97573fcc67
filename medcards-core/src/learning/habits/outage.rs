use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::calendar::HOUR_MS;

/// How many outages are kept, those that overlap being one: years of them. The oldest are forgotten, and
/// then mend no streak any more.
pub const OUTAGES_MAX: usize = 200;

/// The longest outage that is taken: 31 days. A longer one is a mistake, or several outages.
pub const OUTAGE_MAX_MS: i64 = 31 * 24 * HOUR_MS;

/// A date is not held against a student if at least one part in so many of it was lost to outages.
pub const OUTAGE_PART: i64 = 4;

/// The last hours of a date, in which many students do what they have put off: three.
pub const LAST_HOURS_MS: i64 = 3 * HOUR_MS;

/// A date is not held against a student either if so much of its last hours was lost to outages: half an
/// hour.
pub const LAST_HOURS_LOST_MIN_MS: i64 = HOUR_MS / 2;

/// When students could not answer through no fault of theirs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outages {
    /// From when until when, in milliseconds and in the order of time, with time between any two.
    spans: Vec<(i64, i64)>,
}

impl Outages {
    /// Adds one; the reason if it is none.
    pub(super) fn declare(&mut self, began_at: Timestamp, ended_at: Timestamp) -> Result<(), &str> {
        let (mut begins, mut ends) = (began_at.as_millisecond(), ended_at.as_millisecond());
        if ends <= begins {
            return Err("an outage ends after it began");
        }
        if ends - begins > OUTAGE_MAX_MS {
            return Err("an outage has at most 31 days: declare several");
        }
        self.spans.retain(|(from, until)| {
            let touches = *from <= ends && *until >= begins;
            if touches {
                (begins, ends) = (begins.min(*from), ends.max(*until));
            }
            !touches
        });
        let index = self.spans.partition_point(|(from, _)| *from < begins);
        self.spans.insert(index, (begins, ends));
        if self.spans.len() > OUTAGES_MAX {
            self.spans.remove(0);
        }
        Ok(())
    }

    /// How much of a part of time was lost, in milliseconds.
    fn lost_ms(&self, (from, until): (i64, i64)) -> i64 {
        let first = self.spans.partition_point(|(_, ended)| *ended <= from);
        let spans = self.spans.iter().skip(first);
        let spans = spans.take_while(|(began, _)| *began < until);
        spans
            .map(|(began, ended)| (*ended).min(until) - (*began).max(from))
            .sum()
    }

    /// Whether a date that a student had at these times is not held against the student.
    pub(super) fn excuse(&self, parts: &[(i64, i64)]) -> bool {
        if self.spans.is_empty() {
            return false;
        }
        let all: i64 = parts.iter().map(|(from, until)| until - from).sum();
        let lost: i64 = parts.iter().map(|part| self.lost_ms(*part)).sum();
        let last = parts.last().map_or(0, |(from, until)| {
            self.lost_ms((*from.max(&(until - LAST_HOURS_MS)), *until))
        });
        (lost > 0 && lost * OUTAGE_PART >= all) || last >= LAST_HOURS_LOST_MIN_MS
    }
}
