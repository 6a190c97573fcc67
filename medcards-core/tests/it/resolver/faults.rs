//! There is always an answer: a tier that breaks is a miss, recorded and counted.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use medcards_core::ErrorKind;
use medcards_core::ai::{
    AiCapability, AiFailure, AiProvider, AiRequest, AiStream, Billed, ModelId,
};
use medcards_core::feedback::{FeedbackResolver, Tier, TierOutcome};
use medcards_core::feedback::{PrecomputedStore, ResolverConfig};
use medcards_core::memory::{MemoryCache, MemoryStore};
use medcards_core::spend::Price;
use medcards_core::testing::{
    ManualClock, Operation, PlainPrompt, Script, ScriptedProvider, sample_feedback,
};

use super::Bench;

/// Each way in which one tier can break: what is served then, and what is recorded.
#[tokio::test(start_paused = true)]
async fn a_broken_tier_is_a_miss_that_is_recorded() {
    type Break = fn(&Bench);
    let table: [(&str, Break, Tier, Tier, ErrorKind); 8] = [
        (
            "cache fails",
            |b| {
                b.faults
                    .fail_next(Operation::CacheGet, 1, ErrorKind::Unavailable)
            },
            Tier::Precomputed,
            Tier::Remote,
            ErrorKind::Unavailable,
        ),
        (
            "cache hangs",
            |b| b.faults.hang_next(Operation::CacheGet, 1),
            Tier::Precomputed,
            Tier::Remote,
            ErrorKind::Timeout,
        ),
        (
            "store fails",
            |b| {
                b.faults
                    .fail_next(Operation::FindFeedback, 1, ErrorKind::Unavailable)
            },
            Tier::Live,
            Tier::Precomputed,
            ErrorKind::Unavailable,
        ),
        (
            "store hangs",
            |b| b.faults.hang_next(Operation::FindFeedback, 1),
            Tier::Live,
            Tier::Precomputed,
            ErrorKind::Timeout,
        ),
        (
            "store and ledger fail",
            |b| {
                b.faults
                    .fail_next(Operation::FindFeedback, 1, ErrorKind::Unavailable);
                b.faults.fail_next(Operation::Reserve, 1, ErrorKind::Full);
            },
            Tier::Authored,
            Tier::Live,
            ErrorKind::Full,
        ),
        (
            "store and provider fail",
            |b| {
                b.faults
                    .fail_next(Operation::FindFeedback, 1, ErrorKind::Unavailable);
                b.provider
                    .push(Script::fails(ErrorKind::Denied, Billed::Nothing));
            },
            Tier::Authored,
            Tier::Live,
            ErrorKind::Denied,
        ),
        (
            "store and everything after it fail",
            |b| {
                b.faults
                    .fail_next(Operation::FindFeedback, 1, ErrorKind::Corrupt);
                b.faults.fail_next(Operation::Reserve, 1, ErrorKind::Busy);
                b.faults
                    .fail_next(Operation::CacheGet, 1, ErrorKind::Unavailable);
            },
            Tier::Authored,
            Tier::Precomputed,
            ErrorKind::Corrupt,
        ),
        (
            "the provider breaks off",
            |b| {
                b.faults
                    .fail_next(Operation::FindFeedback, 1, ErrorKind::Unavailable);
                b.provider.push(Script::deltas(["It"]).then_breaks_off());
            },
            Tier::Authored,
            Tier::Live,
            ErrorKind::Corrupt,
        ),
    ];
    for (name, break_it, served, broken, kind) in table {
        let store = MemoryStore::new();
        let bench = Bench::build(
            ResolverConfig::default(),
            store.clone(),
            ScriptedProvider::new(),
        )
        .await;
        let key = bench.request(1).key;
        // Known to the index, so that the store is asked.
        store
            .put_feedback(&key, &sample_feedback("kept"))
            .await
            .unwrap();
        let bench = Bench::build(ResolverConfig::default(), store, ScriptedProvider::new()).await;
        break_it(&bench);
        let resolution = bench.resolve(1).await;
        assert_eq!(resolution.tier(), served, "{name}");
        let recorded = resolution.trace().outcome(broken);
        assert_eq!(recorded, Some(TierOutcome::Failed(kind)), "{name}");
        assert!(!resolution.text().is_empty(), "{name}");
        bench.faults.release();
        bench.settled().await;
    }
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_costs_no_answer() {
    let bench = Bench::new().await;
    bench
        .faults
        .fail_next(Operation::CachePut, 2, ErrorKind::Full);
    bench
        .faults
        .fail_next(Operation::PutFeedback, 1, ErrorKind::Full);
    assert_eq!(bench.resolve(1).await.tier(), Tier::Live);
    bench.settled().await;
    assert_eq!(
        bench.resolve(1).await.tier(),
        Tier::Live,
        "it had to be asked again"
    );
}

#[derive(Debug)]
struct Panicking(ModelId);

impl fmt::Display for Panicking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Panicking")
    }
}

#[async_trait]
impl AiProvider for Panicking {
    fn model(&self) -> &ModelId {
        &self.0
    }

    fn price(&self) -> Price {
        Price::default()
    }

    fn capability(&self) -> AiCapability {
        AiCapability::LIVE
    }

    async fn stream(&self, _request: AiRequest) -> Result<AiStream, AiFailure> {
        panic!("a defect in a stranger's provider")
    }
}

#[tokio::test]
async fn a_provider_that_panics_costs_no_answer_and_blocks_no_key() {
    let store = Arc::new(MemoryStore::new());
    let resolver = FeedbackResolver::builder(
        Arc::new(MemoryCache::new(1 << 20)),
        Arc::clone(&store) as _,
        store,
        Arc::new(ManualClock::default()),
    )
    .live(
        Arc::new(Panicking("model-1".parse().unwrap())),
        Arc::new(PlainPrompt::default()),
    )
    .build()
    .await
    .unwrap();
    let request = Bench::new().await.request(1);
    for _ in 0..2 {
        assert_eq!(resolver.resolve(&request).await.tier(), Tier::Authored);
    }
}

#[tokio::test]
async fn closing_waits_for_what_is_under_way_and_begins_nothing_new() {
    let bench = Bench::new().await;
    let gate = medcards_core::testing::Gate::new();
    bench.provider.push(Script::deltas(["late"]).gated(&gate));
    let caller = tokio::spawn({
        let (resolver, request) = (bench.resolver.clone(), bench.request(1));
        async move { resolver.resolve(&request).await }
    });
    bench.provider.called(1).await;
    let closing = tokio::spawn({
        let resolver = bench.resolver.clone();
        async move { resolver.close(std::time::Duration::from_secs(60)).await }
    });
    let refused = loop {
        // Until the closing has begun, another key would still be asked for live.
        tokio::task::yield_now().await;
        let refused = bench.resolve(2).await;
        if refused.tier() == Tier::Authored {
            break refused;
        }
        while bench.resolver.counts().flights > 1 {
            tokio::task::yield_now().await;
        }
        bench
            .resolver
            .purge_case(bench.request(2).key.case_id)
            .await
            .unwrap();
    };
    let live = refused.trace().outcome(Tier::Live).map(TierOutcome::as_str);
    assert_eq!(live, Some("closing"));
    assert!(!closing.is_finished());
    gate.open();
    closing.await.unwrap().unwrap();
    assert_eq!(caller.await.unwrap().text(), "late");
}
