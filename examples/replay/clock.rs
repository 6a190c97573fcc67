use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use medcards::Timestamp;
use medcards::time::Clock;

/// Tells the time of the log, and measures durations by the machine.
#[derive(Debug)]
pub(crate) struct LogClock {
    now_ms: AtomicI64,
    started: Instant,
}

impl LogClock {
    pub(crate) fn new(now_ms: i64) -> Self {
        Self {
            now_ms: AtomicI64::new(now_ms),
            started: Instant::now(),
        }
    }

    /// Goes on to an instant of the log. It never goes back, whatever the log says.
    pub(crate) fn go_to(&self, now_ms: i64) {
        self.now_ms.fetch_max(now_ms, Ordering::AcqRel);
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Acquire)
    }
}

impl fmt::Display for LogClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogClock({})", self.now())
    }
}

impl Clock for LogClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms()).unwrap_or_default()
    }

    fn monotonic_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
