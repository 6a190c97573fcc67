use async_trait::async_trait;
use medcards_core::event::LogPosition;
use medcards_core::view::{EditionNumber, EditionState, Runner, ViewName, ViewState};
use medcards_core::{Error, ErrorKind, Timestamp};
use sqlx::SqliteConnection;

use super::{BEGIN, FIND_SQL, GIVE_UP_LEAD, SWEEP, SWITCH, TAKE_LEAD, read_view};
use crate::column::micros;
use crate::error::{self, Failure};
use crate::writer::Write;

/// A view that is new has announced whatever the log has.
const INSERT_VIEW_SQL: &str = "
INSERT INTO views (name, announced_transaction_no, announced_sequence)
SELECT ?, 0, coalesce(max(sequence), 0) FROM events WHERE true
ON CONFLICT (name) DO NOTHING";

const INSERT_EDITION_SQL: &str = "
INSERT INTO view_editions
    (view, state, version, corrections, transaction_no, sequence, set_aside, begun_at)
VALUES (?, 'next', ?, ?, 0, 0, 0, ?)";

const SET_STATE_SQL: &str = "UPDATE view_editions SET state = ?2 WHERE number = ?1";

const FORGET_SET_ASIDE_SQL: &str = "DELETE FROM view_set_aside WHERE edition = ?";

const TAKE_LEAD_SQL: &str = "
UPDATE views SET leader = ?2, led_until = ?4
WHERE name = ?1 AND (leader IS NULL OR leader = ?2 OR led_until < ?3)";

const GIVE_UP_LEAD_SQL: &str = "
UPDATE views SET leader = NULL, led_until = NULL WHERE name = ? AND leader = ?";

const SWEEP_SQL: &str = "
DELETE FROM view_rows WHERE (edition, owner, item) IN (
    SELECT edition, owner, item
    FROM view_editions CROSS JOIN view_rows ON edition = number
    WHERE state = 'gone'
    LIMIT ?
)";

const FORGET_GONE_SQL: &str = "
DELETE FROM view_editions
WHERE state = 'gone' AND NOT EXISTS (SELECT 1 FROM view_rows WHERE edition = number)";

pub(super) const fn unknown(name: ViewName) -> ViewState {
    ViewState {
        name,
        current: None,
        next: None,
        announced: LogPosition::START,
        lead: None,
    }
}

pub(super) async fn find(
    connection: &mut SqliteConnection,
    name: &ViewName,
) -> Result<Option<ViewState>, Failure> {
    let row = sqlx::query(FIND_SQL)
        .bind(name.as_str())
        .fetch_optional(connection)
        .await?;
    row.map(|row| read_view(&row).ok_or_else(|| error::unreadable("view")))
        .transpose()
}

pub(super) struct BeginEdition {
    pub(super) name: ViewName,
    pub(super) version: u64,
    pub(super) corrections: u64,
    pub(super) now: Timestamp,
}

#[async_trait]
impl Write for BeginEdition {
    type Output = ViewState;

    const OPERATION: &'static str = BEGIN;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<ViewState, Failure> {
        sqlx::query(INSERT_VIEW_SQL)
            .bind(self.name.as_str())
            .execute(&mut *connection)
            .await?;
        let view = must_find(connection, &self.name).await?;
        let is_it =
            |it: &EditionState| it.version == self.version && it.corrections == self.corrections;
        match view.next {
            Some(next) if is_it(&next) => return Ok(view),
            Some(other) => retire(connection, other.number).await?,
            None => {}
        }
        sqlx::query(INSERT_EDITION_SQL)
            .bind(self.name.as_str())
            .bind(self.version.cast_signed())
            .bind(self.corrections.cast_signed())
            .bind(micros(self.now))
            .execute(&mut *connection)
            .await?;
        must_find(connection, &self.name).await
    }
}

async fn must_find(
    connection: &mut SqliteConnection,
    name: &ViewName,
) -> Result<ViewState, Failure> {
    let view = find(connection, name).await?;
    view.ok_or_else(|| error::unreadable("view"))
}

pub(super) struct TakeLead {
    pub(super) name: ViewName,
    pub(super) runner: Runner,
    pub(super) now: Timestamp,
    pub(super) until: Timestamp,
}

#[async_trait]
impl Write for TakeLead {
    type Output = bool;

    const OPERATION: &'static str = TAKE_LEAD;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<bool, Failure> {
        let taken = sqlx::query(TAKE_LEAD_SQL)
            .bind(self.name.as_str())
            .bind(self.runner.as_uuid().as_bytes().as_slice())
            .bind(micros(self.now))
            .bind(micros(self.until))
            .execute(&mut *connection)
            .await?;
        if taken.rows_affected() > 0 {
            return Ok(true);
        }
        match find(connection, &self.name).await? {
            Some(_led) => Ok(false),
            None => {
                let context = "no edition of the view was ever begun";
                let error = Error::new(ErrorKind::NotFound, TAKE_LEAD, context);
                Err(Failure::Refused(error))
            }
        }
    }
}

pub(super) struct GiveUpLead {
    pub(super) name: ViewName,
    pub(super) runner: Runner,
}

#[async_trait]
impl Write for GiveUpLead {
    type Output = ();

    const OPERATION: &'static str = GIVE_UP_LEAD;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<(), Failure> {
        sqlx::query(GIVE_UP_LEAD_SQL)
            .bind(self.name.as_str())
            .bind(self.runner.as_uuid().as_bytes().as_slice())
            .execute(connection)
            .await?;
        Ok(())
    }
}

pub(super) struct Switch {
    pub(super) name: ViewName,
    pub(super) edition: EditionNumber,
}

#[async_trait]
impl Write for Switch {
    type Output = bool;

    const OPERATION: &'static str = SWITCH;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<bool, Failure> {
        let Some(view) = find(connection, &self.name).await? else {
            return Ok(false);
        };
        if view.current.is_some_and(|it| it.number == self.edition) {
            return Ok(true);
        }
        let Some(next) = view.next.filter(|it| it.number == self.edition) else {
            return Ok(false);
        };
        if let Some(current) = view.current {
            if current.position > next.position {
                return Ok(false);
            }
            retire(connection, current.number).await?;
        }
        set_state(connection, next.number, "current").await?;
        Ok(true)
    }
}

/// Gives an edition up; its rows go later, a few at a time.
async fn retire(
    connection: &mut SqliteConnection,
    edition: EditionNumber,
) -> Result<(), sqlx::Error> {
    sqlx::query(FORGET_SET_ASIDE_SQL)
        .bind(edition.get())
        .execute(&mut *connection)
        .await?;
    set_state(connection, edition, "gone").await
}

async fn set_state(
    connection: &mut SqliteConnection,
    edition: EditionNumber,
    state: &'static str,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(SET_STATE_SQL).bind(edition.get()).bind(state);
    query.execute(connection).await.map(drop)
}

pub(super) struct Sweep {
    pub(super) limit: usize,
}

#[async_trait]
impl Write for Sweep {
    type Output = usize;

    const OPERATION: &'static str = SWEEP;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<usize, Failure> {
        let swept = sqlx::query(SWEEP_SQL)
            .bind(self.limit as i64)
            .execute(&mut *connection)
            .await?;
        sqlx::query(FORGET_GONE_SQL).execute(connection).await?;
        Ok(swept.rows_affected() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plans::check;

    #[tokio::test]
    async fn statements_read_by_their_indexes() {
        check(TAKE_LEAD_SQL, &["PRIMARY KEY (name=?)"]).await;
        check(
            SWEEP_SQL,
            &[
                "PRIMARY KEY (edition=? AND owner=? AND item=?)",
                "COVERING INDEX view_editions_gone",
                "PRIMARY KEY (edition=?)",
            ],
        )
        .await;
        check(
            FORGET_GONE_SQL,
            &[
                "COVERING INDEX view_editions_gone",
                "PRIMARY KEY (edition=?)",
            ],
        )
        .await;
        check(FORGET_SET_ASIDE_SQL, &["PRIMARY KEY (edition=?)"]).await;
    }
}
