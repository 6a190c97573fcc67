use async_trait::async_trait;
use medcards_core::job::{DeadJob, JobKind};
use medcards_core::store::Hints;
use medcards_core::transfer::DeadJobRow;
use medcards_core::{JobId, Timestamp};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::{DISCARD, REQUEUE, read_order, read_user};
use crate::column::{Columns, micros};
use crate::error::Failure;
use crate::writer::Write;

/// In the order in which they are named, each once. They keep their attempts, so that whoever once
/// claimed one is still too late.
const REQUEUE_SQL: &str = "
INSERT INTO jobs
    (id, kind, payload, user_id, bucket, is_ordered, run_at, attempt, uncounted, is_claimed,
     enqueued_at, reason)
SELECT dead_jobs.id, dead_jobs.kind, payload, user_id, bucket, is_ordered, ?2, attempt, attempt, 0,
       enqueued_at, reason
FROM (
    SELECT unhex(value) AS id, min(key) AS place FROM json_each(?1) GROUP BY value
) AS wanted
CROSS JOIN dead_jobs ON dead_jobs.id = wanted.id
ORDER BY wanted.place";

const DELETE_SQL: &str =
    "DELETE FROM dead_jobs WHERE id IN (SELECT unhex(value) FROM json_each(?))";

pub(super) struct Requeue {
    /// A JSON list of ids.
    pub(super) jobs: String,
    pub(super) now: Timestamp,
    pub(super) enqueued: Hints,
}

#[async_trait]
impl Write for Requeue {
    type Output = u64;

    const OPERATION: &'static str = REQUEUE;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<u64, Failure> {
        let requeued = sqlx::query(REQUEUE_SQL)
            .bind(self.jobs.as_str())
            .bind(micros(self.now))
            .execute(&mut *connection)
            .await?;
        if requeued.rows_affected() > 0 {
            sqlx::query(DELETE_SQL)
                .bind(self.jobs.as_str())
                .execute(connection)
                .await?;
        }
        Ok(requeued.rows_affected())
    }

    fn committed(&self, count: &u64) {
        if *count > 0 {
            self.enqueued.give();
        }
    }
}

pub(super) struct Discard {
    /// A JSON list of ids.
    pub(super) jobs: String,
}

#[async_trait]
impl Write for Discard {
    type Output = u64;

    const OPERATION: &'static str = DISCARD;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<u64, Failure> {
        let discarded = sqlx::query(DELETE_SQL)
            .bind(self.jobs.as_str())
            .execute(connection)
            .await?;
        Ok(discarded.rows_affected())
    }
}

pub(crate) fn read_dead_row(row: &SqliteRow) -> Option<DeadJobRow> {
    let mut columns = Columns::of(row);
    let job = DeadJob {
        id: JobId::from_bytes(columns.id()?),
        kind: JobKind::new(columns.next()?)?,
        payload: columns.next()?,
        user_id: read_user(&mut columns)?,
        enqueued_at: columns.instant()?,
        attempts: columns.number()?,
        died_at: columns.instant()?,
        reason: columns.next()?,
    };
    let order = read_order(&mut columns)?;
    Some(DeadJobRow { job, order })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plans::check;

    #[tokio::test]
    async fn statements_read_by_their_indexes() {
        check(
            REQUEUE_SQL,
            &[
                "TEMP B-TREE FOR GROUP BY",
                "SCAN wanted",
                "PRIMARY KEY (id=?)",
                "TEMP B-TREE FOR ORDER BY",
            ],
        )
        .await;
        check(DELETE_SQL, &["PRIMARY KEY (id=?)"]).await;
    }
}
