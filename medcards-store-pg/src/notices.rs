use async_trait::async_trait;
use medcards_core::event::LogPosition;
use medcards_core::notice::{NOTICES_PER_READ_MAX, Notice, NoticeStore};
use medcards_core::store::Hint;
use medcards_core::{Result, Timestamp, UserId};

use crate::PgStore;
use crate::column::{Columns, instant, saturated};
use crate::error;
use crate::events::read_position;
use crate::session::Statement;
use crate::signals::Topic;

const READ: &str = "read notices";
const LIST: &str = "list notices";
const LAST: &str = "find last notice";
const SWEEP: &str = "sweep notices";

/// As events are read: nothing at or after the oldest transaction that is open is shown.
const READ_SQL: &str = "
SELECT transaction_id::text::bigint, sequence, user_id, at, body::text
FROM notices
WHERE (transaction_id, sequence) > ($1::bigint::text::xid8, $2)
  AND transaction_id < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY notices.transaction_id, notices.sequence
LIMIT $3";

const LIST_SQL: &str = "
SELECT transaction_id::text::bigint, sequence, user_id, at, body::text
FROM notices
WHERE user_id = $4 AND (transaction_id, sequence) > ($1::bigint::text::xid8, $2)
  AND transaction_id < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY notices.transaction_id, notices.sequence
LIMIT $3";

const LAST_SQL: &str = "
SELECT transaction_id::text::bigint, sequence
FROM notices
WHERE transaction_id < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY notices.transaction_id DESC, notices.sequence DESC
LIMIT 1";

/// Nothing is deleted twice, and nobody waits for another who does the same.
const SWEEP_SQL: &str = "
DELETE FROM notices WHERE (transaction_id, sequence) IN (
    SELECT transaction_id, sequence FROM notices WHERE at < $1 ORDER BY at LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING 1";

#[async_trait]
impl NoticeStore for PgStore {
    async fn read_notices(&self, after: LogPosition, limit: usize) -> Result<Vec<Notice>> {
        let read = |after: LogPosition, limit: i64| {
            sqlx::query(READ_SQL)
                .bind(saturated(after.transaction))
                .bind(saturated(after.sequence))
                .bind(limit)
        };
        self.read_known(READ, after, limit, read).await
    }

    async fn list_notices(
        &self,
        user_id: UserId,
        after: LogPosition,
        limit: usize,
    ) -> Result<Vec<Notice>> {
        let list = |after: LogPosition, limit: i64| {
            sqlx::query(LIST_SQL)
                .bind(saturated(after.transaction))
                .bind(saturated(after.sequence))
                .bind(limit)
                .bind(*user_id.as_uuid())
        };
        self.read_known(LIST, after, limit, list).await
    }

    async fn last_notice(&self) -> Result<LogPosition> {
        let rows = self.on_primary(LAST, || sqlx::query(LAST_SQL)).await?;
        let Some(row) = rows.first() else {
            return Ok(LogPosition::START);
        };
        read_position(&mut Columns::of(row)).ok_or_else(|| error::corrupt(LAST, "notice"))
    }

    fn noticed(&self) -> Hint {
        self.signals().take(Topic::Notices)
    }

    async fn sweep_notices(&self, before: Timestamp, limit: usize) -> Result<u64> {
        let limit = saturated(limit.min(NOTICES_PER_READ_MAX) as u64);
        let rows = self.on_primary(SWEEP, || {
            sqlx::query(SWEEP_SQL).bind(instant(before)).bind(limit)
        });
        Ok(rows.await?.len() as u64)
    }
}

impl PgStore {
    /// The next notices that this program knows; what lies between is passed over.
    async fn read_known(
        &self,
        operation: &'static str,
        mut after: LogPosition,
        limit: usize,
        statement: impl Fn(LogPosition, i64) -> Statement + Send + Sync,
    ) -> Result<Vec<Notice>> {
        let limit = limit.min(NOTICES_PER_READ_MAX);
        let mut known = Vec::new();
        while known.len() < limit {
            let room = limit - known.len();
            let rows = self.on_primary(operation, || statement(after, saturated(room as u64)));
            let rows = rows.await?;
            for row in &rows {
                let mut columns = Columns::of(row);
                let read = read_position(&mut columns);
                after = read.ok_or_else(|| error::corrupt(operation, "notice"))?;
                known.extend(read_notice(after, columns));
            }
            if rows.len() < room {
                break;
            }
        }
        Ok(known)
    }
}

/// The rest of a notice; `None` for one of a kind that this program does not know.
fn read_notice(position: LogPosition, mut columns: Columns<'_>) -> Option<Notice> {
    Some(Notice {
        position,
        user_id: UserId::from_uuid(columns.id()?),
        at: columns.instant()?,
        body: serde_json::from_str(columns.next()?).ok()?,
    })
}
