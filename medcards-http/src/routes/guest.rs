use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use medcards_core::UserId;
use medcards_core::user::UserKind;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::json;
use crate::api::Shared;
use crate::problem::Problem;

/// A new guest.
#[derive(Serialize, ToSchema)]
#[schema(as = Guest)]
struct GuestBody {
    /// The user.
    user_id: Uuid,
    /// The bearer token for all other calls. Whoever has it is this guest.
    token: String,
}

/// Make a guest user, with a token.
#[utoipa::path(
    post,
    path = "/v1/guest",
    tag = "users",
    responses(
        (status = 201, description = "The guest.", body = GuestBody),
        (status = 403, description = "`guests_disabled`"),
    ),
)]
pub(super) async fn create_guest(State(app): State<Shared>) -> Result<Response, Problem> {
    let user_id = UserId::new(app.medcards.now());
    let token = app.auth.guest_token(user_id)?;
    app.medcards.ensure_user(user_id, UserKind::Guest).await?;
    let mut response = json(&GuestBody {
        user_id: *user_id.as_uuid(),
        token,
    });
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}
