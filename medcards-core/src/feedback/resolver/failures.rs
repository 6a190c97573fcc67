use jiff::Timestamp;
use quick_cache::sync::Cache;

use crate::feedback::FeedbackKey;

/// How many failed keys are remembered. Forgetting one costs a live call.
const FAILURES_MAX: usize = 10_000;

/// Keys whose live call failed a moment ago, so that it is not made again at once.
#[derive(Debug)]
pub(super) struct Failures(Cache<FeedbackKey, Timestamp>);

impl Failures {
    pub(super) fn new() -> Self {
        Self(Cache::new(FAILURES_MAX))
    }

    pub(super) fn is_recent(&self, key: &FeedbackKey, now: Timestamp) -> bool {
        self.0.get(key).is_some_and(|until| now < until)
    }

    pub(super) fn insert(&self, key: FeedbackKey, until: Timestamp) {
        self.0.insert(key, until);
    }
}
