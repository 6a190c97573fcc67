//! Precomputed feedback and its review.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use medcards_core::cache::{Cache, CacheEntry, CacheHit};
use medcards_core::feedback::{
    Feedback, FeedbackKey, FeedbackResolver, Origin, PrecomputedStore, ResolverConfig, Review,
    ReviewDecision, ReviewState, Shared, Tier, TierOutcome,
};
use medcards_core::memory::{MemoryCache, MemoryStore};
use medcards_core::spend::MicroDollars;
use medcards_core::testing::{
    Gate, Operation, PlainPrompt, SAMPLE_START, Script, ScriptedProvider, sample_feedback,
    sample_key, sample_user_id,
};

use medcards_core::{CaseId, Result};

use super::Bench;

fn review(decision: ReviewDecision) -> Review {
    Review {
        decision,
        reviewer: sample_user_id(9),
        reviewed_at: SAMPLE_START,
    }
}

async fn with_kept(feedback: Feedback<Shared>, config: ResolverConfig) -> Bench {
    let store = MemoryStore::new();
    let bench = Bench::build(config.clone(), store.clone(), ScriptedProvider::new()).await;
    store
        .put_feedback(&bench.request(1).key, &feedback)
        .await
        .expect("the store works");
    Bench::build(config, store, ScriptedProvider::new()).await
}

#[tokio::test]
async fn a_kept_feedback_is_served_at_no_cost_and_then_cached() {
    let bench = with_kept(sample_feedback("kept"), ResolverConfig::default()).await;
    let first = bench.resolve(1).await;
    assert_eq!((first.tier(), first.text()), (Tier::Precomputed, "kept"));
    assert_eq!(
        (first.cost(), first.saved()),
        (MicroDollars::ZERO, MicroDollars::new(1_250))
    );
    bench.settled().await;
    assert_eq!(bench.resolve(1).await.tier(), Tier::Local);
    assert_eq!(bench.provider.calls(), 0);
}

#[tokio::test]
async fn a_key_that_is_not_kept_costs_no_query() {
    let bench = with_kept(sample_feedback("kept"), ResolverConfig::default()).await;
    bench.resolve(2).await;
    assert_eq!(bench.faults.calls(Operation::FindFeedback), 0);
    bench.resolve(1).await;
    assert_eq!(bench.faults.calls(Operation::FindFeedback), 1);
}

#[tokio::test]
async fn a_live_feedback_is_kept_and_outlives_the_process() {
    let bench = Bench::new().await;
    let live = bench.resolve(1).await;
    bench.settled().await;
    let restarted = Bench::build(
        ResolverConfig::default(),
        bench.store.clone(),
        bench.provider.clone(),
    )
    .await;
    let kept = restarted.resolve(1).await;
    assert_eq!(
        (kept.tier(), kept.origin()),
        (Tier::Precomputed, Origin::Live)
    );
    assert_eq!(kept.text(), live.text());
    assert_eq!(bench.provider.calls(), 1);
}

/// What is served once a reviewer has spoken, wherever the words were before.
#[tokio::test]
async fn what_a_reviewer_says_holds_in_every_tier() {
    for (name, decision, tier, text) in [
        (
            "approve",
            ReviewDecision::Approve,
            Tier::Precomputed,
            "kept",
        ),
        (
            "mend",
            ReviewDecision::Mend("mended".to_owned()),
            Tier::Precomputed,
            "mended",
        ),
        (
            "withdraw",
            ReviewDecision::Withdraw,
            Tier::Authored,
            "Finding 1 of sample 1",
        ),
    ] {
        let bench = with_kept(sample_feedback("kept"), ResolverConfig::default()).await;
        bench.resolve(1).await;
        bench.settled().await;
        assert!(bench.is_cached(1), "{name}");
        bench
            .resolver
            .review(&bench.request(1).key, review(decision))
            .await
            .unwrap();
        for turn in 0..2 {
            let resolution = bench.resolve(1).await;
            assert!(
                resolution.text().contains(text),
                "{name}: {}",
                resolution.text()
            );
            if turn == 0 {
                assert_eq!(resolution.tier(), tier, "{name}");
            }
            bench.settled().await;
        }
        assert_eq!(
            bench.provider.calls(),
            0,
            "{name}: no model is asked to write it again"
        );
    }
}

#[tokio::test]
async fn a_text_withdrawn_while_a_model_writes_it_again_stays_withdrawn() {
    let bench = Bench::new().await;
    let gate = Gate::new();
    bench.provider.push(Script::deltas(["bad"]).gated(&gate));
    let key = bench.request(1).key;
    let caller = tokio::spawn({
        let (resolver, request) = (bench.resolver.clone(), bench.request(1));
        async move { resolver.resolve(&request).await }
    });
    bench.provider.called(1).await;
    // Another process kept the same words, and a reviewer saw them there.
    bench
        .store
        .put_feedback(&key, &sample_feedback("bad"))
        .await
        .unwrap();
    bench
        .resolver
        .review(&key, review(ReviewDecision::Withdraw))
        .await
        .unwrap();
    gate.open();
    caller.await.unwrap();
    bench.settled().await;
    let resolution = bench.resolve(1).await;
    assert_eq!(resolution.tier(), Tier::Authored);
    let precomputed = resolution
        .trace()
        .outcome(Tier::Precomputed)
        .map(TierOutcome::as_str);
    assert_eq!(precomputed, Some("withdrawn"));
}

/// The search read the old words before the reviewer spoke, and caches them afterwards.
#[tokio::test]
async fn words_withdrawn_while_a_search_caches_them_do_not_stay() {
    let mut config = ResolverConfig::default();
    config.cache_deadline = std::time::Duration::from_secs(60);
    let bench = with_kept(sample_feedback("kept"), config).await;
    bench.faults.hang_next(Operation::CachePut, 1);
    assert_eq!(bench.resolve(1).await.text(), "kept");
    let key = bench.request(1).key;
    let withdrawn = review(ReviewDecision::Withdraw);
    bench.resolver.review(&key, withdrawn).await.unwrap();
    assert_eq!(
        bench.resolve(1).await.tier(),
        Tier::Authored,
        "nobody joins the old search"
    );
    bench.faults.release();
    while bench.faults.calls(Operation::CacheRemove) < 2 {
        tokio::task::yield_now().await;
    }
    bench.settled().await;
    assert!(!bench.is_cached(1));
    assert_eq!(bench.resolve(1).await.tier(), Tier::Authored);
}

/// Another process's reviewer withdrew it, so that this process's cache was not told.
#[tokio::test]
async fn an_old_text_that_was_withdrawn_elsewhere_is_no_last_resort() {
    let bench = with_kept(sample_feedback("kept"), ResolverConfig::default()).await;
    bench.resolve(1).await;
    bench.settled().await;
    let key = bench.request(1).key;
    bench
        .store
        .review_feedback(&key, review(ReviewDecision::Withdraw))
        .await
        .unwrap();
    bench.clock.advance(std::time::Duration::from_hours(30));
    assert_eq!(bench.resolve(1).await.tier(), Tier::Authored);
    bench.settled().await;
    assert!(!bench.is_cached(1));
}

#[tokio::test]
async fn where_only_reviewed_words_are_served_no_model_is_asked() {
    let mut config = ResolverConfig::default();
    config.serve_unreviewed = false;
    let bench = with_kept(sample_feedback("kept"), config.clone()).await;
    assert_eq!(bench.resolve(1).await.tier(), Tier::Authored);
    bench.settled().await;

    let approved = Feedback {
        review: ReviewState::Approved,
        ..sample_feedback("kept")
    };
    let bench = with_kept(approved, config).await;
    assert_eq!(bench.resolve(1).await.tier(), Tier::Precomputed);
    assert_eq!(bench.provider.calls(), 0);
}

/// A cache that other processes share, as far as it hears of their removals.
#[derive(Debug)]
struct Heard {
    cache: MemoryCache,
    removals: Arc<AtomicU64>,
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Heard")
    }
}

#[async_trait]
impl Cache for Heard {
    fn get_local(&self, key: &FeedbackKey) -> Option<Arc<CacheEntry>> {
        self.cache.get_local(key)
    }

    async fn get(&self, key: &FeedbackKey) -> Result<Option<CacheHit>> {
        self.cache.get(key).await
    }

    async fn get_many(&self, keys: &[FeedbackKey]) -> Result<Vec<Option<CacheHit>>> {
        self.cache.get_many(keys).await
    }

    async fn put(&self, key: FeedbackKey, entry: Arc<CacheEntry>) -> Result<()> {
        self.cache.put(key, entry).await
    }

    async fn remove(&self, key: &FeedbackKey) -> Result<()> {
        self.cache.remove(key).await
    }

    async fn purge_case(&self, case_id: CaseId) -> Result<()> {
        self.cache.purge_case(case_id).await
    }

    fn removals_heard(&self) -> u64 {
        self.removals.load(Ordering::SeqCst)
    }

    fn has_heard_of(&self, key: &FeedbackKey, since: u64) -> bool {
        since < self.removals_heard() && key.case_id == sample_key(1).case_id
    }
}

/// A resolver over a cache that hears of removals, of the first sample case.
async fn hearing(bench: &Bench) -> (FeedbackResolver, ScriptedProvider, Arc<AtomicU64>) {
    let removals = Arc::new(AtomicU64::new(0));
    let cache = Heard {
        cache: MemoryCache::new(16 << 20),
        removals: Arc::clone(&removals),
    };
    let (store, provider) = (Arc::new(bench.store.clone()), ScriptedProvider::new());
    let resolver = FeedbackResolver::builder(
        Arc::new(cache),
        Arc::clone(&store) as _,
        store,
        Arc::clone(&bench.clock) as _,
    )
    .live(Arc::new(provider.clone()), Arc::new(PlainPrompt::default()))
    .build();
    let resolver = resolver.await.expect("the configuration is sound");
    (resolver, provider, removals)
}

/// Or else one removal would keep all that is written at the time from every cache, on and on.
#[tokio::test]
async fn a_removal_elsewhere_takes_what_it_is_of_from_the_cache_and_nothing_else() {
    let bench = Bench::new().await;
    let (here, provider, removals) = hearing(&bench).await;
    let gate = Gate::new();
    for _ in 0..2 {
        provider.push(Script::deltas(["Some ", "words of a model."]).gated(&gate));
    }
    let requests = [bench.request(1), bench.request(2)];
    let searches = requests.clone().map(|request| {
        let here = here.clone();
        tokio::spawn(async move { here.resolve(&request).await })
    });
    provider.called(2).await;
    removals.fetch_add(1, Ordering::SeqCst);
    gate.open();
    for search in searches {
        assert_eq!(search.await.unwrap().tier(), Tier::Live);
    }
    while here.counts().flights > 0 {
        tokio::task::yield_now().await;
    }
    let is_cached = requests.map(|request| here.resolve_local(&request).is_some());
    assert_eq!(is_cached, [false, true]);
}

/// It was kept there after this process last read the keys, so that it would ask the model for it.
#[tokio::test]
async fn what_another_process_kept_and_withdrew_is_not_written_again() {
    let bench = Bench::new().await;
    let (here, provider, removals) = hearing(&bench).await;
    let request = bench.request(1);
    assert_eq!(bench.resolve(1).await.tier(), Tier::Live);
    bench.settled().await;
    let withdrawal = review(ReviewDecision::Withdraw);
    let reviewed = bench.resolver.review(&request.key, withdrawal).await;
    reviewed.expect("the store works");
    removals.fetch_add(1, Ordering::SeqCst);

    assert_eq!(here.resolve(&request).await.tier(), Tier::Authored);
    assert_eq!(provider.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_reviewer_says_is_heard_by_processes_that_share_only_the_store() {
    for decision in [
        ReviewDecision::Withdraw,
        ReviewDecision::Mend("Better words.".to_owned()),
    ] {
        let store = MemoryStore::new();
        let config = ResolverConfig::default();
        let interval = config.key_refresh_interval;
        let here = Bench::build(config.clone(), store.clone(), ScriptedProvider::new()).await;
        let there = Bench::build(config, store.clone(), ScriptedProvider::new()).await;
        let key = here.request(1).key;
        let kept = sample_feedback("Old words.");
        store.put_feedback(&key, &kept).await.unwrap();
        for bench in [&here, &there] {
            bench.resolver.refresh_keys().await.unwrap();
            assert_eq!(bench.resolve(1).await.text(), "Old words.");
            bench.settled().await;
        }

        let spoken = review(decision.clone());
        here.resolver.review(&key, spoken).await.unwrap();
        there.clock.advance(interval);
        // Each use brings the next look at the store, a moment later.
        for _ in 0..2 {
            there.resolve(1).await;
            tokio::time::sleep(interval).await;
            there.settled().await;
        }
        let now = there.resolve(1).await;
        match &decision {
            ReviewDecision::Mend(words) => assert_eq!(now.text(), words),
            _ => assert_eq!(now.tier(), Tier::Authored, "{}", now.text()),
        }
        assert_eq!(there.provider.calls(), 0);
    }
}

#[tokio::test]
async fn a_review_stands_although_the_cache_does_not_answer() {
    let bench = with_kept(sample_feedback("kept"), ResolverConfig::default()).await;
    bench
        .faults
        .fail_next(Operation::CacheRemove, 1, medcards_core::ErrorKind::Timeout);
    let key = bench.request(1).key;
    let reviewed = bench
        .resolver
        .review(&key, review(ReviewDecision::Withdraw));
    assert_eq!(reviewed.await.unwrap().review, ReviewState::Withdrawn);
    assert_eq!(bench.resolve(1).await.tier(), Tier::Authored);
}
