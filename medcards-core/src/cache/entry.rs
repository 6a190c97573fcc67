use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use jiff::Timestamp;

use crate::ai::ModelId;
use crate::feedback::{Feedback, Shared, Tier};
use crate::id::CaseId;
use crate::spend::MicroDollars;

/// A shared feedback in a cache.
///
/// Feedback and lifetime are what a remote cache keeps; the rest is of this process.
#[derive(Debug)]
pub struct CacheEntry {
    feedback: Feedback<Shared>,
    lifetime: Lifetime,
    tally: OnceLock<Arc<ServedTally>>,
    rendered: OnceLock<Bytes>,
}

impl CacheEntry {
    /// An entry that nobody has been served yet.
    #[must_use]
    pub fn new(feedback: Feedback<Shared>, lifetime: Lifetime) -> Self {
        Self {
            feedback,
            lifetime,
            tally: OnceLock::new(),
            rendered: OnceLock::new(),
        }
    }

    /// The feedback.
    #[must_use]
    pub fn feedback(&self) -> &Feedback<Shared> {
        &self.feedback
    }

    /// How long it may be served, and how.
    #[must_use]
    pub fn lifetime(&self) -> &Lifetime {
        &self.lifetime
    }

    /// The bytes that a frontend sends for this entry, made once by whoever asks first.
    pub fn rendered(&self, render: impl FnOnce(&Feedback<Shared>) -> Bytes) -> &Bytes {
        self.rendered.get_or_init(|| render(&self.feedback))
    }

    /// About how many bytes of memory it takes, the rendered bytes included.
    ///
    /// They are counted before they exist, as the text and a third more, so that the weight of an
    /// entry never changes.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        size_of::<Self>() + self.feedback.text.len() * 7 / 3 + 512
    }

    /// Where its servings are counted, found once by whoever serves it first.
    pub(crate) fn tally(&self, find: impl FnOnce() -> Arc<ServedTally>) -> &ServedTally {
        self.tally.get_or_init(find)
    }
}

/// What an entry is good for at some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the four parts into which three instants cut time"
)]
pub enum Stage {
    /// Nothing.
    Expired,
    /// To be served as it is.
    Fresh,
    /// To be served if no new one can be had.
    LastResort,
    /// To be served while a new one is being fetched.
    Revalidate,
}

/// How long an entry may be served, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "three instants that every cache keeps"
)]
pub struct Lifetime {
    /// Until then it is served as it is.
    pub fresh_until: Timestamp,
    /// Until then it is served while a new one is being fetched.
    pub revalidate_until: Timestamp,
    /// Until then it is served if no new one can be had. A cache should forget it afterwards.
    pub keep_until: Timestamp,
}

impl Lifetime {
    /// What an entry is good for at `now`.
    #[must_use]
    pub fn stage(&self, now: Timestamp) -> Stage {
        if now < self.fresh_until {
            Stage::Fresh
        } else if now < self.revalidate_until {
            Stage::Revalidate
        } else if now < self.keep_until {
            Stage::LastResort
        } else {
            Stage::Expired
        }
    }
}

/// Counts how often feedback of one case and model was served, until the ledger is told.
///
/// All entries of that case and model share one tally, so that counting takes no lock and no
/// allocation.
#[derive(Debug)]
pub(crate) struct ServedTally {
    case_id: Option<CaseId>,
    model: Option<ModelId>,
    tiers: [Counts; Tier::ALL.len()],
}

#[derive(Debug, Default)]
struct Counts {
    served: AtomicU64,
    saved: AtomicU64,
}

impl ServedTally {
    /// Nothing served yet. Without a case it counts for several cases together.
    pub(crate) fn new(case_id: Option<CaseId>, model: Option<ModelId>) -> Self {
        Self {
            case_id,
            model,
            tiers: Default::default(),
        }
    }

    /// The case, unless it counts for several.
    pub(crate) fn case_id(&self) -> Option<CaseId> {
        self.case_id
    }

    /// The model; `None` for the author.
    pub(crate) fn model(&self) -> Option<&ModelId> {
        self.model.as_ref()
    }

    /// Counts one feedback served from a tier, and what that saved.
    pub(crate) fn add(&self, tier: Tier, saved: MicroDollars) {
        self.put_back(tier, 1, saved);
    }

    /// Counts again what could not be booked.
    pub(crate) fn put_back(&self, tier: Tier, served: u64, saved: MicroDollars) {
        let counts = &self.tiers[tier as usize];
        counts.served.fetch_add(served, Ordering::Relaxed);
        counts.saved.fetch_add(saved.get(), Ordering::Relaxed);
    }

    /// Takes out what was counted since the last time, for each tier that served something.
    pub(crate) fn take(&self) -> impl Iterator<Item = (Tier, u64, MicroDollars)> {
        Tier::ALL.into_iter().filter_map(|tier| {
            let counts = &self.tiers[tier as usize];
            let served = counts.served.swap(0, Ordering::Relaxed);
            let saved = counts.saved.swap(0, Ordering::Relaxed);
            (served > 0).then(|| (tier, served, MicroDollars::new(saved)))
        })
    }
}
