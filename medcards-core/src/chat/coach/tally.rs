use std::sync::atomic::{AtomicU64, Ordering};

use crate::chat::TurnOrigin;

/// What the coach of one process replied since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoachTally {
    /// Replies of a model.
    pub live: u64,
    /// Reviewed answers that were reused.
    pub reused: u64,
    /// Questions that were declined.
    pub declined: u64,
    /// Fixed words where no model could reply.
    pub unavailable: u64,
    /// Replies that counted no more when they were complete.
    pub lost: u64,
    /// Replies of a model that could not be shown.
    pub rejected: u64,
    /// Summaries that were made.
    pub summaries: u64,
    /// Replies under way.
    pub under_way: usize,
}

#[derive(Debug, Default)]
pub(super) struct Tallies {
    live: AtomicU64,
    reused: AtomicU64,
    declined: AtomicU64,
    unavailable: AtomicU64,
    lost: AtomicU64,
    rejected: AtomicU64,
    summaries: AtomicU64,
}

impl Tallies {
    pub(super) fn replied(&self, origin: TurnOrigin) {
        count(match origin {
            TurnOrigin::Live => &self.live,
            TurnOrigin::Reused => &self.reused,
            TurnOrigin::Declined => &self.declined,
            TurnOrigin::Unavailable => &self.unavailable,
        });
    }

    pub(super) fn lost(&self) {
        count(&self.lost);
    }

    pub(super) fn rejected(&self) {
        count(&self.rejected);
    }

    pub(super) fn summarised(&self) {
        count(&self.summaries);
    }

    pub(super) fn read(&self, under_way: usize) -> CoachTally {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CoachTally {
            live: read(&self.live),
            reused: read(&self.reused),
            declined: read(&self.declined),
            unavailable: read(&self.unavailable),
            lost: read(&self.lost),
            rejected: read(&self.rejected),
            summaries: read(&self.summaries),
            under_way,
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
