use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use axum::response::Response;
use http_body_util::BodyExt;
use medcards_core::ErrorKind;
use medcards_core::ai::Billed;
use medcards_core::testing::{Gate, Script};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::feedback::answered;
use crate::world::{World, request};

async fn open(world: &World, token: &str, url: &str) -> Response {
    let mut request = request(Method::GET, url, Some(token), Body::empty());
    request
        .headers_mut()
        .insert("accept", "text/event-stream".parse().unwrap());
    let response = world.api.router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    response
}

/// The events of a stream, as name and data. Comments keep it alive and are not events.
pub(crate) fn events(text: &str) -> Vec<(String, Value)> {
    let blocks = text
        .split("\n\n")
        .filter(|block| !block.is_empty() && !block.starts_with(':'));
    let event = |block: &str| {
        let (name, data) = block.split_once('\n').unwrap();
        let name = name.strip_prefix("event: ").unwrap().to_owned();
        (
            name,
            serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap(),
        )
    };
    blocks.map(event).collect()
}

async fn rest(response: Response) -> Vec<(String, Value)> {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    events(std::str::from_utf8(&body).unwrap())
}

#[tokio::test]
async fn feedback_streams_as_deltas_and_exactly_one_end() {
    let world = World::new().await;
    let token = world.guest().await;
    let url = answered(&world, &token).await;
    world
        .provider
        .push(Script::deltas(["It is\n", "the \"potassium\"."]));
    let response = open(&world, &token, &url).await;
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(response.headers()[name], value);
    }
    let live = rest(response).await;
    assert_eq!(live.len(), 3);
    assert_eq!(live[0], ("delta".to_owned(), json!({"text": "It is\n"})));
    assert_eq!(
        live[1],
        ("delta".to_owned(), json!({"text": "the \"potassium\"."}))
    );
    let (name, end) = &live[2];
    assert_eq!((name.as_str(), &end["tier"]), ("end", &json!("live")));
    assert_eq!(end["text"], "It is\nthe \"potassium\".");
    assert_eq!(end["is_replaced"], false);

    let local = rest(open(&world, &token, &url).await).await;
    assert_eq!(local.len(), 2);
    assert_eq!(
        (&local[1].1["tier"], &local[1].1["text"]),
        (&json!("local"), &end["text"])
    );
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_replaced_at_the_end() {
    let world = World::new().await;
    let token = world.guest().await;
    let url = answered(&world, &token).await;
    let broken = Script::deltas(["It is "]).then_fails(ErrorKind::Unavailable, Billed::Unknown);
    world.provider.push(broken);
    let events = rest(open(&world, &token, &url).await).await;
    let (name, end) = events.last().unwrap();
    assert_eq!((name.as_str(), &end["tier"]), ("end", &json!("authored")));
    assert_eq!(end["is_replaced"], true);
    assert_eq!(events.iter().filter(|(name, _)| name == "end").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_kept_alive() {
    let world = World::new().await;
    let token = world.guest().await;
    let url = answered(&world, &token).await;
    world.provider.push(Script::deltas(["It "]).then_hangs());
    let mut body = open(&world, &token, &url).await.into_body();
    let mut next = async || {
        let frame = body.frame().await.unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    };
    assert!(next().await.starts_with("event: delta"));
    let began = tokio::time::Instant::now();
    assert!(next().await.starts_with(':'));
    assert_eq!(began.elapsed(), Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn draining_lets_a_stream_end_if_it_can() {
    let world = World::new().await;
    let token = world.guest().await;
    let url = answered(&world, &token).await;
    let gate = Gate::new();
    world
        .provider
        .push(Script::deltas(["It is ", "this."]).gated(&gate));
    let response = open(&world, &token, &url).await;
    world.api.drain();
    gate.open();
    let events = rest(response).await;
    let (name, end) = events.last().unwrap();
    assert_eq!(
        (name.as_str(), &end["tier"], &end["is_replaced"]),
        ("end", &json!("live"), &json!(false))
    );
}

#[tokio::test(start_paused = true)]
async fn draining_ends_a_stream_that_takes_too_long() {
    let world = World::new().await;
    let token = world.guest().await;
    let url = answered(&world, &token).await;
    world.provider.push(Script::deltas(["It is "]).then_hangs());
    let response = open(&world, &token, &url).await;
    world.provider.called(0).await;
    let began = tokio::time::Instant::now();
    world.api.drain();
    world.api.drain();
    let events = rest(response).await;
    assert_eq!(began.elapsed(), Duration::from_secs(10));
    let (name, end) = events.last().unwrap();
    assert_eq!(
        (name.as_str(), &end["tier"], &end["is_replaced"]),
        ("end", &json!("authored"), &json!(true))
    );
    assert!(
        end["text"]
            .as_str()
            .unwrap()
            .contains("What finding 2 means")
    );
    assert_eq!(events.iter().filter(|(name, _)| name == "end").count(), 1);
}
