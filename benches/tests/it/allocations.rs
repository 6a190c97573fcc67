use std::hint::black_box;
use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use medcards_benches::{Bench, without_upkeep};
use medcards_cache::MokaCache;
use medcards_core::cache::Cache;
use medcards_core::feedback::FeedbackRequest;
use medcards_core::memory::MemoryCache;
use medcards_core::time::SystemClock;

/// How many hits are counted: a hundred times round all warm keys, so that the upkeep of a cache
/// that its hits do runs too.
const HITS: usize = 102_400;

/// How far two counts of moka's own allocations may lie apart: they depend on where its upkeep
/// stands, and there is one for each 128 hits.
const COUNT_DRIFT_MAX: u64 = 8;

/// One after the other: moka collects the garbage of the whole process, so that a test beside another
/// would count what the other left.
#[tokio::test]
async fn local_hits_allocate_nothing_of_their_own() {
    the_counter_is_not_blind().await;
    a_local_hit_of_the_memory_cache_allocates_nothing_even_after_removals().await;
    a_local_hit_of_the_moka_cache_allocates_nothing().await;
    after_removals_a_local_hit_allocates_no_more_than_moka_itself().await;
}

async fn a_local_hit_of_the_memory_cache_allocates_nothing_even_after_removals() {
    let (bench, requests) = warm(memory()).await;
    bench.put_again(&requests).await;
    assert_eq!(hits(&bench, &requests).count_total, 0);
}

async fn a_local_hit_of_the_moka_cache_allocates_nothing() {
    let (bench, requests) = warm(moka()).await;
    assert_eq!(hits(&bench, &requests).count_total, 0);
}

/// Once something was removed, moka's `get` collects garbage by itself, which allocates about 2 kB
/// for each 128 calls. The resolver must add nothing to that.
async fn after_removals_a_local_hit_allocates_no_more_than_moka_itself() {
    let (bench, requests) = warm(moka()).await;
    bench.put_again(&requests).await;
    let through_resolver = hits(&bench, &requests).count_total;
    let moka_alone = measure(|| {
        for request in requests.iter().cycle().take(HITS) {
            drop(black_box(bench.cache.get_local(black_box(&request.key))));
        }
    });
    assert!(
        through_resolver <= moka_alone.count_total + COUNT_DRIFT_MAX,
        "{through_resolver} allocations, {} without the resolver",
        moka_alone.count_total
    );
}

async fn the_counter_is_not_blind() {
    let (_, requests) = warm(memory()).await;
    let seen = measure(|| drop(black_box(requests[0].key.to_string())));
    assert!(seen.count_total > 0, "making a text allocates");
}

fn memory() -> Arc<dyn Cache> {
    Arc::new(MemoryCache::new(64 << 20))
}

fn moka() -> Arc<dyn Cache> {
    Arc::new(MokaCache::builder(Arc::new(SystemClock::new())).build())
}

async fn warm(cache: Arc<dyn Cache>) -> (Bench, Vec<FeedbackRequest>) {
    let bench = Bench::with_config(cache, without_upkeep())
        .await
        .expect("memory has no errors");
    let requests = bench.warm().await;
    (bench, requests)
}

/// What many hits allocate on this thread, after as many that are not counted.
fn hits(bench: &Bench, requests: &[FeedbackRequest]) -> AllocationInfo {
    let hit_all = || {
        for request in requests.iter().cycle().take(HITS) {
            let hit = bench.resolver.resolve_local(black_box(request));
            assert!(black_box(hit).is_some(), "every key is warm");
        }
    };
    hit_all();
    measure(hit_all)
}
