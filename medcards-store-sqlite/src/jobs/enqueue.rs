use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use async_trait::async_trait;
use medcards_core::job::{Enqueued, JobOrder, NewJob};
use medcards_core::store::Hints;
use medcards_core::{JobId, Timestamp};
use sqlx::SqliteConnection;

use super::{ENQUEUE, json_of_ids};
use crate::bulk::Bulk;
use crate::column::{Columns, json_list, later, micros};
use crate::error::{self, Failure};
use crate::writer::Write;

/// Which of these ids are in the queue or dead.
const KEPT_SQL: &str = "
SELECT unhex(wanted.value) FROM json_each(?) AS wanted
WHERE EXISTS (SELECT 1 FROM jobs WHERE id = unhex(wanted.value))
   OR EXISTS (SELECT 1 FROM dead_jobs WHERE id = unhex(wanted.value))";

/// Which of these keys there are, by their places in the list; until when they are kept, and whether
/// their jobs are.
const KEYS_SQL: &str = "
SELECT wanted.key, kept_until,
       EXISTS (SELECT 1 FROM jobs WHERE id = job_id)
           OR EXISTS (SELECT 1 FROM dead_jobs WHERE id = job_id)
FROM json_each(?) AS wanted
CROSS JOIN job_keys ON job_keys.kind = wanted.value ->> 0 AND job_keys.key = wanted.value ->> 1";

static INSERTS: LazyLock<Bulk> = LazyLock::new(|| {
    let head = "INSERT INTO jobs
        (id, kind, payload, user_id, bucket, is_ordered, run_at, attempt, uncounted, is_claimed,
         enqueued_at)";
    Bulk::new(head, 11, "")
});

static PUT_KEYS: LazyLock<Bulk> = LazyLock::new(|| {
    let head = "INSERT INTO job_keys (kind, key, job_id, kept_until)";
    let tail = "ON CONFLICT (kind, key) DO UPDATE
        SET job_id = excluded.job_id, kept_until = excluded.kept_until";
    Bulk::new(head, 4, tail)
});

pub(super) struct Enqueue {
    pub(super) jobs: Vec<NewJob>,
    pub(super) now: Timestamp,
    pub(super) enqueued: Hints,
}

#[async_trait]
impl Write for Enqueue {
    type Output = Vec<Enqueued>;

    const OPERATION: &'static str = ENQUEUE;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<Vec<Enqueued>, Failure> {
        let jobs: Vec<_> = self.jobs.iter().map(|job| (job, self.now)).collect();
        insert(connection, &jobs).await
    }

    fn committed(&self, outcomes: &Vec<Enqueued>) {
        if outcomes.contains(&Enqueued::New) {
            self.enqueued.give();
        }
    }
}

/// Enqueues jobs, each as of an instant, and says what became of each.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    jobs: &[(&NewJob, Timestamp)],
) -> Result<Vec<Enqueued>, Failure> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let mut known = find_kept(connection, jobs).await?;
    let mut keys = find_keys(connection, jobs).await?;
    let (mut new, mut taken) = (Vec::with_capacity(jobs.len()), Vec::new());
    let mut outcomes = Vec::with_capacity(jobs.len());
    for (job, now) in jobs {
        let key = job
            .dedup
            .as_ref()
            .map(|dedup| (job.kind.as_str(), dedup.key.as_str()));
        let is_taken = |(kind, key)| {
            let taken = keys.get(&(kind, key));
            taken.is_some_and(|taken: &Taken| taken.is_kept || micros(*now) < taken.until)
        };
        if known.contains(&job.id) || key.is_some_and(is_taken) {
            outcomes.push(Enqueued::Known);
            continue;
        }
        known.insert(job.id);
        if let (Some(key), Some(dedup)) = (key, &job.dedup) {
            let until = micros(later(*now, dedup.keep_for));
            let is_kept = true;
            keys.insert(key, Taken { until, is_kept });
            taken.push((key, job.id, until));
        }
        new.push((*job, *now));
        outcomes.push(Enqueued::New);
    }
    insert_jobs(connection, &new).await?;
    put_keys(connection, &taken).await?;
    Ok(outcomes)
}

struct Taken {
    until: i64,
    is_kept: bool,
}

async fn find_kept(
    connection: &mut SqliteConnection,
    jobs: &[(&NewJob, Timestamp)],
) -> Result<HashSet<JobId>, Failure> {
    let ids = json_of_ids(jobs.iter().map(|(job, _)| &job.id))?;
    let rows = sqlx::query(KEPT_SQL)
        .bind(ids)
        .fetch_all(connection)
        .await?;
    let ids = rows
        .iter()
        .map(|row| Columns::of(row).id().map(JobId::from_bytes));
    ids.collect::<Option<_>>()
        .ok_or_else(|| error::unreadable("job"))
}

/// The keys that these jobs name and that are there.
async fn find_keys<'j>(
    connection: &mut SqliteConnection,
    jobs: &[(&'j NewJob, Timestamp)],
) -> Result<HashMap<(&'j str, &'j str), Taken>, Failure> {
    let named = |(job, _): &(&'j NewJob, Timestamp)| {
        Some((job.kind.as_str(), job.dedup.as_ref()?.key.as_str()))
    };
    let mut names: Vec<(&str, &str)> = jobs.iter().filter_map(named).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(KEYS_SQL)
        .bind(json_list(names.iter())?)
        .fetch_all(connection)
        .await?;
    let found = rows.iter().map(|row| {
        let mut columns = Columns::of(row);
        let name = names.get(columns.number::<usize>()?)?;
        let (until, is_kept) = (columns.next()?, columns.next()?);
        Some((*name, Taken { until, is_kept }))
    });
    found
        .collect::<Option<_>>()
        .ok_or_else(|| error::unreadable("job key"))
}

async fn insert_jobs(
    connection: &mut SqliteConnection,
    jobs: &[(&NewJob, Timestamp)],
) -> Result<(), sqlx::Error> {
    for (sql, part) in INSERTS.parts(jobs) {
        let mut query = sqlx::query(sql);
        for (job, now) in part {
            query = query
                .bind(job.id.as_bytes().as_slice())
                .bind(job.kind.as_str())
                .bind(job.payload.as_str())
                .bind(job.user_id.map(|user_id| user_id.as_bytes().to_vec()))
                .bind(job.bucket().map(|bucket| i64::from(bucket.get())))
                .bind(i64::from(job.order == JobOrder::OfUser))
                .bind(micros(job.run_at))
                .bind(0)
                .bind(0)
                .bind(0)
                .bind(micros(*now));
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn put_keys(
    connection: &mut SqliteConnection,
    keys: &[((&str, &str), JobId, i64)],
) -> Result<(), sqlx::Error> {
    for (sql, part) in PUT_KEYS.parts(keys) {
        let mut query = sqlx::query(sql);
        for ((kind, key), id, until) in part {
            query = query
                .bind(*kind)
                .bind(*key)
                .bind(id.as_bytes().as_slice())
                .bind(*until);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plans::check;

    #[tokio::test]
    async fn statements_read_by_their_indexes() {
        check(KEPT_SQL, &["(id=?)", "(id=?)"]).await;
        check(
            KEYS_SQL,
            &["PRIMARY KEY (kind=? AND key=?)", "(id=?)", "(id=?)"],
        )
        .await;
    }
}
