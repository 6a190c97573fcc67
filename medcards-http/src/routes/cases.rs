use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use medcards_core::app::ShownCase;
use medcards_core::case::{CaseFilter, CaseQuery, CaseVersion, Difficulty, OptionOrder};
use medcards_core::learning::next::{LastTime, NextReason};
use medcards_core::{CaseId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{PageBody, json};
use crate::api::Shared;
use crate::auth::Student;
use crate::negotiate::{WantedConsistency, none_match_names};
use crate::params::{Params, PathId, invalid};
use crate::problem::{Problem, ProblemCode};

/// A case as one student sees it before answering: nothing in it tells which option is right.
#[derive(Serialize, ToSchema)]
#[schema(as = Case)]
struct CaseBody<'a> {
    /// Names the case through all its versions.
    id: Uuid,
    /// Which edition this is.
    version: u32,
    /// The language, such as `en`.
    lang: String,
    /// The question.
    stem: &'a str,
    /// The story before the question, in labelled parts.
    vignette: Vec<VignetteBody<'a>>,
    /// The options, in the order for this student.
    options: Vec<OptionBody<'a>>,
    /// Whether more than one may be chosen.
    multi: bool,
    #[schema(required = true)]
    specialty: Option<&'a str>,
    #[schema(required = true)]
    topic: Option<&'a str>,
    /// `easy`, `medium` or `hard`, as the author thinks.
    #[schema(required = true)]
    difficulty: Option<&'static str>,
    media: Vec<MediaBody<'a>>,
    source: SourceBody<'a>,
}

/// A labelled part of the story.
#[derive(Serialize, ToSchema)]
#[schema(as = VignetteField)]
struct VignetteBody<'a> {
    label: &'a str,
    text: &'a str,
}

/// An option.
#[derive(Serialize, ToSchema)]
#[schema(as = Option)]
struct OptionBody<'a> {
    /// Names it within its case; it stays with the option when shuffled.
    key: &'a str,
    text: &'a str,
}

/// A picture, sound or film.
#[derive(Serialize, ToSchema)]
#[schema(as = Media)]
struct MediaBody<'a> {
    url: &'a str,
    media_type: &'a str,
    /// What it shows, for who cannot see or hear it.
    alt: &'a str,
}

/// Where a case comes from.
#[derive(Serialize, ToSchema)]
#[schema(as = Source)]
struct SourceBody<'a> {
    /// The collection.
    name: &'a str,
    /// The name of the case within it.
    external_id: &'a str,
    /// The terms under which it may be used.
    #[schema(required = true)]
    licence: Option<&'a str>,
}

/// The next case, with the reason.
#[derive(Serialize, ToSchema)]
#[schema(as = NextCase)]
struct NextCaseBody<'a> {
    #[serde(flatten)]
    case: CaseBody<'a>,
    /// `due` for one I am about to forget, `weak_topic`, `untried` for a topic I have not tried, `match` for
    /// one that suits me, `exploration` for a new case, `unseen`, or `longest_ago` when all are answered.
    /// New ones may be added.
    reason: &'static str,
    /// The reason in a sentence in English.
    because: String,
    /// What the reason is made of.
    reason_data: ReasonBody,
}

/// What the reason for a case is made of; what does not belong to it is absent.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = ReasonData)]
struct ReasonBody {
    /// The topic, or else the specialty.
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    /// When I last answered the case.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_at: Option<Timestamp>,
    /// How that answer was: `right`, `unsure`, `wrong` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_time: Option<&'static str>,
    /// The chance that I know it still, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    recall_percent: Option<u8>,
    /// The chance that I answer rightly, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    chance_percent: Option<u8>,
    /// The share of the topic in the exam, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    exam_percent: Option<u8>,
    /// How many answers the case has.
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<u64>,
}

impl From<&NextReason> for ReasonBody {
    fn from(reason: &NextReason) -> Self {
        let named = |topic: &String| (!topic.is_empty()).then(|| topic.clone());
        match reason {
            NextReason::Due {
                topic,
                last_at,
                recall_percent,
                memory,
                ..
            } => Self {
                topic: named(topic),
                last_at: Some(*last_at),
                last_time: Some(match memory {
                    LastTime::Right => "right",
                    LastTime::Unknown => "unknown",
                    LastTime::Unsure => "unsure",
                    LastTime::Wrong => "wrong",
                }),
                recall_percent: Some(*recall_percent),
                ..Self::default()
            },
            NextReason::Exploration { answers } => Self {
                answers: Some(*answers),
                ..Self::default()
            },
            NextReason::Match {
                topic,
                chance_percent,
            } => Self {
                topic: named(topic),
                chance_percent: Some(*chance_percent),
                ..Self::default()
            },
            NextReason::Untried {
                topic,
                exam_percent,
            } => Self {
                topic: named(topic),
                exam_percent: Some(*exam_percent),
                ..Self::default()
            },
            NextReason::WeakTopic {
                topic,
                chance_percent,
                exam_percent,
            } => Self {
                topic: named(topic),
                chance_percent: Some(*chance_percent),
                exam_percent: Some(*exam_percent),
                ..Self::default()
            },
            // The others say all by their names, and of those to come nothing is known.
            _ => Self::default(),
        }
    }
}

impl<'a> CaseBody<'a> {
    fn new(shown: &'a ShownCase) -> Self {
        let content = &shown.case.content;
        let vignette = content.vignette().iter();
        let media = content.media().iter();
        Self {
            id: *shown.case.id.as_uuid(),
            version: shown.case.version.get(),
            lang: content.locale().to_string(),
            stem: content.stem(),
            vignette: vignette
                .map(|f| VignetteBody {
                    label: &f.label,
                    text: &f.text,
                })
                .collect(),
            options: shown
                .options()
                .map(|option| OptionBody {
                    key: option.key.as_str(),
                    text: &option.text,
                })
                .collect(),
            multi: content.several_right(),
            specialty: content.specialty(),
            topic: content.topic(),
            difficulty: content.difficulty().map(difficulty_name),
            media: media
                .map(|m| MediaBody {
                    url: &m.url,
                    media_type: &m.media_type,
                    alt: &m.alt,
                })
                .collect(),
            source: SourceBody {
                name: content.source(),
                external_id: content.external_id(),
                licence: content.licence(),
            },
        }
    }
}

fn difficulty_name(difficulty: Difficulty) -> &'static str {
    match difficulty {
        Difficulty::Easy => "easy",
        Difficulty::Medium => "medium",
        Difficulty::Hard => "hard",
    }
}

/// List or search the cases.
#[utoipa::path(
    get,
    path = "/v1/cases",
    tag = "cases",
    params(
        ("specialty" = Option<String>, Query, description = "Only cases of this specialty, without regard to case."),
        ("lang" = Option<String>, Query, description = "Only cases in this language, such as `en`."),
        ("q" = Option<String>, Query, description = "Only cases with these words, best matches first."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, description = "1 to 100; 20 if absent.", minimum = 1, maximum = 100),
    ),
    responses((status = 200, description = "A page.", body = PageBody<CaseBody<'_>>)),
    security(("bearer" = [])),
)]
pub(super) async fn list_cases(
    State(app): State<Shared>,
    Student(student): Student,
    uri: Uri,
) -> Result<Response, Problem> {
    let params = Params::read(&uri, &["specialty", "lang", "q", "cursor", "limit"])?;
    let (after, limit) = params.page()?;
    let search = params.text("q").map(str::to_owned);
    let query = CaseQuery {
        filter: filter(&params)?,
        search,
        after,
        limit,
    };
    let page = app
        .medcards
        .store()
        .list_cases(&query)
        .await
        .map_err(|error| {
            // The rest of the query was checked here.
            Problem::from(error).or_invalid(ProblemCode::InvalidParameter)
        })?;
    let shown: Vec<ShownCase> = page
        .items
        .into_iter()
        .map(|case| ShownCase {
            order: case.order_shown_to(&student.id),
            case,
        })
        .collect();
    Ok(json(&PageBody::new(
        shown.iter().map(CaseBody::new).collect(),
        page.next,
    )))
}

fn filter(params: &Params) -> Result<CaseFilter, Problem> {
    let specialty = params.text("specialty").map(str::to_owned);
    Ok(CaseFilter {
        specialty,
        locale: params.parse("lang")?,
    })
}

/// Show the case that this student should see next.
#[utoipa::path(
    get,
    path = "/v1/cases/next",
    tag = "cases",
    params(
        ("specialty" = Option<String>, Query, description = "Only cases of this specialty."),
        ("lang" = Option<String>, Query, description = "Only cases in this language."),
        ("medcards-consistency" = Option<String>, Header, description = "What submitting an answer gave, to go on after that answer."),
    ),
    responses(
        (status = 200, description = "The case.", body = NextCaseBody<'_>),
        (status = 404, description = "`no_case_left`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn next_case(
    State(app): State<Shared>,
    Student(student): Student,
    WantedConsistency(consistency): WantedConsistency,
    uri: Uri,
) -> Result<Response, Problem> {
    let params = Params::read(&uri, &["specialty", "lang"])?;
    let filter = filter(&params)?;
    let next = match &app.config.learning {
        Some(learning) => {
            let next = learning
                .next_case(student.id, &filter, &consistency)
                .await?;
            next.map(|next| (next.shown, next.reason))
        }
        None => {
            let next = app
                .medcards
                .next_case(student.id, &filter, &consistency)
                .await?;
            next.map(|(shown, reason)| (shown, reason.into()))
        }
    };
    let (shown, reason) = next.ok_or(ProblemCode::NoCaseLeft)?;
    Ok(json(&NextCaseBody {
        case: CaseBody::new(&shown),
        reason: reason.kind(),
        because: reason.to_string(),
        reason_data: (&reason).into(),
    }))
}

/// Show a case.
#[utoipa::path(
    get,
    path = "/v1/cases/{case_id}",
    tag = "cases",
    params(
        ("case_id" = Uuid, Path),
        ("version" = Option<u32>, Query, description = "Which edition; the current one if absent.", minimum = 1),
        ("if-none-match" = Option<String>, Header, description = "The ETag of a copy."),
    ),
    responses(
        (status = 200, description = "The case.", body = CaseBody<'_>, headers(("etag" = String, description = "Changes with the version and with the student."))),
        (status = 304, description = "The copy is current."),
        (status = 404, description = "`case_not_found`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn show_case(
    State(app): State<Shared>,
    PathId(case_id): PathId<CaseId>,
    Student(student): Student,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let params = Params::read(&uri, &["version"])?;
    let version = params.number("version")?.map(|number| {
        CaseVersion::new(number).ok_or_else(|| invalid("version", "it must be at least 1"))
    });
    let shown = app
        .medcards
        .show_case(student.id, case_id, version.transpose()?)
        .await;
    let shown =
        shown.map_err(|error| Problem::from(error).or_not_found(ProblemCode::CaseNotFound))?;
    let tag = entity_tag(shown.case.version, &shown.order);
    let mut response = if none_match_names(&headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        json(&CaseBody::new(&shown))
    };
    let response_headers = response.headers_mut();
    // Digits, letters, a hyphen and quotes are always a good header.
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response_headers.insert(header::ETAG, tag);
    }
    let private = HeaderValue::from_static("private, no-cache");
    response_headers.insert(header::CACHE_CONTROL, private);
    response_headers.insert(header::VARY, HeaderValue::from_static("authorization"));
    Ok(response)
}

/// Names what is shown: a version never changes, so it and the order of the options tell all.
///
/// The first digit is that of this form of a case.
fn entity_tag(version: CaseVersion, order: &OptionOrder) -> String {
    let letters: String = order
        .positions()
        .iter()
        .map(|position| char::from(b'a' + position % 26))
        .collect();
    format!("\"1-{version}-{letters}\"")
}
