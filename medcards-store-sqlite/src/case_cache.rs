//! What is remembered of cases, so that most reads of them need no reader.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use medcards_core::CaseId;
use medcards_core::case::{Case, CaseVersion};
use medcards_core::store::ListId;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// The most searches that are remembered, at most 20 kB each. One that was forgotten is done again
/// when its next page is asked for.
const SEARCHES_MAX: usize = 256;

/// The most cases whose current version is remembered: more than the largest deck known to us.
const CURRENT_VERSIONS_MAX: usize = 16_384;

/// A version of a case.
pub(crate) type Place = (CaseId, CaseVersion);

/// Versions, which never change, which one is current, and searches that are being walked.
///
/// No other process can publish, so what this one publishes is all that must be forgotten.
#[derive(Debug)]
pub(crate) struct CaseCache {
    versions: Cache<Place, Kept, ByBytes>,
    current: Cache<CaseId, CaseVersion>,
    searches: Cache<(u64, u64), Arc<[Place]>>,
    /// How often something was published. Held while `current` changes, so that a read that began
    /// before a publication cannot keep what it found after it.
    publications: Mutex<u64>,
    walks: AtomicU64,
}

#[derive(Clone, Debug)]
struct Kept {
    case: Arc<Case>,
    bytes: u64,
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<Place, Kept> for ByBytes {
    fn weight(&self, _place: &Place, kept: &Kept) -> u64 {
        kept.bytes
    }
}

impl CaseCache {
    /// What a case takes, on average; only a first guess at how many there will be.
    const CASE_BYTES: u64 = 2_048;

    pub(crate) fn new(bytes: u64) -> Self {
        let estimate = usize::try_from(bytes / Self::CASE_BYTES).unwrap_or(usize::MAX);
        Self {
            versions: Cache::with_weighter(estimate.min(CURRENT_VERSIONS_MAX), bytes, ByBytes),
            current: Cache::new(CURRENT_VERSIONS_MAX),
            searches: Cache::new(SEARCHES_MAX),
            publications: Mutex::new(0),
            // A place of its own for each process, so that a cursor which outlives its process
            // does not continue somebody else's search.
            walks: AtomicU64::new(RandomState::new().hash_one("walks")),
        }
    }

    pub(crate) fn version(&self, case_id: CaseId, version: CaseVersion) -> Option<Arc<Case>> {
        self.versions.get(&(case_id, version)).map(|kept| kept.case)
    }

    pub(crate) fn current(&self, case_id: CaseId) -> Option<Arc<Case>> {
        self.version(case_id, self.current.get(&case_id)?)
    }

    pub(crate) fn keep_version(&self, case: &Arc<Case>, bytes: u64) {
        self.versions.insert(
            (case.id, case.version),
            Kept {
                case: Arc::clone(case),
                bytes,
            },
        );
    }

    pub(crate) fn publications(&self) -> u64 {
        *self
            .publications
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers which version is current, unless something was published since it was read.
    pub(crate) fn keep_current(&self, case: &Case, publications: u64) {
        let now = self
            .publications
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *now == publications {
            self.current.insert(case.id, case.version);
        }
    }

    pub(crate) fn forget_current(&self, published: impl IntoIterator<Item = CaseId>) {
        let mut publications = self
            .publications
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *publications += 1;
        for case_id in published {
            self.current.remove(&case_id);
        }
    }

    pub(crate) fn next_walk(&self) -> u64 {
        self.walks.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn search(&self, list: ListId, walk: u64) -> Option<Arc<[Place]>> {
        self.searches.get(&(list.digest(), walk))
    }

    pub(crate) fn keep_search(&self, list: ListId, walk: u64, found: Arc<[Place]>) {
        self.searches.insert((list.digest(), walk), found);
    }
}
