//! Freshness: how long a feedback is served, and how.

use std::time::Duration;

use medcards_core::ErrorKind;
use medcards_core::ai::{Billed, StopReason};
use medcards_core::feedback::{Freshness, ResolverConfig, Tier, TierOutcome};
use medcards_core::spend::TokenUsage;
use medcards_core::testing::{Gate, Operation, Script};

use super::Bench;

const HOUR: Duration = Duration::from_hours(1);

/// Without jitter, and without the store, so that only the cache and the model are in play.
fn exact() -> ResolverConfig {
    let mut config = ResolverConfig::default();
    config.ttl_jitter_percent = 0;
    config.keep_generated = false;
    config
}

#[tokio::test]
async fn a_feedback_is_fresh_for_its_ttl() {
    let bench = Bench::with(exact()).await;
    bench.resolve(1).await;
    bench.settled().await;
    bench.clock.advance(24 * HOUR - Duration::from_millis(1));
    let resolution = bench.resolve(1).await;
    assert_eq!(
        (resolution.tier(), resolution.freshness()),
        (Tier::Local, Freshness::Fresh)
    );
    assert_eq!(bench.provider.calls(), 1);
}

#[tokio::test]
async fn within_the_grace_a_stale_one_is_served_while_one_call_fetches_a_new_one() {
    let bench = Bench::with(exact()).await;
    bench.provider.push(Script::deltas(["old"]));
    bench.resolve(1).await;
    bench.settled().await;

    bench.clock.advance(24 * HOUR);
    let gate = Gate::new();
    bench.provider.push(Script::deltas(["new"]).gated(&gate));
    for _ in 0..100 {
        let resolution = bench.resolve(1).await;
        assert_eq!(resolution.text(), "old");
        assert_eq!(resolution.freshness(), Freshness::StaleWhileRevalidating);
    }
    bench.provider.called(2).await;
    gate.open();
    bench.settled().await;
    let resolution = bench.resolve(1).await;
    assert_eq!(
        (resolution.text(), resolution.freshness()),
        ("new", Freshness::Fresh)
    );
    assert_eq!(bench.provider.calls(), 2);
}

#[tokio::test]
async fn a_revalidation_that_fails_leaves_the_stale_one_and_is_not_repeated_at_once() {
    let bench = Bench::with(exact()).await;
    bench.resolve(1).await;
    bench.settled().await;
    bench.clock.advance(24 * HOUR);
    bench
        .provider
        .push(Script::fails(ErrorKind::Unavailable, Billed::Nothing));
    for _ in 0..10 {
        let resolution = bench.resolve(1).await;
        assert_eq!(resolution.freshness(), Freshness::StaleWhileRevalidating);
        bench.settled().await;
    }
    assert_eq!(bench.provider.calls(), 2);
}

#[tokio::test]
async fn after_the_grace_a_new_one_is_waited_for_and_the_old_one_serves_if_none_comes() {
    let bench = Bench::with(exact()).await;
    bench.provider.push(Script::deltas(["old"]));
    bench.resolve(1).await;
    bench.settled().await;

    bench.clock.advance(25 * HOUR);
    bench
        .provider
        .push(Script::fails(ErrorKind::Unavailable, Billed::Nothing));
    let resolution = bench.resolve(1).await;
    assert_eq!((resolution.text(), resolution.tier()), ("old", Tier::Local));
    assert_eq!(resolution.freshness(), Freshness::StaleOnFailure);
    let live = resolution.trace().outcome(Tier::Live);
    assert_eq!(live, Some(TierOutcome::Failed(ErrorKind::Unavailable)));

    bench.clock.advance(Duration::from_secs(30));
    bench.provider.push(Script::deltas(["new"]));
    assert_eq!(bench.resolve(1).await.text(), "new");
}

#[tokio::test]
async fn after_its_last_resort_an_old_one_is_gone() {
    let bench = Bench::with(exact()).await;
    bench.resolve(1).await;
    bench.settled().await;
    bench.clock.advance(25 * HOUR + 7 * 24 * HOUR);
    bench
        .provider
        .push(Script::fails(ErrorKind::Unavailable, Billed::Nothing));
    assert_eq!(bench.resolve(1).await.tier(), Tier::Authored);
}

/// How long a failed key is left alone, by how it failed.
#[tokio::test]
async fn a_failed_key_is_tried_again_after_its_pause_and_not_before() {
    let cut = TokenUsage::default();
    for (name, script, pause) in [
        (
            "failure",
            Script::fails(ErrorKind::Unavailable, Billed::Nothing),
            30,
        ),
        (
            "refusal",
            Script::deltas(["no"]).then_ends(StopReason::Refusal, cut),
            600,
        ),
        (
            "cut",
            Script::deltas(["It"]).then_ends(StopReason::MaxTokens, cut),
            600,
        ),
    ] {
        let bench = Bench::with(exact()).await;
        // A reply that is rejected is asked for once more.
        let calls = if pause == 30 { 1 } else { 2 };
        for _ in 0..calls {
            bench.provider.push(script.clone());
        }
        bench.resolve(1).await;
        bench.settled().await;
        bench
            .clock
            .advance(Duration::from_secs(pause) - Duration::from_millis(1));
        let early = bench.resolve(1).await;
        let live = early.trace().outcome(Tier::Live).map(TierOutcome::as_str);
        assert_eq!(
            (early.tier(), live),
            (Tier::Authored, Some("recent_failure")),
            "{name}"
        );
        bench.settled().await;
        bench.clock.advance(Duration::from_millis(1));
        assert_eq!(bench.resolve(1).await.tier(), Tier::Live, "{name}");
        assert_eq!(bench.provider.calls(), calls + 1, "{name}");
    }
}

#[tokio::test]
async fn a_purged_case_is_forgotten() {
    let bench = Bench::with(exact()).await;
    bench.resolve(1).await;
    bench.resolve(2).await;
    bench.settled().await;
    bench
        .resolver
        .purge_case(bench.request(1).key.case_id)
        .await
        .unwrap();
    assert!(!bench.is_cached(1));
    assert!(bench.is_cached(2));
}

#[tokio::test]
async fn a_new_prompt_version_is_a_new_key() {
    let bench = Bench::with(exact()).await;
    let mut request = bench.request(1);
    bench.resolver.resolve(&request).await;
    bench.settled().await;
    request.key.prompt_version = medcards_core::ai::PromptVersion::new(2);
    assert!(bench.resolver.resolve_local(&request).is_none());
}

/// A deadline that passes ends the wait, not the work.
#[tokio::test(start_paused = true)]
async fn a_generation_slower_than_the_deadline_serves_the_next_one() {
    let bench = Bench::with(exact()).await;
    let gate = Gate::new();
    bench.provider.push(Script::deltas(["late"]).gated(&gate));
    let started = tokio::time::Instant::now();
    let resolution = bench.resolve(1).await;
    assert_eq!(started.elapsed(), Duration::from_secs(8));
    assert_eq!(resolution.tier(), Tier::Authored);
    let live = resolution
        .trace()
        .outcome(Tier::Live)
        .map(TierOutcome::as_str);
    assert_eq!(live, Some("deadline"));

    gate.open();
    bench.settled().await;
    let resolution = bench.resolve(1).await;
    assert_eq!(
        (resolution.tier(), resolution.text()),
        (Tier::Local, "late")
    );
}

#[tokio::test(start_paused = true)]
async fn an_old_one_serves_if_no_new_one_comes_in_time() {
    let bench = Bench::with(exact()).await;
    bench.provider.push(Script::deltas(["old"]));
    bench.resolve(1).await;
    bench.settled().await;
    bench.clock.advance(25 * HOUR);
    bench.provider.push(Script::hangs());
    let resolution = bench.resolve(1).await;
    assert_eq!(
        (resolution.text(), resolution.freshness()),
        ("old", Freshness::StaleOnFailure)
    );
}

#[tokio::test]
async fn a_local_hit_asks_no_other_tier() {
    let bench = Bench::new().await;
    bench.resolve(1).await;
    bench.settled().await;
    let before = [
        Operation::CacheGet,
        Operation::FindFeedback,
        Operation::Reserve,
    ]
    .map(|operation| bench.faults.calls(operation));
    assert!(bench.resolver.resolve_local(&bench.request(1)).is_some());
    let after = [
        Operation::CacheGet,
        Operation::FindFeedback,
        Operation::Reserve,
    ]
    .map(|operation| bench.faults.calls(operation));
    assert_eq!(before, after);
}
