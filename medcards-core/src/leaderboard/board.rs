use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::Week;
use crate::{Error, Result};

/// The name of a specialty, in lower case: by this name stores compare specialties, so that one
/// which is written in two ways has one board.
///
/// Cloning it is cheap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpecialtyName(Arc<str>);

impl SpecialtyName {
    /// Takes a name as it is written, and folds it.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.to_lowercase().into())
    }

    /// The name, folded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SpecialtyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The time that a board counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "every backend keeps both")]
pub enum Period {
    /// From the first answer on.
    AllTime,
    /// One week.
    Week(Week),
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllTime => f.write_str("all-time"),
            Self::Week(week) => week.fmt(f),
        }
    }
}

impl FromStr for Period {
    type Err = Error;

    /// Reads `all-time`, or a week such as `2026-W48`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "all-time" => Ok(Self::AllTime),
            week => week.parse().map(Self::Week),
        }
    }
}

/// One board: whose points of which time and specialty.
///
/// Its text is stable, so that backends may name what they keep by it: the period, and for a
/// specialty a slash and the folded name, such as `2026-W48/cardiology`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a board is these two things")]
pub struct Board {
    /// The time that it counts.
    pub period: Period,
    /// The specialty that it counts; `None` for all.
    pub specialty: Option<SpecialtyName>,
}

impl Board {
    /// The board of all specialties.
    #[must_use]
    pub const fn overall(period: Period) -> Self {
        Self {
            period,
            specialty: None,
        }
    }

    /// The board of one specialty.
    #[must_use]
    pub const fn of_specialty(period: Period, specialty: SpecialtyName) -> Self {
        Self {
            period,
            specialty: Some(specialty),
        }
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.specialty {
            None => self.period.fmt(f),
            Some(specialty) => write!(f, "{}/{specialty}", self.period),
        }
    }
}

impl FromStr for Board {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (period, specialty) = match text.split_once('/') {
            Some((period, specialty)) => (period, Some(SpecialtyName::new(specialty))),
            None => (text, None),
        };
        Ok(Self {
            period: period.parse()?,
            specialty,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_board_never_changes() {
        let week = Period::Week("2026-W48".parse().unwrap());
        let named = SpecialtyName::new("Ear / Nose / THROAT");
        for (board, text) in [
            (Board::overall(Period::AllTime), "all-time"),
            (Board::overall(week), "2026-W48"),
            (
                Board::of_specialty(Period::AllTime, SpecialtyName::new("CardioLogie ÉTÉ")),
                "all-time/cardiologie été",
            ),
            (
                Board::of_specialty(week, named),
                "2026-W48/ear / nose / throat",
            ),
        ] {
            assert_eq!(board.to_string(), text);
            assert_eq!(text.parse::<Board>().unwrap(), board);
        }
    }
}
