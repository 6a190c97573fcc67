//! The queue of jobs.
//!
//! A claim is one transaction: it locks the users whose jobs have an order and are next, and then moves
//! what is due to the end of a lease. What is done is deleted.

mod claim;
mod enqueue;
mod floors;
mod settle;
mod theirs;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff_sqlx::Timestamp as Instant;
use medcards_core::job::{
    ClaimedJob, DeadJob, Enqueued, JOBS_PER_CALL_MAX, JobClaim, JobCounts, JobKind, JobQueue,
    NewJob, Settled, Settlement,
};
use medcards_core::store::Hint;
use medcards_core::{Error, ErrorKind, JobId, Result, Timestamp, UserId};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::PgStore;
use crate::column::{Columns, instant, saturated};
use crate::error::{self, Failure};
use crate::node::transact;
use crate::signals::Topic;

pub(crate) use enqueue::{Entry, Ownership, enqueue};
pub(crate) use floors::Floors;

pub(crate) const ENQUEUE: &str = "enqueue job";
const CLAIM: &str = "claim jobs";
const HEARTBEAT: &str = "prolong claims";
const SETTLE: &str = "settle job";
const NEXT_DUE: &str = "find next job";
const LIST_DEAD: &str = "list dead jobs";
const REQUEUE: &str = "requeue job";
const DISCARD: &str = "discard job";
const COUNT: &str = "count jobs";
const SWEEP: &str = "sweep job keys";

const HEARTBEAT_SQL: &str = "
UPDATE jobs SET run_at = $3
FROM unnest($1::uuid[], $2::bigint[]) AS given (id, attempt)
WHERE jobs.id = given.id AND jobs.attempt = given.attempt AND is_claimed
  AND jobs.id = ANY($1::uuid[])
RETURNING jobs.id, jobs.attempt";

const NEXT_DUE_SQL: &str = "
SELECT min(due.run_at)
FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS wanted (kind, free, ordered)
CROSS JOIN LATERAL (
    (SELECT run_at FROM jobs
     WHERE jobs.kind = wanted.kind AND NOT is_ordered
       AND run_at >= coalesce(free, '-infinity')
     ORDER BY run_at LIMIT 1)
    UNION ALL
    (SELECT run_at FROM jobs
     WHERE jobs.kind = wanted.kind AND is_ordered
       AND run_at >= coalesce(ordered, '-infinity')
     ORDER BY run_at LIMIT 1)
) AS due";

/// No id is less than the first that there can be, so nothing can be asked to be greater than it.
const LIST_DEAD_SQL: &str = "
SELECT id, kind, payload, user_id, enqueued_at, attempts, died_at, reason, is_ordered
FROM dead_jobs WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2";

/// They keep their attempts, so that whoever once claimed one is still too late.
const REQUEUE_SQL: &str = "
WITH back AS (
    DELETE FROM dead_jobs WHERE id = ANY($1::uuid[])
    RETURNING id, enqueued_at, attempts, user_id, bucket, is_ordered, kind, payload
)
INSERT INTO jobs (id, run_at, enqueued_at, attempt, uncounted, user_id, bucket, is_ordered,
                  is_claimed, kind, payload)
SELECT id, $2, enqueued_at, attempts, attempts, user_id, bucket, is_ordered, false, kind, payload
FROM back JOIN unnest($1::uuid[]) WITH ORDINALITY AS given (id, at) USING (id)
ORDER BY at
RETURNING kind";

const DISCARD_SQL: &str = "DELETE FROM dead_jobs WHERE id = ANY($1::uuid[]) RETURNING 1";

const COUNT_SQL: &str = "
SELECT kind, count(*) FILTER (WHERE run_at <= $1), count(*) FILTER (WHERE run_at > $1), 0::bigint,
       min(run_at) FILTER (WHERE run_at <= $1)
FROM jobs GROUP BY kind
UNION ALL
SELECT kind, 0, 0, count(*), NULL FROM dead_jobs GROUP BY kind";

/// Locked, so that the next statement sees whose they are now; those that somebody is taking are not
/// free.
const LOCK_FREE_KEYS_SQL: &str = "
SELECT kind, key FROM job_keys
WHERE kept_until <= $1
  AND NOT EXISTS (SELECT FROM jobs WHERE jobs.id = job_keys.job_id)
  AND NOT EXISTS (SELECT FROM dead_jobs WHERE dead_jobs.id = job_keys.job_id)
ORDER BY kept_until LIMIT $2
FOR UPDATE SKIP LOCKED";

const FORGET_KEYS_SQL: &str = "
DELETE FROM job_keys USING unnest($2::text[], $3::text[]) AS given (kind, key)
WHERE job_keys.kind = given.kind AND job_keys.key = given.key AND kept_until <= $1
  AND NOT EXISTS (SELECT FROM jobs WHERE jobs.id = job_keys.job_id)
  AND NOT EXISTS (SELECT FROM dead_jobs WHERE dead_jobs.id = job_keys.job_id)
RETURNING 1";

#[async_trait]
impl JobQueue for PgStore {
    async fn enqueue(&self, jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Enqueued>> {
        check_count(jobs.len(), ENQUEUE)?;
        jobs.iter().try_for_each(NewJob::check)?;
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let entries: Vec<_> = jobs.iter().map(|job| Entry { job, now }).collect();
        let enqueued: Result<Vec<Enqueued>, Failure> = transact!(self.primary(), |transaction| {
            enqueue(&mut transaction, &entries, Ownership::Checked).await
        });
        let enqueued = enqueued.map_err(|failure| failure.during(ENQUEUE))?;
        self.have_enqueued(&jobs);
        if enqueued.contains(&Enqueued::New) {
            self.signals().give(Topic::Jobs);
        }
        Ok(enqueued)
    }

    async fn claim(
        &self,
        kinds: &[JobKind],
        limit: usize,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<ClaimedJob>> {
        let claimed = claim::claim(self.primary(), self.floors(), kinds, limit, now, lease).await;
        claimed.map_err(|failure| failure.during(CLAIM))
    }

    async fn heartbeat(
        &self,
        claims: &[JobClaim],
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<JobClaim>> {
        check_count(claims.len(), HEARTBEAT)?;
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = claims.iter().map(|it| *it.id.as_uuid()).collect();
        let attempts: Vec<i64> = claims.iter().map(|it| i64::from(it.attempt)).collect();
        let rows = self.on_primary(HEARTBEAT, || {
            sqlx::query(HEARTBEAT_SQL)
                .bind(ids.clone())
                .bind(attempts.clone())
                .bind(later(now, lease))
        });
        let read = |row: &PgRow| {
            let mut columns = Columns::of(row);
            Some(JobClaim {
                id: JobId::from_uuid(columns.id()?),
                attempt: columns.number()?,
            })
        };
        let kept: Option<std::collections::HashSet<_>> = rows.await?.iter().map(read).collect();
        let kept = kept.ok_or_else(|| error::corrupt(HEARTBEAT, "job"))?;
        let is_lost = |claim: &&JobClaim| !kept.contains(*claim);
        Ok(claims.iter().filter(is_lost).copied().collect())
    }

    async fn settle(&self, settlements: Vec<Settlement>, now: Timestamp) -> Result<Vec<Settled>> {
        check_count(settlements.len(), SETTLE)?;
        let settlements = settle::Settlements::of(settlements, now)?;
        let ended: Result<settle::Ended, Failure> = transact!(self.primary(), |transaction| {
            settlements.end(&mut transaction).await
        });
        let ended = ended.map_err(|failure| failure.during(SETTLE))?;
        self.have_ended(&ended);
        Ok(ended.settled)
    }

    async fn next_due(&self, kinds: &[JobKind]) -> Result<Option<Timestamp>> {
        let names: Vec<String> = kinds.iter().map(|kind| kind.as_str().to_owned()).collect();
        let below = self.floors().below(kinds);
        let free: Vec<Option<Instant>> = below.iter().map(|it| it.free.map(instant)).collect();
        let ordered: Vec<Option<Instant>> =
            below.iter().map(|it| it.ordered.map(instant)).collect();
        let rows = self.on_primary(NEXT_DUE, || {
            sqlx::query(NEXT_DUE_SQL)
                .bind(names.clone())
                .bind(free.clone())
                .bind(ordered.clone())
        });
        let due = rows.await?;
        let due = due
            .first()
            .and_then(|row| Columns::of(row).optional_instant());
        due.ok_or_else(|| error::corrupt(NEXT_DUE, "job"))
    }

    fn enqueued(&self) -> Hint {
        self.signals().take(Topic::Jobs)
    }

    async fn list_dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadJob>> {
        let limit = saturated(limit.min(JOBS_PER_CALL_MAX) as u64);
        let rows = self.on_primary(LIST_DEAD, || {
            sqlx::query(LIST_DEAD_SQL)
                .bind(after.map(|after| *after.as_uuid()))
                .bind(limit)
        });
        let dead: Option<Vec<_>> = rows.await?.iter().map(read_dead).collect();
        dead.ok_or_else(|| error::corrupt(LIST_DEAD, "job"))
    }

    async fn requeue(&self, jobs: &[JobId], now: Timestamp) -> Result<u64> {
        check_count(jobs.len(), REQUEUE)?;
        let rows: Result<Vec<PgRow>, Failure> = transact!(self.primary(), |transaction| {
            claim::lock_users(&mut transaction, distinct(jobs)).await?;
            let requeue = sqlx::query(REQUEUE_SQL).bind(distinct(jobs));
            transaction.fetch(requeue.bind(instant(now))).await
        });
        let rows = rows.map_err(|failure| failure.during(REQUEUE))?;
        for kind in rows
            .iter()
            .filter_map(|row| JobKind::new(Columns::of(row).next()?))
        {
            self.floors().lower(&kind, now);
        }
        self.signals().give(Topic::Jobs);
        Ok(rows.len() as u64)
    }

    async fn discard(&self, jobs: &[JobId]) -> Result<u64> {
        check_count(jobs.len(), DISCARD)?;
        let discard = sqlx::query(DISCARD_SQL).bind(distinct(jobs));
        let rows = self.primary().fetch_once(discard).await;
        Ok(rows.map_err(|failure| failure.during(DISCARD))?.len() as u64)
    }

    async fn job_counts(&self, now: Timestamp) -> Result<Vec<JobCounts>> {
        let count = || sqlx::query(COUNT_SQL).bind(instant(now));
        let rows = self.on_primary(COUNT, count).await?;
        let mut counts: BTreeMap<JobKind, JobCounts> = BTreeMap::new();
        for row in &rows {
            let read = read_counts(row).ok_or_else(|| error::corrupt(COUNT, "job"))?;
            counts
                .entry(read.kind.clone())
                .and_modify(|kept| {
                    kept.due += read.due;
                    kept.later += read.later;
                    kept.dead += read.dead;
                    kept.due_since = kept.due_since.or(read.due_since);
                })
                .or_insert(read);
        }
        Ok(counts.into_values().collect())
    }

    async fn sweep_keys(&self, now: Timestamp, limit: usize) -> Result<u64> {
        let limit = saturated(limit.min(JOBS_PER_CALL_MAX) as u64);
        let swept: Result<usize, Failure> = transact!(self.primary(), |transaction| {
            let lock = sqlx::query(LOCK_FREE_KEYS_SQL).bind(instant(now));
            let rows = transaction.fetch(lock.bind(limit)).await?;
            let read = |row: &PgRow| {
                let mut columns = Columns::of(row);
                Some((columns.next::<String>()?, columns.next::<String>()?))
            };
            let names: Option<Vec<_>> = rows.iter().map(read).collect();
            let names = names.ok_or(Failure::Unreadable("key"))?;
            let (kinds, keys): (Vec<_>, Vec<_>) = names.into_iter().unzip();
            let forget = sqlx::query(FORGET_KEYS_SQL).bind(instant(now));
            let gone = transaction.fetch(forget.bind(kinds).bind(keys)).await?;
            Ok(gone.len())
        });
        Ok(swept.map_err(|failure| failure.during(SWEEP))? as u64)
    }
}

impl PgStore {
    /// Takes note of jobs that were enqueued here.
    pub(crate) fn have_enqueued<'j>(&self, jobs: impl IntoIterator<Item = &'j NewJob>) {
        let mut earliest: BTreeMap<&JobKind, Timestamp> = BTreeMap::new();
        for job in jobs {
            let at = earliest.entry(&job.kind).or_insert(job.run_at);
            *at = job.run_at.min(*at);
        }
        for (kind, run_at) in earliest {
            self.floors().lower(kind, run_at);
        }
    }

    /// Takes note of attempts that ended here, and hints at what follows.
    fn have_ended(&self, ended: &settle::Ended) {
        for (kind, at) in &ended.retried {
            self.floors().lower(kind, *at);
        }
        self.have_enqueued(ended.effects.jobs());
        ended.effects.tell(self.signals());
        match ended.frees_others || !ended.retried.is_empty() {
            true => self.signals().give(Topic::Jobs),
            // Nothing that others could claim.
            false => self.signals().give_here(Topic::Jobs),
        }
    }
}

/// The end of a time from `now`, as columns hold it.
pub(crate) fn later(now: Timestamp, by: Duration) -> Instant {
    instant(now.checked_add(by).unwrap_or(Timestamp::MAX))
}

pub(crate) fn check_count(count: usize, operation: &'static str) -> Result<()> {
    if count <= JOBS_PER_CALL_MAX {
        return Ok(());
    }
    let context = "it is over 1,000 at once: make several calls of it";
    Err(Error::new(ErrorKind::Invalid, operation, context))
}

/// Each id once, where it comes first.
fn distinct(jobs: &[JobId]) -> Vec<Uuid> {
    let mut seen = std::collections::HashSet::new();
    let ids = jobs.iter().map(|id| *id.as_uuid());
    ids.filter(|id| seen.insert(*id)).collect()
}

fn read_counts(row: &PgRow) -> Option<JobCounts> {
    let mut columns = Columns::of(row);
    Some(JobCounts {
        kind: JobKind::new(columns.next()?)?,
        due: columns.number()?,
        later: columns.number()?,
        dead: columns.number()?,
        due_since: columns.optional_instant()?,
    })
}

pub(crate) fn read_dead(row: &PgRow) -> Option<DeadJob> {
    let mut columns = Columns::of(row);
    Some(DeadJob {
        id: JobId::from_uuid(columns.id()?),
        kind: JobKind::new(columns.next()?)?,
        payload: columns.next()?,
        user_id: columns.next::<Option<Uuid>>()?.map(UserId::from_uuid),
        enqueued_at: columns.instant()?,
        attempts: columns.number()?,
        died_at: columns.instant()?,
        reason: columns.next()?,
    })
}
