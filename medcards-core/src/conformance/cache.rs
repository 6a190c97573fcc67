//! Checks of [`Cache`].
//!
//! A cache may forget at any time. These checks expect that one which is fresh and has room keeps
//! some thousand small entries for the time of a check.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::steps::{WORKS, all_at_once, joined};
use crate::ai::PromptVersion;
use crate::cache::{Cache, CacheEntry, Lifetime};
use crate::case::CaseVersion;
use crate::feedback::{Feedback, FeedbackKey, Origin, ReviewState, Tier};
use crate::testing::{sample_feedback, sample_key};
use crate::time::{Clock, SystemClock};

/// An entry that lives for a day by the machine's clock, which a remote cache goes by.
fn entry(feedback: Feedback) -> Arc<CacheEntry> {
    let now = SystemClock::new().now();
    // Whole milliseconds, because a remote cache need not keep finer ones.
    let now = crate::Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
    let hours = |hours| now + Duration::from_hours(hours);
    let lifetime = Lifetime {
        fresh_until: hours(22),
        revalidate_until: hours(23),
        keep_until: hours(24),
    };
    Arc::new(CacheEntry::new(feedback, lifetime))
}

async fn put(cache: &dyn Cache, key: &FeedbackKey, text: &str) {
    let entry = entry(sample_feedback(text));
    cache.put(key.clone(), entry).await.expect(WORKS);
}

/// The text that a cache finds, after asserting that its two ways of looking agree.
async fn found(cache: &dyn Cache, key: &FeedbackKey) -> Option<String> {
    let local = cache.get_local(key);
    let hit = cache.get(key).await.expect(WORKS);
    if let Some(local) = &local {
        let hit = hit.as_ref().expect("what is found nearby is found");
        assert_eq!(hit.tier, Tier::Local);
        assert_eq!(hit.entry.feedback(), local.feedback());
    }
    if let Some(hit) = &hit {
        assert!(
            matches!(hit.tier, Tier::Local | Tier::Remote),
            "a cache has no tier {}",
            hit.tier
        );
    }
    hit.map(|hit| hit.entry.feedback().text.clone())
}

/// Keys of one case that differ from the first in one part each, which may not be the case.
fn keys_of_one_case(n: u32) -> [FeedbackKey; 6] {
    let key = sample_key(n);
    [
        key.clone(),
        FeedbackKey {
            case_version: CaseVersion::FIRST.next(),
            ..key.clone()
        },
        FeedbackKey {
            chosen: [0, 1].into_iter().collect(),
            ..key.clone()
        },
        FeedbackKey {
            locale: "fr".parse().expect("it is a tag"),
            ..key.clone()
        },
        FeedbackKey {
            prompt_version: PromptVersion::new(2),
            ..key.clone()
        },
        FeedbackKey {
            model: "sample-model-2".parse().expect("it is a name"),
            ..key
        },
    ]
}

/// What was put is found with its feedback and lifetime, whoever wrote it.
pub async fn what_was_put_is_found_whole(cache: Arc<dyn Cache>) {
    let live = sample_feedback("Des mots — «\u{a0}β₂\u{a0}» \u{1f9e0}\n");
    let long = sample_feedback(&"Many words. ".repeat(2_000));
    let authored = Feedback {
        origin: Origin::Authored,
        model: None,
        prompt_version: None,
        review: ReviewState::Approved,
        ..live.clone()
    };
    for (n, feedback) in (0..).zip([live, long, authored]) {
        let key = sample_key(n);
        let entry = entry(feedback);
        cache
            .put(key.clone(), Arc::clone(&entry))
            .await
            .expect(WORKS);
        let hit = cache
            .get(&key)
            .await
            .expect(WORKS)
            .expect("a fresh cache with room keeps it");
        assert_eq!(hit.entry.feedback(), entry.feedback());
        assert_eq!(hit.entry.lifetime(), entry.lifetime());
        assert!(found(&*cache, &key).await.is_some());
    }
}

/// What was never put is not found.
pub async fn what_was_never_put_is_not_found(cache: Arc<dyn Cache>) {
    assert_eq!(found(&*cache, &sample_key(1)).await, None);
    put(&*cache, &sample_key(2), "Words.").await;
    assert_eq!(found(&*cache, &sample_key(1)).await, None);
}

/// Keys that differ in one part alone have entries of their own.
pub async fn keys_that_differ_in_one_part_are_different(cache: Arc<dyn Cache>) {
    let keys: Vec<_> = [1, 2].map(keys_of_one_case).concat();
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(found(&*cache, key).await, None, "{key}");
        put(&*cache, key, &format!("Words {n}.")).await;
    }
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(
            found(&*cache, key).await,
            Some(format!("Words {n}.")),
            "{key}"
        );
    }
}

/// Many keys are found at once as each alone would be, in the order they are asked for.
pub async fn many_keys_are_found_in_their_order(cache: Arc<dyn Cache>) {
    assert!(cache.get_many(&[]).await.expect(WORKS).is_empty());
    for n in (0..40).step_by(2) {
        put(&*cache, &sample_key(n), &format!("Words {n}.")).await;
    }
    let keys: Vec<_> = (0..40).rev().chain([4, 4, 5]).map(sample_key).collect();
    let hits = cache.get_many(&keys).await.expect(WORKS);
    let texts: Vec<_> = hits
        .iter()
        .map(|hit| hit.as_ref().map(|hit| hit.entry.feedback().text.clone()))
        .collect();
    let mut expected = Vec::new();
    for key in &keys {
        expected.push(found(&*cache, key).await);
    }
    assert_eq!(texts, expected);
    assert_eq!(texts.iter().flatten().count(), 22);
}

/// An entry takes the place of the one before it, near and far.
pub async fn an_entry_takes_the_place_of_the_one_before(cache: Arc<dyn Cache>) {
    let key = sample_key(1);
    for n in 0..20 {
        let text = format!("Words {n}.");
        put(&*cache, &key, &text).await;
        assert_eq!(found(&*cache, &key).await, Some(text));
    }
}

/// A removed key is not found, and others stay; removing what is not there is no error.
pub async fn a_removed_key_is_not_found(cache: Arc<dyn Cache>) {
    let keys = keys_of_one_case(1);
    for key in &keys {
        put(&*cache, key, "Words.").await;
    }
    for (n, key) in keys.iter().enumerate() {
        cache.remove(key).await.expect(WORKS);
        cache.remove(key).await.expect(WORKS);
        assert_eq!(found(&*cache, key).await, None);
        for other in &keys[n + 1..] {
            assert!(
                found(&*cache, other).await.is_some(),
                "{other} went with {key}"
            );
        }
    }
    put(&*cache, &keys[0], "New words.").await;
    assert_eq!(
        found(&*cache, &keys[0]).await.as_deref(),
        Some("New words.")
    );
}

/// After a removal returns, no look that begins later finds what was kept before, however many
/// look at the time.
pub async fn nobody_finds_what_was_removed(cache: Arc<dyn Cache>) {
    let key = sample_key(1);
    let is_over = Arc::new(AtomicBool::new(false));
    let looks_begun = Arc::new(AtomicU64::new(0));
    let looking = || {
        let (cache, key, is_over) = (Arc::clone(&cache), key.clone(), Arc::clone(&is_over));
        let looks_begun = Arc::clone(&looks_begun);
        tokio::spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                looks_begun.fetch_add(1, Ordering::Relaxed);
                // What they find while it is removed is their luck: only what stays counts.
                let _ = cache.get(&key).await.expect(WORKS);
                tokio::task::yield_now().await;
            }
        })
    };
    let looks = [looking(), looking(), looking(), looking()];
    for n in 0..200 {
        put(&*cache, &key, &format!("Words {n}.")).await;
        let begun = looks_begun.load(Ordering::Relaxed);
        while looks_begun.load(Ordering::Relaxed) == begun {
            // So that somebody has found it, and may not be done with it, when it goes.
            tokio::task::yield_now().await;
        }
        cache.remove(&key).await.expect(WORKS);
        for _ in 0..3 {
            assert_eq!(found(&*cache, &key).await, None, "after removal {n}");
            tokio::task::yield_now().await;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    for look in looks {
        joined(look).await;
    }
    assert_eq!(found(&*cache, &key).await, None);
}

/// A purge forgets every key of a case, and no other.
pub async fn a_purge_forgets_every_key_of_a_case_and_no_other(cache: Arc<dyn Cache>) {
    let (purged, kept) = (keys_of_one_case(1), keys_of_one_case(2));
    for key in purged.iter().chain(&kept) {
        put(&*cache, key, "Words.").await;
    }
    cache.purge_case(sample_key(3).case_id).await.expect(WORKS);
    cache.purge_case(purged[0].case_id).await.expect(WORKS);
    for key in &purged {
        assert_eq!(found(&*cache, key).await, None, "{key}");
    }
    for key in &kept {
        assert_eq!(
            found(&*cache, key).await.as_deref(),
            Some("Words."),
            "{key}"
        );
    }
    put(&*cache, &purged[0], "New words.").await;
    assert_eq!(
        found(&*cache, &purged[0]).await.as_deref(),
        Some("New words.")
    );
}

/// Entries that many put at once are each found as whoever put them wrote them.
pub async fn entries_put_at_once_are_not_mixed_up(cache: Arc<dyn Cache>) {
    let calls = (0..16).map(|caller| {
        let cache = Arc::clone(&cache);
        async move {
            for n in 0..64 {
                let key = sample_key(n);
                put(&*cache, &key, &format!("Words on {n} by {caller}.")).await;
                let hit = cache.get(&key).await.expect(WORKS);
                let hit = hit.expect("a fresh cache with room keeps it");
                let text = &hit.entry.feedback().text;
                assert!(
                    text.starts_with(&format!("Words on {n} by ")),
                    "{key} has {text:?}"
                );
            }
        }
    });
    all_at_once(calls).await;
}
