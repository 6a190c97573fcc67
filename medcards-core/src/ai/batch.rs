use std::fmt::Debug;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;

use super::{AiFailure, Prompt, Reply};
use crate::Result;
use crate::spend::Price;

/// Asks a model for many replies at once, hours later and at a lower price.
///
/// It keeps nothing: whoever makes a batch keeps its id, before anything else. Replies are stored
/// by the provider for some weeks.
#[async_trait]
pub trait AiBatches: Debug + Send + Sync {
    /// What the model costs in a batch.
    fn price(&self) -> Price;

    /// The most prompts of one batch.
    fn batch_len_max(&self) -> usize;

    /// Hands in a batch and returns the name that the provider gave it.
    ///
    /// # Errors
    /// After [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) or
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) the batch may exist all the same:
    /// look for it with [`list_batches`](Self::list_batches) and [`results`](Self::results) before
    /// it is handed in again.
    /// After [`ErrorKind::Busy`](crate::ErrorKind::Busy) nothing was made: the provider cannot be
    /// reached or takes no more now.
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for one that is empty, too long, or has two
    /// items of one name.
    ///
    /// # Cancel safety
    /// A dropped future may have made the batch.
    async fn create_batch(&self, items: Vec<BatchItem>) -> Result<String>;

    /// How far a batch is.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if the provider has no such batch.
    async fn find_batch(&self, batch: &str) -> Result<BatchInfo>;

    /// The newest batches, newest first, at most `limit` and at most 1,000.
    ///
    /// # Errors
    /// Those of the provider.
    async fn list_batches(&self, limit: usize) -> Result<Vec<BatchInfo>>;

    /// What came of each item of a batch that has ended, in any order. An item that is not among
    /// them was never worked on, and is billed at nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if it has not ended; an item of the stream
    /// is an error if it cannot be read, and the stream goes on unless the connection broke.
    ///
    /// # Cancel safety
    /// It can be read again.
    async fn results(&self, batch: &str) -> Result<BatchResults>;

    /// Asks for the end of a batch. What was written by then is billed and can be read.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if the provider has no such batch.
    async fn cancel_batch(&self, batch: &str) -> Result<()>;
}

/// What came of the items of a batch.
pub type BatchResults = BoxStream<'static, Result<BatchResult>>;

/// A prompt of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made for each prompt")]
pub struct BatchItem {
    /// Names it within the batch: 1 to 64 letters, digits, `-` or `_`.
    pub name: String,
    /// What is asked.
    pub prompt: Prompt,
}

/// How far a batch is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every provider")]
pub struct BatchInfo {
    /// The provider's name for it.
    pub batch: String,
    /// Whether its results can be read.
    pub has_ended: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many of its items are done, however they ended.
    pub done: u64,
    /// How many items it has, as far as the provider says.
    pub total: u64,
}

/// What came of one item of a batch.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "made by every provider")]
pub struct BatchResult {
    /// The name of the item.
    pub name: String,
    /// The reply; or why there is none, and what it is billed at.
    pub reply: Result<Reply, AiFailure>,
}
