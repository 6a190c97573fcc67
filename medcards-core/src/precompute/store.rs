use std::collections::HashSet;
use std::fmt::{Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;

use crate::ai::ModelId;
use crate::feedback::FeedbackKey;
use crate::id::{BatchId, ReservationId};
use crate::spend::MicroDollars;
use crate::{Error, ErrorKind, Result};

/// The most keys that [`BatchStore::key_standings`] may be asked about: about 150 kB of keys.
pub const KEYS_PER_LOOK_MAX: usize = 1_000;

/// Keeps which batches of feedback are bought, so that none is bought twice.
///
/// A batch is opened before anyone is asked for anything, its submission is claimed before the
/// provider is called, and the provider's name for it is kept as soon as it is known. Whoever comes
/// after a crash knows from that what may have happened.
#[async_trait]
pub trait BatchStore: Debug + Display + Send + Sync + 'static {
    /// Opens a batch, with its keys, if none of them is in another open batch.
    ///
    /// Of many who want the same key at once, one gets it. Where a key is taken nothing is kept. An
    /// id that was opened before stays as it is and counts as opened.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it has no key or one twice; those of the
    /// storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves the batch either opened whole or not at all.
    async fn open_batch(&self, intent: &BatchIntent) -> Result<BatchOpening>;

    /// A batch, open or closed, or `None` if there is none of this id.
    ///
    /// # Errors
    /// Those of the storage.
    async fn find_batch(&self, batch: BatchId) -> Result<Option<BatchRecord>>;

    /// The keys of a batch, in the order given; empty if there is no such batch.
    ///
    /// # Errors
    /// Those of the storage.
    async fn batch_keys(&self, batch: BatchId) -> Result<Vec<FeedbackKey>>;

    /// The batches that are not closed, oldest first, at most `limit`.
    ///
    /// # Errors
    /// Those of the storage.
    async fn list_open_batches(&self, limit: usize) -> Result<Vec<BatchRecord>>;

    /// The batch, open or closed, that the provider calls by this name.
    ///
    /// # Errors
    /// Those of the storage.
    async fn find_batch_named(&self, name: &str) -> Result<Option<BatchId>>;

    /// Claims the next attempt to submit a batch, if it is at the attempt `seen`, has no name, and
    /// is not closed.
    ///
    /// Of many who claim the same attempt one gets it. From then on whoever holds an earlier attempt
    /// can neither name nor close the batch.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such batch; those of the
    /// storage.
    ///
    /// # Cancel safety
    /// A dropped future may have claimed it.
    async fn claim_batch(&self, batch: BatchId, seen: u32, now: Timestamp) -> Result<BatchClaim>;

    /// Keeps the provider's name for a batch, if this is its attempt, it has no other name, and it
    /// is not closed.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such batch; those of the
    /// storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves it either named or not.
    async fn name_batch(&self, batch: BatchId, attempt: u32, name: &str) -> Result<BatchHold>;

    /// Closes a batch with what came of each key, in their order, if this is its attempt. Its keys
    /// are free again.
    ///
    /// Closing it again, by the same attempt, changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such batch;
    /// [`ErrorKind::Invalid`] if there are not as many outcomes as keys;
    /// those of the storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves it either open or closed whole.
    async fn close_batch(
        &self,
        batch: BatchId,
        attempt: u32,
        end: &BatchEnd,
        outcomes: &[KeyOutcome],
    ) -> Result<BatchHold>;

    /// What is known of some keys, in their order, at most [`KEYS_PER_LOOK_MAX`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for more of them; those of the storage.
    async fn key_standings(&self, keys: &[FeedbackKey]) -> Result<Vec<KeyStanding>>;
}

/// A batch that is about to be bought.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made for each batch")]
pub struct BatchIntent {
    /// Names it, here and in the names of its items.
    pub id: BatchId,
    /// The model.
    pub model: ModelId,
    /// What is to be written, each once.
    pub keys: Vec<FeedbackKey>,
    /// Names the money set aside for it.
    pub reservation: ReservationId,
    /// The day (UTC) on which that counts.
    pub day: Date,
    /// The most that it can cost.
    pub amount: MicroDollars,
    /// When.
    pub opened_at: Timestamp,
}

impl BatchIntent {
    /// Checks what every store checks before it keeps anything.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it has no key or one twice.
    pub fn check(&self) -> Result<()> {
        let keys: HashSet<_> = self.keys.iter().collect();
        if !keys.is_empty() && keys.len() == self.keys.len() {
            return Ok(());
        }
        let context = "a batch has at least one key, and each once";
        Err(Error::new(ErrorKind::Invalid, "open batch", context))
    }
}

/// A batch as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every store")]
pub struct BatchRecord {
    /// Its id.
    pub id: BatchId,
    /// The model.
    pub model: ModelId,
    /// How many keys it has.
    pub len: u64,
    /// Names the money set aside for it.
    pub reservation: ReservationId,
    /// The day (UTC) on which that counts.
    pub day: Date,
    /// The most that it can cost.
    pub amount: MicroDollars,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// How often its submission was claimed; 0 if nobody has asked the provider for it.
    pub attempt: u32,
    /// When it was claimed last.
    pub claimed_at: Option<Timestamp>,
    /// The provider's name for it, as soon as it is known.
    pub name: Option<String>,
    /// What came of it; `None` while it is open.
    pub end: Option<BatchEnd>,
}

impl BatchRecord {
    /// A batch as it is when it was just opened.
    #[must_use]
    pub fn opened(intent: &BatchIntent) -> Self {
        Self {
            id: intent.id,
            model: intent.model.clone(),
            len: intent.keys.len() as u64,
            reservation: intent.reservation,
            day: intent.day,
            amount: intent.amount,
            opened_at: intent.opened_at,
            attempt: 0,
            claimed_at: None,
            name: None,
            end: None,
        }
    }
}

/// What came of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made for each batch")]
pub struct BatchEnd {
    /// When it was closed.
    pub closed_at: Timestamp,
    /// What it cost.
    pub cost: MicroDollars,
    /// How many of its feedbacks were written.
    pub written: u64,
}

/// What came of one key of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "stored: every store keeps them all"
)]
pub enum KeyOutcome {
    /// Its reply was not fit to be shown.
    Rejected,
    /// There was no reply: it failed, came too late, or was never asked for.
    Unserved,
    /// It was written.
    Written,
}

impl KeyOutcome {
    /// The stable name, as stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Unserved => "unserved",
            Self::Written => "written",
        }
    }
}

/// Whether a batch was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "it was or it was not")]
pub enum BatchOpening {
    /// It is open.
    Opened,
    /// These of its keys are in other open batches, so nothing was kept.
    Taken(Vec<FeedbackKey>),
}

/// Whether a submission was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "it was or it was not")]
pub enum BatchClaim {
    /// It is ours, as this attempt.
    Claimed(u32),
    /// Somebody else was first: look at the batch again.
    Lost,
}

/// Whether a batch was still that of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "it was or it was not")]
pub enum BatchHold {
    /// It was, and is as it was told.
    Held,
    /// It belongs to another attempt, or is otherwise done with: nothing was changed.
    Lost,
}

/// What is known of a key that batches were bought for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every store")]
pub struct KeyStanding {
    /// Whether it is in an open batch.
    pub is_open: bool,
    /// In how many closed batches its reply was rejected.
    pub rejections: u32,
}

#[async_trait]
impl<T: BatchStore + ?Sized> BatchStore for Arc<T> {
    async fn open_batch(&self, intent: &BatchIntent) -> Result<BatchOpening> {
        (**self).open_batch(intent).await
    }

    async fn find_batch(&self, batch: BatchId) -> Result<Option<BatchRecord>> {
        (**self).find_batch(batch).await
    }

    async fn batch_keys(&self, batch: BatchId) -> Result<Vec<FeedbackKey>> {
        (**self).batch_keys(batch).await
    }

    async fn list_open_batches(&self, limit: usize) -> Result<Vec<BatchRecord>> {
        (**self).list_open_batches(limit).await
    }

    async fn find_batch_named(&self, name: &str) -> Result<Option<BatchId>> {
        (**self).find_batch_named(name).await
    }

    async fn claim_batch(&self, batch: BatchId, seen: u32, now: Timestamp) -> Result<BatchClaim> {
        (**self).claim_batch(batch, seen, now).await
    }

    async fn name_batch(&self, batch: BatchId, attempt: u32, name: &str) -> Result<BatchHold> {
        (**self).name_batch(batch, attempt, name).await
    }

    async fn close_batch(
        &self,
        batch: BatchId,
        attempt: u32,
        end: &BatchEnd,
        outcomes: &[KeyOutcome],
    ) -> Result<BatchHold> {
        (**self).close_batch(batch, attempt, end, outcomes).await
    }

    async fn key_standings(&self, keys: &[FeedbackKey]) -> Result<Vec<KeyStanding>> {
        (**self).key_standings(keys).await
    }
}
