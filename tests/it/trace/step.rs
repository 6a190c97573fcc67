//! Requests as data.

use std::fmt;

use serde_json::json;
use uuid::Uuid;

use crate::harness::{Claims, Student};

/// How many students there are.
pub(super) const STUDENTS: usize = 4;

pub(super) const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Admin,
    /// A guest whom the server has made.
    Guest,
    /// Somebody with this for a token.
    Holder(String),
    Nobody,
    /// Somebody who judges what models wrote.
    Reviewer,
    /// Who holds the token of the session that was begun last.
    Session,
    /// A student with an id that is the same everywhere.
    Student(usize),
}

impl Who {
    pub(super) fn token(&self, guest: Option<&Student>, session: Option<&str>) -> Option<String> {
        match self {
            Self::Admin => {
                let claims = Claims::of(&student_id(STUDENTS));
                Some(claims.with("role", json!("admin")).sign())
            }
            Self::Guest => Some(guest.expect("the guest comes first").token.clone()),
            Self::Holder(token) => Some(token.clone()),
            Self::Nobody => None,
            Self::Reviewer => {
                let claims = Claims::of(&student_id(STUDENTS + 1));
                Some(claims.with("role", json!("reviewer")).sign())
            }
            Self::Session => Some(session.expect("the session comes first").to_owned()),
            Self::Student(index) => Some(Claims::of(&student_id(*index)).sign()),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin => f.write_str("an admin"),
            Self::Guest => f.write_str("a guest"),
            Self::Holder(_) => f.write_str("a stranger"),
            Self::Nobody => f.write_str("nobody"),
            Self::Reviewer => f.write_str("a reviewer"),
            Self::Session => f.write_str("a session"),
            Self::Student(index) => write!(f, "student {index}"),
        }
    }
}

pub(super) fn student_id(index: usize) -> String {
    let last = u128::try_from(index).unwrap();
    Uuid::from_u128(0x0190_b7a8_1c5e_7000_8000_5715_de17_0000 + last).to_string()
}

/// How replies are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum See {
    Exactly,
    /// Figures, by their names: what they say depends on time.
    Names,
    /// Without the order of options, which comes from an id that the server has made.
    Unshuffled,
    /// A search, walked to its end: the same on pages of the same length, in any order.
    Walk,
    /// A list, walked to its end, in order.
    WalkInOrder,
}

/// One request.
///
/// Path, headers and body may name what the same caller was shown last: `{next}`, the next case, and
/// `{key}`, a key of it; `{answer}`, an answer recorded; `{turn}`, a turn
/// of a chat; `{event}`, the first event of a stream that has an id; `{cursor}`; `{etag}`. `{imported}` is the
/// case that the admin imported last, `{session}` the session that anybody began last.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) who: Who,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<String>,
    /// Whether it says which answer it must see, if the server gave a token for it.
    pub(super) sends_token: bool,
    pub(super) see: See,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            who, method, path, ..
        } = self;
        write!(f, "{who}: {method} {path}")?;
        if !self.headers.is_empty() {
            write!(f, " {:?}", self.headers)?;
        }
        match &self.body {
            Some(body) => write!(f, " {body:.400}"),
            None => Ok(()),
        }
    }
}

impl Step {
    pub(super) fn new(who: Who, method: &'static str, path: impl Into<String>) -> Self {
        Self {
            who,
            method,
            path: path.into(),
            headers: Vec::new(),
            body: None,
            sends_token: false,
            see: See::Exactly,
        }
    }

    pub(super) fn get(who: Who, path: impl Into<String>) -> Self {
        Self::new(who, "GET", path)
    }

    pub(super) fn json(
        who: Who,
        method: &'static str,
        path: impl Into<String>,
        body: impl Into<String>,
    ) -> Self {
        let step = Self::new(who, method, path).with("content-type", JSON);
        Self {
            body: Some(body.into()),
            ..step
        }
    }

    pub(super) fn import(lines: &[String]) -> Self {
        let step = Self::new(Who::Admin, "POST", "/v1/admin/cases").with("content-type", LINES);
        Self {
            body: Some(lines.join("\n")),
            ..step
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn seen(self, see: See) -> Self {
        Self { see, ..self }
    }

    pub(super) fn with_token(self, sends_token: bool) -> Self {
        Self {
            sends_token,
            ..self
        }
    }

    /// Whether it asks this route.
    pub(super) fn is_for(&self, method: &str, route: &str) -> bool {
        let path = self.path.split('?').next().unwrap_or_default();
        let parts = path.split('/');
        let same = |(part, wanted): (&str, &str)| part == wanted || wanted.starts_with('{');
        self.method.eq_ignore_ascii_case(method)
            && parts.clone().count() == route.split('/').count()
            && parts.zip(route.split('/')).all(same)
    }
}
