use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use medcards_core::chat::{
    ChatEvent, ChatPlace, ChatQuestion, ChatStream, ChatTurn, Coach, TURNS_PER_CHAT_MAX, TurnReply,
    collect_turn,
};
use medcards_core::store::PageLimit;
use medcards_core::{AnswerId, Error, ErrorKind, Timestamp, TurnId, UserId};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ACCEL_BUFFERING, NO_STORE, PageBody, json, mounted_at};
use crate::api::Shared;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::drain::Drain;
use crate::negotiate::WantedForm;
use crate::params::{Params, PathId};
use crate::problem::{Problem, ProblemCode, name};

/// How often a silent stream is kept alive: proxies close one that is silent for 30 seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How soon a client that follows the standard asks again after a stream broke off.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// Says how far a client has read a stream that broke off.
const LAST_EVENT_ID: HeaderName = name("last-event-id");

/// A question to the coach.
#[derive(Deserialize, ToSchema)]
#[schema(as = ChatQuestion)]
pub(super) struct QuestionBody {
    /// The idempotency key: a UUIDv7 made when the student asked. Sending it again gives the reply,
    /// or the rest of it. A new one if absent.
    #[serde(default)]
    #[schema(value_type = Option<Uuid>)]
    id: Option<String>,
    /// The answer that the question is about.
    #[schema(value_type = Uuid)]
    answer_id: String,
    /// The question: plain text of at most 4,096 bytes.
    text: String,
}

impl QuestionBody {
    fn read(self) -> Result<ChatQuestion, Problem> {
        let of = |name| {
            move |error: Error| {
                Problem::new(ProblemCode::InvalidField).with_fault(name, error.context().to_owned())
            }
        };
        Ok(ChatQuestion {
            turn_id: self.id.map(|id| id.parse()).transpose().map_err(of("id"))?,
            answer_id: self.answer_id.parse().map_err(of("answer_id"))?,
            text: self.text,
        })
    }
}

/// A question to the coach and what it replied.
#[derive(Serialize, ToSchema)]
#[schema(as = ChatTurn)]
pub(super) struct TurnBody {
    id: Uuid,
    answer_id: Uuid,
    /// The question, as the student wrote it.
    question: String,
    /// Null while it is being written.
    #[schema(required = true)]
    reply: Option<ReplyBody>,
}

/// A reply of the coach.
#[derive(Serialize, ToSchema)]
#[schema(as = ChatReply)]
struct ReplyBody {
    text: String,
    /// Where it comes from: `live` (a model), `reused` (a reviewed answer), `declined` (the coach
    /// gives no advice on real health), or `unavailable` (no model could reply; a new turn may ask
    /// again).
    origin: &'static str,
    /// The model that wrote it.
    #[schema(required = true)]
    model: Option<String>,
    cost_microdollars: u64,
    #[schema(value_type = String, format = DateTime)]
    replied_at: Timestamp,
}

impl From<&ChatTurn> for TurnBody {
    fn from(turn: &ChatTurn) -> Self {
        let reply = |reply: &TurnReply| ReplyBody {
            text: reply.text.clone(),
            origin: reply.origin.as_str(),
            model: reply.model.as_ref().map(ToString::to_string),
            cost_microdollars: reply.cost.get(),
            replied_at: reply.replied_at,
        };
        Self {
            id: *turn.id.as_uuid(),
            answer_id: *turn.answer_id.as_uuid(),
            question: turn.question.clone(),
            reply: turn.reply.as_ref().map(reply),
        }
    }
}

/// Ask the coach about an answered case.
///
/// Safe to send again with the same `id`: it is replied to once. With `Accept: text/event-stream`
/// the reply comes as it is written: `start` with `{"id": "..."}`, any number of `delta` with
/// `{"text": "..."}`, and exactly one `end` with the whole turn. After a `restart` what was shown
/// counts no more, and the deltas begin anew. A stream that stops without `end` broke off: send the
/// same again with the last event's id as `Last-Event-ID`, and only the rest comes.
#[utoipa::path(
    post,
    path = "/v1/chat",
    tag = "chat",
    params(("last-event-id" = Option<String>, Header, description = "The id of the last event of a stream that broke off.")),
    request_body = QuestionBody,
    responses(
        (status = 200, description = "The turn with its reply.", content(
            (TurnBody = "application/json"),
            (String = "text/event-stream"),
        )),
        (status = 202, description = "The reply is still being written: see `Location`.", body = TurnBody, headers(
            ("location" = String, description = "Where the turn is."),
        )),
        (status = 400, description = "`invalid_header`"),
        (status = 404, description = "`answer_not_found`, `chat_disabled`"),
        (status = 406, description = "`not_acceptable`"),
        (status = 409, description = "`id_reused`: for another question; `chat_full`"),
        (status = 422, description = "`invalid_field`, `unknown_field`"),
        (status = 503, description = "`busy`: as many replies as allowed are under way"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn ask_coach(
    State(app): State<Shared>,
    caller: Caller,
    form: WantedForm,
    OriginalUri(original): OriginalUri,
    uri: Uri,
    headers: HeaderMap,
    JsonBody(question): JsonBody<QuestionBody>,
) -> Result<Response, Problem> {
    let coach = coach(&app)?;
    let mut question = question.read()?;
    let mut from = ChatPlace::START;
    if let Some((turn_id, place)) = last_event(&headers)? {
        if question.turn_id.is_some_and(|id| id != turn_id) {
            return Err(bad_last_event());
        }
        question.turn_id = Some(turn_id);
        from = place;
    }
    let user_id = caller.user_id;
    let turn_id = question
        .turn_id
        .unwrap_or_else(|| TurnId::new(app.medcards.now()));
    question.turn_id = Some(turn_id);
    let answer_id = question.answer_id;
    match coach.ask_from(user_id, question, from).await {
        Ok(events) => {
            let prefix = mounted_at(&original, &uri);
            respond(&app, coach, events, form, (user_id, turn_id), prefix).await
        }
        Err(error) if error.kind() == ErrorKind::Full => {
            Err(full(coach, user_id, answer_id, error).await)
        }
        Err(error) => Err(Problem::from(error)
            .or_not_found(ProblemCode::AnswerNotFound)
            .or_conflict(ProblemCode::IdReused)),
    }
}

/// Show a turn, or follow its reply.
///
/// With `Accept: text/event-stream` it is as for `POST /v1/chat`; JSON shows the turn as it is now.
#[utoipa::path(
    get,
    path = "/v1/chat/turns/{id}",
    tag = "chat",
    params(
        ("id" = Uuid, Path, description = "The id of the turn."),
        ("last-event-id" = Option<String>, Header, description = "The id of the last event of a stream that broke off."),
    ),
    responses(
        (status = 200, description = "The turn.", content(
            (TurnBody = "application/json"),
            (String = "text/event-stream"),
        )),
        (status = 400, description = "`invalid_header`"),
        (status = 404, description = "`turn_not_found`, `chat_disabled`"),
        (status = 406, description = "`not_acceptable`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn show_turn(
    State(app): State<Shared>,
    caller: Caller,
    form: WantedForm,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let coach = coach(&app)?;
    let turn_id: TurnId = segment(&uri, 4)?;
    let not_found = |error: Error| Problem::from(error).or_not_found(ProblemCode::TurnNotFound);
    if form == WantedForm::Json {
        let turn = coach
            .turn(caller.user_id, turn_id)
            .await
            .map_err(not_found)?;
        return Ok(json(&TurnBody::from(&turn)));
    }
    let from = match last_event(&headers)? {
        Some((of, _)) if of != turn_id => return Err(bad_last_event()),
        Some((_, place)) => place,
        None => ChatPlace::START,
    };
    let events = coach.follow(caller.user_id, turn_id, from).await;
    Ok(streamed(&app, turn_id, events.map_err(not_found)?))
}

/// List the turns of a chat, newest first.
#[utoipa::path(
    get,
    path = "/v1/answers/{id}/chat",
    tag = "chat",
    params(
        ("id" = Uuid, Path, description = "The id of the answer."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "20 if absent."),
    ),
    responses(
        (status = 200, description = "A page of turns.", body = PageBody<TurnBody>),
        (status = 404, description = "`answer_not_found`, `chat_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn list_turns(
    State(app): State<Shared>,
    caller: Caller,
    PathId(answer_id): PathId<AnswerId>,
    uri: Uri,
) -> Result<Response, Problem> {
    let coach = coach(&app)?;
    let (cursor, limit) = Params::read(&uri, &["cursor", "limit"])?.page()?;
    let page = coach
        .turns(caller.user_id, answer_id, cursor.as_ref(), limit)
        .await;
    let page = page.map_err(|error| {
        Problem::from(error)
            .or_not_found(ProblemCode::AnswerNotFound)
            .or_invalid(ProblemCode::InvalidParameter)
    })?;
    let items = page.items.iter().map(TurnBody::from).collect();
    Ok(json(&PageBody::new(items, page.next)))
}

/// Forget a chat, with all of its turns.
#[utoipa::path(
    delete,
    path = "/v1/answers/{id}/chat",
    tag = "chat",
    params(("id" = Uuid, Path, description = "The id of the answer.")),
    responses(
        (status = 204, description = "There is no such chat any more."),
        (status = 404, description = "`chat_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn forget_chat(
    State(app): State<Shared>,
    caller: Caller,
    PathId(answer_id): PathId<AnswerId>,
) -> Result<StatusCode, Problem> {
    coach(&app)?.forget(caller.user_id, answer_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The coach, if the server has one.
pub(super) fn coach(app: &Shared) -> Result<&Coach, Problem> {
    app.config.coach.as_ref().ok_or_else(|| {
        Problem::new(ProblemCode::ChatDisabled)
            .with_detail("ask whoever runs the server to add one")
    })
}

/// An id in the path, counted from the slash before `v1`.
pub(super) fn segment<T: std::str::FromStr>(uri: &Uri, nth: usize) -> Result<T, Problem> {
    let segment = uri.path().split('/').nth(nth).unwrap_or_default();
    segment.parse().ok().ok_or_else(|| {
        Problem::new(ProblemCode::InvalidId)
            .with_detail("it must be a UUID such as 0190b7a8-1c5e-7000-8000-000000000001")
    })
}

/// What a store without room means: a chat that is as long as allowed, or a disk that is full.
async fn full(coach: &Coach, user_id: UserId, answer_id: AnswerId, error: Error) -> Problem {
    let turns = coach.turns(user_id, answer_id, None, PageLimit::MAX).await;
    if turns.is_ok_and(|page| page.items.len() >= TURNS_PER_CHAT_MAX) {
        return Problem::new(ProblemCode::ChatFull)
            .with_detail("forget the chat to begin another, or ask a teacher");
    }
    error.into()
}

async fn respond(
    app: &Shared,
    coach: &Coach,
    events: ChatStream,
    form: WantedForm,
    (user_id, turn_id): (UserId, TurnId),
    prefix: &str,
) -> Result<Response, Problem> {
    if form == WantedForm::EventStream {
        return Ok(streamed(app, turn_id, events));
    }
    // Answered before the edge gives up, so that a client without an id of its own hears of it.
    let patience = app.config.request_timeout.mul_f32(0.75);
    match timeout(patience, collect_turn(events)).await {
        Ok(turn) => {
            let turn =
                turn.map_err(|error| Problem::from(error).or_not_found(ProblemCode::TurnNotFound))?;
            Ok(json(&TurnBody::from(&*turn)))
        }
        Err(_) => {
            let turn = coach.turn(user_id, turn_id).await?;
            let mut response = json(&TurnBody::from(&turn));
            *response.status_mut() = StatusCode::ACCEPTED;
            // A path that came in a request, and an id, are always a good header.
            if let Ok(location) = HeaderValue::try_from(format!("{prefix}/v1/chat/turns/{turn_id}"))
            {
                response.headers_mut().insert(header::LOCATION, location);
            }
            Ok(response)
        }
    }
}

fn bad_last_event() -> Problem {
    Problem::new(ProblemCode::InvalidHeader).with_fault(
        LAST_EVENT_ID.as_str(),
        "send the id of the last event of this turn, or leave it out",
    )
}

/// How far a client has read which turn, if it says so.
fn last_event(headers: &HeaderMap) -> Result<Option<(TurnId, ChatPlace)>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let read = || {
        let (turn_id, place) = value.to_str().ok()?.split_once(':')?;
        Some((turn_id.parse().ok()?, place.parse().ok()?))
    };
    read().map(Some).ok_or_else(bad_last_event)
}

fn streamed(app: &Shared, turn_id: TurnId, events: ChatStream) -> Response {
    let drain = app.drain.clone();
    let state = Streaming {
        turn_id,
        patience_over: Box::pin(async move { Drain::patience_over(&drain).await }),
        events: Some(events),
        has_started: false,
    };
    let stream = stream::unfold(state, |mut state| async move {
        let event = state.next().await?;
        Some((Ok::<_, Infallible>(event), state))
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive");
    let mut response = Sse::new(stream).keep_alive(keep_alive).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// A stream of a reply. When the server's patience is over it breaks off, and the client goes on with
/// another server: the reply is written all the same.
struct Streaming {
    turn_id: TurnId,
    events: Option<ChatStream>,
    patience_over: Pin<Box<dyn Future<Output = ()> + Send>>,
    has_started: bool,
}

impl Streaming {
    async fn next(&mut self) -> Option<Event> {
        let events = self.events.as_mut()?;
        if !std::mem::replace(&mut self.has_started, true) {
            let start = serde_json::json!({ "id": self.turn_id });
            let event = Event::default().event("start").retry(RECONNECT_AFTER);
            return Some(event.data(start.to_string()));
        }
        let event = tokio::select! {
            biased;
            event = events.next() => event?,
            () = &mut self.patience_over => {
                self.events = None;
                return None;
            }
        };
        match event {
            Ok(ChatEvent::Delta { text, place }) => {
                let data = serde_json::json!({ "text": *text });
                Some(self.event("delta", place).data(data.to_string()))
            }
            Ok(ChatEvent::Restart) => Some(self.event("restart", ChatPlace::START).data("{}")),
            Ok(ChatEvent::End(turn)) => {
                self.events = None;
                let text = turn.reply.as_ref().map_or("", |reply| &reply.text);
                let event = self.event("end", ChatPlace::after(text));
                // Texts and numbers always serialise.
                Some(event.data(serde_json::to_string(&TurnBody::from(&*turn)).unwrap_or_default()))
            }
            Err(error) => {
                self.events = None;
                tracing::debug!(%error, "a stream of a reply broke off");
                None
            }
        }
    }

    fn event(&self, name: &str, place: ChatPlace) -> Event {
        let id = format!("{}:{place}", self.turn_id);
        Event::default().event(name).id(id)
    }
}
