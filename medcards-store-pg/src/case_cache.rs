//! Case versions that were read lately.

use std::sync::Arc;

use medcards_core::CaseId;
use medcards_core::case::{Case, CaseVersion};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// A version of a case.
pub(crate) type Place = (CaseId, CaseVersion);

/// Versions by their bytes of JSON. They never change, so nothing ever has to be forgotten; which
/// version is current is asked of the database each time, because other processes publish too.
#[derive(Debug)]
pub(crate) struct CaseCache {
    versions: Cache<Place, Kept, ByBytes>,
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
            versions: Cache::with_weighter(estimate.min(16_384), bytes, ByBytes),
        }
    }

    pub(crate) fn find(&self, place: Place) -> Option<Arc<Case>> {
        self.versions.get(&place).map(|kept| kept.case)
    }

    pub(crate) fn keep(&self, case: &Arc<Case>, bytes: u64) {
        let kept = Kept {
            case: Arc::clone(case),
            bytes,
        };
        self.versions.insert((case.id, case.version), kept);
    }
}
