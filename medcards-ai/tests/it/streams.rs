//! A recorded stream means the same however it arrives, and nothing when it does not arrive whole.

use std::sync::Arc;

use medcards_ai::{EVENT_BYTES_MAX, REPLY_BYTES_MAX};
use medcards_core::ErrorKind;
use medcards_core::ai::{AiProvider, Billed, StopReason};
use medcards_core::spend::TokenUsage;
use proptest::prelude::*;
use serde_json::json;

use crate::sample::{Outcome, anthropic, ask, openai, prompt, providers};
use crate::server::{Answer, End, Server};

pub(crate) const ANTHROPIC: &str = include_str!("../fixtures/anthropic.sse");
pub(crate) const OPENAI: &str = include_str!("../fixtures/openai.sse");
const TEXT: &str = "Spironolactone is tempting — it lowers blood pressure — but a potassium of 6.1 \
mmol/L speaks against it.\n\n« L’hyperkaliémie » décide : β-blockers 💊 are right here.";
const USAGE: TokenUsage = TokenUsage {
    input: 472,
    cache_read: 12,
    cache_write: 0,
    output: 97,
};

/// Both providers with the stream recorded for each.
fn recorded(url: &str) -> [(Box<dyn AiProvider>, &'static str); 2] {
    let [anthropic, openai] = providers(url);
    [(anthropic, ANTHROPIC), (openai, OPENAI)]
}

#[tokio::test]
async fn a_recorded_stream_gives_its_text_usage_and_end() {
    for which in 0..2 {
        let body = [ANTHROPIC, OPENAI][which];
        for line_end in ["\n", "\r\n", "\r"] {
            let server = Server::start(Answer::events(body.replace('\n', line_end))).await;
            let outcome = ask(&*recorded(&server.url)[which].0, prompt()).await;
            assert_eq!(outcome.text(), TEXT, "{line_end:?}");
            assert_eq!(outcome.deltas.len(), 5);
            assert_eq!(outcome.end.unwrap(), (StopReason::Complete, USAGE));
        }
    }
}

#[tokio::test]
async fn a_reply_in_one_document_gives_the_same_as_a_stream() {
    let documents = [
        include_str!("../fixtures/anthropic.json"),
        include_str!("../fixtures/openai.json"),
    ];
    for (which, document) in documents.into_iter().enumerate() {
        let server = Server::start(Answer::json(200, document)).await;
        let outcome = ask(&*recorded(&server.url)[which].0, prompt()).await;
        assert_eq!(outcome.text(), TEXT);
        assert_eq!(outcome.end.unwrap(), (StopReason::Complete, USAGE));
    }
}

/// From which byte on a recorded stream may end well without its last event: where the server of
/// the second had said why the model finished, and the body ends in good order.
fn said_why(which: usize, end: End) -> usize {
    if which == 0 || end == End::Cut {
        return usize::MAX;
    }
    let reason = OPENAI.find("\"finish_reason\":\"stop\"").unwrap();
    reason + OPENAI[reason..].find("\n\n").unwrap() + 2
}

/// Sends each recorded stream up to each byte, and then ends as `end` says.
async fn check_cuts(end: End) {
    for which in 0..2 {
        let body = [ANTHROPIC, OPENAI][which].as_bytes();
        let server =
            Server::start_with(move |cut| Answer::events(&body[..cut]).with_end(end)).await;
        let provider = &recorded(&server.url)[which].0;
        let said_why = said_why(which, end);
        for cut in 0..body.len() {
            let outcome = ask(&**provider, prompt()).await;
            assert!(TEXT.starts_with(&outcome.text()), "cut at {cut}");
            if cut >= said_why {
                assert_eq!(outcome.text(), TEXT, "cut at {cut}");
                let (stop, usage) = outcome.end.unwrap();
                assert_eq!(stop, StopReason::Complete, "cut at {cut}");
                let untold = usage.input == prompt().len_bytes() as u64 + 1_024;
                assert!(usage == USAGE || untold, "cut at {cut}: {usage:?}");
                continue;
            }
            let failure = outcome.failure();
            assert_eq!(failure.error.kind(), ErrorKind::Unavailable, "cut at {cut}");
            assert_ne!(failure.billed, Billed::Nothing, "cut at {cut}");
        }
        // All the bytes, and then the same end: the server had said that the reply is whole.
        let outcome = ask(&**provider, prompt()).await;
        assert_eq!(outcome.text(), TEXT);
        assert_eq!(outcome.end.unwrap(), (StopReason::Complete, USAGE));
    }
}

#[tokio::test]
async fn a_stream_cut_at_any_byte_is_a_failure_with_the_text_so_far() {
    check_cuts(End::Cut).await;
}

#[tokio::test]
async fn a_stream_closed_properly_before_the_server_said_why_is_a_failure_all_the_same() {
    check_cuts(End::Closed).await;
}

#[tokio::test]
async fn a_document_cut_at_any_byte_is_a_failure() {
    let documents = [
        include_str!("../fixtures/anthropic.json"),
        include_str!("../fixtures/openai.json"),
    ];
    for (which, document) in documents.into_iter().enumerate() {
        let server = Server::start_with(move |cut| {
            Answer::json(200, &document.as_bytes()[..cut]).with_end(End::Closed)
        })
        .await;
        let provider = &recorded(&server.url)[which].0;
        for cut in 0..document.len() {
            let outcome = ask(&**provider, prompt()).await;
            assert!(outcome.deltas.is_empty());
            assert_eq!(outcome.failure().billed, Billed::Unknown, "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn a_stream_split_at_any_byte_gives_the_same_events() {
    for which in 0..2 {
        let body = [ANTHROPIC, OPENAI][which].as_bytes();
        let server = Server::start_with(move |at| {
            Answer::events([]).with_pieces([&body[..at], &body[at..]])
        })
        .await;
        let provider = &recorded(&server.url)[which].0;
        let unsplit = ask(&**provider, prompt()).await;
        for at in 1..=body.len() {
            let outcome = ask(&**provider, prompt()).await;
            assert_eq!(outcome.deltas, unsplit.deltas, "split at {at}");
            assert_eq!(
                outcome.end.unwrap(),
                (StopReason::Complete, USAGE),
                "split at {at}"
            );
        }
    }
}

#[tokio::test]
async fn a_stream_in_pieces_of_one_byte_gives_the_same_events() {
    for which in 0..2 {
        let body = [ANTHROPIC, OPENAI][which].as_bytes();
        let server = Server::start(Answer::events([]).with_pieces(body.chunks(1))).await;
        let outcome = ask(&*recorded(&server.url)[which].0, prompt()).await;
        assert_eq!(outcome.text(), TEXT);
        assert_eq!(outcome.end.unwrap(), (StopReason::Complete, USAGE));
    }
}

#[tokio::test]
async fn an_error_within_a_stream_ends_it_and_bills_what_was_told() {
    let begun = &ANTHROPIC[..ANTHROPIC.find(" is tempting").unwrap()];
    let begun = &begun[..begun.rfind("event: ").unwrap()];
    let told = TokenUsage {
        input: 472,
        cache_read: 12,
        cache_write: 0,
        output: 3,
    };
    for (name, kind) in [
        ("overloaded_error", ErrorKind::Unavailable),
        ("api_error", ErrorKind::Unavailable),
        ("rate_limit_error", ErrorKind::RateLimited),
        ("timeout_error", ErrorKind::Timeout),
        ("invalid_request_error", ErrorKind::Invalid),
        ("billing_error", ErrorKind::Denied),
        ("an_error_of_next_year", ErrorKind::Unavailable),
    ] {
        let error = format!(
            r#"{{"type":"error","error":{{"type":"{name}","message":"you wrote: SECRET WORDS"}}}}"#
        );
        let body = format!("{begun}event: error\ndata: {error}\n\n{ANTHROPIC}");
        let server = Server::start(Answer::events(body)).await;
        let outcome = ask(&anthropic(&server.url), prompt()).await;
        assert_eq!(outcome.text(), "Spironolactone");
        let failure = outcome.failure();
        assert_eq!(failure.error.kind(), kind, "{name}");
        assert_eq!(failure.billed, Billed::Tokens(told));
        assert!(failure.to_string().contains(name), "{failure}");
        assert!(!format!("{failure:?}").contains("SECRET"), "{failure:?}");
    }
}

#[tokio::test]
async fn an_error_before_any_usage_is_billed_unknown() {
    for (which, body) in [
        (
            0,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
        ),
        (0, "data: {\"type\":\"error\"}\n\n"),
        (
            1,
            "data: {\"error\":{\"code\":500,\"type\":\"server_error\",\"message\":\"x\"}}\n\n",
        ),
        (
            1,
            "event: error\ndata: {\"error\":{\"type\":\"overloaded_error\"}}\n\n",
        ),
    ] {
        let server = Server::start(Answer::events(body)).await;
        let failure = ask(&*recorded(&server.url)[which].0, prompt())
            .await
            .failure();
        assert_eq!(failure.error.kind(), ErrorKind::Unavailable, "{body}");
        assert_eq!(failure.billed, Billed::Unknown, "{body}");
    }
}

#[tokio::test]
async fn every_reason_to_stop_but_the_end_is_told_apart() {
    for (which, name, stop) in [
        (0, "end_turn", StopReason::Complete),
        (0, "stop_sequence", StopReason::Complete),
        (0, "max_tokens", StopReason::MaxTokens),
        (0, "model_context_window_exceeded", StopReason::MaxTokens),
        (0, "refusal", StopReason::Refusal),
        (0, "tool_use", StopReason::Unknown),
        (0, "pause_turn", StopReason::Unknown),
        (0, "a_reason_of_next_year", StopReason::Unknown),
        (1, "stop", StopReason::Complete),
        (1, "length", StopReason::MaxTokens),
        (1, "model_length", StopReason::MaxTokens),
        (1, "content_filter", StopReason::Refusal),
        (1, "tool_calls", StopReason::Unknown),
        (1, "function_call", StopReason::Unknown),
        (1, "a_reason_of_next_year", StopReason::Unknown),
    ] {
        let body = [ANTHROPIC, OPENAI][which]
            .replace("\"end_turn\"", &format!("\"{name}\""))
            .replace(
                "\"finish_reason\":\"stop\"",
                &format!("\"finish_reason\":\"{name}\""),
            );
        let server = Server::start(Answer::events(body)).await;
        let outcome = ask(&*recorded(&server.url)[which].0, prompt()).await;
        assert_eq!(outcome.end.unwrap().0, stop, "{name}");
    }
}

#[tokio::test]
async fn an_end_without_a_reason_is_not_complete() {
    for (which, body) in [
        (0, "data: {\"type\":\"message_stop\"}\n\n"),
        (1, "data: [DONE]\n\n"),
    ] {
        let server = Server::start(Answer::events(body)).await;
        let outcome = ask(&*recorded(&server.url)[which].0, prompt()).await;
        assert_eq!(outcome.end.unwrap().0, StopReason::Unknown);
    }
}

#[tokio::test]
async fn a_refusal_in_words_of_its_own_is_a_refusal() {
    let body = OPENAI.replace(
        r#""refusal":null"#,
        r#""refusal":"I cannot help with that.""#,
    );
    let server = Server::start(Answer::events(body)).await;
    let outcome = ask(&openai(&server.url), prompt()).await;
    assert_eq!(outcome.end.unwrap().0, StopReason::Refusal);
}

#[tokio::test]
async fn a_server_that_tells_no_usage_is_billed_a_token_for_each_byte() {
    let prompt_bytes = prompt().len_bytes() as u64;
    let untold: String = OPENAI
        .split_inclusive("\n\n")
        .filter(|event| !event.contains("prompt_tokens"))
        .collect::<String>()
        .replace(
            r#""content":" is tempting""#,
            r#""content":" is tempting","reasoning":"12345""#,
        );
    let server = Server::start(Answer::events(untold)).await;
    let (stop, usage) = ask(&openai(&server.url), prompt()).await.end.unwrap();
    assert_eq!(stop, StopReason::Complete);
    assert_eq!(usage.input, prompt_bytes + 1_024);
    assert_eq!(usage.output, TEXT.len() as u64 + 5);
}

#[tokio::test]
async fn cached_tokens_of_openai_are_not_counted_twice() {
    // More cached than there were: a server that counts like Anthropic. No underflow.
    for (cached, input, cache_read) in [("12", 472, 12), ("9999", 0, 484), ("null", 484, 0)] {
        let body = OPENAI.replace(
            "\"cached_tokens\":12",
            &format!("\"cached_tokens\":{cached}"),
        );
        let server = Server::start(Answer::events(body)).await;
        let (_, usage) = ask(&openai(&server.url), prompt()).await.end.unwrap();
        assert_eq!((usage.input, usage.cache_read), (input, cache_read));
    }
}

#[tokio::test]
async fn a_cut_after_the_final_usage_bills_exactly_it() {
    for (which, last) in [(0, "event: message_stop"), (1, "data: [DONE]")] {
        let body = [ANTHROPIC, OPENAI][which];
        let body = &body[..body.find(last).unwrap()];
        let server = Server::start(Answer::events(body).with_end(End::Cut)).await;
        let failure = ask(&*recorded(&server.url)[which].0, prompt())
            .await
            .failure();
        assert_eq!(failure.billed, Billed::Tokens(USAGE));
    }
}

#[tokio::test]
async fn events_and_fields_nobody_knows_are_ignored() {
    let strange =
        ": comment\n\nevent: news\ndata: not even JSON\n\nid: 7\nretry: 10\n\ndata\nwhat: x\n\n";
    let strange = strange.replace("data\nwhat: x\n\n", "what: x\n\n");
    for which in 0..2 {
        let body = format!("\u{feff}{strange}{}", [ANTHROPIC, OPENAI][which])
            .replace("\n\n", &format!("\n\n{strange}"));
        let server = Server::start(Answer::events(body)).await;
        let outcome = ask(&*recorded(&server.url)[which].0, prompt()).await;
        assert_eq!(outcome.text(), TEXT);
        assert_eq!(outcome.end.unwrap(), (StopReason::Complete, USAGE));
    }
}

#[tokio::test]
async fn a_stream_without_sense_is_corrupt_and_says_nothing_of_its_words() {
    let secret = "SECRET";
    for which in 0..2 {
        for body in [
            format!("data: {secret}\n\n"),
            format!("data: {{\"type\":\"{secret}\n\n"),
            format!("data: {{\"type\":\"content_block_delta\",\"choices\":\"{secret}\"}}\n\n"),
            "data: \u{0}\n\n".to_owned(),
        ] {
            let server = Server::start(Answer::events(&body)).await;
            let failure = ask(&*recorded(&server.url)[which].0, prompt())
                .await
                .failure();
            assert_eq!(failure.error.kind(), ErrorKind::Corrupt, "{body}");
            assert_eq!(failure.billed, Billed::Unknown, "{body}");
            assert!(
                !format!("{failure} {failure:?}").contains(secret),
                "{failure:?}"
            );
        }
        let server = Server::start(Answer::events(b"data: \xff\xfe\n\n")).await;
        let failure = ask(&*recorded(&server.url)[which].0, prompt())
            .await
            .failure();
        assert_eq!(failure.error.kind(), ErrorKind::Corrupt);
    }
}

#[tokio::test]
async fn a_page_in_place_of_a_reply_is_corrupt() {
    for media_type in [
        "text/html",
        "text/plain; charset=utf-8",
        "application/octet-stream",
    ] {
        let server = Server::start(Answer::new(200, media_type, "<html>Log in</html>")).await;
        for provider in providers(&server.url) {
            let failure = ask(&*provider, prompt()).await.failure();
            assert_eq!(failure.error.kind(), ErrorKind::Corrupt, "{media_type}");
            assert_eq!(failure.billed, Billed::Unknown);
        }
    }
}

#[tokio::test]
async fn an_event_that_never_ends_is_given_up() {
    let piece = vec![b'x'; 64 * 1024];
    let pieces = || std::iter::repeat_n(&piece[..], 2 * EVENT_BYTES_MAX / piece.len());
    let begun = b"data: ";
    // Silence at the end: the client has to give up by itself.
    let answer = Answer::events([])
        .with_pieces(std::iter::once(&begun[..]).chain(pieces()))
        .with_end(End::Silence);
    let server = Server::start(answer).await;
    for provider in providers(&server.url) {
        let failure = ask(&*provider, prompt()).await.failure();
        assert_eq!(failure.error.kind(), ErrorKind::Corrupt);
        assert!(
            failure.to_string().contains("an event has more than"),
            "{failure}"
        );
    }
}

#[tokio::test]
async fn a_reply_that_never_ends_is_given_up() {
    let event = format!("event: news\ndata: {}\n\n", "x".repeat(60_000));
    let pieces = || std::iter::repeat_n(event.as_bytes(), REPLY_BYTES_MAX / event.len() + 1);
    for (answer, what) in [
        (Answer::events([]), "the reply has more than"),
        (Answer::json(200, []), "the reply has more than"),
    ] {
        let answer = answer.with_pieces(pieces()).with_end(End::Silence);
        let server = Server::start(answer).await;
        for provider in providers(&server.url) {
            let failure = ask(&*provider, prompt()).await.failure();
            assert_eq!(failure.error.kind(), ErrorKind::Corrupt);
            assert!(failure.to_string().contains(what), "{failure}");
        }
    }
}

/// Bytes at random, and recorded streams with bytes changed, left out or doubled.
fn disturbed() -> impl Strategy<Value = Vec<u8>> {
    let change = (0..3_000_usize, any::<u8>(), 0..4_u8);
    let changed =
        (0..2_usize, proptest::collection::vec(change, 1..6)).prop_map(|(which, changes)| {
            let mut bytes = [ANTHROPIC, OPENAI][which].as_bytes().to_vec();
            for (at, byte, how) in changes {
                let at = at % bytes.len();
                match how {
                    0 => bytes[at] = byte,
                    1 => drop(bytes.drain(at..(at + usize::from(byte)).min(bytes.len() - 1))),
                    2 => bytes.insert(at, byte),
                    _ => bytes.extend_from_within(at..),
                }
            }
            bytes
        });
    prop_oneof![proptest::collection::vec(any::<u8>(), 0..2_000), changed]
}

#[test]
fn no_bytes_make_a_provider_panic_or_hang() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let body = Arc::new(std::sync::Mutex::new(Vec::new()));
    let server = runtime.block_on(Server::start_with({
        let body = Arc::clone(&body);
        move |number| {
            let bytes = body.lock().unwrap().clone();
            if number % 4 < 2 {
                Answer::events(bytes)
            } else {
                Answer::json(200, bytes)
            }
        }
    }));
    let providers = providers(&server.url);
    let limit = std::time::Duration::from_secs(20);
    proptest!(ProptestConfig::with_cases(400), |(bytes in disturbed())| {
        *body.lock().unwrap() = bytes;
        for provider in providers.iter().chain(&providers) {
            let call = async { tokio::time::timeout(limit, ask(&**provider, prompt())).await };
            // Any outcome is right, if there is one; `ask` checks its form.
            drop(runtime.block_on(call).unwrap());
        }
    });
}

/// An OpenAI-compatible stream with these events, which are JSON but for the last.
async fn openai_says(events: &[&str]) -> Outcome {
    let body: String = events
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect();
    let server = Server::start(Answer::events(body)).await;
    ask(&openai(&server.url), prompt()).await
}

#[tokio::test]
async fn servers_that_differ_from_openai_are_understood() {
    let usage = |input, output| TokenUsage {
        input,
        output,
        ..TokenUsage::default()
    };
    let role = r#"{"choices":[{"index":0,"delta":{"role":"assistant"}}]}"#;
    let hello = r#"{"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}"#;
    let stop = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let told = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#;
    let bound = usage(prompt().len_bytes() as u64 + 1_024, 5);
    for (what, events, told) in [
        (
            "as it should be",
            vec![role, hello, stop, told, "[DONE]"],
            usage(9, 2),
        ),
        ("no usage at all", vec![role, hello, stop, "[DONE]"], bound),
        ("no last event", vec![role, hello, stop, told], usage(9, 2)),
        (
            "neither usage nor a last event",
            vec![role, hello, stop],
            bound,
        ),
        (
            "usage in every chunk, as a total so far",
            vec![
                r#"{"choices":[{"delta":{"role":"assistant","content":""}}],"usage":{"prompt_tokens":9,"completion_tokens":0}}"#,
                r#"{"choices":[{"delta":{"content":"Hello"}}],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#,
                r#"{"choices":[{"delta":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3}}"#,
                "[DONE]",
            ],
            usage(9, 3),
        ),
        (
            "usage before the reason, and empty chunks everywhere",
            vec![
                r#"{"choices":[]}"#,
                "{}",
                hello,
                told,
                r#"{"choices":null}"#,
                stop,
                "[DONE]",
            ],
            usage(9, 2),
        ),
        (
            "text, reason and usage at once",
            vec![
                r#"{"choices":[{"delta":{"content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
                "[DONE]",
            ],
            usage(9, 2),
        ),
        (
            "thinking, other choices, and things nobody knows",
            vec![
                r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#,
                r#"{"choices":[{"index":1,"delta":{"content":"Other"}}]}"#,
                r#"{"choices":[{"delta":{"content":null,"annotations":[],"audio":{}}}]}"#,
                hello,
                stop,
                told,
                "[DONE]",
                "this is not read",
            ],
            usage(9, 2),
        ),
    ] {
        let outcome = openai_says(&events).await;
        assert_eq!(outcome.text(), "Hello", "{what}");
        assert_eq!(outcome.end.unwrap(), (StopReason::Complete, told), "{what}");
    }
}

#[tokio::test]
async fn a_stream_that_closes_without_a_reason_is_cut() {
    let hello = r#"{"choices":[{"delta":{"content":"Hello"}}]}"#;
    let told = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#;
    let outcome = openai_says(&[hello, told]).await;
    assert_eq!(outcome.text(), "Hello");
    let failure = outcome.failure();
    assert_eq!(failure.error.kind(), ErrorKind::Unavailable);
    assert_eq!(failure.billed, Billed::Unknown);
    // Anthropic always sends its last event.
    let body = &ANTHROPIC[..ANTHROPIC.find("event: message_stop").unwrap()];
    let server = Server::start(Answer::events(body)).await;
    let failure = ask(&anthropic(&server.url), prompt()).await.failure();
    assert_eq!(failure.error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn whatever_stands_in_the_place_of_an_error_is_one() {
    for error in [
        r#"{"error":"SECRET words"}"#,
        r#"{"error":["SECRET"]}"#,
        r#"{"error":{"type":7,"code":500,"details":"SECRET"}}"#,
        r#"{"type":"error","error":{"type":{"a":"SECRET"}}}"#,
    ] {
        for answer in [
            Answer::events(format!("event: error\ndata: {error}\n\n")),
            Answer::json(200, error),
            Answer::json(503, error),
        ] {
            let server = Server::start(answer).await;
            let failure = ask(&openai(&server.url), prompt()).await.failure();
            assert_eq!(failure.error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(!format!("{failure} {failure:?}").contains("SECRET"));
        }
        let server = Server::start(Answer::json(200, error)).await;
        let failure = ask(&anthropic(&server.url), prompt()).await.failure();
        assert_eq!(failure.error.kind(), ErrorKind::Unavailable, "{error}");
    }
}

#[tokio::test]
async fn what_anthropic_sends_besides_text_is_ignored_but_billed() {
    let told = r#""usage":{"input_tokens":9,"output_tokens":0}"#;
    let events = [
        format!(r#"{{"type":"message_start","message":{{{told}}}}}"#),
        r#"{"type":"ping"}"#.to_owned(),
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#.to_owned(),
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hmmm"}}"#.to_owned(),
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"x"}}"#.to_owned(),
        r#"{"type":"content_block_stop","index":0}"#.to_owned(),
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"x"}}"#.to_owned(),
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}"#.to_owned(),
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"Hello"}}"#.to_owned(),
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"citations_delta","citation":{}}}"#.to_owned(),
        r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{"}}"#.to_owned(),
        r#"{"type":"an_event_of_next_year","content":[]}"#.to_owned(),
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","container":null}}"#.to_owned(),
        r#"{"type":"message_stop"}"#.to_owned(),
    ];
    let body = |events: &[String]| -> String {
        events
            .iter()
            .map(|event| format!("data: {event}\n\n"))
            .collect()
    };
    let server = Server::start(Answer::events(body(&events))).await;
    let outcome = ask(&anthropic(&server.url), prompt()).await;
    assert_eq!(outcome.text(), "Hello");
    assert_eq!(outcome.end.unwrap().1.output, 0, "the server told so");
    // Of a server that tells nothing, the thinking counts as well.
    let server = Server::start(Answer::events(body(&events[1..]))).await;
    let (stop, usage) = ask(&anthropic(&server.url), prompt()).await.end.unwrap();
    assert_eq!(stop, StopReason::Complete);
    assert_eq!(usage.output, "hmmmHello".len() as u64);
}

/// A stream of either interface that says these texts.
fn saying(which: usize, texts: &[String]) -> Vec<u8> {
    let event = |text: &String| {
        let json = if which == 0 {
            json!({ "type": "content_block_delta", "delta": { "type": "text_delta", "text": text } })
        } else {
            json!({ "choices": [{ "delta": { "content": text } }] })
        };
        format!("data: {json}\n\n")
    };
    let said: String = texts.iter().map(event).collect();
    let end = if which == 0 {
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n\
         data: {\"type\":\"message_stop\"}\n\n"
    } else {
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
    };
    format!("{said}{end}").into_bytes()
}

#[test]
fn no_delta_is_lost_wherever_the_bytes_are_split() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let answer = Arc::new(std::sync::Mutex::new(Answer::events([])));
    let server = runtime.block_on(Server::start_with({
        let answer = Arc::clone(&answer);
        move |_| answer.lock().unwrap().clone()
    }));
    let providers = providers(&server.url);
    let texts = proptest::collection::vec(any::<String>(), 0..8);
    let lens = proptest::collection::vec(1..40_usize, 1..20);
    proptest!(ProptestConfig::with_cases(200), |(texts in texts, lens in lens)| {
        for (which, provider) in providers.iter().enumerate() {
            let body = saying(which, &texts);
            let mut rest = &body[..];
            let mut pieces = Vec::new();
            for len in lens.iter().cycle() {
                let (piece, after) = rest.split_at((*len).min(rest.len()));
                pieces.push(piece);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            *answer.lock().unwrap() = Answer::events([]).with_pieces(pieces);
            let outcome = runtime.block_on(ask(&**provider, prompt()));
            let said: Vec<_> = texts.iter().filter(|text| !text.is_empty()).cloned().collect();
            prop_assert_eq!(outcome.deltas, said);
            prop_assert_eq!(outcome.end.unwrap().0, StopReason::Complete);
        }
    });
}
