use std::sync::Arc;
use std::time::Duration;

use medcards_ai::layer::Metered;
use medcards_core::ErrorKind;
use medcards_core::ai::{AiProvider, AiRequest, Billed, StopReason, collect_reply};
use medcards_core::metric::{Metric, MetricValue};
use medcards_core::spend::{MicroDollars, Purpose, TokenUsage};
use medcards_core::testing::Script;

use super::{Double, ask, figure, request, worst};

const USAGE: TokenUsage = TokenUsage {
    input: 100,
    cache_read: 20,
    cache_write: 3,
    output: 40,
};

#[tokio::test(start_paused = true)]
async fn calls_are_counted_by_how_they_ended() {
    let double = Double::new();
    let provider = Metered::new(Arc::clone(&double));
    for (script, outcome) in [
        (Script::deltas(["It is."]), "complete"),
        (
            Script::deltas(["It"]).then_ends(StopReason::MaxTokens, USAGE),
            "incomplete",
        ),
        (
            Script::deltas([""; 0]).then_ends(StopReason::Refusal, USAGE),
            "declined",
        ),
        (
            Script::deltas(["It"]).then_fails(ErrorKind::Timeout, Billed::Nothing),
            "failed",
        ),
        (Script::deltas(["It"]).then_breaks_off(), "failed"),
        (Script::fails(ErrorKind::Denied, Billed::Nothing), "failed"),
    ] {
        let count = || {
            figure(
                &*provider.metrics(),
                "medcards_ai_calls_total",
                ("outcome", outcome),
            )
        };
        let before = count();
        double.scripted.push(script);
        let _ = ask(&provider).await;
        assert_eq!(count() - before, 1.0, "{outcome}");
    }
    drop(provider.stream(request()).await.unwrap());
    double.scripted.push(Script::hangs());
    let call = tokio::time::timeout(Duration::from_millis(1), ask(&provider));
    call.await.unwrap_err();
    let metrics = provider.metrics();
    let dropped = figure(&*metrics, "medcards_ai_calls_total", ("outcome", "dropped"));
    assert_eq!(dropped, 2.0);
    for (reason, count) in [("timed out", 1.0), ("denied", 1.0)] {
        let counted = figure(&*metrics, "medcards_ai_failures_total", ("reason", reason));
        assert_eq!(counted, count, "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_cost_and_waits_are_counted_per_purpose() {
    let double = Double::new();
    let provider = Metered::new(Arc::clone(&double));
    double.delay(Duration::from_secs(3));
    let script = Script::deltas(["It is."]).then_ends(StopReason::Complete, USAGE);
    double.scripted.push(script);
    let chat = AiRequest::new(Purpose::Chat, request().prompt);
    let reply = collect_reply(provider.stream(chat).await.unwrap())
        .await
        .unwrap();
    double
        .scripted
        .push(Script::fails(ErrorKind::Unavailable, Billed::Unknown));
    ask(&provider).await.unwrap_err();

    let metrics = provider.metrics();
    for (kind, tokens) in [
        ("input", 100.0),
        ("cache_read", 20.0),
        ("cache_write", 3.0),
        ("output", 40.0),
    ] {
        let counted = figure(&*metrics, "medcards_ai_tokens_total", ("kind", kind));
        assert_eq!(counted, tokens, "{kind}");
    }
    let cost = |purpose| {
        let name = "medcards_ai_cost_microdollars_total";
        MicroDollars::new(figure(&*metrics, name, ("purpose", purpose)) as u64)
    };
    assert_eq!(cost("chat"), reply.cost);
    assert_eq!(cost("feedback"), worst(&double));
    assert_eq!(cost("precompute"), MicroDollars::ZERO);

    let mut all: Vec<Metric> = Vec::new();
    metrics.collect(&mut all);
    let whole = all.iter().find(|metric| {
        metric.name == "medcards_ai_reply_seconds"
            && metric.labels.contains(&("purpose", "chat".into()))
    });
    let MetricValue::Histogram(counts) = &whole.unwrap().value else {
        panic!("waits are a histogram");
    };
    assert_eq!((counts.count, counts.sum_s), (1, 3.0));
    let first = figure(
        &*metrics,
        "medcards_ai_first_word_seconds",
        ("purpose", "chat"),
    );
    assert_eq!(first, 1.0);
}

#[tokio::test(start_paused = true)]
async fn it_counts_no_user_no_case_and_no_text() {
    let double = Double::new();
    let provider = Metered::new(double);
    ask(&provider).await.unwrap();
    let mut all: Vec<Metric> = Vec::new();
    provider.metrics().collect(&mut all);
    let known = ["model", "purpose", "outcome", "kind", "reason"];
    for (name, _) in all.iter().flat_map(|metric| &metric.labels) {
        assert!(known.contains(name), "{name}");
    }
}
