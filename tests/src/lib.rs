//! Real servers and broken networks for the tests of all crates: [`pg`] starts PostgreSQL clusters,
//! their replicas and PgBouncer, [`redis`] starts Redis alone, under Sentinels and as a cluster,
//! [`proxy`] breaks what goes over TCP. [`learnt`]
//! compares views with their log. And [`upstash`], what another rate limiter decides.
//!
//! Everything here panics with clear words where a test cannot go on. Linux only, because it reads
//! `/proc`. What has to be installed is installed by `./tests/run`.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "this is test support: what cannot go on panics"
)]

pub mod learnt;
pub mod pg;
pub mod proxy;
pub mod redis;
pub mod upstash;

mod account;
mod certificates;
mod guard;
mod lock;
mod port;
mod wait;
