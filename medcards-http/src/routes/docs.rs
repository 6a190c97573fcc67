use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::Config;

use crate::api::Shared;
use crate::problem::{Problem, ProblemCode};

/// Where the page finds the description, seen from itself, so that it works wherever the router is
/// mounted.
static CONFIG: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from("../openapi.json").persist_authorization(true)));

/// Adds the page for people. Its files are in the program, so that it needs no network.
pub(super) fn add_to(router: OpenApiRouter<Shared>) -> OpenApiRouter<Shared> {
    router
        .route("/docs", get(to_page))
        .route("/docs/", get(|| async { file("") }))
        .route(
            "/docs/{*file}",
            get(|Path(path): Path<String>| async move { file(&path) }),
        )
}

async fn to_page() -> Response {
    (
        StatusCode::PERMANENT_REDIRECT,
        [(header::LOCATION, "docs/")],
    )
        .into_response()
}

fn file(path: &str) -> Response {
    let Ok(Some(file)) = utoipa_swagger_ui::serve(path, Arc::clone(&CONFIG)) else {
        return Problem::new(ProblemCode::RouteNotFound).into_response();
    };
    let mut response = Response::new(Body::from(file.bytes.into_owned()));
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::try_from(file.content_type) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    if file.gzpipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}
