use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use medcards_core::case::CaseVersion;
use medcards_core::chat::{Coach, QUESTION_LEN_MAX, REPLY_LEN_MAX, SharedAnswer};
use medcards_core::id::SharedAnswerId;
use medcards_core::{CaseId, ErrorKind, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::chat::{coach, segment};
use super::json;
use crate::api::Shared;
use crate::auth::Admin;
use crate::body::JsonBody;
use crate::problem::{Problem, ProblemCode};

/// An answer of the coach that anyone may see.
#[derive(Serialize, ToSchema)]
#[schema(as = SharedAnswer)]
struct SharedAnswerBody {
    id: Uuid,
    case_id: Uuid,
    case_version: u32,
    locale: String,
    question: String,
    answer: String,
    /// Who said that anyone may see it.
    reviewer: Uuid,
    #[schema(value_type = String, format = DateTime)]
    reviewed_at: Timestamp,
}

impl From<&SharedAnswer> for SharedAnswerBody {
    fn from(shared: &SharedAnswer) -> Self {
        Self {
            id: *shared.id.as_uuid(),
            case_id: *shared.case_id.as_uuid(),
            case_version: shared.case_version.get(),
            locale: shared.locale.to_string(),
            question: shared.question.clone(),
            answer: shared.answer.clone(),
            reviewer: *shared.reviewer.as_uuid(),
            reviewed_at: shared.reviewed_at,
        }
    }
}

/// All shared answers of a case: at most 200.
#[derive(Serialize, ToSchema)]
#[schema(as = SharedAnswers)]
struct SharedAnswersBody {
    items: Vec<SharedAnswerBody>,
}

/// What anyone may be answered. Nothing of a chat belongs here.
#[derive(Deserialize, ToSchema)]
#[schema(as = SharedAnswerForm)]
pub(super) struct SharedAnswerForm {
    /// The edition of the case that it is about; it answers nobody who saw another.
    #[schema(minimum = 1)]
    case_version: u32,
    /// Its language, such as `en`.
    locale: String,
    /// The question, as students ask it.
    question: String,
    answer: String,
}

/// List the shared answers of a case.
#[utoipa::path(
    get,
    path = "/v1/admin/cases/{case_id}/shared-answers",
    tag = "admin",
    params(("case_id" = Uuid, Path)),
    responses(
        (status = 200, description = "All of them, of all versions and languages.", body = SharedAnswersBody),
        (status = 403, description = "`role_missing`"),
        (status = 404, description = "`chat_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn list_shared_answers(
    State(app): State<Shared>,
    _: Admin,
    uri: Uri,
) -> Result<Response, Problem> {
    let coach = coach(&app)?;
    let case_id: CaseId = segment(&uri, 4)?;
    let answers = coach.shared_answers().list_shared_answers(case_id).await?;
    let items = answers.iter().map(SharedAnswerBody::from).collect();
    Ok(json(&SharedAnswersBody { items }))
}

/// Keep a shared answer, in place of one with the same id.
#[utoipa::path(
    put,
    path = "/v1/admin/cases/{case_id}/shared-answers/{id}",
    tag = "admin",
    params(("case_id" = Uuid, Path), ("id" = Uuid, Path)),
    request_body = SharedAnswerForm,
    responses(
        (status = 200, description = "As it is kept.", body = SharedAnswerBody),
        (status = 403, description = "`role_missing`"),
        (status = 404, description = "`case_not_found`, `chat_disabled`"),
        (status = 409, description = "`id_reused`: for another case; `conflict`: the case has 200 of them"),
        (status = 422, description = "`invalid_field`, `unknown_field`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn put_shared_answer(
    State(app): State<Shared>,
    Admin(reviewer): Admin,
    uri: Uri,
    JsonBody(form): JsonBody<SharedAnswerForm>,
) -> Result<Response, Problem> {
    let coach = coach(&app)?;
    let case_id: CaseId = segment(&uri, 4)?;
    let id: SharedAnswerId = segment(&uri, 6)?;
    let fault = |name: &str, detail: String| {
        Problem::new(ProblemCode::InvalidField).with_fault(name, detail)
    };
    let version = CaseVersion::new(form.case_version);
    let case_version =
        version.ok_or_else(|| fault("case_version", "it must be at least 1".to_owned()))?;
    let locale = form.locale.parse();
    let locale = locale
        .map_err(|error: medcards_core::Error| fault("locale", error.context().to_owned()))?;
    for (name, text, len_max) in [
        ("question", &form.question, QUESTION_LEN_MAX),
        ("answer", &form.answer, REPLY_LEN_MAX),
    ] {
        if text.trim().is_empty() || text.len() > len_max || text.contains('\0') {
            return Err(fault(
                name,
                format!("it must be text of 1 to {len_max} bytes"),
            ));
        }
    }
    let found = app
        .medcards
        .store()
        .find_case(case_id, Some(case_version))
        .await?;
    found.ok_or(ProblemCode::CaseNotFound)?;
    let shared = SharedAnswer {
        id,
        case_id,
        case_version,
        locale,
        question: form.question,
        answer: form.answer,
        reviewer,
        reviewed_at: app.medcards.now(),
    };
    match coach.shared_answers().put_shared_answer(&shared).await {
        Ok(()) => Ok(json(&SharedAnswerBody::from(&shared))),
        Err(error) if error.kind() == ErrorKind::Full && is_full(coach, case_id).await => {
            Err(Problem::new(ProblemCode::Conflict)
                .with_detail("the case has as many of them as allowed: remove one first"))
        }
        Err(error) => Err(Problem::from(error).or_conflict(ProblemCode::IdReused)),
    }
}

/// Remove a shared answer. What was replied with it stays.
#[utoipa::path(
    delete,
    path = "/v1/admin/cases/{case_id}/shared-answers/{id}",
    tag = "admin",
    params(("case_id" = Uuid, Path), ("id" = Uuid, Path)),
    responses(
        (status = 204, description = "It is gone."),
        (status = 403, description = "`role_missing`"),
        (status = 404, description = "`shared_answer_not_found`, `chat_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn remove_shared_answer(
    State(app): State<Shared>,
    _: Admin,
    uri: Uri,
) -> Result<StatusCode, Problem> {
    let shared = coach(&app)?.shared_answers();
    let case_id: CaseId = segment(&uri, 4)?;
    let id: SharedAnswerId = segment(&uri, 6)?;
    let known = shared.list_shared_answers(case_id).await?;
    if !known.iter().any(|answer| answer.id == id) || !shared.remove_shared_answer(id).await? {
        return Err(ProblemCode::SharedAnswerNotFound.into());
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn is_full(coach: &Coach, case_id: CaseId) -> bool {
    let known = coach.shared_answers().list_shared_answers(case_id).await;
    known.is_ok_and(|known| known.len() >= medcards_core::chat::SHARED_ANSWERS_PER_CASE_MAX)
}
