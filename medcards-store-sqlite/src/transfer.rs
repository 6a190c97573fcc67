use async_trait::async_trait;
use medcards_core::case::{CaseContent, CaseVersion};
use medcards_core::event::{EventBody, ReaderName};
use medcards_core::feedback::KeyPosition;
use medcards_core::spend::MicroDollars;
use medcards_core::transfer::{
    AwardRow, Batch, CaseRow, CursorRow, EventRow, FeedbackRow, JsonSense, Part, Place,
    ReservationRow, Row, SpendDayRow, SpendScopeRow, StoredJson, TransferSource, UserRow,
};
use medcards_core::user::{UserKind, UserSettings};
use medcards_core::{
    AnswerId, CaseId, JobId, ReservationId, Result, SharedAnswerId, TurnId, UserId,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};

use crate::SqliteStore;
use crate::answers::read_answer;
use crate::chats::{read_summary, read_turn};
use crate::column::Columns;
use crate::corrections::read_correction;
use crate::error;
use crate::jobs::{read_dead_row, read_job_row, read_key_row};
use crate::precomputed::read_kept_columns;
use crate::shared_answers::read_shared_answer;
use crate::spend::{read_purpose, read_row, read_user_id};

const COUNT: &str = "count rows";
const READ: &str = "read rows";

const CASES_SQL: &str = "
SELECT case_id, version, published_at, content FROM case_versions
WHERE (case_id, version) > (?, ?) ORDER BY case_id, version LIMIT ?";

const USERS_SQL: &str =
    "SELECT id, kind, settings, created_at FROM users WHERE id > ? ORDER BY id LIMIT ?";

const FEEDBACK_SQL: &str = "
SELECT position, key, text, origin, model, prompt_version, review, cost, written_at, reviewer,
       reviewed_at
FROM precomputed_feedback WHERE position > ? ORDER BY position LIMIT ?";

const DAYS_SQL: &str =
    "SELECT day, spent, set_aside FROM spend_days WHERE day > ? ORDER BY day LIMIT ?";

const SCOPES_SQL: &str =
    "SELECT scope, spent, set_aside FROM spend_scopes WHERE scope > ? ORDER BY scope LIMIT ?";

const RESERVATIONS_SQL: &str = "
SELECT id, day, amount, settled, purpose, user_id FROM spend_reservations
WHERE id > ? ORDER BY id LIMIT ?";

const TOTALS_SQL: &str = "
SELECT day, tier, model, case_id, resolutions, cost, saved FROM spend_totals
WHERE (day, tier, model, case_id) > (?, ?, ?, ?) ORDER BY day, tier, model, case_id LIMIT ?";

const ANSWERS_SQL: &str = "
SELECT user_id, id, bucket, case_id, case_version, chosen, shown,
       is_correct, time_to_answer_ms, confidence, created_at
FROM interactions WHERE (user_id, id) > (?, ?) ORDER BY user_id, id LIMIT ?";

const EVENTS_SQL: &str = "
SELECT sequence, user_id, kind, body, recorded_at FROM events
WHERE sequence > ? ORDER BY sequence LIMIT ?";

/// A place with a transaction lies behind all events of this store.
const CURSORS_SQL: &str = "
SELECT reader, (
    SELECT count(*) FROM events
    WHERE cursors.transaction_no > 0 OR events.sequence <= cursors.sequence
)
FROM cursors WHERE reader > ? ORDER BY reader LIMIT ?";

const TURNS_SQL: &str = "
SELECT user_id, id, answer_id, question, started_at, attempt, reply, origin, model, cost, replied_at
FROM chat_turns WHERE (user_id, id) > (?, ?) ORDER BY user_id, id LIMIT ?";

const SUMMARIES_SQL: &str = "
SELECT user_id, answer_id, through, text FROM chat_summaries
WHERE (user_id, answer_id) > (?, ?) ORDER BY user_id, answer_id LIMIT ?";

const SHARED_ANSWERS_SQL: &str = "
SELECT id, case_id, case_version, locale, question, answer, reviewer, reviewed_at
FROM shared_answers WHERE id > ? ORDER BY id LIMIT ?";

const CORRECTIONS_SQL: &str = "
SELECT number, case_id, version, right_options, corrected_in, corrected_at
FROM key_corrections WHERE number > ? ORDER BY number LIMIT ?";

const AWARDS_SQL: &str = "
SELECT user_id, badge, awarded_at FROM awards
WHERE (user_id, badge) > (?, ?) ORDER BY user_id, badge LIMIT ?";

const JOBS_SQL: &str = "
SELECT sequence, id, kind, payload, user_id, is_ordered, enqueued_at, run_at, attempt, uncounted
FROM jobs WHERE sequence > ? ORDER BY sequence LIMIT ?";

const DEAD_JOBS_SQL: &str = "
SELECT id, kind, payload, user_id, enqueued_at, attempt, died_at, reason, is_ordered
FROM dead_jobs WHERE id > ? ORDER BY id LIMIT ?";

const JOB_KEYS_SQL: &str = "
SELECT kind, key, job_id, kept_until FROM job_keys
WHERE (kind, key) > (?, ?) ORDER BY kind, key LIMIT ?";

#[async_trait]
impl TransferSource for SqliteStore {
    async fn count_rows(&self, part: Part) -> Result<u64> {
        let sql = match part {
            Part::Cases => "SELECT count(*) FROM case_versions",
            Part::Users => "SELECT count(*) FROM users",
            Part::Feedback => "SELECT count(*) FROM precomputed_feedback",
            Part::SpendDays => "SELECT count(*) FROM spend_days",
            Part::SpendScopes => "SELECT count(*) FROM spend_scopes",
            Part::Reservations => "SELECT count(*) FROM spend_reservations",
            Part::SpendTotals => "SELECT count(*) FROM spend_totals",
            Part::Answers => "SELECT count(*) FROM interactions",
            Part::Events => "SELECT count(*) FROM events",
            Part::Cursors => "SELECT count(*) FROM cursors",
            Part::ChatTurns => "SELECT count(*) FROM chat_turns",
            Part::ChatSummaries => "SELECT count(*) FROM chat_summaries",
            Part::SharedAnswers => "SELECT count(*) FROM shared_answers",
            Part::KeyCorrections => "SELECT count(*) FROM key_corrections",
            Part::Awards => "SELECT count(*) FROM awards",
            Part::Jobs => "SELECT count(*) FROM jobs",
            Part::DeadJobs => "SELECT count(*) FROM dead_jobs",
            Part::JobKeys => "SELECT count(*) FROM job_keys",
        };
        let row = sqlx::query(sql).fetch_one(self.readers()).await;
        let row = row.map_err(|source| error::storage(COUNT, source))?;
        let count = Columns::of(&row).number();
        count.ok_or_else(|| error::corrupt(COUNT, "count"))
    }

    async fn read_rows(&self, part: Part, after: Option<&Place>, limit: usize) -> Result<Batch> {
        let kind = Kind::of(part);
        let query = (kind.query)(&Key(after))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = query.bind(limit).fetch_all(self.readers()).await;
        let rows = rows.map_err(|source| error::storage(READ, source))?;
        let mut batch = Batch::default();
        let mut last = None;
        for row in &rows {
            let key = (kind.key)(&mut Columns::of(row));
            let key = key.ok_or_else(|| error::corrupt(READ, part.as_str()))?;
            match (kind.value)(row) {
                Some(value) => batch.rows.push(value),
                None => batch.unreadable.push(format!("row {key} of {part}")),
            }
            last = Some(key);
        }
        if rows.len() as i64 == limit {
            batch.next = last.map(Place::new);
        }
        Ok(batch)
    }
}

/// How the rows of a part are read: a page of them, the place of each, what each says.
struct Kind {
    query: fn(&Key<'_>) -> Result<Statement>,
    key: fn(&mut Columns<'_>) -> Option<String>,
    value: fn(&SqliteRow) -> Option<Row>,
}

type Statement = Query<'static, Sqlite, SqliteArguments>;

/// What was read last. Every value is greater than an empty one.
struct Key<'p>(Option<&'p Place>);

impl Key<'_> {
    fn field<T: std::str::FromStr + Default>(&self, index: usize, fields: usize) -> Result<T> {
        self.0
            .map_or_else(|| Ok(T::default()), |place| place.field(index, fields))
    }

    /// A field that is an id, as its bytes.
    fn id(&self, index: usize, fields: usize) -> Result<Vec<u8>> {
        let Some(place) = self.0 else {
            return Ok(Vec::new());
        };
        // All ids are written alike.
        let id: UserId = place.field(index, fields)?;
        Ok(id.as_bytes().to_vec())
    }
}

impl Kind {
    fn of(part: Part) -> Self {
        match part {
            Part::Cases => Self {
                query: |key| {
                    let query = sqlx::query(CASES_SQL).bind(key.id(0, 2)?);
                    Ok(query.bind(key.field::<i64>(1, 2)?))
                },
                key: |columns| {
                    let id = CaseId::from_bytes(columns.id()?);
                    Some(format!("{id}/{}", columns.next::<i64>()?))
                },
                value: |row| read_case(row).map(Row::Case),
            },
            Part::Users => Self {
                query: |key| Ok(sqlx::query(USERS_SQL).bind(key.id(0, 1)?)),
                key: |columns| Some(UserId::from_bytes(columns.id()?).to_string()),
                value: |row| read_user(row).map(Row::User),
            },
            Part::Feedback => Self {
                query: |key| Ok(sqlx::query(FEEDBACK_SQL).bind(key.field::<i64>(0, 1)?)),
                key: |columns| Some(columns.next::<i64>()?.to_string()),
                value: |row| read_feedback(row).map(Row::Feedback),
            },
            Part::SpendDays => Self {
                query: |key| Ok(sqlx::query(DAYS_SQL).bind(key.field::<String>(0, 1)?)),
                key: |columns| columns.next(),
                value: |row| read_day(row).map(Row::SpendDay),
            },
            Part::SpendScopes => Self {
                query: |key| Ok(sqlx::query(SCOPES_SQL).bind(key.field::<String>(0, 1)?)),
                key: |columns| columns.next(),
                value: |row| read_scope(row).map(Row::SpendScope),
            },
            Part::Reservations => Self {
                query: |key| Ok(sqlx::query(RESERVATIONS_SQL).bind(key.id(0, 1)?)),
                key: |columns| Some(ReservationId::from_bytes(columns.id()?).to_string()),
                value: |row| read_reservation(row).map(Row::Reservation),
            },
            Part::SpendTotals => Self {
                query: totals_query,
                key: totals_key,
                value: |row| read_row(row).map(Row::SpendTotal),
            },
            Part::Answers => Self {
                query: |key| {
                    let query = sqlx::query(ANSWERS_SQL).bind(key.id(0, 2)?);
                    Ok(query.bind(key.id(1, 2)?))
                },
                key: |columns| {
                    let user_id = UserId::from_bytes(columns.id()?);
                    Some(format!("{user_id}/{}", UserId::from_bytes(columns.id()?)))
                },
                value: |row| read_answer(row).map(Row::Answer),
            },
            Part::Events => Self {
                query: |key| Ok(sqlx::query(EVENTS_SQL).bind(key.field::<i64>(0, 1)?)),
                key: |columns| Some(columns.next::<i64>()?.to_string()),
                value: |row| read_event(row).map(Row::Event),
            },
            Part::Cursors => Self {
                query: |key| Ok(sqlx::query(CURSORS_SQL).bind(key.field::<String>(0, 1)?)),
                key: |columns| columns.next(),
                value: |row| read_cursor(row).map(Row::Cursor),
            },
            Part::ChatTurns => Self {
                query: |key| {
                    let query = sqlx::query(TURNS_SQL).bind(key.id(0, 2)?);
                    Ok(query.bind(key.id(1, 2)?))
                },
                key: |columns| {
                    let user_id = UserId::from_bytes(columns.id()?);
                    Some(format!("{user_id}/{}", TurnId::from_bytes(columns.id()?)))
                },
                value: |row| read_turn(row).map(Row::ChatTurn),
            },
            Part::ChatSummaries => Self {
                query: |key| {
                    let query = sqlx::query(SUMMARIES_SQL).bind(key.id(0, 2)?);
                    Ok(query.bind(key.id(1, 2)?))
                },
                key: |columns| {
                    let user_id = UserId::from_bytes(columns.id()?);
                    Some(format!("{user_id}/{}", AnswerId::from_bytes(columns.id()?)))
                },
                value: |row| read_summary(row).map(Row::ChatSummary),
            },
            Part::SharedAnswers => Self {
                query: |key| Ok(sqlx::query(SHARED_ANSWERS_SQL).bind(key.id(0, 1)?)),
                key: |columns| Some(SharedAnswerId::from_bytes(columns.id()?).to_string()),
                value: |row| read_shared_answer(row).map(Row::SharedAnswer),
            },
            Part::KeyCorrections => Self {
                query: |key| Ok(sqlx::query(CORRECTIONS_SQL).bind(key.field::<i64>(0, 1)?)),
                key: |columns| Some(columns.next::<i64>()?.to_string()),
                value: |row| read_correction(row).map(Row::KeyCorrection),
            },
            Part::Awards => Self {
                query: |key| {
                    let query = sqlx::query(AWARDS_SQL).bind(key.id(0, 2)?);
                    Ok(query.bind(key.field::<String>(1, 2)?))
                },
                key: |columns| {
                    let user_id = UserId::from_bytes(columns.id()?);
                    Some(format!("{user_id}/{}", columns.next::<&str>()?))
                },
                value: |row| read_award(row).map(Row::Award),
            },
            Part::Jobs => Self {
                query: |key| Ok(sqlx::query(JOBS_SQL).bind(key.field::<i64>(0, 1)?)),
                key: |columns| Some(columns.next::<i64>()?.to_string()),
                value: |row| read_job_row(row).map(Row::Job),
            },
            Part::DeadJobs => Self {
                query: |key| Ok(sqlx::query(DEAD_JOBS_SQL).bind(key.id(0, 1)?)),
                key: |columns| Some(JobId::from_bytes(columns.id()?).to_string()),
                value: |row| read_dead_row(row).map(Row::DeadJob),
            },
            Part::JobKeys => Self {
                query: |key| {
                    let query = sqlx::query(JOB_KEYS_SQL).bind(key.field::<String>(0, 2)?);
                    Ok(query.bind(key.field::<String>(1, 2)?))
                },
                key: |columns| {
                    let kind: String = columns.next()?;
                    Some(format!("{kind}/{}", columns.next::<&str>()?))
                },
                value: |row| read_key_row(row).map(Row::JobKey),
            },
        }
    }
}

/// The model stands last in a place, because anything may be in its name.
fn totals_query(key: &Key<'_>) -> Result<Statement> {
    let case_id: String = key.field(2, 4)?;
    let case_id = match case_id.parse::<CaseId>() {
        Ok(id) => id.as_bytes().to_vec(),
        Err(_none) => Vec::new(),
    };
    Ok(sqlx::query(TOTALS_SQL)
        .bind(key.field::<String>(0, 4)?)
        .bind(key.field::<String>(1, 4)?)
        .bind(key.field::<String>(3, 4)?)
        .bind(case_id))
}

fn totals_key(columns: &mut Columns<'_>) -> Option<String> {
    let (day, tier): (String, String) = (columns.next()?, columns.next()?);
    let model: String = columns.next()?;
    let case_id = match columns.next::<&[u8]>()? {
        [] => String::new(),
        id => CaseId::from_bytes(id.try_into().ok()?).to_string(),
    };
    Some(format!("{day}/{tier}/{case_id}/{model}"))
}

fn read_case(row: &SqliteRow) -> Option<CaseRow> {
    let mut columns = Columns::of(row);
    let case_id = CaseId::from_bytes(columns.id()?);
    let version = CaseVersion::new(columns.number()?)?;
    let published_at = columns.instant()?;
    Some(CaseRow {
        case_id,
        version,
        published_at,
        content: stored_json::<CaseContent>(columns.next()?)?.1,
    })
}

fn read_user(row: &SqliteRow) -> Option<UserRow> {
    let mut columns = Columns::of(row);
    let id = UserId::from_bytes(columns.id()?);
    let kind: String = columns.next()?;
    serde_json::from_value::<UserKind>(Value::String(kind.clone())).ok()?;
    Some(UserRow {
        id,
        kind,
        settings: stored_json::<UserSettings>(columns.next()?)?.1,
        created_at: columns.instant()?,
    })
}

fn read_award(row: &SqliteRow) -> Option<AwardRow> {
    let mut columns = Columns::of(row);
    Some(AwardRow {
        user_id: UserId::from_bytes(columns.id()?),
        badge: columns.next()?,
        awarded_at: columns.instant()?,
    })
}

fn read_feedback(row: &SqliteRow) -> Option<FeedbackRow> {
    let mut columns = Columns::of(row);
    let kept = read_kept_columns(&mut columns)?;
    let reviewer = match columns.next::<Option<&[u8]>>()? {
        Some(id) => Some(UserId::from_bytes(id.try_into().ok()?)),
        None => None,
    };
    Some(FeedbackRow {
        position: KeyPosition(kept.position.try_into().ok()?),
        key: kept.key,
        feedback: kept.feedback,
        reviewer,
        reviewed_at: columns.optional_instant()?,
    })
}

fn read_day(row: &SqliteRow) -> Option<SpendDayRow> {
    let mut columns = Columns::of(row);
    Some(SpendDayRow {
        day: columns.next::<&str>()?.parse().ok()?,
        spent: MicroDollars::new(columns.number()?),
        set_aside: MicroDollars::new(columns.number()?),
    })
}

fn read_scope(row: &SqliteRow) -> Option<SpendScopeRow> {
    let mut columns = Columns::of(row);
    Some(SpendScopeRow {
        scope: columns.next::<&str>()?.parse().ok()?,
        spent: MicroDollars::new(columns.number()?),
        set_aside: MicroDollars::new(columns.number()?),
    })
}

fn read_reservation(row: &SqliteRow) -> Option<ReservationRow> {
    let mut columns = Columns::of(row);
    Some(ReservationRow {
        id: ReservationId::from_bytes(columns.id()?),
        day: columns.next::<&str>()?.parse().ok()?,
        amount: MicroDollars::new(columns.number()?),
        settled: columns.number::<u8>()? == 1,
        purpose: read_purpose(&mut columns)?,
        user_id: read_user_id(&mut columns)?,
    })
}

fn read_event(row: &SqliteRow) -> Option<EventRow> {
    let mut columns = Columns::of(row);
    let _sequence: i64 = columns.next()?;
    let user_id = UserId::from_bytes(columns.id()?);
    let kind: String = columns.next()?;
    let (body, stored) = stored_json::<EventBody>(columns.next()?)?;
    if body.kind() != kind {
        return None;
    }
    Some(EventRow {
        user_id,
        kind,
        body: stored,
        recorded_at: columns.instant()?,
    })
}

fn read_cursor(row: &SqliteRow) -> Option<CursorRow> {
    let mut columns = Columns::of(row);
    let reader: String = columns.next()?;
    ReaderName::new(&reader)?;
    Some(CursorRow {
        reader,
        events_read: columns.number()?,
    })
}

/// A text, if it can be read as what it is for. It is carried as it stands, with fields that only a
/// newer program knows.
fn stored_json<T: DeserializeOwned>(text: String) -> Option<(T, StoredJson)> {
    let value = serde_json::from_str(&text).ok()?;
    let sense: JsonSense = serde_json::from_str(&text).ok()?;
    Some((value, StoredJson::new(text, sense)))
}
