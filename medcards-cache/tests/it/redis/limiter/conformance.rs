//! The conformance suite on each kind of Redis.

use std::sync::Arc;

use medcards_cache::{Redis, RedisRateLimiter};
use medcards_core::testing::ManualClock;

use super::super::places::on_every_kind;
use super::{Remote, driven};

type Made = (RedisRateLimiter, Remote);

async fn make(redis: Redis, clock: Arc<ManualClock>) -> Made {
    let limiter = driven(redis, &clock).build();
    (limiter.clone(), Remote(limiter))
}

on_every_kind!(limiter_conformance, clock: Arc<ManualClock>);
