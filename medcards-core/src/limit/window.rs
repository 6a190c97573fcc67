use std::time::Duration;

use super::{LimitDecision, Quota};

/// What was allowed in this window and in the one before it. Windows begin at multiples of their
/// length since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every limiter")]
pub struct WindowCounts {
    /// Allowed in the current window.
    pub current: u32,
    /// Allowed in the window before.
    pub previous: u32,
}

/// Decides on a call of `cost`, `elapsed` after the start of the current window.
///
/// The sliding window counter: the window before counts by the share of it that a window ending
/// now still covers, rounded down. It is the formula of `slidingWindow` in
/// [`@upstash/ratelimit`](https://github.com/upstash/ratelimit-js), in the same floating-point
/// steps, so that for a cost of one the decisions are the same; only is the cost part of the test
/// here, so that a dear call cannot overshoot. Pure; the caller adds `cost` to the current window if
/// the call is allowed.
#[must_use]
pub fn decide(quota: &Quota, counts: WindowCounts, elapsed: Duration, cost: u32) -> LimitDecision {
    let limit = u64::from(quota.limit());
    let cost = u64::from(cost);
    let used = u64::from(counts.current) + weight(quota, counts.previous, elapsed);
    let is_allowed = used + cost <= limit;
    let used_after = if is_allowed { used + cost } else { used };
    let remaining = u32::try_from(limit.saturating_sub(used_after)).unwrap_or(u32::MAX);

    let rest = quota.window().saturating_sub(elapsed);
    let reset_after = if counts.current > 0 || (is_allowed && cost > 0) {
        rest + quota.window()
    } else {
        rest
    };
    let retry_after = if is_allowed {
        Duration::ZERO
    } else {
        wait(quota, counts, elapsed, cost)
    };
    LimitDecision {
        is_allowed,
        remaining,
        reset_after,
        retry_after,
    }
}

/// What a count of the window before weighs, `elapsed` after the start of the current one. It never
/// grows with time: each step of it rounds in one direction only.
fn weight(quota: &Quota, count: u32, elapsed: Duration) -> u64 {
    // Both are far below 2^53, up to which a double holds whole numbers.
    let window_us = quota.window().as_micros() as f64;
    let elapsed_us = (elapsed.as_micros() as f64).min(window_us);
    ((1.0 - elapsed_us / window_us) * f64::from(count)).floor() as u64
}

/// How long until a refused call of this cost fits, if nothing else is allowed meanwhile.
fn wait(quota: &Quota, counts: WindowCounts, elapsed: Duration, cost: u64) -> Duration {
    let rest = quota.window().saturating_sub(elapsed);
    let limit = u64::from(quota.limit());
    let taken = u64::from(counts.current) + cost;
    if taken <= limit {
        return until_room(quota, counts.previous, limit - taken).saturating_sub(elapsed);
    }
    rest + until_room(quota, counts.current, limit.saturating_sub(cost))
}

/// How long after the start of the window a count of the one before weighs no more than `room`.
fn until_room(quota: &Quota, count: u32, room: u64) -> Duration {
    if u64::from(count) <= room {
        return Duration::ZERO;
    }
    let (count_wide, window_us) = (u128::from(count), quota.window().as_micros());
    // The smallest elapsed time with `count * (window - elapsed) < (room + 1) * window`, but for
    // rounding, which is far less than a microsecond.
    let exact_us = window_us - ((u128::from(room) + 1) * window_us - 1) / count_wide;
    let exact_us = u64::try_from(exact_us).unwrap_or(u64::MAX);
    let candidates = [exact_us.saturating_sub(1), exact_us].map(Duration::from_micros);
    let fits = candidates
        .into_iter()
        .find(|at| weight(quota, count, *at) <= room);
    fits.unwrap_or(Duration::from_micros(exact_us + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quota() -> Quota {
        Quota::new(100, Duration::from_mins(1)).unwrap()
    }

    #[test]
    fn the_window_before_counts_by_the_share_that_is_left() {
        for (current, previous, elapsed_s, cost, allowed, remaining) in [
            (0, 0, 0, 1, true, 99),
            (99, 0, 30, 1, true, 0),
            (100, 0, 59, 1, false, 0),
            (0, 100, 0, 1, false, 0),
            (0, 100, 30, 1, true, 49),
            (50, 100, 30, 1, false, 0),
            (49, 100, 30, 1, true, 0),
            (90, 0, 0, 11, false, 10),
        ] {
            let counts = WindowCounts { current, previous };
            let decision = decide(&quota(), counts, Duration::from_secs(elapsed_s), cost);
            let seen = (decision.is_allowed, decision.remaining);
            assert_eq!(seen, (allowed, remaining), "{counts:?} after {elapsed_s} s");
        }
    }

    proptest! {
        /// A client that waits as long as it was told is let through, and not a moment earlier.
        #[test]
        fn retry_after_is_exact(
            current in 0_u32..=100,
            previous in 0_u32..=100,
            elapsed_us in 0_u64..60_000_000,
            cost in 1_u32..=100,
        ) {
            let counts = WindowCounts { current, previous };
            let elapsed = Duration::from_micros(elapsed_us);
            let decision = decide(&quota(), counts, elapsed, cost);
            prop_assume!(!decision.is_allowed);
            let at = |wait: Duration| {
                let later = elapsed + wait;
                if later < quota().window() {
                    decide(&quota(), counts, later, cost).is_allowed
                } else {
                    let counts = WindowCounts { current: 0, previous: current };
                    decide(&quota(), counts, later - quota().window(), cost).is_allowed
                }
            };
            prop_assert!(at(decision.retry_after));
            if let Some(earlier) = decision.retry_after.checked_sub(Duration::from_micros(1)) {
                prop_assert!(!at(earlier));
            }
        }
    }
}
