use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::ai::{
    AiBatches, AiCapability, AiEvent, AiFailure, AiProvider, AiRequest, AiStream, Billed, ModelId,
    RateLimits, RetryBudget, full_jitter,
};
use medcards_core::metric::{Metric, MetricSource};
use medcards_core::spend::{MicroDollars, Price};
use tokio::time::{Instant, sleep};

use super::lock;
use super::watched::{Event, Spent, Tariff, Watch, Watched, ask_until_first_event};

/// How often a call is repeated that may have been billed: once. What was lost on the way may be
/// paid for twice then; a second loss is no accident.
const BILLED_REPEATS_MAX: u32 = 1;

/// When a call is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "built with struct update syntax")]
pub struct RetryConfig {
    /// How often a call is made at most, the first time included. Default: 3, as the clients of the
    /// providers themselves do.
    pub attempts_max: u32,
    /// The longest wait before the first retry; it doubles with each. Default: 250 ms.
    pub backoff: Duration,
    /// The longest wait that this ever grows to. Default: 4 s.
    pub backoff_max: Duration,
    /// How long after its beginning a call may be tried again. Default: 10 s. It is also the longest
    /// that a provider may ask to wait: if it asks for longer, the call fails at once.
    pub patience: Duration,
    /// How many retries may come in a burst, all calls of the provider together. Default: 10.
    pub budget: u32,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts_max: 3,
            backoff: Duration::from_millis(250),
            backoff_max: Duration::from_secs(4),
            patience: Duration::from_secs(10),
            budget: 10,
        }
    }
}

/// The layer that tries a call again.
///
/// It does so only before the first word, so it holds a reply back until its first event; a failure
/// that comes as the first event of a stream is one of the call. It tries again what
/// [`is_retryable`](medcards_core::Error::is_retryable) and no layer refused. One that may have been
/// billed (a reply that was lost or did not begin in time) is repeated once at most, as both may be
/// billed: each attempt is a reservation of its own, so the spend budget holds all the same.
///
/// It waits with [full jitter](full_jitter), after what the provider asked for if it did, and spends
/// from a [`RetryBudget`] that all calls of the provider share.
///
/// What all attempts cost is told with the end or the failure of the last. If a layer refuses a
/// further attempt, the call fails as the attempt before did.
pub struct Retry<P> {
    provider: P,
    config: RetryConfig,
    shared: Arc<Shared>,
}

struct Shared {
    model: ModelId,
    budget: Mutex<RetryBudget>,
    retries: AtomicU64,
    unaffordable: AtomicU64,
}

impl<P: AiProvider> Retry<P> {
    /// Tries the calls of a provider again.
    #[must_use]
    pub fn new(provider: P, config: RetryConfig) -> Self {
        let shared = Arc::new(Shared {
            model: provider.model().clone(),
            budget: Mutex::new(RetryBudget::new(config.budget)),
            retries: AtomicU64::new(0),
            unaffordable: AtomicU64::new(0),
        });
        Self {
            provider,
            config,
            shared,
        }
    }

    /// How often it tried again, and how often the retry budget did not allow it.
    #[must_use]
    pub fn metrics(&self) -> Arc<dyn MetricSource> {
        Arc::clone(&self.shared) as _
    }

    /// How long to wait before this is tried again, if it is.
    fn pause_after(&self, failure: &AiFailure, tried: &Tried) -> Option<Duration> {
        let may_repeat = failure.error.is_retryable()
            && tried.attempts < self.config.attempts_max
            && tried.billed <= BILLED_REPEATS_MAX;
        if !may_repeat {
            return None;
        }
        let RetryConfig {
            backoff,
            backoff_max,
            patience,
            ..
        } = self.config;
        let asked_for = failure.error.retry_after().unwrap_or_default();
        let jitter = full_jitter(backoff, backoff_max, tried.attempts - 1, fastrand::f64());
        let pause = asked_for.saturating_add(jitter);
        if tried.began.elapsed().saturating_add(pause) > patience {
            return None;
        }
        if !lock(&self.shared.budget).take() {
            self.shared.unaffordable.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(pause)
    }
}

/// What the attempts of one call came to.
struct Tried {
    began: Instant,
    attempts: u32,
    /// How many of them may have been billed.
    billed: u32,
    cost: MicroDollars,
}

impl Tried {
    fn count(&mut self, cost: MicroDollars) {
        self.attempts += 1;
        self.billed += u32::from(cost > MicroDollars::ZERO);
        self.cost += cost;
    }

    /// The failure of the call, with what all of it cost. That of one attempt alone is left as it is.
    fn into_failure(self, last: AiFailure) -> AiFailure {
        if self.attempts < 2 || self.cost == MicroDollars::ZERO {
            return last;
        }
        AiFailure {
            billed: Billed::Booked(self.cost),
            ..last
        }
    }
}

/// Adds what came before to the end of the reply, and tells the retry budget of a success.
struct Account {
    spent: Spent,
    shared: Arc<Shared>,
}

impl Watch for Account {
    fn see(&mut self, event: &mut Event) {
        if matches!(event, Ok(AiEvent::End(_))) {
            lock(&self.shared.budget).succeed();
        }
        self.spent.add_to(event);
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AiProvider> AiProvider for Retry<P> {
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
    /// Dropping the future or the stream drops the attempt under way, and no other follows. The
    /// token of a retry that was waited for is spent.
    async fn stream(&self, request: AiRequest) -> Result<AiStream, AiFailure> {
        let tariff = Tariff::of(&self.provider, &request);
        let mut tried = Tried {
            began: Instant::now(),
            attempts: 0,
            billed: 0,
            cost: MicroDollars::ZERO,
        };
        let mut before = None;
        loop {
            let failure = match ask_until_first_event(&self.provider, request.clone()).await {
                Ok(stream) => {
                    let spent = Spent {
                        tariff,
                        before: tried.cost,
                    };
                    let shared = Arc::clone(&self.shared);
                    return Ok(Watched::stream(stream, Account { spent, shared }));
                }
                Err(failure) => failure,
            };
            if failure.refusal.is_some() {
                return Err(match before {
                    Some(before) => tried.into_failure(before),
                    None => failure,
                });
            }
            tried.count(tariff.cost(failure.billed));
            let Some(pause) = self.pause_after(&failure, &tried) else {
                return Err(tried.into_failure(failure));
            };
            tracing::debug!(error = %failure.error, attempt = tried.attempts, ?pause, "a call is tried again");
            before = Some(failure);
            sleep(pause).await;
            self.shared.retries.fetch_add(1, Ordering::Relaxed);
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

impl MetricSource for Shared {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        let model = self.model.as_str().to_owned();
        let retries = Metric::counter(
            "medcards_ai_retries_total",
            "Calls of a model that were made again.",
            self.retries.load(Ordering::Relaxed),
        );
        let unaffordable = Metric::counter(
            "medcards_ai_retries_unaffordable_total",
            "Calls of a model that the retry budget did not allow to be made again.",
            self.unaffordable.load(Ordering::Relaxed),
        );
        metrics.push(retries.with_label("model", model.clone()));
        metrics.push(unaffordable.with_label("model", model));
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryCounts")
            .field("model", &self.model)
            .field("budget", &*lock(&self.budget))
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

impl<P: fmt::Debug> fmt::Debug for Retry<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("provider", &self.provider)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl<P: fmt::Display> fmt::Display for Retry<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.provider.fmt(f)
    }
}
