use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{ISOWeekDate, Weekday};
use jiff::tz::TimeZone;

use crate::{Error, ErrorKind, Result};

/// How long the boards of a week are kept after its end: 14 days.
///
/// A client that was offline may send its answers late, and students like to look at last week. An
/// answer that comes later still counts for all time, but not for its week.
pub const WEEK_KEPT_FOR: Duration = Duration::from_hours(14 * 24);

/// A week of the ISO calendar, from Monday to Sunday in UTC, written `2026-W48`.
///
/// One calendar for everybody, because students of different time zones are on one board.
///
/// ```
/// use medcards_core::leaderboard::Week;
///
/// let week = Week::of("2027-01-01T12:00:00Z".parse().unwrap());
/// assert_eq!(week.to_string(), "2026-W53");
/// assert_eq!("2026-W53".parse::<Week>()?, week);
/// # Ok::<(), medcards_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Week {
    year: i16,
    number: i8,
}

impl Week {
    /// The week that an instant lies in.
    #[must_use]
    pub fn of(instant: Timestamp) -> Self {
        let date = TimeZone::UTC.to_datetime(instant).date().iso_week_date();
        Self {
            year: date.year(),
            number: date.week(),
        }
    }

    /// The instant at which it begins: Monday, 00:00 UTC.
    #[must_use]
    pub fn begins_at(&self) -> Timestamp {
        // Every week that exists has a Monday, but for one at either end of the calendar.
        ISOWeekDate::new(self.year, self.number, Weekday::Monday)
            .and_then(|monday| monday.date().to_zoned(TimeZone::UTC))
            .map_or(Timestamp::MIN, |monday| monday.timestamp())
    }

    /// The instant at which the next one begins.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        later(self.begins_at(), Duration::from_hours(7 * 24))
    }

    /// The instant from which its boards are not kept; see [`WEEK_KEPT_FOR`].
    #[must_use]
    pub fn kept_until(&self) -> Timestamp {
        later(self.ends_at(), WEEK_KEPT_FOR)
    }
}

fn later(instant: Timestamp, by: Duration) -> Timestamp {
    instant.checked_add(by).unwrap_or(Timestamp::MAX)
}

impl fmt::Display for Week {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-W{:02}", self.year, self.number)
    }
}

impl FromStr for Week {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (year, number) = text.split_once("-W")?;
            let year = digits(year, 4)?.parse().ok()?;
            let number = digits(number, 2)?.parse().ok()?;
            let day = ISOWeekDate::new(year, number, Weekday::Monday).ok()?;
            Some(Self {
                year: day.year(),
                number: day.week(),
            })
        };
        parse().ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                "read week",
                "it must be a week of the ISO calendar, such as 2026-W48",
            )
        })
    }
}

fn digits(text: &str, len: usize) -> Option<&str> {
    let is_plain = text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    is_plain.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_begins_on_monday_in_utc() {
        for (instant, week) in [
            ("2026-11-29T23:59:59.999999Z", "2026-W48"),
            ("2026-11-30T00:00:00Z", "2026-W49"),
            ("2026-11-30T00:59:59+01:00", "2026-W48"),
            ("2026-01-01T00:00:00Z", "2026-W01"),
            ("2025-12-29T00:00:00Z", "2026-W01"),
            ("2025-12-28T23:59:59.999999Z", "2025-W52"),
            ("2027-01-03T23:59:59.999999Z", "2026-W53"),
            ("2027-01-04T00:00:00Z", "2027-W01"),
        ] {
            let instant: Timestamp = instant.parse().unwrap();
            let found = Week::of(instant);
            assert_eq!(found.to_string(), week, "{instant}");
            assert!(found.begins_at() <= instant && instant < found.ends_at());
            assert_eq!(found, week.parse().unwrap());
        }
    }

    #[test]
    fn a_week_is_kept_for_fourteen_days() {
        let week: Week = "2026-W48".parse().unwrap();
        assert_eq!(week.begins_at().to_string(), "2026-11-23T00:00:00Z");
        assert_eq!(week.ends_at().to_string(), "2026-11-30T00:00:00Z");
        assert_eq!(week.kept_until().to_string(), "2026-12-14T00:00:00Z");
    }

    #[test]
    fn the_ends_of_the_calendar_are_weeks_too() {
        for instant in [Timestamp::MIN, Timestamp::MAX] {
            let week = Week::of(instant);
            assert!(week.begins_at() <= week.ends_at());
        }
    }

    #[test]
    fn what_is_no_week_is_refused() {
        for text in [
            "",
            "2026",
            "2026-48",
            "2026-W0",
            "2026-W00",
            "2026-W54",
            "2025-W53",
            "2026-W8",
            "2026-W048",
            "26-W48",
            "2026-w48",
            " 2026-W48",
            "2026-W48 ",
            "+026-W48",
            "-026-W48",
            "2026-W+1",
            "2026-W4８",
        ] {
            assert!(text.parse::<Week>().is_err(), "{text:?}");
        }
    }
}
