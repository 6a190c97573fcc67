use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::SAMPLE_START;
use crate::time::Clock;

/// A clock that stands still until it is told to go on.
///
/// Share it as `Arc<ManualClock>`, which is a [`Clock`] too.
#[derive(Debug)]
pub struct ManualClock {
    hands: Mutex<Hands>,
}

#[derive(Clone, Copy, Debug)]
struct Hands {
    now: Timestamp,
    monotonic_us: u64,
}

impl ManualClock {
    /// Makes a clock that says `now`, with a monotonic time of 0.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            hands: Mutex::new(Hands {
                now,
                monotonic_us: 0,
            }),
        }
    }

    /// Lets time pass, on both hands.
    ///
    /// # Panics
    /// If the time of day would leave what a timestamp can say.
    pub fn advance(&self, time: Duration) {
        let mut hands = self.hands();
        hands.now = hands
            .now
            .checked_add(time)
            .expect("a test stays before the year 10000");
        hands.monotonic_us += u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    }

    /// Sets the time of day, forward or back; the monotonic time stays.
    pub fn set(&self, now: Timestamp) {
        self.hands().now = now;
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        // Both hands are copied in and out, so they are whole even after a panic.
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    /// A clock that says [`SAMPLE_START`].
    fn default() -> Self {
        Self::new(SAMPLE_START)
    }
}

impl fmt::Display for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManualClock({})", self.now())
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.hands().now
    }

    fn monotonic_us(&self) -> u64 {
        self.hands().monotonic_us
    }
}
