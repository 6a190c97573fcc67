//! Cases: clinical vignettes with options, versioned, immutable once published.

mod content;
mod correction;
mod letters;
mod mistake;
mod options;
mod record;
mod search;
mod store;

pub use content::{CaseContent, CaseOption, Difficulty, Media, OptionOrdering, VignetteField};
pub use correction::{CORRECTIONS_PER_READ_MAX, CaseCorrection, KeyCorrection};
pub use letters::names_option_letter;
pub use mistake::Mistake;
pub use options::{OPTIONS_MAX, OptionKey, OptionOrder, OptionSet};
pub use record::{CaseRecord, OptionRecord, RecordNotice, VignetteRecord};
pub use search::{SEARCH_WORDS_MAX, folded_words, search_words};
pub use store::{CaseFilter, CaseQuery, CaseStore, Publication, PublicationOutcome};

use std::fmt;
use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{CaseId, UserId};

/// Which edition of a case: 1, 2, 3 and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CaseVersion(NonZeroU32);

impl CaseVersion {
    /// The first version of every case.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// Takes a number, or `None` if it is zero.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number, from 1.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The version after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for CaseVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One published version of a case. It never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "what is published about content is these three things"
)]
pub struct Case {
    /// Names the case through all its versions.
    pub id: CaseId,
    /// Which edition this is.
    pub version: CaseVersion,
    /// When this version was published.
    pub published_at: Timestamp,
    /// What it says.
    pub content: CaseContent,
}

impl Case {
    /// The order in which this user sees the options of this version: always the same one.
    ///
    /// Shuffled by the ids of user and case, unless the content asks for its own order. A pure
    /// function, so that a server can tell later what was shown; pinned by test vectors.
    #[must_use]
    pub fn order_shown_to(&self, user_id: &UserId) -> OptionOrder {
        let count = self.content.options().len();
        match self.content.option_ordering() {
            OptionOrdering::Fixed => OptionOrder::authored(count),
            OptionOrdering::Shuffled => {
                OptionOrder::shuffled(count, user_id, &self.id, self.version)
            }
        }
    }

    /// Whether choosing these options answers the case: all the right ones and no other.
    #[must_use]
    pub fn is_correct(&self, chosen: OptionSet) -> bool {
        chosen == self.content.right_options()
    }
}
