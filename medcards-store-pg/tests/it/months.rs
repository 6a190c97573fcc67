use medcards_core::ErrorKind;
use medcards_core::answer::AnswerStore;
use medcards_core::store::Consistency;
use medcards_core::{AnswerId, Timestamp};
use medcards_store_pg::{PgStore, Retention};
use medcards_tests::pg::Database;

use crate::place::{answer, answers_of, config, fresh, instant, record, user};

fn partitions(database: &Database) -> Vec<String> {
    let list = "SELECT inhrelid::regclass FROM pg_inherits
                WHERE inhparent = 'interactions'::regclass ORDER BY inhrelid::regclass::text";
    database.psql(list).lines().map(str::to_owned).collect()
}

/// The names of the partitions of this month and those after and before it, by the server's clock.
fn month(database: &Database, months: i32) -> String {
    let name = format!(
        "SELECT to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + {months} * interval '1 month',
                        '\"interactions_\"YYYY_MM')"
    );
    database.psql(&name).trim().to_owned()
}

fn now(database: &Database) -> Timestamp {
    let now = "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
    instant(database.psql(now).trim())
}

#[tokio::test]
async fn this_month_and_the_next_two_are_made_ahead() {
    let (_store, database) = fresh().await;
    let expected: Vec<_> = (0..=2).map(|months| month(&database, months)).collect();
    assert_eq!(partitions(&database), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_any_month_makes_its_month() {
    let (store, database) = fresh().await;
    let instants = [
        "2000-01-01T00:00:00Z",
        "2024-02-29T23:59:59.999Z",
        "2024-03-01T00:00:00Z",
        "2199-12-31T23:59:59.999Z",
    ];
    for (n, text) in (1..).zip(instants) {
        let answer = answer(n, instant(text));
        record(&store, &answer).await;
        // Sent again, it meets the first one in its month.
        record(&store, &answer).await;
        assert_eq!(answers_of(&store, user(n)).await.unwrap(), [answer]);
    }
    let made = partitions(&database);
    for table in [
        "interactions_2000_01",
        "interactions_2024_02",
        "interactions_2024_03",
        "interactions_2199_12",
    ] {
        assert!(made.iter().any(|made| made == table), "{table} in {made:?}");
    }
    let default = "SELECT count(*) FROM pg_partitioned_table WHERE partdefid <> 0";
    assert_eq!(
        database.psql(default).trim(),
        "0",
        "there is no default partition"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_over_many_months_is_written_whole() {
    let (store, _database) = fresh().await;
    let mut recording = tokio::task::JoinSet::new();
    for n in 0..24 {
        let at = format!("20{:02}-{:02}-15T12:00:00Z", 20 + n / 12, n % 12 + 1);
        let (store, answer) = (store.clone(), answer(9, instant(&at)));
        recording.spawn(async move { store.record_answer(answer).await });
    }
    for recorded in recording.join_all().await {
        recorded.unwrap();
    }
    assert_eq!(answers_of(&store, user(9)).await.unwrap().len(), 24);
}

#[tokio::test]
async fn an_answer_outside_of_time_is_refused() {
    let (store, _database) = fresh().await;
    let wanted = answer(1, instant("2026-05-05T05:05:05Z"));
    let mut of_another_instant = wanted.clone();
    of_another_instant.created_at = instant("2026-05-05T05:05:06Z");
    let mut of_no_instant = wanted.clone();
    of_no_instant.id = AnswerId::from_bytes([7; 16]);
    let before_time = answer(1, instant("1999-12-31T23:59:59Z"));
    let after_time = answer(1, instant("2200-01-01T00:00:00Z"));
    for refused in [of_another_instant, of_no_instant, before_time, after_time] {
        let id = refused.id;
        let error = store.record_answer(refused).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let found = store.find_answer(user(1), id, &Consistency::Strong).await;
        assert_eq!(found.unwrap(), None);
    }
    record(&store, &wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn months_beyond_retention_are_detached_then_dropped_and_their_answers_refused() {
    let (first, database) = fresh().await;
    let old = answer(1, instant("2023-05-05T05:05:05Z"));
    let fresh_answer = answer(1, now(&database));
    record(&first, &old).await;
    record(&first, &fresh_answer).await;
    let kept = |retention| {
        let config = config(&database.url()).with_retention(retention);
        async move { PgStore::open(config).await.unwrap() }
    };

    let detaching = kept(Retention::Detach(12)).await;
    let report = detaching.keep().await.unwrap();
    assert_eq!((report.detached, report.dropped), (1, 0));
    let answers = answers_of(&detaching, user(1)).await.unwrap();
    assert_eq!(answers, std::slice::from_ref(&fresh_answer));
    let error = detaching.record_answer(old.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    // Not even a process that would keep it longer makes the month anew beside its detached table.
    let error = first.record_answer(old.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let table = "SELECT count(*) FROM interactions_2023_05";
    assert_eq!(
        database.psql(table).trim(),
        "1",
        "a detached month is whole"
    );

    let dropping = kept(Retention::Drop(12)).await;
    let report = dropping.keep().await.unwrap();
    assert_eq!((report.detached, report.dropped), (0, 1));
    let gone = "SELECT to_regclass('interactions_2023_05') IS NULL";
    assert_eq!(database.psql(gone).trim(), "t");
    assert_eq!(
        answers_of(&dropping, user(1)).await.unwrap(),
        [fresh_answer]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_answer_does_not_sink_those_it_is_written_with() {
    let (store, database) = fresh().await;
    // A month that was detached: only writing finds out.
    record(&store, &answer(1, instant("2023-05-05T05:05:05Z"))).await;
    database.psql("ALTER TABLE interactions DETACH PARTITION interactions_2023_05");
    let mut recording = tokio::task::JoinSet::new();
    for n in 0..64 {
        let month = if n == 13 { "2023-05" } else { "2023-06" };
        let at = instant(&format!("{month}-10T10:10:{:02}Z", n % 60));
        let (store, answer) = (store.clone(), answer(n, at));
        recording.spawn(async move { (n, store.record_answer(answer).await) });
    }
    for (n, recorded) in recording.join_all().await {
        assert_eq!(recorded.is_ok(), n != 13, "{n}: {recorded:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keepers_of_many_processes_do_not_stand_in_each_others_way() {
    let (store, database) = fresh().await;
    for year in 2020..2024 {
        record(
            &store,
            &answer(1, instant(&format!("{year}-05-05T05:05:05Z"))),
        )
        .await;
    }
    // And this month and those ahead are missing.
    for table in partitions(&database).iter().skip(4) {
        database.psql(&format!("DROP TABLE {table}"));
    }
    let mut keeping = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let config = config(&database.url())
            .with_connections_max(2)
            .with_retention(Retention::Drop(6));
        keeping.spawn(async move {
            let store = PgStore::open(config).await.unwrap();
            let (mut detached, mut dropped) = (0, 0);
            // One that finds the lock taken leaves the work to the next round.
            for _ in 0..20 {
                let report = store.keep().await.unwrap();
                detached += report.detached;
                dropped += report.dropped;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            store.close().await;
            (detached, dropped)
        });
    }
    let reports = keeping.join_all().await;
    let detached: u32 = reports.iter().map(|(detached, _)| detached).sum();
    let dropped: u32 = reports.iter().map(|(_, dropped)| dropped).sum();
    assert_eq!((detached, dropped), (4, 4), "each month once");
    let expected: Vec<_> = (0..=2).map(|months| month(&database, months)).collect();
    assert_eq!(partitions(&database), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_is_being_read_is_retired_later_and_holds_up_nobody() {
    let (store, database) = fresh().await;
    record(&store, &answer(1, instant("2023-05-05T05:05:05Z"))).await;
    let config = config(&database.url()).with_retention(Retention::Drop(12));
    let keeper = PgStore::open(config).await.unwrap();

    // Somebody reads all answers and does not end.
    let mut reader = sqlx_connection(&database).await;
    sqlx::raw_sql("BEGIN; SELECT count(*) FROM interactions")
        .execute(&mut reader)
        .await
        .unwrap();
    let report = keeper.keep().await.unwrap();
    assert_eq!((report.detached, report.dropped), (0, 0));
    record(&store, &answer(2, instant("2024-05-05T05:05:05Z"))).await;

    sqlx::raw_sql("COMMIT").execute(&mut reader).await.unwrap();
    let report = keeper.keep().await.unwrap();
    assert_eq!(report.detached, 2);
}

async fn sqlx_connection(database: &Database) -> sqlx::PgConnection {
    use sqlx::Connection;
    sqlx::PgConnection::connect(&database.url()).await.unwrap()
}
