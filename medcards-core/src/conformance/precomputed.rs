//! Checks of [`PrecomputedStore`](crate::feedback::PrecomputedStore).

use std::sync::Arc;

use super::steps::{WORKS, all_at_once, assert_refused, at, foreign_cursors, limit, walk};
use crate::ai::PromptVersion;
use crate::case::{CaseQuery, CaseVersion};
use crate::feedback::{
    Feedback, FeedbackKey, KeyPosition, Origin, Review, ReviewDecision, ReviewState,
};
use crate::spend::MicroDollars;
use crate::store::{PageLimit, Store};
use crate::testing::{sample_content, sample_feedback, sample_key, sample_user_id};
use crate::{ErrorKind, Timestamp};

async fn find(store: &dyn Store, key: &FeedbackKey) -> Option<Feedback> {
    store.find_feedback(key).await.expect(WORKS)
}

async fn put(store: &dyn Store, key: &FeedbackKey, text: &str) -> bool {
    store
        .put_feedback(key, &sample_feedback(text))
        .await
        .expect(WORKS)
}

fn says(decision: ReviewDecision) -> Review {
    Review {
        decision,
        reviewer: sample_user_id(9),
        reviewed_at: at(60),
    }
}

async fn review(store: &dyn Store, key: &FeedbackKey, decision: ReviewDecision) -> Feedback {
    store
        .review_feedback(key, says(decision))
        .await
        .expect(WORKS)
}

/// Every decision a reviewer can make.
fn decisions() -> [ReviewDecision; 3] {
    let mended = ReviewDecision::Mend("Mended words.".to_owned());
    [ReviewDecision::Approve, mended, ReviewDecision::Withdraw]
}

/// Keeps `count` feedbacks, each written a second after the one before.
async fn keep(store: &dyn Store, count: u32) -> Vec<FeedbackKey> {
    let keys: Vec<_> = (0..count).map(sample_key).collect();
    for (second, key) in (0..).zip(&keys) {
        let feedback = Feedback {
            written_at: at(second),
            ..sample_feedback("Words.")
        };
        store.put_feedback(key, &feedback).await.expect(WORKS);
    }
    keys
}

/// The keys of one review state, by walking pages of this limit.
async fn listed(store: &dyn Store, state: ReviewState, limit: PageLimit) -> Vec<FeedbackKey> {
    let kept = walk(limit, |after| async move {
        store.list_feedback(state, after.as_ref(), limit).await
    });
    kept.await.into_iter().map(|(key, _)| key).collect()
}

/// Kept feedback is found as it was given, whoever wrote it.
pub async fn kept_feedback_is_found_as_it_was_given(store: Arc<dyn Store>) {
    let live = sample_feedback("Des mots — «\u{a0}β₂\u{a0}» 'quoted' \"twice\" \u{1f9e0}\n");
    let batch = Feedback {
        origin: Origin::Batch,
        cost: MicroDollars::MAX,
        ..live.clone()
    };
    let authored = Feedback {
        origin: Origin::Authored,
        model: None,
        prompt_version: None,
        cost: MicroDollars::ZERO,
        review: ReviewState::Approved,
        written_at: at(-1_000_000),
        ..live.clone()
    };
    for (n, feedback) in (0..).zip([live, batch, authored]) {
        let key = sample_key(n);
        assert_eq!(find(&*store, &key).await, None);
        assert!(store.put_feedback(&key, &feedback).await.expect(WORKS));
        assert_eq!(find(&*store, &key).await, Some(feedback));
    }
}

/// Keys that differ in one part alone have feedback of their own.
pub async fn keys_that_differ_in_one_part_are_different(store: Arc<dyn Store>) {
    let key = sample_key(1);
    let keys = [
        key.clone(),
        FeedbackKey {
            case_id: sample_key(2).case_id,
            ..key.clone()
        },
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
    ];
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(find(&*store, key).await, None, "{key}");
        put(&*store, key, &format!("Words {n}.")).await;
    }
    for (n, key) in keys.iter().enumerate() {
        let found = find(&*store, key).await.map(|feedback| feedback.text);
        assert_eq!(found, Some(format!("Words {n}.")), "{key}");
    }
}

/// A text that nobody reviewed is replaced.
pub async fn an_unreviewed_text_is_replaced(store: Arc<dyn Store>) {
    let key = sample_key(1);
    for text in ["First words.", "Second words."] {
        assert!(put(&*store, &key, text).await);
        assert_eq!(find(&*store, &key).await, Some(sample_feedback(text)));
    }
}

/// A text that a reviewer has spoken of is not replaced.
pub async fn a_reviewed_text_is_not_replaced(store: Arc<dyn Store>) {
    for (n, decision) in (0..).zip(decisions()) {
        let key = sample_key(n);
        put(&*store, &key, "First words.").await;
        let reviewed = review(&*store, &key, decision.clone()).await;
        assert!(!put(&*store, &key, "Second words.").await, "{decision:?}");
        assert_eq!(find(&*store, &key).await, Some(reviewed), "{decision:?}");
    }
}

/// A reviewer's decision is written down: approved, mended, withdrawn, and the last one counts.
pub async fn a_decision_is_written_down(store: Arc<dyn Store>) {
    let [key, neighbour] = [1, 2].map(sample_key);
    put(&*store, &key, "Words.").await;
    put(&*store, &neighbour, "Words.").await;
    let [approve, mend, withdraw] = decisions();
    let model = sample_feedback("").model;
    for (decision, text, origin, state) in [
        (&withdraw, "Words.", Origin::Live, ReviewState::Withdrawn),
        (&approve, "Words.", Origin::Live, ReviewState::Approved),
        (
            &mend,
            "Mended words.",
            Origin::Reviewer,
            ReviewState::Approved,
        ),
        (
            &withdraw,
            "Mended words.",
            Origin::Reviewer,
            ReviewState::Withdrawn,
        ),
    ] {
        let feedback = review(&*store, &key, decision.clone()).await;
        assert_eq!(feedback.text, text, "{decision:?}");
        assert_eq!(feedback.origin, origin, "{decision:?}");
        assert_eq!(feedback.review, state, "{decision:?}");
        assert_eq!(feedback.model, model, "{decision:?}");
        assert_eq!(find(&*store, &key).await, Some(feedback), "{decision:?}");
    }
    assert_eq!(
        find(&*store, &neighbour).await,
        Some(sample_feedback("Words."))
    );
}

/// A review of what is not kept is refused, and keeps nothing.
pub async fn a_review_of_nothing_is_refused(store: Arc<dyn Store>) {
    let key = sample_key(1);
    for decision in decisions() {
        let refused = store.review_feedback(&key, says(decision)).await;
        let error = refused.expect_err("nothing is kept for this key");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    assert_eq!(find(&*store, &key).await, None);
}

/// A withdrawal stands, however many keep texts for the key at once.
pub async fn a_withdrawal_stands_against_texts_kept_at_once(store: Arc<dyn Store>) {
    let key = sample_key(1);
    put(&*store, &key, "First words.").await;
    let calls = (0..32).map(|caller| {
        let (store, key) = (Arc::clone(&store), key.clone());
        async move {
            if caller == 16 {
                review(&*store, &key, ReviewDecision::Withdraw).await;
            } else {
                put(&*store, &key, &format!("Words of {caller}.")).await;
            }
        }
    });
    all_at_once(calls).await;
    let kept = find(&*store, &key).await.map(|feedback| feedback.review);
    assert_eq!(kept, Some(ReviewState::Withdrawn));
}

/// Feedback is listed by review state, oldest first, as it is kept.
pub async fn feedback_is_listed_by_state_oldest_first(store: Arc<dyn Store>) {
    let keys = keep(&*store, 8).await;
    for at in [5, 1] {
        review(&*store, &keys[at], ReviewDecision::Approve).await;
    }
    review(&*store, &keys[3], ReviewDecision::Withdraw).await;
    for (state, expected) in [
        (ReviewState::Unreviewed, &[0, 2, 4, 6, 7][..]),
        (ReviewState::Approved, &[1, 5]),
        (ReviewState::Withdrawn, &[3]),
    ] {
        let page = store
            .list_feedback(state, None, limit(100))
            .await
            .expect(WORKS);
        assert_eq!(page.next, None);
        let expected: Vec<_> = expected.iter().map(|at: &usize| &keys[*at]).collect();
        assert_eq!(
            page.items.iter().map(|(key, _)| key).collect::<Vec<_>>(),
            expected
        );
        for (key, feedback) in page.items {
            assert_eq!(find(&*store, &key).await, Some(feedback));
        }
    }
}

/// Pages of any limit hold every feedback once.
pub async fn pages_of_any_limit_hold_every_feedback_once(store: Arc<dyn Store>) {
    let keys = keep(&*store, 24).await;
    for items in [1, 2, 7, 8, 23, 24, 25] {
        let listed = listed(&*store, ReviewState::Unreviewed, limit(items)).await;
        assert_eq!(listed, keys, "pages of {items}");
    }
}

/// A reviewer who decides on each page before asking for the next sees all of them.
pub async fn reviewing_page_by_page_skips_nothing(store: Arc<dyn Store>) {
    let keys = keep(&*store, 10).await;
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store
            .list_feedback(ReviewState::Unreviewed, after.as_ref(), limit(3))
            .await;
        let page = page.expect(WORKS);
        for (key, _) in page.items {
            review(&*store, &key, ReviewDecision::Approve).await;
            seen.push(key);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, keys);
}

/// A list of feedback refuses made-up cursors, and those of other states and lists.
pub async fn a_list_of_feedback_refuses_foreign_cursors(store: Arc<dyn Store>) {
    let keys = keep(&*store, 6).await;
    for key in &keys[..3] {
        review(&*store, key, ReviewDecision::Approve).await;
    }
    let contents = (0..3).map(sample_content).collect();
    store.publish(contents, at(0)).await.expect(WORKS);
    let of_cases = CaseQuery {
        limit: limit(1),
        ..CaseQuery::default()
    };
    let of_approved = store
        .list_feedback(ReviewState::Approved, None, limit(1))
        .await;
    let foreign = vec![
        store.list_cases(&of_cases).await.expect(WORKS).next,
        of_approved.expect(WORKS).next,
    ];
    let store = &store;
    assert_refused(foreign_cursors(foreign), |cursor| async move {
        store
            .list_feedback(ReviewState::Unreviewed, Some(&cursor), limit(1))
            .await
    })
    .await;
}

/// Keys are read in the order in which they were first kept, each once; reading on finds new ones.
pub async fn keys_are_read_in_the_order_first_kept(store: Arc<dyn Store>) {
    let empty = store
        .list_keys(KeyPosition::default(), 10)
        .await
        .expect(WORKS);
    assert!(empty.keys.is_empty());
    let mut keys = keep(&*store, 12).await;
    // Kept again and reviewed, which makes no key a new one.
    put(&*store, &keys[3], "Other words.").await;
    review(&*store, &keys[5], ReviewDecision::Withdraw).await;
    for limit in [1, 5, 12, 100] {
        let mut read = Vec::new();
        let mut position = empty.position;
        while read.len() < keys.len() {
            let page = store.list_keys(position, limit).await.expect(WORKS);
            let rest = keys.len() - read.len();
            assert_eq!(
                page.keys.len(),
                rest.min(limit),
                "fewer than asked for only at the end"
            );
            read.extend(page.keys);
            position = page.position;
        }
        assert_eq!(read, keys, "parts of {limit}");
        let end = store.list_keys(position, limit).await.expect(WORKS);
        assert!(end.keys.is_empty());
        let new = sample_key(100 + keys.len() as u32);
        put(&*store, &new, "Words.").await;
        let page = store.list_keys(end.position, limit).await.expect(WORKS);
        assert_eq!(page.keys, std::slice::from_ref(&new));
        keys.push(new);
    }
}

/// Keys are listed by their last review, from an instant on, oldest first; what nobody reviewed is not.
pub async fn reviews_are_listed_since_an_instant_oldest_first(store: Arc<dyn Store>) {
    let keys = keep(&*store, 5).await;
    let say = async |key: usize, seconds: i64, decision: ReviewDecision| {
        let review = Review {
            decision,
            reviewer: sample_user_id(1),
            reviewed_at: at(seconds),
        };
        store
            .review_feedback(&keys[key], review)
            .await
            .expect(WORKS);
    };
    say(3, 30, ReviewDecision::Approve).await;
    say(1, 10, ReviewDecision::Withdraw).await;
    say(2, 20, ReviewDecision::Mend("Better words.".to_owned())).await;
    say(1, 40, ReviewDecision::Approve).await;
    let listed = async |since: i64, limit: usize| -> Vec<(Timestamp, FeedbackKey)> {
        store.list_reviewed(at(since), limit).await.expect(WORKS)
    };
    let of = |key: usize, seconds: i64| (at(seconds), keys[key].clone());
    assert_eq!(listed(0, 10).await, [of(2, 20), of(3, 30), of(1, 40)]);
    assert_eq!(listed(30, 10).await, [of(3, 30), of(1, 40)]);
    assert_eq!(listed(0, 2).await, [of(2, 20), of(3, 30)]);
    assert!(listed(41, 10).await.is_empty());
}

/// Keys that many keep at once are all read from the start, each once.
pub async fn keys_kept_at_once_are_all_read(store: Arc<dyn Store>) {
    let calls = (0..64).map(|caller| {
        let store = Arc::clone(&store);
        // Two callers keep each key.
        async move { put(&*store, &sample_key(caller / 2), "Words.").await }
    });
    all_at_once(calls).await;
    let mut read = store
        .list_keys(KeyPosition::default(), 1_000)
        .await
        .expect(WORKS)
        .keys;
    read.sort_unstable();
    let mut kept: Vec<_> = (0..32).map(sample_key).collect();
    kept.sort_unstable();
    assert_eq!(read, kept);
}
