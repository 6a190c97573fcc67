//! The backend of a medical-education platform, for Rust developers to embed: students answer
//! clinical cases and read feedback on the option they chose.
//!
//! This crate has the contracts and the decisions; the sibling crates have the databases, caches and
//! providers.
//!
//! The clock is a trait, and so is everything else that touches the world.

mod error;

pub mod ai;
pub mod answer;
pub mod cache;
pub mod case;
pub mod event;
pub mod feedback;
pub mod id;
pub mod limit;
pub mod memory;
pub mod shard;
pub mod spend;
pub mod store;
pub mod time;
pub mod user;


pub use error::{Error, ErrorKind, Result};
pub use id::{AnswerId, CaseId, ReservationId, UserId};
pub use jiff::{self, Timestamp};
