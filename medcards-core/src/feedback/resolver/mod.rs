//! The tiered resolver: finds the feedback for a choice at the lowest cost, always.

mod builder;
mod config;
mod counters;
mod failures;
mod flight;
mod generation;
mod key_index;
mod lead;
mod lifetime;
mod request;
mod resolution;
mod reviews;
mod search;
mod stream;
mod tallies;

pub use builder::ResolverBuilder;
pub use config::ResolverConfig;
pub use counters::ResolverCounts;
pub use request::{FeedbackRequest, RequestAudience};
pub use resolution::{Freshness, Resolution, SkipReason, TierOutcome, Trace};
pub use stream::{FeedbackEnd, FeedbackEvent, FeedbackStream};

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::counters::Counters;
use self::failures::Failures;
use self::flight::{Boarding, Flight, Flights, Landing};
use self::generation::Live;
use self::key_index::KeyIndex;
use self::resolution::Found;
use self::reviews::Reviews;
use self::tallies::Tallies;
use super::authored_text;
use super::{Feedback, FeedbackKey, Origin, PrecomputedStore, Review, ReviewState, Shared, Tier};
use crate::ai::{ModelId, PersonalContext, PromptVersion};
use crate::cache::{Cache, CacheEntry, Stage};
use crate::case::{Case, OptionSet};
use crate::id::CaseId;
use crate::lease::FeedbackLeases;
use crate::spend::{MicroDollars, SpendBudget, SpendLedger};
use crate::time::{Clock, day_of};
use crate::user::{Level, Locale};
use crate::{Error, ErrorKind, Result};

/// Finds the feedback for a choice: the nearest cache, the cache beyond the process, the store of
/// precomputed feedback, a model, and last what the author wrote.
///
/// There is always an answer. A tier that breaks is a miss, which the [`Resolution`] records. Who
/// asks for the same key at the same time shares one search and one live call, which belongs to the
/// key and not to any caller; with [leases](ResolverBuilder::leases) also those who ask other
/// processes. Cloning gives a handle on the same resolver.
///
/// It keeps itself up: totals go to the ledger and new keys are read from the store in tasks that
/// its own use starts. Call [`close`](Self::close) before the program ends.
#[derive(Clone, Debug)]
pub struct FeedbackResolver {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    config: ResolverConfig,
    clock: Arc<dyn Clock>,
    cache: Arc<dyn Cache>,
    precomputed: Arc<dyn PrecomputedStore>,
    ledger: Arc<dyn SpendLedger>,
    live: Option<Live>,
    leases: Option<Arc<dyn FeedbackLeases>>,
    model: ModelId,
    /// The edition of the prompt for each level, by [`Level::index`].
    prompt_versions: [PromptVersion; Level::ALL.len()],
    flights: Flights,
    generations: Semaphore,
    failures: Failures,
    key_index: KeyIndex,
    reviews: Reviews,
    tallies: Tallies,
    counters: Counters,
    tasks: TaskTracker,
    /// Ends the wait of what is done in the background.
    closing: CancellationToken,
    is_flush_coming: AtomicBool,
    next_key_refresh_us: AtomicU64,
    /// How many reviews and purges there were in this process: who cached something meanwhile looks again.
    withdrawals: AtomicU64,
    /// How many removals elsewhere the key index was last refreshed for.
    removals_looked_at: AtomicU64,
    next_lease_warning_us: AtomicU64,
}

/// What a request begins with.
enum Start {
    Done(Box<Resolution>),
    Flight { flight: Arc<Flight>, is_first: bool },
}

impl FeedbackResolver {
    /// Begins a resolver over these backends, with the default configuration and no model.
    #[must_use]
    pub fn builder(
        cache: Arc<dyn Cache>,
        precomputed: Arc<dyn PrecomputedStore>,
        ledger: Arc<dyn SpendLedger>,
        clock: Arc<dyn Clock>,
    ) -> ResolverBuilder {
        ResolverBuilder::new(cache, precomputed, ledger, clock)
    }

    /// The key under which this resolver keeps the feedback for a choice, in a language and for
    /// students of a level.
    #[must_use]
    pub fn key(&self, case: &Case, chosen: OptionSet, locale: Locale, level: Level) -> FeedbackKey {
        FeedbackKey {
            case_id: case.id,
            case_version: case.version,
            chosen,
            locale,
            prompt_version: self.inner.prompt_versions[level.index()],
            model: self.inner.model.clone(),
        }
    }

    /// What may be spent, as the configuration says.
    #[must_use]
    pub fn spend_budget(&self) -> &SpendBudget {
        &self.inner.config.spend_budget
    }

    /// The model that is asked, or `None` if the live tier is off.
    #[must_use]
    pub fn live_model(&self) -> Option<&ModelId> {
        self.inner.live.as_ref().map(|_| &self.inner.model)
    }

    /// The feedback, if the memory of this process has it. Neither waits nor allocates.
    ///
    /// One past its time is served within the grace window, and a new one is fetched meanwhile, if
    /// this is called within a tokio runtime.
    #[must_use]
    pub fn resolve_local(&self, request: &FeedbackRequest) -> Option<Resolution> {
        match request.audience {
            RequestAudience::Personal(_) => None,
            RequestAudience::Shared => self.local(request, self.inner.clock.monotonic_us()),
        }
    }

    /// The feedback. It takes at most the deadline of the configuration.
    ///
    /// # Cancel safety
    /// Dropping the future stops nothing: a search that has begun goes on, and what it finds is
    /// kept for whoever asks next.
    pub async fn resolve(&self, request: &FeedbackRequest) -> Resolution {
        let started_us = self.inner.clock.monotonic_us();
        let deadline = Instant::now() + self.inner.config.deadline;
        let (flight, is_first) = match self.start(request, started_us) {
            Start::Done(resolution) => return *resolution,
            Start::Flight { flight, is_first } => (flight, is_first),
        };
        let Ok(landing) = timeout_at(deadline, flight.landing()).await else {
            return self.give_up(request, started_us);
        };
        if landing.found.is_some() || request.audience == RequestAudience::Shared {
            return self.finish(request, landing, is_first, started_us);
        }
        // Nothing personal can be had: what anyone may see is better than nothing. What the attempt
        // cost is part of what this answer cost.
        let attempt = landing.cost;
        let shared = FeedbackRequest {
            audience: RequestAudience::Shared,
            ..request.clone()
        };
        let mut resolution = match self.start(&shared, started_us) {
            Start::Done(resolution) => *resolution,
            Start::Flight { flight, is_first } => {
                match timeout_at(deadline, flight.landing()).await {
                    Ok(landing) => self.finish(&shared, landing, is_first, started_us),
                    Err(_) => self.give_up(&shared, started_us),
                }
            }
        };
        resolution.cost += attempt;
        resolution
    }

    /// The feedback as it arrives: deltas, then exactly one end.
    ///
    /// All who follow one live call get the same deltas, from the start. The first words come
    /// within the deadline of the configuration, the end within that of a generation.
    ///
    /// # Cancel safety
    /// Dropping the stream stops nothing, as with [`resolve`](Self::resolve).
    #[must_use]
    pub fn resolve_stream(&self, request: FeedbackRequest) -> FeedbackStream {
        stream::feedback_stream(self.clone(), request)
    }

    /// Writes down what a reviewer said of a feedback, and forgets it in every cache.
    ///
    /// After this returns, the old words are served by no tier of this process. Others that share a
    /// cache hear of it at once; those that share nothing but the store, within
    /// [`key_refresh_interval`](ResolverConfig::key_refresh_interval) of their next use.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if the store has no feedback for the key;
    /// those of the store. A cache beyond the process that does not answer is none: the review
    /// stands, and others learn of it from the store.
    pub async fn review(&self, key: &FeedbackKey, review: Review) -> Result<Feedback<Shared>> {
        let feedback = self.inner.precomputed.review_feedback(key, review).await?;
        self.inner.reviewed(key).await;
        Ok(feedback)
    }

    /// Forgets every cached feedback of a case. Precomputed feedback stays.
    ///
    /// # Errors
    /// Those of the cache.
    pub async fn purge_case(&self, case_id: CaseId) -> Result<()> {
        self.inner.withdrawals.fetch_add(1, Ordering::AcqRel);
        self.inner.cache.purge_case(case_id).await
    }

    /// What was done since the resolver was built.
    #[must_use]
    pub fn counts(&self) -> ResolverCounts {
        self.inner.counters.read(self.inner.flights.len())
    }

    /// Tells the ledger what was served since it was last told.
    ///
    /// # Errors
    /// Those of the ledger; then everything is told with the next flush.
    ///
    /// # Cancel safety
    /// Dropping the future stops nothing: the ledger is told all the same, and once.
    pub async fn flush(&self) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        let day = day_of(inner.clock.now());
        let flush = async move { inner.tallies.flush(&*inner.ledger, day).await };
        self.inner.tasks.spawn(flush).await.map_err(|source| {
            Error::new(ErrorKind::Unexpected, "book totals", "the flush broke off")
                .with_source(source)
        })?
    }

    /// Reads which feedback the store has, so that what was written elsewhere a moment ago is found
    /// before the next refresh.
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// # Cancel safety
    /// Dropping the future keeps what was read; the next refresh goes on from there.
    pub async fn refresh_keys(&self) -> Result<()> {
        self.inner.key_index.refresh(&*self.inner.precomputed).await
    }

    /// Makes no more live calls, waits at most `patience` for those under way, and flushes.
    ///
    /// Requests are still served from what is there.
    ///
    /// # Errors
    /// Those of the ledger, from the flush.
    pub async fn close(&self, patience: Duration) -> Result<()> {
        self.inner.tasks.close();
        self.inner.closing.cancel();
        if timeout(patience, self.inner.tasks.wait()).await.is_err() {
            tracing::warn!(
                tasks = self.inner.tasks.len(),
                "closing with searches under way"
            );
        }
        if let Some(live) = &self.inner.live
            && timeout(patience, live.provider.close()).await.is_err()
        {
            tracing::warn!("closing with live calls that are not booked");
        }
        self.flush().await
    }

    fn start(&self, request: &FeedbackRequest, started_us: u64) -> Start {
        if let RequestAudience::Personal(context) = &request.audience
            && self.inner.live.is_some()
        {
            let flight = self.inner.fly_alone(request, context.clone());
            return Start::Flight {
                flight,
                is_first: true,
            };
        }
        if let Some(resolution) = self.local(request, started_us) {
            return Start::Done(Box::new(resolution));
        }
        match self.inner.board(request) {
            Boarding::Arrived(entry) => Start::Done(Box::new(self.hit(request, entry, started_us))),
            Boarding::First(flight) => Start::Flight {
                flight,
                is_first: true,
            },
            Boarding::Full => {
                let mut trace = Trace::default();
                trace.note(Tier::Live, TierOutcome::Skipped(SkipReason::Busy));
                Start::Done(Box::new(self.authored(request, trace, started_us)))
            }
            Boarding::Joined(flight) => {
                self.inner.counters.shared_flights();
                Start::Flight {
                    flight,
                    is_first: false,
                }
            }
        }
    }

    /// What the memory of this process has.
    fn local(&self, request: &FeedbackRequest, started_us: u64) -> Option<Resolution> {
        let entry = self.inner.cache.get_local(&request.key)?;
        let now = self.inner.clock.now();
        match entry.lifetime().stage(now) {
            Stage::Fresh => Some(self.hit(request, entry, started_us)),
            Stage::Revalidate => {
                if Handle::try_current().is_ok() {
                    self.inner.board(request);
                }
                let found = Found::Entry(entry);
                let freshness = Freshness::StaleWhileRevalidating;
                let mut trace = Trace::default();
                trace.note(Tier::Local, TierOutcome::Stale);
                Some(self.serve(
                    request,
                    (found, Tier::Local, freshness),
                    trace,
                    false,
                    started_us,
                ))
            }
            Stage::Expired | Stage::LastResort => None,
        }
    }

    fn hit(
        &self,
        request: &FeedbackRequest,
        entry: Arc<CacheEntry>,
        started_us: u64,
    ) -> Resolution {
        let mut trace = Trace::default();
        trace.note(Tier::Local, TierOutcome::Hit);
        let found = (Found::Entry(entry), Tier::Local, Freshness::Fresh);
        self.serve(request, found, trace, false, started_us)
    }

    fn finish(
        &self,
        request: &FeedbackRequest,
        landing: Landing,
        is_first: bool,
        started_us: u64,
    ) -> Resolution {
        let mut resolution = match landing.found {
            Some(found) => self.serve(request, found, landing.trace, is_first, started_us),
            None => self.authored(request, landing.trace, started_us),
        };
        if is_first {
            resolution.cost = landing.cost;
        }
        resolution
    }

    /// Serves what there is although the search has not ended.
    fn give_up(&self, request: &FeedbackRequest, started_us: u64) -> Resolution {
        let mut trace = Trace::default();
        trace.note(Tier::Live, TierOutcome::Skipped(SkipReason::Deadline));
        let kept = self.inner.cache.get_local(&request.key);
        let now = self.inner.clock.now();
        match kept.filter(|entry| entry.lifetime().stage(now) != Stage::Expired) {
            Some(entry) => {
                trace.note(Tier::Local, TierOutcome::Stale);
                let found = (Found::Entry(entry), Tier::Local, Freshness::StaleOnFailure);
                self.serve(request, found, trace, false, started_us)
            }
            None => self.authored(request, trace, started_us),
        }
    }

    fn authored(&self, request: &FeedbackRequest, mut trace: Trace, started_us: u64) -> Resolution {
        trace.note(Tier::Authored, TierOutcome::Hit);
        let FeedbackRequest { key, case, .. } = request;
        let feedback = Feedback {
            text: authored_text(case, key.chosen, key.locale),
            origin: Origin::Authored,
            model: None,
            prompt_version: None,
            review: ReviewState::Approved,
            cost: MicroDollars::ZERO,
            written_at: case.published_at,
            audience: std::marker::PhantomData,
        };
        let found = (
            Found::Authored(Arc::new(feedback)),
            Tier::Authored,
            Freshness::Fresh,
        );
        self.serve(request, found, trace, false, started_us)
    }

    /// Makes the resolution, and counts it. Its cost is booked by the live call itself.
    fn serve(
        &self,
        request: &FeedbackRequest,
        (found, tier, freshness): (Found, Tier, Freshness),
        trace: Trace,
        is_first: bool,
        started_us: u64,
    ) -> Resolution {
        let is_own_call = is_first && tier == Tier::Live;
        let saved = match &found {
            Found::Entry(entry) if !is_own_call => entry.feedback().cost,
            Found::Authored(_) | Found::Entry(_) | Found::Personal(_) => MicroDollars::ZERO,
        };
        let case_id = request.key.case_id;
        match &found {
            Found::Entry(entry) => {
                let model = entry.feedback().model.as_ref();
                entry
                    .tally(|| self.inner.tallies.find(case_id, model))
                    .add(tier, saved);
            }
            Found::Authored(_) => self.inner.tallies.find(case_id, None).add(tier, saved),
            Found::Personal(feedback) => {
                let tally = self.inner.tallies.find(case_id, feedback.model.as_ref());
                tally.add(tier, saved);
            }
        }
        let latency_us = self.inner.clock.monotonic_us().saturating_sub(started_us);
        let resolution = Resolution {
            found,
            tier,
            freshness,
            latency_us,
            cost: MicroDollars::ZERO,
            saved,
            trace,
        };
        self.inner.counters.served(&resolution);
        self.keep_up();
        resolution
    }

    /// Sees to it that what was served is booked soon, and that new keys are read now and then.
    /// Does nothing outside a tokio runtime: the next one within sees to it.
    fn keep_up(&self) {
        if self.inner.is_flush_coming.load(Ordering::Relaxed) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if self.inner.is_flush_coming.swap(true, Ordering::AcqRel) {
            return;
        }
        let resolver = self.clone();
        drop(
            self.inner
                .tasks
                .spawn_on(resolver.keep_up_later(), &runtime),
        );
    }

    async fn keep_up_later(self) {
        let inner = &self.inner;
        tokio::select! {
            () = sleep(inner.config.flush_interval) => {}
            () = inner.closing.cancelled() => {}
        }
        // Before the totals are taken: what is served from now on brings the next flush.
        inner.is_flush_coming.store(false, Ordering::Release);
        let day = day_of(inner.clock.now());
        if let Err(error) = inner.tallies.flush(&*inner.ledger, day).await {
            tracing::warn!(%error, "the totals will be booked with the next flush");
        }
        let now_us = inner.clock.monotonic_us();
        if is_due(
            &inner.next_key_refresh_us,
            inner.config.key_refresh_interval,
            now_us,
        ) {
            if let Err(error) = inner.key_index.refresh(&*inner.precomputed).await {
                tracing::warn!(%error, "new precomputed feedback will be seen with the next refresh");
            }
            inner.hear_of_reviews().await;
        }
    }
}

impl Inner {
    /// Forgets the words of a key of which a reviewer has spoken.
    async fn reviewed(&self, key: &FeedbackKey) {
        // The index first: else a search could pass by the review between the two. Then the count:
        // a search that read the old words and caches them after the removal below sees it. Then
        // the search under way: else others could join it and be given the old words.
        self.key_index.insert(key);
        self.withdrawals.fetch_add(1, Ordering::AcqRel);
        self.flights.forget(key);
        if let Err(error) = self.cache.remove(key).await {
            tracing::warn!(%error, "a review could not be told to the cache; others learn of it from the store");
        }
    }

    /// Acts on what reviewers said at other processes.
    async fn hear_of_reviews(&self) {
        match self.reviews.news(&*self.precomputed).await {
            Ok(keys) => {
                for key in &keys {
                    self.reviewed(key).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "what reviewers said elsewhere will be heard with the next refresh");
            }
        }
    }

    /// Reads new keys of precomputed feedback after another process removed something: it may have been
    /// withdrawn there, under a key that this process does not know yet and would ask the model for.
    async fn look_at_removals(&self) {
        let heard = self.cache.removals_heard();
        if self.removals_looked_at.swap(heard, Ordering::AcqRel) == heard {
            return;
        }
        let refresh = self.key_index.refresh(&*self.precomputed);
        match timeout(self.config.precomputed_deadline, refresh).await {
            Ok(Ok(())) => {}
            // With the next refresh, or the next removal.
            Ok(Err(error)) => tracing::debug!(%error, "new keys could not be read"),
            Err(_) => tracing::debug!("new keys could not be read in time"),
        }
    }

    /// Joins the search for a key, or begins one in a task of its own.
    fn board(self: &Arc<Self>, request: &FeedbackRequest) -> Boarding {
        let now = self.clock.now();
        let fresh = || {
            let entry = self.cache.get_local(&request.key)?;
            (entry.lifetime().stage(now) == Stage::Fresh).then_some(entry)
        };
        let boarding = self.flights.board(&request.key, fresh);
        if let Boarding::First(flight) = &boarding {
            let search = search::Search::new(self, flight, request);
            drop(self.tasks.spawn(search.run()));
        }
        boarding
    }

    /// Begins a search that nobody can join.
    fn fly_alone(
        self: &Arc<Self>,
        request: &FeedbackRequest,
        context: PersonalContext,
    ) -> Arc<Flight> {
        let flight = Flight::new();
        let search = search::PersonalSearch::new(self, &flight, request, context);
        drop(self.tasks.spawn(search.run()));
        flight
    }
}

impl fmt::Display for FeedbackResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            cache,
            precomputed,
            live,
            ..
        } = &*self.inner;
        write!(f, "FeedbackResolver({cache}, {precomputed}, ")?;
        match live {
            Some(live) => write!(f, "{})", live.provider),
            None => f.write_str("no live tier)"),
        }
    }
}

/// Whether the time has come; of several who ask at once, one is told so.
fn is_due(next_us: &AtomicU64, interval: Duration, now_us: u64) -> bool {
    let due = next_us.load(Ordering::Relaxed);
    let interval_us = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
    let next = now_us.saturating_add(interval_us);
    now_us >= due
        && next_us
            .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
}
