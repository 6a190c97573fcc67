use std::time::Duration;

use jiff::Timestamp;

use super::{RateLimit, RateLimits};

/// How much one call, or all that are under way, take of a rate limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what providers count")]
pub struct CallLoad {
    /// Requests.
    pub requests: u64,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written, at most.
    pub output_tokens: u64,
}

/// How calls may follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "at once, apart, or not yet")]
pub enum CallPace {
    /// As they come.
    Free,
    /// Each so long after the one before, so that what is left lasts until all of it is back.
    Apart(Duration),
    /// Not for so long: too little is left for one call.
    NotFor(Duration),
}

impl CallPace {
    /// The pace that a provider's rate limits leave for calls like `call`.
    ///
    /// Of what the provider said is left, what is under way is taken off: it may not have counted
    /// that yet. As long as more than `slow_below_percent` of a limit is left it does not matter. A
    /// limit that was to be full again before now does not matter either.
    #[must_use]
    pub fn of(
        limits: &RateLimits,
        under_way: CallLoad,
        call: CallLoad,
        slow_below_percent: u8,
        now: Timestamp,
    ) -> Self {
        let both = |load: CallLoad| load.input_tokens.saturating_add(load.output_tokens);
        let kinds = [
            (limits.requests, under_way.requests, call.requests),
            (limits.tokens, both(under_way), both(call)),
            (
                limits.input_tokens,
                under_way.input_tokens,
                call.input_tokens,
            ),
            (
                limits.output_tokens,
                under_way.output_tokens,
                call.output_tokens,
            ),
        ];
        kinds
            .into_iter()
            .filter_map(|(limit, taken, needed)| {
                let limit = limit?;
                Some(Self::of_one(&limit, taken, needed, slow_below_percent, now))
            })
            .fold(Self::Free, Self::slower)
    }

    fn of_one(
        limit: &RateLimit,
        taken: u64,
        needed: u64,
        slow_below_percent: u8,
        now: Timestamp,
    ) -> Self {
        let Ok(until_reset) = Duration::try_from(limit.resets_at.duration_since(now)) else {
            return Self::Free;
        };
        let left = limit.remaining.saturating_sub(taken);
        let share = u128::from(left) * 100;
        if until_reset.is_zero() || share > u128::from(limit.limit) * u128::from(slow_below_percent)
        {
            return Self::Free;
        }
        // A call that is larger than the whole limit can only be tried when all is there.
        match left / needed.max(1) {
            0 if limit.remaining >= limit.limit && taken == 0 => Self::Free,
            0 => Self::NotFor(until_reset),
            calls => Self::Apart(until_reset / u32::try_from(calls).unwrap_or(u32::MAX)),
        }
    }

    fn slower(self, other: Self) -> Self {
        match (self, other) {
            (Self::NotFor(one), Self::NotFor(another)) => Self::NotFor(one.max(another)),
            (Self::NotFor(time), _) | (_, Self::NotFor(time)) => Self::NotFor(time),
            (Self::Apart(one), Self::Apart(another)) => Self::Apart(one.max(another)),
            (Self::Apart(time), Self::Free) | (Self::Free, Self::Apart(time)) => Self::Apart(time),
            (Self::Free, Self::Free) => Self::Free,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const CALL: CallLoad = CallLoad {
        requests: 1,
        input_tokens: 300,
        output_tokens: 700,
    };

    fn limit(remaining: u64, limit: u64, reset_s: i64) -> Option<RateLimit> {
        Some(RateLimit {
            limit,
            remaining,
            resets_at: Timestamp::from_second(reset_s).unwrap(),
        })
    }

    fn pace(limits: RateLimits, under_way: u64) -> CallPace {
        let under_way = CallLoad {
            requests: under_way,
            input_tokens: under_way * CALL.input_tokens,
            output_tokens: under_way * CALL.output_tokens,
        };
        CallPace::of(&limits, under_way, CALL, 10, NOW)
    }

    #[test]
    fn what_is_left_is_spread_until_it_is_back() {
        let requests = |remaining, reset_s| RateLimits {
            requests: limit(remaining, 100, reset_s),
            ..RateLimits::default()
        };
        let apart = |seconds| CallPace::Apart(Duration::from_secs(seconds));
        assert_eq!(pace(requests(11, 60), 0), CallPace::Free);
        assert_eq!(pace(requests(10, 60), 0), apart(6));
        assert_eq!(pace(requests(13, 60), 3), apart(6), "three are under way");
        assert_eq!(pace(requests(5, 60), 3), apart(30));
        let none = CallPace::NotFor(Duration::from_secs(60));
        assert_eq!(pace(requests(5, 60), 5), none);
        assert_eq!(pace(requests(0, 60), 0), none);
        assert_eq!(pace(requests(0, -1), 0), CallPace::Free, "long back");
        assert_eq!(pace(requests(0, 0), 0), CallPace::Free);
        assert_eq!(pace(RateLimits::default(), 9), CallPace::Free);
    }

    #[test]
    fn the_tightest_limit_decides() {
        let limits = RateLimits {
            requests: limit(10, 100, 60),
            tokens: limit(3_000, 100_000, 60),
            input_tokens: limit(90_000, 100_000, 60),
            output_tokens: limit(2_100, 50_000, 30),
        };
        assert_eq!(pace(limits, 0), CallPace::Apart(Duration::from_secs(20)));
        let limits = RateLimits {
            output_tokens: limit(699, 50_000, 30),
            ..limits
        };
        assert_eq!(pace(limits, 0), CallPace::NotFor(Duration::from_secs(30)));
    }
}
