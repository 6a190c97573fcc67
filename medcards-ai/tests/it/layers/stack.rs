use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use medcards_ai::layer::{AiStack, AiStackBuilder, ConcurrencyConfig};
use medcards_core::ErrorKind::*;
use medcards_core::ai::{AiProvider, Billed, Refusal};
use medcards_core::spend::{MicroDollars, SpendBudget, SpendSum};
use medcards_core::testing::{Script, ScriptedProvider};
use tokio::time::{Instant, advance, timeout};

use super::{Double, Ledger, TokioClock, ask, booked, error, figure, request, worst};

fn builder(double: &Arc<Double>, ledger: &Arc<Ledger>) -> AiStackBuilder {
    let ledger = Arc::clone(ledger) as _;
    AiStack::builder(Arc::clone(double) as _, ledger, TokioClock::start())
}

const ONE_AT_A_TIME: ConcurrencyConfig = ConcurrencyConfig {
    calls_max: 1,
    queue_max: 8,
    wait_max: Duration::from_secs(2),
};

#[tokio::test(start_paused = true)]
async fn each_attempt_is_a_reservation_of_its_own() {
    let (double, ledger) = (Double::new(), Ledger::new());
    let stack = builder(&double, &ledger).build().unwrap();
    assert!(stack.capability().keeps_budget);
    double.fail_times(1, Unavailable);
    double
        .scripted
        .push(Script::fails(Unavailable, Billed::Unknown));
    let reply = ask(&stack).await.unwrap();
    assert_eq!((double.calls(), ledger.reserved()), (3, 3));
    stack.close().await;
    let sum = SpendSum {
        spent: reply.cost,
        set_aside: MicroDollars::ZERO,
    };
    assert_eq!(ledger.sum().await, sum);
    assert!(reply.cost > worst(&double), "what was lost is part of it");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_never_reaches_the_ledger() {
    let (double, ledger) = (Double::new(), Ledger::new());
    let stack = builder(&double, &ledger)
        .with_concurrency(ONE_AT_A_TIME)
        .build()
        .unwrap();
    let _held = stack.stream(request()).await.unwrap();
    let failure = ask(&stack).await.unwrap_err();
    assert_eq!(failure.refusal, Some(Refusal::Busy));
    assert_eq!(ledger.reserved(), 1);
    drop(_held);
    double.fail(error(RateLimited).with_retry_after(Duration::from_secs(60)));
    ask(&stack).await.unwrap_err();
    assert_eq!(ledger.reserved(), 2);
    let failure = ask(&stack).await.unwrap_err();
    assert_eq!(failure.refusal, Some(Refusal::RateLimited));
    assert_eq!((double.calls(), ledger.reserved()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_costs_no_reservation_and_no_place() {
    let (double, ledger) = (Double::new(), Ledger::new());
    let stack = builder(&double, &ledger)
        .with_concurrency(ONE_AT_A_TIME)
        .build()
        .unwrap();
    double.fail_times(5, Denied);
    for _ in 0..5 {
        ask(&stack).await.unwrap_err();
    }
    advance(Duration::from_secs(5)).await;
    let probe = stack.stream(request()).await.unwrap();
    let second_probe = timeout(Duration::from_millis(1), ask(&stack)).await;
    assert!(second_probe.is_err(), "it waits for the place, and goes");
    drop(probe);
    double.fail_times(1, Denied);
    ask(&stack).await.unwrap_err();
    let (calls, began) = (double.calls(), Instant::now());
    for failure in join_all((0..9).map(|_| ask(&stack))).await {
        assert_eq!(failure.unwrap_err().refusal, Some(Refusal::BreakerOpen));
    }
    assert_eq!(began.elapsed(), Duration::ZERO, "nobody waits for a place");
    assert_eq!((double.calls(), ledger.reserved()), (calls, calls as u64));
}

#[tokio::test(start_paused = true)]
async fn each_attempt_counts_for_the_breaker() {
    let (double, ledger) = (Double::new(), Ledger::new());
    let stack = builder(&double, &ledger).build().unwrap();
    double.fail_times(9, Unavailable);
    for calls in [3, 5] {
        let failure = ask(&stack).await.unwrap_err();
        assert_eq!((failure.refusal, double.calls()), (None, calls));
    }
    let failure = ask(&stack).await.unwrap_err();
    assert_eq!(failure.refusal, Some(Refusal::BreakerOpen));
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_by_the_breaker_does_not_wait_for_a_place() {
    let (double, ledger) = (Double::new(), Ledger::new());
    let stack = builder(&double, &ledger)
        .with_concurrency(ONE_AT_A_TIME)
        .build()
        .unwrap();
    double.fail_times(5, Denied);
    for _ in 0..5 {
        ask(&stack).await.unwrap_err();
    }
    advance(Duration::from_secs(5)).await;
    // One probe has the only place, and the other waits for it.
    let _probe = stack.stream(request()).await.unwrap();
    let refused = async {
        let began = Instant::now();
        (ask(&stack).await.unwrap_err().refusal, began.elapsed())
    };
    let (waited, refused) = tokio::join!(ask(&stack), refused);
    assert_eq!(waited.unwrap_err().refusal, Some(Refusal::Busy));
    assert_eq!(refused, (Some(Refusal::BreakerOpen), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_does_not_count_the_wait_for_a_place() {
    let (double, ledger) = (Double::new(), Ledger::new());
    let stack = builder(&double, &ledger)
        .with_concurrency(ONE_AT_A_TIME)
        .build()
        .unwrap();
    double.delay(Duration::from_millis(9_500));
    let held = stack.stream(request()).await.unwrap();
    let began = Instant::now();
    let (reply, ()) = tokio::join!(ask(&stack), async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        drop(held);
    });
    reply.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn what_the_deadline_gives_up_is_told_as_booked() {
    let (double, ledger) = (Double::new(), Ledger::new());
    let stack = builder(&double, &ledger).build().unwrap();
    double.scripted.push(Script::hangs());
    let failure = ask(&stack).await.unwrap_err();
    assert_eq!(failure.error.kind(), Timeout);
    assert_eq!(failure.billed, booked(worst(&double)));
    assert_eq!(double.calls(), 1, "its patience is over");
    stack.close().await;
    assert_eq!(ledger.sum().await.spent, worst(&double));
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_refuses_at_once_and_asks_no_other_model() {
    let (double, ledger) = (Double::new(), Ledger::new());
    let other = Double::new();
    let stack = builder(&double, &ledger)
        .with_fallback(Arc::clone(&other) as _)
        .with_spend_budget(SpendBudget::of_day(MicroDollars::new(1)))
        .build()
        .unwrap();
    let failure = ask(&stack).await.unwrap_err();
    assert_eq!(failure.refusal, Some(Refusal::SpendBudgetExhausted));
    assert_eq!(
        (double.calls(), other.calls(), ledger.reserved()),
        (0, 0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn another_model_answers_at_its_own_price_and_both_are_booked() {
    let (double, ledger) = (Double::new(), Ledger::new());
    let other = Double::of(ScriptedProvider::new().with_model("other".parse().unwrap()));
    let stack = builder(&double, &ledger)
        .with_fallback(Arc::clone(&other) as _)
        .build()
        .unwrap();
    for _ in 0..2 {
        double
            .scripted
            .push(Script::fails(Unavailable, Billed::Unknown));
    }
    let reply = ask(&stack).await.unwrap();
    assert_eq!(reply.model, *other.model());
    assert_eq!(stack.model(), double.model());
    assert_eq!((double.calls(), other.calls()), (2, 1));
    stack.close().await;
    assert_eq!(ledger.sum().await.spent, reply.cost);
    let calls = |model| {
        let label = ("model", model);
        figure(&stack, "medcards_ai_reply_seconds", label)
    };
    assert_eq!((calls("sample-model-1"), calls("other")), (0.0, 1.0));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_keeps_a_budget_keeps_it_alone() {
    let keeps = ScriptedProvider::new()
        .with_capability(medcards_core::ai::AiCapability::LIVE.keeping_budget());
    let (double, ledger) = (Double::of(keeps), Ledger::new());
    let stack = builder(&double, &ledger).build().unwrap();
    ask(&stack).await.unwrap();
    assert_eq!((ledger.reserved(), double.calls()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn every_layer_passes_on_what_is_not_its_business() {
    let (double, ledger) = (Double::new(), Ledger::new());
    let stack = builder(&double, &ledger).build().unwrap();
    let limits = medcards_core::ai::RateLimits {
        requests: Some(medcards_core::ai::RateLimit {
            limit: 100,
            remaining: 99,
            resets_at: medcards_core::Timestamp::UNIX_EPOCH,
        }),
        ..Default::default()
    };
    assert_eq!(stack.rate_limits(), None);
    double.limit(limits);
    assert_eq!(stack.rate_limits(), Some(limits));
    assert_eq!(stack.model(), double.model());
    assert_eq!(stack.price(), double.price());
    assert!(stack.batches().is_none());
    assert_eq!(stack.to_string(), double.to_string());
    stack.close().await;
    assert_eq!(double.closed.load(std::sync::atomic::Ordering::Relaxed), 1);
}
