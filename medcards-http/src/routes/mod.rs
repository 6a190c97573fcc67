//! The routes, by what they are about. Wire types stand beside their routes.

pub(crate) mod admin;
mod answers;
mod cases;
mod chat;
mod corrections;
mod dashboard;
mod docs;
mod feedback;
mod figures;
mod guest;
mod habits;
mod jobs;
mod leaderboards;
mod me;
mod metrics;
mod notices;
mod openapi;
mod outages;
mod probe;
mod review;
mod reviews;
mod sessions;
mod shared_answers;
mod views;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use medcards_core::store::PageCursor;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Shared;
use crate::problem::{Problem, ProblemCode, name};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Tells nginx and others not to hold back what is streamed.
const ACCEL_BUFFERING: HeaderName = name("x-accel-buffering");

/// All routes, with their descriptions.
pub(crate) fn all() -> OpenApiRouter<Shared> {
    let router = OpenApiRouter::with_openapi(openapi::document())
        .routes(routes!(guest::create_guest))
        .routes(routes!(
            sessions::begin_session,
            sessions::list_sessions,
            sessions::end_sessions
        ))
        .routes(routes!(sessions::end_session))
        .routes(routes!(cases::list_cases))
        .routes(routes!(cases::next_case))
        .routes(routes!(cases::show_case))
        .routes(routes!(figures::show_figures))
        .routes(routes!(answers::submit_answer))
        .routes(routes!(feedback::show_feedback))
        .routes(routes!(chat::ask_coach))
        .routes(routes!(chat::show_turn))
        .routes(routes!(chat::list_turns, chat::forget_chat))
        .routes(routes!(me::show_me))
        .routes(routes!(me::update_settings))
        .routes(routes!(me::list_answers))
        .routes(routes!(me::show_stats))
        .routes(routes!(dashboard::show_dashboard))
        .routes(routes!(reviews::list_reviews))
        .routes(routes!(habits::show_streak))
        .routes(routes!(habits::list_badges))
        .routes(routes!(notices::list_notices))
        .routes(routes!(notices::stream_notices))
        .routes(routes!(notices::live))
        .routes(routes!(leaderboards::show_leaderboard))
        .routes(routes!(leaderboards::show_my_standing))
        .routes(routes!(leaderboards::show_my_cohort))
        .routes(routes!(leaderboards::rebuild_leaderboards))
        .routes(routes!(admin::import_cases))
        .routes(routes!(admin::show_spend))
        .routes(routes!(figures::list_alarms))
        .routes(routes!(corrections::correct_case))
        .routes(routes!(views::list_views))
        .routes(routes!(views::rebuild_view))
        .routes(routes!(jobs::count_jobs))
        .routes(routes!(jobs::list_dead_jobs))
        .routes(routes!(jobs::requeue_jobs))
        .routes(routes!(jobs::discard_jobs))
        .routes(routes!(outages::declare_outage))
        .routes(routes!(review::list_written_feedback))
        .routes(routes!(review::review_feedback))
        .routes(routes!(shared_answers::list_shared_answers))
        .routes(routes!(
            shared_answers::put_shared_answer,
            shared_answers::remove_shared_answer
        ))
        .routes(routes!(probe::health))
        .routes(routes!(probe::readiness))
        .routes(routes!(metrics::show_metrics))
        .routes(routes!(openapi::show_openapi));
    let mut router = docs::add_to(router);
    openapi::complete(router.get_openapi_mut());
    router
}

/// The routes for whoever runs the process.
pub(crate) fn operation() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(openapi::document())
        .routes(routes!(probe::health))
        .routes(routes!(probe::readiness))
        .routes(routes!(metrics::show_metrics))
}

pub(crate) use notices::LIVE_PATH;
pub(crate) use openapi::limited;

/// Answers where there is no route.
pub(crate) async fn route_not_found() -> Problem {
    Problem::new(ProblemCode::RouteNotFound).with_detail("the routes are listed at /docs")
}

/// Answers where there is a route, but not for the method. The router adds `Allow`.
pub(crate) async fn method_not_allowed() -> Problem {
    Problem::new(ProblemCode::MethodNotAllowed).with_detail("see the Allow header")
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
#[schema(as = Page)]
struct PageBody<T> {
    /// The items, in the list's order.
    items: Vec<T>,
    /// Send it back as `cursor` for the next page; null at the end.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

impl<T> PageBody<T> {
    fn new(items: Vec<T>, next: Option<PageCursor>) -> Self {
        Self {
            items,
            next_cursor: next.map(|cursor| cursor.as_str().to_owned()),
        }
    }
}

/// A JSON response that nobody may keep.
fn json<T: Serialize>(body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => json_bytes(bytes.into()),
        Err(error) => {
            tracing::error!(%error, "a response cannot be written");
            Problem::new(ProblemCode::Internal).into_response()
        }
    }
}

/// The same from JSON that is written already.
fn json_bytes(bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, NO_STORE);
    response
}

/// What stands before `/v1` where the router is mounted beneath a path of the program's own.
fn mounted_at<'a>(original: &'a Uri, inner: &Uri) -> &'a str {
    original
        .path()
        .strip_suffix(inner.path())
        .unwrap_or_default()
}
