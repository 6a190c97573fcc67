use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::MemoryStore;
use super::page::page;
use crate::case::{
    CORRECTIONS_PER_READ_MAX, Case, CaseContent, CaseCorrection, CaseFilter, CaseQuery, CaseStore,
    CaseVersion, KeyCorrection, Publication, PublicationOutcome, folded_words, search_words,
};
use crate::event::EventBody;
use crate::id::{CaseId, UserId};
use crate::job::NewJob;
use crate::store::{ListId, Page};
use crate::{Error, ErrorKind, Result};

/// The most results of a search: nobody turns more pages, and ranking them all costs memory.
const SEARCH_RESULTS_MAX: usize = 1_000;

/// All cases with all their versions.
#[derive(Clone, Default)]
pub(super) struct Cases {
    by_id: BTreeMap<CaseId, Vec<Edition>>,
    by_name: HashMap<(String, String), CaseId>,
    /// In the order of their numbers, which begin with 1.
    corrections: Vec<KeyCorrection>,
    /// How many editions were ever published.
    published: u64,
}

/// What the results of a search are sorted by.
type Rank = (Reverse<usize>, CaseId);

/// One version of a case, ready to be searched.
#[derive(Clone)]
struct Edition {
    case: Arc<Case>,
    /// How many editions there were when it had been published: tells what a search began with.
    published: u64,
    specialty: Option<String>,
    /// The words of stem and specialty, sorted: a match here counts more.
    leading_words: Vec<String>,
    /// The words of all searched fields, sorted.
    words: Vec<String>,
}

impl Edition {
    fn new(case: Arc<Case>, published: u64) -> Self {
        let content = &case.content;
        let leading = [Some(content.stem()), content.specialty()]
            .into_iter()
            .flatten();
        let options = content.options().iter().map(|option| option.text.as_str());
        let vignette = content.vignette().iter();
        let others = vignette
            .flat_map(|field| [field.label.as_str(), field.text.as_str()])
            .chain(options)
            .chain(content.topic());
        let leading_words = sorted_words(leading.clone());
        let words = sorted_words(leading.chain(others));
        let specialty = content.specialty().map(str::to_lowercase);
        Self {
            published,
            specialty,
            leading_words,
            words,
            case,
        }
    }

    fn passes(&self, filter: &CaseFilter) -> bool {
        let specialty = filter
            .specialty
            .as_ref()
            .map(|specialty| specialty.to_lowercase());
        (specialty.is_none() || self.specialty == specialty)
            && filter
                .locale
                .is_none_or(|locale| self.case.content.locale() == locale)
    }

    /// How well it matches: the number of words in stem and specialty, or `None` if a word is
    /// nowhere.
    fn score(&self, words: &[String]) -> Option<usize> {
        words
            .iter()
            .all(|word| begins_one_of(&self.words, word))
            .then(|| {
                words
                    .iter()
                    .filter(|word| begins_one_of(&self.leading_words, word))
                    .count()
            })
    }
}

fn sorted_words<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut words: Vec<String> = texts.flat_map(folded_words).collect();
    words.sort_unstable();
    words.dedup();
    words
}

fn begins_one_of(sorted: &[String], prefix: &str) -> bool {
    let first = sorted.partition_point(|word| word.as_str() < prefix);
    sorted
        .get(first)
        .is_some_and(|word| word.starts_with(prefix))
}

impl Cases {
    /// The current version of every case that passes, in order of id.
    pub(super) fn passing(&self, filter: &CaseFilter) -> impl Iterator<Item = &Arc<Case>> {
        self.by_id
            .values()
            .filter_map(|editions| editions.last())
            .filter(move |edition| edition.passes(filter))
            .map(|edition| &edition.case)
    }

    fn publish(&mut self, content: CaseContent, now: Timestamp) -> Publication {
        let name = (
            content.source().to_owned(),
            content.external_id().to_owned(),
        );
        let case_id = *self.by_name.entry(name).or_insert_with(|| CaseId::new(now));
        let editions = self.by_id.entry(case_id).or_default();
        let (version, outcome) = match editions.last().map(|edition| &edition.case) {
            Some(current) if current.content == content => {
                let (version, outcome) = (current.version, PublicationOutcome::Unchanged);
                return Publication {
                    case_id,
                    version,
                    outcome,
                };
            }
            Some(current) => (current.version.next(), PublicationOutcome::NewVersion),
            None => (CaseVersion::FIRST, PublicationOutcome::Created),
        };
        self.published += 1;
        let case = Case {
            id: case_id,
            version,
            published_at: now,
            content,
        };
        editions.push(Edition::new(Arc::new(case), self.published));
        Publication {
            case_id,
            version,
            outcome,
        }
    }

    /// Makes a correction, or changes nothing.
    fn correct(&mut self, correction: CaseCorrection) -> Result<Vec<KeyCorrection>> {
        let refuse = |kind, context| Err(Error::new(kind, "correct case", context));
        let CaseCorrection {
            case_id, content, ..
        } = correction;
        let Some(editions) = self.by_id.get(&case_id) else {
            return refuse(ErrorKind::NotFound, "there is no such case");
        };
        let known = |version| editions.iter().any(|it| it.case.version == version);
        if !correction
            .versions
            .iter()
            .all(|(version, _)| known(*version))
        {
            return refuse(ErrorKind::NotFound, "the case has no such version");
        }
        let Some(current) = editions.last().map(|edition| &edition.case) else {
            return refuse(ErrorKind::NotFound, "there is no such case");
        };
        if current.version != correction.current {
            let context = "another version was published meanwhile: look at it first";
            return refuse(ErrorKind::Conflict, context);
        }
        let name = |it: &CaseContent| (it.source().to_owned(), it.external_id().to_owned());
        if name(&current.content) != name(&content) {
            return refuse(ErrorKind::Invalid, "the content is of another case");
        }
        if current.content == content {
            return refuse(
                ErrorKind::Invalid,
                "the content is the current version as it is",
            );
        }
        let corrected_in = self.publish(content, correction.corrected_at).version;
        let mut made = Vec::with_capacity(correction.versions.len());
        for (version, right) in correction.versions {
            let correction = KeyCorrection {
                number: self.corrections.len() as u64 + 1,
                case_id,
                version,
                right,
                corrected_in,
                corrected_at: correction.corrected_at,
            };
            self.corrections.push(correction);
            made.push(correction);
        }
        Ok(made)
    }

    fn list(&self, query: &CaseQuery) -> Result<Page<Arc<Case>>> {
        let list = ListId::new("m1", &format!("cases {:?}", query.filter));
        let start = match &query.after {
            Some(cursor) => Bound::Excluded(list.single::<CaseId>(cursor)?),
            None => Bound::Unbounded,
        };
        let cases = self
            .by_id
            .range((start, Bound::Unbounded))
            .filter_map(|(_, editions)| editions.last())
            .filter(|edition| edition.passes(&query.filter))
            .map(|edition| Arc::clone(&edition.case));
        page(cases, query.limit, |last| list.cursor(last.id))
    }

    fn search(&self, query: &CaseQuery, search: &str) -> Result<Page<Arc<Case>>> {
        let list = ListId::new("m1", &format!("search {search:?} {:?}", query.filter));
        let (began, after) = match &query.after {
            Some(cursor) => {
                let (began, score, id) = list.triple(cursor)?;
                (began, Some((Reverse(score), id)))
            }
            None => (self.published, None),
        };
        let results = self.ranked(&search_words(search), &query.filter, began);
        let first = results.partition_point(|(rank, _)| after.is_some_and(|after| *rank <= after));
        let rest = results[first..].iter().cloned();
        let page = page(rest, query.limit, |((Reverse(score), id), _)| {
            list.cursor(format_args!("{began}.{score}.{id}"))
        })?;
        Ok(page.map(|(_, case)| case))
    }

    /// What a search finds, best first.
    ///
    /// Ranked by the versions that were current when the walk began, so that a case which changes
    /// its rank meanwhile is neither shown twice nor left out.
    fn ranked(&self, words: &[String], filter: &CaseFilter, began: u64) -> Vec<(Rank, Arc<Case>)> {
        if words.is_empty() {
            return Vec::new();
        }
        let rank = |edition: &Edition| edition.passes(filter).then(|| edition.score(words))?;
        let mut results: Vec<_> = self
            .by_id
            .iter()
            .filter_map(|(id, editions)| {
                let then = editions
                    .iter()
                    .rfind(|edition| edition.published <= began)?;
                let score = rank(then)?;
                let now = editions.last().filter(|edition| rank(edition).is_some())?;
                Some(((Reverse(score), *id), Arc::clone(&now.case)))
            })
            .collect();
        results.sort_unstable_by_key(|(rank, _)| *rank);
        results.truncate(SEARCH_RESULTS_MAX);
        results
    }
}

#[async_trait]
impl CaseStore for MemoryStore {
    async fn publish(
        &self,
        contents: Vec<CaseContent>,
        now: Timestamp,
    ) -> Result<Vec<Publication>> {
        let cases = &mut self.state().cases;
        Ok(contents
            .into_iter()
            .map(|content| cases.publish(content, now))
            .collect())
    }

    async fn correct_case(&self, mut correction: CaseCorrection) -> Result<Vec<KeyCorrection>> {
        let jobs = std::mem::take(&mut correction.jobs);
        jobs.iter().try_for_each(NewJob::check)?;
        let now = correction.corrected_at;
        let mut state = self.state();
        let made = state.cases.correct(correction)?;
        for correction in &made {
            let correction = *correction;
            let body = EventBody::KeyCorrected { correction };
            state.log.append(UserId::EVERYONE, body);
        }
        state.jobs.enqueue(jobs, now);
        Ok(made)
    }

    async fn list_corrections(&self, after: u64, limit: usize) -> Result<Vec<KeyCorrection>> {
        let state = self.state();
        let later = |it: &&KeyCorrection| it.number > after;
        let all = state.cases.corrections.iter().filter(later);
        Ok(all
            .take(limit.min(CORRECTIONS_PER_READ_MAX))
            .copied()
            .collect())
    }

    async fn find_case(
        &self,
        case_id: CaseId,
        version: Option<CaseVersion>,
    ) -> Result<Option<Arc<Case>>> {
        let state = self.state();
        let edition = state
            .cases
            .by_id
            .get(&case_id)
            .and_then(|editions| match version {
                Some(version) => editions
                    .iter()
                    .find(|edition| edition.case.version == version),
                None => editions.last(),
            });
        Ok(edition.map(|edition| Arc::clone(&edition.case)))
    }

    async fn list_cases(&self, query: &CaseQuery) -> Result<Page<Arc<Case>>> {
        let state = self.state();
        match &query.search {
            Some(search) => state.cases.search(query, search),
            None => state.cases.list(query),
        }
    }
}
