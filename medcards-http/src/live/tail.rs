use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use medcards_core::event::LogPosition;
use medcards_core::notice::{NOTICES_PER_READ_MAX, Notice, NoticeStore};
use medcards_core::time::Clock;
use medcards_core::{Result, UserId};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::LiveFigures;

/// How often notices are looked for when nothing hints at them, such as those of other processes:
/// what a person takes for at once.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long to wait after notices could not be read.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// By how much such waits differ, in percent, so that many processes do not ask at the same instants.
const JITTER_PERCENT: u32 = 20;

/// How many notices may wait for one client: more than a student gets in a day. Whoever has more
/// waiting does not keep up.
pub(super) const WAITING_MAX: usize = 64;

/// Reads the notices of all users, and hands each to who subscribed to its user.
///
/// It reads while anybody is subscribed.
pub(super) struct NoticeTail(Arc<Tail>);

struct Tail {
    notices: Arc<dyn NoticeStore>,
    figures: Arc<LiveFigures>,
    clock: Arc<dyn Clock>,
    subscribers: Mutex<Subscribers>,
}

#[derive(Default)]
struct Subscribers {
    is_read: bool,
    /// How many there ever were.
    last: u64,
    by_user: HashMap<UserId, Vec<Subscriber>>,
}

struct Subscriber {
    number: u64,
    waiting: mpsc::Sender<Arc<Notice>>,
}

/// The notices of a user that are read from now on. Dropping it ends it.
pub(super) struct Subscription {
    tail: Arc<Tail>,
    user_id: UserId,
    number: u64,
    waiting: mpsc::Receiver<Arc<Notice>>,
}

impl NoticeTail {
    pub(super) fn new(
        notices: Arc<dyn NoticeStore>,
        figures: Arc<LiveFigures>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Tail {
            notices,
            figures,
            clock,
            subscribers: Mutex::default(),
        }))
    }

    /// Subscribes to the notices of a user, and says where they begin: what is behind that place, and
    /// cannot be read from the store when this returns, comes through the subscription.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn subscribe(&self, user_id: UserId) -> Result<(LogPosition, Subscription)> {
        let tail = &self.0;
        let now = tail.notices.last_notice().await?;
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let mut subscribers = tail.subscribers();
        subscribers.last += 1;
        let number = subscribers.last;
        let of_user = subscribers.by_user.entry(user_id).or_default();
        of_user.push(Subscriber {
            number,
            waiting: sender,
        });
        if !subscribers.is_read {
            subscribers.is_read = true;
            drop(tokio::spawn(follow(Reading(Arc::clone(tail)), now)));
        }
        drop(subscribers);
        let subscription = Subscription {
            tail: Arc::clone(tail),
            user_id,
            number,
            waiting: receiver,
        };
        Ok((now, subscription))
    }
}

impl Subscription {
    /// The next notice; `None` if too many were waiting, after those.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn next(&mut self) -> Option<Arc<Notice>> {
        self.waiting.recv().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut subscribers = self.tail.subscribers();
        if let Some(of_user) = subscribers.by_user.get_mut(&self.user_id) {
            of_user.retain(|it| it.number != self.number);
            if of_user.is_empty() {
                subscribers.by_user.remove(&self.user_id);
            }
        }
    }
}

impl Tail {
    fn subscribers(&self) -> MutexGuard<'_, Subscribers> {
        // Nothing panics between two changes that belong together.
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody is subscribed. If not, reading has ended.
    fn is_wanted(&self) -> bool {
        let mut subscribers = self.subscribers();
        subscribers.is_read = !subscribers.by_user.is_empty();
        subscribers.is_read
    }

    fn hand_over(&self, notices: Vec<Notice>) {
        let now = self.clock.now();
        let mut subscribers = self.subscribers();
        for notice in notices {
            let Some(of_user) = subscribers.by_user.get_mut(&notice.user_id) else {
                continue;
            };
            let age = Duration::try_from(now.duration_since(notice.at)).unwrap_or_default();
            let (user_id, notice) = (notice.user_id, Arc::new(notice));
            of_user.retain(|it| match it.waiting.try_send(Arc::clone(&notice)) {
                Ok(()) => {
                    self.figures.handed_over(age);
                    true
                }
                Err(TrySendError::Full(_) | TrySendError::Closed(_)) => false,
            });
            if of_user.is_empty() {
                subscribers.by_user.remove(&user_id);
            }
        }
    }
}

/// The task that reads. If it ends early, as when a store panics, nobody waits for it in vain.
struct Reading(Arc<Tail>);

impl Drop for Reading {
    fn drop(&mut self) {
        let mut subscribers = self.0.subscribers();
        if std::mem::take(&mut subscribers.is_read) {
            subscribers.by_user.clear();
        }
    }
}

async fn follow(reading: Reading, mut position: LogPosition) {
    let tail = &reading.0;
    let mut hint = tail.notices.noticed();
    let mut fails = false;
    while tail.is_wanted() {
        match tail
            .notices
            .read_notices(position, NOTICES_PER_READ_MAX)
            .await
        {
            Ok(notices) => {
                fails = false;
                let has_more = notices.len() == NOTICES_PER_READ_MAX;
                if let Some(last) = notices.last() {
                    position = last.position;
                }
                tail.hand_over(notices);
                if !has_more {
                    hint.wait(jittered(LOOK_INTERVAL)).await;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut fails, true) {
                    tracing::warn!(%error, "notices cannot be read for now");
                }
                tokio::time::sleep(jittered(PAUSE_AFTER_FAILURE)).await;
            }
        }
    }
}

fn jittered(wait: Duration) -> Duration {
    wait * fastrand::u32(100 - JITTER_PERCENT..=100 + JITTER_PERCENT) / 100
}
