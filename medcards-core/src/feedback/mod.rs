//! Feedback: what a student is told about a choice, and the resolver that finds it.

mod authored;
mod kept;
mod key;
mod precomputed;
mod resolver;
mod tier;

pub use authored::authored_text;
pub use kept::{Audience, Feedback, Origin, Personal, ReviewState, Shared};
pub use key::FeedbackKey;
pub use precomputed::{KeyPage, KeyPosition, PrecomputedStore, Review, ReviewDecision};
pub use resolver::{
    FeedbackEnd, FeedbackEvent, FeedbackRequest, FeedbackResolver, FeedbackStream, Freshness,
    RequestAudience, Resolution, ResolverBuilder, ResolverConfig, ResolverCounts, SkipReason,
    TierOutcome, Trace,
};
pub use tier::Tier;
