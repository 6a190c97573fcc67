use std::pin::pin;
use std::time::Duration;

use futures_util::poll;
use medcards_core::answer::AnswerStore;
use medcards_core::spend::{MicroDollars, Purpose, Reservation, SpendBudget, SpendLedger};
use medcards_core::store::{Consistency, PageLimit};
use medcards_core::testing::{sample_content, sample_feedback, sample_key};
use medcards_core::user::{User, UserKind, UserSettings, UserStore};
use medcards_core::{ReservationId, case::CaseStore, feedback::PrecomputedStore};
use medcards_store_pg::{PgStore, Pooling};
use medcards_tests::pg::Database;
use medcards_tests::proxy::Proxy;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::place::{
    answer, answer_until, answers_of, at, config, events_by_answer, fresh_database, oldest, record,
    until, user,
};

/// A store behind a proxy that can break its connections.
async fn proxied() -> (PgStore, Proxy, Database) {
    let database = fresh_database(oldest()).await;
    let proxy = Proxy::start(([127, 0, 0, 1], oldest().port()));
    let url = format!(
        "postgres://postgres@127.0.0.1:{}/{}",
        proxy.port(),
        database.name()
    );
    let config = config(&url)
        .with_connections_max(4)
        .with_statement_timeout(Duration::from_millis(500))
        .with_lock_timeout(Duration::from_millis(200));
    let store = PgStore::open(config).await.unwrap();
    (store, proxy, database)
}

/// Connections that are inside a transaction and do nothing.
fn idle_in_transaction(database: &Database) -> String {
    let idle = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    database.psql(idle).trim().to_owned()
}

async fn nobody_is_left_in_a_transaction(database: &Database) {
    until("no connection is inside a transaction", async || {
        (idle_in_transaction(database) == "0").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_answers_survive_connections_that_are_cut() {
    let (store, proxy, database) = proxied().await;
    let stop = CancellationToken::new();
    let answering = {
        let (store, stop) = (store.clone(), stop.clone());
        tokio::spawn(async move { answer_until(&store, 16, &stop).await })
    };
    for cut in 0..15 {
        until("an answer is acknowledged", async || {
            store.record_answer(answer(9_999, at(cut))).await.ok()
        })
        .await;
        proxy.cut().await;
    }
    stop.cancel();
    let mut ledger = answering.await.unwrap();
    assert!(!ledger.acknowledged.is_empty());
    let probes = answers_of(&store, user(9_999)).await.unwrap();
    ledger.acknowledged.extend(probes);
    ledger.audit(&store).await;
    nobody_is_left_in_a_transaction(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_network_costs_a_bounded_wait_and_no_connection_for_good() {
    let (store, proxy, database) = proxied().await;
    record(&store, &answer(1, at(1))).await;
    for round in 0..3 {
        proxy.silence();
        let asked = Instant::now();
        // More callers than there are connections.
        let mut asking = tokio::task::JoinSet::new();
        for n in 0..12 {
            let store = store.clone();
            asking.spawn(async move {
                let second = 10 + 100 * round + i64::from(n);
                let written = store.record_answer(answer(n, at(second))).await.map(drop);
                let read = store.user_stats(user(n), &Consistency::Strong).await;
                (written, read.map(drop))
            });
        }
        for (written, read) in asking.join_all().await {
            for error in [written.unwrap_err(), read.unwrap_err()] {
                assert!(error.is_retryable(), "{error}");
            }
        }
        assert!(
            asked.elapsed() < Duration::from_secs(60),
            "{:?}",
            asked.elapsed()
        );
        proxy.speak();
        proxy.cut().await;
        until("the store answers again", async || {
            store.user_stats(user(1), &Consistency::Strong).await.ok()
        })
        .await;
        record(&store, &answer(1, at(2 + round))).await;
    }
    nobody_is_left_in_a_transaction(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_replaced_before_anyone_hears_of_it() {
    let (store, proxy, _database) = proxied().await;
    for round in 1..6 {
        // All that wait in the pool are dead, as after a restart of the server.
        proxy.cut().await;
        record(&store, &answer(1, at(round))).await;
        proxy.cut().await;
        store
            .user_stats(user(1), &Consistency::Strong)
            .await
            .unwrap();
        proxy.cut().await;
        let ensured = User::new(user(9), UserKind::Guest, at(0));
        store.ensure_user(ensured).await.unwrap();
        proxy.cut().await;
        store
            .update_settings(user(9), UserSettings::default(), at(round))
            .await
            .unwrap();
    }
}

/// Polls a call up to `steps` times and then drops it; says whether it ended before.
async fn drop_after<T>(steps: usize, call: impl Future<Output = T>) -> bool {
    let mut call = pin!(call);
    for step in 0..steps {
        if poll!(call.as_mut()).is_ready() {
            return true;
        }
        match step % 3 {
            0 => tokio::task::yield_now().await,
            _ => tokio::time::sleep(Duration::from_micros(150)).await,
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_dropped_at_any_step_leaves_nothing_half_done_and_no_open_transaction() {
    for pooling in [Pooling::None, Pooling::Transaction] {
        let database = fresh_database(oldest()).await;
        let config = config(&database.url())
            .with_connections_max(3)
            .with_pooling(pooling);
        let store = PgStore::open(config).await.unwrap();
        let known = User::new(user(1), UserKind::Guest, at(0));
        store.ensure_user(known).await.unwrap();
        let mut ended = 0;
        for steps in 1..60 {
            let second = i64::try_from(steps).unwrap();
            let n = u32::try_from(steps).unwrap();
            let reservation = Reservation {
                id: ReservationId::new(at(second)),
                day: "2026-01-15".parse().unwrap(),
                amount: MicroDollars::new(1),
                purpose: Purpose::Feedback,
                payer: None,
            };
            let settings = UserSettings::default();
            ended +=
                usize::from(drop_after(steps, store.record_answer(answer(1, at(second)))).await);
            drop_after(steps, store.update_settings(user(1), settings, at(second))).await;
            drop_after(steps, store.publish(vec![sample_content(n)], at(second))).await;
            drop_after(steps, store.reserve(&reservation, &SpendBudget::default())).await;
            drop_after(
                steps,
                store.put_feedback(&sample_key(n), &sample_feedback("Because.")),
            )
            .await;
            let stats = store.user_stats(user(1), &Consistency::Strong);
            drop_after(steps, stats).await;
            let list = store.list_answers(user(1), None, PageLimit::MAX, &Consistency::Strong);
            drop_after(steps, list).await;
        }
        assert!(ended > 10, "some calls were let go on to their end");
        nobody_is_left_in_a_transaction(&database).await;
        // Every connection can still be had, and an answer and its event came together or not.
        until("the queue is empty", async || {
            let stored = answers_of(&store, user(1)).await.unwrap().len();
            let events = events_by_answer(&store).await.len();
            (stored == events && stored == 59).then_some(())
        })
        .await;
        let sums = database.psql(
            "SELECT (SELECT set_aside FROM spend_days), (SELECT count(*) FROM spend_reservations)",
        );
        let (set_aside, reservations) = sums.trim().split_once('|').unwrap();
        assert_eq!(
            set_aside, reservations,
            "money and its reservations came together"
        );
        let versions = "SELECT count(*) FROM cases FULL JOIN case_versions ON case_id = id
                        WHERE id IS NULL OR case_id IS NULL";
        assert_eq!(database.psql(versions).trim(), "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_callers_than_connections_wait_for_each_other() {
    let (store, _proxy, _database) = proxied().await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..200 {
        let store = store.clone();
        calls.spawn(async move { store.user_stats(user(n), &Consistency::Strong).await });
    }
    for called in calls.join_all().await {
        called.unwrap();
    }
}
