use std::collections::BTreeMap;

use medcards::case::PublicationOutcome;

use super::Entry;

/// The most names that a tally keeps apart: they come from the file, which may make them up.
const NAMES_MAX: usize = 20;

/// What became of the records of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "counts")]
pub struct FileSummary {
    /// How many records there were.
    pub records: u64,
    /// How many were new cases.
    pub created: u64,
    /// How many were new versions of known cases.
    pub updated: u64,
    /// How many were known as they are.
    pub unchanged: u64,
    /// How many were right, where nothing was to be published.
    pub checked: u64,
    /// How many were refused.
    pub rejected: u64,
    /// Why, with how many for each reason.
    pub reasons: Tally,
    /// What authors should know, with how many for each kind of notice.
    pub notices: Tally,
    /// The fields that nobody knows, with how many records have each.
    pub unknown_fields: Tally,
    /// How the file broke off, if it did.
    pub broken: Option<String>,
}

impl FileSummary {
    /// How many records were right.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.created + self.updated + self.unchanged + self.checked
    }

    pub(super) fn note(&mut self, entry: &Entry) {
        self.records += 1;
        match &entry.record {
            Ok(imported) => {
                imported
                    .notices
                    .iter()
                    .for_each(|notice| self.notices.add(notice.code()));
                imported
                    .unknown_fields
                    .iter()
                    .for_each(|field| self.unknown_fields.add(field));
            }
            Err(refused) => {
                self.rejected += 1;
                self.reasons.add(&refused.reason);
            }
        }
    }

    pub(super) fn note_published(&mut self, outcome: PublicationOutcome) {
        match outcome {
            PublicationOutcome::Created => self.created += 1,
            PublicationOutcome::NewVersion => self.updated += 1,
            PublicationOutcome::Unchanged => self.unchanged += 1,
        }
    }
}

/// How often each of some names came up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: BTreeMap<String, u64>,
    others: u64,
}

impl Tally {
    /// How often this name came up; zero beyond the first twenty names.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    /// The names, those that came up most first.
    #[must_use]
    pub fn most(&self) -> Vec<(&str, u64)> {
        let named = self
            .counts
            .iter()
            .map(|(name, count)| (name.as_str(), *count));
        let mut all: Vec<_> = named
            .chain((self.others > 0).then_some(("others", self.others)))
            .collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all
    }

    fn add(&mut self, name: &str) {
        if let Some(count) = self.counts.get_mut(name) {
            *count += 1;
        } else if self.counts.len() < NAMES_MAX {
            self.counts.insert(name.to_owned(), 1);
        } else {
            self.others += 1;
        }
    }
}
