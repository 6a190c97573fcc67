use std::time::Duration;

use medcards_core::Error;
use tokio::time::Instant;

/// How long to wait after failures: any time up to a bound that doubles with each.
///
/// The whole of it is left to chance, which spreads those who failed together best
/// ([exponential backoff and jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "where it begins and ends")]
pub struct Backoff {
    /// The bound after the first failure.
    pub base: Duration,
    /// The greatest bound.
    pub cap: Duration,
}

impl Backoff {
    /// The wait after so many failures in a row; `luck` is from 0 to 1.
    #[must_use]
    pub fn wait(&self, failures: u32, luck: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let bound = self.base.saturating_mul(1 << doublings).min(self.cap);
        bound.mul_f64(luck.clamp(0.0, 1.0))
    }
}

/// Of what fails again and again while the storage is away.
const STORAGE_BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(10),
};

/// How often the same trouble is logged.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Failures in a row of something that goes on.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    failures: u32,
    logged_at: Option<Instant>,
}

impl Trouble {
    /// Takes note of a failure, and says how long to wait.
    pub(crate) fn again(&mut self, what: &'static str, error: &Error) -> Duration {
        self.failures = self.failures.saturating_add(1);
        if self.logged_at.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            self.logged_at = Some(Instant::now());
            tracing::warn!(%error, what, "it failed; trying again");
        }
        let wait = STORAGE_BACKOFF.wait(self.failures, fastrand::f64());
        // Never at once: a store that fails at once would be asked all the time.
        wait.max(Duration::from_millis(10))
    }

    pub(crate) fn is_over(&mut self) {
        // Not `logged_at`, so that trouble that comes and goes is not logged each time.
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_its_cap() {
        let backoff = Backoff {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(3600),
        };
        for (failures, bound_s) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (5, 16),
            (12, 2048),
            (13, 3600),
            (u32::MAX, 3600),
        ] {
            let wait = |luck| backoff.wait(failures, luck);
            assert_eq!(wait(1.0), Duration::from_secs(bound_s), "{failures}");
            assert_eq!(wait(0.5), Duration::from_secs(bound_s) / 2, "{failures}");
            assert_eq!(wait(0.0), Duration::ZERO, "{failures}");
        }
    }
}
