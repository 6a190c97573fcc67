use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use criterion::Criterion;
use medcards_benches::answers::{Answers, at_once};
use medcards_benches::compare::{Comparison, compare, is_quick, is_wanted, runtime};
use medcards_benches::report::{Report, Target};
use medcards_core::answer::{Answer, AnswerStore};
use medcards_core::store::{Consistency, PageLimit};
use medcards_store_pg::PgStore;
use medcards_tests::pg::Database;
use sqlx::PgPool;

use crate::{raw, server};

/// How many read at once.
const CLIENTS: [u64; 2] = [1, 16];

/// How many answers there are: a hundred for each user.
const ANSWERS: u64 = 100_000;

/// How many record them.
const CALLERS: u64 = 500;

/// A screen of a student's history.
const SCREEN: u32 = 20;

/// What is read.
#[derive(Clone, Copy)]
enum Read {
    Find,
    List,
    Stats,
}

impl Read {
    const ALL: [Self; 3] = [Self::Find, Self::List, Self::Stats];

    fn name(self) -> &'static str {
        match self {
            Self::Find => "pg_find_answer",
            Self::List => "pg_list_answers",
            Self::Stats => "pg_user_stats",
        }
    }
}

pub(crate) fn run(criterion: &mut Criterion, report: &mut Report) {
    let work = |read: Read, clients: u64| format!("{}/{clients} clients", read.name());
    let mut works = Read::ALL
        .iter()
        .flat_map(|read| CLIENTS.map(|clients| work(*read, clients)));
    if !works.any(|work| is_wanted(&work)) {
        return;
    }
    let runtime = runtime();
    let database = server::database();
    let answers = runtime.block_on(fill(&database));
    for clients in CLIENTS {
        let (store, pool) = runtime.block_on(async {
            let store = server::open(&database, clients).await;
            (store, raw::connect(&database, clients).await)
        });
        for read in Read::ALL {
            compare(
                criterion,
                report,
                &Comparison {
                    work: &work(read, clients),
                    ours: "PgStore",
                    baseline: "sqlx",
                    pieces: clients,
                    target: Target::RateAtLeast(0.9),
                },
                |rounds| runtime.block_on(by_hand(&pool, &answers, rounds, clients, read)),
                |rounds| runtime.block_on(by_store(&store, &answers, rounds, clients, read)),
            );
        }
        runtime.block_on(async {
            store.close().await;
            pool.close().await;
        });
    }
}

/// Some of the answers of a database, each taken in turn.
#[derive(Clone)]
struct Wanted {
    answers: Arc<[Answer]>,
    next: Arc<AtomicUsize>,
}

impl Wanted {
    fn next(&self) -> &Answer {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        &self.answers[n % self.answers.len()]
    }
}

/// Records the answers of all users, and keeps in mind a thousand of them.
async fn fill(database: &Database) -> Wanted {
    const KEPT: usize = 1_000;
    let store = server::open(database, 1).await;
    let answers = Answers::new();
    let count = if is_quick() { ANSWERS / 10 } else { ANSWERS };
    let kept: Vec<_> = (0..KEPT).map(|_| answers.make()).collect();
    for answer in &kept {
        let recorded = store.record_answer(answer.clone()).await;
        recorded.expect("the server takes answers");
    }
    medcards_benches::answers::record(&store, &answers, count / CALLERS, CALLERS).await;
    store.close().await;
    database.psql("VACUUM ANALYZE interactions");
    Wanted {
        answers: kept.into(),
        next: Arc::default(),
    }
}

async fn by_store(
    store: &PgStore,
    wanted: &Wanted,
    rounds: u64,
    clients: u64,
    read: Read,
) -> Duration {
    at_once(clients, |_| {
        let (store, wanted) = (store.clone(), wanted.clone());
        async move {
            let limit = PageLimit::new(SCREEN).expect("a screen is not too long");
            for _ in 0..rounds {
                let Answer { user_id, id, .. } = *wanted.next();
                let fresh = &Consistency::Strong;
                let found = match read {
                    Read::Find => store
                        .find_answer(user_id, id, fresh)
                        .await
                        .map(|found| usize::from(found.is_some())),
                    Read::List => store
                        .list_answers(user_id, None, limit, fresh)
                        .await
                        .map(|page| page.items.len()),
                    Read::Stats => store
                        .user_stats(user_id, fresh)
                        .await
                        .map(|stats| stats.answered as usize),
                };
                assert_ne!(found.expect("the server answers"), 0);
            }
        }
    })
    .await
}

async fn by_hand(
    pool: &PgPool,
    wanted: &Wanted,
    rounds: u64,
    clients: u64,
    read: Read,
) -> Duration {
    at_once(clients, |_| {
        let (pool, wanted) = (pool.clone(), wanted.clone());
        async move {
            for _ in 0..rounds {
                let answer = wanted.next();
                let user_id = *answer.user_id.as_uuid();
                let found = match read {
                    Read::Find => {
                        raw::find(&pool, user_id, answer.created_at, *answer.id.as_uuid())
                            .await
                            .map(|found| usize::from(found.is_some()))
                    }
                    Read::List => raw::list(&pool, user_id, i64::from(SCREEN))
                        .await
                        .map(|rows| rows.len()),
                    Read::Stats => raw::stats(&pool, user_id)
                        .await
                        .map(|(answered, _, _)| answered as usize),
                };
                assert_ne!(found.expect("the server answers"), 0);
            }
        }
    })
    .await
}
