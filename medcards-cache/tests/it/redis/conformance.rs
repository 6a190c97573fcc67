//! The conformance suite on Redis, with a server for each check.

use super::cache::cache_on;
use super::server::Server;
use medcards_cache::RedisCache;

mod far {
    use super::*;

    async fn fresh_cache() -> (RedisCache, Server) {
        let server = Server::start(&[]).await;
        (cache_on(server.redis().await), server)
    }

    medcards_core::cache_conformance!(fresh_cache);
}
