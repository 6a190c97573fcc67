use std::collections::HashMap;
use std::time::Duration;

use jiff_sqlx::Timestamp as Instant;
use medcards_core::job::{ClaimedJob, JOBS_PER_CALL_MAX, JobKind};
use medcards_core::{JobId, Timestamp, UserId};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::floors::{Floors, Found, Reading};
use super::later;
use crate::column::{Columns, instant};
use crate::error::Failure;
use crate::node::{Node, Transaction, transact};

/// How many jobs in the order of their users one claim takes: each has a lock until it commits, and a
/// server has room for some 6,400 of all its clients.
const ORDERED_PER_CLAIM_MAX: i64 = 100;

/// Keeps the locks of users' jobs apart from others that hash a user.
const LOCK_SEED: i64 = i64::from_be_bytes(*b"mdcdjobs");

/// The jobs that are the next of their user and due, of which each lock is had; and of each kind since
/// when one is due that may have to wait. Who has the lock is the only one to claim for that user.
///
/// The next one is that which was begun, else the first that was enqueued.
const NEXT_OF_USERS_SQL: &str = "
WITH wanted AS (
    SELECT kind, coalesce(floor, '-infinity') AS floor
    FROM unnest($1::text[], $2::timestamptz[]) AS wanted (kind, floor)
), next AS (
    SELECT id, user_id FROM (
        SELECT next.* FROM wanted CROSS JOIN LATERAL (
            SELECT id, user_id, run_at, sequence FROM jobs AS job
            WHERE job.kind = wanted.kind AND is_ordered AND run_at >= floor AND run_at <= $3
              AND id = (
                SELECT id FROM jobs AS other WHERE other.user_id = job.user_id AND is_ordered
                ORDER BY (attempt = 0), sequence LIMIT 1
              )
            ORDER BY run_at, sequence LIMIT $4
        ) AS next
    ) AS all_next
    ORDER BY run_at, sequence LIMIT $4
)
SELECT NULL AS kind, NULL AS since, id FROM next
WHERE pg_try_advisory_xact_lock(hashtextextended(user_id::text, $5))
UNION ALL
SELECT kind, (
    SELECT run_at FROM jobs
    WHERE jobs.kind = wanted.kind AND is_ordered AND run_at >= floor AND run_at <= $3
    ORDER BY run_at, sequence LIMIT 1
), NULL FROM wanted";

/// The same locks of the users of dead jobs, in an order in which no two wait for each other. Whoever
/// claims tries them, and waits for none.
const LOCK_USERS_SQL: &str = "
SELECT pg_advisory_xact_lock(hashtextextended(user_id::text, $2)) FROM (
    SELECT DISTINCT user_id FROM dead_jobs WHERE id = ANY($1::uuid[]) AND is_ordered
    ORDER BY user_id
) AS users";

/// Claims what is due, longest first: of each kind those that nobody else is claiming, and those next
/// of their users, who are locked, that still are.
const CLAIM_SQL: &str = "
WITH free AS (
    SELECT due.* FROM unnest($1::text[], $2::timestamptz[]) AS wanted (kind, floor)
    CROSS JOIN LATERAL (
        SELECT id, run_at, sequence FROM jobs
        WHERE jobs.kind = wanted.kind AND NOT is_ordered
          AND run_at >= coalesce(floor, '-infinity') AND run_at <= $3
        ORDER BY run_at, sequence LIMIT $4
        FOR UPDATE SKIP LOCKED
    ) AS due
), next AS (
    SELECT id, run_at, sequence FROM jobs AS job
    WHERE id = ANY($5::uuid[]) AND run_at <= $3 AND kind = ANY($1::text[])
      AND id = (
        SELECT id FROM jobs AS other WHERE other.user_id = job.user_id AND is_ordered
        ORDER BY (attempt = 0), sequence LIMIT 1
      )
    FOR UPDATE SKIP LOCKED
), chosen AS (
    SELECT * FROM (SELECT * FROM free UNION ALL SELECT * FROM next) AS due
    ORDER BY run_at, sequence LIMIT $4
), claimed AS (
    UPDATE jobs SET run_at = $6, attempt = attempt + 1, is_claimed = true
    WHERE id = ANY(ARRAY(SELECT id FROM chosen))
    RETURNING id, kind, payload, user_id, enqueued_at, attempt, attempt - uncounted AS tries, is_ordered
)
SELECT id, kind, payload, user_id, enqueued_at, chosen.run_at, attempt, tries, is_ordered
FROM claimed JOIN chosen USING (id)
ORDER BY chosen.run_at, chosen.sequence";

/// Claims jobs, and learns from where to read the next time.
pub(super) async fn claim(
    node: &Node,
    floors: &Floors,
    kinds: &[JobKind],
    limit: usize,
    now: Timestamp,
    lease: Duration,
) -> Result<Vec<ClaimedJob>, Failure> {
    let limit = limit.min(JOBS_PER_CALL_MAX);
    let mut kinds = kinds.to_vec();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.is_empty() || limit == 0 {
        return Ok(Vec::new());
    }
    let reading = floors.begin(&kinds);
    let claim = Claim {
        kinds: kinds.iter().map(|kind| kind.as_str().to_owned()).collect(),
        limit: i64::try_from(limit).unwrap_or(i64::MAX),
        now: instant(now),
        until: later(now, lease),
    };
    let (claimed, found) = transact!(node, |transaction| {
        claim.run(&mut transaction, &reading).await
    })?;
    let is_full = claimed.len() >= limit;
    floors.learn(&kinds, &reading, &found, now, claimed.len(), is_full);
    Ok(claimed)
}

/// Has nobody claim what is in the order of the users of these dead jobs until the transaction ends.
///
/// A job that is put back has been begun, so it has its turn by its number among those that were. It is
/// to have that number behind the one that is under way, or to be seen by whoever claims.
pub(super) async fn lock_users(
    transaction: &mut Transaction<'_>,
    dead: Vec<Uuid>,
) -> Result<(), Failure> {
    let lock = sqlx::query(LOCK_USERS_SQL).bind(dead).bind(LOCK_SEED);
    transaction.fetch(lock).await.map(drop)
}

struct Claim {
    kinds: Vec<String>,
    limit: i64,
    now: Instant,
    until: Instant,
}

impl Claim {
    async fn run(
        &self,
        transaction: &mut Transaction<'_>,
        reading: &Reading,
    ) -> Result<(Vec<ClaimedJob>, HashMap<JobKind, Found>), Failure> {
        let mut found: HashMap<JobKind, Found> = HashMap::new();
        let ordered = reading.below.iter().map(|it| it.ordered.map(instant));
        let next = sqlx::query(NEXT_OF_USERS_SQL)
            .bind(self.kinds.clone())
            .bind(ordered.collect::<Vec<Option<Instant>>>())
            .bind(self.now)
            .bind(self.limit.min(ORDERED_PER_CLAIM_MAX))
            .bind(LOCK_SEED);
        let mut ids = Vec::new();
        for row in transaction.fetch(next).await? {
            match read_next(&row).ok_or(Failure::Unreadable("job"))? {
                Next::Job(id) => ids.push(id),
                Next::Since(kind, since) => found.entry(kind).or_default().ordered = since,
            }
        }
        let free = reading.below.iter().map(|it| it.free.map(instant));
        // A statement of its own, which sees what was committed before the locks were had.
        let claim = sqlx::query(CLAIM_SQL)
            .bind(self.kinds.clone())
            .bind(free.collect::<Vec<Option<Instant>>>())
            .bind(self.now)
            .bind(self.limit)
            .bind(ids)
            .bind(self.until);
        let rows = transaction.fetch(claim).await?;
        let mut claimed = Vec::with_capacity(rows.len());
        for row in &rows {
            let (job, is_ordered) = self.read(row).ok_or(Failure::Unreadable("job"))?;
            if !is_ordered {
                let found = found.entry(job.kind.clone()).or_default();
                found.free.get_or_insert(job.run_at);
            }
            claimed.push(job);
        }
        Ok((claimed, found))
    }

    /// A claimed job, and whether it is in the order of its user.
    fn read(&self, row: &PgRow) -> Option<(ClaimedJob, bool)> {
        let mut columns = Columns::of(row);
        let job = ClaimedJob {
            id: JobId::from_uuid(columns.id()?),
            kind: JobKind::new(columns.next()?)?,
            payload: columns.next()?,
            user_id: columns.next::<Option<Uuid>>()?.map(UserId::from_uuid),
            enqueued_at: columns.instant()?,
            run_at: columns.instant()?,
            attempt: columns.number()?,
            tries: columns.number()?,
            leased_until: self.until.to_jiff(),
        };
        Some((job, columns.next()?))
    }
}

/// A row of the first statement.
enum Next {
    Job(Uuid),
    Since(JobKind, Option<Timestamp>),
}

fn read_next(row: &PgRow) -> Option<Next> {
    let mut columns = Columns::of(row);
    let kind = columns.next::<Option<&str>>()?;
    let since = columns.optional_instant()?;
    Some(match kind {
        Some(kind) => Next::Since(JobKind::new(kind)?, since),
        None => Next::Job(columns.id()?),
    })
}
