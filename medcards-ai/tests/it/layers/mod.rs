//! What each layer promises, alone and stacked, over doubles in paused time.

mod breaker;
mod concurrency;
mod deadline;
mod failover;
mod faults;
mod metered;
mod random;
mod rate;
mod retry;
mod stack;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::ai::{
    AiBatches, AiCapability, AiFailure, AiProvider, AiRequest, AiStream, Billed, ModelId, Prompt,
    PromptPart, PromptVersion, RateLimits, Reply, collect_reply,
};
use medcards_core::memory::MemoryStore;
use medcards_core::metric::{MetricSource, MetricValue};
use medcards_core::spend::{
    MicroDollars, Price, Purpose, Reservation, ReserveOutcome, SpendBudget, SpendLedger,
    SpendQuery, SpendRow, SpendScope, SpendSum,
};
use medcards_core::testing::{SAMPLE_START, ScriptedProvider};
use medcards_core::time::Clock;
use medcards_core::{Error, ErrorKind, ReservationId, Result, Timestamp};
use tokio::time::Instant;

/// A clock that goes with tokio's, which tests pause.
#[derive(Debug)]
struct TokioClock(Instant);

impl TokioClock {
    fn start() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl fmt::Display for TokioClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokioClock")
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        SAMPLE_START + self.0.elapsed()
    }

    fn monotonic_us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap()
    }
}

/// A scripted provider that can say more: how long it takes, errors of all kinds, rate limits.
#[derive(Debug)]
struct Double {
    scripted: ScriptedProvider,
    failures: Mutex<VecDeque<Error>>,
    limits: Mutex<Option<RateLimits>>,
    delay: Mutex<Duration>,
    begun: Mutex<Vec<Instant>>,
    closed: AtomicUsize,
}

impl Double {
    fn new() -> Arc<Self> {
        Self::of(ScriptedProvider::new())
    }

    fn of(scripted: ScriptedProvider) -> Arc<Self> {
        Arc::new(Self {
            scripted,
            failures: Mutex::default(),
            limits: Mutex::default(),
            delay: Mutex::default(),
            begun: Mutex::default(),
            closed: AtomicUsize::new(0),
        })
    }

    /// The next call that no error before it takes fails like this, and is not billed.
    fn fail(&self, error: Error) {
        self.failures.lock().unwrap().push_back(error);
    }

    fn fail_times(&self, times: usize, kind: ErrorKind) {
        (0..times).for_each(|_| self.fail(error(kind)));
    }

    /// Every call takes this long before it begins.
    fn delay(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    fn limit(&self, limits: RateLimits) {
        *self.limits.lock().unwrap() = Some(limits);
    }

    /// How often it was asked.
    fn calls(&self) -> usize {
        self.begun.lock().unwrap().len()
    }

    /// When it was asked, since a moment.
    fn begun_since(&self, began: Instant) -> Vec<Duration> {
        let begun = self.begun.lock().unwrap();
        begun.iter().map(|at| *at - began).collect()
    }
}

impl fmt::Display for Double {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Double({})", self.scripted)
    }
}

#[async_trait]
impl AiProvider for Double {
    fn model(&self) -> &ModelId {
        self.scripted.model()
    }

    fn price(&self) -> Price {
        self.scripted.price()
    }

    fn capability(&self) -> AiCapability {
        self.scripted.capability()
    }

    async fn stream(&self, request: AiRequest) -> Result<AiStream, AiFailure> {
        self.begun.lock().unwrap().push(Instant::now());
        let delay = *self.delay.lock().unwrap();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let failure = self.failures.lock().unwrap().pop_front();
        match failure {
            Some(error) => Err(AiFailure::free(error)),
            None => self.scripted.stream(request).await,
        }
    }

    fn rate_limits(&self) -> Option<RateLimits> {
        *self.limits.lock().unwrap()
    }

    fn batches(&self) -> Option<&dyn AiBatches> {
        None
    }

    async fn close(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

/// A ledger in memory that counts how often it is asked.
#[derive(Debug)]
struct Ledger {
    store: MemoryStore,
    reserved: AtomicU64,
}

impl Ledger {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            store: MemoryStore::new(),
            reserved: AtomicU64::new(0),
        })
    }

    fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    /// What the first day came to.
    async fn sum(&self) -> SpendSum {
        let month = SAMPLE_START
            .to_zoned(medcards_core::jiff::tz::TimeZone::UTC)
            .date()
            .first_of_month();
        self.store.sums(&[SpendScope::Month(month)]).await.unwrap()[0]
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}

#[async_trait]
impl SpendLedger for Ledger {
    async fn reserve(&self, wish: &Reservation, budget: &SpendBudget) -> Result<ReserveOutcome> {
        self.reserved.fetch_add(1, Ordering::Relaxed);
        self.store.reserve(wish, budget).await
    }

    async fn settle(&self, reservation: ReservationId, spent: &SpendRow) -> Result<()> {
        self.store.settle(reservation, spent).await
    }

    async fn add(&self, rows: &[SpendRow]) -> Result<()> {
        self.store.add(rows).await
    }

    async fn totals(&self, query: &SpendQuery) -> Result<Vec<SpendRow>> {
        self.store.totals(query).await
    }

    async fn sums(&self, scopes: &[SpendScope]) -> Result<Vec<SpendSum>> {
        self.store.sums(scopes).await
    }
}

fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "ask double", "it fails as it was told")
}

fn request() -> AiRequest {
    let prompt = Prompt {
        version: PromptVersion::new(1),
        instructions: "Say what the choice means.".to_owned(),
        parts: vec![PromptPart::Case(
            "A man of 60 with palpitations.".to_owned(),
        )],
        output_tokens_max: 200,
        cache_through: None,
    };
    AiRequest::new(Purpose::Feedback, prompt)
}

/// The worst case of [`request`].
fn worst(provider: &dyn AiProvider) -> MicroDollars {
    let prompt = request().prompt;
    provider
        .price()
        .worst_case(prompt.len_bytes(), prompt.output_tokens_max)
}

async fn ask(provider: &dyn AiProvider) -> Result<Reply, AiFailure> {
    collect_reply(provider.stream(request()).await?).await
}

fn booked(cost: MicroDollars) -> Billed {
    Billed::Booked(cost)
}

/// The figure of a name whose labels contain this one.
fn figure(source: &dyn MetricSource, name: &str, label: (&str, &str)) -> f64 {
    let mut metrics = Vec::new();
    source.collect(&mut metrics);
    let of_name = metrics.iter().filter(|metric| {
        let mut labels = metric.labels.iter();
        metric.name == name && labels.any(|(name, value)| (*name, &**value) == label)
    });
    of_name
        .map(|metric| match &metric.value {
            MetricValue::Counter(count) => *count as f64,
            MetricValue::Gauge(value) => *value,
            MetricValue::Histogram(counts) => counts.count as f64,
            other => panic!("unexpected figure {other:?}"),
        })
        .sum()
}
