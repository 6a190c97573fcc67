use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use medcards_core::Timestamp;
use medcards_core::session::{Session, SessionKey};
use serde::Serialize;
use utoipa::ToSchema;

use super::{PageBody, json};
use crate::api::Shared;
use crate::auth::{Caller, Student, new_session_token};
use crate::params::Params;
use crate::problem::{Problem, ProblemCode};

/// How much of a key names a session to its user, in bytes: nobody has two that begin alike, and it
/// is not enough to forge the rest.
const ID_BYTES: usize = 16;

/// A new session.
#[derive(Serialize, ToSchema)]
#[schema(as = NewSession)]
struct NewSessionBody {
    /// Its id.
    session: String,
    /// The bearer token for all other calls. It is shown only now.
    token: String,
    /// When it ends, unless it is used before.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// A session of mine.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
struct SessionBody {
    id: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ends, unless it is used before.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Whether it is the one that asks.
    is_current: bool,
}

/// The name of a session as its user sees it.
fn id_of(key: &SessionKey) -> String {
    let mut id = String::with_capacity(2 * ID_BYTES);
    for byte in &key.as_bytes()[..ID_BYTES] {
        // Writing to a string never fails.
        let _ = write!(id, "{byte:02x}");
    }
    id
}

/// Begin a session: a token that lives on while it is used, and can be revoked.
#[utoipa::path(
    post,
    path = "/v1/sessions",
    tag = "users",
    responses(
        (status = 201, description = "The session. It ends a day after its last use, or 30 days after now. With more than 20, the oldest ends.", body = NewSessionBody),
        (status = 403, description = "`sessions_disabled`, or `sign_in_needed` to a session"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn begin_session(
    State(app): State<Shared>,
    caller: Caller,
    Student(student): Student,
) -> Result<Response, Problem> {
    let sessions = app.auth.sessions()?;
    if caller.session.is_some() {
        return Err(Problem::new(ProblemCode::SignInNeeded)
            .with_detail("send the token that you were given when you signed in"));
    }
    let (token, key) = new_session_token()?;
    let session = Session::new(key, student.id, caller.kind, app.medcards.now());
    sessions.create_session(&session).await?;
    let mut response = json(&NewSessionBody {
        session: id_of(&key),
        token,
        expires_at: session.expires_at,
    });
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// List my sessions, newest first.
#[utoipa::path(
    get,
    path = "/v1/sessions",
    tag = "users",
    responses(
        (status = 200, description = "All of them, on one page.", body = PageBody<SessionBody>),
        (status = 403, description = "`sessions_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn list_sessions(
    State(app): State<Shared>,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    Params::read(&uri, &[])?;
    let sessions = app.auth.sessions()?;
    let listed = sessions.list_sessions(caller.user_id, app.medcards.now());
    let body = |session: Session| SessionBody {
        id: id_of(&session.key),
        created_at: session.created_at,
        expires_at: session.expires_at,
        is_current: caller.session == Some(session.key),
    };
    let items = listed.await?.into_iter().map(body).collect();
    Ok(json(&PageBody::new(items, None)))
}

/// End a session of mine.
#[utoipa::path(
    delete,
    path = "/v1/sessions/{session_id}",
    tag = "users",
    params(("session_id" = String, Path, description = "As the list of sessions has it.")),
    responses(
        (status = 204, description = "It has ended, and its token is not taken any more."),
        (status = 400, description = "`invalid_id`"),
        (status = 403, description = "`sessions_disabled`"),
        (status = 404, description = "`session_not_found`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn end_session(
    State(app): State<Shared>,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    let sessions = app.auth.sessions()?;
    let id = session_id(&uri)?;
    let mine = sessions.list_sessions(caller.user_id, app.medcards.now());
    let named = mine
        .await?
        .into_iter()
        .find(|session| id_of(&session.key) == id);
    let is_ended = match named {
        Some(session) => {
            sessions
                .revoke_session(caller.user_id, &session.key)
                .await?
        }
        None => false,
    };
    if !is_ended {
        return Err(ProblemCode::SessionNotFound.into());
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// End all my sessions, the one that asks included.
#[utoipa::path(
    delete,
    path = "/v1/sessions",
    tag = "users",
    responses(
        (status = 204, description = "They have ended. The tokens with which they were begun are good until they expire."),
        (status = 403, description = "`sessions_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn end_sessions(
    State(app): State<Shared>,
    caller: Caller,
) -> Result<Response, Problem> {
    let sessions = app.auth.sessions()?;
    sessions.revoke_sessions(caller.user_id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The id in the path.
fn session_id(uri: &Uri) -> Result<&str, Problem> {
    let id = uri.path().split('/').nth(3).unwrap_or_default();
    let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if id.len() == 2 * ID_BYTES && id.bytes().all(digits) {
        return Ok(id);
    }
    Err(Problem::new(ProblemCode::InvalidId)
        .with_detail("it must be the id of a session, as the list of sessions has it"))
}
