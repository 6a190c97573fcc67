use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a feedback was found, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "the five tiers are the product")]
pub enum Tier {
    /// The memory of this process.
    Local,
    /// A cache that processes share.
    Remote,
    /// The store of feedback written before it is asked for.
    Precomputed,
    /// A model, asked now.
    Live,
    /// The author's explanation, which is always there.
    Authored,
}

impl Tier {
    /// All tiers, in the order in which they are asked.
    pub const ALL: [Self; 5] = [
        Self::Local,
        Self::Remote,
        Self::Precomputed,
        Self::Live,
        Self::Authored,
    ];

    /// The stable name, as stored and sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Precomputed => "precomputed",
            Self::Live => "live",
            Self::Authored => "authored",
        }
    }

    /// Reads a stable name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == name)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
