//! The clock: the only way this crate learns the time.

use std::fmt::{Debug, Display, Formatter};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// Tells the time.
///
/// Tests drive a clock by hand; see `medcards_core::testing::ManualClock`.
pub trait Clock: Debug + Display + Send + Sync + 'static {
    /// The time of day. It may jump when the machine's clock is set.
    fn now(&self) -> Timestamp;

    /// Microseconds since some fixed moment. It never goes back; use it for durations.
    fn monotonic_us(&self) -> u64;
}

/// The day (UTC) on which money counts.
pub(crate) fn day_of(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

impl<T: Clock + ?Sized> Clock for Arc<T> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn monotonic_us(&self) -> u64 {
        (**self).monotonic_us()
    }
}

/// The clock of the machine.
///
/// It tells the time of day in whole microseconds, as stores keep instants: what is shown at once says
/// the same when it is read later.
///
/// Its monotonic time comes from the processor's counter where there is a steady one, which takes a
/// fifth of the time of asking the operating system.
#[derive(Clone, Debug)]
pub struct SystemClock {
    clock: quanta::Clock,
    started: quanta::Instant,
}

impl SystemClock {
    /// Starts a clock whose monotonic time begins now.
    #[must_use]
    pub fn new() -> Self {
        let clock = quanta::Clock::new();
        let started = clock.now();
        Self { clock, started }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Display for SystemClock {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("SystemClock")
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the machine's clock"
    )]
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        // Every such instant is one of whole microseconds.
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    fn monotonic_us(&self) -> u64 {
        let elapsed = self.clock.now().saturating_duration_since(self.started);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
    }
}
