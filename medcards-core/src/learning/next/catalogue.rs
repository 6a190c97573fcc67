use std::collections::HashMap;
use std::ops::Range;

use super::ExamWeights;
use crate::case::{Case, CaseFilter, CaseVersion};
use crate::id::CaseId;
use crate::learning::ability::CaseDifficulty;
use crate::user::Locale;

/// The most cases of a catalogue, at about 200 bytes each. Further ones are not picked, and come when
/// all others are answered.
pub(super) const CATALOGUE_CASES_MAX: usize = 200_000;

/// The current version of a case, as far as it matters to who picks one.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CatalogueCase {
    /// The case.
    pub case_id: CaseId,
    /// Its current version.
    pub version: CaseVersion,
    /// The language it is written in.
    pub locale: Locale,
    /// What it is about: an index of [`Catalogue::areas`].
    pub area: usize,
    /// How hard it is; `None` for one that nobody has answered.
    pub difficulty: Option<CaseDifficulty>,
}

impl CatalogueCase {
    /// How many answers it has.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.difficulty.as_ref().map_or(0, |it| it.answers)
    }
}

/// A specialty and a topic within it, with its cases.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Area {
    /// The specialty in lower case; empty for cases that name none.
    pub specialty: Box<str>,
    /// The topic in lower case; empty for cases that name none.
    pub topic: Box<str>,
    /// The topic, or else the specialty, as an author wrote it.
    pub label: Box<str>,
    /// Its cases: a range of [`Catalogue::cases`].
    pub cases: Range<usize>,
    /// Its share of the exam, 0 to 1.
    pub exam_share: f64,
}

/// All cases that may be picked, by area.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    cases: Vec<CatalogueCase>,
    areas: Vec<Area>,
    by_id: HashMap<CaseId, usize>,
}

impl Catalogue {
    /// Makes one of the current versions of cases, whatever their order, with what is known of how hard
    /// each is.
    #[must_use]
    pub fn new<'a>(
        cases: impl IntoIterator<Item = &'a Case>,
        difficulty_of: impl FnMut(CaseId) -> Option<CaseDifficulty>,
        exam: &ExamWeights,
    ) -> Self {
        let entries = cases.into_iter().map(Entry::of).collect();
        Self::of_entries(entries, difficulty_of, exam)
    }

    pub(super) fn of_entries(
        mut entries: Vec<Entry>,
        mut difficulty_of: impl FnMut(CaseId) -> Option<CaseDifficulty>,
        exam: &ExamWeights,
    ) -> Self {
        entries.sort_by(|a, b| a.place().cmp(&b.place()));
        let mut this = Self::default();
        for entry in entries {
            let index = this.cases.len();
            let is_same =
                |area: &Area| (&area.specialty, &area.topic) == (&entry.specialty, &entry.topic);
            if !this.areas.last().is_some_and(is_same) {
                this.areas.push(Area {
                    specialty: entry.specialty,
                    topic: entry.topic,
                    label: entry.label,
                    cases: index..index,
                    exam_share: 0.0,
                });
            }
            let area = this.areas.len() - 1;
            this.areas[area].cases.end = index + 1;
            this.by_id.insert(entry.case_id, index);
            this.cases.push(CatalogueCase {
                case_id: entry.case_id,
                version: entry.version,
                locale: entry.locale,
                area,
                difficulty: difficulty_of(entry.case_id),
            });
        }
        exam.weigh(&mut this.areas);
        this
    }

    /// The cases, those of an area together.
    #[must_use]
    pub fn cases(&self) -> &[CatalogueCase] {
        &self.cases
    }

    /// What they are about, in the order of specialties and topics.
    #[must_use]
    pub fn areas(&self) -> &[Area] {
        &self.areas
    }

    /// The case with this id.
    #[must_use]
    pub fn find(&self, case_id: CaseId) -> Option<&CatalogueCase> {
        self.cases.get(*self.by_id.get(&case_id)?)
    }

    /// What a case is about.
    #[must_use]
    pub fn area_of(&self, case: &CatalogueCase) -> &Area {
        &self.areas[case.area]
    }

    /// Whether a case passes a filter.
    #[must_use]
    pub fn passes(&self, case: &CatalogueCase, filter: &CaseFilter) -> bool {
        filter.locale.is_none_or(|locale| locale == case.locale)
            && area_passes(self.area_of(case), filter)
    }
}

/// Whether the specialty of an area passes a filter.
pub(super) fn area_passes(area: &Area, filter: &CaseFilter) -> bool {
    let wanted = filter.specialty.as_deref();
    wanted.is_none_or(|wanted| !wanted.is_empty() && wanted.to_lowercase() == *area.specialty)
}

/// A case on its way into a catalogue.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) case_id: CaseId,
    version: CaseVersion,
    locale: Locale,
    specialty: Box<str>,
    topic: Box<str>,
    label: Box<str>,
}

impl Entry {
    pub(super) fn of(case: &Case) -> Self {
        let content = &case.content;
        let specialty = content.specialty().unwrap_or_default();
        let topic = content.topic().unwrap_or_default();
        Self {
            case_id: case.id,
            version: case.version,
            locale: content.locale(),
            specialty: specialty.to_lowercase().into(),
            topic: topic.to_lowercase().into(),
            label: if topic.is_empty() { specialty } else { topic }.into(),
        }
    }

    fn place(&self) -> (&str, &str, CaseId) {
        (&self.specialty, &self.topic, self.case_id)
    }
}
