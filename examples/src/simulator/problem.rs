use std::borrow::Cow;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

/// Why a call is not answered with what was asked for.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) kind: ProblemKind,
    pub(super) message: Cow<'static, str>,
    /// What the `retry-after` header says.
    pub(super) retry_after_seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ProblemKind {
    Authentication,
    Invalid,
    NotFound,
    Overloaded,
    RateLimit,
    Server,
    SpendLimit,
    TooLarge,
}

impl Problem {
    pub(super) fn new(kind: ProblemKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after_seconds: None,
        }
    }

    pub(super) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemKind::Invalid, message)
    }

    pub(super) const fn after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// The outcome under which it is counted.
    pub(super) const fn outcome(&self) -> &'static str {
        match self.kind {
            ProblemKind::Authentication => "unauthorized",
            ProblemKind::NotFound => "not_found",
            ProblemKind::RateLimit => "limited",
            _ => "invalid",
        }
    }
}

/// The whole body of a request.
pub(super) async fn read_body(request: Request, bytes_max: usize) -> Result<Bytes, Problem> {
    let body: Body = request.into_body();
    axum::body::to_bytes(body, bytes_max)
        .await
        .map_err(|error| {
            let message =
                format!("the request is longer than {bytes_max} bytes, or broke off: {error}");
            Problem::new(ProblemKind::TooLarge, message)
        })
}

/// Checks the key of a call, in either way that it may be sent.
pub(super) fn check_key(headers: &HeaderMap, key: Option<&str>) -> Result<(), Problem> {
    let Some(key) = key else { return Ok(()) };
    let text = |value: &'_ axum::http::HeaderValue| value.to_str().ok().map(str::to_owned);
    let plain = headers.get("x-api-key").and_then(text);
    let bearer = headers.get(AUTHORIZATION).and_then(text);
    let bearer = bearer
        .as_deref()
        .and_then(|value| value.strip_prefix("Bearer "));
    if plain.as_deref() == Some(key) || bearer == Some(key) {
        return Ok(());
    }
    Err(Problem::new(
        ProblemKind::Authentication,
        "the key is missing or not the one that this simulator was started with",
    ))
}
