//! From which instant on the index of due jobs is read.
//!
//! What is done stands in the index until vacuum comes, in front of what is due, and a transaction that
//! somebody forgot keeps vacuum away. Then each claim would read past all that was done since. So a
//! process remembers below which instant it found nothing, and begins there. What comes up below it
//! after all, such as a job whose enqueueing was long in committing, is found by the next claim that
//! reads everything: always, while that is cheap, and else about every second.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use medcards_core::Timestamp;
use medcards_core::job::JobKind;
use tokio::time::Instant;

/// A claim of everything that takes less than this is made each time.
const CHEAP: Duration = Duration::from_millis(20);

/// What each job that was claimed may take of that.
const CHEAP_PER_JOB: Duration = Duration::from_micros(50);

/// What is not cheap is done again after so many times what it took.
const REST: u32 = 10;

/// But at least so often: what comes up below the floor waits no longer.
const REST_MAX: Duration = Duration::from_secs(1);

/// How far behind the present a floor stays: how long a commit takes, and clocks differ.
const SLACK: Duration = Duration::from_millis(250);

/// What this process knows of the due jobs of each kind.
#[derive(Debug, Default)]
pub(crate) struct Floors {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_kind: HashMap<JobKind, Floor>,
    /// How often all of it was forgotten.
    forgotten: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Floor {
    below: Below,
    /// The earliest instant that a job was given in this process since the claim under way began.
    lowered_to: Option<Timestamp>,
    /// When everything was last read, and how long that took if it was not cheap.
    read_all: Option<(Instant, Duration)>,
}

/// Where there is nothing due; `None` where that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Below {
    /// Of jobs in any order.
    pub(crate) free: Option<Timestamp>,
    /// Of jobs in the order of their user.
    pub(crate) ordered: Option<Timestamp>,
}

/// A reading of the queue.
#[derive(Debug)]
pub(crate) struct Reading {
    began: Instant,
    /// Of each kind, in the order in which they were asked for.
    pub(crate) below: Vec<Below>,
    is_all: Vec<bool>,
    forgotten: u64,
}

/// What a claim found of a kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    /// The first that was claimed, in any order.
    pub(crate) free: Option<Timestamp>,
    /// The first that is due in the order of its user, whether or not it could be claimed.
    pub(crate) ordered: Option<Timestamp>,
}

impl Floors {
    /// Begins a reading of the due jobs of these kinds.
    pub(crate) fn begin(&self, kinds: &[JobKind]) -> Reading {
        let began = Instant::now();
        let mut known = self.lock();
        let mut below = Vec::with_capacity(kinds.len());
        let mut is_all = Vec::with_capacity(kinds.len());
        for kind in kinds {
            let floor = known.by_kind.entry(kind.clone()).or_default();
            floor.lowered_to = None;
            let reads_all = floor.read_all.is_none_or(|(at, took)| {
                took.is_zero() || began.duration_since(at) >= (took * REST).min(REST_MAX)
            });
            is_all.push(reads_all);
            below.push(match reads_all {
                true => Below::default(),
                false => floor.below,
            });
        }
        Reading {
            began,
            below,
            is_all,
            forgotten: known.forgotten,
        }
    }

    /// Learns what a claim found, which was at `now` and took some jobs.
    ///
    /// `is_full` if there was no room for more: then nothing is known of kinds of which it took none.
    pub(crate) fn learn(
        &self,
        kinds: &[JobKind],
        reading: &Reading,
        found: &HashMap<JobKind, Found>,
        now: Timestamp,
        claimed: usize,
        is_full: bool,
    ) {
        let took = reading.began.elapsed();
        let per_job = CHEAP_PER_JOB * u32::try_from(claimed).unwrap_or(u32::MAX);
        let took = match took < CHEAP + per_job {
            true => Duration::ZERO,
            false => took,
        };
        let present = now.checked_sub(SLACK).unwrap_or(now);
        let mut known = self.lock();
        if known.forgotten != reading.forgotten {
            return;
        }
        for (kind, is_all) in kinds.iter().zip(&reading.is_all) {
            let floor = known.by_kind.entry(kind.clone()).or_default();
            if *is_all {
                floor.read_all = Some((reading.began, took));
            }
            let found = found.get(kind).copied().unwrap_or_default();
            let limit = |at: Timestamp| at.min(present).min(floor.lowered_to.unwrap_or(at));
            if found.free.is_some() || !is_full {
                floor.below.free = Some(limit(found.free.unwrap_or(present)));
            }
            floor.below.ordered = Some(limit(found.ordered.unwrap_or(present)));
        }
    }

    /// Where reading may begin for a question that changes nothing.
    pub(crate) fn below(&self, kinds: &[JobKind]) -> Vec<Below> {
        let known = self.lock();
        let below = |kind| {
            let floor: &Floor = known.by_kind.get(kind)?;
            let (_, took) = floor.read_all?;
            (!took.is_zero()).then_some(floor.below)
        };
        kinds
            .iter()
            .map(|kind| below(kind).unwrap_or_default())
            .collect()
    }

    /// A job of a kind is due at an instant, by what this process has committed.
    pub(crate) fn lower(&self, kind: &JobKind, run_at: Timestamp) {
        let mut known = self.lock();
        let Some(floor) = known.by_kind.get_mut(kind) else {
            return;
        };
        let lowered = floor.lowered_to.unwrap_or(run_at);
        floor.lowered_to = Some(lowered.min(run_at));
        for below in [&mut floor.below.free, &mut floor.below.ordered] {
            *below = below.map(|at| at.min(run_at));
        }
    }

    /// Jobs of some kinds may be due at any instant: the next claim reads everything, and one that is
    /// under way teaches nothing.
    pub(crate) fn forget(&self) {
        let mut known = self.lock();
        known.forgotten += 1;
        known.by_kind.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn kind() -> JobKind {
        JobKind::named("work")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    /// A claim that takes so long and finds this.
    fn claim(floors: &Floors, took: Duration, found: Found, is_full: bool) -> Below {
        let kinds = [kind()];
        let mut reading = floors.begin(&kinds);
        reading.began = reading.began.checked_sub(took).unwrap();
        let found = HashMap::from([(kind(), found)]);
        floors.learn(&kinds, &reading, &found, at(1_000), 0, is_full);
        reading.below[0]
    }

    fn nothing() -> Found {
        Found::default()
    }

    fn first(free: i64) -> Found {
        Found {
            free: Some(at(free)),
            ordered: None,
        }
    }

    #[test]
    fn while_a_claim_of_everything_is_cheap_each_claim_is_one() {
        let floors = Floors::default();
        for _ in 0..5 {
            assert_eq!(
                claim(&floors, Duration::ZERO, first(900), true),
                Below::default()
            );
        }
        assert_eq!(floors.below(&[kind()]), [Below::default()]);
    }

    #[test]
    fn after_one_that_was_not_claims_begin_where_the_last_one_found_something() {
        let floors = Floors::default();
        claim(&floors, SECOND / 20, first(900), true);
        assert_eq!(
            claim(&floors, Duration::ZERO, first(950), true).free,
            Some(at(900))
        );
        assert_eq!(
            claim(&floors, Duration::ZERO, nothing(), true).free,
            Some(at(950))
        );
        let below = claim(&floors, Duration::ZERO, nothing(), false).free;
        assert_eq!(
            below,
            Some(at(950)),
            "one without room says nothing of other kinds"
        );
        let below = claim(&floors, Duration::ZERO, nothing(), false).free;
        assert_eq!(
            below,
            Some(at(1_000) - SLACK),
            "a little behind the present"
        );
    }

    #[test]
    fn what_was_not_cheap_is_done_again_after_a_while() {
        let floors = Floors::default();
        claim(&floors, 2 * SECOND, nothing(), false);
        assert_eq!(
            claim(&floors, Duration::ZERO, nothing(), false),
            Below::default()
        );
    }

    #[test]
    fn what_was_forgotten_is_read_again_whoever_reads_meanwhile() {
        let floors = Floors::default();
        claim(&floors, SECOND / 20, first(900), true);
        let kinds = [kind()];
        let reading = floors.begin(&kinds);
        floors.forget();
        floors.learn(&kinds, &reading, &HashMap::new(), at(1_000), 0, false);
        assert_eq!(
            claim(&floors, Duration::ZERO, nothing(), false),
            Below::default()
        );
    }

    #[test]
    fn what_this_process_enqueues_is_never_below() {
        let floors = Floors::default();
        claim(&floors, SECOND / 20, nothing(), false);
        floors.lower(&kind(), at(5));
        assert_eq!(floors.below(&[kind()])[0].free, Some(at(5)));
        // Also if it comes while a claim is under way that has not seen it.
        let kinds = [kind()];
        let reading = floors.begin(&kinds);
        floors.lower(&kind(), at(3));
        floors.learn(&kinds, &reading, &HashMap::new(), at(1_000), 0, false);
        assert_eq!(floors.below(&kinds)[0].free, Some(at(3)));
    }
}
