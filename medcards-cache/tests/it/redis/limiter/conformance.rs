//! The conformance suite on one server, under Sentinels, and in a Cluster.

use std::sync::Arc;

use medcards_cache::{Redis, RedisRateLimiter};
use medcards_core::testing::ManualClock;
use medcards_tests::redis::fresh_namespace;

use super::{Remote, driven, patient};

async fn fresh_limiter(url: &str, clock: &Arc<ManualClock>) -> (RedisRateLimiter, Remote) {
    let config = patient(url).with_namespace(fresh_namespace());
    let redis = Redis::connect(config).await.unwrap();
    let limiter = driven(redis, clock).build();
    (limiter.clone(), Remote(limiter))
}

macro_rules! conformance_on {
    ($name:ident: $servers:ident) => {
        mod $name {
            use std::sync::Arc;

            use medcards_cache::RedisRateLimiter;
            use medcards_core::testing::ManualClock;
            use medcards_tests::redis::$servers;

            use super::Remote;

            async fn fresh_limiter(clock: Arc<ManualClock>) -> (RedisRateLimiter, Remote) {
                super::fresh_limiter(&$servers::shared().url(), &clock).await
            }

            medcards_core::limiter_conformance!(fresh_limiter);
        }
    };
}

conformance_on!(one_server: RedisServer);
conformance_on!(sentinels: Sentinels);
conformance_on!(cluster: RedisCluster);
