use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use futures_util::future::try_join_all;
use medcards_core::Timestamp;
use medcards_core::learning::reviews::DueReview;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::json;
use crate::api::{App, Shared};
use crate::auth::Student;
use crate::negotiate::WantedConsistency;
use crate::params::{Params, invalid};
use crate::problem::Problem;

/// The most due reviews of a page: more than a student does in a sitting.
const REVIEWS_MAX: usize = 100;

/// How many are shown unless asked for more.
const LIMIT_DEFAULT: u32 = 20;

/// The cases that I should see again.
#[derive(Serialize, ToSchema)]
#[schema(as = DueReviews)]
struct DueReviewsBody {
    /// They, those due longest first.
    items: Vec<DueReviewBody>,
    /// Whether more are due.
    has_more: bool,
}

/// A case that I should see again.
#[derive(Serialize, ToSchema)]
#[schema(as = DueReview)]
struct DueReviewBody {
    case_id: Uuid,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    due_at: Timestamp,
    /// When I last answered it.
    #[schema(value_type = String, format = DateTime)]
    last_at: Timestamp,
    /// The chance that I know it still, 0 to 1.
    recall: f64,
    /// In how many days from the last answer that chance falls to nine in ten.
    stability_days: f32,
    /// How often I answered it.
    answers: u32,
    /// How often I answered it wrongly.
    lapses: u32,
    /// The question, as it is now.
    stem: String,
    #[schema(required = true)]
    specialty: Option<String>,
    #[schema(required = true)]
    topic: Option<String>,
}

/// List the cases that I should see again by now, those due longest first.
#[utoipa::path(
    get,
    path = "/v1/me/reviews",
    tag = "learning",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 100; 20 if absent.", minimum = 1, maximum = 100),
        ("medcards-consistency" = Option<String>, Header, description = "What an earlier response gave."),
    ),
    responses(
        (status = 200, description = "The cases.", body = DueReviewsBody),
        (status = 404, description = "`learning_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn list_reviews(
    State(app): State<Shared>,
    Student(student): Student,
    WantedConsistency(consistency): WantedConsistency,
    uri: Uri,
) -> Result<Response, Problem> {
    let params = Params::read(&uri, &["limit"])?;
    let limit = params.number("limit")?.unwrap_or(LIMIT_DEFAULT) as usize;
    if !(1..=REVIEWS_MAX).contains(&limit) {
        return Err(invalid("limit", "it must be 1 to 100"));
    }
    let learnt = app.learnt()?;
    // One more tells whether there are more.
    let mut due = learnt
        .due_reviews(student.id, limit + 1, &consistency)
        .await?;
    let has_more = due.len() > limit;
    due.truncate(limit);
    let items = try_join_all(due.iter().map(|it| review(&app, it))).await?;
    let items = items.into_iter().flatten().collect();
    Ok(json(&DueReviewsBody { items, has_more }))
}

/// The review of a case; `None` if there is no such case, as after a restore.
async fn review(app: &App, due: &DueReview) -> Result<Option<DueReviewBody>, Problem> {
    let case = app.medcards.store().find_case(due.case_id, None).await?;
    let text = |text: Option<&str>| text.map(str::to_owned);
    Ok(case.map(|case| DueReviewBody {
        case_id: *due.case_id.as_uuid(),
        due_at: due.due_at,
        last_at: due.last_at,
        recall: due.retrievability,
        stability_days: due.memory.stability,
        answers: due.answers,
        lapses: due.lapses,
        stem: case.content.stem().to_owned(),
        specialty: text(case.content.specialty()),
        topic: text(case.content.topic()),
    }))
}
