use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use medcards_core::answer::Answer;
use medcards_core::case::{CaseContent, CaseFilter, CaseVersion};
use medcards_core::chat::ChatTurn;
use medcards_core::feedback::{Feedback, KeyPosition};
use medcards_core::job::{DeadJob, JobKind, JobOrder};
use medcards_core::shard::BUCKETS;
use medcards_core::spend::{MicroDollars, SpendRow};
use medcards_core::transfer::{
    AwardRow, Batch, CaseRow, CursorRow, DeadJobRow, EventRow, FeedbackRow, Fingerprint, JobKeyRow,
    JobRow, JsonSense, Part, Place, Progress, ReservationRow, Row, SpendDayRow, SpendScopeRow,
    Stand, Step, StoredJson, TargetState, TransferSource, TransferTarget, UserRow,
};
use medcards_core::{CaseId, Error, ErrorKind, JobId, ReservationId, Result, Timestamp, UserId};
use sqlx::postgres::PgRow;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use crate::PgStore;
use crate::answers::{bucket, confidence, read_answer};
use crate::cases::{FilterColumns, stored};
use crate::chats::{read_summary, read_turn};
use crate::column::{Columns, instant, saturated};
use crate::config::PgConfig;
use crate::copy::CopyRows;
use crate::corrections::read_correction;
use crate::error::{self, Failure};
use crate::jobs::read_dead;
use crate::node::{Node, Transaction, transact};
use crate::partition::Month;
use crate::precomputed::read_kept_columns;
use crate::session::{Role, Statement};
use crate::shared_answers::read_shared_answer;
use crate::spend::{read_purpose, read_row};
use crate::store::{Lock, check_server};
use crate::words::{IndexedWords, config_of};

const COUNT: &str = "count rows";
const READ: &str = "read rows";
const SURVEY: &str = "look at database";
const BEGIN: &str = "begin transfer";
const PROGRESS: &str = "find progress";
const WRITE: &str = "write rows";
const END: &str = "end transfer";

/// The reader of the log that kept figures in earlier programs: it went nowhere since.
const FORMER_READER: &str = "stats";

/// Of our tables, those that must be empty before something is moved in, with what is in them.
const SURVEY_SQL: &str = "
SELECT concat_ws(', ',
    CASE WHEN EXISTS (SELECT FROM case_versions) THEN 'cases' END,
    CASE WHEN EXISTS (SELECT FROM users) THEN 'users' END,
    CASE WHEN EXISTS (SELECT FROM precomputed_feedback) THEN 'feedback' END,
    CASE WHEN EXISTS (SELECT FROM spend_days) OR EXISTS (SELECT FROM spend_scopes)
           OR EXISTS (SELECT FROM spend_reservations)
           OR EXISTS (SELECT FROM spend_totals) THEN 'spending' END,
    CASE WHEN EXISTS (SELECT FROM interactions) THEN 'answers' END,
    CASE WHEN EXISTS (SELECT FROM events) THEN 'events' END,
    CASE WHEN EXISTS (SELECT FROM cursors WHERE transaction_id <> '0') THEN 'cursors' END,
    CASE WHEN EXISTS (SELECT FROM user_stats) OR EXISTS (SELECT FROM user_specialty_stats)
           OR EXISTS (SELECT FROM case_stats) THEN 'figures' END)";

/// The same of the tables of chats, which a database in an older format does not have.
const SURVEY_CHATS_SQL: &str = "
SELECT concat_ws(', ',
    CASE WHEN EXISTS (SELECT FROM chat_turns) OR EXISTS (SELECT FROM chat_summaries)
         THEN 'chats' END,
    CASE WHEN EXISTS (SELECT FROM shared_answers) THEN 'shared answers' END)";

/// The same of the tables of views and jobs.
const SURVEY_LEARNING_SQL: &str = "
SELECT concat_ws(', ',
    CASE WHEN EXISTS (SELECT FROM key_corrections) THEN 'key corrections' END,
    CASE WHEN EXISTS (SELECT FROM views) OR EXISTS (SELECT FROM awards)
           OR EXISTS (SELECT FROM notices) THEN 'views' END,
    CASE WHEN EXISTS (SELECT FROM jobs) OR EXISTS (SELECT FROM dead_jobs)
           OR EXISTS (SELECT FROM job_keys) THEN 'jobs' END)";

/// Whether our tables are there, some that only have their names, the record of transfers, chats, and
/// views; whether tables may be made; the encoding.
const FORMAT_SQL: &str = "
SELECT to_regclass('medcards_migrations') IS NOT NULL,
       coalesce(to_regclass('users'), to_regclass('cases'), to_regclass('events')) IS NOT NULL,
       to_regclass('transfers') IS NOT NULL,
       to_regclass('chat_turns') IS NOT NULL,
       to_regclass('view_rows') IS NOT NULL,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),
       current_setting('server_encoding')";

const FIND_TRANSFER_SQL: &str = "SELECT source, ended_at IS NOT NULL FROM transfers LIMIT 1";

const IS_HALF_MOVED_SQL: &str = "SELECT EXISTS (SELECT FROM transfers WHERE ended_at IS NULL)";

const BEGIN_TRANSFER_SQL: &str = "INSERT INTO transfers (source) VALUES ($1)";

const MAKE_PARTS_SQL: &str = "
INSERT INTO transfer_parts (part, rows, place, is_done)
SELECT part, 0, NULL, false FROM unnest($1::text[]) AS part";

/// Waits for a step that is being committed, whose mover may be gone.
const PROGRESS_SQL: &str =
    "SELECT rows, place, is_done FROM transfer_parts WHERE part = $1 FOR UPDATE";

/// Moves the mark of a part if it is where the step begins, and locks it until the end of the
/// transaction; says how many buckets this shard owns.
const MARK_SQL: &str = "
UPDATE transfer_parts SET rows = rows + $2, place = $3, is_done = $4
WHERE part = $1 AND place IS NOT DISTINCT FROM $5 AND NOT is_done
RETURNING (SELECT count(*) FROM owned_buckets)";

const END_TRANSFER_SQL: &str = "
UPDATE transfers SET ended_at = coalesce(ended_at, now())
WHERE (SELECT bool_and(is_done) FROM transfer_parts)
RETURNING 1";

/// Where nobody has written so far, nothing is known for the planner of statements.
const ANALYZE_SQL: &str = "
ANALYZE cases, case_versions, users, interactions, events, precomputed_feedback, spend_totals,
        chat_turns, chat_summaries, shared_answers, awards, jobs, dead_jobs, job_keys";

const COPY_USERS_SQL: &str = "
COPY users (id, bucket, kind, settings, created_at) FROM STDIN WITH (FORMAT binary)";

const COPY_FEEDBACK_SQL: &str = "
COPY precomputed_feedback (position, key, text, origin, model, prompt_version, review, cost,
                           written_at, reviewer, reviewed_at)
FROM STDIN WITH (FORMAT binary)";

/// Keys that are kept later come behind those that were carried.
const POSITIONS_BEHIND_SQL: &str = "
SELECT setval(pg_get_serial_sequence('precomputed_feedback', 'position'),
              (SELECT max(position) FROM precomputed_feedback))";

const COPY_DAYS_SQL: &str = "
COPY spend_days (day, spent, set_aside) FROM STDIN WITH (FORMAT binary)";

const COPY_SCOPES_SQL: &str = "
COPY spend_scopes (scope, day, spent, set_aside) FROM STDIN WITH (FORMAT binary)";

const COPY_RESERVATIONS_SQL: &str = "
COPY spend_reservations (id, day, amount, settled, purpose, user_id)
FROM STDIN WITH (FORMAT binary)";

const COPY_TOTALS_SQL: &str = "
COPY spend_totals (day, tier, model, case_id, resolutions, cost, saved)
FROM STDIN WITH (FORMAT binary)";

const COPY_ANSWERS_SQL: &str = "
COPY interactions (user_id, id, case_id, created_at, time_to_answer_ms, case_version, chosen,
                   bucket, confidence, is_correct, shown)
FROM STDIN WITH (FORMAT binary)";

/// Their transaction and number are those of the copying: steps commit one after the other, so
/// events stand in the order in which they came.
const COPY_EVENTS_SQL: &str = "
COPY events (user_id, recorded_at, bucket, kind, body) FROM STDIN WITH (FORMAT binary)";

const COPY_TURNS_SQL: &str = "
COPY chat_turns (user_id, id, bucket, answer_id, question, started_at, attempt, reply, origin, model,
                 cost, replied_at)
FROM STDIN WITH (FORMAT binary)";

const COPY_SUMMARIES_SQL: &str = "
COPY chat_summaries (user_id, answer_id, bucket, through, text) FROM STDIN WITH (FORMAT binary)";

const COPY_SHARED_ANSWERS_SQL: &str = "
COPY shared_answers (id, case_id, case_version, locale, question, answer, reviewer, reviewed_at)
FROM STDIN WITH (FORMAT binary)";

const COPY_CORRECTIONS_SQL: &str = "
COPY key_corrections (number, case_id, corrected_at, version, right_options, corrected_in)
FROM STDIN WITH (FORMAT binary)";

const COPY_AWARDS_SQL: &str = "
COPY awards (user_id, awarded_at, bucket, badge) FROM STDIN WITH (FORMAT binary)";

/// They are numbered as they come: in the order in which they were enqueued.
const COPY_JOBS_SQL: &str = "
COPY jobs (id, run_at, enqueued_at, attempt, uncounted, user_id, bucket, is_ordered, is_claimed, kind,
           payload)
FROM STDIN WITH (FORMAT binary)";

const COPY_DEAD_JOBS_SQL: &str = "
COPY dead_jobs (id, enqueued_at, died_at, attempts, user_id, bucket, is_ordered, kind, payload,
                reason)
FROM STDIN WITH (FORMAT binary)";

const COPY_JOB_KEYS_SQL: &str = "
COPY job_keys (job_id, kept_until, kind, key) FROM STDIN WITH (FORMAT binary)";

/// Rows come by case and version, so the last one of a case is its current one so far.
const INSERT_CASES_SQL: &str = "
WITH given AS MATERIALIZED (
    SELECT ordered.*, nextval('publications') AS publication
    FROM (
        SELECT * FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::timestamptz[],
                             $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
                             $11::text[], $12::text[], $13::bigint[])
        WITH ORDINALITY AS given (case_id, version, specialty_folded, lang, published_at,
                                  content, words, first_words, more_words, config,
                                  source, external_id, pick, at)
        ORDER BY at
    ) AS ordered
), superseded AS (
    UPDATE case_versions SET superseded_by = next.publication
    FROM (SELECT case_id, min(publication) AS publication FROM given GROUP BY case_id) AS next
    WHERE case_versions.case_id = next.case_id AND superseded_by IS NULL
), current AS (
    INSERT INTO cases (id, source, external_id, current_version, specialty_folded, lang, pick,
                       published_at)
    SELECT DISTINCT ON (case_id) case_id, source, external_id, version, specialty_folded, lang,
           pick, published_at
    FROM given ORDER BY case_id, version DESC
    ON CONFLICT (id) DO UPDATE SET
        current_version = excluded.current_version,
        specialty_folded = excluded.specialty_folded, lang = excluded.lang,
        published_at = excluded.published_at
)
INSERT INTO case_versions (case_id, version, specialty_folded, lang, published_at, publication,
                           superseded_by, content, words, stems, config)
SELECT case_id, version, specialty_folded, lang, published_at, publication,
       lead(publication) OVER (PARTITION BY case_id ORDER BY version),
       content::jsonb, words::tsvector,
       setweight(to_tsvector(config::regconfig, first_words), 'A')
           || to_tsvector(config::regconfig, more_words), config
FROM given";

/// After so many events, or at the start.
const INSERT_CURSOR_SQL: &str = "
INSERT INTO cursors (reader, transaction_id, sequence)
SELECT $1, coalesce(last.transaction_id, '0'), coalesce(last.sequence, 0)
FROM (SELECT) AS one LEFT JOIN (
    SELECT transaction_id, sequence FROM events ORDER BY transaction_id, sequence
    OFFSET greatest($2::bigint - 1, 0) LIMIT least($2::bigint, 1)
) AS last ON true";

const CASES_SQL: &str = "
SELECT case_id, version, published_at, content::text FROM case_versions
WHERE (case_id, version) > ($1, $2) ORDER BY case_id, version LIMIT $3";

/// No id is less than the first that there can be, so nothing can be asked to be greater than it.
const FIRST_USERS_SQL: &str =
    "SELECT id, kind, settings::text, created_at FROM users ORDER BY id LIMIT $1";

const USERS_SQL: &str = "
SELECT id, kind, settings::text, created_at FROM users WHERE id > $1 ORDER BY id LIMIT $2";

const FEEDBACK_SQL: &str = "
SELECT position, key, text, origin, model, prompt_version, review, cost, written_at, reviewer,
       reviewed_at
FROM precomputed_feedback WHERE position > $1 ORDER BY position LIMIT $2";

const DAYS_SQL: &str = "
SELECT day, spent, set_aside FROM spend_days
WHERE day > $1::text::date ORDER BY day LIMIT $2";

const SCOPES_SQL: &str = "
SELECT scope, spent, set_aside FROM spend_scopes
WHERE scope > $1 COLLATE \"C\" ORDER BY scope COLLATE \"C\" LIMIT $2";

const FIRST_RESERVATIONS_SQL: &str = "
SELECT id, day, amount, settled, purpose, user_id FROM spend_reservations ORDER BY id LIMIT $1";

const RESERVATIONS_SQL: &str = "
SELECT id, day, amount, settled, purpose, user_id FROM spend_reservations
WHERE id > $1 ORDER BY id LIMIT $2";

/// By where they stand in the table: their key may be null in part, which no index can go on from.
const TOTALS_SQL: &str = "
SELECT day, tier, model, case_id, resolutions, cost, saved, ctid::text FROM spend_totals
WHERE ctid > $1::text::tid ORDER BY ctid LIMIT $2";

const ANSWERS_SQL: &str = "
SELECT user_id, id, case_id, created_at, time_to_answer_ms, case_version, chosen, confidence,
       is_correct, shown
FROM interactions
WHERE (user_id, created_at, id) > ($1, $2::text::timestamptz, $3)
ORDER BY user_id, created_at, id LIMIT $4";

const EVENTS_SQL: &str = "
SELECT transaction_id::text::bigint, sequence, user_id, kind, body::text, recorded_at FROM events
WHERE (transaction_id, sequence) > ($1::bigint::text::xid8, $2)
ORDER BY transaction_id, sequence LIMIT $3";

/// Without that of figures that nobody keeps any more.
const CURSORS_SQL: &str = "
SELECT reader, (
    SELECT count(*) FROM events
    WHERE (events.transaction_id, events.sequence) <= (cursors.transaction_id, cursors.sequence)
)
FROM cursors WHERE reader > $1 COLLATE \"C\" AND reader <> $2
ORDER BY reader COLLATE \"C\" LIMIT $3";

const TURNS_SQL: &str = "
SELECT user_id, id, answer_id, question, started_at, attempt, reply, origin, model, cost, replied_at
FROM chat_turns WHERE (user_id, id) > ($1, $2) ORDER BY user_id, id LIMIT $3";

const SUMMARIES_SQL: &str = "
SELECT user_id, answer_id, through, text FROM chat_summaries
WHERE (user_id, answer_id) > ($1, $2) ORDER BY user_id, answer_id LIMIT $3";

const FIRST_SHARED_ANSWERS_SQL: &str = "
SELECT id, case_id, case_version, locale, question, answer, reviewer, reviewed_at
FROM shared_answers ORDER BY id LIMIT $1";

const SHARED_ANSWERS_SQL: &str = "
SELECT id, case_id, case_version, locale, question, answer, reviewer, reviewed_at
FROM shared_answers WHERE id > $1 ORDER BY id LIMIT $2";

const CORRECTIONS_SQL: &str = "
SELECT number, case_id, version, right_options, corrected_in, corrected_at
FROM key_corrections WHERE number > $1 ORDER BY number LIMIT $2";

const AWARDS_SQL: &str = "
SELECT user_id, badge, awarded_at FROM awards
WHERE (user_id, badge) > ($1, $2 COLLATE \"C\") ORDER BY user_id, badge LIMIT $3";

const JOBS_SQL: &str = "
SELECT sequence, id, kind, payload, user_id, is_ordered, enqueued_at, run_at, attempt, uncounted
FROM jobs WHERE sequence > $1 ORDER BY sequence LIMIT $2";

const DEAD_JOBS_SQL: &str = "
SELECT id, kind, payload, user_id, enqueued_at, attempts, died_at, reason, is_ordered
FROM dead_jobs WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2";

const JOB_KEYS_SQL: &str = "
SELECT kind, key, job_id, kept_until FROM job_keys
WHERE (kind, key) > ($1 COLLATE \"C\", $2 COLLATE \"C\") ORDER BY kind, key LIMIT $3";

/// An instant before all that there can be.
const BEFORE_ALL: &str = "-infinity";

/// The year before which columns cannot hold an instant, with some to spare.
const YEAR_MIN: i16 = -4_000;

#[async_trait]
impl TransferSource for PgStore {
    async fn count_rows(&self, part: Part) -> Result<u64> {
        let sql = match part {
            Part::Cases => "SELECT count(*) FROM case_versions",
            Part::KeyCorrections => "SELECT count(*) FROM key_corrections",
            Part::Users => "SELECT count(*) FROM users",
            Part::Awards => "SELECT count(*) FROM awards",
            Part::Feedback => "SELECT count(*) FROM precomputed_feedback",
            Part::SpendDays => "SELECT count(*) FROM spend_days",
            Part::SpendScopes => "SELECT count(*) FROM spend_scopes",
            Part::Reservations => "SELECT count(*) FROM spend_reservations",
            Part::SpendTotals => "SELECT count(*) FROM spend_totals",
            Part::Answers => "SELECT count(*) FROM interactions",
            Part::Events => "SELECT count(*) FROM events",
            Part::Cursors => "SELECT count(*) FROM cursors WHERE reader <> 'stats'",
            Part::ChatTurns => "SELECT count(*) FROM chat_turns",
            Part::ChatSummaries => "SELECT count(*) FROM chat_summaries",
            Part::SharedAnswers => "SELECT count(*) FROM shared_answers",
            Part::Jobs => "SELECT count(*) FROM jobs",
            Part::DeadJobs => "SELECT count(*) FROM dead_jobs",
            Part::JobKeys => "SELECT count(*) FROM job_keys",
        };
        let rows = self.on_primary(COUNT, || sqlx::query(sql)).await?;
        let count = rows.first().and_then(|row| Columns::of(row).number());
        count.ok_or_else(|| error::corrupt(COUNT, "count"))
    }

    async fn read_rows(&self, part: Part, after: Option<&Place>, limit: usize) -> Result<Batch> {
        let rows = page(part, after, i64::try_from(limit).unwrap_or(i64::MAX))?;
        let rows = self.primary().fetch_once(rows).await;
        let rows = rows.map_err(|failure| failure.during(READ))?;
        let mut batch = Batch::default();
        let mut last = None;
        for row in &rows {
            let key = key(part, row).ok_or_else(|| error::corrupt(READ, part.as_str()))?;
            match value(part, row) {
                Some(value) => batch.rows.push(value),
                None => batch.unreadable.push(format!("row {key} of {part}")),
            }
            last = Some(key);
        }
        if rows.len() == limit {
            batch.next = last.map(Place::new);
        }
        Ok(batch)
    }
}

#[async_trait]
impl TransferTarget for PgStore {
    fn objection(row: &Row) -> Option<&'static str> {
        let far = "an instant or day in it lies before any that Postgres can keep";
        if instants(row).into_iter().flatten().any(is_too_old) {
            return Some(far);
        }
        let has_nul = "a text in it has a NUL character, which Postgres cannot keep";
        match row {
            Row::Answer(answer) if answer.id.instant() != Some(answer.created_at) => {
                Some("its instant is not the one inside its id, by which Postgres finds it")
            }
            Row::Answer(answer) if !Month::of(answer.created_at).is_kept() => {
                Some("its instant lies outside the years 2000 to 2199")
            }
            Row::Answer(answer) => too_many_versions(answer.case_version),
            Row::Case(case) if case.content.sense().has_nul() => Some(has_nul),
            Row::Case(case) => too_many_versions(case.version),
            Row::ChatSummary(summary) if summary.text.contains('\0') => Some(has_nul),
            Row::ChatTurn(turn) if turn_has_nul(turn) => Some(has_nul),
            Row::Award(award) if award.badge.contains('\0') => Some(has_nul),
            Row::Cursor(cursor) if cursor.reader == FORMER_READER => {
                Some("Postgres kept figures of its own under this name: rename the reader")
            }
            Row::DeadJob(dead) if has_nul_in([&dead.job.payload, &dead.job.reason]) => {
                Some(has_nul)
            }
            Row::Job(job) if job.payload.contains('\0') => Some(has_nul),
            Row::JobKey(key) if key.key.contains('\0') => Some(has_nul),
            Row::KeyCorrection(correction) => {
                too_many_versions(correction.corrected_in.max(correction.version))
            }
            Row::Event(event) if event.body.sense().has_nul() => Some(has_nul),
            Row::Feedback(row) if row.feedback.text.contains('\0') => Some(has_nul),
            Row::Reservation(reservation) if reservation.day.year() < YEAR_MIN => Some(far),
            Row::SharedAnswer(shared) if has_nul_in([&shared.question, &shared.answer]) => {
                Some(has_nul)
            }
            Row::SharedAnswer(shared) => too_many_versions(shared.case_version),
            Row::SpendDay(sums) if sums.day.year() < YEAR_MIN => Some(far),
            Row::SpendScope(sums) if sums.scope.day().year() < YEAR_MIN => Some(far),
            Row::SpendTotal(total) if total.day.year() < YEAR_MIN => Some(far),
            Row::User(user) if user.settings.sense().has_nul() => Some(has_nul),
            Row::Award(_)
            | Row::ChatSummary(_)
            | Row::ChatTurn(_)
            | Row::Cursor(_)
            | Row::DeadJob(_)
            | Row::Event(_)
            | Row::Feedback(_)
            | Row::Job(_)
            | Row::JobKey(_)
            | Row::Reservation(_)
            | Row::SpendDay(_)
            | Row::SpendScope(_)
            | Row::SpendTotal(_)
            | Row::User(_) => None,
        }
    }

    async fn target_state(&self) -> Result<TargetState> {
        let transfer = self.on_primary(SURVEY, || sqlx::query(FIND_TRANSFER_SQL));
        let transfer = transfer.await?;
        let mut contents = self.on_primary(SURVEY, || sqlx::query(SURVEY_SQL)).await?;
        for sql in [SURVEY_CHATS_SQL, SURVEY_LEARNING_SQL] {
            contents.extend(self.on_primary(SURVEY, || sqlx::query(sql)).await?);
        }
        state_of(&transfer, &contents)
    }

    async fn begin_transfer(&self, source: Fingerprint) -> Result<()> {
        let begun: Result<(), Failure> = transact!(self.primary(), |transaction| {
            transaction.execute(Lock::Transfers.take()).await?;
            let transfer = transaction.fetch(sqlx::query(FIND_TRANSFER_SQL)).await?;
            let mut contents = transaction.fetch(sqlx::query(SURVEY_SQL)).await?;
            for sql in [SURVEY_CHATS_SQL, SURVEY_LEARNING_SQL] {
                contents.extend(transaction.fetch(sqlx::query(sql)).await?);
            }
            match state_of(&transfer, &contents)? {
                TargetState::Begun(known) | TargetState::Ended(known) if known == source => Ok(()),
                TargetState::Begun(_) | TargetState::Ended(_) => Err(refused(
                    BEGIN,
                    "the database holds another source, or an earlier state of this one: move into \
                     an empty database",
                )),
                TargetState::Occupied(what) => Err(refused(BEGIN, occupied(&what))),
                TargetState::Empty => {
                    let begin = sqlx::query(BEGIN_TRANSFER_SQL).bind(source.to_string());
                    transaction.execute(begin).await?;
                    let parts: Vec<_> = Part::ALL.map(Part::as_str).into();
                    transaction
                        .execute(sqlx::query(MAKE_PARTS_SQL).bind(parts))
                        .await?;
                    Ok(())
                }
            }
        });
        begun.map_err(|failure| failure.during(BEGIN))
    }

    async fn progress(&self, part: Part) -> Result<Progress> {
        let find = || sqlx::query(PROGRESS_SQL).bind(part.as_str());
        let rows = self.on_primary(PROGRESS, find).await?;
        let read = |row: &PgRow| {
            let mut columns = Columns::of(row);
            let rows = columns.number()?;
            let place = columns.next::<Option<String>>()?;
            let stand = match (columns.next::<bool>()?, place) {
                (true, _) => Stand::End,
                (false, Some(place)) => Stand::After(Place::new(place)),
                (false, None) => Stand::Start,
            };
            Some(Progress { rows, stand })
        };
        match rows.first() {
            Some(row) => read(row).ok_or_else(|| error::corrupt(PROGRESS, "progress")),
            None => Err(Error::new(
                ErrorKind::Conflict,
                PROGRESS,
                "nothing is being moved into this database: begin first",
            )),
        }
    }

    async fn write_step(&self, step: &Step) -> Result<()> {
        let written = self.write(step).await;
        written.map_err(|failure| match failure.is_of_duplicate() {
            true => Error::new(
                ErrorKind::Conflict,
                WRITE,
                "a row is there already: somebody else writes to the database; stop it, and move \
                 into an empty one",
            ),
            false => failure.during(WRITE),
        })
    }

    async fn end_transfer(&self) -> Result<()> {
        let ended: Result<(), Failure> = transact!(self.primary(), |transaction| {
            let ended = transaction.fetch(sqlx::query(END_TRANSFER_SQL)).await?;
            if ended.is_empty() {
                let context = "not everything was carried: go on with it";
                return Err(refused(END, context));
            }
            transaction.lease().run(ANALYZE_SQL).await
        });
        ended.map_err(|failure| failure.during(END))
    }
}

impl PgStore {
    /// Looks at a database that something is to be moved into, and changes nothing: not even its
    /// tables are made.
    ///
    /// # Errors
    /// - [`Unavailable`](ErrorKind::Unavailable), [`Denied`](ErrorKind::Denied) and
    ///   [`Invalid`](ErrorKind::Invalid), as [`open`](Self::open) has them; also `Denied` if the
    ///   user may not make tables, and `Invalid` if the database is not in UTF-8.
    pub async fn survey(config: PgConfig) -> Result<TargetState> {
        let config = config.checked()?;
        let node = Node::new(
            config.primary().to_vec(),
            Role::Primary,
            Arc::default(),
            config.limits(),
        )?;
        let surveyed = survey(&node).await;
        node.close();
        surveyed
    }

    async fn write(&self, step: &Step) -> Result<(), Failure> {
        let months: BTreeSet<_> = step.rows.iter().filter_map(month).collect();
        for month in months {
            self.partitions().ensure(self.primary(), month).await?;
        }
        let rows = Prepared::of(step)?;
        transact!(self.primary(), |transaction| {
            mark(&mut transaction, step).await?;
            rows.write(&mut transaction).await
        })
    }
}

async fn survey(node: &Node) -> Result<TargetState> {
    check_server(node).await?;
    let failed = |failure: Failure| failure.during(SURVEY);
    let format = node.fetch(|| sqlx::query(FORMAT_SQL)).await;
    let format = format.map_err(failed)?;
    let read = || {
        let mut columns = Columns::of(format.first()?);
        let tables: (bool, bool) = (columns.next()?, columns.next()?);
        let later = (columns.next()?, columns.next()?, columns.next()?);
        let may_create: bool = columns.next()?;
        Some((tables, later, may_create, columns.next::<String>()?))
    };
    let Some(((is_ours, is_taken), later, may_create, encoding)) = read() else {
        return Err(Failure::Unreadable("server setting").during(SURVEY));
    };
    let (has_transfers, has_chats, has_views): (bool, bool, bool) = later;
    if encoding != "UTF8" {
        let context = format!("the database is in {encoding}: make one with ENCODING 'UTF8'");
        return Err(Error::new(ErrorKind::Invalid, SURVEY, context));
    }
    if !may_create {
        let context = "the user may not make tables: GRANT CREATE ON SCHEMA, or own the database";
        return Err(Error::new(ErrorKind::Denied, SURVEY, context));
    }
    if !is_ours {
        return Ok(match is_taken {
            true => TargetState::Occupied("tables of another program".to_owned()),
            false => TargetState::Empty,
        });
    }
    let contents = node.fetch(|| sqlx::query(SURVEY_SQL)).await;
    let mut contents = contents.map_err(failed)?;
    if has_chats {
        let chats = node.fetch(|| sqlx::query(SURVEY_CHATS_SQL)).await;
        contents.extend(chats.map_err(failed)?);
    }
    if has_views {
        let learning = node.fetch(|| sqlx::query(SURVEY_LEARNING_SQL)).await;
        contents.extend(learning.map_err(failed)?);
    }
    let transfer = match has_transfers {
        true => node.fetch(|| sqlx::query(FIND_TRANSFER_SQL)).await,
        false => Ok(Vec::new()),
    };
    state_of(&transfer.map_err(failed)?, &contents)
}

/// Refuses a database that holds half of a move.
pub(crate) async fn check_not_half_moved(node: &Node) -> Result<(), Failure> {
    let rows = node.fetch(|| sqlx::query(IS_HALF_MOVED_SQL)).await?;
    match rows.first().and_then(|row| Columns::of(row).next()) {
        Some(false) => Ok(()),
        Some(true) => Err(refused(
            crate::store::OPEN,
            "the database holds half of what is being moved into it: finish the move, or use \
             another database",
        )),
        None => Err(Failure::Unreadable("transfer")),
    }
}

fn state_of(transfer: &[PgRow], contents: &[PgRow]) -> Result<TargetState> {
    let unreadable = || error::corrupt(SURVEY, "transfer");
    if let Some(row) = transfer.first() {
        let mut columns = Columns::of(row);
        let source: Option<String> = columns.next();
        let source: Fingerprint = source.ok_or_else(unreadable)?.parse()?;
        let is_ended: Option<bool> = columns.next();
        return Ok(match is_ended.ok_or_else(unreadable)? {
            true => TargetState::Ended(source),
            false => TargetState::Begun(source),
        });
    }
    let contents: Option<Vec<String>> =
        contents.iter().map(|row| Columns::of(row).next()).collect();
    let mut contents = contents.ok_or_else(unreadable)?;
    contents.retain(|what| !what.is_empty());
    Ok(match contents.is_empty() {
        true => TargetState::Empty,
        false => TargetState::Occupied(contents.join(", ")),
    })
}

fn occupied(what: &str) -> String {
    format!(
        "the database has data of its own ({what}): move into an empty one. A server that was \
         started on it has put its deck there, under other ids"
    )
}

fn refused(operation: &'static str, context: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::Refused(Error::new(ErrorKind::Conflict, operation, context))
}

fn turn_has_nul(turn: &ChatTurn) -> bool {
    let reply = turn.reply.as_ref().map_or("", |reply| &reply.text);
    has_nul_in([&turn.question, reply])
}

fn has_nul_in(texts: [&str; 2]) -> bool {
    texts.iter().any(|text| text.contains('\0'))
}

fn is_too_old(instant: Timestamp) -> bool {
    instant
        .to_zoned(medcards_core::jiff::tz::TimeZone::UTC)
        .year()
        < YEAR_MIN
}

/// The instants of a row, but for those of answers, which have a limit of their own.
fn instants(row: &Row) -> [Option<Timestamp>; 2] {
    match row {
        Row::Case(case) => [Some(case.published_at), None],
        Row::ChatTurn(turn) => [
            Some(turn.started_at),
            turn.reply.as_ref().map(|reply| reply.replied_at),
        ],
        Row::Award(award) => [Some(award.awarded_at), None],
        Row::DeadJob(dead) => [Some(dead.job.enqueued_at), Some(dead.job.died_at)],
        Row::Event(event) => [Some(event.recorded_at), None],
        Row::Job(job) => [Some(job.enqueued_at), Some(job.run_at)],
        Row::JobKey(key) => [Some(key.kept_until), None],
        Row::KeyCorrection(correction) => [Some(correction.corrected_at), None],
        Row::Feedback(row) => [Some(row.feedback.written_at), row.reviewed_at],
        Row::SharedAnswer(shared) => [Some(shared.reviewed_at), None],
        Row::User(user) => [Some(user.created_at), None],
        Row::Answer(_)
        | Row::ChatSummary(_)
        | Row::Cursor(_)
        | Row::Reservation(_)
        | Row::SpendDay(_)
        | Row::SpendScope(_)
        | Row::SpendTotal(_) => [None, None],
    }
}

fn too_many_versions(version: CaseVersion) -> Option<&'static str> {
    let is_beyond = i32::try_from(version.get()).is_err();
    is_beyond.then_some("its case has more versions than Postgres can count")
}

fn month(row: &Row) -> Option<Month> {
    match row {
        Row::Answer(answer) => Some(Month::of(answer.created_at)),
        _ => None,
    }
}

/// Moves the mark of a part, if the part stands where the step begins.
async fn mark(transaction: &mut Transaction<'_>, step: &Step) -> Result<(), Failure> {
    let place = |stand: &Stand| match stand {
        Stand::After(place) => Some(place.as_str().to_owned()),
        Stand::Start | Stand::End => None,
    };
    let mark = sqlx::query(MARK_SQL)
        .bind(step.part.as_str())
        .bind(i64::try_from(step.rows.len()).unwrap_or(i64::MAX))
        .bind(place(&step.to))
        .bind(step.to == Stand::End)
        .bind(place(&step.from));
    let Some(row) = transaction.fetch_optional(mark).await? else {
        let context = "the part does not stand where it should: somebody else carries it, too";
        return Err(refused(WRITE, context));
    };
    let owned: Option<i64> = Columns::of(&row).next();
    if owned != Some(BUCKETS.into()) {
        let context = "the database is one of several shards: move into a single one, and divide \
                       it then";
        return Err(refused(WRITE, context));
    }
    Ok(())
}

/// Rows as the server takes them, so that they can be sent again when a transaction gave way.
enum Prepared {
    Nothing,
    Cases(Box<CaseColumns>),
    Copy(&'static str, CopyRows),
    Cursors(Vec<CursorRow>),
}

impl Prepared {
    fn of(step: &Step) -> Result<Self, Failure> {
        if step.rows.is_empty() {
            return Ok(Self::Nothing);
        }
        let statement = match step.part {
            Part::Cases => {
                return CaseColumns::of(&step.rows).map(|columns| Self::Cases(columns.into()));
            }
            Part::Cursors => {
                let cursor = |row: &Row| match row {
                    Row::Cursor(cursor) => Some(cursor.clone()),
                    _ => None,
                };
                return Ok(Self::Cursors(step.rows.iter().filter_map(cursor).collect()));
            }
            Part::Users => COPY_USERS_SQL,
            Part::Feedback => COPY_FEEDBACK_SQL,
            Part::SpendDays => COPY_DAYS_SQL,
            Part::SpendScopes => COPY_SCOPES_SQL,
            Part::Reservations => COPY_RESERVATIONS_SQL,
            Part::SpendTotals => COPY_TOTALS_SQL,
            Part::Answers => COPY_ANSWERS_SQL,
            Part::Events => COPY_EVENTS_SQL,
            Part::ChatTurns => COPY_TURNS_SQL,
            Part::ChatSummaries => COPY_SUMMARIES_SQL,
            Part::SharedAnswers => COPY_SHARED_ANSWERS_SQL,
            Part::KeyCorrections => COPY_CORRECTIONS_SQL,
            Part::Awards => COPY_AWARDS_SQL,
            Part::Jobs => COPY_JOBS_SQL,
            Part::DeadJobs => COPY_DEAD_JOBS_SQL,
            Part::JobKeys => COPY_JOB_KEYS_SQL,
        };
        let mut rows = CopyRows::new();
        for row in &step.rows {
            copied(&mut rows, row);
        }
        Ok(Self::Copy(statement, rows.ended()))
    }

    async fn write(&self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        match self {
            Self::Nothing => {}
            Self::Cases(columns) => {
                transaction.execute(Lock::Publications.take()).await?;
                transaction.execute(columns.insert()).await?;
            }
            Self::Copy(statement, rows) => {
                rows.write(transaction.lease(), statement).await?;
                if *statement == COPY_FEEDBACK_SQL {
                    transaction.fetch(sqlx::query(POSITIONS_BEHIND_SQL)).await?;
                }
            }
            Self::Cursors(cursors) => {
                for cursor in cursors {
                    let insert = sqlx::query(INSERT_CURSOR_SQL)
                        .bind(cursor.reader.clone())
                        .bind(saturated(cursor.events_read));
                    transaction.execute(insert).await?;
                }
            }
        }
        Ok(())
    }
}

/// Writes a row as the columns of the statement for its part.
fn copied(rows: &mut CopyRows, row: &Row) {
    match row {
        Row::Answer(answer) => copied_answer(rows, answer),
        Row::ChatSummary(summary) => {
            rows.row(5).uuid(summary.user_id.as_uuid());
            rows.uuid(summary.answer_id.as_uuid());
            rows.small(bucket(summary.user_id));
            rows.uuid(summary.through.as_uuid()).text(&summary.text);
        }
        Row::ChatTurn(turn) => copied_turn(rows, turn),
        Row::Award(award) => {
            rows.row(4).uuid(award.user_id.as_uuid());
            rows.instant(award.awarded_at).small(bucket(award.user_id));
            rows.text(&award.badge);
        }
        Row::DeadJob(dead) => copied_dead_job(rows, dead),
        Row::Job(job) => copied_job(rows, job),
        Row::JobKey(key) => {
            rows.row(4).uuid(key.job_id.as_uuid());
            rows.instant(key.kept_until);
            rows.text(key.kind.as_str()).text(&key.key);
        }
        Row::KeyCorrection(correction) => {
            rows.row(6).big(saturated(correction.number));
            rows.uuid(correction.case_id.as_uuid());
            rows.instant(correction.corrected_at);
            rows.integer(stored(correction.version));
            rows.integer(correction.right.bits().cast_signed());
            rows.integer(stored(correction.corrected_in));
        }
        Row::Event(event) => {
            rows.row(5).uuid(event.user_id.as_uuid());
            rows.instant(event.recorded_at).small(bucket(event.user_id));
            rows.text(&event.kind).jsonb(event.body.text());
        }
        Row::Feedback(row) => copied_feedback(rows, row),
        Row::Reservation(reservation) => {
            rows.row(6)
                .uuid(reservation.id.as_uuid())
                .day(reservation.day);
            rows.big(saturated(reservation.amount.get()));
            rows.bool(reservation.settled);
            rows.optional(reservation.purpose, |rows, purpose| {
                rows.text(purpose.as_str())
            });
            rows.optional(reservation.user_id, |rows, user_id| {
                rows.uuid(user_id.as_uuid())
            });
        }
        Row::SharedAnswer(shared) => {
            rows.row(8).uuid(shared.id.as_uuid());
            rows.uuid(shared.case_id.as_uuid());
            rows.integer(stored(shared.case_version));
            rows.text(shared.locale.as_str()).text(&shared.question);
            rows.text(&shared.answer).uuid(shared.reviewer.as_uuid());
            rows.instant(shared.reviewed_at);
        }
        Row::SpendDay(sums) => {
            rows.row(3).day(sums.day).big(saturated(sums.spent.get()));
            rows.big(saturated(sums.set_aside.get()));
        }
        Row::SpendScope(sums) => {
            rows.row(4).text(&sums.scope.to_string());
            rows.day(sums.scope.day()).big(saturated(sums.spent.get()));
            rows.big(saturated(sums.set_aside.get()));
        }
        Row::SpendTotal(total) => copied_total(rows, total),
        Row::User(user) => {
            rows.row(5).uuid(user.id.as_uuid()).small(bucket(user.id));
            rows.text(&user.kind).jsonb(user.settings.text());
            rows.instant(user.created_at);
        }
        // They are not copied.
        Row::Case(_) | Row::Cursor(_) => {}
    }
}

fn copied_job(rows: &mut CopyRows, job: &JobRow) {
    rows.row(11).uuid(job.id.as_uuid()).instant(job.run_at);
    rows.instant(job.enqueued_at).big(job.attempt.into());
    rows.big(job.uncounted.into());
    copied_owner(rows, job.user_id, job.order);
    // Claims end with the move: whoever has one works for the place where the job was.
    rows.bool(false);
    rows.text(job.kind.as_str()).text(&job.payload);
}

fn copied_dead_job(rows: &mut CopyRows, dead: &DeadJobRow) {
    let DeadJobRow { job, order } = dead;
    rows.row(10).uuid(job.id.as_uuid()).instant(job.enqueued_at);
    rows.instant(job.died_at).big(job.attempts.into());
    copied_owner(rows, job.user_id, *order);
    rows.text(job.kind.as_str()).text(&job.payload);
    rows.text(&job.reason);
}

/// Whom a job is for, with the bucket, and whether it waits for others of the same user.
fn copied_owner(rows: &mut CopyRows, user_id: Option<UserId>, order: JobOrder) {
    rows.optional(user_id, |rows, user_id| rows.uuid(user_id.as_uuid()));
    rows.optional(user_id.map(bucket), CopyRows::small);
    rows.bool(order == JobOrder::OfUser);
}

fn copied_answer(rows: &mut CopyRows, answer: &Answer) {
    rows.row(11).uuid(answer.user_id.as_uuid());
    rows.uuid(answer.id.as_uuid())
        .uuid(answer.case_id.as_uuid());
    rows.instant(answer.created_at);
    rows.optional(answer.time_to_answer_ms, |rows, ms| rows.big(ms.into()));
    rows.integer(stored(answer.case_version));
    rows.integer(answer.chosen.bits().cast_signed());
    rows.small(bucket(answer.user_id));
    rows.optional(confidence(answer), CopyRows::small);
    rows.bool(answer.is_correct).raw(answer.shown.positions());
}

fn copied_turn(rows: &mut CopyRows, turn: &ChatTurn) {
    rows.row(12).uuid(turn.user_id.as_uuid());
    rows.uuid(turn.id.as_uuid()).small(bucket(turn.user_id));
    rows.uuid(turn.answer_id.as_uuid()).text(&turn.question);
    rows.instant(turn.started_at).big(turn.attempt.into());
    let reply = turn.reply.as_ref();
    rows.optional(reply, |rows, reply| rows.text(&reply.text));
    rows.optional(reply, |rows, reply| rows.text(reply.origin.as_str()));
    let model = reply.and_then(|reply| reply.model.as_ref());
    rows.optional(model, |rows, model| rows.text(model.as_str()));
    rows.optional(reply, |rows, reply| rows.big(saturated(reply.cost.get())));
    rows.optional(reply, |rows, reply| rows.instant(reply.replied_at));
}

fn copied_feedback(rows: &mut CopyRows, row: &FeedbackRow) {
    let Feedback {
        text,
        origin,
        model,
        prompt_version,
        review,
        cost,
        written_at,
        audience: _,
    } = &row.feedback;
    rows.row(11).big(saturated(row.position.0));
    rows.text(&row.key.to_string())
        .text(text)
        .text(origin.as_str());
    rows.optional(model.as_ref(), |rows, model| rows.text(model.as_str()));
    rows.optional(*prompt_version, |rows, version| {
        rows.big(version.get().into())
    });
    rows.text(review.as_str()).big(saturated(cost.get()));
    rows.instant(*written_at);
    rows.optional(row.reviewer.as_ref(), |rows, user| {
        rows.uuid(user.as_uuid())
    });
    rows.optional(row.reviewed_at, CopyRows::instant);
}

fn copied_total(rows: &mut CopyRows, total: &SpendRow) {
    rows.row(7).day(total.day).text(total.tier.as_str());
    rows.optional(total.model.as_ref(), |rows, model| {
        rows.text(model.as_str())
    });
    rows.optional(total.case_id.as_ref(), |rows, id| rows.uuid(id.as_uuid()));
    rows.big(saturated(total.resolutions))
        .big(saturated(total.cost.get()));
    rows.big(saturated(total.saved.get()));
}

/// Versions of cases, column by column, with the words of their index.
#[derive(Default)]
struct CaseColumns {
    ids: Vec<Uuid>,
    versions: Vec<i32>,
    specialties: Vec<Option<String>>,
    langs: Vec<Option<String>>,
    published_at: Vec<jiff_sqlx::Timestamp>,
    contents: Vec<String>,
    words: Vec<String>,
    leading: Vec<String>,
    others: Vec<String>,
    configs: Vec<&'static str>,
    sources: Vec<String>,
    external_ids: Vec<String>,
    picks: Vec<i64>,
}

impl CaseColumns {
    fn of(rows: &[Row]) -> Result<Self, Failure> {
        let mut columns = Self::default();
        for row in rows {
            if let Row::Case(case) = row {
                columns.push(case)?;
            }
        }
        Ok(columns)
    }

    fn push(&mut self, case: &CaseRow) -> Result<(), Failure> {
        let content: Result<CaseContent, _> = serde_json::from_str(case.content.text());
        let content = content.map_err(|_damaged| Failure::Unreadable("case"))?;
        let filter = FilterColumns::of(&CaseFilter {
            specialty: content.specialty().map(str::to_owned),
            locale: Some(content.locale()),
        });
        let words = IndexedWords::of(&content);
        self.ids.push(*case.case_id.as_uuid());
        self.versions.push(stored(case.version));
        self.specialties.push(filter.specialty);
        self.langs.push(filter.lang);
        self.published_at.push(instant(case.published_at));
        self.contents.push(case.content.text().to_owned());
        self.words.push(words.vector);
        self.leading.push(words.leading);
        self.others.push(words.others);
        self.configs.push(config_of(content.locale().language()));
        self.sources.push(content.source().to_owned());
        self.external_ids.push(content.external_id().to_owned());
        self.picks
            .push(xxh3_64(case.case_id.as_bytes()).cast_signed());
        Ok(())
    }

    fn insert(&self) -> Statement {
        sqlx::query(INSERT_CASES_SQL)
            .bind(self.ids.clone())
            .bind(self.versions.clone())
            .bind(self.specialties.clone())
            .bind(self.langs.clone())
            .bind(self.published_at.clone())
            .bind(self.contents.clone())
            .bind(self.words.clone())
            .bind(self.leading.clone())
            .bind(self.others.clone())
            .bind(self.configs.clone())
            .bind(self.sources.clone())
            .bind(self.external_ids.clone())
            .bind(self.picks.clone())
    }
}

/// The statement for the rows after a place.
fn page(part: Part, after: Option<&Place>, limit: i64) -> Result<Statement> {
    let id = |index, fields| match after {
        Some(place) => place.field::<Uuid>(index, fields),
        None => Ok(Uuid::nil()),
    };
    let number = |index, fields| match after {
        Some(place) => place.field::<i64>(index, fields),
        None => Ok(0),
    };
    let text = |first: &'static str| match after {
        Some(place) => place.as_str().to_owned(),
        None => first.to_owned(),
    };
    Ok(match part {
        Part::Cases => sqlx::query(CASES_SQL)
            .bind(id(0, 2)?)
            .bind(i32::try_from(number(1, 2)?).unwrap_or(i32::MAX))
            .bind(limit),
        Part::Users => match after {
            Some(place) => sqlx::query(USERS_SQL)
                .bind(place.field::<Uuid>(0, 1)?)
                .bind(limit),
            None => sqlx::query(FIRST_USERS_SQL).bind(limit),
        },
        Part::Feedback => sqlx::query(FEEDBACK_SQL).bind(number(0, 1)?).bind(limit),
        Part::SpendDays => sqlx::query(DAYS_SQL).bind(text(BEFORE_ALL)).bind(limit),
        Part::SpendScopes => sqlx::query(SCOPES_SQL).bind(text("")).bind(limit),
        Part::Reservations => match after {
            Some(place) => sqlx::query(RESERVATIONS_SQL)
                .bind(place.field::<Uuid>(0, 1)?)
                .bind(limit),
            None => sqlx::query(FIRST_RESERVATIONS_SQL).bind(limit),
        },
        Part::SpendTotals => sqlx::query(TOTALS_SQL).bind(text("(0,0)")).bind(limit),
        Part::Answers => {
            let created_at = match after {
                Some(place) => place.field(1, 3)?,
                None => BEFORE_ALL.to_owned(),
            };
            sqlx::query(ANSWERS_SQL)
                .bind(id(0, 3)?)
                .bind(created_at)
                .bind(id(2, 3)?)
                .bind(limit)
        }
        Part::Events => sqlx::query(EVENTS_SQL)
            .bind(number(0, 2)?)
            .bind(number(1, 2)?)
            .bind(limit),
        Part::Cursors => sqlx::query(CURSORS_SQL)
            .bind(text(""))
            .bind(FORMER_READER)
            .bind(limit),
        Part::ChatTurns => sqlx::query(TURNS_SQL)
            .bind(id(0, 2)?)
            .bind(id(1, 2)?)
            .bind(limit),
        Part::ChatSummaries => sqlx::query(SUMMARIES_SQL)
            .bind(id(0, 2)?)
            .bind(id(1, 2)?)
            .bind(limit),
        Part::SharedAnswers => match after {
            Some(place) => sqlx::query(SHARED_ANSWERS_SQL)
                .bind(place.field::<Uuid>(0, 1)?)
                .bind(limit),
            None => sqlx::query(FIRST_SHARED_ANSWERS_SQL).bind(limit),
        },
        Part::KeyCorrections => sqlx::query(CORRECTIONS_SQL).bind(number(0, 1)?).bind(limit),
        Part::Awards => {
            let (user_id, badge) = match after.map(Place::as_str) {
                Some(place) => two_of(place)?,
                None => (Uuid::nil(), String::new()),
            };
            sqlx::query(AWARDS_SQL)
                .bind(user_id)
                .bind(badge)
                .bind(limit)
        }
        Part::Jobs => sqlx::query(JOBS_SQL).bind(number(0, 1)?).bind(limit),
        Part::DeadJobs => {
            let after = after.map(|place| place.field::<Uuid>(0, 1)).transpose()?;
            sqlx::query(DEAD_JOBS_SQL).bind(after).bind(limit)
        }
        Part::JobKeys => {
            let (kind, key) = match after.map(Place::as_str) {
                Some(place) => two_of(place)?,
                None => (String::new(), String::new()),
            };
            sqlx::query(JOB_KEYS_SQL).bind(kind).bind(key).bind(limit)
        }
    })
}

/// What stands before the first slash of a place, and all that stands behind it.
fn two_of<T: std::str::FromStr>(place: &str) -> Result<(T, String)> {
    let read = place.split_once('/');
    let read = read.and_then(|(first, rest)| Some((first.parse().ok()?, rest.to_owned())));
    read.ok_or_else(|| {
        let context = "the place is not one of this store: begin the part anew";
        Error::new(ErrorKind::Invalid, READ, context)
    })
}

/// The place of a row.
fn key(part: Part, row: &PgRow) -> Option<String> {
    let mut columns = Columns::of(row);
    Some(match part {
        Part::Cases => format!("{}/{}", columns.id()?, columns.next::<i32>()?),
        Part::Users | Part::Reservations | Part::SharedAnswers => columns.id()?.to_string(),
        Part::ChatTurns | Part::ChatSummaries => format!("{}/{}", columns.id()?, columns.id()?),
        Part::Feedback | Part::KeyCorrections | Part::Jobs => columns.next::<i64>()?.to_string(),
        Part::Awards => format!("{}/{}", columns.id()?, columns.next::<&str>()?),
        Part::DeadJobs => columns.id()?.to_string(),
        Part::JobKeys => format!("{}/{}", columns.next::<&str>()?, columns.next::<&str>()?),
        Part::SpendDays => columns.day()?.to_string(),
        Part::SpendTotals => Columns::at(row, 7).next()?,
        Part::Answers => {
            let (user_id, id) = (columns.id()?, columns.id()?);
            let _case_id = columns.id()?;
            format!("{user_id}/{}/{id}", columns.instant()?)
        }
        Part::Events => format!("{}/{}", columns.next::<i64>()?, columns.next::<i64>()?),
        Part::Cursors | Part::SpendScopes => columns.next()?,
    })
}

fn value(part: Part, row: &PgRow) -> Option<Row> {
    let mut columns = Columns::of(row);
    Some(match part {
        Part::Cases => Row::Case(CaseRow {
            case_id: CaseId::from_uuid(columns.id()?),
            version: CaseVersion::new(columns.integer()?)?,
            published_at: columns.instant()?,
            content: stored_json(columns.next()?)?,
        }),
        Part::Users => Row::User(UserRow {
            id: UserId::from_uuid(columns.id()?),
            kind: columns.next()?,
            settings: stored_json(columns.next()?)?,
            created_at: columns.instant()?,
        }),
        Part::Feedback => {
            let kept = read_kept_columns(&mut columns)?;
            Row::Feedback(FeedbackRow {
                position: KeyPosition(kept.position.try_into().ok()?),
                key: kept.key,
                feedback: kept.feedback,
                reviewer: columns.next::<Option<Uuid>>()?.map(UserId::from_uuid),
                reviewed_at: columns
                    .next::<Option<jiff_sqlx::Timestamp>>()?
                    .map(jiff_sqlx::Timestamp::to_jiff),
            })
        }
        Part::SpendDays => Row::SpendDay(SpendDayRow {
            day: columns.day()?,
            spent: MicroDollars::new(columns.number()?),
            set_aside: MicroDollars::new(columns.number()?),
        }),
        Part::SpendScopes => Row::SpendScope(SpendScopeRow {
            scope: columns.next::<&str>()?.parse().ok()?,
            spent: MicroDollars::new(columns.number()?),
            set_aside: MicroDollars::new(columns.number()?),
        }),
        Part::Reservations => Row::Reservation(ReservationRow {
            id: ReservationId::from_uuid(columns.id()?),
            day: columns.day()?,
            amount: MicroDollars::new(columns.number()?),
            settled: columns.next()?,
            purpose: read_purpose(&mut columns)?,
            user_id: columns.next::<Option<Uuid>>()?.map(UserId::from_uuid),
        }),
        Part::SpendTotals => Row::SpendTotal(read_row(row)?),
        Part::Answers => Row::Answer(read_answer(row)?),
        Part::Events => {
            let _position = (columns.next::<i64>()?, columns.next::<i64>()?);
            Row::Event(EventRow {
                user_id: UserId::from_uuid(columns.id()?),
                kind: columns.next()?,
                body: stored_json(columns.next()?)?,
                recorded_at: columns.instant()?,
            })
        }
        Part::Cursors => Row::Cursor(CursorRow {
            reader: columns.next()?,
            events_read: columns.number()?,
        }),
        Part::ChatTurns => Row::ChatTurn(read_turn(row)?),
        Part::ChatSummaries => Row::ChatSummary(read_summary(row)?),
        Part::SharedAnswers => Row::SharedAnswer(read_shared_answer(row)?),
        Part::KeyCorrections => Row::KeyCorrection(read_correction(row)?),
        Part::Awards => Row::Award(AwardRow {
            user_id: UserId::from_uuid(columns.id()?),
            badge: columns.next()?,
            awarded_at: columns.instant()?,
        }),
        Part::Jobs => {
            let _sequence = columns.next::<i64>()?;
            Row::Job(JobRow {
                id: JobId::from_uuid(columns.id()?),
                kind: JobKind::new(columns.next()?)?,
                payload: columns.next()?,
                user_id: columns.next::<Option<Uuid>>()?.map(UserId::from_uuid),
                order: order(columns.next()?),
                enqueued_at: columns.instant()?,
                run_at: columns.instant()?,
                attempt: columns.number()?,
                uncounted: columns.number()?,
            })
        }
        Part::DeadJobs => {
            let job: DeadJob = read_dead(row)?;
            Row::DeadJob(DeadJobRow {
                job,
                order: order(Columns::at(row, 8).next()?),
            })
        }
        Part::JobKeys => Row::JobKey(JobKeyRow {
            kind: JobKind::new(columns.next()?)?,
            key: columns.next()?,
            job_id: JobId::from_uuid(columns.id()?),
            kept_until: columns.instant()?,
        }),
    })
}

fn order(is_ordered: bool) -> JobOrder {
    match is_ordered {
        true => JobOrder::OfUser,
        false => JobOrder::Any,
    }
}

fn stored_json(text: String) -> Option<StoredJson> {
    let sense: JsonSense = serde_json::from_str(&text).ok()?;
    Some(StoredJson::new(text, sense))
}
