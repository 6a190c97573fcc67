use std::collections::VecDeque;
use std::sync::Arc;

use medcards_core::event::LogPosition;
use medcards_core::notice::{Notice, NoticeStore};
use medcards_core::{Result, UserId};

use super::tail::Subscription;

/// How many missed notices are read at once.
const MISSED_PER_READ: usize = 100;

/// The notices of one user in their order: first those that were missed, then those that happen.
pub(crate) struct NoticeFeed {
    notices: Arc<dyn NoticeStore>,
    user_id: UserId,
    /// The place of the last notice that was given.
    position: LogPosition,
    missed: VecDeque<Notice>,
    /// Whether everything that the subscription does not have was read from the store.
    is_caught_up: bool,
    subscription: Subscription,
}

impl NoticeFeed {
    /// The notices after a place, of which the subscription has those that could not be read when it
    /// began.
    pub(super) fn new(
        notices: Arc<dyn NoticeStore>,
        user_id: UserId,
        after: LogPosition,
        subscription: Subscription,
    ) -> Self {
        Self {
            notices,
            user_id,
            position: after,
            missed: VecDeque::new(),
            is_caught_up: false,
            subscription,
        }
    }

    /// The place of the last notice that was given, or else where it begins.
    pub(crate) fn position(&self) -> LogPosition {
        self.position
    }

    /// The next notice; `None` if the client does not keep up.
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// # Cancel safety
    /// No notice is lost or given twice.
    pub(crate) async fn next(&mut self) -> Result<Option<Arc<Notice>>> {
        loop {
            if let Some(notice) = self.missed.pop_front() {
                self.position = notice.position;
                return Ok(Some(Arc::new(notice)));
            }
            if !self.is_caught_up {
                let missed = self
                    .notices
                    .list_notices(self.user_id, self.position, MISSED_PER_READ)
                    .await?;
                self.is_caught_up = missed.is_empty();
                self.missed = missed.into();
                continue;
            }
            let Some(notice) = self.subscription.next().await else {
                return Ok(None);
            };
            // What was read as missed comes here once more.
            if notice.position > self.position {
                self.position = notice.position;
                return Ok(Some(notice));
            }
        }
    }
}
