use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use medcards_ai::layer::{RateLimitAware, RateLimitConfig};
use medcards_core::ErrorKind::RateLimited;
use medcards_core::ai::{AiProvider, RateLimit, RateLimits, Refusal};
use medcards_core::time::Clock;
use tokio::time::{Instant, advance, timeout};

use super::{Double, TokioClock, ask, error, request};

fn aware(double: &Arc<Double>) -> (RateLimitAware<Arc<Double>>, Arc<TokioClock>) {
    let clock = TokioClock::start();
    let config = RateLimitConfig::default();
    let provider = RateLimitAware::new(Arc::clone(double), config, Arc::clone(&clock) as _);
    (provider, clock)
}

fn requests(clock: &TokioClock, remaining: u64, reset: Duration) -> RateLimits {
    RateLimits {
        requests: Some(RateLimit {
            limit: 100,
            remaining,
            resets_at: clock.now() + reset,
        }),
        ..RateLimits::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_passes_while_much_is_left() {
    let double = Double::new();
    let (provider, clock) = aware(&double);
    double.limit(requests(&clock, 90, Duration::from_secs(60)));
    let began = Instant::now();
    for reply in join_all((0..50).map(|_| ask(&provider))).await {
        reply.unwrap();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_spread_until_all_is_back() {
    let double = Double::new();
    let (provider, clock) = aware(&double);
    double.limit(requests(&clock, 10, Duration::from_secs(5)));
    let began = Instant::now();
    let _one_that_goes_on = provider.stream(request()).await.unwrap();
    let calls = join_all((0..9).map(|_| ask(&provider))).await;
    let begun: Vec<_> = double.begun_since(began);
    let apart = begun.windows(2).map(|two| two[1] - two[0]).min().unwrap();
    assert!(apart >= Duration::from_millis(500), "{apart:?}");
    for failure in calls.into_iter().filter_map(Result::err) {
        assert_eq!(failure.refusal, Some(Refusal::RateLimited));
        assert!(failure.error.retry_after().unwrap() > Duration::from_secs(2));
    }
    assert!(began.elapsed() <= Duration::from_secs(2));
    assert!((2..=5).contains(&begun.len()), "{begun:?}");
}

#[tokio::test(start_paused = true)]
async fn calls_under_way_count_as_not_told_yet() {
    let double = Double::new();
    let (provider, clock) = aware(&double);
    double.limit(requests(&clock, 12, Duration::from_secs(60)));
    let held = [
        provider.stream(request()).await.unwrap(),
        provider.stream(request()).await.unwrap(),
    ];
    // Ten are left then, which must last for a minute.
    let failure = ask(&provider).await.unwrap_err();
    assert_eq!(failure.refusal, Some(Refusal::RateLimited));
    drop(held);
    ask(&provider).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_while_nothing_is_left() {
    let double = Double::new();
    let (provider, clock) = aware(&double);
    double.limit(requests(&clock, 0, Duration::from_secs(30)));
    let failure = ask(&provider).await.unwrap_err();
    assert_eq!(failure.refusal, Some(Refusal::RateLimited));
    assert_eq!(failure.error.retry_after(), Some(Duration::from_secs(30)));
    advance(Duration::from_secs(29)).await;
    let began = Instant::now();
    ask(&provider).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    assert_eq!(double.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn all_wait_as_long_as_the_provider_asked_and_come_back_one_by_one() {
    let double = Double::new();
    let (provider, _clock) = aware(&double);
    double.fail(error(RateLimited).with_retry_after(Duration::from_secs(5)));
    let failure = ask(&provider).await.unwrap_err();
    assert_eq!(failure.refusal, None, "the provider itself said no");
    let failure = ask(&provider).await.unwrap_err();
    assert_eq!(failure.refusal, Some(Refusal::RateLimited));
    assert_eq!(failure.error.retry_after(), Some(Duration::from_secs(5)));
    advance(Duration::from_secs(4)).await;
    let began = Instant::now();
    for reply in join_all((0..4).map(|_| ask(&provider))).await {
        reply.unwrap();
    }
    let begun = double.begun_since(began);
    let expected = [1_000, 1_050, 1_100, 1_150].map(Duration::from_millis);
    assert_eq!(begun[1..], expected, "the first began before");
}

#[tokio::test(start_paused = true)]
async fn without_a_time_the_pause_doubles_until_a_call_succeeds() {
    let double = Double::new();
    double.delay(Duration::from_millis(1));
    let config = RateLimitConfig {
        wait_max: Duration::ZERO,
        ..RateLimitConfig::default()
    };
    let provider = RateLimitAware::new(Arc::clone(&double), config, TokioClock::start());
    for pause_s in [1, 2, 4, 8, 16, 32, 60, 60, 0, 1] {
        if pause_s == 0 {
            ask(&provider).await.unwrap();
            continue;
        }
        // Two that are refused together are refused once.
        double.fail_times(2, RateLimited);
        let (one, two) = tokio::join!(ask(&provider), ask(&provider));
        for failure in [one, two].map(Result::unwrap_err) {
            assert_eq!((failure.refusal, failure.error.kind()), (None, RateLimited));
        }
        let failure = ask(&provider).await.unwrap_err();
        assert_eq!(failure.refusal, Some(Refusal::RateLimited));
        let pause = Duration::from_secs(pause_s);
        assert_eq!(failure.error.retry_after(), Some(pause));
        advance(pause).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_dropped_while_it_waits_is_not_under_way() {
    let double = Double::new();
    let (provider, clock) = aware(&double);
    double.limit(requests(&clock, 10, Duration::from_secs(10)));
    ask(&provider).await.unwrap();
    for _ in 0..5 {
        let dropped = timeout(Duration::from_millis(1), ask(&provider)).await;
        assert!(dropped.is_err() || dropped.is_ok_and(|reply| reply.is_err()));
    }
    advance(Duration::from_secs(3)).await;
    let mut stream = provider.stream(request()).await.unwrap();
    while stream.next().await.is_some() {}
    assert_eq!(double.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_waits_while_the_provider_says_no_does_not_ask() {
    let double = Double::new();
    let (provider, clock) = aware(&double);
    double.limit(requests(&clock, 10, Duration::from_secs(10)));
    ask(&provider).await.unwrap();
    double.delay(Duration::from_millis(500));
    double.fail(error(RateLimited).with_retry_after(Duration::from_secs(20)));
    // The second waits a second longer for its turn than the first, which is told no meanwhile.
    let (said_no, waited) = tokio::join!(ask(&provider), ask(&provider));
    assert_eq!(said_no.unwrap_err().refusal, None);
    assert_eq!(waited.unwrap_err().refusal, Some(Refusal::RateLimited));
    assert_eq!(double.calls(), 2);
}
