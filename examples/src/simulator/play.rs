//! One call to a model, from the decision how it goes to the last byte.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use super::limit::Levels;
use super::problem::{Problem, ProblemKind};
use super::reply::{Ask, Reply};
use super::script::{Behaviour, Script};
use super::state::{Call, Shared, Turn};

/// What a proxy says that has lost its server.
const PAGE: &str = "<!doctype html>\n<html><head><title>One moment</title></head><body><h1>We will \
    be back soon</h1></body></html>\n";

/// How one kind of provider writes.
pub(super) trait Dialect: Copy + Send + Sync + 'static {
    /// The answer that tells of a problem.
    fn problem(self, problem: &Problem, id: &str) -> Response;

    /// Adds what is left of the rate limits.
    fn tell_levels(self, levels: &Levels, headers: &mut HeaderMap, shared: &Shared);

    /// The events of a reply.
    fn events(self, reply: &Reply, ask: &Ask, shared: &Shared) -> Vec<Frame>;

    /// A reply in one piece.
    fn whole(self, reply: &Reply, ask: &Ask, shared: &Shared) -> Vec<u8>;

    /// The event that ends a stream because the server has too much to do.
    fn overloaded_event(self) -> Bytes;

    /// An event whose JSON breaks off.
    fn garbage_event(self) -> Bytes;
}

/// Bytes that are sent at once, and the tokens of the reply that they bring.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) bytes: Bytes,
    pub(super) tokens: u64,
}

/// Marks a response in whose place the connection is closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct HangUp;

/// Answers a call to a model.
pub(super) async fn answer<D: Dialect>(
    dialect: D,
    shared: &Arc<Shared>,
    route: &'static str,
    ask: &Ask,
) -> Response {
    let id = shared.id();
    match shared.begin(route, ask) {
        Ok(turn) => {
            let levels = turn.levels;
            let mut response = play(dialect, shared, ask, turn, &id).await;
            dialect.tell_levels(&levels, response.headers_mut(), shared);
            response
        }
        Err(exceeded) => {
            let message = format!(
                "this call would exceed the limit of {} {} a minute",
                exceeded.limit, exceeded.what
            );
            let seconds = exceeded.wait.as_secs_f64().ceil() as u64;
            let problem = Problem::new(ProblemKind::RateLimit, message).after(seconds.max(1));
            let mut response = dialect.problem(&problem, &id);
            dialect.tell_levels(&shared.levels(), response.headers_mut(), shared);
            response
        }
    }
}

/// Answers a call that is about no model, such as one about a batch.
pub(super) async fn answer_beside<D: Dialect>(
    dialect: D,
    shared: &Shared,
    route: &'static str,
    act: impl FnOnce() -> Result<Response, Problem> + Send,
) -> Response {
    let script = Arc::clone(&shared.state().script);
    let behaviour = shared.next_batch_behaviour();
    if let Some(response) = instead_of_reply(dialect, behaviour, &script, &shared.id()) {
        shared.count(route, behaviour.name());
        return response;
    }
    if behaviour == Behaviour::SlowFirstByte {
        sleep(Duration::from_millis(script.slow_first_byte_ms)).await;
    }
    let response = match act() {
        Ok(response) => response,
        Err(problem) => return tell(dialect, shared, route, &problem),
    };
    shared.count(route, behaviour.name());
    match behaviour {
        Behaviour::Cut => hang_up(),
        Behaviour::Garbage => {
            ([(CONTENT_TYPE, "application/json")], "{\"id\": \"lost").into_response()
        }
        _ => response,
    }
}

/// Counts a problem and answers with it.
pub(super) fn tell<D: Dialect>(
    dialect: D,
    shared: &Shared,
    route: &str,
    problem: &Problem,
) -> Response {
    shared.count(route, problem.outcome());
    dialect.problem(problem, &shared.id())
}

/// A response with JSON.
pub(super) fn json_response(json: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], json.to_string()).into_response()
}

/// What is answered in place of a reply, if the behaviour has one such.
pub(super) fn instead_of_reply<D: Dialect>(
    dialect: D,
    behaviour: Behaviour,
    script: &Script,
    id: &str,
) -> Option<Response> {
    let problem = match behaviour {
        Behaviour::Html => return Some(html()),
        Behaviour::Refused => return Some(hang_up()),
        Behaviour::Overloaded => Problem::new(ProblemKind::Overloaded, "Overloaded"),
        Behaviour::RateLimited => rate_limited().after(script.retry_after_seconds),
        Behaviour::RateLimitedBare => rate_limited(),
        Behaviour::ServerError => Problem::new(ProblemKind::Server, "Internal server error"),
        Behaviour::SpendLimit => Problem::new(
            ProblemKind::SpendLimit,
            "the spend limit of this account is reached",
        ),
        _ => return None,
    };
    Some(dialect.problem(&problem, id))
}

/// A response in whose place the connection is closed.
pub(super) fn hang_up() -> Response {
    let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
    response.extensions_mut().insert(HangUp);
    response
}

async fn play<D: Dialect>(
    dialect: D,
    shared: &Shared,
    ask: &Ask,
    turn: Turn,
    id: &str,
) -> Response {
    let Turn {
        behaviour,
        reply,
        first_token,
        script,
        mut call,
        ..
    } = turn;
    let instead = match behaviour {
        Behaviour::OverloadedMidStream if !ask.stream => Behaviour::Overloaded,
        behaviour => behaviour,
    };
    if let Some(response) = instead_of_reply(dialect, instead, &script, id) {
        call.close();
        return response;
    }
    call.read(&reply);
    if behaviour == Behaviour::SlowFirstByte {
        sleep(Duration::from_millis(script.slow_first_byte_ms)).await;
    }
    sleep(first_token).await;
    if ask.stream {
        let mut frames = dialect.events(&reply, ask, shared);
        let disturbance = disturb(dialect, behaviour, &script, &mut frames);
        let body = body_of(frames, disturbance, script, call);
        let headers = [
            (CONTENT_TYPE, "text/event-stream; charset=utf-8"),
            (CACHE_CONTROL, "no-cache"),
        ];
        return (headers, body).into_response();
    }
    sleep(script.writing(reply.usage.output)).await;
    let headers = [(CONTENT_TYPE, "application/json")];
    let whole = match behaviour {
        Behaviour::Garbage => b"{\"type\": \"message\", \"content\": [{\"ty".to_vec(),
        _ => dialect.whole(&reply, ask, shared),
    };
    if matches!(behaviour, Behaviour::Cut | Behaviour::Stall) {
        let mut frames = halves(&whole, reply.usage.output);
        let disturbance = disturb(dialect, behaviour, &script, &mut frames);
        let at_once = Script {
            tokens_per_second: 0,
            ..(*script).clone()
        };
        let body = body_of(frames, disturbance, Arc::new(at_once), call);
        return (headers, body).into_response();
    }
    call.sent(reply.usage.output);
    call.close();
    (headers, whole).into_response()
}

fn rate_limited() -> Problem {
    Problem::new(ProblemKind::RateLimit, "too many calls: ask again later")
}

fn html() -> Response {
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response()
}

fn halves(whole: &[u8], tokens: u64) -> Vec<Frame> {
    let (first, second) = whole.split_at(whole.len() / 2);
    let frame = |bytes: &[u8], tokens| Frame {
        bytes: Bytes::copy_from_slice(bytes),
        tokens,
    };
    vec![frame(first, tokens), frame(second, 0)]
}

/// What happens to the frames while they are sent.
#[derive(Clone, Copy, Debug, Default)]
struct Disturbance {
    /// Before which frame to wait, and for how long.
    pause: Option<(usize, Duration)>,
    /// Whether the connection is cut after the last frame.
    cut: bool,
}

fn disturb<D: Dialect>(
    dialect: D,
    behaviour: Behaviour,
    script: &Script,
    frames: &mut Vec<Frame>,
) -> Disturbance {
    let middle = middle_of(frames);
    let mut disturbance = Disturbance::default();
    let last = |bytes| Frame { bytes, tokens: 0 };
    match behaviour {
        Behaviour::Cut => {
            frames.truncate(middle);
            disturbance.cut = true;
        }
        Behaviour::Garbage => {
            frames.truncate(middle);
            frames.push(last(dialect.garbage_event()));
        }
        Behaviour::OverloadedMidStream => {
            frames.truncate(middle);
            frames.push(last(dialect.overloaded_event()));
        }
        Behaviour::Stall => {
            let wait = Duration::from_millis(script.stall_ms);
            disturbance.pause = Some((middle, wait));
        }
        _ => {}
    }
    disturbance
}

/// The place after the first half of the text: at least one piece of it is sent before.
fn middle_of(frames: &[Frame]) -> usize {
    let with_text: Vec<_> = (0..frames.len())
        .filter(|place| frames[*place].tokens > 0)
        .collect();
    with_text
        .get(with_text.len().saturating_sub(1) / 2)
        .map_or(0, |place| place + 1)
}

/// Sends frames at the speed of the script.
struct Player {
    frames: Vec<Frame>,
    place: usize,
    tokens: u64,
    began: Instant,
    paused: Duration,
    disturbance: Disturbance,
    script: Arc<Script>,
    call: Call,
}

fn body_of(frames: Vec<Frame>, disturbance: Disturbance, script: Arc<Script>, call: Call) -> Body {
    let player = Player {
        frames,
        place: 0,
        tokens: 0,
        began: Instant::now(),
        paused: Duration::ZERO,
        disturbance,
        script,
        call,
    };
    Body::from_stream(stream::unfold(player, async |mut player| {
        let next = player.next().await;
        next.map(|next| (next, player))
    }))
}

impl Player {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if let Some((place, wait)) = self.disturbance.pause
            && place == self.place
        {
            sleep(wait).await;
            self.disturbance.pause = None;
            self.paused = wait;
        }
        let Some(frame) = self.frames.get(self.place).cloned() else {
            if !std::mem::take(&mut self.disturbance.cut) {
                return None;
            }
            // What was sent before must be on its way, or the cut would take it back.
            tokio::task::yield_now().await;
            return Some(Err(io::Error::other("the script cuts the reply here")));
        };
        self.tokens += frame.tokens;
        if frame.tokens > 0 && self.script.tokens_per_second > 0 {
            sleep_until(self.began + self.paused + self.script.writing(self.tokens)).await;
        }
        self.place += 1;
        self.call.sent(frame.tokens);
        if self.place == self.frames.len() {
            self.call.close();
        }
        Some(Ok(frame.bytes))
    }
}

/// Sets a header. Names and values are made here, so neither can be unfit.
pub(super) fn put_header(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}
