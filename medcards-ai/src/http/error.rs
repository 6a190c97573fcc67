use std::time::Duration;

use medcards_core::ai::{AiFailure, Billed};
use medcards_core::jiff::fmt::rfc2822;
use medcards_core::{Error, ErrorKind, Timestamp};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::ASK;
use super::body::{self, Reading};

/// The longest wait that is believed when a server asks for one.
///
/// Servers ask for seconds to minutes; the end of a day's quota is the longest that makes sense,
/// and one hour is long enough to ask again.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// The most bytes of an error that are read. Errors have some hundred bytes; a proxy's page more.
const ERROR_BYTES_MAX: u64 = 64 * 1024;

/// The longest name of an error type that is repeated in a message. The longest known has 36.
const TYPE_LEN_MAX: usize = 64;

/// What a server says of an error. Its message may quote the prompt, so it is never read.
///
/// Whatever stands in the place of an error is one: some servers put a sentence there.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "serde_json::Value")]
pub(crate) struct ApiError {
    /// The names that it gives itself, most exact first.
    names: Vec<String>,
}

impl From<serde_json::Value> for ApiError {
    fn from(error: serde_json::Value) -> Self {
        let names = [
            error.pointer("/details/error_code"),
            error.get("code"),
            error.get("type"),
        ];
        let names = names.into_iter().flatten().filter_map(|name| name.as_str());
        Self {
            names: names
                .filter(|name| is_type_name(name))
                .map(str::to_owned)
                .collect(),
        }
    }
}

#[derive(Deserialize)]
struct Envelope {
    error: ApiError,
}

impl ApiError {
    /// The error of an item, which some write in an envelope of its own. One without sense is an
    /// error without names.
    pub(crate) fn within(value: &serde_json::Value) -> Self {
        value.get("error").unwrap_or(value).clone().into()
    }

    /// The kind that its names stand for, if one is known.
    fn kind(&self) -> Option<ErrorKind> {
        self.names.iter().find_map(|name| kind_of_name(name))
    }
}

/// The failure that an item of a batch ended with, which is billed at nothing.
pub(crate) fn failure_of_item(
    operation: &'static str,
    api: &ApiError,
    status: Option<StatusCode>,
) -> AiFailure {
    let kind = match status {
        Some(status) => told_by_status(status, api),
        None => api.kind().unwrap_or(ErrorKind::Unavailable),
    };
    let context = match api.names.as_slice() {
        [] => "the item failed".to_owned(),
        names => format!("the item failed: {}", names.join(", ")),
    };
    AiFailure::free(Error::new(kind, operation, context))
}

/// The failure that an answer with an error status is.
pub(super) async fn failure_of_status(
    response: Response,
    operation: &'static str,
    between_bytes: Duration,
) -> AiFailure {
    let status = response.status();
    let headers = response.headers().clone();
    let request = headers
        .get("request-id")
        .or_else(|| headers.get("x-request-id"));
    let request = request
        .and_then(|id| id.to_str().ok())
        .filter(|id| is_type_name(id));
    let request = request.map(str::to_owned);

    // An error whose body cannot be read is still the error that its status says.
    let reading = Reading {
        operation,
        between_bytes,
        bytes_max: ERROR_BYTES_MAX,
    };
    let body = body::whole(response, reading).await;
    let envelope = body
        .ok()
        .and_then(|body| serde_json::from_slice::<Envelope>(&body).ok());
    let api = envelope.map(|envelope| envelope.error).unwrap_or_default();

    let kind = kind_of_status(status, &headers, &api);
    let mut context = format!("the provider answered {}", status.as_u16());
    for name in &api.names {
        context.push_str(", ");
        context.push_str(name);
    }
    if let Some(request) = request {
        context.push_str(", request ");
        context.push_str(&request);
    }
    if let Some(advice) = advice(status, kind) {
        context.push_str("; ");
        context.push_str(advice);
    }
    let mut error = Error::new(kind, operation, context);
    if kind.is_transient()
        && let Some(wait) = retry_after(&headers)
    {
        error = error.with_retry_after(wait);
    }
    AiFailure {
        error,
        billed: billed_at_status(status),
        refusal: None,
    }
}

/// The failure that an error within a reply of status 200 is.
pub(crate) fn failure_within_reply(api: &ApiError, billed: Billed) -> AiFailure {
    let kind = api.kind().unwrap_or(ErrorKind::Unavailable);
    let context = match api.names.as_slice() {
        [] => "the provider broke off the reply".to_owned(),
        names => format!("the provider broke off the reply: {}", names.join(", ")),
    };
    AiFailure {
        error: Error::new(kind, ASK, context),
        billed,
        refusal: None,
    }
}

/// The kind of an answer. Where the server says that trying again is of use, or of none, it is
/// taken at its word.
fn kind_of_status(status: StatusCode, headers: &HeaderMap, api: &ApiError) -> ErrorKind {
    let kind = told_by_status(status, api);
    match should_retry(headers) {
        Some(false) if kind == ErrorKind::RateLimited => ErrorKind::Denied,
        Some(false) if kind.is_transient() => ErrorKind::Unexpected,
        Some(true) if kind == ErrorKind::Invalid => ErrorKind::Unavailable,
        _ => kind,
    }
}

fn told_by_status(status: StatusCode, api: &ApiError) -> ErrorKind {
    match status.as_u16() {
        401..=403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        408 | 504 | 524 => ErrorKind::Timeout,
        // Another request is in the way; the same one may succeed later.
        409 => ErrorKind::Unavailable,
        429 if api.kind() == Some(ErrorKind::Denied) => ErrorKind::Denied,
        429 => ErrorKind::RateLimited,
        status if status >= 500 => ErrorKind::Unavailable,
        status if status >= 300 => ErrorKind::Invalid,
        _ => ErrorKind::Unexpected,
    }
}

/// Whether the server says that trying again is of use.
fn should_retry(headers: &HeaderMap) -> Option<bool> {
    match headers.get("x-should-retry")?.as_bytes() {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

fn kind_of_name(name: &str) -> Option<ErrorKind> {
    Some(match name {
        "authentication_error"
        | "billing_error"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "enforced_spend_limit_reached"
        | "insufficient_quota"
        | "invalid_api_key"
        | "permission_error" => ErrorKind::Denied,
        "context_length_exceeded"
        | "exceed_context_size_error"
        | "invalid_request_error"
        | "request_too_large" => ErrorKind::Invalid,
        "model_not_found" | "not_found_error" => ErrorKind::NotFound,
        "rate_limit_error" | "rate_limit_exceeded" | "requests" | "tokens" => {
            ErrorKind::RateLimited
        }
        "batch_expired" | "timeout_error" => ErrorKind::Timeout,
        "api_error" | "conflict_error" | "engine_overloaded" | "overloaded_error"
        | "server_error" | "slow_down" | "unavailable_error" => ErrorKind::Unavailable,
        _ => return None,
    })
}

fn advice(status: StatusCode, kind: ErrorKind) -> Option<&'static str> {
    match (status.as_u16(), kind) {
        (300..=399, _) => Some("it redirects: set the base url to where it leads"),
        (401 | 403, _) => Some("check the key and its rights"),
        (402, _) | (429, ErrorKind::Denied) => Some("check credit and spend limits"),
        (404, _) => Some("check the base url and the model"),
        (413, _) => Some("the prompt is too large"),
        _ => None,
    }
}

/// A refused call costs nothing. One that a gateway gave up may go on behind it.
fn billed_at_status(status: StatusCode) -> Billed {
    if status.is_success() || matches!(status.as_u16(), 408 | 504 | 524) {
        Billed::Unknown
    } else {
        Billed::Nothing
    }
}

/// How long the server asks to wait: milliseconds, seconds or a date, in this order of trust.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let seconds = text("retry-after-ms")
        .and_then(number)
        .map(|milliseconds| milliseconds / 1_000.0)
        .or_else(|| text(RETRY_AFTER.as_str()).and_then(number));
    let wait = match seconds {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        // The server's own clock says how far off its date is.
        None => {
            let until = http_date(text(RETRY_AFTER.as_str())?)?;
            let now = http_date(text(DATE.as_str())?)?;
            Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO)
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

fn http_date(text: &str) -> Option<Timestamp> {
    rfc2822::parse(text.trim())
        .ok()
        .map(|date| date.timestamp())
}

/// Whether a text is a name such as `rate_limit_error`, so that it can be repeated: no sentence of
/// a student is.
fn is_type_name(text: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !text.is_empty() && text.len() <= TYPE_LEN_MAX && text.bytes().all(is_name)
}
