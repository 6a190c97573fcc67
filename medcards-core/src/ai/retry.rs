use std::time::Duration;

/// What a retry costs, in the units of [`RetryBudget`].
const RETRY_COSTS: u32 = 10;

/// What a success gives back: a tenth of a retry.
const SUCCESS_GIVES: u32 = 1;

/// The retry budget that all calls of one provider share, as plain data.
///
/// A provider that fails often must not be asked more often for it. Each retry takes one token, each
/// success gives a tenth of one back, so that in the long run at most every eleventh call is a
/// retry; a full bucket allows a burst. It is the token bucket of
/// [gRPC](https://github.com/grpc/proposal/blob/master/A6-client-retries.md#throttling-retry-attempts-and-hedged-rpcs)
/// and [Finagle](https://twitter.github.io/finagle/guide/Clients.html#retries), except that only
/// retries take tokens: a call that is not repeated is no burden.
#[derive(Clone, Copy, Debug)]
pub struct RetryBudget {
    units: u32,
    units_max: u32,
}

impl RetryBudget {
    /// Makes a full bucket of this many tokens.
    #[must_use]
    pub fn new(tokens: u32) -> Self {
        let units_max = tokens.saturating_mul(RETRY_COSTS);
        Self {
            units: units_max,
            units_max,
        }
    }

    /// Takes the token of one retry, if there is one.
    #[must_use]
    pub fn take(&mut self) -> bool {
        let left = self.units.checked_sub(RETRY_COSTS);
        self.units = left.unwrap_or(self.units);
        left.is_some()
    }

    /// Gives back what a success gives.
    pub fn succeed(&mut self) {
        self.units = self.units.saturating_add(SUCCESS_GIVES).min(self.units_max);
    }

    /// How many retries it allows now.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        self.units / RETRY_COSTS
    }
}

/// How long to wait before a retry: anything from nothing to `base * 2^retries`, at most `cap`.
///
/// `retries` is how many there were before; `random` is a number from 0 to 1. This is
/// [full jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/): those
/// who failed together do not come back together.
#[must_use]
pub fn full_jitter(base: Duration, cap: Duration, retries: u32, random: f64) -> Duration {
    let longest = base.saturating_mul(2_u32.saturating_pow(retries)).min(cap);
    Duration::try_from_secs_f64(longest.as_secs_f64() * random)
        .map_or(longest, |wait| wait.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_successes_pay_for_a_retry() {
        let mut budget = RetryBudget::new(3);
        assert_eq!((0..10).filter(|_| budget.take()).count(), 3);
        (0..9).for_each(|_| budget.succeed());
        assert!(!budget.take());
        budget.succeed();
        assert!(budget.take());
        assert!(!budget.take());
        (0..1_000).for_each(|_| budget.succeed());
        assert_eq!(budget.tokens(), 3, "it never holds more than at first");
    }

    #[test]
    fn the_wait_is_anything_up_to_a_bound_that_doubles() {
        let wait = |retries, random| {
            let (base, cap) = (Duration::from_millis(250), Duration::from_secs(4));
            full_jitter(base, cap, retries, random).as_millis()
        };
        assert_eq!([0.0, 0.5, 1.0].map(|random| wait(0, random)), [0, 125, 250]);
        assert_eq!(
            [1, 2, 3, 4, 5].map(|retries| wait(retries, 1.0)),
            [500, 1_000, 2_000, 4_000, 4_000]
        );
        assert_eq!(wait(u32::MAX, 1.0), 4_000);
        assert_eq!(
            [f64::MAX, f64::NAN, -1.0].map(|random| wait(0, random)),
            [250; 3]
        );
    }
}
