use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use medcards_core::metric::{Metric, MetricSource};
use medcards_core::time::Clock;
use medcards_core::{Error, Timestamp};

use super::super::seldom::{Seldom, Spells};
use super::RedisRateLimiter;

/// What is written of a Redis that goes away and comes back all the time: no more than this.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

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

#[derive(Debug)]
pub(super) struct Tally {
    remote: AtomicU64,
    local: AtomicU64,
    refused: AtomicU64,
    is_local: AtomicBool,
    switches: AtomicU64,
    /// Microseconds since the epoch.
    last_switch_us: AtomicI64,
    /// Times in which this process decides.
    local_spells: Spells,
    kept_calls: Seldom,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            remote: AtomicU64::new(0),
            local: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            is_local: AtomicBool::new(false),
            switches: AtomicU64::new(0),
            last_switch_us: AtomicI64::new(0),
            local_spells: Spells::new(LOG_INTERVAL),
            kept_calls: Seldom::new(LOG_INTERVAL),
        }
    }
}

impl Tally {
    pub(super) fn decided(&self, locally: bool, is_refused: bool, clock: &dyn Clock) {
        let decisions = if locally { &self.local } else { &self.remote };
        decisions.fetch_add(1, Ordering::Relaxed);
        self.refused
            .fetch_add(u64::from(is_refused), Ordering::Relaxed);
        let mut left_out = None;
        // Looked at first, so that what all processors share is seldom written.
        let is_other = self.is_local.load(Ordering::Relaxed) != locally;
        if is_other && self.is_local.swap(locally, Ordering::Relaxed) != locally {
            self.switches.fetch_add(1, Ordering::Relaxed);
            let now_us = clock.now().as_microsecond();
            self.last_switch_us.store(now_us, Ordering::Relaxed);
            if locally {
                left_out = self.local_spells.begins();
            }
        } else if locally {
            left_out = self.local_spells.goes_on();
        }
        if let Some(left_out) = left_out {
            tracing::warn!(
                left_out,
                "limits are counted in this process, because Redis is away or too slow"
            );
        }
        if !locally && self.local_spells.is_over() {
            tracing::info!("limits are counted in Redis");
        }
    }

    /// A call that was refused could not be taken back.
    pub(super) fn stays_counted(&self, error: &Error) {
        if let Some(left_out) = self.kept_calls.turn() {
            tracing::warn!(left_out, %error, "a call that was refused stays counted");
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
