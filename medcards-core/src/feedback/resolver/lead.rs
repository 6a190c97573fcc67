//! One live call for all processes: who makes it, and how the others read along.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::flight::Flight;
use super::{Inner, is_due};
use crate::feedback::{Feedback, FeedbackKey, Shared};
use crate::lease::{FeedbackLeases, Fence, Lease, LeaseEnd, LeaseHold, LeaseState, LeaseTurn};
use crate::{Error, ErrorKind};

/// How long a backend of leases may take for one call. A live call takes seconds; one that is made
/// twice because of a slow moment costs money.
const LEASE_WAIT_MAX: Duration = Duration::from_millis(500);

/// How often the holder shows new words: as often as a reader can notice.
const PUSH_INTERVAL: Duration = Duration::from_millis(20);

/// How soon a follower looks again after new words, and how late at most while none come.
const FOLLOW_INTERVALS: (Duration, Duration) =
    (Duration::from_millis(20), Duration::from_millis(100));

/// How often following is tried again after the backend failed, before the process is on its own.
const FOLLOW_FAILURES_MAX: u32 = 3;

/// How often it is said that leases are away.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// What a process does about a live call.
#[derive(Debug)]
pub(super) enum Lead {
    /// It makes the call without a lease: there are none, or they are away.
    Alone,
    /// Another made the call and failed; it should not be made again for so long.
    Failed(Duration),
    /// Another made the call: here is what came of it.
    Followed(Box<Feedback<Shared>>),
    /// It makes the call for all.
    Holds(Box<Holding>),
    /// The time of a generation is over, or the resolver closes.
    Over(ErrorKind),
}

impl Inner {
    /// Finds out who makes the live call of a key, and reads along while another does.
    ///
    /// `words` get what the other writes. It takes at most as long as a generation may.
    pub(super) async fn lead(
        &self,
        leases: &Arc<dyn FeedbackLeases>,
        key: &FeedbackKey,
        words: &Flight,
    ) -> Lead {
        let deadline = Instant::now() + self.config.generation_deadline;
        let mut is_takeover = false;
        loop {
            let fence = match within(leases.take(key)).await {
                Ok(LeaseTurn::Failed(pause)) => return Lead::Failed(pause),
                Ok(LeaseTurn::Followed(fence)) => fence,
                Ok(LeaseTurn::Held(lease)) => {
                    let holding = Holding::new(Arc::clone(leases), lease, is_takeover);
                    return Lead::Holds(Box::new(holding));
                }
                Err(error) => {
                    self.warn_of_leases(&error);
                    return Lead::Alone;
                }
            };
            match self.follow(&**leases, key, fence, words, deadline).await {
                Followed::Ended(lead) => return lead,
                Followed::Vacant => is_takeover = true,
            }
            // What the next holder writes has nothing to do with the words so far.
            words.mute_unless_silent();
        }
    }

    /// Says that leases are away, but not for each live call that is made meanwhile.
    fn warn_of_leases(&self, error: &Error) {
        let now_us = self.clock.monotonic_us();
        if is_due(&self.next_lease_warning_us, WARNING_INTERVAL, now_us) {
            tracing::warn!(%error, "this process is on its own with live calls");
        }
    }

    async fn follow(
        &self,
        leases: &dyn FeedbackLeases,
        key: &FeedbackKey,
        fence: Fence,
        words: &Flight,
        deadline: Instant,
    ) -> Followed {
        let (soon, late) = FOLLOW_INTERVALS;
        let (mut read, mut pause, mut failures) = (0, soon, 0);
        let mut text = String::new();
        while Instant::now() < deadline {
            match within(leases.follow(key, fence, read)).await {
                Ok(view) => {
                    failures = 0;
                    pause = match view.deltas.is_empty() {
                        true => (pause * 2).min(late),
                        false => soon,
                    };
                    read += view.deltas.len();
                    for delta in &view.deltas {
                        text.push_str(delta);
                        words.push(delta);
                    }
                    match view.state {
                        LeaseState::Held => {}
                        LeaseState::Vacant | LeaseState::Ended(LeaseEnd::Released) => {
                            return Followed::Vacant;
                        }
                        LeaseState::Ended(LeaseEnd::Failed(pause)) => {
                            return Followed::Ended(Lead::Failed(pause));
                        }
                        LeaseState::Ended(LeaseEnd::Written(feedback)) => {
                            // The last words may have been kept with the whole only.
                            match feedback.text.strip_prefix(&text) {
                                Some(rest) if !rest.is_empty() => words.push(rest),
                                Some(_) | None => {}
                            }
                            self.counters.followed_calls();
                            return Followed::Ended(Lead::Followed(feedback));
                        }
                    }
                }
                Err(error) => {
                    failures += 1;
                    if failures == FOLLOW_FAILURES_MAX {
                        self.warn_of_leases(&error);
                        words.mute_unless_silent();
                        return Followed::Ended(Lead::Alone);
                    }
                }
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.closing.cancelled() => {
                    return Followed::Ended(Lead::Over(ErrorKind::Unavailable));
                }
            }
        }
        Followed::Ended(Lead::Over(ErrorKind::Timeout))
    }
}

/// How following a lease ended.
enum Followed {
    Ended(Lead),
    Vacant,
}

async fn within<T>(work: impl Future<Output = crate::Result<T>>) -> crate::Result<T> {
    timeout(LEASE_WAIT_MAX, work).await.unwrap_or_else(|_| {
        let context = "it takes longer than it may";
        Err(Error::new(ErrorKind::Timeout, "wait for lease", context))
    })
}

/// The words of a call of ours, for those who follow in other processes.
#[derive(Debug, Default)]
pub(super) struct Words(Mutex<Vec<Arc<str>>>);

impl Words {
    pub(super) fn push(&self, delta: &str) {
        self.lock().push(delta.into());
    }

    fn after(&self, shown: usize) -> Vec<Arc<str>> {
        self.lock().get(shown..).unwrap_or_default().to_vec()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lease of ours, kept alive by a task of its own. Dropping it lets the lease run out.
#[derive(Debug)]
pub(super) struct Holding {
    leases: Arc<dyn FeedbackLeases>,
    lease: Lease,
    words: Arc<Words>,
    stop: CancellationToken,
    showing: AbortOnDropHandle<LeaseHold>,
    is_takeover: bool,
}

impl Holding {
    fn new(leases: Arc<dyn FeedbackLeases>, lease: Lease, is_takeover: bool) -> Self {
        let words = Arc::<Words>::default();
        let stop = CancellationToken::new();
        let show = show(
            Arc::clone(&leases),
            lease.clone(),
            Arc::clone(&words),
            stop.clone(),
        );
        Self {
            showing: AbortOnDropHandle::new(tokio::spawn(show)),
            leases,
            lease,
            words,
            stop,
            is_takeover,
        }
    }

    /// Whether another held the lease before and left its call unfinished.
    pub(super) fn is_takeover(&self) -> bool {
        self.is_takeover
    }

    /// Where the words of the call go.
    pub(super) fn words(&self) -> &Words {
        &self.words
    }

    /// Whether another has taken the lease, so that what was written here counts no more.
    ///
    /// It is asked of the backend: a process that was paused has not heard of it.
    pub(super) async fn is_lost(&self) -> bool {
        let renewed = within(self.leases.push(&self.lease, 0, &[])).await;
        matches!(renewed, Ok(LeaseHold::Lost))
    }

    /// Shows the last words and ends the lease. Failing that, it runs out.
    pub(super) async fn end(self, end: LeaseEnd) {
        self.stop.cancel();
        if !matches!(self.showing.await, Ok(LeaseHold::Held { .. })) {
            return;
        }
        if let Err(error) = within(self.leases.end(&self.lease, &end)).await {
            tracing::warn!(%error, "a lease could not be ended and will run out");
        }
    }
}

/// Shows words as they come, and gives signs of life, until it is stopped or the lease is lost.
async fn show(
    leases: Arc<dyn FeedbackLeases>,
    lease: Lease,
    words: Arc<Words>,
    stop: CancellationToken,
) -> LeaseHold {
    let mut shown = 0;
    let mut heard = Instant::now();
    loop {
        let is_last = stop.is_cancelled();
        let deltas = words.after(shown);
        if !deltas.is_empty() || heard.elapsed() >= leases.ttl() / 3 {
            match within(leases.push(&lease, shown, &deltas)).await {
                Ok(LeaseHold::Lost) => return LeaseHold::Lost,
                Ok(LeaseHold::Held { shown: there }) => {
                    shown = there;
                    heard = Instant::now();
                }
                // With the next words, or the next sign of life.
                Err(error) => tracing::debug!(%error, "words could not be shown to others"),
            }
        }
        if is_last {
            return LeaseHold::Held { shown };
        }
        tokio::select! {
            () = sleep(PUSH_INTERVAL) => {}
            () = stop.cancelled() => {}
        }
    }
}
