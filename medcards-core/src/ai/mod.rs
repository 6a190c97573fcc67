//! AI providers, prompts and the checks a reply must pass.

mod batch;
mod budgeted;
mod model;
mod prompt;
mod provider;
mod request;

pub use batch::{AiBatches, BatchInfo, BatchItem, BatchResult, BatchResults};
pub use budgeted::Budgeted;
pub use model::{ModelId, PromptVersion};
pub use prompt::{FeedbackPrompt, PersonalContext, Prompt, PromptPart, Rejection};
pub use provider::{
    AiCapability, AiEvent, AiFailure, AiProvider, AiStream, Billed, Refusal, Reply, ReplyEnd,
    StopReason, collect_reply,
};
pub use request::{AiRequest, RateLimit, RateLimits};
