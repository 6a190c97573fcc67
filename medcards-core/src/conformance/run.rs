use std::sync::Arc;
use std::time::Duration;

use super::{DrivenLimiter, WholeStore};
use crate::cache::Cache;
use crate::chat::{ChatStore, SharedAnswers};
use crate::leaderboard::FedLeaderboards;
use crate::lease::FeedbackLeases;
use crate::limit::RateLimiter;
use crate::precompute::BatchStore;
use crate::session::SessionStore;
use crate::spend::SpendLedger;
use crate::store::Store;
use crate::testing::ManualClock;

/// How long a check may take. The longest writes a thousand answers, which takes some seconds on a
/// slow disk; a backend that hangs must fail rather than hang the tests.
const CHECK_TIME_MAX: Duration = Duration::from_secs(120);

async fn in_time(check: impl Future<Output = ()>) {
    let ended = tokio::time::timeout(CHECK_TIME_MAX, check).await;
    assert!(
        matches!(ended, Ok(())),
        "the check did not end within {CHECK_TIME_MAX:?}"
    );
}

macro_rules! runners {
    ($bare:ident, $behind_arc_dyn:ident: $backend:ident) => {
        /// Runs a check on a backend as it is. The guard goes last, also after a panic.
        #[doc(hidden)]
        pub async fn $bare<S: $backend, G>(
            make: impl AsyncFnOnce() -> (S, G),
            check: impl AsyncFnOnce(Arc<dyn $backend>),
        ) {
            let (backend, guard) = make().await;
            let _guard = guard;
            in_time(check(Arc::new(backend))).await;
        }

        /// Runs a check on a backend behind `Arc<dyn ...>`. The guard goes last.
        #[doc(hidden)]
        pub async fn $behind_arc_dyn<S: $backend, G>(
            make: impl AsyncFnOnce() -> (S, G),
            check: impl AsyncFnOnce(Arc<dyn $backend>),
        ) {
            let (backend, guard) = make().await;
            let _guard = guard;
            let backend: Arc<dyn $backend> = Arc::new(backend);
            in_time(check(Arc::new(backend))).await;
        }
    };
}

runners!(store_bare, store_behind_arc_dyn: Store);
runners!(batch_bare, batch_behind_arc_dyn: BatchStore);
runners!(cache_bare, cache_behind_arc_dyn: Cache);
runners!(ledger_bare, ledger_behind_arc_dyn: SpendLedger);
runners!(leases_bare, leases_behind_arc_dyn: FeedbackLeases);
runners!(leaderboard_bare, leaderboard_behind_arc_dyn: FedLeaderboards);
runners!(session_bare, session_behind_arc_dyn: SessionStore);
runners!(chat_bare, chat_behind_arc_dyn: ChatStore);
runners!(whole_bare, whole_behind_arc_dyn: WholeStore);
runners!(shared_answer_bare, shared_answer_behind_arc_dyn: SharedAnswers);

/// Runs a check on a limiter as it is. The guard goes last, also after a panic.
#[doc(hidden)]
pub async fn limiter_bare<S: RateLimiter, G>(
    make: impl AsyncFnOnce(Arc<ManualClock>) -> (S, G),
    check: impl AsyncFnOnce(DrivenLimiter),
) {
    let clock = Arc::new(ManualClock::default());
    let (limiter, guard) = make(Arc::clone(&clock)).await;
    let _guard = guard;
    in_time(check((Arc::new(limiter), clock))).await;
}

/// Runs a check on a limiter behind `Arc<dyn ...>`. The guard goes last.
#[doc(hidden)]
pub async fn limiter_behind_arc_dyn<S: RateLimiter, G>(
    make: impl AsyncFnOnce(Arc<ManualClock>) -> (S, G),
    check: impl AsyncFnOnce(DrivenLimiter),
) {
    let clock = Arc::new(ManualClock::default());
    let (limiter, guard) = make(Arc::clone(&clock)).await;
    let _guard = guard;
    let limiter: Arc<dyn RateLimiter> = Arc::new(limiter);
    in_time(check((Arc::new(limiter), clock))).await;
}
