use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::civil::Date;

use crate::Result;
use crate::ai::ModelId;
use crate::cache::ServedTally;
use crate::id::CaseId;
use crate::spend::{MicroDollars, SpendLedger, SpendRow};

/// The most pairs of case and model that are counted apart, at about 200 bytes each. What is served
/// beyond them between two flushes is counted together.
const TALLIES_MAX: usize = 65_536;

type TallyKey = (Option<CaseId>, Option<ModelId>);

/// What was served since the ledger was last told, per case and model.
#[derive(Debug, Default)]
pub(super) struct Tallies(Mutex<HashMap<TallyKey, Arc<ServedTally>>>);

impl Tallies {
    /// The tally of a case and a model.
    pub(super) fn find(&self, case_id: CaseId, model: Option<&ModelId>) -> Arc<ServedTally> {
        let mut tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (Some(case_id), model.cloned());
        if tallies.len() >= TALLIES_MAX && !tallies.contains_key(&key) {
            key.0 = None;
        }
        let new = || Arc::new(ServedTally::new(key.0, key.1.clone()));
        Arc::clone(tallies.entry(key.clone()).or_insert_with(new))
    }

    /// Books everything counted so far on `day`. What could not be booked is counted again.
    pub(super) async fn flush(&self, ledger: &dyn SpendLedger, day: Date) -> Result<()> {
        let taken = self.take(day);
        if taken.is_empty() {
            return Ok(());
        }
        let unbooked = Unbooked {
            tallies: self,
            rows: taken,
        };
        ledger.add(&unbooked.rows).await?;
        unbooked.forget();
        Ok(())
    }

    fn take(&self, day: Date) -> Vec<SpendRow> {
        let mut tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = Vec::new();
        tallies.retain(|_, tally| {
            let before = rows.len();
            rows.extend(tally.take().map(|(tier, resolutions, saved)| SpendRow {
                day,
                tier,
                model: tally.model().cloned(),
                case_id: tally.case_id(),
                resolutions,
                cost: MicroDollars::ZERO,
                saved,
            }));
            // One that nothing was served from, and no cache entry can serve from, is over.
            rows.len() > before || Arc::strong_count(tally) > 1
        });
        rows
    }

    fn put_back(&self, rows: &[SpendRow]) {
        for row in rows {
            let key = (row.case_id, row.model.clone());
            let mut tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(ServedTally::new(key.0, key.1.clone()));
            let tally = Arc::clone(tallies.entry(key.clone()).or_insert_with(new));
            drop(tallies);
            tally.put_back(row.tier, row.resolutions, row.saved);
        }
    }
}

/// Rows that are counted again unless they are booked, also when the flush is dropped halfway.
struct Unbooked<'a> {
    tallies: &'a Tallies,
    rows: Vec<SpendRow>,
}

impl Unbooked<'_> {
    fn forget(mut self) {
        self.rows.clear();
    }
}

impl Drop for Unbooked<'_> {
    fn drop(&mut self) {
        self.tallies.put_back(&self.rows);
    }
}
