use serde::{Deserialize, Serialize};

/// How many runs of active days are kept: those of about two years of a user who is active every other
/// day, in 2 kB.
pub const ACTIVE_RUNS_MAX: usize = 400;

/// On which dates a user was active.
///
/// Days that follow each other are one run. When there are more than [`ACTIVE_RUNS_MAX`] runs, the oldest
/// one becomes a part of three numbers: how many days there were, the longest run, and the last date.
/// What is as old counts no more, and later outages do not mend what lies before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ActiveDays {
    settled_days: u32,
    settled_longest: u32,
    settled_until: Option<i32>,
    /// First day and number of days of each, in the order of time, with at least a day between two.
    runs: Vec<(i32, u32)>,
}

impl ActiveDays {
    /// Makes a date an active one; whether it was not before.
    pub(super) fn insert(&mut self, day: i32) -> bool {
        if self.settled_until.is_some_and(|until| day <= until) || self.contains(day) {
            return false;
        }
        let next = self.runs.partition_point(|(first, _)| *first <= day);
        let joins_next = self.runs.get(next).is_some_and(|it| it.0 == day + 1);
        let before = next.checked_sub(1).filter(|it| {
            let run = self.runs.get(*it);
            run.is_some_and(|run| end(run) == i64::from(day))
        });
        match (before, joins_next) {
            (Some(before), true) => {
                let (_, days) = self.runs.remove(next);
                self.runs[before].1 += days + 1;
            }
            (Some(before), false) => self.runs[before].1 += 1,
            (None, true) => {
                let run = &mut self.runs[next];
                *run = (day, run.1 + 1);
            }
            (None, false) => self.runs.insert(next, (day, 1)),
        }
        self.settle();
        true
    }

    fn settle(&mut self) {
        if self.runs.len() <= ACTIVE_RUNS_MAX {
            return;
        }
        let oldest = self.runs.remove(0);
        self.settled_days = self.settled_days.saturating_add(oldest.1);
        self.settled_longest = self.settled_longest.max(oldest.1);
        self.settled_until = i32::try_from(end(&oldest) - 1).ok();
    }

    pub(super) fn contains(&self, day: i32) -> bool {
        let next = self.runs.partition_point(|(first, _)| *first <= day);
        let run = next.checked_sub(1).and_then(|it| self.runs.get(it));
        run.is_some_and(|run| i64::from(day) < end(run))
    }

    /// How many days.
    pub(super) fn len(&self) -> u64 {
        let kept: u64 = self.runs.iter().map(|(_, days)| u64::from(*days)).sum();
        u64::from(self.settled_days) + kept
    }

    /// The longest run that is no longer kept.
    pub(super) const fn settled_longest(&self) -> u32 {
        self.settled_longest
    }

    /// The kept runs: first day, and number of days.
    pub(super) fn runs(&self) -> impl Iterator<Item = (i32, u32)> {
        self.runs.iter().copied()
    }
}

/// The day after a run.
fn end((first, days): &(i32, u32)) -> i64 {
    i64::from(*first) + i64::from(*days)
}
