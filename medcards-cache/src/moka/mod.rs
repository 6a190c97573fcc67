use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use foldhash::fast::RandomState;
use medcards_core::cache::{Cache, CacheEntry, CacheHit, Stage};
use medcards_core::feedback::{FeedbackKey, Tier};
use medcards_core::metric::{Metric, MetricSource};
use medcards_core::time::Clock;
use medcards_core::{CaseId, Result};

/// How many bytes all entries may take unless said otherwise: 64 MiB, about 20,000 feedbacks.
const BYTES_MAX_DEFAULT: u64 = 64 << 20;

/// How often entries whose time is over are looked for, which walks through all entries: a few
/// milliseconds for 20,000.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

type Entries = moka::sync::Cache<FeedbackKey, Arc<CacheEntry>, RandomState>;

/// Keeps feedback in the memory of this process. Cloning gives a handle on the same cache.
///
/// Each entry has an expiry of its own. Entries whose time is over leave with the first `put` after
/// a minute, not by moka's own timer: that would make each hit a third slower. The resolver serves
/// none of them meanwhile.
///
/// Forgetting one key takes constant time; forgetting a case walks through all entries.
#[derive(Clone)]
pub struct MokaCache {
    entries: Entries,
    bytes_max: u64,
    clock: Arc<dyn Clock>,
    next_sweep_us: Arc<AtomicU64>,
    balance: Arc<Balance>,
}

/// What was put and what was taken out again: what is not there besides had to leave. A listener of
/// moka's would count that too, and have each hit allocate now and then.
#[derive(Debug, Default)]
struct Balance {
    added: AtomicU64,
    taken: AtomicU64,
}

impl MokaCache {
    /// Begins a cache that tells the time by this clock.
    #[must_use]
    pub fn builder(clock: Arc<dyn Clock>) -> MokaCacheBuilder {
        MokaCacheBuilder {
            clock,
            bytes_max: BYTES_MAX_DEFAULT,
        }
    }

    /// About how many entries there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.entries.entry_count()
    }

    /// Whether there is about nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how many bytes all entries take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.entries.weighted_size()
    }

    /// About how many entries had to leave because there was no room.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        let taken = self.balance.taken.load(Ordering::Relaxed);
        let added = self.balance.added.load(Ordering::Relaxed);
        added.saturating_sub(taken).saturating_sub(self.len())
    }

    fn take(&self, key: &FeedbackKey) {
        if self.entries.remove(key).is_some() {
            self.balance.taken.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Forgets the entries whose time is over, if a minute has passed since they were looked for.
    fn sweep(&self) {
        let now_us = self.clock.monotonic_us();
        let due_us = self.next_sweep_us.load(Ordering::Relaxed);
        let next_us = now_us + SWEEP_INTERVAL.as_micros() as u64;
        let is_mine = || {
            let swap = &self.next_sweep_us;
            swap.compare_exchange(due_us, next_us, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        if now_us < due_us || !is_mine() {
            return;
        }
        let now = self.clock.now();
        self.forget(|_, entry| entry.lifetime().stage(now) == Stage::Expired);
    }

    fn forget(&self, which: impl Fn(&FeedbackKey, &CacheEntry) -> bool) {
        for (key, entry) in &self.entries {
            if which(&key, &entry) {
                self.take(&key);
            }
        }
    }

    /// Carries out what is pending, such as evictions. It also happens by itself.
    pub fn run_pending_tasks(&self) {
        self.entries.run_pending_tasks();
    }
}

/// Builds a [`MokaCache`].
#[derive(Debug)]
pub struct MokaCacheBuilder {
    clock: Arc<dyn Clock>,
    bytes_max: u64,
}

impl MokaCacheBuilder {
    /// How many bytes all entries may take. Default: 64 MiB.
    #[must_use]
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Builds the cache.
    #[must_use]
    pub fn build(self) -> MokaCache {
        let entries = moka::sync::Cache::builder()
            .name("medcards-feedback")
            .max_capacity(self.bytes_max)
            .weigher(|_, entry: &Arc<CacheEntry>| {
                u32::try_from(entry.weight_bytes()).unwrap_or(u32::MAX)
            })
            .build_with_hasher(RandomState::default());
        MokaCache {
            entries,
            bytes_max: self.bytes_max,
            clock: self.clock,
            next_sweep_us: Arc::default(),
            balance: Arc::default(),
        }
    }
}

#[cfg(feature = "redis")]
impl crate::NearCache for MokaCache {
    /// Walks through all entries.
    fn clear(&self) {
        // Not by moka's own means, after which each hit would have to ask for the time.
        self.forget(|_, _| true);
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Cache for MokaCache {
    fn get_local(&self, key: &FeedbackKey) -> Option<Arc<CacheEntry>> {
        self.entries.get(key)
    }

    async fn get(&self, key: &FeedbackKey) -> Result<Option<CacheHit>> {
        Ok(self.get_local(key).map(|entry| CacheHit {
            entry,
            tier: Tier::Local,
        }))
    }

    async fn get_many(&self, keys: &[FeedbackKey]) -> Result<Vec<Option<CacheHit>>> {
        let hit = |key| {
            let entry = self.get_local(key)?;
            let tier = Tier::Local;
            Some(CacheHit { entry, tier })
        };
        Ok(keys.iter().map(hit).collect())
    }

    async fn put(&self, key: FeedbackKey, entry: Arc<CacheEntry>) -> Result<()> {
        self.sweep();
        if !self.entries.contains_key(&key) {
            self.balance.added.fetch_add(1, Ordering::Relaxed);
        }
        self.entries.insert(key, entry);
        Ok(())
    }

    async fn remove(&self, key: &FeedbackKey) -> Result<()> {
        self.take(key);
        Ok(())
    }

    async fn purge_case(&self, case_id: CaseId) -> Result<()> {
        self.forget(|key, _| key.case_id == case_id);
        Ok(())
    }

    fn removals_heard(&self) -> u64 {
        0
    }

    fn has_heard_of(&self, _key: &FeedbackKey, _since: u64) -> bool {
        false
    }
}

impl MetricSource for MokaCache {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        metrics.extend([
            Metric::gauge(
                "medcards_cache_entries",
                "Feedback kept in the memory of this process.",
                self.len() as f64,
            ),
            Metric::gauge("medcards_cache_bytes", "Bytes of it.", self.bytes() as f64),
            Metric::gauge(
                "medcards_cache_evictions",
                "About how much feedback had to go from there to make room, since the start.",
                self.evictions() as f64,
            ),
        ]);
    }
}

impl fmt::Debug for MokaCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MokaCache")
            .field("len", &self.len())
            .field("bytes", &self.bytes())
            .field("bytes_max", &self.bytes_max)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for MokaCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes_max >> 20 {
            0 => write!(f, "MokaCache({} bytes)", self.bytes_max),
            mebibytes => write!(f, "MokaCache({mebibytes} MiB)"),
        }
    }
}
