use std::sync::Arc;
use std::time::Duration;

use medcards::Timestamp;
use medcards::testing::ManualClock;
use medcards_examples::simulator::{
    Behaviour, Counts, Limits, Script, Simulator, SimulatorOptions,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Server, completion, json_of, message};

#[tokio::test]
async fn a_script_is_put_and_told_while_it_runs() {
    let server = Server::start(Script::default()).await;
    let put = |script: &Value| {
        let request = server.client.put(server.url("/simulator/script"));
        request.json(script).send()
    };
    let script = json!({ "seed": 7, "shares": { "overloaded": 1 }, "next": ["good"] });
    assert_eq!(put(&script).await.unwrap().status(), StatusCode::NO_CONTENT);
    let told = server.get("/simulator/script").send().await.unwrap();
    let told: Script = serde_json::from_value(json_of(told, StatusCode::OK).await).unwrap();
    assert_eq!(told.seed, 7);
    assert_eq!(told.shares[&Behaviour::Overloaded], 1.0);
    for status in [200, 529, 529] {
        assert_eq!(
            server.message(&message(true)).await.status().as_u16(),
            status
        );
    }
    let next = server.post("/simulator/next", &json!(["good", "rate_limited"]));
    assert_eq!(next.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    for status in [200, 429, 529] {
        assert_eq!(
            server.message(&message(true)).await.status().as_u16(),
            status
        );
    }

    for wrong in [
        json!({ "shares": { "cut": 2 } }),
        json!({ "typo": 1 }),
        json!(7),
    ] {
        let refused = put(&wrong).await.unwrap();
        let refused = json_of(refused, StatusCode::BAD_REQUEST).await;
        assert!(refused["error"].is_string());
    }
    assert_eq!(server.message(&message(true)).await.status().as_u16(), 529);
}

#[tokio::test]
async fn the_next_calls_are_added_replaced_and_emptied() {
    let server = Server::start(Script::default()).await;
    let steer = async |method: Method, next: Value| {
        let request = server.client.request(method, server.url("/simulator/next"));
        let answer = request.json(&next).send().await.unwrap();
        answer.status()
    };
    let status = async || server.message(&message(true)).await.status().as_u16();
    for (method, next) in [
        (Method::POST, json!(["overloaded"])),
        (Method::POST, json!(["rate-limited"])),
    ] {
        assert_eq!(steer(method, next).await, StatusCode::NO_CONTENT);
    }
    assert_eq!([status().await, status().await], [529, 429]);
    steer(Method::POST, json!(["overloaded", "overloaded"])).await;
    let replaced = steer(Method::PUT, json!(["server-error"])).await;
    assert_eq!(replaced, StatusCode::NO_CONTENT);
    assert_eq!([status().await, status().await], [500, 200]);
    steer(Method::POST, json!(["overloaded"])).await;
    let emptied = steer(Method::DELETE, Value::Null).await;
    assert_eq!(emptied, StatusCode::NO_CONTENT);
    assert_eq!(status().await, 200);
    let unknown = steer(Method::PUT, json!(["explode"])).await;
    assert_eq!(unknown, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn counts_are_told_and_cleared() {
    let server = Server::start(Script::default()).await;
    server.message(&message(false)).await;
    server.get("/nothing/here").send().await.unwrap();
    let told = server.get("/simulator/counts").send().await.unwrap();
    let told: Counts = serde_json::from_value(json_of(told, StatusCode::OK).await).unwrap();
    assert_eq!(told.calls_of("POST /v1/messages", "good"), 1);
    assert_eq!(told.calls_of("other", "not_found"), 1);
    assert_eq!(told, server.simulator.counts());
    let cleared = server.client.delete(server.url("/simulator/counts"));
    cleared.send().await.unwrap();
    assert_eq!(server.simulator.counts(), Counts::default());
}

#[tokio::test]
async fn the_same_seed_treats_calls_in_the_same_way() {
    let run = async |seed: u64| {
        let server = Server::start(Script {
            seed,
            shares: [(Behaviour::Overloaded, 0.5)].into(),
            ..Script::default()
        })
        .await;
        let mut answers = Vec::new();
        for _ in 0..20 {
            let mut answer: Value = server.message(&message(false)).await.json().await.unwrap();
            for id in ["id", "request_id"] {
                answer.as_object_mut().unwrap().remove(id);
            }
            answers.push(answer.to_string());
        }
        answers
    };
    let first = run(1).await;
    assert_eq!(run(1).await, first);
    assert_ne!(run(2).await, first);
    let overloaded = first.iter().filter(|answer| answer.contains("overloaded"));
    assert!((1..20).contains(&overloaded.count()));
}

#[tokio::test]
async fn rate_limits_are_told_in_headers_and_kept_to() {
    let clock = Arc::new(ManualClock::default());
    let script = Script {
        limits: Limits {
            requests_per_minute: Some(2),
            input_tokens_per_minute: Some(1_000),
            output_tokens_per_minute: Some(10_000),
        },
        ..Script::default()
    };
    let options = SimulatorOptions::new().with_clock(Arc::clone(&clock) as _);
    let server = Server::of(options.start(script).await.unwrap());
    let first = server.message(&message(false)).await;
    let header = |name: &str| first.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("anthropic-ratelimit-requests-limit"), "2");
    assert_eq!(header("anthropic-ratelimit-requests-remaining"), "1");
    assert_eq!(header("anthropic-ratelimit-input-tokens-limit"), "1000");
    assert_eq!(header("anthropic-ratelimit-tokens-limit"), "11000");
    let left: u64 = header("anthropic-ratelimit-input-tokens-remaining")
        .parse()
        .unwrap();
    assert!((1..1_000).contains(&left), "{left}");
    let reset: Timestamp = header("anthropic-ratelimit-requests-reset")
        .parse()
        .unwrap();
    let now = medcards::time::Clock::now(&*clock);
    assert_eq!(reset, now.checked_add(Duration::from_secs(30)).unwrap());

    let second = server.completion(&completion(false)).await;
    let header = |name: &str| second.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-ratelimit-limit-requests"), "2");
    assert_eq!(header("x-ratelimit-remaining-requests"), "0");
    assert_eq!(header("x-ratelimit-reset-requests"), "1m0s");
    assert_eq!(header("x-ratelimit-limit-tokens"), "11000");

    let third = server.message(&message(true)).await;
    assert_eq!(third.headers()["retry-after"], "30");
    assert_eq!(
        third.headers()["anthropic-ratelimit-requests-remaining"],
        "0"
    );
    let error = json_of(third, StatusCode::TOO_MANY_REQUESTS).await;
    assert_eq!(error["error"]["type"], "rate_limit_error");
    assert_eq!(server.calls("limited"), 1);
    clock.advance(Duration::from_secs(30));
    assert_eq!(
        server.message(&message(true)).await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let options = SimulatorOptions::new().with_body_bytes_max(100);
    let server = Server::of(options.start(Script::default()).await.unwrap());
    let error = server.message(&message(false)).await;
    let error = json_of(error, StatusCode::PAYLOAD_TOO_LARGE).await;
    assert_eq!(error["error"]["type"], "request_too_large");
}

#[tokio::test]
async fn the_most_calls_at_once_are_counted() {
    let server = Server::start(Script {
        tokens_per_second: 1,
        ..Script::default()
    })
    .await;
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(server.message(&message(true)).await);
    }
    assert_eq!(server.simulator.counts().most_at_once, 5);
}

#[tokio::test]
async fn nothing_listens_once_it_has_stopped() {
    let simulator = Simulator::start(Script::default()).await.unwrap();
    let address = simulator.address();
    simulator.stop().await;
    tokio::net::TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_says_so() {
    let first = Simulator::start(Script::default()).await.unwrap();
    let options = SimulatorOptions::new().with_listen(first.address());
    let error = options.start(Script::default()).await.unwrap_err();
    assert!(
        error.to_string().contains(&first.address().to_string()),
        "{error}"
    );
}
