use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use medcards_core::job::{
    ClaimedJob, Effects, Enqueued, JobKind, JobOutcome, JobQueue, NewJob, Settled, Settlement,
};
use medcards_core::{JobId, UserId};
use medcards_store_pg::PgStore;
use medcards_tests::pg::Database;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::place::{at, config, fresh, until, user};

const LEASE: Duration = Duration::from_secs(60);

/// How long all of them together may take before they count as hung.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn kind() -> JobKind {
    JobKind::new("work").expect("a name that exists")
}

/// A job that has been due for that many seconds, backwards.
pub(crate) fn job(second: i64) -> NewJob {
    NewJob::new(kind(), second.to_string(), at(second))
}

fn ordered(n: u32, second: i64) -> NewJob {
    job(second).for_user(user(n)).in_order_of_user()
}

pub(crate) fn done(job: &ClaimedJob) -> Settlement {
    Settlement {
        claim: job.claim(),
        outcome: JobOutcome::Done,
        effects: Effects::default(),
    }
}

pub(crate) async fn connect(database: &Database) -> PgConnection {
    PgConnection::connect(&database.url()).await.unwrap()
}

async fn claim(store: &PgStore, second: i64) -> Vec<ClaimedJob> {
    store
        .claim(&[kind()], 100, at(second), LEASE)
        .await
        .unwrap()
}

fn ids(jobs: &[ClaimedJob]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_two_processes_never_overlap() {
    let (store, database) = fresh().await;
    let other = PgStore::open(config(&database.url())).await.unwrap();
    let taken: Arc<Mutex<Vec<JobId>>> = Arc::default();
    let mut working = JoinSet::new();
    for n in 0..8 {
        let store = if n % 2 == 0 { &store } else { &other }.clone();
        let taken = Arc::clone(&taken);
        working.spawn(async move {
            for batch in 0..10 {
                let jobs = (0..10).map(|second| job(n * 100 + batch * 10 + second));
                store.enqueue(jobs.collect(), at(0)).await.unwrap();
                let claimed = store.claim(&[kind()], 7, at(2_000), LEASE).await.unwrap();
                taken.lock().unwrap().extend(ids(&claimed));
            }
            while taken.lock().unwrap().len() < 800 {
                let claimed = store.claim(&[kind()], 7, at(2_000), LEASE).await.unwrap();
                taken.lock().unwrap().extend(ids(&claimed));
            }
        });
    }
    timeout(PATIENCE, working.join_all()).await.unwrap();
    let taken = taken.lock().unwrap();
    let distinct: HashSet<_> = taken.iter().collect();
    assert_eq!((taken.len(), distinct.len()), (800, 800));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_enqueued_earlier_and_committed_later_waits_for_the_one_under_way() {
    let (store, database) = fresh().await;
    let mut connection = connect(&database).await;
    let mut late = connection.begin().await.unwrap();
    let first = ordered(1, 0);
    store
        .enqueue_in(&mut late, std::slice::from_ref(&first), at(0))
        .await
        .unwrap();
    let second = ordered(1, 1);
    store.enqueue(vec![second.clone()], at(1)).await.unwrap();
    let under_way = claim(&store, 10).await;
    assert_eq!(ids(&under_way), [second.id]);
    late.commit().await.unwrap();
    assert_eq!(claim(&store, 11).await, [], "two of one user at a time");
    store
        .settle(vec![done(&under_way[0])], at(12))
        .await
        .unwrap();
    // A late commit may be below where a claim begins that is dear: then the next one that reads
    // everything finds it.
    let claimed = until("the late one is claimed", async || {
        let claimed = claim(&store, 13).await;
        (!claimed.is_empty()).then_some(claimed)
    });
    assert_eq!(ids(&claimed.await), [first.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_user_no_two_jobs_are_under_way_however_commits_are_interleaved() {
    const USERS: u32 = 3;
    const JOBS: i64 = 120;
    let (store, database) = fresh().await;
    let other = PgStore::open(config(&database.url())).await.unwrap();
    let under_way: Arc<Mutex<HashSet<UserId>>> = Arc::default();
    let ended: Arc<Mutex<HashSet<JobId>>> = Arc::default();
    let mut working = JoinSet::new();
    for n in 1..=USERS {
        let (store, mut connection) = (store.clone(), connect(&database).await);
        working.spawn(async move {
            for second in 0..JOBS / i64::from(USERS) / 2 {
                // One whose number is taken first, and which commits last.
                let mut late = connection.begin().await.unwrap();
                let early = [ordered(n, 2 * second)];
                store.enqueue_in(&mut late, &early, at(0)).await.unwrap();
                let next = vec![ordered(n, 2 * second + 1)];
                store.enqueue(next, at(0)).await.unwrap();
                tokio::task::yield_now().await;
                late.commit().await.unwrap();
            }
        });
    }
    for n in 0..4 {
        let store = if n % 2 == 0 { &store } else { &other }.clone();
        let (under_way, ended) = (Arc::clone(&under_way), Arc::clone(&ended));
        working.spawn(async move {
            while (ended.lock().unwrap().len() as i64) < JOBS {
                for job in claim(&store, 2_000).await {
                    let user_id = job.user_id.unwrap();
                    let is_alone = under_way.lock().unwrap().insert(user_id);
                    assert!(is_alone, "two of one user at a time");
                    tokio::task::yield_now().await;
                    under_way.lock().unwrap().remove(&user_id);
                    let settled = store.settle(vec![done(&job)], at(2_001)).await.unwrap();
                    assert_eq!(settled, [Settled::Done]);
                    assert!(ended.lock().unwrap().insert(job.id), "done twice");
                }
            }
        });
    }
    timeout(PATIENCE, working.join_all()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn none_of_a_users_jobs_is_claimed_while_one_is_put_back() {
    let (store, database) = fresh().await;
    let first = ordered(1, 0);
    store.enqueue(vec![first.clone()], at(0)).await.unwrap();
    let died = Settlement {
        outcome: JobOutcome::Dead {
            reason: "it cannot work".to_owned(),
        },
        ..done(&claim(&store, 1).await[0])
    };
    store.settle(vec![died], at(1)).await.unwrap();
    // The requeueing has its number, and waits for whoever writes a row of this id.
    let mut connection = connect(&database).await;
    let mut row = connection.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO jobs (id, run_at, enqueued_at, attempt, uncounted, is_ordered, is_claimed, kind,
                           payload)
         VALUES ($1, now(), now(), 0, 0, false, false, 'other', '')",
    )
    .bind(*first.id.as_uuid())
    .execute(&mut *row)
    .await
    .unwrap();
    let (requeuing, id) = (store.clone(), first.id);
    let requeuing = tokio::spawn(async move { requeuing.requeue(&[id], at(2)).await });
    until("the requeueing waits", async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        (database.psql(waiting).trim() == "1").then_some(())
    })
    .await;
    let second = ordered(1, 3);
    store.enqueue(vec![second.clone()], at(3)).await.unwrap();
    assert_eq!(claim(&store, 4).await, [], "the first may come before it");
    row.rollback().await.unwrap();
    assert_eq!(requeuing.await.unwrap().unwrap(), 1);
    let claimed = claim(&store, 5).await;
    assert_eq!(ids(&claimed), [first.id]);
    assert_eq!(claim(&store, 6).await, [], "two of one user at a time");
    store.settle(vec![done(&claimed[0])], at(7)).await.unwrap();
    assert_eq!(ids(&claim(&store, 8).await), [second.id]);
}

#[tokio::test]
async fn the_jobs_of_a_user_who_lives_elsewhere_are_refused() {
    let (store, database) = fresh().await;
    let moved = job(1).for_user(user(5));
    let bucket = moved.bucket().unwrap();
    database.psql(&format!(
        "DELETE FROM owned_buckets WHERE bucket = {bucket}"
    ));
    let refused = store.enqueue(vec![job(0), moved.clone()], at(0)).await;
    assert!(refused.unwrap_err().is_retryable());
    assert_eq!(database.psql("SELECT count(*) FROM jobs").trim(), "0");
    database.psql(&format!("INSERT INTO owned_buckets VALUES ({bucket})"));
    let enqueued = store.enqueue(vec![moved], at(0)).await.unwrap();
    assert_eq!(enqueued, [Enqueued::New]);
    let kept = "SELECT bucket FROM jobs";
    assert_eq!(database.psql(kept).trim(), bucket.to_string());
}

#[tokio::test]
async fn what_a_transaction_of_the_embedder_enqueues_is_there_if_it_commits() {
    let (store, database) = fresh().await;
    let mut connection = connect(&database).await;
    let once = || job(0).once("key", LEASE);
    let mut transaction = connection.begin().await.unwrap();
    let enqueued = store.enqueue_in(&mut transaction, &[once()], at(0)).await;
    assert_eq!(enqueued.unwrap(), [Enqueued::New]);
    transaction.rollback().await.unwrap();
    assert_eq!(claim(&store, 1).await, []);
    let mut transaction = connection.begin().await.unwrap();
    let enqueued = store.enqueue_in(&mut transaction, &[once()], at(0)).await;
    assert_eq!(
        enqueued.unwrap(),
        [Enqueued::New],
        "the key was rolled back, too"
    );
    transaction.commit().await.unwrap();
    assert_eq!(claim(&store, 1).await.len(), 1);
}

#[tokio::test]
async fn settling_in_a_transaction_is_refused_after_another_claim() {
    let (store, database) = fresh().await;
    let mut connection = connect(&database).await;
    store.enqueue(vec![job(0)], at(0)).await.unwrap();
    let slow = claim(&store, 1).await.remove(0);
    let quick = claim(&store, 100).await.remove(0);
    assert_eq!((slow.attempt, quick.attempt), (1, 2));
    let settle = async |connection: &mut PgConnection, job: &ClaimedJob| {
        let mut transaction = connection.begin().await.unwrap();
        sqlx::query("CREATE TABLE IF NOT EXISTS effects (attempt bigint)")
            .execute(&mut *transaction)
            .await
            .unwrap();
        sqlx::query("INSERT INTO effects VALUES ($1)")
            .bind(i64::from(job.attempt))
            .execute(&mut *transaction)
            .await
            .unwrap();
        let settled = store.settle_in(&mut transaction, done(job), at(101)).await;
        match settled.unwrap() {
            Settled::Done => transaction.commit().await.unwrap(),
            Settled::Lost => transaction.rollback().await.unwrap(),
        }
    };
    settle(&mut connection, &slow).await;
    assert_eq!(database.psql("SELECT count(*) FROM jobs").trim(), "1");
    settle(&mut connection, &quick).await;
    assert_eq!(database.psql("SELECT count(*) FROM jobs").trim(), "0");
    settle(&mut connection, &quick).await;
    assert_eq!(database.psql("SELECT attempt FROM effects").trim(), "2");
}
