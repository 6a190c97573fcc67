//! A reviewer, in a process of the platform that has no students.

use std::sync::Arc;

use medcards_cache::{MokaCache, Redis, RedisCache, RedisConfig, TieredCache};
use medcards_core::UserId;
use medcards_core::feedback::{FeedbackKey, FeedbackResolver, Review, ReviewDecision, ReviewState};
use medcards_core::store::{PageLimit, Store};
use medcards_core::time::{Clock, SystemClock};

/// Where a reviewer withdraws what a model wrote.
pub(super) struct Desk {
    store: Arc<dyn Store>,
    resolver: FeedbackResolver,
    clock: Arc<dyn Clock>,
}

impl Desk {
    /// Beside servers on this store and the Redis at this address.
    pub(super) async fn open(store: Arc<dyn Store>, redis: &str) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let redis = RedisConfig::new(redis).unwrap();
        let far = RedisCache::new(Redis::connect(redis).await.unwrap(), Arc::clone(&clock));
        let near = MokaCache::builder(Arc::clone(&clock)).build();
        let resolver = FeedbackResolver::builder(
            Arc::new(TieredCache::new(near, far)),
            Arc::new(Arc::clone(&store)),
            Arc::new(Arc::clone(&store)),
            Arc::clone(&clock),
        );
        Self {
            resolver: resolver.build().await.unwrap(),
            store,
            clock,
        }
    }

    /// The key of the one feedback that was written about a case.
    pub(super) async fn only_key_of(&self, case_id: &str) -> FeedbackKey {
        let mut found = Vec::new();
        let mut cursor = None;
        loop {
            let limit = PageLimit::MAX;
            let page = self
                .store
                .list_feedback(ReviewState::Unreviewed, cursor.as_ref(), limit);
            let page = page.await.unwrap();
            let keys = page.items.into_iter().map(|(key, _)| key);
            found.extend(keys.filter(|key| key.case_id.to_string() == case_id));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    /// Withdraws a feedback. Whether Redis could be told is not for the reviewer to worry about.
    pub(super) async fn withdraw(&self, key: &FeedbackKey) {
        let now = self.clock.now();
        let review = Review {
            decision: ReviewDecision::Withdraw,
            reviewer: UserId::new(now),
            reviewed_at: now,
        };
        if let Err(error) = self.resolver.review(key, review).await {
            let found = self.store.find_feedback(key).await.unwrap().unwrap();
            assert_eq!(found.review, ReviewState::Withdrawn, "{error}");
        }
    }
}
