use std::time::Duration;

use medcards_core::precompute::{
    CallCost, Candidate, Demand, KeyStatus, Plan, PlanPolicy, SkippedKeys, plan,
};
use medcards_core::spend::MicroDollars;
use medcards_core::testing::sample_key;
use proptest::prelude::*;

const COST: CallCost = CallCost {
    live: MicroDollars::new(1_000),
    batch: MicroDollars::new(500),
    batch_max: MicroDollars::new(4_000),
};

fn candidate(n: u32, expected: f64) -> Candidate {
    Candidate {
        key: sample_key(n),
        demand: Demand {
            expected,
            seen: 1e6,
        },
        cost: COST,
        status: KeyStatus::Missing,
    }
}

fn planned(candidates: Vec<Candidate>, policy: PlanPolicy, budget: u64) -> Plan {
    plan(candidates, &policy, MicroDollars::new(budget))
}

fn keys(plan: &Plan) -> Vec<u32> {
    let n_of = |key| (0..100).find(|n| sample_key(*n) == key);
    let keys = plan.keys.iter().map(|planned| planned.key.clone());
    keys.map(|key| n_of(key).expect("it is a sample")).collect()
}

#[test]
fn at_half_the_price_a_chance_above_one_half_pays_for_itself() {
    // 1 - exp(-mean) is 0.49 and 0.51.
    let candidates = || vec![candidate(1, 0.673), candidate(2, 0.713)];
    let plan = planned(candidates(), PlanPolicy::default(), u64::MAX);
    assert_eq!(keys(&plan), [2]);
    assert_eq!(plan.skipped.not_worth_it, 1);
    assert!(plan.gain_micros() > 0, "{plan:?}");

    let waits_matter = PlanPolicy {
        wait_value: MicroDollars::new(1_000),
        ..PlanPolicy::default()
    };
    // 0.24 and 0.26.
    let candidates = vec![candidate(1, 0.274), candidate(2, 0.302)];
    let plan = planned(candidates, waits_matter, u64::MAX);
    assert_eq!(keys(&plan), [2]);
    assert!(plan.gain_micros() < 0, "waits were bought: {plan:?}");
}

#[test]
fn where_nothing_written_is_kept_each_time_of_freshness_counts() {
    let policy = PlanPolicy {
        horizon: Duration::from_hours(10 * 24),
        ttl: Duration::from_hours(24),
        keep_generated: false,
        wait_value: MicroDollars::ZERO,
    };
    let plan = planned(vec![candidate(1, 10.0)], policy, u64::MAX);
    // In each of ten days with the chance 1 - exp(-1).
    let calls = plan.keys[0].live_calls;
    assert!((calls - 6.321).abs() < 0.01, "{calls}");
    let kept = PlanPolicy {
        keep_generated: true,
        ..policy
    };
    let plan = planned(vec![candidate(1, 10.0)], kept, u64::MAX);
    assert!(plan.keys[0].live_calls <= 1.0);
}

#[test]
fn the_best_come_first_and_the_budget_is_kept() {
    let mut dear = candidate(3, 5.0);
    dear.cost.batch = MicroDollars::new(900);
    let candidates = vec![
        candidate(1, 1.0),
        dear,
        candidate(2, 3.0),
        candidate(4, 2.0),
    ];
    let plan = planned(candidates, PlanPolicy::default(), 1_100);
    assert_eq!(keys(&plan), [2, 4]);
    assert_eq!(plan.cost, MicroDollars::new(1_000));
    assert_eq!(plan.cost_max, MicroDollars::new(8_000));
    assert_eq!(plan.beyond_budget, 2);
}

#[test]
fn one_that_does_not_fit_is_passed_over_for_one_that_does() {
    let mut small = candidate(2, 1.0);
    small.cost.batch = MicroDollars::new(100);
    small.cost.live = MicroDollars::new(160);
    let candidates = vec![candidate(1, 5.0), candidate(3, 4.0), small];
    let plan = planned(candidates, PlanPolicy::default(), 600);
    assert_eq!(keys(&plan), [1, 2]);
}

#[test]
fn what_is_there_withdrawn_or_under_way_is_not_bought() {
    let with = |n, status| Candidate {
        status,
        ..candidate(n, 9.0)
    };
    let candidates = vec![
        with(1, KeyStatus::Kept),
        with(2, KeyStatus::Withdrawn),
        with(3, KeyStatus::InBatch),
        with(4, KeyStatus::GivenUp),
        with(5, KeyStatus::Missing),
    ];
    let plan = planned(candidates, PlanPolicy::default(), u64::MAX);
    assert_eq!(keys(&plan), [5]);
    let skipped = SkippedKeys {
        kept: 1,
        in_batch: 1,
        withdrawn: 1,
        given_up: 1,
        not_worth_it: 0,
    };
    assert_eq!(plan.skipped, skipped);
    assert!((plan.without.requests() - 36.0).abs() < 1e-6, "{plan:?}");
}

#[test]
fn equal_worth_is_taken_in_the_order_of_keys() {
    let forward: Vec<_> = (0..20).map(|n| candidate(n, 3.0)).collect();
    let backward = forward.iter().rev().cloned().collect();
    let budget = 3_100;
    let one = planned(forward, PlanPolicy::default(), budget);
    let other = planned(backward, PlanPolicy::default(), budget);
    assert_eq!(keys(&one), [0, 1, 2, 3, 4, 5]);
    assert_eq!(keys(&one), keys(&other));
}

proptest! {
    #[test]
    fn a_plan_keeps_its_budget_and_never_makes_live_calls_more(
        means in prop::collection::vec((0.0_f64..6.0, 0.0_f64..9.0, 0_u64..2_000, 0_u64..2_000), 0..60),
        budget in 0_u64..20_000,
        keep_generated: bool,
        wait_value in 0_u64..5_000,
    ) {
        let candidates: Vec<_> = (0..).zip(&means).map(|(n, (expected, seen, live, batch))| Candidate {
            demand: Demand { expected: *expected, seen: *seen },
            cost: CallCost {
                live: MicroDollars::new(*live),
                batch: MicroDollars::new(*batch),
                batch_max: MicroDollars::new(*batch * 8),
            },
            ..candidate(n, 0.0)
        }).collect();
        let policy = PlanPolicy {
            keep_generated,
            wait_value: MicroDollars::new(wait_value),
            ..PlanPolicy::default()
        };
        let plan = planned(candidates, policy, budget);
        prop_assert!(plan.cost.get() <= budget);
        let cost: MicroDollars = plan.keys.iter().map(|key| key.cost.batch).sum();
        prop_assert_eq!(cost, plan.cost);
        prop_assert!(plan.with.live <= plan.without.live + 1e-9);
        let (with, without) = (plan.with.requests(), plan.without.requests());
        prop_assert!((with - without).abs() < 1e-6, "{} and {}", with, without);
        for shares in [plan.with, plan.without] {
            prop_assert!(shares.cached >= -1e-9 && shares.precomputed >= -1e-9 && shares.live >= -1e-9);
        }
        if wait_value == 0 {
            prop_assert!(plan.gain_micros() >= -1, "{}", plan.gain_micros());
        }
        let all = plan.keys.len() as u64 + plan.beyond_budget + plan.skipped.not_worth_it;
        prop_assert_eq!(all, means.len() as u64);
    }
}
