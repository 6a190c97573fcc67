//! The page where a person answers cases: files of this folder, served as they are.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName};
use axum::http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::routing::get;

/// Nothing but our own files and our own server: a case with a script in it stays a text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The routes of the page.
pub(crate) fn router() -> Router {
    let html = include_str!("page/index.html");
    Router::new()
        .route("/", get(|| file("text/html; charset=utf-8", html)))
        .route(
            "/page/app.js",
            get(|| {
                file(
                    "text/javascript; charset=utf-8",
                    include_str!("page/app.js"),
                )
            }),
        )
        .route(
            "/page/learn.js",
            get(|| {
                file(
                    "text/javascript; charset=utf-8",
                    include_str!("page/learn.js"),
                )
            }),
        )
        .route(
            "/page/style.css",
            get(|| file("text/css; charset=utf-8", include_str!("page/style.css"))),
        )
        .route(
            "/page/icon.svg",
            get(|| file("image/svg+xml", include_str!("page/icon.svg"))),
        )
}

async fn file(
    media_type: &'static str,
    text: &'static str,
) -> ([(HeaderName, &'static str); 5], &'static str) {
    let headers = [
        (CONTENT_TYPE, media_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // A new build must not meet the script of an old one.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}
