use std::path::{Path, PathBuf};

use medcards_core::answer::{Answer, RecordedAnswer};
use medcards_core::event::{Event, EventLog, LogPosition};
use medcards_core::jiff::ToSpan;
use medcards_core::testing::{SAMPLE_START, sample_answer, sample_case, sample_user_id};
use medcards_store_sqlite::{SqliteConfig, SqliteStore};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row};
use tempfile::TempDir;

/// A new store, and the folder that goes when it is dropped.
pub(crate) async fn store() -> (SqliteStore, TempDir) {
    let folder = folder();
    let store = SqliteStore::open(config(folder.path())).await.unwrap();
    (store, folder)
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join("store.sqlite")
}

pub(crate) fn config(folder: &Path) -> SqliteConfig {
    SqliteConfig::new(path(folder))
}

/// A new answer of the `n`th user; each call gives another.
pub(crate) fn answer(n: u32) -> Answer {
    let at = SAMPLE_START + i64::from(n).milliseconds();
    sample_answer(sample_user_id(n), &sample_case(n % 7), at)
}

/// All events of the log.
pub(crate) async fn events(store: &SqliteStore) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let after = events
            .last()
            .map_or(LogPosition::START, |event| event.position);
        let more = store.read_events(after, 1_000).await.unwrap();
        if more.is_empty() {
            return events;
        }
        events.extend(more);
    }
}

/// The file as any SQLite program sees it.
pub(crate) async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap()
}

/// Runs statements on the file behind the store's back.
pub(crate) async fn run_raw(path: &Path, sql: &'static str) {
    let mut connection = raw(path).await;
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Asserts that SQLite finds nothing wrong with the file.
pub(crate) async fn assert_sound(path: &Path) {
    let mut connection = raw(path).await;
    let row = sqlx::query("PRAGMA integrity_check")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(row.get::<String, _>(0), "ok");
    connection.close().await.unwrap();
}

/// Asserts that the log has these answers, each once, and no others.
pub(crate) async fn assert_recorded_once(store: &SqliteStore, recorded: &[RecordedAnswer]) {
    let mut in_log: Vec<_> = events(store).await.iter().map(answer_in).collect();
    let mut expected: Vec<_> = recorded
        .iter()
        .map(|recorded| recorded.answer.clone())
        .collect();
    in_log.sort_by_key(|answer| answer.id);
    expected.sort_by_key(|answer| answer.id);
    assert_eq!(in_log.len(), expected.len());
    assert!(
        in_log == expected,
        "the log has other answers than were acknowledged"
    );
}

pub(crate) fn answer_in(event: &Event) -> Answer {
    match &event.body {
        medcards_core::event::EventBody::AnswerRecorded { answer } => answer.clone(),
        other => panic!("an event of kind {}", other.kind()),
    }
}
