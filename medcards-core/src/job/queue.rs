use std::fmt::{Debug, Display};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    ClaimedJob, DeadJob, Enqueued, JobClaim, JobCounts, JobKind, NewJob, Settled, Settlement,
};
use crate::Result;
use crate::id::JobId;
use crate::store::Hint;

/// Keeps jobs until they are done.
///
/// The instants come from the callers, whose clocks may differ by a little: a lease is longer than
/// that by far, and what a late worker writes is refused by its attempt, not by its clock.
#[async_trait]
pub trait JobQueue: Debug + Display + Send + Sync + 'static {
    /// Enqueues jobs in one transaction, and says what became of each, in the same order.
    ///
    /// A job whose id is in the queue or dead, or whose key is taken, also by one before it in the same
    /// call, is [`Enqueued::Known`]. At most [`JOBS_PER_CALL_MAX`](super::JOBS_PER_CALL_MAX).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for what [`NewJob::check`] refuses, and for
    /// too many; then none is enqueued. Those of the storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves all of them enqueued or none.
    async fn enqueue(&self, jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Enqueued>>;

    /// Claims jobs of these kinds that are due, those due longest first, each for a lease from `now`.
    ///
    /// At most `limit` and at most [`JOBS_PER_CALL_MAX`](super::JOBS_PER_CALL_MAX). Of many who claim
    /// at once each gets others. Of the jobs in the [order of their user](super::JobOrder::OfUser) no
    /// two are claimed at a time, and none before those enqueued earlier have ended.
    ///
    /// # Errors
    /// Those of the storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves jobs claimed or not; those that are come back when the lease ends.
    async fn claim(
        &self,
        kinds: &[JobKind],
        limit: usize,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<ClaimedJob>>;

    /// Prolongs claims to a lease from `now`; returns those that are lost because the attempt has ended,
    /// or another was made since.
    ///
    /// # Errors
    /// Those of the storage.
    async fn heartbeat(
        &self,
        claims: &[JobClaim],
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<JobClaim>>;

    /// Ends attempts, each with its effects in the same transaction, and says whether each counts, in
    /// the same order.
    ///
    /// One counts if it has not ended yet and no other was made since, although its lease may have
    /// ended. Settling the same again after a failure is [`Settled::Lost`], also of a job that is to be
    /// tried again, or was dead and is back in the queue.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for effects that cannot be written, or more
    /// than [`JOBS_PER_CALL_MAX`](super::JOBS_PER_CALL_MAX); then nothing is written. Those of the
    /// storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves each attempt either ended with its effects or under way.
    async fn settle(&self, settlements: Vec<Settlement>, now: Timestamp) -> Result<Vec<Settled>>;

    /// The earliest instant at which a job of these kinds is due, also one that has passed; `None` if
    /// there is none.
    ///
    /// # Errors
    /// Those of the storage.
    async fn next_due(&self, kinds: &[JobKind]) -> Result<Option<Timestamp>>;

    /// Hints that jobs were probably enqueued by this or another process.
    fn enqueued(&self) -> Hint;

    /// Dead jobs in the order of their ids, after this one, at most `limit` and at most
    /// [`JOBS_PER_CALL_MAX`](super::JOBS_PER_CALL_MAX).
    ///
    /// # Errors
    /// Those of the storage.
    async fn list_dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadJob>>;

    /// Puts dead jobs back into the queue, due at `now`; returns how many there were. At most
    /// [`JOBS_PER_CALL_MAX`](super::JOBS_PER_CALL_MAX).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for too many; those of the storage.
    async fn requeue(&self, jobs: &[JobId], now: Timestamp) -> Result<u64>;

    /// Forgets dead jobs for good; returns how many there were. At most
    /// [`JOBS_PER_CALL_MAX`](super::JOBS_PER_CALL_MAX).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for too many; those of the storage.
    async fn discard(&self, jobs: &[JobId]) -> Result<u64>;

    /// How each kind of job fares, in the order of kinds.
    ///
    /// # Errors
    /// Those of the storage.
    async fn job_counts(&self, now: Timestamp) -> Result<Vec<JobCounts>>;

    /// Forgets keys that are free again, at most `limit`; returns how many there were.
    ///
    /// # Errors
    /// Those of the storage.
    async fn sweep_keys(&self, now: Timestamp, limit: usize) -> Result<u64>;
}

#[async_trait]
impl<T: JobQueue + ?Sized> JobQueue for Arc<T> {
    async fn enqueue(&self, jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Enqueued>> {
        (**self).enqueue(jobs, now).await
    }

    async fn claim(
        &self,
        kinds: &[JobKind],
        limit: usize,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<ClaimedJob>> {
        (**self).claim(kinds, limit, now, lease).await
    }

    async fn heartbeat(
        &self,
        claims: &[JobClaim],
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<JobClaim>> {
        (**self).heartbeat(claims, now, lease).await
    }

    async fn settle(&self, settlements: Vec<Settlement>, now: Timestamp) -> Result<Vec<Settled>> {
        (**self).settle(settlements, now).await
    }

    async fn next_due(&self, kinds: &[JobKind]) -> Result<Option<Timestamp>> {
        (**self).next_due(kinds).await
    }

    fn enqueued(&self) -> Hint {
        (**self).enqueued()
    }

    async fn list_dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadJob>> {
        (**self).list_dead(after, limit).await
    }

    async fn requeue(&self, jobs: &[JobId], now: Timestamp) -> Result<u64> {
        (**self).requeue(jobs, now).await
    }

    async fn discard(&self, jobs: &[JobId]) -> Result<u64> {
        (**self).discard(jobs).await
    }

    async fn job_counts(&self, now: Timestamp) -> Result<Vec<JobCounts>> {
        (**self).job_counts(now).await
    }

    async fn sweep_keys(&self, now: Timestamp, limit: usize) -> Result<u64> {
        (**self).sweep_keys(now, limit).await
    }
}
