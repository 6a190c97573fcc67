use async_trait::async_trait;
use medcards_core::feedback::FeedbackKey;
use medcards_core::precompute::{
    BatchClaim, BatchEnd, BatchHold, BatchIntent, BatchOpening, BatchRecord, BatchStore,
    KEYS_PER_LOOK_MAX, KeyOutcome, KeyStanding,
};
use medcards_core::spend::MicroDollars;
use medcards_core::{BatchId, Error, ErrorKind, ReservationId, Result, Timestamp};
use sqlx::postgres::PgRow;

use crate::PgStore;
use crate::column::{Columns, day, instant, saturated};
use crate::error::{self, Failure};
use crate::node::{Transaction, transact};

const OPEN: &str = "open batch";
const FIND: &str = "find batch";
const KEYS: &str = "find keys of batch";
const LIST: &str = "list open batches";
const FIND_NAMED: &str = "find batch by name";
const CLAIM: &str = "claim batch";
const NAME: &str = "name batch";
const CLOSE: &str = "close batch";
const STANDINGS: &str = "look at keys";

/// How often a batch is opened again after another took one of its keys in the same moment. The
/// second look sees what was taken.
const OPENINGS_MAX: u32 = 3;

const FIND_SQL: &str = "
SELECT id, model, len, reservation, day, amount, opened_at, attempt, claimed_at, name, closed_at,
       cost, written
FROM precompute_batches WHERE id = $1";

/// Locked, so that what is decided of it holds.
const FIND_TO_CHANGE_SQL: &str = "
SELECT id, model, len, reservation, day, amount, opened_at, attempt, claimed_at, name, closed_at,
       cost, written
FROM precompute_batches WHERE id = $1 FOR UPDATE";

const LIST_SQL: &str = "
SELECT id, model, len, reservation, day, amount, opened_at, attempt, claimed_at, name, closed_at,
       cost, written
FROM precompute_batches WHERE closed_at IS NULL ORDER BY position LIMIT $1";

const FIND_NAMED_SQL: &str = "SELECT id FROM precompute_batches WHERE name = $1 LIMIT 1";

const KEYS_SQL: &str = "SELECT key FROM precompute_keys WHERE batch_id = $1 ORDER BY place";

const TAKEN_SQL: &str = "
SELECT wanted.key FROM unnest($1::text[]) WITH ORDINALITY AS wanted (key, place)
WHERE EXISTS (SELECT 1 FROM precompute_keys WHERE key = wanted.key AND outcome IS NULL)
ORDER BY wanted.place";

const INSERT_SQL: &str = "
INSERT INTO precompute_batches (id, model, len, reservation, day, amount, opened_at, attempt)
VALUES ($1, $2, $3, $4, $5, $6, $7, 0)
ON CONFLICT (id) DO NOTHING RETURNING 1";

/// In the order of the keys, so that of two who want the same ones neither waits for the other while
/// it holds what the other waits for.
const INSERT_KEYS_SQL: &str = "
INSERT INTO precompute_keys (batch_id, place, key)
SELECT $1, place - 1, key FROM unnest($2::text[]) WITH ORDINALITY AS given (key, place)
ORDER BY key";

const CLAIM_SQL: &str =
    "UPDATE precompute_batches SET attempt = attempt + 1, claimed_at = $2 WHERE id = $1";

const NAME_SQL: &str = "UPDATE precompute_batches SET name = $2 WHERE id = $1";

const CLOSE_SQL: &str = "
UPDATE precompute_batches SET closed_at = $2, cost = $3, written = $4 WHERE id = $1";

const CLOSE_KEYS_SQL: &str = "
UPDATE precompute_keys SET outcome = came.outcome
FROM unnest($2::text[]) WITH ORDINALITY AS came (outcome, place)
WHERE batch_id = $1 AND precompute_keys.place = came.place - 1";

const STANDINGS_SQL: &str = "
SELECT EXISTS (SELECT 1 FROM precompute_keys WHERE key = wanted.key AND outcome IS NULL),
       (SELECT count(*) FROM precompute_keys WHERE key = wanted.key AND outcome = 'rejected')
FROM unnest($1::text[]) WITH ORDINALITY AS wanted (key, place) ORDER BY wanted.place";

#[async_trait]
impl BatchStore for PgStore {
    async fn open_batch(&self, intent: &BatchIntent) -> Result<BatchOpening> {
        intent.check()?;
        let mut tried = 0;
        loop {
            tried += 1;
            match self.try_open(intent).await {
                Err(failure) if failure.is_of_duplicate() && tried < OPENINGS_MAX => {}
                opened => return opened.map_err(|failure| failure.during(OPEN)),
            }
        }
    }

    async fn find_batch(&self, batch: BatchId) -> Result<Option<BatchRecord>> {
        let find = || sqlx::query(FIND_SQL).bind(*batch.as_uuid());
        let rows = self.on_primary(FIND, find).await?;
        let record = rows
            .first()
            .map(|row| read(row).ok_or_else(|| error::corrupt(FIND, "batch")));
        record.transpose()
    }

    async fn batch_keys(&self, batch: BatchId) -> Result<Vec<FeedbackKey>> {
        let find = || sqlx::query(KEYS_SQL).bind(*batch.as_uuid());
        let rows = self.on_primary(KEYS, find).await?;
        read_keys(&rows).ok_or_else(|| error::corrupt(KEYS, "feedback key"))
    }

    async fn list_open_batches(&self, limit: usize) -> Result<Vec<BatchRecord>> {
        let list = || sqlx::query(LIST_SQL).bind(saturated(limit as u64));
        let rows = self.on_primary(LIST, list).await?;
        let records: Option<Vec<_>> = rows.iter().map(read).collect();
        records.ok_or_else(|| error::corrupt(LIST, "batch"))
    }

    async fn find_batch_named(&self, name: &str) -> Result<Option<BatchId>> {
        let find = || sqlx::query(FIND_NAMED_SQL).bind(name.to_owned());
        let rows = self.on_primary(FIND_NAMED, find).await?;
        let id = rows.first().map(|row| {
            let id = Columns::of(row).id().map(BatchId::from_uuid);
            id.ok_or_else(|| error::corrupt(FIND_NAMED, "batch"))
        });
        id.transpose()
    }

    async fn claim_batch(&self, batch: BatchId, seen: u32, now: Timestamp) -> Result<BatchClaim> {
        let claimed: Result<_, Failure> = transact!(self.primary(), |transaction| {
            let record = find_to_change(CLAIM, &mut transaction, batch).await?;
            if record.attempt != seen || record.name.is_some() || record.end.is_some() {
                return Ok(BatchClaim::Lost);
            }
            let claim = sqlx::query(CLAIM_SQL)
                .bind(*batch.as_uuid())
                .bind(instant(now));
            transaction.execute(claim).await?;
            Ok(BatchClaim::Claimed(seen.saturating_add(1)))
        });
        claimed.map_err(|failure| failure.during(CLAIM))
    }

    async fn name_batch(&self, batch: BatchId, attempt: u32, name: &str) -> Result<BatchHold> {
        let named: Result<_, Failure> = transact!(self.primary(), |transaction| {
            let record = find_to_change(NAME, &mut transaction, batch).await?;
            let is_other = record.name.as_ref().is_some_and(|known| known != name);
            if record.attempt != attempt || is_other || record.end.is_some() {
                return Ok(BatchHold::Lost);
            }
            let update = sqlx::query(NAME_SQL)
                .bind(*batch.as_uuid())
                .bind(name.to_owned());
            transaction.execute(update).await?;
            Ok(BatchHold::Held)
        });
        named.map_err(|failure| failure.during(NAME))
    }

    async fn close_batch(
        &self,
        batch: BatchId,
        attempt: u32,
        end: &BatchEnd,
        outcomes: &[KeyOutcome],
    ) -> Result<BatchHold> {
        let closed: Result<_, Failure> = transact!(self.primary(), |transaction| {
            let record = find_to_change(CLOSE, &mut transaction, batch).await?;
            if record.len != outcomes.len() as u64 {
                let context = "each key has one outcome";
                return Err(Error::new(ErrorKind::Invalid, CLOSE, context).into());
            }
            if record.attempt != attempt {
                return Ok(BatchHold::Lost);
            }
            if record.end.is_some() {
                return Ok(BatchHold::Held);
            }
            let close = sqlx::query(CLOSE_SQL)
                .bind(*batch.as_uuid())
                .bind(instant(end.closed_at))
                .bind(saturated(end.cost.get()))
                .bind(saturated(end.written));
            transaction.execute(close).await?;
            let outcomes: Vec<_> = outcomes.iter().map(|one| one.as_str().to_owned()).collect();
            let close_keys = sqlx::query(CLOSE_KEYS_SQL)
                .bind(*batch.as_uuid())
                .bind(outcomes);
            transaction.execute(close_keys).await?;
            Ok(BatchHold::Held)
        });
        closed.map_err(|failure| failure.during(CLOSE))
    }

    async fn key_standings(&self, keys: &[FeedbackKey]) -> Result<Vec<KeyStanding>> {
        if keys.len() > KEYS_PER_LOOK_MAX {
            let context = "too many keys at once: ask about fewer";
            return Err(Error::new(ErrorKind::Invalid, STANDINGS, context));
        }
        let look = || sqlx::query(STANDINGS_SQL).bind(texts(keys));
        let rows = self.on_primary(STANDINGS, look).await?;
        let read = |row: &PgRow| {
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

impl PgStore {
    async fn try_open(&self, intent: &BatchIntent) -> Result<BatchOpening, Failure> {
        transact!(self.primary(), |transaction| {
            let find = sqlx::query(FIND_SQL).bind(*intent.id.as_uuid());
            if transaction.fetch_optional(find).await?.is_some() {
                return Ok(BatchOpening::Opened);
            }
            let taken = sqlx::query(TAKEN_SQL).bind(texts(&intent.keys));
            let taken = transaction.fetch(taken).await?;
            if !taken.is_empty() {
                let taken = read_keys(&taken).ok_or(Failure::Unreadable("feedback key"))?;
                return Ok(BatchOpening::Taken(taken));
            }
            let insert = sqlx::query(INSERT_SQL)
                .bind(*intent.id.as_uuid())
                .bind(intent.model.as_str().to_owned())
                .bind(saturated(intent.keys.len() as u64))
                .bind(*intent.reservation.as_uuid())
                .bind(day(intent.day))
                .bind(saturated(intent.amount.get()))
                .bind(instant(intent.opened_at));
            if transaction.fetch_optional(insert).await?.is_none() {
                return Ok(BatchOpening::Opened);
            }
            let insert_keys = sqlx::query(INSERT_KEYS_SQL)
                .bind(*intent.id.as_uuid())
                .bind(texts(&intent.keys));
            transaction.execute(insert_keys).await?;
            Ok(BatchOpening::Opened)
        })
    }
}

async fn find_to_change(
    operation: &'static str,
    transaction: &mut Transaction<'_>,
    batch: BatchId,
) -> Result<BatchRecord, Failure> {
    let find = sqlx::query(FIND_TO_CHANGE_SQL).bind(*batch.as_uuid());
    let row = transaction.fetch_optional(find).await?;
    let row =
        row.ok_or_else(|| Error::new(ErrorKind::NotFound, operation, "no batch has this id"))?;
    read(&row).ok_or(Failure::Unreadable("batch"))
}

fn texts(keys: &[FeedbackKey]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

fn read_keys(rows: &[PgRow]) -> Option<Vec<FeedbackKey>> {
    let read = |row: &PgRow| Columns::of(row).next::<&str>()?.parse().ok();
    rows.iter().map(read).collect()
}

fn read(row: &PgRow) -> Option<BatchRecord> {
    let mut columns = Columns::of(row);
    Some(BatchRecord {
        id: BatchId::from_uuid(columns.id()?),
        model: columns.next::<&str>()?.parse().ok()?,
        len: columns.number()?,
        reservation: ReservationId::from_uuid(columns.id()?),
        day: columns.day()?,
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
