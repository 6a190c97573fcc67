use std::path::Path;
use std::time::{Duration, Instant};

use criterion::Criterion;
use medcards_benches::answers::{Answers, record};
use medcards_benches::compare::{Comparison, compare, runtime};
use medcards_benches::report::{Report, Target};
use medcards_core::event::EventBody;
use medcards_store_sqlite::{SqliteConfig, SqliteStore};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};

/// How many record answers at once: one student, a class, a national exam.
const CALLERS: [u64; 3] = [1, 64, 1_000];

const INSERT_ANSWER: &str = "\
    INSERT INTO interactions (user_id, id, bucket, case_id, case_version, chosen, shown, \
    is_correct, time_to_answer_ms, confidence, created_at) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

const INSERT_EVENT: &str =
    "INSERT INTO events (user_id, bucket, kind, body) VALUES (?, ?, 'answer_recorded', ?)";

pub(crate) fn run(criterion: &mut Criterion, report: &mut Report) {
    let runtime = runtime();
    let answers = Answers::new();
    for callers in CALLERS {
        // On the disk of the build, because a folder for temporary files may be in memory.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the disk has room");
        let (store, mut raw) = runtime.block_on(async {
            let path = folder.path().join("ours.sqlite");
            let store = SqliteStore::open(SqliteConfig::new(path))
                .await
                .expect("a new file opens");
            (store, open_raw(&folder.path().join("raw.sqlite")).await)
        });
        let commits_before = store.commits();
        let mut recorded = 0;
        compare(
            criterion,
            report,
            &Comparison {
                work: &format!("record_answer/{callers} callers"),
                ours: "SqliteStore",
                baseline: "raw sqlx",
                pieces: callers,
                target: Target::RateAtLeast(0.8),
            },
            |rounds| runtime.block_on(insert_raw(&mut raw, &answers, rounds, callers)),
            |rounds| {
                recorded += rounds * callers;
                runtime.block_on(record(&store, &answers, rounds, callers))
            },
        );
        let commits = store.commits() - commits_before;
        if commits > 0 {
            report.remark(format!(
                "record_answer/{callers} callers: {:.1} answers per commit",
                recorded as f64 / commits as f64
            ));
        }
        runtime.block_on(store.close());
    }
}

/// A connection to a file with the same tables and indexes, opened with the same pragmas.
async fn open_raw(path: &Path) -> SqliteConnection {
    let store = SqliteStore::open(SqliteConfig::new(path))
        .await
        .expect("a new file opens");
    store.close().await;
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", "4096")
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
        .connect()
        .await
        .expect("the file opens")
}

/// What somebody would write by hand who has all answers of a batch at once.
async fn insert_raw(
    connection: &mut SqliteConnection,
    answers: &Answers,
    rounds: u64,
    callers: u64,
) -> Duration {
    let started = Instant::now();
    for _ in 0..rounds {
        let done = insert_batch(connection, answers, callers).await;
        done.expect("the disk has room");
    }
    started.elapsed()
}

async fn insert_batch(
    connection: &mut SqliteConnection,
    answers: &Answers,
    count: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *connection)
        .await?;
    for _ in 0..count {
        let answer = answers.make();
        let user_id = answer.user_id.as_bytes().as_slice();
        let bucket = i64::from(answer.bucket().get());
        let event = EventBody::AnswerRecorded {
            answer: answer.clone(),
        };
        let event = serde_json::to_string(&event).expect("an event has a JSON form");
        sqlx::query(INSERT_ANSWER)
            .bind(user_id)
            .bind(answer.id.as_bytes().as_slice())
            .bind(bucket)
            .bind(answer.case_id.as_bytes().as_slice())
            .bind(i64::from(answer.case_version.get()))
            .bind(i64::from(answer.chosen.bits()))
            .bind(answer.shown.positions())
            .bind(i64::from(answer.is_correct))
            .bind(answer.time_to_answer_ms.map(i64::from))
            .bind(
                answer
                    .confidence
                    .map(|confidence| i64::from(confidence.percent())),
            )
            .bind(answer.created_at.as_microsecond())
            .execute(&mut *connection)
            .await?;
        sqlx::query(INSERT_EVENT)
            .bind(user_id)
            .bind(bucket)
            .bind(event)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query("COMMIT").execute(connection).await?;
    Ok(())
}
