//! Checks of [`SpendLedger`].

use std::sync::Arc;

use jiff::civil::{Date, date};

use super::steps::{WORKS, all_at_once, at};
use crate::ai::ModelId;
use crate::feedback::Tier;
use crate::id::ReservationId;
use crate::spend::{
    MicroDollars, Payer, Purpose, Reservation, ReserveOutcome, SpendBudget, SpendLedger,
    SpendQuery, SpendRow, SpendScope, SpendSum, settled_row,
};
use crate::testing::{sample_key, sample_user_id};

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

/// A wish for some purpose on behalf of a user.
fn wish_of(user: u32, purpose: Purpose, micros: u64) -> Reservation {
    Reservation {
        purpose,
        payer: Some(sample_user_id(user).into()),
        ..wish(micros)
    }
}

async fn sums(ledger: &dyn SpendLedger, scopes: &[SpendScope]) -> Vec<SpendSum> {
    let sums = ledger.sums(scopes).await.expect(WORKS);
    assert_eq!(sums.len(), scopes.len(), "each scope asked for has a sum");
    sums
}

/// Asks for one amount after the other, each with what is expected.
async fn assert_outcomes(
    ledger: &dyn SpendLedger,
    budget: &SpendBudget,
    wishes: impl IntoIterator<Item = (Reservation, ReserveOutcome)>,
) {
    for (wish, expected) in wishes {
        let outcome = reserve(ledger, &wish, budget).await;
        assert_eq!(outcome, expected, "{wish:?}");
    }
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

const fn sum(spent: u64, set_aside: u64) -> SpendSum {
    SpendSum {
        spent: MicroDollars::new(spent),
        set_aside: MicroDollars::new(set_aside),
    }
}

/// A month has one budget for all of its days, and the next one has its own.
pub async fn a_month_has_one_budget_for_its_days(ledger: Arc<dyn SpendLedger>) {
    let budget = SpendBudget {
        per_month: Some(MicroDollars::new(100)),
        ..SpendBudget::default()
    };
    let on = |day, micros| Reservation {
        day,
        ..wish(micros)
    };
    let wishes = [
        (on(date(2026, 1, 1), 30), ReserveOutcome::Granted),
        (on(date(2026, 1, 31), 30), ReserveOutcome::Granted),
        (on(DAY, 41), ReserveOutcome::Exhausted),
        (on(DAY, 40), ReserveOutcome::Granted),
        (on(date(2026, 1, 16), 1), ReserveOutcome::Exhausted),
        (on(date(2026, 2, 1), 100), ReserveOutcome::Granted),
        (on(date(2025, 12, 31), 100), ReserveOutcome::Granted),
        (on(date(2025, 1, 15), 100), ReserveOutcome::Granted),
    ];
    assert_outcomes(&*ledger, &budget, wishes).await;
}

/// Each user has a budget of the day, which what is on nobody's behalf does not touch.
pub async fn each_user_has_a_budget_of_the_day(ledger: Arc<dyn SpendLedger>) {
    let budget = SpendBudget {
        per_user: Some(MicroDollars::new(100)),
        ..SpendBudget::default()
    };
    let next_day = Reservation {
        day: date(2026, 1, 16),
        ..wish_of(1, Purpose::Chat, 100)
    };
    let wishes = [
        (wish_of(1, Purpose::Chat, 60), ReserveOutcome::Granted),
        (wish_of(1, Purpose::Feedback, 41), ReserveOutcome::Exhausted),
        (wish_of(2, Purpose::Chat, 100), ReserveOutcome::Granted),
        (wish(1_000), ReserveOutcome::Granted),
        (wish_of(1, Purpose::Feedback, 40), ReserveOutcome::Granted),
        (wish_of(1, Purpose::Chat, 1), ReserveOutcome::Exhausted),
        (next_day, ReserveOutcome::Granted),
    ];
    assert_outcomes(&*ledger, &budget, wishes).await;
}

/// Each purpose has its budget of the day.
pub async fn each_purpose_has_a_budget_of_the_day(ledger: Arc<dyn SpendLedger>) {
    let budget = SpendBudget {
        chat_per_day: Some(MicroDollars::new(10)),
        feedback_per_day: Some(MicroDollars::new(20)),
        precompute_per_day: Some(MicroDollars::new(30)),
        ..SpendBudget::default()
    };
    for (purpose, limit) in Purpose::ALL.into_iter().zip([10, 20, 30]) {
        let of = |micros| Reservation {
            purpose,
            ..wish(micros)
        };
        let next_day = Reservation {
            day: date(2026, 1, 16),
            ..of(limit)
        };
        let wishes = [
            (of(limit + 1), ReserveOutcome::Exhausted),
            (of(limit - 5), ReserveOutcome::Granted),
            (of(6), ReserveOutcome::Exhausted),
            (of(5), ReserveOutcome::Granted),
            (of(1), ReserveOutcome::Exhausted),
            (next_day, ReserveOutcome::Granted),
        ];
        assert_outcomes(&*ledger, &budget, wishes).await;
    }
}

/// The last percent of day and month are kept for premium users.
pub async fn the_last_percent_are_kept_for_premium_users(ledger: Arc<dyn SpendLedger>) {
    let premium = |day, micros| Reservation {
        day,
        payer: Some(Payer {
            user_id: sample_user_id(1),
            is_premium: true,
        }),
        ..wish(micros)
    };
    let common = |day, micros| Reservation {
        day,
        ..wish_of(2, Purpose::Feedback, micros)
    };
    let next = date(2026, 1, 16);
    let budget = SpendBudget {
        per_day: Some(MicroDollars::new(100)),
        per_month: Some(MicroDollars::new(190)),
        premium_percent: 20,
        ..SpendBudget::default()
    };
    let wishes = [
        (common(DAY, 81), ReserveOutcome::Exhausted),
        (common(DAY, 80), ReserveOutcome::Granted),
        (common(DAY, 1), ReserveOutcome::Exhausted),
        (wish(1), ReserveOutcome::Exhausted),
        (premium(DAY, 21), ReserveOutcome::Exhausted),
        (premium(DAY, 20), ReserveOutcome::Granted),
        // Of the month 152 are for all, of which 100 are gone.
        (common(next, 53), ReserveOutcome::Exhausted),
        (common(next, 52), ReserveOutcome::Granted),
        (common(next, 1), ReserveOutcome::Exhausted),
        (premium(next, 38), ReserveOutcome::Granted),
        (premium(next, 1), ReserveOutcome::Exhausted),
    ];
    assert_outcomes(&*ledger, &budget, wishes).await;
}

/// A wish that one scope refuses is set aside in none.
pub async fn a_refused_wish_leaves_nothing_set_aside(ledger: Arc<dyn SpendLedger>) {
    let limit = Some(MicroDollars::new(9));
    let none = SpendBudget::default();
    for budget in [
        SpendBudget {
            per_day: limit,
            ..none
        },
        SpendBudget {
            per_month: limit,
            ..none
        },
        SpendBudget {
            per_user: limit,
            ..none
        },
        SpendBudget {
            chat_per_day: limit,
            ..none
        },
    ] {
        let wish = wish_of(1, Purpose::Chat, 10);
        let outcome = reserve(&*ledger, &wish, &budget).await;
        assert_eq!(outcome, ReserveOutcome::Exhausted, "{budget:?}");
        let found = sums(&*ledger, &wish.scopes()).await;
        assert_eq!(found, [sum(0, 0); 4], "{budget:?}");
    }
}

/// What is set aside counts in every scope, limited or not, and settling frees and books it in all of
/// them, those of the day of the reservation.
pub async fn settling_frees_and_books_in_every_scope(ledger: Arc<dyn SpendLedger>) {
    let (settled, open) = (wish_of(1, Purpose::Chat, 100), wish_of(1, Purpose::Chat, 7));
    for wish in [&settled, &open] {
        reserve(&*ledger, wish, &SpendBudget::default()).await;
    }
    let scopes = settled.scopes();
    assert_eq!(sums(&*ledger, &scopes).await, [sum(0, 107); 4]);
    let next_day = date(2026, 1, 16);
    let late = SpendRow {
        day: next_day,
        ..spent(30)
    };
    ledger.settle(settled.id, &late).await.expect(WORKS);
    assert_eq!(sums(&*ledger, &scopes).await, [sum(30, 7); 4]);
    let elsewhere = [
        SpendScope::Day(next_day),
        SpendScope::Purpose(DAY, Purpose::Feedback),
        SpendScope::Purpose(next_day, Purpose::Chat),
        SpendScope::User(DAY, sample_user_id(2)),
        SpendScope::User(next_day, sample_user_id(1)),
    ];
    assert_eq!(sums(&*ledger, &elsewhere).await, [sum(0, 0); 5]);
}

/// What was spent without a reservation counts in its day and month.
pub async fn what_nobody_reserved_counts_in_day_and_month(ledger: Arc<dyn SpendLedger>) {
    settle(&*ledger, &wish(0), 30).await;
    ledger.add(&[spent(5), spent(0)]).await.expect(WORKS);
    let scopes = [
        SpendScope::Day(DAY),
        SpendScope::Month(DAY.first_of_month()),
        SpendScope::Purpose(DAY, Purpose::Feedback),
    ];
    let expected = [sum(35, 0), sum(35, 0), sum(0, 0)];
    assert_eq!(sums(&*ledger, &scopes).await, expected);
    let budgets = [
        budget(100),
        SpendBudget {
            per_month: Some(MicroDollars::new(100)),
            ..SpendBudget::default()
        },
    ];
    for budget in budgets {
        let outcome = reserve(&*ledger, &wish(66), &budget).await;
        assert_eq!(outcome, ReserveOutcome::Exhausted, "{budget:?}");
    }
}

/// Sums come in the order asked for; a scope of which nothing is known has spent nothing.
pub async fn sums_come_in_the_order_asked_for(ledger: Arc<dyn SpendLedger>) {
    for (user, purpose, micros) in [(1, Purpose::Chat, 10), (2, Purpose::Precompute, 200)] {
        let wish = wish_of(user, purpose, micros);
        reserve(&*ledger, &wish, &SpendBudget::default()).await;
    }
    let asked = [
        (SpendScope::User(DAY, sample_user_id(2)), 200),
        (SpendScope::Day(date(2026, 1, 16)), 0),
        (SpendScope::Purpose(DAY, Purpose::Chat), 10),
        (SpendScope::Day(DAY), 210),
        (SpendScope::User(DAY, sample_user_id(1)), 10),
        (SpendScope::User(DAY, sample_user_id(3)), 0),
        (SpendScope::Month(DAY.first_of_month()), 210),
        (SpendScope::Month(date(2026, 2, 1)), 0),
        (SpendScope::Purpose(DAY, Purpose::Feedback), 0),
        (SpendScope::Purpose(DAY, Purpose::Precompute), 200),
        (SpendScope::Day(Date::MIN), 0),
        (SpendScope::Day(DAY), 210),
    ];
    let scopes = asked.map(|(scope, _)| scope);
    let expected = asked.map(|(_, micros)| sum(0, micros));
    assert_eq!(sums(&*ledger, &scopes).await, expected);
    assert_eq!(sums(&*ledger, &[]).await, []);
}

/// However many users ask at once, on the days of a month and for all that there is, no limit is
/// exceeded, and all of what is allowed is granted.
pub async fn many_users_at_once_exceed_no_limit(ledger: Arc<dyn SpendLedger>) {
    let budget = SpendBudget {
        per_day: Some(MicroDollars::new(75)),
        per_month: Some(MicroDollars::new(125)),
        per_user: Some(MicroDollars::new(25)),
        chat_per_day: Some(MicroDollars::new(35)),
        ..SpendBudget::default()
    };
    let days = [DAY, date(2026, 1, 16)];
    let wishes = (0..64_u32).map(|n| Reservation {
        day: days[n as usize % 2],
        ..wish_of(n / 2 % 5, Purpose::ALL[n as usize / 10 % 3], 10)
    });
    let wishes: Vec<_> = wishes.collect();
    let calls = wishes.clone().into_iter().map(|wish| {
        let ledger = Arc::clone(&ledger);
        async move { reserve(&*ledger, &wish, &budget).await }
    });
    let outcomes = all_at_once(calls).await;
    let granted = outcomes
        .iter()
        .filter(|one| **one == ReserveOutcome::Granted)
        .count();
    // Seven of ten on one day at most, twelve in the month; whoever comes first.
    assert_eq!(granted, 12, "{outcomes:?}");
    for wish in &wishes {
        let scopes = wish.scopes();
        for (scope, found) in scopes.iter().zip(sums(&*ledger, &scopes).await) {
            let granted = wishes.iter().zip(&outcomes).filter(|(wish, outcome)| {
                **outcome == ReserveOutcome::Granted && wish.scopes().contains(scope)
            });
            let set_aside: u64 = granted.map(|(wish, _)| wish.amount.get()).sum();
            assert_eq!(found, sum(0, set_aside), "{scope}");
            let limit = budget.limit(scope, wish);
            assert!(
                limit.is_none_or(|limit| found.set_aside <= limit),
                "{scope}: {found:?}"
            );
        }
    }
}

/// The sums of a day are kept for a week, those of a month for a year.
pub async fn sums_of_days_stay_for_a_week_and_those_of_months_for_a_year(
    ledger: Arc<dyn SpendLedger>,
) {
    let on = |day| Reservation {
        day,
        ..wish_of(1, Purpose::Chat, 10)
    };
    let (old, week) = (on(date(2025, 1, 31)), on(date(2026, 1, 8)));
    for wish in [&old, &week, &on(DAY)] {
        reserve(&*ledger, wish, &SpendBudget::default()).await;
    }
    let mut scopes = week.scopes();
    scopes.retain(|scope| !matches!(scope, SpendScope::Month(_)));
    assert_eq!(sums(&*ledger, &scopes).await, [sum(0, 10); 3]);
    let month = [SpendScope::Month(date(2025, 1, 1))];
    assert_eq!(sums(&*ledger, &month).await, [sum(0, 10)]);
}
