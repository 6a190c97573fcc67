use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// Tells who waits for something that it has probably happened, so that they need not look often.
///
/// It misses nothing of what its own store does: a change after the hint was taken, or after the last
/// wait, ends the next wait at once. Of what other processes do it may miss some, and it may be wrong:
/// so look again after the patience too.
#[derive(Clone, Debug)]
pub struct Hint {
    changes: watch::Receiver<()>,
}

impl Hint {
    /// Waits until something has probably happened since the last wait, and at most so long.
    ///
    /// # Cancel safety
    /// Nothing is missed.
    pub async fn wait(&mut self, patience: Duration) {
        match timeout(patience, self.changes.changed()).await {
            Ok(Ok(())) | Err(_) => {}
            // Nobody gives hints any more: then look as often as without.
            Ok(Err(_)) => tokio::time::sleep(patience).await,
        }
    }
}

/// Gives hints. For who writes a store.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    changes: watch::Sender<()>,
}

impl Hints {
    /// Gives one to everybody who waits.
    pub fn give(&self) {
        self.changes.send_replace(());
    }

    /// Takes part from now on.
    #[must_use]
    pub fn take(&self) -> Hint {
        Hint {
            changes: self.changes.subscribe(),
        }
    }

    /// Whether anybody takes part.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.changes.receiver_count() > 0
    }
}
