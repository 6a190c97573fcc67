//! The author of a case as a provider, for where no model is.

use std::fmt;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use medcards_core::ai::{
    AiCapability, AiEvent, AiFailure, AiProvider, AiRequest, AiStream, ModelId, PromptPart,
    ReplyEnd, StopReason,
};
use medcards_core::spend::{MicroDollars, Price, TokenUsage};
use medcards_core::{Error, ErrorKind};

use crate::prompt::authored_of;

/// Repeats what the author of a case wrote about the chosen options, at no cost.
///
/// It needs no key and no network. Its words are those of
/// [`authored_text`](medcards_core::feedback::authored_text), which
/// [`FeedbackTemplate`](crate::FeedbackTemplate) puts into every prompt as a part of its own.
#[derive(Clone, Debug)]
pub struct AuthoredProvider {
    model: ModelId,
}

impl AuthoredProvider {
    /// The author of every case; as a model it is called `authored`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            model: authored_model(),
        }
    }
}

impl Default for AuthoredProvider {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for AuthoredProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthoredProvider")
    }
}

#[async_trait]
impl AiProvider for AuthoredProvider {
    fn model(&self) -> &ModelId {
        &self.model
    }

    fn price(&self) -> Price {
        Price::default()
    }

    fn capability(&self) -> AiCapability {
        AiCapability::AUTHORED_ONLY
    }

    async fn stream(&self, AiRequest { prompt, .. }: AiRequest) -> Result<AiStream, AiFailure> {
        let text = prompt.parts.iter().find_map(authored_in).ok_or_else(|| {
            let context = "the prompt has no authored explanation: make it with FeedbackTemplate";
            AiFailure::free(Error::new(ErrorKind::Invalid, "repeat the author", context))
        })?;
        let end = AiEvent::End(ReplyEnd {
            stop: StopReason::Complete,
            usage: TokenUsage::default(),
            model: self.model.clone(),
            cost: MicroDollars::ZERO,
        });
        Ok(stream::iter([Ok(AiEvent::Delta(text.to_owned())), Ok(end)]).boxed())
    }
}

/// What a student wrote is never taken for the author's words.
fn authored_in(part: &PromptPart) -> Option<&str> {
    match part {
        PromptPart::Case(text) => authored_of(text).filter(|text| !text.is_empty()),
        _ => None,
    }
}

fn authored_model() -> ModelId {
    "authored"
        .parse()
        .expect("a constant that the type accepts")
}
