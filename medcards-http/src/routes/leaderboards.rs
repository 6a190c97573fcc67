use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use medcards_core::leaderboard::{Board, Period, STANDINGS_MAX, SpecialtyName, Standing, Week};
use medcards_core::{Error, UserId};
use percent_encoding::percent_decode;
use serde::Serialize;
use utoipa::ToSchema;

use super::json;
use crate::api::{App, Shared};
use crate::auth::{Admin, Student};
use crate::boards::Kept;
use crate::params::{Params, invalid};
use crate::problem::Problem;

/// How many users a board shows unless asked for more.
const LIMIT_DEFAULT: usize = 10;

/// How many neighbours are shown on each side unless asked for more.
const NEIGHBOURS_DEFAULT: usize = 2;

/// The most neighbours on each side: more is a board, not where one stands.
const NEIGHBOURS_MAX: usize = 10;

/// A user on a board.
#[derive(Serialize, ToSchema)]
#[schema(as = Standing)]
struct StandingBody {
    /// One more than there are users with more points. Equal points share a rank.
    rank: u64,
    /// Names the user: the same on every board, and not the user's id.
    alias: String,
    /// How many right answers.
    points: u64,
    /// Whether it is who asks.
    is_me: bool,
}

/// The first users of a board.
#[derive(Serialize, ToSchema)]
#[schema(as = Leaderboard)]
struct LeaderboardBody {
    /// `all-time`, or the week, such as `2026-W48`.
    period: String,
    /// The specialty, in lower case; null for all.
    #[schema(required = true)]
    specialty: Option<String>,
    /// How many users are on the board.
    members: u64,
    /// The first of them, best first.
    standings: Vec<StandingBody>,
    /// Whether everything counts that was answered up to a moment ago.
    is_complete: bool,
}

/// Where I stand on a board.
#[derive(Serialize, ToSchema)]
#[schema(as = MyStanding)]
struct MyStandingBody {
    /// `all-time`, or the week, such as `2026-W48`.
    period: String,
    /// The specialty, in lower case; null for all.
    #[schema(required = true)]
    specialty: Option<String>,
    /// How many users are on the board.
    members: u64,
    /// I; null without a right answer.
    #[schema(required = true)]
    me: Option<StandingBody>,
    /// Those right above me, best first.
    above: Vec<StandingBody>,
    /// Those right below me, best first.
    below: Vec<StandingBody>,
    /// Whether everything counts that was answered up to a moment ago.
    is_complete: bool,
}

/// My cohort of a week.
#[derive(Serialize, ToSchema)]
#[schema(as = Cohort)]
struct CohortBody {
    /// The week, such as `2026-W48`.
    week: String,
    /// Which cohort of the week, from 1; null before my first right answer in it.
    #[schema(required = true)]
    number: Option<u64>,
    /// All of it, best first, ranked among themselves.
    standings: Vec<StandingBody>,
    /// Whether everything counts that was answered up to a moment ago.
    is_complete: bool,
}

/// Show the first users of a board.
#[utoipa::path(
    get,
    path = "/v1/leaderboards/{period}",
    tag = "leaderboards",
    params(
        ("period" = String, Path, description = "`all-time`, `week` for this week, or a week of the ISO calendar, in UTC, such as `2026-W48`. A week is kept for 14 days after its end."),
        ("specialty" = Option<String>, Query, description = "Only cases of this specialty, in any case."),
        ("limit" = Option<u32>, Query, description = "1 to 100; 10 if absent.", minimum = 1, maximum = 100),
    ),
    responses(
        (status = 200, description = "The board.", body = LeaderboardBody),
        (status = 404, description = "`leaderboards_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn show_leaderboard(
    State(app): State<Shared>,
    Student(student): Student,
    uri: Uri,
) -> Result<Response, Problem> {
    let params = Params::read(&uri, &["specialty", "limit"])?;
    let board = board(&app, &uri, &params)?;
    let limit = count(&params, "limit", 1..=STANDINGS_MAX)?.unwrap_or(LIMIT_DEFAULT);
    let kept = app.boards.kept()?;
    let top = kept.leaderboards.top(&board, limit).await?;
    Ok(json(&LeaderboardBody {
        period: board.period.to_string(),
        specialty: specialty(&board),
        members: top.members,
        standings: bodies(kept, &top.standings, student.id)?,
        is_complete: top.as_of.is_complete,
    }))
}

/// Show where I stand on a board.
#[utoipa::path(
    get,
    path = "/v1/me/leaderboards/{period}",
    tag = "leaderboards",
    params(
        ("period" = String, Path, description = "`all-time`, `week` for this week, or a week of the ISO calendar, in UTC, such as `2026-W48`. A week is kept for 14 days after its end."),
        ("specialty" = Option<String>, Query, description = "Only cases of this specialty, in any case."),
        ("neighbours" = Option<u32>, Query, description = "How many on each side, 0 to 10; 2 if absent.", minimum = 0, maximum = 10),
    ),
    responses(
        (status = 200, description = "I and my neighbours.", body = MyStandingBody),
        (status = 404, description = "`leaderboards_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn show_my_standing(
    State(app): State<Shared>,
    Student(student): Student,
    uri: Uri,
) -> Result<Response, Problem> {
    let params = Params::read(&uri, &["specialty", "neighbours"])?;
    let board = board(&app, &uri, &params)?;
    let neighbours = count(&params, "neighbours", 0..=NEIGHBOURS_MAX)?;
    let neighbours = neighbours.unwrap_or(NEIGHBOURS_DEFAULT);
    let kept = app.boards.kept()?;
    let leaderboards = &kept.leaderboards;
    let found = leaderboards
        .standing(&board, student.id, neighbours)
        .await?;
    let me = found.user.map(|me| body(kept, &me, student.id));
    Ok(json(&MyStandingBody {
        period: board.period.to_string(),
        specialty: specialty(&board),
        members: found.members,
        me: me.transpose()?,
        above: bodies(kept, &found.above, student.id)?,
        below: bodies(kept, &found.below, student.id)?,
        is_complete: found.as_of.is_complete,
    }))
}

/// Show my cohort of this week.
///
/// At most 30 users, who gained their first point of the week one after the other.
#[utoipa::path(
    get,
    path = "/v1/me/cohort",
    tag = "leaderboards",
    responses(
        (status = 200, description = "The cohort.", body = CohortBody),
        (status = 404, description = "`leaderboards_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn show_my_cohort(
    State(app): State<Shared>,
    Student(student): Student,
    uri: Uri,
) -> Result<Response, Problem> {
    Params::read(&uri, &[])?;
    let kept = app.boards.kept()?;
    let week = this_week(&app);
    let cohort = kept.leaderboards.cohort(week, student.id).await?;
    let number = cohort.as_ref().map(|cohort| cohort.number + 1);
    let (standings, is_complete) = match cohort {
        Some(cohort) => (cohort.standings, cohort.as_of.is_complete),
        // Whether the boards know of every answer is what a board says.
        None => {
            let board = Board::overall(Period::Week(week));
            let nobody = kept.leaderboards.top(&board, 0).await?;
            (Vec::new(), nobody.as_of.is_complete)
        }
    };
    Ok(json(&CohortBody {
        week: week.to_string(),
        number,
        standings: bodies(kept, &standings, student.id)?,
        is_complete,
    }))
}

/// Build all boards anew from the answer log.
///
/// The old ones answer until the new ones have caught up. One that is under way is that one.
#[utoipa::path(
    post,
    path = "/v1/admin/leaderboards/rebuild",
    tag = "admin",
    responses(
        (status = 202, description = "They are being built."),
        (status = 403, description = "`role_missing`"),
        (status = 404, description = "`leaderboards_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn rebuild_leaderboards(
    State(app): State<Shared>,
    _: Admin,
) -> Result<StatusCode, Problem> {
    app.boards.kept()?.leaderboards.rebuild().await?;
    Ok(StatusCode::ACCEPTED)
}

fn this_week(app: &App) -> Week {
    Week::of(app.medcards.now())
}

/// The board of the period that the path ends with, and of the specialty in the query.
fn board(app: &App, uri: &Uri, params: &Params) -> Result<Board, Problem> {
    let segment = uri.path().rsplit('/').next().unwrap_or_default();
    let period = percent_decode(segment.as_bytes()).decode_utf8_lossy();
    let period = if period == "week" {
        Period::Week(this_week(app))
    } else {
        let expected = "it must be all-time, week, or a week such as 2026-W48";
        let period = period.parse().ok();
        period.ok_or_else(|| invalid("period", expected))?
    };
    Ok(Board {
        period,
        specialty: params.text("specialty").map(SpecialtyName::new),
    })
}

fn count(
    params: &Params,
    name: &'static str,
    range: std::ops::RangeInclusive<usize>,
) -> Result<Option<usize>, Problem> {
    let Some(number) = params.number(name)? else {
        return Ok(None);
    };
    match usize::try_from(number) {
        Ok(number) if range.contains(&number) => Ok(Some(number)),
        _ => {
            let detail = format!("it must be {} to {}", range.start(), range.end());
            Err(invalid(name, detail))
        }
    }
}

fn specialty(board: &Board) -> Option<String> {
    let specialty = board.specialty.as_ref()?;
    Some(specialty.as_str().to_owned())
}

fn body(kept: &Kept, standing: &Standing, me: UserId) -> Result<StandingBody, Error> {
    Ok(StandingBody {
        rank: standing.rank,
        alias: kept.aliases.of(standing.user_id)?,
        points: standing.points,
        is_me: standing.user_id == me,
    })
}

fn bodies(kept: &Kept, standings: &[Standing], me: UserId) -> Result<Vec<StandingBody>, Error> {
    let body = |standing| body(kept, standing, me);
    standings.iter().map(body).collect()
}
