use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use quick_cache::Weighter;
use quick_cache::sync;

use crate::Result;
use crate::cache::{Cache, CacheEntry, CacheHit};
use crate::feedback::{FeedbackKey, Tier};
use crate::id::CaseId;

/// The bytes that an entry is expected to take, from which the number of entries is estimated.
///
/// A feedback of 150 words has about 1,000 bytes, which weigh 3,000. A wrong estimate costs some
/// memory or some hits, never the bound.
const ENTRY_BYTES_EXPECTED: u64 = 3_000;

/// A cache in the memory of this process, bounded by bytes.
///
/// Cloning it gives another handle on the same entries. It has no clock: an entry whose lifetime
/// has ended leaves when room is needed, which the resolver allows for. Entries that are asked for
/// often outlive those that were asked for once (S3-FIFO). An entry heavier than its share of the
/// room is not kept.
#[derive(Clone)]
pub struct MemoryCache {
    entries: Arc<sync::Cache<FeedbackKey, Arc<CacheEntry>, Weight>>,
}

/// Weighs entries in bytes.
#[derive(Clone)]
struct Weight;

impl Weighter<FeedbackKey, Arc<CacheEntry>> for Weight {
    fn weight(&self, key: &FeedbackKey, entry: &Arc<CacheEntry>) -> u64 {
        (size_of_val(key) + entry.weight_bytes()) as u64
    }
}

impl MemoryCache {
    /// Makes an empty cache whose entries take at most about `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let count = usize::try_from(bytes_max / ENTRY_BYTES_EXPECTED).unwrap_or(usize::MAX);
        Self {
            entries: Arc::new(sync::Cache::with_weighter(count, bytes_max, Weight)),
        }
    }

    /// How many bytes the entries take.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        self.entries.weight()
    }
}

impl fmt::Debug for MemoryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCache")
            .field("entries", &self.entries.len())
            .field("weight_bytes", &self.entries.weight())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for MemoryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryCache({} bytes)", self.entries.capacity())
    }
}

#[async_trait]
impl Cache for MemoryCache {
    fn get_local(&self, key: &FeedbackKey) -> Option<Arc<CacheEntry>> {
        self.entries.get(key)
    }

    async fn get(&self, key: &FeedbackKey) -> Result<Option<CacheHit>> {
        Ok(self.entries.get(key).map(|entry| CacheHit {
            entry,
            tier: Tier::Local,
        }))
    }

    async fn get_many(&self, keys: &[FeedbackKey]) -> Result<Vec<Option<CacheHit>>> {
        let hit = |key| {
            let entry = self.entries.get(key)?;
            let tier = Tier::Local;
            Some(CacheHit { entry, tier })
        };
        Ok(keys.iter().map(hit).collect())
    }

    async fn put(&self, key: FeedbackKey, entry: Arc<CacheEntry>) -> Result<()> {
        self.entries.insert(key, entry);
        Ok(())
    }

    async fn remove(&self, key: &FeedbackKey) -> Result<()> {
        self.entries.remove(key);
        Ok(())
    }

    async fn purge_case(&self, case_id: CaseId) -> Result<()> {
        self.entries.retain(|key, _| key.case_id != case_id);
        Ok(())
    }

    fn removals_heard(&self) -> u64 {
        0
    }

    fn has_heard_of(&self, _key: &FeedbackKey, _since: u64) -> bool {
        false
    }
}
