use std::time::Duration;

use medcards_core::answer::AnswerStore;
use medcards_core::event::EventLog;
use medcards_core::job::JobQueue;
use medcards_core::store::Hint;
use medcards_store_pg::{PgStore, Pooling};
use medcards_tests::pg::Database;
use tokio::time::timeout;

use crate::jobs::job;
use crate::place::{answer, at, config, fresh, fresh_database, oldest, until};

/// How long anybody would wait who is given no hint.
const FOR_EVER: Duration = Duration::from_secs(3_600);

/// How long a hint may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many hints are awaited, one after the other: an old one is none of them.
const ROUNDS: i64 = 5;

fn listeners(database: &Database) -> usize {
    let listening = "SELECT pid FROM pg_stat_activity
                     WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    database.psql(listening).split_whitespace().count()
}

async fn listening(database: &Database, hint: &mut Hint) {
    until("the other process listens", async || {
        (listeners(database) == 1).then_some(())
    })
    .await;
    drain(hint).await;
}

/// Takes the hints that were given so far.
async fn drain(hint: &mut Hint) {
    while timeout(Duration::from_millis(100), hint.wait(FOR_EVER))
        .await
        .is_ok()
    {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_reaches_another_process() {
    let (store, database) = fresh().await;
    let other = PgStore::open(config(&database.url())).await.unwrap();
    assert_eq!(listeners(&database), 0, "nobody wants hints yet");
    let mut enqueued = other.enqueued();
    listening(&database, &mut enqueued).await;
    for round in 0..ROUNDS {
        store.enqueue(vec![job(round)], at(0)).await.unwrap();
        let hinted = timeout(PATIENCE, enqueued.wait(FOR_EVER)).await;
        assert!(hinted.is_ok(), "no hint of job {round}");
    }
    let mut appended = other.appended();
    for round in 0..ROUNDS {
        store.record_answer(answer(1, at(round))).await.unwrap();
        let hinted = timeout(PATIENCE, appended.wait(FOR_EVER)).await;
        assert!(hinted.is_ok(), "no hint of answer {round}");
    }
    other.close().await;
    until("nobody listens after the end", async || {
        (listeners(&database) == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_is_cut_off_listens_again() {
    let (store, database) = fresh().await;
    let other = PgStore::open(config(&database.url())).await.unwrap();
    let mut enqueued = other.enqueued();
    listening(&database, &mut enqueued).await;
    database.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND query LIKE 'LISTEN%'",
    );
    // What happened meanwhile may be missed, so it is a hint that it could.
    timeout(PATIENCE, enqueued.wait(FOR_EVER)).await.unwrap();
    listening(&database, &mut enqueued).await;
    for round in 0..ROUNDS {
        store.enqueue(vec![job(round)], at(0)).await.unwrap();
        timeout(PATIENCE, enqueued.wait(FOR_EVER)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listens_through_a_pooler_and_hints_are_told_through_it() {
    let database = fresh_database(oldest()).await;
    let bouncer = oldest().bouncer(&[]);
    let pooled = config(&bouncer.url(database.name())).with_pooling(Pooling::Transaction);
    let pooled = PgStore::open(pooled).await.unwrap();
    let direct = PgStore::open(config(&database.url())).await.unwrap();
    let mut here = pooled.enqueued();
    let mut there = direct.enqueued();
    listening(&database, &mut there).await;
    for round in 0..ROUNDS {
        pooled.enqueue(vec![job(round)], at(0)).await.unwrap();
        timeout(PATIENCE, here.wait(FOR_EVER)).await.unwrap();
        timeout(PATIENCE, there.wait(FOR_EVER)).await.unwrap();
    }
    assert_eq!(listeners(&database), 1, "that of the direct one");
}
