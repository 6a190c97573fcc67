use medcards_core::Timestamp;
use medcards_core::answer::Answer;
use medcards_core::event::EventBody;
use medcards_tests::pg::Database;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{ConnectOptions, Row};
use uuid::Uuid;

const INSERT_ANSWER: &str = "\
    INSERT INTO interactions (user_id, id, case_id, created_at, time_to_answer_ms, case_version, \
    chosen, bucket, confidence, is_correct, shown) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING";

const INSERT_EVENT: &str = "\
    INSERT INTO events (user_id, bucket, kind, body) VALUES ($1, $2, 'answer_recorded', $3::jsonb)";

/// Both inserts in one statement, for one way to the server and back instead of four.
const INSERT_BOTH: &str = "\
    WITH fresh AS ( \
        INSERT INTO interactions (user_id, id, case_id, created_at, time_to_answer_ms, \
        case_version, chosen, bucket, confidence, is_correct, shown) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING \
        RETURNING user_id, bucket \
    ) \
    INSERT INTO events (user_id, bucket, kind, body) \
    SELECT user_id, bucket, 'answer_recorded', $12::jsonb FROM fresh";

const FIND: &str = "\
    SELECT user_id, id, case_id, created_at, time_to_answer_ms, case_version, chosen, confidence, \
    is_correct, shown \
    FROM interactions WHERE user_id = $1 AND created_at = $2 AND id = $3";

const LIST: &str = "\
    SELECT user_id, id, case_id, created_at, time_to_answer_ms, case_version, chosen, confidence, \
    is_correct, shown \
    FROM interactions WHERE user_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2";

const STATS: &str = "\
    SELECT count(*), count(*) FILTER (WHERE is_correct), count(DISTINCT case_id) \
    FROM interactions WHERE user_id = $1";

/// A row of `interactions`, as somebody would read it who has no types of their own.
#[expect(
    dead_code,
    reason = "they are read from the row, which is what is measured"
)]
pub(crate) struct Interaction {
    pub(crate) user_id: Uuid,
    pub(crate) id: Uuid,
    pub(crate) case_id: Uuid,
    pub(crate) created_at: Timestamp,
    pub(crate) time_to_answer_ms: Option<i64>,
    pub(crate) case_version: i32,
    pub(crate) chosen: i32,
    pub(crate) confidence: Option<i16>,
    pub(crate) is_correct: bool,
    pub(crate) shown: Vec<u8>,
}

/// A pool with a connection for each caller. Connections are lent as they are: to ask each before
/// would take another way to the server and back.
pub(crate) async fn connect(database: &Database, callers: u64) -> PgPool {
    let options: PgConnectOptions = database.url().parse().expect("the address is sound");
    let callers = u32::try_from(callers).expect("a bench has few callers");
    PgPoolOptions::new()
        .max_connections(callers)
        .min_connections(callers)
        .test_before_acquire(false)
        .connect_with(options.disable_statement_logging())
        .await
        .expect("the server takes connections")
}

/// One transaction, as everybody writes it.
#[expect(
    clippy::disallowed_methods,
    reason = "what everybody writes is what is measured"
)]
pub(crate) async fn insert(pool: &PgPool, answer: &Answer) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let inserted = bind(sqlx::query(INSERT_ANSWER), answer)
        .execute(&mut *transaction)
        .await?;
    if inserted.rows_affected() == 1 {
        sqlx::query(INSERT_EVENT)
            .bind(answer.user_id.as_uuid())
            .bind(answer.bucket().get().cast_signed())
            .bind(event(answer))
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}

/// One statement.
pub(crate) async fn insert_both(pool: &PgPool, answer: &Answer) -> Result<(), sqlx::Error> {
    bind(sqlx::query(INSERT_BOTH), answer)
        .bind(event(answer))
        .execute(pool)
        .await
        .map(drop)
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn bind<'q>(query: Query<'q>, answer: &'q Answer) -> Query<'q> {
    query
        .bind(answer.user_id.as_uuid())
        .bind(answer.id.as_uuid())
        .bind(answer.case_id.as_uuid())
        .bind(jiff_sqlx::Timestamp::from(answer.created_at))
        .bind(answer.time_to_answer_ms.map(i64::from))
        .bind(answer.case_version.get().cast_signed())
        .bind(answer.chosen.bits().cast_signed())
        .bind(answer.bucket().get().cast_signed())
        .bind(answer.confidence.map(|sure| i16::from(sure.percent())))
        .bind(answer.is_correct)
        .bind(answer.shown.positions())
}

/// The event as it is stored.
pub(crate) fn event(answer: &Answer) -> String {
    let event = EventBody::AnswerRecorded {
        answer: answer.clone(),
    };
    serde_json::to_string(&event).expect("an event has a JSON form")
}

pub(crate) async fn find(
    pool: &PgPool,
    user_id: Uuid,
    created_at: Timestamp,
    id: Uuid,
) -> Result<Option<Interaction>, sqlx::Error> {
    let row = sqlx::query(FIND)
        .bind(user_id)
        .bind(jiff_sqlx::Timestamp::from(created_at))
        .bind(id)
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(read).transpose()
}

pub(crate) async fn list(
    pool: &PgPool,
    user_id: Uuid,
    limit: i64,
) -> Result<Vec<Interaction>, sqlx::Error> {
    let rows = sqlx::query(LIST)
        .bind(user_id)
        .bind(limit)
        .fetch_all(pool)
        .await?;
    rows.iter().map(read).collect()
}

pub(crate) async fn stats(pool: &PgPool, user_id: Uuid) -> Result<(i64, i64, i64), sqlx::Error> {
    let row = sqlx::query(STATS).bind(user_id).fetch_one(pool).await?;
    Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
}

fn read(row: &PgRow) -> Result<Interaction, sqlx::Error> {
    Ok(Interaction {
        user_id: row.try_get(0)?,
        id: row.try_get(1)?,
        case_id: row.try_get(2)?,
        created_at: row.try_get::<jiff_sqlx::Timestamp, _>(3)?.to_jiff(),
        time_to_answer_ms: row.try_get(4)?,
        case_version: row.try_get(5)?,
        chosen: row.try_get(6)?,
        confidence: row.try_get(7)?,
        is_correct: row.try_get(8)?,
        shown: row.try_get(9)?,
    })
}
