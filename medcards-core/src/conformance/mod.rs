//! The conformance suite: one check for each promise that the traits make.
//!
//! A backend, or a wrapper around one, runs all of them with one line in a test module of its own.
//! Each check becomes a test, once on the backend as it is and once behind `Arc<dyn ...>`. The
//! crate of the tests needs `tokio` with the features `macros` and `rt-multi-thread`.
//!
//! ```
//! mod memory_store {
//!     use medcards_core::memory::MemoryStore;
//!
//!     /// A fresh, empty backend, and a guard that is dropped after the check.
//!     async fn make() -> (MemoryStore, ()) {
//!         (MemoryStore::new(), ())
//!     }
//!
//!     medcards_core::store_conformance!(make);
//! }
//! # fn main() {}
//! ```
//!
//! The checks are also plain functions, and listed in [`STORE_CHECKS`], [`BATCH_CHECKS`],
//! [`CACHE_CHECKS`], [`CHAT_CHECKS`], [`JOB_CHECKS`], [`LEADERBOARD_CHECKS`], [`LEASE_CHECKS`],
//! [`LEDGER_CHECKS`], [`LIMITER_CHECKS`], [`NOTICE_CHECKS`], [`SESSION_CHECKS`],
//! [`SHARED_ANSWER_CHECKS`] and [`VIEW_CHECKS`]. A check panics if the promise
//! is broken. It wants a backend that is fresh, and a multi-threaded runtime to make its concurrent
//! calls truly concurrent.

#![expect(
    clippy::missing_panics_doc,
    reason = "panicking is how a check says no"
)]

mod list;
mod run;
mod steps;
mod whole;

pub mod answers;
pub mod batches;
pub mod cache;
pub mod cases;
pub mod chats;
pub mod corrections;
pub mod events;
pub mod jobs;
pub mod leaderboards;
pub mod leases;
pub mod limiter;
pub mod notices;
pub mod precomputed;
pub mod search;
pub mod sessions;
pub mod shared_answers;
pub mod spend;
pub mod transfer;
pub mod users;
pub mod views;

pub use list::{
    BATCH_CHECKS, CACHE_CHECKS, CHAT_CHECKS, Check, DrivenLimiter, JOB_CHECKS, LEADERBOARD_CHECKS,
    LEASE_CHECKS, LEDGER_CHECKS, LIMITER_CHECKS, NOTICE_CHECKS, SESSION_CHECKS,
    SHARED_ANSWER_CHECKS, STORE_CHECKS, VIEW_CHECKS,
};
#[doc(hidden)]
pub use run::{
    batch_bare, batch_behind_arc_dyn, cache_bare, cache_behind_arc_dyn, chat_bare,
    chat_behind_arc_dyn, leaderboard_bare, leaderboard_behind_arc_dyn, leases_bare,
    leases_behind_arc_dyn, ledger_bare, ledger_behind_arc_dyn, limiter_bare,
    limiter_behind_arc_dyn, session_bare, session_behind_arc_dyn, shared_answer_bare,
    shared_answer_behind_arc_dyn, store_bare, store_behind_arc_dyn, whole_bare,
    whole_behind_arc_dyn,
};
pub use whole::WholeStore;
