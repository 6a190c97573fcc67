use std::time::{Duration, Instant};

use criterion::Criterion;
use medcards_benches::answers::{Answers, at_once, record};
use medcards_benches::compare::{Comparison, compare, compare_long, is_wanted, runtime};
use medcards_benches::report::{Report, Target};
use medcards_store_pg::PgStore;
use sqlx::PgPool;
use tokio::runtime::Runtime;

use crate::{pgbench, raw, server};

/// How many record answers at once: one student, a seminar, a lecture.
const CLIENTS: [u64; 3] = [1, 16, 64];

/// What is asked of every comparison: what the store does beside, it may cost a fifth.
const TARGET: Target = Target::RateAtLeast(0.8);

pub(crate) fn run(criterion: &mut Criterion, report: &mut Report) {
    for clients in CLIENTS {
        let work = format!("pg_record_answer/{clients} clients");
        if is_wanted(&work) {
            run_with(criterion, report, &work, clients);
        }
    }
}

/// How an answer is inserted by hand.
#[derive(Clone, Copy)]
enum ByHand {
    /// `BEGIN`, both inserts one after the other, `COMMIT`.
    Transaction,
    /// Both inserts in one statement.
    Statement,
}

fn run_with(criterion: &mut Criterion, report: &mut Report, work: &str, clients: u64) {
    let runtime = runtime();
    let answers = Answers::new();
    // Databases of their own, so that all tables grow in the same way.
    let databases = [(); 3].map(|()| server::database());
    let [ours, by_sqlx, by_pgbench] = &databases;
    let store = runtime.block_on(make(ours, &answers));
    for database in [by_sqlx, by_pgbench] {
        runtime.block_on(async { make(database, &answers).await.close().await });
    }
    let pool = runtime.block_on(raw::connect(by_sqlx, clients));
    let (commits_before, mut recorded) = (store.commits(), 0);
    for (baseline, by_hand) in [
        ("sqlx transaction", ByHand::Transaction),
        ("sqlx statement", ByHand::Statement),
    ] {
        compare(
            criterion,
            report,
            &Comparison {
                work,
                ours: "PgStore",
                baseline,
                pieces: clients,
                target: TARGET,
            },
            |rounds| runtime.block_on(insert(&pool, &answers, rounds, clients, by_hand)),
            |rounds| {
                recorded += rounds * clients;
                runtime.block_on(record(&store, &answers, rounds, clients))
            },
        );
    }
    let folder = tempfile::tempdir().expect("the disk has room");
    compare_long(
        report,
        &Comparison {
            work,
            ours: "PgStore",
            baseline: "pgbench",
            pieces: clients,
            target: TARGET,
        },
        |time| pgbench::insert(by_pgbench, folder.path(), clients, time),
        |time| {
            let (count, took) = record_for(&runtime, &store, &answers, clients, time);
            recorded += count;
            took.as_secs_f64() / count as f64
        },
    );
    report.remark(format!(
        "{work}: {:.1} answers per commit",
        recorded as f64 / (store.commits() - commits_before) as f64
    ));
    runtime.block_on(async {
        store.close().await;
        pool.close().await;
    });
}

/// Opens the store in a new database, and makes the month of the answers and of today.
async fn make(database: &medcards_tests::pg::Database, answers: &Answers) -> PgStore {
    let store = server::open(database, 1).await;
    record(&store, answers, 1, 1).await;
    store
}

async fn insert(
    pool: &PgPool,
    answers: &Answers,
    rounds: u64,
    clients: u64,
    by_hand: ByHand,
) -> Duration {
    at_once(clients, |_| {
        let (pool, answers) = (pool.clone(), answers.clone());
        async move {
            for _ in 0..rounds {
                let answer = answers.make();
                let inserted = match by_hand {
                    ByHand::Transaction => raw::insert(&pool, &answer).await,
                    ByHand::Statement => raw::insert_both(&pool, &answer).await,
                };
                inserted.expect("the server takes answers");
            }
        }
    })
    .await
}

/// Records answers for about this long; says how many, and how long it took.
fn record_for(
    runtime: &Runtime,
    store: &PgStore,
    answers: &Answers,
    clients: u64,
    time: Duration,
) -> (u64, Duration) {
    /// Few enough for the shortest turn, enough to keep the callers from waiting for each other.
    const ROUNDS: u64 = 50;
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < time {
        runtime.block_on(record(store, answers, ROUNDS, clients));
        count += ROUNDS * clients;
    }
    (count, started.elapsed())
}
