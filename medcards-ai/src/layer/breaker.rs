use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use medcards_core::ai::{
    AiBatches, AiCapability, AiEvent, AiFailure, AiProvider, AiRequest, AiStream, Breaker,
    BreakerConfig, BreakerState, CallVerdict, ModelId, Passage, RateLimits, Refusal,
};
use medcards_core::metric::{Metric, MetricSource};
use medcards_core::spend::Price;
use medcards_core::time::Clock;
use medcards_core::{Error, ErrorKind, Result};

use super::lock;
use super::watched::{Event, Watch, Watched};
use crate::http::ASK;

/// The layer that leaves a failing provider alone: a [`Breaker`] of one provider and model.
///
/// What a call says of its provider:
///
/// | a call that | says |
/// | --- | --- |
/// | ends | success, whatever its reason to stop |
/// | fails at any time as unavailable, timed out, corrupt, full or unexpected | failure |
/// | fails as denied or not found | failure: a key or model that is refused will be the next time |
/// | fails as rate limited | nothing: the provider is well, and [`RateLimitAware`] slows down |
/// | fails as invalid | nothing: the fault is in what was asked |
/// | is refused by a layer within, or dropped by its caller | nothing |
///
/// A reply counts when it ends. While open, a call is refused as [`Refusal::BreakerOpen`], with the
/// rest of the pause. Calls that passed before it opened go on, those that wait for a turn or a place
/// within too. Each process has a breaker of its own.
///
/// [`RateLimitAware`]: super::RateLimitAware
pub struct BreakerLayer<P> {
    provider: P,
    circuit: Arc<Circuit>,
}

/// The breaker, and the time it goes by.
struct Circuit {
    model: ModelId,
    breaker: Mutex<Breaker>,
    clock: Arc<dyn Clock>,
}

impl<P: AiProvider> BreakerLayer<P> {
    /// Puts a breaker before a provider.
    ///
    /// # Errors
    /// Those of [`BreakerConfig::check`].
    pub fn new(provider: P, config: BreakerConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        let circuit = Arc::new(Circuit {
            model: provider.model().clone(),
            breaker: Mutex::new(Breaker::new(config)?),
            clock,
        });
        Ok(Self { provider, circuit })
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.circuit.state()
    }

    /// How it stands, and how often it opened.
    #[must_use]
    pub fn metrics(&self) -> Arc<dyn MetricSource> {
        Arc::clone(&self.circuit) as _
    }
}

impl Circuit {
    fn state(&self) -> BreakerState {
        lock(&self.breaker).state(self.clock.monotonic_us())
    }

    fn record(&self, passage: Passage, verdict: CallVerdict) {
        let now_us = self.clock.monotonic_us();
        let (before, after) = {
            let mut breaker = lock(&self.breaker);
            let before = breaker.state(now_us);
            breaker.record(passage, verdict, now_us);
            (before, breaker.state(now_us))
        };
        if before == after {
            return;
        }
        if after == BreakerState::Open {
            tracing::warn!(model = %self.model, "a model fails too often: its breaker opens");
        } else {
            tracing::info!(model = %self.model, "a model answers again: its breaker closes");
        }
    }
}

/// One call that passed. Dropped, it says nothing of the provider.
struct Call {
    circuit: Arc<Circuit>,
    passage: Option<Passage>,
}

impl Call {
    fn end(&mut self, verdict: CallVerdict) {
        if let Some(passage) = self.passage.take() {
            self.circuit.record(passage, verdict);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(CallVerdict::Nothing);
    }
}

impl Watch for Call {
    fn see(&mut self, event: &mut Event) {
        match event {
            Ok(AiEvent::End(_)) => self.end(CallVerdict::Success),
            Ok(_) => {}
            Err(failure) => self.end(verdict(failure)),
        }
    }
}

/// What a failure says of the provider.
fn verdict(failure: &AiFailure) -> CallVerdict {
    if failure.refusal.is_some() {
        return CallVerdict::Nothing;
    }
    match failure.error.kind() {
        ErrorKind::Corrupt
        | ErrorKind::Denied
        | ErrorKind::Full
        | ErrorKind::NotFound
        | ErrorKind::Timeout
        | ErrorKind::Unavailable
        | ErrorKind::Unexpected => CallVerdict::Failure,
        _ => CallVerdict::Nothing,
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AiProvider> AiProvider for BreakerLayer<P> {
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
    /// Dropping the future or the stream gives back the place of a probe, and says nothing of the
    /// provider.
    async fn stream(&self, request: AiRequest) -> Result<AiStream, AiFailure> {
        let passed = lock(&self.circuit.breaker).pass(self.circuit.clock.monotonic_us());
        let passage = passed.map_err(|open| {
            let context = "the model failed too often a moment ago, so it is left alone";
            let mut error = Error::new(ErrorKind::Unavailable, ASK, context);
            if let Some(rest) = open.retry_after {
                error = error.with_retry_after(rest);
            }
            AiFailure::refused(Refusal::BreakerOpen, error)
        })?;
        let mut call = Call {
            circuit: Arc::clone(&self.circuit),
            passage: Some(passage),
        };
        match self.provider.stream(request).await {
            Ok(stream) => Ok(Watched::stream(stream, call)),
            Err(failure) => {
                call.end(verdict(&failure));
                Err(failure)
            }
        }
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

impl MetricSource for Circuit {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        let model = self.model.as_str().to_owned();
        let state = match self.state() {
            BreakerState::Closed => 0.0,
            BreakerState::HalfOpen => 1.0,
            BreakerState::Open => 2.0,
        };
        let state = Metric::gauge(
            "medcards_ai_breaker_state",
            "How the breaker of a model stands: 0 closed, 1 half-open, 2 open.",
            state,
        );
        let opened = Metric::counter(
            "medcards_ai_breaker_opened_total",
            "How often the breaker of a model opened.",
            lock(&self.breaker).opened(),
        );
        metrics.push(state.with_label("model", model.clone()));
        metrics.push(opened.with_label("model", model));
    }
}

impl fmt::Debug for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Circuit")
            .field("model", &self.model)
            .field("breaker", &*lock(&self.breaker))
            .finish_non_exhaustive()
    }
}

impl<P: fmt::Debug> fmt::Debug for BreakerLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerLayer")
            .field("provider", &self.provider)
            .field("circuit", &self.circuit)
            .finish()
    }
}

impl<P: fmt::Display> fmt::Display for BreakerLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.provider.fmt(f)
    }
}
