use std::sync::atomic::{AtomicU64, Ordering};

use super::resolution::{Resolution, Trace};
use crate::feedback::Tier;

/// What a resolver has done since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResolverCounts {
    /// How many feedbacks each tier gave, in the order of [`Tier::ALL`].
    pub served: [u64; Tier::ALL.len()],
    /// How many times each tier broke, or gave a reply that must not be shown.
    pub failed: [u64; Tier::ALL.len()],
    /// How many were past their time.
    pub stale: u64,
    /// How many live calls were made.
    pub live_calls: u64,
    /// How many requests shared a search that another had begun.
    pub shared_flights: u64,
    /// How many searches read the words of a live call that another process made.
    pub followed_calls: u64,
    /// How many live calls were made because another process left them unfinished.
    pub takeovers: u64,
    /// How many searches are under way.
    pub flights: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    served: [AtomicU64; Tier::ALL.len()],
    failed: [AtomicU64; Tier::ALL.len()],
    stale: AtomicU64,
    live_calls: AtomicU64,
    shared_flights: AtomicU64,
    followed_calls: AtomicU64,
    takeovers: AtomicU64,
}

impl Counters {
    pub(super) fn served(&self, resolution: &Resolution) {
        self.served[resolution.tier as usize].fetch_add(1, Ordering::Relaxed);
        if resolution.freshness != super::Freshness::Fresh {
            self.stale.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts the tiers that broke in one flight.
    pub(super) fn failed(&self, trace: &Trace) {
        for (tier, outcome) in trace.outcomes() {
            use super::TierOutcome::{Failed, Rejected};
            if matches!(outcome, Failed(_) | Rejected(_)) {
                self.failed[tier as usize].fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn live_calls(&self) {
        self.live_calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn shared_flights(&self) {
        self.shared_flights.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn followed_calls(&self) {
        self.followed_calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn takeovers(&self) {
        self.takeovers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, flights: usize) -> ResolverCounts {
        let read = |counters: &[AtomicU64; Tier::ALL.len()]| {
            std::array::from_fn(|tier| counters[tier].load(Ordering::Relaxed))
        };
        ResolverCounts {
            served: read(&self.served),
            failed: read(&self.failed),
            stale: self.stale.load(Ordering::Relaxed),
            live_calls: self.live_calls.load(Ordering::Relaxed),
            shared_flights: self.shared_flights.load(Ordering::Relaxed),
            followed_calls: self.followed_calls.load(Ordering::Relaxed),
            takeovers: self.takeovers.load(Ordering::Relaxed),
            flights: flights as u64,
        }
    }
}
