//! How able students are, and how hard cases: kept answer by answer.
//!
//! A student has a general ability, an offset to it in each specialty and topic, and a form of the
//! moment; a case has a difficulty and a discrimination; a student and a case that they have answered
//! have a memory. [`AbilityModel`] says what chance of a right answer follows from these, and how an
//! answer changes them: each is an estimate with its uncertainty, and what is less certain moves more.
//! [`AbilityProjection`] keeps them by the answer log, as the view `ability`.
//!
//! # Scale
//! Abilities are on the scale of the [two-parameter logistic model](super::irt): over all students
//! they have mean 0 and deviation 1. Difficulties are log odds of a *wrong* answer of an average
//! student, so that a case that half of them get right has difficulty 0.

mod estimate;
mod mastery;
mod model;
mod projection;
mod rows;

pub use estimate::Estimate;
pub use mastery::{Masteries, Mastery};
pub use model::{AbilityModel, Encounter, Prediction};
pub use projection::{ABILITY_VIEW, AbilityProjection};
pub use rows::{
    AREAS_PER_USER_MAX, AbilityRow, AreaAbility, CaseDifficulty, CaseMemory, UserAbility, case_key,
    memory_key, user_key,
};
