//! Jobs: work with an outside effect, enqueued in the same transaction as its cause.
//!
//! A job is done at least once. Each claim of a job has a number, its attempt, and is good for a lease
//! that heartbeats prolong. Whoever was given up on finds at the end that another attempt was made
//! since, and what it wanted to write is not written: [`JobQueue::settle`] checks the attempt in the
//! transaction of the effects.
//!
//! There is no state but an instant: a job is claimed when its `run_at` has come, and a claim moves it
//! to the end of the lease. So a job whose worker died is due again when the lease ends, without
//! anybody looking for it.

mod effects;
mod queue;

pub use effects::Effects;
pub use queue::JobQueue;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::id::{JobId, UserId};
use crate::shard::Bucket;
use crate::{Error, ErrorKind, Result};

/// The longest payload of a job, in bytes: it names what to do, and does not carry it.
pub const JOB_PAYLOAD_LEN_MAX: usize = 64 * 1024;

/// The longest deduplication key, in bytes.
pub const JOB_DEDUP_KEY_LEN_MAX: usize = 200;

/// The most jobs of one claim, one heartbeat, one settling or one enqueueing: some 50 ms of work for a
/// database.
pub const JOBS_PER_CALL_MAX: usize = 1_000;

/// The longest reason for which a job failed that is kept, in bytes; the rest is cut off.
pub const JOB_REASON_LEN_MAX: usize = 500;

/// What a job does, such as `notify-regraded`. Workers choose jobs by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKind(Box<str>);

impl JobKind {
    /// Takes a name of 1 to 64 lower-case letters, digits and hyphens; else `None`.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let fits = (1..=64).contains(&name.len());
        let plain = name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        (fits && plain).then(|| Self(name.into()))
    }

    /// A name that is written out in the program.
    ///
    /// # Panics
    /// If it is not one that [`Self::new`] takes.
    #[must_use]
    pub fn named(name: &'static str) -> Self {
        Self::new(name).expect("the names of kinds in a program are lower-case letters and hyphens")
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// In which order the jobs of a user are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "order matters or does not")]
pub enum JobOrder {
    /// In any, several at a time.
    #[default]
    Any,
    /// One at a time, in the order in which they were enqueued, among all jobs of this user that ask
    /// for it, of whatever kind. One that waits for its next attempt holds up those behind it until it
    /// is done or dead.
    OfUser,
}

/// Makes a job that is enqueued again do nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a key and for how long")]
pub struct DedupKey {
    /// Together with the kind of the job; at most [`JOB_DEDUP_KEY_LEN_MAX`] bytes.
    pub key: String,
    /// The key is taken while its job is in the queue or dead, and at least this long from when the
    /// job was enqueued.
    pub keep_for: Duration,
}

/// A job to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// What it needs to know, as its kind writes it down. No text of a student.
    pub payload: String,
    /// Whom it is done for, if anybody: it moves with that user.
    pub user_id: Option<UserId>,
    /// In which order. [`JobOrder::OfUser`] needs a user.
    pub order: JobOrder,
    /// What keeps it from being enqueued twice.
    pub dedup: Option<DedupKey>,
    /// Not before this instant.
    pub run_at: Timestamp,
}

impl NewJob {
    /// A job to be done at once, for nobody in particular, in any order.
    #[must_use]
    pub fn new(kind: JobKind, payload: impl Into<String>, now: Timestamp) -> Self {
        Self {
            id: JobId::new(now),
            kind,
            payload: payload.into(),
            user_id: None,
            order: JobOrder::Any,
            dedup: None,
            run_at: now,
        }
    }

    /// The same for a user.
    #[must_use]
    pub fn for_user(mut self, user_id: UserId) -> Self {
        self.user_id = Some(user_id);
        self
    }

    /// The same, one at a time and in order among such jobs of its user.
    #[must_use]
    pub fn in_order_of_user(mut self) -> Self {
        self.order = JobOrder::OfUser;
        self
    }

    /// The same, not before an instant.
    #[must_use]
    pub fn at(mut self, run_at: Timestamp) -> Self {
        self.run_at = run_at;
        self
    }

    /// The same, unless the key is taken.
    #[must_use]
    pub fn once(mut self, key: impl Into<String>, keep_for: Duration) -> Self {
        let key = key.into();
        self.dedup = Some(DedupKey { key, keep_for });
        self
    }

    /// The bucket of its user, if it has one.
    #[must_use]
    pub fn bucket(&self) -> Option<Bucket> {
        self.user_id.as_ref().map(Bucket::of)
    }

    /// Checks what the types do not say. Every queue does so before anything is written.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if payload or key are too long or have U+0000, or there is an order but
    /// no user.
    pub fn check(&self) -> Result<()> {
        let invalid = |context| Err(Error::new(ErrorKind::Invalid, "enqueue job", context));
        if self.payload.len() > JOB_PAYLOAD_LEN_MAX {
            return invalid("its payload is over 64 KiB: store it, and enqueue its name");
        }
        let key = self.dedup.as_ref().map_or("", |dedup| &dedup.key);
        if key.len() > JOB_DEDUP_KEY_LEN_MAX {
            return invalid("its deduplication key is over 200 bytes: hash it");
        }
        if self.payload.contains('\0') || key.contains('\0') {
            return invalid("it has U+0000, which not every database keeps: encode it");
        }
        if self.order == JobOrder::OfUser && self.user_id.is_none() {
            return invalid("it is to be in the order of its user, but has none: name the user");
        }
        Ok(())
    }
}

/// What became of a job that was to be enqueued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "it is in the queue, or its key was taken"
)]
pub enum Enqueued {
    /// It will be done.
    New,
    /// Its key was taken, or this very job was enqueued before: nothing was written.
    Known,
}

/// A job that a worker has taken on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every queue")]
pub struct ClaimedJob {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// What it needs to know.
    pub payload: String,
    /// Whom it is done for.
    pub user_id: Option<UserId>,
    /// When it was enqueued.
    pub enqueued_at: Timestamp,
    /// When it was due: the instant it was to wait for, or the end of a lease in which it was lost.
    pub run_at: Timestamp,
    /// Which claim of this job this is, from 1. Requeueing a dead job does not begin anew.
    pub attempt: u32,
    /// Which of those that count this is, from 1: since the job was enqueued or last requeued, and
    /// without those that were [released](JobOutcome::Released).
    pub tries: u32,
    /// When others may claim it, unless a heartbeat prolongs this.
    pub leased_until: Timestamp,
}

impl ClaimedJob {
    /// What names this claim.
    #[must_use]
    pub const fn claim(&self) -> JobClaim {
        JobClaim {
            id: self.id,
            attempt: self.attempt,
        }
    }
}

/// Names a claim of a job: the fence of all it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a job and which claim of it")]
pub struct JobClaim {
    /// The job.
    pub id: JobId,
    /// Which claim.
    pub attempt: u32,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "done, to be tried again, given up, or not begun"
)]
pub enum JobOutcome {
    /// It is given up, and kept among the dead until somebody looks.
    Dead {
        /// Why, without any text of a student.
        reason: String,
    },
    /// It is done, and forgotten.
    Done,
    /// It was not begun, and nobody is to blame: it is due at once for somebody else, and this attempt
    /// does not count as one of its [tries](ClaimedJob::tries).
    Released,
    /// It is to be tried again.
    Retry {
        /// Not before this instant.
        at: Timestamp,
        /// Why, without any text of a student.
        reason: String,
    },
}

/// The end of an attempt, with what is written in the same transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every worker")]
pub struct Settlement {
    /// Which attempt.
    pub claim: JobClaim,
    /// How it ended.
    pub outcome: JobOutcome,
    /// What it wants written, whatever the outcome.
    pub effects: Effects,
}

/// Whether a settlement counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "it counts or it does not")]
pub enum Settled {
    /// It is written, with its effects.
    Done,
    /// Nothing is written: the attempt had ended, or another was made since.
    Lost,
}

/// A job that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every queue")]
pub struct DeadJob {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// What it needs to know.
    pub payload: String,
    /// Whom it is done for.
    pub user_id: Option<UserId>,
    /// When it was enqueued.
    pub enqueued_at: Timestamp,
    /// How often it was claimed.
    pub attempts: u32,
    /// When it was given up.
    pub died_at: Timestamp,
    /// Why.
    pub reason: String,
}

/// How a kind of job fares.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every queue")]
pub struct JobCounts {
    /// The kind.
    pub kind: JobKind,
    /// How many are due.
    pub due: u64,
    /// How many are not: claimed by somebody, or to be done later.
    pub later: u64,
    /// How many are dead.
    pub dead: u64,
    /// Since when the one that waits longest is due.
    pub due_since: Option<Timestamp>,
}
