use std::fmt;

use crate::ai::{
    FeedbackPrompt, PersonalContext, Prompt, PromptPart, PromptVersion, Rejection, Reply,
    StopReason,
};
use crate::case::Case;
use crate::feedback::FeedbackKey;
use crate::user::Level;

/// A prompt template for tests: the key as the case part, and every complete reply is good.
#[derive(Clone, Copy, Debug)]
pub struct PlainPrompt {
    version: PromptVersion,
}

impl PlainPrompt {
    /// Makes the edition with this number, which is that of the default level. The other levels
    /// have this number and a multiple of 1,000.
    #[must_use]
    pub fn new(version: u32) -> Self {
        Self {
            version: PromptVersion::new(version),
        }
    }

    fn prompt(self, parts: Vec<PromptPart>) -> Prompt {
        let instructions = "Say what the choice means.".to_owned();
        Prompt {
            version: self.version,
            instructions,
            parts,
            cache_through: None,
            output_tokens_max: 200,
        }
    }
}

impl Default for PlainPrompt {
    fn default() -> Self {
        Self::new(1)
    }
}

impl fmt::Display for PlainPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlainPrompt({})", self.version)
    }
}

impl FeedbackPrompt for PlainPrompt {
    fn version(&self, level: Level) -> PromptVersion {
        let thousands = match level {
            Level::Clinical => 0,
            Level::Preclinical => 1,
            Level::Resident => 2,
        };
        PromptVersion::new(self.version.get() + 1_000 * thousands)
    }

    fn shared(&self, case: &Case, key: &FeedbackKey) -> Prompt {
        self.prompt(vec![PromptPart::Case(format!(
            "{}\n{key}",
            case.content.stem()
        ))])
    }

    fn personal(&self, case: &Case, key: &FeedbackKey, context: &PersonalContext) -> Prompt {
        let case = PromptPart::Case(format!("{}\n{key}", case.content.stem()));
        self.prompt(vec![case, PromptPart::Student(context.text.clone())])
    }

    fn check(&self, _case: &Case, _key: &FeedbackKey, reply: &Reply) -> Result<String, Rejection> {
        match reply.stop {
            StopReason::Complete if reply.text.is_empty() => Err(Rejection::TooShort),
            StopReason::Complete => Ok(reply.text.clone()),
            StopReason::Refusal => Err(Rejection::Refused),
            StopReason::MaxTokens | StopReason::Unknown => Err(Rejection::Incomplete),
        }
    }
}
