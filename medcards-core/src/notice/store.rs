use std::fmt::{Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::Notice;
use crate::Result;
use crate::event::LogPosition;
use crate::id::UserId;
use crate::store::Hint;

/// Reads notices. They are written with their causes: by
/// [`ViewStore::commit`](crate::view::ViewStore::commit) and
/// [`JobQueue::settle`](crate::job::JobQueue::settle).
#[async_trait]
pub trait NoticeStore: Debug + Display + Send + Sync + 'static {
    /// The notices after a place, of all users, oldest commit first, at most `limit` and at most
    /// [`NOTICES_PER_READ_MAX`](super::NOTICES_PER_READ_MAX).
    ///
    /// Reading on from the last one's place misses nothing and repeats nothing, however many writers
    /// commit meanwhile. Notices of a kind that this program does not know are passed over; when
    /// nothing but such is left, the list is empty.
    ///
    /// # Errors
    /// Those of the storage.
    async fn read_notices(&self, after: LogPosition, limit: usize) -> Result<Vec<Notice>>;

    /// The same of one user alone.
    ///
    /// # Errors
    /// Those of the storage.
    async fn list_notices(
        &self,
        user_id: UserId,
        after: LogPosition,
        limit: usize,
    ) -> Result<Vec<Notice>>;

    /// A place that no notice which can be read now is behind.
    ///
    /// # Errors
    /// Those of the storage.
    async fn last_notice(&self) -> Result<LogPosition>;

    /// Hints that notices were probably written by this or another process.
    fn noticed(&self) -> Hint;

    /// Forgets notices of before an instant, at most `limit`; returns how many there were.
    ///
    /// # Errors
    /// Those of the storage.
    async fn sweep_notices(&self, before: Timestamp, limit: usize) -> Result<u64>;
}

#[async_trait]
impl<T: NoticeStore + ?Sized> NoticeStore for Arc<T> {
    async fn read_notices(&self, after: LogPosition, limit: usize) -> Result<Vec<Notice>> {
        (**self).read_notices(after, limit).await
    }

    async fn list_notices(
        &self,
        user_id: UserId,
        after: LogPosition,
        limit: usize,
    ) -> Result<Vec<Notice>> {
        (**self).list_notices(user_id, after, limit).await
    }

    async fn last_notice(&self) -> Result<LogPosition> {
        (**self).last_notice().await
    }

    fn noticed(&self) -> Hint {
        (**self).noticed()
    }

    async fn sweep_notices(&self, before: Timestamp, limit: usize) -> Result<u64> {
        (**self).sweep_notices(before, limit).await
    }
}
