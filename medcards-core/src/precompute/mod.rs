//! Feedback that is written before it is asked for: what is worth having written.
//!
//! [`Forecast`] reads the answer log and says how often each feedback will be asked for. [`plan`]
//! picks those that pay for themselves at the price of batches, within a budget.

mod forecast;
mod plan;

pub use forecast::{ChoiceDemand, Demand, Forecast, ForecastConfig, LogReading, SeenAnswer};
pub use plan::{
    CallCost, Candidate, KeyStatus, Plan, PlanPolicy, PlannedKey, SkippedKeys, TierShares, plan,
};
