use std::sync::LazyLock;

use async_trait::async_trait;
use medcards_core::event::{
    EVENTS_COUNTED_MAX, EVENTS_PER_READ_MAX, Event, EventBody, EventLog, LogPosition, ReaderName,
};
use medcards_core::shard::Bucket;
use medcards_core::store::Hint;
use medcards_core::{Error, ErrorKind, Result, UserId};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::answers::event_json;
use crate::bulk::Bulk;
use crate::column::{Columns, saturated};
use crate::error::{self, Failure};
use crate::hints::StoreHints;
use crate::writer::Write;

const READ: &str = "read events";
const APPEND: &str = "append events";
const COUNT: &str = "count events";
const FIND_CURSOR: &str = "find cursor";
const MOVE_CURSOR: &str = "move cursor";

/// One writer gives the numbers, so they are in the order of commits and none appears late.
const READ_SQL: &str = "
SELECT sequence, user_id, kind, body FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?";

/// No event ever goes and no number is left out, so this counts them without reading them.
const COUNT_SQL: &str = "
SELECT max(0, coalesce((SELECT max(sequence) FROM events), 0)
           - max(?, coalesce((SELECT min(sequence) FROM events), 1) - 1))";

static INSERTS: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::new("INSERT INTO events (user_id, bucket, kind, body)", 4, ""));

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

    async fn append_events(&self, bodies: Vec<EventBody>) -> Result<()> {
        bodies.iter().try_for_each(EventBody::check_everyone)?;
        let events = EventColumns::of_everyone(APPEND, &bodies)?;
        let hints = self.hints().clone();
        self.writes().write(Append { events, hints }).await
    }

    async fn count_events(&self, after: LogPosition) -> Result<u64> {
        if after.transaction > 0 {
            return Ok(0);
        }
        let row = sqlx::query(COUNT_SQL)
            .bind(saturated(after.sequence))
            .fetch_one(self.readers())
            .await
            .map_err(|source| error::storage(COUNT, source))?;
        let count = Columns::of(&row).number::<u64>();
        let count = count.ok_or_else(|| error::corrupt(COUNT, "number"))?;
        Ok(count.min(EVENTS_COUNTED_MAX))
    }

    fn appended(&self) -> Hint {
        self.hints().appended.take()
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

struct Append {
    events: Vec<EventColumns>,
    hints: StoreHints,
}

#[async_trait]
impl Write for Append {
    type Output = ();

    const OPERATION: &'static str = APPEND;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<(), Failure> {
        let events: Vec<_> = self.events.iter().collect();
        Ok(insert(connection, &events).await?)
    }

    fn committed(&self, _appended: &()) {
        self.hints.appended.give();
    }
}

/// An event of everyone as it is written.
#[derive(Debug)]
pub(crate) struct EventColumns {
    kind: String,
    body: String,
}

impl EventColumns {
    pub(crate) fn of_everyone<'e>(
        operation: &'static str,
        bodies: impl IntoIterator<Item = &'e EventBody>,
    ) -> Result<Vec<Self>> {
        let columns = |event: &EventBody| {
            Ok(Self {
                kind: event.kind().to_owned(),
                body: event_json(operation, event)?,
            })
        };
        bodies.into_iter().map(columns).collect()
    }
}

/// Appends events of everyone in their order.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    events: &[&EventColumns],
) -> Result<(), sqlx::Error> {
    let everyone = UserId::EVERYONE;
    for (sql, part) in INSERTS.parts(events) {
        let mut query = sqlx::query(sql);
        for event in part {
            query = query
                .bind(everyone.as_bytes().as_slice())
                .bind(i64::from(Bucket::of(&everyone).get()))
                .bind(event.kind.as_str())
                .bind(event.body.as_str());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
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
    let kind: &str = columns.next()?;
    Some(Event {
        position,
        user_id,
        bucket: Bucket::of(&user_id),
        body: read_body(kind, columns.next()?),
    })
}

/// The errors of the parser are left out, because they quote what they stumble over.
fn read_body(kind: &str, body: &str) -> EventBody {
    let reason = match serde_json::from_str::<EventBody>(body) {
        Ok(body) if body.kind() == kind => return body,
        Ok(_other) => "it is of another kind than is noted for it",
        Err(failure) if failure.is_data() => "this program does not know its kind or form",
        Err(_failure) => "it is not JSON: the file is damaged",
    };
    EventBody::Unreadable {
        kind: kind.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plans::check;

    #[tokio::test]
    async fn statements_read_by_their_indexes() {
        check(READ_SQL, &["PRIMARY KEY (rowid>?)"]).await;
        check(COUNT_SQL, &["SEARCH events", "SEARCH events"]).await;
    }
}
