//! What the limiter keeps in Redis.

use std::sync::Arc;
use std::time::Duration;

use medcards_cache::RedisRateLimiter;
use medcards_core::limit::{LimitKey, LimitedCall, Quota, RateLimiter};
use medcards_core::memory::MemoryRateLimiter;
use medcards_core::testing::ManualClock;
use medcards_tests::redis::RedisServer;
use redis::Commands;

use super::super::places::{process_on, raw};
use super::{HOUR, Remote, check, counters, driven, limited};

#[tokio::test]
async fn every_counter_expires_when_nothing_of_it_weighs_any_more() {
    let server = RedisServer::start();
    let limiter = RedisRateLimiter::new(process_on(&server.url()).await);
    let _remote = Remote(limiter.clone());
    for (n, seconds) in [1, 7, 60, 3_600, 86_400].into_iter().enumerate() {
        let quota = Quota::new(3, Duration::from_secs(seconds)).unwrap();
        let call = |scope: &str, name: &str, cost| LimitedCall {
            key: LimitKey::new(scope, name),
            quota,
            cost,
        };
        for name in ["a", "", "}{", &format!("name {n}")] {
            // Allowed, refused by the second, free of cost, and of two names.
            for calls in [
                [call("x", name, 1), call("y", name, 1)],
                [call("x", name, 1), call("y", name, 4)],
                [call("x", name, 0), call("z", name, 0)],
                [call("x", name, 1), call("y", "other", 1)],
                [call("x", name, 1), call("y", "other", 4)],
            ] {
                limiter.check_all(&calls).await.unwrap();
            }
        }
    }

    let mut connection = raw(&server);
    let keys = counters(&mut connection);
    assert!(keys.len() > 20, "{keys:?}");
    for key in keys {
        let window_us: u64 = key.split(':').rev().nth(1).unwrap().parse().unwrap();
        let left_ms: i64 = connection.pttl(&key).unwrap();
        let left_ms_max = i64::try_from(window_us / 1_000).unwrap() * 2 + 1_000;
        // One that expired since it was listed has -2, one that never expires -1.
        assert_ne!(left_ms, -1, "{key} never expires");
        assert!(left_ms <= left_ms_max, "{key} stays for {left_ms} ms");
    }
}

#[tokio::test]
async fn calls_that_count_nothing_leave_no_counter() {
    let server = RedisServer::start();
    let limiter = RedisRateLimiter::new(process_on(&server.url()).await);
    let _remote = Remote(limiter.clone());
    assert!(check(&limiter, &limited("x", "a", 3, 0)).await.is_allowed);
    assert!(!check(&limiter, &limited("x", "a", 3, 4)).await.is_allowed);
    let mut connection = raw(&server);
    assert!(counters(&mut connection).is_empty());
}

#[tokio::test]
async fn the_time_is_that_of_the_server() {
    let server = RedisServer::start();
    let limiter = RedisRateLimiter::new(process_on(&server.url()).await);
    let mut connection = raw(&server);
    let mut window = || -> u64 {
        let (seconds, _): (u64, u64) = redis::cmd("TIME").query(&mut connection).unwrap();
        seconds / HOUR.as_secs()
    };
    let before = window();
    let decision = check(&limiter, &limited("x", "a", 3, 1)).await;
    let after = window();
    assert!((HOUR..=2 * HOUR).contains(&decision.reset_after));
    let key = counters(&mut connection).remove(0);
    let counter: Vec<u8> = connection.get(key).unwrap();
    let counted = u64::from_be_bytes(*counter.first_chunk().unwrap());
    assert!((before..=after).contains(&counted), "{counted}");
}

#[tokio::test]
async fn a_server_that_forgot_the_script_is_sent_it_again() {
    let server = RedisServer::start();
    let clock = Arc::new(ManualClock::default());
    let limiter = driven(process_on(&server.url()).await, &clock).build();
    let _remote = Remote(limiter.clone());
    let mut connection = raw(&server);
    let call = limited("x", "a", 3, 1);
    for remaining in [2, 1, 0] {
        assert_eq!(check(&limiter, &call).await.remaining, remaining);
        let () = redis::cmd("SCRIPT")
            .arg("FLUSH")
            .query(&mut connection)
            .unwrap();
    }
}

/// Many calls on several keys against several quotas, some of equal and some of different names: the
/// decisions are those of the limiter in memory, to the microsecond.
#[tokio::test]
async fn decisions_are_those_of_the_limiter_in_memory() {
    let server = RedisServer::start();
    let clock = Arc::new(ManualClock::default());
    let limiter = driven(process_on(&server.url()).await, &clock).build();
    let _remote = Remote(limiter.clone());
    let memory = MemoryRateLimiter::new(Arc::clone(&clock) as _);
    let mut random = fastrand::Rng::with_seed(7);
    let mut refused = 0;
    for step in 0..3_000 {
        clock.advance(Duration::from_micros(random.u64(0..3_000_000)));
        if step % 100 == 99 {
            clock.advance(Duration::from_secs(random.u64(0..200)));
        }
        let mut scopes = ["client", "route", "address"];
        random.shuffle(&mut scopes);
        let calls: Vec<_> = scopes[..random.usize(1..=3)]
            .iter()
            .map(|scope| LimitedCall {
                key: LimitKey::new(scope, random.choice(["a", "b"]).unwrap()),
                quota: Quota::new(
                    random.u32(5..60),
                    Duration::from_secs(*random.choice([&7, &60]).unwrap()),
                )
                .unwrap(),
                cost: random.u32(0..5),
            })
            .collect();
        let decisions = limiter.check_all(&calls).await.unwrap();
        assert_eq!(
            decisions,
            memory.check_all(&calls).await.unwrap(),
            "step {step}: {calls:?}"
        );
        refused += u32::from(decisions.iter().any(|decision| !decision.is_allowed));
    }
    assert!((300..2_700).contains(&refused), "{refused} refused");
}
