use std::borrow::Cow;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tokio::time::timeout;

use crate::api::Shared;
use crate::problem::{Problem, ProblemCode, repeatable};

/// How much of a body that is too long is read all the same: no client of ours sends more by mistake.
const THROWN_AWAY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long that may take: a slow connection sends it in this time.
const THROWN_AWAY_TIME_MAX: Duration = Duration::from_secs(10);

/// A JSON body of a known shape. Unknown fields are refused, so that a misspelt one is not lost.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Shared> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(ProblemCode::UnsupportedMediaType)
                .with_detail("send JSON with the header Content-Type: application/json"));
        }
        let bytes = read_whole(request, app.config.body_bytes_max).await?;
        parse(&bytes).map(Self)
    }
}

/// The media type of a body, in lower case and without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(
        text.split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase(),
    )
}

fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|media_type| {
        let subtype = media_type.strip_prefix("application/");
        subtype.is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
    })
}

/// The problem of a body that is longer than `bytes_max`.
pub(crate) fn too_large(bytes_max: u64) -> Problem {
    Problem::new(ProblemCode::BodyTooLarge)
        .with_detail(format!("at most {bytes_max} bytes are taken"))
}

/// The length that a body says it has.
pub(crate) fn declared_len(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

async fn read_whole(request: Request, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    let is_too_long = declared_len(request.headers()).is_some_and(|len| len > limit);
    let mut chunks = Body::into_data_stream(request.into_body());
    if is_too_long {
        throw_away(&mut chunks).await;
        return Err(too_large(limit));
    }
    let mut whole = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.ok().ok_or(ProblemCode::BodyUnreadable)?;
        if whole.len() + chunk.len() > bytes_max {
            throw_away(&mut chunks).await;
            return Err(too_large(limit));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}

/// Reads on after a body was found too long, because many clients read no response before they have
/// sent all. What is longer, or comes more slowly, finds the connection closed.
pub(crate) async fn throw_away(chunks: &mut BodyDataStream) {
    let read = async {
        let mut len = 0;
        while let Some(Ok(chunk)) = chunks.next().await {
            len += chunk.len();
            if len > THROWN_AWAY_BYTES_MAX {
                return;
            }
        }
    };
    // Whether all was read or not, what follows is the same.
    let _ = timeout(THROWN_AWAY_TIME_MAX, read).await;
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let text = std::str::from_utf8(bytes)
        .ok()
        .ok_or(ProblemCode::InvalidUtf8)?;
    // Serde would take a list as the fields in their order.
    if text.trim_start().starts_with('[') {
        return Err(
            Problem::new(ProblemCode::InvalidField).with_fault(WHOLE_BODY, "it must be an object")
        );
    }
    let mut track = serde_path_to_error::Track::new();
    let mut json = serde_json::Deserializer::from_str(text);
    let mut unknown = Vec::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let value = serde_ignored::deserialize(tracked, |path| unknown.push(path.to_string()));
    let value = match value {
        Ok(value) => value,
        Err(error) => return Err(refused(&error, &track.path().to_string())),
    };
    json.end().map_err(|error| refused(&error, ""))?;
    if unknown.is_empty() {
        return Ok(value);
    }
    let problem = Problem::new(ProblemCode::UnknownField);
    Err(unknown
        .iter()
        .take(FAULTS_MAX)
        .fold(problem, |problem, field| {
            problem.with_fault(repeatable(field), "no such field")
        }))
}

/// The most faults that one problem names: what a person reads.
const FAULTS_MAX: usize = 20;

/// Stands where a fault is of no single field.
const WHOLE_BODY: &str = "(the whole body)";

/// What is wrong with a body, without repeating any of its values.
fn refused(error: &serde_json::Error, path: &str) -> Problem {
    match error.classify() {
        Category::Data => {
            let field = if path.is_empty() || path == "." {
                WHOLE_BODY
            } else {
                path
            };
            Problem::new(ProblemCode::InvalidField)
                .with_fault(repeatable(field), demand(&error.to_string()))
        }
        Category::Eof | Category::Io | Category::Syntax => {
            let (line, column) = (error.line(), error.column());
            Problem::new(ProblemCode::MalformedJson)
                .with_detail(format!("see line {line}, column {column}"))
        }
    }
}

/// The part of serde's message that is about the type, not the value.
fn demand(message: &str) -> Cow<'static, str> {
    let message = message
        .rsplit_once(" at line ")
        .map_or(message, |(message, _)| message);
    if message.starts_with("missing field") || message.starts_with("duplicate field") {
        return message.to_owned().into();
    }
    match message.rsplit_once(", expected ") {
        Some((_, "u8")) => "it must be a whole number from 0 to 255".into(),
        Some((_, "u32")) => "it must be a whole number from 0 to 4294967295".into(),
        Some((_, expected)) => format!("expected {expected}").into(),
        None => "its value is not of the expected form".into(),
    }
}
