use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use medcards_core::metric::{DurationHistogram, Metric, MetricSource};

use super::Transport;

/// Upper bounds of how late notices are handed over, in microseconds: from a hint within the process
/// to a view that is far behind.
const LAG_BOUNDS_US: [u64; 10] = [
    5_000,
    25_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    10_000_000,
    60_000_000,
    600_000_000,
];

/// Counts what live connections do.
#[derive(Debug)]
pub(crate) struct LiveFigures {
    connections: [AtomicU64; 2],
    delivered: [AtomicU64; 2],
    cut_off: [AtomicU64; 2],
    lag: DurationHistogram,
}

impl Default for LiveFigures {
    fn default() -> Self {
        Self {
            connections: Default::default(),
            delivered: Default::default(),
            cut_off: Default::default(),
            lag: DurationHistogram::with_bounds(&LAG_BOUNDS_US),
        }
    }
}

impl LiveFigures {
    pub(super) fn opened(&self, transport: Transport) {
        self.connections[transport as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self, transport: Transport) {
        self.connections[transport as usize].fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn delivered(&self, transport: Transport) {
        self.delivered[transport as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn cut_off(&self, transport: Transport) {
        self.cut_off[transport as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts how long after it happened a notice was handed to a client that waits for it.
    pub(super) fn handed_over(&self, after: Duration) {
        self.lag.record(after);
    }
}

impl MetricSource for LiveFigures {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        for transport in Transport::ALL {
            let of = |counts: &[AtomicU64; 2]| counts[transport as usize].load(Ordering::Relaxed);
            let figures = [
                Metric::gauge(
                    "medcards_live_connections",
                    "Clients that are told of notices as they happen.",
                    of(&self.connections) as f64,
                ),
                Metric::counter(
                    "medcards_live_delivered_total",
                    "Notices sent to such clients.",
                    of(&self.delivered),
                ),
                Metric::counter(
                    "medcards_live_cut_off_total",
                    "Such clients that did not keep up, and were cut off.",
                    of(&self.cut_off),
                ),
            ];
            metrics.extend(figures.map(|it| it.with_label("transport", transport.as_str())));
        }
        metrics.push(Metric::histogram(
            "medcards_live_lag_seconds",
            "How long after it happened a notice reaches the clients that wait for it.",
            self.lag.counts(),
        ));
    }
}
