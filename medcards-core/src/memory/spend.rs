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
};

/// What was spent, saved and set aside.
#[derive(Clone, Default)]
pub(super) struct Ledger {
    totals: Totals,
    reservations: HashMap<ReservationId, Held>,
    days: HashMap<Date, Day>,
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
    Open { day: Date, amount: MicroDollars },
    Settled,
}

/// The micro-dollars of one day, in numbers too wide to saturate.
#[derive(Clone, Default)]
struct Day {
    set_aside: u128,
    spent: u128,
}

impl Ledger {
    fn add(&mut self, row: &SpendRow) {
        add_to(&mut self.totals, row.case_id, row);
        self.days.entry(row.day).or_default().spent += u128::from(row.cost.get());
    }
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
        let day = ledger.days.entry(wish.day).or_default();
        let wanted = day.spent + day.set_aside + u128::from(wish.amount.get());
        if budget
            .per_day
            .is_some_and(|limit| wanted > u128::from(limit.get()))
        {
            return Ok(ReserveOutcome::Exhausted);
        }
        day.set_aside += u128::from(wish.amount.get());
        let held = Held::Open {
            day: wish.day,
            amount: wish.amount,
        };
        ledger.reservations.insert(wish.id, held);
        Ok(ReserveOutcome::Granted)
    }

    /// Books a reservation it does not know too: what was spent is owed.
    async fn settle(&self, reservation: ReservationId, spent: &SpendRow) -> Result<()> {
        let ledger = &mut self.state().ledger;
        match ledger.reservations.insert(reservation, Held::Settled) {
            Some(Held::Settled) => return Ok(()),
            Some(Held::Open { day, amount }) => {
                let day = ledger.days.entry(day).or_default();
                day.set_aside = day.set_aside.saturating_sub(u128::from(amount.get()));
            }
            None => {}
        }
        ledger.add(spent);
        Ok(())
    }

    async fn add(&self, rows: &[SpendRow]) -> Result<()> {
        let ledger = &mut self.state().ledger;
        rows.iter().for_each(|row| ledger.add(row));
        Ok(())
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
