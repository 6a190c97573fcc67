//! The queue of jobs. One writer claims and settles, so no two claims can meet.

mod dead;
mod enqueue;
mod settle;

pub(crate) use dead::read_dead_row;
pub(crate) use enqueue::insert;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::job::{
    ClaimedJob, DeadJob, Enqueued, JOBS_PER_CALL_MAX, JobClaim, JobCounts, JobKind, JobOrder,
    JobQueue, NewJob, Settled, Settlement,
};
use medcards_core::store::Hint;
use medcards_core::transfer::{JobKeyRow, JobRow};
use medcards_core::{Error, ErrorKind, JobId, Result, Timestamp, UserId};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::column::{Columns, as_stored, json_list, later, micros};
use crate::error::{self, Failure};
use crate::jobs::dead::{Discard, Requeue};
use crate::jobs::enqueue::Enqueue;
use crate::jobs::settle::Settle;
use crate::writer::Write;

const ENQUEUE: &str = "enqueue job";
const CLAIM: &str = "claim jobs";
const HEARTBEAT: &str = "prolong claims";
const SETTLE: &str = "settle job";
const NEXT_DUE: &str = "find next job";
const LIST_DEAD: &str = "list dead jobs";
const REQUEUE: &str = "requeue job";
const DISCARD: &str = "discard job";
const COUNT: &str = "count jobs";
const SWEEP_KEYS: &str = "sweep job keys";

/// How many keys are deleted in one transaction: about 10 ms of work.
const SWEPT_PER_WRITE: usize = 1_000;

/// A kind at a time, so that the index gives them in their order. Of the jobs in the order of a user
/// only one has its turn: one that was begun, else the one that was enqueued first.
const DUE_SQL: &str = "
SELECT sequence, run_at FROM jobs
WHERE kind = ?1 AND run_at <= ?2
  AND (is_ordered = 0 OR sequence = (
      SELECT first.sequence FROM jobs AS first
      WHERE first.is_ordered = 1 AND first.user_id = jobs.user_id
      ORDER BY (first.attempt = 0), first.sequence LIMIT 1
  ))
ORDER BY run_at, sequence LIMIT ?3";

const CLAIM_SQL: &str = "
UPDATE jobs SET attempt = attempt + 1, run_at = ?1, is_claimed = 1
WHERE sequence IN (SELECT value FROM json_each(?2))
RETURNING sequence, id, kind, payload, user_id, enqueued_at, attempt, attempt - uncounted, run_at";

/// The claims come as a JSON list of ids and attempts.
const HEARTBEAT_SQL: &str = "
UPDATE jobs SET run_at = ?1
WHERE sequence IN (
    SELECT jobs.sequence
    FROM json_each(?2) AS claim CROSS JOIN jobs ON jobs.id = unhex(claim.value ->> 0)
    WHERE jobs.attempt = claim.value ->> 1 AND jobs.is_claimed = 1
)
RETURNING id, attempt";

const NEXT_DUE_SQL: &str = "
SELECT min((SELECT min(run_at) FROM jobs WHERE kind = wanted.value)) FROM json_each(?) AS wanted";

const LIST_DEAD_SQL: &str = "
SELECT id, kind, payload, user_id, enqueued_at, attempt, died_at, reason, is_ordered
FROM dead_jobs WHERE id > ? ORDER BY id LIMIT ?";

const COUNT_SQL: &str = "
SELECT kind, sum(due), sum(later), sum(dead), min(since)
FROM (
    SELECT kind, sum(run_at <= ?1) AS due, sum(run_at > ?1) AS later, 0 AS dead,
           min(run_at) AS since
    FROM jobs GROUP BY kind
    UNION ALL
    SELECT kind, 0, 0, count(*), NULL FROM dead_jobs GROUP BY kind
)
GROUP BY kind ORDER BY kind";

const SWEEP_KEYS_SQL: &str = "
DELETE FROM job_keys WHERE (kind, key) IN (
    SELECT kind, key FROM job_keys
    WHERE kept_until <= ?1
      AND NOT EXISTS (SELECT 1 FROM jobs WHERE id = job_keys.job_id)
      AND NOT EXISTS (SELECT 1 FROM dead_jobs WHERE id = job_keys.job_id)
    ORDER BY kept_until LIMIT ?2
)";

fn check_count(count: usize, operation: &'static str) -> Result<()> {
    if count <= JOBS_PER_CALL_MAX {
        return Ok(());
    }
    let context = "it is over 1,000 at once: make several calls of it";
    Err(Error::new(ErrorKind::Invalid, operation, context))
}

#[async_trait]
impl JobQueue for SqliteStore {
    async fn enqueue(&self, jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Enqueued>> {
        check_count(jobs.len(), ENQUEUE)?;
        jobs.iter().try_for_each(NewJob::check)?;
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let enqueued = self.hints().enqueued.clone();
        let enqueue = Enqueue {
            jobs,
            now,
            enqueued,
        };
        self.writes().write(enqueue).await
    }

    async fn claim(
        &self,
        kinds: &[JobKind],
        limit: usize,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<ClaimedJob>> {
        let limit = limit.min(JOBS_PER_CALL_MAX);
        // Most looks find nothing, and reading holds up no writer.
        let next = match limit {
            0 => None,
            _ => self.next_due(kinds).await?,
        };
        if next.is_none_or(|due| due > now) {
            return Ok(Vec::new());
        }
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        let leased_until = as_stored(later(now, lease));
        let claim = Claim {
            kinds,
            limit,
            now,
            leased_until,
        };
        self.writes().write(claim).await
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
        let heartbeat = Heartbeat {
            claims: claims.to_vec(),
            leased_until: later(now, lease),
        };
        self.writes().write(heartbeat).await
    }

    async fn settle(&self, settlements: Vec<Settlement>, now: Timestamp) -> Result<Vec<Settled>> {
        check_count(settlements.len(), SETTLE)?;
        settlements.iter().try_for_each(|it| it.effects.check())?;
        if settlements.is_empty() {
            return Ok(Vec::new());
        }
        let settle = Settle::new(settlements, now, self.hints().clone())?;
        self.writes().write(settle).await
    }

    async fn next_due(&self, kinds: &[JobKind]) -> Result<Option<Timestamp>> {
        let kinds = json_list(kinds.iter().map(JobKind::as_str));
        let row = sqlx::query(NEXT_DUE_SQL)
            .bind(kinds.map_err(|source| error::storage(NEXT_DUE, source))?)
            .fetch_one(self.readers())
            .await
            .map_err(|source| error::storage(NEXT_DUE, source))?;
        let due = Columns::of(&row).optional_instant();
        due.ok_or_else(|| error::corrupt(NEXT_DUE, "job"))
    }

    fn enqueued(&self) -> Hint {
        self.hints().enqueued.take()
    }

    async fn list_dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadJob>> {
        let after = after.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
        let rows = sqlx::query(LIST_DEAD_SQL)
            .bind(after)
            .bind(limit.min(JOBS_PER_CALL_MAX) as i64)
            .fetch_all(self.readers())
            .await
            .map_err(|source| error::storage(LIST_DEAD, source))?;
        let dead = |row: &SqliteRow| Some(read_dead_row(row)?.job);
        let dead: Option<Vec<_>> = rows.iter().map(dead).collect();
        dead.ok_or_else(|| error::corrupt(LIST_DEAD, "job"))
    }

    async fn requeue(&self, jobs: &[JobId], now: Timestamp) -> Result<u64> {
        check_count(jobs.len(), REQUEUE)?;
        let enqueued = self.hints().enqueued.clone();
        let jobs = json_of_ids(jobs).map_err(|source| error::storage(REQUEUE, source))?;
        let requeue = Requeue {
            jobs,
            now,
            enqueued,
        };
        self.writes().write(requeue).await
    }

    async fn discard(&self, jobs: &[JobId]) -> Result<u64> {
        check_count(jobs.len(), DISCARD)?;
        let jobs = json_of_ids(jobs).map_err(|source| error::storage(DISCARD, source))?;
        self.writes().write(Discard { jobs }).await
    }

    async fn job_counts(&self, now: Timestamp) -> Result<Vec<JobCounts>> {
        let rows = sqlx::query(COUNT_SQL)
            .bind(micros(now))
            .fetch_all(self.readers())
            .await
            .map_err(|source| error::storage(COUNT, source))?;
        let counts: Option<Vec<_>> = rows.iter().map(|row| read_counts(row, now)).collect();
        counts.ok_or_else(|| error::corrupt(COUNT, "job"))
    }

    async fn sweep_keys(&self, now: Timestamp, limit: usize) -> Result<u64> {
        let mut swept = 0;
        loop {
            let limit = SWEPT_PER_WRITE.min(limit.saturating_sub(swept));
            let more = self.writes().write(SweepKeys { now, limit }).await?;
            swept += more;
            if more < SWEPT_PER_WRITE {
                return Ok(swept as u64);
            }
        }
    }
}

struct Claim {
    kinds: Vec<JobKind>,
    limit: usize,
    now: Timestamp,
    leased_until: Timestamp,
}

#[async_trait]
impl Write for Claim {
    type Output = Vec<ClaimedJob>;

    const OPERATION: &'static str = CLAIM;

    async fn apply(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<ClaimedJob>, Failure> {
        let mut due: Vec<(i64, i64)> = Vec::new();
        for kind in &self.kinds {
            let rows = sqlx::query(DUE_SQL)
                .bind(kind.as_str())
                .bind(micros(self.now))
                .bind(self.limit as i64)
                .fetch_all(&mut *connection)
                .await?;
            for row in &rows {
                let mut columns = Columns::of(row);
                let (sequence, run_at) = (columns.next(), columns.next());
                let place = run_at.zip(sequence);
                due.push(place.ok_or_else(|| error::unreadable("job"))?);
            }
        }
        due.sort_unstable();
        due.truncate(self.limit);
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let sequences = json_list(due.iter().map(|(_, sequence)| sequence))?;
        let rows = sqlx::query(CLAIM_SQL)
            .bind(micros(self.leased_until))
            .bind(sequences)
            .fetch_all(connection)
            .await?;
        let due: HashMap<i64, i64> = due
            .into_iter()
            .map(|(at, sequence)| (sequence, at))
            .collect();
        let claimed: Option<Vec<_>> = rows.iter().map(|row| read_claimed(row, &due)).collect();
        let mut claimed = claimed.ok_or_else(|| error::unreadable("job"))?;
        // SQLite returns rows in the order in which it changed them.
        claimed.sort_unstable_by_key(|(sequence, job)| (job.run_at, *sequence));
        Ok(claimed.into_iter().map(|(_, job)| job).collect())
    }
}

struct Heartbeat {
    claims: Vec<JobClaim>,
    leased_until: Timestamp,
}

#[async_trait]
impl Write for Heartbeat {
    type Output = Vec<JobClaim>;

    const OPERATION: &'static str = HEARTBEAT;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<Vec<JobClaim>, Failure> {
        let claims = json_of_claims(self.claims.iter())?;
        let rows = sqlx::query(HEARTBEAT_SQL)
            .bind(micros(self.leased_until))
            .bind(claims)
            .fetch_all(connection)
            .await?;
        let held: Option<HashSet<_>> = rows
            .iter()
            .map(|row| {
                let mut columns = Columns::of(row);
                Some(JobClaim {
                    id: JobId::from_bytes(columns.id()?),
                    attempt: columns.number()?,
                })
            })
            .collect();
        let held = held.ok_or_else(|| error::unreadable("job"))?;
        let lost = self.claims.iter().filter(|claim| !held.contains(claim));
        Ok(lost.copied().collect())
    }
}

struct SweepKeys {
    now: Timestamp,
    limit: usize,
}

#[async_trait]
impl Write for SweepKeys {
    type Output = usize;

    const OPERATION: &'static str = SWEEP_KEYS;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<usize, Failure> {
        let swept = sqlx::query(SWEEP_KEYS_SQL)
            .bind(micros(self.now))
            .bind(self.limit as i64)
            .execute(connection)
            .await?;
        Ok(swept.rows_affected() as usize)
    }
}

fn hex_of(id: &JobId) -> String {
    id.as_uuid().simple().to_string()
}

fn json_of_ids<'i>(ids: impl IntoIterator<Item = &'i JobId>) -> Result<String, sqlx::Error> {
    json_list(ids.into_iter().map(hex_of))
}

fn json_of_claims<'c>(claims: impl Iterator<Item = &'c JobClaim>) -> Result<String, sqlx::Error> {
    json_list(claims.map(|claim| (hex_of(&claim.id), claim.attempt)))
}

fn read_user(columns: &mut Columns<'_>) -> Option<Option<UserId>> {
    match columns.next::<Option<&[u8]>>()? {
        Some(id) => Some(Some(UserId::from_bytes(id.try_into().ok()?))),
        None => Some(None),
    }
}

fn read_order(columns: &mut Columns<'_>) -> Option<JobOrder> {
    Some(match columns.number::<u8>()? {
        0 => JobOrder::Any,
        _ => JobOrder::OfUser,
    })
}

/// Reads a job that was due at one of these instants, by its sequence, which comes with it.
fn read_claimed(row: &SqliteRow, due: &HashMap<i64, i64>) -> Option<(i64, ClaimedJob)> {
    let mut columns = Columns::of(row);
    let sequence = columns.next()?;
    let run_at = Timestamp::from_microsecond(*due.get(&sequence)?).ok()?;
    let job = ClaimedJob {
        id: JobId::from_bytes(columns.id()?),
        kind: JobKind::new(columns.next()?)?,
        payload: columns.next()?,
        user_id: read_user(&mut columns)?,
        enqueued_at: columns.instant()?,
        run_at,
        attempt: columns.number()?,
        tries: columns.number()?,
        leased_until: columns.instant()?,
    };
    Some((sequence, job))
}

fn read_counts(row: &SqliteRow, now: Timestamp) -> Option<JobCounts> {
    let mut columns = Columns::of(row);
    Some(JobCounts {
        kind: JobKind::new(columns.next()?)?,
        due: columns.number()?,
        later: columns.number()?,
        dead: columns.number()?,
        due_since: columns.optional_instant()?.filter(|since| *since <= now),
    })
}

/// Reads a job in the queue: its sequence stands before these columns.
pub(crate) fn read_job_row(row: &SqliteRow) -> Option<JobRow> {
    let mut columns = Columns::of(row);
    let _sequence: i64 = columns.next()?;
    Some(JobRow {
        id: JobId::from_bytes(columns.id()?),
        kind: JobKind::new(columns.next()?)?,
        payload: columns.next()?,
        user_id: read_user(&mut columns)?,
        order: read_order(&mut columns)?,
        enqueued_at: columns.instant()?,
        run_at: columns.instant()?,
        attempt: columns.number()?,
        uncounted: columns.number()?,
    })
}

pub(crate) fn read_key_row(row: &SqliteRow) -> Option<JobKeyRow> {
    let mut columns = Columns::of(row);
    Some(JobKeyRow {
        kind: JobKind::new(columns.next()?)?,
        key: columns.next()?,
        job_id: JobId::from_bytes(columns.id()?),
        kept_until: columns.instant()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plans::check;

    #[tokio::test]
    async fn statements_read_by_their_indexes() {
        check(
            DUE_SQL,
            &[
                "jobs_by_instant (kind=? AND run_at<?)",
                "jobs_in_order (user_id=?)",
            ],
        )
        .await;
        check(CLAIM_SQL, &["PRIMARY KEY (rowid=?)"]).await;
        check(HEARTBEAT_SQL, &["PRIMARY KEY (rowid=?)", "(id=?)"]).await;
        check(NEXT_DUE_SQL, &["jobs_by_instant (kind=?)"]).await;
        check(LIST_DEAD_SQL, &["PRIMARY KEY (id>?)"]).await;
        check(
            SWEEP_KEYS_SQL,
            &[
                "PRIMARY KEY (kind=? AND key=?)",
                "job_keys_by_instant (kept_until<?)",
                "(id=?)",
                "(id=?)",
            ],
        )
        .await;
    }
}
