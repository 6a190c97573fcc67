//! Which case a student sees next, and why.
//!
//! A [`NextCasePolicy`] picks a case of a [`Catalogue`] by what is known of the student, a
//! [`NextCaseView`]: a pure function, which gives the same for the same view and seed. [`Targeted`] is the
//! usual one.

mod catalogue;
mod exam;
mod keeper;
mod policy;
mod reason;
mod targeted;

pub use catalogue::{Area, Catalogue, CatalogueCase};
pub use exam::ExamWeights;
pub use policy::{NextCasePolicy, NextCaseView, Pick, RECENT_ANSWERS_MAX};
pub use reason::{LastTime, NextReason};
pub use targeted::Targeted;

pub(super) use keeper::CatalogueKeeper;
