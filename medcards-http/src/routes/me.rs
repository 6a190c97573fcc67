use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use futures_util::future::try_join_all;
use medcards_core::answer::Answer;
use medcards_core::case::{Case, CaseVersion};
use medcards_core::user::{User, UserKind};
use medcards_core::{CaseId, Error, ErrorKind};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{PageBody, json};
use crate::api::Shared;
use crate::auth::Student;
use crate::body::JsonBody;
use crate::negotiate::WantedConsistency;
use crate::params::Params;
use crate::problem::{Problem, ProblemCode};

/// A user.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
struct UserBody {
    user_id: Uuid,
    /// `guest` or `registered`.
    kind: &'static str,
    /// Where the user's days begin and end, such as `Europe/Paris`.
    time_zone: String,
    /// The language of feedback; null for that of the case.
    #[schema(required = true)]
    locale: Option<String>,
    /// What feedback takes as known: `preclinical`, `clinical` or `resident`.
    level: &'static str,
}

impl From<User> for UserBody {
    fn from(user: User) -> Self {
        Self {
            user_id: *user.id.as_uuid(),
            kind: if user.kind == UserKind::Guest {
                "guest"
            } else {
                "registered"
            },
            time_zone: user.settings.time_zone.as_str().to_owned(),
            locale: user.settings.locale.map(|locale| locale.to_string()),
            level: user.settings.level.as_str(),
        }
    }
}

/// Show who I am.
#[utoipa::path(
    get,
    path = "/v1/me",
    tag = "users",
    responses((status = 200, description = "The user.", body = UserBody)),
    security(("bearer" = [])),
)]
pub(super) async fn show_me(Student(student): Student) -> Response {
    json(&UserBody::from(student))
}

/// Settings to change. What is absent stays, what is null goes back to its default.
#[derive(Deserialize, ToSchema)]
#[schema(as = SettingsForm)]
pub(super) struct SettingsBody {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    time_zone: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    locale: Option<Option<String>>,
    /// `preclinical`, `clinical` or `resident`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    level: Option<Option<String>>,
}

/// Tells a null that is given from a field that is not.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Change my settings.
#[utoipa::path(
    patch,
    path = "/v1/me/settings",
    tag = "users",
    request_body = SettingsBody,
    responses(
        (status = 200, description = "The user as they are now.", body = UserBody),
        (status = 422, description = "`invalid_field`, `unknown_field`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn update_settings(
    State(app): State<Shared>,
    Student(student): Student,
    JsonBody(change): JsonBody<SettingsBody>,
) -> Result<Response, Problem> {
    let of = |name| {
        move |error: Error| {
            Problem::new(ProblemCode::InvalidField).with_fault(name, error.context().to_owned())
        }
    };
    let mut settings = student.settings;
    if let Some(time_zone) = change.time_zone {
        let time_zone = time_zone
            .map(|name| name.parse())
            .transpose()
            .map_err(of("time_zone"))?;
        settings.time_zone = time_zone.unwrap_or_default();
    }
    if let Some(locale) = change.locale {
        settings.locale = locale
            .map(|tag| tag.parse())
            .transpose()
            .map_err(of("locale"))?;
    }
    if let Some(level) = change.level {
        let level = level
            .map(|name| name.parse())
            .transpose()
            .map_err(of("level"))?;
        settings.level = level.unwrap_or_default();
    }
    let user = app.medcards.update_settings(student.id, settings).await?;
    Ok(json(&UserBody::from(user)))
}

/// An answer of mine.
#[derive(Serialize, ToSchema)]
#[schema(as = Answer)]
struct AnswerBody {
    id: Uuid,
    case_id: Uuid,
    case_version: u32,
    /// The keys of the options chosen.
    options: Vec<String>,
    is_correct: bool,
    #[schema(required = true)]
    time_to_answer_ms: Option<u32>,
    /// How sure I was, in percent.
    #[schema(required = true)]
    confidence: Option<u8>,
    #[schema(value_type = String, format = DateTime)]
    created_at: medcards_core::Timestamp,
}

impl AnswerBody {
    fn new(answer: &Answer, case: &Case) -> Self {
        let keys = case.content.keys_of(answer.chosen);
        Self {
            id: *answer.id.as_uuid(),
            case_id: *answer.case_id.as_uuid(),
            case_version: answer.case_version.get(),
            options: keys.iter().map(|key| key.as_str().to_owned()).collect(),
            is_correct: answer.is_correct,
            time_to_answer_ms: answer.time_to_answer_ms,
            confidence: answer.confidence.map(u8::from),
            created_at: answer.created_at,
        }
    }
}

/// List my answers, newest first.
#[utoipa::path(
    get,
    path = "/v1/me/answers",
    tag = "answers",
    params(
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, description = "1 to 100; 20 if absent.", minimum = 1, maximum = 100),
        ("medcards-consistency" = Option<String>, Header, description = "What submitting an answer gave, to see that answer."),
    ),
    responses((status = 200, description = "A page.", body = PageBody<AnswerBody>)),
    security(("bearer" = [])),
)]
pub(super) async fn list_answers(
    State(app): State<Shared>,
    Student(student): Student,
    WantedConsistency(consistency): WantedConsistency,
    uri: Uri,
) -> Result<Response, Problem> {
    let params = Params::read(&uri, &["cursor", "limit"])?;
    let (after, limit) = params.page()?;
    let store = app.medcards.store();
    let page = store
        .list_answers(student.id, after.as_ref(), limit, &consistency)
        .await
        .map_err(|error| Problem::from(error).or_invalid(ProblemCode::InvalidParameter))?;
    let cases = cases_of(&app, &page.items).await?;
    let body = |answer: &Answer| {
        let case = cases.get(&(answer.case_id, answer.case_version))?;
        Some(AnswerBody::new(answer, case))
    };
    Ok(json(&PageBody::new(
        page.items.iter().filter_map(body).collect(),
        page.next,
    )))
}

type Cases = HashMap<(CaseId, CaseVersion), Arc<Case>>;

/// The cases that a page of answers is to, each read once. A page has at most a hundred.
async fn cases_of(app: &Shared, answers: &[Answer]) -> Result<Cases, Error> {
    let mut wanted: Vec<_> = answers
        .iter()
        .map(|a| (a.case_id, a.case_version))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let find = |(case_id, version)| async move {
        let found = app
            .medcards
            .store()
            .find_case(case_id, Some(version))
            .await?;
        let case = found.ok_or_else(|| {
            Error::new(
                ErrorKind::Corrupt,
                "list answers",
                "an answer's case version is missing",
            )
        })?;
        Ok(((case_id, version), case))
    };
    Ok(try_join_all(wanted.into_iter().map(find))
        .await?
        .into_iter()
        .collect())
}

/// My totals.
#[derive(Serialize, ToSchema)]
#[schema(as = Stats)]
struct StatsBody {
    /// How many answers.
    answered: u64,
    /// How many of them right.
    correct: u64,
    /// How many different cases.
    cases: u64,
}

/// Show my totals.
#[utoipa::path(
    get,
    path = "/v1/me/stats",
    tag = "answers",
    params(("medcards-consistency" = Option<String>, Header, description = "What submitting an answer gave, to count that answer.")),
    responses((status = 200, description = "The totals.", body = StatsBody)),
    security(("bearer" = [])),
)]
pub(super) async fn show_stats(
    State(app): State<Shared>,
    Student(student): Student,
    WantedConsistency(consistency): WantedConsistency,
) -> Result<Response, Problem> {
    let stats = app
        .medcards
        .store()
        .user_stats(student.id, &consistency)
        .await?;
    let (answered, correct, cases) = (stats.answered, stats.correct, stats.cases);
    Ok(json(&StatsBody {
        answered,
        correct,
        cases,
    }))
}
