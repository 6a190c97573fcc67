use std::time::Duration;

use medcards_examples::simulator::{Behaviour, Script};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use super::{Server, completion, data_of, events_of, json_of, message, read};

/// A server whose next two calls go so, one for each dialect. Waits are far longer than any test.
async fn two(behaviour: Behaviour) -> Server {
    Server::start(Script {
        next: vec![behaviour; 2],
        slow_first_byte_ms: 3_600_000,
        stall_ms: 3_600_000,
        retry_after_seconds: 17,
        ..Script::default()
    })
    .await
}

/// Whatever comes of a body until it ends or breaks, and whether it broke.
async fn read_all(mut response: Response) -> (String, bool) {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return (String::from_utf8(bytes).unwrap(), false),
            Err(_) => return (String::from_utf8(bytes).unwrap(), true),
        }
    }
}

#[tokio::test]
async fn a_refused_call_gets_no_answer() {
    let server = two(Behaviour::Refused).await;
    let calls = [
        server.post("/v1/messages", &message(true)),
        server.post("/v1/chat/completions", &completion(false)),
    ];
    for call in calls {
        let error = call.send().await.unwrap_err();
        assert!(error.is_request(), "{error:?}");
    }
    assert_eq!(server.calls("refused"), 2);
    assert_eq!(server.simulator.counts().input_tokens, 0);
    assert_eq!(
        server.message(&message(true)).await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn statuses_and_retry_after_are_those_of_the_dialect() {
    for (behaviour, anthropic, openai, retry_after) in [
        (
            Behaviour::RateLimited,
            (429, "rate_limit_error"),
            (429, "requests"),
            true,
        ),
        (
            Behaviour::RateLimitedBare,
            (429, "rate_limit_error"),
            (429, "requests"),
            false,
        ),
        (
            Behaviour::SpendLimit,
            (429, "rate_limit_error"),
            (429, "insufficient_quota"),
            false,
        ),
        (
            Behaviour::Overloaded,
            (529, "overloaded_error"),
            (503, "server_error"),
            false,
        ),
        (
            Behaviour::ServerError,
            (500, "api_error"),
            (500, "server_error"),
            false,
        ),
    ] {
        let server = two(behaviour).await;
        let answers = [
            (server.message(&message(true)).await, anthropic),
            (server.completion(&completion(true)).await, openai),
        ];
        for (answer, (status, kind)) in answers {
            let told = answer.headers().get("retry-after").cloned();
            assert_eq!(told.is_some(), retry_after, "{behaviour:?}");
            assert!(told.is_none_or(|seconds| seconds == "17"));
            let error = json_of(answer, StatusCode::from_u16(status).unwrap()).await;
            assert_eq!(error["error"]["type"], kind);
        }
        let counts = server.simulator.counts();
        assert_eq!((counts.input_tokens, counts.output_tokens), (0, 0));
    }
    let server = two(Behaviour::SpendLimit).await;
    let error: Value = server.message(&message(false)).await.json().await.unwrap();
    let code = &error["error"]["details"]["error_code"];
    assert_eq!(code, "enforced_spend_limit_reached");
}

#[tokio::test]
async fn a_cut_reply_breaks_after_some_of_it() {
    for stream in [true, false] {
        let server = two(Behaviour::Cut).await;
        let (body, broke) = read_all(server.message(&message(stream)).await).await;
        assert!(broke && body.contains("“Bisoprolol"), "{body}");
        assert!(!body.contains("message_stop"), "{body}");
        let (body, broke) = read_all(server.completion(&completion(stream)).await).await;
        assert!(broke && body.contains("“Bisoprolol"), "{body}");
        assert!(!body.contains("[DONE]"), "{body}");
        assert_eq!(server.calls("cut"), 2);
        // What was sent is paid.
        assert!(server.simulator.counts().output_tokens > 0);
    }
}

#[tokio::test]
async fn a_stream_may_end_in_an_overloaded_error() {
    let server = two(Behaviour::OverloadedMidStream).await;
    let events = events_of(server.message(&message(true)).await).await;
    let last = read(events.last().unwrap());
    assert_eq!(last["error"]["type"], "overloaded_error");
    assert!(events.iter().any(|data| data.contains("text_delta")));
    let events = events_of(server.completion(&completion(true)).await).await;
    let last = read(events.last().unwrap());
    assert_eq!(last["error"]["type"], "server_error");

    let server = two(Behaviour::OverloadedMidStream).await;
    assert_eq!(server.message(&message(false)).await.status().as_u16(), 529);
}

#[tokio::test]
async fn garbage_is_no_json() {
    for stream in [true, false] {
        let server = two(Behaviour::Garbage).await;
        let answers = [
            server.message(&message(stream)).await,
            server.completion(&completion(stream)).await,
        ];
        for answer in answers {
            assert_eq!(answer.status(), StatusCode::OK);
            let (body, broke) = read_all(answer).await;
            assert!(!broke);
            let last = match stream {
                true => data_of(&body).pop().unwrap(),
                false => body,
            };
            serde_json::from_str::<Value>(&last).unwrap_err();
        }
    }
}

#[tokio::test]
async fn a_page_comes_in_place_of_a_reply() {
    let server = two(Behaviour::Html).await;
    for answer in [
        server.message(&message(true)).await,
        server.completion(&completion(false)).await,
    ] {
        assert_eq!(answer.status(), StatusCode::OK);
        let media_type = answer.headers()["content-type"].to_str().unwrap();
        assert!(media_type.starts_with("text/html"), "{media_type}");
    }
}

#[tokio::test]
async fn a_stalled_reply_sends_some_and_then_nothing() {
    for stream in [true, false] {
        let server = two(Behaviour::Stall).await;
        let mut answer = server.message(&message(stream)).await;
        let mut body = Vec::new();
        while !String::from_utf8_lossy(&body).contains("“Bisoprolol") {
            body.extend(answer.chunk().await.unwrap().unwrap());
        }
        // However long one waits, the end does not come: the wait of the script is an hour.
        let rest = timeout(Duration::from_millis(50), async {
            while answer.chunk().await.unwrap().is_some() {}
        });
        rest.await.unwrap_err();
    }
}

#[tokio::test]
async fn a_slow_answer_does_not_begin() {
    let server = two(Behaviour::SlowFirstByte).await;
    let request = message(true);
    let call = server.message(&request);
    timeout(Duration::from_millis(50), call).await.unwrap_err();
    let seen = || server.calls("slow_first_byte") == 1;
    let counted = async {
        while !seen() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), counted).await.unwrap();
}

#[tokio::test]
async fn short_waits_end_and_the_reply_goes_on() {
    let server = Server::start(Script {
        next: vec![Behaviour::Stall, Behaviour::SlowFirstByte, Behaviour::Stall],
        slow_first_byte_ms: 1,
        stall_ms: 1,
        first_token_p50_ms: 1,
        tokens_per_second: 100_000,
        ..Script::default()
    })
    .await;
    for _ in 0..2 {
        let events = events_of(server.message(&message(true)).await).await;
        assert_eq!(read(events.last().unwrap())["type"], "message_stop");
    }
    let whole = json_of(server.message(&message(false)).await, StatusCode::OK).await;
    assert_eq!(whole["stop_reason"], "end_turn");
}

#[tokio::test]
async fn a_model_may_refuse_or_stop_half_way() {
    let server = Server::start(Script {
        next: [[Behaviour::Refusal; 3], [Behaviour::MaxTokens; 3]].concat(),
        ..Script::default()
    })
    .await;
    for (anthropic, openai, refuses) in [("refusal", "stop", true), ("max_tokens", "length", false)]
    {
        let whole = json_of(server.message(&message(false)).await, StatusCode::OK).await;
        assert_eq!(whole["stop_reason"], anthropic);
        let whole = json_of(server.completion(&completion(false)).await, StatusCode::OK).await;
        let choice = &whole["choices"][0];
        assert_eq!(choice["finish_reason"], openai);
        assert_eq!(choice["message"]["refusal"].is_string(), refuses);
        assert_eq!(choice["message"]["content"].is_string(), !refuses);
        let events = events_of(server.completion(&completion(true)).await).await;
        let refused = events.iter().any(|data| data.contains("\"refusal\":\""));
        assert_eq!(refused, refuses);
    }
}

#[tokio::test]
async fn a_caller_that_goes_is_counted() {
    let server = Server::start(Script {
        tokens_per_second: 1,
        ..Script::default()
    })
    .await;
    let mut answer = server.message(&message(true)).await;
    answer.chunk().await.unwrap().unwrap();
    assert_eq!(server.simulator.counts().under_way, 1);
    drop(answer);
    let counted = async {
        while server.calls("hung_up") == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), counted).await.unwrap();
    assert_eq!(server.simulator.counts().under_way, 0);
}
