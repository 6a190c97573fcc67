use std::fmt::{Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::civil::Date;

use super::{MicroDollars, Payer, Purpose, SpendBudget, SpendScope, SpendSum};
use crate::Result;
use crate::ai::ModelId;
use crate::feedback::Tier;
use crate::id::{CaseId, ReservationId};

/// Keeps what was spent and saved, and lets nobody spend more than the spend budget.
#[async_trait]
pub trait SpendLedger: Debug + Display + Send + Sync + 'static {
    /// Sets money aside for a call, if the spend budget allows.
    ///
    /// Granted only if in each [scope](Reservation::scopes) everything spent and everything set
    /// aside, with this, [is allowed](SpendBudget::allows); however many ask at once. It then counts
    /// in all of them, limited or not. Money set aside and never settled stays set aside: whoever
    /// took it may have spent it.
    ///
    /// # Errors
    /// Those of the storage; then no live call may be made.
    ///
    /// # Cancel safety
    /// A dropped future may leave the money set aside.
    async fn reserve(&self, wish: &Reservation, budget: &SpendBudget) -> Result<ReserveOutcome>;

    /// Ends a reservation: frees what was set aside and books what the call cost.
    ///
    /// It is booked in the scopes of the reservation. Settling twice books once; a ledger may forget
    /// what was settled a week ago. `spent` should not exceed what was set aside; if it does, it is
    /// booked all the same, because it is owed. One that is not known is booked in its day and month.
    ///
    /// # Errors
    /// Those of the storage; then the money stays set aside, and settling may be tried again.
    ///
    /// # Cancel safety
    /// A dropped future leaves the reservation either open or settled.
    async fn settle(&self, reservation: ReservationId, spent: &SpendRow) -> Result<()>;

    /// Adds to the totals: answers served without spending, with what they saved. What rows cost is
    /// booked in their day and month.
    ///
    /// # Errors
    /// Those of the storage; then nothing is added.
    ///
    /// # Cancel safety
    /// A dropped future adds either all of the rows or none.
    async fn add(&self, rows: &[SpendRow]) -> Result<()>;

    /// The totals of some days, per day, tier, model and case, in that order of sorting.
    ///
    /// With [`SpendQuery::by_case`] unset, the cases of a day, tier and model are added up.
    ///
    /// # Errors
    /// Those of the storage.
    async fn totals(&self, query: &SpendQuery) -> Result<Vec<SpendRow>>;

    /// What is spent and set aside in some scopes, in the order asked for.
    ///
    /// A scope of which nothing is known, or no longer, has spent nothing. Those of a month are
    /// kept for a year at least, those of a day for a week.
    ///
    /// # Errors
    /// Those of the storage.
    async fn sums(&self, scopes: &[SpendScope]) -> Result<Vec<SpendSum>>;
}

/// Money to set aside for one call, or for one batch of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made for each live call")]
pub struct Reservation {
    /// Names it; reserving the same id twice sets money aside once.
    pub id: ReservationId,
    /// The day (UTC) on which it counts.
    pub day: Date,
    /// The most that the call can cost.
    pub amount: MicroDollars,
    /// What it is for.
    pub purpose: Purpose,
    /// On whose behalf; `None` if no student waits for it.
    pub payer: Option<Payer>,
}

/// Whether money was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "it was or it was not")]
pub enum ReserveOutcome {
    /// The budget of the day does not allow it.
    Exhausted,
    /// It is set aside until it is settled.
    Granted,
}

/// What one tier did for one model and case on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every ledger")]
pub struct SpendRow {
    /// The day (UTC).
    pub day: Date,
    /// Where the feedback was found.
    pub tier: Tier,
    /// The model that wrote it; `None` for the author.
    pub model: Option<ModelId>,
    /// The case; `None` where cases are added up.
    pub case_id: Option<CaseId>,
    /// How many feedbacks were served.
    pub resolutions: u64,
    /// What they cost.
    pub cost: MicroDollars,
    /// What asking the model each time would have cost besides.
    pub saved: MicroDollars,
}

/// Which totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two days and a choice")]
pub struct SpendQuery {
    /// The first day.
    pub from: Date,
    /// The last day.
    pub to: Date,
    /// Whether each case has a row of its own.
    pub by_case: bool,
}

/// The row that books one live call, which is what [`SpendLedger::settle`] takes.
#[must_use]
pub fn settled_row(day: Date, model: ModelId, case_id: CaseId, cost: MicroDollars) -> SpendRow {
    SpendRow {
        day,
        tier: Tier::Live,
        model: Some(model),
        case_id: Some(case_id),
        resolutions: 1,
        cost,
        saved: MicroDollars::ZERO,
    }
}

#[async_trait]
impl<T: SpendLedger + ?Sized> SpendLedger for Arc<T> {
    async fn reserve(&self, wish: &Reservation, budget: &SpendBudget) -> Result<ReserveOutcome> {
        (**self).reserve(wish, budget).await
    }

    async fn settle(&self, reservation: ReservationId, spent: &SpendRow) -> Result<()> {
        (**self).settle(reservation, spent).await
    }

    async fn add(&self, rows: &[SpendRow]) -> Result<()> {
        (**self).add(rows).await
    }

    async fn totals(&self, query: &SpendQuery) -> Result<Vec<SpendRow>> {
        (**self).totals(query).await
    }

    async fn sums(&self, scopes: &[SpendScope]) -> Result<Vec<SpendSum>> {
        (**self).sums(scopes).await
    }
}
