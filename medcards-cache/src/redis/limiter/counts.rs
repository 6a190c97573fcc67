use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use medcards_core::Timestamp;
use medcards_core::metric::{Metric, MetricSource};
use medcards_core::time::Clock;

use super::RedisRateLimiter;

/// What is written of a Redis that goes away and comes back all the time: no more than this.
const LOG_INTERVAL_US: i64 = 1_000_000;

/// What a limiter decided since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimiterCounts {
    /// Calls on which Redis decided.
    pub remote: u64,
    /// Calls on which this process decided, at least in part.
    pub local: u64,
    /// Calls of both kinds that were refused.
    pub refused: u64,
    /// Whether this process decided on the last one.
    pub is_local: bool,
    /// How often that changed.
    pub switches: u64,
    /// When it last changed; `None` if Redis was never away.
    pub last_switch: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    remote: AtomicU64,
    local: AtomicU64,
    refused: AtomicU64,
    is_local: AtomicBool,
    switches: AtomicU64,
    /// Microseconds since the epoch.
    last_switch_us: AtomicI64,
}

impl Tally {
    pub(super) fn decided(&self, locally: bool, is_refused: bool, clock: &dyn Clock) {
        let decisions = if locally { &self.local } else { &self.remote };
        decisions.fetch_add(1, Ordering::Relaxed);
        self.refused
            .fetch_add(u64::from(is_refused), Ordering::Relaxed);
        // Looked at first, so that what all processors share is seldom written.
        let is_other = self.is_local.load(Ordering::Relaxed) != locally;
        if is_other && self.is_local.swap(locally, Ordering::Relaxed) != locally {
            self.switched(locally, clock);
        }
    }

    fn switched(&self, locally: bool, clock: &dyn Clock) {
        let now_us = clock.now().as_microsecond();
        self.switches.fetch_add(1, Ordering::Relaxed);
        let last_us = self.last_switch_us.swap(now_us, Ordering::Relaxed);
        if now_us.saturating_sub(last_us) < LOG_INTERVAL_US {
            return;
        }
        if locally {
            tracing::warn!("limits are counted in this process, because Redis is away or too slow");
        } else {
            tracing::info!("limits are counted in Redis");
        }
    }

    pub(super) fn counts(&self) -> LimiterCounts {
        let switches = self.switches.load(Ordering::Relaxed);
        let last_switch_us = self.last_switch_us.load(Ordering::Relaxed);
        LimiterCounts {
            remote: self.remote.load(Ordering::Relaxed),
            local: self.local.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            is_local: self.is_local.load(Ordering::Relaxed),
            switches,
            last_switch: (switches > 0)
                .then(|| Timestamp::from_microsecond(last_switch_us).ok())
                .flatten(),
        }
    }
}

impl MetricSource for RedisRateLimiter {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        let counts = self.counts();
        for (place, count) in [("redis", counts.remote), ("process", counts.local)] {
            let help = "Calls counted against limits, by where.";
            let metric = Metric::counter("medcards_limit_decisions_total", help, count);
            metrics.push(metric.with_label("place", place));
        }
        let help = "Calls that a limit refused.";
        let refused = Metric::counter("medcards_limit_refusals_total", help, counts.refused);
        metrics.push(refused);
    }
}
