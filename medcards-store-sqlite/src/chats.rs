use async_trait::async_trait;
use medcards_core::chat::{
    ChatStore, ChatSummary, ChatTurn, TURNS_PER_CHAT_MAX, TurnOrigin, TurnReply, TurnStart,
};
use medcards_core::shard::Bucket;
use medcards_core::spend::MicroDollars;
use medcards_core::store::{ListId, Page, PageCursor, PageLimit};
use medcards_core::{AnswerId, Error, ErrorKind, Result, Timestamp, TurnId, UserId};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::column::{Columns, as_stored, micros, saturated};
use crate::error::{self, Failure};
use crate::writer::Write;

const BEGIN: &str = "begin turn";
const END: &str = "end turn";
const FIND: &str = "find turn";
const LIST: &str = "list turns";
const FIND_SUMMARY: &str = "find summary";
const PUT_SUMMARY: &str = "put summary";
const FORGET: &str = "forget chat";

const FIND_SQL: &str = "
SELECT user_id, id, answer_id, question, started_at, attempt, reply, origin, model, cost, replied_at
FROM chat_turns WHERE user_id = ? AND id = ?";

const LIST_SQL: &str = "
SELECT user_id, id, answer_id, question, started_at, attempt, reply, origin, model, cost, replied_at
FROM chat_turns WHERE user_id = ? AND answer_id = ? AND id < ? ORDER BY id DESC LIMIT ?";

const COUNT_SQL: &str = "SELECT count(*) FROM chat_turns WHERE user_id = ? AND answer_id = ?";

const INSERT_SQL: &str = "
INSERT INTO chat_turns (user_id, id, bucket, answer_id, question, started_at, attempt)
VALUES (?, ?, ?, ?, ?, ?, 1)";

const BEGIN_AGAIN_SQL: &str =
    "UPDATE chat_turns SET attempt = ?, started_at = ? WHERE user_id = ? AND id = ?";

const END_SQL: &str = "
UPDATE chat_turns SET reply = ?, origin = ?, model = ?, cost = ?, replied_at = ?
WHERE user_id = ? AND id = ?";

const FIND_SUMMARY_SQL: &str = "
SELECT user_id, answer_id, through, text FROM chat_summaries WHERE user_id = ? AND answer_id = ?";

/// A summary that tells of as much, or more, stays.
const PUT_SUMMARY_SQL: &str = "
INSERT INTO chat_summaries (user_id, answer_id, bucket, through, text) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (user_id, answer_id) DO UPDATE SET through = excluded.through, text = excluded.text
WHERE excluded.through > chat_summaries.through";

const FORGET_TURNS_SQL: &str = "DELETE FROM chat_turns WHERE user_id = ? AND answer_id = ?";

const FORGET_SUMMARY_SQL: &str = "DELETE FROM chat_summaries WHERE user_id = ? AND answer_id = ?";

/// Greater than every id, because it is longer than the greatest.
const ABOVE_ALL: [u8; 17] = [u8::MAX; 17];

#[async_trait]
impl ChatStore for SqliteStore {
    async fn begin_turn(&self, turn: &ChatTurn, broken_before: Timestamp) -> Result<TurnStart> {
        turn.check_words()?;
        let turn = ChatTurn {
            started_at: as_stored(turn.started_at),
            ..turn.clone()
        };
        let begin = Begin {
            turn,
            broken_before: as_stored(broken_before),
        };
        self.writes().write(begin).await
    }

    async fn end_turn(
        &self,
        user_id: UserId,
        turn_id: TurnId,
        attempt: u32,
        reply: &TurnReply,
    ) -> Result<bool> {
        reply.check_words()?;
        let end = End {
            user_id,
            turn_id,
            attempt,
            reply: reply.clone(),
        };
        self.writes().write(end).await
    }

    async fn find_turn(&self, user_id: UserId, turn_id: TurnId) -> Result<Option<ChatTurn>> {
        let row = sqlx::query(FIND_SQL)
            .bind(user_id.as_bytes().as_slice())
            .bind(turn_id.as_bytes().as_slice())
            .fetch_optional(self.readers())
            .await
            .map_err(|source| error::storage(FIND, source))?;
        row.map(|row| read_turn(&row).ok_or_else(|| error::corrupt(FIND, "turn")))
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
        let before = match after {
            Some(cursor) => list.single::<TurnId>(cursor)?.as_bytes().to_vec(),
            None => ABOVE_ALL.to_vec(),
        };
        let rows = sqlx::query(LIST_SQL)
            .bind(user_id.as_bytes().as_slice())
            .bind(answer_id.as_bytes().as_slice())
            .bind(before)
            .bind(limit.get() as i64 + 1)
            .fetch_all(self.readers())
            .await
            .map_err(|source| error::storage(LIST, source))?;
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
        let row = sqlx::query(FIND_SUMMARY_SQL)
            .bind(user_id.as_bytes().as_slice())
            .bind(answer_id.as_bytes().as_slice())
            .fetch_optional(self.readers())
            .await
            .map_err(|source| error::storage(FIND_SUMMARY, source))?;
        row.map(|row| read_summary(&row).ok_or_else(|| error::corrupt(FIND_SUMMARY, "summary")))
            .transpose()
    }

    async fn put_summary(&self, summary: &ChatSummary) -> Result<()> {
        summary.check_words()?;
        let summary = summary.clone();
        self.writes().write(PutSummary { summary }).await
    }

    async fn forget_chat(&self, user_id: UserId, answer_id: AnswerId) -> Result<u64> {
        let forget = Forget { user_id, answer_id };
        self.writes().write(forget).await
    }
}

struct Begin {
    turn: ChatTurn,
    broken_before: Timestamp,
}

#[async_trait]
impl Write for Begin {
    type Output = TurnStart;

    const OPERATION: &'static str = BEGIN;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<TurnStart, Failure> {
        match find(connection, self.turn.user_id, self.turn.id).await? {
            Some(known) => self.begin_again(connection, known).await,
            None => self.begin_anew(connection).await,
        }
    }
}

impl Begin {
    async fn begin_again(
        &self,
        connection: &mut SqliteConnection,
        mut known: ChatTurn,
    ) -> Result<TurnStart, Failure> {
        let turn = &self.turn;
        if known.answer_id != turn.answer_id || known.question != turn.question {
            let context = "this id is taken by another question: ask with another id";
            return Err(refused(ErrorKind::Conflict, BEGIN, context));
        }
        if known.reply.is_some() {
            return Ok(TurnStart::Replied(known));
        }
        if known.started_at >= self.broken_before {
            return Ok(TurnStart::UnderWay(known));
        }
        known.attempt = known.attempt.saturating_add(1);
        known.started_at = turn.started_at;
        sqlx::query(BEGIN_AGAIN_SQL)
            .bind(i64::from(known.attempt))
            .bind(micros(known.started_at))
            .bind(known.user_id.as_bytes().as_slice())
            .bind(known.id.as_bytes().as_slice())
            .execute(connection)
            .await?;
        Ok(TurnStart::Begun(known))
    }

    async fn begin_anew(&self, connection: &mut SqliteConnection) -> Result<TurnStart, Failure> {
        let turn = &self.turn;
        let row = sqlx::query(COUNT_SQL)
            .bind(turn.user_id.as_bytes().as_slice())
            .bind(turn.answer_id.as_bytes().as_slice())
            .fetch_one(&mut *connection)
            .await?;
        let count = Columns::of(&row).number::<usize>();
        if count.ok_or_else(|| error::unreadable("count"))? >= TURNS_PER_CHAT_MAX {
            let context = "the chat has as many turns as it may: begin another one";
            return Err(refused(ErrorKind::Full, BEGIN, context));
        }
        sqlx::query(INSERT_SQL)
            .bind(turn.user_id.as_bytes().as_slice())
            .bind(turn.id.as_bytes().as_slice())
            .bind(bucket(turn.user_id))
            .bind(turn.answer_id.as_bytes().as_slice())
            .bind(turn.question.as_str())
            .bind(micros(turn.started_at))
            .execute(connection)
            .await?;
        Ok(TurnStart::Begun(ChatTurn {
            attempt: 1,
            reply: None,
            ..turn.clone()
        }))
    }
}

struct End {
    user_id: UserId,
    turn_id: TurnId,
    attempt: u32,
    reply: TurnReply,
}

#[async_trait]
impl Write for End {
    type Output = bool;

    const OPERATION: &'static str = END;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<bool, Failure> {
        let Some(turn) = find(connection, self.user_id, self.turn_id).await? else {
            let context = "the user has no such turn: its chat was forgotten";
            return Err(refused(ErrorKind::NotFound, END, context));
        };
        if turn.reply.is_some() || turn.attempt != self.attempt {
            return Ok(false);
        }
        sqlx::query(END_SQL)
            .bind(self.reply.text.as_str())
            .bind(self.reply.origin.as_str())
            .bind(self.reply.model.as_ref().map(|model| model.as_str()))
            .bind(saturated(self.reply.cost.get()))
            .bind(micros(self.reply.replied_at))
            .bind(self.user_id.as_bytes().as_slice())
            .bind(self.turn_id.as_bytes().as_slice())
            .execute(connection)
            .await?;
        Ok(true)
    }
}

struct PutSummary {
    summary: ChatSummary,
}

#[async_trait]
impl Write for PutSummary {
    type Output = ();

    const OPERATION: &'static str = PUT_SUMMARY;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<(), Failure> {
        let summary = &self.summary;
        let last = find(connection, summary.user_id, summary.through).await?;
        if last.is_none_or(|turn| turn.answer_id != summary.answer_id) {
            let context = "the chat has no such turn: it was forgotten";
            return Err(refused(ErrorKind::NotFound, PUT_SUMMARY, context));
        }
        sqlx::query(PUT_SUMMARY_SQL)
            .bind(summary.user_id.as_bytes().as_slice())
            .bind(summary.answer_id.as_bytes().as_slice())
            .bind(bucket(summary.user_id))
            .bind(summary.through.as_bytes().as_slice())
            .bind(summary.text.as_str())
            .execute(connection)
            .await?;
        Ok(())
    }
}

struct Forget {
    user_id: UserId,
    answer_id: AnswerId,
}

#[async_trait]
impl Write for Forget {
    type Output = u64;

    const OPERATION: &'static str = FORGET;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<u64, Failure> {
        let mut forgotten = 0;
        for sql in [FORGET_SUMMARY_SQL, FORGET_TURNS_SQL] {
            let done = sqlx::query(sql)
                .bind(self.user_id.as_bytes().as_slice())
                .bind(self.answer_id.as_bytes().as_slice())
                .execute(&mut *connection)
                .await?;
            // The turns come last.
            forgotten = done.rows_affected();
        }
        Ok(forgotten)
    }
}

fn refused(kind: ErrorKind, operation: &'static str, context: &'static str) -> Failure {
    Failure::Refused(Error::new(kind, operation, context))
}

fn bucket(user_id: UserId) -> i64 {
    i64::from(Bucket::of(&user_id).get())
}

async fn find(
    connection: &mut SqliteConnection,
    user_id: UserId,
    turn_id: TurnId,
) -> Result<Option<ChatTurn>, Failure> {
    let row = sqlx::query(FIND_SQL)
        .bind(user_id.as_bytes().as_slice())
        .bind(turn_id.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    row.map(|row| read_turn(&row).ok_or_else(|| error::unreadable("turn")))
        .transpose()
}

pub(crate) fn read_turn(row: &SqliteRow) -> Option<ChatTurn> {
    let mut columns = Columns::of(row);
    Some(ChatTurn {
        user_id: UserId::from_bytes(columns.id()?),
        id: TurnId::from_bytes(columns.id()?),
        answer_id: AnswerId::from_bytes(columns.id()?),
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

pub(crate) fn read_summary(row: &SqliteRow) -> Option<ChatSummary> {
    let mut columns = Columns::of(row);
    Some(ChatSummary {
        user_id: UserId::from_bytes(columns.id()?),
        answer_id: AnswerId::from_bytes(columns.id()?),
        through: TurnId::from_bytes(columns.id()?),
        text: columns.next()?,
    })
}
