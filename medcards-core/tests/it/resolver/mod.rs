//! What the resolver promises, over backends in memory, doubles and faults.

mod coalescing;
mod faults;
mod freshness;
mod leases;
mod machine;
mod money;
mod personal;
mod precomputed;
mod streaming;

use std::sync::Arc;

use medcards_core::ai::AiProvider;
use medcards_core::cache::Cache;
use medcards_core::case::Case;
use medcards_core::feedback::{
    FeedbackRequest, FeedbackResolver, RequestAudience, Resolution, ResolverConfig,
};
use medcards_core::memory::{MemoryCache, MemoryStore};
use medcards_core::spend::{MicroDollars, SpendQuery, SpendRow};
use medcards_core::testing::{
    FaultPlan, Faulty, ManualClock, PlainPrompt, SAMPLE_START, ScriptedProvider, sample_case,
};
use medcards_core::user::{Level, Locale};

/// A resolver over doubles that a test can reach.
struct Bench {
    resolver: FeedbackResolver,
    provider: ScriptedProvider,
    store: MemoryStore,
    cache: MemoryCache,
    clock: Arc<ManualClock>,
    faults: FaultPlan,
}

impl Bench {
    async fn new() -> Self {
        Self::with(ResolverConfig::default()).await
    }

    async fn with(config: ResolverConfig) -> Self {
        Self::build(config, MemoryStore::new(), ScriptedProvider::new()).await
    }

    async fn build(config: ResolverConfig, store: MemoryStore, provider: ScriptedProvider) -> Self {
        let asked = Arc::new(provider.clone());
        Self::over(config, store, provider, asked).await
    }

    /// The same with something around the provider.
    async fn over(
        config: ResolverConfig,
        store: MemoryStore,
        provider: ScriptedProvider,
        asked: Arc<dyn AiProvider>,
    ) -> Self {
        let cache = MemoryCache::new(16 << 20);
        let clock = Arc::new(ManualClock::default());
        let faults = FaultPlan::new();
        let resolver = FeedbackResolver::builder(
            Arc::new(Faulty::new(cache.clone(), faults.clone())),
            Arc::new(Faulty::new(store.clone(), faults.clone())),
            Arc::new(Faulty::new(store.clone(), faults.clone())),
            Arc::clone(&clock) as _,
        )
        .config(config)
        .live(asked, Arc::new(PlainPrompt::default()))
        .build()
        .await
        .expect("the configuration is sound");
        Self {
            resolver,
            provider,
            store,
            cache,
            clock,
            faults,
        }
    }

    /// The wish for feedback on the first option of the `n`th sample case.
    fn request(&self, n: u32) -> FeedbackRequest {
        let case: Arc<Case> = Arc::new(sample_case(n));
        let key = self.resolver.key(
            &case,
            [0].into_iter().collect(),
            Locale::ENGLISH,
            Level::default(),
        );
        FeedbackRequest {
            key,
            case,
            audience: RequestAudience::Shared,
            payer: None,
        }
    }

    async fn resolve(&self, n: u32) -> Resolution {
        self.resolver.resolve(&self.request(n)).await
    }

    /// Waits until no search is under way, so that what they found is cached and booked.
    async fn settled(&self) {
        while self.resolver.counts().flights > 0 {
            tokio::task::yield_now().await;
        }
    }

    async fn totals(&self) -> Vec<SpendRow> {
        use medcards_core::spend::SpendLedger;
        self.settled().await;
        self.resolver.flush().await.expect("the ledger works");
        let day = SAMPLE_START
            .to_zoned(medcards_core::jiff::tz::TimeZone::UTC)
            .date();
        let to = day.saturating_add(medcards_core::jiff::Span::new().days(3_000));
        self.store
            .totals(&SpendQuery {
                from: day,
                to,
                by_case: false,
            })
            .await
            .expect("the ledger works")
    }

    async fn spent(&self) -> MicroDollars {
        self.totals().await.iter().map(|row| row.cost).sum()
    }

    fn is_cached(&self, n: u32) -> bool {
        self.cache.get_local(&self.request(n).key).is_some()
    }
}
