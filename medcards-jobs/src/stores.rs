use std::fmt;
use std::sync::Arc;

use medcards_core::Timestamp;
use medcards_core::app::Medcards;
use medcards_core::store::{LearningStore, Store};
use medcards_core::time::Clock;

/// What everything here works on.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the stores and the clock")]
pub struct Stores {
    /// Where the answer log and the cases are.
    pub store: Arc<dyn Store>,
    /// Where views, jobs and notices are: the same database.
    pub learning: Arc<dyn LearningStore>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

impl Stores {
    /// Those of a platform.
    #[must_use]
    pub fn of(medcards: &Medcards, learning: Arc<dyn LearningStore>) -> Self {
        Self {
            store: Arc::clone(medcards.store()),
            learning,
            clock: Arc::clone(medcards.clock()),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl fmt::Display for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.learning.fmt(f)
    }
}
