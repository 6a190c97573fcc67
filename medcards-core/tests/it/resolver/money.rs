//! Money: reserved before a call, settled after it, never more than the spend budget.

use futures_util::future::join_all;
use medcards_core::ErrorKind;
use medcards_core::ai::Billed;
use medcards_core::feedback::{Resolution, ResolverConfig, Tier, TierOutcome};
use medcards_core::spend::{MicroDollars, SpendBudget, TokenUsage};
use medcards_core::testing::{Operation, Script};

use super::Bench;

fn budget(micros: u64) -> ResolverConfig {
    let mut config = ResolverConfig::default();
    config.spend_budget = SpendBudget::of_day(MicroDollars::new(micros));
    config
}

#[tokio::test]
async fn a_call_costs_what_its_tokens_cost_and_later_ones_save_it() {
    let bench = Bench::new().await;
    let usage = TokenUsage {
        input: 400,
        output: 150,
        ..TokenUsage::default()
    };
    let stop = medcards_core::ai::StopReason::Complete;
    bench
        .provider
        .push(Script::deltas(["It is so."]).then_ends(stop, usage));
    let live = bench.resolve(1).await;
    let cost = MicroDollars::new(400 + 5 * 150);
    assert_eq!((live.cost(), live.saved()), (cost, MicroDollars::ZERO));
    bench.settled().await;
    let local = bench.resolve(1).await;
    assert_eq!((local.cost(), local.saved()), (MicroDollars::ZERO, cost));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_calls_never_overshoot_the_budget() {
    let bench = Bench::with(budget(20_000)).await;
    let callers = (0..64).map(|n| {
        let (resolver, request) = (bench.resolver.clone(), bench.request(n));
        tokio::spawn(async move { resolver.resolve(&request).await })
    });
    let resolutions: Vec<Resolution> = join_all(callers)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let live = resolutions
        .iter()
        .filter(|r| r.tier() == Tier::Live)
        .count();
    let authored: Vec<_> = resolutions
        .iter()
        .filter(|r| r.tier() == Tier::Authored)
        .collect();
    assert!(
        live > 0 && !authored.is_empty(),
        "{live} live, {} authored",
        authored.len()
    );
    for resolution in authored {
        let outcome = resolution
            .trace()
            .outcome(Tier::Live)
            .map(TierOutcome::as_str);
        assert_eq!(outcome, Some("spend_budget_exhausted"));
    }
    let spent = bench.spent().await;
    assert!(spent <= MicroDollars::new(20_000), "{spent}");
    assert_eq!(spent, resolutions.iter().map(Resolution::cost).sum());
}

#[tokio::test]
async fn the_next_day_has_a_budget_of_its_own() {
    let bench = Bench::with(budget(3_000)).await;
    let mut served = Vec::new();
    for n in 0..20 {
        served.push(bench.resolve(n).await.tier());
        bench.settled().await;
    }
    assert_eq!(served.last(), Some(&Tier::Authored));
    bench.clock.advance(std::time::Duration::from_hours(24));
    assert_eq!(bench.resolve(100).await.tier(), Tier::Live);
}

/// What a failed call is booked at.
#[tokio::test]
async fn a_failed_call_is_booked_as_far_as_it_was_billed() {
    let tokens = TokenUsage {
        input: 100,
        output: 10,
        ..TokenUsage::default()
    };
    for (name, billed, check) in [
        (
            "nothing",
            Billed::Nothing,
            (|cost| cost == 0) as fn(u64) -> bool,
        ),
        ("tokens", Billed::Tokens(tokens), |cost| cost == 150),
        // 1,024 tokens of overhead and 200 of reply at least.
        ("unknown", Billed::Unknown, |cost| cost >= 1_024 + 5 * 200),
    ] {
        let bench = Bench::new().await;
        bench
            .provider
            .push(Script::fails(ErrorKind::Unavailable, billed));
        let resolution = bench.resolve(1).await;
        assert_eq!(resolution.tier(), Tier::Authored, "{name}");
        let spent = bench.spent().await;
        assert!(check(spent.get()), "{name}: {spent}");
        assert_eq!(
            resolution.cost(),
            spent,
            "{name}: the student's answer cost that"
        );
    }
}

/// Nobody knows what a call costs that never came to its end.
#[tokio::test(start_paused = true)]
async fn a_call_that_takes_too_long_is_booked_at_its_worst_case() {
    let bench = Bench::new().await;
    bench.provider.push(Script::deltas(["It is"]).then_hangs());
    bench.resolve(1).await;
    while bench.resolver.counts().flights > 0 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    let spent = bench.spent().await;
    assert!(spent.get() >= 1_024 + 5 * 200, "{spent}");
}

#[tokio::test]
async fn totals_add_up_to_what_was_served() {
    let bench = Bench::new().await;
    let mut served = Vec::new();
    for n in [1, 2, 1, 1, 2, 3] {
        served.push(bench.resolve(n).await);
        bench.settled().await;
    }
    let totals = bench.totals().await;
    for tier in Tier::ALL {
        let of_tier = || served.iter().filter(|r| r.tier() == tier);
        let row = totals.iter().filter(|row| row.tier == tier);
        let booked = row.fold((0, MicroDollars::ZERO, MicroDollars::ZERO), |sum, row| {
            (sum.0 + row.resolutions, sum.1 + row.cost, sum.2 + row.saved)
        });
        let expected = (
            of_tier().count() as u64,
            of_tier().map(Resolution::cost).sum(),
            of_tier().map(Resolution::saved).sum(),
        );
        assert_eq!(booked, expected, "{tier}");
    }
}

#[tokio::test]
async fn totals_that_could_not_be_booked_are_booked_later_and_once() {
    let bench = Bench::new().await;
    bench.resolve(1).await;
    bench.settled().await;
    bench.resolver.flush().await.unwrap();
    bench.resolve(1).await;
    bench
        .faults
        .fail_next(Operation::AddSpend, 1, ErrorKind::Unavailable);
    assert!(bench.resolver.flush().await.is_err());
    for _ in 0..2 {
        let local: u64 = bench
            .totals()
            .await
            .iter()
            .filter(|row| row.tier == Tier::Local)
            .map(|row| row.resolutions)
            .sum();
        assert_eq!(local, 1);
    }
}

/// A caller that hangs up in the middle of a flush must not make it count twice.
#[tokio::test]
async fn a_flush_that_nobody_waits_for_books_once() {
    let bench = Bench::new().await;
    bench.resolve(1).await;
    bench.settled().await;
    bench.resolve(1).await;
    bench.faults.hang_next(Operation::AddSpend, 1);
    let before = bench.faults.calls(Operation::AddSpend);
    {
        let flush = std::pin::pin!(bench.resolver.flush());
        let mut flush = flush;
        while bench.faults.calls(Operation::AddSpend) == before {
            assert!(futures_util::poll!(flush.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
    }
    bench.faults.release();
    let local = |rows: Vec<medcards_core::spend::SpendRow>| -> u64 {
        let local = rows.iter().filter(|row| row.tier == Tier::Local);
        local.map(|row| row.resolutions).sum()
    };
    while local(bench.totals().await) == 0 {
        tokio::task::yield_now().await;
    }
    bench.resolver.flush().await.unwrap();
    assert_eq!(local(bench.totals().await), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_cannot_be_settled_at_once_is_settled_later() {
    let bench = Bench::new().await;
    bench
        .faults
        .fail_next(Operation::Settle, 3, ErrorKind::Unavailable);
    let live = bench.resolve(1).await;
    assert_eq!(bench.spent().await, MicroDollars::ZERO);
    // Closing waits for what is to be booked.
    let patience = std::time::Duration::from_secs(60);
    bench.resolver.close(patience).await.unwrap();
    assert_eq!(bench.spent().await, live.cost());
}
