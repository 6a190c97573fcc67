//! AI providers, prompts and the checks a reply must pass.

mod batch;
mod breaker;
mod budgeted;
mod model;
mod pace;
mod prompt;
mod provider;
mod request;
mod retry;

pub use batch::{AiBatches, BatchInfo, BatchItem, BatchResult, BatchResults};
pub use breaker::{Breaker, BreakerConfig, BreakerOpen, BreakerState, CallVerdict, Passage};
pub use budgeted::Budgeted;
pub use model::{ModelId, PromptVersion};
pub use pace::{CallLoad, CallPace};
pub use prompt::{FeedbackPrompt, PersonalContext, Prompt, PromptPart, Rejection};
pub use provider::{
    AiCapability, AiEvent, AiFailure, AiProvider, AiStream, Billed, Refusal, Reply, ReplyEnd,
    StopReason, collect_reply,
};
pub use request::{AiRequest, RateLimit, RateLimits};
pub use retry::{RetryBudget, full_jitter};
