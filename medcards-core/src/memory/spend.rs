use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use jiff::civil::Date;

use super::MemoryStore;
use crate::Result;
use crate::ai::ModelId;
use crate::feedback::Tier;
use crate::id::{CaseId, ReservationId};
use crate::spend::{
    MicroDollars, Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendQuery, SpendRow,
    SpendScope, SpendSum,
};

/// What was spent, saved and set aside.
#[derive(Clone, Default)]
pub(super) struct Ledger {
    totals: Totals,
    reservations: HashMap<ReservationId, Held>,
    sums: HashMap<SpendScope, Wide>,
}

type Totals = BTreeMap<(Date, Tier, Option<ModelId>, Option<CaseId>), Sums>;

#[derive(Clone, Copy, Default)]
struct Sums {
    resolutions: u64,
    cost: MicroDollars,
    saved: MicroDollars,
}

/// Money that a reservation holds. A settled one is remembered, so that it is not settled again.
#[derive(Clone)]
enum Held {
    Open(Reservation),
    Settled,
}

/// The micro-dollars of one scope, in numbers too wide to saturate.
#[derive(Clone, Copy, Default)]
struct Wide {
    set_aside: u128,
    spent: u128,
}

impl Wide {
    fn sum(self) -> SpendSum {
        let narrow = |sum: u128| MicroDollars::new(u64::try_from(sum).unwrap_or(u64::MAX));
        SpendSum {
            spent: narrow(self.spent),
            set_aside: narrow(self.set_aside),
        }
    }
}

impl Ledger {
    fn sum(&self, scope: SpendScope) -> SpendSum {
        self.sums.get(&scope).copied().unwrap_or_default().sum()
    }

    fn book(&mut self, row: &SpendRow, scopes: &[SpendScope]) {
        add_to(&mut self.totals, row.case_id, row);
        for scope in scopes {
            self.sums.entry(*scope).or_default().spent += u128::from(row.cost.get());
        }
    }
}

/// Where a row is booked of which nobody knows more than the day.
fn scopes_of(row: &SpendRow) -> [SpendScope; 2] {
    [
        SpendScope::Day(row.day),
        SpendScope::Month(row.day.first_of_month()),
    ]
}

fn add_to(totals: &mut Totals, case_id: Option<CaseId>, row: &SpendRow) {
    let sums = totals
        .entry((row.day, row.tier, row.model.clone(), case_id))
        .or_default();
    sums.resolutions = sums.resolutions.saturating_add(row.resolutions);
    sums.cost += row.cost;
    sums.saved += row.saved;
}

#[async_trait]
impl SpendLedger for MemoryStore {
    async fn reserve(&self, wish: &Reservation, budget: &SpendBudget) -> Result<ReserveOutcome> {
        let ledger = &mut self.state().ledger;
        if ledger.reservations.contains_key(&wish.id) {
            return Ok(ReserveOutcome::Granted);
        }
        let scopes = wish.scopes();
        let allows = |scope: &SpendScope| budget.allows(scope, ledger.sum(*scope), wish);
        if !scopes.iter().all(allows) {
            return Ok(ReserveOutcome::Exhausted);
        }
        for scope in scopes {
            ledger.sums.entry(scope).or_default().set_aside += u128::from(wish.amount.get());
        }
        ledger
            .reservations
            .insert(wish.id, Held::Open(wish.clone()));
        Ok(ReserveOutcome::Granted)
    }

    /// Books a reservation it does not know too: what was spent is owed.
    async fn settle(&self, reservation: ReservationId, spent: &SpendRow) -> Result<()> {
        let ledger = &mut self.state().ledger;
        match ledger.reservations.insert(reservation, Held::Settled) {
            Some(Held::Settled) => {}
            Some(Held::Open(held)) => {
                let scopes = held.scopes();
                for scope in &scopes {
                    let sum = ledger.sums.entry(*scope).or_default();
                    sum.set_aside = sum.set_aside.saturating_sub(u128::from(held.amount.get()));
                }
                ledger.book(spent, &scopes);
            }
            None => ledger.book(spent, &scopes_of(spent)),
        }
        Ok(())
    }

    async fn add(&self, rows: &[SpendRow]) -> Result<()> {
        let ledger = &mut self.state().ledger;
        rows.iter()
            .for_each(|row| ledger.book(row, &scopes_of(row)));
        Ok(())
    }

    async fn sums(&self, scopes: &[SpendScope]) -> Result<Vec<SpendSum>> {
        let ledger = &self.state().ledger;
        Ok(scopes.iter().map(|scope| ledger.sum(*scope)).collect())
    }

    async fn totals(&self, query: &SpendQuery) -> Result<Vec<SpendRow>> {
        let state = self.state();
        let wanted =
            state
                .ledger
                .totals
                .iter()
                .filter_map(|((day, tier, model, case_id), sums)| {
                    let Sums {
                        resolutions,
                        cost,
                        saved,
                    } = *sums;
                    let (day, tier, model, case_id) = (*day, *tier, model.clone(), *case_id);
                    (query.from..=query.to).contains(&day).then_some(SpendRow {
                        day,
                        tier,
                        model,
                        case_id,
                        resolutions,
                        cost,
                        saved,
                    })
                });
        if query.by_case {
            return Ok(wanted.collect());
        }
        let mut totals = Totals::new();
        wanted.for_each(|row| add_to(&mut totals, None, &row));
        let rows = totals
            .into_iter()
            .map(|((day, tier, model, case_id), sums)| {
                let Sums {
                    resolutions,
                    cost,
                    saved,
                } = sums;
                SpendRow {
                    day,
                    tier,
                    model,
                    case_id,
                    resolutions,
                    cost,
                    saved,
                }
            });
        Ok(rows.collect())
    }
}
