//! What is sent: events, messages, problems, rate limits.

use axum::Json;
use axum::body::Bytes;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::request::HOUR_US;
use crate::simulator::limit::{Level, Levels};
use crate::simulator::play::{Dialect, Frame, put_header};
use crate::simulator::problem::{Problem, ProblemKind};
use crate::simulator::prompt::tokens_of;
use crate::simulator::reply::{Ask, Reply, Stop, Usage};
use crate::simulator::state::Shared;

/// What Anthropic answers when it has too much to do; no standard has it.
const OVERLOADED_STATUS: u16 = 529;

/// Writes as Anthropic does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anthropic;

impl Dialect for Anthropic {
    fn problem(self, problem: &Problem, id: &str) -> Response {
        let id = format!("req_{id}");
        let mut body = problem_json(problem);
        body["request_id"] = json!(id);
        let mut response = (status_of(problem.kind), Json(body)).into_response();
        put_header(response.headers_mut(), "request-id", &id);
        if let Some(seconds) = problem.retry_after_seconds {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn tell_levels(self, levels: &Levels, headers: &mut HeaderMap, shared: &Shared) {
        for (name, level) in [
            ("requests", levels.requests),
            ("tokens", levels.tokens()),
            ("input-tokens", levels.input_tokens),
            ("output-tokens", levels.output_tokens),
        ] {
            if let Some(level) = level {
                tell_level(name, level, headers, shared);
            }
        }
    }

    fn events(self, reply: &Reply, ask: &Ask, _shared: &Shared) -> Vec<Frame> {
        let mut message = message(reply, ask);
        message["content"] = json!([]);
        message["stop_reason"] = Value::Null;
        // The first token is there before its text is sent.
        message["usage"]["output_tokens"] = json!(1);
        let mut frames = vec![
            event(&json!({ "type": "message_start", "message": message })),
            event(&json!({
                "type": "content_block_start",
                "index": 0,
                "content_block": { "type": "text", "text": "" },
            })),
            event(&json!({ "type": "ping" })),
        ];
        let mut told = 0;
        for piece in reply.pieces() {
            let mut frame = event(&json!({
                "type": "content_block_delta",
                "index": 0,
                "delta": { "type": "text_delta", "text": piece },
            }));
            // The pieces together have the tokens of the reply, not those of each rounded up.
            frame.tokens = tokens_of(piece).min(reply.usage.output - told);
            told += frame.tokens;
            frames.push(frame);
        }
        frames.push(event(&json!({ "type": "content_block_stop", "index": 0 })));
        frames.push(event(&json!({
            "type": "message_delta",
            "delta": { "stop_reason": stop_reason(reply.stop), "stop_sequence": null },
            "usage": {
                "input_tokens": reply.usage.input,
                "cache_creation_input_tokens": reply.usage.cached.written,
                "cache_read_input_tokens": reply.usage.cached.read,
                "output_tokens": reply.usage.output,
            },
        })));
        frames.push(event(&json!({ "type": "message_stop" })));
        frames
    }

    fn whole(self, reply: &Reply, ask: &Ask, _shared: &Shared) -> Vec<u8> {
        message(reply, ask).to_string().into_bytes()
    }

    fn overloaded_event(self) -> Bytes {
        let problem = Problem::new(ProblemKind::Overloaded, "Overloaded");
        let data = problem_json(&problem);
        Bytes::from(format!("event: error\ndata: {data}\n\n"))
    }

    fn garbage_event(self) -> Bytes {
        Bytes::from_static(
            b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"de\n\n",
        )
    }
}

/// The JSON of a message.
pub(super) fn message(reply: &Reply, ask: &Ask) -> Value {
    json!({
        "id": format!("msg_{}", reply.id),
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": [{ "type": "text", "text": reply.text }],
        "stop_reason": stop_reason(reply.stop),
        "stop_sequence": null,
        "usage": usage(reply.usage, ask),
    })
}

/// The JSON of a problem, without the id of a request.
pub(super) fn problem_json(problem: &Problem) -> Value {
    let name = match problem.kind {
        ProblemKind::Authentication => "authentication_error",
        ProblemKind::Invalid => "invalid_request_error",
        ProblemKind::NotFound => "not_found_error",
        ProblemKind::Overloaded => "overloaded_error",
        ProblemKind::RateLimit | ProblemKind::SpendLimit => "rate_limit_error",
        ProblemKind::Server => "api_error",
        ProblemKind::TooLarge => "request_too_large",
    };
    let mut error = json!({ "type": name, "message": problem.message });
    if problem.kind == ProblemKind::SpendLimit {
        error["details"] = json!({ "error_code": "enforced_spend_limit_reached" });
    }
    json!({ "type": "error", "error": error })
}

fn status_of(kind: ProblemKind) -> StatusCode {
    match kind {
        ProblemKind::Authentication => StatusCode::UNAUTHORIZED,
        ProblemKind::Invalid => StatusCode::BAD_REQUEST,
        ProblemKind::NotFound => StatusCode::NOT_FOUND,
        ProblemKind::Overloaded => {
            StatusCode::from_u16(OVERLOADED_STATUS).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
        }
        ProblemKind::RateLimit | ProblemKind::SpendLimit => StatusCode::TOO_MANY_REQUESTS,
        ProblemKind::Server => StatusCode::INTERNAL_SERVER_ERROR,
        ProblemKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
    }
}

const fn stop_reason(stop: Stop) -> &'static str {
    match stop {
        Stop::End => "end_turn",
        Stop::MaxTokens => "max_tokens",
        Stop::Refusal => "refusal",
    }
}

fn usage(usage: Usage, ask: &Ask) -> Value {
    let written = usage.cached.written;
    let for_an_hour = ask
        .prefixes
        .last()
        .is_some_and(|prefix| prefix.lives_us == HOUR_US);
    let (five_minutes, hour) = if for_an_hour {
        (0, written)
    } else {
        (written, 0)
    };
    json!({
        "input_tokens": usage.input,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cached.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": five_minutes,
            "ephemeral_1h_input_tokens": hour,
        },
        "output_tokens": usage.output,
        "service_tier": "standard",
    })
}

fn event(data: &Value) -> Frame {
    let name = data["type"].as_str().unwrap_or_default();
    Frame {
        bytes: Bytes::from(format!("event: {name}\ndata: {data}\n\n")),
        tokens: 0,
    }
}

fn tell_level(name: &str, level: Level, headers: &mut HeaderMap, shared: &Shared) {
    let now = shared.now();
    let reset = now.checked_add(level.full_in).unwrap_or(now);
    for (what, value) in [
        ("limit", level.limit.to_string()),
        ("remaining", level.remaining.to_string()),
        ("reset", reset.to_string()),
    ] {
        put_header(
            headers,
            &format!("anthropic-ratelimit-{name}-{what}"),
            &value,
        );
    }
}
