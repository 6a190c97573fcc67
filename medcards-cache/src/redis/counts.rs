use medcards_core::metric::{HistogramCounts, Metric, MetricSource};

use super::Redis;

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
    pub latency: HistogramCounts,
}

impl MetricSource for Redis {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        let counts = self.counts();
        for (outcome, count) in [
            ("failed", counts.failures),
            ("timeout", counts.timeouts),
            ("away", counts.refused),
        ] {
            let help = "Calls of Redis that came to nothing, by the reason.";
            let metric = Metric::counter("medcards_redis_failures_total", help, count);
            metrics.push(metric.with_label("reason", outcome));
        }
        metrics.extend([
            Metric::histogram(
                "medcards_redis_call_seconds",
                "How long calls of Redis took, those that were given up included.",
                counts.latency,
            ),
            Metric::gauge(
                "medcards_redis_is_away",
                "1 while Redis cannot be reached, else 0.",
                f64::from(u8::from(counts.is_away)),
            ),
            Metric::gauge(
                "medcards_redis_away_seconds",
                "How long Redis could not be reached in all, in seconds.",
                counts.degraded_us as f64 / 1e6,
            ),
            Metric::counter(
                "medcards_redis_lost_total",
                "How often Redis went away.",
                counts.opened,
            ),
            Metric::gauge(
                "medcards_redis_processes",
                "How many processes share Redis, as was last known.",
                f64::from(counts.processes),
            ),
        ]);
    }
}
