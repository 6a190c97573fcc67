use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use quick_cache::sync::Cache;

use super::{Inner, Medcards, REMEMBERED_ANSWERS_MAX, REMEMBERED_USERS_MAX};
use crate::Result;
use crate::ai::{AiProvider, FeedbackPrompt};
use crate::cache;
use crate::feedback::{FeedbackResolver, ResolverConfig};
use crate::lease::FeedbackLeases;
use crate::memory::MemoryCache;
use crate::spend::SpendLedger;
use crate::store::Store;
use crate::time::{Clock, SystemClock};

/// The size of the default cache: 64 MiB, about 20,000 feedbacks.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// Builds a [`Medcards`].
#[derive(Debug)]
pub struct MedcardsBuilder {
    store: Arc<dyn Store>,
    cache: Option<Arc<dyn cache::Cache>>,
    ai: Option<(Arc<dyn AiProvider>, Arc<dyn FeedbackPrompt>)>,
    leases: Option<Arc<dyn FeedbackLeases>>,
    ledger: Option<Arc<dyn SpendLedger>>,
    clock: Arc<dyn Clock>,
    resolver: ResolverConfig,
}

impl MedcardsBuilder {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            cache: None,
            ai: None,
            leases: None,
            ledger: None,
            clock: Arc::new(SystemClock::new()),
            resolver: ResolverConfig::default(),
        }
    }

    /// Where feedback is cached. Default: 64 MiB of this process's memory.
    #[must_use]
    pub fn cache(mut self, cache: Arc<dyn cache::Cache>) -> Self {
        self.cache = Some(cache);
        self
    }

    /// The model that writes feedback, and how it is asked. Default: none; students read what the
    /// author wrote.
    #[must_use]
    pub fn ai(mut self, provider: Arc<dyn AiProvider>, prompt: Arc<dyn FeedbackPrompt>) -> Self {
        self.ai = Some((provider, prompt));
        self
    }

    /// What makes one live call of a key serve all processes. Default: nothing, each process makes
    /// its own.
    #[must_use]
    pub fn leases(mut self, leases: Arc<dyn FeedbackLeases>) -> Self {
        self.leases = Some(leases);
        self
    }

    /// What keeps the spend budget. Default: the store.
    #[must_use]
    pub fn ledger(mut self, ledger: Arc<dyn SpendLedger>) -> Self {
        self.ledger = Some(ledger);
        self
    }

    /// The clock. Default: that of the machine.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How the resolver behaves. Default: [`ResolverConfig::default`].
    #[must_use]
    pub fn resolver(mut self, config: ResolverConfig) -> Self {
        self.resolver = config;
        self
    }

    /// Builds the platform.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a configuration that cannot work; those
    /// of the store.
    pub async fn build(self) -> Result<Medcards> {
        let cache = self
            .cache
            .unwrap_or_else(|| Arc::new(MemoryCache::new(CACHE_BYTES)));
        let store = self.store;
        let mut resolver = FeedbackResolver::builder(
            cache,
            Arc::clone(&store) as _,
            self.ledger.unwrap_or_else(|| Arc::clone(&store) as _),
            Arc::clone(&self.clock),
        )
        .config(self.resolver);
        if let Some((provider, prompt)) = self.ai {
            resolver = resolver.live(provider, prompt);
        }
        if let Some(leases) = self.leases {
            resolver = resolver.leases(leases);
        }
        let inner = Inner {
            resolver: resolver.build().await?,
            store,
            clock: self.clock,
            requests: Cache::new(REMEMBERED_ANSWERS_MAX),
            users: Cache::new(REMEMBERED_USERS_MAX),
            settings_changes: AtomicU64::new(0),
        };
        Ok(Medcards {
            inner: Arc::new(inner),
        })
    }
}
