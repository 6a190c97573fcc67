//! The format of the file: what it is made of, and how an older one is brought up to date.

use medcards_core::{Error, ErrorKind, Result};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{SqlSafeStr, SqliteConnection};

use crate::error;

/// Says in the file's header that it is ours.
pub(crate) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"mdcd");

/// Every format there was, oldest first. A released file never changes: its checksum is stored.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "first", include_str!("../migrations/0001_first.sql")),
    (
        2,
        "sessions",
        include_str!("../migrations/0002_sessions.sql"),
    ),
    (
        3,
        "spend scopes",
        include_str!("../migrations/0003_spend_scopes.sql"),
    ),
    (4, "chats", include_str!("../migrations/0004_chats.sql")),
    (5, "batches", include_str!("../migrations/0005_batches.sql")),
    (
        6,
        "learning",
        include_str!("../migrations/0006_learning.sql"),
    ),
];

const OPERATION: &str = "open store";

/// Brings the file up to date; changes nothing if it is.
///
/// # Errors
/// [`ErrorKind::Invalid`] for a file of a newer format, which stays as it is.
pub(crate) async fn migrate(connection: &mut SqliteConnection) -> Result<()> {
    let migrations = MIGRATIONS.iter().map(|(version, name, sql)| {
        let kind = MigrationType::Simple;
        Migration::new(*version, (*name).into(), kind, (*sql).into_sql_str(), false)
    });
    let migrator = Migrator::with_migrations(migrations.collect());
    migrator
        .run_direct(None, connection, false)
        .await
        .map_err(describe)
}

fn describe(error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
            error::storage(OPERATION, source)
        }
        MigrateError::VersionMissing(version) => {
            let newest = MIGRATIONS.last().map_or(0, |(version, ..)| *version);
            let context = format!(
                "the file has format {version}, this program knows formats up to {newest}: start \
                 the newer program that wrote it; the file was not changed"
            );
            Error::new(ErrorKind::Invalid, OPERATION, context).with_source(error)
        }
        other => Error::new(
            ErrorKind::Corrupt,
            OPERATION,
            "the formats noted in the file are not those of this program: restore a backup, or \
             start the program that wrote it",
        )
        .with_source(other),
    }
}
