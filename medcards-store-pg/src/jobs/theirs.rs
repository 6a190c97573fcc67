use medcards_core::job::{Enqueued, NewJob, Settled, Settlement};
use medcards_core::{Result, Timestamp};
use sqlx::PgConnection;

use super::settle::Settlements;
use super::{ENQUEUE, Entry, Ownership, SETTLE, check_count, enqueue};
use crate::PgStore;
use crate::error::Failure;
use crate::signals::Topic;
use crate::steps::Theirs;

impl PgStore {
    /// Enqueues jobs in a transaction of yours, in this database, and says what became of each: they
    /// are there if it commits. Else like [`enqueue`](medcards_core::job::JobQueue::enqueue).
    ///
    /// Workers find them at their next look, or at once if you say so after the commit, with
    /// [`have_committed`](Self::have_committed).
    ///
    /// ```no_run
    /// use medcards_core::Timestamp;
    /// use medcards_core::job::{JobKind, NewJob};
    /// use medcards_store_pg::PgStore;
    /// use sqlx::{Acquire, PgConnection};
    ///
    /// # #[derive(Debug)] struct Failed;
    /// # impl From<sqlx::Error> for Failed { fn from(_: sqlx::Error) -> Self { Self } }
    /// # impl From<medcards_core::Error> for Failed { fn from(_: medcards_core::Error) -> Self { Self } }
    /// async fn enrol(
    ///     store: &PgStore,
    ///     connection: &mut PgConnection,
    ///     mail: JobKind,
    ///     now: Timestamp,
    /// ) -> Result<(), Failed> {
    ///     let mut transaction = connection.begin().await?;
    ///     sqlx::query("INSERT INTO enrolments (course) VALUES ('cardiology')")
    ///         .execute(&mut *transaction)
    ///         .await?;
    ///     let welcome = NewJob::new(mail, "cardiology", now);
    ///     store.enqueue_in(&mut transaction, &[welcome], now).await?;
    ///     transaction.commit().await?;
    ///     store.have_committed();
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// Those of [`enqueue`](medcards_core::job::JobQueue::enqueue). After one of the storage roll your
    /// transaction back.
    ///
    /// # Cancel safety
    /// As your transaction: drop it, too.
    pub async fn enqueue_in(
        &self,
        transaction: &mut PgConnection,
        jobs: &[NewJob],
        now: Timestamp,
    ) -> Result<Vec<Enqueued>> {
        check_count(jobs.len(), ENQUEUE)?;
        jobs.iter().try_for_each(NewJob::check)?;
        let entries: Vec<_> = jobs.iter().map(|job| Entry { job, now }).collect();
        let mut steps = Theirs(transaction);
        let enqueued = enqueue(&mut steps, &entries, Ownership::Checked).await;
        let enqueued = enqueued.map_err(|failure| failure.during(ENQUEUE))?;
        self.have_enqueued(jobs);
        Ok(enqueued)
    }

    /// Ends an attempt in a transaction of yours, in this database, and says whether it counts. So what
    /// a job does in this database and its end are one: where this is [`Settled::Lost`], another attempt
    /// does it, and you roll back what this one did.
    ///
    /// Until your transaction ends nobody else claims the job, so keep it short.
    ///
    /// ```no_run
    /// use medcards_core::Timestamp;
    /// use medcards_core::job::{ClaimedJob, Effects, JobOutcome, Settled, Settlement};
    /// use medcards_store_pg::PgStore;
    /// use sqlx::{Acquire, PgConnection};
    ///
    /// # #[derive(Debug)] struct Failed;
    /// # impl From<sqlx::Error> for Failed { fn from(_: sqlx::Error) -> Self { Self } }
    /// # impl From<medcards_core::Error> for Failed { fn from(_: medcards_core::Error) -> Self { Self } }
    /// async fn pay(
    ///     store: &PgStore,
    ///     connection: &mut PgConnection,
    ///     job: &ClaimedJob,
    ///     now: Timestamp,
    /// ) -> Result<(), Failed> {
    ///     let mut transaction = connection.begin().await?;
    ///     sqlx::query("UPDATE accounts SET points = points + 1 WHERE owner = $1")
    ///         .bind(&job.payload)
    ///         .execute(&mut *transaction)
    ///         .await?;
    ///     let done = Settlement {
    ///         claim: job.claim(),
    ///         outcome: JobOutcome::Done,
    ///         effects: Effects::default(),
    ///     };
    ///     match store.settle_in(&mut transaction, done, now).await? {
    ///         Settled::Done => transaction.commit().await?,
    ///         Settled::Lost => transaction.rollback().await?,
    ///     }
    ///     store.have_committed();
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// Those of [`settle`](medcards_core::job::JobQueue::settle). After one of the storage roll your
    /// transaction back.
    ///
    /// # Cancel safety
    /// As your transaction: drop it, too.
    pub async fn settle_in(
        &self,
        transaction: &mut PgConnection,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<Settled> {
        let settlements = Settlements::of(vec![settlement], now)?;
        let ended = settlements.end(&mut Theirs(transaction)).await;
        let ended = ended.map_err(|failure| failure.during(SETTLE))?;
        for (kind, at) in &ended.retried {
            self.floors().lower(kind, *at);
        }
        self.have_enqueued(ended.effects.jobs());
        let settled = ended.settled.first().copied();
        settled.ok_or_else(|| Failure::Unreadable("job").during(SETTLE))
    }

    /// Hints to everybody who waits, here and in other processes, that jobs, notices and events were
    /// probably written by a transaction of yours. Without it they find out at their next look, and here
    /// about a second later.
    pub fn have_committed(&self) {
        // A claim may have passed them by since they were enqueued.
        self.floors().forget();
        for topic in [Topic::Events, Topic::Jobs, Topic::Notices] {
            self.signals().give(topic);
        }
    }
}
