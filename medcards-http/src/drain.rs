use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::problem::{Problem, ProblemCode};

/// Says when the server begins to stop, and when its patience is over.
#[derive(Clone)]
pub(crate) struct Drain {
    patience: Duration,
    begun: CancellationToken,
    begun_at: Arc<OnceLock<Instant>>,
    /// What goes on beside requests, and ends by itself when draining begins.
    tasks: TaskTracker,
}

impl Drain {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience,
            begun: CancellationToken::new(),
            begun_at: Arc::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Begins. The second time changes nothing.
    pub(crate) fn begin(&self) {
        self.begun_at.get_or_init(Instant::now);
        self.begun.cancel();
        self.tasks.close();
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Waits until it begins.
    pub(crate) async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// What goes on beside requests: whoever drains waits for it.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Refuses what would go on for long, if the server is about to stop.
    pub(crate) fn refuse_new(&self) -> Result<(), Problem> {
        if self.has_begun() {
            return Err(Problem::new(ProblemCode::NotReady).with_detail("come back in a moment"));
        }
        Ok(())
    }

    /// Waits until the patience is over: for ever, unless the server stops.
    pub(crate) async fn patience_over(&self) {
        self.begun.cancelled().await;
        // Set before the token is cancelled.
        if let Some(begun_at) = self.begun_at.get() {
            sleep_until(*begun_at + self.patience).await;
        }
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("has_begun", &self.has_begun())
            .finish_non_exhaustive()
    }
}
