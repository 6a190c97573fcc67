//! The dialect of Anthropic: messages, counted tokens, models, and message batches.

mod batch;
mod request;
mod wire;

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use self::wire::Anthropic;
use super::openai;
use super::play;
use super::problem::{Problem, ProblemKind, check_key, read_body};
use super::state::Shared;

const MESSAGES: &str = "POST /v1/messages";
const COUNT_TOKENS: &str = "POST /v1/messages/count_tokens";
const MODELS: &str = "GET /v1/models";

/// The models that are listed; any other is served as well.
const MODEL_NAMES: [&str; 3] = ["claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-5-5"];

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/messages", post(messages))
        .route("/v1/messages/count_tokens", post(count_tokens))
        .route("/v1/models", get(models))
        .merge(batch::routes())
}

/// Answers what is no route at all.
pub(super) async fn not_found(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
) -> Response {
    let problem = Problem::new(
        ProblemKind::NotFound,
        format!("the simulator has no {method} {}", uri.path()),
    );
    // Not under its path: whoever asks for many would fill the counts.
    tell(&shared, "other", &problem)
}

async fn messages(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let ask = match checked_body(&shared, request, shared.body_bytes_max).await {
        Ok((headers, body)) => request::ask_of(&body, request::version_of(&headers)),
        Err(problem) => Err(problem),
    };
    match ask {
        Ok(ask) => play::answer(Anthropic, &shared, MESSAGES, &ask).await,
        Err(problem) => tell(&shared, MESSAGES, &problem),
    }
}

async fn count_tokens(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let counted = match checked_body(&shared, request, shared.body_bytes_max).await {
        Ok((_, body)) => request::tokens_in(&body),
        Err(problem) => Err(problem),
    };
    match counted {
        Ok(tokens) => {
            shared.count(COUNT_TOKENS, "good");
            Json(json!({ "input_tokens": tokens })).into_response()
        }
        Err(problem) => tell(&shared, COUNT_TOKENS, &problem),
    }
}

/// Both dialects have this route. Only one of them sends a version.
async fn models(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let is_anthropic = request::version_of(&headers).is_some();
    let key = shared.state().script.key.clone();
    if let Err(problem) = check_key(&headers, key.as_deref()) {
        return if is_anthropic {
            tell(&shared, MODELS, &problem)
        } else {
            openai::tell(&shared, MODELS, &problem)
        };
    }
    shared.count(MODELS, "good");
    if !is_anthropic {
        return openai::models();
    }
    let data: Vec<_> = MODEL_NAMES
        .iter()
        .map(|id| {
            json!({
                "type": "model", "id": id, "display_name": id, "created_at": "2026-01-01T00:00:00Z",
            })
        })
        .collect();
    Json(json!({
        "data": data,
        "has_more": false,
        "first_id": MODEL_NAMES.first(),
        "last_id": MODEL_NAMES.last(),
    }))
    .into_response()
}

/// The headers and JSON of a request that brings the key and a version.
async fn checked_body(
    shared: &Shared,
    request: Request,
    bytes_max: usize,
) -> Result<(HeaderMap, Value), Problem> {
    let headers = request.headers().clone();
    check_head(shared, &headers)?;
    let body = read_body(request, bytes_max).await?;
    let body = serde_json::from_slice(&body).map_err(|error| {
        Problem::invalid(format!("The request body is not valid JSON: {error}"))
    })?;
    Ok((headers, body))
}

fn check_head(shared: &Shared, headers: &HeaderMap) -> Result<(), Problem> {
    let key = shared.state().script.key.clone();
    check_key(headers, key.as_deref())?;
    match request::version_of(headers) {
        Some(_) => Ok(()),
        None => Err(Problem::invalid("anthropic-version: header is required")),
    }
}

/// Counts a problem and answers with it.
fn tell(shared: &Shared, route: &str, problem: &Problem) -> Response {
    play::tell(Anthropic, shared, route, problem)
}
