//! What the benches and the allocation test of MEDCARDS share: how two ways are compared and reported,
//! who records answers, and a resolver whose local cache is warm.
//!
//! The benches themselves are in `benches`; `README.md` says how to run and read them.

pub mod compare;
pub mod report;

pub mod answers;
pub mod log;

use std::sync::Arc;
use std::time::Duration;

use medcards_core::Result;
use medcards_core::cache::Cache;
use medcards_core::case::{Case, OptionSet};
use medcards_core::feedback::{
    FeedbackKey, FeedbackRequest, FeedbackResolver, RequestAudience, ResolverConfig, Tier,
};
use medcards_core::memory::MemoryStore;
use medcards_core::testing::{PlainPrompt, ScriptedProvider, sample_case};
use medcards_core::time::{Clock, SystemClock};
use medcards_core::user::{Level, Locale};

/// How many different feedbacks are warm: what the students of one popular course ask for. A power
/// of two, so that walking through them costs a mask.
pub const WARM_KEYS: usize = 1_024;

/// A resolver over this cache, with a model that answers at once and everything else in memory.
#[derive(Debug)]
pub struct Bench {
    /// The cache under the resolver.
    pub cache: Arc<dyn Cache>,
    /// The resolver.
    pub resolver: FeedbackResolver,
    /// The model: it counts its calls.
    pub provider: ScriptedProvider,
}

impl Bench {
    /// Builds the resolver, with the clock of the machine and the default configuration.
    ///
    /// # Errors
    /// None that a store in memory has.
    pub async fn new(cache: Arc<dyn Cache>) -> Result<Self> {
        Self::with_config(cache, ResolverConfig::default()).await
    }

    /// The same with another configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](medcards_core::ErrorKind::Invalid) for one that cannot work.
    pub async fn with_config(cache: Arc<dyn Cache>, config: ResolverConfig) -> Result<Self> {
        let store = Arc::new(MemoryStore::new());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let provider = ScriptedProvider::new();
        let resolver =
            FeedbackResolver::builder(Arc::clone(&cache), Arc::clone(&store) as _, store, clock)
                .config(config)
                .live(Arc::new(provider.clone()), Arc::new(PlainPrompt::default()))
                .build()
                .await?;
        Ok(Self {
            cache,
            resolver,
            provider,
        })
    }

    /// A wish for feedback on the first option of a case.
    #[must_use]
    pub fn request(&self, case: Arc<Case>) -> FeedbackRequest {
        let chosen: OptionSet = [0].into_iter().collect();
        let key = self
            .resolver
            .key(&case, chosen, Locale::ENGLISH, Level::default());
        FeedbackRequest {
            key,
            case,
            audience: RequestAudience::Shared,
            payer: None,
        }
    }

    /// Wishes for [`WARM_KEYS`] feedbacks, all of which the local cache now has.
    ///
    /// # Panics
    /// If one is not served by the local tier: then whatever is measured is not a hit.
    pub async fn warm(&self) -> Vec<FeedbackRequest> {
        let mut requests = Vec::with_capacity(WARM_KEYS);
        for n in 0..WARM_KEYS as u32 {
            let request = self.request(Arc::new(sample_case(n)));
            self.resolver.resolve(&request).await;
            requests.push(request);
        }
        // Whoever waits gets the words before they are cached.
        while self.resolver.counts().flights > 0 {
            tokio::task::yield_now().await;
        }
        for request in &requests {
            let tier = self.resolver.resolve(request).await.tier();
            assert_eq!(tier, Tier::Local, "a warm key is served by the local tier");
        }
        requests
    }

    /// Takes every key out of the cache and puts it in again, one after the other.
    ///
    /// This is how a baseline is filled: entries that lie far apart in memory take longer to find.
    /// It also leaves the cache with removals behind it, as one that has run for a while.
    ///
    /// # Panics
    /// If a key is not in the cache.
    pub async fn put_again(&self, requests: &[FeedbackRequest]) {
        for FeedbackRequest { key, .. } in requests {
            let entry = self.cache.get_local(key).expect("it is warm");
            self.cache.remove(key).await.expect("memory has no errors");
            self.cache
                .put(key.clone(), entry)
                .await
                .expect("memory has no errors");
        }
    }
}

/// A configuration whose own upkeep does not begin while something short is measured.
#[must_use]
pub fn without_upkeep() -> ResolverConfig {
    let mut config = ResolverConfig::default();
    config.flush_interval = Duration::from_hours(24);
    config.key_refresh_interval = Duration::from_hours(24);
    config
}

/// The baseline of a local hit: moka itself, as it comes, with the same keys and values.
///
/// # Panics
/// If a warm key is in no cache.
#[must_use]
pub fn raw_moka(
    cache: &dyn Cache,
    requests: &[FeedbackRequest],
) -> moka::sync::Cache<FeedbackKey, Arc<medcards_core::cache::CacheEntry>> {
    let raw = moka::sync::Cache::builder().max_capacity(1 << 20).build();
    for request in requests {
        let entry = cache.get_local(&request.key).expect("it was warmed");
        raw.insert(request.key.clone(), entry);
    }
    raw.run_pending_tasks();
    raw
}
