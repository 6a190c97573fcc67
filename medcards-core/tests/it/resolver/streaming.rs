//! Streams: every delta from the start, exactly one end, always the whole feedback.

use std::time::Duration;

use futures_util::StreamExt;
use medcards_core::ErrorKind;
use medcards_core::ai::{Billed, StopReason};
use medcards_core::feedback::{FeedbackEnd, FeedbackEvent, FeedbackStream, ResolverConfig, Tier};
use medcards_core::spend::{MicroDollars, TokenUsage};
use medcards_core::testing::{Gate, Script};

use super::Bench;

async fn read(stream: FeedbackStream) -> (Vec<String>, FeedbackEnd) {
    let mut deltas = Vec::new();
    let mut ends = Vec::new();
    for event in stream.collect::<Vec<_>>().await {
        match event {
            FeedbackEvent::Delta(delta) => {
                assert!(ends.is_empty(), "a delta after the end");
                deltas.push(delta.to_string());
            }
            FeedbackEvent::End(end) => ends.push(end),
        }
    }
    assert_eq!(ends.len(), 1, "exactly one end");
    (deltas, ends.remove(0))
}

#[tokio::test]
async fn followers_get_every_delta_from_the_start_as_it_arrives() {
    let bench = Bench::new().await;
    let gate = Gate::new();
    let script = ["It ", "is ", "the ", "potassium."];
    bench.provider.push(Script::deltas(script).gated(&gate));

    let mut first = bench.resolver.resolve_stream(bench.request(1));
    gate.admit(2);
    for expected in &script[..2] {
        let Some(FeedbackEvent::Delta(delta)) = first.next().await else {
            panic!("a delta")
        };
        assert_eq!(&*delta, *expected);
    }
    // One who comes late reads what was said, then waits for the rest like the first.
    let mut late = bench.resolver.resolve_stream(bench.request(1));
    for expected in &script[..2] {
        let Some(FeedbackEvent::Delta(delta)) = late.next().await else {
            panic!("a delta")
        };
        assert_eq!(&*delta, *expected);
    }
    drop(first);
    gate.open();
    let (rest, end) = read(late).await;
    assert_eq!(rest, script[2..]);
    assert_eq!(end.resolution.text(), "It is the potassium.");
    assert!(!end.is_replaced);
    assert_eq!(bench.provider.calls(), 1);
}

#[tokio::test]
async fn a_hit_is_streamed_as_one_delta_and_an_end() {
    let bench = Bench::new().await;
    bench.resolve(1).await;
    bench.settled().await;
    let (deltas, end) = read(bench.resolver.resolve_stream(bench.request(1))).await;
    assert_eq!(deltas, [end.resolution.text()]);
    assert_eq!(end.resolution.tier(), Tier::Local);
}

/// What was shown of a reply that cannot stand is replaced by the authored explanation.
#[tokio::test]
async fn a_reply_that_cannot_stand_is_replaced_at_the_end() {
    let cut = TokenUsage {
        output: 3,
        ..TokenUsage::default()
    };
    for (name, script) in [
        (
            "fails",
            Script::deltas(["It is"]).then_fails(ErrorKind::Unavailable, Billed::Unknown),
        ),
        ("breaks off", Script::deltas(["It is"]).then_breaks_off()),
        (
            "is cut",
            Script::deltas(["It is"]).then_ends(StopReason::MaxTokens, cut),
        ),
        (
            "refuses",
            Script::deltas(["I can't"]).then_ends(StopReason::Refusal, cut),
        ),
    ] {
        let bench = Bench::new().await;
        bench.provider.push(script.clone());
        bench.provider.push(script);
        let (deltas, end) = read(bench.resolver.resolve_stream(bench.request(1))).await;
        assert_eq!(deltas.len(), 1, "{name}");
        assert!(end.is_replaced, "{name}");
        assert_eq!(end.resolution.tier(), Tier::Authored, "{name}");
        assert!(
            end.resolution.text().contains("Finding 1 of sample 1"),
            "{name}"
        );
        bench.settled().await;
        assert!(!bench.is_cached(1), "{name}: it must not be kept");
    }
}

#[tokio::test]
async fn a_rejected_reply_is_asked_for_once_more_and_its_words_are_replaced() {
    let usage = TokenUsage {
        output: 100,
        ..TokenUsage::default()
    };
    let bench = Bench::new().await;
    let cut = Script::deltas(["It is"]).then_ends(StopReason::MaxTokens, usage);
    bench.provider.push(cut);
    let whole = Script::deltas(["It is the ", "potassium."]);
    bench
        .provider
        .push(whole.then_ends(StopReason::Complete, usage));
    let (deltas, end) = read(bench.resolver.resolve_stream(bench.request(1))).await;
    assert_eq!(
        deltas,
        ["It is"],
        "no words follow on those of another reply"
    );
    assert!(end.is_replaced);
    assert_eq!(end.resolution.tier(), Tier::Live);
    assert_eq!(end.resolution.text(), "It is the potassium.");
    assert_eq!(bench.provider.calls(), 2);
    bench.settled().await;
    assert!(bench.is_cached(1));
    // Both calls are paid for, and by this answer.
    assert_eq!(end.resolution.cost(), MicroDollars::new(2 * 500));
    assert_eq!(bench.spent().await, end.resolution.cost());
}

#[tokio::test]
async fn a_provider_that_fails_at_once_shows_only_the_authored_explanation() {
    let bench = Bench::new().await;
    bench
        .provider
        .push(Script::fails(ErrorKind::RateLimited, Billed::Nothing));
    let (deltas, end) = read(bench.resolver.resolve_stream(bench.request(1))).await;
    assert_eq!(deltas, [end.resolution.text()]);
    assert!(!end.is_replaced);
    assert_eq!(end.resolution.tier(), Tier::Authored);
}

#[tokio::test(start_paused = true)]
async fn first_words_that_do_not_come_are_not_waited_for() {
    let bench = Bench::new().await;
    bench.provider.push(Script::hangs());
    let started = tokio::time::Instant::now();
    let (deltas, end) = read(bench.resolver.resolve_stream(bench.request(1))).await;
    assert_eq!(started.elapsed(), Duration::from_secs(8));
    assert_eq!(deltas, [end.resolution.text()]);
    assert_eq!(end.resolution.tier(), Tier::Authored);
}

#[tokio::test(start_paused = true)]
async fn words_that_stop_coming_are_waited_for_as_long_as_a_generation_may_take() {
    let mut config = ResolverConfig::default();
    config.generation_deadline = Duration::from_secs(20);
    let bench = Bench::with(config).await;
    bench.provider.push(Script::deltas(["It is"]).then_hangs());
    let started = tokio::time::Instant::now();
    let (_, end) = read(bench.resolver.resolve_stream(bench.request(1))).await;
    assert_eq!(started.elapsed(), Duration::from_secs(20));
    assert!(end.is_replaced);
    assert_eq!(end.resolution.tier(), Tier::Authored);
}
