//! Feedback: what a student is told about a choice.

mod authored;
mod kept;
mod key;
mod precomputed;
mod tier;

pub use authored::authored_text;
pub use kept::{Audience, Feedback, Origin, Personal, ReviewState, Shared};
pub use key::FeedbackKey;
pub use precomputed::{KeyPage, KeyPosition, PrecomputedStore, Review, ReviewDecision};
pub use tier::Tier;
