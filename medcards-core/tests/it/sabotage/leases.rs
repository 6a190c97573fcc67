use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::Result;
use medcards_core::feedback::FeedbackKey;
use medcards_core::lease::{
    FeedbackLeases, Fence, Lease, LeaseEnd, LeaseHold, LeaseState, LeaseTurn, LeaseView,
};
use medcards_core::memory::MemoryLeases;

use super::Crowd;

/// Leases that break the promise they are given.
#[derive(Debug)]
pub(super) struct LeaseSaboteur {
    inner: MemoryLeases,
    promise: &'static str,
    crowd: Crowd,
    last: Mutex<Option<Lease>>,
}

impl LeaseSaboteur {
    pub(super) fn new(inner: MemoryLeases, promise: &'static str) -> Self {
        Self {
            inner,
            promise,
            crowd: Crowd::default(),
            last: Mutex::default(),
        }
    }

    fn breaks(&self, promise: &str) -> bool {
        self.promise == promise
    }

    /// The newest lease of any, which is not a fence any more.
    fn newest(&self, lease: &Lease) -> Lease {
        let last = self.last.lock().expect("nobody panics with the lock");
        last.clone().unwrap_or_else(|| lease.clone())
    }
}

impl fmt::Display for LeaseSaboteur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseSaboteur({})", self.promise)
    }
}

#[async_trait]
impl FeedbackLeases for LeaseSaboteur {
    fn ttl(&self) -> Duration {
        self.inner.ttl()
    }

    async fn take(&self, key: &FeedbackKey) -> Result<LeaseTurn> {
        if self.breaks("one_of_many_gets_the_lease") {
            self.crowd.wait_for_another().await;
            let fence = Fence::new(1);
            let key = key.clone();
            return Ok(LeaseTurn::Held(Lease { key, fence }));
        }
        let mut turn = self.inner.take(key).await?;
        match &mut turn {
            LeaseTurn::Failed(left) if self.breaks("a_failed_call_is_not_made_again_at_once") => {
                *left *= 100;
            }
            LeaseTurn::Held(lease) => {
                if self.breaks("an_ended_lease_can_be_taken_again") {
                    lease.fence = Fence::new(1);
                }
                let mut last = self.last.lock().expect("nobody panics with the lock");
                *last = Some(lease.clone());
            }
            LeaseTurn::Failed(_) | LeaseTurn::Followed(_) => {}
        }
        Ok(turn)
    }

    async fn push(&self, lease: &Lease, shown: usize, deltas: &[Arc<str>]) -> Result<LeaseHold> {
        if self.breaks("a_live_holder_keeps_its_lease") {
            // No sign of life.
            return Ok(LeaseHold::Held {
                shown: shown + deltas.len(),
            });
        }
        if self.breaks("who_was_given_up_on_changes_nothing") {
            return self.inner.push(&self.newest(lease), shown, deltas).await;
        }
        if self.breaks("followers_see_the_words_as_they_come") {
            return self.inner.push(lease, 0, deltas).await;
        }
        if self.breaks("words_pushed_twice_are_shown_once") {
            let hold = self.inner.push(lease, 0, &[]).await?;
            return match hold {
                LeaseHold::Held { shown } => self.inner.push(lease, shown, deltas).await,
                LeaseHold::Lost => Ok(hold),
            };
        }
        let hold = self.inner.push(lease, shown, deltas).await?;
        if self.breaks("a_silent_holder_goes_on_if_nobody_came") && shown == 2 {
            return Ok(LeaseHold::Lost);
        }
        Ok(hold)
    }

    async fn end(&self, lease: &Lease, end: &LeaseEnd) -> Result<LeaseHold> {
        if self.breaks("a_lease_given_back_is_vacant") {
            return self.inner.push(lease, 0, &[]).await;
        }
        self.inner.end(lease, end).await
    }

    async fn follow(&self, key: &FeedbackKey, fence: Fence, read: usize) -> Result<LeaseView> {
        let mut view = self.inner.follow(key, fence, read).await?;
        if self.breaks("followers_see_how_it_ended") && matches!(view.state, LeaseState::Ended(_)) {
            view.state = LeaseState::Vacant;
        }
        if self.breaks("the_lease_of_a_dead_holder_is_taken_over")
            && view.state == LeaseState::Vacant
        {
            view.state = LeaseState::Held;
        }
        Ok(view)
    }
}
