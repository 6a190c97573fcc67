//! AI providers, prompts and the checks a reply must pass.

mod model;
mod prompt;
mod provider;

pub use model::{ModelId, PromptVersion};
pub use prompt::{FeedbackPrompt, PersonalContext, Prompt, PromptPart, Rejection};
pub use provider::{
    AiCapability, AiEvent, AiFailure, AiProvider, AiStream, Billed, Reply, StopReason,
    collect_reply,
};
