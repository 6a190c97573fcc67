use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{FromRequestParts, Request, State, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::sse::Sse;
use axum::response::{IntoResponse, Response};
use medcards_core::event::LogPosition;
use serde::Serialize;
use utoipa::ToSchema;

use super::{ACCEL_BUFFERING, NO_STORE, json};
use crate::api::Shared;
use crate::auth::{Caller, Student};
use crate::live::{
    Client, NoticeCursor, NoticeMessage, NoticeView, PROTOCOL, Socket, Transport, event_stream,
    sized,
};
use crate::params::{Params, invalid};
use crate::problem::{Problem, ProblemCode, name};
use crate::serve::Hold;

/// Where a WebSocket is opened. The token may come as a subprotocol there.
pub(crate) const LIVE_PATH: &str = "/v1/me/live";

/// How many notices a page has unless asked for fewer, and at most.
const PAGE_MAX: u32 = 100;

const LAST_EVENT_ID: HeaderName = name("last-event-id");

/// Notices in their order.
#[derive(Serialize, ToSchema)]
#[schema(as = NoticePage)]
struct NoticePageBody {
    /// They, oldest first.
    items: Vec<NoticeView>,
    /// Send it as `after` for what comes behind them, here or live.
    cursor: String,
    /// Whether there is more now. Without, notices may still come later.
    has_more: bool,
}

/// List what I was told, oldest first.
///
/// Notices are kept for 30 days.
#[utoipa::path(
    get,
    path = "/v1/me/notices",
    tag = "learning",
    params(
        ("after" = Option<String>, Query, description = "The cursor of a notice or of a page; from the oldest one if absent."),
        ("limit" = Option<u32>, Query, description = "1 to 100; 100 if absent.", minimum = 1, maximum = 100),
    ),
    responses(
        (status = 200, description = "A page.", body = NoticePageBody),
        (status = 404, description = "`learning_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn list_notices(
    State(app): State<Shared>,
    Student(student): Student,
    uri: Uri,
) -> Result<Response, Problem> {
    let params = Params::read(&uri, &["after", "limit"])?;
    let after = params.parse::<NoticeCursor>("after")?;
    let after = after.map_or(LogPosition::START, |cursor| cursor.0);
    let limit = params.number("limit")?.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(invalid("limit", "it must be 1 to 100"));
    }
    let live = app.live()?;
    // One more tells whether there is more.
    let wanted = limit as usize + 1;
    let mut notices = live.notices.list_notices(student.id, after, wanted).await?;
    let has_more = notices.len() == wanted;
    notices.truncate(limit as usize);
    let last = match notices.last() {
        Some(last) => last.position,
        // A store that was restored may have come less far than the client.
        None => after.min(live.notices.last_notice().await?),
    };
    Ok(json(&NoticePageBody {
        items: notices.iter().map(NoticeView::new).collect(),
        cursor: NoticeCursor(last).to_string(),
        has_more,
    }))
}

/// Follow what I am told, as server-sent events.
///
/// First comes one event `began`, then an event `notice` for each as it happens; `data` is a
/// `NoticeMessage`, and the event's id its cursor. Before the server ends the stream it sends an event
/// `end` with the `reason`: `cut_off` for a client that does not keep up, `draining`, `expired` or
/// `unavailable`. Come back with the last id: no notice is repeated, and none is missed.
#[utoipa::path(
    get,
    path = "/v1/me/notices/stream",
    tag = "learning",
    params(
        ("after" = Option<String>, Query, description = "The cursor of the last message that was seen; from now on if absent."),
        ("last-event-id" = Option<String>, Header, description = "The same, which counts before it."),
    ),
    responses(
        (status = 200, description = "The stream.", content((NoticeMessage = "text/event-stream"))),
        (status = 404, description = "`learning_disabled`"),
        (status = 503, description = "`live_full`, `not_ready`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn stream_notices(
    State(app): State<Shared>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = match headers.get(LAST_EVENT_ID) {
        None => after(&uri)?,
        Some(id) => {
            after(&uri)?;
            Some(last_event(id)?)
        }
    };
    let client = Client::new(&app, caller, after, Transport::EventStream).await?;
    let (sender, events) = event_stream();
    drop(app.drain.tasks().spawn(client.serve(sender)));
    let mut response = Sse::new(events).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// Follow what I am told, over a WebSocket.
///
/// Each text is a `NoticeMessage`: first one `began`, then a `notice` for each as it happens. Clients
/// send nothing. A page in a browser, which cannot send the header `Authorization`, names the
/// subprotocols `medcards` and `bearer.` followed by its token. Pages of other origins need to be
/// allowed as for the API. The server closes with 1001 when it stops, 1008 when a client talks, 1011
/// when it cannot read, 1013 when a client does not keep up, 4401 when the token expires and 4408 when a
/// client answers no pings. Come back with the last cursor: no notice is repeated, and none is missed.
#[utoipa::path(
    get,
    path = "/v1/me/live",
    tag = "learning",
    params(
        ("after" = Option<String>, Query, description = "The cursor of the last message that was seen; from now on if absent."),
        ("sec-websocket-protocol" = Option<String>, Header, description = "`medcards, bearer.` and the token, where `Authorization` cannot be sent."),
    ),
    responses(
        (status = 101, description = "The WebSocket.", body = NoticeMessage),
        (status = 403, description = "`origin_refused`"),
        (status = 404, description = "`learning_disabled`"),
        (status = 426, description = "`upgrade_required`"),
        (status = 503, description = "`live_full`, `not_ready`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn live(
    State(app): State<Shared>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    if !app.origins.allow(request.headers()) {
        return Err(Problem::new(ProblemCode::OriginRefused)
            .with_detail("ask whoever runs the server to allow it"));
    }
    let after = after(request.uri())?;
    let hold = Hold::of(&request);
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let upgrade = upgrade.map_err(|rejection: WebSocketUpgradeRejection| {
        Problem::new(ProblemCode::UpgradeRequired).with_detail(rejection.body_text())
    })?;
    let client = Client::new(&app, caller, after, Transport::WebSocket).await?;
    let task = app.drain.tasks().token();
    Ok(sized(upgrade)
        .protocols([PROTOCOL])
        .on_upgrade(async move |socket| {
            client.serve(Socket(socket)).await;
            drop((hold, task));
        }))
}

fn after(uri: &Uri) -> Result<Option<NoticeCursor>, Problem> {
    Params::read(uri, &["after"])?.parse("after")
}

fn last_event(id: &HeaderValue) -> Result<NoticeCursor, Problem> {
    let cursor = id.to_str().ok().and_then(|text| text.parse().ok());
    cursor.ok_or_else(|| {
        Problem::new(ProblemCode::InvalidHeader)
            .with_fault(LAST_EVENT_ID.as_str(), "send it as an event had it")
    })
}
