//! The rate limiter in Redis.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod away;
mod conformance;
mod counters;
mod sharing;
mod upstash;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use medcards_cache::{Redis, RedisRateLimiter, RedisRateLimiterBuilder};
use medcards_core::limit::{LimitDecision, LimitKey, LimitedCall, Quota, RateLimiter};
use medcards_core::time::Clock;

const HOUR: Duration = Duration::from_hours(1);

/// The counters of all quotas.
fn counters(connection: &mut redis::Connection) -> Vec<String> {
    redis::Commands::keys(connection, "*:limit:*").unwrap()
}

fn driven(redis: Redis, clock: &Arc<impl Clock>) -> RedisRateLimiterBuilder {
    RedisRateLimiter::builder(redis).with_clock(Arc::clone(clock) as _)
}

fn quota(limit: u32) -> Quota {
    Quota::new(limit, HOUR).unwrap()
}

fn limited(scope: &str, name: &str, limit: u32, cost: u32) -> LimitedCall {
    LimitedCall {
        key: LimitKey::new(scope, name),
        quota: quota(limit),
        cost,
    }
}

async fn check(limiter: &impl RateLimiter, call: &LimitedCall) -> LimitDecision {
    let decisions = limiter.check_all(std::slice::from_ref(call)).await;
    decisions.unwrap()[0]
}

/// How many of so many calls go on.
async fn allowed(limiter: &impl RateLimiter, call: &LimitedCall, calls: u32) -> u32 {
    let mut allowed = 0;
    for _ in 0..calls {
        allowed += u32::from(check(limiter, call).await.is_allowed);
    }
    allowed
}

/// A limiter, which must have left every decision to Redis when it goes.
struct Remote(RedisRateLimiter);

impl Drop for Remote {
    fn drop(&mut self) {
        if !thread::panicking() {
            assert_eq!(self.0.counts().local, 0, "this process decided itself");
        }
    }
}
