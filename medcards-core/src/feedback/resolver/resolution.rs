use std::sync::Arc;

use jiff::Timestamp;

use crate::ErrorKind;
use crate::ai::{ModelId, PromptVersion, Rejection};
use crate::cache::CacheEntry;
use crate::feedback::{Audience, Feedback, Origin, Personal, ReviewState, Shared, Tier};
use crate::spend::MicroDollars;

/// A feedback, with where it was found, how long that took, and what it cost.
#[derive(Clone, Debug)]
pub struct Resolution {
    pub(super) found: Found,
    pub(super) tier: Tier,
    pub(super) freshness: Freshness,
    pub(super) latency_us: u64,
    pub(super) cost: MicroDollars,
    pub(super) saved: MicroDollars,
    pub(super) trace: Trace,
}

#[derive(Clone, Debug)]
pub(super) enum Found {
    Authored(Arc<Feedback<Shared>>),
    Entry(Arc<CacheEntry>),
    Personal(Arc<Feedback<Personal>>),
}

macro_rules! of_feedback {
    ($self:ident, $feedback:ident => $value:expr) => {
        match &$self.found {
            Found::Authored($feedback) => $value,
            Found::Entry(entry) => {
                let $feedback = entry.feedback();
                $value
            }
            Found::Personal($feedback) => $value,
        }
    };
}

impl Resolution {
    /// The words. Never empty.
    #[must_use]
    pub fn text(&self) -> &str {
        of_feedback!(self, feedback => &feedback.text)
    }

    /// Who wrote them.
    #[must_use]
    pub fn origin(&self) -> Origin {
        of_feedback!(self, feedback => feedback.origin)
    }

    /// The model that wrote them; `None` for the author.
    #[must_use]
    pub fn model(&self) -> Option<&ModelId> {
        of_feedback!(self, feedback => feedback.model.as_ref())
    }

    /// The edition of the prompt that the model was given.
    #[must_use]
    pub fn prompt_version(&self) -> Option<PromptVersion> {
        of_feedback!(self, feedback => feedback.prompt_version)
    }

    /// What a reviewer said of them.
    #[must_use]
    pub fn review(&self) -> ReviewState {
        of_feedback!(self, feedback => feedback.review)
    }

    /// When they were written.
    #[must_use]
    pub fn written_at(&self) -> Timestamp {
        of_feedback!(self, feedback => feedback.written_at)
    }

    /// Whether only one student may see them.
    #[must_use]
    pub fn is_personal(&self) -> bool {
        matches!(self.found, Found::Personal(_))
    }

    /// The cache entry, if it is one: it keeps the bytes that a frontend made of it.
    #[must_use]
    pub fn entry(&self) -> Option<&Arc<CacheEntry>> {
        match &self.found {
            Found::Entry(entry) => Some(entry),
            Found::Authored(_) | Found::Personal(_) => None,
        }
    }

    /// The tier that gave it.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Whether it is as new as it should be.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// How long it took to find, in microseconds.
    #[must_use]
    pub fn latency_us(&self) -> u64 {
        self.latency_us
    }

    /// What it cost now. Of several who shared one live call, the first bears the cost.
    #[must_use]
    pub fn cost(&self) -> MicroDollars {
        self.cost
    }

    /// What asking the model now would have cost besides: what this text cost when it was written.
    #[must_use]
    pub fn saved(&self) -> MicroDollars {
        self.saved
    }

    /// What each tier did.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }
}

/// Whether a feedback is as new as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Freshness {
    /// It is.
    Fresh,
    /// It is past its time, and no new one could be had.
    StaleOnFailure,
    /// It is past its time, and a new one is being fetched.
    StaleWhileRevalidating,
}

impl Freshness {
    /// The stable name, as sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::StaleOnFailure => "stale_on_failure",
            Self::StaleWhileRevalidating => "stale_while_revalidating",
        }
    }
}

/// What each tier did for one resolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace([Option<TierOutcome>; Tier::ALL.len()]);

impl Trace {
    /// What a tier did; `None` if it was not asked.
    #[must_use]
    pub fn outcome(&self, tier: Tier) -> Option<TierOutcome> {
        self.0[tier as usize]
    }

    /// The tiers that were asked, cheapest first, with what they did.
    pub fn outcomes(&self) -> impl Iterator<Item = (Tier, TierOutcome)> {
        Tier::ALL
            .into_iter()
            .filter_map(|tier| Some((tier, self.outcome(tier)?)))
    }

    pub(super) fn note(&mut self, tier: Tier, outcome: TierOutcome) {
        self.0[tier as usize] = Some(outcome);
    }
}

/// What a tier did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TierOutcome {
    /// It broke, which counts as a miss.
    Failed(ErrorKind),
    /// It had the feedback.
    Hit,
    /// It had nothing.
    Miss,
    /// It gave a reply that must not be shown.
    Rejected(Rejection),
    /// It was not asked.
    Skipped(SkipReason),
    /// It had a feedback past its time.
    Stale,
}

impl TierOutcome {
    /// The stable name, as sent and counted.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed(_) => "failed",
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Rejected(_) => "rejected",
            Self::Skipped(reason) => reason.as_str(),
            Self::Stale => "stale",
        }
    }
}

/// Why a tier was not asked, or not waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SkipReason {
    /// The breaker of the model is open: it failed too often a moment ago.
    BreakerOpen,
    /// The spend budget is used up.
    SpendBudgetExhausted,
    /// As many generations as allowed are under way.
    Busy,
    /// The caller's deadline passed. The generation goes on for whoever asks next.
    Deadline,
    /// Another process asked it for this key, and its words were read as they came.
    Followed,
    /// It is not configured.
    Off,
    /// The rate limit of its provider is used up.
    RateLimited,
    /// It failed for this key a moment ago.
    RecentFailure,
    /// The resolver is closing.
    Closing,
    /// A reviewer withdrew the feedback of this key.
    Withdrawn,
}

impl SkipReason {
    /// The stable name, as sent and counted.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SpendBudgetExhausted => "spend_budget_exhausted",
            Self::BreakerOpen => "breaker_open",
            Self::Busy => "busy",
            Self::Closing => "closing",
            Self::Deadline => "deadline",
            Self::Followed => "followed",
            Self::Off => "off",
            Self::RateLimited => "rate_limited",
            Self::RecentFailure => "recent_failure",
            Self::Withdrawn => "withdrawn",
        }
    }
}

impl From<Feedback<Personal>> for Found {
    fn from(feedback: Feedback<Personal>) -> Self {
        Self::Personal(Arc::new(feedback))
    }
}

/// A feedback just written by a model.
pub(super) fn written<A: Audience>(
    text: String,
    model: ModelId,
    prompt_version: PromptVersion,
    cost: MicroDollars,
    written_at: Timestamp,
) -> Feedback<A> {
    Feedback {
        text,
        origin: Origin::Live,
        model: Some(model),
        prompt_version: Some(prompt_version),
        review: ReviewState::Unreviewed,
        cost,
        written_at,
        audience: std::marker::PhantomData,
    }
}
