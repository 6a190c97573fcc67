use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use serde::{Deserialize, Serialize};

/// How many changes of a user's time zone are kept: more than a year of monthly travel. The oldest are
/// forgotten, and the days before count in the zone that followed them.
pub const ZONE_CHANGES_MAX: usize = 16;

pub(super) const HOUR_MS: i64 = 60 * 60 * 1_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Which time zones a user was in, and since when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ZoneHistory {
    /// The zone before the first change; UTC if it has no name.
    first: Box<str>,
    /// When it changed, in milliseconds and in this order, and to what.
    changes: Vec<(i64, Box<str>)>,
}

impl ZoneHistory {
    /// Has the user be in this zone from this instant to the next change.
    pub(super) fn change(&mut self, at_ms: i64, zone: &str) {
        let index = self.changes.partition_point(|(from, _)| *from <= at_ms);
        let before = index.checked_sub(1).and_then(|it| self.changes.get(it));
        let before = before.map_or(&*self.first, |(_, zone)| zone);
        let is_same = before == zone || (before.is_empty() && zone == "UTC");
        if is_same {
            return;
        }
        self.changes.insert(index, (at_ms, zone.into()));
        if self.changes.len() > ZONE_CHANGES_MAX {
            self.changes.remove(0);
            if let Some((_, zone)) = self.changes.first() {
                self.first.clone_from(zone);
            }
        }
    }

    /// The date of an instant where the user was then.
    pub(super) fn day_of(&self, at: Timestamp) -> i32 {
        let at_ms = at.as_millisecond();
        let index = self.changes.partition_point(|(from, _)| *from <= at_ms);
        let change = index.checked_sub(1).and_then(|it| self.changes.get(it));
        let name = change.map_or(&*self.first, |(_, zone)| zone);
        day_in(&zone_named(name), at)
    }

    /// The same with all zones at hand.
    pub(super) fn calendar(&self) -> Calendar {
        let first = (i64::MIN, zone_named(&self.first));
        let changes = self.changes.iter();
        let changes = changes.map(|(from, name)| (*from, zone_named(name)));
        Calendar {
            zones: std::iter::once(first).chain(changes).collect(),
        }
    }
}

/// The zone of this name; UTC if there is none in the database of this machine.
fn zone_named(name: &str) -> TimeZone {
    if name.is_empty() {
        return TimeZone::UTC;
    }
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}

/// The date of an instant in a zone, in days from 1 January 1970.
fn day_in(zone: &TimeZone, at: Timestamp) -> i32 {
    let offset_ms = i64::from(zone.to_offset(at).seconds()) * 1_000;
    let days = (at.as_millisecond() + offset_ms).div_euclid(DAY_MS);
    i32::try_from(days).unwrap_or_default()
}

/// The date that is so many days after 1 January 1970.
pub(super) fn date_of(day: i32) -> Option<Date> {
    let begins = Timestamp::from_second(i64::from(day) * 24 * 60 * 60).ok()?;
    Some(Offset::UTC.to_datetime(begins).date())
}

/// The days of a user, who was in one zone after the other.
#[derive(Debug)]
pub(super) struct Calendar {
    /// Each from an instant in milliseconds to that of the next; the first one from the beginning.
    zones: Vec<(i64, TimeZone)>,
}

impl Calendar {
    /// The date of an instant.
    pub(super) fn day_of(&self, at: Timestamp) -> i32 {
        let at_ms = at.as_millisecond();
        let index = self.zones.partition_point(|(from, _)| *from <= at_ms);
        let zone = index.checked_sub(1).and_then(|it| self.zones.get(it));
        zone.map_or_else(|| day_in(&TimeZone::UTC, at), |(_, zone)| day_in(zone, at))
    }

    /// When the user has or had this date: parts of time in milliseconds, in their order.
    ///
    /// A date is one part, unless a change of zone cut it short, repeated some of it, or skipped it.
    pub(super) fn parts(&self, day: i32) -> Vec<(i64, i64)> {
        let until = self.zones.iter().skip(1).map(|(from, _)| *from);
        let until = until.chain([i64::MAX]);
        let part = |((from, zone), until): (&(i64, TimeZone), i64)| {
            let begins = begins_ms(zone, day)?.max(*from);
            let ends = begins_ms(zone, day + 1)?.min(until);
            (begins < ends).then_some((begins, ends))
        };
        self.zones.iter().zip(until).filter_map(part).collect()
    }
}

/// When a date begins in a zone, in milliseconds; the first instant after it if the zone skips it.
fn begins_ms(zone: &TimeZone, day: i32) -> Option<i64> {
    let midnight = date_of(day)?.at(0, 0, 0, 0);
    let begins = zone.to_ambiguous_timestamp(midnight).compatible().ok()?;
    Some(begins.as_millisecond())
}
