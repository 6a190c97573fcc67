use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tokio::time::timeout;
use tower::{Layer, Service};
use tracing::Instrument;

use crate::api::Shared;
use crate::problem::{Problem, ProblemCode, name};
use crate::routes;

const REQUEST_ID: HeaderName = name("x-request-id");

/// The longest request id of a client's that is taken over, in bytes; a UUID has 36.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// How long an import may take. It watches its own time too, chunk by chunk.
const IMPORT_TIMEOUT: Duration = Duration::from_hours(24);

/// What every request passes on its way in and out, in one layer so that it costs little: request
/// id, who calls, rate limit, timeout, panics, the last touch on problems, figures and the log.
#[derive(Clone)]
pub(crate) struct EdgeLayer(pub(crate) Shared);

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;

    fn layer(&self, inner: S) -> Edge<S> {
        Edge {
            app: Arc::clone(&self.0),
            inner,
        }
    }
}

/// See [`EdgeLayer`].
#[derive(Clone)]
pub(crate) struct Edge<S> {
    app: Shared,
    inner: S,
}

impl<S> Service<Request> for Edge<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The one that was asked whether it is ready must be the one that is called.
        let ready = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, ready);
        let app = Arc::clone(&self.app);
        Box::pin(async move { Ok(pass(app, inner, request).await) })
    }
}

async fn pass<S>(app: Shared, inner: S, request: Request) -> Response
where
    S: Service<Request, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send,
{
    let clock = app.medcards.clock();
    let started_us = clock.monotonic_us();
    let request_id = request_id(&app, request.headers());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let span = tracing::info_span!("request", %method, route, request_id = ?request_id);

    let limit = time_limit(&app, &method, request.uri().path());
    let handled = AssertUnwindSafe(admit(&app, inner, request)).catch_unwind();
    let mut response = match timeout(limit, handled.instrument(span.clone())).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => panicked(&*panic),
        // Not 408, which says that nothing was done: a write that is queued is done all the same.
        Err(_) => Problem::new(ProblemCode::Unfinished)
            .with_detail("send it again unchanged; an answer with an id counts once")
            .into_response(),
    };

    let now_us = clock.monotonic_us();
    let took = Duration::from_micros(now_us.saturating_sub(started_us));
    span.in_scope(|| finish(&mut response, request_id, took));
    app.telemetry
        .answered(route, &method, response.status(), took);
    app.telemetry.keep_up(now_us);
    response
}

/// How long the request may take until its response begins.
fn time_limit(app: &Shared, method: &Method, path: &str) -> Duration {
    if method == Method::POST && path == routes::admin::CASES_PATH {
        return IMPORT_TIMEOUT;
    }
    app.config.request_timeout
}

/// Lets a request in: finds out who calls, and counts the call.
async fn admit<S>(app: &Shared, mut inner: S, mut request: Request) -> Response
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let mut allowance = None;
    if request.uri().path().starts_with("/v1/") {
        let (headers, extensions) = (request.headers(), request.extensions());
        let network = || app.limits.network(headers, extensions);
        let identity = app
            .auth
            .identify(headers, request.uri().path(), network)
            .await;
        let user_id = identity.0.ok().map(|caller| caller.user_id);
        let claim = app.limits.claim(&request, user_id);
        match app.limits.check(claim).await {
            Ok(allowed) => allowance = allowed,
            Err(refusal) => {
                let mut response = refusal.problem.into_response();
                refusal.allowance.tell(response.headers_mut());
                return response;
            }
        }
        request.extensions_mut().insert(identity);
    }
    let Ok(mut response) = inner.call(request).await;
    if let Some(allowance) = allowance {
        allowance.tell(response.headers_mut());
    }
    response
}

/// The client's id of the request if it is sane, else one of our own.
fn request_id(app: &Shared, headers: &HeaderMap) -> HeaderValue {
    let is_sane = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        let fits = !bytes.is_empty() && bytes.len() <= REQUEST_ID_BYTES_MAX;
        fits && bytes.iter().all(u8::is_ascii_graphic)
    };
    if let Some(given) = headers.get(REQUEST_ID).filter(is_sane) {
        return given.clone();
    }
    let number = app.requests.fetch_add(1, Ordering::Relaxed);
    // Hexadecimal digits and a hyphen are always a good header.
    HeaderValue::try_from(format!("{:08x}-{number:08x}", app.process_tag))
        .unwrap_or(HeaderValue::from_static("unnamed"))
}

fn panicked(panic: &(dyn Any + Send)) -> Response {
    let message = panic.downcast_ref::<&str>().copied();
    let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(
        panic = message.unwrap_or("without a message"),
        "a handler panicked"
    );
    Problem::new(ProblemCode::Internal).into_response()
}

/// Gives a response what every response has, and a problem the id of its request.
fn finish(response: &mut Response, request_id: HeaderValue, took: Duration) {
    let status = response.status();
    if let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() {
        let code = problem.code().as_str();
        match problem.cause() {
            Some(error) => tracing::error!(code, %error, "a request failed"),
            None => tracing::debug!(code, "a request was refused"),
        }
        *response.body_mut() = Body::from(problem.body(request_id.to_str().ok()));
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, request_id);
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    tracing::debug!(
        status = status.as_u16(),
        took_us = took.as_micros(),
        "answered"
    );
}
