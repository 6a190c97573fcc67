use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::catalogue::{CATALOGUE_CASES_MAX, Entry};
use super::{Catalogue, ExamWeights};
use crate::Result;
use crate::case::{CaseQuery, CaseStore};
use crate::learning::ability::{AbilityRow, case_key};
use crate::store::{Consistency, PageLimit, Store};
use crate::view::{ROWS_PER_CALL_MAX, View};

/// For how long a catalogue is good, for each of its cases: so that whatever reads it anew spends some
/// hundredths of the time on it.
const FRESH_FOR_EACH: Duration = Duration::from_millis(30);

/// For how long it is good at least.
const FRESH_FOR_MIN: Duration = Duration::from_secs(5);

/// For how long it is good at most.
const FRESH_FOR_MAX: Duration = Duration::from_mins(10);

/// Keeps a catalogue of all cases in the memory of the process.
#[derive(Debug)]
pub(in crate::learning) struct CatalogueKeeper {
    store: Arc<dyn Store>,
    ability: View<AbilityRow>,
    exam: ExamWeights,
    kept: RwLock<Option<Kept>>,
    reading: Arc<Mutex<()>>,
}

#[derive(Clone, Debug)]
struct Kept {
    catalogue: Arc<Catalogue>,
    read_at: Instant,
}

impl Kept {
    fn is_fresh(&self) -> bool {
        let cases = u32::try_from(self.catalogue.cases().len()).unwrap_or(u32::MAX);
        let fresh_for = FRESH_FOR_EACH.saturating_mul(cases);
        self.read_at.elapsed() < fresh_for.clamp(FRESH_FOR_MIN, FRESH_FOR_MAX)
    }
}

impl CatalogueKeeper {
    pub(in crate::learning) fn new(
        store: Arc<dyn Store>,
        ability: View<AbilityRow>,
        exam: ExamWeights,
    ) -> Self {
        Self {
            store,
            ability,
            exam,
            kept: RwLock::default(),
            reading: Arc::default(),
        }
    }

    /// The catalogue. The first one is waited for; an old one is given out while a task reads it anew.
    pub(in crate::learning) async fn catalogue(self: &Arc<Self>) -> Result<Arc<Catalogue>> {
        if let Some(kept) = self.kept() {
            if !kept.is_fresh() {
                self.read_behind();
            }
            return Ok(kept.catalogue);
        }
        let _reading = self.reading.lock().await;
        // Another may have read it while this one waited.
        match self.kept() {
            Some(kept) => Ok(kept.catalogue),
            None => self.read().await,
        }
    }

    /// Reads it anew in a task of its own, unless somebody does. An old one is better than none.
    fn read_behind(self: &Arc<Self>) {
        let Ok(reading) = Arc::clone(&self.reading).try_lock_owned() else {
            return;
        };
        let keeper = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = keeper.read().await {
                tracing::debug!(%error, "the catalogue of cases is not read anew");
            }
            drop(reading);
        });
    }

    /// Reads it anew, however old it is.
    pub(in crate::learning) async fn refresh(&self) -> Result<()> {
        let _reading = self.reading.lock().await;
        self.read().await.map(drop)
    }

    async fn read(&self) -> Result<Arc<Catalogue>> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut query = CaseQuery {
            limit: PageLimit::MAX,
            ..CaseQuery::default()
        };
        loop {
            let page = self.store.list_cases(&query).await?;
            entries.extend(page.items.iter().map(|case| Entry::of(case)));
            query.after = page.next;
            if query.after.is_none() || entries.len() >= CATALOGUE_CASES_MAX {
                break;
            }
        }
        entries.truncate(CATALOGUE_CASES_MAX);
        let keys: Vec<_> = entries.iter().map(|it| case_key(it.case_id)).collect();
        let mut difficulties = HashMap::new();
        for keys in keys.chunks(ROWS_PER_CALL_MAX) {
            // Some minutes more or less do not matter.
            let consistency = Consistency::Bounded(FRESH_FOR_MAX);
            let rows = self.ability.find_all(keys, &consistency).await?;
            let known = rows.into_iter().filter_map(|(key, row)| {
                let AbilityRow::Case(difficulty) = row else {
                    return None;
                };
                Some((key, difficulty))
            });
            difficulties.extend(known);
        }
        let difficulty_of = |case_id| difficulties.remove(&case_key(case_id));
        let catalogue = Arc::new(Catalogue::of_entries(entries, difficulty_of, &self.exam));
        let kept = Kept {
            catalogue: Arc::clone(&catalogue),
            read_at: Instant::now(),
        };
        *self.kept.write().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(catalogue)
    }

    fn kept(&self) -> Option<Kept> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }
}
