use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::Result;
use medcards_core::limit::{LimitDecision, LimitKey, LimitedCall, Quota, RateLimiter};
use medcards_core::memory::MemoryRateLimiter;
use medcards_core::testing::ManualClock;
use medcards_core::time::Clock;

use super::LossyCount;

/// A rate limiter that breaks the promise it is given.
#[derive(Debug)]
pub(super) struct LimiterSaboteur {
    inner: MemoryRateLimiter,
    clock: Arc<ManualClock>,
    promise: &'static str,
    calls: LossyCount,
}

impl LimiterSaboteur {
    pub(super) fn new(
        inner: MemoryRateLimiter,
        clock: Arc<ManualClock>,
        promise: &'static str,
    ) -> Self {
        Self {
            inner,
            clock,
            promise,
            calls: LossyCount::default(),
        }
    }

    /// Forgets the window before: a fixed window instead of a sliding one.
    fn fixed(&self, key: &LimitKey, quota: &Quota) -> LimitKey {
        let window = self.clock.now().as_second() / quota.window().as_secs() as i64;
        LimitKey::new(key.as_str(), window)
    }
}

impl fmt::Display for LimiterSaboteur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LimiterSaboteur({})", self.promise)
    }
}

#[async_trait]
impl RateLimiter for LimiterSaboteur {
    /// One after the other, so that those before a refusal stay counted.
    async fn check_all(&self, calls: &[LimitedCall]) -> Result<Vec<LimitDecision>> {
        if self.promise != "several_quotas_count_together_or_not_at_all" {
            return self.inner.check_all(calls).await;
        }
        let mut decisions = Vec::new();
        for call in calls {
            decisions.push(self.inner.check(&call.key, &call.quota, call.cost).await?);
        }
        Ok(decisions)
    }

    async fn check(&self, key: &LimitKey, quota: &Quota, cost: u32) -> Result<LimitDecision> {
        let (mut key, mut quota, mut cost) = (key.clone(), *quota, cost);
        match self.promise {
            "the_quota_is_allowed_and_no_more" => {
                quota = Quota::new(quota.limit() + 1, quota.window())?;
            }
            "a_call_counts_its_whole_cost" => cost = cost.min(1),
            "each_key_counts_apart" => key = LimitKey::new("all", ""),
            "decisions_are_those_of_the_sliding_window"
            | "a_clock_set_back_gives_nothing_twice" => {
                key = self.fixed(&key, &quota);
            }
            _ => {}
        }
        let mut decision = self.inner.check(&key, &quota, cost).await?;
        match self.promise {
            "many_at_once_get_no_more_than_the_quota" => {
                decision.is_allowed = self.calls.add(1).await < u64::from(quota.limit());
            }
            "a_refused_call_is_not_counted" if !decision.is_allowed => {
                let all = Quota::new(u32::MAX, quota.window())?;
                self.inner.check(&key, &all, cost).await?;
            }
            "who_waits_as_long_as_was_said_is_let_through" => decision.retry_after /= 2,
            "all_of_the_quota_is_there_again_when_said" => decision.reset_after = Duration::ZERO,
            _ => {}
        }
        Ok(decision)
    }
}
