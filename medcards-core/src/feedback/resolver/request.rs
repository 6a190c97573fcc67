use std::sync::Arc;

use crate::ai::PersonalContext;
use crate::case::Case;
use crate::feedback::FeedbackKey;
use crate::spend::Payer;

/// A wish for feedback on a choice.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "made for each answer")]
pub struct FeedbackRequest {
    /// What makes it the same wish as another's. See
    /// [`FeedbackResolver::key`](super::FeedbackResolver::key).
    pub key: FeedbackKey,
    /// The case, in the version of the key.
    pub case: Arc<Case>,
    /// Whom it is for.
    pub audience: RequestAudience,
    /// On whose behalf the model is asked, if it has to be; `None` if no user's budget counts it.
    pub payer: Option<Payer>,
}

/// Whom a wish for feedback is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "anyone, or one student")]
pub enum RequestAudience {
    /// One student, about whom something is known. The feedback is made for this wish alone and
    /// kept nowhere.
    Personal(PersonalContext),
    /// Anyone who made the same choice.
    #[default]
    Shared,
}
