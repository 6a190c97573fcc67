use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use medcards_core::Timestamp;

use super::build::Advanced;

/// No answer was applied yet.
const NEVER: i64 = i64::MIN;

/// What a runner knows of itself and its view.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) leads: AtomicBool,
    pub(super) is_rebuilding: AtomicBool,
    is_behind: AtomicBool,
    /// By how many events, when they were last counted.
    pub(super) behind_events: AtomicU64,
    /// When the last answer was given that counts, in milliseconds.
    answered_at_ms: AtomicI64,
    pub(super) applied: AtomicU64,
    pub(super) set_aside: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) switches: AtomicU64,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            leads: AtomicBool::default(),
            is_rebuilding: AtomicBool::default(),
            is_behind: AtomicBool::default(),
            behind_events: AtomicU64::default(),
            answered_at_ms: AtomicI64::new(NEVER),
            applied: AtomicU64::default(),
            set_aside: AtomicU64::default(),
            conflicts: AtomicU64::default(),
            failures: AtomicU64::default(),
            switches: AtomicU64::default(),
        }
    }
}

impl Figures {
    pub(super) fn count(&self, advanced: &Advanced) {
        self.applied.fetch_add(advanced.events, Ordering::Relaxed);
        self.set_aside
            .fetch_add(advanced.set_aside, Ordering::Relaxed);
    }

    /// Takes note of how far the edition that answers has come.
    pub(super) fn follow(&self, advanced: &Advanced) {
        if let Some(at) = advanced.answered_at {
            self.answered_at_ms
                .store(at.as_millisecond(), Ordering::Relaxed);
        }
        self.is_behind
            .store(!advanced.is_caught_up, Ordering::Relaxed);
        if advanced.is_caught_up {
            self.behind_events.store(0, Ordering::Relaxed);
        }
    }

    /// How old the last answer is that counts, in seconds, while there are others; else 0.
    pub(super) fn behind_s(&self, now: Timestamp) -> f64 {
        let at_ms = self.answered_at_ms.load(Ordering::Relaxed);
        if !self.is_behind.load(Ordering::Relaxed) || at_ms == NEVER {
            return 0.0;
        }
        now.as_millisecond().saturating_sub(at_ms).max(0) as f64 / 1e3
    }

    /// Forgets what only whoever leads knows.
    pub(super) fn stand_by(&self) {
        self.leads.store(false, Ordering::Relaxed);
        self.is_rebuilding.store(false, Ordering::Relaxed);
        self.is_behind.store(false, Ordering::Relaxed);
        self.behind_events.store(0, Ordering::Relaxed);
    }
}
