use async_trait::async_trait;
use jiff::Timestamp;

use super::MemoryStore;
use crate::Result;
use crate::event::LogPosition;
use crate::id::UserId;
use crate::notice::{NOTICES_PER_READ_MAX, NewNotice, Notice, NoticeStore};
use crate::store::{Hint, Hints};

/// All notices, in their order.
#[derive(Clone, Default)]
pub(super) struct Notices {
    kept: Vec<Notice>,
    /// How many there ever were.
    last: u64,
    noticed: Hints,
}

impl Notices {
    pub(super) fn write(&mut self, new: NewNotice) {
        self.last += 1;
        self.kept.push(Notice {
            position: at(self.last),
            user_id: new.user_id,
            at: new.at,
            body: new.body,
        });
        self.noticed.give();
    }

    fn after(&self, position: LogPosition) -> impl Iterator<Item = &Notice> {
        let first = self.kept.partition_point(|it| it.position <= position);
        self.kept[first..].iter()
    }
}

const fn at(sequence: u64) -> LogPosition {
    LogPosition {
        transaction: 0,
        sequence,
    }
}

#[async_trait]
impl NoticeStore for MemoryStore {
    async fn read_notices(&self, after: LogPosition, limit: usize) -> Result<Vec<Notice>> {
        let state = self.state();
        let notices = state.notices.after(after);
        Ok(notices
            .take(limit.min(NOTICES_PER_READ_MAX))
            .cloned()
            .collect())
    }

    async fn list_notices(
        &self,
        user_id: UserId,
        after: LogPosition,
        limit: usize,
    ) -> Result<Vec<Notice>> {
        let state = self.state();
        let notices = state
            .notices
            .after(after)
            .filter(|it| it.user_id == user_id);
        Ok(notices
            .take(limit.min(NOTICES_PER_READ_MAX))
            .cloned()
            .collect())
    }

    async fn last_notice(&self) -> Result<LogPosition> {
        Ok(at(self.state().notices.last))
    }

    fn noticed(&self) -> Hint {
        self.state().notices.noticed.take()
    }

    async fn sweep_notices(&self, before: Timestamp, limit: usize) -> Result<u64> {
        let kept = &mut self.state().notices.kept;
        let count = kept.len();
        let mut left = limit;
        kept.retain(|it| {
            let goes = it.at < before && left > 0;
            left -= usize::from(goes);
            !goes
        });
        Ok((count - kept.len()) as u64)
    }
}
