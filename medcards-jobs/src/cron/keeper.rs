use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use medcards_core::job::{Enqueued, JobQueue};
use medcards_core::metric::{Metric, MetricSource};
use medcards_core::time::Clock;
use medcards_core::{Result, Timestamp};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::CronEntry;
use crate::backoff::Trouble;

/// The longest sleep: clocks are put right, and machines sleep, without telling.
const SLEEP_MAX: Duration = Duration::from_secs(30);

/// The shortest sleep, when the clock says that a time has come but it is not found yet.
const SLEEP_MIN: Duration = Duration::from_millis(5);

/// Enqueues the jobs of some entries from a task of its own, until it is stopped.
///
/// Cloning gives a handle on the same task. Dropping every handle stops it.
#[derive(Clone)]
pub struct Cron {
    handle: Arc<Handle>,
}

struct Handle {
    queue: Arc<dyn JobQueue>,
    figures: Arc<Figures>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Figures {
    enqueued: AtomicU64,
    failures: AtomicU64,
}

struct Keeper {
    queue: Arc<dyn JobQueue>,
    clock: Arc<dyn Clock>,
    /// Each with the last time that was enqueued, by this process or another.
    entries: Vec<(CronEntry, Option<Timestamp>)>,
    started_at: Timestamp,
    figures: Arc<Figures>,
}

impl Cron {
    /// Starts to enqueue jobs.
    ///
    /// # Panics
    /// If there is no tokio runtime.
    #[must_use]
    pub fn start(queue: Arc<dyn JobQueue>, clock: Arc<dyn Clock>, entries: Vec<CronEntry>) -> Self {
        let handle = Handle {
            queue: Arc::clone(&queue),
            figures: Arc::default(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let keeper = Keeper {
            queue,
            started_at: clock.now(),
            clock,
            entries: entries.into_iter().map(|it| (it, None)).collect(),
            figures: Arc::clone(&handle.figures),
        };
        drop(handle.tasks.spawn(keeper.keep(handle.stopping.clone())));
        handle.tasks.close();
        Self {
            handle: Arc::new(handle),
        }
    }

    /// How many jobs this process has enqueued, without those that another was faster with.
    #[must_use]
    pub fn enqueued(&self) -> u64 {
        self.handle.figures.enqueued.load(Ordering::Relaxed)
    }

    /// Stops.
    ///
    /// # Cancel safety
    /// A dropped future leaves it stopping.
    pub async fn stop(&self) {
        self.handle.stopping.cancel();
        self.handle.tasks.wait().await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

impl Keeper {
    async fn keep(mut self, stopping: CancellationToken) {
        let mut trouble = Trouble::default();
        while !stopping.is_cancelled() {
            let wait = match self.enqueue_due().await {
                Ok(()) => {
                    trouble.is_over();
                    self.until_next()
                }
                Err(error) => {
                    self.figures.failures.fetch_add(1, Ordering::Relaxed);
                    trouble.again("cron jobs are not enqueued", &error)
                }
            };
            tokio::select! {
                () = stopping.cancelled() => {}
                () = sleep(wait) => {}
            }
        }
    }

    async fn enqueue_due(&mut self) -> Result<()> {
        let now = self.clock.now();
        for (entry, enqueued) in &mut self.entries {
            let Some(at) = entry.due(self.started_at, *enqueued, now) else {
                continue;
            };
            let known = self.queue.enqueue(vec![entry.job(at, now)], now).await?;
            *enqueued = Some(at);
            if known.contains(&Enqueued::New) {
                self.figures.enqueued.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn until_next(&self) -> Duration {
        let now = self.clock.now();
        let next = self.entries.iter().filter_map(|(entry, _)| entry.next(now));
        let wait = next
            .min()
            .and_then(|next| Duration::try_from(next.duration_since(now)).ok());
        wait.unwrap_or(SLEEP_MAX).clamp(SLEEP_MIN, SLEEP_MAX)
    }
}

impl MetricSource for Cron {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        metrics.extend([
            Metric::counter(
                "medcards_cron_enqueued_total",
                "Jobs that this process enqueued because their time had come.",
                self.enqueued(),
            ),
            Metric::counter(
                "medcards_cron_failures_total",
                "Times that such a job could not be enqueued, and it was tried again.",
                self.handle.figures.failures.load(Ordering::Relaxed),
            ),
        ]);
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cron")
            .field("queue", &self.handle.queue)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({})", self.handle.queue)
    }
}
