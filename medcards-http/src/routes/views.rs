use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use medcards_core::Timestamp;
use medcards_core::view::{EditionState, SetAside, ViewName, ViewState};
use percent_encoding::percent_decode;
use serde::Serialize;
use utoipa::ToSchema;

use super::json;
use crate::api::{App, Shared};
use crate::auth::Admin;
use crate::params::Params;
use crate::problem::{Problem, ProblemCode};

/// How many events that were set aside are shown of each view: enough to see the fault.
const SET_ASIDE_SHOWN_MAX: usize = 20;

/// What there is of each view of the answer log.
#[derive(Serialize, ToSchema)]
#[schema(as = Views)]
struct ViewsBody {
    items: Vec<ViewBody>,
}

/// A view of the answer log.
#[derive(Serialize, ToSchema)]
#[schema(as = View)]
struct ViewBody {
    name: String,
    /// The edition that answers; null before any was whole.
    #[schema(required = true)]
    current: Option<EditionBody>,
    /// The edition that is being built; null if none is.
    #[schema(required = true)]
    next: Option<EditionBody>,
    /// Until when a process applies events to it, unless it goes on.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    led_until: Option<Timestamp>,
    /// The latest events that do not count in the current edition, at most 20.
    set_aside: Vec<SetAsideBody>,
}

/// An edition of a view.
#[derive(Serialize, ToSchema)]
#[schema(as = ViewEdition)]
struct EditionBody {
    edition: i64,
    /// By which rules it is made.
    version: u64,
    /// With how many corrections of keys.
    corrections: u64,
    /// The place in the log of the last event that counts in it.
    position: String,
    /// How many events of the log it lacks, counted up to ten million.
    behind_events: u64,
    /// How many events do not count in it.
    set_aside: u64,
    #[schema(value_type = String, format = DateTime)]
    begun_at: Timestamp,
}

/// An event that does not count.
#[derive(Serialize, ToSchema)]
#[schema(as = SetAsideEvent)]
struct SetAsideBody {
    position: String,
    kind: String,
    reason: String,
}

impl From<SetAside> for SetAsideBody {
    fn from(it: SetAside) -> Self {
        Self {
            position: it.position.to_string(),
            kind: it.kind,
            reason: it.reason,
        }
    }
}

/// Show how the views of the answer log stand.
#[utoipa::path(
    get,
    path = "/v1/admin/views",
    tag = "admin",
    responses(
        (status = 200, description = "The views, by name.", body = ViewsBody),
        (status = 403, description = "`role_missing`"),
        (status = 404, description = "`learning_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn list_views(
    State(app): State<Shared>,
    _: Admin,
    uri: Uri,
) -> Result<Response, Problem> {
    Params::read(&uri, &[])?;
    let mut items = Vec::new();
    for state in app.learnt()?.views().await? {
        items.push(view(&app, state).await?);
    }
    Ok(json(&ViewsBody { items }))
}

/// Build a view anew from the answer log.
///
/// The old edition answers until the new one has caught up. One that is under way is that one.
#[utoipa::path(
    post,
    path = "/v1/admin/views/{view}/rebuild",
    tag = "admin",
    params(("view" = String, Path, description = "The name of the view.")),
    responses(
        (status = 202, description = "It is being built."),
        (status = 403, description = "`role_missing`"),
        (status = 404, description = "`learning_disabled`, `view_not_found`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn rebuild_view(
    State(app): State<Shared>,
    Admin(admin): Admin,
    uri: Uri,
) -> Result<StatusCode, Problem> {
    let learnt = app.learnt()?.learning_store();
    let segment = uri.path().rsplit('/').nth(1).unwrap_or_default();
    let name = percent_decode(segment.as_bytes()).decode_utf8_lossy();
    let not_found = || {
        Problem::new(ProblemCode::ViewNotFound)
            .with_detail("the views are listed at /v1/admin/views")
    };
    let name = ViewName::new(&name).ok_or_else(not_found)?;
    let state = learnt.view(&name).await?;
    if state.next.is_none() {
        let current = state.current.ok_or_else(not_found)?;
        let now = app.medcards.now();
        let (version, corrections) = (current.version, current.corrections);
        learnt
            .begin_edition(&name, version, corrections, now)
            .await?;
        tracing::info!(view = %name, %admin, "a view is built anew");
    }
    Ok(StatusCode::ACCEPTED)
}

async fn view(app: &App, state: ViewState) -> Result<ViewBody, Problem> {
    let set_aside = match state.current {
        None => Vec::new(),
        Some(current) => {
            let learnt = app.learnt()?.learning_store();
            let listed = learnt.list_set_aside(current.number, SET_ASIDE_SHOWN_MAX);
            listed.await?
        }
    };
    Ok(ViewBody {
        name: state.name.as_str().to_owned(),
        current: edition(app, state.current).await?,
        next: edition(app, state.next).await?,
        led_until: state.lead.map(|(_, until)| until),
        set_aside: set_aside.into_iter().map(Into::into).collect(),
    })
}

async fn edition(app: &App, state: Option<EditionState>) -> Result<Option<EditionBody>, Problem> {
    let Some(state) = state else { return Ok(None) };
    let store = app.medcards.store();
    Ok(Some(EditionBody {
        edition: state.number.get(),
        version: state.version,
        corrections: state.corrections,
        position: state.position.to_string(),
        behind_events: store.count_events(state.position).await?,
        set_aside: state.set_aside,
        begun_at: state.begun_at,
    }))
}
