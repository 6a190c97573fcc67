use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use medcards_core::Error;
use medcards_core::store::{PageCursor, PageLimit};
use percent_encoding::percent_decode;

use crate::problem::{Problem, ProblemCode, repeatable};

/// The longest value of a parameter, in bytes: four times the longest specialty a case may have.
const VALUE_BYTES_MAX: usize = 800;

/// The most parameters in a query: several times what any path reads.
const PARAMS_MAX: usize = 32;

/// The parameters of a query. One without a value counts as absent.
#[derive(Debug)]
pub(crate) struct Params(Vec<(&'static str, String)>);

impl Params {
    /// Reads the query of a request to a path that reads `known` parameters and no others.
    pub(crate) fn read(uri: &Uri, known: &[&'static str]) -> Result<Self, Problem> {
        let mut params = Vec::new();
        let pairs = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty());
        for (index, pair) in pairs.enumerate() {
            if index == PARAMS_MAX {
                return Err(malformed("it has far more parameters than any path reads"));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            let Some(name) = known.iter().find(|known| **known == name) else {
                return Err(Problem::new(ProblemCode::UnknownParameter)
                    .with_detail(expected(known))
                    .with_fault(repeatable(&name), "no such parameter"));
            };
            if params.iter().any(|(earlier, _)| earlier == name) {
                return Err(invalid(name, "it is given twice"));
            }
            if value.len() > VALUE_BYTES_MAX || value.chars().any(char::is_control) {
                return Err(invalid(name, "it is too long or has control characters"));
            }
            params.push((*name, value));
        }
        params.retain(|(_, value)| !value.is_empty());
        Ok(Self(params))
    }

    /// The value of a parameter.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(given, _)| *given == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of a parameter, read as what it should be.
    pub(crate) fn parse<T: FromStr<Err = Error>>(&self, name: &str) -> Result<Option<T>, Problem> {
        self.text(name)
            .map(|text| {
                text.parse()
                    .map_err(|error: Error| invalid(name, error.context().to_owned()))
            })
            .transpose()
    }

    /// A number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u32>, Problem> {
        self.text(name)
            .map(|text| {
                text.parse()
                    .ok()
                    .ok_or_else(|| invalid(name, "it must be a whole number"))
            })
            .transpose()
    }

    /// The parameters `cursor` and `limit` of a list.
    pub(crate) fn page(&self) -> Result<(Option<PageCursor>, PageLimit), Problem> {
        let of = |name| move |error: Error| invalid(name, error.context().to_owned());
        let cursor = self
            .text("cursor")
            .map(PageCursor::parse)
            .transpose()
            .map_err(of("cursor"))?;
        let limit = self
            .number("limit")?
            .map(PageLimit::new)
            .transpose()
            .map_err(of("limit"))?;
        Ok((cursor, limit.unwrap_or_default()))
    }
}

/// The problem with the value of a parameter.
pub(crate) fn invalid(name: &str, detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ProblemCode::InvalidParameter).with_fault(name, detail)
}

fn expected(known: &[&str]) -> String {
    match known {
        [] => "this path reads no parameters".to_owned(),
        known => format!("this path reads: {}", known.join(", ")),
    }
}

fn malformed(detail: &'static str) -> Problem {
    Problem::new(ProblemCode::MalformedQuery).with_detail(detail)
}

/// Undoes percent-encoding, strictly: a broken escape is refused, not passed on.
fn decode(text: &str) -> Result<String, Problem> {
    let is_whole = text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if !is_whole {
        return Err(malformed("a % is not followed by two hexadecimal digits"));
    }
    let spaced = text.replace('+', " ");
    percent_decode(spaced.as_bytes())
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| malformed("what is percent-encoded is not UTF-8"))
}

/// The id in the path. In every path that has one it is the third segment, such as in
/// `/v1/cases/{case_id}/answers`.
pub(crate) struct PathId<T>(pub(crate) T);

impl<S, T> FromRequestParts<S> for PathId<T>
where
    S: Send + Sync,
    T: FromStr<Err = Error>,
{
    type Rejection = Problem;

    // Reads the path itself: the extractor of axum copies every segment, which the quickest routes
    // would notice.
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let segment = parts.uri.path().split('/').nth(3).unwrap_or_default();
        let text = percent_decode(segment.as_bytes()).decode_utf8().ok();
        text.and_then(|text| text.parse().ok())
            .map(Self)
            .ok_or_else(|| {
                Problem::new(ProblemCode::InvalidId)
                    .with_detail("it must be a UUID such as 0190b7a8-1c5e-7000-8000-000000000001")
            })
    }
}
