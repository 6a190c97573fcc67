use std::process::Command;

use medcards_core::ErrorKind;
use medcards_core::answer::AnswerStore;
use medcards_core::store::Consistency;
use medcards_store_pg::PgStore;
use medcards_tests::pg::Database;

use crate::place::{answer, answers_of, at, config, oldest, record, user};

/// The whole format as one text, as `pg_dump` writes it.
fn dump(database: &Database) -> String {
    let output = Command::new(oldest().installed().bin().join("pg_dump"))
        .args(["--schema-only", "--no-owner", "--no-privileges"])
        // The months depend on the day.
        .args(["--exclude-table", "interactions_*"])
        .arg(database.url())
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    // A random word in some versions, against injection into psql.
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn migrations_from_empty_equal_the_schema() {
    let (migrated, written) = (oldest().fresh_database(), oldest().fresh_database());
    let store = PgStore::open(config(&migrated.url())).await.unwrap();
    store.close().await;
    written.psql(include_str!("../../schema.sql"));
    assert_eq!(dump(&migrated), dump(&written));
}

#[tokio::test]
async fn migrating_twice_changes_nothing() {
    let database = oldest().fresh_database();
    let once = || async {
        let store = PgStore::open(config(&database.url())).await.unwrap();
        store.close().await;
        let applied = "SELECT version, applied_at FROM medcards_migrations ORDER BY version";
        (dump(&database), database.psql(applied))
    };
    assert_eq!(once().await, once().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_processes_that_start_at_once_migrate_once() {
    let database = oldest().fresh_database();
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let config = config(&database.url()).with_connections_max(2);
        opening.spawn(async move { PgStore::open(config).await });
    }
    for opened in opening.join_all().await {
        opened.unwrap().close().await;
    }
    let counts = "SELECT count(*), count(DISTINCT version) FROM medcards_migrations";
    let counts = database.psql(counts);
    let (all, distinct) = counts.trim().split_once('|').unwrap();
    assert_eq!(all, distinct);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_goes_on_beside_a_newer_one() {
    let database = oldest().fresh_database();
    let store = PgStore::open(config(&database.url())).await.unwrap();
    let first = answer(1, at(1));
    record(&store, &first).await;
    // What a newer program may do: add, never drop or rename.
    database.psql(
        "INSERT INTO medcards_migrations (version, name, checksum) VALUES (9999, 'newer', 1);
         ALTER TABLE interactions ADD COLUMN device text;
         ALTER TABLE users ADD COLUMN nickname text;
         CREATE TABLE novelties (id bigint PRIMARY KEY);",
    );
    let second = answer(1, at(2));
    record(&store, &second).await;
    let started_later = PgStore::open(config(&database.url())).await.unwrap();
    let third = answer(1, at(3));
    record(&started_later, &third).await;
    let answers = answers_of(&started_later, user(1)).await.unwrap();
    assert_eq!(answers, [third, second, first]);
}

#[tokio::test]
async fn a_migration_that_is_not_ours_is_refused() {
    let database = oldest().fresh_database();
    let store = PgStore::open(config(&database.url())).await.unwrap();
    store.close().await;
    database.psql("UPDATE medcards_migrations SET checksum = checksum + 1 WHERE version = 1");
    let error = PgStore::open(config(&database.url())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn a_log_that_comes_from_another_server_is_refused() {
    let database = oldest().fresh_database();
    let store = PgStore::open(config(&database.url())).await.unwrap();
    record(&store, &answer(1, at(1))).await;
    store.close().await;
    // As a dump of a server that had run for longer would leave it.
    database.psql("UPDATE events SET transaction_id = '900000000000'");
    let error = PgStore::open(config(&database.url())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("another server"), "{error}");
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let database = oldest().fresh_database();
    let store = PgStore::open(config(&database.url())).await.unwrap();
    store.close().await;
    store.close().await;
    let recorded = store.record_answer(answer(1, at(1))).await.unwrap_err();
    let stats = store.user_stats(user(1), &Consistency::Strong).await;
    for error in [recorded, stats.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("closed"), "{error}");
    }
}
