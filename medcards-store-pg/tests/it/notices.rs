use medcards_core::event::LogPosition;
use medcards_core::job::{Effects, JobQueue, Settlement};
use medcards_core::notice::{NewNotice, Notice, NoticeBody, NoticeStore};
use medcards_store_pg::PgStore;
use sqlx::Connection;
use tokio::task::JoinSet;

use crate::jobs::{connect, done, job, kind};
use crate::place::{at, fresh, until, user};

fn notice(days: u32) -> NewNotice {
    NewNotice {
        user_id: user(days % 5),
        at: at(0),
        body: NoticeBody::Streak { days },
    }
}

fn days(notice: &Notice) -> u32 {
    match notice.body {
        NoticeBody::Streak { days } => days,
        _ => panic!("{notice:?}"),
    }
}

/// The end of a job that is claimed just for it, with a notice.
async fn telling(store: &PgStore, days: u32) -> Settlement {
    store.enqueue(vec![job(0)], at(0)).await.unwrap();
    let lease = std::time::Duration::from_secs(60);
    let claimed = loop {
        let claimed = store.claim(&[kind()], 1, at(1), lease).await.unwrap();
        if let [claimed] = &claimed[..] {
            break claimed.clone();
        }
    };
    Settlement {
        effects: Effects {
            notices: vec![notice(days)],
            ..Effects::default()
        },
        ..done(&claimed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_are_read_in_the_order_of_commits_and_none_is_missed() {
    const WRITERS: u32 = 4;
    const EACH: u32 = 25;
    let (store, _database) = fresh().await;
    let mut writing = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writing.spawn(async move {
            for n in 0..EACH {
                let end = telling(&store, writer * EACH + n).await;
                store.settle(vec![end], at(2)).await.unwrap();
            }
        });
    }
    let mut read = Vec::new();
    let mut after = LogPosition::START;
    until("all notices are read", async || {
        for notice in store.read_notices(after, 7).await.unwrap() {
            assert!(notice.position > after);
            after = notice.position;
            read.push(days(&notice));
        }
        (read.len() as u32 >= WRITERS * EACH).then_some(())
    })
    .await;
    writing.join_all().await;
    read.sort_unstable();
    assert_eq!(read, (0..WRITERS * EACH).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_shown_that_an_open_transaction_may_still_come_before() {
    let (store, database) = fresh().await;
    let mut connection = connect(&database).await;
    let (early, late) = (telling(&store, 1).await, telling(&store, 2).await);
    let mut open = connection.begin().await.unwrap();
    store.settle_in(&mut open, early, at(2)).await.unwrap();
    store.settle(vec![late], at(2)).await.unwrap();
    let shown = store.read_notices(LogPosition::START, 10).await.unwrap();
    assert_eq!(shown, []);
    assert_eq!(store.last_notice().await.unwrap(), LogPosition::START);
    open.commit().await.unwrap();
    let shown = until("both are shown", async || {
        let shown = store.read_notices(LogPosition::START, 10).await.unwrap();
        (shown.len() == 2).then_some(shown)
    })
    .await;
    assert_eq!(shown.iter().map(days).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn kinds_that_this_program_does_not_know_are_passed_over() {
    let (store, database) = fresh().await;
    database.psql(
        "INSERT INTO notices (user_id, at, bucket, body)
         SELECT gen_random_uuid(), now(), 1, '{\"kind\": \"sonnet\"}' FROM generate_series(1, 2500)",
    );
    let end = telling(&store, 9).await;
    store.settle(vec![end], at(2)).await.unwrap();
    until("the known one is shown", async || {
        let shown = store.read_notices(LogPosition::START, 1_000).await.unwrap();
        (shown.iter().map(days).collect::<Vec<_>>() == [9]).then_some(())
    })
    .await;
}
