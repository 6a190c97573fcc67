use medcards_core::store::Consistency;
use medcards_core::view::{
    EditionOf, Item, Placement, ROWS_PER_CALL_MAX, RowKey, ShelfQuery, StoredRow,
};
use medcards_core::{Error, ErrorKind, Result};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::PgStore;
use crate::column::{Columns, saturated};
use crate::error;
use crate::session::Statement;

const READ: &str = "read view";

/// The edition that is asked for, by the name of its view or its number; null if it is gone.
macro_rules! edition_sql {
    () => {
        "coalesce(
    (SELECT current_edition FROM views WHERE name = $1),
    (SELECT number FROM view_editions WHERE number = $2 AND NOT is_gone)
)"
    };
}

/// One look into the index for each key: whatever the server thinks how many there are.
const FIND_SQL: &str = concat!(
    "
SELECT found.* FROM unnest($3::uuid[], $4::bytea[]) AS wanted (owner, item)
CROSS JOIN LATERAL (
    SELECT owner, item, place, bytes FROM view_rows
    WHERE edition = ",
    edition_sql!(),
    " AND view_rows.owner = wanted.owner AND view_rows.item = wanted.item
    LIMIT 1
) AS found"
);

const LIST_SQL: &str = concat!(
    "
SELECT owner, item, place, bytes FROM view_rows
WHERE edition = ",
    edition_sql!(),
    " AND owner = $3 AND item >= $4
ORDER BY item LIMIT $5"
);

/// The rest of those with the place where the last page ended, then those of later places.
const SHELF_UP_SQL: &str = concat!(
    "
SELECT owner, item, place, bytes FROM (
    (SELECT owner, item, place, bytes FROM view_rows
     WHERE edition = ",
    edition_sql!(),
    " AND owner = $3 AND place IS NOT NULL AND place = $4 AND item > $5
     ORDER BY item LIMIT $8)
    UNION ALL
    (SELECT owner, item, place, bytes FROM view_rows
     WHERE edition = ",
    edition_sql!(),
    " AND owner = $3 AND place IS NOT NULL AND place BETWEEN $6 AND $7
     ORDER BY place, item LIMIT $8)
) AS shelf
ORDER BY place, item LIMIT $8"
);

const SHELF_DOWN_SQL: &str = concat!(
    "
SELECT owner, item, place, bytes FROM (
    (SELECT owner, item, place, bytes FROM view_rows
     WHERE edition = ",
    edition_sql!(),
    " AND owner = $3 AND place IS NOT NULL AND place = $4 AND item > $5
     ORDER BY item LIMIT $8)
    UNION ALL
    (SELECT owner, item, place, bytes FROM view_rows
     WHERE edition = ",
    edition_sql!(),
    " AND owner = $3 AND place IS NOT NULL AND place BETWEEN $6 AND $7
     ORDER BY place DESC, item LIMIT $8)
) AS shelf
ORDER BY place DESC, item LIMIT $8"
);

impl PgStore {
    pub(super) async fn find_view_rows(
        &self,
        edition: &EditionOf,
        keys: &[RowKey],
        consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        if keys.len() > ROWS_PER_CALL_MAX {
            let context = "it is over 10,000 rows at once: make several calls of it";
            return Err(Error::new(ErrorKind::Invalid, READ, context));
        }
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys.dedup();
        let owners: Vec<Uuid> = keys.iter().map(|key| key.owner).collect();
        let items: Vec<Vec<u8>> = keys.iter().map(|it| it.item.as_bytes().to_vec()).collect();
        let find = || {
            of(FIND_SQL, edition)
                .bind(owners.clone())
                .bind(items.clone())
        };
        read_rows(&self.read(READ, consistency, find).await?)
    }

    pub(super) async fn list_view_rows(
        &self,
        edition: &EditionOf,
        owner: Uuid,
        after: Option<Item>,
        limit: usize,
        consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        // Nothing stands between some bytes and the same with a zero behind them.
        let mut first = after.map_or(Vec::new(), |item| item.as_bytes().to_vec());
        if after.is_some() {
            first.push(0);
        }
        let list = || {
            of(LIST_SQL, edition)
                .bind(owner)
                .bind(first.clone())
                .bind(at_most(limit))
        };
        read_rows(&self.read(READ, consistency, list).await?)
    }

    pub(super) async fn list_view_shelf(
        &self,
        edition: &EditionOf,
        query: &ShelfQuery,
        consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        let within = query.from..=query.to;
        let rest = query.after.filter(|(place, _)| within.contains(place));
        let (rest_place, rest_item) = match rest {
            Some((place, item)) => (Some(place), item.as_bytes().to_vec()),
            None => (None, Vec::new()),
        };
        // Those of later places; none if the last place was the last that there can be.
        let (sql, from, to) = match (query.order, query.after) {
            (Placement::Ascending, None) => (SHELF_UP_SQL, Some(query.from), Some(query.to)),
            (Placement::Descending, None) => (SHELF_DOWN_SQL, Some(query.from), Some(query.to)),
            (Placement::Ascending, Some((place, _))) => {
                let from = place.checked_add(1).map(|next| next.max(query.from));
                (SHELF_UP_SQL, from, Some(query.to))
            }
            (Placement::Descending, Some((place, _))) => {
                let to = place.checked_sub(1).map(|next| next.min(query.to));
                (SHELF_DOWN_SQL, Some(query.from), to)
            }
        };
        let list = || {
            of(sql, edition)
                .bind(query.owner)
                .bind(rest_place)
                .bind(rest_item.clone())
                .bind(from)
                .bind(to)
                .bind(at_most(query.limit))
        };
        read_rows(&self.read(READ, consistency, list).await?)
    }
}

/// A statement that names an edition first.
fn of(sql: &'static str, edition: &EditionOf) -> Statement {
    let (name, number) = match edition {
        EditionOf::Current(name) => (Some(name.as_str().to_owned()), None),
        EditionOf::Number(number) => (None, Some(number.get())),
    };
    sqlx::query(sql).bind(name).bind(number)
}

fn at_most(limit: usize) -> i64 {
    saturated(limit.min(ROWS_PER_CALL_MAX) as u64)
}

fn read_rows(rows: &[PgRow]) -> Result<Vec<StoredRow>> {
    let read = |row: &PgRow| {
        let mut columns = Columns::of(row);
        let owner = columns.id()?;
        let item = Item::from_bytes(columns.next::<&[u8]>()?)?;
        Some(StoredRow {
            key: RowKey::new(owner, item),
            place: columns.next()?,
            bytes: columns.next()?,
        })
    };
    let stored: Option<Vec<_>> = rows.iter().map(read).collect();
    stored.ok_or_else(|| error::corrupt(READ, "row of a view"))
}
