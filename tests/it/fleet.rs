//! Several servers that share a database and a Redis.

use std::process::Command;

use futures_util::future::join_all;
use medcards_tests::redis::RedisServer;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::harness::{Fleet, Model, Mood, SERVERS, SseReader, Student, figure, until, uuid_v7};

/// A machine that is busy with all of this is no reason to take Redis for away.
const PATIENT: [(&str, &str); 1] = [("MEDCARDS_REDIS_PATIENCE", "2s")];

/// How many ask for one feedback at once.
const CALLERS: usize = 10_000;

/// The files that a process must be able to open for that: a connection each, and some of its own.
const FILES: usize = CALLERS + 2_000;

/// The calls of the fleet's model that are under way.
const UNDER_WAY: &str = "medcards_ai_calls_under_way{model=\"model-of-nobody\"}";

/// Answers the next case, and returns where the feedback is.
async fn answered(student: &Student) -> String {
    let case = student.get("/v1/cases/next").await.expect(200);
    let form = json!({"id": uuid_v7(), "options": [case["options"][0]["key"]]});
    let path = format!("/v1/cases/{}/answers", case["id"].as_str().unwrap());
    let answer = student.post(&path, &form).await.expect(201);
    format!("/v1/answers/{}/feedback", answer["id"].as_str().unwrap())
}

/// What one caller read: the words as they were shown at the end, and whether some were replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    text: String,
    tier: String,
    is_replaced: bool,
}

/// Reads a feedback as it comes, or says that the connection broke.
async fn follow(student: &Student, path: &str) -> Option<Seen> {
    let request = student.client.get(path).bearer_auth(&student.token);
    let request = request.header("accept", "text/event-stream");
    let response = request.send().await.ok()?;
    assert_eq!(response.status(), 200);
    let mut events = SseReader::new(response);
    let mut shown = String::new();
    while let Some(event) = events.try_next().await.ok()? {
        let data = event.json();
        if event.name == "delta" {
            shown.push_str(data["text"].as_str().unwrap());
            continue;
        }
        let text = data["text"].as_str().unwrap().to_owned();
        let is_replaced = data["is_replaced"].as_bool().unwrap();
        assert!(is_replaced || shown == text, "{shown:?} became {text:?}");
        return Some(Seen {
            text,
            tier: data["tier"].as_str().unwrap().to_owned(),
            is_replaced,
        });
    }
    None
}

/// Lets this process and those it starts open enough files.
fn allow_files() {
    let id = std::process::id().to_string();
    let limit = format!("--nofile={FILES}:");
    let raised = Command::new("prlimit")
        .args(["--pid", &id, &limit])
        .status();
    assert!(
        raised.is_ok_and(|status| status.success()),
        "this test needs {FILES} open files: raise the hard limit (ulimit -Hn)"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_cold_requests_of_three_servers_make_one_call() {
    allow_files();
    let (redis, model) = (RedisServer::start(), Model::start(Mood::Waits).await);
    let fleet = Fleet::start(&redis.url(), &model, &PATIENT).await;
    let student = fleet.student();
    let path = answered(&student).await;
    let callers: Vec<JoinHandle<_>> = (0..CALLERS)
        .map(|n| {
            let student = student.at(fleet.servers[n % SERVERS].url());
            let path = path.clone();
            tokio::spawn(async move { follow(&student, &path).await })
        })
        .collect();
    let waiting = (CALLERS - SERVERS) as u64;
    until("all wait for one call", async || {
        let joined = fleet.total("medcards_shared_flights_total").await;
        (joined == waiting).then_some(())
    })
    .await;
    model.release();
    let seen: Vec<_> = join_all(callers)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();

    assert_eq!(model.calls(), 1);
    let text = model.written();
    for seen in seen {
        let seen = seen.expect("no connection broke");
        assert_eq!((&*seen.text, seen.is_replaced), (&*text, false));
        assert!(["live", "remote"].contains(&&*seen.tier), "{}", seen.tier);
    }
    assert_eq!(fleet.total("medcards_live_calls_total").await, 1);
    assert_eq!(fleet.total("medcards_followed_calls_total").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_server_that_calls_is_killed_one_other_calls_for_all() {
    const CALLERS: usize = 300;
    let (redis, model) = (RedisServer::start(), Model::start(Mood::Waits).await);
    let mut fleet = Fleet::start(&redis.url(), &model, &PATIENT).await;
    let student = fleet.student();
    let path = answered(&student).await;
    let urls: Vec<_> = fleet
        .servers
        .iter()
        .map(|server| server.url().to_owned())
        .collect();
    let callers: Vec<_> = (0..CALLERS)
        .map(|n| {
            let at = |turn: usize| student.at(&urls[(n + turn) % SERVERS]);
            let places = [at(0), at(1), at(2)];
            let path = path.clone();
            tokio::spawn(async move {
                for student in &places {
                    // As a frontend does: a connection that broke is made again elsewhere.
                    if let Some(seen) = follow(student, &path).await {
                        return seen;
                    }
                }
                panic!("no server is left")
            })
        })
        .collect();
    until("all wait for one call", async || {
        let joined = fleet.total("medcards_shared_flights_total").await;
        (joined == (CALLERS - SERVERS) as u64).then_some(())
    })
    .await;
    assert_eq!(model.calls(), 1);
    let mut holder = None;
    for (n, server) in fleet.servers.iter().enumerate() {
        if figure(server, UNDER_WAY).await == 1 {
            holder = Some(n);
        }
    }
    drop(fleet.servers.remove(holder.expect("one of them calls")));
    until("another takes over", async || {
        (model.calls() == 2).then_some(())
    })
    .await;
    model.release();
    let text = model.written();
    for seen in join_all(callers).await {
        assert_eq!(seen.unwrap().text, text);
    }
    assert_eq!(model.calls(), 2);
    assert_eq!(fleet.total("medcards_takeovers_total").await, 1);
}
