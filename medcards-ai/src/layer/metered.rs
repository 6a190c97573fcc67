use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use medcards_core::ai::{
    AiBatches, AiCapability, AiEvent, AiFailure, AiProvider, AiRequest, AiStream, Billed, ModelId,
    RateLimits, Refusal, ReplyEnd, StopReason,
};
use medcards_core::metric::{DurationHistogram, Metric, MetricSource};
use medcards_core::spend::{Price, Purpose};
use tokio::time::Instant;

use super::lock;
use super::watched::{Event, Tariff, Watch, Watched};

/// Upper bounds of the buckets of waits for a model, in microseconds: from a server in the same room
/// to the deadline of the slowest reply.
const BOUNDS_US: [u64; 14] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_000_000,
    3_000_000,
    5_000_000,
    8_000_000,
    13_000_000,
    20_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
];

/// The most models that are told apart. A stack has a handful; beyond it, those of a server that
/// calls itself something else each time count as the model that was asked.
const MODELS_MAX: usize = 32;

/// The layer that counts: calls by outcome, tokens, cost and waits, per model and purpose.
///
/// Replies count under the model that wrote them, failures under the one that was asked. What a
/// dropped call costs is not known here: the ledger has it. No user, no case and no text is counted.
pub struct Metered<P> {
    provider: P,
    counts: Arc<Counts>,
}

/// The figures of each model and purpose.
#[derive(Debug, Default)]
struct Counts {
    kinds: Mutex<BTreeMap<(ModelId, Purpose), Arc<Figures>>>,
}

/// The figures of one model and purpose.
#[derive(Debug)]
struct Figures {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    refusals: Mutex<BTreeMap<&'static str, u64>>,
    failures: Mutex<BTreeMap<&'static str, u64>>,
    tokens: [AtomicU64; 4],
    cost: AtomicU64,
    first_word: DurationHistogram,
    whole: DurationHistogram,
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Complete,
    Declined,
    Dropped,
    Failed,
    Incomplete,
    Refused,
}

impl Outcome {
    const ALL: [Self; 6] = [
        Self::Complete,
        Self::Declined,
        Self::Dropped,
        Self::Failed,
        Self::Incomplete,
        Self::Refused,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Declined => "declined",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
            Self::Incomplete => "incomplete",
            Self::Refused => "refused",
        }
    }
}

impl Figures {
    fn new() -> Self {
        Self {
            outcomes: Default::default(),
            refusals: Mutex::default(),
            failures: Mutex::default(),
            tokens: Default::default(),
            cost: AtomicU64::new(0),
            first_word: DurationHistogram::with_bounds(&BOUNDS_US),
            whole: DurationHistogram::with_bounds(&BOUNDS_US),
        }
    }

    fn count(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn end(&self, end: &ReplyEnd) {
        self.count(match end.stop {
            StopReason::Complete => Outcome::Complete,
            StopReason::Refusal => Outcome::Declined,
            _ => Outcome::Incomplete,
        });
        let usage = end.usage;
        let tokens = [
            usage.input,
            usage.cache_read,
            usage.cache_write,
            usage.output,
        ];
        for (sum, tokens) in self.tokens.iter().zip(tokens) {
            sum.fetch_add(tokens, Ordering::Relaxed);
        }
        self.cost.fetch_add(end.cost.get(), Ordering::Relaxed);
    }

    fn fail(&self, failure: &AiFailure, tariff: Tariff) {
        let reasons = if failure.refusal.is_some() {
            self.count(Outcome::Refused);
            &self.refusals
        } else {
            self.count(Outcome::Failed);
            &self.failures
        };
        let reason = failure
            .refusal
            .map_or(failure.error.kind().as_str(), refusal_name);
        *lock(reasons).entry(reason).or_default() += 1;
        let cost = tariff.cost(failure.billed);
        self.cost.fetch_add(cost.get(), Ordering::Relaxed);
        if let Billed::Tokens(usage) = failure.billed {
            for (sum, tokens) in self.tokens.iter().zip([
                usage.input,
                usage.cache_read,
                usage.cache_write,
                usage.output,
            ]) {
                sum.fetch_add(tokens, Ordering::Relaxed);
            }
        }
    }
}

fn refusal_name(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::BreakerOpen => "breaker open",
        Refusal::Busy => "busy",
        Refusal::LedgerAway => "ledger away",
        Refusal::RateLimited => "rate limited",
        Refusal::SpendBudgetExhausted => "spend budget exhausted",
        _ => "other",
    }
}

impl Counts {
    fn of(&self, model: &ModelId, purpose: Purpose) -> Option<Arc<Figures>> {
        let mut kinds = lock(&self.kinds);
        if let Some(figures) = kinds.get(&(model.clone(), purpose)) {
            return Some(Arc::clone(figures));
        }
        if kinds.len() >= MODELS_MAX * Purpose::ALL.len() {
            return None;
        }
        let figures = Arc::new(Figures::new());
        kinds.insert((model.clone(), purpose), Arc::clone(&figures));
        Some(figures)
    }
}

impl<P: AiProvider> Metered<P> {
    /// Counts the calls of a provider.
    #[must_use]
    pub fn new(provider: P) -> Self {
        let counts = Arc::new(Counts::default());
        for purpose in Purpose::ALL {
            counts.of(provider.model(), purpose);
        }
        Self { provider, counts }
    }

    /// What was counted.
    #[must_use]
    pub fn metrics(&self) -> Arc<dyn MetricSource> {
        Arc::clone(&self.counts) as _
    }
}

/// A call that is counted once, however it ends.
struct Call {
    counts: Arc<Counts>,
    figures: Arc<Figures>,
    model: ModelId,
    purpose: Purpose,
    tariff: Tariff,
    began: Instant,
    has_words: bool,
    is_over: bool,
}

impl Call {
    fn fail(&mut self, failure: &AiFailure) {
        self.is_over = true;
        self.figures.fail(failure, self.tariff);
        // What was refused took no time of any model.
        if failure.refusal.is_none() {
            self.figures.whole.record(self.began.elapsed());
        }
    }
}

impl Watch for Call {
    fn see(&mut self, event: &mut Event) {
        match event {
            Ok(AiEvent::End(end)) => {
                self.is_over = true;
                let other = (end.model != self.model)
                    .then(|| self.counts.of(&end.model, self.purpose))
                    .flatten();
                let figures = other.as_ref().unwrap_or(&self.figures);
                figures.end(end);
                figures.whole.record(self.began.elapsed());
            }
            Ok(_) if self.has_words => {}
            Ok(_) => {
                self.has_words = true;
                self.figures.first_word.record(self.began.elapsed());
            }
            Err(failure) => self.fail(failure),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_over {
            self.figures.count(Outcome::Dropped);
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AiProvider> AiProvider for Metered<P> {
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
    /// Dropping the future or the stream drops the call, which counts as dropped.
    async fn stream(&self, request: AiRequest) -> Result<AiStream, AiFailure> {
        let (model, purpose) = (self.provider.model().clone(), request.purpose);
        let Some(figures) = self.counts.of(&model, purpose) else {
            return self.provider.stream(request).await;
        };
        let mut call = Call {
            counts: Arc::clone(&self.counts),
            figures,
            model,
            purpose,
            tariff: Tariff::of(&self.provider, &request),
            began: Instant::now(),
            has_words: false,
            is_over: false,
        };
        match self.provider.stream(request).await {
            Ok(stream) => Ok(Watched::stream(stream, call)),
            Err(failure) => {
                call.fail(&failure);
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

impl MetricSource for Counts {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        let kinds: Vec<_> = lock(&self.kinds)
            .iter()
            .map(|(kind, figures)| (kind.clone(), Arc::clone(figures)))
            .collect();
        for ((model, purpose), figures) in kinds {
            figures.collect(metrics, |metric| {
                metric
                    .with_label("model", model.as_str().to_owned())
                    .with_label("purpose", purpose.as_str())
            });
        }
    }
}

impl Figures {
    fn collect(&self, metrics: &mut Vec<Metric>, labelled: impl Fn(Metric) -> Metric) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        for outcome in Outcome::ALL {
            let metric = Metric::counter(
                "medcards_ai_calls_total",
                "Calls of a model with all their attempts, by how they ended.",
                load(&self.outcomes[outcome as usize]),
            );
            metrics.push(labelled(metric).with_label("outcome", outcome.as_str()));
        }
        for (reason, count) in lock(&self.refusals).iter() {
            let metric = Metric::counter(
                "medcards_ai_refusals_total",
                "Calls for which no model was asked, by the reason.",
                *count,
            );
            metrics.push(labelled(metric).with_label("reason", *reason));
        }
        for (reason, count) in lock(&self.failures).iter() {
            let metric = Metric::counter(
                "medcards_ai_failures_total",
                "Calls of a model that failed, by the reason.",
                *count,
            );
            metrics.push(labelled(metric).with_label("reason", *reason));
        }
        let kinds = ["input", "cache_read", "cache_write", "output"];
        for (kind, tokens) in kinds.into_iter().zip(&self.tokens) {
            let metric = Metric::counter(
                "medcards_ai_tokens_total",
                "Tokens that a model told, by what they cost.",
                load(tokens),
            );
            metrics.push(labelled(metric).with_label("kind", kind));
        }
        metrics.push(labelled(Metric::counter(
            "medcards_ai_cost_microdollars_total",
            "What calls of a model cost, those that were dropped not included.",
            load(&self.cost),
        )));
        metrics.push(labelled(Metric::histogram(
            "medcards_ai_first_word_seconds",
            "How long the first word of a model took.",
            self.first_word.counts(),
        )));
        metrics.push(labelled(Metric::histogram(
            "medcards_ai_reply_seconds",
            "How long replies of a model took, failures included.",
            self.whole.counts(),
        )));
    }
}

impl<P: fmt::Debug> fmt::Debug for Metered<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metered")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

impl<P: fmt::Display> fmt::Display for Metered<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.provider.fmt(f)
    }
}
