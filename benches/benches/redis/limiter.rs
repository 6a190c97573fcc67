use std::sync::LazyLock;
use std::time::Duration;

use criterion::Criterion;
use medcards_benches::answers::at_once;
use medcards_benches::compare::{Comparison, compare};
use medcards_benches::report::{Report, Target};
use medcards_cache::RedisRateLimiter;
use medcards_core::limit::{LimitKey, Quota, RateLimiter};
use redis::Script;
use redis::aio::MultiplexedConnection;

use crate::{CLIENTS, Place};

/// How many users call.
const USERS: u64 = 1_000;

/// The least that a sliding window of two counters takes, as one would write it by hand.
static BY_HAND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local window = tonumber(ARGV[2])
        local slot = math.floor(now / window)
        local current = tonumber(redis.call('GET', KEYS[1] .. slot) or 0)
        local previous = tonumber(redis.call('GET', KEYS[1] .. (slot - 1)) or 0)
        local share = 1 - (now % window) / window
        if math.floor(share * previous) + current >= tonumber(ARGV[1]) then return -1 end
        local count = redis.call('INCRBY', KEYS[1] .. slot, ARGV[3])
        if count == tonumber(ARGV[3]) then
            redis.call('PEXPIRE', KEYS[1] .. slot, window * 2 + 1000)
        end
        return count",
    )
});

pub(crate) fn run(criterion: &mut Criterion, report: &mut Report) {
    let work = |clients: u64| format!("redis_limit/{clients} clients");
    let Some(place) = Place::start(CLIENTS.into_iter().map(work)) else {
        return;
    };
    let limiter = RedisRateLimiter::new(place.redis.clone());
    let quota = Quota::new(u32::MAX, Duration::from_mins(1)).expect("it is a quota");
    for clients in CLIENTS {
        compare(
            criterion,
            report,
            &Comparison {
                work: &work(clients),
                ours: "RedisRateLimiter",
                baseline: "script by hand",
                pieces: clients,
                target: Target::RateAtLeast(0.9),
            },
            |rounds| place.runtime.block_on(by_hand(&place.raw, rounds, clients)),
            |rounds| {
                let checked = by_limiter(&limiter, &quota, rounds, clients);
                place.runtime.block_on(checked)
            },
        );
    }
}

async fn by_limiter(
    limiter: &RedisRateLimiter,
    quota: &Quota,
    rounds: u64,
    clients: u64,
) -> Duration {
    at_once(clients, |client| {
        let (limiter, quota) = (limiter.clone(), *quota);
        async move {
            for round in 0..rounds {
                let key = LimitKey::new("user", (client * 31 + round) % USERS);
                let decision = limiter.check(&key, &quota, 1).await;
                assert!(decision.expect("the server answers").is_allowed);
            }
        }
    })
    .await
}

async fn by_hand(raw: &MultiplexedConnection, rounds: u64, clients: u64) -> Duration {
    at_once(clients, |client| {
        let mut raw = raw.clone();
        async move {
            for round in 0..rounds {
                let key = format!("hand:{{{}}}:", (client * 31 + round) % USERS);
                let mut script = BY_HAND.key(key);
                script.arg(u32::MAX).arg(60_000).arg(1);
                let count: i64 = script.invoke_async(&mut raw).await.expect("it answers");
                assert!(count > 0);
            }
        }
    })
    .await
}
