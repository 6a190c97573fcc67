use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use medcards_core::Timestamp;
use medcards_core::job::{JobQueue, NewJob};
use medcards_core::time::{Clock, SystemClock};
use medcards_store_pg::PgStore;
use sqlx::{Connection, Executor};
use tokio::task::JoinSet;

use crate::jobs::{connect, done, kind};
use crate::place::{config, fresh};

/// How many jobs flow through.
const JOBS: u64 = 300_000;

/// How many are enqueued, claimed and settled at once.
const BATCH: usize = 200;

/// How many workers there are.
const WORKERS: u64 = 4;

fn now() -> Timestamp {
    SystemClock::default().now()
}

/// Prints how many jobs a second are done while a forgotten transaction keeps vacuum away, with a
/// producer that is a little ahead of the workers.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and prints figures to be looked at"]
async fn jobs_flow_while_a_forgotten_transaction_keeps_vacuum_away() {
    let (store, database) = fresh().await;
    let mut forgotten = connect(&database).await;
    forgotten
        .execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM jobs")
        .await
        .unwrap();
    let (enqueued, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let mut working = JoinSet::new();
    let (producer, count, finished) = (store.clone(), Arc::clone(&enqueued), Arc::clone(&ended));
    working.spawn(async move {
        while count.load(Ordering::Relaxed) < JOBS {
            let behind = count.load(Ordering::Relaxed) - finished.load(Ordering::Relaxed);
            if behind > 10 * BATCH as u64 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
            let at = now();
            let jobs = (0..BATCH).map(|_| NewJob::new(kind(), "{}", at)).collect();
            producer.enqueue(jobs, at).await.unwrap();
            count.fetch_add(BATCH as u64, Ordering::Relaxed);
        }
    });
    for worker in 0..WORKERS {
        let store = match worker % 2 {
            0 => store.clone(),
            _ => PgStore::open(config(&database.url())).await.unwrap(),
        };
        let (ended, stop) = (Arc::clone(&ended), Arc::clone(&stop));
        working.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let lease = Duration::from_secs(60);
                let claimed = store.claim(&[kind()], BATCH, now(), lease).await.unwrap();
                if claimed.is_empty() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
                let count = claimed.len() as u64;
                let ends = claimed.iter().map(done).collect();
                store.settle(ends, now()).await.unwrap();
                ended.fetch_add(count, Ordering::Relaxed);
            }
        });
    }
    let began = Instant::now();
    let mut last = (Instant::now(), 0);
    while last.1 < JOBS {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (at, count) = (Instant::now(), ended.load(Ordering::Relaxed));
        let rate = (count - last.1) as f64 / at.duration_since(last.0).as_secs_f64();
        println!(
            "{:>4} s  {count:>7} done  {rate:>6.0} jobs/s",
            began.elapsed().as_secs()
        );
        last = (at, count);
    }
    stop.store(true, Ordering::Relaxed);
    working.join_all().await;
    let dead = "SELECT n_live_tup, n_dead_tup, pg_size_pretty(pg_total_relation_size('jobs'))
                FROM pg_stat_user_tables WHERE relname = 'jobs'";
    println!("live, dead, size: {}", database.psql(dead).trim());
    assert_eq!(ended.load(Ordering::Relaxed), JOBS);
    forgotten.close().await.unwrap();
}
