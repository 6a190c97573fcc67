use std::time::Duration;

use medcards_core::answer::AnswerStore;
use medcards_core::store::Consistency;
use medcards_store_pg::{Keeping, PgConfig, PgStore};
use medcards_tests::pg::Database;
use tokio::task::JoinSet;

use crate::place::{answer, at, fresh, oldest, publish, record, until, user};

/// Answers of some users to real cases, so that specialties are known.
async fn answer_some(store: &PgStore, users: std::ops::Range<u32>, answers: i64) {
    let cases = publish(store, 5).await;
    let mut recording = JoinSet::new();
    for n in users {
        for second in 0..answers {
            let case = &cases[usize::try_from(second).unwrap() % cases.len()];
            let answer = medcards_core::testing::sample_answer(user(n), case, at(second));
            let store = store.clone();
            recording.spawn(async move { store.record_answer(answer).await });
        }
    }
    for recorded in recording.join_all().await {
        recorded.unwrap();
    }
}

/// Projects until so many events have counted: a transaction of another test, anywhere on the server,
/// may hold some back for a moment.
async fn project_all(store: &PgStore, events: u64) -> u64 {
    let mut counted = 0;
    until("the view has read the log", async || {
        counted += store.project_stats().await.unwrap();
        (counted >= events).then_some(())
    })
    .await;
    counted
}

/// The rows in which the view of the log and what is computed from the answers differ.
fn differences(database: &Database) -> String {
    let differences = "
        SELECT user_id, kept.answered, cache.answered, kept.correct, cache.correct
        FROM user_stats AS kept FULL JOIN user_stats_cache AS cache USING (user_id)
        WHERE (kept.answered, kept.correct, kept.last_answered_at)
            IS DISTINCT FROM (cache.answered, cache.correct, cache.last_answered_at)";
    database.psql(differences).trim().to_owned()
}

/// The same of cases and specialties, counted from the answers here.
fn other_differences(database: &Database) -> String {
    let differences = "
        SELECT 'case', case_id::text FROM case_stats FULL JOIN (
            SELECT case_id, case_version, count(*) AS answered,
                   count(*) FILTER (WHERE is_correct) AS correct,
                   count(time_to_answer_ms) AS timed,
                   coalesce(sum(time_to_answer_ms), 0) AS time_ms
            FROM interactions GROUP BY case_id, case_version
        ) AS counted USING (case_id, case_version)
        WHERE (case_stats.answered, case_stats.correct, case_stats.timed, case_stats.time_ms)
            IS DISTINCT FROM (counted.answered, counted.correct, counted.timed, counted.time_ms)
        UNION ALL
        SELECT 'specialty', user_id::text FROM user_specialty_stats AS kept FULL JOIN (
            SELECT user_id, coalesce(v.specialty_folded, '') AS specialty_folded,
                   count(*) AS answered, count(*) FILTER (WHERE is_correct) AS correct
            FROM interactions AS i
            LEFT JOIN case_versions AS v ON v.case_id = i.case_id AND v.version = i.case_version
            GROUP BY 1, 2
        ) AS counted USING (user_id, specialty_folded)
        WHERE (kept.answered, kept.correct) IS DISTINCT FROM (counted.answered, counted.correct)";
    database.psql(differences).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_of_the_log_equals_what_is_computed_from_the_answers() {
    let (store, database) = fresh().await;
    answer_some(&store, 1..9, 30).await;
    assert_eq!(project_all(&store, 240).await, 240);
    let more = store.project_stats().await.unwrap();
    assert_eq!(more, 0, "each event counts once");
    store.refresh_stats_cache().await.unwrap();
    assert_eq!(differences(&database), "");
    assert_eq!(other_differences(&database), "");
    // The comparison can fail.
    database.psql("UPDATE user_stats SET answered = answered + 1 WHERE correct > 0");
    assert_ne!(differences(&database), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_processes_that_project_at_once_count_each_event_once() {
    let (store, database) = fresh().await;
    let mut projecting = JoinSet::new();
    for _ in 0..4 {
        let config = PgConfig::new(&database.url())
            .unwrap()
            .with_connections_max(3)
            .with_keeping(Keeping::Here);
        projecting.spawn(async move { PgStore::open(config).await.unwrap() });
    }
    let mut keepers = projecting.join_all().await;
    for round in 0..5 {
        answer_some(&store, round * 10..round * 10 + 4, 20).await;
        // One of them goes away in the middle of its work, without a word; the last one stays.
        if keepers.len() > 1 {
            drop(keepers.pop());
        }
    }
    until("the view has read the log", async || {
        let sum = "SELECT coalesce(sum(answered), 0) FROM user_stats";
        (database.psql(sum).trim() == "400").then_some(())
    })
    .await;
    store.refresh_stats_cache().await.unwrap();
    assert_eq!(differences(&database), "");
    assert_eq!(other_differences(&database), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_that_is_dropped_half_way_counts_nothing_twice() {
    let (store, database) = fresh().await;
    answer_some(&store, 1..5, 25).await;
    for microseconds in (0..40).map(|step| step * 150) {
        let projecting = store.project_stats();
        let _ = tokio::time::timeout(Duration::from_micros(microseconds), projecting).await;
    }
    until("the view has read the log", async || {
        store.project_stats().await.unwrap();
        let sum = "SELECT coalesce(sum(answered), 0) FROM user_stats";
        (database.psql(sum).trim() == "100").then_some(())
    })
    .await;
    store.refresh_stats_cache().await.unwrap();
    assert_eq!(differences(&database), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboard_leaderboard_and_case_stats_say_what_the_view_holds() {
    let (store, _database) = fresh().await;
    let cases = publish(&store, 4).await;
    // The first option is right in the first case only.
    for (n, places) in [(1, vec![0, 0, 1]), (2, vec![0, 0, 0]), (3, vec![1, 2])] {
        for (second, place) in (0..).zip(places) {
            let case: &medcards_core::case::Case = &cases[place];
            record(
                &store,
                &medcards_core::testing::sample_answer(user(n), case, at(second)),
            )
            .await;
        }
    }
    let strong = Consistency::Strong;
    assert_eq!(
        store.dashboard(user(1), &strong).await.unwrap(),
        Default::default()
    );
    project_all(&store, 8).await;

    let dashboard = store.dashboard(user(1), &strong).await.unwrap();
    assert_eq!((dashboard.answered, dashboard.correct), (3, 2));
    assert_eq!(dashboard.last_answered_at, Some(at(2)));
    let answered: u64 = dashboard.specialties.iter().map(|s| s.answered).sum();
    assert_eq!(answered, 3);

    let board = store.leaderboard(2, &strong).await.unwrap();
    let board: Vec<_> = board.iter().map(|s| (s.user_id, s.correct)).collect();
    assert_eq!(board, [(user(2), 3), (user(1), 2)]);

    let stats = store.case_stats(cases[0].id, &strong).await.unwrap();
    assert_eq!((stats.answered, stats.correct, stats.timed), (5, 5, 5));
    assert_eq!(stats.time_ms, 5 * 12_345);
    let none = store.case_stats(cases[3].id, &strong).await.unwrap();
    assert_eq!(none, Default::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cross_check_is_refreshed_by_one_process_an_interval() {
    let (_store, database) = fresh().await;
    let mut keeping = JoinSet::new();
    for _ in 0..4 {
        let config = PgConfig::new(&database.url())
            .unwrap()
            .with_connections_max(2)
            .with_keeping(Keeping::Elsewhere);
        keeping.spawn(async move {
            let store = PgStore::open(config).await.unwrap();
            store.keep().await.unwrap().refreshed
        });
    }
    let refreshed = keeping.join_all().await;
    assert_eq!(refreshed.into_iter().filter(|done| *done).count(), 1);
    // A day later.
    database.psql("UPDATE maintenance SET begun_at = begun_at - interval '24 hours 1 minute'");
    let store = PgStore::open(crate::place::config(&database.url()))
        .await
        .unwrap();
    assert!(store.keep().await.unwrap().refreshed);
    assert!(!store.keep().await.unwrap().refreshed);
}

/// Needs the extension, which `./tests/run` installs where there is a package of it.
#[tokio::test(flavor = "multi_thread")]
async fn where_pg_cron_is_installed_it_refreshes_the_cross_check() {
    let installed = oldest().installed();
    let control = installed.bin().join("../share/extension/pg_cron.control");
    let debian = format!(
        "/usr/share/postgresql/{}/extension/pg_cron.control",
        installed.major()
    );
    if !control.exists() && !std::path::Path::new(&debian).exists() {
        assert!(std::env::var_os("CI").is_none(), "pg_cron is not installed");
        println!("NOT CHECKED: pg_cron is not installed, ./tests/run does it");
        return;
    }
    let cluster = medcards_tests::pg::Cluster::start(
        installed,
        &[
            ("shared_preload_libraries", "pg_cron"),
            ("cron.database_name", "postgres"),
            ("cron.host", "127.0.0.1"),
        ],
    );
    cluster.psql("postgres", "CREATE EXTENSION pg_cron");
    let url = cluster.url("postgres");
    let config = crate::place::config(&url).with_cache_refresh(Duration::from_secs(60));
    let store = PgStore::open(config).await.unwrap();
    for _ in 0..2 {
        let report = store.keep().await.unwrap();
        assert!(!report.refreshed, "it is pg_cron's to refresh");
    }
    let jobs = cluster.psql("postgres", "SELECT schedule, command FROM cron.job");
    assert_eq!(
        jobs.trim(),
        "*/1 * * * *|REFRESH MATERIALIZED VIEW CONCURRENTLY user_stats_cache"
    );
    record(&store, &answer(1, at(1))).await;
    until("pg_cron has refreshed", async || {
        let count = "SELECT count(*) FROM user_stats_cache";
        (cluster.psql("postgres", count).trim() == "1").then_some(())
    })
    .await;
}
