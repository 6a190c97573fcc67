use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use medcards_core::answer::{
    Answer, AnswerStore, NextCase, NextCaseReason, RecordOutcome, RecordedAnswer, UserStats,
};
use medcards_core::case::{CaseFilter, CaseVersion, OptionOrder, OptionSet};
use medcards_core::event::EventBody;
use medcards_core::store::{Consistency, ListId, Page, PageCursor, PageLimit};
use medcards_core::{AnswerId, CaseId, Error, ErrorKind, Result, UserId};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, SqliteConnection};
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_64;

use crate::SqliteStore;
use crate::cases::FilterColumns;
use crate::column::{Columns, as_stored, micros};
use crate::error;

pub(crate) const RECORD: &str = "record answer";
const FIND: &str = "find answer";
const LIST: &str = "list answers";
const STATS: &str = "add up answers";
const NEXT_CASE: &str = "pick next case";

/// How many answers one statement inserts, greatest first. Few sizes, so that each statement is
/// prepared once; 64 need 896 of SQLite's 32,766 parameters, and more gained nothing.
const ROWS_PER_STATEMENT: [usize; 3] = [64, 8, 1];

const ANSWER_COLUMNS: &str = "user_id, id, bucket, case_id, case_version, chosen, shown, \
    is_correct, time_to_answer_ms, confidence, created_at";

/// Both inserts in one text, because each text costs a walk to the connection's thread.
static INSERTS: LazyLock<[String; 3]> = LazyLock::new(|| ROWS_PER_STATEMENT.map(insert_sql));

const FIND_SQL: &str = "
SELECT user_id, id, bucket, case_id, case_version, chosen, shown,
       is_correct, time_to_answer_ms, confidence, created_at
FROM interactions WHERE user_id = ? AND id = ?";

const LIST_SQL: &str = "
SELECT user_id, id, bucket, case_id, case_version, chosen, shown,
       is_correct, time_to_answer_ms, confidence, created_at
FROM interactions
WHERE user_id = ?1 AND (created_at, id) < (?2, ?3)
ORDER BY created_at DESC, id DESC
LIMIT ?4";

/// The inner query walks the index in its order, so that distinct cases need no sorting.
const STATS_SQL: &str = "
SELECT coalesce(sum(answers), 0), coalesce(sum(right), 0), count(*)
FROM (
    SELECT count(*) AS answers, sum(is_correct) AS right
    FROM interactions WHERE user_id = ? GROUP BY case_id
)";

const UNSEEN_SQL: &str = "
SELECT id FROM cases
WHERE pick BETWEEN ?2 AND ?3
  AND (?4 IS NULL OR specialty_folded = ?4)
  AND (?5 IS NULL OR lang = ?5)
  AND NOT EXISTS (
      SELECT 1 FROM interactions WHERE user_id = ?1 AND interactions.case_id = cases.id
  )
ORDER BY pick
LIMIT 1";

const LONGEST_AGO_SQL: &str = "
SELECT cases.id
FROM (
    SELECT case_id, max(created_at) AS last_at
    FROM interactions WHERE user_id = ?1 GROUP BY case_id
) AS seen
JOIN cases ON cases.id = seen.case_id
WHERE (?2 IS NULL OR specialty_folded = ?2) AND (?3 IS NULL OR lang = ?3)
ORDER BY last_at, cases.id
LIMIT 1";

#[async_trait]
impl AnswerStore for SqliteStore {
    async fn record_answer(&self, answer: Answer) -> Result<RecordedAnswer> {
        let answer = Answer {
            created_at: as_stored(answer.created_at),
            ..answer
        };
        let event = EventBody::AnswerRecorded {
            answer: answer.clone(),
        };
        self.writes()
            .record(answer, event_json(RECORD, &event)?)
            .await
    }

    async fn find_answer(
        &self,
        user_id: UserId,
        answer_id: AnswerId,
        _consistency: &Consistency,
    ) -> Result<Option<Answer>> {
        let row = find_query(user_id, answer_id)
            .fetch_optional(self.readers())
            .await;
        let row = row.map_err(|source| error::storage(FIND, source))?;
        row.map(|row| read_answer(&row).ok_or_else(|| error::corrupt(FIND, "answer")))
            .transpose()
    }

    async fn list_answers(
        &self,
        user_id: UserId,
        after: Option<&PageCursor>,
        limit: PageLimit,
        _consistency: &Consistency,
    ) -> Result<Page<Answer>> {
        let list = ListId::new("a1", &user_id.to_string());
        let (before, id) = match after {
            Some(cursor) => list.pair::<i64, AnswerId>(cursor)?,
            None => (i64::MAX, AnswerId::from_bytes([u8::MAX; 16])),
        };
        let rows = sqlx::query(LIST_SQL)
            .bind(user_id.as_bytes().as_slice())
            .bind(before)
            .bind(id.as_bytes().as_slice())
            .bind(limit.get() as i64 + 1)
            .fetch_all(self.readers())
            .await
            .map_err(|source| error::storage(LIST, source))?;
        let answers: Option<Vec<_>> = rows.iter().take(limit.get()).map(read_answer).collect();
        let items = answers.ok_or_else(|| error::corrupt(LIST, "answer"))?;
        let last = items.last().filter(|_| rows.len() > limit.get());
        let place = |last: &Answer| {
            list.cursor(format_args!(
                "{}.{}",
                micros(last.created_at),
                last.id.as_uuid().simple()
            ))
        };
        let next = last.map(place).transpose()?;
        Ok(Page { items, next })
    }

    async fn user_stats(&self, user_id: UserId, _consistency: &Consistency) -> Result<UserStats> {
        let row = sqlx::query(STATS_SQL)
            .bind(user_id.as_bytes().as_slice())
            .fetch_one(self.readers())
            .await
            .map_err(|source| error::storage(STATS, source))?;
        let mut columns = Columns::of(&row);
        let stats = (columns.number(), columns.number(), columns.number());
        let (Some(answered), Some(correct), Some(cases)) = stats else {
            return Err(error::corrupt(STATS, "answer"));
        };
        Ok(UserStats {
            answered,
            correct,
            cases,
        })
    }

    async fn next_case(
        &self,
        user_id: UserId,
        filter: &CaseFilter,
        _consistency: &Consistency,
    ) -> Result<Option<NextCase>> {
        let filter = FilterColumns::of(filter);
        // Each user begins at a place of their own, so that students do not all walk the same way.
        let start = xxh3_64(user_id.as_bytes()).cast_signed();
        for (first, last) in [(start, i64::MAX), (i64::MIN, start)] {
            let query = sqlx::query(UNSEEN_SQL).bind(user_id.as_bytes().as_slice());
            let query = query.bind(first).bind(last);
            if let Some(case_id) = self.pick(filter.bind(query)).await? {
                return Ok(Some(NextCase {
                    case_id,
                    reason: NextCaseReason::Unseen,
                }));
            }
        }
        let query = sqlx::query(LONGEST_AGO_SQL).bind(user_id.as_bytes().as_slice());
        let case_id = self.pick(filter.bind(query)).await?;
        Ok(case_id.map(|case_id| NextCase {
            case_id,
            reason: NextCaseReason::LongestAgo,
        }))
    }
}

impl SqliteStore {
    async fn pick(&self, query: Query<'_, Sqlite, SqliteArguments>) -> Result<Option<CaseId>> {
        let row = query.fetch_optional(self.readers()).await;
        let row = row.map_err(|source| error::storage(NEXT_CASE, source))?;
        row.map(|row| {
            let id = Columns::of(&row)
                .id()
                .ok_or_else(|| error::corrupt(NEXT_CASE, "case"))?;
            Ok(CaseId::from_bytes(id))
        })
        .transpose()
    }
}

/// The stored form of an event.
pub(crate) fn event_json(operation: &'static str, event: &EventBody) -> Result<String> {
    serde_json::to_string(event).map_err(|source| {
        Error::new(
            ErrorKind::Unexpected,
            operation,
            "the event has no stored form",
        )
        .with_source(source)
    })
}

/// An answer on its way to the disk.
pub(crate) struct Record {
    pub(crate) answer: Answer,
    pub(crate) event: String,
    /// What became of it, once its transaction is committed.
    pub(crate) done: Option<Result<RecordedAnswer>>,
    pub(crate) reply: oneshot::Sender<Result<RecordedAnswer>>,
}

impl Record {
    pub(crate) fn acknowledge(self) {
        // Without a result of its own it was stored as it came. Who hung up is not told.
        let _ = self.reply.send(self.done.unwrap_or_else(|| {
            let outcome = RecordOutcome::Created;
            Ok(RecordedAnswer {
                answer: self.answer,
                outcome,
                token: None,
            })
        }));
    }

    pub(crate) fn fail(self, cause: &Arc<sqlx::Error>) {
        let _ = self.reply.send(Err(error::storage_shared(RECORD, cause)));
    }
}

/// Inserts answers with their events; an answer that is there already is left as it is.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    mut records: &mut [Record],
) -> Result<(), sqlx::Error> {
    for (rows, sql) in ROWS_PER_STATEMENT.into_iter().zip(INSERTS.iter()) {
        while records.len() >= rows {
            let (chunk, rest) = records.split_at_mut(rows);
            match insert_new(connection, sql, chunk).await {
                Err(failure) if error::is_duplicate(&failure) => {
                    insert_one_by_one(connection, chunk).await?;
                }
                done => done?,
            }
            records = rest;
        }
    }
    Ok(())
}

/// The way for answers of which some are stored already: the statement above stored none of them.
async fn insert_one_by_one(
    connection: &mut SqliteConnection,
    records: &mut [Record],
) -> Result<(), sqlx::Error> {
    let [.., single] = INSERTS.each_ref();
    for record in records {
        let (user_id, id) = (record.answer.user_id, record.answer.id);
        let stored = find_query(user_id, id)
            .fetch_optional(&mut *connection)
            .await?;
        record.done = match stored {
            Some(row) => Some(read_answer(&row).map_or_else(
                || Err(error::corrupt(RECORD, "answer")),
                |answer| {
                    Ok(RecordedAnswer {
                        answer,
                        outcome: RecordOutcome::Repeated,
                        token: None,
                    })
                },
            )),
            None => {
                insert_new(connection, single, std::slice::from_ref(record)).await?;
                None
            }
        };
    }
    Ok(())
}

async fn insert_new(
    connection: &mut SqliteConnection,
    sql: &'static str,
    records: &[Record],
) -> Result<(), sqlx::Error> {
    let mut query = sqlx::query(sql);
    for Record { answer, .. } in records {
        query = query
            .bind(answer.user_id.as_bytes().as_slice())
            .bind(answer.id.as_bytes().as_slice())
            .bind(i64::from(answer.bucket().get()))
            .bind(answer.case_id.as_bytes().as_slice())
            .bind(i64::from(answer.case_version.get()))
            .bind(i64::from(answer.chosen.bits()))
            .bind(answer.shown.positions())
            .bind(i64::from(answer.is_correct))
            .bind(answer.time_to_answer_ms.map(i64::from))
            .bind(
                answer
                    .confidence
                    .map(|confidence| i64::from(confidence.percent())),
            )
            .bind(micros(answer.created_at));
    }
    for Record { answer, event, .. } in records {
        query = query
            .bind(answer.user_id.as_bytes().as_slice())
            .bind(i64::from(answer.bucket().get()))
            .bind(event.as_str());
    }
    query.execute(connection).await.map(drop)
}

fn insert_sql(rows: usize) -> String {
    let mut sql = format!("INSERT INTO interactions ({ANSWER_COLUMNS}) VALUES ");
    let repeated = |row: &str| vec![row; rows].join(", ");
    sql.push_str(&repeated("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
    let events = repeated("(?, ?, 'answer_recorded', ?)");
    // Writing to a string cannot fail.
    let _ = write!(
        sql,
        "; INSERT INTO events (user_id, bucket, kind, body) VALUES {events}"
    );
    sql
}

fn find_query(user_id: UserId, id: AnswerId) -> Query<'static, Sqlite, SqliteArguments> {
    sqlx::query(FIND_SQL)
        .bind(user_id.as_bytes().to_vec())
        .bind(id.as_bytes().to_vec())
}

/// Reads the columns of `ANSWER_COLUMNS`.
pub(crate) fn read_answer(row: &SqliteRow) -> Option<Answer> {
    let mut columns = Columns::of(row);
    let user_id = UserId::from_bytes(columns.id()?);
    let id = AnswerId::from_bytes(columns.id()?);
    // The bucket follows from the user.
    let _bucket: u16 = columns.number()?;
    Some(Answer {
        id,
        user_id,
        case_id: CaseId::from_bytes(columns.id()?),
        case_version: CaseVersion::new(columns.number()?)?,
        chosen: OptionSet::from_bits(columns.number()?)?,
        shown: OptionOrder::from_positions(columns.next::<&[u8]>()?)?,
        is_correct: columns.number::<u8>()? == 1,
        time_to_answer_ms: columns.optional_number()?,
        confidence: match columns.optional_number::<u8>()? {
            Some(percent) => Some(percent.try_into().ok()?),
            None => None,
        },
        created_at: columns.instant()?,
    })
}
