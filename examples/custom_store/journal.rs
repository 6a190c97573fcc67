//! A spend ledger of our own: a journal that is only ever added to, and summed when asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use medcards::jiff::civil::Date;
use medcards::spend::{
    MicroDollars, Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendQuery, SpendRow,
};
use medcards::{ReservationId, Result};

use crate::JournaledStore;

/// One entry: what happened to money.
#[derive(Debug)]
enum Entry {
    Booked(SpendRow),
    SetAside(Reservation),
    Settled(ReservationId),
}

/// The journal. Cloning gives a handle on the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl Journal {
    pub(crate) fn len(&self) -> usize {
        self.entries().len()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        // Entries are added whole, so the journal is right even if somebody panicked.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is spent and set aside on one day. Wider than an amount, so that no sum stops at its limit.
fn committed(entries: &[Entry], day: Date) -> u128 {
    let mut open: HashMap<ReservationId, u128> = HashMap::new();
    let mut booked = 0;
    for entry in entries {
        match entry {
            Entry::Booked(row) if row.day == day => booked += u128::from(row.cost.get()),
            Entry::SetAside(wish) if wish.day == day => {
                open.insert(wish.id, u128::from(wish.amount.get()));
            }
            Entry::Settled(id) => {
                open.remove(id);
            }
            Entry::Booked(_) | Entry::SetAside(_) => {}
        }
    }
    booked + open.values().sum::<u128>()
}

#[async_trait]
impl SpendLedger for JournaledStore {
    /// Looks and adds under one lock, so that no two callers get the same money.
    async fn reserve(&self, wish: &Reservation, budget: &SpendBudget) -> Result<ReserveOutcome> {
        let mut entries = self.journal.entries();
        let is_known = |entry: &Entry| match entry {
            Entry::SetAside(earlier) => earlier.id == wish.id,
            Entry::Settled(id) => *id == wish.id,
            Entry::Booked(_) => false,
        };
        if entries.iter().any(is_known) {
            return Ok(ReserveOutcome::Granted);
        }
        let wanted = committed(&entries, wish.day) + u128::from(wish.amount.get());
        if budget
            .per_day
            .is_some_and(|limit| wanted > u128::from(limit.get()))
        {
            return Ok(ReserveOutcome::Exhausted);
        }
        entries.push(Entry::SetAside(wish.clone()));
        Ok(ReserveOutcome::Granted)
    }

    async fn settle(&self, reservation: ReservationId, spent: &SpendRow) -> Result<()> {
        let mut entries = self.journal.entries();
        let is_settled = |entry: &Entry| matches!(entry, Entry::Settled(id) if *id == reservation);
        if !entries.iter().any(is_settled) {
            entries.extend([Entry::Settled(reservation), Entry::Booked(spent.clone())]);
        }
        Ok(())
    }

    async fn add(&self, rows: &[SpendRow]) -> Result<()> {
        self.journal
            .entries()
            .extend(rows.iter().cloned().map(Entry::Booked));
        Ok(())
    }

    async fn totals(&self, query: &SpendQuery) -> Result<Vec<SpendRow>> {
        let mut totals: BTreeMap<_, SpendRow> = BTreeMap::new();
        for entry in &*self.journal.entries() {
            let Entry::Booked(row) = entry else { continue };
            if !(query.from..=query.to).contains(&row.day) {
                continue;
            }
            let case_id = row.case_id.filter(|_| query.by_case);
            let empty = SpendRow {
                case_id,
                resolutions: 0,
                cost: MicroDollars::ZERO,
                saved: MicroDollars::ZERO,
                ..row.clone()
            };
            let key = (row.day, row.tier, row.model.clone(), case_id);
            let total = totals.entry(key).or_insert(empty);
            total.resolutions = total.resolutions.saturating_add(row.resolutions);
            total.cost += row.cost;
            total.saved += row.saved;
        }
        Ok(totals.into_values().collect())
    }
}
