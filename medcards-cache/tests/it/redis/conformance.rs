//! The conformance suite on Redis, with a server for each check.

use std::sync::Arc;

use medcards_cache::{MokaCache, RedisCache, TieredCache};
use medcards_core::time::SystemClock;

use super::cache::cache_on;
use super::server::Server;

pub(super) fn moka() -> MokaCache {
    MokaCache::builder(Arc::new(SystemClock::new())).build()
}

mod far {
    use super::*;

    async fn fresh_cache() -> (RedisCache, Server) {
        let server = Server::start(&[]).await;
        (cache_on(server.redis().await), server)
    }

    medcards_core::cache_conformance!(fresh_cache);
}

mod tiered {
    use super::*;

    async fn fresh_cache() -> (TieredCache<MokaCache, RedisCache>, Server) {
        let server = Server::start(&[]).await;
        let far = cache_on(server.redis().await);
        (TieredCache::new(moka(), far), server)
    }

    medcards_core::cache_conformance!(fresh_cache);
}

/// Beside another process that has the same server.
mod tiered_beside_another {
    use super::*;

    type Tiered = TieredCache<MokaCache, RedisCache>;

    async fn fresh_cache() -> (Tiered, (Tiered, Server)) {
        let server = Server::start(&[]).await;
        let one = TieredCache::new(moka(), cache_on(server.redis().await));
        let other = TieredCache::new(moka(), cache_on(server.redis().await));
        (one, (other, server))
    }

    medcards_core::cache_conformance!(fresh_cache);
}
