use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, ErrorKind, Result};

/// How far a student has come: what feedback may take as known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a new level needs a prompt of its own, so whoever writes prompts must hear of it"
)]
pub enum Level {
    /// Before the clinical years: mechanisms are known, wards are not.
    Preclinical,
    /// In the clinical years.
    #[default]
    Clinical,
    /// A physician in training.
    Resident,
}

impl Level {
    /// All levels, from the first to the last.
    pub const ALL: [Self; 3] = [Self::Preclinical, Self::Clinical, Self::Resident];

    /// The place in [`ALL`](Self::ALL), which never changes: prompt editions are numbered by it.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Preclinical => 0,
            Self::Clinical => 1,
            Self::Resident => 2,
        }
    }

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preclinical => "preclinical",
            Self::Clinical => "clinical",
            Self::Resident => "resident",
        }
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|level| level.as_str() == text);
        found.ok_or_else(|| {
            let context = "it must be preclinical, clinical or resident";
            Error::new(ErrorKind::Invalid, "read level", context)
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Level {
    /// A name that is not known is the default: a level that a newer program stored must not make
    /// a user unreadable to an older one.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(text.parse().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_levels_are_read_back_and_unknown_ones_are_the_default() {
        for level in Level::ALL {
            let stored = serde_json::to_string(&level).unwrap();
            assert_eq!(serde_json::from_str::<Level>(&stored).unwrap(), level);
            assert_eq!(Level::ALL[level.index()], level);
        }
        let newer: Level = serde_json::from_str("\"professor\"").unwrap();
        assert_eq!(newer, Level::Clinical);
        assert!("professor".parse::<Level>().is_err(), "a form is strict");
    }
}
