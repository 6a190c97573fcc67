use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use medcards_core::limit::{LimitKey, Quota, RateLimiter};
use medcards_core::memory::MemoryRateLimiter;
use medcards_core::testing::ManualClock;
use medcards_tests::upstash;

#[tokio::test]
async fn each_call_is_decided_as_upstash_decides_it() {
    let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
    let limiter = MemoryRateLimiter::new(Arc::clone(&clock) as _);
    let (mut calls, mut refused) = (0, 0);
    let mut different = Vec::new();
    for call in upstash::calls() {
        clock.set(Timestamp::from_millisecond(i64::try_from(call.at_ms).unwrap()).unwrap());
        let quota = Quota::new(call.limit, Duration::from_millis(call.window_ms)).unwrap();
        let key = LimitKey::new("user", &call.client);
        let decision = limiter.check(&key, &quota, 1).await.unwrap();
        calls += 1;
        refused += u32::from(!call.is_allowed);
        if (decision.is_allowed, decision.remaining) != (call.is_allowed, call.remaining) {
            different.push((call, decision));
        }
    }
    assert!(
        different.is_empty(),
        "{} of {calls} decisions differ, the first here: {:?}",
        different.len(),
        different[0]
    );
    assert!(calls > 20_000 && refused > 5_000, "{calls}, {refused}");
}
