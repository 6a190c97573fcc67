use async_trait::async_trait;
use medcards_core::event::{
    EVENTS_PER_READ_MAX, Event, EventBody, EventLog, LogPosition, ReaderName,
};
use medcards_core::shard::Bucket;
use medcards_core::{Error, ErrorKind, Result, UserId};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::column::{Columns, saturated};
use crate::error::{self, Failure};
use crate::writer::Write;

const READ: &str = "read events";
const FIND_CURSOR: &str = "find cursor";
const MOVE_CURSOR: &str = "move cursor";

/// One writer gives the numbers, so they are in the order of commits and none appears late.
const READ_SQL: &str = "
SELECT sequence, user_id, body FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?";

const FIND_CURSOR_SQL: &str = "SELECT transaction_no, sequence FROM cursors WHERE reader = ?";

/// Changes a row only if the reader is where the caller thinks. A reader without a row is at 0:0.
const MOVE_CURSOR_SQL: &str = "
INSERT INTO cursors (reader, transaction_no, sequence)
SELECT ?1, ?4, ?5
WHERE (?2 = 0 AND ?3 = 0) OR EXISTS (SELECT 1 FROM cursors WHERE reader = ?1)
ON CONFLICT (reader) DO UPDATE
SET transaction_no = excluded.transaction_no, sequence = excluded.sequence
WHERE cursors.transaction_no = ?2 AND cursors.sequence = ?3";

#[async_trait]
impl EventLog for SqliteStore {
    async fn read_events(&self, after: LogPosition, limit: usize) -> Result<Vec<Event>> {
        if after.transaction > 0 {
            // All our events lie before such a place.
            return Ok(Vec::new());
        }
        let rows = sqlx::query(READ_SQL)
            .bind(saturated(after.sequence))
            .bind(limit.min(EVENTS_PER_READ_MAX) as i64)
            .fetch_all(self.readers())
            .await
            .map_err(|source| error::storage(READ, source))?;
        let events: Option<Vec<_>> = rows.iter().map(read_event).collect();
        events.ok_or_else(|| error::corrupt(READ, "event"))
    }

    async fn find_cursor(&self, reader: &ReaderName) -> Result<LogPosition> {
        let row = sqlx::query(FIND_CURSOR_SQL)
            .bind(reader.as_str())
            .fetch_optional(self.readers())
            .await
            .map_err(|source| error::storage(FIND_CURSOR, source))?;
        let Some(row) = row else {
            return Ok(LogPosition::START);
        };
        let mut columns = Columns::of(&row);
        let (Some(transaction), Some(sequence)) = (columns.next::<i64>(), columns.next::<i64>())
        else {
            return Err(error::corrupt(FIND_CURSOR, "cursor"));
        };
        let (transaction, sequence) = (transaction.cast_unsigned(), sequence.cast_unsigned());
        Ok(LogPosition {
            transaction,
            sequence,
        })
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
        self.writes()
            .write(MoveCursor {
                reader: reader.clone(),
                from,
                to,
            })
            .await
    }
}

struct MoveCursor {
    reader: ReaderName,
    from: LogPosition,
    to: LogPosition,
}

#[async_trait]
impl Write for MoveCursor {
    type Output = ();

    const OPERATION: &'static str = MOVE_CURSOR;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<(), Failure> {
        let moved = sqlx::query(MOVE_CURSOR_SQL)
            .bind(self.reader.as_str())
            .bind(self.from.transaction.cast_signed())
            .bind(self.from.sequence.cast_signed())
            .bind(self.to.transaction.cast_signed())
            .bind(self.to.sequence.cast_signed())
            .execute(connection)
            .await?;
        if moved.rows_affected() > 0 {
            return Ok(());
        }
        let context = "another process moved it: read it again";
        Err(Failure::Refused(Error::new(
            ErrorKind::Conflict,
            MOVE_CURSOR,
            context,
        )))
    }
}

fn read_event(row: &SqliteRow) -> Option<Event> {
    let mut columns = Columns::of(row);
    let position = LogPosition {
        transaction: 0,
        sequence: columns.number()?,
    };
    let user_id = UserId::from_bytes(columns.id()?);
    let body: EventBody = serde_json::from_str(columns.next()?).ok()?;
    Some(Event {
        position,
        user_id,
        bucket: Bucket::of(&user_id),
        body,
    })
}
