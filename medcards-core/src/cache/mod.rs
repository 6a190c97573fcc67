//! The cache of shared feedback: in this process, and beyond it.

mod entry;

pub(crate) use entry::ServedTally;
pub use entry::{CacheEntry, Lifetime, Stage};

use std::fmt::{Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;

use crate::Result;
use crate::feedback::{FeedbackKey, Tier};
use crate::id::CaseId;

/// Keeps shared feedback for a while.
///
/// A cache may forget anything at any time, and should forget an entry when
/// [`CacheEntry::lifetime`] ends. Whether an entry is fresh is for the resolver to decide.
#[async_trait]
pub trait Cache: Debug + Display + Send + Sync + 'static {
    /// The entry in this process's memory, without waiting or allocating.
    ///
    /// A cache without a part in this process always says `None`.
    fn get_local(&self, key: &FeedbackKey) -> Option<Arc<CacheEntry>>;

    /// The entry wherever it is, nearest first, with the tier that had it.
    ///
    /// # Errors
    /// Those of the backend; the resolver takes them for a miss.
    async fn get(&self, key: &FeedbackKey) -> Result<Option<CacheHit>>;

    /// The entries of several keys, in their order, as [`get`](Self::get) finds each. A cache beyond
    /// this process asks for all of them at once.
    ///
    /// # Errors
    /// Those of the backend.
    async fn get_many(&self, keys: &[FeedbackKey]) -> Result<Vec<Option<CacheHit>>>;

    /// Keeps an entry in every part of the cache, in place of any other for this key.
    ///
    /// # Errors
    /// Those of the backend; the entry may then be kept in some parts only.
    ///
    /// # Cancel safety
    /// A dropped future may leave the entry kept in some parts only.
    async fn put(&self, key: FeedbackKey, entry: Arc<CacheEntry>) -> Result<()>;

    /// Forgets a key. After this returns, no `get` that begins later finds what was kept before.
    ///
    /// # Errors
    /// Those of the backend; the entry may then still be found.
    ///
    /// # Cancel safety
    /// A dropped future may leave the entry in some parts.
    async fn remove(&self, key: &FeedbackKey) -> Result<()>;

    /// Forgets every key of a case, in every process.
    ///
    /// # Errors
    /// Those of the backend; entries may then still be found.
    ///
    /// # Cancel safety
    /// A dropped future may leave some entries.
    async fn purge_case(&self, case_id: CaseId) -> Result<()>;

    /// How many removals and purges of other processes it has heard of. Zero for a cache of one
    /// process.
    fn removals_heard(&self) -> u64;

    /// Whether one of those it has heard of, after the first `since`, is of this key or may be. Never for
    /// a cache of one process.
    ///
    /// Who reads a feedback somewhere and caches it cannot know whether it was removed between the two,
    /// if this is so for what [`removals_heard`](Self::removals_heard) was before: then it should be
    /// removed.
    fn has_heard_of(&self, key: &FeedbackKey, since: u64) -> bool;
}

/// An entry that was found.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "made by every cache")]
pub struct CacheHit {
    /// What was found.
    pub entry: Arc<CacheEntry>,
    /// Where: [`Tier::Local`] or [`Tier::Remote`].
    pub tier: Tier,
}

#[async_trait]
impl<T: Cache + ?Sized> Cache for Arc<T> {
    fn get_local(&self, key: &FeedbackKey) -> Option<Arc<CacheEntry>> {
        (**self).get_local(key)
    }

    async fn get(&self, key: &FeedbackKey) -> Result<Option<CacheHit>> {
        (**self).get(key).await
    }

    async fn get_many(&self, keys: &[FeedbackKey]) -> Result<Vec<Option<CacheHit>>> {
        (**self).get_many(keys).await
    }

    async fn put(&self, key: FeedbackKey, entry: Arc<CacheEntry>) -> Result<()> {
        (**self).put(key, entry).await
    }

    async fn remove(&self, key: &FeedbackKey) -> Result<()> {
        (**self).remove(key).await
    }

    async fn purge_case(&self, case_id: CaseId) -> Result<()> {
        (**self).purge_case(case_id).await
    }

    fn removals_heard(&self) -> u64 {
        (**self).removals_heard()
    }

    fn has_heard_of(&self, key: &FeedbackKey, since: u64) -> bool {
        (**self).has_heard_of(key, since)
    }
}
