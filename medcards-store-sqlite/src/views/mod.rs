//! Views of the log: their rows, their editions, and what outlives those.

mod commit;
mod editions;

use std::time::Duration;

use async_trait::async_trait;
use medcards_core::store::Consistency;
use medcards_core::view::{
    Award, Committed, EditionNumber, EditionOf, EditionState, Item, Placement, ROWS_PER_CALL_MAX,
    RowKey, Runner, SET_ASIDE_KEPT_MAX, SetAside, ShelfQuery, StoredRow, ViewCommit, ViewName,
    ViewState, ViewStore,
};
use medcards_core::{Error, ErrorKind, Result, Timestamp, UserId};
use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use uuid::Uuid;

use crate::SqliteStore;
use crate::column::{Columns, hex, later};
use crate::error;
use crate::views::commit::Commit;
use crate::views::editions::{BeginEdition, GiveUpLead, Sweep, Switch, TakeLead};

const FIND: &str = "find view";
const LIST: &str = "list views";
const BEGIN: &str = "begin edition";
const TAKE_LEAD: &str = "take lead";
const GIVE_UP_LEAD: &str = "give up lead";
const READ: &str = "read view";
const COMMIT: &str = "commit view";
const SWITCH: &str = "switch edition";
const LIST_SET_ASIDE: &str = "list events set aside";
const SWEEP: &str = "sweep rows";
const LIST_AWARDS: &str = "list awards";

/// How many rows are deleted in one transaction: about 10 ms of work.
const SWEPT_PER_WRITE: usize = 2_000;

macro_rules! views_sql {
    ($($rest:literal)?) => {
        concat!(
            "
SELECT views.name, announced_transaction_no, announced_sequence, leader, led_until,
       current.number, current.version, current.corrections, current.transaction_no,
       current.sequence, current.set_aside, current.begun_at,
       next.number, next.version, next.corrections, next.transaction_no,
       next.sequence, next.set_aside, next.begun_at
FROM views
LEFT JOIN view_editions AS current ON current.view = views.name AND current.state = 'current'
LEFT JOIN view_editions AS next ON next.view = views.name AND next.state = 'next'
",
            $($rest)?
        )
    };
}

const FIND_SQL: &str = views_sql!("WHERE views.name = ?");

const LIST_SQL: &str = views_sql!("ORDER BY views.name");

/// Rows of an edition: found by its number, unless that is gone, or as the current one of a view. The
/// same statement finds both, so that no switch comes between.
macro_rules! rows_sql {
    ($from:literal, $rest:literal) => {
        concat!(
            "
SELECT view_rows.owner, view_rows.item, view_rows.place, view_rows.bytes
FROM ",
            $from,
            "
WHERE view_rows.edition = coalesce(
    (SELECT number FROM view_editions WHERE view = ?1 AND state = 'current'),
    (SELECT number FROM view_editions WHERE number = ?2 AND state <> 'gone')
)
",
            $rest
        )
    };
}

/// The keys come as a JSON list of owners and items.
const FIND_ROWS_SQL: &str = rows_sql!(
    "json_each(?3) AS wanted CROSS JOIN view_rows",
    "AND view_rows.owner = unhex(wanted.value ->> 0)
AND view_rows.item = unhex(wanted.value ->> 1)"
);

const LIST_ROWS_SQL: &str = rows_sql!(
    "view_rows",
    "AND owner = ?3 AND item >= ?4 ORDER BY item LIMIT ?5"
);

const SHELF_SQL: &str = rows_sql!(
    "view_rows",
    "AND owner = ?3 AND place IS NOT NULL AND (place, item) >= (?4, ?5) AND place <= ?6
ORDER BY place, item LIMIT ?7"
);

/// Equal places are sorted by item on their own: the index is read backwards.
const SHELF_DOWN_SQL: &str = rows_sql!(
    "view_rows",
    "AND owner = ?3 AND place IS NOT NULL AND place >= ?4 AND place <= ?6
AND (place < ?6 OR item >= ?5)
ORDER BY place DESC, item LIMIT ?7"
);

const LIST_SET_ASIDE_SQL: &str = "
SELECT transaction_no, sequence, kind, reason FROM view_set_aside
WHERE edition = ? ORDER BY place DESC LIMIT ?";

const ANY_GONE_SQL: &str = "SELECT 1 FROM view_editions WHERE state = 'gone' LIMIT 1";

const LIST_AWARDS_SQL: &str = "
SELECT badge, awarded_at FROM awards WHERE user_id = ? ORDER BY awarded_at, badge";

#[async_trait]
impl ViewStore for SqliteStore {
    async fn view(&self, name: &ViewName) -> Result<ViewState> {
        let row = sqlx::query(FIND_SQL)
            .bind(name.as_str())
            .fetch_optional(self.readers())
            .await
            .map_err(|source| error::storage(FIND, source))?;
        match row {
            Some(row) => read_view(&row).ok_or_else(|| error::corrupt(FIND, "view")),
            None => Ok(editions::unknown(name.clone())),
        }
    }

    async fn list_views(&self) -> Result<Vec<ViewState>> {
        let rows = sqlx::query(LIST_SQL).fetch_all(self.readers()).await;
        let rows = rows.map_err(|source| error::storage(LIST, source))?;
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
        let begin = BeginEdition {
            name: name.clone(),
            version,
            corrections,
            now,
        };
        self.writes().write(begin).await
    }

    async fn take_lead(
        &self,
        name: &ViewName,
        runner: Runner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<bool> {
        let take = TakeLead {
            name: name.clone(),
            runner,
            now,
            until: later(now, lease),
        };
        self.writes().write(take).await
    }

    async fn give_up_lead(&self, name: &ViewName, runner: Runner) -> Result<()> {
        let name = name.clone();
        self.writes().write(GiveUpLead { name, runner }).await
    }

    async fn find_rows(
        &self,
        edition: &EditionOf,
        keys: &[RowKey],
        _consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        if keys.len() > ROWS_PER_CALL_MAX {
            let context = "it is over 10,000 rows at once: make several calls of it";
            return Err(Error::new(ErrorKind::Invalid, READ, context));
        }
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys.dedup();
        let query = of_edition(FIND_ROWS_SQL, edition).bind(json_of_keys(&keys));
        self.fetch_rows(query).await
    }

    async fn list_rows(
        &self,
        edition: &EditionOf,
        owner: Uuid,
        after: Option<Item>,
        limit: usize,
        _consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        let query = of_edition(LIST_ROWS_SQL, edition)
            .bind(owner.as_bytes().to_vec())
            .bind(after.map_or_else(Vec::new, behind))
            .bind(limit.min(ROWS_PER_CALL_MAX) as i64);
        self.fetch_rows(query).await
    }

    async fn list_shelf(
        &self,
        edition: &EditionOf,
        shelf: &ShelfQuery,
        _consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        let (mut from, mut to, mut first) = (shelf.from, shelf.to, Vec::new());
        let sql = match shelf.order {
            Placement::Ascending => SHELF_SQL,
            Placement::Descending => SHELF_DOWN_SQL,
        };
        // Behind a row, reading begins at its place with the next item there can be.
        match (shelf.order, shelf.after) {
            (Placement::Ascending, Some((place, item))) if place >= from => {
                (from, first) = (place, behind(item));
            }
            (Placement::Descending, Some((place, item))) if place <= to => {
                (to, first) = (place, behind(item));
            }
            _ => {}
        }
        let query = of_edition(sql, edition)
            .bind(shelf.owner.as_bytes().to_vec())
            .bind(from)
            .bind(first)
            .bind(to)
            .bind(shelf.limit.min(ROWS_PER_CALL_MAX) as i64);
        self.fetch_rows(query).await
    }

    async fn commit(&self, commit: ViewCommit) -> Result<Committed> {
        let commit = Commit::new(commit, self.hints().clone())?;
        self.writes().write(commit).await
    }

    async fn switch(&self, name: &ViewName, edition: EditionNumber) -> Result<bool> {
        let name = name.clone();
        self.writes().write(Switch { name, edition }).await
    }

    async fn list_set_aside(&self, edition: EditionNumber, limit: usize) -> Result<Vec<SetAside>> {
        let rows = sqlx::query(LIST_SET_ASIDE_SQL)
            .bind(edition.get())
            .bind(limit.min(SET_ASIDE_KEPT_MAX) as i64)
            .fetch_all(self.readers())
            .await
            .map_err(|source| error::storage(LIST_SET_ASIDE, source))?;
        let events: Option<Vec<_>> = rows.iter().map(read_set_aside).collect();
        events.ok_or_else(|| error::corrupt(LIST_SET_ASIDE, "event set aside"))
    }

    async fn sweep_rows(&self, limit: usize) -> Result<u64> {
        let mut swept = 0;
        loop {
            // Mostly nothing is gone, and reading holds up no writer.
            let gone = sqlx::query(ANY_GONE_SQL).fetch_optional(self.readers());
            let gone = gone.await.map_err(|source| error::storage(SWEEP, source))?;
            let limit = SWEPT_PER_WRITE.min(limit.saturating_sub(swept));
            if gone.is_none() || limit == 0 {
                return Ok(swept as u64);
            }
            let more = self.writes().write(Sweep { limit }).await?;
            swept += more;
            if more < limit {
                return Ok(swept as u64);
            }
        }
    }

    async fn list_awards(&self, user_id: UserId, _consistency: &Consistency) -> Result<Vec<Award>> {
        let rows = sqlx::query(LIST_AWARDS_SQL)
            .bind(user_id.as_bytes().as_slice())
            .fetch_all(self.readers())
            .await
            .map_err(|source| error::storage(LIST_AWARDS, source))?;
        let read = |row: &SqliteRow| {
            let mut columns = Columns::of(row);
            Some(Award {
                badge: columns.next()?,
                at: columns.instant()?,
            })
        };
        let awards: Option<Vec<_>> = rows.iter().map(read).collect();
        awards.ok_or_else(|| error::corrupt(LIST_AWARDS, "award"))
    }
}

impl SqliteStore {
    async fn fetch_rows(
        &self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<Vec<StoredRow>> {
        let rows = query.fetch_all(self.readers()).await;
        let rows = rows.map_err(|source| error::storage(READ, source))?;
        let rows: Option<Vec<_>> = rows.iter().map(read_row).collect();
        rows.ok_or_else(|| error::corrupt(READ, "row of a view"))
    }
}

/// Binds which edition is meant.
fn of_edition(sql: &'static str, edition: &EditionOf) -> Query<'static, Sqlite, SqliteArguments> {
    let (view, number) = match edition {
        EditionOf::Current(name) => (Some(name.as_str().to_owned()), None),
        EditionOf::Number(number) => (None, Some(number.get())),
    };
    sqlx::query(sql).bind(view).bind(number)
}

/// The first bytes behind an item, in the order of items.
fn behind(item: Item) -> Vec<u8> {
    let mut bytes = item.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn json_of_keys(keys: &[RowKey]) -> String {
    let key = |key: &RowKey| {
        let owner = hex(key.owner.as_bytes());
        format!("[\"{owner}\",\"{}\"]", hex(key.item.as_bytes()))
    };
    format!("[{}]", keys.iter().map(key).collect::<Vec<_>>().join(","))
}

fn read_row(row: &SqliteRow) -> Option<StoredRow> {
    let mut columns = Columns::of(row);
    let owner = Uuid::from_bytes(columns.id()?);
    Some(StoredRow {
        key: RowKey::new(owner, Item::from_bytes(columns.next()?)?),
        place: columns.next()?,
        bytes: columns.next()?,
    })
}

/// Reads the columns of `FIND_SQL`.
fn read_view(row: &SqliteRow) -> Option<ViewState> {
    let mut columns = Columns::of(row);
    let name = ViewName::new(columns.next()?)?;
    let announced = columns.position()?;
    let leader = match columns.next::<Option<&[u8]>>()? {
        Some(name) => Some(Runner::new(Uuid::from_slice(name).ok()?)),
        None => None,
    };
    let led_until = columns.optional_instant()?;
    Some(ViewState {
        name,
        announced,
        lead: leader.zip(led_until),
        current: read_edition(&mut columns)?,
        next: read_edition(&mut columns)?,
    })
}

/// Reads seven columns, which are all null if there is no such edition.
fn read_edition(columns: &mut Columns<'_>) -> Option<Option<EditionState>> {
    let Some(number) = columns.next::<Option<i64>>()? else {
        columns.skip(6);
        return Some(None);
    };
    Some(Some(EditionState {
        number: EditionNumber::new(number),
        version: columns.next::<i64>()?.cast_unsigned(),
        corrections: columns.next::<i64>()?.cast_unsigned(),
        position: columns.position()?,
        set_aside: columns.number()?,
        begun_at: columns.instant()?,
    }))
}

fn read_set_aside(row: &SqliteRow) -> Option<SetAside> {
    let mut columns = Columns::of(row);
    Some(SetAside {
        position: columns.position()?,
        kind: columns.next()?,
        reason: columns.next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plans::check;

    #[tokio::test]
    async fn statements_read_by_their_indexes() {
        check(
            FIND_SQL,
            &[
                "PRIMARY KEY (name=?)",
                "view_editions_current (view=?)",
                "view_editions_next (view=?)",
            ],
        )
        .await;
        check(
            FIND_ROWS_SQL,
            &[
                "PRIMARY KEY (edition=? AND owner=? AND item=?)",
                "view_editions_current (view=?)",
                "PRIMARY KEY (rowid=?)",
            ],
        )
        .await;
        check(
            LIST_ROWS_SQL,
            &[
                "PRIMARY KEY (edition=? AND owner=? AND item>?)",
                "view_editions_current (view=?)",
                "PRIMARY KEY (rowid=?)",
            ],
        )
        .await;
        check(
            SHELF_SQL,
            &[
                "view_rows_by_place (edition=? AND owner=? AND (place,item)>(?,?) AND place<?)",
                "view_editions_current (view=?)",
                "PRIMARY KEY (rowid=?)",
            ],
        )
        .await;
        check(
            SHELF_DOWN_SQL,
            &[
                "view_rows_by_place (edition=? AND owner=? AND place>? AND place<?)",
                "view_editions_current (view=?)",
                "PRIMARY KEY (rowid=?)",
                "TEMP B-TREE FOR LAST TERM OF ORDER BY",
            ],
        )
        .await;
        check(LIST_SET_ASIDE_SQL, &["PRIMARY KEY (edition=?)"]).await;
        check(ANY_GONE_SQL, &["COVERING INDEX view_editions_gone"]).await;
        check(
            LIST_AWARDS_SQL,
            &["PRIMARY KEY (user_id=?)", "TEMP B-TREE FOR ORDER BY"],
        )
        .await;
    }
}
