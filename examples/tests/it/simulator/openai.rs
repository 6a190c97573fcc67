use medcards_examples::simulator::Script;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Server, completion, events_of, json_of, read};

#[tokio::test]
async fn a_stream_and_a_whole_reply_say_the_same() {
    let server = Server::start(Script::default()).await;
    let whole = json_of(server.completion(&completion(false)).await, StatusCode::OK).await;
    assert_eq!(whole["object"], "chat.completion");
    let choice = &whole["choices"][0];
    assert_eq!(choice["finish_reason"], "stop");
    let text = choice["message"]["content"].as_str().unwrap();
    assert!(text.contains("“Bisoprolol by mouth”"), "{text}");

    server.simulator.follow(Script::default()).unwrap();
    let mut events = events_of(server.completion(&completion(true)).await).await;
    assert_eq!(events.pop().unwrap(), "[DONE]");
    let usage = read(&events.pop().unwrap());
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"], whole["usage"]);
    let chunks: Vec<_> = events.iter().map(|data| read(data)).collect();
    let mut choices = chunks.iter().map(|chunk| &chunk["choices"][0]);
    let streamed: String = choices
        .clone()
        .filter_map(|choice| choice["delta"]["content"].as_str())
        .collect();
    assert_eq!(streamed, text);
    assert_eq!(choices.next_back().unwrap()["finish_reason"], "stop");
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["usage"], Value::Null);
    }
    let counts = server.simulator.counts();
    assert_eq!(counts.calls_of("POST /v1/chat/completions", "good"), 2);
}

#[tokio::test]
async fn usage_is_told_in_a_stream_only_if_asked_for() {
    let server = Server::start(Script::default()).await;
    let mut request = completion(true);
    request["stream_options"] = Value::Null;
    let events = events_of(server.completion(&request).await).await;
    assert!(events.iter().all(|data| !data.contains("usage")));
}

#[tokio::test]
async fn either_name_limits_the_tokens() {
    let server = Server::start(Script::default()).await;
    for name in ["max_tokens", "max_completion_tokens"] {
        let mut request = completion(false);
        request["max_completion_tokens"] = Value::Null;
        request[name] = json!(7);
        let whole = json_of(server.completion(&request).await, StatusCode::OK).await;
        assert_eq!(whole["choices"][0]["finish_reason"], "length");
        assert_eq!(whole["usage"]["completion_tokens"], 7);
    }
}

#[tokio::test]
async fn cached_tokens_are_a_part_of_the_prompt() {
    let server = Server::start(Script::default()).await;
    let mut request = completion(false);
    request["messages"][0]["content"] = json!("Be kind. ".repeat(600));
    let usage = async || {
        let whole = json_of(server.completion(&request).await, StatusCode::OK).await;
        let usage = &whole["usage"];
        let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64();
        (usage["prompt_tokens"].as_u64().unwrap(), cached.unwrap())
    };
    let (first, cached) = usage().await;
    assert_eq!(cached, 0);
    let (again, cached) = usage().await;
    assert_eq!(again, first);
    assert!(cached >= 1_024 && cached.is_multiple_of(128) && cached < first);
    let counts = server.simulator.counts();
    assert_eq!(counts.cache_read_tokens, cached);
    assert_eq!(counts.cache_write_tokens, 0);
    assert_eq!(counts.input_tokens, 2 * first - cached);
}

#[tokio::test]
async fn requests_that_cannot_be_are_refused() {
    let server = Server::start(Script::default()).await;
    let changed = |path: &str, value: Value| {
        let mut request = completion(false);
        *request.pointer_mut(path).unwrap() = value;
        request
    };
    let mut both = completion(false);
    both["max_tokens"] = json!(7);
    for request in [
        changed("/model", Value::Null),
        changed("/messages", json!([])),
        changed("/messages/0/role", json!("teacher")),
        changed("/messages/0/content", json!(7)),
        changed("/max_completion_tokens", json!(0)),
        changed("/stream", json!("yes")),
        both,
    ] {
        let error = json_of(server.completion(&request).await, StatusCode::BAD_REQUEST).await;
        assert_eq!(error["error"]["type"], "invalid_request_error");
    }
    assert_eq!(server.calls("invalid"), 7);
}
