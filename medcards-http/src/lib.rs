//! The HTTP API of MEDCARDS: an axum router to mount in your own program, or to serve.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use medcards_core::{app::Medcards, memory::MemoryStore};
//! use medcards_http::{Guests, HttpConfig};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let medcards = Medcards::builder(Arc::new(MemoryStore::new())).build().await?;
//! let config = HttpConfig::new()
//!     .with_jwt_secret("at least 32 bytes that nobody guesses")
//!     .with_guests(Guests::Enabled);
//! let api = medcards_http::router(medcards.clone(), config)?;
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! let stop = async { /* wait for a signal */ };
//! medcards_http::serve(listener, api, stop).await?;
//! medcards.close(std::time::Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! To mount it beside other routes, take [`Api::router`] and nest or merge it. Serve the whole with
//! `into_make_service_with_connect_info::<SocketAddr>()`, so that calls without a token can be
//! limited by address, and call [`Api::drain`] when the server begins to stop.
//!
//! Every error is an [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem with a stable
//! [`code`](ProblemCode). The contract is at `/openapi.json`, and for people at `/docs`.
//!
//! # Rate limits
//! Each call of `/v1` is counted once, against several quotas or against none of them:
//!
//! | quota | of whom | default | set with |
//! | --- | --- | --- | --- |
//! | `client` | the user, or the address without a token | 100 a minute | [`HttpConfig::with_quota`] |
//! | `login` | the address, on what begins a session or makes a guest | 100 a minute | [`HttpConfig::with_login_quota`] |
//! | `ai` | the client, on feedback | 60 a minute | [`HttpConfig::with_ai_quota`] |
//! | `chat` | the client, on chat | 20 a minute | [`HttpConfig::with_chat_quota`] |
//! | the route's name | the client, on one route | none | [`HttpConfig::with_route_quota`] |
//! | `address` | the address, whoever calls | none | [`HttpConfig::with_address_quota`] |
//!
//! Responses tell of them in the fields `RateLimit` and `RateLimit-Policy`, as the
//! [draft](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/) of the IETF has
//! them, in this order. What calls cost is written at `/docs`. Who counts is
//! [`HttpConfig::with_limiter`]; while it fails, nothing is limited.
//!
//! # Live events
//! `GET /v1/me/live` is a WebSocket, and `GET /v1/me/notices/stream` the same as server-sent events: what
//! a student is told, as it happens. Each message has a cursor; a client that comes back with the last
//! one it saw gets each notice once and misses none, from whichever process. `GET /v1/me/notices` reads
//! the same page by page. They need [`HttpConfig::with_learning`]. A server of your own does not wait for
//! WebSockets when it stops: wait for [`Api::drained`] too.
//!
//! # Features
//! - `jwks` (default): tokens that somebody else signed, checked with keys from a JWKS address.

mod config;
mod problem;

mod address;
mod alias;
mod auth;
mod boards;
mod limit;
mod live;
mod origin;

mod body;
mod negotiate;
mod params;

mod api;
mod drain;
mod edge;
mod exposition;
mod impatient;
mod serve;
mod telemetry;

pub mod import;
mod routes;

pub use api::{Api, operation_router, router};
pub use config::{Guests, HttpConfig};
pub use problem::ProblemCode;
pub use serve::serve;
