use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use medcards::testing::ManualClock;
use medcards_examples::simulator::{BatchScript, Behaviour, Script, SimulatorOptions};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Server, json_of, message, read};

const BATCHES: &str = "/v1/messages/batches";

async fn server(batch: BatchScript) -> (Server, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let script = Script {
        batch,
        ..Script::default()
    };
    let options = SimulatorOptions::new().with_clock(Arc::clone(&clock) as _);
    (Server::of(options.start(script).await.unwrap()), clock)
}

fn requests(ids: impl IntoIterator<Item = usize>) -> Value {
    let requests: Vec<_> = ids
        .into_iter()
        .map(|id| {
            let mut params = message(false);
            params["messages"][0]["content"][0]["text"] = json!(format!("question {id}"));
            json!({ "custom_id": format!("item-{id}"), "params": params })
        })
        .collect();
    json!({ "requests": requests })
}

async fn create(server: &Server, items: usize) -> Value {
    let created = server.post(BATCHES, &requests(0..items)).send().await;
    json_of(created.unwrap(), StatusCode::OK).await
}

async fn find(server: &Server, batch: &Value) -> Value {
    let path = format!("{BATCHES}/{}", batch["id"].as_str().unwrap());
    json_of(server.get(&path).send().await.unwrap(), StatusCode::OK).await
}

async fn results(server: &Server, batch: &Value) -> Vec<Value> {
    let path = format!("{BATCHES}/{}/results", batch["id"].as_str().unwrap());
    let response = server.get(&path).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/x-jsonl");
    response.text().await.unwrap().lines().map(read).collect()
}

/// How many results are of each type, each item having exactly one.
fn tally(results: &[Value], items: usize) -> BTreeMap<String, u64> {
    let ids: BTreeMap<_, _> = results
        .iter()
        .map(|line| (line["custom_id"].as_str().unwrap(), line))
        .collect();
    assert_eq!((ids.len(), results.len()), (items, items));
    let mut tally = BTreeMap::new();
    for line in results {
        let kind = line["result"]["type"].as_str().unwrap().to_owned();
        *tally.entry(kind).or_default() += 1;
    }
    tally
}

fn counts(batch: &Value) -> BTreeMap<String, u64> {
    let counts = batch["request_counts"].as_object().unwrap();
    let counts = counts
        .iter()
        .map(|(name, count)| (name.clone(), count.as_u64().unwrap()));
    counts.filter(|(_, count)| *count > 0).collect()
}

fn of<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counts.map(|(name, count)| (name.to_owned(), count)).into()
}

fn hour() -> BatchScript {
    BatchScript {
        duration_ms: 3_600_000,
        ..BatchScript::default()
    }
}

#[tokio::test]
async fn a_batch_ends_after_its_time_and_tells_every_result_once() {
    let (server, clock) = server(hour()).await;
    let batch = create(&server, 200).await;
    assert_eq!(batch["processing_status"], "in_progress");
    assert_eq!(counts(&batch), of([("processing", 200)]));
    assert_eq!(batch["results_url"], Value::Null);

    clock.advance(Duration::from_secs(3_599));
    let batch = find(&server, &batch).await;
    assert_eq!(batch["processing_status"], "in_progress");
    assert_eq!(counts(&batch), of([("processing", 200)]));
    let path = format!("{BATCHES}/{}/results", batch["id"].as_str().unwrap());
    let early = server.get(&path).send().await.unwrap();
    let early = json_of(early, StatusCode::BAD_REQUEST).await;
    assert_eq!(early["error"]["type"], "invalid_request_error");

    clock.advance(Duration::from_secs(1));
    let batch = find(&server, &batch).await;
    assert_eq!(batch["processing_status"], "ended");
    assert_eq!(counts(&batch), of([("succeeded", 200)]));
    assert_eq!(batch["results_url"], server.url(&path));
    let told = results(&server, &batch).await;
    assert_eq!(tally(&told, 200), of([("succeeded", 200)]));
    let in_order = |line: &Value, place: usize| line["custom_id"] == format!("item-{place}");
    assert!(
        !told
            .iter()
            .zip(0..)
            .all(|(line, place)| in_order(line, place))
    );
    let message = &told[0]["result"]["message"];
    assert_eq!(message["stop_reason"], "end_turn");
    assert!(message["usage"]["output_tokens"].as_u64() > Some(0));
    assert_eq!(results(&server, &batch).await, told);
    // Read twice, paid once.
    let usage = |name: &str| -> u64 {
        let usages = told.iter().map(|line| &line["result"]["message"]["usage"]);
        usages.map(|usage| usage[name].as_u64().unwrap()).sum()
    };
    let counts = server.simulator.counts().batches;
    assert_eq!(counts.input_tokens, usage("input_tokens"));
    assert_eq!(counts.output_tokens, usage("output_tokens"));
}

#[tokio::test]
async fn items_that_cannot_be_fail_alone_and_those_of_the_script_too() {
    let (server, _clock) = server(BatchScript {
        errored: 0.25,
        expired: 0.25,
        ..BatchScript::default()
    })
    .await;
    let mut body = requests(0..200);
    body["requests"][7]["params"]["max_tokens"] = Value::Null;
    let created = server.post(BATCHES, &body).send().await.unwrap();
    let batch = find(&server, &json_of(created, StatusCode::OK).await).await;
    let told = results(&server, &batch).await;
    let tally = tally(&told, 200);
    assert_eq!(tally, counts(&batch));
    for kind in ["errored", "expired"] {
        assert!((25..75).contains(&tally[kind]), "{tally:?}");
    }
    let bad = told
        .iter()
        .find(|line| line["custom_id"] == "item-7")
        .unwrap();
    if bad["result"]["type"] == "errored" {
        let error = &bad["result"]["error"]["error"];
        assert_eq!(error["type"], "invalid_request_error");
    }
    let failed = told.iter().any(|line| {
        line["result"]["error"]["type"] == "error"
            && line["result"]["error"]["error"]["type"] == "api_error"
    });
    assert!(failed);
    assert_eq!(server.simulator.counts().batches.invalid_items, 1);
}

#[tokio::test]
async fn a_cancelled_batch_keeps_what_was_done() {
    let (server, clock) = server(BatchScript {
        cancel_ms: 10_000,
        ..hour()
    })
    .await;
    let batch = create(&server, 4).await;
    clock.advance(Duration::from_secs(1_800));
    let path = format!("{BATCHES}/{}/cancel", batch["id"].as_str().unwrap());
    let cancel = async || server.post(&path, &json!({})).send().await.unwrap();
    let batch = json_of(cancel().await, StatusCode::OK).await;
    assert_eq!(batch["processing_status"], "canceling");
    assert!(batch["cancel_initiated_at"].is_string());
    assert_eq!(counts(&batch), of([("processing", 4)]));
    clock.advance(Duration::from_secs(10));
    let batch = find(&server, &batch).await;
    assert_eq!(batch["processing_status"], "ended");
    assert_eq!(counts(&batch), of([("canceled", 2), ("succeeded", 2)]));
    let told = results(&server, &batch).await;
    assert_eq!(tally(&told, 4), of([("canceled", 2), ("succeeded", 2)]));
    json_of(cancel().await, StatusCode::BAD_REQUEST).await;
}

#[tokio::test]
async fn what_is_not_done_within_the_window_expires() {
    let (server, clock) = server(BatchScript {
        window_ms: 900_000,
        ..hour()
    })
    .await;
    let batch = create(&server, 4).await;
    clock.advance(Duration::from_secs(900));
    let batch = find(&server, &batch).await;
    assert_eq!(batch["ended_at"], batch["expires_at"]);
    assert_eq!(counts(&batch), of([("expired", 3), ("succeeded", 1)]));
    let told = results(&server, &batch).await;
    assert_eq!(tally(&told, 4), of([("expired", 3), ("succeeded", 1)]));
}

#[tokio::test]
async fn an_operator_may_finish_or_expire_batches() {
    for (path, kind) in [("finish", "succeeded"), ("expire", "expired")] {
        let (server, _clock) = server(hour()).await;
        let batch = create(&server, 3).await;
        let path = format!("/simulator/batches/{path}");
        let done = server.post(&path, &json!({})).send().await.unwrap();
        assert_eq!(done.status(), StatusCode::NO_CONTENT);
        let batch = find(&server, &batch).await;
        assert_eq!(batch["processing_status"], "ended");
        assert_eq!(counts(&batch), of([(kind, 3)]));
    }
}

#[tokio::test]
async fn batches_are_listed_newest_first_in_pages() {
    let (server, clock) = server(hour()).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(create(&server, 1).await["id"].as_str().unwrap().to_owned());
        clock.advance(Duration::from_secs(1));
    }
    ids.reverse();
    let page = async |query: String| {
        let response = server
            .get(&format!("{BATCHES}{query}"))
            .send()
            .await
            .unwrap();
        let page = json_of(response, StatusCode::OK).await;
        let listed = page["data"].as_array().unwrap();
        let listed: Vec<_> = listed
            .iter()
            .map(|batch| batch["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            page["first_id"].as_str(),
            listed.first().map(String::as_str)
        );
        assert_eq!(page["last_id"].as_str(), listed.last().map(String::as_str));
        (listed, page["has_more"].as_bool().unwrap())
    };
    assert_eq!(page(String::new()).await, (ids.clone(), false));
    assert_eq!(page("?limit=2".to_owned()).await, (ids[..2].to_vec(), true));
    let after = format!("?limit=2&after_id={}", ids[1]);
    assert_eq!(page(after).await, (ids[2..4].to_vec(), true));
    let after = format!("?limit=2&after_id={}", ids[3]);
    assert_eq!(page(after).await, (ids[4..].to_vec(), false));
    let before = format!("?limit=2&before_id={}", ids[3]);
    assert_eq!(page(before).await, (ids[1..3].to_vec(), true));
    let before = format!("?limit=2&before_id={}", ids[0]);
    assert_eq!(page(before).await, (vec![], false));
    for query in ["?limit=0", "?limit=1001"] {
        let response = server
            .get(&format!("{BATCHES}{query}"))
            .send()
            .await
            .unwrap();
        json_of(response, StatusCode::BAD_REQUEST).await;
    }
}

#[tokio::test]
async fn what_is_no_batch_is_refused() {
    let (server, _clock) = server(hour()).await;
    let mut twice = requests([1, 2]);
    twice["requests"][1]["custom_id"] = json!("item-1");
    let mut odd = requests([1]);
    odd["requests"][0]["custom_id"] = json!("no spaces");
    let mut long = requests([1]);
    long["requests"][0]["custom_id"] = json!("x".repeat(65));
    let mut empty = requests([1]);
    empty["requests"][0]["params"] = Value::Null;
    for body in [
        json!({}),
        json!({ "requests": [] }),
        twice,
        odd,
        long,
        empty,
    ] {
        let response = server.post(BATCHES, &body).send().await.unwrap();
        json_of(response, StatusCode::BAD_REQUEST).await;
    }
    for path in ["", "/results"] {
        let path = format!("{BATCHES}/msgbatch_none{path}");
        let response = server.get(&path).send().await.unwrap();
        let error = json_of(response, StatusCode::NOT_FOUND).await;
        assert_eq!(error["error"]["type"], "not_found_error");
    }
    assert_eq!(server.simulator.counts().batches.created, 0);
}

#[tokio::test]
async fn only_a_batch_that_ended_is_deleted() {
    let (server, _clock) = server(hour()).await;
    let batch = create(&server, 1).await;
    let path = format!("{BATCHES}/{}", batch["id"].as_str().unwrap());
    let delete = async || {
        let headers = server.get("/").build().unwrap().headers().clone();
        let request = server.client.delete(server.url(&path)).headers(headers);
        request.send().await.unwrap()
    };
    json_of(delete().await, StatusCode::BAD_REQUEST).await;
    server.simulator.finish_batches();
    json_of(delete().await, StatusCode::OK).await;
    json_of(delete().await, StatusCode::NOT_FOUND).await;
}

#[tokio::test]
async fn a_lost_answer_leaves_the_batch_and_what_is_asked_again_is_counted() {
    let (server, _clock) = server(BatchScript {
        next: vec![Behaviour::Overloaded, Behaviour::Cut],
        ..hour()
    })
    .await;
    let ask = || server.post(BATCHES, &requests(0..3)).send();
    assert_eq!(ask().await.unwrap().status().as_u16(), 529);
    ask().await.unwrap_err();
    assert_eq!(server.simulator.counts().batches.created, 1);
    let list = server.get(BATCHES).send().await.unwrap();
    let list = json_of(list, StatusCode::OK).await;
    assert_eq!(list["data"].as_array().unwrap().len(), 1);

    let again = server.post(BATCHES, &requests(2..4)).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::OK);
    let counts = server.simulator.counts();
    assert_eq!(counts.batches.items, 5);
    assert_eq!(counts.batches.repeated_items, 1);
    assert_eq!(counts.calls_of("POST /v1/messages/batches", "cut"), 1);
    assert_eq!(
        counts.calls_of("POST /v1/messages/batches", "overloaded"),
        1
    );
}
