use std::fmt;
use std::fmt::{Debug, Display};

use super::{PromptVersion, Reply};
use crate::case::Case;
use crate::feedback::FeedbackKey;
use crate::id::UserId;
use crate::user::Level;

/// What is sent to a model: instructions apart from data, data apart from the student's words.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every prompt template")]
pub struct Prompt {
    /// Which edition of the template made it.
    pub version: PromptVersion,
    /// Our instructions. Nothing that comes from a case or a student is ever here.
    pub instructions: String,
    /// The data that the instructions are about, in order; for a chat, the turns so far as well. The
    /// first and the last are not the coach's.
    pub parts: Vec<PromptPart>,
    /// What other prompts of the next minutes begin with as well: the instructions and that many of
    /// the first parts. `None` if not even the instructions are worth remembering.
    ///
    /// A provider that has a prompt cache may have it remember them, where they are long enough. It
    /// changes what a call costs, never what is asked. A chat whose next question repeats everything
    /// counts all of its parts.
    pub cache_through: Option<usize>,
    /// The most tokens that the reply may have, thinking included.
    pub output_tokens_max: u32,
}

impl Prompt {
    /// The bytes of all texts: the basis of the worst case that is reserved.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.instructions.len()
            + self
                .parts
                .iter()
                .map(|part| part.text().len())
                .sum::<usize>()
    }
}

impl Debug for Prompt {
    /// Says nothing of the texts: a student's words may be among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prompt")
            .field("version", &self.version)
            .field("bytes", &self.len_bytes())
            .field("cache_through", &self.cache_through)
            .field("output_tokens_max", &self.output_tokens_max)
            .finish_non_exhaustive()
    }
}

/// Data within a prompt. A provider sends each part so that the model can tell them apart.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PromptPart {
    /// From a published case: true, but not an instruction.
    Case(String),
    /// What the model said in an earlier turn of a chat.
    Coach(String),
    /// From a student: neither trusted nor an instruction.
    Student(String),
}

impl PromptPart {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Case(text) | Self::Coach(text) | Self::Student(text) => text,
        }
    }
}

impl Debug for PromptPart {
    /// Says nothing of the text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, text) = match self {
            Self::Case(text) => ("Case", text),
            Self::Coach(text) => ("Coach", text),
            Self::Student(text) => ("Student", text),
        };
        write!(f, "{kind}({} bytes)", text.len())
    }
}

/// What is known of one student and may shape feedback for that student alone.
#[derive(Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by whoever knows the student"
)]
pub struct PersonalContext {
    /// Who.
    pub user_id: UserId,
    /// What the student wrote, or what history says of the student.
    pub text: String,
}

impl Debug for PersonalContext {
    /// Says nothing of the text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PersonalContext({} bytes)", self.text.len())
    }
}

/// A versioned template: makes prompts for feedback, and decides which replies may be kept.
pub trait FeedbackPrompt: Debug + Display + Send + Sync + 'static {
    /// The edition for students of a level. Any change to what is sent or accepted is a new one.
    ///
    /// Levels for which the prompt differs have different editions, so that the feedback key alone
    /// says for whom a feedback was written. Always the same for the same level.
    fn version(&self, level: Level) -> PromptVersion;

    /// The prompt for feedback that anyone may see.
    ///
    /// A function of its arguments alone: equal keys make equal prompts. The level is that of
    /// `key.prompt_version`; an edition that is not of this template counts as the default level.
    fn shared(&self, case: &Case, key: &FeedbackKey) -> Prompt;

    /// The prompt for feedback that one student may see. It redacts the context: names, addresses
    /// and numbers that identify a person do not leave the process.
    fn personal(&self, case: &Case, key: &FeedbackKey, context: &PersonalContext) -> Prompt;

    /// Checks a whole reply and returns the text to show.
    ///
    /// # Errors
    /// The reason why the reply must be neither shown nor kept.
    fn check(&self, case: &Case, key: &FeedbackKey, reply: &Reply) -> Result<String, Rejection>;
}

/// Why a reply was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// It stops before its end: the model ran out of tokens, or was cut.
    Incomplete,
    /// The model declined to answer.
    Refused,
    /// It is empty, or shorter than any useful feedback.
    TooShort,
    /// It is longer than was asked for.
    TooLong,
    /// It breaks another rule of the template, which this names.
    Unfit(&'static str),
}

impl Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Incomplete => "the reply is incomplete",
            Self::Refused => "the model refused",
            Self::TooLong => "the reply is too long",
            Self::TooShort => "the reply is too short",
            Self::Unfit(rule) => rule,
        })
    }
}
