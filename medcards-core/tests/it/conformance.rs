mod store {
    use medcards_core::memory::MemoryStore;

    async fn make() -> (MemoryStore, ()) {
        (MemoryStore::new(), ())
    }

    medcards_core::store_conformance!(make);
}

mod store_behind_a_plan_without_faults {
    use medcards_core::memory::MemoryStore;
    use medcards_core::testing::{FaultPlan, Faulty};

    async fn make() -> (Faulty<MemoryStore>, ()) {
        (Faulty::new(MemoryStore::new(), FaultPlan::new()), ())
    }

    medcards_core::store_conformance!(make);
}

mod store_with_a_replica_that_is_often_behind {
    use medcards_core::testing::ReplicatedStore;

    async fn make() -> (ReplicatedStore, ()) {
        (ReplicatedStore::catching_up_every(3), ())
    }

    medcards_core::store_conformance!(make);
}

mod batches {
    use medcards_core::memory::MemoryStore;

    async fn make() -> (MemoryStore, ()) {
        (MemoryStore::new(), ())
    }

    medcards_core::batch_conformance!(make);
}

mod cache {
    use medcards_core::memory::MemoryCache;

    async fn make() -> (MemoryCache, ()) {
        (MemoryCache::new(64 << 20), ())
    }

    medcards_core::cache_conformance!(make);
}

mod cache_behind_a_plan_without_faults {
    use medcards_core::memory::MemoryCache;
    use medcards_core::testing::{FaultPlan, Faulty};

    async fn make() -> (Faulty<MemoryCache>, ()) {
        (
            Faulty::new(MemoryCache::new(64 << 20), FaultPlan::new()),
            (),
        )
    }

    medcards_core::cache_conformance!(make);
}

mod leaderboards {
    use std::sync::Arc;

    use medcards_core::memory::MemoryLeaderboards;
    use medcards_core::time::SystemClock;

    async fn make() -> (MemoryLeaderboards, ()) {
        (MemoryLeaderboards::new(Arc::new(SystemClock::new())), ())
    }

    medcards_core::leaderboard_conformance!(make);
}

mod jobs {
    use medcards_core::memory::MemoryStore;

    async fn make() -> (MemoryStore, ()) {
        (MemoryStore::new(), ())
    }

    medcards_core::job_conformance!(make);
}

mod notices {
    use medcards_core::memory::MemoryStore;

    async fn make() -> (MemoryStore, ()) {
        (MemoryStore::new(), ())
    }

    medcards_core::notice_conformance!(make);
}

mod views {
    use medcards_core::memory::MemoryStore;

    async fn make() -> (MemoryStore, ()) {
        (MemoryStore::new(), ())
    }

    medcards_core::view_conformance!(make);
}

mod learning_behind_a_plan_without_faults {
    use medcards_core::memory::MemoryStore;
    use medcards_core::testing::{FaultPlan, Faulty};

    async fn make() -> (Faulty<MemoryStore>, ()) {
        (Faulty::new(MemoryStore::new(), FaultPlan::new()), ())
    }

    mod jobs {
        medcards_core::job_conformance!(super::make);
    }

    mod notices {
        medcards_core::notice_conformance!(super::make);
    }

    mod views {
        medcards_core::view_conformance!(super::make);
    }
}

mod limiter {
    use std::sync::Arc;

    use medcards_core::memory::MemoryRateLimiter;
    use medcards_core::testing::ManualClock;

    async fn make(clock: Arc<ManualClock>) -> (MemoryRateLimiter, ()) {
        (MemoryRateLimiter::new(clock), ())
    }

    medcards_core::limiter_conformance!(make);
}

mod leases {
    use std::sync::Arc;

    use medcards_core::conformance::leases::LEASE_TTL;
    use medcards_core::memory::MemoryLeases;
    use medcards_core::time::SystemClock;

    async fn make() -> (MemoryLeases, ()) {
        (
            MemoryLeases::new(LEASE_TTL, Arc::new(SystemClock::new())),
            (),
        )
    }

    medcards_core::lease_conformance!(make);
}

mod sessions {
    use medcards_core::memory::MemoryStore;

    async fn make() -> (MemoryStore, ()) {
        (MemoryStore::new(), ())
    }

    medcards_core::session_conformance!(make);
}

mod sessions_behind_a_plan_without_faults {
    use medcards_core::memory::MemoryStore;
    use medcards_core::testing::{FaultPlan, Faulty};

    async fn make() -> (Faulty<MemoryStore>, ()) {
        (Faulty::new(MemoryStore::new(), FaultPlan::new()), ())
    }

    medcards_core::session_conformance!(make);
}

mod chats {
    use medcards_core::memory::MemoryStore;

    async fn make() -> (MemoryStore, ()) {
        (MemoryStore::new(), ())
    }

    medcards_core::chat_conformance!(make);
}

mod chats_behind_a_plan_without_faults {
    use medcards_core::memory::MemoryStore;
    use medcards_core::testing::{FaultPlan, Faulty};

    async fn make() -> (Faulty<MemoryStore>, ()) {
        (Faulty::new(MemoryStore::new(), FaultPlan::new()), ())
    }

    medcards_core::chat_conformance!(make);
}

mod shared_answers {
    use medcards_core::memory::MemoryStore;

    async fn make() -> (MemoryStore, ()) {
        (MemoryStore::new(), ())
    }

    medcards_core::shared_answer_conformance!(make);
}

mod shared_answers_behind_a_plan_without_faults {
    use medcards_core::memory::MemoryStore;
    use medcards_core::testing::{FaultPlan, Faulty};

    async fn make() -> (Faulty<MemoryStore>, ()) {
        (Faulty::new(MemoryStore::new(), FaultPlan::new()), ())
    }

    medcards_core::shared_answer_conformance!(make);
}

/// The checks of a ledger are named twice: once for stores, once for ledgers alone.
#[test]
fn a_ledger_alone_is_checked_as_that_of_a_store() {
    use medcards_core::conformance::{LEDGER_CHECKS, STORE_CHECKS};

    let of_stores = STORE_CHECKS.iter().map(|check| check.name);
    let of_stores: Vec<_> = of_stores
        .filter(|name| name.starts_with("spend::"))
        .collect();
    let alone: Vec<_> = LEDGER_CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(alone, of_stores);
}
