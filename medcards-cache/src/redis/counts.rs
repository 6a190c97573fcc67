use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the ranges into which waits are counted, in microseconds: around a tenth of a
/// millisecond, which one answer takes nearby, and around the patience.
const LATENCY_BOUNDS_US: [u64; 9] = [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000];

/// What the connection to Redis has seen.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RedisCounts {
    /// Commands, pipelines and scripts that were sent.
    pub commands: u64,
    /// Those of them that failed, for whatever reason but a timeout.
    pub failures: u64,
    /// Those that took longer than they may.
    pub timeouts: u64,
    /// Calls that were refused at once because Redis was away.
    pub refused: u64,
    /// How often Redis went away.
    pub opened: u64,
    /// How long it was away in all, in microseconds.
    pub degraded_us: u64,
    /// Whether it is away now.
    pub is_away: bool,
    /// How many processes were last seen in the same namespace, this one included.
    pub processes: u32,
    /// How long the answers took.
    pub latency: LatencyCounts,
}

/// How long calls took.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LatencyCounts {
    /// The upper bounds of the ranges in microseconds. What took longer is counted in one more.
    pub bounds_us: &'static [u64],
    /// How many calls fell into each range.
    pub counts: Vec<u64>,
    /// How long all took together, in microseconds.
    pub sum_us: u64,
}

/// Counts how long calls take.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    counts: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Latency {
    pub(crate) fn note(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let range = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[range].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> LatencyCounts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        LatencyCounts {
            bounds_us: &LATENCY_BOUNDS_US,
            counts: self.counts.iter().map(load).collect(),
            sum_us: load(&self.sum_us),
        }
    }
}
