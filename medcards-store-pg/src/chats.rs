use async_trait::async_trait;
use medcards_core::chat::{
    ChatStore, ChatSummary, ChatTurn, TURNS_PER_CHAT_MAX, TurnOrigin, TurnReply, TurnStart,
};
use medcards_core::spend::MicroDollars;
use medcards_core::store::{ListId, Page, PageCursor, PageLimit};
use medcards_core::{AnswerId, Error, ErrorKind, Result, Timestamp, TurnId, UserId};
use sqlx::postgres::PgRow;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::PgStore;
use crate::answers::bucket;
use crate::column::{Columns, as_stored, instant, saturated};
use crate::error::{self, Failure};
use crate::node::{Transaction, transact};
use crate::session::Statement;
use crate::writer::not_owned;

const BEGIN: &str = "begin turn";
const END: &str = "end turn";
const FIND: &str = "find turn";
const LIST: &str = "list turns";
const FIND_SUMMARY: &str = "find summary";
const PUT_SUMMARY: &str = "put summary";
const FORGET: &str = "forget chat";

/// Keeps the locks of chats apart from others that hash a user.
const LOCK_SEED: u64 = u64::from_be_bytes(*b"mdcdchat");

const FIND_SQL: &str = "
SELECT user_id, id, answer_id, question, started_at, attempt, reply, origin, model, cost, replied_at
FROM chat_turns WHERE user_id = $1 AND id = $2";

/// Locked, so that nobody ends the attempt while it is given up on.
const FIND_TO_BEGIN_SQL: &str = "
SELECT user_id, id, answer_id, question, started_at, attempt, reply, origin, model, cost, replied_at
FROM chat_turns WHERE user_id = $1 AND id = $2 FOR UPDATE";

/// Begins a turn if its bucket is owned and its chat has room; says whether each was so.
const INSERT_SQL: &str = "
WITH owned AS (
    SELECT bucket FROM owned_buckets WHERE bucket = $3
), fresh AS (
    INSERT INTO chat_turns (user_id, id, bucket, answer_id, question, started_at, attempt)
    SELECT $1, $2, bucket, $4, $5, $6, 1 FROM owned
    WHERE (SELECT count(*) FROM chat_turns WHERE user_id = $1 AND answer_id = $4) < $7
    RETURNING 1
)
SELECT EXISTS (SELECT FROM owned), EXISTS (SELECT FROM fresh)";

const BEGIN_AGAIN_SQL: &str = "
UPDATE chat_turns SET attempt = $4, started_at = $5
WHERE user_id = $1 AND id = $2 AND EXISTS (SELECT FROM owned_buckets WHERE bucket = $3)
RETURNING 1";

/// Writes a reply down if its attempt is still the last one; says whether the bucket is owned,
/// whether there is such a turn, and whether the reply counts.
const END_SQL: &str = "
WITH owned AS (
    SELECT bucket FROM owned_buckets WHERE bucket = $3
), ended AS (
    UPDATE chat_turns SET reply = $5, origin = $6, model = $7, cost = $8, replied_at = $9
    WHERE user_id = $1 AND id = $2 AND attempt = $4 AND reply IS NULL
      AND EXISTS (SELECT FROM owned)
    RETURNING 1
)
SELECT EXISTS (SELECT FROM owned),
       EXISTS (SELECT FROM chat_turns WHERE user_id = $1 AND id = $2),
       EXISTS (SELECT FROM ended)";

const LIST_SQL: &str = "
SELECT user_id, id, answer_id, question, started_at, attempt, reply, origin, model, cost, replied_at
FROM chat_turns WHERE user_id = $1 AND answer_id = $2
ORDER BY id DESC LIMIT $3";

const LIST_AFTER_SQL: &str = "
SELECT user_id, id, answer_id, question, started_at, attempt, reply, origin, model, cost, replied_at
FROM chat_turns WHERE user_id = $1 AND answer_id = $2 AND id < $4
ORDER BY id DESC LIMIT $3";

const FIND_SUMMARY_SQL: &str = "
SELECT user_id, answer_id, through, text FROM chat_summaries
WHERE user_id = $1 AND answer_id = $2";

/// Keeps a summary, unless one tells of as much or more; says whether the bucket is owned, and
/// whether the chat has the turn. That turn is locked, so that forgetting the chat waits, and then
/// finds the summary too.
const PUT_SUMMARY_SQL: &str = "
WITH owned AS (
    SELECT bucket FROM owned_buckets WHERE bucket = $3
), turn AS MATERIALIZED (
    SELECT id FROM chat_turns WHERE user_id = $1 AND id = $4 AND answer_id = $2 FOR KEY SHARE
), put AS (
    INSERT INTO chat_summaries AS kept (user_id, answer_id, bucket, through, text)
    SELECT $1, $2, bucket, id, $5 FROM owned, turn
    ON CONFLICT (user_id, answer_id) DO UPDATE
    SET through = excluded.through, text = excluded.text
    WHERE excluded.through > kept.through
)
SELECT EXISTS (SELECT FROM owned), EXISTS (SELECT FROM turn)";

/// Says whether the bucket is owned, and how many turns the chat had.
const FORGET_TURNS_SQL: &str = "
WITH owned AS (
    SELECT bucket FROM owned_buckets WHERE bucket = $3
), forgotten AS (
    DELETE FROM chat_turns
    WHERE user_id = $1 AND answer_id = $2 AND EXISTS (SELECT FROM owned)
    RETURNING 1
)
SELECT EXISTS (SELECT FROM owned), (SELECT count(*) FROM forgotten)";

const FORGET_SUMMARY_SQL: &str = "DELETE FROM chat_summaries WHERE user_id = $1 AND answer_id = $2";

#[async_trait]
impl ChatStore for PgStore {
    async fn begin_turn(&self, turn: &ChatTurn, broken_before: Timestamp) -> Result<TurnStart> {
        turn.check_words()?;
        let turn = &ChatTurn {
            started_at: as_stored(turn.started_at),
            attempt: 1,
            reply: None,
            ..turn.clone()
        };
        let broken_before = as_stored(broken_before);
        let begun: Result<_, Failure> = transact!(self.primary(), |transaction| {
            // Two that begin at once would each count without the other.
            transaction.execute(lock_chats(turn.user_id)).await?;
            let find = sqlx::query(FIND_TO_BEGIN_SQL)
                .bind(*turn.user_id.as_uuid())
                .bind(*turn.id.as_uuid());
            match transaction.fetch_optional(find).await? {
                Some(row) => {
                    let known = read_turn(&row).ok_or(Failure::Unreadable("turn"))?;
                    begin_again(&mut transaction, turn, known, broken_before).await
                }
                None => begin_anew(&mut transaction, turn).await,
            }
        });
        begun.map_err(|failure| failure.during(BEGIN))
    }

    // In a transaction, whose statement is not sent twice: the second would find the reply of the
    // first, and say that it does not count.
    async fn end_turn(
        &self,
        user_id: UserId,
        turn_id: TurnId,
        attempt: u32,
        reply: &TurnReply,
    ) -> Result<bool> {
        reply.check_words()?;
        let model = reply.model.as_ref().map(|model| model.as_str().to_owned());
        let ended: Result<_, Failure> = transact!(self.primary(), |transaction| {
            let end = sqlx::query(END_SQL)
                .bind(*user_id.as_uuid())
                .bind(*turn_id.as_uuid())
                .bind(bucket(user_id))
                .bind(i64::from(attempt))
                .bind(reply.text.clone())
                .bind(reply.origin.as_str())
                .bind(model.clone())
                .bind(saturated(reply.cost.get()))
                .bind(instant(reply.replied_at));
            match flags::<3>(&transaction.fetch(end).await?)? {
                [false, ..] => Err(not_owned(END).into()),
                [true, false, _] => Err(forgotten(END).into()),
                [true, true, counts] => Ok(counts),
            }
        });
        ended.map_err(|failure| failure.during(END))
    }

    async fn find_turn(&self, user_id: UserId, turn_id: TurnId) -> Result<Option<ChatTurn>> {
        let find = || {
            sqlx::query(FIND_SQL)
                .bind(*user_id.as_uuid())
                .bind(*turn_id.as_uuid())
        };
        let rows = self.on_primary(FIND, find).await?;
        rows.first()
            .map(|row| read_turn(row).ok_or_else(|| error::corrupt(FIND, "turn")))
            .transpose()
    }

    async fn list_turns(
        &self,
        user_id: UserId,
        answer_id: AnswerId,
        after: Option<&PageCursor>,
        limit: PageLimit,
    ) -> Result<Page<ChatTurn>> {
        let list = ListId::new("t1", &format!("{user_id} {answer_id}"));
        let after = after.map(|cursor| list.single::<TurnId>(cursor));
        let after = after.transpose()?;
        let rows = self.on_primary(LIST, || {
            let query = sqlx::query(after.map_or(LIST_SQL, |_| LIST_AFTER_SQL))
                .bind(*user_id.as_uuid())
                .bind(*answer_id.as_uuid())
                .bind(limit.get() as i64 + 1);
            match after {
                Some(id) => query.bind(*id.as_uuid()),
                None => query,
            }
        });
        let rows = rows.await?;
        let turns: Option<Vec<_>> = rows.iter().take(limit.get()).map(read_turn).collect();
        let items = turns.ok_or_else(|| error::corrupt(LIST, "turn"))?;
        let last = items.last().filter(|_| rows.len() > limit.get());
        let next = last.map(|last| list.cursor(last.id)).transpose()?;
        Ok(Page { items, next })
    }

    async fn find_summary(
        &self,
        user_id: UserId,
        answer_id: AnswerId,
    ) -> Result<Option<ChatSummary>> {
        let find = || {
            sqlx::query(FIND_SUMMARY_SQL)
                .bind(*user_id.as_uuid())
                .bind(*answer_id.as_uuid())
        };
        let rows = self.on_primary(FIND_SUMMARY, find).await?;
        rows.first()
            .map(|row| read_summary(row).ok_or_else(|| error::corrupt(FIND_SUMMARY, "summary")))
            .transpose()
    }

    async fn put_summary(&self, summary: &ChatSummary) -> Result<()> {
        summary.check_words()?;
        let rows = self.on_primary(PUT_SUMMARY, || {
            sqlx::query(PUT_SUMMARY_SQL)
                .bind(*summary.user_id.as_uuid())
                .bind(*summary.answer_id.as_uuid())
                .bind(bucket(summary.user_id))
                .bind(*summary.through.as_uuid())
                .bind(summary.text.clone())
        });
        let said = flags(&rows.await?).map_err(|failure| failure.during(PUT_SUMMARY));
        match said? {
            [false, _] => Err(not_owned(PUT_SUMMARY)),
            [true, false] => Err(forgotten(PUT_SUMMARY)),
            [true, true] => Ok(()),
        }
    }

    async fn forget_chat(&self, user_id: UserId, answer_id: AnswerId) -> Result<u64> {
        let forgotten: Result<_, Failure> = transact!(self.primary(), |transaction| {
            let turns = sqlx::query(FORGET_TURNS_SQL)
                .bind(*user_id.as_uuid())
                .bind(*answer_id.as_uuid())
                .bind(bucket(user_id));
            let rows = transaction.fetch(turns).await?;
            let mut columns = rows.first().map(Columns::of);
            let is_owned = columns.as_mut().and_then(Columns::next::<bool>);
            let count = columns.as_mut().and_then(Columns::number::<u64>);
            match (is_owned, count) {
                (Some(true), Some(count)) => {
                    // After the turns, so that it also finds what was put while they were waited for.
                    let summary = sqlx::query(FORGET_SUMMARY_SQL)
                        .bind(*user_id.as_uuid())
                        .bind(*answer_id.as_uuid());
                    transaction.execute(summary).await?;
                    Ok(count)
                }
                (Some(false), _) => Err(not_owned(FORGET).into()),
                _ => Err(Failure::Unreadable("count")),
            }
        });
        forgotten.map_err(|failure| failure.during(FORGET))
    }
}

async fn begin_again(
    transaction: &mut Transaction<'_>,
    turn: &ChatTurn,
    mut known: ChatTurn,
    broken_before: Timestamp,
) -> Result<TurnStart, Failure> {
    if known.answer_id != turn.answer_id || known.question != turn.question {
        let context = "this id is taken by another question: ask with another id";
        return Err(Error::new(ErrorKind::Conflict, BEGIN, context).into());
    }
    if known.reply.is_some() {
        return Ok(TurnStart::Replied(known));
    }
    if known.started_at >= broken_before {
        return Ok(TurnStart::UnderWay(known));
    }
    known.attempt = known.attempt.saturating_add(1);
    known.started_at = turn.started_at;
    let again = sqlx::query(BEGIN_AGAIN_SQL)
        .bind(*known.user_id.as_uuid())
        .bind(*known.id.as_uuid())
        .bind(bucket(known.user_id))
        .bind(i64::from(known.attempt))
        .bind(instant(known.started_at));
    match transaction.fetch_optional(again).await? {
        Some(_) => Ok(TurnStart::Begun(known)),
        None => Err(not_owned(BEGIN).into()),
    }
}

async fn begin_anew(
    transaction: &mut Transaction<'_>,
    turn: &ChatTurn,
) -> Result<TurnStart, Failure> {
    let insert = sqlx::query(INSERT_SQL)
        .bind(*turn.user_id.as_uuid())
        .bind(*turn.id.as_uuid())
        .bind(bucket(turn.user_id))
        .bind(*turn.answer_id.as_uuid())
        .bind(turn.question.clone())
        .bind(instant(turn.started_at))
        .bind(saturated(TURNS_PER_CHAT_MAX as u64));
    match flags(&transaction.fetch(insert).await?)? {
        [false, _] => Err(not_owned(BEGIN).into()),
        [true, false] => {
            let context = "the chat has as many turns as it may: begin another one";
            Err(Error::new(ErrorKind::Full, BEGIN, context).into())
        }
        [true, true] => Ok(TurnStart::Begun(turn.clone())),
    }
}

/// Waits until nobody else begins a turn of this user. Another user with the same hash waits too.
fn lock_chats(user_id: UserId) -> Statement {
    let hash = xxh3_64_with_seed(user_id.as_bytes(), LOCK_SEED).cast_signed();
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(hash)
}

fn forgotten(operation: &'static str) -> Error {
    let context = "the user has no such turn: its chat was forgotten";
    Error::new(ErrorKind::NotFound, operation, context)
}

/// What the one row of a statement says.
fn flags<const N: usize>(rows: &[PgRow]) -> Result<[bool; N], Failure> {
    let mut columns = rows.first().map(Columns::of);
    let mut said = [false; N];
    for flag in &mut said {
        let column = columns.as_mut().and_then(Columns::next);
        *flag = column.ok_or(Failure::Unreadable("flag"))?;
    }
    Ok(said)
}

pub(crate) fn read_turn(row: &PgRow) -> Option<ChatTurn> {
    let mut columns = Columns::of(row);
    Some(ChatTurn {
        user_id: UserId::from_uuid(columns.id()?),
        id: TurnId::from_uuid(columns.id()?),
        answer_id: AnswerId::from_uuid(columns.id()?),
        question: columns.next()?,
        started_at: columns.instant()?,
        attempt: columns.number()?,
        reply: read_reply(&mut columns)?,
    })
}

/// A reply, or `None` inside if there is none.
fn read_reply(columns: &mut Columns<'_>) -> Option<Option<TurnReply>> {
    let Some(text) = columns.next::<Option<String>>()? else {
        return Some(None);
    };
    let origin = TurnOrigin::from_name(columns.next()?)?;
    let model = match columns.next::<Option<&str>>()? {
        Some(model) => Some(model.parse().ok()?),
        None => None,
    };
    Some(Some(TurnReply {
        text,
        origin,
        model,
        cost: MicroDollars::new(columns.number()?),
        replied_at: columns.instant()?,
    }))
}

pub(crate) fn read_summary(row: &PgRow) -> Option<ChatSummary> {
    let mut columns = Columns::of(row);
    Some(ChatSummary {
        user_id: UserId::from_uuid(columns.id()?),
        answer_id: AnswerId::from_uuid(columns.id()?),
        through: TurnId::from_uuid(columns.id()?),
        text: columns.next()?,
    })
}
