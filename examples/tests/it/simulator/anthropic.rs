use medcards_examples::simulator::Script;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{CASE, Server, events_of, json_of, message, read};

#[tokio::test]
async fn a_stream_and_a_whole_reply_say_the_same() {
    let server = Server::start(Script::default()).await;
    let whole = json_of(server.message(&message(false)).await, StatusCode::OK).await;
    assert_eq!(whole["type"], "message");
    assert_eq!(whole["stop_reason"], "end_turn");
    let text = whole["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("“Bisoprolol by mouth”"), "{text}");

    // The numbering of calls begins anew, so this is the same call.
    server.simulator.follow(Script::default()).unwrap();
    let events: Vec<Value> = events_of(server.message(&message(true)).await)
        .await
        .iter()
        .map(|data| read(data))
        .collect();
    let mut kinds: Vec<_> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    let deltas = kinds.len() - 6;
    assert!(deltas > 10, "{deltas}");
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    let streamed: String = events
        .iter()
        .filter_map(|event| event["delta"]["text"].as_str())
        .collect();
    assert_eq!(streamed, text);
    let started = &events[0]["message"];
    assert_eq!(started["stop_reason"], Value::Null);
    assert_eq!(
        started["usage"]["input_tokens"],
        whole["usage"]["input_tokens"]
    );
    let end = &events[events.len() - 2];
    assert_eq!(end["delta"]["stop_reason"], "end_turn");
    assert_eq!(
        end["usage"]["output_tokens"],
        whole["usage"]["output_tokens"]
    );

    let counts = server.simulator.counts();
    assert_eq!(counts.calls_of("POST /v1/messages", "good"), 2);
    assert_eq!(
        counts.output_tokens,
        2 * whole["usage"]["output_tokens"].as_u64().unwrap()
    );
    assert_eq!(
        counts.input_tokens,
        2 * whole["usage"]["input_tokens"].as_u64().unwrap()
    );
    assert_eq!((counts.under_way, counts.most_at_once), (0, 1));
}

#[tokio::test]
async fn a_reply_ends_at_the_most_tokens_asked_for() {
    let server = Server::start(Script::default()).await;
    let mut request = message(false);
    request["max_tokens"] = json!(7);
    let whole = json_of(server.message(&request).await, StatusCode::OK).await;
    assert_eq!(whole["stop_reason"], "max_tokens");
    assert_eq!(whole["usage"]["output_tokens"], 7);
}

#[tokio::test]
async fn requests_that_cannot_be_are_refused_as_the_real_server_does() {
    let server = Server::start(Script::default()).await;
    let changed = |path: &str, value: Value| {
        let mut request = message(false);
        *request.pointer_mut(path).unwrap() = value;
        request
    };
    let mark = json!({ "type": "text", "text": "x", "cache_control": { "type": "ephemeral" } });
    for (request, part) in [
        (changed("/max_tokens", Value::Null), "max_tokens"),
        (changed("/max_tokens", json!(0)), "max_tokens"),
        (changed("/model", Value::Null), "model"),
        (changed("/messages", json!([])), "messages"),
        (
            changed("/messages/0/role", json!("system")),
            "messages.0.role",
        ),
        (
            changed("/messages/0/role", json!("assistant")),
            "first message",
        ),
        (changed("/messages/0/content", json!("")), "non-empty"),
        (changed("/messages/0/content", Value::Null), "content"),
        (
            changed("/messages/0/content/0/text", json!("")),
            "non-empty",
        ),
        (changed("/stream", json!("yes")), "stream"),
        (
            changed("/messages/0/content", json!(vec![mark; 5])),
            "maximum of 4",
        ),
        (json!([]), "object"),
    ] {
        let error = json_of(server.message(&request).await, StatusCode::BAD_REQUEST).await;
        assert_eq!(error["type"], "error");
        assert_eq!(error["error"]["type"], "invalid_request_error");
        assert!(error["request_id"].as_str().unwrap().starts_with("req_"));
        let told = error["error"]["message"].as_str().unwrap();
        assert!(told.contains(part), "{told} does not speak of {part}");
    }
    let broken = server.get("/v1/models").build().unwrap();
    let broken = server
        .client
        .post(server.url("/v1/messages"))
        .headers(broken.headers().clone())
        .body("{\"model\": ")
        .send()
        .await
        .unwrap();
    json_of(broken, StatusCode::BAD_REQUEST).await;
    assert_eq!(server.calls("invalid"), 13);
}

#[tokio::test]
async fn a_version_is_required_and_the_newest_takes_no_sampling() {
    let server = Server::start(Script::default()).await;
    let mut request = message(false);
    request["temperature"] = json!(0.5);
    for (version, status) in [
        (None, StatusCode::BAD_REQUEST),
        (Some("2023-06-01"), StatusCode::OK),
        (Some("2026-10-21"), StatusCode::BAD_REQUEST),
    ] {
        let mut call = server
            .client
            .post(server.url("/v1/messages"))
            .json(&request);
        if let Some(version) = version {
            call = call.header("anthropic-version", version);
        }
        assert_eq!(call.send().await.unwrap().status(), status, "{version:?}");
    }
}

#[tokio::test]
async fn a_key_is_asked_for_if_one_is_set() {
    let script = Script {
        key: Some("sesame".to_owned()),
        ..Script::default()
    };
    let server = Server::start(script).await;
    let call = || server.post("/v1/messages", &message(false));
    for (call, status) in [
        (call(), StatusCode::UNAUTHORIZED),
        (
            call().header("x-api-key", "wrong"),
            StatusCode::UNAUTHORIZED,
        ),
        (call().bearer_auth("wrong"), StatusCode::UNAUTHORIZED),
        (call().header("x-api-key", "sesame"), StatusCode::OK),
        (call().bearer_auth("sesame"), StatusCode::OK),
    ] {
        assert_eq!(call.send().await.unwrap().status(), status);
    }
    let error = json_of(call().send().await.unwrap(), StatusCode::UNAUTHORIZED).await;
    assert_eq!(error["error"]["type"], "authentication_error");
    assert_eq!(server.calls("unauthorized"), 4);
}

#[tokio::test]
async fn marked_beginnings_are_cached_and_told_in_the_usage() {
    let server = Server::start(Script::default()).await;
    let rules = format!("120 to 180 words. {}", "Be kind. ".repeat(600));
    let ask = |mark: bool, student: &str| {
        let mut system = json!({ "type": "text", "text": rules });
        if mark {
            system["cache_control"] = json!({ "type": "ephemeral", "ttl": "1h" });
        }
        let mut request = message(false);
        request["system"] = json!([system]);
        request["messages"][0]["content"] = json!(format!("{CASE}{student}"));
        request
    };
    let usage = async |request: &Value| {
        let reply = json_of(server.message(request).await, StatusCode::OK).await;
        let tokens = |name: &str| reply["usage"][name].as_u64().unwrap();
        (
            tokens("input_tokens"),
            tokens("cache_creation_input_tokens"),
            tokens("cache_read_input_tokens"),
        )
    };
    let (all, written, read) = usage(&ask(false, "")).await;
    assert!(all > 1_300 && (written, read) == (0, 0));
    let (rest, written, read) = usage(&ask(true, "")).await;
    assert!(written > 1_300 && read == 0);
    assert_eq!(rest + written, all);
    assert_eq!(usage(&ask(true, "")).await, (rest, 0, written));
    let (_, again, read) = usage(&ask(true, "Another student.")).await;
    assert_eq!((again, read), (0, written));
    let counts = server.simulator.counts();
    assert_eq!(counts.cache_write_tokens, written);
    assert_eq!(counts.cache_read_tokens, 2 * written);

    // Too short to be cached, of which nobody is told.
    let mut short = message(false);
    short["messages"][0]["content"][0]["cache_control"] = json!({ "type": "ephemeral" });
    let (_, written, read) = usage(&short).await;
    assert_eq!((written, read), (0, 0));
}

#[tokio::test]
async fn tokens_are_counted_as_they_are_billed() {
    let server = Server::start(Script::default()).await;
    let mut request = message(false);
    let whole = json_of(server.message(&request).await, StatusCode::OK).await;
    request.as_object_mut().unwrap().remove("max_tokens");
    let counted = server.post("/v1/messages/count_tokens", &request);
    let counted = json_of(counted.send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(counted["input_tokens"], whole["usage"]["input_tokens"]);
}

#[tokio::test]
async fn models_are_listed_in_the_dialect_of_who_asks() {
    let server = Server::start(Script::default()).await;
    let models = json_of(
        server.get("/v1/models").send().await.unwrap(),
        StatusCode::OK,
    )
    .await;
    assert_eq!(models["data"][0]["type"], "model");
    assert_eq!(models["has_more"], false);
    let plain = server.client.get(server.url("/v1/models"));
    let models = json_of(plain.send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(models["object"], "list");
    assert_eq!(models["data"][0]["object"], "model");
}
