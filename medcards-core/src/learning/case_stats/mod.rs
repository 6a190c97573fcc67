//! How a version of a case does: how hard it is, how well it tells students apart, what is chosen, and
//! whether its key is probably wrong.
//!
//! The view `case-stats` has one row per version of a case, one per student with pages for those with more than
//! 64 cases, one per case with its place by difficulty, one per alarm, and one in which all places are counted.
//! An event costs a copy of three to five rows of some hundred bytes, and of 2 kB if the place moves.
//!
//! Difficulty and discrimination count the first answer of each student to each case: whoever repeats a
//! case knows its key.

mod alarm;
mod band;
mod figures;

pub use alarm::{ALARM_ANSWERS_MIN, AlarmedCase, KeyAlarm, NEGATIVE_Z_MIN, RIVAL_Z_MIN};
pub use band::{BAND_ANSWERS_MIN, DifficultyBand};
pub use figures::{CaseFigures, CaseReport, DISCRIMINATION_ANSWERS_MIN};

use alarm::alarm_key;
use band::BANDS;
use figures::FirstAnswer;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::case_set::{CaseSet, is_first_answer, likely_page};
use super::histogram::{Histogram, permille};
use crate::answer::Answer;
use crate::case::{CaseVersion, OptionSet};
use crate::event::{Event, EventBody};
use crate::id::CaseId;
use crate::view::{Changes, Facts, Item, Projection, RowKey, ShelfQuery, Stop, ViewName};

/// The name of the view.
pub const CASE_STATS: &str = "case-stats";

/// How many other cases a student must have answered, so that the success with those says something of
/// the student. The first answers wait for it.
pub const OTHER_ANSWERS_MIN: u64 = 10;

/// A row of the view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the rows of one version of the view"
)]
pub enum CaseStatsRow {
    /// A version of a case whose key is probably wrong.
    Alarmed {
        /// Why.
        alarm: KeyAlarm,
        /// The instant of the answer with which it was raised, in milliseconds.
        raised_ms: i64,
    },
    /// How many cases have so many right first answers of a thousand.
    Bands(Histogram),
    /// What was answered to a version of a case.
    Case(Box<CaseFigures>),
    /// Some of the cases that a student answered.
    Cases(CaseSet),
    /// Where a case stands by its difficulty.
    Placed {
        /// By its answers to this version, the latest one with enough of them.
        version: CaseVersion,
        /// How many of a thousand first answers are right.
        permille: u16,
    },
    /// How a student does with the first answer to each case.
    Student(Box<Student>),
}

/// How a student does with the first answer to each case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Student {
    answers: u64,
    right: u64,
    /// The answers of before it was known how the student does.
    waiting: Vec<Waiting>,
    first_cases: CaseSet,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Waiting {
    case_id: CaseId,
    version: CaseVersion,
    /// The [bits](OptionSet::bits) of what was chosen: a set itself has no stored form in a row.
    chosen: u32,
    is_right: bool,
}

impl Student {
    /// The student's right answers of a thousand beside this one, if there are enough.
    fn success_beside(&self, is_right: bool) -> Option<u16> {
        let others = self.answers.checked_sub(1)?;
        let right = self.right.saturating_sub(u64::from(is_right));
        permille(right, others).filter(|_| others >= OTHER_ANSWERS_MIN)
    }

    /// Counts a first answer, and says which can be scored with it.
    fn count(&mut self, answer: &Answer, is_right: bool) -> Vec<Waiting> {
        self.answers += 1;
        self.right += u64::from(is_right);
        self.waiting.push(Waiting {
            case_id: answer.case_id,
            version: answer.case_version,
            chosen: answer.chosen.bits(),
            is_right,
        });
        if self.answers <= OTHER_ANSWERS_MIN {
            return Vec::new();
        }
        std::mem::take(&mut self.waiting)
    }
}

/// Counts what is answered to cases.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CaseStatsProjection;

impl CaseStatsProjection {
    /// Makes one.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Projection for CaseStatsProjection {
    type Row = CaseStatsRow;

    fn name(&self) -> ViewName {
        super::view_name(CASE_STATS)
    }

    fn version(&self) -> u64 {
        1
    }

    fn likely_rows(&self, event: &Event, _facts: &Facts) -> Vec<RowKey> {
        match &event.body {
            EventBody::AnswerRecorded { answer } => vec![
                case_key(answer.case_id, answer.case_version),
                RowKey::of_user(answer.user_id),
                likely_page(answer),
                placed_key(answer.case_id),
                alarm_key(answer.case_id, answer.case_version),
                BANDS,
            ],
            _ => Vec::new(),
        }
    }

    fn place(&self, _key: &RowKey, row: &Self::Row) -> Option<i64> {
        match row {
            CaseStatsRow::Alarmed { raised_ms, .. } => Some(raised_ms.saturating_mul(1_000)),
            CaseStatsRow::Placed { permille, .. } => Some(i64::from(*permille)),
            CaseStatsRow::Bands(_)
            | CaseStatsRow::Case(_)
            | CaseStatsRow::Cases(_)
            | CaseStatsRow::Student(_) => None,
        }
    }

    fn apply(
        &self,
        event: &Event,
        facts: &Facts,
        changes: &mut Changes<Self::Row>,
    ) -> Result<(), Stop> {
        let EventBody::AnswerRecorded { answer } = &event.body else {
            return Ok(());
        };
        let (case_id, version) = (answer.case_id, answer.case_version);
        let fact = facts.case_of(answer)?;
        let is_right = facts.is_correct(answer);
        let key = case_key(case_id, version);
        let mut figures = match changes.find(key)? {
            Some(CaseStatsRow::Case(figures)) => figures.clone(),
            _ => {
                let right = facts.right_of(case_id, version).unwrap_or(fact.right);
                Box::new(CaseFigures::new(fact.options, right))
            }
        };
        figures.count(answer, is_right);

        let user_key = RowKey::of_user(answer.user_id);
        let mut student = match changes.find(user_key)? {
            Some(CaseStatsRow::Student(student)) => student.clone(),
            _ => Box::default(),
        };
        let first_cases = &mut student.first_cases;
        let write = CaseStatsRow::Cases;
        if !is_first_answer(answer, first_cases, changes, cases, write)? {
            return changes.put(key, CaseStatsRow::Case(figures));
        }
        figures.count_first(is_right);
        place(case_id, version, &figures, changes)?;
        changes.put(key, CaseStatsRow::Case(figures))?;
        for waiting in student.count(answer, is_right) {
            score(&waiting, &student, answer.created_at, changes)?;
        }
        changes.put(user_key, CaseStatsRow::Student(student))
    }
}

const fn cases(row: &CaseStatsRow) -> Option<&CaseSet> {
    match row {
        CaseStatsRow::Cases(cases) => Some(cases),
        _ => None,
    }
}

/// Counts a first answer of a student of whom is known how they do, and raises or ends the alarm.
fn score(
    waiting: &Waiting,
    student: &Student,
    at: Timestamp,
    changes: &mut Changes<CaseStatsRow>,
) -> Result<(), Stop> {
    let key = case_key(waiting.case_id, waiting.version);
    let Some(success) = student.success_beside(waiting.is_right) else {
        return Ok(());
    };
    let Some(CaseStatsRow::Case(figures)) = changes.find(key)? else {
        return Ok(());
    };
    let mut figures = figures.clone();
    figures.score(&FirstAnswer {
        chosen: OptionSet::from_bits(waiting.chosen).unwrap_or_default(),
        is_right: waiting.is_right,
        success,
    });
    let alarm = figures.alarm();
    changes.put(key, CaseStatsRow::Case(figures))?;

    let key = alarm_key(waiting.case_id, waiting.version);
    let raised = match changes.find(key)? {
        Some(CaseStatsRow::Alarmed { alarm, raised_ms }) => Some((*alarm, *raised_ms)),
        _ => None,
    };
    match (raised, alarm) {
        (None, None) => Ok(()),
        (Some(_), None) => changes.remove(key),
        (Some((known, _)), Some(alarm)) if known == alarm => Ok(()),
        (_, Some(alarm)) => {
            let raised_ms = raised.map_or(at.as_millisecond(), |(_, raised_ms)| raised_ms);
            changes.put(key, CaseStatsRow::Alarmed { alarm, raised_ms })
        }
    }
}

/// Moves a case to its place by difficulty, unless a later version stands there.
fn place(
    case_id: CaseId,
    version: CaseVersion,
    figures: &CaseFigures,
    changes: &mut Changes<CaseStatsRow>,
) -> Result<(), Stop> {
    let Some(stands) = figures.standing() else {
        return Ok(());
    };
    let key = placed_key(case_id);
    let stood = match changes.find(key)? {
        Some(CaseStatsRow::Placed { version, permille }) => Some((*version, *permille)),
        _ => None,
    };
    if stood.is_some_and(|(other, _)| other > version) || stood == Some((version, stands)) {
        return Ok(());
    }
    let permille = stands;
    changes.put(key, CaseStatsRow::Placed { version, permille })?;
    let mut bands = match changes.find(BANDS)? {
        Some(CaseStatsRow::Bands(bands)) => bands.clone(),
        _ => Histogram::default(),
    };
    bands.shift(stood.map(|(_, permille)| permille), Some(stands));
    changes.put(BANDS, CaseStatsRow::Bands(bands))
}

/// The row of a version of a case.
fn case_key(case_id: CaseId, version: CaseVersion) -> RowKey {
    let item = Item::from_bytes(&version.get().to_be_bytes()).unwrap_or(Item::NONE);
    RowKey::new(*case_id.as_uuid(), item)
}

/// The row with the place of a case.
fn placed_key(case_id: CaseId) -> RowKey {
    RowKey::of_view(Item::of(case_id.as_uuid()))
}

/// Which cases stand in a range of right first answers of a thousand, the hardest first.
#[must_use]
pub fn placed_query(permilles: std::ops::RangeInclusive<u16>, limit: usize) -> ShelfQuery {
    ShelfQuery {
        from: i64::from(*permilles.start()),
        to: i64::from(*permilles.end()),
        ..ShelfQuery::new(Uuid::nil(), limit)
    }
}
