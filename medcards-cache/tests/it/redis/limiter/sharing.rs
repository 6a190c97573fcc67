//! Several processes on one Redis.

use std::sync::Arc;

use futures_util::future::join_all;
use medcards_core::limit::RateLimiter;
use medcards_core::testing::ManualClock;
use medcards_tests::redis::{RedisCluster, RedisServer};

use super::super::places::process_on;
use super::{Remote, check, driven, limited};

const PROCESSES: usize = 4;

/// Limiters with connections of their own, as processes have.
async fn processes(url: &str, clock: &Arc<ManualClock>) -> Vec<Remote> {
    let limiters =
        (0..PROCESSES).map(|_| async { Remote(driven(process_on(url).await, clock).build()) });
    join_all(limiters).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_processes_together_are_allowed_the_quota() {
    let server = RedisServer::start();
    let clock = Arc::new(ManualClock::default());
    let processes = processes(&server.url(), &clock).await;
    let call = limited("client", "a", 100, 1);
    let calls = (0..400).map(|n| {
        let limiter = processes[n % PROCESSES].0.clone();
        let call = call.clone();
        tokio::spawn(async move { check(&limiter, &call).await.is_allowed })
    });
    let allowed = join_all(calls).await;
    let allowed = allowed
        .into_iter()
        .filter(|allowed| *allowed.as_ref().unwrap());
    assert_eq!(allowed.count(), 100);
}

/// Of calls against quotas of different names, which no one script can count in a Cluster, none goes
/// over either quota, and when all is quiet again both count the same calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn quotas_of_different_names_are_not_exceeded_and_agree_in_the_end() {
    let cluster = RedisCluster::start();
    let clock = Arc::new(ManualClock::default());
    let processes = processes(&cluster.url(), &clock).await;
    let both = [
        limited("client", "a", 1_000, 2),
        limited("address", "b", 100, 2),
    ];
    let calls = (0..400).map(|n| {
        let limiter = processes[n % PROCESSES].0.clone();
        let both = both.clone();
        tokio::spawn(async move {
            let decisions = limiter.check_all(&both).await.unwrap();
            decisions.iter().all(|decision| decision.is_allowed)
        })
    });
    let allowed = join_all(calls).await;
    let allowed = allowed
        .into_iter()
        .filter(|allowed| *allowed.as_ref().unwrap());
    let allowed = u32::try_from(allowed.count()).unwrap();
    // Refused calls count for a moment in the larger quota alone, which has room for them all.
    assert_eq!(allowed, 50);
    let left = both.map(|mut call| {
        call.cost = 0;
        call
    });
    let left = processes[0].0.check_all(&left).await.unwrap();
    assert_eq!(left[0].remaining, 1_000 - 2 * allowed);
    assert_eq!(left[1].remaining, 100 - 2 * allowed);
}
