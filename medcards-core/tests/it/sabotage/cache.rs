use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use medcards_core::cache::{Cache, CacheEntry, CacheHit, Lifetime};
use medcards_core::feedback::{FeedbackKey, Tier};
use medcards_core::memory::MemoryCache;
use medcards_core::user::Locale;
use medcards_core::{CaseId, Result};

use super::Crowd;

/// A cache that breaks the promise it is given.
#[derive(Debug)]
pub(super) struct CacheSaboteur {
    inner: MemoryCache,
    promise: &'static str,
    crowd: Crowd,
    last_put: Mutex<Option<(FeedbackKey, Arc<CacheEntry>)>>,
}

impl CacheSaboteur {
    pub(super) fn new(inner: MemoryCache, promise: &'static str) -> Self {
        Self {
            inner,
            promise,
            crowd: Crowd::default(),
            last_put: Mutex::default(),
        }
    }

    fn breaks(&self, promise: &str) -> bool {
        self.promise == promise
    }

    fn last_put(&self) -> Option<(FeedbackKey, Arc<CacheEntry>)> {
        self.last_put
            .lock()
            .expect("nobody panics with the lock")
            .clone()
    }

    fn key(&self, key: &FeedbackKey) -> FeedbackKey {
        let mut key = key.clone();
        if self.breaks("keys_that_differ_in_one_part_are_different") {
            key.locale = Locale::ENGLISH;
        }
        key
    }
}

impl fmt::Display for CacheSaboteur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheSaboteur({})", self.promise)
    }
}

#[async_trait]
impl Cache for CacheSaboteur {
    fn get_local(&self, key: &FeedbackKey) -> Option<Arc<CacheEntry>> {
        self.inner.get_local(&self.key(key))
    }

    async fn get(&self, key: &FeedbackKey) -> Result<Option<CacheHit>> {
        let hit = self.inner.get(&self.key(key)).await?;
        if self.breaks("what_was_never_put_is_not_found") && hit.is_none() {
            let last = self.last_put();
            return Ok(last.map(|(_, entry)| CacheHit {
                entry,
                tier: Tier::Remote,
            }));
        }
        if self.breaks("nobody_finds_what_was_removed")
            && let Some(hit) = &hit
        {
            // A near tier that keeps what it was given by a far one, without looking again.
            self.crowd.wait_for_another().await;
            self.inner.put(key.clone(), Arc::clone(&hit.entry)).await?;
        }
        Ok(hit)
    }

    async fn get_many(&self, keys: &[FeedbackKey]) -> Result<Vec<Option<CacheHit>>> {
        let keys: Vec<_> = keys.iter().map(|key| self.key(key)).collect();
        let mut hits = self.inner.get_many(&keys).await?;
        if self.breaks("many_keys_are_found_in_their_order") {
            // As a backend that leaves out what it does not find.
            hits.sort_by_key(Option::is_none);
        }
        Ok(hits)
    }

    async fn put(&self, key: FeedbackKey, mut entry: Arc<CacheEntry>) -> Result<()> {
        if self.breaks("what_was_put_is_found_whole") {
            let fresh_until = entry.lifetime().keep_until;
            let lifetime = Lifetime {
                fresh_until,
                ..*entry.lifetime()
            };
            entry = Arc::new(CacheEntry::new(entry.feedback().clone(), lifetime));
        }
        let known = self.inner.get_local(&key).is_some();
        if self.breaks("an_entry_takes_the_place_of_the_one_before") && known {
            return Ok(());
        }
        let put = (self.key(&key), entry);
        *self.last_put.lock().expect("nobody panics with the lock") = Some(put.clone());
        if self.breaks("entries_put_at_once_are_not_mixed_up") {
            self.crowd.wait_for_another().await;
            let (_, entry) = self.last_put().unwrap_or(put);
            return self.inner.put(key, entry).await;
        }
        self.inner.put(put.0, put.1).await
    }

    async fn remove(&self, key: &FeedbackKey) -> Result<()> {
        if self.breaks("a_removed_key_is_not_found") {
            return Ok(());
        }
        self.inner.remove(&self.key(key)).await
    }

    async fn purge_case(&self, case_id: CaseId) -> Result<()> {
        if self.breaks("a_purge_forgets_every_key_of_a_case_and_no_other") {
            return match self.last_put() {
                Some((key, _)) => self.inner.remove(&key).await,
                None => Ok(()),
            };
        }
        self.inner.purge_case(case_id).await
    }

    fn removals_heard(&self) -> u64 {
        self.inner.removals_heard()
    }

    fn has_heard_of(&self, key: &FeedbackKey, since: u64) -> bool {
        self.inner.has_heard_of(key, since)
    }
}
