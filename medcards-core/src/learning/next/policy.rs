use std::fmt::Debug;

use jiff::Timestamp;

use super::{Catalogue, NextReason};
use crate::answer::Answer;
use crate::case::CaseFilter;
use crate::id::CaseId;
use crate::learning::SeenCases;
use crate::learning::ability::{AbilityModel, UserAbility};
use crate::learning::reviews::DueReview;

/// How many of the latest answers a policy sees at most: those of some hours. None of their cases comes
/// next.
pub const RECENT_ANSWERS_MAX: usize = 20;

/// What is known of a student who wants a case, and of the cases.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "what a policy may look at")]
pub struct NextCaseView<'a> {
    /// When.
    pub now: Timestamp,
    /// The cases there are.
    pub catalogue: &'a Catalogue,
    /// Which of them the student wants.
    pub filter: &'a CaseFilter,
    /// What tells chances from abilities.
    pub model: &'a AbilityModel,
    /// How able the student is; `None` if that is not known.
    pub user: Option<&'a UserAbility>,
    /// Which cases the student has answered, as far as the views know.
    pub seen: &'a SeenCases,
    /// The latest answers of the student, the last one first: at most [`RECENT_ANSWERS_MAX`].
    pub recent: &'a [Answer],
    /// Some of the cases that the student should see again.
    pub due: &'a [DueReview],
}

impl NextCaseView<'_> {
    /// Whether a case was answered a moment ago.
    #[must_use]
    pub fn is_recent(&self, case_id: CaseId) -> bool {
        self.recent.iter().any(|answer| answer.case_id == case_id)
    }
}

/// A case that comes next, and why.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a case and why")]
pub struct Pick {
    /// The case.
    pub case_id: CaseId,
    /// Why this one.
    pub reason: NextReason,
}

/// Picks the case that a student sees next.
///
/// It is a pure function: the same view and seed give the same case. A seed that is the same until the
/// student answers gives them the same case when they ask again.
pub trait NextCasePolicy: Debug + Send + Sync + 'static {
    /// Picks a case of the catalogue that passes the filter and was not answered a moment ago; `None` if
    /// nothing is left but what was answered before and is not due. Then comes what was answered longest
    /// ago.
    fn pick(&self, view: &NextCaseView<'_>, seed: u64) -> Option<Pick>;
}
