//! What is allowed while Redis is away, slow, full, or has lost its data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use medcards_cache::RedisRateLimiter;
use medcards_core::limit::RateLimiter;
use medcards_core::testing::ManualClock;
use medcards_tests::redis::{RedisCluster, RedisServer, Sentinels};
use redis::Commands;

use super::super::places::{connected, patient, process_on, raw, until};
use super::{Remote, allowed, check, counters, driven, limited};

/// Short, so that a Redis that does not answer is soon given up.
const SHORT_PATIENCE: Duration = Duration::from_millis(100);

async fn of_three(url: &str, clock: &Arc<ManualClock>) -> RedisRateLimiter {
    let config = patient(url).with_patience(SHORT_PATIENCE);
    driven(connected(config).await, clock)
        .with_processes(|| 3)
        .build()
}

/// Calls until Redis decides.
async fn until_remote(limiter: &RedisRateLimiter) {
    let free = limited("other", "free", 1, 0);
    until("Redis decides", async || {
        assert!(check(limiter, &free).await.is_allowed);
        let counts = limiter.counts();
        counts.remote > 0 && !counts.is_local
    })
    .await;
}

#[tokio::test]
async fn each_process_allows_its_share_while_redis_is_away_and_the_rest_when_it_is_back() {
    let server = RedisServer::start();
    let clock = Arc::new(ManualClock::default());
    let limiter = of_three(&server.url(), &clock).await;
    let call = limited("client", "a", 30, 1);
    until_remote(&limiter).await;
    assert_eq!(allowed(&limiter, &call, 12).await, 12);

    server.kill();
    assert_eq!(allowed(&limiter, &call, 50).await, 10);
    let counts = limiter.counts();
    assert!(
        counts.is_local && counts.local == 50 && counts.refused == 40,
        "{counts:?}"
    );
    assert!(counts.last_switch.is_some());

    // It comes back without what it knew: what it allows then is the quota, and no more.
    server.start_again();
    until_remote(&limiter).await;
    assert_eq!(allowed(&limiter, &call, 50).await, 30);
    // The share does not begin anew when it goes away again.
    server.kill();
    assert_eq!(allowed(&limiter, &call, 50).await, 0);
}

/// The bound that the limiter promises: twice the quota in a window in which Redis went away.
#[tokio::test]
async fn all_processes_together_allow_no_more_than_twice_the_quota() {
    let server = RedisServer::start();
    let clock = Arc::new(ManualClock::default());
    let mut limiters = Vec::new();
    for _ in 0..3 {
        let limiter = of_three(&server.url(), &clock).await;
        until_remote(&limiter).await;
        limiters.push(limiter);
    }
    let call = limited("client", "a", 30, 1);
    let mut are_allowed = 0;
    for n in 0..300 {
        if n == 25 {
            server.kill();
        }
        are_allowed += allowed(&limiters[n % 3], &call, 1).await;
    }
    assert_eq!(are_allowed, 25 + 30);
    server.start_again();
    for limiter in &limiters {
        until_remote(limiter).await;
    }
    // This server lost what it knew with its memory, which is the quota once more, and no more.
    for n in 0..300 {
        are_allowed += allowed(&limiters[n % 3], &call, 1).await;
    }
    assert_eq!(are_allowed, 25 + 30 + 30);
}

/// Many call all the time, while Redis stands still, goes on, is killed and comes back empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_no_call_fails_and_the_bound_holds() {
    let server = RedisServer::start();
    let clock = Arc::new(ManualClock::default());
    let mut limiters = Vec::new();
    for _ in 0..3 {
        limiters.push(of_three(&server.url(), &clock).await);
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..24)
        .map(|n| {
            let (limiter, is_over) = (limiters[n % 3].clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let call = limited("client", "a", 300, 1);
                let mut are_allowed = 0;
                while !is_over.load(Ordering::Relaxed) {
                    are_allowed += allowed(&limiter, &call, 1).await;
                    tokio::task::yield_now().await;
                }
                are_allowed
            })
        })
        .collect();

    let all_are = async |local: bool| {
        until("all have noticed", async || {
            let mut counts = limiters.iter().map(RedisRateLimiter::counts);
            counts.all(|counts| counts.is_local == local)
        })
        .await;
    };
    all_are(false).await;
    server.suspend();
    all_are(true).await;
    server.resume();
    all_are(false).await;
    server.kill();
    all_are(true).await;
    server.start_again();
    all_are(false).await;
    is_over.store(true, Ordering::Relaxed);

    let mut are_allowed = 0;
    for caller in callers {
        are_allowed += caller.await.unwrap();
    }
    // The quota of Redis, the shares of the processes, and the quota of Redis that came back empty.
    assert!((300..=900).contains(&are_allowed), "{are_allowed}");
}

#[tokio::test]
async fn the_share_is_by_the_processes_that_redis_saw() {
    let server = RedisServer::start();
    let clock = Arc::new(ManualClock::default());
    let redis = process_on(&server.url()).await;
    let others = [
        process_on(&server.url()).await,
        process_on(&server.url()).await,
    ];
    until("all are seen", async || redis.processes() == 3).await;
    let limiter = driven(redis, &clock).build();
    until_remote(&limiter).await;
    server.kill();
    let call = limited("client", "a", 30, 1);
    assert_eq!(allowed(&limiter, &call, 50).await, 10);
    drop(others);
}

#[tokio::test]
async fn a_redis_that_stands_still_fails_no_call_and_is_used_again_when_it_goes_on() {
    let server = RedisServer::start();
    let clock = Arc::new(ManualClock::default());
    let limiter = of_three(&server.url(), &clock).await;
    let call = limited("client", "a", 30, 1);
    until_remote(&limiter).await;
    assert_eq!(allowed(&limiter, &call, 12).await, 12);
    server.suspend();
    assert_eq!(allowed(&limiter, &call, 15).await, 10);
    server.resume();
    until_remote(&limiter).await;
    // It may have counted calls that were no longer waited for, which makes it stricter.
    assert!(allowed(&limiter, &call, 50).await <= 18);
}

#[tokio::test]
async fn a_redis_that_lost_its_data_gives_the_quota_once_more() {
    let server = RedisServer::start();
    let clock = Arc::new(ManualClock::default());
    let limiter = driven(process_on(&server.url()).await, &clock).build();
    let _remote = Remote(limiter.clone());
    let call = limited("client", "a", 30, 1);
    assert_eq!(allowed(&limiter, &call, 50).await, 30);
    let mut connection = raw(&server);
    let () = connection.flushall().unwrap();
    assert_eq!(allowed(&limiter, &call, 50).await, 30);
}

#[tokio::test]
async fn a_redis_that_is_full_counts_nothing_by_halves() {
    let server = RedisServer::start();
    let clock = Arc::new(ManualClock::default());
    let limiter = driven(process_on(&server.url()).await, &clock).build();
    let calls = [limited("client", "a", 30, 1), limited("route", "a", 30, 1)];
    let mut connection = raw(&server);
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "maxmemory", "1"])
        .query(&mut connection)
        .unwrap();
    for _ in 0..10 {
        let decisions = limiter.check_all(&calls).await.unwrap();
        assert!(decisions.iter().all(|decision| decision.is_allowed));
    }
    let counts = limiter.counts();
    assert_eq!((counts.local, counts.remote), (10, 0));
    let keys = counters(&mut connection);
    assert!(keys.is_empty(), "{keys:?}");
}

#[tokio::test]
async fn a_counter_that_something_else_wrote_over_fails_no_call() {
    let server = RedisServer::start();
    let clock = Arc::new(ManualClock::default());
    let limiter = driven(process_on(&server.url()).await, &clock).build();
    let call = limited("client", "a", 5, 1);
    assert!(check(&limiter, &call).await.is_allowed);
    let mut connection = raw(&server);
    let keys = counters(&mut connection);
    let () = connection.set(&keys[0], "something else").unwrap();
    assert_eq!(allowed(&limiter, &call, 20).await, 5);
    assert_eq!(limiter.counts().local, 20);
}

/// A part of a call that Redis cannot count is counted here; if one part is refused, no other counts.
#[tokio::test]
async fn a_call_that_redis_counts_in_part_is_counted_all_or_not_at_all() {
    let server = RedisServer::start();
    let clock = Arc::new(ManualClock::default());
    let limiter = driven(process_on(&server.url()).await, &clock).build();
    let broken = |limit, cost| limited("address", "broken", limit, cost);
    assert!(check(&limiter, &broken(5, 1)).await.is_allowed);
    let mut connection = raw(&server);
    let keys = counters(&mut connection);
    let () = connection.set(&keys[0], "something else").unwrap();

    let mut are_allowed = Vec::new();
    for _ in 0..8 {
        let calls = [limited("client", "a", 100, 1), broken(5, 1)];
        let decisions = limiter.check_all(&calls).await.unwrap();
        are_allowed.push(decisions.iter().all(|decision| decision.is_allowed));
    }
    assert_eq!(are_allowed, [[true; 5].as_slice(), &[false; 3]].concat());
    assert_eq!(
        check(&limiter, &limited("client", "a", 100, 0))
            .await
            .remaining,
        95
    );

    // The other way round: what Redis refuses does not use up what is counted here.
    clock.advance(3 * super::HOUR);
    for cost in [101, 0] {
        let calls = [limited("client", "a", 100, cost), broken(5, 2)];
        let decisions = limiter.check_all(&calls).await.unwrap();
        assert_eq!(decisions[0].is_allowed, cost == 0);
        assert_eq!((decisions[1].is_allowed, decisions[1].remaining), (true, 3));
    }
}

/// Two names whose counters are on different nodes.
fn names_apart(cluster: &RedisCluster) -> [String; 2] {
    let node = |name: &str| cluster.primary_of(&format!("{{{name}}}")).port();
    let others = (0..).map(|n| format!("other{n}"));
    let mut others = others.filter(|name| node(name) != node("client"));
    ["client".to_owned(), others.next().unwrap()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_node_that_is_lost_fails_no_call_and_takes_only_its_own_counters() {
    let cluster = RedisCluster::start();
    let clock = Arc::new(ManualClock::default());
    let limiter = of_three(&cluster.url(), &clock).await;
    until_remote(&limiter).await;
    let [here, there] = names_apart(&cluster);
    let (here, there) = (limited("x", &here, 30, 1), limited("x", &there, 30, 1));
    assert_eq!(allowed(&limiter, &here, 12).await, 12);
    assert_eq!(allowed(&limiter, &there, 12).await, 12);

    cluster.kill_primary_of(&format!("{{{}}}", there.key.name()));
    // Within the bound, whether the replica takes over half-way or not.
    assert!((10..=28).contains(&allowed(&limiter, &there, 60).await));
    assert!((10..=28).contains(&allowed(&limiter, &here, 60).await));
    cluster.wait_ok();
    until("the other node decides", async || {
        let before = limiter.counts().local;
        check(&limiter, &there).await;
        limiter.counts().local == before
    })
    .await;
    clock.advance(3 * super::HOUR);
    let both = [here, there];
    for n in 0..40 {
        let decisions = limiter.check_all(&both).await.unwrap();
        let are_allowed = decisions.iter().all(|decision| decision.is_allowed);
        assert_eq!(are_allowed, n < 30, "call {n}: {:?}", limiter.counts());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_fails_no_call_and_keeps_what_the_replica_had_heard() {
    let sentinels = Sentinels::start();
    let clock = Arc::new(ManualClock::default());
    let limiter = of_three(&sentinels.url(), &clock).await;
    until_remote(&limiter).await;
    let call = limited("client", "a", 30, 1);
    assert_eq!(allowed(&limiter, &call, 12).await, 12);
    let key = counters(&mut raw(sentinels.primary())).remove(0);
    let mut replica = raw(sentinels.replica());
    until("the replica has heard of it", async || {
        let counter: Vec<u8> = replica.get(&key).unwrap();
        counter.get(8..12) == Some(&12_u32.to_be_bytes())
    })
    .await;

    sentinels.kill_primary();
    let mut are_allowed = 12;
    until("the new primary decides", async || {
        are_allowed += allowed(&limiter, &call, 1).await;
        !limiter.counts().is_local
    })
    .await;
    are_allowed += allowed(&limiter, &call, 100).await;
    assert_eq!(
        are_allowed,
        30 + 10,
        "the quota, and the share of this process"
    );
}
