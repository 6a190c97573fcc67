use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use medcards_core::case::{Case, CaseVersion, OptionOrdering, names_option_letter};
use medcards_core::feedback::{Feedback, FeedbackKey, Review, ReviewDecision, ReviewState};
use medcards_core::{CaseId, ErrorKind, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{PageBody, json};
use crate::api::Shared;
use crate::auth::Reviewer;
use crate::body::JsonBody;
use crate::params::{Params, invalid};
use crate::problem::{Problem, ProblemCode};

/// The longest text of a reviewer, in characters: what a model may write, and half as much again.
const TEXT_CHARS_MAX: usize = 4_000;

/// A written feedback, with what is needed to judge it.
#[derive(Serialize, ToSchema)]
#[schema(as = WrittenFeedback)]
struct WrittenBody<'a> {
    /// Names it; send it back with the decision.
    key: String,
    text: &'a str,
    /// `unreviewed`, `approved` or `withdrawn`.
    review: &'static str,
    /// `batch` or `live` for a model, `reviewer` for mended words.
    origin: &'static str,
    /// The model that wrote it.
    #[schema(required = true)]
    model: Option<&'a str>,
    /// The language it should be in.
    locale: String,
    prompt_version: u32,
    #[schema(value_type = String, format = DateTime)]
    written_at: Timestamp,
    /// What it cost to have it written, in millionths of a dollar.
    cost_microdollars: u64,
    /// The case in the version that it is about; null if there is none any more.
    #[schema(required = true)]
    case: Option<ReviewedCaseBody<'a>>,
}

/// A case, as a reviewer sees it: with the right options.
#[derive(Serialize, ToSchema)]
#[schema(as = ReviewedCase)]
struct ReviewedCaseBody<'a> {
    id: Uuid,
    version: u32,
    stem: &'a str,
    vignette: Vec<ReviewedVignetteBody<'a>>,
    /// In the author's order.
    options: Vec<ReviewedOptionBody<'a>>,
    /// What the author wrote of the case as a whole.
    #[schema(required = true)]
    explanation: Option<&'a str>,
}

/// A labelled part of the story.
#[derive(Serialize, ToSchema)]
#[schema(as = ReviewedVignetteField)]
struct ReviewedVignetteBody<'a> {
    label: &'a str,
    text: &'a str,
}

/// An option, with what the feedback is about.
#[derive(Serialize, ToSchema)]
#[schema(as = ReviewedOption)]
struct ReviewedOptionBody<'a> {
    key: &'a str,
    text: &'a str,
    /// Whether it was chosen.
    chosen: bool,
    /// Whether it is right.
    correct: bool,
    /// What the author wrote of it.
    #[schema(required = true)]
    explanation: Option<&'a str>,
}

impl<'a> WrittenBody<'a> {
    fn new(key: &FeedbackKey, feedback: &'a Feedback, case: Option<&'a Case>) -> Self {
        Self {
            key: key.to_string(),
            text: &feedback.text,
            review: feedback.review.as_str(),
            origin: feedback.origin.as_str(),
            model: feedback.model.as_ref().map(|model| model.as_str()),
            locale: key.locale.to_string(),
            prompt_version: key.prompt_version.get(),
            written_at: feedback.written_at,
            cost_microdollars: feedback.cost.get(),
            case: case.map(|case| ReviewedCaseBody::new(key, case)),
        }
    }
}

impl<'a> ReviewedCaseBody<'a> {
    fn new(key: &FeedbackKey, case: &'a Case) -> Self {
        let content = &case.content;
        let right = content.right_options();
        let vignette = content.vignette().iter();
        let options = content.options().iter().enumerate();
        Self {
            id: *case.id.as_uuid(),
            version: case.version.get(),
            stem: content.stem(),
            vignette: vignette
                .map(|field| ReviewedVignetteBody {
                    label: &field.label,
                    text: &field.text,
                })
                .collect(),
            options: options
                .map(|(position, option)| ReviewedOptionBody {
                    key: option.key.as_str(),
                    text: &option.text,
                    chosen: key.chosen.contains(position),
                    correct: right.contains(position),
                    explanation: option.explanation.as_deref(),
                })
                .collect(),
            explanation: content.explanation(),
        }
    }
}

/// List written feedback by what reviewers said of it, oldest first.
///
/// For the roles `reviewer` and `admin`.
#[utoipa::path(
    get,
    path = "/v1/admin/feedback",
    tag = "admin",
    params(
        ("review" = Option<String>, Query, description = "`unreviewed` (the default), `approved` or `withdrawn`."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, description = "How many, 1 to 100; 20 if absent."),
    ),
    responses(
        (status = 200, description = "A page.", body = PageBody<WrittenBody<'_>>),
        (status = 403, description = "`role_missing`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn list_written_feedback(
    State(app): State<Shared>,
    _: Reviewer,
    uri: Uri,
) -> Result<Response, Problem> {
    let params = Params::read(&uri, &["review", "cursor", "limit"])?;
    let (after, limit) = params.page()?;
    let state = match params.text("review") {
        None => ReviewState::Unreviewed,
        Some(name) => ReviewState::from_name(name)
            .ok_or_else(|| invalid("review", "it must be unreviewed, approved or withdrawn"))?,
    };
    let store = app.medcards.store();
    let listed = store.list_feedback(state, after.as_ref(), limit).await;
    let page = listed.map_err(|error| match error.kind() {
        ErrorKind::Invalid => invalid("cursor", error.context().to_owned()),
        _ => error.into(),
    })?;
    let mut cases: HashMap<(CaseId, CaseVersion), Option<Arc<Case>>> = HashMap::new();
    for (key, _) in &page.items {
        let place = (key.case_id, key.case_version);
        if let std::collections::hash_map::Entry::Vacant(vacant) = cases.entry(place) {
            let case = store.find_case(key.case_id, Some(key.case_version)).await?;
            vacant.insert(case);
        }
    }
    let items = page.items.iter().map(|(key, feedback)| {
        let case = cases.get(&(key.case_id, key.case_version));
        WrittenBody::new(key, feedback, case.and_then(Option::as_deref))
    });
    Ok(json(&PageBody::new(items.collect(), page.next.clone())))
}

/// What a reviewer says of a written feedback.
#[derive(Deserialize, ToSchema)]
#[schema(as = ReviewForm)]
pub(super) struct ReviewBody {
    /// The key of the feedback, as the list gives it.
    key: String,
    /// `approve`, `mend` or `withdraw`.
    decision: String,
    /// The words to show instead, for `mend` alone: at most 4,000 characters.
    text: Option<String>,
}

/// Approve, mend or withdraw a written feedback.
///
/// For the roles `reviewer` and `admin`. A withdrawn one is served by no tier from then on, and never
/// written again; the last decision counts. Who decided and when is kept.
#[utoipa::path(
    post,
    path = "/v1/admin/feedback/review",
    tag = "admin",
    request_body = ReviewBody,
    responses(
        (status = 200, description = "The feedback as it is now.", body = WrittenBody<'_>),
        (status = 403, description = "`role_missing`"),
        (status = 404, description = "`not_found`"),
        (status = 422, description = "`invalid_field`, `missing_field`, `unknown_field`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn review_feedback(
    State(app): State<Shared>,
    Reviewer(reviewer): Reviewer,
    JsonBody(form): JsonBody<ReviewBody>,
) -> Result<Response, Problem> {
    let key: FeedbackKey = form
        .key
        .parse()
        .ok()
        .ok_or_else(|| wrong("key", "it must be a key as the list gives it"))?;
    let store = app.medcards.store();
    let case = store.find_case(key.case_id, Some(key.case_version)).await?;
    let decision = match (form.decision.as_str(), form.text) {
        ("approve", None) => ReviewDecision::Approve,
        ("withdraw", None) => ReviewDecision::Withdraw,
        ("mend", Some(text)) => ReviewDecision::Mend(checked(text, case.as_deref())?),
        ("mend", None) => return Err(wrong("text", "mend needs the words to show instead")),
        ("approve" | "withdraw", Some(_)) => {
            return Err(wrong("text", "only mend takes words: leave it out"));
        }
        _ => {
            return Err(wrong("decision", "it must be approve, mend or withdraw"));
        }
    };
    let review = Review {
        decision,
        reviewer,
        reviewed_at: app.medcards.now(),
    };
    let feedback = app.medcards.resolver().review(&key, review).await?;
    tracing::info!(%key, %reviewer, review = feedback.review.as_str(), "feedback was reviewed");
    Ok(json(&WrittenBody::new(&key, &feedback, case.as_deref())))
}

/// The words of a reviewer, if they may be shown.
fn checked(text: String, case: Option<&Case>) -> Result<String, Problem> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX {
        return Err(wrong("text", "it must have 1 to 4,000 characters"));
    }
    let is_strange = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.chars().any(is_strange) {
        let detail = "it has control characters: take them out";
        return Err(wrong("text", detail));
    }
    let is_shuffled =
        case.is_some_and(|case| case.content.option_ordering() == OptionOrdering::Shuffled);
    if is_shuffled && names_option_letter(text) {
        let detail = "it names an option by its letter, but each student sees another order: name \
                      it by its text";
        return Err(wrong("text", detail));
    }
    Ok(text.to_owned())
}

fn wrong(field: &'static str, detail: &'static str) -> Problem {
    Problem::new(ProblemCode::InvalidField).with_fault(field, detail)
}
