//! What is learnt from answers: how users and cases do, abilities, spacing, streaks, badges, boards,
//! and the next case.
//!
//! Each is a [projection](crate::view::Projection) of the answer log, and so a pure function of it.
//! [`Learning`] is all of it in one value, to be read.

mod case_set;
mod correct;
mod handle;
mod histogram;

pub mod ability;
pub mod boards;
pub mod case_stats;
pub mod habits;
pub mod irt;
pub mod next;
pub mod reviews;
pub mod user_stats;

pub use case_set::{CaseSet, SeenCases};
pub use correct::{FixedKey, KeyFix, NOTIFY_REGRADED};
pub use handle::{DUE_REVIEWS_MAX, Learning, LearningBuilder, NextShown};
pub use histogram::Histogram;

use crate::view::ViewName;

/// The name of a view that is written out in the program.
///
/// # Panics
/// If it is none: no test that makes the view passes.
fn view_name(name: &'static str) -> ViewName {
    ViewName::new(name).expect("a view has a name of lower-case letters and hyphens")
}
