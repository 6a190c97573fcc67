use axum::extract::{OriginalUri, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use medcards_core::answer::Confidence;
use medcards_core::app::{AnswerForm, SubmittedAnswer};
use medcards_core::case::CaseVersion;
use medcards_core::{CaseId, Error};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{json, mounted_at};
use crate::api::Shared;
use crate::auth::Student;
use crate::body::JsonBody;
use crate::negotiate::CONSISTENCY;
use crate::params::PathId;
use crate::problem::{Problem, ProblemCode};

/// What a student chose.
#[derive(Deserialize, ToSchema)]
#[schema(as = AnswerForm)]
pub(super) struct FormBody {
    /// The idempotency key: a UUIDv7 made when the student answered. Sending it again gives the
    /// first result. A new one if absent.
    #[serde(default)]
    #[schema(value_type = Option<Uuid>)]
    id: Option<String>,
    /// The keys of the options chosen, in any order.
    #[schema(min_items = 1, max_items = 26)]
    options: Vec<String>,
    /// The edition that the student saw; the current one if absent.
    #[serde(default)]
    #[schema(minimum = 1)]
    case_version: Option<u32>,
    /// How long the student took.
    #[serde(default)]
    time_to_answer_ms: Option<u32>,
    /// How sure the student was, in percent.
    #[serde(default)]
    #[schema(maximum = 100)]
    confidence: Option<u8>,
}

impl FormBody {
    fn read(self) -> Result<AnswerForm, Problem> {
        let fault =
            |name, detail: String| Problem::new(ProblemCode::InvalidField).with_fault(name, detail);
        let of = |name| move |error: Error| fault(name, error.context().to_owned());
        let version = |number| {
            let detail = || fault("case_version", "it must be at least 1".to_owned());
            CaseVersion::new(number).ok_or_else(detail)
        };
        Ok(AnswerForm {
            id: self.id.map(|id| id.parse()).transpose().map_err(of("id"))?,
            options: self.options,
            case_version: self.case_version.map(version).transpose()?,
            time_to_answer_ms: self.time_to_answer_ms,
            confidence: self
                .confidence
                .map(Confidence::try_from)
                .transpose()
                .map_err(of("confidence"))?,
        })
    }
}

/// An answer as it is recorded, with what the student may know now.
#[derive(Serialize, ToSchema)]
#[schema(as = SubmittedAnswer)]
struct SubmittedBody<'a> {
    id: Uuid,
    case_id: Uuid,
    /// The edition that was answered.
    case_version: u32,
    /// The keys of the options chosen.
    options: Vec<&'a str>,
    is_correct: bool,
    /// The keys of the right options.
    correct_options: Vec<&'a str>,
    /// What the author says of each option, in the order in which the student saw them.
    explanations: Vec<ExplanationBody<'a>>,
    /// What the author says of the whole case.
    #[schema(required = true)]
    explanation: Option<&'a str>,
    /// What the author relies on.
    references: &'a [String],
    tags: &'a [String],
    #[schema(value_type = String, format = DateTime)]
    created_at: medcards_core::Timestamp,
    /// Where the feedback on this choice is.
    feedback_url: &'a str,
}

/// What the author says of an option.
#[derive(Serialize, ToSchema)]
#[schema(as = Explanation)]
struct ExplanationBody<'a> {
    key: &'a str,
    /// Null if the author wrote nothing.
    #[schema(required = true)]
    text: Option<&'a str>,
    is_correct: bool,
}

impl<'a> SubmittedBody<'a> {
    fn new(submitted: &'a SubmittedAnswer, feedback_url: &'a str) -> Self {
        let (answer, content) = (&submitted.answer, &submitted.case.content);
        let right = content.right_options();
        let key_at = |position: usize| content.options().get(position).map(|o| o.key.as_str());
        let shown = answer
            .shown
            .positions()
            .iter()
            .map(|position| usize::from(*position));
        let explanations = shown.filter_map(|position| {
            let option = content.options().get(position)?;
            Some(ExplanationBody {
                key: option.key.as_str(),
                text: option.explanation.as_deref(),
                is_correct: right.contains(position),
            })
        });
        Self {
            id: *answer.id.as_uuid(),
            case_id: *answer.case_id.as_uuid(),
            case_version: answer.case_version.get(),
            options: answer.chosen.positions().filter_map(key_at).collect(),
            is_correct: answer.is_correct,
            correct_options: right.positions().filter_map(key_at).collect(),
            explanations: explanations.collect(),
            explanation: content.explanation(),
            references: content.references(),
            tags: content.tags(),
            created_at: answer.created_at,
            feedback_url,
        }
    }
}

/// Answer a case.
///
/// Safe to send again with the same `id`: it counts once.
#[utoipa::path(
    post,
    path = "/v1/cases/{case_id}/answers",
    tag = "answers",
    params(("case_id" = Uuid, Path)),
    request_body = FormBody,
    responses(
        (status = 201, description = "The answer is recorded.", body = SubmittedBody<'_>, headers(
            ("location" = String, description = "Where the feedback is."),
            ("medcards-consistency" = Option<String>, description = "Send it with each read that must see this answer. If it is absent, forget an earlier one: a read without it is as fresh as can be."),
        )),
        (status = 200, description = "It was recorded before, as it is here.", body = SubmittedBody<'_>, headers(
            ("location" = String, description = "Where the feedback is."),
            ("medcards-consistency" = Option<String>, description = "As for a new answer."),
        )),
        (status = 404, description = "`case_not_found`"),
        (status = 409, description = "`id_reused`: for an answer to another case"),
        (status = 422, description = "`invalid_answer`, `invalid_field`, `unknown_field`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn submit_answer(
    State(app): State<Shared>,
    PathId(case_id): PathId<CaseId>,
    Student(student): Student,
    OriginalUri(original): OriginalUri,
    uri: Uri,
    JsonBody(form): JsonBody<FormBody>,
) -> Result<Response, Problem> {
    let form = form.read()?;
    let submitted = app
        .medcards
        .submit_answer(student.id, case_id, form)
        .await
        .map_err(|error| {
            Problem::from(error)
                .or_not_found(ProblemCode::CaseNotFound)
                .or_invalid(ProblemCode::InvalidAnswer)
                .or_conflict(ProblemCode::IdReused)
        })?;
    let prefix = mounted_at(&original, &uri);
    let feedback_url = format!("{prefix}/v1/answers/{}/feedback", submitted.answer.id);
    let mut response = json(&SubmittedBody::new(&submitted, &feedback_url));
    if !submitted.is_repeated {
        *response.status_mut() = StatusCode::CREATED;
    }
    let headers = response.headers_mut();
    // A path that came in a request, and an id, are always a good header.
    if let Ok(location) = HeaderValue::try_from(feedback_url) {
        headers.insert(header::LOCATION, location);
    }
    let token = submitted.token.as_ref();
    if let Some(Ok(token)) = token.map(|token| HeaderValue::try_from(token.as_str())) {
        headers.insert(CONSISTENCY, token);
    }
    Ok(response)
}
