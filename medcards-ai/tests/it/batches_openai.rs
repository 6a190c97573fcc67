//! Batches of the second interface: a file, a batch of it, and two files of results.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use medcards_ai::{OPENAI_BATCH_BYTES_MAX, OPENAI_BATCH_LEN_MAX, OpenAiProvider};
use medcards_core::ai::{
    AiProvider, BatchInfo, BatchItem, BatchResult, Billed, Prompt, PromptPart, StopReason,
};
use medcards_core::spend::{MicroDollars, Price};
use medcards_core::{Error, ErrorKind};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::sample::{KEY, prompt};
use crate::server::{Answer, End, Server};

const BATCH: &str = "batch_abc123";

fn provider(url: &str) -> OpenAiProvider {
    let price = Price {
        input: MicroDollars::new(2_000_000),
        output: MicroDollars::new(8_000_000),
        ..Price::default()
    };
    OpenAiProvider::builder("gpt-test")
        .with_base_url(format!("{url}/openai/v1"))
        .with_key(SecretString::from(KEY))
        .with_price(price)
        .with_batches(true)
        .build()
        .unwrap()
}

fn item(name: &str) -> BatchItem {
    BatchItem {
        name: name.to_owned(),
        prompt: prompt(),
    }
}

fn object(status: &str) -> Value {
    json!({
        "id": BATCH,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "file-in",
        "status": status,
        "created_at": 1_711_471_533,
        "request_counts": { "total": 100, "completed": 95, "failed": 2 },
        "output_file_id": null,
        "error_file_id": null,
    })
}

/// Answers files with their names and contents, and everything else with the batch.
async fn server_with(batch: Value, files: &[(&str, String)]) -> Server {
    let files: BTreeMap<String, String> = files
        .iter()
        .map(|(name, content)| {
            (
                format!("GET /openai/v1/files/{name}/content"),
                content.clone(),
            )
        })
        .collect();
    Server::start_asked(move |_, request| match request.line() {
        "POST /openai/v1/files" => Answer::json(200, r#"{"id":"file-in","object":"file"}"#),
        line => match files.get(line) {
            Some(content) => Answer::new(200, "application/octet-stream", content),
            None if line.contains("/files/") => Answer::json(404, "{}"),
            None => Answer::json(200, batch.to_string()),
        },
    })
    .await
}

#[tokio::test]
async fn a_batch_is_a_file_of_lines_first() {
    let server = server_with(object("validating"), &[]).await;
    let provider = provider(&server.url);
    let items = vec![item("one"), item("two")];
    let made = provider.batches().unwrap().create_batch(items).await;
    assert_eq!(made.unwrap(), BATCH);
    let requests = server.requests();
    let lines: Vec<_> = requests.iter().map(crate::server::Request::line).collect();
    assert_eq!(lines, ["POST /openai/v1/files", "POST /openai/v1/batches"]);
    let head = requests[0].head.to_lowercase();
    let boundary = "\r\ncontent-type: multipart/form-data; boundary=medcards-batch\r\n";
    assert!(head.contains(boundary), "{head}");
    assert!(
        head.contains(&format!("\r\nauthorization: bearer {KEY}\r\n")),
        "{head}"
    );

    let form = String::from_utf8(requests[0].body.clone()).unwrap();
    let parts: Vec<_> = form.split("--medcards-batch").collect();
    assert_eq!(parts.len(), 4);
    assert!(
        parts[1].contains("name=\"purpose\"\r\n\r\nbatch\r\n"),
        "{}",
        parts[1]
    );
    assert_eq!(parts[3], "--\r\n");
    let (head, file) = parts[2].split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("name=\"file\"; filename=\"batch.jsonl\""),
        "{head}"
    );
    let file: Vec<Value> = file
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(file.len(), 2);
    assert_eq!(file[1]["custom_id"], "two");
    assert_eq!(file[1]["method"], "POST");
    assert_eq!(file[1]["url"], "/v1/chat/completions");
    let body = &file[1]["body"];
    assert_eq!(body["model"], "gpt-test");
    assert_eq!(body["max_completion_tokens"], prompt().output_tokens_max);
    assert_eq!(body["messages"].as_array().unwrap().len(), 2);
    assert!(body.get("stream").is_none() && body.get("stream_options").is_none());

    let creation: Value = serde_json::from_slice(&requests[1].body).unwrap();
    let expected = json!({
        "input_file_id": "file-in",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    });
    assert_eq!(creation, expected);
}

#[tokio::test]
async fn only_servers_that_are_said_to_have_batches_have_them() {
    let builder = || {
        OpenAiProvider::builder("gpt-test")
            .with_key(SecretString::from(KEY))
            .with_price(Price::default())
    };
    let has = |builder: medcards_ai::OpenAiBuilder| builder.build().unwrap().batches().is_some();
    assert!(has(builder()), "OpenAI has them");
    assert!(!has(builder().with_base_url("http://127.0.0.1:1")));
    assert!(has(builder()
        .with_base_url("http://127.0.0.1:1")
        .with_batches(true)));
    assert!(!has(builder().with_batches(false)));
    let provider = provider("http://127.0.0.1:1");
    let batches = provider.batches().unwrap();
    assert_eq!(batches.price(), AiProvider::price(&provider).in_batch());
    assert!(!format!("{batches:?}").contains(KEY));
}

#[tokio::test]
async fn a_batch_that_cannot_be_is_refused_before_it_is_sent() {
    let server = server_with(object("validating"), &[]).await;
    let provider = provider(&server.url);
    let batches = provider.batches().unwrap();
    let numbered = |prompt: Prompt, len: usize| {
        (0..len)
            .map(|number| BatchItem {
                name: number.to_string(),
                prompt: prompt.clone(),
            })
            .collect()
    };
    let short = Prompt {
        instructions: String::new(),
        parts: Vec::new(),
        ..prompt()
    };
    let long = Prompt {
        parts: vec![PromptPart::Case("x".repeat(1024 * 1024))],
        ..prompt()
    };
    for (items, advice) in [
        (vec![], "needs an item"),
        (vec![item("a"), item("a")], "two items have the name a"),
        (
            numbered(short, OPENAI_BATCH_LEN_MAX + 1),
            "at most 50000 items",
        ),
        (
            numbered(long, OPENAI_BATCH_BYTES_MAX / (1024 * 1024)),
            "at most 209715200 bytes",
        ),
    ] {
        let error = batches.create_batch(items).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{advice}");
        assert!(error.to_string().contains(advice), "{error}");
    }
    assert!(server.requests().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_batch_that_cannot_be_sent_was_surely_not_made() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    // Nobody listens there; nobody has that name.
    for host in [format!("127.0.0.1:{port}"), "nobody.invalid".to_owned()] {
        let provider = provider(&format!("http://{host}"));
        let made = provider
            .batches()
            .unwrap()
            .create_batch(vec![item("a")])
            .await;
        let error = made.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{host}: {error}");
        assert!(error.to_string().contains("cannot be reached"), "{error}");
    }
}

#[tokio::test]
async fn a_batch_that_may_exist_is_told_so() {
    for answer in [
        Answer::json(200, "{}"),
        Answer::json(200, "{\"id\":").with_end(End::Cut),
        Answer::json(500, "{}"),
    ] {
        let server = Server::start_asked(move |_, request| {
            if request.line().ends_with("/files") {
                Answer::json(200, r#"{"id":"file-in"}"#)
            } else {
                answer.clone()
            }
        })
        .await;
        let provider = provider(&server.url);
        let made = provider
            .batches()
            .unwrap()
            .create_batch(vec![item("a")])
            .await;
        assert_eq!(made.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(server.requests().len(), 2, "it is not handed in again");
    }
}

#[tokio::test]
async fn a_batch_is_found_with_how_far_it_is() {
    for (status, has_ended) in [
        ("validating", false),
        ("in_progress", false),
        ("finalizing", false),
        ("cancelling", false),
        ("a_status_of_next_year", false),
        ("completed", true),
        ("failed", true),
        ("expired", true),
        ("cancelled", true),
    ] {
        let server = server_with(object(status), &[]).await;
        let provider = provider(&server.url);
        let expected = BatchInfo {
            batch: BATCH.to_owned(),
            has_ended,
            created_at: "2024-03-26T16:45:33Z".parse().unwrap(),
            done: 97,
            total: 100,
        };
        let batches = provider.batches().unwrap();
        assert_eq!(batches.find_batch(BATCH).await.unwrap(), expected);
        batches.cancel_batch(BATCH).await.unwrap();
        let requests = server.requests();
        assert_eq!(
            requests[0].line(),
            format!("GET /openai/v1/batches/{BATCH}")
        );
        assert_eq!(
            requests[1].line(),
            format!("POST /openai/v1/batches/{BATCH}/cancel")
        );
        if !has_ended {
            let error = batches.results(BATCH).await.map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict, "{status}");
        }
        for name in ["", "..", "a/b", "a?b"] {
            let error = batches.find_batch(name).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{name}");
        }
    }
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let server = Server::start_asked(|_, request| {
        let batch = |name: &str| {
            let mut batch = object("completed");
            batch["id"] = json!(name);
            batch
        };
        let (data, has_more) = match request.line() {
            "GET /openai/v1/batches?limit=100" => (vec![batch("b2"), batch("b1")], true),
            "GET /openai/v1/batches?limit=100&after=b1" => (vec![batch("b0")], false),
            line => panic!("unexpected {line}"),
        };
        Answer::json(
            200,
            json!({ "data": data, "has_more": has_more }).to_string(),
        )
    })
    .await;
    let listed = provider(&server.url)
        .batches()
        .unwrap()
        .list_batches(500)
        .await
        .unwrap();
    let listed: Vec<_> = listed.iter().map(|info| info.batch.as_str()).collect();
    assert_eq!(listed, ["b2", "b1", "b0"]);
}

async fn results(server: &Server) -> Vec<Result<BatchResult, Error>> {
    let provider = provider(&server.url);
    let results = provider.batches().unwrap().results(BATCH).await.unwrap();
    results.collect().await
}

#[tokio::test]
async fn results_are_those_of_both_files() {
    let mut batch = object("expired");
    batch["output_file_id"] = json!("file-out");
    batch["error_file_id"] = json!("file-err");
    let response = |status: u16, body: Value| json!({ "status_code": status, "body": body });
    let line = |name: &str, response: Value, error: Value| {
        json!({ "id": "r", "custom_id": name, "response": response, "error": error }).to_string()
    };
    let reply = json!({
        "choices": [{ "message": { "content": "Potassium." }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 1_000, "completion_tokens": 100 },
    });
    let error = |code: &str| json!({ "error": { "code": code, "message": "SECRET" } });
    let output = [
        line("good", response(200, reply), Value::Null),
        "no JSON SECRET".to_owned(),
        line("odd", response(200, json!("SECRET")), Value::Null),
        line("empty", Value::Null, Value::Null),
    ];
    let errors = [
        line(
            "bad",
            response(400, error("context_length_exceeded")),
            Value::Null,
        ),
        line("down", response(500, Value::Null), Value::Null),
        line(
            "late",
            Value::Null,
            json!({ "code": "batch_expired", "message": "SECRET" }),
        ),
    ];
    let files = [
        ("file-out", output.join("\n")),
        ("file-err", errors.join("\n")),
    ];
    let server = server_with(batch, &files).await;
    let told: Vec<_> = results(&server)
        .await
        .into_iter()
        .map(|result| match result {
            Ok(BatchResult {
                name,
                reply: Ok(reply),
            }) => {
                assert_eq!(reply.text, "Potassium.");
                assert_eq!(reply.stop, StopReason::Complete);
                // Half of 2 and 8 dollars per million.
                assert_eq!(reply.cost, MicroDollars::new(1_000 + 400));
                (name, None, None)
            }
            Ok(BatchResult {
                name,
                reply: Err(failure),
            }) => {
                assert!(!format!("{failure:?}").contains("SECRET"), "{failure:?}");
                (name, Some(failure.error.kind()), Some(failure.billed))
            }
            Err(error) => {
                assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
                (String::new(), Some(error.kind()), None)
            }
        })
        .collect();
    let free = Some(Billed::Nothing);
    let unknown = Some(Billed::Unknown);
    let expected = [
        ("good", None, None),
        ("", Some(ErrorKind::Corrupt), None),
        ("odd", Some(ErrorKind::Corrupt), unknown),
        ("empty", Some(ErrorKind::Corrupt), unknown),
        ("bad", Some(ErrorKind::Invalid), free),
        ("down", Some(ErrorKind::Unavailable), free),
        ("late", Some(ErrorKind::Timeout), free),
    ];
    assert_eq!(
        told,
        expected.map(|(name, kind, billed)| (name.to_owned(), kind, billed))
    );
}

#[tokio::test]
async fn a_batch_without_files_has_no_results_or_was_refused_as_a_whole() {
    let server = server_with(object("cancelled"), &[]).await;
    assert!(results(&server).await.is_empty());
    let server = server_with(object("failed"), &[]).await;
    let provider = provider(&server.url);
    let error = provider
        .batches()
        .unwrap()
        .results(BATCH)
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_file_that_is_gone_is_an_error_and_the_other_is_read() {
    let mut batch = object("completed");
    batch["output_file_id"] = json!("file-gone");
    batch["error_file_id"] = json!("file-err");
    let late = json!({ "custom_id": "late", "error": { "code": "batch_expired" } }).to_string();
    let server = server_with(batch, &[("file-err", late)]).await;
    let results = results(&server).await;
    assert_eq!(results.len(), 2);
    assert_eq!(results[0].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(results[1].as_ref().unwrap().name, "late");
}
