use std::collections::HashMap;

use crate::answer::Answer;
use crate::case::{Case, CaseVersion, KeyCorrection, OptionSet};
use crate::id::CaseId;
use crate::view::Stop;

/// What a projection may know about a version of a case. It never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaseFact {
    /// The specialty in lower case; empty for a case that names none.
    pub specialty: Box<str>,
    /// The topic in lower case; empty for a case that names none.
    pub topic: Box<str>,
    /// How many options there are.
    pub options: usize,
    /// Which of them are right by this version itself.
    pub right: OptionSet,
    /// Whether several of them may be chosen.
    pub several_right: bool,
}

impl CaseFact {
    /// A case of this specialty and topic with so many options, of which these are right. Several may be
    /// chosen if several are right.
    #[must_use]
    pub fn new(specialty: &str, topic: &str, options: usize, right: OptionSet) -> Self {
        Self {
            specialty: specialty.to_lowercase().into(),
            topic: topic.to_lowercase().into(),
            options,
            right,
            several_right: right.len() > 1,
        }
    }

    /// What is to be known about a case.
    #[must_use]
    pub fn of(case: &Case) -> Self {
        let content = &case.content;
        Self {
            several_right: content.several_right(),
            ..Self::new(
                content.specialty().unwrap_or_default(),
                content.topic().unwrap_or_default(),
                content.options().len(),
                content.right_options(),
            )
        }
    }
}

/// What a projection may know beside the log: versions of cases, and which keys were corrected.
///
/// Both only grow, and an edition of a view is built with the same corrections from its first event
/// to its last.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    cases: HashMap<(CaseId, CaseVersion), CaseFact>,
    corrections: HashMap<(CaseId, CaseVersion), OptionSet>,
}

impl Facts {
    /// Nothing is known, and these keys were corrected; of two for one version the later counts.
    #[must_use]
    pub fn new<'a>(corrections: impl IntoIterator<Item = &'a KeyCorrection>) -> Self {
        let corrected = |it: &KeyCorrection| ((it.case_id, it.version), it.right);
        Self {
            cases: HashMap::new(),
            corrections: corrections.into_iter().map(corrected).collect(),
        }
    }

    /// Makes a version of a case known.
    pub fn insert(&mut self, case_id: CaseId, version: CaseVersion, fact: CaseFact) {
        self.cases.insert((case_id, version), fact);
    }

    /// Whether a version of a case is known.
    #[must_use]
    pub fn knows(&self, case_id: CaseId, version: CaseVersion) -> bool {
        self.cases.contains_key(&(case_id, version))
    }

    /// How many versions are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether no version is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Forgets all versions, and keeps the corrections.
    pub fn forget_cases(&mut self) {
        self.cases.clear();
    }

    /// What is known about the case of an answer.
    ///
    /// # Errors
    /// [`Stop::SetAside`] if there is no such version: the event that names it cannot be counted.
    pub fn case_of(&self, answer: &Answer) -> Result<&CaseFact, Stop> {
        let (case_id, version) = (answer.case_id, answer.case_version);
        self.cases.get(&(case_id, version)).ok_or_else(|| {
            Stop::SetAside(format!("there is no version {version} of case {case_id}"))
        })
    }

    /// Whether an answer is right by what is known now about its version, which has to be
    /// [known](Self::knows) if its key was corrected.
    ///
    /// Who could choose only one option of several that are right after all is right with each of them.
    #[must_use]
    pub fn is_correct(&self, answer: &Answer) -> bool {
        let (case_id, version) = (answer.case_id, answer.case_version);
        let Some(right) = self.right_of(case_id, version) else {
            return answer.is_correct;
        };
        let case = self.cases.get(&(case_id, version));
        match case.is_some_and(|case| !case.several_right) {
            true => answer.chosen.positions().any(|at| right.contains(at)),
            false => answer.chosen == right,
        }
    }

    /// What is right in a version whose key was corrected; `None` if it was not.
    #[must_use]
    pub fn right_of(&self, case_id: CaseId, version: CaseVersion) -> Option<OptionSet> {
        self.corrections.get(&(case_id, version)).copied()
    }
}
