use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use medcards_core::Timestamp;
use medcards_core::jiff::civil::Date;
use medcards_core::learning::ability::{Masteries, Mastery};
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
    /// How well I master it: `not_started`, `attempted`, `familiar`, `proficient` or `mastered`. It
    /// falls with wrong answers, and while I answer nothing there.
    mastery: &'static str,
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
    /// How well I master it, as of a specialty.
    mastery: &'static str,
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

impl SpecialtyBody {
    fn new(it: &SpecialtySuccess, masteries: &Masteries) -> Self {
        let topic =
            |topic: &TopicSuccess| TopicBody::new(topic, masteries.of(&it.name, &topic.name));
        Self {
            name: it.name.to_string(),
            total: (&it.total).into(),
            mastery: masteries.of(&it.name, "").as_str(),
            topics: it.topics.iter().map(topic).collect(),
            other_topics: (&it.other_topics).into(),
        }
    }
}

impl TopicBody {
    fn new(it: &TopicSuccess, mastery: Mastery) -> Self {
        Self {
            name: it.name.to_string(),
            total: (&it.total).into(),
            mastery: mastery.as_str(),
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

impl DashboardBody {
    fn new(dashboard: &Dashboard, masteries: &Masteries) -> Self {
        let specialty = |it| SpecialtyBody::new(it, masteries);
        Self {
            total: (&dashboard.total).into(),
            cases: dashboard.cases,
            last_at: dashboard.last_at,
            percentile: dashboard.percentile,
            specialties: dashboard.specialties.iter().map(specialty).collect(),
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
    let learning = app.learnt()?;
    let (dashboard, masteries) = tokio::try_join!(
        learning.dashboard(student.id, &consistency),
        learning.masteries(student.id, &consistency),
    )?;
    Ok(json(&DashboardBody::new(&dashboard, &masteries)))
}
