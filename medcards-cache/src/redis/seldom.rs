//! What may happen all the time, and is written down only now and then.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::lock::lock;

/// How often something of one kind is written down at most.
#[derive(Debug)]
pub(super) struct Seldom {
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When it may be written down again.
    due: Option<Instant>,
    left_out: u64,
}

impl Seldom {
    pub(super) const fn new(every: Duration) -> Self {
        Self {
            every,
            state: Mutex::new(State {
                due: None,
                left_out: 0,
            }),
        }
    }

    /// Whether to write it down this time, and how often it was left out before.
    pub(super) fn turn(&self) -> Option<u64> {
        self.turn_at(Instant::now())
    }

    fn turn_at(&self, now: Instant) -> Option<u64> {
        let mut state = lock(&self.state);
        let told = state.turn(now, self.every);
        if told.is_none() {
            state.left_out += 1;
        }
        told
    }

    /// As [`turn`](Self::turn), of something that was left out already.
    fn late_turn_at(&self, now: Instant) -> Option<u64> {
        let told = lock(&self.state).turn(now, self.every);
        told.map(|left_out| left_out.saturating_sub(1))
    }
}

impl State {
    fn turn(&mut self, now: Instant, every: Duration) -> Option<u64> {
        if self.due.is_some_and(|due| now < due) {
            return None;
        }
        self.due = Some(now + every);
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Something that begins and ends, perhaps all the time. What is written down last is how it stands:
/// an end follows each beginning that was written down, and no other.
#[derive(Debug)]
pub(super) struct Spells {
    beginnings: Seldom,
    is_told: AtomicBool,
}

impl Spells {
    pub(super) const fn new(every: Duration) -> Self {
        Self {
            beginnings: Seldom::new(every),
            is_told: AtomicBool::new(false),
        }
    }

    /// It has begun. Whether to write that down, and how many beginnings were left out before.
    pub(super) fn begins(&self) -> Option<u64> {
        self.told(self.beginnings.turn())
    }

    /// It goes on. Whether to write down now that it has begun, and how many beginnings were left out
    /// before that.
    pub(super) fn goes_on(&self) -> Option<u64> {
        if self.is_told.load(Ordering::Relaxed) {
            return None;
        }
        self.told(self.beginnings.late_turn_at(Instant::now()))
    }

    fn told(&self, left_out: Option<u64>) -> Option<u64> {
        if left_out.is_some() {
            self.is_told.store(true, Ordering::Relaxed);
        }
        left_out
    }

    /// It is over. Whether to write that down.
    pub(super) fn is_over(&self) -> bool {
        // Looked at first, so that what all processors share is seldom written.
        self.is_told.load(Ordering::Relaxed) && self.is_told.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn what_is_left_out_is_counted_and_told_the_next_time() {
        let seldom = Seldom::new(HOUR);
        let now = Instant::now();
        for (at, told) in [
            (now, Some(0)),
            (now, None),
            (now + HOUR / 2, None),
            (now + HOUR, Some(2)),
            (now + HOUR, None),
            (now + HOUR * 3, Some(1)),
        ] {
            assert_eq!(seldom.turn_at(at), told);
        }
    }

    #[test]
    fn an_end_is_told_if_and_only_if_its_beginning_was() {
        let spells = Spells::new(HOUR);
        assert!(!spells.is_over(), "it never began");
        assert_eq!(spells.begins(), Some(0));
        assert_eq!(spells.goes_on(), None, "that is known");
        assert!(spells.is_over());
        assert_eq!(spells.begins(), None, "too soon");
        assert_eq!(spells.goes_on(), None, "too soon");
        assert!(!spells.is_over());
    }

    #[test]
    fn what_was_left_out_and_goes_on_is_told_when_it_may_be() {
        let seldom = Seldom::new(HOUR);
        let now = Instant::now();
        assert_eq!(seldom.turn_at(now), Some(0));
        for _ in 0..3 {
            assert_eq!(seldom.turn_at(now), None);
        }
        assert_eq!(seldom.late_turn_at(now), None, "too soon");
        assert_eq!(seldom.late_turn_at(now + HOUR), Some(2), "itself is told");
        assert_eq!(seldom.turn_at(now + HOUR), None);
    }
}
