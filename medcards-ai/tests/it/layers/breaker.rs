use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use medcards_ai::layer::BreakerLayer;
use medcards_core::ErrorKind::*;
use medcards_core::ai::{AiFailure, AiProvider, Billed, BreakerConfig, BreakerState, Refusal};
use medcards_core::testing::Script;
use tokio::time::advance;

use super::{Double, TokioClock, ask, figure, request};

fn guarded(double: &Arc<Double>) -> BreakerLayer<Arc<Double>> {
    let config = BreakerConfig::default();
    BreakerLayer::new(Arc::clone(double), config, TokioClock::start()).unwrap()
}

fn is_refused(failure: &AiFailure) -> bool {
    failure.refusal == Some(Refusal::BreakerOpen)
}

async fn opened(double: &Arc<Double>) -> BreakerLayer<Arc<Double>> {
    let provider = guarded(double);
    double.fail_times(5, Unavailable);
    for _ in 0..5 {
        assert!(!is_refused(&ask(&provider).await.unwrap_err()));
    }
    assert_eq!(provider.state(), BreakerState::Open);
    provider
}

#[tokio::test(start_paused = true)]
async fn faults_of_the_provider_open_it_and_nothing_else_does() {
    for (kind, opens) in [
        (Corrupt, true),
        (Denied, true),
        (Full, true),
        (NotFound, true),
        (Timeout, true),
        (Unavailable, true),
        (Unexpected, true),
        (Busy, false),
        (Invalid, false),
        (RateLimited, false),
    ] {
        let double = Double::new();
        let provider = guarded(&double);
        double.fail_times(30, kind);
        for _ in 0..30 {
            ask(&provider).await.unwrap_err();
        }
        assert_eq!(double.calls(), if opens { 5 } else { 30 }, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_one_refuses_with_the_rest_of_its_pause() {
    let double = Double::new();
    let provider = opened(&double).await;
    advance(Duration::from_secs(2)).await;
    let failure = ask(&provider).await.unwrap_err();
    assert!(is_refused(&failure));
    assert_eq!(failure.billed, Billed::Nothing);
    assert_eq!(failure.error.retry_after(), Some(Duration::from_secs(3)));
    assert_eq!(double.calls(), 5);
}

#[tokio::test(start_paused = true)]
async fn it_closes_after_two_probes_and_lets_no_third_beside_them() {
    let double = Double::new();
    let provider = opened(&double).await;
    advance(Duration::from_secs(5)).await;
    let one = provider.stream(request()).await.unwrap();
    let two = provider.stream(request()).await.unwrap();
    assert!(is_refused(&ask(&provider).await.unwrap_err()));
    medcards_core::ai::collect_reply(one).await.unwrap();
    assert_eq!(provider.state(), BreakerState::HalfOpen);
    medcards_core::ai::collect_reply(two).await.unwrap();
    assert_eq!(provider.state(), BreakerState::Closed);
    ask(&provider).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn probes_that_are_dropped_anywhere_do_not_jam_it() {
    let double = Double::new();
    let provider = opened(&double).await;
    advance(Duration::from_secs(5)).await;
    for _ in 0..10 {
        double.scripted.push(Script::hangs());
        let call = tokio::time::timeout(Duration::from_millis(1), provider.stream(request()));
        assert!(call.await.is_err(), "it passes and hangs");
        let mut stream = provider.stream(request()).await.unwrap();
        stream.next().await.unwrap().unwrap();
    }
    assert_eq!(provider.state(), BreakerState::HalfOpen);
    ask(&provider).await.unwrap();
    ask(&provider).await.unwrap();
    assert_eq!(provider.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_fails_midway_counts() {
    for script in [
        Script::deltas(["It is "]).then_fails(Unavailable, Billed::Unknown),
        Script::deltas(["It is "]).then_breaks_off(),
    ] {
        let double = Double::new();
        let provider = guarded(&double);
        for _ in 0..6 {
            double.scripted.push(script.clone());
            ask(&provider).await.unwrap_err();
        }
        assert_eq!(double.calls(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn it_shows_how_it_stands() {
    let double = Double::new();
    let provider = guarded(&double);
    let metrics = provider.metrics();
    let shown = |name| figure(&*metrics, name, ("model", "sample-model-1"));
    assert_eq!(shown("medcards_ai_breaker_state"), 0.0);
    double.fail_times(6, Timeout);
    for _ in 0..5 {
        ask(&provider).await.unwrap_err();
    }
    assert_eq!(shown("medcards_ai_breaker_state"), 2.0);
    advance(Duration::from_secs(5)).await;
    assert_eq!(shown("medcards_ai_breaker_state"), 1.0);
    ask(&provider).await.unwrap_err();
    assert_eq!(shown("medcards_ai_breaker_state"), 2.0);
    assert_eq!(shown("medcards_ai_breaker_opened_total"), 2.0);
}
