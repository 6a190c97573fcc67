use std::sync::Arc;
use std::time::Duration;

use medcards_cache::MokaCache;
use medcards_core::Timestamp;
use medcards_core::cache::{Cache, CacheEntry, Lifetime};
use medcards_core::testing::{ManualClock, SAMPLE_START, sample_feedback, sample_key};

const HOUR: Duration = Duration::from_hours(1);

/// An entry that is fresh until it is forgotten.
pub(crate) fn entry_until(text: &str, keep_until: Timestamp) -> Arc<CacheEntry> {
    let lifetime = Lifetime {
        fresh_until: keep_until,
        revalidate_until: keep_until,
        keep_until,
    };
    Arc::new(CacheEntry::new(sample_feedback(text), lifetime))
}

fn entry(text: &str, keep: Duration) -> Arc<CacheEntry> {
    entry_until(text, SAMPLE_START + keep)
}

fn cache(bytes_max: u64) -> MokaCache {
    MokaCache::builder(Arc::new(ManualClock::default()))
        .bytes_max(bytes_max)
        .build()
}

#[tokio::test]
async fn entries_whose_time_is_over_leave_within_a_minute_and_others_stay() {
    let clock = Arc::new(ManualClock::default());
    let cache = MokaCache::builder(Arc::clone(&clock) as _).build();
    cache
        .put(sample_key(1), entry("short", HOUR))
        .await
        .unwrap();
    cache
        .put(sample_key(2), entry("long", 3 * HOUR))
        .await
        .unwrap();
    clock.advance(HOUR);
    cache
        .put(sample_key(3), entry("new", 3 * HOUR))
        .await
        .unwrap();
    let found = [1, 2, 3].map(|n| cache.get_local(&sample_key(n)).is_some());
    assert_eq!(found, [false, true, true]);
}

#[tokio::test]
async fn an_entry_put_again_lives_as_long_as_the_new_one() {
    let clock = Arc::new(ManualClock::default());
    let cache = MokaCache::builder(Arc::clone(&clock) as _).build();
    cache
        .put(sample_key(1), entry("short", HOUR))
        .await
        .unwrap();
    cache
        .put(sample_key(1), entry("long", 3 * HOUR))
        .await
        .unwrap();
    clock.advance(2 * HOUR);
    cache
        .put(sample_key(2), entry("new", 3 * HOUR))
        .await
        .unwrap();
    assert!(cache.get_local(&sample_key(1)).is_some());
}

/// However much is put, the bytes of all entries stay within what was allowed.
#[tokio::test]
async fn the_bytes_of_all_entries_stay_bounded() {
    let bytes_max = 64 * 1024;
    let cache = cache(bytes_max);
    for n in 0..1_000 {
        cache
            .put(sample_key(n), entry(&"words ".repeat(200), HOUR))
            .await
            .unwrap();
    }
    cache.run_pending_tasks();
    assert!(cache.bytes() <= bytes_max, "{} bytes", cache.bytes());
    assert!(!cache.is_empty());
    assert_eq!(cache.evictions() + cache.len(), 1_000);
}

#[tokio::test]
async fn an_entry_larger_than_the_cache_is_not_kept() {
    let cache = cache(4 * 1024);
    cache
        .put(sample_key(1), entry(&"words ".repeat(2_000), HOUR))
        .await
        .unwrap();
    cache.run_pending_tasks();
    assert!(cache.get_local(&sample_key(1)).is_none());
}
