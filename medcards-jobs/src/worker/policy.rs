use std::time::Duration;

use crate::Backoff;

/// How jobs of a kind are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "built with struct update syntax")]
pub struct JobPolicy {
    /// How many run at a time in this process, at least one. Default: 64.
    pub concurrency_max: usize,
    /// How many attempts there are before a job is dead, at least one, since it was enqueued or last
    /// requeued; also those whose worker died. Default: 20, which is a day or more with the default
    /// waits.
    pub attempts_max: u32,
    /// How long to wait between attempts. Default: up to 1 s after the first, up to an hour after
    /// many.
    pub backoff: Backoff,
}

impl Default for JobPolicy {
    fn default() -> Self {
        Self {
            concurrency_max: 64,
            attempts_max: 20,
            backoff: Backoff {
                base: Duration::from_secs(1),
                cap: Duration::from_secs(60 * 60),
            },
        }
    }
}

/// From how many at a time on jobs are claimed ahead: those who run so many are done soon enough not
/// to keep them from another process.
const CLAIMED_AHEAD_FROM: usize = 16;

impl JobPolicy {
    /// The same, one at a time.
    #[must_use]
    pub const fn one_at_a_time(mut self) -> Self {
        self.concurrency_max = 1;
        self
    }

    pub(super) fn slots(&self) -> usize {
        self.concurrency_max.max(1)
    }

    /// How many may wait in this process for a slot, so that none is idle during a claim.
    pub(super) fn ahead(&self) -> usize {
        if self.slots() < CLAIMED_AHEAD_FROM {
            0
        } else {
            self.slots()
        }
    }
}
