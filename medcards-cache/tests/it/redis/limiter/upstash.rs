//! What `slidingWindow` of `@upstash/ratelimit` decided about the same calls.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use medcards_core::Timestamp;
use medcards_core::limit::{LimitKey, Quota, RateLimiter};
use medcards_core::testing::ManualClock;
use medcards_tests::upstash;

use super::super::places::on_server;
use super::{Remote, driven};

#[tokio::test]
async fn decisions_are_those_of_upstash() {
    let clock = Arc::new(ManualClock::default());
    let limiter = driven(on_server().await, &clock).build();
    let _remote = Remote(limiter.clone());
    let (mut calls, mut refused) = (HashMap::<_, u32>::new(), 0);
    for call in upstash::calls() {
        clock.set(Timestamp::from_millisecond(call.at_ms.try_into().unwrap()).unwrap());
        let key = LimitKey::new("upstash", &call.client);
        let quota = Quota::new(call.limit, Duration::from_millis(call.window_ms)).unwrap();
        let decision = limiter.check(&key, &quota, 1).await.unwrap();
        let seen = (decision.is_allowed, decision.remaining);
        assert_eq!(seen, (call.is_allowed, call.remaining), "{call:?}");
        *calls.entry(call.limit).or_default() += 1;
        refused += u32::from(!call.is_allowed);
    }
    assert!(
        calls[&100] > 1_000 && refused > 500,
        "{calls:?}, {refused} refused"
    );
}
