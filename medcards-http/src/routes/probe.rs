use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use medcards_core::UserId;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;
use uuid::Uuid;

use super::json;
use crate::api::Shared;
use crate::problem::{Problem, ProblemCode};

/// How long the store may take to show that it is there: less than any prober waits.
const STORE_DEADLINE: Duration = Duration::from_secs(1);

/// What a probe says.
#[derive(Serialize, ToSchema)]
#[schema(as = Probe)]
struct ProbeBody {
    /// `ok` or `ready`.
    status: &'static str,
}

/// Say that the process lives.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "operation",
    responses((status = 200, description = "It does.", body = ProbeBody)),
)]
pub(super) async fn health() -> Response {
    json(&ProbeBody { status: "ok" })
}

/// Say whether requests should be sent here.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operation",
    responses(
        (status = 200, description = "They should.", body = ProbeBody),
        (status = 503, description = "`not_ready`"),
    ),
)]
pub(super) async fn readiness(State(app): State<Shared>) -> Result<Response, Problem> {
    let not_ready = |detail| Problem::new(ProblemCode::NotReady).with_detail(detail);
    if app.drain.has_begun() {
        return Err(not_ready("the server is stopping"));
    }
    // Nobody has this id: the cheapest read there is.
    let read = app
        .medcards
        .store()
        .find_user(UserId::from_uuid(Uuid::nil()));
    match timeout(STORE_DEADLINE, read).await {
        Ok(Ok(_)) => Ok(json(&ProbeBody { status: "ready" })),
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the store is away");
            Err(not_ready("the store is away"))
        }
        Err(_) => Err(not_ready("the store does not answer in time")),
    }
}
