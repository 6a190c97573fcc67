//! What is told to whoever waits for something to be written.

use medcards_core::store::Hints;

/// Ends the waits of all who use the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreHints {
    pub(crate) appended: Hints,
    pub(crate) enqueued: Hints,
    pub(crate) noticed: Hints,
}

/// What a transaction wrote that somebody may wait for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wrote {
    pub(crate) events: bool,
    pub(crate) jobs: bool,
    pub(crate) notices: bool,
}

impl StoreHints {
    /// Gives hints of what was committed.
    pub(crate) fn give(&self, wrote: Wrote) {
        let hints = [
            (wrote.events, &self.appended),
            (wrote.jobs, &self.enqueued),
            (wrote.notices, &self.noticed),
        ];
        for (_, hints) in hints.into_iter().filter(|(wrote, _)| *wrote) {
            hints.give();
        }
    }
}
