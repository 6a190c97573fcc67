use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use medcards_core::Timestamp;
use medcards_core::jiff::civil::Date;
use medcards_core::learning::user_stats::{
    Dashboard, SpecialtySuccess, Tally, TopicSuccess, Trend,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::json;
use crate::api::Shared;
use crate::auth::Student;
use crate::negotiate::WantedConsistency;
use crate::params::Params;
use crate::problem::Problem;

/// How I do.
#[derive(Serialize, ToSchema)]
#[schema(as = Dashboard)]
struct DashboardBody {
    /// All my answers.
    total: TallyBody,
    /// How many different cases.
    cases: u64,
    /// When my latest answer was given; null without any.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    last_at: Option<Timestamp>,
    /// How many of a hundred peers have a lower share of right answers; null as long as I have too few
    /// answers to be compared.
    #[schema(required = true)]
    percentile: Option<f64>,
    /// By specialty, the one with the most answers first.
    specialties: Vec<SpecialtyBody>,
    /// My answers in specialties beyond those.
    other_specialties: TallyBody,
    /// The days in UTC with answers among the last 90, the oldest first.
    days: Vec<TrendBody>,
    /// The weeks in UTC with answers among the last 52, the oldest first.
    weeks: Vec<TrendBody>,
}

/// Answers, by what is right as far as it is known now.
#[derive(Serialize, ToSchema)]
#[schema(as = Tally)]
struct TallyBody {
    /// How many answers.
    answered: u64,
    /// How many of them right.
    correct: u64,
    /// The mean time of an answer; null if none has one.
    #[schema(required = true)]
    mean_time_ms: Option<u64>,
}

/// How I do in a specialty.
#[derive(Serialize, ToSchema)]
#[schema(as = SpecialtySuccess)]
struct SpecialtyBody {
    /// In lower case; empty for cases that name none.
    name: String,
    total: TallyBody,
    /// By topic, the one with the most answers first.
    topics: Vec<TopicBody>,
    /// My answers in topics beyond those.
    other_topics: TallyBody,
}

/// How I do in a topic.
#[derive(Serialize, ToSchema)]
#[schema(as = TopicSuccess)]
struct TopicBody {
    /// In lower case; empty for cases that name none.
    name: String,
    total: TallyBody,
}

/// The answers of a day or of a week.
#[derive(Serialize, ToSchema)]
#[schema(as = Trend)]
struct TrendBody {
    /// The day, or the Monday of the week.
    #[schema(value_type = String, format = Date)]
    date: Date,
    answered: u32,
    correct: u32,
}

impl From<&Tally> for TallyBody {
    fn from(tally: &Tally) -> Self {
        Self {
            answered: tally.answers,
            correct: tally.right,
            mean_time_ms: tally.mean_time_ms(),
        }
    }
}

impl From<&SpecialtySuccess> for SpecialtyBody {
    fn from(it: &SpecialtySuccess) -> Self {
        Self {
            name: it.name.to_string(),
            total: (&it.total).into(),
            topics: it.topics.iter().map(Into::into).collect(),
            other_topics: (&it.other_topics).into(),
        }
    }
}

impl From<&TopicSuccess> for TopicBody {
    fn from(it: &TopicSuccess) -> Self {
        Self {
            name: it.name.to_string(),
            total: (&it.total).into(),
        }
    }
}

impl From<&Trend> for TrendBody {
    fn from(it: &Trend) -> Self {
        Self {
            date: it.date,
            answered: it.answers,
            correct: it.right,
        }
    }
}

impl From<&Dashboard> for DashboardBody {
    fn from(dashboard: &Dashboard) -> Self {
        Self {
            total: (&dashboard.total).into(),
            cases: dashboard.cases,
            last_at: dashboard.last_at,
            percentile: dashboard.percentile,
            specialties: dashboard.specialties.iter().map(Into::into).collect(),
            other_specialties: (&dashboard.other_specialties).into(),
            days: dashboard.days.iter().map(Into::into).collect(),
            weeks: dashboard.weeks.iter().map(Into::into).collect(),
        }
    }
}

/// Show how I do.
///
/// It follows my answers within a moment.
#[utoipa::path(
    get,
    path = "/v1/me/dashboard",
    tag = "learning",
    params(("medcards-consistency" = Option<String>, Header, description = "What an earlier response gave.")),
    responses(
        (status = 200, description = "The dashboard.", body = DashboardBody),
        (status = 404, description = "`learning_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn show_dashboard(
    State(app): State<Shared>,
    Student(student): Student,
    WantedConsistency(consistency): WantedConsistency,
    uri: Uri,
) -> Result<Response, Problem> {
    Params::read(&uri, &[])?;
    let dashboard = app.learnt()?.dashboard(student.id, &consistency).await?;
    Ok(json(&DashboardBody::from(&dashboard)))
}
