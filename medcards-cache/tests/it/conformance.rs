use std::sync::Arc;

use medcards_cache::MokaCache;
use medcards_core::time::SystemClock;

async fn fresh_cache() -> (MokaCache, ()) {
    (MokaCache::builder(Arc::new(SystemClock::new())).build(), ())
}

medcards_core::cache_conformance!(fresh_cache);
