use std::collections::BTreeMap;

use axum::body::BodyDataStream;
use axum::extract::{Request, State};
use axum::http::{Uri, header};
use axum::response::Response;
use futures_util::StreamExt;
use jiff::Span;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use medcards_core::case::{CaseContent, Publication, PublicationOutcome};
use medcards_core::jiff;
use medcards_core::spend::{
    MicroDollars, Purpose, SpendBudget, SpendQuery, SpendRow, SpendScope, SpendSum,
};
use medcards_core::{Error, ErrorKind};
use serde::Serialize;
use serde::de::IgnoredAny;
use tokio::time::timeout;
use utoipa::ToSchema;
use uuid::Uuid;

use super::json;
use crate::api::Shared;
use crate::auth::Admin;
use crate::body::{declared_len, media_type, too_large};
use crate::import::{ImportedCase, RecordLine, RecordLines, SeenCases};
use crate::params::{Params, invalid};
use crate::problem::{Problem, ProblemCode};

/// Where cases are imported. The edge gives it more time.
pub(crate) const CASES_PATH: &str = "/v1/admin/cases";

/// How many cases are published at once: enough to share an fsync, few enough to hold in memory.
const BATCH_CASES: usize = 256;

/// The most errors that a report lists; all are counted.
const ERRORS_LISTED_MAX: usize = 1_000;

/// The most cases that a report lists; all are counted.
const ITEMS_LISTED_MAX: usize = 10_000;

/// The most names of unknown fields that a report lists.
const FIELDS_LISTED_MAX: usize = 100;

/// The types that a body of records may have. The two in the middle are what curl and others say of a
/// file when nobody told them.
const RECORD_TYPES: [&str; 8] = [
    "application/json",
    "application/json-lines",
    "application/jsonl",
    "application/ndjson",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "application/x-ndjson",
    "text/plain",
];

/// The longest time that totals are given for, in days: ten years.
const SPEND_DAYS_MAX: i32 = 3_653;

/// What became of an import.
#[derive(Default, Serialize, ToSchema)]
struct ImportReport {
    /// How many new cases.
    created: u64,
    /// How many new versions of known cases.
    updated: u64,
    /// How many that were the current version already.
    unchanged: u64,
    /// How many lines that are no case.
    rejected: u64,
    /// How often each thing was noticed that an author should know: `names_letter`,
    /// `duplicate_options`, `speaks_of_other_options`, `unknown_field`.
    notices: BTreeMap<&'static str, u64>,
    /// The fields that nobody reads, with how often they came; the first 100.
    unknown_fields: BTreeMap<String, u64>,
    /// The lines that are no case; the first 1,000.
    errors: Vec<ImportError>,
    /// The cases; the first 10,000.
    items: Vec<ImportItem>,
}

/// A line that is no case.
#[derive(Serialize, ToSchema)]
struct ImportError {
    line: u64,
    reason: String,
}

/// A case that was imported.
#[derive(Serialize, ToSchema)]
struct ImportItem {
    line: u64,
    external_id: String,
    case_id: Uuid,
    version: u32,
    /// `created`, `updated` or `unchanged`.
    outcome: &'static str,
}

/// Import cases, one JSON object a line.
///
/// A line that is no case is reported and does not stop the others. Importing again changes
/// nothing; a changed case becomes a new version.
#[utoipa::path(
    post,
    path = "/v1/admin/cases",
    tag = "admin",
    request_body(content = String, content_type = "application/x-ndjson", description = "Records in the shape of the decks: `id`, `source`, `lang`, `stem`, `options`, `answer_keys` and more."),
    responses(
        (status = 200, description = "What became of each line.", body = ImportReport),
        (status = 400, description = "`empty_body`"),
        (status = 403, description = "`role_missing`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn import_cases(
    State(app): State<Shared>,
    _: Admin,
    request: Request,
) -> Result<Response, Problem> {
    let media_type = match request.headers().contains_key(header::CONTENT_TYPE) {
        true => media_type(request.headers()),
        false => Some("application/x-ndjson".to_owned()),
    };
    let media_type = media_type.filter(|given| RECORD_TYPES.contains(&given.as_str()));
    let media_type = media_type.ok_or_else(|| {
        Problem::new(ProblemCode::UnsupportedMediaType)
            .with_detail(format!("send one of {}", RECORD_TYPES.join(", ")))
    })?;
    let bytes_max = app.config.import_bytes_max;
    if declared_len(request.headers()).is_some_and(|len| len > bytes_max) {
        return Err(too_large(bytes_max));
    }
    let mut whole = (media_type == "application/json").then(Vec::new);
    let mut import = Import::new(&app);
    let mut chunks = request.into_body().into_data_stream();
    let mut len = 0;
    while let Some(chunk) = next_chunk(&app, &mut chunks, &import).await? {
        len += chunk.len() as u64;
        if len > bytes_max {
            return Err(import.broke_off(too_large(bytes_max)));
        }
        let Some(held) = &mut whole else {
            import.take(&chunk).await?;
            continue;
        };
        held.extend_from_slice(&chunk);
        if held.len() > RecordLines::LINE_BYTES_MAX {
            let held = whole.take().unwrap_or_default();
            import.take(&held).await?;
        }
    }
    if let Some(held) = whole {
        import.take(&on_one_line(held)).await?;
    }
    Ok(json(&import.finish().await?))
}

/// The next part of the body. A client that sends nothing for as long as a request may take is gone.
async fn next_chunk(
    app: &Shared,
    chunks: &mut BodyDataStream,
    import: &Import<'_>,
) -> Result<Option<bytes::Bytes>, Problem> {
    match timeout(app.config.request_timeout, chunks.next()).await {
        Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
        Ok(None) => Ok(None),
        Ok(Some(Err(_))) => Err(import.broke_off(ProblemCode::BodyUnreadable.into())),
        Err(_) => Err(import.broke_off(ProblemCode::Timeout.into())),
    }
}

/// Puts a body that is one JSON value on one line; in JSON a line break is never part of a text.
fn on_one_line(mut body: Vec<u8>) -> Vec<u8> {
    if serde_json::from_slice::<IgnoredAny>(&body).is_ok() {
        for byte in body.iter_mut().filter(|byte| **byte == b'\n') {
            *byte = b' ';
        }
    }
    body
}

/// An import under way.
struct Import<'a> {
    app: &'a Shared,
    lines: RecordLines,
    pending: Vec<(u64, CaseContent)>,
    /// The last line up to which everything is published.
    published_to: u64,
    report: ImportReport,
    seen: SeenCases,
    has_lines: bool,
}

impl<'a> Import<'a> {
    fn new(app: &'a Shared) -> Self {
        Self {
            app,
            lines: RecordLines::new(),
            pending: Vec::with_capacity(BATCH_CASES),
            published_to: 0,
            report: ImportReport::default(),
            seen: SeenCases::default(),
            has_lines: false,
        }
    }

    async fn take(&mut self, chunk: &[u8]) -> Result<(), Problem> {
        self.lines.push(chunk);
        while let Some(line) = self.lines.next_line() {
            self.add(line);
            if self.pending.len() >= BATCH_CASES {
                self.publish().await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<ImportReport, Problem> {
        if let Some(line) = self.lines.finish() {
            self.add(line);
        }
        if !self.has_lines {
            return Err(
                Problem::new(ProblemCode::EmptyBody).with_detail("send one JSON object a line")
            );
        }
        self.publish().await?;
        Ok(self.report)
    }

    fn add(&mut self, line: RecordLine) {
        self.has_lines = true;
        let report = &mut self.report;
        let seen = &mut self.seen;
        match line.record.and_then(|case| seen.admit(line.number, case)) {
            Ok(ImportedCase {
                content,
                notices,
                unknown_fields,
            }) => {
                for notice in &notices {
                    *report.notices.entry(notice.code()).or_default() += 1;
                }
                for field in unknown_fields {
                    *report.notices.entry("unknown_field").or_default() += 1;
                    let is_listed = report.unknown_fields.contains_key(&field);
                    if is_listed || report.unknown_fields.len() < FIELDS_LISTED_MAX {
                        *report.unknown_fields.entry(field).or_default() += 1;
                    }
                }
                self.pending.push((line.number, content));
            }
            Err(error) => {
                report.rejected += 1;
                if report.errors.len() < ERRORS_LISTED_MAX {
                    let reason = error.context().to_owned();
                    report.errors.push(ImportError {
                        line: line.number,
                        reason,
                    });
                }
            }
        }
    }

    async fn publish(&mut self) -> Result<(), Problem> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let (names, contents): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .map(|(line, content)| ((line, content.external_id().to_owned()), content))
            .unzip();
        let publishing = self
            .app
            .medcards
            .store()
            .publish(contents, self.app.medcards.now());
        let published = match timeout(self.app.config.request_timeout, publishing).await {
            Ok(published) => published,
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                "import cases",
                "publishing takes too long",
            )),
        };
        let published = published.map_err(|error| self.broke_off(error.into()))?;
        for ((line, external_id), publication) in names.into_iter().zip(published) {
            self.published_to = line;
            self.report.count(line, external_id, publication);
        }
        Ok(())
    }

    /// Says how far the import came before it broke off.
    fn broke_off(&self, problem: Problem) -> Problem {
        problem.with_detail(format!(
            "the import broke off; what stands up to line {} is imported, and importing all again \
             changes nothing of it",
            self.published_to
        ))
    }
}

impl ImportReport {
    fn count(&mut self, line: u64, external_id: String, publication: Publication) {
        let (total, outcome) = match publication.outcome {
            PublicationOutcome::Created => (&mut self.created, "created"),
            PublicationOutcome::NewVersion => (&mut self.updated, "updated"),
            PublicationOutcome::Unchanged => (&mut self.unchanged, "unchanged"),
        };
        *total += 1;
        if self.items.len() < ITEMS_LISTED_MAX {
            self.items.push(ImportItem {
                line,
                external_id,
                case_id: *publication.case_id.as_uuid(),
                version: publication.version.get(),
                outcome,
            });
        }
    }
}

/// What was spent and saved.
#[derive(Serialize, ToSchema)]
#[schema(as = Spend)]
struct SpendBody {
    /// Per day, tier and model, and per case if asked for.
    items: Vec<SpendItem>,
    totals: SpendTotals,
    budget: BudgetBody,
}

/// The spend budget, and how much of it is used now, whatever days are asked for.
#[derive(Serialize, ToSchema)]
#[schema(as = SpendBudget)]
struct BudgetBody {
    /// Today (UTC).
    #[schema(value_type = String, format = Date)]
    day: Date,
    /// Today, this month, and today for each purpose: `day`, `month`, `chat`, `feedback` and
    /// `precompute`.
    scopes: Vec<BudgetScope>,
    /// What may be spent on behalf of one user on one day, in millionths of a dollar; null for no
    /// limit.
    #[schema(required = true)]
    per_user_limit_microdollars: Option<u64>,
    /// The last percent of day and month that only premium users may spend.
    premium_percent: u8,
}

/// How much of a part of the budget is used.
#[derive(Serialize, ToSchema)]
struct BudgetScope {
    scope: &'static str,
    /// What may be spent, in millionths of a dollar; null for no limit.
    #[schema(required = true)]
    limit_microdollars: Option<u64>,
    /// What was spent.
    spent_microdollars: u64,
    /// What is set aside for calls that are under way, or whose cost nobody knows.
    set_aside_microdollars: u64,
}

impl BudgetBody {
    /// What is shown, each with its name and limit.
    fn wanted(today: Date, budget: &SpendBudget) -> Vec<(SpendScope, &'static str, Option<u64>)> {
        let limit = |amount: Option<MicroDollars>| amount.map(MicroDollars::get);
        let month = SpendScope::Month(today.first_of_month());
        let mut wanted = vec![
            (SpendScope::Day(today), "day", limit(budget.per_day)),
            (month, "month", limit(budget.per_month)),
        ];
        for purpose in Purpose::ALL {
            let amount = match purpose {
                Purpose::Chat => budget.chat_per_day,
                Purpose::Feedback => budget.feedback_per_day,
                Purpose::Precompute => budget.precompute_per_day,
            };
            let scope = SpendScope::Purpose(today, purpose);
            wanted.push((scope, purpose.as_str(), limit(amount)));
        }
        wanted
    }

    fn new(
        today: Date,
        budget: &SpendBudget,
        wanted: Vec<(SpendScope, &'static str, Option<u64>)>,
        sums: Vec<SpendSum>,
    ) -> Self {
        let used = |((_, scope, limit_microdollars), sum): (_, SpendSum)| BudgetScope {
            scope,
            limit_microdollars,
            spent_microdollars: sum.spent.get(),
            set_aside_microdollars: sum.set_aside.get(),
        };
        Self {
            day: today,
            scopes: wanted.into_iter().zip(sums).map(used).collect(),
            per_user_limit_microdollars: budget.per_user.map(MicroDollars::get),
            premium_percent: budget.premium_percent,
        }
    }
}

/// What one tier did for one model on one day.
#[derive(Serialize, ToSchema)]
struct SpendItem {
    /// The day (UTC).
    #[schema(value_type = String, format = Date)]
    day: Date,
    tier: &'static str,
    /// Null for what the author wrote.
    #[schema(required = true)]
    model: Option<String>,
    /// Null where cases are added up.
    #[schema(required = true)]
    case_id: Option<Uuid>,
    /// How many feedbacks were served.
    resolutions: u64,
    /// What they cost, in millionths of a dollar.
    cost_microdollars: u64,
    /// What asking the model each time would have cost besides.
    saved_microdollars: u64,
}

/// The sums of all items.
#[derive(Serialize, ToSchema)]
struct SpendTotals {
    resolutions: u64,
    cost_microdollars: u64,
    saved_microdollars: u64,
}

impl From<SpendRow> for SpendItem {
    fn from(row: SpendRow) -> Self {
        Self {
            day: row.day,
            tier: row.tier.as_str(),
            model: row.model.map(|model| model.as_str().to_owned()),
            case_id: row.case_id.map(|case_id| *case_id.as_uuid()),
            resolutions: row.resolutions,
            cost_microdollars: row.cost.get(),
            saved_microdollars: row.saved.get(),
        }
    }
}

/// Show what was spent and saved.
#[utoipa::path(
    get,
    path = "/v1/admin/spend",
    tag = "admin",
    params(
        ("from" = Option<String>, Query, description = "The first day, such as `2026-01-31`; 29 days before the last if absent."),
        ("to" = Option<String>, Query, description = "The last day; today (UTC) if absent."),
        ("by_case" = Option<bool>, Query, description = "Whether each case has items of its own."),
    ),
    responses(
        (status = 200, description = "The figures.", body = SpendBody),
        (status = 403, description = "`role_missing`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn show_spend(
    State(app): State<Shared>,
    _: Admin,
    uri: Uri,
) -> Result<Response, Problem> {
    let params = Params::read(&uri, &["from", "to", "by_case"])?;
    let today = app.medcards.now().to_zoned(TimeZone::UTC).date();
    let query = spend_query(&params, today)?;
    // What was served a moment ago counts too.
    app.medcards.resolver().flush().await?;
    let rows = app.medcards.store().totals(&query).await?;
    let totals = SpendTotals {
        resolutions: rows.iter().map(|row| row.resolutions).sum(),
        cost_microdollars: rows.iter().map(|row| row.cost).sum::<MicroDollars>().get(),
        saved_microdollars: rows.iter().map(|row| row.saved).sum::<MicroDollars>().get(),
    };
    let budget = app.medcards.resolver().spend_budget();
    let wanted = BudgetBody::wanted(today, budget);
    let scopes: Vec<_> = wanted.iter().map(|(scope, ..)| *scope).collect();
    let sums = app.medcards.store().sums(&scopes).await?;
    Ok(json(&SpendBody {
        items: rows.into_iter().map(SpendItem::from).collect(),
        totals,
        budget: BudgetBody::new(today, budget, wanted, sums),
    }))
}

fn spend_query(params: &Params, today: Date) -> Result<SpendQuery, Problem> {
    let date = |name| {
        let read = |text: &str| {
            text.parse::<Date>()
                .ok()
                .ok_or_else(|| invalid(name, "it must be a day such as 2026-01-31"))
        };
        params.text(name).map(read).transpose()
    };
    let to = date("to")?.unwrap_or(today);
    let from = date("from")?.unwrap_or_else(|| to.saturating_sub(Span::new().days(29)));
    if from > to || from < to.saturating_sub(Span::new().days(SPEND_DAYS_MAX)) {
        return Err(invalid(
            "from",
            "it must be a day before `to`, at most ten years",
        ));
    }
    let by_case = match params.text("by_case") {
        None | Some("false" | "0") => false,
        Some("true" | "1") => true,
        Some(_) => return Err(invalid("by_case", "it must be true or false")),
    };
    Ok(SpendQuery { from, to, by_case })
}
