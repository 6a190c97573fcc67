//! The providers against servers that we did not write: llmock, llm-katan, and llama.cpp with real
//! weights.
//!
//! `tests/ai-servers` starts them and sets the variables. Without these the tests say loudly that
//! they are skipped; with `CI` and `MEDCARDS_TEST_REQUIRE_SERVERS` set they fail instead.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use medcards_ai::{AnthropicProvider, FeedbackTemplate, OpenAiProvider, Timeouts};
use medcards_core::ErrorKind;
use medcards_core::ai::{
    AiBatches, AiEvent, AiProvider, BatchItem, Billed, FeedbackPrompt, Prompt, PromptPart,
    StopReason,
};
use medcards_core::jiff::SignedDuration;
use medcards_core::spend::Price;
use medcards_core::time::{Clock, SystemClock};
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
    all_with_key(anthropic_url, openai_url, timeouts, "a-key")
}

fn all_with_key(
    anthropic_url: &str,
    openai_url: &str,
    timeouts: Timeouts,
    key: &str,
) -> Vec<(&'static str, Box<dyn AiProvider>)> {
    let key = || SecretString::from(key);
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
            .with_batches(true)
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

/// A second question about a case, with all before it marked to be kept.
fn chat(words: &str) -> Prompt {
    let mut prompt = prompt("Why is it spironolactone?");
    prompt.parts.push(PromptPart::Coach(
        "Because it keeps potassium back, and the kidneys fail.".to_owned(),
    ));
    prompt.parts.push(PromptPart::Student(words.to_owned()));
    prompt.cache_through = Some(prompt.parts.len());
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
    /// Forgets scripts and calls: what comes from now on is judged.
    async fn reset(&self) {
        let reset = self.http.post(format!("{}/_llmock/reset", self.url));
        assert!(reset.send().await.unwrap().status().is_success());
    }

    async fn assert_passed(&self, what: &str) {
        let verdict = self.verdict().await;
        assert_eq!(verdict["passed"], true, "{what}: {verdict}");
    }

    async fn script(&self, behaviors: Value) {
        self.reset().await;
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
    let _turn = LLMOCK.lock().await;
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
            llmock.assert_passed(&format!("{name}: {what}")).await;
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

/// llmock judges all calls since it was reset, so its tests take turns.
static LLMOCK: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn llmock_takes_a_chat_whose_beginning_is_to_be_kept() {
    let Some(url) = server("MEDCARDS_TEST_LLMOCK_URL") else {
        return;
    };
    let _turn = LLMOCK.lock().await;
    let http = reqwest::Client::new();
    let llmock = Llmock { http, url };
    let url = &llmock.url;
    let providers = all(&format!("{url}/anthropic"), &format!("{url}/v1"), PATIENT);
    for (name, provider) in &providers {
        llmock
            .script(json!([{ "type": "reply", "text": "Because of the kidneys." }]))
            .await;
        let outcome = ask(&**provider, chat("And now?")).await;
        assert_eq!(outcome.text(), "Because of the kidneys.", "{name}");
        assert_eq!(outcome.end.unwrap().0, StopReason::Complete, "{name}");
        llmock.assert_passed(name).await;
        eprintln!("llmock: {name}: a chat of three turns, marked to be kept; verdict passed");
    }
}

#[tokio::test]
async fn llmock_refuses_what_it_cannot_take_and_says_so() {
    let Some(url) = server("MEDCARDS_TEST_LLMOCK_URL") else {
        return;
    };
    let _turn = LLMOCK.lock().await;
    let http = reqwest::Client::new();
    let llmock = Llmock { http, url };
    llmock.reset().await;
    let url = &llmock.url;
    for (name, provider) in &all(&format!("{url}/anthropic"), &format!("{url}/v1"), PATIENT) {
        for (status, kind) in [
            (400, ErrorKind::Invalid),
            (401, ErrorKind::Denied),
            (403, ErrorKind::Denied),
            (413, ErrorKind::Invalid),
        ] {
            llmock
                .script(json!([{ "type": "fail", "status": status }]))
                .await;
            let words = format!("Please answer {status}.");
            let failure = ask(&**provider, prompt(&words)).await.failure();
            assert_eq!(failure.error.kind(), kind, "{name}: {status}");
            assert_eq!(failure.billed, Billed::Nothing, "{name}: {status}");
            assert!(!failure.error.is_retryable(), "{name}: {status}");
            llmock.assert_passed(&format!("{name}: {status}")).await;
            eprintln!("llmock: {name}: {failure}; verdict passed");
        }
    }
    llmock.reset().await;
    let nowhere = format!("{url}/nowhere");
    for (name, provider) in &all(&nowhere, &format!("{nowhere}/v1"), PATIENT) {
        let failure = ask(&**provider, prompt("Anybody?")).await.failure();
        assert_eq!(failure.error.kind(), ErrorKind::NotFound, "{name}");
        assert_eq!(failure.billed, Billed::Nothing, "{name}");
    }
    llmock.assert_passed("refusals").await;
}

#[tokio::test]
async fn llmock_says_how_much_it_may_still_be_asked() {
    let Some(url) = server("MEDCARDS_TEST_LLMOCK_STRICT_URL") else {
        return;
    };
    for which in 0..4 {
        // Two calls a minute for each key.
        let key = format!("key-{which}");
        let providers = all_with_key(
            &format!("{url}/anthropic"),
            &format!("{url}/v1"),
            PATIENT,
            &key,
        );
        let (name, provider) = &providers[which];
        assert_eq!(provider.rate_limits(), None, "{name}");
        for remaining in [1, 0] {
            let outcome = ask(&**provider, prompt(&format!("{remaining} are left."))).await;
            assert!(outcome.end.is_ok(), "{name}: {outcome:?}");
            let limits = provider.rate_limits().unwrap();
            let requests = limits.requests.unwrap();
            assert_eq!(
                (requests.limit, requests.remaining),
                (2, remaining),
                "{name}"
            );
            assert_eq!(limits.tokens.unwrap().limit, 1_000_000, "{name}");
        }
        let failure = ask(&**provider, prompt("None is left.")).await.failure();
        assert_eq!(failure.error.kind(), ErrorKind::RateLimited, "{name}");
        assert_eq!(failure.billed, Billed::Nothing, "{name}");
        let wait = failure.error.retry_after().unwrap();
        assert!(wait <= Duration::from_secs(60), "{name}: {wait:?}");
        let requests = provider.rate_limits().unwrap().requests.unwrap();
        assert_eq!((requests.limit, requests.remaining), (2, 0), "{name}");
        let left = requests.resets_at.duration_since(SystemClock::new().now());
        assert!(left <= SignedDuration::from_secs(61), "{name}: {left:?}");
        eprintln!("llmock: {name}: 2 of 2, then refused with {wait:?} to wait, {requests:?}");
    }
}

#[tokio::test]
async fn llmock_works_on_a_batch_and_gives_each_item_its_reply() {
    let Some(url) = server("MEDCARDS_TEST_LLMOCK_URL") else {
        return;
    };
    let _turn = LLMOCK.lock().await;
    let http = reqwest::Client::new();
    let llmock = Llmock { http, url };
    llmock.reset().await;
    let url = &llmock.url;
    let providers = all(&format!("{url}/anthropic"), &format!("{url}/v1"), PATIENT);
    for (name, provider) in &providers[..BATCHING] {
        check_batches(name, provider.batches().unwrap()).await;
        llmock.assert_passed(name).await;
    }
}

/// How many of [`all`], from the first, have batches that are tested here.
const BATCHING: usize = 2;

async fn check_batches(name: &str, batches: &dyn AiBatches) {
    let item = |name: &str| BatchItem {
        name: name.to_owned(),
        prompt: prompt(name),
    };
    let items = vec![item("one"), item("two"), item("three")];
    let batch = batches.create_batch(items).await.unwrap();
    let begun = batches.find_batch(&batch).await.unwrap();
    assert_eq!(begun.batch, batch, "{name}");
    assert!(!begun.has_ended, "{name}");
    let error = batches.results(&batch).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{name}");
    let limit = Duration::from_secs(60);
    let ended = tokio::time::timeout(limit, async {
        loop {
            let info = batches.find_batch(&batch).await.unwrap();
            if info.has_ended {
                break info;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!((ended.done, ended.total), (3, 3), "{name}");
    let listed = batches.list_batches(5).await.unwrap();
    assert_eq!(
        listed.iter().filter(|info| info.batch == batch).count(),
        1,
        "{name}"
    );

    let results = batches.results(&batch).await.unwrap();
    let mut results: Vec<_> = results.try_collect().await.unwrap();
    results.sort_by(|one, other| one.name.cmp(&other.name));
    let names: Vec<_> = results.iter().map(|result| result.name.as_str()).collect();
    assert_eq!(names, ["one", "three", "two"], "{name}");
    for result in &results {
        let reply = result.reply.as_ref().unwrap();
        assert_eq!(reply.stop, StopReason::Complete, "{name}");
        assert!(!reply.text.is_empty(), "{name}");
        assert_eq!(reply.cost, batches.price().cost(reply.usage), "{name}");
    }

    let other = batches.create_batch(vec![item("never")]).await.unwrap();
    batches.cancel_batch(&other).await.unwrap();
    let info = batches.find_batch(&other).await.unwrap();
    assert!(info.has_ended, "{name}");
    for unknown in ["msgbatch_unknown", "batch_unknown"] {
        let error = batches.find_batch(unknown).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{name}");
    }
    eprintln!("llmock: {name}: a batch of three, waited for, listed and read; another cancelled");
}

#[tokio::test]
async fn llm_katan_wants_a_key_and_repeats_what_it_was_sent() {
    let Some(url) = server("MEDCARDS_TEST_KATAN_URL") else {
        return;
    };
    for (name, provider) in &all(&url, &url, PATIENT) {
        let outcome = ask(&**provider, prompt("I mix up potassium and sodium.")).await;
        let text = outcome.text();
        assert!(
            text.contains("I mix up potassium and sodium."),
            "{name}: {text}"
        );
        if name.starts_with("anthropic") {
            assert!(text.contains("max_tokens=40"), "{name}: {text}");
        }
        let (stop, usage) = outcome.end.unwrap();
        assert_eq!(stop, StopReason::Complete, "{name}");
        assert!(usage.output > 0, "{name}");
        let text = ask(&**provider, chat("And now?")).await.text();
        // The instructions count as one.
        assert!(text.contains("messages=4"), "{name}: {text}");
        assert!(text.contains("And now?"), "{name}: {text}");
        eprintln!(
            "llm-katan: {name}: repeats {} bytes, {stop:?}, {usage:?}",
            text.len()
        );
    }
    for streaming in [true, false] {
        let anthropic = AnthropicProvider::builder("claude-haiku-4-5")
            .with_base_url(&url)
            .with_streaming(streaming);
        let openai = OpenAiProvider::builder("katan")
            .with_base_url(&url)
            .with_price(Price::default())
            .with_streaming(streaming);
        let providers: [Box<dyn AiProvider>; 2] = [
            Box::new(anthropic.build().unwrap()),
            Box::new(openai.build().unwrap()),
        ];
        for provider in providers {
            let failure = ask(&*provider, prompt("No key.")).await.failure();
            assert_eq!(failure.error.kind(), ErrorKind::Denied, "{provider}");
            assert_eq!(failure.billed, Billed::Nothing, "{provider}");
            assert!(failure.to_string().contains("check the key"), "{failure}");
            eprintln!("llm-katan: without a key: {failure}");
        }
    }
}

#[tokio::test]
async fn llama_cpp_talks_on_and_says_what_it_remembered() {
    let Some(url) = server("MEDCARDS_TEST_LLAMA_URL") else {
        return;
    };
    for (name, provider) in &all(&url, &url, PATIENT) {
        let mut again = chat("And now?");
        again.output_tokens_max = 10;
        let first = ask(&**provider, again.clone()).await;
        assert!(!first.text().trim().is_empty(), "{name}");
        again.parts.push(PromptPart::Coach(first.text()));
        again
            .parts
            .push(PromptPart::Student("Say it in one word.".to_owned()));
        again.output_tokens_max = 5;
        let outcome = ask(&**provider, again).await;
        let (stop, usage) = outcome.end.unwrap();
        assert!(usage.output <= 5, "{name}: {usage:?}");
        assert!(
            usage.cache_read > 0,
            "{name}: it remembers by itself: {usage:?}"
        );
        eprintln!("llama.cpp: {name}: a chat of five turns, {stop:?}, {usage:?}");
    }
}

#[tokio::test]
async fn llama_cpp_refuses_a_prompt_beyond_its_context() {
    let Some(url) = server("MEDCARDS_TEST_LLAMA_URL") else {
        return;
    };
    for (name, provider) in &all(&url, &url, PATIENT) {
        let long = "Potassium and sodium are not the same. ".repeat(2_000);
        let failure = ask(&**provider, prompt(&long)).await.failure();
        eprintln!("llama.cpp: {name}: a prompt too long: {failure}");
        assert_eq!(failure.error.kind(), ErrorKind::Invalid, "{name}");
        assert_eq!(failure.billed, Billed::Nothing, "{name}");
        assert!(!failure.to_string().contains("sodium"), "{failure}");
    }
}
