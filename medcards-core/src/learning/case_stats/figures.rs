use serde::{Deserialize, Serialize};

use super::alarm::KeyAlarm;
use super::band::{BAND_ANSWERS_MIN, BANDS, DifficultyBand};
use super::{CaseStatsRow, case_key};
use crate::answer::Answer;
use crate::case::{CaseVersion, OptionSet};
use crate::id::CaseId;
use crate::learning::histogram::permille;
use crate::learning::user_stats::Tally;
use crate::view::RowKey;

/// How many first answers a discrimination is computed from at least: with fewer, its standard error is
/// above 0.18.
pub const DISCRIMINATION_ANSWERS_MIN: u64 = 30;

/// What was answered to a version of a case.
///
/// All figures are sums of whole numbers, so that they are exact and do not depend on the order of the
/// answers they are of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CaseFigures {
    /// The [bits](OptionSet::bits) of what counts as right: a set itself has no stored form in a row.
    right: u32,
    total: Tally,
    first_answers: u64,
    first_right: u64,
    options: Vec<OptionFigures>,
    /// Of the first answers of students of whom is known how they do elsewhere.
    scored: Sums,
    scored_right: Sums,
}

/// What is known about an option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct OptionFigures {
    /// How many answers have it.
    chosen: u64,
    /// Of the first answers of students of whom is known how they do elsewhere.
    scored: Sums,
}

/// How many students, and how they do elsewhere, in right answers of a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sums {
    pub(super) students: u64,
    success: u64,
    success_squared: u64,
}

impl Sums {
    fn count(&mut self, success: u16) {
        let success = u64::from(success);
        self.students += 1;
        self.success += success;
        self.success_squared += success * success;
    }

    /// How they do on average; `None` of nobody.
    pub(super) fn mean(&self) -> Option<f64> {
        (self.students > 0).then(|| self.success as f64 / self.students as f64)
    }
}

/// A first answer of a student, and how that student does elsewhere, in right answers of a thousand.
pub(super) struct FirstAnswer {
    pub(super) chosen: OptionSet,
    pub(super) is_right: bool,
    pub(super) success: u16,
}

impl CaseFigures {
    pub(super) fn new(options: usize, right: OptionSet) -> Self {
        Self {
            right: right.bits(),
            options: vec![OptionFigures::default(); options],
            ..Self::default()
        }
    }

    pub(super) fn count(&mut self, answer: &Answer, is_right: bool) {
        self.total.count(answer, is_right);
        for position in answer.chosen.positions() {
            if let Some(option) = self.options.get_mut(position) {
                option.chosen += 1;
            }
        }
    }

    pub(super) fn count_first(&mut self, is_right: bool) {
        self.first_answers += 1;
        self.first_right += u64::from(is_right);
    }

    pub(super) fn score(&mut self, first: &FirstAnswer) {
        self.scored.count(first.success);
        if first.is_right {
            self.scored_right.count(first.success);
        }
        for position in first.chosen.positions() {
            if let Some(option) = self.options.get_mut(position) {
                option.scored.count(first.success);
            }
        }
    }

    /// Where the version stands among all cases, in right first answers of a thousand, if it has enough.
    pub(super) fn standing(&self) -> Option<u16> {
        let has_enough = self.first_answers >= BAND_ANSWERS_MIN;
        permille(self.first_right, self.first_answers).filter(|_| has_enough)
    }

    pub(super) fn right(&self) -> OptionSet {
        OptionSet::from_bits(self.right).unwrap_or_default()
    }

    pub(super) const fn scored_answers(&self) -> u64 {
        self.scored.students
    }

    /// The students of whom is known how they do, by the option they chose.
    pub(super) fn choosers(&self) -> impl Iterator<Item = (usize, Sums)> {
        self.options.iter().map(|option| option.scored).enumerate()
    }

    /// The point-biserial correlation of a right answer with the student's success in other cases; `None`
    /// if either is the same for all.
    ///
    /// Source: [Tate (1954)](https://doi.org/10.1214/aoms/1177728730), in the form of a product-moment
    /// correlation.
    pub(super) fn correlation(&self) -> Option<f64> {
        let (all, right) = (self.scored, self.scored_right);
        let wide = i128::from;
        let n = wide(all.students);
        let covariance = n * wide(right.success) - wide(right.students) * wide(all.success);
        let of_success = n * wide(all.success_squared) - wide(all.success) * wide(all.success);
        let of_right = wide(right.students) * (n - wide(right.students));
        let deviations = (of_success as f64).sqrt() * (of_right as f64).sqrt();
        (deviations > 0.0).then(|| covariance as f64 / deviations)
    }
}

/// How a version of a case does.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CaseReport {
    /// All answers.
    pub total: Tally,
    /// How many students have answered it.
    pub first_answers: u64,
    /// How many of their first answers are right.
    pub first_right: u64,
    /// How many answers have each option, by authored position.
    pub chosen: Vec<u64>,
    /// How well it tells students apart, -1 to 1: the correlation of a right first answer with success in
    /// other cases. `None` below [`DISCRIMINATION_ANSWERS_MIN`].
    pub discrimination: Option<f64>,
    /// Why its key is probably wrong, if it is.
    pub alarm: Option<KeyAlarm>,
    /// How hard it is among all cases; `None` below [`BAND_ANSWERS_MIN`].
    pub band: Option<DifficultyBand>,
}

impl CaseReport {
    /// The rows of the view from which [`read`](Self::read) makes it.
    #[must_use]
    pub fn keys(case_id: CaseId, version: CaseVersion) -> [RowKey; 2] {
        [case_key(case_id, version), BANDS]
    }

    /// Makes it of those of its rows that there are.
    #[must_use]
    pub fn read<'a>(rows: impl IntoIterator<Item = &'a CaseStatsRow>) -> Self {
        let (mut figures, mut bands) = (None, None);
        for row in rows {
            match row {
                CaseStatsRow::Case(row) => figures = Some(row),
                CaseStatsRow::Bands(row) => bands = Some(row),
                _ => {}
            }
        }
        let Some(figures) = figures else {
            return Self::default();
        };
        let has_enough = figures.scored.students >= DISCRIMINATION_ANSWERS_MIN;
        let standing = figures.standing();
        Self {
            total: figures.total,
            first_answers: figures.first_answers,
            first_right: figures.first_right,
            chosen: figures.options.iter().map(|it| it.chosen).collect(),
            discrimination: figures.correlation().filter(|_| has_enough),
            alarm: figures.alarm(),
            band: standing.and_then(|stands| DifficultyBand::of(stands, bands?)),
        }
    }
}
