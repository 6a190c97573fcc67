//! For each check of the conformance suite, a backend that breaks just what the check is about.
//!
//! A saboteur wraps a backend in memory and is told the name of a check. A check without a
//! saboteur of its name passes, and thereby fails the test.

mod batches;
mod cache;
mod chats;
mod leaderboards;
mod learning;
mod leases;
mod limiter;
mod sessions;
mod shared_answers;
mod store;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use medcards_core::cache::Cache;
use medcards_core::chat::{ChatStore, SharedAnswers};
use medcards_core::conformance::leases::LEASE_TTL;
use medcards_core::conformance::{
    BATCH_CHECKS, CACHE_CHECKS, CHAT_CHECKS, Check, JOB_CHECKS, LEADERBOARD_CHECKS, LEASE_CHECKS,
    LIMITER_CHECKS, NOTICE_CHECKS, SESSION_CHECKS, SHARED_ANSWER_CHECKS, STORE_CHECKS, VIEW_CHECKS,
    WholeStore,
};
use medcards_core::leaderboard::FedLeaderboards;
use medcards_core::lease::FeedbackLeases;
use medcards_core::limit::RateLimiter;
use medcards_core::memory::{
    MemoryCache, MemoryLeaderboards, MemoryLeases, MemoryRateLimiter, MemoryStore,
};
use medcards_core::precompute::BatchStore;
use medcards_core::session::SessionStore;
use medcards_core::store::Store;
use medcards_core::testing::ManualClock;
use medcards_core::time::SystemClock;

use self::batches::BatchSaboteur;
use self::cache::CacheSaboteur;
use self::chats::ChatSaboteur;
use self::leaderboards::LeaderboardSaboteur;
use self::learning::LearningSaboteur;
use self::leases::LeaseSaboteur;
use self::limiter::LimiterSaboteur;
use self::sessions::SessionSaboteur;
use self::shared_answers::SharedAnswerSaboteur;
use self::store::StoreSaboteur;

/// How often a check may miss its saboteur: some look for races, which do not happen each time.
const TRIES_MAX: u32 = 10;

/// Runs each check on a backend made to break its promise, and returns those that pass.
async fn survivors<B>(
    checks: &[Check<B>],
    sabotage: impl Fn(&'static str) -> B,
) -> Vec<&'static str> {
    let mut survivors = Vec::new();
    for check in checks {
        let promise = check.name.rsplit("::").next().unwrap_or(check.name);
        let mut is_caught = false;
        for _ in 0..TRIES_MAX {
            let run = AssertUnwindSafe((check.run)(sabotage(promise))).catch_unwind();
            is_caught = run.await.is_err();
            if is_caught {
                break;
            }
        }
        if !is_caught {
            survivors.push(check.name);
        }
    }
    survivors
}

/// Makes calls overlap, however the scheduler would have them.
#[derive(Debug, Default)]
struct Crowd(AtomicU64);

impl Crowd {
    /// Waits until another call comes to this point, or none has for 50 milliseconds.
    async fn wait_for_another(&self) {
        let arrived = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        for _ in 0..50 {
            if self.0.load(Ordering::SeqCst) > arrived {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A count that loses what is added at the same time.
#[derive(Debug, Default)]
struct LossyCount {
    count: AtomicU64,
    crowd: Crowd,
}

impl LossyCount {
    fn get(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Adds, and returns what the count was.
    async fn add(&self, more: u64) -> u64 {
        let before = self.get();
        self.crowd.wait_for_another().await;
        self.count.store(before + more, Ordering::SeqCst);
        before
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_check_of_a_store_can_fail() {
    let survivors = survivors(STORE_CHECKS, |promise| {
        Arc::new(StoreSaboteur::new(MemoryStore::new(), promise)) as Arc<dyn Store>
    });
    assert_eq!(survivors.await, [""; 0]);
}

fn sabotaged_batches(promise: &'static str) -> Arc<dyn BatchStore> {
    Arc::new(BatchSaboteur::new(MemoryStore::new(), promise))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_check_of_batches_can_fail() {
    let survivors = survivors(BATCH_CHECKS, sabotaged_batches);
    assert_eq!(survivors.await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_check_of_a_cache_can_fail() {
    let survivors = survivors(CACHE_CHECKS, |promise| {
        Arc::new(CacheSaboteur::new(MemoryCache::new(64 << 20), promise)) as Arc<dyn Cache>
    });
    assert_eq!(survivors.await, [""; 0]);
}

fn leases(promise: &'static str) -> Arc<dyn FeedbackLeases> {
    let leases = MemoryLeases::new(LEASE_TTL, Arc::new(SystemClock::new()));
    Arc::new(LeaseSaboteur::new(leases, promise))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_check_of_leases_can_fail() {
    assert_eq!(survivors(LEASE_CHECKS, leases).await, [""; 0]);
}

fn sabotaged_boards(promise: &'static str) -> Arc<dyn FedLeaderboards> {
    let boards = MemoryLeaderboards::new(Arc::new(SystemClock::new()));
    Arc::new(LeaderboardSaboteur::new(boards, promise))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_check_of_leaderboards_can_fail() {
    let survivors = survivors(LEADERBOARD_CHECKS, sabotaged_boards);
    assert_eq!(survivors.await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_check_of_a_limiter_can_fail() {
    let survivors = survivors(LIMITER_CHECKS, |promise| {
        let clock = Arc::new(ManualClock::default());
        let limiter = MemoryRateLimiter::new(Arc::clone(&clock) as _);
        let saboteur = LimiterSaboteur::new(limiter, Arc::clone(&clock), promise);
        (Arc::new(saboteur) as Arc<dyn RateLimiter>, clock)
    });
    assert_eq!(survivors.await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_check_of_sessions_can_fail() {
    let survivors = survivors(SESSION_CHECKS, |promise| {
        Arc::new(SessionSaboteur::new(MemoryStore::new(), promise)) as Arc<dyn SessionStore>
    });
    assert_eq!(survivors.await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_check_of_chats_can_fail() {
    let survivors = survivors(CHAT_CHECKS, |promise| {
        Arc::new(ChatSaboteur::new(MemoryStore::new(), promise)) as Arc<dyn ChatStore>
    });
    assert_eq!(survivors.await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_check_of_shared_answers_can_fail() {
    let survivors = survivors(SHARED_ANSWER_CHECKS, |promise| {
        Arc::new(SharedAnswerSaboteur::new(MemoryStore::new(), promise)) as Arc<dyn SharedAnswers>
    });
    assert_eq!(survivors.await, [""; 0]);
}

fn whole_store(promise: &'static str) -> Arc<dyn WholeStore> {
    Arc::new(LearningSaboteur::new(MemoryStore::new(), promise))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_check_of_jobs_can_fail() {
    assert_eq!(survivors(JOB_CHECKS, whole_store).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_check_of_notices_can_fail() {
    assert_eq!(survivors(NOTICE_CHECKS, whole_store).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_check_of_views_can_fail() {
    assert_eq!(survivors(VIEW_CHECKS, whole_store).await, [""; 0]);
}

/// Without this, a saboteur that breaks everything would prove nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saboteur_without_a_promise_to_break_passes_every_check() {
    for check in STORE_CHECKS {
        (check.run)(Arc::new(StoreSaboteur::new(MemoryStore::new(), "nothing"))).await;
    }
    for check in BATCH_CHECKS {
        (check.run)(sabotaged_batches("nothing")).await;
    }
    for check in CACHE_CHECKS {
        (check.run)(Arc::new(CacheSaboteur::new(
            MemoryCache::new(64 << 20),
            "nothing",
        )))
        .await;
    }
    for check in LEASE_CHECKS {
        (check.run)(leases("nothing")).await;
    }
    for check in LEADERBOARD_CHECKS {
        (check.run)(sabotaged_boards("nothing")).await;
    }
    for check in [JOB_CHECKS, NOTICE_CHECKS, VIEW_CHECKS].concat() {
        (check.run)(whole_store("nothing")).await;
    }
    for check in SESSION_CHECKS {
        let saboteur = SessionSaboteur::new(MemoryStore::new(), "nothing");
        (check.run)(Arc::new(saboteur)).await;
    }
    for check in CHAT_CHECKS {
        let saboteur = ChatSaboteur::new(MemoryStore::new(), "nothing");
        (check.run)(Arc::new(saboteur)).await;
    }
    for check in SHARED_ANSWER_CHECKS {
        let saboteur = SharedAnswerSaboteur::new(MemoryStore::new(), "nothing");
        (check.run)(Arc::new(saboteur)).await;
    }
    for check in LIMITER_CHECKS {
        let clock = Arc::new(ManualClock::default());
        let limiter = MemoryRateLimiter::new(Arc::clone(&clock) as _);
        let saboteur = LimiterSaboteur::new(limiter, Arc::clone(&clock), "nothing");
        (check.run)((Arc::new(saboteur), clock)).await;
    }
}
