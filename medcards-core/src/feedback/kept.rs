use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ai::{ModelId, PromptVersion};
use crate::spend::MicroDollars;

/// Who may see a feedback, as a type.
///
/// Sealed: there are [`Shared`] and [`Personal`] and no others.
pub trait Audience: private::Sealed + Clone + fmt::Debug + Send + Sync + 'static {}

/// Anyone may see it. Only this may enter a cache or a store of feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a marker")]
pub struct Shared;

/// One student alone may see it. It is kept nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a marker")]
pub struct Personal;

impl Audience for Shared {}
impl Audience for Personal {}

mod private {
    #[expect(unnameable_types, reason = "this is what seals the trait")]
    pub trait Sealed {}
    impl Sealed for super::Shared {}
    impl Sealed for super::Personal {}
}

/// What a student is told about a choice, and where the words come from.
///
/// The audience is part of the type, so that personal text cannot enter a shared tier:
///
/// ```compile_fail
/// use medcards_core::feedback::{Feedback, Personal, Shared};
///
/// fn keep(_: Feedback<Shared>) {}
/// fn leak(personal: Feedback<Personal>) {
///     keep(personal);
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by resolver and stores; the audience guards it"
)]
pub struct Feedback<A: Audience = Shared> {
    /// The words.
    pub text: String,
    /// Who wrote them.
    pub origin: Origin,
    /// The model that wrote them, or whose words a reviewer mended.
    pub model: Option<ModelId>,
    /// The edition of the prompt that the model was given.
    pub prompt_version: Option<PromptVersion>,
    /// What a reviewer said of them.
    pub review: ReviewState,
    /// What it cost to have them written.
    pub cost: MicroDollars,
    /// When they were written.
    pub written_at: Timestamp,
    /// Who may see them.
    pub audience: PhantomData<A>,
}

impl<A: Audience> fmt::Debug for Feedback<A> {
    /// Says nothing of the words: personal ones may repeat a student's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feedback")
            .field("text", &format_args!("{} bytes", self.text.len()))
            .field("origin", &self.origin)
            .field("model", &self.model)
            .field("prompt_version", &self.prompt_version)
            .field("review", &self.review)
            .field("cost", &self.cost)
            .field("written_at", &self.written_at)
            .finish_non_exhaustive()
    }
}

/// Who wrote a feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// The author of the case.
    Authored,
    /// A model, in a batch.
    Batch,
    /// A model, while a student waited.
    Live,
    /// A reviewer, who mended a model's words.
    Reviewer,
}

impl Origin {
    /// The stable name, as stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authored => "authored",
            Self::Batch => "batch",
            Self::Live => "live",
            Self::Reviewer => "reviewer",
        }
    }

    /// Reads a stable name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Authored, Self::Batch, Self::Live, Self::Reviewer]
            .into_iter()
            .find(|origin| origin.as_str() == name)
    }
}

/// What a reviewer said of a feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::exhaustive_enums,
    reason = "stored: a new state changes what may be served"
)]
pub enum ReviewState {
    /// It may be shown.
    Approved,
    /// Nobody has looked at it.
    Unreviewed,
    /// It must not be shown, in any tier.
    Withdrawn,
}

impl ReviewState {
    /// The stable name, as stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Unreviewed => "unreviewed",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// Reads a stable name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Approved, Self::Unreviewed, Self::Withdrawn]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}
