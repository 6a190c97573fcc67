//! Checks of [`RateLimiter`].
//!
//! Each gets the limiter and the clock that drives it. The clock begins at the start of a minute.

use std::sync::Arc;
use std::time::Duration;

use super::DrivenLimiter;
use super::steps::{WORKS, all_at_once, at};
use crate::limit::{
    LimitDecision, LimitKey, LimitedCall, Quota, RateLimiter, WindowCounts, decide,
};
use crate::testing::SAMPLE_START;

const MINUTE: Duration = Duration::from_mins(1);

fn quota(limit: u32) -> Quota {
    Quota::new(limit, MINUTE).expect("a check uses quotas that exist")
}

fn key(name: &str) -> LimitKey {
    LimitKey::new("check", name)
}

async fn call(limiter: &dyn RateLimiter, limit: u32, cost: u32) -> LimitDecision {
    limiter
        .check(&key("a"), &quota(limit), cost)
        .await
        .expect(WORKS)
}

/// As many calls as the quota allows go on, and the next is refused.
pub async fn the_quota_is_allowed_and_no_more((limiter, _): DrivenLimiter) {
    for remaining in (0..5).rev() {
        let decision = call(&*limiter, 5, 1).await;
        assert_eq!((decision.is_allowed, decision.remaining), (true, remaining));
        assert_eq!(decision.retry_after, Duration::ZERO);
    }
    for _ in 0..3 {
        let decision = call(&*limiter, 5, 1).await;
        assert_eq!((decision.is_allowed, decision.remaining), (false, 0));
        assert!(decision.retry_after > Duration::ZERO);
    }
}

/// However many call at once, as many go on as the quota allows.
pub async fn many_at_once_get_no_more_than_the_quota((limiter, _): DrivenLimiter) {
    let calls = (0..64).map(|_| {
        let limiter = Arc::clone(&limiter);
        async move { call(&*limiter, 10, 1).await.is_allowed }
    });
    let allowed = all_at_once(calls)
        .await
        .into_iter()
        .filter(|allowed| *allowed)
        .count();
    assert_eq!(allowed, 10);
}

/// A refused call is not counted.
pub async fn a_refused_call_is_not_counted((limiter, clock): DrivenLimiter) {
    assert!(call(&*limiter, 10, 6).await.is_allowed);
    for _ in 0..50 {
        assert!(!call(&*limiter, 10, 5).await.is_allowed);
    }
    assert!(call(&*limiter, 10, 4).await.is_allowed);
    // Half of the ten count half a window later; had the refused counted, all would be refused.
    clock.advance(MINUTE + MINUTE / 2);
    assert!(call(&*limiter, 10, 5).await.is_allowed);
    assert!(!call(&*limiter, 10, 1).await.is_allowed);
}

/// A call counts its whole cost, and one that costs more than is left is refused whole.
pub async fn a_call_counts_its_whole_cost((limiter, _): DrivenLimiter) {
    for (cost, is_allowed, remaining) in [
        (11, false, 10),
        (7, true, 3),
        (4, false, 3),
        (3, true, 0),
        (1, false, 0),
        (0, true, 0),
    ] {
        let decision = call(&*limiter, 10, cost).await;
        let seen = (decision.is_allowed, decision.remaining);
        assert_eq!(seen, (is_allowed, remaining), "cost {cost}");
    }
    assert!(!call(&*limiter, 10, u32::MAX).await.is_allowed);
}

/// Each key has the quota for itself, also where scope and name read the same when joined.
pub async fn each_key_counts_apart((limiter, _): DrivenLimiter) {
    let keys = [
        key("a"),
        key("b"),
        LimitKey::new("other", "a"),
        key("a:b"),
        key("A"),
        key("é"),
    ];
    for key in &keys {
        let decision = limiter.check(key, &quota(3), 3).await.expect(WORKS);
        assert!(decision.is_allowed, "{key:?}");
    }
    for key in &keys {
        let decision = limiter.check(key, &quota(3), 1).await.expect(WORKS);
        assert!(!decision.is_allowed, "{key:?}");
    }
}

/// A call that one of its quotas refuses counts against none, also where the keys have different
/// names; each decision is that of its own quota.
pub async fn several_quotas_count_together_or_not_at_all((limiter, _): DrivenLimiter) {
    let limited = |scope, name, limit, cost| LimitedCall {
        key: LimitKey::new(scope, name),
        quota: quota(limit),
        cost,
    };
    for (other, cost) in [("a", 1), ("b", 3)] {
        let calls = [
            limited("user", "a", 100, 1),
            limited("route", other, 5 * cost, cost),
        ];
        for n in 0..8 {
            let decisions = limiter.check_all(&calls).await.expect(WORKS);
            let allowed: Vec<_> = decisions.iter().map(|one| one.is_allowed).collect();
            assert_eq!(allowed, [true, n < 5], "call {n} with {other}");
        }
    }
    let left = [limited("user", "a", 100, 0)];
    let left = limiter.check_all(&left).await.expect(WORKS);
    assert_eq!(left[0].remaining, 90);
    assert!(limiter.check_all(&[]).await.expect(WORKS).is_empty());
}

/// Over a long and uneven series of calls the decisions are those of the sliding window.
pub async fn decisions_are_those_of_the_sliding_window((limiter, clock): DrivenLimiter) {
    let quota = quota(20);
    let mut counts = WindowCounts::default();
    let mut elapsed = Duration::ZERO;
    let mut random = 42_u32;
    for step in 0..500 {
        // Numerical Recipes' generator: a fixed series that looks like none.
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let pause = Duration::from_millis(u64::from(random >> 20) * 5);
        let pause = if step % 50 == 49 {
            pause + 2 * MINUTE
        } else {
            pause
        };
        let cost = 1 + (random >> 8) % 4;
        clock.advance(pause);
        elapsed += pause;
        while elapsed >= MINUTE {
            elapsed -= MINUTE;
            counts = WindowCounts {
                current: 0,
                previous: counts.current,
            };
        }
        let expected = decide(&quota, counts, elapsed, cost);
        let decision = limiter.check(&key("a"), &quota, cost).await.expect(WORKS);
        let seen = (decision.is_allowed, decision.remaining);
        assert_eq!(
            seen,
            (expected.is_allowed, expected.remaining),
            "step {step}"
        );
        counts.current += if expected.is_allowed { cost } else { 0 };
    }
}

/// Who waits as long as was said is let through.
pub async fn who_waits_as_long_as_was_said_is_let_through((limiter, clock): DrivenLimiter) {
    clock.advance(Duration::from_secs(17));
    for cost in [1, 4, 10, 2, 7] {
        let decision = call(&*limiter, 10, cost).await;
        if !decision.is_allowed {
            clock.advance(decision.retry_after);
            assert!(call(&*limiter, 10, cost).await.is_allowed, "cost {cost}");
        }
        while call(&*limiter, 10, 1).await.is_allowed {}
    }
}

/// All of the quota is there again when that was said, and not kept back longer than two windows.
pub async fn all_of_the_quota_is_there_again_when_said((limiter, clock): DrivenLimiter) {
    for (pause, cost) in [(0, 10), (13, 3), (59, 1)] {
        clock.advance(Duration::from_secs(pause));
        let decision = call(&*limiter, 10, cost).await;
        assert!(decision.is_allowed);
        assert!(
            decision.reset_after <= 2 * MINUTE,
            "{:?}",
            decision.reset_after
        );
        clock.advance(decision.reset_after);
        assert_eq!(call(&*limiter, 10, 0).await.remaining, 10);
        clock.advance(2 * MINUTE);
    }
}

/// A clock that is set back neither breaks the limiter nor gives the quota twice.
pub async fn a_clock_set_back_gives_nothing_twice((limiter, clock): DrivenLimiter) {
    clock.set(at(600));
    assert!(call(&*limiter, 10, 10).await.is_allowed);
    for back in [at(599), at(480), SAMPLE_START] {
        clock.set(back);
        assert!(!call(&*limiter, 10, 1).await.is_allowed, "at {back}");
    }
    clock.set(at(600 + 120));
    assert!(call(&*limiter, 10, 10).await.is_allowed);
}
