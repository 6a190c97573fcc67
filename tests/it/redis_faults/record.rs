//! What became of every request.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

/// When a request began: before something happened to Redis, during that, or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Before,
    During,
    After,
}

/// A request that came to its end, well or not.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) who: usize,
    pub(super) what: &'static str,
    pub(super) phase: Phase,
    pub(super) began: Timestamp,
    pub(super) ended: Timestamp,
    pub(super) took: Duration,
    pub(super) outcome: Outcome,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// As it should.
    Well,
    /// Refused by a limit.
    Limited,
    /// In any other way, in words.
    Badly(String),
}

/// All requests so far.
#[derive(Debug)]
pub(super) struct Records {
    phase: watch::Sender<Phase>,
    all: Mutex<Vec<Record>>,
    count: AtomicU64,
}

impl Records {
    pub(super) fn new() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Before),
            all: Mutex::default(),
            count: 0.into(),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// What begins from now on is of this phase.
    pub(super) fn turn_to(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    pub(super) fn add(&self, record: Record) {
        self.all.lock().unwrap().push(record);
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// How many requests have ended.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// The requests that ended badly, in words.
    pub(super) fn failures(&self) -> Vec<String> {
        let all = self.all.lock().unwrap();
        let failures = all.iter().filter_map(|record| match &record.outcome {
            Outcome::Badly(words) => Some(format!(
                "{:?} {:?} after {:.0?}: {words}",
                record.phase, record.what, record.took
            )),
            Outcome::Well | Outcome::Limited => None,
        });
        failures.collect()
    }

    /// Who was refused by a limit, and how often.
    pub(super) fn limited(&self) -> BTreeMap<usize, u64> {
        let mut limited = BTreeMap::new();
        for record in &*self.all.lock().unwrap() {
            if record.outcome == Outcome::Limited {
                *limited.entry(record.who).or_default() += 1;
            }
        }
        limited
    }

    /// The most calls that somebody was allowed in one of the windows of this length, by which limits
    /// are counted. They begin at its multiples, in the time that the servers of this machine have.
    pub(super) fn most_allowed(&self, who: usize, window: Duration) -> u64 {
        let window_ms = i64::try_from(window.as_millis()).unwrap();
        let mut allowed: BTreeMap<i64, u64> = BTreeMap::new();
        for record in &*self.all.lock().unwrap() {
            let number = |at: Timestamp| at.as_millisecond() / window_ms;
            // When it was counted is not known of one that began in one window and ended in another.
            let is_within = number(record.began) == number(record.ended);
            if record.who == who && record.outcome == Outcome::Well && is_within {
                *allowed.entry(number(record.began)).or_default() += 1;
            }
        }
        allowed.into_values().max().unwrap_or_default()
    }

    /// The figures of each phase, a line each.
    pub(super) fn figures(&self) -> String {
        let all = self.all.lock().unwrap();
        let mut text = String::new();
        for phase in [Phase::Before, Phase::During, Phase::After] {
            let mut of_phase: Vec<_> = all.iter().filter(|record| record.phase == phase).collect();
            of_phase.sort_by_key(|record| record.took);
            let Some(slowest) = of_phase.last() else {
                continue;
            };
            let at = |percent: usize| of_phase[(of_phase.len() - 1) * percent / 100].took;
            let count = |outcome: &Outcome| {
                let same = of_phase.iter().filter(|record| record.outcome == *outcome);
                same.count()
            };
            let (well, limited) = (count(&Outcome::Well), count(&Outcome::Limited));
            writeln!(
                text,
                "  {phase:?}: {} requests, {limited} limited, {} failed; half within {:.1?}, 99% \
                 within {:.1?}, slowest {:.1?} ({})",
                of_phase.len(),
                of_phase.len() - well - limited,
                at(50),
                at(99),
                slowest.took,
                slowest.what,
            )
            .unwrap();
        }
        text
    }
}
