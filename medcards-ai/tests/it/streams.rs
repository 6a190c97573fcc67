//! A recorded stream means the same however it arrives, and nothing when it does not arrive whole.

use std::sync::Arc;

use medcards_ai::{EVENT_BYTES_MAX, REPLY_BYTES_MAX};
use medcards_core::ErrorKind;
use medcards_core::ai::{AiProvider, Billed, StopReason};
use medcards_core::spend::TokenUsage;
use proptest::prelude::*;

use crate::sample::{anthropic, ask, openai, prompt, providers};
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

/// Sends each recorded stream up to each byte, and then ends as `end` says.
async fn check_cuts(end: End) {
    for which in 0..2 {
        let body = [ANTHROPIC, OPENAI][which].as_bytes();
        let server =
            Server::start_with(move |cut| Answer::events(&body[..cut]).with_end(end)).await;
        let provider = &recorded(&server.url)[which].0;
        for cut in 0..body.len() {
            let outcome = ask(&**provider, prompt()).await;
            assert!(TEXT.starts_with(&outcome.text()), "cut at {cut}");
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
async fn a_stream_closed_properly_at_any_byte_is_a_failure_all_the_same() {
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
        (1, "content_filter", StopReason::Refusal),
        (1, "tool_calls", StopReason::Unknown),
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
        let server = Server::start(Answer::events(body)).await;
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
