use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use medcards_core::store::{Consistency, ReadToken};

use crate::problem::{Problem, ProblemCode, name};

/// Carries a [`ReadToken`] both ways, so that a student sees their own answer on any copy.
pub(crate) const CONSISTENCY: HeaderName = name("medcards-consistency");

/// How fresh a read must be: as the client's token says, else as fresh as can be.
#[derive(Debug)]
pub(crate) struct WantedConsistency(pub(crate) Consistency);

impl<S: Send + Sync> FromRequestParts<S> for WantedConsistency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(CONSISTENCY) else {
            return Ok(Self(Consistency::Strong));
        };
        let token = value.to_str().ok().and_then(ReadToken::parse);
        let token = token.ok_or_else(|| {
            Problem::new(ProblemCode::InvalidHeader).with_fault(
                CONSISTENCY.as_str(),
                "send it as an earlier response gave it",
            )
        })?;
        Ok(Self(Consistency::AtLeast(token)))
    }
}

/// In which form a feedback is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WantedForm {
    EventStream,
    Json,
}

impl<S: Send + Sync> FromRequestParts<S> for WantedForm {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        wanted_form(&parts.headers).ok_or_else(|| {
            Problem::new(ProblemCode::NotAcceptable)
                .with_detail("accept application/json or text/event-stream")
        })
    }
}

/// The form that the Accept headers like best, or `None` if they allow neither. JSON unless told
/// otherwise.
fn wanted_form(headers: &HeaderMap) -> Option<WantedForm> {
    let mut values = headers.get_all(header::ACCEPT).iter();
    let first = values.next().map(HeaderValue::as_bytes);
    // What nearly all clients send.
    if matches!(first, None | Some(b"*/*" | b"application/json")) && values.next().is_none() {
        return Some(WantedForm::Json);
    }
    let values = headers.get_all(header::ACCEPT).iter();
    let ranges: Vec<Range<'_>> = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(Range::parse)
        .collect();
    let json = Preference::of(&ranges, "application", "json");
    let stream = Preference::of(&ranges, "text", "event-stream");
    match (json.weight, stream.weight) {
        (0, 0) => None,
        (json, 0) if json > 0 => Some(WantedForm::Json),
        (0, _) => Some(WantedForm::EventStream),
        _ if stream > json => Some(WantedForm::EventStream),
        _ => Some(WantedForm::Json),
    }
}

/// How much a form is liked: by weight first, then by how exactly it is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Preference {
    /// In thousandths.
    weight: u16,
    exactness: u8,
}

impl Preference {
    /// The most exact range that covers a type decides ([RFC 9110], 12.5.1).
    ///
    /// [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1
    fn of(ranges: &[Range<'_>], main: &str, sub: &str) -> Self {
        let covering = ranges.iter().filter_map(|range| {
            let exactness = range.covers(main, sub)?;
            Some(Self {
                weight: range.weight,
                exactness,
            })
        });
        covering
            .max_by_key(|preference| (preference.exactness, preference.weight))
            .unwrap_or_default()
    }
}

/// One entry of an Accept header.
struct Range<'a> {
    main: &'a str,
    sub: &'a str,
    weight: u16,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (main, sub) = parts.next()?.split_once('/')?;
        let weight = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("q")
                .then(|| weight(value.trim()))
        });
        Some(Self {
            main,
            sub,
            weight: weight.unwrap_or(1_000),
        })
    }

    /// How exactly it covers a type: 2 by name, 1 by main type, 0 as anything.
    fn covers(&self, main: &str, sub: &str) -> Option<u8> {
        match (self.main, self.sub) {
            ("*", "*") => Some(0),
            (given, "*") => given.eq_ignore_ascii_case(main).then_some(1),
            (given, kind) => {
                (given.eq_ignore_ascii_case(main) && kind.eq_ignore_ascii_case(sub)).then_some(2)
            }
        }
    }
}

/// A weight in thousandths; one that is not well formed counts as none given.
fn weight(text: &str) -> u16 {
    let weight = text
        .parse::<f32>()
        .ok()
        .filter(|weight| (0.0..=1.0).contains(weight));
    weight.map_or(1_000, |weight| (weight * 1_000.0).round() as u16)
}

/// Whether an If-None-Match header names this entity tag ([RFC 9110], 13.1.2: weak comparison).
///
/// [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2
pub(crate) fn none_match_names(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_follows_weights_and_exactness() {
        let (json, stream) = (Some(WantedForm::Json), Some(WantedForm::EventStream));
        for (accept, wanted) in [
            ("", None),
            ("*/*", json),
            ("application/json", json),
            ("application/*", json),
            ("text/event-stream", stream),
            ("TEXT/Event-Stream", stream),
            ("text/*", stream),
            ("text/event-stream, */*", stream),
            ("application/json, text/event-stream", json),
            ("application/json;q=0.5, text/event-stream", stream),
            ("application/json, text/event-stream;q=0.9", json),
            ("text/event-stream;q=0, */*", json),
            ("application/json;q=0, */*", stream),
            ("application/json;q=0", None),
            ("text/html", None),
            ("text/html, */*;q=0.1", json),
            (
                "text/event-stream;charset=utf-8;q=0.4, application/json;q=0.3",
                stream,
            ),
            ("nonsense", None),
            ("*/*;q=abc", json),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(wanted_form(&headers), wanted, "{accept:?}");
        }
        assert_eq!(wanted_form(&HeaderMap::new()), json);
    }
}
