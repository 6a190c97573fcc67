use std::sync::atomic::{AtomicU64, Ordering};

use medcards_core::metric::{Metric, MetricSource};

use super::RedisCache;

/// What a cache in Redis has found, kept and missed.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RedisCacheCounts {
    /// Entries that were found.
    pub hits: u64,
    /// Entries that were not, those that could not be read included.
    pub misses: u64,
    /// Entries that were there and could not be read: damaged, or of another program.
    pub unreadable: u64,
    /// Looks that failed.
    pub failures: u64,
    /// Entries that were kept.
    pub puts: u64,
    /// Entries that could not be kept, or are too large.
    pub put_failures: u64,
    /// Those kept that compression made smaller.
    pub compressed: u64,
    /// Bytes of the entries that were found, as they came from Redis.
    pub bytes_read: u64,
    /// Bytes of the entries that were kept, as they went to Redis.
    pub bytes_written: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) unreadable: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) puts: AtomicU64,
    pub(super) put_failures: AtomicU64,
    pub(super) compressed: AtomicU64,
    pub(super) bytes_read: AtomicU64,
    pub(super) bytes_written: AtomicU64,
}

impl Tally {
    pub(super) fn add(count: &AtomicU64, more: u64) {
        count.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> RedisCacheCounts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        RedisCacheCounts {
            hits: load(&self.hits),
            misses: load(&self.misses),
            unreadable: load(&self.unreadable),
            failures: load(&self.failures),
            puts: load(&self.puts),
            put_failures: load(&self.put_failures),
            compressed: load(&self.compressed),
            bytes_read: load(&self.bytes_read),
            bytes_written: load(&self.bytes_written),
        }
    }
}

impl MetricSource for RedisCache {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        let counts = self.counts();
        for (outcome, count) in [
            ("hit", counts.hits),
            ("miss", counts.misses.saturating_sub(counts.unreadable)),
            ("unreadable", counts.unreadable),
            ("failed", counts.failures),
        ] {
            let help = "Looks into the cache in Redis, by what came of them.";
            let metric = Metric::counter("medcards_redis_cache_looks_total", help, count);
            metrics.push(metric.with_label("outcome", outcome));
        }
        for (outcome, count) in [
            ("plain", counts.puts.saturating_sub(counts.compressed)),
            ("compressed", counts.compressed),
            ("failed", counts.put_failures),
        ] {
            let help = "Feedback put into the cache in Redis, by how.";
            let metric = Metric::counter("medcards_redis_cache_puts_total", help, count);
            metrics.push(metric.with_label("outcome", outcome));
        }
        for (direction, bytes) in [
            ("read", counts.bytes_read),
            ("written", counts.bytes_written),
        ] {
            let help = "Bytes of feedback that went to and came from Redis.";
            let metric = Metric::counter("medcards_redis_cache_bytes_total", help, bytes);
            metrics.push(metric.with_label("direction", direction));
        }
    }
}
