use std::sync::Arc;

use crate::answer::{Answer, Confidence};
use crate::case::{Case, CaseOption, CaseVersion, OptionOrder, OptionSet};
use crate::id::AnswerId;
use crate::store::ReadToken;
use crate::{Error, ErrorKind, Result};

/// What a student sends in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "built with struct update syntax")]
pub struct AnswerForm {
    /// The idempotency key, a UUIDv7 made when the student answered. Default: a new one, so that
    /// sending the form again records another answer.
    pub id: Option<AnswerId>,
    /// The keys of the options chosen, in any order.
    pub options: Vec<String>,
    /// The version that the student saw. Default: the current one.
    pub case_version: Option<CaseVersion>,
    /// How long the student took, in milliseconds.
    pub time_to_answer_ms: Option<u32>,
    /// How sure the student was.
    pub confidence: Option<Confidence>,
}

impl AnswerForm {
    /// The options chosen, by authored position.
    pub(super) fn chosen_of(&self, case: &Case) -> Result<OptionSet> {
        let invalid = |context| Error::new(ErrorKind::Invalid, "read choice", context);
        if self.options.is_empty() {
            return Err(invalid("options is empty: choose at least one"));
        }
        if self.options.len() > 1 && !case.content.several_right() {
            return Err(invalid("this case takes one option, several were chosen"));
        }
        let mut chosen = OptionSet::EMPTY;
        for key in &self.options {
            let position = case.content.position_of(key).ok_or_else(|| {
                invalid("the case has no option with this key; look at options[].key")
            })?;
            if chosen.contains(position) {
                return Err(invalid("an option was chosen twice"));
            }
            chosen.insert(position);
        }
        Ok(chosen)
    }
}

/// A case as one student sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a case and an order")]
pub struct ShownCase {
    /// The case, with everything that the student must not see yet.
    pub case: Arc<Case>,
    /// The order of its options for this student.
    pub order: OptionOrder,
}

impl ShownCase {
    /// The options in the order in which this student sees them.
    pub fn options(&self) -> impl Iterator<Item = &CaseOption> {
        let options = self.case.content.options();
        self.order
            .positions()
            .iter()
            .filter_map(|position| options.get(usize::from(*position)))
    }
}

/// An answer that is recorded, with the case that it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by the platform alone")]
pub struct SubmittedAnswer {
    /// The answer as it is stored.
    pub answer: Answer,
    /// The case, in the version that was answered.
    pub case: Arc<Case>,
    /// Whether it was recorded before.
    pub is_repeated: bool,
    /// Lets a later read see this answer on any copy of the data.
    pub token: Option<ReadToken>,
}
