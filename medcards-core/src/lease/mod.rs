//! Leases: of all processes, one at a time has a model write the feedback of a key, and the others
//! read it as it comes.

use std::fmt;
use std::fmt::{Debug, Display};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::Result;
use crate::feedback::{Feedback, FeedbackKey, Shared};

/// Gives the lease of each key to one process at a time, and shows what it has written to the others.
///
/// A lease ends when its holder ends it, or when the holder has not been heard of for
/// [`ttl`](Self::ttl): then the next who asks takes it over. Each lease has a greater [`Fence`] than
/// those of the key before it, by which a holder that was given up on but still runs is told so.
///
/// A backend bounds what it keeps: all of a key is gone some seconds after its last lease ended, or
/// after the pause of a failed call.
#[async_trait]
pub trait FeedbackLeases: Debug + Display + Send + Sync + 'static {
    /// How long after its last sign of life a holder is given up on. It should give one after a
    /// third of that.
    fn ttl(&self) -> Duration;

    /// Takes the lease of a key, unless somebody has it or its call failed a moment ago.
    ///
    /// Who gets it should look into the cache once more: another may have ended it just now.
    ///
    /// # Errors
    /// Those of the backend; then each process is on its own.
    ///
    /// # Cancel safety
    /// A dropped future may have taken the lease, which then nobody holds until it ends by itself.
    async fn take(&self, key: &FeedbackKey) -> Result<LeaseTurn>;

    /// Shows more words to those who follow, and is a sign of life; without words it is only that.
    ///
    /// `deltas` are those after the first `shown`. What is there already is not added again, so that
    /// a push whose answer was lost may be repeated. Returns how many are there now: fewer than
    /// `shown` if the backend lost some, which the holder should then show again.
    ///
    /// # Errors
    /// Those of the backend. [`LeaseHold::Lost`] is no error: another holds the lease.
    ///
    /// # Cancel safety
    /// A dropped future may have shown the words.
    async fn push(&self, lease: &Lease, shown: usize, deltas: &[Arc<str>]) -> Result<LeaseHold>;

    /// Ends a lease. Followers read how it ended for some seconds more.
    ///
    /// # Errors
    /// Those of the backend; the lease may then last until it ends by itself.
    ///
    /// # Cancel safety
    /// A dropped future may have ended it.
    async fn end(&self, lease: &Lease, end: &LeaseEnd) -> Result<LeaseHold>;

    /// What the holder has shown after the first `read` deltas, and how it stands with the lease.
    ///
    /// # Errors
    /// Those of the backend; then each process is on its own.
    async fn follow(&self, key: &FeedbackKey, fence: Fence, read: usize) -> Result<LeaseView>;
}

/// Which of the leases of a key: later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(u64);

impl Fence {
    /// The fence with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

/// The right to have the feedback of a key written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every backend")]
pub struct Lease {
    /// The key.
    pub key: FeedbackKey,
    /// Which of its leases.
    pub fence: Fence,
}

/// What became of a wish for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "free, held or failed")]
pub enum LeaseTurn {
    /// The call failed a moment ago, and should not be made again for so long.
    Failed(Duration),
    /// Somebody holds the lease with this fence: follow it.
    Followed(Fence),
    /// It is the caller's.
    Held(Lease),
}

/// Whether a lease is still its holder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "it is or it is not")]
pub enum LeaseHold {
    /// It is; that many deltas are there to be read.
    Held {
        /// How many.
        shown: usize,
    },
    /// Another has it, or had it since: what its holder wrote counts no more.
    Lost,
}

/// How a lease ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "well, badly or not begun")]
pub enum LeaseEnd {
    /// The call failed, and should not be made again for so long.
    Failed(Duration),
    /// No call was made: the next may try.
    Released,
    /// The feedback was written, and is in the cache if that took it.
    Written(Box<Feedback<Shared>>),
}

/// What one sees who follows a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every backend")]
pub struct LeaseView {
    /// The words that are new.
    pub deltas: Vec<Arc<str>>,
    /// How it stands.
    pub state: LeaseState,
}

/// How it stands with a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "it goes on, has ended or is gone")]
pub enum LeaseState {
    /// It has ended, and no more words come.
    Ended(LeaseEnd),
    /// Its holder has it.
    Held,
    /// Nobody has it, or another than was followed: try to take it.
    Vacant,
}

#[async_trait]
impl<T: FeedbackLeases + ?Sized> FeedbackLeases for Arc<T> {
    fn ttl(&self) -> Duration {
        (**self).ttl()
    }

    async fn take(&self, key: &FeedbackKey) -> Result<LeaseTurn> {
        (**self).take(key).await
    }

    async fn push(&self, lease: &Lease, shown: usize, deltas: &[Arc<str>]) -> Result<LeaseHold> {
        (**self).push(lease, shown, deltas).await
    }

    async fn end(&self, lease: &Lease, end: &LeaseEnd) -> Result<LeaseHold> {
        (**self).end(lease, end).await
    }

    async fn follow(&self, key: &FeedbackKey, fence: Fence, read: usize) -> Result<LeaseView> {
        (**self).follow(key, fence, read).await
    }
}
