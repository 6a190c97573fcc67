use std::time::Duration;

use super::Demand;
use crate::feedback::FeedbackKey;
use crate::spend::MicroDollars;

/// The most times of freshness that a horizon may have before they are counted as a flow: a year of
/// hours. Beyond it each is so short that it holds one request at most.
const PERIODS_MAX: f64 = 8_784.0;

/// What one feedback costs to have written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by who knows the prices")]
pub struct CallCost {
    /// While a student waits, as it is expected.
    pub live: MicroDollars,
    /// In a batch, as it is expected.
    pub batch: MicroDollars,
    /// In a batch at most, which is what is reserved.
    pub batch_max: MicroDollars,
}

/// A feedback that might be written before it is asked for.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "made for each key of a forecast")]
pub struct Candidate {
    /// Its key.
    pub key: FeedbackKey,
    /// How often it will be asked for.
    pub demand: Demand,
    /// What it costs.
    pub cost: CallCost,
    /// What is known of it.
    pub status: KeyStatus,
}

/// What is known of a feedback that might be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyStatus {
    /// It was bought before and its replies were rejected: it is left to the live tier.
    GivenUp,
    /// It is in a batch that has not ended.
    InBatch,
    /// It is there.
    Kept,
    /// It is not there.
    Missing,
    /// A reviewer has withdrawn it.
    Withdrawn,
}

/// What makes a feedback worth its price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "built with struct update syntax")]
pub struct PlanPolicy {
    /// How far the plan looks ahead. Default: 7 days. Longer makes more of them worth it, and
    /// rests on a forecast that is less certain.
    pub horizon: Duration,
    /// How long a feedback is fresh in the caches, as the resolver has it. Default: 24 hours.
    pub ttl: Duration,
    /// Whether the resolver keeps what the live tier wrote, so that each feedback is paid for live
    /// at most once. Default: true, as in the resolver.
    pub keep_generated: bool,
    /// What it is worth that one student does not wait for a model. Default: nothing.
    ///
    /// At nothing, only what saves money is written: a feedback that will be asked for with a chance
    /// above one half, at half the price. Whoever wants few live calls sets it: at the price of one
    /// live call, those with a chance above one quarter pay for themselves too, which buys a share of
    /// live answers of a few percent where money alone buys ten or more.
    pub wait_value: MicroDollars,
}

impl Default for PlanPolicy {
    fn default() -> Self {
        Self {
            horizon: Duration::from_hours(7 * 24),
            ttl: Duration::from_hours(24),
            keep_generated: true,
            wait_value: MicroDollars::ZERO,
        }
    }
}

impl PlanPolicy {
    /// How many times of freshness within the horizon will see a request.
    ///
    /// Each of them takes a feedback from beyond the caches once: from the store if it is there,
    /// else from the model.
    fn refills(&self, demand: &Demand) -> f64 {
        let periods = self.horizon.as_secs_f64() / self.ttl.as_secs_f64().max(1.0);
        if periods <= 1.0 {
            return demand.chance();
        }
        if periods > PERIODS_MAX {
            return demand.expected;
        }
        let whole = periods.floor();
        let rest = demand.chance_within((periods - whole) / periods);
        let refills = whole * demand.chance_within(1.0 / periods) + rest;
        refills.min(demand.expected)
    }

    /// How many live calls a feedback that is not there will take.
    fn live_calls(&self, demand: &Demand) -> f64 {
        if self.keep_generated {
            demand.chance()
        } else {
            self.refills(demand)
        }
    }
}

/// What is to be written, and what that is expected to do.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// What is to be written, the best first.
    pub keys: Vec<PlannedKey>,
    /// What it is expected to cost.
    pub cost: MicroDollars,
    /// What it costs at most.
    pub cost_max: MicroDollars,
    /// What the live calls cost that it is expected to make needless.
    pub saving: MicroDollars,
    /// How many feedbacks are worth it and were left out, because the budget ends before them.
    pub beyond_budget: u64,
    /// Which tiers will answer if nothing is done.
    pub without: TierShares,
    /// Which tiers will answer with it.
    pub with: TierShares,
    /// What was not looked at further.
    pub skipped: SkippedKeys,
}

impl Plan {
    /// The expected saving beyond the expected cost, in micro-dollars; below zero where waits were
    /// bought.
    #[must_use]
    pub fn gain_micros(&self) -> i64 {
        let signed = |amount: MicroDollars| i64::try_from(amount.get()).unwrap_or(i64::MAX);
        signed(self.saving).saturating_sub(signed(self.cost))
    }
}

/// A feedback that is to be written.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "made by the plan")]
pub struct PlannedKey {
    /// Its key.
    pub key: FeedbackKey,
    /// How often it will be asked for.
    pub demand: Demand,
    /// What it costs.
    pub cost: CallCost,
    /// How many live calls it makes needless.
    pub live_calls: f64,
}

/// How many requests each tier is expected to answer. Those for withdrawn feedback are not among
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "three numbers")]
pub struct TierShares {
    /// The caches.
    pub cached: f64,
    /// The store of precomputed feedback, what the live tier kept included.
    pub precomputed: f64,
    /// The model.
    pub live: f64,
}

impl TierShares {
    /// All requests.
    #[must_use]
    pub fn requests(&self) -> f64 {
        self.cached + self.precomputed + self.live
    }

    /// The parts in percent of all: cached, precomputed, live. Zeros if nothing is expected.
    #[must_use]
    pub fn percent(&self) -> [f64; 3] {
        let all = self.requests();
        let percent = |part: f64| if all > 0.0 { part / all * 100.0 } else { 0.0 };
        [self.cached, self.precomputed, self.live].map(percent)
    }

    fn add(&mut self, policy: &PlanPolicy, demand: &Demand, is_there: bool) {
        let refills = policy.refills(demand);
        let live = if is_there {
            0.0
        } else {
            policy.live_calls(demand).min(refills)
        };
        self.live += live;
        self.precomputed += refills - live;
        self.cached += (demand.expected - refills).max(0.0);
    }
}

/// How many candidates were not looked at further, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by the plan")]
pub struct SkippedKeys {
    /// They are there already.
    pub kept: u64,
    /// They are in a batch that has not ended.
    pub in_batch: u64,
    /// A reviewer has withdrawn them.
    pub withdrawn: u64,
    /// Their replies were rejected before.
    pub given_up: u64,
    /// They would cost more than they are worth.
    pub not_worth_it: u64,
}

/// Picks what pays for itself at the price of batches, the best first, within a budget of what it
/// is expected to cost.
///
/// The worth of a feedback is the live calls that it makes needless, at their price and at
/// [`PlanPolicy::wait_value`]. Where what the live tier wrote is kept, that is one call, with the
/// chance that anybody asks; else one call for each time of freshness in which anybody does. It is
/// taken if its worth is above its price, in the order of worth for each dollar; of several whose
/// order is the same, that of their keys. One that does not fit into what is left of the budget is
/// passed over for those that do.
#[must_use]
pub fn plan(candidates: Vec<Candidate>, policy: &PlanPolicy, budget: MicroDollars) -> Plan {
    let mut plan = Plan::default();
    let mut worthy = Vec::new();
    for candidate in candidates {
        let Candidate {
            key,
            demand,
            cost,
            status,
        } = candidate;
        let is_there = matches!(status, KeyStatus::Kept | KeyStatus::InBatch);
        if status != KeyStatus::Withdrawn {
            plan.without.add(policy, &demand, is_there);
        }
        let skipped = match status {
            KeyStatus::Missing => {
                let live_calls = policy.live_calls(&demand);
                let each = cost.live.get() as f64 + policy.wait_value.get() as f64;
                let gain = live_calls * each - cost.batch.get() as f64;
                if gain > 0.0 {
                    let ratio = gain / (cost.batch.get() as f64).max(1.0);
                    let planned = PlannedKey {
                        key,
                        demand,
                        cost,
                        live_calls,
                    };
                    worthy.push((ratio, planned));
                    continue;
                }
                &mut plan.skipped.not_worth_it
            }
            KeyStatus::GivenUp => &mut plan.skipped.given_up,
            KeyStatus::InBatch => &mut plan.skipped.in_batch,
            KeyStatus::Kept => &mut plan.skipped.kept,
            KeyStatus::Withdrawn => &mut plan.skipped.withdrawn,
        };
        *skipped += 1;
        if status != KeyStatus::Withdrawn {
            plan.with.add(policy, &demand, is_there);
        }
    }
    worthy.sort_by(|(one, first), (other, second)| {
        other
            .total_cmp(one)
            .then_with(|| first.key.cmp(&second.key))
    });
    let mut saving = 0.0;
    for (_, planned) in worthy {
        let is_within = plan.cost + planned.cost.batch <= budget;
        plan.with.add(policy, &planned.demand, is_within);
        if !is_within {
            plan.beyond_budget += 1;
            continue;
        }
        plan.cost += planned.cost.batch;
        plan.cost_max += planned.cost.batch_max;
        saving += planned.live_calls * planned.cost.live.get() as f64;
        plan.keys.push(planned);
    }
    plan.saving = MicroDollars::new(saving.round() as u64);
    plan
}
