use axum::extract::State;
use axum::response::Response;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{Object, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, Content, Ref, RefOr, Response as Described, ResponseBuilder};
use utoipa::{OpenApi, ToSchema};

use super::json_bytes;
use crate::api::Shared;
use crate::limit::described;
use crate::problem::{Fault, ProblemBody, ProblemCode};

const PROBLEM_JSON: &str = "application/problem+json";

/// The paths whose calls are counted.
const LIMITED_PATHS: &str = "/v1/";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "MEDCARDS",
        description = "Clinical cases, answers and feedback. Errors are problems (RFC 9457) with a \
                       stable `code`. Lists are walked with `cursor`.",
        license(name = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "users", description = "Who calls."),
        (name = "cases", description = "What is asked."),
        (name = "answers", description = "What was chosen, and the feedback on it."),
        (name = "chat", description = "Questions to the coach about an answered case."),
        (name = "learning", description = "What is learnt from my answers, and what I am told of it."),
        (name = "leaderboards", description = "How I do among others. A right answer is a point."),
        (name = "admin", description = "For the role `admin`, and where it says so `reviewer`."),
        (name = "operation", description = "For whoever runs the server."),
    ),
    components(schemas(ProblemBody<'static>, Fault, ProblemCode)),
)]
struct Document;

/// What the description begins with, before the routes add theirs.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document
}

/// Adds what all routes have in common: how tokens are sent, how calls count, and that any error is
/// a problem.
pub(super) fn complete(document: &mut utoipa::openapi::OpenApi) {
    let limits = described(&limited(document));
    if let Some(description) = &mut document.info.description {
        description.push_str("\n\n");
        description.push_str(&limits);
    }
    let components = document.components.get_or_insert_with(Components::new);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    components
        .responses
        .insert("Problem".to_owned(), RefOr::T(problem()));
    components
        .responses
        .insert("RateLimited".to_owned(), RefOr::T(rate_limited()));
    for (path, item) in &mut document.paths.paths {
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
            &mut item.patch,
        ];
        for operation in operations.into_iter().flatten() {
            let responses = &mut operation.responses.responses;
            for (status, response) in responses.iter_mut() {
                if let RefOr::T(response) = response
                    && status.starts_with(['4', '5'])
                {
                    response
                        .content
                        .insert(PROBLEM_JSON.to_owned(), RefOr::T(problem_content()));
                }
            }
            if path.starts_with(LIMITED_PATHS) {
                let limited = RefOr::Ref(Ref::from_response_name("RateLimited"));
                responses.insert("429".to_owned(), limited);
            }
            let default = RefOr::Ref(Ref::from_response_name("Problem"));
            responses.insert("default".to_owned(), default);
        }
    }
}

/// The routes whose calls are counted, such as `GET /v1/cases`, in the order of their paths.
pub(crate) fn limited(document: &utoipa::openapi::OpenApi) -> Vec<String> {
    let mut routes = Vec::new();
    for (path, item) in &document.paths.paths {
        let operations = [
            ("GET", &item.get),
            ("PUT", &item.put),
            ("POST", &item.post),
            ("DELETE", &item.delete),
            ("PATCH", &item.patch),
        ];
        for (method, operation) in operations {
            if operation.is_some() && path.starts_with(LIMITED_PATHS) {
                routes.push(format!("{method} {path}"));
            }
        }
    }
    routes
}

fn rate_limited() -> Described {
    let header = |description: &str, kind| {
        HeaderBuilder::new()
            .description(Some(description))
            .schema(Some(Object::with_type(kind)))
            .build()
    };
    ResponseBuilder::new()
        .description("`rate_limited`: a quota is used up. `violated-policies` names it.")
        .header(
            "ratelimit",
            header(
                "What is left of each quota, and in how many seconds it is whole.",
                Type::String,
            ),
        )
        .header(
            "ratelimit-policy",
            header("Each quota, and its window in seconds.", Type::String),
        )
        .header(
            "retry-after",
            header(
                "In how many seconds the call may be tried again.",
                Type::Integer,
            ),
        )
        .content(PROBLEM_JSON, problem_content())
        .build()
}

fn problem() -> Described {
    ResponseBuilder::new()
        .description("What went wrong, with a stable code.")
        .content(PROBLEM_JSON, problem_content())
        .build()
}

fn problem_content() -> Content {
    Content::new(Some(RefOr::Ref(Ref::from_schema_name(ProblemBody::name()))))
}

/// Show this description.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operation",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object)),
)]
pub(super) async fn show_openapi(State(app): State<Shared>) -> Response {
    json_bytes(app.openapi.clone())
}
