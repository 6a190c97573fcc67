use medcards_core::ErrorKind;
use medcards_core::answer::{AnswerStore, RecordOutcome};
use medcards_core::testing::{SAMPLE_START, sample_user_id};
use medcards_core::user::{User, UserKind, UserSettings, UserStore};
use medcards_store_sqlite::SqliteStore;
use tokio::task::JoinSet;

use crate::fresh::{self, answer, config, path};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_a_commit() {
    let (store, _folder) = fresh::store().await;
    let mut writers = JoinSet::new();
    for writer in 0..200 {
        let store = store.clone();
        writers.spawn(async move {
            let mut recorded = Vec::new();
            for n in 0..10 {
                recorded.push(store.record_answer(answer(writer * 10 + n)).await.unwrap());
            }
            recorded
        });
    }
    let recorded: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    assert!(
        recorded
            .iter()
            .all(|recorded| recorded.outcome == RecordOutcome::Created)
    );
    assert!(
        store.commits() * 10 < 2_000,
        "{} commits for 2,000 answers",
        store.commits()
    );
    fresh::assert_recorded_once(&store, &recorded).await;
}

#[tokio::test]
async fn answers_known_and_new_share_a_transaction() {
    let (store, _folder) = fresh::store().await;
    let answers: Vec<_> = (0..150).map(answer).collect();
    for known in answers.iter().step_by(10) {
        store.record_answer(known.clone()).await.unwrap();
    }
    let before = store.commits();
    // All are queued before the writer, a task of this thread, can look. Each comes twice.
    let mut writers = JoinSet::new();
    for (n, answer) in answers.iter().chain(&answers).enumerate() {
        let (store, mut answer) = (store.clone(), answer.clone());
        // What a repeated answer says does not count.
        answer.is_correct ^= n >= answers.len();
        writers.spawn(async move { (n, store.record_answer(answer).await.unwrap()) });
    }
    let mut recorded = writers.join_all().await;
    assert_eq!(store.commits() - before, 1);
    recorded.sort_by_key(|(n, _)| *n);
    for (n, recorded) in &recorded {
        let is_new = *n < answers.len() && n % 10 != 0;
        let expected = if is_new {
            RecordOutcome::Created
        } else {
            RecordOutcome::Repeated
        };
        assert_eq!(
            (recorded.outcome, &recorded.answer),
            (expected, &answers[n % answers.len()])
        );
    }
    let once: Vec<_> = recorded
        .into_iter()
        .take(150)
        .map(|(_, recorded)| recorded)
        .collect();
    fresh::assert_recorded_once(&store, &once).await;
}

#[tokio::test]
async fn a_write_that_fails_alone_sinks_no_other() {
    let (store, folder) = fresh::store().await;
    let user = User::new(sample_user_id(1), UserKind::Guest, SAMPLE_START);
    store.ensure_user(user).await.unwrap();
    fresh::run_raw(&path(folder.path()), "UPDATE users SET kind = 'wizard'").await;
    let settings = UserSettings::default();
    // Queued together, as all three are polled before the writer runs.
    let (damaged, unknown, recorded) = tokio::join!(
        store.update_settings(sample_user_id(1), settings.clone(), SAMPLE_START),
        store.update_settings(sample_user_id(2), settings, SAMPLE_START),
        store.record_answer(answer(1)),
    );
    assert_eq!(damaged.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::NotFound);
    fresh::assert_recorded_once(&store, &[recorded.unwrap()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_loses_no_acknowledged_answer() {
    let (store, folder) = fresh::store().await;
    let mut writers = JoinSet::new();
    for writer in 0..50 {
        let store = store.clone();
        writers.spawn(async move {
            let mut recorded = Vec::new();
            for n in 0.. {
                match store.record_answer(answer(writer * 10_000 + n)).await {
                    Ok(answer) => recorded.push(answer),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                        break;
                    }
                }
            }
            recorded
        });
    }
    while store.commits() < 5 {
        tokio::task::yield_now().await;
    }
    tokio::join!(store.close(), store.close());
    let recorded: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    assert!(!recorded.is_empty());

    let wal = folder.path().join("store.sqlite-wal");
    assert!(!wal.exists(), "the log is merged into the file");
    let again = SqliteStore::open(config(folder.path())).await.unwrap();
    fresh::assert_recorded_once(&again, &recorded).await;
}

#[tokio::test]
async fn what_a_dropped_caller_queued_is_done() {
    let (store, folder) = fresh::store().await;
    // More than one batch, so that some still wait when the store is closed.
    let answers: Vec<_> = (0..3_000).map(answer).collect();
    for answer in &answers {
        // Polled once, which queues it, and dropped before the writer can look.
        let call = std::pin::pin!(store.record_answer(answer.clone()));
        let polled = futures_util::poll!(call);
        assert!(polled.is_pending());
    }
    store.close().await;
    let again = SqliteStore::open(config(folder.path())).await.unwrap();
    assert_eq!(fresh::events(&again).await.len(), answers.len());
    for answer in answers {
        let outcome = again.record_answer(answer).await.unwrap().outcome;
        assert_eq!(outcome, RecordOutcome::Repeated);
    }
}
