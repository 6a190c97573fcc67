use medcards_core::metric::{Metric, MetricSource};

use super::{FarCache, NearCache, TieredCache};

impl<Near, Far> MetricSource for TieredCache<Near, Far>
where
    Near: NearCache + MetricSource,
    Far: FarCache + MetricSource,
{
    /// Those of both caches, and of what is between them.
    fn collect(&self, metrics: &mut Vec<Metric>) {
        self.near().collect(metrics);
        self.far().collect(metrics);
        let counts = self.counts();
        metrics.extend([
            Metric::counter(
                "medcards_cache_promotions_total",
                "Feedback found beyond this process and kept here.",
                counts.promotions,
            ),
            Metric::counter(
                "medcards_cache_removals_sent_total",
                "Removals that other processes were told of.",
                counts.removals_sent,
            ),
            Metric::counter(
                "medcards_cache_removals_heard_total",
                "Removals that other processes told of, or may have.",
                counts.removals_heard,
            ),
            Metric::gauge(
                "medcards_cache_removals_pending",
                "Cases of which something has yet to be removed beyond this process.",
                counts.removals_pending as f64,
            ),
            Metric::counter(
                "medcards_cache_clears_total",
                "How often all feedback kept here was forgotten, because removals may have been missed.",
                counts.near_clears,
            ),
        ]);
    }
}
