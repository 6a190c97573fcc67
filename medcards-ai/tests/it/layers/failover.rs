use std::sync::Arc;

use futures_util::StreamExt;
use medcards_ai::layer::{BreakerLayer, Failover};
use medcards_core::ErrorKind::{self, *};
use medcards_core::ai::{
    AiCapability, AiFailure, AiProvider, AiRequest, AiStream, Billed, BreakerConfig, ModelId,
    Refusal,
};
use medcards_core::spend::{MicroDollars, Price, TokenUsage};
use medcards_core::testing::{Script, ScriptedProvider};

use super::{Double, TokioClock, ask, booked, error, figure, request, worst};

fn model(name: &str) -> ModelId {
    name.parse().unwrap()
}

/// Another model, ten times as dear.
fn other() -> Arc<Double> {
    let price = Price {
        input: MicroDollars::new(10_000_000),
        output: MicroDollars::new(50_000_000),
        ..Price::default()
    };
    let scripted = ScriptedProvider::new()
        .with_model(model("other"))
        .with_price(price);
    Double::of(scripted)
}

fn failover(first: &Arc<Double>, second: &Arc<Double>) -> Failover {
    Failover::new(Arc::clone(first) as _, vec![Arc::clone(second) as _]).unwrap()
}

#[tokio::test(start_paused = true)]
async fn another_is_asked_unless_what_was_asked_is_at_fault() {
    for (kind, goes_on) in [
        (Busy, true),
        (Corrupt, true),
        (Denied, true),
        (Full, true),
        (NotFound, true),
        (RateLimited, true),
        (Timeout, true),
        (Unavailable, true),
        (Unexpected, true),
        (Invalid, false),
    ] {
        let (first, second) = (Double::new(), other());
        first.fail_times(1, kind);
        let reply = ask(&failover(&first, &second)).await;
        assert_eq!(second.calls(), usize::from(goes_on), "{kind}");
        match reply {
            Ok(reply) => assert_eq!(reply.model, model("other")),
            Err(failure) => assert_eq!(failure.error.kind(), kind),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_the_first_to_whoever_asks() {
    let (first, second) = (Double::new(), other());
    let provider = failover(&first, &second);
    assert_eq!(provider.model(), first.model());
    assert_eq!(provider.price(), first.price());
    assert_eq!(provider.capability(), AiCapability::LIVE);
    let reply = ask(&provider).await.unwrap();
    assert_eq!(reply.model, *first.model());
    assert_eq!(second.calls(), 0);
    provider.close().await;
    for double in [first, second] {
        assert_eq!(double.closed.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_elsewhere_after_the_first_word() {
    let (first, second) = (Double::new(), other());
    let cut = Script::deltas(["It is "]).then_fails(Unavailable, Billed::Unknown);
    first.scripted.push(cut);
    let mut stream = failover(&first, &second).stream(request()).await.unwrap();
    stream.next().await.unwrap().unwrap();
    assert_eq!(
        stream.next().await.unwrap().unwrap_err().error.kind(),
        Unavailable
    );
    assert_eq!(second.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_failed_before_is_told_at_the_price_it_has() {
    let (first, second) = (Double::new(), other());
    let overloaded = Script::deltas([""; 0]).then_fails(Unavailable, Billed::Unknown);
    first.scripted.push(overloaded.clone());
    let provider = failover(&first, &second);
    let reply = ask(&provider).await.unwrap();
    let alone = ask(&second).await.unwrap();
    assert_eq!(reply.cost, alone.cost + worst(&first));

    let usage = TokenUsage {
        input: 3,
        ..TokenUsage::default()
    };
    first.scripted.push(overloaded);
    second
        .scripted
        .push(Script::fails(Denied, Billed::Tokens(usage)));
    let failure = ask(&provider).await.unwrap_err();
    assert_eq!(failure.error.kind(), Denied);
    assert_eq!(
        failure.billed,
        booked(worst(&first) + MicroDollars::new(30))
    );
    let metrics = provider.metrics();
    let of_first = ("model", "sample-model-1");
    assert_eq!(
        figure(&*metrics, "medcards_ai_failovers_total", of_first),
        2.0
    );
}

/// Refuses every call.
#[derive(Debug)]
struct Refuses(Arc<Double>, Refusal);

impl std::fmt::Display for Refuses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait::async_trait]
impl AiProvider for Refuses {
    fn model(&self) -> &ModelId {
        self.0.model()
    }

    fn price(&self) -> Price {
        self.0.price()
    }

    fn capability(&self) -> AiCapability {
        self.0.capability()
    }

    async fn stream(&self, _: AiRequest) -> Result<AiStream, AiFailure> {
        Err(AiFailure::refused(self.1, error(ErrorKind::Busy)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_want_of_money_is_one_of_all() {
    for (refusal, goes_on) in [
        (Refusal::BreakerOpen, true),
        (Refusal::Busy, true),
        (Refusal::RateLimited, true),
        (Refusal::LedgerAway, false),
        (Refusal::SpendBudgetExhausted, false),
    ] {
        let second = other();
        let first = Arc::new(Refuses(Double::new(), refusal));
        let provider = Failover::new(first, vec![Arc::clone(&second) as _]).unwrap();
        assert_eq!(ask(&provider).await.is_ok(), goes_on, "{refusal:?}");
        assert_eq!(second.calls(), usize::from(goes_on));
    }
}

#[tokio::test(start_paused = true)]
async fn of_refusals_the_first_is_told_and_of_failures_any_before_them() {
    let refuses = |refusal| Arc::new(Refuses(Double::new(), refusal)) as Arc<dyn AiProvider>;
    let provider = Failover::new(refuses(Refusal::Busy), vec![refuses(Refusal::RateLimited)]);
    let failure = ask(&provider.unwrap()).await.unwrap_err();
    assert_eq!(failure.refusal, Some(Refusal::Busy));
    assert_eq!(failure.billed, Billed::Nothing);

    let second = other();
    second.fail_times(1, Timeout);
    let others = vec![
        Arc::clone(&second) as _,
        refuses(Refusal::SpendBudgetExhausted),
    ];
    let provider = Failover::new(refuses(Refusal::Busy), others);
    let failure = ask(&provider.unwrap()).await.unwrap_err();
    assert_eq!((failure.refusal, failure.error.kind()), (None, Timeout));
}

#[tokio::test(start_paused = true)]
async fn a_model_whose_breaker_is_open_is_passed_over_without_waiting() {
    let (first, second) = (Double::new(), other());
    first.fail_times(100, Unavailable);
    let config = BreakerConfig::default();
    let guarded = BreakerLayer::new(Arc::clone(&first), config, TokioClock::start()).unwrap();
    let provider = Failover::new(Arc::new(guarded), vec![Arc::clone(&second) as _]).unwrap();
    for _ in 0..20 {
        ask(&provider).await.unwrap();
    }
    assert_eq!((first.calls(), second.calls()), (5, 20));
}

#[test]
fn all_keep_a_budget_or_none_does() {
    let keeps = ScriptedProvider::new().with_capability(AiCapability::LIVE.keeping_budget());
    let error = Failover::new(Double::new(), vec![Arc::new(keeps)]).unwrap_err();
    assert_eq!(error.kind(), Invalid);
}
