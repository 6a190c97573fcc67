use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use medcards_ai::layer::{ConcurrencyConfig, ConcurrencyLimit};
use medcards_core::ErrorKind;
use medcards_core::ai::{AiProvider, Billed, Refusal};
use medcards_core::testing::Script;
use tokio::time::{Instant, timeout};

use super::{Double, ask, figure, request};

fn limited(double: &Arc<Double>) -> Arc<ConcurrencyLimit<Arc<Double>>> {
    let config = ConcurrencyConfig {
        calls_max: 2,
        queue_max: 1,
        wait_max: Duration::from_secs(2),
    };
    Arc::new(ConcurrencyLimit::new(Arc::clone(double), config))
}

#[tokio::test(start_paused = true)]
async fn a_call_holds_its_place_until_its_reply_is_over() {
    let double = Double::new();
    let provider = limited(&double);
    let mut read = provider.stream(request()).await.unwrap();
    assert_eq!(provider.under_way(), 1);
    while read.next().await.is_some() {}
    assert_eq!(
        provider.under_way(),
        0,
        "it ended, though it is not dropped"
    );
    let dropped = provider.stream(request()).await.unwrap();
    drop(dropped);
    assert_eq!(provider.under_way(), 0);
    double.fail_times(1, ErrorKind::Unavailable);
    ask(&provider).await.unwrap_err();
    assert_eq!(provider.under_way(), 0);
    double
        .scripted
        .push(Script::deltas(["It is "]).then_breaks_off());
    ask(&provider).await.unwrap_err();
    assert_eq!(provider.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_the_next_place_and_who_finds_the_queue_full_none() {
    let double = Double::new();
    let provider = limited(&double);
    let held = provider.stream(request()).await.unwrap();
    let _other = provider.stream(request()).await.unwrap();
    let waiting = tokio::spawn({
        let provider = Arc::clone(&provider);
        async move { ask(&provider).await }
    });
    tokio::task::yield_now().await;
    let metrics = provider.metrics();
    let shown = |name| figure(&*metrics, name, ("model", "sample-model-1"));
    assert_eq!(shown("medcards_ai_calls_waiting"), 1.0);
    let began = Instant::now();
    let failure = ask(&provider).await.unwrap_err();
    assert_eq!(failure.refusal, Some(Refusal::Busy));
    assert_eq!(failure.billed, Billed::Nothing);
    assert_eq!((began.elapsed(), double.calls()), (Duration::ZERO, 2));
    drop(held);
    waiting.await.unwrap().unwrap();
    assert_eq!(double.calls(), 3);
    assert_eq!(shown("medcards_ai_calls_under_way"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_refused_and_leaves_the_queue() {
    let double = Double::new();
    let provider = limited(&double);
    let _held = provider.stream(request()).await.unwrap();
    let _other = provider.stream(request()).await.unwrap();
    for _ in 0..3 {
        let began = Instant::now();
        let failure = ask(&provider).await.unwrap_err();
        assert_eq!(failure.refusal, Some(Refusal::Busy));
        assert_eq!(began.elapsed().as_secs(), 2);
    }
    for _ in 0..3 {
        let dropped = timeout(Duration::from_millis(1), ask(&provider)).await;
        assert!(dropped.is_err(), "it waited, and was dropped");
    }
    assert_eq!(double.calls(), 2);
}
