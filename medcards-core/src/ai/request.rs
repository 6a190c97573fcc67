use jiff::Timestamp;

use super::Prompt;
use crate::id::CaseId;
use crate::spend::{Payer, Purpose};

/// A prompt, and what layers need to know of the call. Only the prompt leaves the process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made for each call")]
pub struct AiRequest {
    /// What is sent.
    pub prompt: Prompt,
    /// What it is for.
    pub purpose: Purpose,
    /// On whose behalf; `None` if no student waits for it.
    pub payer: Option<Payer>,
    /// The case that it is about, under which it is booked.
    pub case_id: Option<CaseId>,
}

impl AiRequest {
    /// A request on nobody's behalf and about no case.
    #[must_use]
    pub fn new(purpose: Purpose, prompt: Prompt) -> Self {
        Self {
            prompt,
            purpose,
            payer: None,
            case_id: None,
        }
    }

    /// Says on whose behalf it is.
    #[must_use]
    pub fn with_payer(mut self, payer: Option<Payer>) -> Self {
        self.payer = payer;
        self
    }

    /// Says which case it is about.
    #[must_use]
    pub fn with_case(mut self, case_id: CaseId) -> Self {
        self.case_id = Some(case_id);
        self
    }
}

/// What a provider last said of how much it may still be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every provider")]
pub struct RateLimits {
    /// Requests.
    pub requests: Option<RateLimit>,
    /// Tokens of both kinds, where the provider counts them together.
    pub tokens: Option<RateLimit>,
    /// Tokens read.
    pub input_tokens: Option<RateLimit>,
    /// Tokens written.
    pub output_tokens: Option<RateLimit>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every provider")]
pub struct RateLimit {
    /// How much is allowed in a window.
    pub limit: u64,
    /// How much of it is left.
    pub remaining: u64,
    /// When all of it will be there again.
    pub resets_at: Timestamp,
}
