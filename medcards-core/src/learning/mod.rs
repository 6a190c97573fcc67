//! What is learnt from answers: how users and cases do, abilities, spacing, streaks, badges, boards,
//! and the next case.
//!
//! Each is a [projection](crate::view::Projection) of the answer log, and so a pure function of it.

pub mod ability;
pub mod boards;
pub mod case_stats;
pub mod habits;
pub mod irt;
pub mod next;
pub mod reviews;
pub mod user_stats;
