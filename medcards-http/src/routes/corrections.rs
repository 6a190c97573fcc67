use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use medcards_core::CaseId;
use medcards_core::case::{CaseVersion, KeyCorrection};
use medcards_core::learning::KeyFix;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::chat::segment;
use super::json;
use crate::api::{App, Shared};
use crate::auth::Admin;
use crate::body::JsonBody;
use crate::problem::{Problem, ProblemCode};

/// The longest reason, in characters: two sentences.
const REASON_CHARS_MAX: usize = 500;

/// What is right in a case after all.
#[derive(Deserialize, ToSchema)]
#[schema(as = CorrectionForm)]
pub(super) struct CorrectionBody {
    /// The current version, as you saw it.
    case_version: u32,
    /// The keys of all right options.
    right: Vec<String>,
    /// The explanation of the whole case from now on; the old one stays if absent.
    explanation: Option<String>,
    /// Why, for the log of the server: at most 500 characters.
    reason: String,
}

/// What was corrected.
#[derive(Serialize, ToSchema)]
#[schema(as = CorrectedCase)]
struct CorrectedCaseBody {
    /// The version that was published.
    version: u32,
    /// The versions that had the mistake.
    corrections: Vec<KeyCorrectionBody>,
}

/// What is right in a version.
#[derive(Serialize, ToSchema)]
#[schema(as = KeyCorrection)]
struct KeyCorrectionBody {
    /// Which correction of the platform this is.
    number: u64,
    case_version: u32,
    /// The keys of all right options.
    right: Vec<String>,
}

/// Correct the key of a case.
///
/// It becomes a new version. Answers keep what was seen; statistics, abilities, reviews and boards follow
/// the correction, also for earlier versions with the same mistake, and the students concerned are told.
/// Who did it and why is in the log of the server.
#[utoipa::path(
    post,
    path = "/v1/admin/cases/{case_id}/corrections",
    tag = "admin",
    params(("case_id" = Uuid, Path)),
    request_body = CorrectionBody,
    responses(
        (status = 201, description = "It is corrected.", body = CorrectedCaseBody),
        (status = 403, description = "`role_missing`"),
        (status = 404, description = "`case_not_found`, `learning_disabled`"),
        (status = 409, description = "`conflict`: another version was published meanwhile"),
        (status = 422, description = "`invalid_field`, `unknown_field`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn correct_case(
    State(app): State<Shared>,
    Admin(admin): Admin,
    uri: Uri,
    JsonBody(body): JsonBody<CorrectionBody>,
) -> Result<Response, Problem> {
    let learnt = app.learnt()?;
    let case_id: CaseId = segment(&uri, 4)?;
    let wrong = |name, detail| Problem::new(ProblemCode::InvalidField).with_fault(name, detail);
    let current = CaseVersion::new(body.case_version)
        .ok_or_else(|| wrong("case_version", "it must be at least 1"))?;
    let reason = body.reason.trim();
    let is_plain = !reason.is_empty() && !reason.chars().any(char::is_control);
    if !is_plain || reason.chars().count() > REASON_CHARS_MAX {
        let detail = "it must have 1 to 500 characters on one line";
        return Err(wrong("reason", detail));
    }
    let fix = KeyFix {
        case_id,
        current,
        right: body.right,
        explanation: body.explanation,
    };
    let fixed = learnt.correct_key(fix).await;
    let fixed =
        fixed.map_err(|error| Problem::from(error).or_not_found(ProblemCode::CaseNotFound))?;
    tracing::info!(%case_id, version = %fixed.version, reviewer = %admin, reason, "a key was corrected");
    let mut corrections = Vec::new();
    for correction in &fixed.corrections {
        corrections.push(corrected(&app, correction).await?);
    }
    let version = fixed.version.get();
    let body = json(&CorrectedCaseBody {
        version,
        corrections,
    });
    Ok((StatusCode::CREATED, body).into_response())
}

async fn corrected(app: &App, correction: &KeyCorrection) -> Result<KeyCorrectionBody, Problem> {
    let store = app.medcards.store();
    let version = Some(correction.version);
    let case = store.find_case(correction.case_id, version).await?;
    let keys = case.map(|case| case.content.keys_of(correction.right));
    let keys = keys.unwrap_or_default();
    Ok(KeyCorrectionBody {
        number: correction.number,
        case_version: correction.version.get(),
        right: keys.iter().map(|key| key.as_str().to_owned()).collect(),
    })
}
