use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use medcards_core::learning::habits::{BadgeStanding, HABITS, HabitsRow, Streak};
use medcards_core::store::Consistency;
use medcards_core::view::{Award, View};
use medcards_core::{Timestamp, UserId};
use serde::Serialize;
use utoipa::ToSchema;

use super::json;
use crate::api::{App, Shared};
use crate::auth::Student;
use crate::negotiate::WantedConsistency;
use crate::params::Params;
use crate::problem::Problem;

/// My streak of days with an answer, in my own time zone.
#[derive(Serialize, ToSchema)]
#[schema(as = Streak)]
struct StreakBody {
    /// How many days it has. Days that are frozen neither break it nor count.
    days: u32,
    /// How many the longest one had.
    longest: u32,
    /// Whether today counts already.
    is_active_today: bool,
    /// Until when I have to answer, so that neither a freeze is used nor the streak lost; null if nothing
    /// is at risk.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    at_risk_until: Option<Timestamp>,
    /// How many missed days it survives.
    freezes_left: u32,
    /// How many missed days it survived so far.
    freezes_used: u32,
}

/// The badges that I have, and those that I may earn.
#[derive(Serialize, ToSchema)]
#[schema(as = Badges)]
struct BadgesBody {
    items: Vec<BadgeBody>,
}

/// A badge.
#[derive(Serialize, ToSchema)]
#[schema(as = Badge)]
struct BadgeBody {
    /// Its stable name, as in notices.
    badge: String,
    /// What I read.
    title: String,
    /// Since when I have it; null if I do not.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    awarded_at: Option<Timestamp>,
    /// How far I am; null for a badge that nobody earns any more.
    #[schema(required = true)]
    progress: Option<BadgeProgressBody>,
}

/// How far I am with a badge.
#[derive(Serialize, ToSchema)]
#[schema(as = BadgeProgress)]
struct BadgeProgressBody {
    /// Of what: `active_days`, `answers`, `right_answers`, `right_in_a_row`, `specialties` or
    /// `streak_days`.
    of: &'static str,
    /// How much there is.
    have: u64,
    /// How much is enough.
    need: u64,
}

impl From<BadgeStanding> for BadgeBody {
    fn from(standing: BadgeStanding) -> Self {
        Self {
            badge: standing.rule.name.to_string(),
            title: standing.rule.title.to_string(),
            awarded_at: standing.awarded_at,
            progress: Some(BadgeProgressBody {
                of: standing.rule.fact.as_str(),
                have: standing.progress,
                need: standing.rule.at_least,
            }),
        }
    }
}

impl From<Award> for BadgeBody {
    /// A badge without a rule.
    fn from(award: Award) -> Self {
        Self {
            title: award.badge.clone(),
            badge: award.badge,
            awarded_at: Some(award.at),
            progress: None,
        }
    }
}

/// Show my streak.
#[utoipa::path(
    get,
    path = "/v1/me/streak",
    tag = "learning",
    params(("medcards-consistency" = Option<String>, Header, description = "What an earlier response gave.")),
    responses(
        (status = 200, description = "The streak.", body = StreakBody),
        (status = 404, description = "`learning_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn show_streak(
    State(app): State<Shared>,
    Student(student): Student,
    WantedConsistency(consistency): WantedConsistency,
    uri: Uri,
) -> Result<Response, Problem> {
    Params::read(&uri, &[])?;
    let rows = habits(&app, student.id, &consistency).await?;
    let streak = Streak::read(&rows, app.medcards.now());
    Ok(json(&StreakBody {
        days: streak.days,
        longest: streak.longest,
        is_active_today: streak.is_active_today,
        at_risk_until: streak.at_risk_until,
        freezes_left: streak.freezes_left,
        freezes_used: streak.freezes_used,
    }))
}

/// List my badges, and how far I am with the others.
///
/// A badge once awarded stays.
#[utoipa::path(
    get,
    path = "/v1/me/badges",
    tag = "learning",
    params(("medcards-consistency" = Option<String>, Header, description = "What an earlier response gave.")),
    responses(
        (status = 200, description = "The badges.", body = BadgesBody),
        (status = 404, description = "`learning_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn list_badges(
    State(app): State<Shared>,
    Student(student): Student,
    WantedConsistency(consistency): WantedConsistency,
    uri: Uri,
) -> Result<Response, Problem> {
    Params::read(&uri, &[])?;
    let awards = app.learnt()?.badges(student.id, &consistency).await?;
    let rows = habits(&app, student.id, &consistency).await?;
    let rules = &app.config.badges;
    let standings = BadgeStanding::read_all(rules, &rows, &awards, app.medcards.now());
    let mut items: Vec<BadgeBody> = standings.into_iter().map(Into::into).collect();
    let others = awards
        .into_iter()
        .filter(|award| !rules.iter().any(|rule| *rule.name == *award.badge));
    items.extend(others.map(Into::into));
    Ok(json(&BadgesBody { items }))
}

async fn habits(
    app: &App,
    user_id: UserId,
    consistency: &Consistency,
) -> Result<Vec<HabitsRow>, Problem> {
    let view: View<HabitsRow> = app.view(HABITS)?;
    let rows = view.find_all(&Streak::keys(user_id), consistency).await?;
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}
