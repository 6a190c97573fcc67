//! The spend budget that processes share.

use futures_util::future::join_all;
use medcards_cache::{Redis, RedisSpendLedger};
use medcards_core::jiff::ToSpan;
use medcards_core::jiff::civil::{Date, date};
use medcards_core::memory::MemoryStore;
use medcards_core::spend::{
    MicroDollars, Purpose, Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendQuery,
    settled_row,
};
use medcards_core::testing::{
    FaultPlan, Faulty, Operation, SAMPLE_START, sample_key, sample_user_id,
};
use medcards_core::{ErrorKind, ReservationId};

use medcards_tests::redis::RedisServer;

use super::places::{until, within};

const WORKS: &str = "a ledger that is there does as it is asked";

const DAY: Date = date(2026, 1, 15);

const BUDGET: SpendBudget = SpendBudget {
    per_day: Some(MicroDollars::new(1_000)),
    per_month: None,
    per_user: None,
    chat_per_day: None,
    feedback_per_day: None,
    precompute_per_day: None,
    premium_percent: 0,
};

mod conformance {
    use medcards_cache::{Redis, RedisSpendLedger};
    use medcards_core::memory::MemoryStore;

    use super::super::places::on_every_kind;

    type Made = (RedisSpendLedger<MemoryStore>, ());

    async fn make(redis: Redis) -> Made {
        (RedisSpendLedger::new(&redis, MemoryStore::new()), ())
    }

    on_every_kind!(ledger_conformance);
}

type Ledger = RedisSpendLedger<MemoryStore>;

fn wish(micros: u64) -> Reservation {
    Reservation {
        id: ReservationId::new(SAMPLE_START),
        day: DAY,
        amount: MicroDollars::new(micros),
        purpose: Purpose::Feedback,
        payer: None,
    }
}

async fn reserve(ledger: &Ledger, wish: &Reservation) -> bool {
    ledger.reserve(wish, &BUDGET).await.expect(WORKS) == ReserveOutcome::Granted
}

async fn settle(ledger: &Ledger, wish: &Reservation, micros: u64) {
    let cost = MicroDollars::new(micros);
    let row = settled_row(DAY, sample_key(1).model, sample_key(1).case_id, cost);
    ledger.settle(wish.id, &row).await.expect(WORKS);
}

async fn booked(ledger: &Ledger) -> u64 {
    let query = SpendQuery {
        from: DAY,
        to: DAY,
        by_case: false,
    };
    let rows = ledger.totals(&query).await.expect(WORKS);
    rows.iter().map(|row| row.cost.get()).sum()
}

/// A ledger of a process that shares nothing but Redis.
async fn process(server: &RedisServer) -> (Redis, Ledger) {
    let redis = within(&server.url(), "spend").await;
    let ledger = RedisSpendLedger::new(&redis, MemoryStore::new());
    (redis, ledger)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_together_set_aside_no_more_than_the_budget() {
    let server = RedisServer::start();
    let processes = [
        process(&server).await.1,
        process(&server).await.1,
        process(&server).await.1,
    ];
    let callers = (0..64).map(|n| {
        let ledger = processes[n % 3].clone();
        tokio::spawn(async move {
            let mut granted = 0;
            for _ in 0..10 {
                let wish = wish(7);
                if reserve(&ledger, &wish).await {
                    settle(&ledger, &wish, 3).await;
                    granted += 1;
                }
            }
            granted
        })
    });
    let granted: u64 = join_all(callers)
        .await
        .into_iter()
        .map(Result::unwrap)
        .sum();
    let mut spent = 0;
    for ledger in &processes {
        spent += booked(ledger).await;
    }
    assert_eq!(spent, 3 * granted);
    assert!(spent <= 1_000, "{spent}");
    // What was set aside and not spent is there again, to the micro-dollar, for whoever asks.
    let [one, other, _] = &processes;
    assert!(!reserve(one, &wish(1_001 - spent)).await, "{spent}");
    assert!(reserve(other, &wish(1_000 - spent)).await, "{spent}");
}

/// Limits of a month, of a purpose and of a user hold over processes and days as that of the day does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_together_exceed_no_limit_of_any_scope() {
    let server = RedisServer::start();
    let processes = [
        process(&server).await.1,
        process(&server).await.1,
        process(&server).await.1,
    ];
    let budget = SpendBudget {
        per_day: Some(MicroDollars::new(700)),
        per_month: Some(MicroDollars::new(1_200)),
        per_user: Some(MicroDollars::new(200)),
        chat_per_day: Some(MicroDollars::new(300)),
        ..SpendBudget::default()
    };
    let callers = (0..64_usize).map(|n| {
        let ledger = processes[n % 3].clone();
        let purpose = Purpose::ALL[n / 10 % 3];
        let wish = Reservation {
            day: DAY.saturating_add(i8::from(n % 2 == 1).days()),
            purpose,
            payer: Some(sample_user_id((n / 2 % 5) as u32).into()),
            ..wish(100)
        };
        tokio::spawn(async move {
            let outcome = ledger.reserve(&wish, &budget).await.expect(WORKS);
            (outcome == ReserveOutcome::Granted).then_some((n % 3, wish))
        })
    });
    let granted = join_all(callers).await.into_iter().map(Result::unwrap);
    let (owners, granted): (Vec<_>, Vec<_>) = granted.flatten().unzip();
    // Each user could use up more than there is, so nothing is left of the month.
    assert_eq!(granted.len(), 12, "{granted:?}");
    for scope in granted.iter().flat_map(Reservation::scopes) {
        let of_scope = granted.iter().filter(|wish| wish.scopes().contains(&scope));
        let set_aside: MicroDollars = of_scope.clone().map(|wish| wish.amount).sum();
        for wish in of_scope {
            let limit = budget.limit(&scope, wish);
            assert!(limit.is_none_or(|limit| set_aside <= limit), "{scope}");
        }
    }
    // Settling frees in all of them, for whichever process.
    let last = granted.last().unwrap();
    let again = Reservation {
        id: ReservationId::new(SAMPLE_START),
        ..last.clone()
    };
    for ledger in &processes {
        let outcome = ledger.reserve(&again, &budget).await.expect(WORKS);
        assert_eq!(outcome, ReserveOutcome::Exhausted);
    }
    for (owner, wish) in owners.into_iter().zip(&granted) {
        settle(&processes[owner], wish, 0).await;
    }
    let whole = Reservation {
        amount: MicroDollars::new(200),
        ..again
    };
    let outcome = processes[0].reserve(&whole, &budget).await.expect(WORKS);
    assert_eq!(outcome, ReserveOutcome::Granted);
}

/// A user of whom Redis has lost all is known to the ledger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_everything_knows_users_and_months_from_the_ledger() {
    let server = RedisServer::start();
    let (_redis, ledger) = process(&server).await;
    let budgets = [
        SpendBudget {
            per_user: Some(MicroDollars::new(1_000)),
            ..SpendBudget::default()
        },
        SpendBudget {
            per_month: Some(MicroDollars::new(1_000)),
            ..SpendBudget::default()
        },
    ];
    let of = |micros| Reservation {
        payer: Some(sample_user_id(1).into()),
        ..wish(micros)
    };
    let first = of(600);
    let outcome = ledger.reserve(&first, &budgets[0]).await.expect(WORKS);
    assert_eq!(outcome, ReserveOutcome::Granted);
    settle(&ledger, &first, 600).await;
    let known = server.command(&["KEYS", "*:{spend}:*"]);
    server.command(&["FLUSHALL"]);
    for budget in budgets {
        let outcome = ledger.reserve(&of(401), &budget).await.expect(WORKS);
        assert_eq!(outcome, ReserveOutcome::Exhausted, "{budget:?}");
    }
    let scopes = known.lines().filter(|key| !key.contains("held/"));
    for key in scopes {
        let spent = server.command(&["HGET", key, "spent"]);
        assert_eq!(spent.trim(), "600", "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_process_set_aside_stays_set_aside() {
    let server = RedisServer::start();
    let (redis, dead) = process(&server).await;
    assert!(reserve(&dead, &wish(900)).await);
    drop((redis, dead));
    let (_redis, other) = process(&server).await;
    assert!(!reserve(&other, &wish(101)).await);
    assert!(reserve(&other, &wish(100)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_the_ledger_decides_and_what_it_booked_is_handed_in_later() {
    let server = RedisServer::start();
    let (redis, ledger) = process(&server).await;
    let (held, early) = (wish(500), wish(100));
    assert!(reserve(&ledger, &held).await);
    assert!(reserve(&ledger, &early).await);
    server.suspend();
    settle(&ledger, &held, 50).await;
    assert!(
        !reserve(&ledger, &wish(901)).await,
        "the ledger knows of 150"
    );
    assert!(reserve(&ledger, &wish(850)).await);
    server.resume();
    until("all is handed in", async || ledger.pending() == 0).await;
    until("Redis is back", async || !redis.is_away()).await;
    // Redis has not seen the 850, which were set aside without it.
    let (_redis, other) = process(&server).await;
    assert!(!reserve(&other, &wish(851)).await);
    assert!(reserve(&other, &wish(850)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_everything_begins_with_what_is_booked() {
    let server = RedisServer::start();
    let (redis, ledger) = process(&server).await;
    let first = wish(600);
    assert!(reserve(&ledger, &first).await);
    settle(&ledger, &first, 600).await;
    server.command(&["FLUSHALL"]);
    assert!(!reserve(&ledger, &wish(401)).await);
    assert!(reserve(&ledger, &wish(400)).await);
    // Another ledger on the same booked money, such as a second process on one database.
    let same = RedisSpendLedger::new(&redis, MemoryStore::new());
    assert!(!reserve(&same, &wish(1)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_of_the_budget_is_without_expiry() {
    let server = RedisServer::start();
    let (_redis, ledger) = process(&server).await;
    let first = wish(600);
    assert!(reserve(&ledger, &first).await);
    settle(&ledger, &first, 600).await;
    // The reservations of the day, the day, the month and the purpose.
    let keys = server.command(&["KEYS", "*:{spend}:*"]);
    assert_eq!(keys.lines().count(), 4, "{keys}");
    for key in keys.lines() {
        let days = if key.contains("month/") { 40 } else { 9 };
        let left: i64 = server.command(&["TTL", key]).trim().parse().unwrap();
        let kept = (days - 1) * 86_400..=days * 86_400;
        assert!(kept.contains(&left), "{key}: {left}");
    }
}

/// A call is made only if the ledger allows it: what its failure leaves in Redis would shut the day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_fails_uses_up_nothing_of_the_budget() {
    let server = RedisServer::start();
    let redis = within(&server.url(), "spend").await;
    let faults = FaultPlan::new();
    let store = Faulty::new(MemoryStore::new(), faults.clone());
    let ledger = RedisSpendLedger::new(&redis, store);
    faults.fail_next(Operation::Reserve, 20, ErrorKind::Unavailable);
    for _ in 0..20 {
        let refused = ledger.reserve(&wish(900), &BUDGET).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    let outcome = ledger.reserve(&wish(1_000), &BUDGET).await;
    assert_eq!(outcome.unwrap(), ReserveOutcome::Granted);
}
