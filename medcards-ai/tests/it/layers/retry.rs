use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use medcards_ai::layer::{Retry, RetryConfig};
use medcards_core::ErrorKind::{self, *};
use medcards_core::ai::{AiFailure, AiProvider, Billed, Refusal};
use medcards_core::spend::{MicroDollars, TokenUsage};
use medcards_core::testing::Script;
use tokio::time::Instant;

use super::{Double, ask, booked, error, figure, request, worst};

fn retry(double: &Arc<Double>) -> Retry<Arc<Double>> {
    Retry::new(Arc::clone(double), RetryConfig::default())
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
    for (kind, calls) in [
        (Busy, 3),
        (RateLimited, 3),
        (Timeout, 3),
        (Unavailable, 3),
        (Corrupt, 1),
        (Denied, 1),
        (Full, 1),
        (Invalid, 1),
        (NotFound, 1),
        (Unexpected, 1),
    ] {
        let double = Double::new();
        double.fail_times(9, kind);
        let began = Instant::now();
        let failure = ask(&retry(&double)).await.unwrap_err();
        assert_eq!(failure.error.kind(), kind);
        assert_eq!(failure.billed, Billed::Nothing);
        assert_eq!(double.calls(), calls, "{kind}");
        let most = Duration::from_millis(250 + 500);
        assert!(began.elapsed() <= most, "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_as_the_first_event_is_tried_again() {
    let double = Double::new();
    let overloaded = Script::deltas([""; 0]).then_fails(Unavailable, Billed::Nothing);
    double.scripted.push(overloaded.clone());
    double.scripted.push(overloaded);
    let reply = ask(&retry(&double)).await.unwrap();
    assert!(reply.text.starts_with("Scripted feedback"));
    assert_eq!(double.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_tried_again_after_the_first_word() {
    let double = Double::new();
    let cut = Script::deltas(["It is "]).then_fails(Unavailable, Billed::Nothing);
    double.scripted.push(cut);
    let provider = retry(&double);
    let mut stream = provider.stream(request()).await.unwrap();
    stream.next().await.unwrap().unwrap();
    let failure = stream.next().await.unwrap().unwrap_err();
    assert_eq!(failure.error.kind(), Unavailable);
    assert!(stream.next().await.is_none());
    assert_eq!(double.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_billed_is_tried_again_once() {
    let double = Double::new();
    for _ in 0..3 {
        double
            .scripted
            .push(Script::fails(Unavailable, Billed::Unknown));
    }
    let failure = ask(&retry(&double)).await.unwrap_err();
    assert_eq!(double.calls(), 2);
    assert_eq!(failure.billed, booked(worst(&double).times(2)));
}

#[tokio::test(start_paused = true)]
async fn what_failed_before_is_told_with_the_end() {
    let double = Double::new();
    let usage = TokenUsage {
        input: 7,
        ..TokenUsage::default()
    };
    double
        .scripted
        .push(Script::fails(Unavailable, Billed::Tokens(usage)));
    let reply = ask(&retry(&double)).await.unwrap();
    let alone = ask(&double).await.unwrap();
    assert_eq!(reply.cost, alone.cost + MicroDollars::new(7));
    assert_eq!(reply.usage, alone.usage, "tokens are those of the reply");

    double
        .scripted
        .push(Script::fails(Unavailable, Billed::Tokens(usage)));
    double
        .scripted
        .push(Script::deltas(["It is "]).then_fails(Unavailable, Billed::Unknown));
    let failure = ask(&retry(&double)).await.unwrap_err();
    assert_eq!(
        failure.billed,
        booked(worst(&double) + MicroDollars::new(7))
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_was_asked_for_is_kept() {
    let double = Double::new();
    let wait = Duration::from_secs(3);
    double.fail(error(RateLimited).with_retry_after(wait));
    let began = Instant::now();
    ask(&retry(&double)).await.unwrap();
    let took = began.elapsed();
    assert!(
        (wait..=wait + Duration::from_millis(251)).contains(&took),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_its_patience_ends_the_call_at_once() {
    let double = Double::new();
    let wait = Duration::from_secs(11);
    double.fail(error(RateLimited).with_retry_after(wait));
    let began = Instant::now();
    let failure = ask(&retry(&double)).await.unwrap_err();
    assert_eq!(failure.error.retry_after(), Some(wait));
    assert_eq!((double.calls(), began.elapsed()), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_when_its_patience_is_over() {
    let double = Double::new();
    double.delay(Duration::from_secs(10));
    double.fail_times(3, Timeout);
    ask(&retry(&double)).await.unwrap_err();
    assert_eq!(double.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failing_provider_is_asked_no_more_than_the_retry_budget_allows() {
    let double = Double::new();
    let provider = retry(&double);
    double.fail_times(1_000, Unavailable);
    for _ in 0..100 {
        ask(&provider).await.unwrap_err();
    }
    assert_eq!(double.calls(), 100 + 10);
    double.failures.lock().unwrap().clear();
    for _ in 0..10 {
        ask(&provider).await.unwrap();
    }
    let before = double.calls();
    double.fail_times(2, Unavailable);
    ask(&provider).await.unwrap_err();
    assert_eq!(double.calls() - before, 2, "ten successes pay for one");
    let metrics = provider.metrics();
    let model = ("model", "sample-model-1");
    assert_eq!(figure(&*metrics, "medcards_ai_retries_total", model), 11.0);
}

/// Fails once, and refuses from then on.
#[derive(Debug)]
struct RefusesLater(Arc<Double>, Refusal);

impl std::fmt::Display for RefusesLater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait::async_trait]
impl AiProvider for RefusesLater {
    fn model(&self) -> &medcards_core::ai::ModelId {
        self.0.model()
    }

    fn price(&self) -> medcards_core::spend::Price {
        self.0.price()
    }

    fn capability(&self) -> medcards_core::ai::AiCapability {
        self.0.capability()
    }

    async fn stream(
        &self,
        request: medcards_core::ai::AiRequest,
    ) -> Result<medcards_core::ai::AiStream, AiFailure> {
        if self.0.calls() > 0 {
            return Err(AiFailure::refused(self.1, error(ErrorKind::Busy)));
        }
        self.0.stream(request).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_an_attempt_is_the_failure_of_the_attempt() {
    let double = Double::new();
    double
        .scripted
        .push(Script::fails(Unavailable, Billed::Unknown));
    let refuses = RefusesLater(Arc::clone(&double), Refusal::BreakerOpen);
    let failure = ask(&Retry::new(refuses, RetryConfig::default()))
        .await
        .unwrap_err();
    assert_eq!((failure.error.kind(), failure.refusal), (Unavailable, None));

    let refuses = RefusesLater(double, Refusal::Busy);
    let began = Instant::now();
    let failure = ask(&Retry::new(refuses, RetryConfig::default()))
        .await
        .unwrap_err();
    assert_eq!(
        failure.refusal,
        Some(Refusal::Busy),
        "a refusal is not tried again"
    );
    assert_eq!(began.elapsed(), Duration::ZERO);
}
