use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::Router;
use bytes::Bytes;
use medcards_core::app::Medcards;
use medcards_core::learning::Learning;
use medcards_core::view::{ProjectionRow, View, ViewName};
use medcards_core::{Error, ErrorKind, Result};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};
use utoipa_axum::router::OpenApiRouter;

use crate::auth::Auth;
use crate::boards::Boards;
use crate::config::HttpConfig;
use crate::drain::Drain;
use crate::edge::EdgeLayer;
use crate::limit::Limits;
use crate::live::Live;
use crate::origin::Origins;
use crate::problem::{Problem, ProblemCode, name};
use crate::routes;
use crate::telemetry::Telemetry;

/// What all handlers share.
pub(crate) type Shared = Arc<App>;

pub(crate) struct App {
    pub(crate) medcards: Medcards,
    pub(crate) config: HttpConfig,
    pub(crate) auth: Auth,
    pub(crate) boards: Boards,
    pub(crate) limits: Limits,
    pub(crate) live: Option<Live>,
    pub(crate) origins: Origins,
    pub(crate) drain: Drain,
    pub(crate) telemetry: Telemetry,
    pub(crate) openapi: Bytes,
    /// Tells the requests of this process from those of others.
    pub(crate) process_tag: u32,
    pub(crate) requests: AtomicU64,
}

impl App {
    /// What is learnt from answers, if anything is.
    pub(crate) fn learnt(&self) -> std::result::Result<&Learning, Problem> {
        self.config.learning.as_ref().ok_or_else(learning_disabled)
    }

    /// Reads a view of what is learnt.
    pub(crate) fn view<R: ProjectionRow>(
        &self,
        name: &str,
    ) -> std::result::Result<View<R>, Problem> {
        let store = Arc::clone(self.learnt()?.learning_store());
        let name = ViewName::new(name).ok_or_else(|| {
            Error::new(ErrorKind::Unexpected, "read view", "the view has no name")
        })?;
        Ok(View::new(name, store))
    }

    /// The live connections, if there may be any.
    pub(crate) fn live(&self) -> std::result::Result<&Live, Problem> {
        self.live.as_ref().ok_or_else(learning_disabled)
    }
}

fn learning_disabled() -> Problem {
    Problem::new(ProblemCode::LearningDisabled)
        .with_detail("ask whoever runs the server to keep what is learnt")
}

/// The API: a router, and a handle to stop it gently.
///
/// Cloning gives a handle on the same API.
#[derive(Clone)]
pub struct Api {
    router: Router,
    app: Shared,
}

impl Api {
    /// The router, to mount or to serve. It needs no state.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Serves these routes beside its own, such as a page of yours.
    ///
    /// They pass none of the layers of the API: no token, no rate limit, no timeout.
    ///
    /// # Panics
    /// If a path is one of the API's.
    #[must_use]
    pub fn with_routes(self, routes: Router) -> Self {
        Self {
            router: routes.merge(self.router),
            app: self.app,
        }
    }

    /// Begins to stop: `/readyz` says so from now on, and streams end within the patience of
    /// [`HttpConfig::with_drain_patience`]. Other requests are served as before. Calling it again
    /// changes nothing.
    ///
    /// Call it when whoever serves the router stops accepting; [`serve`](crate::serve) does so.
    pub fn drain(&self) {
        self.app.drain.begin();
    }

    /// Waits until all live connections have ended, which [`drain`](Self::drain) makes them do within
    /// seconds. Servers wait for requests under way, but not for WebSockets.
    ///
    /// # Cancel safety
    /// Nothing changes.
    pub async fn drained(&self) {
        self.app.drain.tasks().wait().await;
    }

    pub(crate) fn app(&self) -> &Shared {
        &self.app
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("medcards", &self.app.medcards)
            .field("config", &self.app.config)
            .field("drain", &self.app.drain)
            .finish_non_exhaustive()
    }
}

/// Builds the API on a platform.
///
/// # Errors
/// [`ErrorKind::Invalid`] for a configuration that cannot work, saying what to set.
pub fn router(medcards: Medcards, config: HttpConfig) -> Result<Api> {
    build(medcards, config, routes::all())
}

/// Builds what whoever runs a process looks at, and nothing else of the API: the probes and the metrics.
///
/// It is for a process that keeps views and does jobs for servers beside it.
///
/// # Errors
/// As [`router`].
pub fn operation_router(medcards: Medcards, config: HttpConfig) -> Result<Api> {
    build(medcards, config, routes::operation())
}

fn build(medcards: Medcards, config: HttpConfig, described: OpenApiRouter<Shared>) -> Result<Api> {
    let (routes, openapi) = described.split_for_parts();
    let limited = routes::limited(&openapi);
    let openapi = openapi.to_json().map_err(|source| {
        Error::new(
            ErrorKind::Unexpected,
            "describe the API",
            "the description cannot be written",
        )
        .with_source(source)
    })?;
    let cors = cors(&config.cors_origins)?;
    let app = Arc::new(App {
        auth: Auth::new(&config, medcards.clone())?,
        boards: Boards::new(&config)?,
        limits: Limits::new(&config, &limited, Arc::clone(medcards.clock()))?,
        live: config.learning.as_ref().map(|learning| {
            let notices = Arc::clone(learning.learning_store());
            Live::new(notices, &config, Arc::clone(medcards.clock()))
        }),
        origins: Origins::new(&config.cors_origins),
        drain: Drain::new(config.drain_patience),
        telemetry: Telemetry::new()?,
        openapi: openapi.into(),
        process_tag: process_tag(&medcards),
        requests: AtomicU64::new(1),
        medcards,
        config,
    });
    let mut router = routes
        .fallback(routes::route_not_found)
        .method_not_allowed_fallback(routes::method_not_allowed)
        .layer(EdgeLayer(Arc::clone(&app)))
        .with_state(Arc::clone(&app));
    if let Some(cors) = cors {
        router = router.layer(cors);
    }
    Ok(Api { router, app })
}

/// What browsers may do on other people's pages; `None` if nothing.
fn cors(origins: &[String]) -> Result<Option<CorsLayer>> {
    if origins.is_empty() {
        return Ok(None);
    }
    let invalid = |_| {
        Error::new(
            ErrorKind::Invalid,
            "read CORS origins",
            "each must be an origin such as https://app.example.org",
        )
    };
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let origins = origins.iter().map(|origin| origin.parse().map_err(invalid));
        AllowOrigin::list(origins.collect::<Result<Vec<_>>>()?)
    };
    let exposed = [
        "etag",
        "location",
        "medcards-consistency",
        "ratelimit",
        "ratelimit-policy",
        "retry-after",
        "x-request-id",
    ];
    let cors = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods(Any)
        .allow_headers([
            axum::http::header::ACCEPT,
            axum::http::header::AUTHORIZATION,
            axum::http::header::CONTENT_TYPE,
            axum::http::header::IF_NONE_MATCH,
            name("last-event-id"),
            name("medcards-consistency"),
            name("x-request-id"),
        ])
        .expose_headers(exposed.map(name));
    Ok(Some(cors))
}

/// Random bits of a new id.
fn process_tag(medcards: &Medcards) -> u32 {
    let id = medcards_core::AnswerId::new(medcards.now());
    let [.., a, b, c, d] = *id.as_bytes();
    u32::from_be_bytes([a, b, c, d])
}
