use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::ai::{
    AiBatches, AiCapability, AiEvent, AiFailure, AiProvider, AiRequest, AiStream, ModelId,
    RateLimits, Refusal,
};
use medcards_core::metric::{Metric, MetricSource};
use medcards_core::spend::Price;
use medcards_core::{Error, ErrorKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::watched::{Event, Watch, Watched};
use crate::http::ASK;

/// How many calls may be under way, and how many may wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "built with struct update syntax")]
pub struct ConcurrencyConfig {
    /// How many calls may be under way. Default: 256, as many connections as a provider commonly
    /// lets one client have.
    pub calls_max: usize,
    /// How many more may wait. Default: 128, which at some seconds a call are served within the
    /// wait.
    pub queue_max: usize,
    /// How long one waits at most. Default: 2 s: a student waits for it.
    pub wait_max: Duration,
}

impl Default for ConcurrencyConfig {
    fn default() -> Self {
        Self {
            calls_max: 256,
            queue_max: 128,
            wait_max: Duration::from_secs(2),
        }
    }
}

/// The layer that lets only so many calls be under way.
///
/// A call holds its place until its reply ends, fails or is dropped. Others wait in the order they
/// came; one that finds the queue full, or waits too long, is refused as [`Refusal::Busy`].
pub struct ConcurrencyLimit<P> {
    provider: P,
    config: ConcurrencyConfig,
    places: Arc<Places>,
}

struct Places {
    model: ModelId,
    free: Arc<Semaphore>,
    calls_max: usize,
    waiting: AtomicUsize,
}

impl<P: AiProvider> ConcurrencyLimit<P> {
    /// Lets no more calls reach a provider. There is one place at least.
    #[must_use]
    pub fn new(provider: P, config: ConcurrencyConfig) -> Self {
        let calls_max = config.calls_max.clamp(1, Semaphore::MAX_PERMITS);
        let places = Arc::new(Places {
            model: provider.model().clone(),
            free: Arc::new(Semaphore::new(calls_max)),
            calls_max,
            waiting: AtomicUsize::new(0),
        });
        Self {
            provider,
            config,
            places,
        }
    }

    /// How many calls are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.places.under_way()
    }

    /// How many calls are under way, and how many wait.
    #[must_use]
    pub fn metrics(&self) -> Arc<dyn MetricSource> {
        Arc::clone(&self.places) as _
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, AiFailure> {
        let free = Arc::clone(&self.places.free);
        if let Ok(place) = Arc::clone(&free).try_acquire_owned() {
            return Ok(place);
        }
        let _waiting = Waiting::new(&self.places, self.config.queue_max)
            .ok_or_else(|| busy("too many calls wait for the model; try again in a moment"))?;
        // The semaphore is never closed, so there is no other failure than the end of the wait.
        match timeout(self.config.wait_max, free.acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(busy(
                "no call of the model ended in time; try again in a moment",
            )),
        }
    }
}

impl Places {
    fn under_way(&self) -> usize {
        self.calls_max.saturating_sub(self.free.available_permits())
    }
}

/// A call in the queue.
struct Waiting<'a>(&'a Places);

impl<'a> Waiting<'a> {
    fn new(places: &'a Places, queue_max: usize) -> Option<Self> {
        let waiting = Self(places);
        let before = places.waiting.fetch_add(1, Ordering::Relaxed);
        (before < queue_max).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The place of a call, until its reply ends.
struct Place(Option<OwnedSemaphorePermit>);

impl Watch for Place {
    fn see(&mut self, event: &mut Event) {
        if !matches!(event, Ok(AiEvent::Delta(_))) {
            self.0 = None;
        }
    }
}

fn busy(context: &'static str) -> AiFailure {
    AiFailure::refused(Refusal::Busy, Error::new(ErrorKind::Busy, ASK, context))
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AiProvider> AiProvider for ConcurrencyLimit<P> {
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
    /// Dropping the future or the stream gives the place back, in the queue or at the provider.
    async fn stream(&self, request: AiRequest) -> Result<AiStream, AiFailure> {
        let place = Place(Some(self.place().await?));
        let stream = self.provider.stream(request).await?;
        Ok(Watched::stream(stream, place))
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

impl MetricSource for Places {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        let model = self.model.as_str().to_owned();
        let under_way = Metric::gauge(
            "medcards_ai_calls_under_way",
            "Calls of a model that are under way.",
            self.under_way() as f64,
        );
        let waiting = Metric::gauge(
            "medcards_ai_calls_waiting",
            "Calls of a model that wait for another to end.",
            self.waiting.load(Ordering::Relaxed) as f64,
        );
        metrics.push(under_way.with_label("model", model.clone()));
        metrics.push(waiting.with_label("model", model));
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places")
            .field("model", &self.model)
            .field("under_way", &self.under_way())
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl<P: fmt::Debug> fmt::Debug for ConcurrencyLimit<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyLimit")
            .field("provider", &self.provider)
            .field("config", &self.config)
            .field("places", &self.places)
            .finish()
    }
}

impl<P: fmt::Display> fmt::Display for ConcurrencyLimit<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.provider.fmt(f)
    }
}
