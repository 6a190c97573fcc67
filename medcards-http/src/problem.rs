use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use medcards_core::{Error, ErrorKind};
use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// How long to wait after a 503 that does not say so itself: long enough for a queue to empty.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

macro_rules! problem_codes {
    ($($(#[$docs:meta])* $name:ident = $code:literal, $status:ident, $title:literal;)*) => {
        /// What went wrong, as a stable name with its status. New ones may be added.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        #[non_exhaustive]
        pub enum ProblemCode {
            $(
                #[doc = $title]
                #[serde(rename = $code)]
                $name,
            )*
        }

        impl ProblemCode {
            /// All codes, in alphabetical order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name, as sent.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }

            /// The status with which it is sent.
            #[must_use]
            pub fn status(self) -> u16 {
                self.status_code().as_u16()
            }

            /// A sentence that says the same whenever the code is the same.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }

            fn status_code(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status),* }
            }
        }
    };
}

problem_codes! {
    AnswerNotFound = "answer_not_found", NOT_FOUND, "You have no answer with this id.";
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is larger than is taken.";
    BodyUnreadable = "body_unreadable", BAD_REQUEST, "The body broke off or is not well formed.";
    Busy = "busy", SERVICE_UNAVAILABLE, "The server has too much to do.";
    CaseNotFound = "case_not_found", NOT_FOUND, "There is no such case or version.";
    ChatDisabled = "chat_disabled", NOT_FOUND, "This server has no coach.";
    ChatFull = "chat_full", CONFLICT, "The chat has as many turns as it may have.";
    Conflict = "conflict", CONFLICT, "The request contradicts what is stored.";
    EmptyBody = "empty_body", BAD_REQUEST, "The body has nothing in it.";
    GuestsDisabled = "guests_disabled", FORBIDDEN, "This server makes no guest users.";
    IdReused = "id_reused", CONFLICT, "The id was used for something else.";
    Internal = "internal", INTERNAL_SERVER_ERROR, "Something is wrong with the server.";
    InvalidAnswer = "invalid_answer", UNPROCESSABLE_ENTITY, "The case does not allow this answer.";
    InvalidField = "invalid_field", UNPROCESSABLE_ENTITY, "A field has a value it cannot have.";
    InvalidHeader = "invalid_header", BAD_REQUEST, "A header has a value it cannot have.";
    InvalidId = "invalid_id", BAD_REQUEST, "An id in the path is not well formed.";
    InvalidParameter = "invalid_parameter", BAD_REQUEST, "A parameter has a value it cannot have.";
    InvalidUtf8 = "invalid_utf8", BAD_REQUEST, "The body is not UTF-8 text.";
    KeysUnavailable = "keys_unavailable", SERVICE_UNAVAILABLE, "The keys that check tokens cannot be fetched.";
    LeaderboardsDisabled = "leaderboards_disabled", NOT_FOUND, "This server keeps no leaderboards.";
    LearningDisabled = "learning_disabled", NOT_FOUND, "This server learns nothing from answers.";
    LiveFull = "live_full", SERVICE_UNAVAILABLE, "The server has as many live connections as it takes.";
    LiveTooMany = "live_too_many", TOO_MANY_REQUESTS, "You have as many live connections as you may.";
    MalformedJson = "malformed_json", BAD_REQUEST, "The body is not JSON.";
    MalformedQuery = "malformed_query", BAD_REQUEST, "The query string is not well formed.";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The path does not take this method.";
    NoCaseLeft = "no_case_left", NOT_FOUND, "No case passes the filter.";
    NotAcceptable = "not_acceptable", NOT_ACCEPTABLE, "The path gives nothing that the Accept header allows.";
    NotFound = "not_found", NOT_FOUND, "What is named does not exist.";
    NotReady = "not_ready", SERVICE_UNAVAILABLE, "The server takes no requests now.";
    OriginRefused = "origin_refused", FORBIDDEN, "Pages of this origin may not connect.";
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "There were too many calls.";
    RoleMissing = "role_missing", FORBIDDEN, "The token does not carry the role that this needs.";
    RouteNotFound = "route_not_found", NOT_FOUND, "There is nothing at this path.";
    SessionEnded = "session_ended", UNAUTHORIZED, "The session has ended, or there was none.";
    SessionNotFound = "session_not_found", NOT_FOUND, "You have no session with this id.";
    SessionsDisabled = "sessions_disabled", FORBIDDEN, "This server keeps no sessions.";
    SessionsUnavailable = "sessions_unavailable", SERVICE_UNAVAILABLE, "Sessions cannot be looked up now.";
    SharedAnswerNotFound = "shared_answer_not_found", NOT_FOUND, "The case has no shared answer with this id.";
    SignInNeeded = "sign_in_needed", FORBIDDEN, "A session cannot do this: it needs the token that signed you in.";
    StorageFull = "storage_full", INSUFFICIENT_STORAGE, "The server has no room left to store this.";
    StorageReadOnly = "storage_read_only", SERVICE_UNAVAILABLE, "The server cannot store anything now.";
    StorageTimeout = "storage_timeout", GATEWAY_TIMEOUT, "The storage did not answer in time.";
    Timeout = "timeout", REQUEST_TIMEOUT, "The request took too long to arrive.";
    TokenExpired = "token_expired", UNAUTHORIZED, "The token is past its time.";
    TokenInvalid = "token_invalid", UNAUTHORIZED, "The token is not one that this server believes.";
    TokenMalformed = "token_malformed", UNAUTHORIZED, "The Authorization header does not carry a bearer token.";
    TokenMissing = "token_missing", UNAUTHORIZED, "The request needs a bearer token.";
    TurnNotFound = "turn_not_found", NOT_FOUND, "You have no turn with this id.";
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "A part that the server needs is away.";
    Unfinished = "unfinished", SERVICE_UNAVAILABLE, "The server did not finish in time. It may have done what was asked.";
    UnknownField = "unknown_field", UNPROCESSABLE_ENTITY, "The body has a field that nobody reads.";
    UnknownParameter = "unknown_parameter", BAD_REQUEST, "The query has a parameter that nobody reads.";
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body is of a type that is not taken.";
    UpgradeRequired = "upgrade_required", UPGRADE_REQUIRED, "The path speaks WebSocket alone.";
    ViewNotFound = "view_not_found", NOT_FOUND, "There is no such view.";
}

impl PartialSchema for ProblemCode {
    /// All names, and what each means with which status.
    fn schema() -> RefOr<Schema> {
        let line = |code: &Self| {
            format!(
                "- `{}` ({}): {}",
                code.as_str(),
                code.status(),
                code.title()
            )
        };
        let lines: Vec<_> = Self::ALL.iter().map(line).collect();
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(lines.join("\n")))
            .enum_values(Some(Self::ALL.iter().map(|code| code.as_str())))
            .into()
    }
}

impl ToSchema for ProblemCode {}

/// An error as it goes to the client ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
///
/// Carries neither what a student wrote nor what is inside the server. The cause of a 5xx stays
/// here, for the log.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    code: ProblemCode,
    detail: Option<Cow<'static, str>>,
    faults: Vec<Fault>,
    violated_policies: Vec<String>,
    retry_after: Option<Duration>,
    cause: Option<Arc<Error>>,
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Fault {
    /// The field, parameter or header.
    name: String,
    /// What it should be.
    detail: Cow<'static, str>,
}

/// The wire form of a [`Problem`].
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// `urn:medcards:problem:` and the code.
    #[schema(example = "urn:medcards:problem:case_not_found")]
    r#type: String,
    /// A sentence that says the same whenever the code is the same.
    title: &'static str,
    /// The status of the response.
    status: u16,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    /// What went wrong, as a stable name.
    code: ProblemCode,
    /// Names the request in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    /// Each thing that is wrong.
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: &'a [Fault],
    /// The quotas that are used up, by the names that `RateLimit-Policy` gives them.
    #[serde(
        rename = "violated-policies",
        skip_serializing_if = "<[String]>::is_empty"
    )]
    violated_policies: &'a [String],
}

impl Problem {
    pub(crate) fn new(code: ProblemCode) -> Self {
        Self {
            code,
            detail: None,
            faults: Vec::new(),
            violated_policies: Vec::new(),
            retry_after: None,
            cause: None,
        }
    }

    /// Says what to do about it. Never what a student wrote.
    pub(crate) fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Names a thing that is wrong.
    pub(crate) fn with_fault(
        mut self,
        name: impl Into<String>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.faults.push(Fault {
            name: name.into(),
            detail: detail.into(),
        });
        self
    }

    /// Names the quotas that are used up.
    pub(crate) fn with_violated_policies(mut self, names: Vec<String>) -> Self {
        self.violated_policies = names;
        self
    }

    pub(crate) fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Says more exactly what was not found, if that is the problem.
    pub(crate) fn or_not_found(mut self, code: ProblemCode) -> Self {
        if self.code == ProblemCode::NotFound {
            self.code = code;
        }
        self
    }

    /// Says more exactly what is wrong with the input, if that is the problem.
    pub(crate) fn or_invalid(mut self, code: ProblemCode) -> Self {
        if self.code == ProblemCode::InvalidField {
            self.code = code;
        }
        self
    }

    /// Says more exactly what is contradicted, if that is the problem.
    pub(crate) fn or_conflict(mut self, code: ProblemCode) -> Self {
        if self.code == ProblemCode::Conflict {
            self.code = code;
        }
        self
    }

    pub(crate) fn code(&self) -> ProblemCode {
        self.code
    }

    /// What happened inside the server, for the log.
    pub(crate) fn cause(&self) -> Option<&Error> {
        self.cause.as_deref()
    }

    /// The body, with the id under which the log knows the request.
    pub(crate) fn body(&self, request_id: Option<&str>) -> Vec<u8> {
        let body = ProblemBody {
            r#type: format!("urn:medcards:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status(),
            detail: self.detail.as_deref(),
            code: self.code,
            request_id,
            errors: &self.faults,
            violated_policies: &self.violated_policies,
        };
        // Texts and numbers always serialise; an empty body still carries the status.
        serde_json::to_vec(&body).unwrap_or_default()
    }

    fn extra_headers(&self, headers: &mut HeaderMap) {
        if self.code.status_code() == StatusCode::UNAUTHORIZED {
            let challenge = match self.code {
                ProblemCode::TokenMissing => "Bearer",
                ProblemCode::TokenMalformed => "Bearer error=\"invalid_request\"",
                _ => "Bearer error=\"invalid_token\"",
            };
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            );
        }
        let is_503 = self.code.status_code() == StatusCode::SERVICE_UNAVAILABLE;
        if let Some(wait) = self.retry_after.or(is_503.then_some(RETRY_AFTER_DEFAULT)) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds_up(wait)));
        }
    }
}

/// Whole seconds, rounded up and at least one: who waits that long has waited long enough.
pub(crate) fn seconds_up(wait: Duration) -> u64 {
    wait.as_secs()
        .saturating_add(u64::from(wait.subsec_nanos() > 0))
        .max(1)
}

impl From<ProblemCode> for Problem {
    fn from(code: ProblemCode) -> Self {
        Self::new(code)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            ErrorKind::Busy => ProblemCode::Busy,
            ErrorKind::Conflict => ProblemCode::Conflict,
            ErrorKind::Full => ProblemCode::StorageFull,
            ErrorKind::Invalid => ProblemCode::InvalidField,
            ErrorKind::NotFound => ProblemCode::NotFound,
            ErrorKind::RateLimited | ErrorKind::Unavailable => ProblemCode::Unavailable,
            ErrorKind::ReadOnly => ProblemCode::StorageReadOnly,
            ErrorKind::Timeout => ProblemCode::StorageTimeout,
            // A kind added later is ours to explain, not the client's.
            _ => ProblemCode::Internal,
        };
        let mut problem = Self::new(code);
        problem.retry_after = error.retry_after();
        if code.status() < 500 {
            problem.detail = Some(error.context().to_owned().into());
        } else {
            problem.cause = Some(Arc::new(error));
        }
        problem
    }
}

impl IntoResponse for Problem {
    /// The response, with the problem in its extensions: the edge writes the body once more, with
    /// the id of the request.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body(None)));
        *response.status_mut() = self.code.status_code();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self.extra_headers(headers);
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// A name of the client's as it may be repeated to it: short, and free of control characters.
pub(crate) fn repeatable(name: &str) -> String {
    const CHARS_MAX: usize = 64;
    let is_plain = name.chars().count() <= CHARS_MAX && !name.chars().any(char::is_control);
    if is_plain {
        name.to_owned()
    } else {
        "(a name too long or strange to repeat)".to_owned()
    }
}

/// Makes a header name of one that is known to be good.
pub(crate) const fn name(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}
