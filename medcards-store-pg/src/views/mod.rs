//! The views of the answer log: their editions, their rows, and the badges that outlive them.
//!
//! A commit locks the row of its view and that of its edition, so that of all who apply events one
//! commits at a time, and finds the edition where it thinks or writes nothing.

mod commit;
mod rows;

use std::time::Duration;

use async_trait::async_trait;
use medcards_core::event::LogPosition;
use medcards_core::store::Consistency;
use medcards_core::view::{
    Award, Committed, EditionNumber, EditionOf, EditionState, Item, ROWS_PER_CALL_MAX, RowKey,
    Runner, SET_ASIDE_KEPT_MAX, SetAside, ShelfQuery, StoredRow, ViewCommit, ViewName, ViewState,
    ViewStore,
};
use medcards_core::{Error, ErrorKind, Result, Timestamp, UserId};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::PgStore;
use crate::column::{Columns, instant, saturated};
use crate::error::{self, Failure};
use crate::events::read_position;
use crate::jobs::later;
use crate::node::transact;
use crate::steps::Steps;

const VIEW: &str = "find view";
const LIST: &str = "list views";
const BEGIN: &str = "begin edition";
const LEAD: &str = "take lead";
const SWITCH: &str = "switch edition";
const SET_ASIDE: &str = "list set aside";
const SWEEP: &str = "sweep view";
const AWARDS: &str = "list awards";

macro_rules! view_sql {
    ($rest:literal) => {
        concat!(
            "
SELECT name, announced_transaction_id::text::bigint, announced_sequence, leader, led_until,
       now.number, now.version, now.corrections, now.transaction_id::text::bigint, now.sequence,
       now.set_aside, now.begun_at,
       next.number, next.version, next.corrections, next.transaction_id::text::bigint,
       next.sequence, next.set_aside, next.begun_at
FROM views
LEFT JOIN view_editions AS now ON now.number = current_edition
LEFT JOIN view_editions AS next ON next.number = next_edition ",
            $rest
        )
    };
}

const VIEW_SQL: &str = view_sql!("WHERE name = $1");

const LIST_SQL: &str = view_sql!("ORDER BY name");

/// A view that is new has announced all events that there are.
const MAKE_VIEW_SQL: &str = "
INSERT INTO views (name, announced_transaction_id, announced_sequence)
SELECT $1, coalesce(last.transaction_id, '0'), coalesce(last.sequence, 0)
FROM (SELECT) AS one LEFT JOIN (
    SELECT transaction_id, sequence FROM events
    ORDER BY events.transaction_id DESC, events.sequence DESC LIMIT 1
) AS last ON true
ON CONFLICT (name) DO NOTHING";

/// Whoever changes which editions a view has holds its row.
const LOCK_VIEW_SQL: &str = "SELECT 1 FROM views WHERE name = $1 FOR UPDATE";

const BEGIN_SQL: &str = "
WITH given_up AS (
    UPDATE view_editions SET is_gone = true
    FROM views WHERE views.name = $1 AND number = next_edition
), begun AS (
    INSERT INTO view_editions (view, version, corrections, transaction_id, sequence, set_aside,
                               begun_at, is_gone)
    VALUES ($1, $2, $3, '0', 0, 0, $4, false)
    RETURNING number
)
UPDATE views SET next_edition = begun.number FROM begun WHERE name = $1";

const SWITCH_SQL: &str = "
WITH replaced AS (
    UPDATE view_editions SET is_gone = true
    FROM views WHERE views.name = $1 AND number = current_edition
)
UPDATE views SET current_edition = next_edition, next_edition = NULL WHERE name = $1";

const TAKE_LEAD_SQL: &str = "
WITH led AS (
    UPDATE views SET leader = $2, led_until = $4
    WHERE name = $1 AND (leader IS NULL OR leader = $2 OR led_until < $3)
    RETURNING 1
)
SELECT EXISTS (SELECT FROM views WHERE name = $1), EXISTS (SELECT FROM led)";

const GIVE_UP_LEAD_SQL: &str = "
UPDATE views SET leader = NULL, led_until = NULL WHERE name = $1 AND leader = $2";

const SET_ASIDE_SQL: &str = "
SELECT transaction_id::text::bigint, sequence, kind, reason FROM view_set_aside
WHERE edition = (SELECT number FROM view_editions WHERE number = $1 AND NOT is_gone)
ORDER BY view_set_aside.transaction_id DESC, view_set_aside.sequence DESC
LIMIT $2";

/// Of an edition that is gone nobody writes a row any more. The order is that of the primary key, so
/// that no other rows are read, of which there may be many.
const SWEEP_ROWS_SQL: &str = "
DELETE FROM view_rows WHERE (edition, owner, item) IN (
    SELECT edition, owner, item
    FROM (SELECT number FROM view_editions WHERE is_gone) AS gone
    CROSS JOIN LATERAL (
        SELECT edition, owner, item FROM view_rows WHERE edition = gone.number
        ORDER BY owner, item LIMIT $1
    ) AS left_over
    LIMIT $1
)
RETURNING 1";

/// Once no row is left.
const FORGET_GONE_SQL: &str = "
WITH gone AS (
    DELETE FROM view_editions
    WHERE is_gone AND (
        SELECT owner FROM view_rows WHERE edition = number ORDER BY owner, item LIMIT 1
    ) IS NULL
    RETURNING number
)
DELETE FROM view_set_aside WHERE edition IN (SELECT number FROM gone)";

const AWARDS_SQL: &str =
    "SELECT badge, awarded_at FROM awards WHERE user_id = $1 ORDER BY awarded_at, badge";

#[async_trait]
impl ViewStore for PgStore {
    async fn view(&self, name: &ViewName) -> Result<ViewState> {
        let find = || sqlx::query(VIEW_SQL).bind(name.as_str().to_owned());
        let rows = self.on_primary(VIEW, find).await?;
        match rows.first() {
            Some(row) => read_view(row).ok_or_else(|| error::corrupt(VIEW, "view")),
            None => Ok(ViewState {
                name: name.clone(),
                current: None,
                next: None,
                announced: LogPosition::START,
                lead: None,
            }),
        }
    }

    async fn list_views(&self) -> Result<Vec<ViewState>> {
        let rows = self.on_primary(LIST, || sqlx::query(LIST_SQL)).await?;
        let views: Option<Vec<_>> = rows.iter().map(read_view).collect();
        views.ok_or_else(|| error::corrupt(LIST, "view"))
    }

    async fn begin_edition(
        &self,
        name: &ViewName,
        version: u64,
        corrections: u64,
        now: Timestamp,
    ) -> Result<ViewState> {
        let begun: Result<ViewState, Failure> = transact!(self.primary(), |transaction| {
            let make = sqlx::query(MAKE_VIEW_SQL).bind(name.as_str().to_owned());
            transaction.execute(make).await?;
            let view = lock_view(&mut transaction, name).await?;
            let view = view.ok_or(Failure::Unreadable("view"))?;
            let is_it = |it: &EditionState| it.version == version && it.corrections == corrections;
            if view.next.as_ref().is_some_and(is_it) {
                return Ok(view);
            }
            let begin = sqlx::query(BEGIN_SQL)
                .bind(name.as_str().to_owned())
                .bind(version.cast_signed())
                .bind(saturated(corrections))
                .bind(instant(now));
            transaction.execute(begin).await?;
            let view = lock_view(&mut transaction, name).await?;
            view.ok_or(Failure::Unreadable("view"))
        });
        begun.map_err(|failure| failure.during(BEGIN))
    }

    async fn take_lead(
        &self,
        name: &ViewName,
        runner: Runner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<bool> {
        let rows = self.on_primary(LEAD, || {
            sqlx::query(TAKE_LEAD_SQL)
                .bind(name.as_str().to_owned())
                .bind(*runner.as_uuid())
                .bind(instant(now))
                .bind(later(now, lease))
        });
        let rows = rows.await?;
        let mut columns = rows.first().map(Columns::of);
        let is_known = columns.as_mut().and_then(Columns::next::<bool>);
        let leads = columns.as_mut().and_then(Columns::next::<bool>);
        match (is_known, leads) {
            (Some(false), _) => {
                let context = "no edition of the view was ever begun";
                Err(Error::new(ErrorKind::NotFound, LEAD, context))
            }
            (_, Some(leads)) => Ok(leads),
            _ => Err(error::corrupt(LEAD, "view")),
        }
    }

    async fn give_up_lead(&self, name: &ViewName, runner: Runner) -> Result<()> {
        let rows = self.on_primary(LEAD, || {
            sqlx::query(GIVE_UP_LEAD_SQL)
                .bind(name.as_str().to_owned())
                .bind(*runner.as_uuid())
        });
        rows.await.map(drop)
    }

    async fn find_rows(
        &self,
        edition: &EditionOf,
        keys: &[RowKey],
        consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        self.find_view_rows(edition, keys, consistency).await
    }

    async fn list_rows(
        &self,
        edition: &EditionOf,
        owner: Uuid,
        after: Option<Item>,
        limit: usize,
        consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        self.list_view_rows(edition, owner, after, limit, consistency)
            .await
    }

    async fn list_shelf(
        &self,
        edition: &EditionOf,
        query: &ShelfQuery,
        consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        self.list_view_shelf(edition, query, consistency).await
    }

    async fn commit(&self, commit: ViewCommit) -> Result<Committed> {
        self.commit_view(commit).await
    }

    async fn switch(&self, name: &ViewName, edition: EditionNumber) -> Result<bool> {
        let switched: Result<bool, Failure> = transact!(self.primary(), |transaction| {
            let Some(view) = lock_view(&mut transaction, name).await? else {
                return Ok(false);
            };
            if view.current.is_some_and(|it| it.number == edition) {
                return Ok(true);
            }
            let Some(next) = view.next.filter(|it| it.number == edition) else {
                return Ok(false);
            };
            if view.current.is_some_and(|it| it.position > next.position) {
                return Ok(false);
            }
            let switch = sqlx::query(SWITCH_SQL).bind(name.as_str().to_owned());
            transaction.execute(switch).await?;
            Ok(true)
        });
        switched.map_err(|failure| failure.during(SWITCH))
    }

    async fn list_set_aside(&self, edition: EditionNumber, limit: usize) -> Result<Vec<SetAside>> {
        let limit = saturated(limit.min(SET_ASIDE_KEPT_MAX) as u64);
        let rows = self.on_primary(SET_ASIDE, || {
            sqlx::query(SET_ASIDE_SQL).bind(edition.get()).bind(limit)
        });
        let read = |row: &PgRow| {
            let mut columns = Columns::of(row);
            Some(SetAside {
                position: read_position(&mut columns)?,
                kind: columns.next()?,
                reason: columns.next()?,
            })
        };
        let events: Option<Vec<_>> = rows.await?.iter().map(read).collect();
        events.ok_or_else(|| error::corrupt(SET_ASIDE, "event"))
    }

    async fn sweep_rows(&self, limit: usize) -> Result<u64> {
        let limit = limit.min(ROWS_PER_CALL_MAX);
        let sweep = || sqlx::query(SWEEP_ROWS_SQL).bind(saturated(limit as u64));
        let rows = self.on_primary(SWEEP, sweep).await?;
        if rows.len() < limit {
            self.on_primary(SWEEP, || sqlx::query(FORGET_GONE_SQL))
                .await?;
        }
        Ok(rows.len() as u64)
    }

    async fn list_awards(&self, user_id: UserId, consistency: &Consistency) -> Result<Vec<Award>> {
        let list = || sqlx::query(AWARDS_SQL).bind(*user_id.as_uuid());
        let rows = self.read(AWARDS, consistency, list).await?;
        let read = |row: &PgRow| {
            let mut columns = Columns::of(row);
            Some(Award {
                badge: columns.next()?,
                at: columns.instant()?,
            })
        };
        let awards: Option<Vec<_>> = rows.iter().map(read).collect();
        awards.ok_or_else(|| error::corrupt(AWARDS, "award"))
    }
}

/// Locks a view, and reads it as it is then.
async fn lock_view(steps: &mut impl Steps, name: &ViewName) -> Result<Option<ViewState>, Failure> {
    let name = name.as_str().to_owned();
    steps
        .fetch(sqlx::query(LOCK_VIEW_SQL).bind(name.clone()))
        .await?;
    let rows = steps.fetch(sqlx::query(VIEW_SQL).bind(name)).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    read_view(row).ok_or(Failure::Unreadable("view")).map(Some)
}

fn read_view(row: &PgRow) -> Option<ViewState> {
    let mut columns = Columns::of(row);
    let name = ViewName::new(columns.next()?)?;
    let announced = read_position(&mut columns)?;
    let leader = columns.next::<Option<Uuid>>()?;
    let led_until = columns.optional_instant()?;
    Some(ViewState {
        name,
        current: read_edition(&mut columns)?,
        next: read_edition(&mut columns)?,
        announced,
        lead: leader.map(Runner::new).zip(led_until),
    })
}

/// An edition, or `None` inside if there is none.
fn read_edition(columns: &mut Columns<'_>) -> Option<Option<EditionState>> {
    let number = columns.next::<Option<i64>>()?;
    let version = columns.next::<Option<i64>>()?;
    let corrections = columns.optional_number()?;
    let transaction = columns.optional_number()?;
    let sequence = columns.optional_number()?;
    let set_aside = columns.optional_number()?;
    let begun_at = columns.optional_instant()?;
    let Some(number) = number else {
        return Some(None);
    };
    Some(Some(EditionState {
        number: EditionNumber::new(number),
        version: version?.cast_unsigned(),
        corrections: corrections?,
        position: LogPosition {
            transaction: transaction?,
            sequence: sequence?,
        },
        set_aside: set_aside?,
        begun_at: begun_at?,
    }))
}
