use async_trait::async_trait;
use medcards_core::event::{
    EVENTS_COUNTED_MAX, EVENTS_PER_READ_MAX, Event, EventBody, EventLog, LogPosition, ReaderName,
};
use medcards_core::shard::Bucket;
use medcards_core::store::Hint;
use medcards_core::{Error, ErrorKind, Result, UserId};
use sqlx::postgres::PgRow;

use crate::PgStore;
use crate::column::{Columns, saturated};
use crate::effects::Written;
use crate::error::{self, Failure};
use crate::node::transact;
use crate::signals::Topic;

const READ: &str = "read events";
const APPEND: &str = "append event";
const COUNT: &str = "count events";
const FIND_CURSOR: &str = "find cursor";
const MOVE_CURSOR: &str = "move cursor";

/// Transactions that are open may still commit events; nothing at or after the oldest of them is
/// shown, so what is shown is complete. The order names the table, because the bare name would mean
/// the column that is returned, by which no index is ordered.
const READ_SQL: &str = "
SELECT transaction_id::text::bigint, sequence, user_id, kind, body::text
FROM events
WHERE (transaction_id, sequence) > ($1::bigint::text::xid8, $2)
  AND transaction_id < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY events.transaction_id, events.sequence
LIMIT $3";

/// By the primary key alone.
const COUNT_SQL: &str = "
SELECT count(*) FROM (
    SELECT FROM events
    WHERE (transaction_id, sequence) > ($1::bigint::text::xid8, $2)
      AND transaction_id < pg_snapshot_xmin(pg_current_snapshot())
    LIMIT $3
) AS counted";

const FIND_CURSOR_SQL: &str =
    "SELECT transaction_id::text::bigint, sequence FROM cursors WHERE reader = $1";

/// Changes a row only if the reader is where the caller thinks. A reader without a row is at 0:0.
const MOVE_CURSOR_SQL: &str = "
INSERT INTO cursors (reader, transaction_id, sequence)
SELECT $1, $4::bigint::text::xid8, $5
WHERE ($2::bigint = 0 AND $3::bigint = 0) OR EXISTS (SELECT FROM cursors WHERE reader = $1)
ON CONFLICT (reader) DO UPDATE
SET transaction_id = excluded.transaction_id, sequence = excluded.sequence
WHERE cursors.transaction_id = $2::bigint::text::xid8 AND cursors.sequence = $3
RETURNING 1";

#[async_trait]
impl EventLog for PgStore {
    async fn read_events(&self, after: LogPosition, limit: usize) -> Result<Vec<Event>> {
        let rows = self.on_primary(READ, || {
            sqlx::query(READ_SQL)
                .bind(saturated(after.transaction))
                .bind(saturated(after.sequence))
                .bind(limit.min(EVENTS_PER_READ_MAX) as i64)
        });
        let events: Option<Vec<_>> = rows.await?.iter().map(read_event).collect();
        events.ok_or_else(|| error::corrupt(READ, "event"))
    }

    async fn append_events(&self, bodies: Vec<EventBody>) -> Result<()> {
        bodies.iter().try_for_each(EventBody::check_everyone)?;
        let mut written = Written::default();
        for body in &bodies {
            written.add_event(APPEND, body)?;
        }
        let appended: Result<(), Failure> = transact!(self.primary(), |transaction| {
            written.write(&mut transaction).await
        });
        appended.map_err(|failure| failure.during(APPEND))?;
        written.tell(self.signals());
        Ok(())
    }

    async fn count_events(&self, after: LogPosition) -> Result<u64> {
        let rows = self.on_primary(COUNT, || {
            sqlx::query(COUNT_SQL)
                .bind(saturated(after.transaction))
                .bind(saturated(after.sequence))
                .bind(saturated(EVENTS_COUNTED_MAX))
        });
        let count = rows.await?;
        let count = count.first().and_then(|row| Columns::of(row).number());
        count.ok_or_else(|| error::corrupt(COUNT, "count"))
    }

    fn appended(&self) -> Hint {
        self.signals().take(Topic::Events)
    }

    async fn find_cursor(&self, reader: &ReaderName) -> Result<LogPosition> {
        let find = || sqlx::query(FIND_CURSOR_SQL).bind(reader.as_str().to_owned());
        let rows = self.on_primary(FIND_CURSOR, find).await?;
        let Some(row) = rows.first() else {
            return Ok(LogPosition::START);
        };
        read_position(&mut Columns::of(row)).ok_or_else(|| error::corrupt(FIND_CURSOR, "cursor"))
    }

    async fn move_cursor(
        &self,
        reader: &ReaderName,
        from: LogPosition,
        to: LogPosition,
    ) -> Result<()> {
        if to < from {
            let context = "a reader does not go back: move it forward";
            return Err(Error::new(ErrorKind::Invalid, MOVE_CURSOR, context));
        }
        // Run twice, it would find the reader where it moved it to and say that another did.
        let moved = self.primary().fetch_once(
            sqlx::query(MOVE_CURSOR_SQL)
                .bind(reader.as_str().to_owned())
                .bind(saturated(from.transaction))
                .bind(saturated(from.sequence))
                .bind(saturated(to.transaction))
                .bind(saturated(to.sequence)),
        );
        let moved = moved.await.map_err(|failure| failure.during(MOVE_CURSOR))?;
        if !moved.is_empty() {
            return Ok(());
        }
        let context = "another process moved it: read it again";
        Err(Error::new(ErrorKind::Conflict, MOVE_CURSOR, context))
    }
}

pub(crate) fn read_position(columns: &mut Columns<'_>) -> Option<LogPosition> {
    Some(LogPosition {
        transaction: columns.number()?,
        sequence: columns.number()?,
    })
}

fn read_event(row: &PgRow) -> Option<Event> {
    let mut columns = Columns::of(row);
    let position = read_position(&mut columns)?;
    let user_id = UserId::from_uuid(columns.id()?);
    let kind: String = columns.next()?;
    let body = serde_json::from_str(columns.next()?).unwrap_or_else(|_secret| {
        let reason = "this program cannot read it: a newer one wrote it, or it is damaged";
        EventBody::Unreadable {
            kind,
            reason: reason.to_owned(),
        }
    });
    Some(Event {
        position,
        user_id,
        bucket: Bucket::of(&user_id),
        body,
    })
}
