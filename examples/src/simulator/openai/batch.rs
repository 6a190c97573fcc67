//! Batches: calls from one file, results in two others.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::wire::{completion, problem_json, status_of};
use super::{answer, checked_body, file, request};
use crate::simulator::batch::{Batch, BatchCall, ITEMS_MAX, Input, Outcome, Phase};
use crate::simulator::play::json_response;
use crate::simulator::problem::{Problem, ProblemKind};
use crate::simulator::state::Shared;

const CREATE: &str = "POST /v1/batches";
const LIST: &str = "GET /v1/batches";
const FIND: &str = "GET /v1/batches/{id}";
const CANCEL: &str = "POST /v1/batches/{id}/cancel";

/// What ids begin with: those of batches, and of the files that they leave.
const BEGINS: &str = "batch_";
const OUTPUT_BEGINS: &str = "file-output-";
const ERRORS_BEGINS: &str = "file-errors-";

/// The only route that the calls of a batch may be for, and the only window.
const ENDPOINT: &str = "/v1/chat/completions";
const WINDOW: &str = "24h";

/// The most batches of a page, and how many there are if nobody asks.
const PAGE_MAX: usize = 100;
const PAGE_DEFAULT: usize = 20;

/// The most faults of a file that are told.
const FAULTS_MAX: usize = 50;

/// The most entries of what a creator may note with a batch.
const METADATA_MAX: usize = 16;

/// How many results are written at once: a batch has up to a hundred thousand.
const RESULTS_AT_ONCE: usize = 64;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/batches", post(create).get(list))
        .route("/v1/batches/{id}", get(find))
        .route("/v1/batches/{id}/cancel", post(cancel))
}

async fn create(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let headers = request.headers().clone();
    let body = checked_body(&shared, request, shared.batch_bytes_max()).await;
    answer(&shared, CREATE, &headers, || {
        let (file_id, metadata) = wanted(&body?)?;
        let content = shared.state().files.content(&file_id);
        let content = content.ok_or_else(|| file::unknown(&file_id))?;
        let (calls, faults) = calls_in(&content);
        let input = Input {
            file_id,
            metadata,
            faults,
        };
        let batch = shared.create_batch(BEGINS, calls, Some(input))?;
        Ok(json_response(&batch_json(&batch, &shared)))
    })
    .await
}

async fn list(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Response {
    answer(&shared, LIST, &headers, || {
        let limit = page.limit.unwrap_or(PAGE_DEFAULT);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(Problem::invalid(format!("'limit' must be 1 to {PAGE_MAX}")));
        }
        let state = shared.state();
        let batches = state.batches.newest_first(BEGINS);
        let first = match &page.after {
            None => 0,
            Some(after) => {
                let place = batches.iter().position(|batch| batch.id == *after);
                place.ok_or_else(|| unknown(after))? + 1
            }
        };
        let rest = &batches[first..];
        let listed = &rest[..limit.min(rest.len())];
        let data: Vec<_> = listed
            .iter()
            .map(|batch| batch_json(batch, &shared))
            .collect();
        Ok(json_response(&json!({
            "object": "list",
            "data": data,
            "first_id": listed.first().map(|batch| &batch.id),
            "last_id": listed.last().map(|batch| &batch.id),
            "has_more": rest.len() > listed.len(),
        })))
    })
    .await
}

async fn find(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    answer(&shared, FIND, &headers, || {
        let state = shared.state();
        let batch = state.batches.find(&id).ok_or_else(|| unknown(&id))?;
        Ok(json_response(&batch_json(batch, &shared)))
    })
    .await
}

async fn cancel(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    answer(&shared, CANCEL, &headers, || {
        let now = shared.now();
        let mut state = shared.state();
        let batch = state.batches.find(&id).ok_or_else(|| unknown(&id))?;
        if batch.has_ended(now) {
            let message = format!("batch {id} has ended and cannot be cancelled");
            return Err(Problem::invalid(message));
        }
        let batch = state.batches.cancel(&id, now).ok_or_else(|| unknown(&id))?;
        Ok(json_response(&batch_json(batch, &shared)))
    })
    .await
}

/// Which part of the list is asked for.
#[derive(Debug, Deserialize)]
struct Page {
    limit: Option<usize>,
    after: Option<String>,
}

/// The file of the calls, and what the creator notes.
fn wanted(body: &Value) -> Result<(String, Value), Problem> {
    let text = |name: &str| {
        let text = body[name].as_str();
        text.ok_or_else(|| Problem::invalid(format!("'{name}' is required")))
    };
    let file_id = text("input_file_id")?.to_owned();
    for (name, only) in [("endpoint", ENDPOINT), ("completion_window", WINDOW)] {
        if text(name)? != only {
            return Err(Problem::invalid(format!("'{name}' must be '{only}'")));
        }
    }
    let metadata = body["metadata"].clone();
    let fits = match &metadata {
        Value::Null => true,
        Value::Object(entries) => {
            entries.len() <= METADATA_MAX && entries.values().all(Value::is_string)
        }
        _ => false,
    };
    if !fits {
        let message = format!("'metadata' must be at most {METADATA_MAX} texts by name");
        return Err(Problem::invalid(message));
    }
    Ok((file_id, metadata))
}

/// The calls in a file, or else the lines that are none.
fn calls_in(content: &[u8]) -> (Vec<BatchCall>, Vec<(usize, String)>) {
    let mut seen = HashSet::new();
    let mut calls = Vec::new();
    let mut faults = Vec::new();
    let lines = content.split(|byte| *byte == b'\n').zip(1..);
    for (line, number) in lines.filter(|(line, _)| !line.trim_ascii().is_empty()) {
        match call_in(line) {
            Ok(call) if !seen.insert(call.custom_id.clone()) => {
                faults.push((
                    number,
                    format!("custom_id `{}` is there twice", call.custom_id),
                ));
            }
            Ok(_) if calls.len() == ITEMS_MAX => {
                faults.push((number, format!("there are more than {ITEMS_MAX} calls")));
            }
            Ok(call) => calls.push(call),
            Err(why) => faults.push((number, why)),
        }
        if faults.len() == FAULTS_MAX {
            break;
        }
    }
    if calls.is_empty() && faults.is_empty() {
        faults.push((1, "the file has no calls".to_owned()));
    }
    if !faults.is_empty() {
        calls.clear();
    }
    (calls, faults)
}

fn call_in(line: &[u8]) -> Result<BatchCall, String> {
    let line: Value =
        serde_json::from_slice(line).map_err(|error| format!("it is not JSON: {error}"))?;
    let custom_id = line["custom_id"].as_str().filter(|id| !id.is_empty());
    let custom_id = custom_id.ok_or("custom_id is required")?;
    if line["method"] != "POST" || line["url"] != ENDPOINT {
        return Err(format!("it must be a POST to {ENDPOINT}"));
    }
    if !line["body"].is_object() {
        return Err("body is required".to_owned());
    }
    Ok(BatchCall {
        custom_id: custom_id.to_owned(),
        ask: request::ask_of(&line["body"]),
    })
}

fn batch_json(batch: &Batch, shared: &Shared) -> Value {
    let now = shared.now();
    let faults = batch.input.as_ref().map_or(&[][..], |input| &input.faults);
    let (status, ended_at) = match batch.phase(now) {
        Phase::InProgress => ("in_progress", None),
        Phase::Canceling => ("cancelling", None),
        Phase::Ended(at) if !faults.is_empty() => ("failed", Some(at)),
        Phase::Ended(at) if batch.cancelled_at.is_some() => ("cancelled", Some(at)),
        Phase::Ended(at) if batch.is_expired() => ("expired", Some(at)),
        Phase::Ended(at) => ("completed", Some(at)),
    };
    let at = |wanted: &str| {
        ended_at
            .filter(|_| status == wanted)
            .map(|at| at.as_second())
    };
    let (completed, failed, tally) = match ended_at {
        None => (batch.done(now) as u64, 0, None),
        Some(_) => {
            let tally = batch.tally();
            (tally.succeeded, tally.errored, Some(tally))
        }
    };
    let rest = batch.id.trim_start_matches(BEGINS);
    let written = |begins: &str, any: bool| any.then(|| format!("{begins}{rest}"));
    let output = tally.and_then(|tally| written(OUTPUT_BEGINS, tally.succeeded > 0));
    let errors = tally.and_then(|tally| {
        let lost = tally.errored + tally.expired + tally.canceled;
        written(ERRORS_BEGINS, lost > 0)
    });
    let told: Vec<_> = faults
        .iter()
        .map(|(line, why)| {
            json!({ "code": "invalid_request", "line": line, "message": why, "param": null })
        })
        .collect();
    let created = batch.created_at.as_second();
    json!({
        "id": batch.id,
        "object": "batch",
        "endpoint": ENDPOINT,
        "errors": (!told.is_empty()).then(|| json!({ "object": "list", "data": told })),
        "input_file_id": batch.input.as_ref().map(|input| &input.file_id),
        "completion_window": WINDOW,
        "status": status,
        "output_file_id": output,
        "error_file_id": errors,
        "created_at": created,
        "in_progress_at": faults.is_empty().then_some(created),
        "expires_at": batch.expires_at.as_second(),
        "finalizing_at": at("completed"),
        "completed_at": at("completed"),
        "failed_at": at("failed"),
        "expired_at": at("expired"),
        "cancelling_at": batch.cancelled_at.map(|at| at.as_second()),
        "cancelled_at": at("cancelled"),
        "request_counts": {
            "total": batch.items().len(), "completed": completed, "failed": failed,
        },
        "metadata": batch.input.as_ref().map(|input| &input.metadata),
    })
}

/// What a batch that ended wrote into one of its two files, written as it is read.
pub(super) fn written(file_id: &str, shared: &Arc<Shared>) -> Option<Body> {
    let (rest, wants_successes) = match file_id.strip_prefix(OUTPUT_BEGINS) {
        Some(rest) => (rest, true),
        None => (file_id.strip_prefix(ERRORS_BEGINS)?, false),
    };
    let state = shared.state();
    let batch = state.batches.find(&format!("{BEGINS}{rest}"))?;
    let batch = batch.has_ended(shared.now()).then(|| batch.clone())?;
    drop(state);
    let shared = Arc::clone(shared);
    let places = batch.places();
    let blocks: Vec<_> = places.chunks(RESULTS_AT_ONCE).map(<[_]>::to_vec).collect();
    let lines = stream::iter(blocks).map(move |places| {
        let outcomes: Vec<_> = places
            .into_iter()
            .map(|place| (place, batch.outcome(place)))
            .filter(|(_, outcome)| matches!(outcome, Outcome::Succeeded(_)) == wants_successes)
            .collect();
        batch.bill(
            outcomes.iter().map(|(place, outcome)| (*place, outcome)),
            &shared,
        );
        let mut text = String::new();
        for (place, outcome) in &outcomes {
            text.push_str(&line_json(&batch, *place, outcome).to_string());
            text.push('\n');
        }
        Ok::<_, Infallible>(Bytes::from(text))
    });
    Some(Body::from_stream(lines))
}

fn line_json(batch: &Batch, place: usize, outcome: &Outcome) -> Value {
    let lost = |code: &str, message: &str| json!({ "code": code, "message": message });
    let created = batch.created_at.as_second();
    let (status, body, error) = match outcome {
        Outcome::Canceled => (
            None,
            Value::Null,
            lost(
                "batch_cancelled",
                "the batch was cancelled before this call",
            ),
        ),
        Outcome::Expired => (
            None,
            Value::Null,
            lost(
                "batch_expired",
                "the time of the batch ran out before this call",
            ),
        ),
        Outcome::Errored(problem) => {
            let status = status_of(problem.kind).as_u16();
            (Some(status), problem_json(problem), Value::Null)
        }
        Outcome::Succeeded(reply) => (Some(200), completion(reply, created), Value::Null),
    };
    let id = format!("{}-{place}", batch.id);
    let response = status.map(
        |status| json!({ "status_code": status, "request_id": format!("req_{id}"), "body": body }),
    );
    json!({
        "id": format!("batch_req_{id}"),
        "custom_id": batch.items()[place].custom_id,
        "response": response,
        "error": error,
    })
}

fn unknown(id: &str) -> Problem {
    let id: String = id.chars().take(100).collect();
    Problem::new(ProblemKind::NotFound, format!("there is no batch {id}"))
}
