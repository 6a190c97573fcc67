//! Figures of users and cases, as views of the answer log.
//!
//! One transaction takes the next events behind the cursor `stats`, adds what they say and moves the
//! cursor: so each event counts once, whatever is killed in between. The cursor's row is locked
//! meanwhile, so that of all processes one does it at a time.

use std::time::Duration;

use medcards_core::store::Consistency;
use medcards_core::{CaseId, Result, Timestamp, UserId};
use sqlx::postgres::PgRow;

use crate::PgStore;
use crate::column::Columns;
use crate::error::{self, Failure};
use crate::node::{Node, transact};

const PROJECT: &str = "project stats";
const DASHBOARD: &str = "read dashboard";
const LEADERBOARD: &str = "read leaderboard";
const CASE_STATS: &str = "read case stats";
const REFRESH: &str = "refresh stats cache";

/// The reader of the log that keeps the figures.
pub(crate) const READER: &str = "stats";

/// How many events one transaction adds: some 100 ms of work.
pub(crate) const EVENTS_PER_STEP: i64 = 5_000;

/// The most entries of a leaderboard that may be asked for at once.
const LEADERBOARD_MAX: u32 = 100;

const MAKE_CURSOR_SQL: &str = "
INSERT INTO cursors (reader, transaction_id, sequence) VALUES ($1, '0', 0)
ON CONFLICT (reader) DO NOTHING";

/// Nothing if another process is at it, or there is no new event: a lock is written to the log of the
/// server, which would never be idle.
const LOCK_CURSOR_SQL: &str = "
SELECT transaction_id::text::bigint, sequence FROM cursors
WHERE reader = $1 AND EXISTS (
    SELECT FROM events
    WHERE (events.transaction_id, events.sequence) > (cursors.transaction_id, cursors.sequence)
      AND events.transaction_id < pg_snapshot_xmin(pg_current_snapshot())
)
FOR UPDATE SKIP LOCKED";

/// Adds what the next events say to all figures, and moves the cursor; returns how many there were
/// and whether there may be more. Rows are changed in the order of their keys.
const STEP_SQL: &str = "
WITH batch AS MATERIALIZED (
    SELECT transaction_id, sequence, user_id, bucket,
           (body #>> '{answer,case_id}')::uuid AS case_id,
           (body #>> '{answer,case_version}')::integer AS case_version,
           (body #>> '{answer,is_correct}')::boolean AS is_correct,
           (body #>> '{answer,time_to_answer_ms}')::bigint AS time_ms,
           (body #>> '{answer,created_at}')::timestamptz AS created_at,
           kind = 'answer_recorded' AS is_answer
    FROM events
    WHERE (transaction_id, sequence) > ($2::bigint::text::xid8, $3)
      AND transaction_id < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY transaction_id, sequence
    LIMIT $4
), answers AS MATERIALIZED (
    SELECT batch.*, coalesce(specialty_folded, '') AS specialty_folded
    FROM batch LEFT JOIN case_versions
      ON case_versions.case_id = batch.case_id AND version = batch.case_version
    WHERE is_answer
), of_users AS (
    INSERT INTO user_stats AS kept (user_id, bucket, answered, correct, last_answered_at)
    SELECT user_id, min(bucket), count(*), count(*) FILTER (WHERE is_correct), max(created_at)
    FROM answers GROUP BY user_id ORDER BY user_id
    ON CONFLICT (user_id) DO UPDATE SET
        answered = kept.answered + excluded.answered,
        correct = kept.correct + excluded.correct,
        last_answered_at = greatest(kept.last_answered_at, excluded.last_answered_at)
), of_specialties AS (
    INSERT INTO user_specialty_stats AS kept (user_id, specialty_folded, bucket, answered, correct)
    SELECT user_id, specialty_folded, min(bucket), count(*), count(*) FILTER (WHERE is_correct)
    FROM answers GROUP BY user_id, specialty_folded ORDER BY user_id, specialty_folded
    ON CONFLICT (user_id, specialty_folded) DO UPDATE SET
        answered = kept.answered + excluded.answered,
        correct = kept.correct + excluded.correct
), of_cases AS (
    INSERT INTO case_stats AS kept (case_id, case_version, answered, correct, timed, time_ms)
    SELECT case_id, case_version, count(*), count(*) FILTER (WHERE is_correct),
           count(time_ms), coalesce(sum(time_ms), 0)
    FROM answers GROUP BY case_id, case_version ORDER BY case_id, case_version
    ON CONFLICT (case_id, case_version) DO UPDATE SET
        answered = kept.answered + excluded.answered,
        correct = kept.correct + excluded.correct,
        timed = kept.timed + excluded.timed,
        time_ms = kept.time_ms + excluded.time_ms
), last AS (
    SELECT transaction_id, sequence FROM batch ORDER BY transaction_id DESC, sequence DESC LIMIT 1
), moved AS (
    UPDATE cursors SET transaction_id = last.transaction_id, sequence = last.sequence
    FROM last WHERE reader = $1
)
SELECT count(*) FROM batch";

const USER_SQL: &str =
    "SELECT answered, correct, last_answered_at FROM user_stats WHERE user_id = $1";

const SPECIALTIES_SQL: &str = "
SELECT specialty_folded, answered, correct FROM user_specialty_stats
WHERE user_id = $1 ORDER BY answered DESC, specialty_folded";

const LEADERBOARD_SQL: &str = "
SELECT user_id, answered, correct FROM user_stats ORDER BY correct DESC, user_id LIMIT $1";

const CASE_STATS_SQL: &str = "
SELECT coalesce(sum(answered), 0)::bigint, coalesce(sum(correct), 0)::bigint,
       coalesce(sum(timed), 0)::bigint, coalesce(sum(time_ms), 0)::bigint
FROM case_stats WHERE case_id = $1";

const REFRESH_SQL: &str = "REFRESH MATERIALIZED VIEW CONCURRENTLY user_stats_cache";

/// A refresh reads all answers, so it may take far longer than a statement of a request.
const REFRESH_WAIT_MAX: Duration = Duration::from_hours(1);

const REFRESH_TIMEOUT_SQL: &str = "SET LOCAL statement_timeout = '1h'";

/// How a user does, as far as the view has read the log: seconds behind, as a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dashboard {
    /// How many answers.
    pub answered: u64,
    /// How many of them right.
    pub correct: u64,
    /// The instant of the latest answer; `None` before the first.
    pub last_answered_at: Option<Timestamp>,
    /// The same for each specialty, the most answered first.
    pub specialties: Vec<SpecialtyStats>,
}

/// How a user does in one specialty.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpecialtyStats {
    /// In lower case; empty for cases that name none.
    pub specialty: String,
    /// How many answers.
    pub answered: u64,
    /// How many of them right.
    pub correct: u64,
}

/// A place on the leaderboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// Who.
    pub user_id: UserId,
    /// How many answers.
    pub answered: u64,
    /// How many of them right, by which the board is ordered.
    pub correct: u64,
}

/// How a case is answered, in all its versions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaseStats {
    /// How many answers.
    pub answered: u64,
    /// How many of them right.
    pub correct: u64,
    /// How many whose time was measured.
    pub timed: u64,
    /// The sum of those times, in milliseconds.
    pub time_ms: u64,
}

impl PgStore {
    /// How a user does. One row and one a specialty are read, however many answers there are.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn dashboard(&self, user_id: UserId, consistency: &Consistency) -> Result<Dashboard> {
        let user = || sqlx::query(USER_SQL).bind(*user_id.as_uuid());
        let rows = self.read(DASHBOARD, consistency, user).await?;
        let Some(row) = rows.first() else {
            return Ok(Dashboard::default());
        };
        let specialties = || sqlx::query(SPECIALTIES_SQL).bind(*user_id.as_uuid());
        let specialties = self.read(DASHBOARD, consistency, specialties).await?;
        let specialty = |row: &PgRow| {
            let mut columns = Columns::of(row);
            Some(SpecialtyStats {
                specialty: columns.next()?,
                answered: columns.number()?,
                correct: columns.number()?,
            })
        };
        let read = || {
            let mut columns = Columns::of(row);
            Some(Dashboard {
                answered: columns.number()?,
                correct: columns.number()?,
                last_answered_at: Some(columns.instant()?),
                specialties: specialties.iter().map(specialty).collect::<Option<_>>()?,
            })
        };
        read().ok_or_else(|| error::corrupt(DASHBOARD, "figure"))
    }

    /// The users with the most right answers, at most 100; equal ones in the order of their ids.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn leaderboard(
        &self,
        limit: u32,
        consistency: &Consistency,
    ) -> Result<Vec<Standing>> {
        let limit = i64::from(limit.min(LEADERBOARD_MAX));
        let board = || sqlx::query(LEADERBOARD_SQL).bind(limit);
        let rows = self.read(LEADERBOARD, consistency, board).await?;
        let standing = |row: &PgRow| {
            let mut columns = Columns::of(row);
            Some(Standing {
                user_id: UserId::from_uuid(columns.id()?),
                answered: columns.number()?,
                correct: columns.number()?,
            })
        };
        let standings: Option<Vec<_>> = rows.iter().map(standing).collect();
        standings.ok_or_else(|| error::corrupt(LEADERBOARD, "figure"))
    }

    /// How a case is answered; zeros for one that nobody answered.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn case_stats(
        &self,
        case_id: CaseId,
        consistency: &Consistency,
    ) -> Result<CaseStats> {
        let stats = || sqlx::query(CASE_STATS_SQL).bind(*case_id.as_uuid());
        let rows = self.read(CASE_STATS, consistency, stats).await?;
        let read = || {
            let mut columns = Columns::of(rows.first()?);
            Some(CaseStats {
                answered: columns.number()?,
                correct: columns.number()?,
                timed: columns.number()?,
                time_ms: columns.number()?,
            })
        };
        read().ok_or_else(|| error::corrupt(CASE_STATS, "figure"))
    }

    /// Adds every event that can be read now to the figures; returns how many there were.
    ///
    /// The store does this by itself every second where it [keeps](crate::Keeping) the database.
    /// Nothing is done while another process is at it.
    ///
    /// # Errors
    /// Those of the storage; what was added until then stays added, once.
    ///
    /// # Cancel safety
    /// A dropped future leaves each event either counted or not yet.
    pub async fn project_stats(&self) -> Result<u64> {
        let mut total = 0;
        loop {
            let added = step(self.primary()).await;
            let added = added.map_err(|failure| failure.during(PROJECT))?;
            total += u64::try_from(added).unwrap_or(0);
            if added < EVENTS_PER_STEP {
                return Ok(total);
            }
        }
    }

    /// Computes the cross-check `user_stats_cache` anew from the answers, while it can be read.
    ///
    /// # Errors
    /// Those of the storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves the old figures or the new ones.
    pub async fn refresh_stats_cache(&self) -> Result<()> {
        let refreshed = refresh_cache(self.primary()).await;
        refreshed.map_err(|failure| failure.during(REFRESH))
    }
}

/// Adds the next events to the figures; returns how many there were.
pub(crate) async fn step(node: &Node) -> Result<i64, Failure> {
    transact!(node, |transaction| {
        transaction
            .execute(sqlx::query(MAKE_CURSOR_SQL).bind(READER))
            .await?;
        let lock = sqlx::query(LOCK_CURSOR_SQL).bind(READER);
        let Some(row) = transaction.fetch_optional(lock).await? else {
            return Ok(0);
        };
        let mut columns = Columns::of(&row);
        let read = (columns.next::<i64>(), columns.next::<i64>());
        let (Some(after), Some(sequence)) = read else {
            return Err(Failure::Unreadable("cursor"));
        };
        let step = sqlx::query(STEP_SQL)
            .bind(READER)
            .bind(after)
            .bind(sequence);
        let row = transaction
            .fetch_optional(step.bind(EVENTS_PER_STEP))
            .await?;
        let added = row.and_then(|row| Columns::of(&row).next::<i64>());
        added.ok_or(Failure::Unreadable("count"))
    })
}

pub(crate) async fn refresh_cache(node: &Node) -> Result<(), Failure> {
    transact!(node, |transaction| {
        transaction.lease().wait_up_to(REFRESH_WAIT_MAX);
        transaction.lease().run(REFRESH_TIMEOUT_SQL).await?;
        transaction.lease().run(REFRESH_SQL).await
    })
}
