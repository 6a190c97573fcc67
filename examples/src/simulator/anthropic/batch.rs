//! Message batches.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::wire::{Anthropic, message, problem_json};
use super::{check_head, checked_body, request};
use crate::simulator::batch::{Batch, BatchCall, ITEMS_MAX, Outcome, Phase, Tally};
use crate::simulator::play::{self, json_response};
use crate::simulator::problem::{Problem, ProblemKind};
use crate::simulator::state::Shared;

const CREATE: &str = "POST /v1/messages/batches";
const LIST: &str = "GET /v1/messages/batches";
const FIND: &str = "GET /v1/messages/batches/{id}";
const RESULTS: &str = "GET /v1/messages/batches/{id}/results";
const CANCEL: &str = "POST /v1/messages/batches/{id}/cancel";
const DELETE: &str = "DELETE /v1/messages/batches/{id}";

/// What ids begin with.
const BEGINS: &str = "msgbatch_";

/// The longest `custom_id`.
const CUSTOM_ID_CHARS_MAX: usize = 64;

/// The most batches of a page, and how many there are if nobody asks.
const PAGE_MAX: usize = 1_000;
const PAGE_DEFAULT: usize = 20;

/// How many results are written at once: a batch has up to a hundred thousand.
const RESULTS_AT_ONCE: usize = 64;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/messages/batches", post(create).get(list))
        .route("/v1/messages/batches/{id}", get(find).delete(delete))
        .route("/v1/messages/batches/{id}/results", get(results))
        .route("/v1/messages/batches/{id}/cancel", post(cancel))
}

async fn create(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let headers = request.headers().clone();
    let body = checked_body(&shared, request, shared.batch_bytes_max()).await;
    answer(&shared, CREATE, &headers, || {
        let calls = calls_in(&body?.1, request::version_of(&headers))?;
        let batch = shared.create_batch(BEGINS, calls, None)?;
        Ok(json_response(&batch_json(&batch, &shared, &headers)))
    })
    .await
}

async fn list(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Response {
    answer(&shared, LIST, &headers, || {
        let state = shared.state();
        let (batches, has_more) = page.of(&state.batches.newest_first(BEGINS))?;
        let first_id = batches.first().map(|batch| &batch.id);
        let last_id = batches.last().map(|batch| &batch.id);
        let data: Vec<_> = batches
            .iter()
            .map(|batch| batch_json(batch, &shared, &headers))
            .collect();
        Ok(json_response(&json!({
            "data": data, "has_more": has_more, "first_id": first_id, "last_id": last_id,
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
        Ok(json_response(&batch_json(batch, &shared, &headers)))
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
            let message = format!("batch {id} has ended and cannot be canceled");
            return Err(Problem::invalid(message));
        }
        let batch = state.batches.cancel(&id, now).ok_or_else(|| unknown(&id))?;
        Ok(json_response(&batch_json(batch, &shared, &headers)))
    })
    .await
}

async fn delete(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    answer(&shared, DELETE, &headers, || {
        let now = shared.now();
        let mut state = shared.state();
        let batch = state.batches.find(&id).ok_or_else(|| unknown(&id))?;
        if !batch.has_ended(now) {
            let message = format!("batch {id} is under way: cancel it first");
            return Err(Problem::invalid(message));
        }
        state.batches.remove(&id);
        let deleted = json!({ "id": id, "type": "message_batch_deleted" });
        Ok(json_response(&deleted))
    })
    .await
}

async fn results(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    answer(&shared, RESULTS, &headers, || {
        let now = shared.now();
        let state = shared.state();
        let batch = state.batches.find(&id).ok_or_else(|| unknown(&id))?;
        if !batch.has_ended(now) {
            let message = format!("batch {id} has no results yet: it is still under way");
            return Err(Problem::invalid(message));
        }
        let lines = lines(batch.clone(), Arc::clone(&shared));
        Ok(([(CONTENT_TYPE, "application/x-jsonl")], lines).into_response())
    })
    .await
}

async fn answer(
    shared: &Shared,
    route: &'static str,
    headers: &HeaderMap,
    act: impl FnOnce() -> Result<Response, Problem> + Send,
) -> Response {
    let allowed = check_head(shared, headers);
    play::answer_beside(Anthropic, shared, route, || allowed.and_then(|()| act())).await
}

/// Which part of the list is asked for.
#[derive(Debug, Deserialize)]
struct Page {
    limit: Option<usize>,
    after_id: Option<String>,
    before_id: Option<String>,
}

impl Page {
    /// The batches of the page, and whether there are more in its direction.
    fn of<'a>(&self, batches: &[&'a Batch]) -> Result<(Vec<&'a Batch>, bool), Problem> {
        let limit = self.limit.unwrap_or(PAGE_DEFAULT);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(Problem::invalid(format!("limit: must be 1 to {PAGE_MAX}")));
        }
        let place = |id: &str| {
            let place = batches.iter().position(|batch| batch.id == id);
            place.ok_or_else(|| unknown(id))
        };
        let part = match (&self.after_id, &self.before_id) {
            (Some(_), Some(_)) => {
                return Err(Problem::invalid(
                    "after_id and before_id cannot be given together",
                ));
            }
            (Some(after), None) => &batches[place(after)? + 1..],
            (None, Some(before)) => {
                let newer = &batches[..place(before)?];
                let first = newer.len().saturating_sub(limit);
                return Ok((newer[first..].to_vec(), first > 0));
            }
            (None, None) => batches,
        };
        let page = &part[..limit.min(part.len())];
        Ok((page.to_vec(), part.len() > page.len()))
    }
}

/// The calls of a batch. One that cannot be is found out when it is its turn, as by the real server.
fn calls_in(body: &Value, version: Option<&str>) -> Result<Vec<BatchCall>, Problem> {
    let requests = body["requests"].as_array();
    let Some(requests) = requests.filter(|requests| !requests.is_empty()) else {
        return Err(Problem::invalid("requests: at least one is required"));
    };
    if requests.len() > ITEMS_MAX {
        return Err(Problem::invalid(format!("requests: at most {ITEMS_MAX}")));
    }
    let mut seen = HashSet::new();
    let mut calls = Vec::with_capacity(requests.len());
    for (place, request) in requests.iter().enumerate() {
        let custom_id = request["custom_id"].as_str().unwrap_or_default();
        if !is_custom_id(custom_id) {
            return Err(Problem::invalid(format!(
                "requests.{place}.custom_id: must be 1 to {CUSTOM_ID_CHARS_MAX} letters, digits, \
                 '_' or '-'"
            )));
        }
        if !seen.insert(custom_id) {
            let message = format!("requests.{place}.custom_id: `{custom_id}` is there twice");
            return Err(Problem::invalid(message));
        }
        if !request["params"].is_object() {
            let message = format!("requests.{place}.params: Field required");
            return Err(Problem::invalid(message));
        }
        calls.push(BatchCall {
            custom_id: custom_id.to_owned(),
            ask: request::ask_of(&request["params"], version),
        });
    }
    Ok(calls)
}

fn is_custom_id(id: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=CUSTOM_ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(fits)
}

fn batch_json(batch: &Batch, shared: &Shared, headers: &HeaderMap) -> Value {
    let (status, ended_at) = match batch.phase(shared.now()) {
        Phase::InProgress => ("in_progress", None),
        Phase::Canceling => ("canceling", None),
        Phase::Ended(at) => ("ended", Some(at)),
    };
    // Nothing is told of single items before all are done.
    let (processing, tally) = match ended_at {
        None => (batch.items().len(), Tally::default()),
        Some(_) => (0, batch.tally()),
    };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let results_url = ended_at
        .zip(host)
        .map(|(_, host)| format!("http://{host}/v1/messages/batches/{}/results", batch.id));
    json!({
        "id": batch.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": {
            "processing": processing,
            "succeeded": tally.succeeded,
            "errored": tally.errored,
            "canceled": tally.canceled,
            "expired": tally.expired,
        },
        "created_at": batch.created_at.to_string(),
        "expires_at": batch.expires_at.to_string(),
        "ended_at": ended_at.map(|at| at.to_string()),
        "cancel_initiated_at": batch.cancelled_at.map(|at| at.to_string()),
        "archived_at": null,
        "results_url": results_url,
    })
}

/// The results, one a line, written as they are read.
fn lines(batch: Batch, shared: Arc<Shared>) -> Body {
    let places = batch.places();
    let blocks: Vec<_> = places.chunks(RESULTS_AT_ONCE).map(<[_]>::to_vec).collect();
    let lines = stream::iter(blocks).map(move |places| {
        let outcomes: Vec<_> = places
            .into_iter()
            .map(|place| (place, batch.outcome(place)))
            .collect();
        batch.bill(
            outcomes.iter().map(|(place, outcome)| (*place, outcome)),
            &shared,
        );
        let mut text = String::new();
        for (place, outcome) in &outcomes {
            text.push_str(&result_json(&batch, *place, outcome).to_string());
            text.push('\n');
        }
        Ok::<_, Infallible>(Bytes::from(text))
    });
    Body::from_stream(lines)
}

fn result_json(batch: &Batch, place: usize, outcome: &Outcome) -> Value {
    let item = &batch.items()[place];
    let result = match (outcome, &item.ask) {
        (Outcome::Canceled, _) => json!({ "type": "canceled" }),
        (Outcome::Expired, _) => json!({ "type": "expired" }),
        (Outcome::Succeeded(reply), Ok(ask)) => {
            json!({ "type": "succeeded", "message": message(reply, ask) })
        }
        (Outcome::Succeeded(_), Err(problem)) => errored(problem),
        (Outcome::Errored(problem), _) => errored(problem),
    };
    json!({ "custom_id": item.custom_id, "result": result })
}

fn errored(problem: &Problem) -> Value {
    json!({ "type": "errored", "error": problem_json(problem) })
}

fn unknown(id: &str) -> Problem {
    let id: String = id.chars().take(2 * CUSTOM_ID_CHARS_MAX).collect();
    Problem::new(ProblemKind::NotFound, format!("there is no batch {id}"))
}
