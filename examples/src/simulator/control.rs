//! The routes that steer a simulator while it runs.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::problem::read_body;
use super::script::{Behaviour, Script};
use super::state::Shared;

/// The longest script, in bytes: room for tens of thousands of scripted calls.
const SCRIPT_BYTES_MAX: usize = 1024 * 1024;

pub(super) async fn script(State(shared): State<Arc<Shared>>) -> Response {
    let script = Arc::clone(&shared.state().script);
    Json(&*script).into_response()
}

pub(super) async fn put_script(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let script: Script = match read(request).await {
        Ok(script) => script,
        Err(response) => return response,
    };
    if let Err(error) = script.check() {
        return refused(&error.to_string());
    }
    shared.follow(script);
    StatusCode::NO_CONTENT.into_response()
}

pub(super) async fn next(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match read::<Vec<Behaviour>>(request).await {
        Ok(behaviours) => {
            shared.state().queue(behaviours);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(response) => response,
    }
}

pub(super) async fn put_next(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match read::<Vec<Behaviour>>(request).await {
        Ok(behaviours) => {
            shared.state().replace_queue(behaviours);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(response) => response,
    }
}

pub(super) async fn clear_next(State(shared): State<Arc<Shared>>) -> Response {
    shared.state().replace_queue([]);
    StatusCode::NO_CONTENT.into_response()
}

pub(super) async fn counts(State(shared): State<Arc<Shared>>) -> Response {
    let counts = shared.state().counts.clone();
    Json(counts).into_response()
}

pub(super) async fn clear_counts(State(shared): State<Arc<Shared>>) -> Response {
    shared.state().clear_counts();
    StatusCode::NO_CONTENT.into_response()
}

pub(super) async fn finish_batches(State(shared): State<Arc<Shared>>) -> Response {
    let now = shared.now();
    shared.state().batches.finish(now);
    StatusCode::NO_CONTENT.into_response()
}

pub(super) async fn expire_batches(State(shared): State<Arc<Shared>>) -> Response {
    let now = shared.now();
    shared.state().batches.expire(now);
    StatusCode::NO_CONTENT.into_response()
}

async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Response> {
    let body = read_body(request, SCRIPT_BYTES_MAX).await;
    let body = body.map_err(|problem| refused(&problem.message))?;
    serde_json::from_slice(&body).map_err(|error| refused(&error.to_string()))
}

fn refused(why: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": why }))).into_response()
}
