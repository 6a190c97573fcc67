//! Batches: nothing is handed in that cannot be taken, and no bad result spoils the others.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use medcards_ai::{ANTHROPIC_BATCH_BYTES_MAX, ANTHROPIC_BATCH_LEN_MAX, BATCH_RESULT_BYTES_MAX};
use medcards_core::ai::{
    AiBatches, AiProvider, BatchInfo, BatchItem, BatchResult, Billed, Prompt, PromptPart,
    StopReason,
};
use medcards_core::spend::{Price, TokenUsage};
use medcards_core::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::sample::{KEY, anthropic, prompt};
use crate::server::{Answer, End, Server};

const BATCH: &str = "msgbatch_013Zva2CMHLNnXjNJJKqJ2EF";

fn item(name: &str) -> BatchItem {
    BatchItem {
        name: name.to_owned(),
        prompt: prompt(),
    }
}

fn object(batch: &str, status: &str, created_at: &str) -> Value {
    json!({
        "id": batch,
        "type": "message_batch",
        "processing_status": status,
        "created_at": created_at,
        "expires_at": "2026-11-26T10:00:00Z",
        "ended_at": null,
        "results_url": null,
        "request_counts":
            { "processing": 3, "succeeded": 50, "errored": 30, "canceled": 10, "expired": 7 },
    })
}

fn ended() -> Answer {
    let object = object(BATCH, "ended", "2026-11-25T10:00:00.100435Z");
    Answer::json(200, object.to_string())
}

/// A server whose batch has ended with these results.
async fn server_with(results: impl AsRef<[u8]>) -> Server {
    answering(Answer::new(200, "application/x-jsonl", results)).await
}

/// A server whose batch has ended, and that answers with this when its results are asked for.
async fn answering(results: Answer) -> Server {
    Server::start_asked(move |_, request| {
        if request.line().ends_with("/results") {
            results.clone()
        } else {
            ended()
        }
    })
    .await
}

/// What the line of an item that succeeded says.
fn succeeded(name: &str, text: &str) -> String {
    json!({
        "custom_id": name,
        "result": { "type": "succeeded", "message": {
            "type": "message",
            "role": "assistant",
            "content": [
                { "type": "thinking", "thinking": "hm", "signature": "" },
                { "type": "text", "text": text },
            ],
            "stop_reason": "end_turn",
            "usage": { "input_tokens": 472, "cache_read_input_tokens": 12, "output_tokens": 97 },
        } },
    })
    .to_string()
}

fn with_type(name: &str, result: &str) -> String {
    json!({ "custom_id": name, "result": { "type": result } }).to_string()
}

async fn results(url: &str) -> Vec<Result<BatchResult, Error>> {
    let provider = anthropic(url);
    let results = provider.batches().unwrap().results(BATCH).await.unwrap();
    results.collect().await
}

#[tokio::test]
async fn a_batch_is_handed_in_whole_and_named() {
    let server = Server::start(ended()).await;
    let provider = anthropic(&server.url);
    let batches = provider.batches().unwrap();
    let items = vec![item("case-1_en"), item("case-2_en")];
    assert_eq!(batches.create_batch(items).await.unwrap(), BATCH);

    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].line(), "POST /v1/messages/batches");
    let head = requests[0].head.to_lowercase();
    assert!(
        head.contains(&format!("\r\nx-api-key: {KEY}\r\n")),
        "{head}"
    );
    assert!(head.contains("\r\nanthropic-version: "), "{head}");
    let body: Value = serde_json::from_slice(&requests[0].body).unwrap();
    let handed_in = body["requests"].as_array().unwrap();
    assert_eq!(handed_in.len(), 2);
    assert_eq!(handed_in[1]["custom_id"], "case-2_en");
    let params = &handed_in[1]["params"];
    assert_eq!(params["model"], "claude-haiku-4-5");
    assert_eq!(params["max_tokens"], prompt().output_tokens_max);
    assert_eq!(params["system"], prompt().instructions);
    assert!(params.get("stream").is_none(), "a batch takes no streams");
    assert_eq!(
        params["messages"][0]["content"].as_array().unwrap().len(),
        2
    );
    assert!(!body.to_string().contains("cache_control"));
}

#[tokio::test]
async fn a_batch_costs_half() {
    let provider = anthropic("http://127.0.0.1:1");
    let price = provider.batches().unwrap().price();
    assert_eq!(price, AiProvider::price(&provider).in_batch());
    assert_ne!(price, Price::default());
}

#[tokio::test]
async fn a_batch_that_cannot_be_is_refused_before_it_is_sent() {
    let server = Server::start(ended()).await;
    let provider = anthropic(&server.url);
    let batches = provider.batches().unwrap();
    let coach_first = Prompt {
        parts: vec![PromptPart::Coach("Well.".to_owned())],
        ..prompt()
    };
    let long = Prompt {
        parts: vec![PromptPart::Case("x".repeat(1024 * 1024))],
        ..prompt()
    };
    let long = |number: usize| BatchItem {
        name: number.to_string(),
        prompt: long.clone(),
    };
    let short = Prompt {
        instructions: String::new(),
        parts: Vec::new(),
        ..prompt()
    };
    let short = |number: usize| BatchItem {
        name: number.to_string(),
        prompt: short.clone(),
    };
    for (items, advice) in [
        (vec![], "needs an item"),
        (
            vec![item("a"), item("b"), item("a")],
            "two items have the name a",
        ),
        (vec![item("")], "1 to 64 letters"),
        (vec![item(&"a".repeat(65))], "1 to 64 letters"),
        (vec![item("a b")], "1 to 64 letters"),
        (vec![item("é")], "1 to 64 letters"),
        (
            vec![BatchItem {
                name: "a".to_owned(),
                prompt: coach_first,
            }],
            "the coach has the first",
        ),
        (
            (0..=ANTHROPIC_BATCH_LEN_MAX).map(short).collect(),
            "at most 100000 items",
        ),
        (
            (0..=ANTHROPIC_BATCH_BYTES_MAX / (1024 * 1024))
                .map(long)
                .collect(),
            "at most 268435456 bytes",
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
        let provider = anthropic(&format!("http://{host}"));
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
        Answer::json(200, "<html>"),
        Answer::json(
            200,
            object("a/b", "in_progress", "2026-11-25T10:00:00Z").to_string(),
        ),
        Answer::json(200, "{\"id\":").with_end(End::Cut),
        Answer::json(500, "{}"),
        Answer::json(504, "{}"),
    ] {
        let server = Server::start(answer.clone()).await;
        let provider = anthropic(&server.url);
        let made = provider
            .batches()
            .unwrap()
            .create_batch(vec![item("a")])
            .await;
        let kind = made.unwrap_err().kind();
        assert!(
            matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout),
            "{kind:?} {answer:?}"
        );
        assert_eq!(server.requests().len(), 1, "it is not handed in again");
    }
    for (status, kind) in [
        (400, ErrorKind::Invalid),
        (401, ErrorKind::Denied),
        (413, ErrorKind::Invalid),
        (429, ErrorKind::RateLimited),
    ] {
        let server = Server::start(Answer::json(status, "{}")).await;
        let provider = anthropic(&server.url);
        let made = provider
            .batches()
            .unwrap()
            .create_batch(vec![item("a")])
            .await;
        assert_eq!(made.unwrap_err().kind(), kind);
    }
}

#[tokio::test]
async fn a_batch_is_found_with_how_far_it_is() {
    for (status, has_ended) in [
        ("in_progress", false),
        ("canceling", false),
        ("a_status_of_next_year", false),
        ("ended", true),
    ] {
        let found = object(BATCH, status, "2026-11-25T10:00:00.100435Z");
        let server = Server::start(Answer::json(200, found.to_string())).await;
        let provider = anthropic(&server.url);
        let found = provider.batches().unwrap().find_batch(BATCH).await.unwrap();
        let expected = BatchInfo {
            batch: BATCH.to_owned(),
            has_ended,
            created_at: "2026-11-25T10:00:00.100435Z".parse().unwrap(),
            done: 97,
            total: 100,
        };
        assert_eq!(found, expected);
        let line = format!("GET /v1/messages/batches/{BATCH}");
        assert_eq!(server.requests()[0].line(), line);
    }
}

#[tokio::test]
async fn no_name_of_a_batch_leads_to_another_address() {
    let server = Server::start(ended()).await;
    let provider = anthropic(&server.url);
    let batches = provider.batches().unwrap();
    for name in ["", "..", ".", "a/b", "a?b", "a%2Fb", &"a".repeat(129)] {
        let not_found = |error: Error| assert_eq!(error.kind(), ErrorKind::NotFound, "{name}");
        not_found(batches.find_batch(name).await.unwrap_err());
        not_found(batches.cancel_batch(name).await.unwrap_err());
        not_found(batches.results(name).await.map(drop).unwrap_err());
    }
    assert!(server.requests().is_empty());
    let server = Server::start(Answer::json(404, "{}")).await;
    let provider = anthropic(&server.url);
    let batches = provider.batches().unwrap();
    let error = batches.find_batch("unknown").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = batches.cancel_batch("unknown").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// Five batches, the newest last in name, served two to a page.
async fn paged() -> Server {
    let all: Vec<_> = (0..5)
        .rev()
        .map(|n| {
            object(
                &format!("b{n}"),
                "ended",
                &format!("2026-11-2{n}T10:00:00Z"),
            )
        })
        .collect();
    Server::start_asked(move |_, request| {
        let after = request.line().split("after_id=").nth(1);
        let from = after.map_or(0, |after| {
            1 + all.iter().position(|batch| batch["id"] == after).unwrap()
        });
        let data = &all[from..(from + 2).min(all.len())];
        let page = json!({ "data": data, "has_more": from + 2 < all.len() });
        Answer::json(200, page.to_string())
    })
    .await
}

#[tokio::test]
async fn a_list_is_read_page_by_page_and_no_further_than_wanted() {
    for (limit, names, calls) in [
        (0, vec![], 0),
        (1, vec!["b4"], 1),
        (2, vec!["b4", "b3"], 1),
        (3, vec!["b4", "b3", "b2"], 2),
        (9_999, vec!["b4", "b3", "b2", "b1", "b0"], 3),
    ] {
        let server = paged().await;
        let provider = anthropic(&server.url);
        let listed = provider
            .batches()
            .unwrap()
            .list_batches(limit)
            .await
            .unwrap();
        let listed: Vec<_> = listed.iter().map(|info| info.batch.as_str()).collect();
        assert_eq!(listed, names);
        let requests = server.requests();
        assert_eq!(requests.len(), calls, "{limit}");
        if let Some(first) = requests.first() {
            let line = format!("GET /v1/messages/batches?limit={}", limit.min(1_000));
            assert_eq!(first.line(), line);
        }
    }
}

#[tokio::test]
async fn a_list_that_repeats_itself_ends() {
    let page =
        json!({ "data": [object(BATCH, "ended", "2026-11-25T10:00:00Z")], "has_more": true });
    let server = Server::start(Answer::json(200, page.to_string())).await;
    let provider = anthropic(&server.url);
    let listed = provider.batches().unwrap().list_batches(10).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn results_come_in_any_order_each_with_its_reply_or_reason() {
    let errored = |name: &str, kind: &str| {
        let error = json!({ "type": "error", "error": { "type": kind, "message": "SECRET" } });
        json!({ "custom_id": name, "result": { "type": "errored", "error": error } }).to_string()
    };
    let lines = [
        with_type("late", "expired"),
        succeeded("good", "Potassium decides."),
        errored("bad", "invalid_request_error"),
        errored("broken", "api_error"),
        with_type("stopped", "canceled"),
    ];
    let server = server_with(lines.join("\n")).await;
    let results: Vec<_> = results(&server.url)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let names: Vec<_> = results.iter().map(|result| result.name.as_str()).collect();
    assert_eq!(names, ["late", "good", "bad", "broken", "stopped"]);

    let kinds: Vec<_> = results
        .iter()
        .map(|result| {
            result.reply.as_ref().map(|_| ()).map_err(|failure| {
                assert_eq!(failure.billed, Billed::Nothing);
                assert!(!format!("{failure} {failure:?}").contains("SECRET"));
                failure.error.kind()
            })
        })
        .collect();
    assert_eq!(
        kinds,
        [
            Err(ErrorKind::Timeout),
            Ok(()),
            Err(ErrorKind::Invalid),
            Err(ErrorKind::Unavailable),
            Err(ErrorKind::Unavailable),
        ]
    );
    let reply = results[1].reply.as_ref().unwrap();
    assert_eq!(reply.text, "Potassium decides.");
    assert_eq!(reply.stop, StopReason::Complete);
    let usage = TokenUsage {
        input: 472,
        cache_read: 12,
        cache_write: 0,
        output: 97,
    };
    assert_eq!(reply.usage, usage);
    let provider = anthropic(&server.url);
    assert_eq!(reply.cost, provider.batches().unwrap().price().cost(usage));
    assert_eq!(reply.model.as_str(), "claude-haiku-4-5");
    let asked: Vec<_> = server
        .requests()
        .iter()
        .map(|r| r.line().to_owned())
        .collect();
    let line = format!("GET /v1/messages/batches/{BATCH}");
    assert_eq!(asked, [line.clone(), format!("{line}/results")]);
}

#[tokio::test]
async fn one_bad_result_spoils_no_other() {
    let too_long = succeeded("long", &"x".repeat(BATCH_RESULT_BYTES_MAX + 100_000));
    // What a line becomes: the name of an item with a reply, or with a failure, or an error.
    let lines = [
        (succeeded("first", "one"), "first: one"),
        ("{ not JSON SECRET".to_owned(), "error"),
        (too_long, "error"),
        ("{}".to_owned(), "error"),
        (String::new(), ""),
        (r#"{"custom_id":"bare"}"#.to_owned(), "bare: failure"),
        (with_type("odd", "a_type_of_next_year"), "odd: failure"),
        (
            r#"{"custom_id":"empty","result":{"type":"succeeded","message":"SECRET"}}"#.to_owned(),
            "empty: failure",
        ),
        (succeeded("last", "two"), "last: two"),
    ];
    let mut body = Vec::new();
    for (line, _) in &lines {
        body.extend_from_slice(line.as_bytes());
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"\xff\xfe\n");
    body.extend_from_slice(succeeded("unended", "three").as_bytes());
    // In one piece, and in many: a long line may be whole before it is looked at, or not.
    for piece_len in [body.len(), 10_000] {
        let answer =
            Answer::new(200, "application/x-jsonl", []).with_pieces(body.chunks(piece_len));
        let server = answering(answer).await;
        let told = told_of(results(&server.url).await);
        let mut expected: Vec<_> = lines.iter().map(|(_, told)| *told).collect();
        expected.retain(|told| !told.is_empty());
        expected.extend(["error", "unended: three"]);
        assert_eq!(told, expected);
    }
}

/// The names of items with their replies or that they failed, and errors.
fn told_of(results: Vec<Result<BatchResult, Error>>) -> Vec<String> {
    results
        .into_iter()
        .map(|result| match result {
            Ok(BatchResult {
                name,
                reply: Ok(reply),
            }) => format!("{name}: {}", reply.text),
            Ok(BatchResult {
                name,
                reply: Err(failure),
            }) => {
                assert_eq!(failure.billed, Billed::Unknown, "it may have been written");
                assert!(!format!("{failure:?}").contains("SECRET"), "{failure:?}");
                format!("{name}: failure")
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
                "error".to_owned()
            }
        })
        .collect()
}

#[tokio::test]
async fn results_split_at_any_byte_are_the_same() {
    let body = [succeeded("a", "é 💊"), with_type("b", "expired")].join("\n");
    let body: Arc<[u8]> = body.into_bytes().into();
    let split = Arc::clone(&body);
    let server = Server::start_asked(move |number, request| {
        if !request.line().ends_with("/results") {
            return ended();
        }
        // Two requests for each reading: where the batch is, and its results.
        let at = number / 2;
        Answer::new(200, "application/x-jsonl", []).with_pieces([&split[..at], &split[at..]])
    })
    .await;
    let provider = anthropic(&server.url);
    let batches = provider.batches().unwrap();
    for at in 0..=body.len() {
        let results = batches.results(BATCH).await.unwrap();
        let results: Vec<_> = results.try_collect().await.unwrap();
        assert_eq!(results.len(), 2, "split at {at}");
        assert_eq!(
            results[0].reply.as_ref().unwrap().text,
            "é 💊",
            "split at {at}"
        );
        assert_eq!(results[1].name, "b", "split at {at}");
    }
}

#[tokio::test]
async fn results_whose_connection_breaks_end_with_an_error() {
    let lines = format!("{}\n{{\"custom_id\":\"b", succeeded("a", "one"));
    let server = answering(Answer::new(200, "application/x-jsonl", lines).with_end(End::Cut)).await;
    let results = results(&server.url).await;
    assert_eq!(results.len(), 2);
    assert_eq!(results[0].as_ref().unwrap().name, "a");
    let error = results[1].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.operation(), "read batch results");
}

#[tokio::test]
async fn results_of_a_batch_that_goes_on_are_a_conflict() {
    let running = object(BATCH, "in_progress", "2026-11-25T10:00:00Z");
    let server = Server::start(Answer::json(200, running.to_string())).await;
    let provider = anthropic(&server.url);
    let error = provider
        .batches()
        .unwrap()
        .results(BATCH)
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn results_without_a_line_are_none() {
    let server = server_with("").await;
    let provider = anthropic(&server.url);
    let results = provider.batches().unwrap().results(BATCH).await.unwrap();
    assert!(results.try_collect::<Vec<_>>().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_batch_is_cancelled() {
    let server = Server::start(ended()).await;
    let provider = anthropic(&server.url);
    let batches: &dyn AiBatches = provider.batches().unwrap();
    batches.cancel_batch(BATCH).await.unwrap();
    let line = format!("POST /v1/messages/batches/{BATCH}/cancel");
    assert_eq!(server.requests()[0].line(), line);
    assert!(!format!("{batches:?}").contains(KEY));
}
