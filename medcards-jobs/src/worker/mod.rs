//! Does jobs: claims them, runs their handlers, and writes how they ended.
//!
//! A job is done at least once. Its effects are written in the transaction that ends it, and only if no
//! other attempt was made since: so a worker that was given up on, but still runs, writes nothing.
//! What a handler does elsewhere, such as a request to another server, may happen twice; the id of the
//! job is there to tell that server so.

mod crew;
mod figures;
mod outcome;
mod policy;

pub use crew::{Workers, WorkersBuilder};
pub use policy::JobPolicy;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::job::{ClaimedJob, Effects, JobKind};
use medcards_core::time::Clock;
use medcards_core::{Result, Timestamp};
use tokio_util::sync::CancellationToken;

/// Does the jobs of one kind.
#[async_trait]
pub trait JobHandler: Debug + Send + Sync + 'static {
    /// The kind.
    fn kind(&self) -> JobKind;

    /// How many at a time, and how often each. Default: [`JobPolicy::default`].
    fn policy(&self) -> JobPolicy {
        JobPolicy::default()
    }

    /// Does one, and says how that ended.
    ///
    /// What it writes to the store belongs into the [`Effects`] it returns: they count if this attempt
    /// still does. Whatever it does elsewhere it may do again after a crash.
    ///
    /// # Errors
    /// Any error is a failed attempt: the job is tried again later, not before
    /// [`Error::retry_after`](medcards_core::Error::retry_after), and is dead after the last attempt.
    /// So is a panic.
    ///
    /// # Cancel safety
    /// The future is dropped when the claim is lost, or when the process stops and its patience has
    /// ended. Nothing it returned then would count.
    async fn run(&self, job: &ClaimedJob, context: &JobContext) -> Result<JobEnd>;
}

#[async_trait]
impl<T: JobHandler + ?Sized> JobHandler for Arc<T> {
    fn kind(&self) -> JobKind {
        (**self).kind()
    }

    fn policy(&self) -> JobPolicy {
        (**self).policy()
    }

    async fn run(&self, job: &ClaimedJob, context: &JobContext) -> Result<JobEnd> {
        (**self).run(job, context).await
    }
}

/// What a handler has besides its job.
#[derive(Clone, Debug)]
pub struct JobContext {
    clock: Arc<dyn Clock>,
    cancelled: CancellationToken,
}

impl JobContext {
    /// That of a run that is never cancelled, such as of a handler in a test.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            cancelled: CancellationToken::new(),
        }
    }

    /// The time of day.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Is cancelled when nothing this attempt does counts any more: for what it runs elsewhere, such as
    /// on another thread, which is not dropped with it.
    #[must_use]
    pub const fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "done, to be tried again, or given up"
)]
pub enum JobEnd {
    /// It can never be done: it is kept among the dead.
    Dead {
        /// Why, without any text of a student.
        reason: String,
    },
    /// It is done, and this is written with it.
    Done(Effects),
    /// It could not be done now.
    Retry {
        /// How long to wait at least. It may be longer, by how often it failed.
        after: Option<Duration>,
        /// Why, without any text of a student.
        reason: String,
    },
}

impl JobEnd {
    /// Done, with nothing to write.
    #[must_use]
    pub fn done() -> Self {
        Self::Done(Effects::default())
    }
}
