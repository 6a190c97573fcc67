//! The format of the database: what it is made of, and how an older one is brought up to date.
//!
//! All migrations that are due run in one transaction, under an advisory lock that ends with it: so
//! any number of processes may start at once, and it works through a pooler, which a lock of the
//! session would not. Migrations only add, so that the program before goes on beside the new one,
//! and a database with migrations that this program does not know is taken as it is.

use std::time::Duration;

use medcards_core::{Error, ErrorKind};
use sqlx::AssertSqlSafe;
use xxhash_rust::xxh3::xxh3_64;

use crate::column::Columns;
use crate::error::Failure;
use crate::node::{Node, transact};
use crate::store::Lock;

/// Every format there was, oldest first. A released file never changes: its checksum is stored.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "first", include_str!("../migrations/0001_first.sql")),
    (
        2,
        "transfers",
        include_str!("../migrations/0002_transfers.sql"),
    ),
    (
        3,
        "sessions",
        include_str!("../migrations/0003_sessions.sql"),
    ),
    (
        4,
        "spend scopes",
        include_str!("../migrations/0004_spend_scopes.sql"),
    ),
    (5, "chats", include_str!("../migrations/0005_chats.sql")),
    (6, "batches", include_str!("../migrations/0006_batches.sql")),
    (
        7,
        "learning",
        include_str!("../migrations/0007_learning.sql"),
    ),
];

/// How long a starting process waits for the one that migrates, and for its own migration.
const WAIT_MAX: Duration = Duration::from_secs(100);

/// Starting processes wait for the one that migrates.
const WAIT_SQL: &str = "SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = '90s'";

const MAKE_TABLE_SQL: &str = "
CREATE TABLE IF NOT EXISTS medcards_migrations (
    version     bigint      PRIMARY KEY,
    name        text        NOT NULL,
    -- xxh3_64 of the file, as a signed number.
    checksum    bigint      NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
)";

const HAS_TABLE_SQL: &str = "SELECT to_regclass('medcards_migrations') IS NOT NULL";

const LIST_SQL: &str = "SELECT version, checksum FROM medcards_migrations ORDER BY version";

const INSERT_SQL: &str =
    "INSERT INTO medcards_migrations (version, name, checksum) VALUES ($1, $2, $3)";

/// Brings the database up to date; only reads if it is.
pub(crate) async fn migrate(node: &Node) -> Result<(), Failure> {
    let has_table = node.fetch(|| sqlx::query(HAS_TABLE_SQL)).await?;
    let has_table = has_table.first().and_then(|row| Columns::of(row).next());
    if has_table == Some(true) && due(&node.fetch(|| sqlx::query(LIST_SQL)).await?)?.is_empty() {
        return Ok(());
    }
    transact!(node, |transaction| {
        transaction.lease().wait_up_to(WAIT_MAX);
        transaction.lease().run(WAIT_SQL).await?;
        transaction.execute(Lock::Migrations.take()).await?;
        transaction.lease().run(MAKE_TABLE_SQL).await?;
        let rows = transaction.fetch(sqlx::query(LIST_SQL)).await?;
        for (version, name, sql) in due(&rows)? {
            transaction.lease().run(AssertSqlSafe(sql)).await?;
            let insert = sqlx::query(INSERT_SQL).bind(version).bind(name);
            transaction.execute(insert.bind(checksum(sql))).await?;
            tracing::info!(version, name, "the database was brought up to date");
        }
        Ok(())
    })
}

/// The migrations that these rows do not list.
fn due(rows: &[sqlx::postgres::PgRow]) -> Result<Vec<(i64, &'static str, &'static str)>, Failure> {
    let mut applied = Vec::with_capacity(rows.len());
    for row in rows {
        let mut columns = Columns::of(row);
        let read = (columns.next::<i64>(), columns.next::<i64>());
        let (Some(version), Some(checksum)) = read else {
            return Err(Failure::Unreadable("migration"));
        };
        applied.push((version, checksum));
    }
    let mut due = Vec::new();
    for (version, name, sql) in MIGRATIONS {
        match applied.iter().find(|(known, _)| known == version) {
            None => due.push((*version, *name, *sql)),
            Some((_, known)) if *known == checksum(sql) => {}
            Some(_) => {
                let context = format!(
                    "migration {version} of the database is not that of this program: start the \
                     program that made it, or restore a backup"
                );
                return Err(Error::new(ErrorKind::Corrupt, "open store", context).into());
            }
        }
    }
    Ok(due)
}

fn checksum(sql: &str) -> i64 {
    xxh3_64(sql.as_bytes()).cast_signed()
}
