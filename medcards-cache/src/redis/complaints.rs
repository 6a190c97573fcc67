//! Reasons for which calls fail although Redis is there, and which stay until somebody acts.

use std::time::Duration;

use medcards_core::Error;

use super::RedisConfig;
use super::failure::Failure;
use super::seldom::Seldom;

/// How often each reason is told at most.
const INTERVAL: Duration = Duration::from_mins(1);

/// What is told of them, each for itself, so that none hides another.
#[derive(Debug)]
pub(super) struct Complaints {
    denied: Seldom,
    full: Seldom,
    read_only: Seldom,
    refused: Seldom,
    unreadable: Seldom,
}

impl Complaints {
    pub(super) fn new() -> Self {
        let [denied, full, read_only, refused, unreadable] =
            std::array::from_fn(|_| Seldom::new(INTERVAL));
        Self {
            denied,
            full,
            read_only,
            refused,
            unreadable,
        }
    }

    /// Tells that a call failed, if its reason stays. Its error names no key and no text.
    pub(super) fn hear(&self, config: &RedisConfig, failure: Failure, error: &Error) {
        let Some(complaint) = self.about(failure) else {
            return;
        };
        if let Some(left_out) = complaint.turn() {
            tracing::warn!(redis = %config, %error, left_out, "Redis fails calls");
        }
    }

    fn about(&self, failure: Failure) -> Option<&Seldom> {
        match failure {
            Failure::Denied => Some(&self.denied),
            Failure::Full => Some(&self.full),
            Failure::ReadOnly => Some(&self.read_only),
            Failure::Unreadable => Some(&self.unreadable),
            Failure::Refused | Failure::Unusable | Failure::NoDatabase | Failure::NoCluster => {
                Some(&self.refused)
            }
            // These are taken for Redis being away, or pass.
            Failure::Gone | Failure::Slow | Failure::Moved | Failure::NotServing => None,
        }
    }
}
