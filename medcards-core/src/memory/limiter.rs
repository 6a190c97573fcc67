use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::Result;
use crate::limit::{LimitDecision, LimitKey, LimitedCall, RateLimiter, WindowCounts, decide};
use crate::time::Clock;

/// A rate limiter that counts in the memory of this process.
///
/// Cloning it gives another handle on the same counts. A key counts apart under quotas of
/// different windows.
///
/// It remembers a bounded number of keys. When there is no room for another, it first forgets the
/// keys whose calls weigh nothing any more; if that frees less than an eighth, also those that
/// called longest ago, which then begin with all of their quota. So whoever can make up keys can
/// win back a quota, once per `keys_max` calls: take keys that cost something to have.
#[derive(Clone)]
pub struct MemoryRateLimiter {
    clock: Arc<dyn Clock>,
    keys_max: usize,
    counters: Arc<Mutex<Counters>>,
}

type Counters = HashMap<(LimitKey, Duration), Counter>;

/// What one key was allowed.
struct Counter {
    /// Which window is the current one, counted from the epoch.
    window: u64,
    counts: WindowCounts,
    /// Microseconds since the epoch; tells the keys that called longest ago.
    last_call_us: u64,
}

impl MemoryRateLimiter {
    /// How many keys are remembered unless told otherwise: about 15 MB.
    pub const KEYS_MAX_DEFAULT: usize = 100_000;

    /// Makes a limiter that remembers [`Self::KEYS_MAX_DEFAULT`] keys.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_keys_max(Self::KEYS_MAX_DEFAULT, clock)
    }

    /// Makes a limiter that remembers at most `keys_max` keys, and at least one.
    #[must_use]
    pub fn with_keys_max(keys_max: usize, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            keys_max: keys_max.max(1),
            counters: Arc::default(),
        }
    }
}

impl Counter {
    /// Brings the counts to the window of `now`; a clock that went back leaves them as they are.
    fn roll(&mut self, window: u64) {
        match window.saturating_sub(self.window) {
            0 => return,
            1 => {
                self.counts = WindowCounts {
                    current: 0,
                    previous: self.counts.current,
                }
            }
            _ => self.counts = WindowCounts::default(),
        }
        self.window = window;
    }
}

/// Makes room for one more key.
fn forget(counters: &mut Counters, keys_max: usize, now_us: u64) {
    counters.retain(|(_, length), counter| now_us / micros(*length) <= counter.window + 1);
    let kept_max = keys_max - keys_max.div_ceil(8);
    let Some(surplus) = counters.len().checked_sub(kept_max + 1) else {
        return;
    };
    let mut last_calls: Vec<_> = counters
        .values()
        .map(|counter| counter.last_call_us)
        .collect();
    // An eighth at a time, so that sorting the keys is paid for by many calls.
    let (_, newest_forgotten, _) = last_calls.select_nth_unstable(surplus);
    let newest_forgotten = *newest_forgotten;
    let mut left = surplus + 1;
    counters.retain(|_, counter| {
        let is_kept = left == 0 || counter.last_call_us > newest_forgotten;
        left -= usize::from(!is_kept);
        is_kept
    });
}

fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn since_epoch_us(now: Timestamp) -> u64 {
    // A clock before 1970 is broken: it stands still at the epoch.
    u64::try_from(now.as_microsecond()).unwrap_or(0)
}

impl fmt::Debug for MemoryRateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRateLimiter")
            .field("keys_max", &self.keys_max)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for MemoryRateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryRateLimiter")
    }
}

impl MemoryRateLimiter {
    /// Brings the counter of a call to the present and decides, without counting the call.
    fn look(&self, counters: &mut Counters, call: &LimitedCall, now_us: u64) -> LimitDecision {
        let length_us = micros(call.quota.window());
        let window = now_us / length_us;
        let key = (call.key.clone(), call.quota.window());
        if counters.len() >= self.keys_max && !counters.contains_key(&key) {
            forget(counters, self.keys_max, now_us);
        }
        let counter = counters.entry(key).or_insert_with(|| Counter {
            window,
            counts: WindowCounts::default(),
            last_call_us: now_us,
        });
        counter.roll(window);
        counter.last_call_us = now_us;
        let elapsed_us = now_us.saturating_sub(counter.window * length_us);
        let elapsed = Duration::from_micros(elapsed_us);
        decide(&call.quota, counter.counts, elapsed, call.cost)
    }
}

#[async_trait]
impl RateLimiter for MemoryRateLimiter {
    async fn check_all(&self, calls: &[LimitedCall]) -> Result<Vec<LimitDecision>> {
        let now_us = since_epoch_us(self.clock.now());
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let decisions: Vec<_> = calls
            .iter()
            .map(|call| self.look(&mut counters, call, now_us))
            .collect();
        if decisions.iter().all(|decision| decision.is_allowed) {
            for call in calls {
                let key = (call.key.clone(), call.quota.window());
                // It is missing only if there is room for fewer keys than one call has.
                if let Some(counter) = counters.get_mut(&key) {
                    counter.counts.current += call.cost;
                }
            }
        }
        Ok(decisions)
    }
}
