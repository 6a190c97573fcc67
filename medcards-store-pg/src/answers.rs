use std::collections::HashMap;

use async_trait::async_trait;
use medcards_core::answer::{
    Answer, AnswerStore, NextCase, NextCaseReason, RecordedAnswer, UserStats,
};
use medcards_core::case::{CaseFilter, CaseVersion, OptionOrder, OptionSet};
use medcards_core::event::EventBody;
use medcards_core::store::{Consistency, ListId, Page, PageCursor, PageLimit};
use medcards_core::{AnswerId, CaseId, Error, ErrorKind, Result, Timestamp, UserId};
use sqlx::postgres::PgRow;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use crate::PgStore;
use crate::cases::FilterColumns;
use crate::column::{Columns, instant};
use crate::error::{self, Failure};
use crate::node::Node;
use crate::session::Statement;
use crate::writer::{Insertion, Record};

pub(crate) const RECORD: &str = "record answer";
const FIND: &str = "find answer";
const LIST: &str = "list answers";
const STATS: &str = "add up answers";
const NEXT_CASE: &str = "pick next case";

/// Stores one answer and its event, if its bucket is owned and it is new; says whether each was so.
const INSERT_ONE_SQL: &str = "
WITH fresh AS (
    INSERT INTO interactions (user_id, id, case_id, created_at, time_to_answer_ms, case_version,
                              chosen, bucket, confidence, is_correct, shown)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
    WHERE EXISTS (SELECT FROM owned_buckets WHERE bucket = $8)
    ON CONFLICT DO NOTHING
    RETURNING user_id, bucket
), logged AS (
    INSERT INTO events (user_id, bucket, kind, body)
    SELECT user_id, bucket, 'answer_recorded', $12::jsonb FROM fresh
)
SELECT EXISTS (SELECT FROM owned_buckets WHERE bucket = $8), EXISTS (SELECT FROM fresh)";

/// The same for several. Rows are inserted in the order of the key, so that two batches with the
/// same answers wait for each other instead of locking each other out; events in the order of
/// arrival.
const INSERT_MANY_SQL: &str = "
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[], $5::bigint[],
                         $6::integer[], $7::integer[], $8::smallint[], $9::smallint[],
                         $10::boolean[], $11::bytea[], $12::text[])
    WITH ORDINALITY AS given (user_id, id, case_id, created_at, time_to_answer_ms, case_version,
                              chosen, bucket, confidence, is_correct, shown, body, at)
), fresh AS (
    INSERT INTO interactions (user_id, id, case_id, created_at, time_to_answer_ms, case_version,
                              chosen, bucket, confidence, is_correct, shown)
    SELECT user_id, id, case_id, created_at, time_to_answer_ms, case_version,
           chosen, bucket, confidence, is_correct, shown
    FROM given
    WHERE bucket IN (SELECT bucket FROM owned_buckets)
    ORDER BY user_id, created_at, id
    ON CONFLICT DO NOTHING
    RETURNING user_id, id
), logged AS (
    INSERT INTO events (user_id, bucket, kind, body)
    SELECT user_id, bucket, 'answer_recorded', body::jsonb
    FROM given JOIN fresh USING (user_id, id)
    ORDER BY at
)
SELECT EXISTS (SELECT FROM owned_buckets WHERE owned_buckets.bucket = given.bucket),
       EXISTS (SELECT FROM fresh WHERE fresh.user_id = given.user_id AND fresh.id = given.id)
FROM given
ORDER BY at";

const FIND_SQL: &str = "
SELECT user_id, id, case_id, created_at, time_to_answer_ms, case_version, chosen, confidence,
       is_correct, shown
FROM interactions WHERE user_id = $1 AND created_at = $2 AND id = $3";

const FIND_MANY_SQL: &str = "
SELECT user_id, id, case_id, created_at, time_to_answer_ms, case_version, chosen, confidence,
       is_correct, shown
FROM interactions
JOIN unnest($1::uuid[], $2::timestamptz[], $3::uuid[]) AS wanted (user_id, created_at, id)
USING (user_id, created_at, id)";

/// Partitions are read newest first, and only until the page is full.
const LIST_SQL: &str = "
SELECT user_id, id, case_id, created_at, time_to_answer_ms, case_version, chosen, confidence,
       is_correct, shown
FROM interactions
WHERE user_id = $1
ORDER BY created_at DESC, id DESC
LIMIT $2";

/// The condition on the instant alone leaves out the months after it.
const LIST_AFTER_SQL: &str = "
SELECT user_id, id, case_id, created_at, time_to_answer_ms, case_version, chosen, confidence,
       is_correct, shown
FROM interactions
WHERE user_id = $1 AND created_at <= $3 AND (created_at, id) < ($3, $4)
ORDER BY created_at DESC, id DESC
LIMIT $2";

/// Counted from the answers by the index alone, so that a student's last answer is always in it.
const STATS_SQL: &str = "
SELECT count(*), count(*) FILTER (WHERE is_correct), count(DISTINCT case_id)
FROM interactions WHERE user_id = $1";

/// The cases seen are gathered once; then the cases are walked until one is not among them.
const UNSEEN_SQL: &str = "
SELECT id FROM cases
WHERE pick BETWEEN $2 AND $3
  AND ($4::text IS NULL OR specialty_folded = $4)
  AND ($5::text IS NULL OR lang = $5)
  AND id NOT IN (SELECT case_id FROM interactions WHERE user_id = $1)
ORDER BY pick
LIMIT 1";

const LONGEST_AGO_SQL: &str = "
SELECT cases.id
FROM (
    SELECT case_id, max(created_at) AS last_at
    FROM interactions WHERE user_id = $1 GROUP BY case_id
) AS seen
JOIN cases ON cases.id = seen.case_id
WHERE ($2::text IS NULL OR specialty_folded = $2) AND ($3::text IS NULL OR lang = $3)
ORDER BY last_at, cases.id
LIMIT 1";

#[async_trait]
impl AnswerStore for PgStore {
    async fn record_answer(&self, answer: Answer) -> Result<RecordedAnswer> {
        if answer.id.instant() != Some(answer.created_at) {
            let context = "created_at must be the instant inside the id, a UUID of version 7";
            return Err(Error::new(ErrorKind::Invalid, RECORD, context));
        }
        self.partitions().check(RECORD, answer.created_at)?;
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
        consistency: &Consistency,
    ) -> Result<Option<Answer>> {
        // Only ids that carry an instant are stored.
        let Some(created_at) = answer_id.instant() else {
            return Ok(None);
        };
        let rows = self.read(FIND, consistency, || {
            sqlx::query(FIND_SQL)
                .bind(*user_id.as_uuid())
                .bind(instant(created_at))
                .bind(*answer_id.as_uuid())
        });
        let rows = rows.await?;
        rows.first()
            .map(|row| read_answer(row).ok_or_else(|| error::corrupt(FIND, "answer")))
            .transpose()
    }

    async fn list_answers(
        &self,
        user_id: UserId,
        after: Option<&PageCursor>,
        limit: PageLimit,
        consistency: &Consistency,
    ) -> Result<Page<Answer>> {
        let list = ListId::new("a1", &user_id.to_string());
        let after = match after {
            Some(cursor) => {
                let (micros, id) = list.pair::<i64, AnswerId>(cursor)?;
                let before = Timestamp::from_microsecond(micros);
                Some((before.map_err(|_far| PageCursor::unknown())?, id))
            }
            None => None,
        };
        let first = || {
            let query = match after {
                Some(_) => sqlx::query(LIST_AFTER_SQL),
                None => sqlx::query(LIST_SQL),
            };
            let query = query.bind(*user_id.as_uuid()).bind(limit.get() as i64 + 1);
            match after {
                Some((before, id)) => query.bind(instant(before)).bind(*id.as_uuid()),
                None => query,
            }
        };
        let rows = self.read(LIST, consistency, first).await?;
        let answers: Option<Vec<_>> = rows.iter().take(limit.get()).map(read_answer).collect();
        let items = answers.ok_or_else(|| error::corrupt(LIST, "answer"))?;
        let last = items.last().filter(|_| rows.len() > limit.get());
        let place = |last: &Answer| {
            list.cursor(format_args!(
                "{}.{}",
                last.created_at.as_microsecond(),
                last.id.as_uuid().simple()
            ))
        };
        let next = last.map(place).transpose()?;
        Ok(Page { items, next })
    }

    async fn user_stats(&self, user_id: UserId, consistency: &Consistency) -> Result<UserStats> {
        let stats = || sqlx::query(STATS_SQL).bind(*user_id.as_uuid());
        let rows = self.read(STATS, consistency, stats).await?;
        let read = || {
            let mut columns = Columns::of(rows.first()?);
            Some(UserStats {
                answered: columns.number()?,
                correct: columns.number()?,
                cases: columns.number()?,
            })
        };
        read().ok_or_else(|| error::corrupt(STATS, "answer"))
    }

    async fn next_case(
        &self,
        user_id: UserId,
        filter: &CaseFilter,
        consistency: &Consistency,
    ) -> Result<Option<NextCase>> {
        let filter = FilterColumns::of(filter);
        // Each user begins at a place of their own, so that students do not all walk the same way.
        let start = xxh3_64(user_id.as_bytes()).cast_signed();
        for (first, last) in [(start, i64::MAX), (i64::MIN, start)] {
            let unseen = || {
                let query = sqlx::query(UNSEEN_SQL).bind(*user_id.as_uuid());
                filter.bind(query.bind(first).bind(last))
            };
            if let Some(case_id) = self.pick(consistency, unseen).await? {
                return Ok(Some(NextCase {
                    case_id,
                    reason: NextCaseReason::Unseen,
                }));
            }
        }
        let longest_ago = || filter.bind(sqlx::query(LONGEST_AGO_SQL).bind(*user_id.as_uuid()));
        let case_id = self.pick(consistency, longest_ago).await?;
        Ok(case_id.map(|case_id| NextCase {
            case_id,
            reason: NextCaseReason::LongestAgo,
        }))
    }
}

impl PgStore {
    async fn pick(
        &self,
        consistency: &Consistency,
        statement: impl Fn() -> Statement + Send + Sync,
    ) -> Result<Option<CaseId>> {
        let rows = self.read(NEXT_CASE, consistency, statement).await?;
        let read = |row: &PgRow| {
            let id = Columns::of(row).id();
            id.ok_or_else(|| error::corrupt(NEXT_CASE, "case"))
        };
        Ok(rows.first().map(read).transpose()?.map(CaseId::from_uuid))
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

/// Stores answers that are new with their events, in one statement, and says what became of each.
///
/// It may be run again: what was stored the first time is known the second.
pub(crate) async fn insert(node: &Node, records: &[&Record]) -> Result<Vec<Insertion>, Failure> {
    let rows = match records {
        [single] => node.fetch(|| insert_one(single)).await?,
        several => node.fetch(|| insert_many(several)).await?,
    };
    let read = |row: &PgRow| {
        let mut columns = Columns::of(row);
        Some(match (columns.next::<bool>()?, columns.next::<bool>()?) {
            (_, true) => Insertion::Created,
            (true, false) => Insertion::Known,
            (false, false) => Insertion::NotOwned,
        })
    };
    let outcomes: Option<Vec<_>> = rows.iter().map(read).collect();
    outcomes
        .filter(|outcomes| outcomes.len() == records.len())
        .ok_or(Failure::Unreadable("outcome"))
}

fn insert_one(Record { answer, event, .. }: &Record) -> Statement {
    sqlx::query(INSERT_ONE_SQL)
        .bind(*answer.user_id.as_uuid())
        .bind(*answer.id.as_uuid())
        .bind(*answer.case_id.as_uuid())
        .bind(instant(answer.created_at))
        .bind(answer.time_to_answer_ms.map(i64::from))
        .bind(answer.case_version.get().cast_signed())
        .bind(answer.chosen.bits().cast_signed())
        .bind(bucket(answer.user_id))
        .bind(confidence(answer))
        .bind(answer.is_correct)
        .bind(answer.shown.positions().to_vec())
        .bind(event.clone())
}

fn insert_many(records: &[&Record]) -> Statement {
    fn all<T>(records: &[&Record], of: impl Fn(&Answer) -> T) -> Vec<T> {
        records.iter().map(|record| of(&record.answer)).collect()
    }
    let events: Vec<_> = records.iter().map(|record| record.event.clone()).collect();
    sqlx::query(INSERT_MANY_SQL)
        .bind(all(records, |a| *a.user_id.as_uuid()))
        .bind(all(records, |a| *a.id.as_uuid()))
        .bind(all(records, |a| *a.case_id.as_uuid()))
        .bind(all(records, |a| instant(a.created_at)))
        .bind(all(records, |a| a.time_to_answer_ms.map(i64::from)))
        .bind(all(records, |a| a.case_version.get().cast_signed()))
        .bind(all(records, |a| a.chosen.bits().cast_signed()))
        .bind(all(records, |a| bucket(a.user_id)))
        .bind(all(records, confidence))
        .bind(all(records, |a| a.is_correct))
        .bind(all(records, |a| a.shown.positions().to_vec()))
        .bind(events)
}

/// The bucket of a user, as columns hold it.
pub(crate) fn bucket(user_id: UserId) -> i16 {
    medcards_core::shard::Bucket::of(&user_id)
        .get()
        .cast_signed()
}

pub(crate) fn confidence(answer: &Answer) -> Option<i16> {
    answer
        .confidence
        .map(|confidence| i16::from(confidence.percent()))
}

/// These answers as they are stored.
pub(crate) async fn find_many(
    node: &Node,
    answers: &[&Answer],
) -> Result<HashMap<(UserId, AnswerId), Answer>, Failure> {
    let rows = node.fetch(|| {
        let users: Vec<Uuid> = answers.iter().map(|a| *a.user_id.as_uuid()).collect();
        let instants: Vec<_> = answers.iter().map(|a| instant(a.created_at)).collect();
        let ids: Vec<Uuid> = answers.iter().map(|a| *a.id.as_uuid()).collect();
        sqlx::query(FIND_MANY_SQL)
            .bind(users)
            .bind(instants)
            .bind(ids)
    });
    let rows = rows.await?;
    let named = |row: &PgRow| {
        let answer = read_answer(row)?;
        Some(((answer.user_id, answer.id), answer))
    };
    let found: Option<HashMap<_, _>> = rows.iter().map(named).collect();
    found.ok_or(Failure::Unreadable("answer"))
}

/// Reads the columns of the statements above.
pub(crate) fn read_answer(row: &PgRow) -> Option<Answer> {
    let mut columns = Columns::of(row);
    Some(Answer {
        user_id: UserId::from_uuid(columns.id()?),
        id: AnswerId::from_uuid(columns.id()?),
        case_id: CaseId::from_uuid(columns.id()?),
        created_at: columns.instant()?,
        time_to_answer_ms: columns.optional_number()?,
        case_version: CaseVersion::new(columns.integer()?)?,
        chosen: OptionSet::from_bits(columns.next::<i32>()?.cast_unsigned())?,
        confidence: match columns.next::<Option<i16>>()? {
            Some(percent) => Some(u8::try_from(percent).ok()?.try_into().ok()?),
            None => None,
        },
        is_correct: columns.next()?,
        shown: OptionOrder::from_positions(columns.next::<&[u8]>()?)?,
    })
}
