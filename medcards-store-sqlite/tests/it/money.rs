use std::future::Future;
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::poll;
use medcards_core::ReservationId;
use medcards_core::jiff::ToSpan;
use medcards_core::jiff::civil::{Date, date};
use medcards_core::memory::MemoryStore;
use medcards_core::spend::{
    MicroDollars, Payer, Purpose, Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendRow,
    SpendScope, SpendSum, settled_row,
};
use medcards_core::testing::{SAMPLE_START, sample_key, sample_user_id};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use crate::fresh;

// Whatever comes in whatever order, the ledger says what a list of all reservations says that is
// added up anew each time.

/// How many users there are.
const USERS: u32 = 3;

/// The first day: the month ends soon.
const FIRST_DAY: Date = date(2026, 1, 29);

/// What a caller wishes.
#[derive(Clone, Debug)]
struct Wish {
    user: Option<u32>,
    is_premium: bool,
    purpose: Purpose,
    amount: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Add(u64),
    /// Many wishes at once.
    Burst(Vec<Wish>),
    NextDay,
    Reserve(Wish),
    /// A wish whose caller goes away.
    ReserveDropped(Wish),
    /// The same reservation again.
    ReserveAgain(usize),
    /// Settles one of those that there are, settled or not, at some percent of what was set aside.
    Settle(usize, u64),
    SettleDropped(usize, u64),
    /// Many times at once.
    SettleTogether(usize, u64),
    SettleUnknown(u64),
}

fn wish() -> impl Strategy<Value = Wish> {
    let purpose = (0..Purpose::ALL.len()).prop_map(|n| Purpose::ALL[n]);
    let parts = (option::of(0..USERS), any::<bool>(), purpose, 0..60_u64);
    parts.prop_map(|(user, is_premium, purpose, amount)| Wish {
        user,
        is_premium,
        purpose,
        amount,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let nth = || any::<usize>();
    prop_oneof![
        1 => (0..20_u64).prop_map(Step::Add),
        2 => vec(wish(), 2..12).prop_map(Step::Burst),
        1 => Just(Step::NextDay),
        6 => wish().prop_map(Step::Reserve),
        1 => wish().prop_map(Step::ReserveDropped),
        1 => nth().prop_map(Step::ReserveAgain),
        6 => (nth(), 0..130_u64).prop_map(|(nth, percent)| Step::Settle(nth, percent)),
        1 => (nth(), 0..100_u64).prop_map(|(nth, percent)| Step::SettleDropped(nth, percent)),
        1 => (nth(), 0..100_u64).prop_map(|(nth, percent)| Step::SettleTogether(nth, percent)),
        1 => (0..20_u64).prop_map(Step::SettleUnknown),
    ]
}

fn budget() -> impl Strategy<Value = SpendBudget> {
    let limit = |most: u64| option::of((0..most).prop_map(MicroDollars::new));
    let limits = (limit(300), limit(600), limit(150), limit(150), limit(150));
    (limits, limit(150), 0..=100_u8).prop_map(|(limits, precompute_per_day, premium_percent)| {
        let (per_day, per_month, per_user, chat_per_day, feedback_per_day) = limits;
        SpendBudget {
            per_day,
            per_month,
            per_user,
            chat_per_day,
            feedback_per_day,
            precompute_per_day,
            premium_percent,
        }
    })
}

/// What happened, as a list.
struct Model {
    budget: SpendBudget,
    day: Date,
    held: Vec<Held>,
    /// What was booked of which only the day is known.
    booked: Vec<(Date, u64)>,
}

struct Held {
    wish: Reservation,
    /// What it cost, once it is settled.
    cost: Option<u64>,
}

fn is_in(scope: &SpendScope, day: Date, wish: Option<&Reservation>) -> bool {
    match scope {
        SpendScope::Day(of) => *of == day,
        SpendScope::Month(of) => (of.year(), of.month()) == (day.year(), day.month()),
        SpendScope::Purpose(of, purpose) => {
            *of == day && wish.is_some_and(|wish| wish.purpose == *purpose)
        }
        SpendScope::User(of, user_id) => {
            let payer = wish.and_then(|wish| wish.payer);
            *of == day && payer.is_some_and(|payer| payer.user_id == *user_id)
        }
    }
}

impl Model {
    fn sum(&self, scope: &SpendScope) -> (u64, u64) {
        let held = self
            .held
            .iter()
            .filter(|held| is_in(scope, held.wish.day, Some(&held.wish)));
        let open = held.clone().filter(|held| held.cost.is_none());
        let booked = self
            .booked
            .iter()
            .filter(|(day, _)| is_in(scope, *day, None));
        let spent = held.filter_map(|held| held.cost).sum::<u64>()
            + booked.map(|(_, cost)| cost).sum::<u64>();
        (spent, open.map(|held| held.wish.amount.get()).sum())
    }

    /// Whether a wish fits, by the words of the budget.
    fn fits(&self, wish: &Reservation) -> bool {
        let budget = &self.budget;
        let month = date(wish.day.year(), wish.day.month(), 1);
        let of_purpose = match wish.purpose {
            Purpose::Chat => budget.chat_per_day,
            Purpose::Feedback => budget.feedback_per_day,
            Purpose::Precompute => budget.precompute_per_day,
        };
        let is_premium = wish.payer.is_some_and(|payer| payer.is_premium);
        let percent = if is_premium {
            100
        } else {
            100 - u64::from(budget.premium_percent)
        };
        let user = wish.payer.map(|payer| payer.user_id);
        let limits = [
            (Some(SpendScope::Day(wish.day)), budget.per_day, percent),
            (Some(SpendScope::Month(month)), budget.per_month, percent),
            (
                Some(SpendScope::Purpose(wish.day, wish.purpose)),
                of_purpose,
                100,
            ),
            (
                user.map(|id| SpendScope::User(wish.day, id)),
                budget.per_user,
                100,
            ),
        ];
        limits.into_iter().all(|(scope, limit, percent)| {
            let (Some(scope), Some(limit)) = (scope, limit) else {
                return true;
            };
            let (spent, set_aside) = self.sum(&scope);
            spent + set_aside + wish.amount.get() <= limit.get() * percent / 100
        })
    }

    fn reservation(&self, wish: &Wish) -> Reservation {
        Reservation {
            id: ReservationId::new(SAMPLE_START),
            day: self.day,
            amount: MicroDollars::new(wish.amount),
            purpose: wish.purpose,
            payer: wish.user.map(|user| Payer {
                user_id: sample_user_id(user),
                is_premium: wish.is_premium,
            }),
        }
    }

    fn hold(&mut self, wish: Reservation) {
        self.held.push(Held { wish, cost: None });
    }

    /// One of those that were made in the last week: what is older may be forgotten.
    fn pick(&self, nth: usize) -> Option<usize> {
        let week_ago = self.day.saturating_sub(7.days());
        let recent = (0..self.held.len()).filter(|n| self.held[*n].wish.day >= week_ago);
        let recent: Vec<_> = recent.collect();
        (!recent.is_empty()).then(|| recent[nth % recent.len()])
    }

    /// What is asked about, with what is expected: all days of the last week, and the months.
    fn expected(&self) -> Vec<(SpendScope, SpendSum)> {
        let mut scopes = vec![];
        for back in 0..=7 {
            let day = self.day.saturating_sub(back.days());
            scopes.extend([
                SpendScope::Day(day),
                SpendScope::Month(day.first_of_month()),
            ]);
            scopes.extend(Purpose::ALL.map(|purpose| SpendScope::Purpose(day, purpose)));
            scopes.extend((0..USERS).map(|user| SpendScope::User(day, sample_user_id(user))));
        }
        let expected = scopes.into_iter().map(|scope| {
            let (spent, set_aside) = self.sum(&scope);
            let spent = MicroDollars::new(spent);
            let set_aside = MicroDollars::new(set_aside);
            (scope, SpendSum { spent, set_aside })
        });
        expected.collect()
    }
}

fn row(day: Date, cost: u64) -> SpendRow {
    let key = sample_key(1);
    settled_row(day, key.model, key.case_id, MicroDollars::new(cost))
}

/// Polls a call once and drops it; then waits until whatever it began has ended.
async fn dropped(ledger: &dyn SpendLedger, call: impl Future) {
    {
        let mut call = std::pin::pin!(call);
        let _ = poll!(&mut call);
    }
    // Writes come one after the other, so what comes behind it has it behind itself.
    ledger.add(&[row(FIRST_DAY, 0)]).await.unwrap();
}

async fn agrees(ledger: &dyn SpendLedger, model: &Model) -> bool {
    let (scopes, expected): (Vec<_>, Vec<_>) = model.expected().into_iter().unzip();
    ledger.sums(&scopes).await.unwrap() == expected
}

async fn take(ledger: &dyn SpendLedger, model: &mut Model, step: Step) -> TestCaseResult {
    match step {
        Step::Add(cost) => {
            ledger.add(&[row(model.day, cost)]).await.unwrap();
            model.booked.push((model.day, cost));
        }
        Step::Burst(wishes) => {
            let wishes: Vec<_> = wishes.iter().map(|wish| model.reservation(wish)).collect();
            let calls = wishes
                .iter()
                .map(|wish| ledger.reserve(wish, &model.budget));
            let outcomes = join_all(calls).await;
            let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
            let with = |wanted| {
                let both = wishes.iter().zip(&outcomes);
                both.filter(move |(_, outcome)| **outcome == wanted)
                    .map(|(wish, _)| wish.clone())
            };
            let mut granted: Vec<_> = with(ReserveOutcome::Granted).collect();
            // In whichever order they came, they fit in this one, which leaves most to all.
            granted.sort_by_key(|wish| wish.payer.is_some_and(|payer| payer.is_premium));
            for wish in granted {
                prop_assert!(model.fits(&wish));
                model.hold(wish);
            }
            let mut refused = with(ReserveOutcome::Exhausted);
            prop_assert!(refused.all(|wish| !model.fits(&wish)));
        }
        Step::NextDay => model.day = model.day.saturating_add(1.day()),
        Step::Reserve(wish) => {
            let wish = model.reservation(&wish);
            let outcome = ledger.reserve(&wish, &model.budget).await.unwrap();
            let is_granted = outcome == ReserveOutcome::Granted;
            prop_assert_eq!(is_granted, model.fits(&wish));
            if is_granted {
                model.hold(wish);
            }
        }
        Step::ReserveDropped(wish) => {
            let wish = model.reservation(&wish);
            let fits = model.fits(&wish);
            dropped(ledger, ledger.reserve(&wish, &model.budget)).await;
            if !agrees(ledger, model).await {
                prop_assert!(fits);
                model.hold(wish);
            }
        }
        Step::ReserveAgain(nth) => {
            let Some(nth) = model.pick(nth) else {
                return Ok(());
            };
            let wish = &model.held[nth].wish;
            let outcome = ledger.reserve(wish, &model.budget).await.unwrap();
            prop_assert_eq!(outcome, ReserveOutcome::Granted);
        }
        Step::Settle(nth, percent)
        | Step::SettleDropped(nth, percent)
        | Step::SettleTogether(nth, percent) => {
            let Some(nth) = model.pick(nth) else {
                return Ok(());
            };
            let (id, amount) = (model.held[nth].wish.id, model.held[nth].wish.amount);
            let cost = amount.get() * percent / 100;
            let row = row(model.held[nth].wish.day, cost);
            match step {
                Step::SettleDropped(..) => {
                    dropped(ledger, ledger.settle(id, &row)).await;
                    if agrees(ledger, model).await {
                        return Ok(());
                    }
                }
                Step::SettleTogether(..) => {
                    for settled in join_all((0..4).map(|_| ledger.settle(id, &row))).await {
                        settled.unwrap();
                    }
                }
                _ => ledger.settle(id, &row).await.unwrap(),
            }
            model.held[nth].cost.get_or_insert(cost);
        }
        Step::SettleUnknown(cost) => {
            let id = ReservationId::new(SAMPLE_START);
            ledger.settle(id, &row(model.day, cost)).await.unwrap();
            model.booked.push((model.day, cost));
        }
    }
    let (scopes, expected): (Vec<_>, Vec<_>) = model.expected().into_iter().unzip();
    prop_assert_eq!(ledger.sums(&scopes).await.unwrap(), expected);
    Ok(())
}

async fn run(
    ledger: Arc<dyn SpendLedger>,
    budget: SpendBudget,
    steps: Vec<Step>,
) -> TestCaseResult {
    let mut model = Model {
        budget,
        day: FIRST_DAY,
        held: Vec::new(),
        booked: Vec::new(),
    };
    for step in steps {
        take(&*ledger, &mut model, step).await?;
    }
    Ok(())
}

fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn the_ledger_in_memory_says_what_a_list_says(
        budget in budget(),
        steps in vec(step(), 1..60),
    ) {
        runtime().block_on(run(Arc::new(MemoryStore::new()), budget, steps))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    #[test]
    fn the_ledger_of_a_file_says_what_a_list_says(
        budget in budget(),
        steps in vec(step(), 1..60),
    ) {
        runtime().block_on(async {
            let (store, _folder) = fresh::store().await;
            run(Arc::new(store.clone()), budget, steps).await?;
            store.close().await;
            Ok::<_, TestCaseError>(())
        })?;
    }
}
