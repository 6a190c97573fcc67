//! Checks of [`BatchStore`].

use std::sync::Arc;

use super::steps::{WORKS, all_at_once, at};
use crate::ErrorKind;
use crate::feedback::FeedbackKey;
use crate::id::{BatchId, ReservationId};
use crate::precompute::{
    BatchClaim, BatchEnd, BatchHold, BatchIntent, BatchOpening, BatchRecord, BatchStore,
    KEYS_PER_LOOK_MAX, KeyOutcome, KeyStanding,
};
use crate::spend::MicroDollars;
use crate::testing::sample_key;
use crate::time::day_of;

/// An intent for the sample keys of these numbers, opened at a second of the samples.
fn intent(keys: impl IntoIterator<Item = u32>, second: i64) -> BatchIntent {
    let now = at(second);
    BatchIntent {
        id: BatchId::new(now),
        model: sample_key(0).model,
        keys: keys.into_iter().map(sample_key).collect(),
        reservation: ReservationId::new(now),
        day: day_of(now),
        amount: MicroDollars::new(1_234_567),
        opened_at: now,
    }
}

async fn opening(store: &dyn BatchStore, intent: &BatchIntent) -> BatchOpening {
    store.open_batch(intent).await.expect(WORKS)
}

/// Opens a batch that nothing stands in the way of.
async fn open(
    store: &dyn BatchStore,
    keys: impl IntoIterator<Item = u32>,
    second: i64,
) -> BatchIntent {
    let intent = intent(keys, second);
    assert_eq!(opening(store, &intent).await, BatchOpening::Opened);
    intent
}

async fn find(store: &dyn BatchStore, batch: BatchId) -> BatchRecord {
    let found = store.find_batch(batch).await.expect(WORKS);
    found.expect("an opened batch is found")
}

async fn claim(store: &dyn BatchStore, batch: BatchId, seen: u32) -> BatchClaim {
    store.claim_batch(batch, seen, at(60)).await.expect(WORKS)
}

async fn name(store: &dyn BatchStore, batch: BatchId, attempt: u32, name: &str) -> BatchHold {
    store.name_batch(batch, attempt, name).await.expect(WORKS)
}

fn end(written: u64) -> BatchEnd {
    BatchEnd {
        closed_at: at(90),
        cost: MicroDollars::new(1_000 * written),
        written,
    }
}

async fn close(
    store: &dyn BatchStore,
    intent: &BatchIntent,
    attempt: u32,
    outcome: KeyOutcome,
) -> BatchHold {
    let outcomes = vec![outcome; intent.keys.len()];
    let end = end(intent.keys.len() as u64);
    let closed = store.close_batch(intent.id, attempt, &end, &outcomes).await;
    closed.expect(WORKS)
}

async fn standings(store: &dyn BatchStore, keys: &[FeedbackKey]) -> Vec<(bool, u32)> {
    let standings = store.key_standings(keys).await.expect(WORKS);
    let parts = |one: &KeyStanding| (one.is_open, one.rejections);
    standings.iter().map(parts).collect()
}

/// An opened batch is found as it was given, with its keys in their order.
pub async fn an_opened_batch_is_found_as_it_was_given(store: Arc<dyn BatchStore>) {
    let given = open(&*store, [7, 3, 5], 1).await;
    let other = open(&*store, [1], 2).await;
    assert_eq!(find(&*store, given.id).await, BatchRecord::opened(&given));
    for intent in [&given, &other] {
        let keys = store.batch_keys(intent.id).await.expect(WORKS);
        assert_eq!(keys, intent.keys);
    }
}

/// What was never opened is not found, and nothing can be done with it.
pub async fn a_batch_never_opened_is_not_found(store: Arc<dyn BatchStore>) {
    let unknown = BatchId::new(at(1));
    assert_eq!(store.find_batch(unknown).await.expect(WORKS), None);
    assert_eq!(store.batch_keys(unknown).await.expect(WORKS), []);
    assert_eq!(store.find_batch_named("name").await.expect(WORKS), None);
    assert_eq!(store.list_open_batches(10).await.expect(WORKS), []);
    let errors = [
        store.claim_batch(unknown, 0, at(2)).await.err(),
        store.name_batch(unknown, 0, "name").await.err(),
        store.close_batch(unknown, 0, &end(0), &[]).await.err(),
    ];
    for error in errors {
        let error = error.expect("there is no such batch");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
}

/// A batch without a key, or with one twice, is refused and keeps nothing.
pub async fn a_batch_without_a_key_or_with_one_twice_is_refused(store: Arc<dyn BatchStore>) {
    for wrong in [intent([], 1), intent([1, 2, 1], 1)] {
        let refused = store.open_batch(&wrong).await;
        let error = refused.expect_err("it is no batch");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(store.find_batch(wrong.id).await.expect(WORKS), None);
    }
    open(&*store, [1], 2).await;
}

/// Opening the same id again changes nothing and takes no key from it.
pub async fn a_batch_opened_again_stays_as_it_is(store: Arc<dyn BatchStore>) {
    let given = open(&*store, [1, 2], 1).await;
    assert_eq!(claim(&*store, given.id, 0).await, BatchClaim::Claimed(1));
    let before = find(&*store, given.id).await;
    assert_eq!(opening(&*store, &given).await, BatchOpening::Opened);
    assert_eq!(find(&*store, given.id).await, before);
    let keys = store.batch_keys(given.id).await.expect(WORKS);
    assert_eq!(keys, given.keys);
}

/// A key is in one open batch only; who comes second is told which keys are taken, and gets none.
pub async fn a_key_is_in_one_open_batch_only(store: Arc<dyn BatchStore>) {
    open(&*store, [1, 2], 1).await;
    let second = intent([3, 2, 4], 2);
    let taken = BatchOpening::Taken(vec![sample_key(2)]);
    assert_eq!(opening(&*store, &second).await, taken);
    assert_eq!(store.find_batch(second.id).await.expect(WORKS), None);
    let keys = [2, 3, 4].map(sample_key);
    let expected = [(true, 0), (false, 0), (false, 0)];
    assert_eq!(standings(&*store, &keys).await, expected);
    open(&*store, [3, 4], 3).await;
}

/// Of many who want the same keys at once, one gets them.
pub async fn one_of_many_who_want_the_same_keys_gets_them(store: Arc<dyn BatchStore>) {
    for round in 0..4 {
        let calls = (0..16).map(|caller| {
            let store = Arc::clone(&store);
            // Each in another order, and with a key of its own.
            let mut keys: Vec<u32> = (0..6).map(|n| 1_000 * round + n).collect();
            keys.rotate_left(caller as usize % 6);
            keys.push(1_000 * round + 100 + caller);
            async move { opening(&*store, &intent(keys, 1)).await }
        });
        let openings = all_at_once(calls).await;
        let opened = openings
            .iter()
            .filter(|one| **one == BatchOpening::Opened)
            .count();
        assert_eq!(opened, 1, "{openings:?}");
    }
}

/// Of many who claim a submission at once, one gets it.
pub async fn one_of_many_claims_of_a_batch_succeeds(store: Arc<dyn BatchStore>) {
    let batch = open(&*store, [1], 1).await.id;
    let calls = (0..16).map(|_| {
        let store = Arc::clone(&store);
        async move { claim(&*store, batch, 0).await }
    });
    let claims = all_at_once(calls).await;
    let claimed = claims
        .iter()
        .filter(|one| **one == BatchClaim::Claimed(1))
        .count();
    assert_eq!(claimed, 1, "{claims:?}");
    let record = find(&*store, batch).await;
    assert_eq!((record.attempt, record.claimed_at), (1, Some(at(60))));
}

/// A claim that has seen another attempt is lost, and each claim is the next attempt.
pub async fn a_claim_must_have_seen_the_last_attempt(store: Arc<dyn BatchStore>) {
    let batch = open(&*store, [1], 1).await.id;
    assert_eq!(claim(&*store, batch, 1).await, BatchClaim::Lost);
    assert_eq!(claim(&*store, batch, 0).await, BatchClaim::Claimed(1));
    assert_eq!(claim(&*store, batch, 0).await, BatchClaim::Lost);
    assert_eq!(claim(&*store, batch, 1).await, BatchClaim::Claimed(2));
    assert_eq!(find(&*store, batch).await.attempt, 2);
}

/// A batch that has a name, or is closed, is not claimed any more.
pub async fn a_named_or_closed_batch_is_not_claimed(store: Arc<dyn BatchStore>) {
    let named = open(&*store, [1], 1).await;
    assert_eq!(claim(&*store, named.id, 0).await, BatchClaim::Claimed(1));
    assert_eq!(name(&*store, named.id, 1, "mine").await, BatchHold::Held);
    let closed = open(&*store, [2], 2).await;
    let hold = close(&*store, &closed, 0, KeyOutcome::Unserved).await;
    assert_eq!(hold, BatchHold::Held);
    assert_eq!(claim(&*store, named.id, 1).await, BatchClaim::Lost);
    assert_eq!(claim(&*store, closed.id, 0).await, BatchClaim::Lost);
}

/// A batch is found by the provider's name for it, while it is open and after.
pub async fn a_batch_is_found_by_its_name(store: Arc<dyn BatchStore>) {
    let [one, other] = [open(&*store, [1], 1).await, open(&*store, [2], 2).await];
    for (intent, given) in [(&one, "msgbatch_01"), (&other, "msgbatch_02")] {
        claim(&*store, intent.id, 0).await;
        assert_eq!(name(&*store, intent.id, 1, given).await, BatchHold::Held);
    }
    close(&*store, &one, 1, KeyOutcome::Written).await;
    for (intent, given) in [(&one, "msgbatch_01"), (&other, "msgbatch_02")] {
        let found = store.find_batch_named(given).await.expect(WORKS);
        assert_eq!(found, Some(intent.id));
        let record = find(&*store, intent.id).await;
        assert_eq!(record.name.as_deref(), Some(given));
    }
    assert_eq!(store.find_batch_named("msgbatch").await.expect(WORKS), None);
}

/// Who holds an earlier attempt cannot name the batch, nobody can rename it, and naming it the same
/// twice is naming it once.
pub async fn a_name_is_given_by_the_last_attempt_and_once(store: Arc<dyn BatchStore>) {
    let batch = open(&*store, [1], 1).await.id;
    claim(&*store, batch, 0).await;
    claim(&*store, batch, 1).await;
    assert_eq!(name(&*store, batch, 1, "old").await, BatchHold::Lost);
    assert_eq!(find(&*store, batch).await.name, None);
    for _ in 0..2 {
        assert_eq!(name(&*store, batch, 2, "new").await, BatchHold::Held);
    }
    assert_eq!(name(&*store, batch, 2, "other").await, BatchHold::Lost);
    assert_eq!(find(&*store, batch).await.name.as_deref(), Some("new"));
}

/// Who holds an earlier attempt cannot close the batch.
pub async fn a_batch_is_closed_by_the_last_attempt(store: Arc<dyn BatchStore>) {
    let intent = open(&*store, [1], 1).await;
    claim(&*store, intent.id, 0).await;
    let lost = close(&*store, &intent, 0, KeyOutcome::Unserved).await;
    assert_eq!(lost, BatchHold::Lost);
    assert_eq!(find(&*store, intent.id).await.end, None);
    let held = close(&*store, &intent, 1, KeyOutcome::Written).await;
    assert_eq!(held, BatchHold::Held);
    assert_eq!(find(&*store, intent.id).await.end, Some(end(1)));
    assert_eq!(name(&*store, intent.id, 1, "late").await, BatchHold::Lost);
}

/// Closing twice is closing once, with the first end.
pub async fn a_batch_closed_again_stays_as_it_is(store: Arc<dyn BatchStore>) {
    let intent = open(&*store, [1, 2], 1).await;
    for outcome in [KeyOutcome::Rejected, KeyOutcome::Rejected] {
        assert_eq!(close(&*store, &intent, 0, outcome).await, BatchHold::Held);
    }
    let later = BatchEnd {
        closed_at: at(100),
        ..end(0)
    };
    let outcomes = [KeyOutcome::Written; 2];
    let again = store.close_batch(intent.id, 0, &later, &outcomes).await;
    assert_eq!(again.expect(WORKS), BatchHold::Held);
    assert_eq!(find(&*store, intent.id).await.end, Some(end(2)));
    let keys = [1, 2].map(sample_key);
    assert_eq!(standings(&*store, &keys).await, [(false, 1), (false, 1)]);
}

/// An end that does not say of each key what came of it is refused.
pub async fn an_end_without_all_outcomes_is_refused(store: Arc<dyn BatchStore>) {
    let intent = open(&*store, [1, 2], 1).await;
    for outcomes in [
        &[][..],
        &[KeyOutcome::Written; 1],
        &[KeyOutcome::Written; 3],
    ] {
        let refused = store.close_batch(intent.id, 0, &end(1), outcomes).await;
        let error = refused.expect_err("two keys have two outcomes");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert_eq!(find(&*store, intent.id).await.end, None);
}

/// The keys of a closed batch can be bought again.
pub async fn the_keys_of_a_closed_batch_are_free(store: Arc<dyn BatchStore>) {
    let first = open(&*store, [1, 2], 1).await;
    close(&*store, &first, 0, KeyOutcome::Unserved).await;
    let second = open(&*store, [2, 3], 2).await;
    close(&*store, &second, 0, KeyOutcome::Written).await;
    open(&*store, [1, 2, 3], 3).await;
    let keys = store.batch_keys(first.id).await.expect(WORKS);
    assert_eq!(keys, first.keys, "a closed batch keeps its keys");
}

/// Rejected replies are counted for each key, over all batches, and other outcomes are not.
pub async fn rejections_of_a_key_are_counted(store: Arc<dyn BatchStore>) {
    let keys = [1, 2, 3, 4].map(sample_key);
    for round in 0..2 {
        let intent = open(&*store, [1, 2, 3], round).await;
        let outcomes = [
            KeyOutcome::Rejected,
            KeyOutcome::Unserved,
            KeyOutcome::Written,
        ];
        let closed = store.close_batch(intent.id, 0, &end(1), &outcomes).await;
        assert_eq!(closed.expect(WORKS), BatchHold::Held);
    }
    open(&*store, [1, 4], 3).await;
    let expected = [(true, 2), (false, 0), (false, 0), (true, 0)];
    assert_eq!(standings(&*store, &keys).await, expected);
    let mut backward = keys.to_vec();
    backward.reverse();
    let mut turned = expected;
    turned.reverse();
    assert_eq!(standings(&*store, &backward).await, turned);
    let many: Vec<_> = (0..=KEYS_PER_LOOK_MAX as u32).map(sample_key).collect();
    let refused = store.key_standings(&many).await;
    assert_eq!(refused.expect_err("too many").kind(), ErrorKind::Invalid);
    let allowed = store.key_standings(&many[1..]).await.expect(WORKS);
    assert_eq!(allowed.len(), KEYS_PER_LOOK_MAX);
}

/// Open batches are listed oldest first, as many as asked for, and closed ones are not.
pub async fn open_batches_are_listed_oldest_first(store: Arc<dyn BatchStore>) {
    let mut opened = Vec::new();
    for n in 0..6 {
        opened.push(open(&*store, [n], i64::from(n)).await);
    }
    close(&*store, &opened[2], 0, KeyOutcome::Unserved).await;
    claim(&*store, opened[4].id, 0).await;
    for limit in [1, 3, 5, 100] {
        let listed = store.list_open_batches(limit).await.expect(WORKS);
        let expected: Vec<_> = [0, 1, 3, 4, 5].iter().take(limit).collect();
        assert_eq!(listed.len(), expected.len());
        for (record, n) in listed.iter().zip(expected) {
            assert_eq!(*record, find(&*store, opened[*n as usize].id).await);
        }
    }
}
