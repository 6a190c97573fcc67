use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Says when the server begins to stop, and when its patience is over.
#[derive(Clone)]
pub(crate) struct Drain {
    patience: Duration,
    begun: CancellationToken,
    begun_at: Arc<OnceLock<Instant>>,
}

impl Drain {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience,
            begun: CancellationToken::new(),
            begun_at: Arc::default(),
        }
    }

    /// Begins. The second time changes nothing.
    pub(crate) fn begin(&self) {
        self.begun_at.get_or_init(Instant::now);
        self.begun.cancel();
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
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
