use std::collections::HashSet;

use jiff_sqlx::Timestamp as Instant;
use medcards_core::Timestamp;
use medcards_core::job::{DedupKey, Enqueued, JobOrder, NewJob};
use uuid::Uuid;

use super::{ENQUEUE, later};
use crate::column::{Columns, instant};
use crate::error::Failure;
use crate::steps::Steps;
use crate::writer::not_owned;

/// How often keys are looked at that were swept in the moment between two statements.
const ROUNDS_MAX: usize = 10;

/// Inserts those that are not known, in their order; says whether all are of buckets of this shard,
/// and which were inserted.
const INSERT_SQL: &str = "
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::uuid[],
                         $5::smallint[], $6::boolean[], $7::text[], $8::text[])
    WITH ORDINALITY AS given (id, run_at, enqueued_at, user_id, bucket, is_ordered, kind, payload,
                              at)
), fresh AS (
    INSERT INTO jobs (id, run_at, enqueued_at, attempt, uncounted, user_id, bucket, is_ordered,
                      is_claimed, kind, payload)
    SELECT id, run_at, enqueued_at, 0, 0, user_id, bucket, is_ordered, false, kind, payload FROM given
    WHERE NOT EXISTS (SELECT FROM dead_jobs WHERE dead_jobs.id = given.id)
    ORDER BY at
    ON CONFLICT (id) DO NOTHING
    RETURNING id
)
SELECT (
    SELECT coalesce(bool_and(EXISTS (
        SELECT FROM owned_buckets WHERE owned_buckets.bucket = given.bucket
    )), true) FROM given WHERE bucket IS NOT NULL
), (SELECT coalesce(array_agg(id), '{}') FROM fresh)";

const KNOWN_SQL: &str = "
SELECT id FROM jobs WHERE id = ANY($1::uuid[])
UNION ALL SELECT id FROM dead_jobs WHERE id = ANY($1::uuid[])";

/// In the order of the keys, so that two who take the same wait for each other instead of locking each
/// other out.
const TAKE_NEW_KEYS_SQL: &str = "
INSERT INTO job_keys (kind, key, job_id, kept_until)
SELECT kind, key, job_id, kept_until
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::timestamptz[])
     AS given (kind, key, job_id, kept_until)
ORDER BY kind COLLATE \"C\", key COLLATE \"C\"
ON CONFLICT (kind, key) DO NOTHING
RETURNING job_id";

/// Once they are locked, the next statement sees whoever took them before.
const LOCK_KEYS_SQL: &str = "
SELECT given.job_id
FROM unnest($1::text[], $2::text[], $3::uuid[]) AS given (kind, key, job_id)
JOIN job_keys USING (kind, key)
ORDER BY kind, key
FOR UPDATE OF job_keys";

const TAKE_FREE_KEYS_SQL: &str = "
UPDATE job_keys SET job_id = given.job_id, kept_until = given.kept_until
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::timestamptz[], $5::timestamptz[])
     AS given (kind, key, job_id, kept_until, enqueued_at)
WHERE job_keys.kind = given.kind AND job_keys.key = given.key
  AND job_keys.kept_until <= given.enqueued_at
  AND NOT EXISTS (SELECT FROM jobs WHERE jobs.id = job_keys.job_id)
  AND NOT EXISTS (SELECT FROM dead_jobs WHERE dead_jobs.id = job_keys.job_id)
RETURNING given.job_id";

/// A job, and when it is enqueued.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'j> {
    pub(crate) job: &'j NewJob,
    pub(crate) now: Timestamp,
}

/// Whose jobs may be enqueued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// What follows from what happened here.
    Any,
    /// Those of users who live on this shard.
    Checked,
}

/// Enqueues jobs inside a transaction, and says what became of each.
pub(crate) async fn enqueue(
    steps: &mut impl Steps,
    entries: &[Entry<'_>],
    ownership: Ownership,
) -> Result<Vec<Enqueued>, Failure> {
    let mut ids = HashSet::with_capacity(entries.len());
    let is_first = |entry: &&Entry<'_>| ids.insert(*entry.job.id.as_uuid());
    let mut wanted: Vec<Entry<'_>> = entries.iter().filter(is_first).copied().collect();
    if wanted.iter().any(|entry| entry.job.dedup.is_some()) {
        wanted = with_free_keys(steps, wanted).await?;
    }
    let mut fresh = insert(steps, &wanted, ownership).await?;
    let outcome = |entry: &Entry<'_>| match fresh.remove(entry.job.id.as_uuid()) {
        true => Enqueued::New,
        false => Enqueued::Known,
    };
    Ok(entries.iter().map(outcome).collect())
}

/// Those without a key, and those whose keys are now theirs.
async fn with_free_keys<'j>(
    steps: &mut impl Steps,
    mut wanted: Vec<Entry<'j>>,
) -> Result<Vec<Entry<'j>>, Failure> {
    // A job that is known must not take its key again.
    let ids: Vec<Uuid> = wanted.iter().map(|it| *it.job.id.as_uuid()).collect();
    let known = ids_of(steps, sqlx::query(KNOWN_SQL).bind(ids)).await?;
    wanted.retain(|entry| !known.contains(entry.job.id.as_uuid()));
    let mut names = HashSet::new();
    let mut waiting: Vec<Keyed> = wanted
        .iter()
        .filter_map(Keyed::of)
        .filter(|keyed| names.insert((keyed.kind.clone(), keyed.key.clone())))
        .collect();
    let mut taken = HashSet::new();
    for round in 0.. {
        if waiting.is_empty() {
            break;
        }
        if round == ROUNDS_MAX {
            return Err(Failure::Busy);
        }
        let new = ids_of(steps, Keyed::bind(TAKE_NEW_KEYS_SQL, &waiting, true)).await?;
        waiting.retain(|keyed| !new.contains(&keyed.job_id));
        taken.extend(new);
        if waiting.is_empty() {
            break;
        }
        let locked = ids_of(steps, Keyed::bind(LOCK_KEYS_SQL, &waiting, false)).await?;
        let (held, gone) = waiting
            .into_iter()
            .partition(|keyed| locked.contains(&keyed.job_id));
        let held: Vec<Keyed> = held;
        let now: Vec<Instant> = held.iter().map(|keyed| keyed.now).collect();
        let take = Keyed::bind(TAKE_FREE_KEYS_SQL, &held, true).bind(now);
        taken.extend(ids_of(steps, take).await?);
        // Somebody forgot these meanwhile: they are free.
        waiting = gone;
    }
    wanted.retain(|entry| entry.job.dedup.is_none() || taken.contains(entry.job.id.as_uuid()));
    Ok(wanted)
}

/// A key that a job asks for, as columns hold it.
#[derive(Clone, Debug)]
struct Keyed {
    kind: String,
    key: String,
    job_id: Uuid,
    kept_until: Instant,
    now: Instant,
}

impl Keyed {
    fn of(entry: &Entry<'_>) -> Option<Self> {
        let DedupKey { key, keep_for } = entry.job.dedup.as_ref()?;
        Some(Self {
            kind: entry.job.kind.as_str().to_owned(),
            key: key.clone(),
            job_id: *entry.job.id.as_uuid(),
            kept_until: later(entry.now, *keep_for),
            now: instant(entry.now),
        })
    }

    fn bind(sql: &'static str, all: &[Self], with_end: bool) -> crate::session::Statement {
        let kinds: Vec<String> = all.iter().map(|it| it.kind.clone()).collect();
        let keys: Vec<String> = all.iter().map(|it| it.key.clone()).collect();
        let ids: Vec<Uuid> = all.iter().map(|it| it.job_id).collect();
        let statement = sqlx::query(sql).bind(kinds).bind(keys).bind(ids);
        match with_end {
            true => statement.bind(all.iter().map(|it| it.kept_until).collect::<Vec<_>>()),
            false => statement,
        }
    }
}

async fn insert(
    steps: &mut impl Steps,
    entries: &[Entry<'_>],
    ownership: Ownership,
) -> Result<HashSet<Uuid>, Failure> {
    if entries.is_empty() {
        return Ok(HashSet::new());
    }
    let jobs = entries.iter().map(|entry| entry.job);
    let users = jobs.clone().map(|job| job.user_id.map(|it| *it.as_uuid()));
    let buckets = jobs
        .clone()
        .map(|job| Some(job.bucket()?.get().cast_signed()));
    let kinds = jobs.clone().map(|job| job.kind.as_str().to_owned());
    let payloads = jobs.clone().map(|job| job.payload.clone());
    let insert = sqlx::query(INSERT_SQL)
        .bind(
            jobs.clone()
                .map(|job| *job.id.as_uuid())
                .collect::<Vec<_>>(),
        )
        .bind(
            jobs.clone()
                .map(|job| instant(job.run_at))
                .collect::<Vec<_>>(),
        )
        .bind(entries.iter().map(|it| instant(it.now)).collect::<Vec<_>>())
        .bind(users.collect::<Vec<_>>())
        .bind(buckets.collect::<Vec<Option<i16>>>())
        .bind(
            jobs.map(|job| job.order == JobOrder::OfUser)
                .collect::<Vec<_>>(),
        )
        .bind(kinds.collect::<Vec<_>>())
        .bind(payloads.collect::<Vec<_>>());
    let rows = steps.fetch(insert).await?;
    let mut columns = rows.first().map(Columns::of);
    let is_owned = columns.as_mut().and_then(Columns::next::<bool>);
    let fresh = columns.as_mut().and_then(Columns::next::<Vec<Uuid>>);
    match (is_owned, fresh) {
        (Some(false), _) if ownership == Ownership::Checked => Err(not_owned(ENQUEUE).into()),
        (Some(_), Some(fresh)) => Ok(fresh.into_iter().collect()),
        _ => Err(Failure::Unreadable("job")),
    }
}

/// The ids in the first column of a statement.
pub(super) async fn ids_of(
    steps: &mut impl Steps,
    statement: crate::session::Statement,
) -> Result<HashSet<Uuid>, Failure> {
    let rows = steps.fetch(statement).await?;
    let ids: Option<_> = rows.iter().map(|row| Columns::of(row).id()).collect();
    ids.ok_or(Failure::Unreadable("job"))
}
