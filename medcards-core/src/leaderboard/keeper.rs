use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{
    AsOf, Board, BoardFeed, Cohort, FedLeaderboards, FeedStep, Leaderboards, Neighbourhood, Top,
    Week,
};
use crate::id::UserId;
use crate::metric::{Metric, MetricSource};
use crate::store::Store;
use crate::{Error, Result};

/// How long to wait when the log has nothing new: so late may a point be seen.
const IDLE_WAIT: Duration = Duration::from_secs(1);

/// How long to wait when another process was faster: it is doing the work, and will be for a while.
const OVERTAKEN_WAIT: Duration = Duration::from_millis(100);

/// How often to look whether everything is still there: so long may a loss go unnoticed on boards
/// that nobody gains a point on.
const VERIFY_EVERY: Duration = Duration::from_secs(5);

/// How long ago boards may have been seen to have everything, and still be called complete: more than
/// a few steps take of which one fails, and still what students call a moment.
const COMPLETE_FOR: Duration = Duration::from_secs(5);

/// How long to wait after a first failure; doubled with each.
const RETRY_WAIT_MIN: Duration = Duration::from_millis(100);

/// The longest wait after failures.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(10);

/// How often the same trouble is logged.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Keeps boards fed from a store's log, from a task of its own, until it is stopped.
///
/// Every process may run one on the same boards: each point counts once. It fills boards that are
/// empty, or have lost something, from the start of the log, and fills others beside them when the key
/// of a case was corrected. A failure is logged, at most once a
/// minute, and tried again.
///
/// It is the boards, too, for who reads them through it: what boards cannot know, it does, namely
/// whether the log has more than they. Answers are complete only if the boards say so and have been
/// seen to have all that the log has within the last five seconds. So they are not before the first
/// look, while gains cannot be written or the log cannot be read, and when it is stopped.
///
/// Cloning gives a handle on the same keeper. Dropping every handle stops it.
#[derive(Clone)]
pub struct BoardKeeper {
    handle: Arc<Handle>,
}

struct Handle {
    inner: Arc<Inner>,
    tasks: TaskTracker,
}

struct Inner {
    feed: BoardFeed,
    stopping: CancellationToken,
    counters: Counters,
}

#[derive(Debug)]
struct Counters {
    events: AtomicU64,
    gains: AtomicU64,
    overtaken: AtomicU64,
    failures: AtomicU64,
    rebuilds: AtomicU64,
    started_at: Instant,
    /// When the step began that last saw that the boards have everything.
    complete_at: Mutex<Option<Instant>>,
}

/// What a keeper has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeeperCounts {
    /// How many events it carried, in each edition.
    pub events: u64,
    /// How many points were among them.
    pub gains: u64,
    /// How many times another process was faster.
    pub overtaken: u64,
    /// How many times it failed.
    pub failures: u64,
    /// How many rebuilds it switched in.
    pub rebuilds: u64,
    /// How long ago it last saw that the boards that answer have all that the log has, or how long
    /// ago it was started: up to a second or so if all is well.
    pub behind_for: Duration,
}

impl BoardKeeper {
    /// Starts to feed boards.
    ///
    /// # Panics
    /// If there is no tokio runtime.
    #[must_use]
    pub fn start(store: Arc<dyn Store>, boards: Arc<dyn FedLeaderboards>) -> Self {
        let inner = Arc::new(Inner {
            feed: BoardFeed::new(store, boards),
            stopping: CancellationToken::new(),
            counters: Counters {
                events: AtomicU64::new(0),
                gains: AtomicU64::new(0),
                overtaken: AtomicU64::new(0),
                failures: AtomicU64::new(0),
                rebuilds: AtomicU64::new(0),
                started_at: Instant::now(),
                complete_at: Mutex::default(),
            },
        });
        let tasks = TaskTracker::new();
        drop(tasks.spawn(keep(Arc::clone(&inner))));
        tasks.close();
        Self {
            handle: Arc::new(Handle { inner, tasks }),
        }
    }

    /// The boards.
    #[must_use]
    pub fn boards(&self) -> &Arc<dyn FedLeaderboards> {
        self.handle.inner.feed.boards()
    }

    /// What it has done so far.
    #[must_use]
    pub fn counts(&self) -> KeeperCounts {
        self.handle.inner.counters.read()
    }

    /// Whether it has seen within the last five seconds that the boards that answer have all that the
    /// log has.
    #[must_use]
    pub fn is_kept_up(&self) -> bool {
        let complete_at = *self.handle.inner.counters.complete_at();
        complete_at.is_some_and(|at| at.elapsed() <= COMPLETE_FOR)
    }

    /// Takes from an answer of the boards that it is complete, if they are not kept up.
    pub(super) fn check(&self, as_of: &mut AsOf) {
        as_of.is_complete &= self.is_kept_up();
    }

    /// Stops, after the step that is under way. Close the store after it.
    ///
    /// # Cancel safety
    /// A dropped future leaves the keeper stopping.
    pub async fn stop(&self) {
        self.handle.inner.stopping.cancel();
        self.handle.tasks.wait().await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.stopping.cancel();
    }
}

async fn keep(inner: Arc<Inner>) {
    let mut trouble = Trouble::default();
    let mut verified_at: Option<Instant> = None;
    while !inner.stopping.is_cancelled() {
        let begun_at = Instant::now();
        let is_due = verified_at.is_none_or(|at| at.elapsed() >= VERIFY_EVERY);
        let stepped = if is_due {
            inner.feed.verify_and_step().await
        } else {
            inner.feed.step().await
        };
        let wait = match stepped {
            Ok(step) => {
                if is_due {
                    verified_at = Some(Instant::now());
                }
                trouble.is_over(&inner.feed);
                inner.counters.add(&step, begun_at);
                wait_after(&step)
            }
            Err(error) => {
                inner.counters.add_failure();
                trouble.again(&inner.feed, &error)
            }
        };
        if wait.is_zero() {
            // A log in memory never waits: others want the thread too.
            tokio::task::yield_now().await;
            continue;
        }
        tokio::select! {
            () = inner.stopping.cancelled() => {}
            () = sleep(wait) => {}
        }
    }
}

fn wait_after(step: &FeedStep) -> Duration {
    if step.was_overtaken {
        OVERTAKEN_WAIT
    } else if step.is_caught_up || step.is_waiting_to_rebuild {
        IDLE_WAIT
    } else {
        Duration::ZERO
    }
}

/// Failures in a row.
#[derive(Debug, Default)]
struct Trouble {
    wait: Duration,
    logged_at: Option<Instant>,
}

impl Trouble {
    /// Takes note of a failure, and says how long to wait.
    fn again(&mut self, feed: &BoardFeed, error: &Error) -> Duration {
        self.wait = (self.wait * 2).clamp(RETRY_WAIT_MIN, RETRY_WAIT_MAX);
        if self.logged_at.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            self.logged_at = Some(Instant::now());
            tracing::warn!(%error, %feed, "leaderboards are not kept up; trying again");
        }
        self.wait
    }

    fn is_over(&mut self, feed: &BoardFeed) {
        // Not `logged_at`, so that trouble that comes and goes is not logged each time.
        if self.wait > Duration::ZERO {
            tracing::debug!(%feed, "leaderboards are kept up again");
        }
        self.wait = Duration::ZERO;
    }
}

impl Counters {
    fn add(&self, step: &FeedStep, begun_at: Instant) {
        self.events.fetch_add(step.events, Ordering::Relaxed);
        self.gains.fetch_add(step.gains, Ordering::Relaxed);
        let once = u64::from;
        self.overtaken
            .fetch_add(once(step.was_overtaken), Ordering::Relaxed);
        self.rebuilds
            .fetch_add(once(step.switched), Ordering::Relaxed);
        if step.counts_all {
            *self.complete_at() = Some(begun_at);
        }
    }

    fn add_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    fn complete_at(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.complete_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> KeeperCounts {
        let complete_at = *self.complete_at();
        let behind_for = complete_at.unwrap_or(self.started_at).elapsed();
        KeeperCounts {
            events: self.events.load(Ordering::Relaxed),
            gains: self.gains.load(Ordering::Relaxed),
            overtaken: self.overtaken.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            rebuilds: self.rebuilds.load(Ordering::Relaxed),
            behind_for,
        }
    }
}

#[async_trait]
impl Leaderboards for BoardKeeper {
    async fn top(&self, board: &Board, limit: usize) -> Result<Top> {
        let mut top = self.boards().top(board, limit).await?;
        self.check(&mut top.as_of);
        Ok(top)
    }

    async fn standing(
        &self,
        board: &Board,
        user_id: UserId,
        neighbours: usize,
    ) -> Result<Neighbourhood> {
        let found = self.boards().standing(board, user_id, neighbours);
        let mut found = found.await?;
        self.check(&mut found.as_of);
        Ok(found)
    }

    async fn cohort(&self, week: Week, user_id: UserId) -> Result<Option<Cohort>> {
        let mut cohort = self.boards().cohort(week, user_id).await?;
        if let Some(cohort) = &mut cohort {
            self.check(&mut cohort.as_of);
        }
        Ok(cohort)
    }

    async fn rebuild(&self) -> Result<()> {
        self.handle.inner.feed.begin_rebuild().await.map(drop)
    }
}

impl MetricSource for BoardKeeper {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        let counts = self.counts();
        metrics.extend([
            Metric::gauge(
                "medcards_leaderboard_behind_seconds",
                "How long ago the leaderboards were last seen to have everything: not complete from five seconds on.",
                counts.behind_for.as_secs_f64(),
            ),
            Metric::counter(
                "medcards_leaderboard_events_total",
                "Events that this process carried to the leaderboards.",
                counts.events,
            ),
            Metric::counter(
                "medcards_leaderboard_failures_total",
                "Times that it could not, and tried again.",
                counts.failures,
            ),
            Metric::counter(
                "medcards_leaderboard_rebuilds_total",
                "Leaderboards that were built anew and switched in by this process.",
                counts.rebuilds,
            ),
        ]);
    }
}

impl fmt::Debug for BoardKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoardKeeper")
            .field("feed", &self.handle.inner.feed)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for BoardKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BoardKeeper({})", self.handle.inner.feed)
    }
}
