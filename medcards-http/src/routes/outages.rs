use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use medcards_core::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::Shared;
use crate::auth::Admin;
use crate::body::JsonBody;
use crate::problem::{Problem, ProblemCode};

/// The longest outage: what is longer is a slip of the pen.
const OUTAGE_MAX: Duration = Duration::from_hours(30 * 24);

/// When students could not answer, through no fault of theirs.
#[derive(Deserialize, ToSchema)]
#[schema(as = OutageForm)]
pub(super) struct OutageBody {
    /// From when.
    #[schema(value_type = String, format = DateTime)]
    began_at: Timestamp,
    /// Until when: past, and at most 30 days later.
    #[schema(value_type = String, format = DateTime)]
    ended_at: Timestamp,
}

/// Say that students could not answer for a while.
///
/// Days that it touches break no streak. It cannot be taken back.
#[utoipa::path(
    post,
    path = "/v1/admin/outages",
    tag = "admin",
    request_body = OutageBody,
    responses(
        (status = 202, description = "Streaks will follow."),
        (status = 403, description = "`role_missing`"),
        (status = 404, description = "`learning_disabled`"),
        (status = 422, description = "`invalid_field`, `unknown_field`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn declare_outage(
    State(app): State<Shared>,
    Admin(admin): Admin,
    JsonBody(body): JsonBody<OutageBody>,
) -> Result<StatusCode, Problem> {
    let learnt = app.learnt()?;
    let OutageBody { began_at, ended_at } = body;
    let now = app.medcards.now();
    let wrong = |name, detail| Problem::new(ProblemCode::InvalidField).with_fault(name, detail);
    if ended_at > now {
        return Err(wrong("ended_at", "it must be past"));
    }
    let length = Duration::try_from(ended_at.duration_since(began_at)).ok();
    if length.is_none_or(|length| length.is_zero() || length > OUTAGE_MAX) {
        let detail = "it must be before ended_at, by at most 30 days";
        return Err(wrong("began_at", detail));
    }
    learnt.declare_outage(began_at, ended_at).await?;
    tracing::info!(%began_at, %ended_at, %admin, "an outage was declared");
    Ok(StatusCode::ACCEPTED)
}
