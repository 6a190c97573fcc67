use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use medcards_core::Result;
use medcards_core::ai::{
    AiBatches, AiCapability, AiFailure, AiProvider, AiRequest, AiStream, BreakerConfig, Budgeted,
    ModelId, RateLimits,
};
use medcards_core::metric::{Metric, MetricSource};
use medcards_core::spend::{Price, SpendBudget, SpendLedger};
use medcards_core::time::Clock;

use super::{
    BreakerLayer, ConcurrencyConfig, ConcurrencyLimit, Deadline, DeadlineConfig, Failover, Metered,
    RateLimitAware, RateLimitConfig, Retry, RetryConfig,
};

/// Providers with all layers around them, in the order of the [module](super). Cheap to clone.
///
/// It is an [`AiProvider`], and a [`MetricSource`] of what its layers count.
#[derive(Clone)]
pub struct AiStack {
    provider: Arc<Metered<Failover>>,
    metrics: Arc<[Arc<dyn MetricSource>]>,
}

impl AiStack {
    /// Starts to stack layers around a provider, which may spend what the ledger allows.
    pub fn builder(
        provider: Arc<dyn AiProvider>,
        ledger: Arc<dyn SpendLedger>,
        clock: Arc<dyn Clock>,
    ) -> AiStackBuilder {
        AiStackBuilder {
            providers: vec![provider],
            ledger,
            clock,
            spend_budget: SpendBudget::default(),
            deadline: DeadlineConfig::default(),
            retry: RetryConfig::default(),
            breaker: BreakerConfig::default(),
            rate_limits: RateLimitConfig::default(),
            concurrency: ConcurrencyConfig::default(),
        }
    }
}

/// Configures an [`AiStack`]. Each provider gets layers of its own, all configured alike.
#[derive(Debug)]
#[must_use]
pub struct AiStackBuilder {
    providers: Vec<Arc<dyn AiProvider>>,
    ledger: Arc<dyn SpendLedger>,
    clock: Arc<dyn Clock>,
    spend_budget: SpendBudget,
    deadline: DeadlineConfig,
    retry: RetryConfig,
    breaker: BreakerConfig,
    rate_limits: RateLimitConfig,
    concurrency: ConcurrencyConfig,
}

impl AiStackBuilder {
    /// Adds a provider that is asked when those before it cannot answer. Default: none.
    pub fn with_fallback(mut self, provider: Arc<dyn AiProvider>) -> Self {
        self.providers.push(provider);
        self
    }

    /// Sets what all of them together may spend. Default: anything. A provider that keeps a budget
    /// already keeps that one instead.
    pub fn with_spend_budget(mut self, budget: SpendBudget) -> Self {
        self.spend_budget = budget;
        self
    }

    /// Sets how long an attempt may take. Default: [`DeadlineConfig::default`].
    pub fn with_deadline(mut self, config: DeadlineConfig) -> Self {
        self.deadline = config;
        self
    }

    /// Sets when a call is tried again. Default: [`RetryConfig::default`].
    pub fn with_retry(mut self, config: RetryConfig) -> Self {
        self.retry = config;
        self
    }

    /// Sets when a failing provider is left alone. Default: [`BreakerConfig::default`].
    pub fn with_breaker(mut self, config: BreakerConfig) -> Self {
        self.breaker = config;
        self
    }

    /// Sets how a provider is spared before it says no. Default: [`RateLimitConfig::default`].
    pub fn with_rate_limits(mut self, config: RateLimitConfig) -> Self {
        self.rate_limits = config;
        self
    }

    /// Sets how many calls may be under way. Default: [`ConcurrencyConfig::default`].
    pub fn with_concurrency(mut self, config: ConcurrencyConfig) -> Self {
        self.concurrency = config;
        self
    }

    /// Stacks the layers.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](medcards_core::ErrorKind::Invalid) for a breaker that cannot work.
    pub fn build(self) -> Result<AiStack> {
        let mut metrics = Vec::new();
        let mut stacked = Vec::new();
        for provider in &self.providers {
            stacked.push(self.around(Arc::clone(provider), &mut metrics)?);
        }
        let failover = Failover::new(stacked.remove(0), stacked)?;
        let failovers = failover.metrics();
        let provider = Metered::new(failover);
        metrics.extend([failovers, provider.metrics()]);
        Ok(AiStack {
            provider: Arc::new(provider),
            metrics: metrics.into(),
        })
    }

    /// The layers around one provider, innermost first.
    fn around(
        &self,
        provider: Arc<dyn AiProvider>,
        metrics: &mut Vec<Arc<dyn MetricSource>>,
    ) -> Result<Arc<dyn AiProvider>> {
        let keeps_budget = provider.capability().keeps_budget;
        let timed = Deadline::new(provider, self.deadline);
        let budgeted: Arc<dyn AiProvider> = if keeps_budget {
            Arc::new(timed)
        } else {
            let (ledger, clock) = (Arc::clone(&self.ledger), Arc::clone(&self.clock));
            Arc::new(Budgeted::new(timed, ledger, self.spend_budget, clock))
        };
        let limited = ConcurrencyLimit::new(budgeted, self.concurrency);
        metrics.push(limited.metrics());
        let paced = RateLimitAware::new(limited, self.rate_limits, Arc::clone(&self.clock));
        let guarded = BreakerLayer::new(paced, self.breaker, Arc::clone(&self.clock))?;
        metrics.push(guarded.metrics());
        let repeated = Retry::new(guarded, self.retry);
        metrics.push(repeated.metrics());
        Ok(Arc::new(repeated))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl AiProvider for AiStack {
    fn model(&self) -> &ModelId {
        self.provider.model()
    }

    fn price(&self) -> Price {
        self.provider.price()
    }

    fn capability(&self) -> AiCapability {
        self.provider.capability()
    }

    /// # Cancel safety
    /// Dropping the future or the stream ends the call in each layer: no place, probe or turn stays
    /// taken, and what was set aside is settled in the background.
    async fn stream(&self, request: AiRequest) -> Result<AiStream, AiFailure> {
        self.provider.stream(request).await
    }

    fn rate_limits(&self) -> Option<RateLimits> {
        self.provider.rate_limits()
    }

    fn batches(&self) -> Option<&dyn AiBatches> {
        self.provider.batches()
    }

    async fn close(&self) {
        self.provider.close().await;
    }
}

impl MetricSource for AiStack {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        for source in self.metrics.iter() {
            source.collect(metrics);
        }
    }
}

impl fmt::Debug for AiStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AiStack")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for AiStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.provider.fmt(f)
    }
}
