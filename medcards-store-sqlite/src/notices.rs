use std::sync::LazyLock;

use async_trait::async_trait;
use medcards_core::event::LogPosition;
use medcards_core::notice::{NOTICES_PER_READ_MAX, NewNotice, Notice, NoticeStore};
use medcards_core::shard::Bucket;
use medcards_core::store::Hint;
use medcards_core::{Error, ErrorKind, Result, Timestamp, UserId};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::bulk::Bulk;
use crate::column::{Columns, micros, saturated};
use crate::error::{self, Failure};
use crate::writer::Write;

const READ: &str = "read notices";
const LIST: &str = "list notices of user";
const LAST: &str = "find last notice";
const SWEEP: &str = "sweep notices";
const WRITE: &str = "write notice";

/// How many old notices are deleted in one transaction: about 10 ms of work.
const SWEPT_PER_WRITE: usize = 1_000;

const READ_SQL: &str = "
SELECT sequence, user_id, happened_at, body FROM notices
WHERE sequence > ? ORDER BY sequence LIMIT ?";

const LIST_SQL: &str = "
SELECT sequence, user_id, happened_at, body FROM notices
WHERE user_id = ?3 AND sequence > ?1 ORDER BY sequence LIMIT ?2";

/// The last number that was given, although its notice may be gone.
const LAST_SQL: &str = "
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'notices'), 0)";

const SWEEP_SQL: &str = "
DELETE FROM notices WHERE sequence IN (
    SELECT sequence FROM notices WHERE happened_at < ? ORDER BY happened_at LIMIT ?
)";

static INSERTS: LazyLock<Bulk> = LazyLock::new(|| {
    let head = "INSERT INTO notices (user_id, bucket, kind, body, happened_at)";
    Bulk::new(head, 5, "")
});

#[async_trait]
impl NoticeStore for SqliteStore {
    async fn read_notices(&self, after: LogPosition, limit: usize) -> Result<Vec<Notice>> {
        self.notices(READ, None, after, limit).await
    }

    async fn list_notices(
        &self,
        user_id: UserId,
        after: LogPosition,
        limit: usize,
    ) -> Result<Vec<Notice>> {
        self.notices(LIST, Some(user_id), after, limit).await
    }

    async fn last_notice(&self) -> Result<LogPosition> {
        let row = sqlx::query(LAST_SQL).fetch_one(self.readers()).await;
        let row = row.map_err(|source| error::storage(LAST, source))?;
        let sequence = Columns::of(&row).number();
        Ok(LogPosition {
            transaction: 0,
            sequence: sequence.ok_or_else(|| error::corrupt(LAST, "number"))?,
        })
    }

    fn noticed(&self) -> Hint {
        self.hints().noticed.take()
    }

    async fn sweep_notices(&self, before: Timestamp, limit: usize) -> Result<u64> {
        let mut swept = 0;
        loop {
            let limit = SWEPT_PER_WRITE.min(limit.saturating_sub(swept));
            let more = self.writes().write(Sweep { before, limit }).await?;
            swept += more;
            if more < SWEPT_PER_WRITE {
                return Ok(swept as u64);
            }
        }
    }
}

impl SqliteStore {
    /// Reads on until there are as many as asked for, because some may be of unknown kinds.
    async fn notices(
        &self,
        operation: &'static str,
        user_id: Option<UserId>,
        after: LogPosition,
        limit: usize,
    ) -> Result<Vec<Notice>> {
        let limit = limit.min(NOTICES_PER_READ_MAX);
        let mut notices = Vec::new();
        if after.transaction > 0 {
            // All our notices lie before such a place.
            return Ok(notices);
        }
        let mut after = saturated(after.sequence);
        loop {
            let asked = limit - notices.len();
            let query = sqlx::query(match user_id {
                Some(_) => LIST_SQL,
                None => READ_SQL,
            });
            let mut query = query.bind(after).bind(asked as i64);
            if let Some(user_id) = &user_id {
                query = query.bind(user_id.as_bytes().as_slice());
            }
            let rows = query.fetch_all(self.readers()).await;
            let rows = rows.map_err(|source| error::storage(operation, source))?;
            notices.extend(rows.iter().filter_map(read_notice));
            let Some(last) = rows.last().filter(|_| rows.len() == asked) else {
                return Ok(notices);
            };
            if notices.len() == limit {
                return Ok(notices);
            }
            let sequence = Columns::of(last).next();
            after = sequence.ok_or_else(|| error::corrupt(operation, "notice"))?;
        }
    }
}

struct Sweep {
    before: Timestamp,
    limit: usize,
}

#[async_trait]
impl Write for Sweep {
    type Output = usize;

    const OPERATION: &'static str = SWEEP;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<usize, Failure> {
        let swept = sqlx::query(SWEEP_SQL)
            .bind(micros(self.before))
            .bind(self.limit as i64)
            .execute(connection)
            .await?;
        Ok(swept.rows_affected() as usize)
    }
}

/// A notice as it is written.
#[derive(Debug)]
pub(crate) struct NoticeColumns {
    user_id: UserId,
    kind: &'static str,
    body: String,
    at: Timestamp,
}

impl NoticeColumns {
    pub(crate) fn of(notice: &NewNotice) -> Result<Self> {
        let body = serde_json::to_string(&notice.body).map_err(|source| {
            let context = "the notice has no stored form";
            Error::new(ErrorKind::Unexpected, WRITE, context).with_source(source)
        })?;
        Ok(Self {
            user_id: notice.user_id,
            kind: notice.body.kind(),
            body,
            at: notice.at,
        })
    }
}

/// Writes notices in their order.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    notices: &[&NoticeColumns],
) -> Result<(), sqlx::Error> {
    for (sql, part) in INSERTS.parts(notices) {
        let mut query = sqlx::query(sql);
        for notice in part {
            query = query
                .bind(notice.user_id.as_bytes().as_slice())
                .bind(i64::from(Bucket::of(&notice.user_id).get()))
                .bind(notice.kind)
                .bind(notice.body.as_str())
                .bind(micros(notice.at));
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// `None` for one of a kind that a newer program wrote.
fn read_notice(row: &SqliteRow) -> Option<Notice> {
    let mut columns = Columns::of(row);
    Some(Notice {
        position: LogPosition {
            transaction: 0,
            sequence: columns.number()?,
        },
        user_id: UserId::from_bytes(columns.id()?),
        at: columns.instant()?,
        body: serde_json::from_str(columns.next()?).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plans::check;

    #[tokio::test]
    async fn statements_read_by_their_indexes() {
        check(READ_SQL, &["PRIMARY KEY (rowid>?)"]).await;
        check(LIST_SQL, &["notices_by_user (user_id=? AND rowid>?)"]).await;
        check(
            SWEEP_SQL,
            &[
                "PRIMARY KEY (rowid=?)",
                "notices_by_instant (happened_at<?)",
            ],
        )
        .await;
    }
}
