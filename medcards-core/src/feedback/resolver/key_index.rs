use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::Result;
use crate::feedback::{FeedbackKey, KeyPosition, PrecomputedStore};

/// How many keys one read of the store asks for: about 1 MB.
const KEYS_PER_READ: usize = 10_000;

/// The most keys that are kept, at about 16 bytes each: 128 MB. Beyond it every miss asks the store.
const KEYS_MAX: usize = 8_000_000;

/// Which keys the store of precomputed feedback has, so that a miss costs no query.
///
/// It keeps a hash of each key. Two keys with one hash cost a needless query; a key that another
/// process kept since the last refresh costs a live call. Neither costs an answer.
#[derive(Debug, Default)]
pub(super) struct KeyIndex {
    keys: RwLock<Keys>,
    hasher: RandomState,
    is_refreshing: AtomicBool,
}

#[derive(Debug, Default)]
struct Keys {
    hashes: HashSet<u64>,
    position: KeyPosition,
}

impl KeyIndex {
    /// Whether asking the store for this key may find something.
    pub(super) fn may_have(&self, key: &FeedbackKey) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.hashes.len() >= KEYS_MAX || keys.hashes.contains(&self.hasher.hash_one(key))
    }

    pub(super) fn insert(&self, key: &FeedbackKey) {
        let hash = self.hasher.hash_one(key);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.hashes.len() < KEYS_MAX {
            keys.hashes.insert(hash);
        }
    }

    /// Reads the keys kept since the last refresh. Of two refreshes at once the second does nothing.
    pub(super) async fn refresh(&self, store: &dyn PrecomputedStore) -> Result<()> {
        if self.is_refreshing.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let _done = Done(&self.is_refreshing);
        loop {
            let after = self
                .keys
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .position;
            let page = store.list_keys(after, KEYS_PER_READ).await?;
            let is_last = page.keys.len() < KEYS_PER_READ;
            for key in &page.keys {
                self.insert(key);
            }
            self.keys
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .position = page.position;
            if is_last {
                return Ok(());
            }
        }
    }
}

/// Lets the next refresh begin, also when this one was dropped halfway.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
