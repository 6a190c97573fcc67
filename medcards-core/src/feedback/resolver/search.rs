use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::timeout;

use super::flight::{Flight, Landing};
use super::generation::{Generation, Live, Missing, Outlet, STORE_WAIT_MAX, Wish, within};
use super::lead::{Holding, Lead};
use super::lifetime::lifetime;
use super::resolution::{Found, Freshness, SkipReason, TierOutcome, Trace};
use super::{FeedbackRequest, Inner};
use crate::ErrorKind;
use crate::ai::PersonalContext;
use crate::cache::{CacheEntry, CacheHit, Stage};
use crate::case::Case;
use crate::feedback::{Feedback, FeedbackKey, ReviewState, Shared, Tier};
use crate::lease::LeaseEnd;
use crate::spend::{MicroDollars, Payer};

/// One search for one key, through the tiers beyond this process's memory.
pub(super) struct Search {
    inner: Arc<Inner>,
    flight: Arc<Flight>,
    key: FeedbackKey,
    case: Arc<Case>,
    payer: Option<Payer>,
    trace: Trace,
    stale: Option<CacheHit>,
    /// How many withdrawals there were here when it began.
    withdrawals: u64,
    /// How many removals elsewhere the cache had heard of when it began.
    removals_heard: u64,
}

impl Search {
    pub(super) fn new(inner: &Arc<Inner>, flight: &Arc<Flight>, request: &FeedbackRequest) -> Self {
        Self {
            inner: Arc::clone(inner),
            flight: Arc::clone(flight),
            key: request.key.clone(),
            case: Arc::clone(&request.case),
            payer: request.payer,
            trace: Trace::default(),
            stale: None,
            withdrawals: inner.withdrawals.load(Ordering::Acquire),
            removals_heard: inner.cache.removals_heard(),
        }
    }

    /// Asks the tiers in turn. The flight leaves the map when this returns, is dropped or panics:
    /// by then what was found is cached, and kept.
    pub(super) async fn run(mut self) {
        let _departure = Departure {
            inner: Arc::clone(&self.inner),
            flight: Arc::clone(&self.flight),
            key: self.key.clone(),
        };
        self.trace.note(Tier::Local, TierOutcome::Miss);
        if self.found_in_cache().await || self.found_in_store().await {
            return;
        }
        self.ask_model().await;
        self.inner.counters.failed(&self.trace);
    }

    /// Whether the cache ends the search. One past its time but in its grace is served at once, and
    /// the search goes on for a new one.
    async fn found_in_cache(&mut self) -> bool {
        let looked = timeout(
            self.inner.config.cache_deadline,
            self.inner.cache.get(&self.key),
        );
        let hit = match looked.await {
            Ok(Ok(Some(hit))) => hit,
            Ok(Ok(None)) => return false,
            Ok(Err(error)) => {
                self.trace
                    .note(Tier::Remote, TierOutcome::Failed(error.kind()));
                return false;
            }
            Err(_) => {
                self.trace
                    .note(Tier::Remote, TierOutcome::Failed(ErrorKind::Timeout));
                return false;
            }
        };
        match hit.entry.lifetime().stage(self.inner.clock.now()) {
            Stage::Expired => return false,
            Stage::Fresh => {
                self.trace.note(hit.tier, TierOutcome::Hit);
                self.land(hit.entry, hit.tier, Freshness::Fresh, MicroDollars::ZERO);
                return true;
            }
            Stage::LastResort => {}
            Stage::Revalidate => {
                let freshness = Freshness::StaleWhileRevalidating;
                self.land(
                    Arc::clone(&hit.entry),
                    hit.tier,
                    freshness,
                    MicroDollars::ZERO,
                );
            }
        }
        self.trace.note(hit.tier, TierOutcome::Stale);
        self.stale = Some(hit);
        false
    }

    /// Whether the store of precomputed feedback ends the search: it has one, or one withdrawn.
    async fn found_in_store(&mut self) -> bool {
        self.inner.look_at_removals().await;
        if !self.inner.key_index.may_have(&self.key) {
            self.trace.note(Tier::Precomputed, TierOutcome::Miss);
            return false;
        }
        let looked = self.inner.precomputed.find_feedback(&self.key);
        let outcome = match timeout(self.inner.config.precomputed_deadline, looked).await {
            Ok(Ok(Some(feedback))) => return self.take_precomputed(feedback).await,
            Ok(Ok(None)) => TierOutcome::Miss,
            Ok(Err(error)) => TierOutcome::Failed(error.kind()),
            Err(_) => TierOutcome::Failed(ErrorKind::Timeout),
        };
        self.trace.note(Tier::Precomputed, outcome);
        false
    }

    async fn take_precomputed(&mut self, feedback: Feedback<Shared>) -> bool {
        match feedback.review {
            ReviewState::Withdrawn => {
                // What a reviewer withdrew is gone from every tier, and a model would write it again.
                let withdrawn = TierOutcome::Skipped(SkipReason::Withdrawn);
                self.trace.note(Tier::Precomputed, withdrawn);
                self.trace.note(Tier::Live, withdrawn);
                self.stale = None;
                self.forget().await;
                self.land_without(MicroDollars::ZERO);
                true
            }
            ReviewState::Unreviewed if !self.inner.config.serve_unreviewed => {
                self.trace.note(Tier::Precomputed, TierOutcome::Miss);
                false
            }
            ReviewState::Approved | ReviewState::Unreviewed => {
                self.trace.note(Tier::Precomputed, TierOutcome::Hit);
                let entry = self.entry(feedback);
                self.land(
                    Arc::clone(&entry),
                    Tier::Precomputed,
                    Freshness::Fresh,
                    MicroDollars::ZERO,
                );
                self.cache(entry).await;
                true
            }
        }
    }

    async fn ask_model(&mut self) {
        let inner = Arc::clone(&self.inner);
        let live = inner
            .live
            .as_ref()
            .filter(|_| inner.config.serve_unreviewed);
        let Some(live) = live else {
            self.trace
                .note(Tier::Live, TierOutcome::Skipped(SkipReason::Off));
            return self.land_without(MicroDollars::ZERO);
        };
        let leases = inner.leases.as_ref();
        // What failed here a moment ago needs no lease to be left alone.
        let is_recent = || inner.failures.is_recent(&self.key, inner.clock.now());
        let lead = match leases.filter(|_| !is_recent()) {
            Some(leases) => inner.lead(leases, &self.key, &self.flight).await,
            None => Lead::Alone,
        };
        match lead {
            Lead::Alone => self.generate(live, None).await,
            Lead::Holds(holding) => {
                // Another may have ended its lease between our look into the cache and this one.
                if self.found_in_cache().await {
                    return holding.end(LeaseEnd::Released).await;
                }
                if holding.is_takeover() {
                    inner.counters.takeovers();
                }
                self.generate(live, Some(*holding)).await;
            }
            Lead::Followed(feedback) => self.take_followed(*feedback).await,
            Lead::Failed(pause) => {
                let outcome = TierOutcome::Skipped(SkipReason::RecentFailure);
                self.land_missing(&Missing {
                    outcome,
                    pause: Some(pause),
                });
            }
            Lead::Over(kind) => self.land_missing(&Missing {
                outcome: TierOutcome::Failed(kind),
                pause: None,
            }),
        }
    }

    /// Takes what another process had written, which it has put where all find it.
    async fn take_followed(&mut self, feedback: Feedback<Shared>) {
        let followed = TierOutcome::Skipped(SkipReason::Followed);
        self.trace.note(Tier::Live, followed);
        self.trace.note(Tier::Remote, TierOutcome::Hit);
        let entry = self.entry(feedback);
        let found = Arc::clone(&entry);
        self.land(found, Tier::Remote, Freshness::Fresh, MicroDollars::ZERO);
        // Looking for it keeps it here too. A cache that is full or away has not got it.
        let looked = timeout(
            self.inner.config.cache_deadline,
            self.inner.cache.get(&self.key),
        );
        if !matches!(looked.await, Ok(Ok(Some(_)))) {
            self.cache(entry).await;
        }
        if self.inner.config.keep_generated {
            self.inner.key_index.insert(&self.key);
        }
    }

    async fn generate(&mut self, live: &Live, holding: Option<Holding>) {
        let inner = Arc::clone(&self.inner);
        let outlet = Outlet {
            flight: &self.flight,
            others: holding.as_ref().map(Holding::words),
        };
        let wish = Wish {
            case: &self.case,
            key: &self.key,
            payer: self.payer,
        };
        let generation = inner.generate_shared(live, outlet, wish).await;
        let Generation {
            written,
            cost,
            was_called,
        } = generation;
        match written {
            Ok(feedback) => {
                self.trace.note(Tier::Live, TierOutcome::Hit);
                let entry = self.entry(feedback);
                self.land(Arc::clone(&entry), Tier::Live, Freshness::Fresh, cost);
                self.finish(entry, holding).await;
            }
            Err(missing) => {
                self.remember(&missing);
                self.trace.note(Tier::Live, missing.outcome);
                self.land_without(cost);
                let pause = missing.pause.filter(|_| was_called);
                let end = pause.map_or(LeaseEnd::Released, LeaseEnd::Failed);
                if let Some(holding) = holding {
                    holding.end(end).await;
                }
            }
        }
    }

    /// Keeps what was written here, unless another has taken the lease meanwhile.
    async fn finish(&self, entry: Arc<CacheEntry>, holding: Option<Holding>) {
        if let Some(holding) = holding {
            if holding.is_lost().await {
                return tracing::warn!(
                    "another process took over a live call that was still going on"
                );
            }
            self.cache(Arc::clone(&entry)).await;
            let written = Box::new(entry.feedback().clone());
            holding.end(LeaseEnd::Written(written)).await;
        } else {
            self.cache(Arc::clone(&entry)).await;
        }
        self.keep(entry.feedback()).await;
    }

    fn land_missing(&mut self, missing: &Missing) {
        self.remember(missing);
        self.trace.note(Tier::Live, missing.outcome);
        self.land_without(MicroDollars::ZERO);
    }

    fn remember(&self, missing: &Missing) {
        if let Some(pause) = missing.pause {
            self.inner
                .failures
                .insert(self.key.clone(), self.inner.clock.now() + pause);
        }
    }

    fn entry(&self, feedback: Feedback<Shared>) -> Arc<CacheEntry> {
        let lifetime = lifetime(&self.inner.config, &self.key, self.inner.clock.now());
        Arc::new(CacheEntry::new(feedback, lifetime))
    }

    async fn cache(&self, entry: Arc<CacheEntry>) {
        let put = self.inner.cache.put(self.key.clone(), entry);
        match timeout(self.inner.config.cache_deadline, put).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a feedback could not be cached"),
            Err(_) => tracing::warn!("a feedback could not be cached in time"),
        }
        // A reviewer may have spoken of these words after they were read and before they were
        // cached: then they may not stay. It is forgotten too if it was about other words; the next
        // one reads it again.
        let is_withdrawn = self.inner.withdrawals.load(Ordering::Acquire) != self.withdrawals;
        let cache = &self.inner.cache;
        if is_withdrawn || cache.has_heard_of(&self.key, self.removals_heard) {
            self.forget().await;
        }
    }

    /// Keeps what a model wrote, be it another than that of the key: what students read, reviewers
    /// must see. If a reviewer has spoken of the key meanwhile, his word stands.
    async fn keep(&self, feedback: &Feedback<Shared>) {
        if !self.inner.config.keep_generated {
            return;
        }
        match within(
            STORE_WAIT_MAX,
            self.inner.precomputed.put_feedback(&self.key, feedback),
        )
        .await
        {
            Ok(is_kept) => {
                self.inner.key_index.insert(&self.key);
                if !is_kept {
                    self.forget().await;
                }
            }
            Err(error) => tracing::warn!(%error, "a live feedback could not be kept"),
        }
    }

    async fn forget(&self) {
        if let Err(error) = within(STORE_WAIT_MAX, self.inner.cache.remove(&self.key)).await {
            tracing::warn!(%error, "a feedback could not be removed from the cache");
        }
    }

    fn land(&self, entry: Arc<CacheEntry>, tier: Tier, freshness: Freshness, cost: MicroDollars) {
        let found = Some((Found::Entry(entry), tier, freshness));
        self.flight.land(Landing {
            found,
            cost,
            trace: self.trace,
        });
    }

    /// Lands with what is past its time, or with nothing.
    fn land_without(&self, cost: MicroDollars) {
        let found = self.stale.as_ref().map(|hit| {
            (
                Found::Entry(Arc::clone(&hit.entry)),
                hit.tier,
                Freshness::StaleOnFailure,
            )
        });
        self.flight.land(Landing {
            found,
            cost,
            trace: self.trace,
        });
    }
}

/// One search for feedback that one student alone may see: it asks the model and keeps nothing.
pub(super) struct PersonalSearch {
    inner: Arc<Inner>,
    flight: Arc<Flight>,
    key: FeedbackKey,
    case: Arc<Case>,
    payer: Option<Payer>,
    context: PersonalContext,
}

impl PersonalSearch {
    pub(super) fn new(
        inner: &Arc<Inner>,
        flight: &Arc<Flight>,
        request: &FeedbackRequest,
        context: PersonalContext,
    ) -> Self {
        Self {
            inner: Arc::clone(inner),
            flight: Arc::clone(flight),
            key: request.key.clone(),
            case: Arc::clone(&request.case),
            payer: request.payer,
            context,
        }
    }

    pub(super) async fn run(self) {
        let Self {
            inner,
            flight,
            key,
            case,
            payer,
            context,
        } = self;
        let _departure = Landed(Arc::clone(&flight));
        let Some(live) = &inner.live else { return };
        let wish = Wish {
            case: &case,
            key: &key,
            payer,
        };
        let generation = inner.generate_personal(live, &flight, wish, &context).await;
        let cost = generation.cost;
        let mut trace = Trace::default();
        let found = match generation.written {
            Ok(feedback) => {
                trace.note(Tier::Live, TierOutcome::Hit);
                Some((Found::from(feedback), Tier::Live, Freshness::Fresh))
            }
            Err(missing) => {
                trace.note(Tier::Live, missing.outcome);
                None
            }
        };
        inner.counters.failed(&trace);
        flight.land(Landing { found, cost, trace });
    }
}

/// Ends a flight on whatever way its search ends, a panic of a backend included.
struct Departure {
    inner: Arc<Inner>,
    flight: Arc<Flight>,
    key: FeedbackKey,
}

impl Drop for Departure {
    fn drop(&mut self) {
        land_broken(&self.flight);
        self.inner.flights.remove(&self.key, &self.flight);
    }
}

/// The same for a flight that is in no map.
struct Landed(Arc<Flight>);

impl Drop for Landed {
    fn drop(&mut self) {
        land_broken(&self.0);
    }
}

fn land_broken(flight: &Flight) {
    let mut trace = Trace::default();
    trace.note(Tier::Live, TierOutcome::Failed(ErrorKind::Unexpected));
    flight.land(Landing {
        found: None,
        cost: MicroDollars::ZERO,
        trace,
    });
}
