//! A spend ledger of our own: a journal that is only ever added to, and summed when asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use medcards::spend::{
    MicroDollars, Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendQuery, SpendRow,
    SpendScope, SpendSum,
};
use medcards::{ReservationId, Result};

use crate::JournaledStore;

/// One entry: what happened to money.
#[derive(Debug)]
enum Entry {
    Booked(SpendRow),
    SetAside(Reservation),
    Settled(ReservationId, SpendRow),
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

fn wish_of(entries: &[Entry], id: ReservationId) -> Option<&Reservation> {
    entries.iter().find_map(|entry| match entry {
        Entry::SetAside(wish) if wish.id == id => Some(wish),
        _ => None,
    })
}

/// Where a row counts of which nobody knows more.
fn of_row(row: &SpendRow) -> Vec<SpendScope> {
    let month = row.day.first_of_month();
    vec![SpendScope::Day(row.day), SpendScope::Month(month)]
}

/// What is spent and set aside in a scope.
fn sum_of(entries: &[Entry], scope: &SpendScope) -> SpendSum {
    let mut wishes: HashMap<ReservationId, &Reservation> = HashMap::new();
    let mut sum = SpendSum::default();
    for entry in entries {
        match entry {
            Entry::Booked(row) if of_row(row).contains(scope) => sum.spent += row.cost,
            Entry::SetAside(wish) if wish.scopes().contains(scope) => {
                wishes.insert(wish.id, wish);
            }
            Entry::Settled(id, row) => {
                wishes.remove(id);
                let wish = wish_of(entries, *id);
                if wish
                    .map_or(of_row(row), Reservation::scopes)
                    .contains(scope)
                {
                    sum.spent += row.cost;
                }
            }
            Entry::Booked(_) | Entry::SetAside(_) => {}
        }
    }
    sum.set_aside = wishes.values().map(|wish| wish.amount).sum();
    sum
}

#[async_trait]
impl SpendLedger for JournaledStore {
    /// Looks and adds under one lock, so that no two callers get the same money.
    async fn reserve(&self, wish: &Reservation, budget: &SpendBudget) -> Result<ReserveOutcome> {
        let mut entries = self.journal.entries();
        let is_known = |entry: &Entry| match entry {
            Entry::SetAside(earlier) => earlier.id == wish.id,
            Entry::Settled(id, _) => *id == wish.id,
            Entry::Booked(_) => false,
        };
        if entries.iter().any(is_known) {
            return Ok(ReserveOutcome::Granted);
        }
        let allows = |scope: &SpendScope| budget.allows(scope, sum_of(&entries, scope), wish);
        if !wish.scopes().iter().all(allows) {
            return Ok(ReserveOutcome::Exhausted);
        }
        entries.push(Entry::SetAside(wish.clone()));
        Ok(ReserveOutcome::Granted)
    }

    async fn settle(&self, reservation: ReservationId, spent: &SpendRow) -> Result<()> {
        let mut entries = self.journal.entries();
        let is_settled =
            |entry: &Entry| matches!(entry, Entry::Settled(id, _) if *id == reservation);
        if !entries.iter().any(is_settled) {
            entries.push(Entry::Settled(reservation, spent.clone()));
        }
        Ok(())
    }

    async fn add(&self, rows: &[SpendRow]) -> Result<()> {
        self.journal
            .entries()
            .extend(rows.iter().cloned().map(Entry::Booked));
        Ok(())
    }

    async fn sums(&self, scopes: &[SpendScope]) -> Result<Vec<SpendSum>> {
        let entries = self.journal.entries();
        Ok(scopes.iter().map(|scope| sum_of(&entries, scope)).collect())
    }

    async fn totals(&self, query: &SpendQuery) -> Result<Vec<SpendRow>> {
        let mut totals: BTreeMap<_, SpendRow> = BTreeMap::new();
        for entry in &*self.journal.entries() {
            let (Entry::Booked(row) | Entry::Settled(_, row)) = entry else {
                continue;
            };
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
