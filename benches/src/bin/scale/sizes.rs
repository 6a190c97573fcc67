//! How large the tables are.

use sqlx::{Connection, Row};

use crate::Error;
use crate::arguments::Database;

/// Tables with their rows as last counted, their own size and that with indexes; a partitioned one
/// is the sum of its parts, which follow it.
const SIZES: &str = "
WITH sizes AS (
    SELECT pg_class.oid, relname::text AS name, relkind, greatest(reltuples, 0)::bigint AS rows,
           pg_table_size(pg_class.oid) AS own, pg_total_relation_size(pg_class.oid) AS total,
           inhparent
    FROM pg_class LEFT JOIN pg_inherits ON inhrelid = pg_class.oid
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'm', 'p')
)
SELECT CASE WHEN inhparent IS NULL THEN name ELSE '  ' || name END, rows,
       pg_size_pretty(own + parts_own), pg_size_pretty(total + parts_total)
FROM sizes, LATERAL (
    SELECT coalesce(sum(parts.own), 0)::bigint AS parts_own,
           coalesce(sum(parts.total), 0)::bigint AS parts_total
    FROM sizes AS parts WHERE parts.inhparent = sizes.oid
) AS parts
WHERE total + parts_total > 100000
ORDER BY coalesce(inhparent::regclass::text, name), inhparent IS NOT NULL, name";

const WHOLE: &str = "SELECT pg_size_pretty(pg_database_size(current_database()))";

pub(crate) async fn print(database: &Database) -> Result<(), Error> {
    let mut connection = database.connect().await?;
    println!(
        "{:<28} {:>12} {:>10} {:>12}",
        "table", "rows", "size", "with indexes"
    );
    for row in sqlx::query(SIZES).fetch_all(&mut connection).await? {
        let (name, rows): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
        let (own, total): (&str, &str) = (row.try_get(2)?, row.try_get(3)?);
        println!("{name:<28} {rows:>12} {own:>10} {total:>12}");
    }
    let whole = sqlx::query(WHOLE).fetch_one(&mut connection).await?;
    println!("all: {}", whole.try_get::<&str, _>(0)?);
    connection.close().await?;
    Ok(())
}
