use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;

use super::NO_STORE;
use crate::api::Shared;
use crate::exposition::write_metrics;

/// Show figures for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operation",
    responses((status = 200, description = "Prometheus text.", body = String, content_type = "text/plain; version=0.0.4")),
)]
pub(super) async fn show_metrics(State(app): State<Shared>) -> Response {
    let mut text = app.telemetry.render(&app.medcards.resolver().counts());
    let mut sources = app.config.metrics.clone();
    if let Some(live) = &app.live {
        sources.push(Arc::clone(&live.figures) as _);
    }
    write_metrics(&mut text, &sources);
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, NO_STORE);
    response
}
