use jiff::Timestamp;

use super::calendar::{Calendar, HOUR_MS};
use super::outage::Outages;
use super::{Habits, HabitsRow, OUTAGES};
use crate::id::UserId;
use crate::view::RowKey;

/// With each so many days of a streak a freeze is earned.
pub const DAYS_PER_FREEZE: u32 = 7;

/// How many freezes a student has at most.
pub const FREEZES_MAX: u32 = 2;

/// A date that a student had for less is not held against the student: 20 hours. A change of zone cut it
/// short or skipped it; a day on which the clocks change has 23 or 25 hours, and is a whole one.
pub const WHOLE_DAY_MIN_MS: i64 = 20 * HOUR_MS;

/// How far ahead the date is looked for that puts a streak at risk. Outages are declared of what was.
const DAYS_AHEAD_MAX: i32 = 35;

/// A student's streak of active days, in the student's own time zones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Streak {
    /// How many active days it has. Days that are frozen or not held against the student neither break it
    /// nor count.
    pub days: u32,
    /// How many the longest one had.
    pub longest: u32,
    /// Whether today counts already.
    pub is_active_today: bool,
    /// Until when the student has to answer, so that neither a freeze is used nor the streak lost; `None`
    /// if nothing is at risk.
    pub at_risk_until: Option<Timestamp>,
    /// How many missed days it survives.
    pub freezes_left: u32,
    /// How many missed days it survived so far.
    pub freezes_used: u32,
}

impl Streak {
    /// The rows of the view from which [`read`](Self::read) makes it.
    #[must_use]
    pub const fn keys(user_id: UserId) -> [RowKey; 2] {
        [RowKey::of_user(user_id), OUTAGES]
    }

    /// Makes it of those of its rows that there are.
    #[must_use]
    pub fn read<'a>(rows: impl IntoIterator<Item = &'a HabitsRow>, now: Timestamp) -> Self {
        let (mut habits, mut outages) = (None, None);
        for row in rows {
            match row {
                HabitsRow::User(row) => habits = Some(row),
                HabitsRow::Outages(row) => outages = Some(row),
            }
        }
        let none = Outages::default();
        habits.map_or_else(Self::default, |habits| {
            streak(habits, outages.unwrap_or(&none), now)
        })
    }
}

/// The streak of a student as it is at `now`, with all outages that are known.
///
/// It walks over the days of activity and the days between them, some microseconds for some hundred.
#[must_use]
pub fn streak(habits: &Habits, outages: &Outages, now: Timestamp) -> Streak {
    let calendar = habits.zones.calendar();
    let today = calendar.day_of(now);
    let is_excused = |day: i32| is_excused(&calendar, outages, day);
    let mut walk = Walk::default();
    let mut next = None;
    for (first, days) in habits.days.runs() {
        walk.pass(next.unwrap_or(first)..first, is_excused);
        (0..days).for_each(|_| walk.count());
        next = i32::try_from(i64::from(first) + i64::from(days)).ok();
    }
    let next = next.unwrap_or(today);
    walk.pass(next..today, is_excused);
    let is_at_risk = walk.days > 0 && next <= today;
    let due = (today..today + DAYS_AHEAD_MAX).find(|day| is_at_risk && !is_excused(*day));
    let ends = |day: i32| calendar.parts(day).last().map(|(_, until)| *until);
    Streak {
        days: walk.days,
        longest: walk.longest.max(habits.days.settled_longest()),
        is_active_today: habits.days.contains(today),
        at_risk_until: due
            .and_then(ends)
            .and_then(|until| Timestamp::from_millisecond(until).ok()),
        freezes_left: walk.freezes,
        freezes_used: walk.frozen,
    }
}

/// Whether a date without an answer is not held against the student.
fn is_excused(calendar: &Calendar, outages: &Outages, day: i32) -> bool {
    let parts = calendar.parts(day);
    let had_ms: i64 = parts.iter().map(|(from, until)| until - from).sum();
    had_ms < WHOLE_DAY_MIN_MS || outages.excuse(&parts)
}

/// A streak as far as it has been walked.
#[derive(Default)]
struct Walk {
    days: u32,
    longest: u32,
    freezes: u32,
    frozen: u32,
}

impl Walk {
    fn count(&mut self) {
        self.days += 1;
        self.longest = self.longest.max(self.days);
        if self.days.is_multiple_of(DAYS_PER_FREEZE) {
            self.freezes = FREEZES_MAX.min(self.freezes + 1);
        }
    }

    /// Passes days without an answer, as far as the streak lasts.
    fn pass(&mut self, missed: std::ops::Range<i32>, is_excused: impl Fn(i32) -> bool) {
        for day in missed {
            if self.days == 0 {
                return;
            }
            if is_excused(day) {
                continue;
            }
            if self.freezes > 0 {
                self.freezes -= 1;
                self.frozen += 1;
            } else {
                let longest = self.longest;
                *self = Self {
                    longest,
                    ..Self::default()
                };
            }
        }
    }
}
