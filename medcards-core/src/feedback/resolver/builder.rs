use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::counters::Counters;
use super::failures::Failures;
use super::flight::{FLIGHTS_MAX, Flights};
use super::generation::Live;
use super::key_index::KeyIndex;
use super::reviews::Reviews;
use super::tallies::Tallies;
use super::{FeedbackResolver, Inner, ResolverConfig};
use crate::ai::{AiProvider, Budgeted, FeedbackPrompt, ModelId, PromptVersion};
use crate::cache::Cache;
use crate::feedback::PrecomputedStore;
use crate::lease::FeedbackLeases;
use crate::spend::SpendLedger;
use crate::time::Clock;
use crate::user::Level;
use crate::{Error, ErrorKind, Result};

/// Builds a [`FeedbackResolver`].
#[derive(Debug)]
pub struct ResolverBuilder {
    config: ResolverConfig,
    cache: Arc<dyn Cache>,
    precomputed: Arc<dyn PrecomputedStore>,
    ledger: Arc<dyn SpendLedger>,
    clock: Arc<dyn Clock>,
    live: Option<Live>,
    leases: Option<Arc<dyn FeedbackLeases>>,
    model: Option<ModelId>,
}

impl ResolverBuilder {
    pub(super) fn new(
        cache: Arc<dyn Cache>,
        precomputed: Arc<dyn PrecomputedStore>,
        ledger: Arc<dyn SpendLedger>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let config = ResolverConfig::default();
        Self {
            config,
            cache,
            precomputed,
            ledger,
            clock,
            live: None,
            leases: None,
            model: None,
        }
    }

    /// How the resolver behaves. Default: [`ResolverConfig::default`].
    #[must_use]
    pub fn config(mut self, config: ResolverConfig) -> Self {
        self.config = config;
        self
    }

    /// The model that is asked when no cheaper tier knows. Default: none, so that the live tier is
    /// off. It stays off with a provider that only repeats what the author wrote.
    ///
    /// A provider that does not keep the spend budget is wrapped in [`Budgeted`].
    #[must_use]
    pub fn live(mut self, provider: Arc<dyn AiProvider>, prompt: Arc<dyn FeedbackPrompt>) -> Self {
        self.live = Some(Live { provider, prompt });
        self
    }

    /// What makes one live call of a key serve all processes. Default: nothing, each process makes
    /// its own.
    #[must_use]
    pub fn leases(mut self, leases: Arc<dyn FeedbackLeases>) -> Self {
        self.leases = Some(leases);
        self
    }

    /// The model whose precomputed feedback is served. Default: that of the live tier.
    #[must_use]
    pub fn model(mut self, model: ModelId) -> Self {
        self.model = Some(model);
        self
    }

    /// Builds the resolver, after reading which keys the store of precomputed feedback has.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a configuration that cannot work; those of the store.
    pub async fn build(self) -> Result<FeedbackResolver> {
        check(&self.config)?;
        let model = match (self.model, &self.live) {
            (Some(model), _) => model,
            (None, Some(live)) => live.provider.model().clone(),
            (None, None) => "none".parse()?,
        };
        let prompt_versions = Level::ALL.map(|level| match &self.live {
            Some(live) => live.prompt.version(level),
            None => PromptVersion::new(0),
        });
        let live = self
            .live
            .filter(|live| !live.provider.capability().authored_only)
            .map(|live| live.within_budget(&self.config, &self.ledger, &self.clock));
        let generations = self.config.generations_max.min(Semaphore::MAX_PERMITS);
        let now = self.clock.now();
        let inner = Inner {
            clock: self.clock,
            cache: self.cache,
            precomputed: self.precomputed,
            ledger: self.ledger,
            live,
            leases: self.leases,
            model,
            prompt_versions,
            flights: Flights::new(FLIGHTS_MAX),
            generations: Semaphore::new(generations),
            failures: Failures::new(),
            key_index: KeyIndex::default(),
            reviews: Reviews::new(now),
            tallies: Tallies::default(),
            counters: Counters::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            is_flush_coming: AtomicBool::new(false),
            withdrawals: AtomicU64::new(0),
            removals_looked_at: AtomicU64::new(0),
            next_lease_warning_us: AtomicU64::new(0),
            next_key_refresh_us: AtomicU64::new(0),
            config: self.config,
        };
        inner.key_index.refresh(&*inner.precomputed).await?;
        Ok(FeedbackResolver {
            inner: Arc::new(inner),
        })
    }
}

impl Live {
    fn within_budget(
        self,
        config: &ResolverConfig,
        ledger: &Arc<dyn SpendLedger>,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        if self.provider.capability().keeps_budget {
            return self;
        }
        let (ledger, clock) = (Arc::clone(ledger), Arc::clone(clock));
        let provider = Budgeted::new(self.provider, ledger, config.spend_budget, clock);
        Self {
            provider: Arc::new(provider),
            ..self
        }
    }
}

fn check(config: &ResolverConfig) -> Result<()> {
    let invalid = |context| Err(Error::new(ErrorKind::Invalid, "build resolver", context));
    if config.ttl_jitter_percent > 50 {
        return invalid("ttl_jitter_percent must be at most 50");
    }
    if config.generations_max == 0 {
        return invalid(
            "generations_max must be at least 1; leave the live tier out to turn it off",
        );
    }
    // Ten years: sums of such times stay far within what a timestamp can hold.
    let longest = std::time::Duration::from_hours(24 * 3_653);
    if config.ttl.is_zero()
        || [config.ttl, config.grace, config.stale_on_failure]
            .iter()
            .any(|t| *t > longest)
    {
        return invalid(
            "ttl must be above zero, and ttl, grace and stale_on_failure at most ten years",
        );
    }
    Ok(())
}
