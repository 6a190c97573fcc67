use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use axum::response::Response;
use http_body_util::BodyExt;
use medcards_core::TurnId;
use medcards_core::testing::{Gate, Script};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::{Reply, World, request};

const WORDS: [&str; 3] = ["It is\n", "the \"größte\" ", "potassium."];

/// The id of an answer of whoever has this token.
async fn answered(world: &World, token: &str) -> String {
    let case = world.publish(1).await;
    let path = format!("/v1/cases/{case}/answers");
    let submitted = world.post(token, &path, &json!({"options": ["B"]})).await;
    submitted.expect(201)["id"].as_str().unwrap().to_owned()
}

fn question(world: &World, answer: &str, text: &str) -> Value {
    let id = TurnId::new(world.medcards.now()).to_string();
    json!({"id": id, "answer_id": answer, "text": text})
}

fn streaming(
    method: Method,
    token: &str,
    path: &str,
    body: &Value,
    last: Option<&str>,
) -> Request<Body> {
    let mut request = request(method, path, Some(token), body.to_string().into());
    let headers = request.headers_mut();
    headers.insert("content-type", "application/json".parse().unwrap());
    headers.insert("accept", "text/event-stream".parse().unwrap());
    if let Some(last) = last {
        headers.insert("last-event-id", last.parse().unwrap());
    }
    request
}

async fn open(world: &World, request: Request<Body>) -> Response {
    let response = world.api.router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    response
}

/// An event: its name, id and data.
type Event = (String, Option<String>, Value);

fn events(text: &str) -> Vec<Event> {
    let blocks = text.split("\n\n").filter(|block| !block.is_empty());
    let blocks = blocks.filter(|block| !block.starts_with(':'));
    let event = |block: &str| {
        let field = |name: &str| {
            let lines = block.lines();
            lines
                .filter_map(|line| line.strip_prefix(name))
                .next()
                .map(str::to_owned)
        };
        let data = field("data: ").unwrap();
        (
            field("event: ").unwrap(),
            field("id: "),
            serde_json::from_str(&data).unwrap(),
        )
    };
    blocks.map(event).collect()
}

async fn rest(response: Response) -> Vec<Event> {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    events(std::str::from_utf8(&body).unwrap())
}

async fn next(body: &mut Body) -> Event {
    let frame = body.frame().await.unwrap().unwrap();
    let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
    events(&text).remove(0)
}

async fn put(world: &World, token: &str, path: &str, body: &Value) -> Reply {
    let mut request = request(Method::PUT, path, Some(token), body.to_string().into());
    let json = "application/json".parse().unwrap();
    request.headers_mut().insert("content-type", json);
    world.send(request).await
}

#[tokio::test]
async fn a_question_gets_its_reply_once() {
    let world = World::new().await;
    let token = world.guest().await;
    let answer = answered(&world, &token).await;
    world.provider.push(Script::deltas(WORDS));
    let asked = question(&world, &answer, "Why?");
    let turn = world.post(&token, "/v1/chat", &asked).await.expect(200);
    assert_eq!(turn["id"], asked["id"]);
    assert_eq!(turn["answer_id"], answer);
    assert_eq!(turn["question"], "Why?");
    assert_eq!(turn["reply"]["text"], WORDS.concat());
    assert_eq!(turn["reply"]["origin"], "live");
    assert_eq!(
        world.post(&token, "/v1/chat", &asked).await.expect(200),
        turn
    );
    let path = format!("/v1/chat/turns/{}", asked["id"].as_str().unwrap());
    assert_eq!(world.get(&token, &path).await.expect(200), turn);
    let list = format!("/v1/answers/{answer}/chat");
    let page = world.get(&token, &list).await.expect(200);
    assert_eq!(page, json!({"items": [turn], "next_cursor": null}));
    assert_eq!(world.provider.calls(), 1);

    let stranger = world.guest().await;
    world
        .get(&stranger, &path)
        .await
        .expect_problem(404, "turn_not_found");
    world
        .get(&stranger, &list)
        .await
        .expect_problem(404, "answer_not_found");
    let theirs = world.post(&stranger, "/v1/chat", &asked).await;
    theirs.expect_problem(404, "answer_not_found");
    world.delete(&stranger, &list).await.expect(204);

    world.get(&token, &path).await.expect(200);
    world.delete(&token, &list).await.expect(204);
    world
        .get(&token, &path)
        .await
        .expect_problem(404, "turn_not_found");
    assert_eq!(
        world.get(&token, &list).await.expect(200)["items"],
        json!([])
    );
}

#[tokio::test]
async fn a_reply_streams_and_goes_on_from_every_event() {
    let world = World::new().await;
    let token = world.guest().await;
    let answer = answered(&world, &token).await;
    let gate = Gate::new();
    world.provider.push(Script::deltas(WORDS).gated(&gate));
    let asked = question(&world, &answer, "Why?");
    let post = streaming(Method::POST, &token, "/v1/chat", &asked, None);
    let mut body = open(&world, post).await.into_body();
    let mut whole = vec![next(&mut body).await];
    for _ in 0..4 {
        gate.admit(1);
        whole.push(next(&mut body).await);
    }
    let names: Vec<_> = whole.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["start", "delta", "delta", "delta", "end"]);
    assert_eq!(whole[0].2, json!({"id": asked["id"]}));
    assert_eq!(whole[1].2, json!({"text": WORDS[0]}));
    assert_eq!(whole[4].2["reply"]["text"], WORDS.concat());

    let path = format!("/v1/chat/turns/{}", asked["id"].as_str().unwrap());
    for read in 1..=3 {
        let last = whole[read].1.as_deref();
        let post = streaming(Method::POST, &token, "/v1/chat", &asked, last);
        let get = streaming(Method::GET, &token, &path, &Value::Null, last);
        for request in [post, get] {
            let resumed = rest(open(&world, request).await).await;
            let text: String = resumed
                .iter()
                .filter(|(name, ..)| name == "delta")
                .map(|(_, _, data)| data["text"].as_str().unwrap())
                .collect();
            assert_eq!(text, WORDS[read..].concat(), "after event {read}");
            assert_eq!(resumed.last(), whole.last());
            assert!(resumed.iter().all(|(name, ..)| name != "restart"));
        }
    }
    assert_eq!(world.provider.calls(), 1);
}

#[tokio::test]
async fn what_broke_off_is_replaced() {
    let world = World::new().await;
    let token = world.guest().await;
    let answer = answered(&world, &token).await;
    world
        .provider
        .push(Script::deltas(["It is "]).then_breaks_off());
    let asked = question(&world, &answer, "Why?");
    let seen = rest(
        open(
            &world,
            streaming(Method::POST, &token, "/v1/chat", &asked, None),
        )
        .await,
    )
    .await;
    let names: Vec<_> = seen.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["start", "delta", "restart", "delta", "end"]);
    assert_eq!(seen[4].2["reply"]["origin"], "unavailable");
    assert_eq!(seen[4].2["reply"]["text"], seen[3].2["text"]);
}

/// The connection is lost, the reply is not.
#[tokio::test]
async fn a_lost_connection_loses_no_words() {
    let world = World::new().await;
    let token = world.guest().await;
    let answer = answered(&world, &token).await;
    let gate = Gate::new();
    world.provider.push(Script::deltas(WORDS).gated(&gate));
    let asked = question(&world, &answer, "Why?");
    let response = open(
        &world,
        streaming(Method::POST, &token, "/v1/chat", &asked, None),
    )
    .await;
    let mut body = response.into_body();
    assert_eq!(next(&mut body).await.0, "start");
    gate.admit(1);
    let (name, last, _) = next(&mut body).await;
    assert_eq!(name, "delta");
    drop(body);
    let again = streaming(Method::POST, &token, "/v1/chat", &asked, last.as_deref());
    let again = open(&world, again).await;
    gate.open();
    let resumed = rest(again).await;
    assert_eq!(resumed[1].2, json!({"text": WORDS[1]}));
    assert_eq!(resumed.last().unwrap().2["reply"]["text"], WORDS.concat());
    assert_eq!(world.provider.calls(), 1);
}

#[tokio::test]
async fn a_stream_takes_no_id_but_its_own() {
    let world = World::new().await;
    let token = world.guest().await;
    let answer = answered(&world, &token).await;
    let asked = question(&world, &answer, "Why?");
    let id = asked["id"].as_str().unwrap();
    world.post(&token, "/v1/chat", &asked).await.expect(200);
    let other = TurnId::new(world.medcards.now());
    for last in [
        "x",
        id,
        &format!("{id}:"),
        &format!("{id}:1"),
        &format!("{other}:0-0000000000000000"),
    ] {
        let path = format!("/v1/chat/turns/{id}");
        for request in [
            streaming(Method::POST, &token, "/v1/chat", &asked, Some(last)),
            streaming(Method::GET, &token, &path, &Value::Null, Some(last)),
        ] {
            world
                .send(request)
                .await
                .expect_problem(400, "invalid_header");
        }
    }
}

#[tokio::test]
async fn questions_that_are_wrong_are_told_so() {
    let world = World::new().await;
    let token = world.guest().await;
    let answer = answered(&world, &token).await;
    let asked = question(&world, &answer, "Why?");
    let change = |field: &str, value: Value| {
        let mut asked = asked.clone();
        asked[field] = value;
        asked
    };
    for (body, status, code) in [
        (change("text", json!("")), 422, "invalid_field"),
        (
            change("text", json!("x".repeat(4_097))),
            422,
            "invalid_field",
        ),
        (change("text", json!("\u{1b}[31m")), 422, "invalid_field"),
        (change("text", Value::Null), 422, "invalid_field"),
        (change("id", json!("no")), 422, "invalid_field"),
        (
            change("id", json!("00000000-0000-4000-8000-000000000000")),
            422,
            "invalid_field",
        ),
        (change("answer_id", json!("no")), 422, "invalid_field"),
        (
            change("answer_id", asked["id"].clone()),
            404,
            "answer_not_found",
        ),
        (change("more", json!(1)), 422, "unknown_field"),
    ] {
        let reply = world.post(&token, "/v1/chat", &body).await;
        reply.expect_problem(status, code);
    }
    world.post(&token, "/v1/chat", &asked).await.expect(200);
    let other = change("text", json!("How?"));
    world
        .post(&token, "/v1/chat", &other)
        .await
        .expect_problem(409, "id_reused");
    world
        .get(&token, "/v1/chat/turns/no")
        .await
        .expect_problem(400, "invalid_id");
}

#[tokio::test]
async fn a_server_without_a_coach_says_so() {
    let world = World::without_coach().await;
    let token = world.guest().await;
    let answer = answered(&world, &token).await;
    let asked = question(&world, &answer, "Why?");
    world
        .post(&token, "/v1/chat", &asked)
        .await
        .expect_problem(404, "chat_disabled");
    let list = format!("/v1/answers/{answer}/chat");
    world
        .get(&token, &list)
        .await
        .expect_problem(404, "chat_disabled");
    world
        .delete(&token, &list)
        .await
        .expect_problem(404, "chat_disabled");
}

/// The client goes on with another server; the reply is written here all the same.
#[tokio::test(start_paused = true)]
async fn draining_breaks_a_stream_off_without_an_end() {
    let world = World::new().await;
    let token = world.guest().await;
    let answer = answered(&world, &token).await;
    let gate = Gate::new();
    world.provider.push(Script::deltas(WORDS).gated(&gate));
    gate.admit(1);
    let asked = question(&world, &answer, "Why?");
    let response = open(
        &world,
        streaming(Method::POST, &token, "/v1/chat", &asked, None),
    )
    .await;
    let began = tokio::time::Instant::now();
    world.api.drain();
    let seen = rest(response).await;
    assert_eq!(began.elapsed(), Duration::from_secs(10));
    assert!(seen.iter().all(|(name, ..)| name != "end"), "{seen:?}");
    gate.open();
    let whole = world.post(&token, "/v1/chat", &asked).await.expect(200);
    assert_eq!(whole["reply"]["text"], WORDS.concat());
    assert_eq!(world.provider.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_takes_long_is_told_of_before_it_is_there() {
    let world = World::new().await;
    let token = world.guest().await;
    let answer = answered(&world, &token).await;
    let gate = Gate::new();
    world.provider.push(Script::deltas(WORDS).gated(&gate));
    let asked = json!({"answer_id": answer, "text": "Why?"});
    let accepted = world.post(&token, "/v1/chat", &asked).await;
    assert_eq!(accepted.expect(202)["reply"], Value::Null);
    let location = accepted.header("location").to_owned();
    gate.open();
    let followed = streaming(Method::GET, &token, &location, &Value::Null, None);
    let seen = rest(open(&world, followed).await).await;
    assert_eq!(seen.last().unwrap().2["reply"]["text"], WORDS.concat());
}

#[tokio::test]
async fn shared_answers_are_kept_by_administrators() {
    let world = World::new().await;
    let case = world.publish(1).await;
    let admin = world.admin();
    let list = format!("/v1/admin/cases/{case}/shared-answers");
    let path = format!("{list}/{}", world.answer_id());
    let form = json!({"case_version": 1, "locale": "en", "question": "Why?", "answer": "Because."});
    let kept = put(&world, &admin, &path, &form).await.expect(200);
    for field in ["case_version", "locale", "question", "answer"] {
        assert_eq!(kept[field], form[field]);
    }
    assert_eq!(
        world.get(&admin, &list).await.expect(200)["items"],
        json!([kept])
    );
    let token = world.guest().await;
    for reply in [
        put(&world, &token, &path, &form).await,
        world.get(&token, &list).await,
        world.delete(&token, &path).await,
    ] {
        reply.expect_problem(403, "role_missing");
    }
    let mut wrong = form.clone();
    wrong["answer"] = json!(" ");
    put(&world, &admin, &path, &wrong)
        .await
        .expect_problem(422, "invalid_field");
    wrong = form.clone();
    wrong["case_version"] = json!(7);
    put(&world, &admin, &path, &wrong)
        .await
        .expect_problem(404, "case_not_found");
    let elsewhere = path.replace(&case.to_string(), &world.answer_id().to_string());
    world
        .delete(&admin, &elsewhere)
        .await
        .expect_problem(404, "shared_answer_not_found");
    world.delete(&admin, &path).await.expect(204);
    world
        .delete(&admin, &path)
        .await
        .expect_problem(404, "shared_answer_not_found");
}
