use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use medcards_core::cache::{Cache, CacheEntry, Lifetime};
use medcards_core::case::{CaseQuery, CaseStore};
use medcards_core::event::EventBody;
use medcards_core::limit::{LimitKey, Quota, RateLimiter};
use medcards_core::memory::{MemoryCache, MemoryRateLimiter, MemoryStore};
use medcards_core::store::PageLimit;
use medcards_core::testing::{
    ManualClock, SAMPLE_START, sample_answer, sample_case, sample_feedback, sample_key,
    sample_record, sample_user_id,
};

fn entry(text: &str) -> Arc<CacheEntry> {
    let lifetime = Lifetime {
        fresh_until: SAMPLE_START,
        revalidate_until: SAMPLE_START,
        keep_until: SAMPLE_START,
    };
    Arc::new(CacheEntry::new(sample_feedback(text), lifetime))
}

#[tokio::test]
async fn a_cache_never_weighs_more_than_its_bound() {
    const BYTES_MAX: u64 = 1 << 20;
    let cache = MemoryCache::new(BYTES_MAX);
    for n in 0..2_000 {
        let text = "x".repeat(n as usize % 3_000);
        cache.put(sample_key(n), entry(&text)).await.unwrap();
        assert!(cache.weight_bytes() <= BYTES_MAX, "after {n}");
    }
    assert!(
        cache.weight_bytes() > BYTES_MAX / 2,
        "most of the room is used"
    );
}

#[tokio::test]
async fn an_entry_too_heavy_to_keep_still_takes_the_place_of_the_old_one() {
    let cache = MemoryCache::new(64 << 10);
    let key = sample_key(1);
    cache.put(key.clone(), entry("Words.")).await.unwrap();
    cache
        .put(key.clone(), entry(&"x".repeat(1 << 20)))
        .await
        .unwrap();
    assert!(cache.get_local(&key).is_none());
}

async fn is_allowed(limiter: &MemoryRateLimiter, name: u32) -> bool {
    let key = LimitKey::new("test", name);
    let quota = Quota::new(1, Duration::from_mins(1)).expect("the quota exists");
    let decision = limiter.check(&key, &quota, 1).await;
    decision
        .expect("counting in memory does not fail")
        .is_allowed
}

#[tokio::test]
async fn a_full_limiter_forgets_keys_that_are_over_before_those_that_count() {
    let clock = Arc::new(ManualClock::default());
    let limiter = MemoryRateLimiter::with_keys_max(16, Arc::clone(&clock) as _);
    for name in 0..12 {
        assert!(is_allowed(&limiter, name).await);
    }
    clock.advance(Duration::from_mins(2));
    for name in 100..110 {
        assert!(is_allowed(&limiter, name).await, "{name}");
    }
    for name in 100..110 {
        assert!(!is_allowed(&limiter, name).await, "{name} was forgotten");
    }
}

#[tokio::test]
async fn a_limiter_full_of_keys_that_count_forgets_those_that_called_longest_ago() {
    let clock = Arc::new(ManualClock::default());
    let limiter = MemoryRateLimiter::with_keys_max(16, Arc::clone(&clock) as _);
    for name in 0..16 {
        assert!(is_allowed(&limiter, name).await);
        clock.advance(Duration::from_millis(10));
    }
    assert!(is_allowed(&limiter, 16).await);
    for name in (3..=16).rev() {
        assert!(!is_allowed(&limiter, name).await, "{name} was forgotten");
    }
    assert!(
        is_allowed(&limiter, 0).await,
        "the first is forgotten, an eighth at a time"
    );
}

#[tokio::test]
async fn a_case_that_changes_its_rank_during_a_walk_is_shown_once() {
    let store = MemoryStore::new();
    let content = |n: u32, is_leading: bool| {
        let mut record = sample_record(n);
        let place = if is_leading {
            &mut record.stem
        } else {
            &mut record.options[0].text
        };
        place.push_str(" needle");
        record.try_into().unwrap()
    };
    let all = |is_leading: fn(u32) -> bool| (0..12).map(|n| content(n, is_leading(n))).collect();
    store
        .publish(all(|n| n % 2 == 0), SAMPLE_START)
        .await
        .unwrap();
    let mut query = CaseQuery {
        search: Some("needle".to_owned()),
        limit: PageLimit::new(3).unwrap(),
        ..CaseQuery::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = store.list_cases(&query).await.unwrap();
        seen.extend(page.items.iter().map(|case| case.id));
        // Those that were first are last now, and those that were last first.
        store
            .publish(all(|n| n % 2 == 1), SAMPLE_START)
            .await
            .unwrap();
        let Some(next) = page.next else { break };
        query.after = Some(next);
    }
    assert_eq!(seen.len(), 12);
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 12);
}

/// Events are stored for ever in this form.
#[test]
fn the_stored_form_of_an_event_never_changes() {
    let mut answer = sample_answer(sample_user_id(1), &sample_case(1), SAMPLE_START);
    answer.id = "019bc0ab-2400-7000-8000-0000000000aa".parse().unwrap();
    let body = EventBody::AnswerRecorded { answer };
    let stored = concat!(
        r#"{"kind":"answer_recorded","answer":{"id":"019bc0ab-2400-7000-8000-0000000000aa","#,
        r#""user_id":"00000001-5a5a-4a5a-8a8a-8a8a8a8a8a8a","#,
        r#""case_id":"019bc0ab-2400-7000-8000-000000000001","case_version":1,"chosen":[0],"#,
        r#""shown":[0,1,3,2],"is_correct":false,"time_to_answer_ms":12345,"confidence":60,"#,
        r#""created_at":"2026-01-15T08:00:00Z"}}"#,
    );
    assert_eq!(serde_json::to_string(&body).unwrap(), stored);
    assert_eq!(serde_json::from_str::<EventBody>(stored).unwrap(), body);
}
