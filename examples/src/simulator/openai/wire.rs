//! What is sent: chunks, completions, problems, rate limits.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use crate::simulator::limit::Levels;
use crate::simulator::play::{Dialect, Frame, json_response, put_header};
use crate::simulator::problem::{Problem, ProblemKind};
use crate::simulator::prompt::tokens_of;
use crate::simulator::reply::{Ask, Reply, Stop, Usage};
use crate::simulator::state::Shared;

/// Writes as OpenAI does.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenAi;

impl Dialect for OpenAi {
    fn problem(self, problem: &Problem, id: &str) -> Response {
        let mut response = json_response(&problem_json(problem));
        *response.status_mut() = status_of(problem.kind);
        put_header(response.headers_mut(), "x-request-id", &format!("req_{id}"));
        if let Some(seconds) = problem.retry_after_seconds {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn tell_levels(self, levels: &Levels, headers: &mut HeaderMap, _shared: &Shared) {
        for (name, level) in [("requests", levels.requests), ("tokens", levels.tokens())] {
            let Some(level) = level else { continue };
            for (what, value) in [
                ("limit", level.limit.to_string()),
                ("remaining", level.remaining.to_string()),
                ("reset", wait_text(level.full_in)),
            ] {
                put_header(headers, &format!("x-ratelimit-{what}-{name}"), &value);
            }
        }
    }

    fn events(self, reply: &Reply, ask: &Ask, shared: &Shared) -> Vec<Frame> {
        let created = shared.now().as_second();
        let chunk = |delta: Value, finish: Option<&str>| {
            let mut chunk = frame_json(reply, "chat.completion.chunk", created);
            chunk["choices"] = json!([{
                "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish,
            }]);
            if ask.tell_usage {
                chunk["usage"] = Value::Null;
            }
            event(&chunk)
        };
        let mut frames = vec![chunk(json!({ "role": "assistant", "content": "" }), None)];
        let field = match reply.stop {
            Stop::Refusal => "refusal",
            Stop::End | Stop::MaxTokens => "content",
        };
        let mut told = 0;
        for piece in reply.pieces() {
            let mut frame = chunk(json!({ field: piece }), None);
            // The pieces together have the tokens of the reply, not those of each rounded up.
            frame.tokens = tokens_of(piece).min(reply.usage.output - told);
            told += frame.tokens;
            frames.push(frame);
        }
        frames.push(chunk(json!({}), Some(finish_reason(reply.stop))));
        if ask.tell_usage {
            let mut last = frame_json(reply, "chat.completion.chunk", created);
            last["choices"] = json!([]);
            last["usage"] = usage(reply.usage);
            frames.push(event(&last));
        }
        frames.push(Frame {
            bytes: Bytes::from_static(b"data: [DONE]\n\n"),
            tokens: 0,
        });
        frames
    }

    fn whole(self, reply: &Reply, _ask: &Ask, shared: &Shared) -> Vec<u8> {
        completion(reply, shared.now().as_second())
            .to_string()
            .into_bytes()
    }

    fn overloaded_event(self) -> Bytes {
        let problem = Problem::new(ProblemKind::Overloaded, "The server is overloaded");
        let data = problem_json(&problem);
        Bytes::from(format!("data: {data}\n\n"))
    }

    fn garbage_event(self) -> Bytes {
        Bytes::from_static(b"data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"ind\n\n")
    }
}

/// The JSON of a completion.
pub(super) fn completion(reply: &Reply, created: i64) -> Value {
    let mut completion = frame_json(reply, "chat.completion", created);
    let (content, refusal) = match reply.stop {
        Stop::Refusal => (Value::Null, json!(reply.text)),
        Stop::End | Stop::MaxTokens => (json!(reply.text), Value::Null),
    };
    completion["choices"] = json!([{
        "index": 0,
        "message": { "role": "assistant", "content": content, "refusal": refusal },
        "logprobs": null,
        "finish_reason": finish_reason(reply.stop),
    }]);
    completion["usage"] = usage(reply.usage);
    completion
}

/// The JSON of a problem.
pub(super) fn problem_json(problem: &Problem) -> Value {
    let (kind, code) = match problem.kind {
        ProblemKind::Authentication => ("invalid_request_error", Some("invalid_api_key")),
        ProblemKind::Invalid | ProblemKind::NotFound | ProblemKind::TooLarge => {
            ("invalid_request_error", None)
        }
        ProblemKind::Overloaded | ProblemKind::Server => ("server_error", None),
        ProblemKind::RateLimit => ("requests", Some("rate_limit_exceeded")),
        ProblemKind::SpendLimit => ("insufficient_quota", Some("insufficient_quota")),
    };
    json!({
        "error": { "message": problem.message, "type": kind, "param": null, "code": code },
    })
}

pub(super) const fn status_of(kind: ProblemKind) -> StatusCode {
    match kind {
        ProblemKind::Authentication => StatusCode::UNAUTHORIZED,
        ProblemKind::Invalid => StatusCode::BAD_REQUEST,
        ProblemKind::NotFound => StatusCode::NOT_FOUND,
        ProblemKind::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        ProblemKind::RateLimit | ProblemKind::SpendLimit => StatusCode::TOO_MANY_REQUESTS,
        ProblemKind::Server => StatusCode::INTERNAL_SERVER_ERROR,
        ProblemKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
    }
}

const fn finish_reason(stop: Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Refusal => "stop",
        Stop::MaxTokens => "length",
    }
}

/// Unlike with Anthropic, what the cache had is part of the tokens of the prompt.
fn usage(usage: Usage) -> Value {
    let input = usage.all_input();
    json!({
        "prompt_tokens": input,
        "completion_tokens": usage.output,
        "total_tokens": input + usage.output,
        "prompt_tokens_details": { "cached_tokens": usage.cached.read },
    })
}

fn frame_json(reply: &Reply, object: &str, created: i64) -> Value {
    json!({
        "id": format!("chatcmpl-{}", reply.id),
        "object": object,
        "created": created,
        "model": reply.model,
        "system_fingerprint": "fp_simulator",
    })
}

fn event(data: &Value) -> Frame {
    Frame {
        bytes: Bytes::from(format!("data: {data}\n\n")),
        tokens: 0,
    }
}

/// A wait as this provider writes it: `17ms`, `1.5s` or `6m0s`.
fn wait_text(wait: Duration) -> String {
    let millis = wait.as_millis();
    match (millis / 60_000, millis % 60_000) {
        (0, millis) if millis < 1_000 => format!("{millis}ms"),
        (0, millis) => format!("{}s", millis as f64 / 1e3),
        (minutes, millis) => format!("{minutes}m{}s", millis as f64 / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_written_as_the_provider_does() {
        for (millis, text) in [
            (0, "0ms"),
            (17, "17ms"),
            (1_500, "1.5s"),
            (59_999, "59.999s"),
            (360_000, "6m0s"),
        ] {
            assert_eq!(wait_text(Duration::from_millis(millis)), text);
        }
    }
}
