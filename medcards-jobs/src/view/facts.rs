use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use medcards_core::case::{CORRECTIONS_PER_READ_MAX, CaseVersion, KeyCorrection};
use medcards_core::event::{Event, EventBody};
use medcards_core::store::Store;
use medcards_core::view::{CaseFact, Facts};
use medcards_core::{CaseId, Result};
use quick_cache::sync::Cache;

/// How many versions of cases are remembered for all views of a process, at about 150 bytes each. A
/// version never changes, so that a forgotten one costs a read.
const REMEMBERED_MAX: usize = 50_000;

/// How many versions an edition remembers on its own, before it forgets all.
const KNOWN_MAX: usize = 50_000;

/// How many versions are read at once: enough to hide the way to a database, and few of its
/// connections.
const READS_AT_ONCE_MAX: usize = 8;

/// What projections may know beside the log, read from a store.
#[derive(Debug)]
pub(crate) struct CaseFacts {
    store: Arc<dyn Store>,
    remembered: Cache<(CaseId, CaseVersion), CaseFact>,
}

impl CaseFacts {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            remembered: Cache::new(REMEMBERED_MAX),
        }
    }

    /// Makes known what these events ask for. A version that does not exist stays unknown.
    pub(crate) async fn load(&self, facts: &mut Facts, events: &[Event]) -> Result<()> {
        let mut unknown = answered(events);
        if facts.len() + unknown.len() > KNOWN_MAX {
            facts.forget_cases();
        }
        unknown.retain(|(case_id, version)| !facts.knows(*case_id, *version));
        self.read(facts, unknown).await
    }

    /// Makes these known.
    pub(crate) async fn read(
        &self,
        facts: &mut Facts,
        versions: Vec<(CaseId, CaseVersion)>,
    ) -> Result<()> {
        let found: Vec<_> = stream::iter(versions)
            .map(|(case_id, version)| async move {
                let fact = self.find(case_id, version).await?;
                Ok::<_, medcards_core::Error>((case_id, version, fact))
            })
            .buffer_unordered(READS_AT_ONCE_MAX)
            .try_collect()
            .await?;
        for (case_id, version, fact) in found {
            if let Some(fact) = fact {
                facts.insert(case_id, version, fact);
            }
        }
        Ok(())
    }

    async fn find(&self, case_id: CaseId, version: CaseVersion) -> Result<Option<CaseFact>> {
        if let Some(fact) = self.remembered.get(&(case_id, version)) {
            return Ok(Some(fact));
        }
        let Some(case) = self.store.find_case(case_id, Some(version)).await? else {
            return Ok(None);
        };
        let fact = CaseFact::of(&case);
        self.remembered.insert((case_id, version), fact.clone());
        Ok(Some(fact))
    }

    /// Appends the corrections behind those that are known.
    pub(crate) async fn follow_corrections(&self, known: &mut Vec<KeyCorrection>) -> Result<()> {
        loop {
            let after = known.last().map_or(0, |it| it.number);
            let page = self
                .store
                .list_corrections(after, CORRECTIONS_PER_READ_MAX)
                .await?;
            if page.is_empty() {
                return Ok(());
            }
            known.extend(page);
        }
    }
}

/// The versions that are answered in these events, each once.
fn answered(events: &[Event]) -> Vec<(CaseId, CaseVersion)> {
    let version = |event: &Event| match &event.body {
        EventBody::AnswerRecorded { answer } => Some((answer.case_id, answer.case_version)),
        _ => None,
    };
    let mut versions: Vec<_> = events.iter().filter_map(version).collect();
    versions.sort_unstable();
    versions.dedup();
    versions
}
