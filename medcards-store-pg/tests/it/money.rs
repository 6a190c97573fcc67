use medcards_core::ReservationId;
use medcards_core::jiff::civil::{Date, date};
use medcards_core::spend::{
    MicroDollars, Purpose, Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendRow,
    SpendScope, SpendSum, settled_row,
};
use medcards_core::testing::{SAMPLE_START, sample_key};
use medcards_store_pg::PgStore;
use tokio::task::JoinSet;

use crate::place::{config, fresh, oldest, until, user};

const DAY: Date = date(2026, 1, 15);

fn wish(day: Date, purpose: Purpose, user_no: u32, micros: u64) -> Reservation {
    Reservation {
        id: ReservationId::new(SAMPLE_START),
        day,
        amount: MicroDollars::new(micros),
        purpose,
        payer: Some(user(user_no).into()),
    }
}

fn spent(day: Date, micros: u64) -> SpendRow {
    let key = sample_key(1);
    settled_row(day, key.model, key.case_id, MicroDollars::new(micros))
}

fn sum(spent: u64, set_aside: u64) -> SpendSum {
    SpendSum {
        spent: MicroDollars::new(spent),
        set_aside: MicroDollars::new(set_aside),
    }
}

/// As the format before left it: two days of a month and one of the next, with open reservations.
const BEFORE: &str = "
DELETE FROM medcards_migrations WHERE version >= 4;
DROP TABLE spend_scopes, chat_turns, chat_summaries, shared_answers, precompute_batches, precompute_keys,
    key_corrections, views, view_editions, view_rows, view_set_aside, awards, notices, jobs, dead_jobs,
    job_keys;
ALTER TABLE spend_reservations DROP COLUMN purpose, DROP COLUMN user_id;
INSERT INTO spend_days VALUES
    ('2026-01-15', 100, 40), ('2026-01-31', 20, 0), ('2026-02-01', 9223372036854775807, 1);
INSERT INTO spend_reservations VALUES
    ('00000000-0000-7000-8000-000000000001', '2026-01-15', 40, false);";

#[tokio::test]
async fn what_was_spent_before_counts_in_its_month() {
    let database = oldest().fresh_database();
    let store = PgStore::open(config(&database.url())).await.unwrap();
    store.close().await;
    database.psql(BEFORE);
    let store = PgStore::open(config(&database.url())).await.unwrap();
    let scopes = [
        SpendScope::Day(DAY),
        SpendScope::Month(date(2026, 1, 1)),
        SpendScope::Month(date(2026, 2, 1)),
    ];
    let most = MicroDollars::MAX.get();
    let expected = [sum(100, 40), sum(120, 40), sum(most, 1)];
    assert_eq!(store.sums(&scopes).await.unwrap(), expected);
    // What an older program set aside is freed where it counts.
    let open = "00000000-0000-7000-8000-000000000001".parse().unwrap();
    store.settle(open, &spent(DAY, 5)).await.unwrap();
    let expected = [sum(105, 0), sum(125, 0), sum(most, 1)];
    assert_eq!(store.sums(&scopes).await.unwrap(), expected);
}

#[tokio::test]
async fn what_is_old_is_forgotten_when_a_day_begins() {
    let (store, database) = fresh().await;
    let days = [
        date(2024, 12, 31),
        date(2025, 1, 1),
        date(2026, 1, 7),
        date(2026, 1, 8),
    ];
    for day in days {
        let wish = wish(day, Purpose::Chat, 1, 10);
        store.reserve(&wish, &SpendBudget::default()).await.unwrap();
        store.settle(wish.id, &spent(day, 10)).await.unwrap();
    }
    let open = wish(days[2], Purpose::Chat, 1, 10);
    store.reserve(&open, &SpendBudget::default()).await.unwrap();
    let next = wish(DAY, Purpose::Chat, 1, 10);
    store.reserve(&next, &SpendBudget::default()).await.unwrap();
    let kept = "SELECT string_agg(scope, ' ' ORDER BY scope COLLATE \"C\") FROM spend_scopes";
    let user_id = user(1);
    let expected = format!(
        "month/2025-01 month/2026-01 purpose/2026-01-08/chat purpose/2026-01-15/chat \
         user/2026-01-08/{user_id} user/2026-01-15/{user_id}"
    );
    assert_eq!(database.psql(kept).trim(), expected);
    // An open one is never forgotten.
    let kept = "SELECT string_agg(day::text, ' ' ORDER BY day) FROM spend_reservations";
    assert_eq!(
        database.psql(kept).trim(),
        "2026-01-07 2026-01-08 2026-01-15"
    );
    // Settled late, it counts where it did, and what was forgotten begins again.
    store.settle(open.id, &spent(days[2], 3)).await.unwrap();
    let found = store.sums(&open.scopes()).await.unwrap();
    assert_eq!(found, [sum(13, 0), sum(23, 10), sum(3, 0), sum(3, 0)]);
}

/// Callers of two processes, of many users, for all there is, on days of two months, who set aside,
/// settle, settle what nobody reserved, and add rows of several days: they wait for each other, and
/// never in a circle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_many_scopes_never_wait_in_a_circle() {
    let (store, database) = fresh().await;
    let other = PgStore::open(config(&database.url())).await.unwrap();
    let days = [date(2026, 1, 30), date(2026, 1, 31), date(2026, 2, 1)];
    let mut callers = JoinSet::new();
    for n in 0..64_u32 {
        let store = [&store, &other][n as usize % 2].clone();
        callers.spawn(async move {
            for round in 0..10_u32 {
                let turn = (n + round) as usize;
                let day = days[turn % 3];
                let wish = wish(day, Purpose::ALL[turn / 3 % 3], turn as u32 % 7, 10);
                let outcome = store.reserve(&wish, &SpendBudget::default()).await;
                assert_eq!(outcome.unwrap(), ReserveOutcome::Granted);
                store.settle(wish.id, &spent(day, 3)).await.unwrap();
                match n % 4 {
                    0 => {
                        let rows = [2, 0, 1].map(|nth| spent(days[(turn + nth) % 3], 1));
                        store.add(&rows).await.unwrap();
                    }
                    1 => {
                        let unknown = ReservationId::new(SAMPLE_START);
                        store.settle(unknown, &spent(day, 3)).await.unwrap();
                    }
                    _ => {}
                }
            }
        });
    }
    callers.join_all().await;
    let days_and_months = days.map(SpendScope::Day).into_iter().chain([
        SpendScope::Month(date(2026, 1, 1)),
        SpendScope::Month(date(2026, 2, 1)),
    ]);
    let sums = store.sums(&days_and_months.collect::<Vec<_>>()).await;
    let sums = sums.unwrap();
    let all: u64 = sums[..3].iter().map(|sum| sum.spent.get()).sum();
    // 640 settled, 160 of nobody's, and 160 times three rows.
    assert_eq!(all, 640 * 3 + 160 * 3 + 160 * 3);
    let months: u64 = sums[3..].iter().map(|sum| sum.spent.get()).sum();
    assert_eq!(months, all);
    assert!(sums.iter().all(|sum| sum.set_aside == MicroDollars::ZERO));
    store.close().await;
    other.close().await;
    // What a connection has counted is known for sure when it is gone.
    until("nobody is connected", async || {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
        (database.psql(count).trim() == "1").then_some(())
    })
    .await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(database.psql(deadlocks).trim(), "0");
}

/// The same reservation, asked for and settled by many at once, counts once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reservation_that_many_ask_for_and_settle_counts_once() {
    let (store, _database) = fresh().await;
    let budget = SpendBudget::of_day(MicroDollars::new(10));
    for _ in 0..5 {
        let wish = wish(DAY, Purpose::Feedback, 1, 10);
        let mut callers = JoinSet::new();
        for n in 0..16 {
            let (store, wish) = (store.clone(), wish.clone());
            callers.spawn(async move {
                if n % 2 == 0 {
                    let outcome = store.reserve(&wish, &budget).await.unwrap();
                    assert_eq!(outcome, ReserveOutcome::Granted);
                }
                store.settle(wish.id, &spent(DAY, 0)).await.unwrap();
            });
        }
        callers.join_all().await;
        let found = store.sums(&wish.scopes()).await.unwrap();
        assert_eq!(found, [SpendSum::default(); 4]);
    }
}
