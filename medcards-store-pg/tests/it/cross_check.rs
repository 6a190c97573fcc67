use std::time::Duration;

use medcards_core::answer::AnswerStore;
use medcards_core::event::{EventLog, LogPosition};
use medcards_core::learning::user_stats::{Dashboard, UserStatsProjection};
use medcards_core::testing::sample_answer;
use medcards_core::view::{CaseFact, Facts, fold};
use medcards_store_pg::{Keeping, PgConfig, PgStore};
use tokio::task::JoinSet;

use crate::place::{answer, at, fresh, oldest, publish, record, until, user};

#[tokio::test(flavor = "multi_thread")]
async fn the_cross_check_says_what_the_log_says() {
    const USERS: u32 = 8;
    const ANSWERS: u32 = 30;
    let (store, database) = fresh().await;
    let cases = publish(&store, 5).await;
    let mut facts = Facts::new(&[]);
    for case in &cases {
        facts.insert(case.id, case.version, CaseFact::of(case));
    }
    let mut recording = JoinSet::new();
    for n in 0..USERS {
        for second in 0..ANSWERS {
            let case = &cases[((n + second) % 5) as usize];
            let answer = sample_answer(user(n), case, at(second.into()));
            let store = store.clone();
            recording.spawn(async move { store.record_answer(answer).await });
        }
    }
    for recorded in recording.join_all().await {
        recorded.unwrap();
    }
    // A transaction of another test, anywhere on the server, may hold some back for a moment.
    let events = until("the log shows all of them", async || {
        let events = store.read_events(LogPosition::START, usize::MAX).await;
        let events = events.unwrap();
        (events.len() == (USERS * ANSWERS) as usize).then_some(events)
    })
    .await;
    store.refresh_stats_cache().await.unwrap();
    let folded = fold(UserStatsProjection::new(), &events, &facts);
    for n in 0..USERS {
        let id = *user(n).as_uuid();
        let rows = folded.rows.iter();
        let rows = rows.filter_map(|(key, row)| (key.owner == id).then_some(row));
        let Dashboard {
            total,
            cases,
            last_at,
            ..
        } = Dashboard::read(rows, at(0));
        let last_at = last_at.unwrap().as_second();
        let counted = database.psql(&format!(
            "SELECT answered, correct, cases, extract(epoch FROM last_answered_at)::bigint
             FROM user_stats_cache WHERE user_id = '{id}'"
        ));
        let logged = format!("{}|{}|{cases}|{last_at}", total.answers, total.right);
        assert_eq!(counted.trim(), logged, "user {n}");
    }
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
