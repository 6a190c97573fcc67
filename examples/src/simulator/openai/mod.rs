//! The dialect of OpenAI: chat completions, models, files and batches.

mod batch;
mod file;
mod multipart;
mod request;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};

pub(super) use self::file::Files;
use self::wire::OpenAi;
use super::play::{self, json_response};
use super::problem::{Problem, check_key, read_body};
use super::state::Shared;

const COMPLETIONS: &str = "POST /v1/chat/completions";

/// The models that are listed; any other is served as well.
const MODEL_NAMES: [&str; 2] = ["gpt-simulated", "gpt-simulated-mini"];

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/chat/completions", post(completions))
        .merge(file::routes())
        .merge(batch::routes())
}

pub(super) fn models() -> Response {
    let data: Vec<_> = MODEL_NAMES
        .iter()
        .map(|id| json!({ "id": id, "object": "model", "created": 0, "owned_by": "simulator" }))
        .collect();
    json_response(&json!({ "object": "list", "data": data }))
}

/// Counts a problem and answers with it.
pub(super) fn tell(shared: &Shared, route: &str, problem: &Problem) -> Response {
    play::tell(OpenAi, shared, route, problem)
}

async fn completions(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let body = checked_body(&shared, request, shared.body_bytes_max).await;
    match body.and_then(|body| request::ask_of(&body)) {
        Ok(ask) => play::answer(OpenAi, &shared, COMPLETIONS, &ask).await,
        Err(problem) => tell(&shared, COMPLETIONS, &problem),
    }
}

/// The JSON of a request that brings the key.
async fn checked_body(
    shared: &Shared,
    request: Request,
    bytes_max: usize,
) -> Result<Value, Problem> {
    check_head(shared, request.headers())?;
    let body = read_body(request, bytes_max).await?;
    serde_json::from_slice(&body).map_err(|error| {
        Problem::invalid(format!(
            "the body of the request is not valid JSON: {error}"
        ))
    })
}

/// Answers a call about a file or a batch.
async fn answer(
    shared: &Shared,
    route: &'static str,
    headers: &HeaderMap,
    act: impl FnOnce() -> Result<Response, Problem> + Send,
) -> Response {
    let allowed = check_head(shared, headers);
    play::answer_beside(OpenAi, shared, route, || allowed.and_then(|()| act())).await
}

fn check_head(shared: &Shared, headers: &HeaderMap) -> Result<(), Problem> {
    let key = shared.state().script.key.clone();
    check_key(headers, key.as_deref())
}
