use std::sync::Arc;

use super::resolution::{Found, Freshness, Trace};
use crate::cache::CacheEntry;
use crate::feedback::{FeedbackKey, Tier};
use crate::flight;
use crate::spend::MicroDollars;

pub(super) use crate::flight::Progress;

/// The most keys looked for at once. Each takes about 1 kB while its tiers are asked; beyond it a
/// request gets the authored explanation.
pub(super) const FLIGHTS_MAX: usize = 100_000;

/// One search for the feedback of one key.
pub(super) type Flight = flight::Flight<Landing>;

/// All searches under way, by key.
pub(super) type Flights = flight::Flights<FeedbackKey, Landing>;

/// What happened to someone who wants a key.
pub(super) type Boarding = flight::Boarding<Arc<CacheEntry>, Landing>;

/// How a flight ended.
#[derive(Clone, Debug)]
pub(super) struct Landing {
    /// What was found, or nothing: then the authored explanation is due.
    pub(super) found: Option<(Found, Tier, Freshness)>,
    /// What it cost.
    pub(super) cost: MicroDollars,
    /// What each tier did.
    pub(super) trace: Trace,
}
