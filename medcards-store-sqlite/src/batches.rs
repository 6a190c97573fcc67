use async_trait::async_trait;
use medcards_core::feedback::FeedbackKey;
use medcards_core::precompute::{
    BatchClaim, BatchEnd, BatchHold, BatchIntent, BatchOpening, BatchRecord, BatchStore,
    KEYS_PER_LOOK_MAX, KeyOutcome, KeyStanding,
};
use medcards_core::spend::MicroDollars;
use medcards_core::{BatchId, Error, ErrorKind, ReservationId, Result, Timestamp};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::column::{Columns, micros, saturated};
use crate::error::{self, Failure};
use crate::writer::Write;

const OPEN: &str = "open batch";
const FIND: &str = "find batch";
const KEYS: &str = "find keys of batch";
const LIST: &str = "list open batches";
const FIND_NAMED: &str = "find batch by name";
const CLAIM: &str = "claim batch";
const NAME: &str = "name batch";
const CLOSE: &str = "close batch";
const STANDINGS: &str = "look at keys";

const FIND_SQL: &str = "
SELECT id, model, len, reservation, day, amount, opened_at, attempt, claimed_at, name, closed_at,
       cost, written
FROM precompute_batches WHERE id = ?";

const LIST_SQL: &str = "
SELECT id, model, len, reservation, day, amount, opened_at, attempt, claimed_at, name, closed_at,
       cost, written
FROM precompute_batches WHERE closed_at IS NULL ORDER BY position LIMIT ?";

const FIND_NAMED_SQL: &str = "SELECT id FROM precompute_batches WHERE name = ? LIMIT 1";

const KEYS_SQL: &str = "SELECT key FROM precompute_keys WHERE batch_id = ? ORDER BY place";

/// The keys come as a JSON list, whose places are theirs.
const TAKEN_SQL: &str = "
SELECT value FROM json_each(?) AS wanted
WHERE EXISTS (SELECT 1 FROM precompute_keys WHERE key = wanted.value AND outcome IS NULL)
ORDER BY wanted.key";

const INSERT_SQL: &str = "
INSERT INTO precompute_batches (id, model, len, reservation, day, amount, opened_at, attempt)
VALUES (?, ?, ?, ?, ?, ?, ?, 0)";

const INSERT_KEYS_SQL: &str = "
INSERT INTO precompute_keys (batch_id, place, key) SELECT ?1, key, value FROM json_each(?2)";

const CLAIM_SQL: &str = "
UPDATE precompute_batches SET attempt = attempt + 1, claimed_at = ?3
WHERE id = ?1 AND attempt = ?2 AND name IS NULL AND closed_at IS NULL";

const NAME_SQL: &str = "
UPDATE precompute_batches SET name = ?3
WHERE id = ?1 AND attempt = ?2 AND (name IS NULL OR name = ?3) AND closed_at IS NULL";

const CLOSE_SQL: &str = "
UPDATE precompute_batches SET closed_at = ?2, cost = ?3, written = ?4 WHERE id = ?1";

const CLOSE_KEYS_SQL: &str = "
UPDATE precompute_keys SET outcome = came.value FROM json_each(?2) AS came
WHERE batch_id = ?1 AND place = came.key";

const STANDINGS_SQL: &str = "
SELECT EXISTS (SELECT 1 FROM precompute_keys WHERE key = wanted.value AND outcome IS NULL),
       (SELECT count(*) FROM precompute_keys WHERE key = wanted.value AND outcome = 'rejected')
FROM json_each(?) AS wanted ORDER BY wanted.key";

#[async_trait]
impl BatchStore for SqliteStore {
    async fn open_batch(&self, intent: &BatchIntent) -> Result<BatchOpening> {
        intent.check()?;
        let intent = intent.clone();
        self.writes().write(Open { intent }).await
    }

    async fn find_batch(&self, batch: BatchId) -> Result<Option<BatchRecord>> {
        let row = sqlx::query(FIND_SQL)
            .bind(batch.as_bytes().as_slice())
            .fetch_optional(self.readers())
            .await
            .map_err(|source| error::storage(FIND, source))?;
        let record = row.map(|row| read(&row).ok_or_else(|| error::corrupt(FIND, "batch")));
        record.transpose()
    }

    async fn batch_keys(&self, batch: BatchId) -> Result<Vec<FeedbackKey>> {
        let rows = sqlx::query(KEYS_SQL)
            .bind(batch.as_bytes().as_slice())
            .fetch_all(self.readers())
            .await
            .map_err(|source| error::storage(KEYS, source))?;
        read_keys(&rows).ok_or_else(|| error::corrupt(KEYS, "feedback key"))
    }

    async fn list_open_batches(&self, limit: usize) -> Result<Vec<BatchRecord>> {
        let rows = sqlx::query(LIST_SQL)
            .bind(saturated(limit as u64))
            .fetch_all(self.readers())
            .await
            .map_err(|source| error::storage(LIST, source))?;
        let records: Option<Vec<_>> = rows.iter().map(read).collect();
        records.ok_or_else(|| error::corrupt(LIST, "batch"))
    }

    async fn find_batch_named(&self, name: &str) -> Result<Option<BatchId>> {
        let row = sqlx::query(FIND_NAMED_SQL)
            .bind(name)
            .fetch_optional(self.readers())
            .await
            .map_err(|source| error::storage(FIND_NAMED, source))?;
        let id = row.map(|row| {
            let id = Columns::of(&row).id().map(BatchId::from_bytes);
            id.ok_or_else(|| error::corrupt(FIND_NAMED, "batch"))
        });
        id.transpose()
    }

    async fn claim_batch(&self, batch: BatchId, seen: u32, now: Timestamp) -> Result<BatchClaim> {
        self.writes().write(Claim { batch, seen, now }).await
    }

    async fn name_batch(&self, batch: BatchId, attempt: u32, name: &str) -> Result<BatchHold> {
        let name = name.to_owned();
        let write = Name {
            batch,
            attempt,
            name,
        };
        self.writes().write(write).await
    }

    async fn close_batch(
        &self,
        batch: BatchId,
        attempt: u32,
        end: &BatchEnd,
        outcomes: &[KeyOutcome],
    ) -> Result<BatchHold> {
        let write = Close {
            batch,
            attempt,
            end: *end,
            outcomes: outcomes.to_vec(),
        };
        self.writes().write(write).await
    }

    async fn key_standings(&self, keys: &[FeedbackKey]) -> Result<Vec<KeyStanding>> {
        if keys.len() > KEYS_PER_LOOK_MAX {
            let context = "too many keys at once: ask about fewer";
            return Err(Error::new(ErrorKind::Invalid, STANDINGS, context));
        }
        let rows = sqlx::query(STANDINGS_SQL)
            .bind(json(keys.iter().map(ToString::to_string)))
            .fetch_all(self.readers())
            .await
            .map_err(|source| error::storage(STANDINGS, source))?;
        let read = |row: &SqliteRow| {
            let mut columns = Columns::of(row);
            Some(KeyStanding {
                is_open: columns.next()?,
                rejections: columns.number()?,
            })
        };
        let standings: Option<Vec<_>> = rows.iter().map(read).collect();
        standings.ok_or_else(|| error::corrupt(STANDINGS, "batch"))
    }
}

struct Open {
    intent: BatchIntent,
}

#[async_trait]
impl Write for Open {
    type Output = BatchOpening;

    const OPERATION: &'static str = OPEN;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<BatchOpening, Failure> {
        let intent = &self.intent;
        if find(connection, intent.id).await?.is_some() {
            return Ok(BatchOpening::Opened);
        }
        let keys = json(intent.keys.iter().map(ToString::to_string));
        let taken = sqlx::query(TAKEN_SQL)
            .bind(keys.as_str())
            .fetch_all(&mut *connection)
            .await?;
        if !taken.is_empty() {
            let taken = read_keys(&taken).ok_or_else(|| error::unreadable("feedback key"))?;
            return Ok(BatchOpening::Taken(taken));
        }
        sqlx::query(INSERT_SQL)
            .bind(intent.id.as_bytes().as_slice())
            .bind(intent.model.as_str())
            .bind(saturated(intent.keys.len() as u64))
            .bind(intent.reservation.as_bytes().as_slice())
            .bind(intent.day.to_string())
            .bind(saturated(intent.amount.get()))
            .bind(micros(intent.opened_at))
            .execute(&mut *connection)
            .await?;
        sqlx::query(INSERT_KEYS_SQL)
            .bind(intent.id.as_bytes().as_slice())
            .bind(keys)
            .execute(connection)
            .await?;
        Ok(BatchOpening::Opened)
    }
}

struct Claim {
    batch: BatchId,
    seen: u32,
    now: Timestamp,
}

#[async_trait]
impl Write for Claim {
    type Output = BatchClaim;

    const OPERATION: &'static str = CLAIM;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<BatchClaim, Failure> {
        must_find(CLAIM, connection, self.batch).await?;
        let claimed = sqlx::query(CLAIM_SQL)
            .bind(self.batch.as_bytes().as_slice())
            .bind(i64::from(self.seen))
            .bind(micros(self.now))
            .execute(connection)
            .await?;
        Ok(match claimed.rows_affected() {
            0 => BatchClaim::Lost,
            _ => BatchClaim::Claimed(self.seen.saturating_add(1)),
        })
    }
}

struct Name {
    batch: BatchId,
    attempt: u32,
    name: String,
}

#[async_trait]
impl Write for Name {
    type Output = BatchHold;

    const OPERATION: &'static str = NAME;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<BatchHold, Failure> {
        must_find(NAME, connection, self.batch).await?;
        let named = sqlx::query(NAME_SQL)
            .bind(self.batch.as_bytes().as_slice())
            .bind(i64::from(self.attempt))
            .bind(self.name.as_str())
            .execute(connection)
            .await?;
        Ok(match named.rows_affected() {
            0 => BatchHold::Lost,
            _ => BatchHold::Held,
        })
    }
}

struct Close {
    batch: BatchId,
    attempt: u32,
    end: BatchEnd,
    outcomes: Vec<KeyOutcome>,
}

#[async_trait]
impl Write for Close {
    type Output = BatchHold;

    const OPERATION: &'static str = CLOSE;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<BatchHold, Failure> {
        let record = must_find(CLOSE, connection, self.batch).await?;
        if record.len != self.outcomes.len() as u64 {
            let error = Error::new(ErrorKind::Invalid, CLOSE, "each key has one outcome");
            return Err(Failure::Refused(error));
        }
        if record.attempt != self.attempt {
            return Ok(BatchHold::Lost);
        }
        if record.end.is_some() {
            return Ok(BatchHold::Held);
        }
        sqlx::query(CLOSE_SQL)
            .bind(self.batch.as_bytes().as_slice())
            .bind(micros(self.end.closed_at))
            .bind(saturated(self.end.cost.get()))
            .bind(saturated(self.end.written))
            .execute(&mut *connection)
            .await?;
        sqlx::query(CLOSE_KEYS_SQL)
            .bind(self.batch.as_bytes().as_slice())
            .bind(json(self.outcomes.iter().map(|outcome| outcome.as_str())))
            .execute(connection)
            .await?;
        Ok(BatchHold::Held)
    }
}

async fn find(
    connection: &mut SqliteConnection,
    batch: BatchId,
) -> Result<Option<BatchRecord>, Failure> {
    let row = sqlx::query(FIND_SQL)
        .bind(batch.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    row.map(|row| read(&row).ok_or_else(|| error::unreadable("batch")))
        .transpose()
}

async fn must_find(
    operation: &'static str,
    connection: &mut SqliteConnection,
    batch: BatchId,
) -> Result<BatchRecord, Failure> {
    find(connection, batch).await?.ok_or_else(|| {
        let error = Error::new(ErrorKind::NotFound, operation, "no batch has this id");
        Failure::Refused(error)
    })
}

/// A JSON list of texts.
fn json(texts: impl Iterator<Item = impl Into<String>>) -> String {
    let texts = texts.map(|text| serde_json::Value::String(text.into()));
    serde_json::Value::Array(texts.collect()).to_string()
}

fn read_keys(rows: &[SqliteRow]) -> Option<Vec<FeedbackKey>> {
    let read = |row: &SqliteRow| Columns::of(row).next::<&str>()?.parse().ok();
    rows.iter().map(read).collect()
}

fn read(row: &SqliteRow) -> Option<BatchRecord> {
    let mut columns = Columns::of(row);
    Some(BatchRecord {
        id: BatchId::from_bytes(columns.id()?),
        model: columns.next::<&str>()?.parse().ok()?,
        len: columns.number()?,
        reservation: ReservationId::from_bytes(columns.id()?),
        day: columns.next::<&str>()?.parse().ok()?,
        amount: MicroDollars::new(columns.number()?),
        opened_at: columns.instant()?,
        attempt: columns.number()?,
        claimed_at: columns.optional_instant()?,
        name: columns.next::<Option<String>>()?,
        end: match columns.optional_instant()? {
            None => None,
            Some(closed_at) => Some(BatchEnd {
                closed_at,
                cost: MicroDollars::new(columns.number()?),
                written: columns.number()?,
            }),
        },
    })
}
