//! The providers against servers that we did not write: llmock, and llama.cpp with real weights.
//!
//! `tests/ai-servers` starts them and sets the variables. Without these the tests say loudly that
//! they are skipped; with `CI` and `MEDCARDS_TEST_REQUIRE_SERVERS` set they fail instead.

use std::time::Duration;

use futures_util::StreamExt;
use medcards_ai::{AnthropicProvider, FeedbackTemplate, OpenAiProvider, Timeouts};
use medcards_core::ErrorKind;
use medcards_core::ai::{
    AiEvent, AiProvider, Billed, FeedbackPrompt, Prompt, PromptPart, StopReason,
};
use medcards_core::spend::Price;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::sample::{Outcome, ask, case, key, request};

/// The most calls that one reply may take here; llmock is told to fail at most twice in a row.
const CALLS_MAX: usize = 4;

fn server(variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
    let required = |name| std::env::var_os(name).is_some();
    if url.is_none() {
        assert!(
            !(required("CI") && required("MEDCARDS_TEST_REQUIRE_SERVERS")),
            "{variable} is not set: run tests/ai-servers"
        );
        eprintln!("SKIPPED: {variable} is not set; run tests/ai-servers to test a real server");
    }
    url
}

/// Both providers, streaming and not, with names for messages.
fn all(
    anthropic_url: &str,
    openai_url: &str,
    timeouts: Timeouts,
) -> Vec<(&'static str, Box<dyn AiProvider>)> {
    let key = || SecretString::from("a-key");
    let mut providers: Vec<(&'static str, Box<dyn AiProvider>)> = Vec::new();
    for (streaming, anthropic_name, openai_name) in [
        (true, "anthropic, streamed", "openai, streamed"),
        (false, "anthropic, whole", "openai, whole"),
    ] {
        let anthropic = AnthropicProvider::builder("claude-haiku-4-5")
            .with_base_url(anthropic_url)
            .with_key(key())
            .with_timeouts(timeouts)
            .with_streaming(streaming);
        providers.push((anthropic_name, Box::new(anthropic.build().unwrap())));
        let openai = OpenAiProvider::builder("smollm2-135m")
            .with_base_url(openai_url)
            .with_key(key())
            .with_price(Price::default())
            .with_timeouts(timeouts)
            .with_streaming(streaming);
        providers.push((openai_name, Box::new(openai.build().unwrap())));
    }
    providers
}

/// A prompt that differs from every other by its words: llmock tells calls apart by their bodies.
fn prompt(words: &str) -> Prompt {
    let mut prompt = FeedbackTemplate::new().shared(&case(), &key(2, "en"));
    prompt.parts.push(PromptPart::Student(words.to_owned()));
    prompt.output_tokens_max = 40;
    prompt
}

/// A busy machine without a graphics card takes its time to read a prompt.
const PATIENT: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(300),
    between_bytes: Duration::from_secs(300),
};

struct Llmock {
    http: reqwest::Client,
    url: String,
}

impl Llmock {
    async fn script(&self, behaviors: Value) {
        let reset = self
            .http
            .post(format!("{}/_llmock/reset", self.url))
            .send()
            .await
            .unwrap();
        assert!(reset.status().is_success());
        let script = self.http.post(format!("{}/_llmock/scenario", self.url));
        let answer = script
            .json(&json!({ "behaviors": behaviors }))
            .send()
            .await
            .unwrap();
        assert!(
            answer.status().is_success(),
            "llmock takes the script {behaviors}"
        );
    }

    async fn verdict(&self) -> Value {
        let verdict = self
            .http
            .get(format!("{}/_llmock/verdict", self.url))
            .send()
            .await
            .unwrap();
        verdict.json().await.unwrap()
    }
}

/// Asks again after a failure, after the wait that the server asked for, as a caller would.
async fn ask_again(provider: &dyn AiProvider, prompt: &Prompt) -> (Vec<Outcome>, Outcome) {
    let mut failures = Vec::new();
    loop {
        let outcome = ask(provider, prompt.clone()).await;
        match &outcome.end {
            Err(failure) if failures.len() < CALLS_MAX => {
                tokio::time::sleep(failure.error.retry_after().unwrap_or_default()).await;
                failures.push(outcome);
            }
            _ => return (failures, outcome),
        }
    }
}

#[tokio::test]
async fn llmock_finds_nothing_wrong_with_how_failures_are_told() {
    let Some(url) = server("MEDCARDS_TEST_LLMOCK_URL") else {
        return;
    };
    let llmock = Llmock {
        http: reqwest::Client::new(),
        url: url.clone(),
    };
    let timeouts = Timeouts {
        between_bytes: Duration::from_millis(400),
        ..Timeouts::default()
    };
    let providers = all(&format!("{url}/anthropic"), &format!("{url}/v1"), timeouts);
    let said = "Spironolactone keeps potassium back — « l’hyperkaliémie » décide 💊.";
    let reply = json!({ "type": "reply", "text": said });
    let fault = |kind: &str| {
        json!([
            { "type": "stream_fault", "kind": kind, "after_chunks": 4, "stall_seconds": 3 }, reply, reply
        ])
    };
    let status =
        |status: u16| json!([{ "type": "fail", "status": status, "retry_after": 0.3 }, reply]);
    let checks = [
        ("no fault", json!([reply]), None, false),
        (
            "rate limit",
            status(429),
            Some(ErrorKind::RateLimited),
            false,
        ),
        ("overload", status(529), Some(ErrorKind::Unavailable), false),
        (
            "truncated",
            fault("truncate"),
            Some(ErrorKind::Unavailable),
            true,
        ),
        (
            "disconnected",
            fault("disconnect"),
            Some(ErrorKind::Unavailable),
            true,
        ),
        (
            "malformed",
            fault("malformed"),
            Some(ErrorKind::Corrupt),
            true,
        ),
        ("stalled", fault("stall"), Some(ErrorKind::Timeout), true),
    ];
    for (name, provider) in &providers {
        for (what, script, failed, only_streams) in &checks {
            if *only_streams && name.ends_with("whole") {
                continue;
            }
            llmock.script(script.clone()).await;
            let (failures, outcome) = ask_again(&**provider, &prompt(what)).await;
            let kinds: Vec<_> = failures
                .into_iter()
                .map(|outcome| {
                    assert!(
                        said.starts_with(outcome.text().trim_end()),
                        "{name}: {what}"
                    );
                    outcome.failure()
                })
                .map(|failure| {
                    let waits = matches!(*what, "rate limit" | "overload");
                    assert_eq!(
                        failure.error.retry_after().is_some(),
                        waits,
                        "{name}: {what}"
                    );
                    assert_eq!(failure.billed == Billed::Nothing, waits, "{name}: {what}");
                    failure.error.kind()
                })
                .collect();
            assert_eq!(kinds, Vec::from_iter(*failed), "{name}: {what}");
            assert_eq!(outcome.text(), said, "{name}: {what}");
            let (stop, usage) = outcome.end.unwrap();
            assert_eq!(stop, StopReason::Complete, "{name}: {what}");
            assert!(usage.output > 0, "{name}: {what}");
            let verdict = llmock.verdict().await;
            assert_eq!(verdict["passed"], true, "{name}: {what}: {verdict}");
            eprintln!("llmock: {name}: {what}: {kinds:?}, then a whole reply; verdict passed");
        }
    }
}

#[tokio::test]
async fn llama_cpp_streams_what_its_model_writes() {
    let Some(url) = server("MEDCARDS_TEST_LLAMA_URL") else {
        return;
    };
    for (name, provider) in &all(&url, &url, PATIENT) {
        let outcome = ask(&**provider, prompt("I mix up potassium and sodium.")).await;
        let text = outcome.text();
        let deltas = outcome.deltas.len();
        let (stop, usage) = outcome.end.unwrap();
        assert!(!text.trim().is_empty(), "{name}");
        assert!(
            matches!(stop, StopReason::Complete | StopReason::MaxTokens),
            "{name}: {stop:?}"
        );
        assert!(usage.output > 0 && usage.output <= 40, "{name}: {usage:?}");
        assert!(usage.input + usage.cache_read > 100, "{name}: {usage:?}");
        if name.ends_with("streamed") {
            assert!(deltas > 3, "{name}: it is streamed as it is written");
        }
        eprintln!(
            "llama.cpp: {name}: {deltas} deltas, {} bytes, {stop:?}, {usage:?}",
            text.len()
        );
    }
}

#[tokio::test]
async fn llama_cpp_goes_on_after_a_caller_hung_up() {
    let Some(url) = server("MEDCARDS_TEST_LLAMA_URL") else {
        return;
    };
    for (name, provider) in &all(&url, &url, PATIENT) {
        if name.ends_with("whole") {
            continue;
        }
        let mut events = provider
            .stream(request(prompt("I will hang up.")))
            .await
            .unwrap();
        assert!(
            matches!(events.next().await, Some(Ok(AiEvent::Delta(_)))),
            "{name}"
        );
        drop(events);
        let again = ask(&**provider, prompt("I will not hang up.")).await;
        assert!(again.end.is_ok(), "{name}: {again:?}");
    }
}
