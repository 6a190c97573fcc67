//! Checks of [`SpendLedger`].

use std::sync::Arc;

use jiff::civil::{Date, date};

use super::steps::{WORKS, all_at_once, at};
use crate::ai::ModelId;
use crate::feedback::Tier;
use crate::id::ReservationId;
use crate::spend::{
    MicroDollars, Purpose, Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendQuery,
    SpendRow, settled_row,
};
use crate::testing::sample_key;

const DAY: Date = date(2026, 1, 15);

fn budget(micros: u64) -> SpendBudget {
    SpendBudget::of_day(MicroDollars::new(micros))
}

fn wish(micros: u64) -> Reservation {
    Reservation {
        id: ReservationId::new(at(0)),
        day: DAY,
        amount: MicroDollars::new(micros),
        purpose: Purpose::Feedback,
        payer: None,
    }
}

fn model(name: &str) -> ModelId {
    name.parse().expect("a check uses names that exist")
}

/// The row of one live call on the first case.
fn spent(micros: u64) -> SpendRow {
    settled_row(
        DAY,
        model("m1"),
        sample_key(1).case_id,
        MicroDollars::new(micros),
    )
}

async fn reserve(
    ledger: &dyn SpendLedger,
    wish: &Reservation,
    budget: &SpendBudget,
) -> ReserveOutcome {
    ledger.reserve(wish, budget).await.expect(WORKS)
}

async fn settle(ledger: &dyn SpendLedger, wish: &Reservation, micros: u64) {
    ledger.settle(wish.id, &spent(micros)).await.expect(WORKS);
}

async fn totals(ledger: &dyn SpendLedger, from: Date, to: Date, by_case: bool) -> Vec<SpendRow> {
    ledger
        .totals(&SpendQuery { from, to, by_case })
        .await
        .expect(WORKS)
}

/// Whether exactly this much can still be set aside on the day; sets it aside.
async fn assert_left(ledger: &dyn SpendLedger, micros: u64, budget: &SpendBudget) {
    let more = reserve(ledger, &wish(micros + 1), budget).await;
    assert_eq!(
        more,
        ReserveOutcome::Exhausted,
        "more than {micros} is left"
    );
    let all = reserve(ledger, &wish(micros), budget).await;
    assert_eq!(all, ReserveOutcome::Granted, "less than {micros} is left");
}

/// Money is set aside up to the budget and not a micro-dollar more, and stays set aside.
pub async fn money_is_set_aside_up_to_the_budget(ledger: Arc<dyn SpendLedger>) {
    let budget = budget(100);
    for (micros, expected) in [
        (101, ReserveOutcome::Exhausted),
        (60, ReserveOutcome::Granted),
        (41, ReserveOutcome::Exhausted),
        (u64::MAX, ReserveOutcome::Exhausted),
        (40, ReserveOutcome::Granted),
        (1, ReserveOutcome::Exhausted),
        (0, ReserveOutcome::Granted),
    ] {
        assert_eq!(
            reserve(&*ledger, &wish(micros), &budget).await,
            expected,
            "{micros}"
        );
    }
}

/// However many ask at once, no more is set aside than the budget.
pub async fn many_at_once_set_aside_no_more_than_the_budget(ledger: Arc<dyn SpendLedger>) {
    let calls = (0..64).map(|_| {
        let ledger = Arc::clone(&ledger);
        async move { reserve(&*ledger, &wish(10), &budget(205)).await }
    });
    let outcomes = all_at_once(calls).await;
    let granted = outcomes
        .iter()
        .filter(|one| **one == ReserveOutcome::Granted)
        .count();
    assert_eq!(granted, 20);
    assert_left(&*ledger, 5, &budget(205)).await;
}

/// Without a budget all is granted.
pub async fn without_a_budget_all_is_granted(ledger: Arc<dyn SpendLedger>) {
    for micros in [0, 1, u64::MAX, u64::MAX] {
        let outcome = reserve(&*ledger, &wish(micros), &SpendBudget::default()).await;
        assert_eq!(outcome, ReserveOutcome::Granted);
    }
}

/// Each day has its budget.
pub async fn each_day_has_its_budget(ledger: Arc<dyn SpendLedger>) {
    for day in [DAY, date(2026, 1, 16), date(2025, 1, 15)] {
        let wish = Reservation { day, ..wish(100) };
        assert_eq!(
            reserve(&*ledger, &wish, &budget(100)).await,
            ReserveOutcome::Granted
        );
    }
    assert_left(&*ledger, 0, &budget(100)).await;
}

/// Reserving the same id twice sets money aside once, also at once.
pub async fn the_same_reservation_sets_money_aside_once(ledger: Arc<dyn SpendLedger>) {
    let same = wish(60);
    let calls = (0..16).map(|_| {
        let (ledger, same) = (Arc::clone(&ledger), same.clone());
        async move { reserve(&*ledger, &same, &budget(100)).await }
    });
    let outcomes = all_at_once(calls).await;
    assert!(
        outcomes.iter().all(|one| *one == ReserveOutcome::Granted),
        "{outcomes:?}"
    );
    assert_left(&*ledger, 40, &budget(100)).await;
}

/// Settling frees what was set aside, and books what the call cost.
pub async fn settling_frees_the_rest_and_books_the_cost(ledger: Arc<dyn SpendLedger>) {
    let wish = wish(100);
    reserve(&*ledger, &wish, &budget(100)).await;
    settle(&*ledger, &wish, 30).await;
    assert_eq!(totals(&*ledger, DAY, DAY, true).await, [spent(30)]);
    assert_left(&*ledger, 70, &budget(100)).await;
}

/// Settling twice books once, also at once, and frees once.
pub async fn settling_twice_books_once(ledger: Arc<dyn SpendLedger>) {
    let (settled, open) = (wish(60), wish(20));
    reserve(&*ledger, &settled, &budget(100)).await;
    reserve(&*ledger, &open, &budget(100)).await;
    let calls = (0..16).map(|_| {
        let (ledger, settled) = (Arc::clone(&ledger), settled.clone());
        async move { settle(&*ledger, &settled, 30).await }
    });
    all_at_once(calls).await;
    settle(&*ledger, &settled, 30).await;
    assert_eq!(totals(&*ledger, DAY, DAY, true).await, [spent(30)]);
    assert_left(&*ledger, 50, &budget(100)).await;
}

/// A call that cost more than was set aside is booked whole, and counts against the budget.
pub async fn overspending_is_booked(ledger: Arc<dyn SpendLedger>) {
    let dear = wish(10);
    reserve(&*ledger, &dear, &budget(100)).await;
    settle(&*ledger, &dear, 95).await;
    assert_eq!(totals(&*ledger, DAY, DAY, true).await, [spent(95)]);
    assert_left(&*ledger, 5, &budget(100)).await;
}

/// Rows for the same day, tier, model and case add up; those that differ in one part do not.
pub async fn rows_that_belong_together_add_up(ledger: Arc<dyn SpendLedger>) {
    let row = SpendRow {
        tier: Tier::Local,
        resolutions: 3,
        cost: MicroDollars::ZERO,
        saved: MicroDollars::new(30),
        ..spent(0)
    };
    let others = [
        SpendRow {
            day: date(2026, 1, 16),
            ..row.clone()
        },
        SpendRow {
            tier: Tier::Remote,
            ..row.clone()
        },
        SpendRow {
            model: Some(model("m2")),
            ..row.clone()
        },
        SpendRow {
            model: None,
            ..row.clone()
        },
        SpendRow {
            case_id: Some(sample_key(2).case_id),
            ..row.clone()
        },
        SpendRow {
            case_id: None,
            ..row.clone()
        },
    ];
    ledger.add(&[row.clone(), row.clone()]).await.expect(WORKS);
    ledger.add(&others).await.expect(WORKS);
    ledger.add(&[]).await.expect(WORKS);
    ledger
        .add(&[SpendRow {
            cost: MicroDollars::new(7),
            ..row.clone()
        }])
        .await
        .expect(WORKS);
    let sum = SpendRow {
        resolutions: 9,
        cost: MicroDollars::new(7),
        saved: MicroDollars::new(90),
        ..row
    };
    let rows = totals(&*ledger, DAY, date(2026, 1, 16), true).await;
    assert_eq!(rows.len(), 7, "{rows:?}");
    for expected in others.iter().chain([&sum]) {
        assert!(
            rows.contains(expected),
            "{expected:?} is not among {rows:?}"
        );
    }
}

/// Rows that many add at once all count.
pub async fn rows_added_at_once_all_count(ledger: Arc<dyn SpendLedger>) {
    let calls = (0..64).map(|_| {
        let ledger = Arc::clone(&ledger);
        async move { ledger.add(&[spent(2), spent(3)]).await.expect(WORKS) }
    });
    all_at_once(calls).await;
    let expected = SpendRow {
        resolutions: 128,
        ..spent(320)
    };
    assert_eq!(totals(&*ledger, DAY, DAY, true).await, [expected]);
}

/// Totals hold the days asked for, both ends included, and no others.
pub async fn totals_hold_the_days_asked_for(ledger: Arc<dyn SpendLedger>) {
    let days = [
        date(2025, 12, 31),
        date(2026, 1, 1),
        date(2026, 1, 31),
        date(2026, 2, 1),
    ];
    let rows = days.map(|day| SpendRow { day, ..spent(1) });
    ledger.add(&rows).await.expect(WORKS);
    for (from, to, expected) in [
        (days[1], days[2], &rows[1..3]),
        (days[0], days[3], &rows[..]),
        (days[0], days[0], &rows[..1]),
        (date(2026, 1, 2), date(2026, 1, 30), &[]),
        (days[2], days[1], &[]),
        (Date::MIN, Date::MAX, &rows[..]),
        (Date::MIN, Date::MIN, &[]),
    ] {
        assert_eq!(
            totals(&*ledger, from, to, true).await,
            expected,
            "{from} to {to}"
        );
        assert_eq!(
            totals(&*ledger, from, to, false).await.len(),
            expected.len(),
            "{from} to {to}"
        );
    }
}

/// Totals are sorted by day, then tier, model and case, with none before some.
pub async fn totals_are_sorted(ledger: Arc<dyn SpendLedger>) {
    let days = [DAY, date(2026, 1, 16)];
    let models = [None, Some(model("m1")), Some(model("m2"))];
    let mut cases = [1, 2].map(|n| Some(sample_key(n).case_id)).to_vec();
    cases.sort_unstable();
    let mut rows = Vec::new();
    for day in days {
        for tier in Tier::ALL {
            for model in &models {
                for case_id in &cases {
                    let (model, case_id) = (model.clone(), *case_id);
                    rows.push(SpendRow {
                        day,
                        tier,
                        model,
                        case_id,
                        ..spent(1)
                    });
                }
            }
        }
    }
    let scattered = (0..rows.len()).map(|n| rows[n * 7 % rows.len()].clone());
    ledger
        .add(&scattered.rev().collect::<Vec<_>>())
        .await
        .expect(WORKS);
    assert_eq!(totals(&*ledger, days[0], days[1], true).await, rows);
    let mut without_cases: Vec<_> = rows
        .iter()
        .map(|row| SpendRow {
            case_id: None,
            resolutions: 2,
            cost: row.cost.times(2),
            ..row.clone()
        })
        .collect();
    without_cases.dedup();
    assert_eq!(
        totals(&*ledger, days[0], days[1], false).await,
        without_cases
    );
}
