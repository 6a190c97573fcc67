#![doc = include_str!("../../README.md")]
//!
//! # Modules
//!
//! Everything of `medcards-core` is at the root. Each sibling that is switched on is a module; all
//! but `postgres` and `redis` are on by default, and each only adds.
//!
//! | module | crate | feature |
//! | --- | --- | --- |
//! | `caches` | `medcards-cache` | `moka`, `redis` |
//! | `http` | `medcards-http` | `http` |
//! | `jobs` | `medcards-jobs` | `jobs` |
//! | `postgres` | `medcards-store-pg` | `postgres` |
//! | `providers` | `medcards-ai` | `ai` |
//! | `sqlite` | `medcards-store-sqlite` | `sqlite` |
//!
//! The feature `conformance`, off by default, adds the checks that every backend runs, and `webhook`,
//! off too, what tells another server of badges and regraded answers.

#[doc(inline)]
pub use medcards_core::*;

#[cfg(feature = "http")]
#[doc(inline)]
pub use medcards_http as http;

#[cfg(feature = "jobs")]
#[doc(inline)]
pub use medcards_jobs as jobs;

#[cfg(any(feature = "moka", feature = "redis"))]
#[doc(inline)]
pub use medcards_cache as caches;

#[cfg(feature = "ai")]
#[doc(inline)]
pub use medcards_ai as providers;

#[cfg(feature = "postgres")]
#[doc(inline)]
pub use medcards_store_pg as postgres;

#[cfg(feature = "sqlite")]
#[doc(inline)]
pub use medcards_store_sqlite as sqlite;
