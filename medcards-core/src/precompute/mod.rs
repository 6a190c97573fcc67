//! Feedback that is written before it is asked for: what is worth it, and how it is paid for once.
//!
//! [`Forecast`] reads the answer log and says how often each feedback will be asked for. [`plan`]
//! picks those that pay for themselves at the price of batches, within a budget. [`Precomputer`]
//! has them written and keeps those that the prompt accepts; after a crash it goes on without paying
//! twice, because [`BatchStore`] keeps what it is about to do. What is kept is found by every
//! resolver with its next refresh of the keys.

mod candidates;
mod forecast;
mod orphan;
mod plan;
mod precomputer;
mod results;
mod store;

pub use forecast::{ChoiceDemand, Demand, Forecast, ForecastConfig, LogReading, SeenAnswer};
pub use plan::{
    CallCost, Candidate, KeyStatus, Plan, PlanPolicy, PlannedKey, SkippedKeys, TierShares, plan,
};
pub use precomputer::{Advance, BATCH_KEYS_MAX, Begun, PrecomputeConfig, Precomputer, WaitReason};
pub use results::BatchReport;
pub use store::{
    BatchClaim, BatchEnd, BatchHold, BatchIntent, BatchOpening, BatchRecord, BatchStore,
    KEYS_PER_LOOK_MAX, KeyOutcome, KeyStanding,
};
