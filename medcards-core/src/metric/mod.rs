//! Metrics: figures that a backend has of itself, for whoever watches the program.

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Something that has metrics.
pub trait MetricSource: Debug + Send + Sync + 'static {
    /// Adds all of its metrics as they are now. It is called every few seconds, and must not wait.
    fn collect(&self, metrics: &mut Vec<Metric>);
}

/// A figure with its name. Name and labels never change while a program runs; those of one name have
/// the same help and kind.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "made by every source")]
pub struct Metric {
    /// The name, as [Prometheus](https://prometheus.io/docs/practices/naming/) would have it.
    pub name: &'static str,
    /// What it says, in one sentence.
    pub help: &'static str,
    /// Names and values that tell figures of one name apart.
    pub labels: Vec<(&'static str, Cow<'static, str>)>,
    /// The figure.
    pub value: MetricValue,
}

/// A figure.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MetricValue {
    /// How often something happened since the program began.
    Counter(u64),
    /// How much there is now.
    Gauge(f64),
    /// How long things took, in seconds.
    Histogram(HistogramCounts),
}

/// How long things took.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct HistogramCounts {
    /// Upper bounds in seconds, ascending, with how many took at most so long, those of lower bounds
    /// included.
    pub buckets: Vec<(f64, u64)>,
    /// How many there were.
    pub count: u64,
    /// How long all of them took together, in seconds.
    pub sum_s: f64,
}

/// Upper bounds of the buckets of durations, in microseconds: from a round trip within a machine to a
/// wait that a student notices.
const BOUNDS_US: [u64; 12] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000,
];

/// Counts how long things take. Counting takes some nanoseconds and no lock.
#[derive(Debug)]
pub struct DurationHistogram {
    bounds_us: &'static [u64],
    /// One more than there are bounds.
    buckets: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

impl Default for DurationHistogram {
    /// Buckets from 50 µs to 2.5 s.
    fn default() -> Self {
        Self::with_bounds(&BOUNDS_US)
    }
}

impl DurationHistogram {
    /// Makes one with buckets of these upper bounds, in microseconds and ascending.
    #[must_use]
    pub fn with_bounds(bounds_us: &'static [u64]) -> Self {
        Self {
            bounds_us,
            buckets: (0..=bounds_us.len()).map(|_| AtomicU64::new(0)).collect(),
            sum_us: AtomicU64::new(0),
        }
    }

    /// Counts one.
    pub fn record(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = self
            .bounds_us
            .partition_point(|bound_us| *bound_us < took_us);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(took_us, Ordering::Relaxed);
    }

    /// What was counted so far. Of durations counted at the same time it may have some in one figure
    /// and not yet in another.
    #[must_use]
    pub fn counts(&self) -> HistogramCounts {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(self.bounds_us.len());
        for (index, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            if let Some(bound_us) = self.bounds_us.get(index) {
                buckets.push((*bound_us as f64 / 1e6, count));
            }
        }
        HistogramCounts {
            buckets,
            count,
            sum_s: self.sum_us.load(Ordering::Relaxed) as f64 / 1e6,
        }
    }
}

impl Metric {
    /// A counter without labels.
    #[must_use]
    pub fn counter(name: &'static str, help: &'static str, count: u64) -> Self {
        Self::new(name, help, MetricValue::Counter(count))
    }

    /// A gauge without labels.
    #[must_use]
    pub fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Self::new(name, help, MetricValue::Gauge(value))
    }

    /// A histogram without labels.
    #[must_use]
    pub fn histogram(name: &'static str, help: &'static str, counts: HistogramCounts) -> Self {
        Self::new(name, help, MetricValue::Histogram(counts))
    }

    fn new(name: &'static str, help: &'static str, value: MetricValue) -> Self {
        Self {
            name,
            help,
            labels: Vec::new(),
            value,
        }
    }

    /// The same with one more label.
    #[must_use]
    pub fn with_label(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.labels.push((name, value.into()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_up_to_their_bounds() {
        let histogram = DurationHistogram::default();
        for us in [50, 51, 100, 10_000_000] {
            histogram.record(Duration::from_micros(us));
        }
        let counts = histogram.counts();
        assert_eq!(counts.buckets[..3], [(5e-5, 1), (1e-4, 3), (2.5e-4, 3)]);
        assert_eq!((counts.buckets[11].1, counts.count), (3, 4));
        assert!((counts.sum_s - 10.000_201).abs() < 1e-9);
    }
}
