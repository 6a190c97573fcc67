use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use medcards_core::job::{DeadJob, JobCounts};
use medcards_core::{JobId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::json;
use crate::api::Shared;
use crate::auth::Admin;
use crate::body::JsonBody;
use crate::params::{Params, invalid};
use crate::problem::{Problem, ProblemCode};

/// The most dead jobs of a page, and of one decision on them.
const JOBS_MAX: usize = 100;

/// How many dead jobs a page has unless asked for more.
const LIMIT_DEFAULT: u32 = 20;

/// How the kinds of jobs fare.
#[derive(Serialize, ToSchema)]
#[schema(as = JobKinds)]
struct JobKindsBody {
    items: Vec<JobCountsBody>,
}

/// How a kind of job fares.
#[derive(Serialize, ToSchema)]
#[schema(as = JobCounts)]
struct JobCountsBody {
    kind: String,
    /// How many are due.
    due: u64,
    /// How many are not: under way, or to be done later.
    later: u64,
    /// How many were given up.
    dead: u64,
    /// Since when the one that waits longest is due; null if none is.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    due_since: Option<Timestamp>,
}

impl From<JobCounts> for JobCountsBody {
    fn from(counts: JobCounts) -> Self {
        Self {
            kind: counts.kind.as_str().to_owned(),
            due: counts.due,
            later: counts.later,
            dead: counts.dead,
            due_since: counts.due_since,
        }
    }
}

/// Jobs that were given up, in the order of their ids.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadJobs)]
struct DeadJobsBody {
    items: Vec<DeadJobBody>,
    /// Send it back as `after` for the next page; null at the end.
    #[schema(required = true)]
    next_after: Option<Uuid>,
}

/// A job that was given up. What it was to do for whom stays in the store.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadJob)]
struct DeadJobBody {
    id: Uuid,
    kind: String,
    #[schema(value_type = String, format = DateTime)]
    enqueued_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    died_at: Timestamp,
    /// How often it was tried.
    attempts: u32,
    /// Why it was given up.
    reason: String,
}

impl From<DeadJob> for DeadJobBody {
    fn from(job: DeadJob) -> Self {
        Self {
            id: *job.id.as_uuid(),
            kind: job.kind.as_str().to_owned(),
            enqueued_at: job.enqueued_at,
            died_at: job.died_at,
            attempts: job.attempts,
            reason: job.reason,
        }
    }
}

/// Show how the kinds of jobs fare.
#[utoipa::path(
    get,
    path = "/v1/admin/jobs",
    tag = "admin",
    responses(
        (status = 200, description = "The kinds, by name.", body = JobKindsBody),
        (status = 403, description = "`role_missing`"),
        (status = 404, description = "`learning_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn count_jobs(
    State(app): State<Shared>,
    _: Admin,
    uri: Uri,
) -> Result<Response, Problem> {
    Params::read(&uri, &[])?;
    let counts = app
        .learnt()?
        .learning_store()
        .job_counts(app.medcards.now())
        .await?;
    let items = counts.into_iter().map(Into::into).collect();
    Ok(json(&JobKindsBody { items }))
}

/// List the jobs that were given up.
#[utoipa::path(
    get,
    path = "/v1/admin/jobs/dead",
    tag = "admin",
    params(
        ("after" = Option<Uuid>, Query, description = "`next_after` of the page before."),
        ("limit" = Option<u32>, Query, description = "1 to 100; 20 if absent.", minimum = 1, maximum = 100),
    ),
    responses(
        (status = 200, description = "A page.", body = DeadJobsBody),
        (status = 403, description = "`role_missing`"),
        (status = 404, description = "`learning_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn list_dead_jobs(
    State(app): State<Shared>,
    _: Admin,
    uri: Uri,
) -> Result<Response, Problem> {
    let params = Params::read(&uri, &["after", "limit"])?;
    let after = params.parse::<JobId>("after")?;
    let limit = params.number("limit")?.unwrap_or(LIMIT_DEFAULT) as usize;
    if !(1..=JOBS_MAX).contains(&limit) {
        return Err(invalid("limit", "it must be 1 to 100"));
    }
    // One more tells whether there is a next page.
    let mut dead = app
        .learnt()?
        .learning_store()
        .list_dead(after, limit + 1)
        .await?;
    let has_more = dead.len() > limit;
    dead.truncate(limit);
    let last = dead.last().filter(|_| has_more);
    let next_after = last.map(|job| *job.id.as_uuid());
    let items = dead.into_iter().map(Into::into).collect();
    Ok(json(&DeadJobsBody { items, next_after }))
}

/// Jobs that were given up, to decide on.
#[derive(Deserialize, ToSchema)]
#[schema(as = JobIds)]
pub(super) struct JobIdsBody {
    /// Their ids, 1 to 100.
    ids: Vec<Uuid>,
}

impl JobIdsBody {
    fn checked(self) -> Result<Vec<JobId>, Problem> {
        if !(1..=JOBS_MAX).contains(&self.ids.len()) {
            let problem = Problem::new(ProblemCode::InvalidField);
            return Err(problem.with_fault("ids", "it must have 1 to 100 ids"));
        }
        Ok(self.ids.into_iter().map(JobId::from_uuid).collect())
    }
}

/// How many jobs there were of those that were named.
#[derive(Serialize, ToSchema)]
#[schema(as = JobsFound)]
struct JobsFoundBody {
    count: u64,
}

/// Put jobs that were given up back into the queue.
#[utoipa::path(
    post,
    path = "/v1/admin/jobs/requeue",
    tag = "admin",
    request_body = JobIdsBody,
    responses(
        (status = 200, description = "How many there were.", body = JobsFoundBody),
        (status = 403, description = "`role_missing`"),
        (status = 404, description = "`learning_disabled`"),
        (status = 422, description = "`invalid_field`, `unknown_field`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn requeue_jobs(
    State(app): State<Shared>,
    Admin(admin): Admin,
    JsonBody(body): JsonBody<JobIdsBody>,
) -> Result<Response, Problem> {
    let ids = body.checked()?;
    let count = app
        .learnt()?
        .learning_store()
        .requeue(&ids, app.medcards.now())
        .await?;
    tracing::info!(count, %admin, "dead jobs were requeued");
    Ok(json(&JobsFoundBody { count }))
}

/// Forget jobs that were given up, for good.
#[utoipa::path(
    post,
    path = "/v1/admin/jobs/discard",
    tag = "admin",
    request_body = JobIdsBody,
    responses(
        (status = 200, description = "How many there were.", body = JobsFoundBody),
        (status = 403, description = "`role_missing`"),
        (status = 404, description = "`learning_disabled`"),
        (status = 422, description = "`invalid_field`, `unknown_field`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn discard_jobs(
    State(app): State<Shared>,
    Admin(admin): Admin,
    JsonBody(body): JsonBody<JobIdsBody>,
) -> Result<Response, Problem> {
    let count = app
        .learnt()?
        .learning_store()
        .discard(&body.checked()?)
        .await?;
    tracing::info!(count, %admin, "dead jobs were discarded");
    Ok(json(&JobsFoundBody { count }))
}
