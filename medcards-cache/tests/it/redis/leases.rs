//! Leases that processes share.

use std::time::Duration;

use medcards_cache::RedisLeases;
use medcards_core::ErrorKind;
use medcards_core::lease::{FeedbackLeases, LeaseEnd, LeaseHold, LeaseState, LeaseTurn};
use medcards_core::testing::{sample_feedback, sample_key};
use medcards_tests::redis::RedisServer;
use tokio::time::timeout;

use super::places::{until, within};

mod conformance {
    use medcards_cache::{Redis, RedisLeases};
    use medcards_core::conformance::leases::LEASE_TTL;

    use super::super::places::on_every_kind;

    type Made = (RedisLeases, ());

    async fn make(redis: Redis) -> Made {
        (RedisLeases::new(&redis).with_ttl(LEASE_TTL), ())
    }

    on_every_kind!(lease_conformance);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_outlives_a_redis_that_lost_everything() {
    let server = RedisServer::start();
    let redis = within(&server.url(), "leases").await;
    let leases = RedisLeases::new(&redis);
    let key = sample_key(1);
    let LeaseTurn::Held(lease) = leases.take(&key).await.unwrap() else {
        panic!("it is free")
    };
    let words = ["a", "b", "c"].map(std::sync::Arc::from);
    leases.push(&lease, 0, &words[..2]).await.unwrap();
    server.command(&["FLUSHALL"]);
    let hold = leases.push(&lease, 2, &words[2..]).await.unwrap();
    assert_eq!(hold, LeaseHold::Held { shown: 0 });
    let hold = leases.push(&lease, 0, &words).await.unwrap();
    assert_eq!(hold, LeaseHold::Held { shown: 3 });
    assert_eq!(
        leases.take(&key).await.unwrap(),
        LeaseTurn::Followed(lease.fence)
    );
    server.command(&["FLUSHALL"]);
    let LeaseTurn::Held(other) = leases.take(&key).await.unwrap() else {
        panic!("it was lost")
    };
    assert!(
        lease.fence < other.fence,
        "fences grow although all was lost"
    );
    assert_eq!(leases.push(&lease, 3, &[]).await.unwrap(), LeaseHold::Lost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_of_a_lease_is_without_expiry() {
    let server = RedisServer::start();
    let redis = within(&server.url(), "leases").await;
    let leases = RedisLeases::new(&redis);
    for (n, end) in (0..).zip([
        None,
        Some(LeaseEnd::Failed(Duration::from_secs(30))),
        Some(LeaseEnd::Released),
        Some(LeaseEnd::Written(Box::new(sample_feedback("Words.")))),
    ]) {
        let LeaseTurn::Held(lease) = leases.take(&sample_key(n)).await.unwrap() else {
            panic!("it is free")
        };
        leases.push(&lease, 0, &["Words.".into()]).await.unwrap();
        if let Some(end) = end {
            leases.end(&lease, &end).await.unwrap();
        }
    }
    let keys = server.command(&["KEYS", "leases:*fk1*"]);
    assert_eq!(keys.lines().count(), 5, "{keys}");
    for key in keys.lines() {
        let left: i64 = server.command(&["PTTL", key]).trim().parse().unwrap();
        assert!((1..=30_000).contains(&left), "{key}: {left}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_another_version_wrote_is_an_error_and_not_a_feedback() {
    let server = RedisServer::start();
    let redis = within(&server.url(), "leases").await;
    let leases = RedisLeases::new(&redis);
    let key = sample_key(1);
    let LeaseTurn::Held(lease) = leases.take(&key).await.unwrap() else {
        panic!("it is free")
    };
    let end = LeaseEnd::Written(Box::new(sample_feedback("Words.")));
    leases.end(&lease, &end).await.unwrap();
    let seen = leases.follow(&key, lease.fence, 0).await.unwrap();
    assert_eq!(seen.state, LeaseState::Ended(end));
    let name = server.command(&["KEYS", "leases:*:lease:*"]);
    server.command(&["HSET", name.trim(), "end", "\u{fe}\u{fe}\u{fe}"]);
    let error = leases.follow(&key, lease.fence, 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

/// An hour: a lease that nobody holds does not run out while a test waits.
const LONG: Duration = Duration::from_hours(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_was_given_to_nobody_is_given_back() {
    let server = RedisServer::start();
    let [one, other] = [
        within(&server.url(), "leases").await,
        within(&server.url(), "leases").await,
    ]
    .map(|redis| RedisLeases::new(&redis).with_ttl(LONG));
    // Redis knows the script from now on.
    one.take(&sample_key(3)).await.unwrap();
    server.suspend();
    // Asked for while it is suspended, granted when it goes on.
    one.take(&sample_key(1)).await.unwrap_err();
    let soon = Duration::from_millis(50);
    let dropped = timeout(soon, other.take(&sample_key(2))).await;
    assert!(dropped.is_err(), "a suspended server answers nothing");
    server.resume();
    for key in [1, 2].map(sample_key) {
        until("the lease is free again", async || {
            let turn = one.take(&key).await;
            turn.is_ok_and(|turn| matches!(turn, LeaseTurn::Held(_)))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_nobody_heard_is_told_when_the_server_is_back() {
    let server = RedisServer::start_with(&[("appendonly", "yes")]);
    let redis = within(&server.url(), "leases").await;
    let leases = RedisLeases::new(&redis).with_ttl(LONG);
    let key = sample_key(1);
    let LeaseTurn::Held(lease) = leases.take(&key).await.unwrap() else {
        panic!("it is free")
    };
    server.kill();
    let end = LeaseEnd::Written(Box::new(sample_feedback("Words.")));
    leases.end(&lease, &end).await.unwrap_err();
    server.start_again();
    until("the end is known", async || {
        let seen = leases.follow(&key, lease.fence, 0).await;
        seen.is_ok_and(|seen| seen.state == LeaseState::Ended(end.clone()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_shows_the_words_and_the_end_to_those_who_follow() {
    let server = RedisServer::start_with(&[("maxmemory", "1")]);
    server.try_command(&["SET", "one", "more"]).unwrap_err();
    let redis = within(&server.url(), "leases").await;
    let leases = RedisLeases::new(&redis).with_ttl(LONG);
    let key = sample_key(1);
    let LeaseTurn::Held(lease) = leases.take(&key).await.unwrap() else {
        panic!("it is free")
    };
    let words = ["a", "b"].map(std::sync::Arc::from);
    let hold = leases.push(&lease, 0, &words).await.unwrap();
    assert_eq!(hold, LeaseHold::Held { shown: 2 });
    let feedback = Box::new(sample_feedback("ab"));
    let end = LeaseEnd::Written(feedback);
    leases.end(&lease, &end).await.unwrap();
    let view = leases.follow(&key, lease.fence, 0).await.unwrap();
    assert_eq!(view.deltas, words);
    assert_eq!(view.state, LeaseState::Ended(end));
}
