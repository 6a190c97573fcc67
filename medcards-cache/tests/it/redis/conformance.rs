//! The conformance suite of caches on each kind of Redis.

use std::sync::Arc;

use medcards_cache::{MokaCache, Redis, RedisCache, TieredCache};
use medcards_core::time::SystemClock;

use super::cache::cache_on;
use super::places::on_every_kind;

pub(super) type Tiered = TieredCache<MokaCache, RedisCache>;

pub(super) fn moka() -> MokaCache {
    MokaCache::builder(Arc::new(SystemClock::new())).build()
}

pub(super) fn tiered_on(redis: Redis) -> Tiered {
    TieredCache::new(moka(), cache_on(redis))
}

mod far {
    use super::*;

    type Made = (RedisCache, ());

    async fn make(redis: Redis) -> Made {
        (cache_on(redis), ())
    }

    on_every_kind!(cache_conformance);
}

/// Beside another process that shares the far cache.
mod tiered {
    use super::*;

    type Made = (Tiered, Tiered);

    async fn make(redis: Redis) -> Made {
        (tiered_on(redis.clone()), tiered_on(redis))
    }

    on_every_kind!(cache_conformance);
}
