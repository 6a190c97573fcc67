use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::CaseStatsRow;
use crate::learning::Histogram;
use crate::view::{Item, RowKey};

/// How many first answers a case needs to have a place by difficulty: with fewer, the share of right ones
/// is mostly chance (± 20 percentage points at 20).
pub const BAND_ANSWERS_MIN: u64 = 20;

/// The row in which the places of all cases are counted.
pub(super) const BANDS: RowKey = RowKey::of_view(Item::named("bands"));

/// How hard a case is among all cases with enough answers.
///
/// The bands are those of [AMBOSS]: the easiest 20 % of the cases, then 30, 30, 15, and the hardest 5 %.
///
/// [AMBOSS]: https://support.amboss.com/hc/en-us/articles/360035679652-Question-difficulty
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "there are these five")]
pub enum DifficultyBand {
    /// Among the easiest 20 %.
    Easiest,
    /// Among the next 30 %.
    Easy,
    /// Among the next 30 %.
    Medium,
    /// Among the next 15 %.
    Hard,
    /// Among the hardest 5 %.
    Hardest,
}

impl DifficultyBand {
    /// All of them, the easiest first.
    pub const ALL: [Self; 5] = [
        Self::Easiest,
        Self::Easy,
        Self::Medium,
        Self::Hard,
        Self::Hardest,
    ];

    /// The band of a case with so many right first answers of a thousand among those that are counted;
    /// `None` if none is. Cases with the same share are in the same band.
    #[must_use]
    pub fn of(permille: u16, places: &Histogram) -> Option<Self> {
        let harder = places.share_below(permille)?;
        Some(match harder {
            _ if harder > 0.80 => Self::Easiest,
            _ if harder > 0.50 => Self::Easy,
            _ if harder > 0.20 => Self::Medium,
            _ if harder > 0.05 => Self::Hard,
            _ => Self::Hardest,
        })
    }

    /// Which shares of right first answers, of a thousand, are in this band; `None` if none is. With
    /// [`placed_query`](super::placed_query) its cases are read.
    #[must_use]
    pub fn permilles(self, places: &Histogram) -> Option<RangeInclusive<u16>> {
        // The more right answers, the easier the band.
        let all: Vec<u16> = (0..=1_000).collect();
        let first = all.partition_point(|it| Self::of(*it, places) > Some(self));
        let end = all.partition_point(|it| Self::of(*it, places) >= Some(self));
        let in_band = all.get(first..end)?;
        Some(*in_band.first()?..=*in_band.last()?)
    }

    /// The row of the view with the places of all cases.
    #[must_use]
    pub const fn key() -> RowKey {
        BANDS
    }

    /// The places of all cases in that row; `None` for a row of something else.
    #[must_use]
    pub const fn places(row: &CaseStatsRow) -> Option<&Histogram> {
        match row {
            CaseStatsRow::Bands(places) => Some(places),
            _ => None,
        }
    }
}
