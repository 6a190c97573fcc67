use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::answers::Answers;
use super::batches::Batches;
use super::cases::Cases;
use super::chats::{Chats, SharedByCase};
use super::events::Log;
use super::jobs::Jobs;
use super::notices::Notices;
use super::precomputed::Precomputed;
use super::sessions::Sessions;
use super::spend::Ledger;
use super::users::Users;
use super::views::Views;

/// A store in the memory of this process: it has every store ability, keeps sessions, chats and
/// shared answers too, and forgets all at its end.
///
/// Cloning it gives another handle on the same data. One lock guards everything, so each call is
/// one transaction, done before its future first yields.
#[derive(Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

/// All the data of a store.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) answers: Answers,
    pub(super) batches: Batches,
    pub(super) cases: Cases,
    pub(super) chats: Chats,
    pub(super) jobs: Jobs,
    pub(super) ledger: Ledger,
    pub(super) log: Log,
    pub(super) notices: Notices,
    pub(super) precomputed: Precomputed,
    pub(super) sessions: Sessions,
    pub(super) shared_answers: SharedByCase,
    pub(super) users: Users,
    pub(super) views: Views,
}

impl MemoryStore {
    /// Makes an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store of its own with the data as they are now.
    #[cfg(feature = "test-util")]
    pub(crate) fn copied(&self) -> Self {
        Self {
            state: Arc::new(Mutex::new(self.state().clone())),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No code panics between two changes that belong together, so the data is whole even then.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    /// Says nothing of the data: answers are among it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl fmt::Display for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}
