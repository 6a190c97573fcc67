//! Checks of [`FeedbackLeases`].
//!
//! Each gets a backend whose leases last [`LEASE_TTL`] of real time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::steps::{WORKS, all_at_once};
use crate::feedback::FeedbackKey;
use crate::lease::{
    FeedbackLeases, Fence, Lease, LeaseEnd, LeaseHold, LeaseState, LeaseTurn, LeaseView,
};
use crate::testing::{sample_feedback, sample_key};

/// How long the leases of a backend that is checked last: long enough for a holder on a busy machine
/// to be heard of in time, short enough to wait for its end.
pub const LEASE_TTL: Duration = Duration::from_secs(1);

/// How long something that happens by itself is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

fn words(texts: &[&str]) -> Vec<Arc<str>> {
    texts.iter().map(|text| Arc::from(*text)).collect()
}

fn written(text: &str) -> LeaseEnd {
    LeaseEnd::Written(Box::new(sample_feedback(text)))
}

async fn taken(leases: &dyn FeedbackLeases, key: &FeedbackKey) -> Lease {
    match leases.take(key).await.expect(WORKS) {
        LeaseTurn::Held(lease) => lease,
        other => panic!("the lease is free, but taking it gave {other:?}"),
    }
}

async fn followed(leases: &dyn FeedbackLeases, key: &FeedbackKey) -> Fence {
    match leases.take(key).await.expect(WORKS) {
        LeaseTurn::Followed(fence) => fence,
        other => panic!("the lease is held, but taking it gave {other:?}"),
    }
}

async fn seen(leases: &dyn FeedbackLeases, lease: &Lease, read: usize) -> LeaseView {
    let view = leases.follow(&lease.key, lease.fence, read);
    view.await.expect(WORKS)
}

async fn pushed(leases: &dyn FeedbackLeases, lease: &Lease, at: usize, texts: &[&str]) {
    let hold = leases.push(lease, at, &words(texts)).await.expect(WORKS);
    let shown = at + texts.len();
    assert_eq!(hold, LeaseHold::Held { shown });
}

/// Waits until the lease of a key whose holder is silent can be taken.
async fn taken_over(leases: &dyn FeedbackLeases, key: &FeedbackKey) -> Lease {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match leases.take(key).await.expect(WORKS) {
            LeaseTurn::Held(lease) => return lease,
            LeaseTurn::Followed(_) => {}
            LeaseTurn::Failed(_) => panic!("nobody failed"),
        }
        assert!(Instant::now() < deadline, "a dead holder keeps its lease");
        sleep(LEASE_TTL / 20).await;
    }
}

/// Of many who want a lease at once, one gets it and the others follow that one; each key has its
/// own.
pub async fn one_of_many_gets_the_lease(leases: Arc<dyn FeedbackLeases>) {
    for n in 0..5 {
        let key = sample_key(n);
        let turns = (0..16).map(|_| {
            let (leases, key) = (Arc::clone(&leases), key.clone());
            async move { leases.take(&key).await.expect(WORKS) }
        });
        let (mut held, mut others) = (Vec::new(), Vec::new());
        for turn in all_at_once(turns).await {
            match turn {
                LeaseTurn::Held(lease) => held.push(lease),
                LeaseTurn::Followed(fence) => others.push(fence),
                LeaseTurn::Failed(_) => panic!("nobody failed"),
            }
        }
        let [lease] = &held[..] else {
            panic!("{} hold the lease of one key", held.len());
        };
        assert_eq!(lease.key, key);
        assert_eq!(others, [lease.fence; 15]);
    }
}

/// Followers see the words in order, from wherever they are, while the lease is held.
pub async fn followers_see_the_words_as_they_come(leases: Arc<dyn FeedbackLeases>) {
    let lease = taken(&*leases, &sample_key(1)).await;
    let view = seen(&*leases, &lease, 0).await;
    assert_eq!(view.deltas, words(&[]));
    assert_eq!(view.state, LeaseState::Held);
    pushed(&*leases, &lease, 0, &["Das ", "«\u{a0}β₂\u{a0}» "]).await;
    assert_eq!(
        seen(&*leases, &lease, 0).await.deltas,
        words(&["Das ", "«\u{a0}β₂\u{a0}» "])
    );
    pushed(&*leases, &lease, 2, &["\n", "\u{1f9e0}"]).await;
    assert_eq!(
        seen(&*leases, &lease, 1).await.deltas,
        words(&["«\u{a0}β₂\u{a0}» ", "\n", "\u{1f9e0}"])
    );
    assert_eq!(seen(&*leases, &lease, 4).await.deltas, words(&[]));
    assert_eq!(seen(&*leases, &lease, 0).await.state, LeaseState::Held);
}

/// Words that are pushed again, because an answer was lost, are shown once.
pub async fn words_pushed_twice_are_shown_once(leases: Arc<dyn FeedbackLeases>) {
    let lease = taken(&*leases, &sample_key(1)).await;
    pushed(&*leases, &lease, 0, &["a", "b"]).await;
    pushed(&*leases, &lease, 0, &["a", "b"]).await;
    pushed(&*leases, &lease, 1, &["b", "c"]).await;
    assert_eq!(
        seen(&*leases, &lease, 0).await.deltas,
        words(&["a", "b", "c"])
    );
    // Who thinks that more is there than is, is told.
    let hold = leases.push(&lease, 5, &words(&["x"])).await.expect(WORKS);
    assert_eq!(hold, LeaseHold::Held { shown: 3 });
    assert_eq!(seen(&*leases, &lease, 0).await.deltas.len(), 3);
}

/// Who follows reads the feedback, whole, when it has been written.
pub async fn followers_see_how_it_ended(leases: Arc<dyn FeedbackLeases>) {
    let lease = taken(&*leases, &sample_key(1)).await;
    pushed(&*leases, &lease, 0, &["Words"]).await;
    let end = written("Words. — «\u{a0}β₂\u{a0}»");
    let hold = leases.end(&lease, &end).await.expect(WORKS);
    assert_eq!(hold, LeaseHold::Held { shown: 1 });
    let view = seen(&*leases, &lease, 0).await;
    assert_eq!(view.deltas, words(&["Words"]));
    assert_eq!(view.state, LeaseState::Ended(end));
}

/// A lease that has ended well or was given back can be taken again, with a greater fence and without
/// the words of the last.
pub async fn an_ended_lease_can_be_taken_again(leases: Arc<dyn FeedbackLeases>) {
    let key = sample_key(1);
    let mut last = Fence::new(0);
    for end in [written("Words."), LeaseEnd::Released, written("Words.")] {
        let lease = taken(&*leases, &key).await;
        assert!(last < lease.fence, "{last} before {}", lease.fence);
        last = lease.fence;
        assert_eq!(seen(&*leases, &lease, 0).await.deltas, words(&[]));
        pushed(&*leases, &lease, 0, &["Words."]).await;
        leases.end(&lease, &end).await.expect(WORKS);
    }
}

/// Followers of a lease that was given back find it vacant.
pub async fn a_lease_given_back_is_vacant(leases: Arc<dyn FeedbackLeases>) {
    let lease = taken(&*leases, &sample_key(1)).await;
    leases.end(&lease, &LeaseEnd::Released).await.expect(WORKS);
    let view = seen(&*leases, &lease, 0).await;
    assert_eq!(view.state, LeaseState::Vacant);
}

/// After a call failed nobody gets the lease during the pause, and all are told how long it lasts.
pub async fn a_failed_call_is_not_made_again_at_once(leases: Arc<dyn FeedbackLeases>) {
    let key = sample_key(1);
    let lease = taken(&*leases, &key).await;
    let pause = Duration::from_secs(2);
    let failed = LeaseEnd::Failed(pause);
    leases.end(&lease, &failed).await.expect(WORKS);
    assert!(matches!(
        seen(&*leases, &lease, 0).await.state,
        LeaseState::Ended(LeaseEnd::Failed(_))
    ));
    let mut told = 0;
    let next = loop {
        match leases.take(&key).await.expect(WORKS) {
            LeaseTurn::Failed(left) => assert!(left <= pause, "{left:?}"),
            LeaseTurn::Held(lease) => break lease,
            LeaseTurn::Followed(_) => panic!("nobody holds it"),
        }
        told += 1;
        sleep(pause / 20).await;
    };
    assert!(told > 0, "the pause was over at once");
    assert!(lease.fence < next.fence);
}

/// The lease of a holder that is not heard of is taken over; followers find it vacant.
pub async fn the_lease_of_a_dead_holder_is_taken_over(leases: Arc<dyn FeedbackLeases>) {
    let key = sample_key(1);
    let dead = taken(&*leases, &key).await;
    pushed(&*leases, &dead, 0, &["Half of a"]).await;
    let next = taken_over(&*leases, &key).await;
    assert!(dead.fence < next.fence);
    assert_eq!(seen(&*leases, &dead, 0).await.state, LeaseState::Vacant);
    let view = seen(&*leases, &next, 0).await;
    assert_eq!((view.deltas, view.state), (words(&[]), LeaseState::Held));
}

/// A holder that gives signs of life keeps its lease for many times its length.
pub async fn a_live_holder_keeps_its_lease(leases: Arc<dyn FeedbackLeases>) {
    let key = sample_key(1);
    let lease = taken(&*leases, &key).await;
    let until = Instant::now() + 3 * LEASE_TTL;
    while Instant::now() < until {
        pushed(&*leases, &lease, 0, &[]).await;
        assert_eq!(followed(&*leases, &key).await, lease.fence);
        sleep(LEASE_TTL / 20).await;
    }
}

/// A holder that was given up on but still runs is told so, and changes nothing any more.
pub async fn who_was_given_up_on_changes_nothing(leases: Arc<dyn FeedbackLeases>) {
    let key = sample_key(1);
    let old = taken(&*leases, &key).await;
    let new = taken_over(&*leases, &key).await;
    let hold = leases
        .push(&old, 0, &words(&["Old words."]))
        .await
        .expect(WORKS);
    assert_eq!(hold, LeaseHold::Lost);
    pushed(&*leases, &new, 0, &["New"]).await;
    let hold = leases
        .push(&old, 1, &words(&[" old words."]))
        .await
        .expect(WORKS);
    assert_eq!(hold, LeaseHold::Lost);
    for end in [written("Old words."), LeaseEnd::Released] {
        let ended = leases.end(&old, &end).await.expect(WORKS);
        assert_eq!(ended, LeaseHold::Lost);
    }
    let view = seen(&*leases, &new, 0).await;
    assert_eq!(view.deltas, words(&["New"]));
    assert_eq!(view.state, LeaseState::Held);
    leases.end(&new, &written("New.")).await.expect(WORKS);
    let ended = leases.end(&old, &LeaseEnd::Released).await.expect(WORKS);
    assert_eq!(ended, LeaseHold::Lost);
    let view = seen(&*leases, &new, 0).await;
    assert_eq!(view.state, LeaseState::Ended(written("New.")));
}

/// A holder that was silent for too long but whose lease nobody took goes on, and is told what must
/// be shown again.
pub async fn a_silent_holder_goes_on_if_nobody_came(leases: Arc<dyn FeedbackLeases>) {
    let lease = taken(&*leases, &sample_key(1)).await;
    pushed(&*leases, &lease, 0, &["a", "b"]).await;
    sleep(2 * LEASE_TTL).await;
    let hold = leases.push(&lease, 2, &words(&["c"])).await.expect(WORKS);
    let LeaseHold::Held { shown } = hold else {
        panic!("nobody else took it");
    };
    let all = ["a", "b", "c"];
    pushed(&*leases, &lease, shown, &all[shown..]).await;
    assert_eq!(seen(&*leases, &lease, 0).await.deltas, words(&all));
    leases.end(&lease, &written("abc")).await.expect(WORKS);
    let view = seen(&*leases, &lease, 0).await;
    assert_eq!(view.state, LeaseState::Ended(written("abc")));
}
