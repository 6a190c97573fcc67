//! What a server says of its rate limits is known, whatever came of the call.

use std::sync::Arc;

use medcards_ai::{AnthropicProvider, OpenAiProvider};
use medcards_core::Timestamp;
use medcards_core::ai::{AiProvider, RateLimit, RateLimits};
use medcards_core::spend::Price;
use medcards_core::testing::ManualClock;

use crate::sample::{ask, prompt};
use crate::server::{Answer, Server};
use crate::streams::{ANTHROPIC, OPENAI};

/// The moment at which the clock of these tests stands.
fn now() -> Timestamp {
    "2026-11-25T12:00:00Z".parse().unwrap()
}

fn at(time: &str) -> Timestamp {
    format!("2026-11-25T{time}Z").parse().unwrap()
}

fn providers(url: &str) -> [Box<dyn AiProvider>; 2] {
    let clock = || Arc::new(ManualClock::new(now()));
    let anthropic = AnthropicProvider::builder("claude-haiku-4-5")
        .with_base_url(url)
        .with_clock(clock());
    let openai = OpenAiProvider::builder("gpt-test")
        .with_base_url(url)
        .with_price(Price::default())
        .with_clock(clock());
    [
        Box::new(anthropic.build().unwrap()),
        Box::new(openai.build().unwrap()),
    ]
}

fn with(answer: Answer, headers: &[(&'static str, &str)]) -> Answer {
    headers.iter().fold(answer, |answer, (name, value)| {
        answer.with_header(name, value)
    })
}

fn limit(limit: u64, remaining: u64, resets_at: Timestamp) -> Option<RateLimit> {
    Some(RateLimit {
        limit,
        remaining,
        resets_at,
    })
}

#[tokio::test]
async fn the_limits_of_anthropic_are_known_after_a_success_and_after_an_error() {
    let headers = [
        ("anthropic-ratelimit-requests-limit", "50"),
        ("anthropic-ratelimit-requests-remaining", "49"),
        ("anthropic-ratelimit-requests-reset", "2026-11-25T12:00:01Z"),
        ("anthropic-ratelimit-tokens-limit", "60000"),
        ("anthropic-ratelimit-tokens-remaining", "59000"),
        ("anthropic-ratelimit-tokens-reset", "2026-11-25T12:00:02.5Z"),
        ("anthropic-ratelimit-input-tokens-limit", "50000"),
        ("anthropic-ratelimit-input-tokens-remaining", "49500"),
        (
            "anthropic-ratelimit-input-tokens-reset",
            "2026-11-25T13:00:30+01:00",
        ),
        ("anthropic-ratelimit-output-tokens-limit", "10000"),
        ("anthropic-ratelimit-output-tokens-remaining", "0"),
        (
            "anthropic-ratelimit-output-tokens-reset",
            "2026-11-25T11:00:00Z",
        ),
    ];
    for answer in [
        Answer::events(ANTHROPIC),
        Answer::json(429, "{}"),
        Answer::json(529, "{}"),
    ] {
        let server = Server::start(with(answer, &headers)).await;
        let [provider, _] = providers(&server.url);
        assert_eq!(provider.rate_limits(), None, "nothing was said yet");
        drop(ask(&*provider, prompt()).await);
        let expected = RateLimits {
            requests: limit(50, 49, at("12:00:01")),
            tokens: limit(60_000, 59_000, at("12:00:02.5")),
            input_tokens: limit(50_000, 49_500, at("12:00:30")),
            // What is past is now.
            output_tokens: limit(10_000, 0, now()),
        };
        assert_eq!(provider.rate_limits(), Some(expected));
    }
}

#[tokio::test]
async fn the_limits_of_openai_are_known_after_a_success_and_after_an_error() {
    let headers = [
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-reset-requests", "1s"),
        ("x-ratelimit-limit-tokens", "150000"),
        ("x-ratelimit-remaining-tokens", "149984"),
        ("x-ratelimit-reset-tokens", "6m0s"),
    ];
    for answer in [Answer::events(OPENAI), Answer::json(429, "{}")] {
        let server = Server::start(with(answer, &headers)).await;
        for provider in providers(&server.url) {
            drop(ask(&*provider, prompt()).await);
            let expected = RateLimits {
                requests: limit(60, 59, at("12:00:01")),
                tokens: limit(150_000, 149_984, at("12:06:00")),
                ..RateLimits::default()
            };
            assert_eq!(provider.rate_limits(), Some(expected));
        }
    }
}

#[tokio::test]
async fn every_way_to_write_a_time_is_read_and_nonsense_is_not() {
    for (reset, resets_at) in [
        ("20ms", Some(at("12:00:00.02"))),
        ("1.5s", Some(at("12:00:01.5"))),
        ("1h2m3s", Some(at("13:02:03"))),
        ("7", Some(at("12:00:07"))),
        ("0", Some(now())),
        ("250us", Some(at("12:00:00.00025"))),
        ("-5", Some(now())),
        // No window is longer than a day.
        ("9d", Some("2026-11-26T12:00:00Z".parse().unwrap())),
        (
            "9999-01-01T00:00:00Z",
            Some("2026-11-26T12:00:00Z".parse().unwrap()),
        ),
        ("2026-11-25T12:00:05Z", Some(at("12:00:05"))),
        ("", None),
        ("soon", None),
        ("1", Some(at("12:00:01"))),
        ("s", None),
        ("1.2.3s", None),
        ("5 s", None),
        ("1e300d", None),
        ("nan", None),
        ("inf", None),
    ] {
        let headers = [
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", reset),
        ];
        let server = Server::start(with(Answer::json(429, "{}"), &headers)).await;
        let [_, provider] = providers(&server.url);
        drop(ask(&*provider, prompt()).await);
        let requests = resets_at.and_then(|resets_at| limit(60, 59, resets_at));
        let told = provider.rate_limits().and_then(|told| told.requests);
        assert_eq!(told, requests, "{reset:?}");
    }
    for (name, value) in [
        ("x-ratelimit-limit-requests", "many"),
        ("x-ratelimit-remaining-requests", "-1"),
    ] {
        let headers = [
            (name, value),
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1s"),
        ];
        let server = Server::start(with(Answer::json(429, "{}"), &headers)).await;
        let [_, provider] = providers(&server.url);
        drop(ask(&*provider, prompt()).await);
        assert_eq!(provider.rate_limits(), None, "{name}");
    }
}

#[tokio::test]
async fn the_newest_word_counts_and_what_it_leaves_out_stays() {
    let requests = |remaining: &'static str| {
        [
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", remaining),
            ("x-ratelimit-reset-requests", "1s"),
        ]
    };
    let tokens = [
        ("x-ratelimit-limit-tokens", "100"),
        ("x-ratelimit-remaining-tokens", "7"),
        ("x-ratelimit-reset-tokens", "2s"),
    ];
    let server = Server::start_with(move |number| match number {
        0 => with(with(Answer::json(500, "{}"), &requests("9")), &tokens),
        1 => with(Answer::json(500, "{}"), &requests("8")),
        _ => Answer::json(500, "{}"),
    })
    .await;
    let [_, provider] = providers(&server.url);
    for remaining in [9, 8, 8] {
        drop(ask(&*provider, prompt()).await);
        let expected = RateLimits {
            requests: limit(60, remaining, at("12:00:01")),
            tokens: limit(100, 7, at("12:00:02")),
            ..RateLimits::default()
        };
        assert_eq!(provider.rate_limits(), Some(expected));
    }
}
