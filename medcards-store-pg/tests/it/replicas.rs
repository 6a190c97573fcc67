use std::collections::HashMap;
use std::time::Duration;

use medcards_core::answer::AnswerStore;
use medcards_core::case::CaseFilter;
use medcards_core::store::{Consistency, PageLimit};
use medcards_store_pg::PgStore;
use medcards_tests::pg::{Cluster, Installed};

use crate::place::{answer, at, config, publish, record, until, user};

struct World {
    store: PgStore,
    primary: Cluster,
    replicas: [Cluster; 2],
    database: String,
}

async fn world() -> World {
    let primary = Cluster::start(&Installed::oldest(), &[]);
    let replicas = [primary.replica(), primary.replica()];
    let database = "postgres".to_owned();
    let urls: Vec<_> = replicas.iter().map(|one| one.url(&database)).collect();
    let config = config(&primary.url(&database))
        .with_replicas(&urls)
        .unwrap()
        .with_statement_timeout(Duration::from_secs(2));
    let store = PgStore::open(config).await.unwrap();
    let world = World {
        store,
        primary,
        replicas,
        database,
    };
    world.wait_until_replicas_are_used().await;
    world
}

impl World {
    /// How many statements each server has begun on our tables, by name of the server.
    fn reads(&self) -> HashMap<&'static str, u64> {
        let scans = "SELECT coalesce(sum(seq_scan + coalesce(idx_scan, 0)), 0)::bigint
                     FROM pg_stat_user_tables WHERE relname LIKE 'interactions%'";
        let [one, other] = &self.replicas;
        [("primary", &self.primary), ("one", one), ("other", other)]
            .into_iter()
            .filter(|(_, cluster)| cluster.is_running())
            .map(|(name, cluster)| {
                (
                    name,
                    cluster.psql(&self.database, scans).trim().parse().unwrap(),
                )
            })
            .collect()
    }

    async fn wait_until_replicas_are_used(&self) {
        let bounded = Consistency::Bounded(Duration::from_secs(30));
        until("a replica is read from", async || {
            self.store.user_stats(user(1), &bounded).await.unwrap();
            let reads = self.reads();
            (reads.get("one") > Some(&0) || reads.get("other") > Some(&0)).then_some(())
        })
        .await;
    }

    fn pause(&self) {
        self.replicas.iter().for_each(Cluster::pause_replay);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_student_always_sees_their_own_answer_however_far_replicas_are_behind() {
    let world = world().await;
    let store = &world.store;
    let cases = publish(store, 5).await;
    world.pause();
    for second in 0..30 {
        let case = &cases[usize::try_from(second).unwrap() % 5];
        let answer = medcards_core::testing::sample_answer(user(1), case, at(second));
        let token = record(store, &answer)
            .await
            .token
            .expect("there are replicas");
        let after = Consistency::AtLeast(token);
        let found = store.find_answer(user(1), answer.id, &after).await.unwrap();
        assert_eq!(found, Some(answer.clone()));
        let page = store.list_answers(user(1), None, PageLimit::MAX, &after);
        assert_eq!(page.await.unwrap().items.first(), Some(&answer));
        let stats = store.user_stats(user(1), &after).await.unwrap();
        assert_eq!(stats.answered, u64::try_from(second).unwrap() + 1);
        if second < 4 {
            let any = CaseFilter::default();
            let next = store.next_case(user(1), &any, &after).await.unwrap();
            assert_ne!(next.unwrap().case_id, case.id);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_has_the_answer_serves_it_and_the_primary_is_left_alone() {
    let world = world().await;
    let store = &world.store;
    let answer = answer(1, at(1));
    let token = record(store, &answer).await.token.unwrap();
    let after = Consistency::AtLeast(token);
    for replica in &world.replicas {
        replica.wait_until_caught_up(&world.primary);
    }
    // From the next look at them on.
    until("a replica serves the read", async || {
        let before = world.reads();
        let found = store.find_answer(user(1), answer.id, &after).await.unwrap();
        assert_eq!(found.as_ref(), Some(&answer));
        tokio::time::sleep(Duration::from_millis(20)).await;
        let reads = world.reads();
        let on_replicas = |reads: &HashMap<&str, u64>| reads["one"] + reads["other"];
        (on_replicas(&reads) > on_replicas(&before)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounded_read_is_never_further_behind_than_it_allows() {
    let world = world().await;
    let store = &world.store;
    world.pause();
    let answer = answer(1, at(1));
    record(store, &answer).await;
    // A generous reader may be shown the past.
    let generous = Consistency::Bounded(Duration::from_secs(3_600));
    let seen = store
        .find_answer(user(1), answer.id, &generous)
        .await
        .unwrap();
    assert_eq!(seen, None, "paused replicas serve who allows it");
    // A strict one is shown the answer once it is as old as the bound.
    let strict = Consistency::Bounded(Duration::from_millis(300));
    tokio::time::sleep(Duration::from_millis(400)).await;
    let seen = store
        .find_answer(user(1), answer.id, &strict)
        .await
        .unwrap();
    assert_eq!(seen, Some(answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_go_on_when_replicas_die_and_come_back() {
    let world = world().await;
    let store = &world.store;
    let first = answer(1, at(1));
    record(store, &first).await;
    let bounded = Consistency::Bounded(Duration::from_secs(30));
    let [one, other] = &world.replicas;
    for dead in [vec![one], vec![one, other]] {
        for replica in &dead {
            if replica.is_running() {
                replica.kill();
            }
        }
        for _ in 0..50 {
            let stats = store.user_stats(user(1), &bounded).await.unwrap();
            assert_eq!(stats.answered, 1);
        }
    }
    one.start_again();
    other.start_again();
    let before = world.reads();
    until("a replica that came back is read from", async || {
        store.user_stats(user(1), &bounded).await.unwrap();
        let reads = world.reads();
        (reads["one"] > before["one"] || reads["other"] > before["other"]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_hangs_is_left_alone_and_a_promoted_one_is_no_replica() {
    let world = world().await;
    let store = &world.store;
    let [one, other] = &world.replicas;
    record(store, &answer(1, at(1))).await;
    let bounded = Consistency::Bounded(Duration::from_secs(3_600));
    one.suspend();
    for _ in 0..20 {
        let stats = store.user_stats(user(1), &bounded).await.unwrap();
        assert_eq!(stats.answered, 1);
    }
    one.resume();
    other.promote();
    // It goes its own way now; nobody may read what is written there.
    other.psql(&world.database, "DELETE FROM interactions");
    until("the promoted one is not read from", async || {
        let before = other.psql(&world.database, "SELECT 1");
        assert_eq!(before.trim(), "1");
        let mut answered = Vec::new();
        for _ in 0..20 {
            answered.push(store.user_stats(user(1), &bounded).await.unwrap().answered);
        }
        answered.iter().all(|answered| *answered == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_replica_that_stands_before_where_it_was_serves_no_stale_own_write() {
    let world = world().await;
    let store = &world.store;
    for second in 0..40 {
        let answer = answer(1, at(second));
        let token = record(store, &answer).await.token.unwrap();
        let after = Consistency::AtLeast(token);
        if second % 10 == 5 {
            let replica = &world.replicas[usize::from(second % 20 == 5)];
            replica.kill();
            replica.start_again();
        }
        for _ in 0..5 {
            let found = store.find_answer(user(1), answer.id, &after).await.unwrap();
            assert_eq!(found.as_ref(), Some(&answer), "a stale own read");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_was_failed_over_and_came_back_is_no_replica() {
    let old = Cluster::start(&Installed::oldest(), &[]);
    let new = old.replica();
    let hosts = |cluster: &Cluster| format!("127.0.0.1:{}", cluster.port());
    let both = format!(
        "postgres://postgres@{},{}/postgres",
        hosts(&old),
        hosts(&new)
    );
    let open = || async {
        let config = config(&both).with_replicas(&[&both]).unwrap();
        PgStore::open(config).await.unwrap()
    };
    record(&open().await, &answer(1, at(0))).await;
    new.wait_until_caught_up(&old);
    // The old one writes much that the new one never has, so that its positions are greater.
    new.suspend();
    old.psql(
        "postgres",
        "CREATE TABLE ballast AS SELECT n, repeat('x', 100) FROM generate_series(1, 50000) AS n",
    );
    old.kill();
    new.resume();
    new.promote();
    old.start_again();
    let store = open().await;
    // Whoever is taken for a replica is so after a few looks.
    tokio::time::sleep(Duration::from_millis(800)).await;
    for second in 1..40 {
        let answer = answer(1, at(second));
        let token = record(&store, &answer).await.token.unwrap();
        let after = Consistency::AtLeast(token);
        let found = store.find_answer(user(1), answer.id, &after).await.unwrap();
        assert_eq!(
            found.as_ref(),
            Some(&answer),
            "read on a timeline that ended"
        );
    }
}
