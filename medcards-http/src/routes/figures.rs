use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use medcards_core::case::{Case, CaseVersion};
use medcards_core::learning::case_stats::{
    AlarmedCase, CASE_STATS, CaseReport, CaseStatsRow, DifficultyBand, KeyAlarm,
};
use medcards_core::learning::reviews::{DueReview, REVIEWS, ReviewRow};
use medcards_core::store::Consistency;
use medcards_core::view::View;
use medcards_core::{AnswerId, CaseId, Timestamp, UserId};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::json;
use crate::api::{App, Shared};
use crate::auth::{Admin, Caller, Student};
use crate::negotiate::WantedConsistency;
use crate::params::{Params, PathId, invalid};
use crate::problem::{Problem, ProblemCode};

/// The most alarms that are shown: more than anyone looks into at once.
const ALARMS_MAX: usize = 100;

/// How a case does.
#[derive(Serialize, ToSchema)]
#[schema(as = CaseFigures)]
struct FiguresBody {
    case_id: Uuid,
    version: u32,
    /// How many answers it has.
    answered: u64,
    /// How many of them are right.
    correct: u64,
    /// How many students have answered it.
    students: u64,
    /// How hard it is among all cases: 1 for the easiest fifth, then 2, 3, 4, and 5 for the hardest
    /// twentieth; null with too few answers.
    #[schema(required = true)]
    band: Option<u8>,
    /// How many chose each option, in the author's order; null for who has not answered it.
    #[schema(required = true)]
    options: Option<Vec<OptionFiguresBody>>,
    /// How well it tells students apart, -1 to 1; for admins alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    discrimination: Option<f64>,
    /// Why its key is probably wrong, if it is; for admins alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    alarm: Option<AlarmBody>,
}

/// How many chose an option.
#[derive(Serialize, ToSchema)]
#[schema(as = OptionFigures)]
struct OptionFiguresBody {
    key: String,
    /// How many answers have it.
    answers: u64,
    /// How many of a hundred answers have it.
    percent: f64,
}

/// Why a key is probably wrong.
#[derive(Serialize, ToSchema)]
#[schema(as = KeyAlarm)]
struct AlarmBody {
    /// `negative_discrimination`: who answers it right does worse elsewhere. `rival`: another option is
    /// chosen by more, who do no worse elsewhere.
    kind: &'static str,
    /// The option that is probably right, for a rival.
    #[schema(required = true)]
    option: Option<String>,
}

/// Cases whose keys are probably wrong.
#[derive(Serialize, ToSchema)]
#[schema(as = Alarms)]
struct AlarmsBody {
    /// They, the oldest alarm first; at most 100.
    items: Vec<AlarmedCaseBody>,
}

/// A case whose key is probably wrong.
#[derive(Serialize, ToSchema)]
#[schema(as = AlarmedCase)]
struct AlarmedCaseBody {
    case_id: Uuid,
    version: u32,
    stem: String,
    alarm: AlarmBody,
    #[schema(value_type = String, format = DateTime)]
    raised_at: Timestamp,
}

impl AlarmBody {
    fn new(alarm: KeyAlarm, case: &Case) -> Self {
        match alarm {
            KeyAlarm::NegativeDiscrimination => Self::of_kind("negative_discrimination"),
            KeyAlarm::Rival { position } => Self {
                option: case
                    .content
                    .options()
                    .get(position)
                    .map(|option| option.key.as_str().to_owned()),
                ..Self::of_kind("rival")
            },
            _ => Self::of_kind("other"),
        }
    }

    const fn of_kind(kind: &'static str) -> Self {
        Self { kind, option: None }
    }
}

/// Show how a case does.
///
/// Which options were chosen is shown to who has answered it: name the answer, or wait a moment until it
/// counts.
#[utoipa::path(
    get,
    path = "/v1/cases/{case_id}/figures",
    tag = "learning",
    params(
        ("case_id" = Uuid, Path),
        ("version" = Option<u32>, Query, description = "Which edition; the current one if absent.", minimum = 1),
        ("answer" = Option<Uuid>, Query, description = "The id of my answer to this case."),
        ("medcards-consistency" = Option<String>, Header, description = "What submitting the answer gave."),
    ),
    responses(
        (status = 200, description = "The figures.", body = FiguresBody),
        (status = 404, description = "`case_not_found`, `learning_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn show_figures(
    State(app): State<Shared>,
    PathId(case_id): PathId<CaseId>,
    Student(student): Student,
    caller: Caller,
    WantedConsistency(consistency): WantedConsistency,
    uri: Uri,
) -> Result<Response, Problem> {
    let params = Params::read(&uri, &["version", "answer"])?;
    let version = params.number("version")?.map(|number| {
        CaseVersion::new(number).ok_or_else(|| invalid("version", "it must be at least 1"))
    });
    let answer_id = params.parse::<AnswerId>("answer")?;
    app.learnt()?;
    let store = app.medcards.store();
    let case = store.find_case(case_id, version.transpose()?).await?;
    let case = case.ok_or(ProblemCode::CaseNotFound)?;
    let report = report(&app, &case, &consistency).await?;
    let is_admin = caller.is_admin();
    let may_see =
        is_admin || has_answered(&app, student.id, case_id, answer_id, &consistency).await?;
    Ok(json(&FiguresBody {
        case_id: *case_id.as_uuid(),
        version: case.version.get(),
        answered: report.total.answers,
        correct: report.total.right,
        students: report.first_answers,
        band: report.band.map(number_of),
        options: may_see.then(|| options(&report, &case)),
        discrimination: report.discrimination.filter(|_| is_admin),
        alarm: report
            .alarm
            .filter(|_| is_admin)
            .map(|alarm| AlarmBody::new(alarm, &case)),
    }))
}

/// List the cases whose keys are probably wrong, the oldest alarm first.
#[utoipa::path(
    get,
    path = "/v1/admin/cases/alarms",
    tag = "admin",
    responses(
        (status = 200, description = "The cases.", body = AlarmsBody),
        (status = 403, description = "`role_missing`"),
        (status = 404, description = "`learning_disabled`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn list_alarms(
    State(app): State<Shared>,
    _: Admin,
    uri: Uri,
) -> Result<Response, Problem> {
    Params::read(&uri, &[])?;
    let view: View<CaseStatsRow> = app.view(CASE_STATS)?;
    let query = AlarmedCase::query(ALARMS_MAX);
    let rows = view.shelf(&query, &Consistency::Strong).await?;
    let mut items = Vec::new();
    for alarmed in rows
        .iter()
        .filter_map(|it| AlarmedCase::read(&it.key, &it.row))
    {
        let store = app.medcards.store();
        let version = Some(alarmed.version);
        let Some(case) = store.find_case(alarmed.case_id, version).await? else {
            continue;
        };
        items.push(AlarmedCaseBody {
            case_id: *alarmed.case_id.as_uuid(),
            version: alarmed.version.get(),
            stem: case.content.stem().to_owned(),
            alarm: AlarmBody::new(alarmed.alarm, &case),
            raised_at: alarmed.raised_at,
        });
    }
    Ok(json(&AlarmsBody { items }))
}

async fn report(app: &App, case: &Case, consistency: &Consistency) -> Result<CaseReport, Problem> {
    let view: View<CaseStatsRow> = app.view(CASE_STATS)?;
    let keys = CaseReport::keys(case.id, case.version);
    let rows = view.find_all(&keys, consistency).await?;
    Ok(CaseReport::read(rows.iter().map(|(_, row)| row)))
}

/// Whether a student has answered a case in any version: as this answer tells, or else what is kept of
/// their reviews.
async fn has_answered(
    app: &App,
    user_id: UserId,
    case_id: CaseId,
    answer_id: Option<AnswerId>,
    consistency: &Consistency,
) -> Result<bool, Problem> {
    if let Some(id) = answer_id {
        let answer = app.medcards.store().find_answer(user_id, id, consistency);
        if answer.await?.is_some_and(|it| it.case_id == case_id) {
            return Ok(true);
        }
    }
    let view: View<ReviewRow> = app.view(REVIEWS)?;
    let key = DueReview::key(user_id, case_id);
    Ok(view.find(key, consistency).await?.is_some())
}

fn options(report: &CaseReport, case: &Case) -> Vec<OptionFiguresBody> {
    let options = case.content.options().iter().enumerate();
    options
        .map(|(position, option)| {
            let answers = report.chosen.get(position).copied().unwrap_or_default();
            let of = report.total.answers.max(1);
            OptionFiguresBody {
                key: option.key.as_str().to_owned(),
                answers,
                percent: (answers as f64 * 1_000.0 / of as f64).round() / 10.0,
            }
        })
        .collect()
}

/// The number of a band, from 1 for the easiest.
fn number_of(band: DifficultyBand) -> u8 {
    let place = DifficultyBand::ALL.iter().position(|it| *it == band);
    place.map_or(1, |place| place as u8 + 1)
}
