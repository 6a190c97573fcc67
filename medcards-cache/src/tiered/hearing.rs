//! How a process hears what others removed.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use medcards_core::Result;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::pending::Attempt;
use super::{FarCache, LogPage, LogPosition, NearCache, Notice, Removal, Shared};
use crate::lock::lock;

/// How often the log is read: the longest time that removed words are found nearby elsewhere.
const LISTEN_INTERVAL: Duration = Duration::from_millis(250);

/// How long a removal of this process is remembered, in case a failover of the far cache loses it. A
/// replica that is further behind than that is out of order.
const SENT_KEPT_FOR: Duration = Duration::from_mins(1);

/// How many of them are remembered at most.
const SENT_MAX: usize = 4_096;

/// How many notices of our own may be read before we know where they are. Each removal leaves two, of
/// which the first is of no interest.
const SEEN_EARLY_MAX: usize = 256;

/// How many pages of the log are read in a row. A process that is further behind forgets everything.
const PAGES_MAX: u32 = 16;

/// How many pending removals are carried out before the log is read again.
const PENDING_PER_ROUND_MAX: usize = 100;

/// How far this process has heard.
pub(super) struct Hearing {
    log: tokio::sync::Mutex<Log>,
    /// How many readings of the log have begun.
    readings_begun: AtomicU64,
    own: Mutex<Own>,
}

/// Removals that this process announced.
#[derive(Default)]
struct Own {
    sent: VecDeque<Sent>,
    /// Where notices of our own were read that we did not yet know to be there.
    seen_early: VecDeque<LogPosition>,
}

struct Log {
    /// `None` until it was read for the first time.
    position: Option<LogPosition>,
    /// The number of the last reading that came to its end.
    reading: u64,
    /// When that was, or everything nearby was last forgotten instead.
    current_at: Instant,
}

/// A removal that this process announced.
struct Sent {
    removal: Removal,
    position: LogPosition,
    at: Instant,
    /// Whether it was found in the log.
    was_seen: bool,
}

impl Hearing {
    pub(super) fn new() -> Self {
        Self {
            log: tokio::sync::Mutex::new(Log {
                position: None,
                reading: 0,
                current_at: Instant::now(),
            }),
            readings_begun: AtomicU64::new(0),
            own: Mutex::default(),
        }
    }

    /// Remembers what this process announced, and where.
    pub(super) fn sent(&self, position: LogPosition, removal: &Removal) {
        let mut own = lock(&self.own);
        if own.sent.len() >= SENT_MAX {
            own.sent.pop_front();
        }
        let was_seen = own.seen_early.contains(&position);
        own.sent.push_back(Sent {
            removal: removal.clone(),
            was_seen,
            position,
            at: Instant::now(),
        });
    }

    /// A notice of this process was read, so it was not lost.
    fn seen(&self, position: &LogPosition) {
        let mut own = lock(&self.own);
        let mut sent = own.sent.iter_mut();
        if let Some(sent) = sent.find(|sent| sent.position == *position) {
            sent.was_seen = true;
            return;
        }
        if own.seen_early.len() >= SEEN_EARLY_MAX {
            own.seen_early.pop_front();
        }
        own.seen_early.push_back(position.clone());
    }
}

impl<Near: NearCache, Far: FarCache> Shared<Near, Far> {
    /// Hears what others remove and carries out what is pending, for ever.
    pub(super) async fn listen(&self) {
        let mut rounds = interval(LISTEN_INTERVAL);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            if let Err(error) = self.catch_up().await {
                tracing::debug!(%error, "removals of other processes cannot be heard");
                self.distrust_near().await;
            }
            self.retry().await;
        }
    }

    /// Carries out what is pending. What fails is left for the next time, and does not hold up others:
    /// in a Cluster one node may be away.
    async fn retry(&self) {
        let mut attempts = Vec::new();
        while attempts.len() < PENDING_PER_ROUND_MAX && !self.far.is_away() {
            let Some(attempt) = self.pending.next() else {
                break;
            };
            attempts.push(attempt);
        }
        for attempt in attempts {
            if self.far.is_away() {
                break;
            }
            if let Err(error) = self.take_over(attempt).await {
                tracing::debug!(%error, "a removal has yet to be carried out");
            }
        }
    }

    /// Carries out a removal that was given up half-way: it may not have come to forget what is nearby.
    async fn take_over(&self, attempt: Attempt<'_>) -> Result<()> {
        self.forget_near(Some(attempt.removal())).await?;
        self.carry_out(attempt).await
    }

    /// Reads the log to its end, as it is when this is called or later, and does what it says.
    ///
    /// # Cancel safety
    /// What was read and not done is read again.
    pub(super) async fn catch_up(&self) -> Result<()> {
        // A reading that begins from here on is as good as one of our own.
        let needed = self.hearing.readings_begun.load(Ordering::Acquire) + 1;
        let mut log = self.hearing.log.lock().await;
        if log.reading >= needed {
            return Ok(());
        }
        let reading = self.hearing.readings_begun.fetch_add(1, Ordering::AcqRel) + 1;
        let began = Instant::now();
        let mut pages = 0;
        loop {
            let page = self.far.announced_after(log.position.as_ref()).await?;
            pages += 1;
            let has_more = page.has_more;
            if has_more && pages == PAGES_MAX {
                // It is as if nothing had been read before.
                log.position = None;
                continue;
            }
            self.hear(&mut log, page).await?;
            if !has_more {
                break;
            }
        }
        log.reading = reading;
        log.current_at = Instant::now();
        drop(log);
        self.repeat_what_was_lost(began);
        Ok(())
    }

    async fn hear(&self, log: &mut Log, page: LogPage) -> Result<()> {
        if !page.follows {
            let is_first = log.position.is_none();
            // Heard before it is done, so that nobody takes what was read before for current.
            self.heard.add(None);
            self.forget_near(None).await?;
            if !is_first {
                tracing::info!(
                    "the log of removals does not follow: everything nearby is forgotten"
                );
                self.repeat_what_was_sent();
            }
        }
        for notice in &page.notices {
            self.heed(notice).await?;
        }
        log.position = page.end;
        Ok(())
    }

    async fn heed(&self, notice: &Notice) -> Result<()> {
        if notice.by == self.name {
            // It is done already.
            self.hearing.seen(&notice.position);
            return Ok(());
        }
        self.heard.add(notice.removal.clone());
        self.forget_near(notice.removal.as_ref()).await
    }

    /// Forgets everything nearby if removals went unheard for too long.
    async fn distrust_near(&self) {
        let mut log = self.hearing.log.lock().await;
        if log.current_at.elapsed() < self.stale_max {
            return;
        }
        self.heard.add(None);
        if let Err(error) = self.forget_near(None).await {
            tracing::warn!(%error, "what is nearby could not be forgotten");
            return;
        }
        log.current_at = Instant::now();
    }

    /// Repeats removals that were announced before a reading began and are not in what was read.
    fn repeat_what_was_lost(&self, began: Instant) {
        let mut own = lock(&self.hearing.own);
        own.sent.retain(|sent| {
            let is_lost = !sent.was_seen && sent.at < began;
            if is_lost {
                self.pending.add(sent.removal.clone());
            }
            !is_lost && sent.at.elapsed() < SENT_KEPT_FOR
        });
    }

    /// Repeats all removals of the last time.
    fn repeat_what_was_sent(&self) {
        for sent in lock(&self.hearing.own).sent.drain(..) {
            if sent.at.elapsed() < SENT_KEPT_FOR {
                self.pending.add(sent.removal);
            }
        }
    }
}
