use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use medcards::testing::ManualClock;
use medcards_examples::simulator::{BatchScript, Behaviour, Script, SimulatorOptions};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Server, completion, json_of, read};

async fn server(batch: BatchScript) -> (Server, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let script = Script {
        batch,
        ..Script::default()
    };
    let options = SimulatorOptions::new().with_clock(Arc::clone(&clock) as _);
    (Server::of(options.start(script).await.unwrap()), clock)
}

fn hour() -> BatchScript {
    BatchScript {
        duration_ms: 3_600_000,
        ..BatchScript::default()
    }
}

fn line(id: usize) -> Value {
    json!({
        "custom_id": format!("item-{id}"),
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": completion(false),
    })
}

fn lines(lines: impl IntoIterator<Item = Value>) -> String {
    lines.into_iter().map(|line| format!("{line}\n")).collect()
}

async fn upload(server: &Server, content: &str) -> Response {
    let form = format!(
        "--limit\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--limit\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"calls.jsonl\"\r\n\
         Content-Type: application/jsonl\r\n\r\n{content}\r\n--limit--\r\n"
    );
    let request = server.client.post(server.url("/v1/files"));
    let request = request.header("content-type", "multipart/form-data; boundary=limit");
    request.body(form).send().await.unwrap()
}

fn wanted(file: &Value) -> Value {
    json!({
        "input_file_id": file["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": { "plan": "7" },
    })
}

async fn create(server: &Server, content: &str) -> Value {
    let file = json_of(upload(server, content).await, StatusCode::OK).await;
    assert_eq!(file["bytes"], content.len());
    assert_eq!(file["filename"], "calls.jsonl");
    let created = server.post("/v1/batches", &wanted(&file)).send().await;
    json_of(created.unwrap(), StatusCode::OK).await
}

async fn find(server: &Server, batch: &Value) -> Value {
    let path = format!("/v1/batches/{}", batch["id"].as_str().unwrap());
    json_of(server.get(&path).send().await.unwrap(), StatusCode::OK).await
}

/// What a file of a batch holds, by custom id.
async fn written(server: &Server, file_id: &Value) -> BTreeMap<String, Value> {
    let path = format!("/v1/files/{}/content", file_id.as_str().unwrap());
    let response = server.get(&path).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let text = response.text().await.unwrap();
    let lines: BTreeMap<_, _> = text
        .lines()
        .map(read)
        .map(|line| (line["custom_id"].as_str().unwrap().to_owned(), line))
        .collect();
    assert_eq!(lines.len(), text.lines().count());
    lines
}

#[tokio::test]
async fn a_batch_goes_from_a_file_to_a_file() {
    let (server, clock) = server(hour()).await;
    let mut calls: Vec<_> = (0..4).map(line).collect();
    calls[3]["body"]["model"] = Value::Null;
    let batch = create(&server, &lines(calls)).await;
    assert_eq!(batch["status"], "in_progress");
    assert_eq!(batch["metadata"]["plan"], "7");
    assert_eq!(batch["output_file_id"], Value::Null);

    clock.advance(Duration::from_secs(1_800));
    let batch = find(&server, &batch).await;
    assert_eq!(
        batch["request_counts"],
        json!({ "total": 4, "completed": 2, "failed": 0 })
    );
    clock.advance(Duration::from_secs(1_800));
    let batch = find(&server, &batch).await;
    assert_eq!(batch["status"], "completed");
    assert_eq!(
        batch["request_counts"],
        json!({ "total": 4, "completed": 3, "failed": 1 })
    );
    let output = written(&server, &batch["output_file_id"]).await;
    assert_eq!(output.len(), 3);
    let response = &output["item-0"]["response"];
    assert_eq!(response["status_code"], 200);
    let choice = &response["body"]["choices"][0];
    assert!(
        choice["message"]["content"]
            .as_str()
            .unwrap()
            .contains("“Bisoprolol")
    );
    let paid: u64 = output
        .values()
        .map(|line| &line["response"]["body"]["usage"]["completion_tokens"])
        .map(|tokens| tokens.as_u64().unwrap())
        .sum();
    assert_eq!(server.simulator.counts().batches.output_tokens, paid);
    let errors = written(&server, &batch["error_file_id"]).await;
    assert_eq!(errors.len(), 1);
    assert_eq!(errors["item-3"]["response"]["status_code"], 400);
}

#[tokio::test]
async fn what_is_cancelled_or_expired_is_told_apart() {
    let (server, clock) = server(BatchScript {
        window_ms: 1_800_000,
        ..hour()
    })
    .await;
    let content = lines((0..4).map(line));
    let expiring = create(&server, &content).await;
    clock.advance(Duration::from_secs(900));
    let cancelled = create(&server, &content).await;
    clock.advance(Duration::from_secs(900));
    let path = format!("/v1/batches/{}/cancel", cancelled["id"].as_str().unwrap());
    let cancel = server.post(&path, &json!({})).send().await.unwrap();
    json_of(cancel, StatusCode::OK).await;
    for (batch, status, code, lost) in [
        (expiring, "expired", "batch_expired", 2),
        (cancelled, "cancelled", "batch_cancelled", 3),
    ] {
        let batch = find(&server, &batch).await;
        assert_eq!(batch["status"], status);
        let errors = written(&server, &batch["error_file_id"]).await;
        assert_eq!(errors.len(), lost);
        assert!(errors.values().all(|line| line["error"]["code"] == code));
        let output = written(&server, &batch["output_file_id"]).await;
        assert_eq!(output.len(), 4 - lost);
    }
}

#[tokio::test]
async fn a_file_with_a_fault_fails_the_batch() {
    let (server, _clock) = server(hour()).await;
    let mut elsewhere = line(2);
    elsewhere["url"] = json!("/v1/embeddings");
    for (content, at) in [
        (lines([line(1), line(1)]), 2),
        (lines([line(1), elsewhere]), 2),
        (format!("{}not json\n", lines([line(1)])), 2),
        (lines([json!({})]), 1),
        (String::new(), 1),
    ] {
        let batch = create(&server, &content).await;
        assert_eq!(batch["status"], "failed", "{content}");
        assert_eq!(batch["errors"]["data"][0]["line"], at, "{content}");
        assert_eq!(batch["request_counts"]["total"], 0);
    }
}

#[tokio::test]
async fn batches_are_listed_newest_first_in_pages() {
    let (server, _clock) = server(hour()).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let batch = create(&server, &lines([line(1)])).await;
        ids.push(batch["id"].as_str().unwrap().to_owned());
    }
    ids.reverse();
    let page = async |query: String| {
        let response = server
            .get(&format!("/v1/batches{query}"))
            .send()
            .await
            .unwrap();
        let page = json_of(response, StatusCode::OK).await;
        let listed = page["data"].as_array().unwrap();
        let listed: Vec<_> = listed
            .iter()
            .map(|batch| batch["id"].as_str().unwrap().to_owned())
            .collect();
        (listed, page["has_more"].as_bool().unwrap())
    };
    assert_eq!(page(String::new()).await, (ids.clone(), false));
    assert_eq!(page("?limit=2".to_owned()).await, (ids[..2].to_vec(), true));
    let after = format!("?limit=2&after={}", ids[1]);
    assert_eq!(page(after).await, (ids[2..].to_vec(), false));
}

#[tokio::test]
async fn what_is_no_file_or_batch_is_refused() {
    let (server, _clock) = server(hour()).await;
    for path in [
        "/v1/batches/batch_none",
        "/v1/files/file-none",
        "/v1/files/file-none/content",
        "/v1/files/file-output-none/content",
    ] {
        let response = server.get(path).send().await.unwrap();
        json_of(response, StatusCode::NOT_FOUND).await;
    }
    let no_form = server
        .client
        .post(server.url("/v1/files"))
        .body("purpose=batch");
    json_of(no_form.send().await.unwrap(), StatusCode::BAD_REQUEST).await;
    let file = json_of(upload(&server, "").await, StatusCode::OK).await;
    for (name, value, status) in [
        ("input_file_id", json!("file-none"), StatusCode::NOT_FOUND),
        ("input_file_id", Value::Null, StatusCode::BAD_REQUEST),
        ("endpoint", json!("/v1/embeddings"), StatusCode::BAD_REQUEST),
        ("completion_window", json!("1h"), StatusCode::BAD_REQUEST),
        ("metadata", json!({ "plan": 7 }), StatusCode::BAD_REQUEST),
    ] {
        let mut body = wanted(&file);
        body[name] = value;
        let response = server.post("/v1/batches", &body).send().await.unwrap();
        json_of(response, status).await;
    }
}

#[tokio::test]
async fn results_are_not_there_before_the_end() {
    let (server, _clock) = server(hour()).await;
    let batch = create(&server, &lines([line(1)])).await;
    let id = batch["id"].as_str().unwrap().trim_start_matches("batch_");
    let path = format!("/v1/files/file-output-{id}/content");
    let early = server.get(&path).send().await.unwrap();
    json_of(early, StatusCode::NOT_FOUND).await;
    server.simulator.finish_batches();
    assert_eq!(
        server.get(&path).send().await.unwrap().status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_lost_answer_leaves_the_batch() {
    let (server, _clock) = server(BatchScript {
        next: vec![Behaviour::Good, Behaviour::Cut],
        ..hour()
    })
    .await;
    let file = json_of(upload(&server, &lines([line(1)])).await, StatusCode::OK).await;
    let created = server.post("/v1/batches", &wanted(&file)).send().await;
    created.unwrap_err();
    let list = server.get("/v1/batches").send().await.unwrap();
    let list = json_of(list, StatusCode::OK).await;
    assert_eq!(list["data"][0]["metadata"]["plan"], "7");
    assert_eq!(server.simulator.counts().batches.created, 1);
}
