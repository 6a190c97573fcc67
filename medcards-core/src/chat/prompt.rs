use std::fmt;
use std::fmt::{Debug, Display};
use std::sync::Arc;

use crate::ai::{Prompt, PromptVersion, Rejection, Reply};
use crate::case::{Case, OptionSet};
use crate::id::TurnId;
use crate::user::{Level, Locale};

/// What a chat is about: a case, and what the student chose.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "made by the coach alone")]
pub struct ChatSubject {
    /// The case, in the version that was answered.
    pub case: Arc<Case>,
    /// What the student chose.
    pub chosen: OptionSet,
    /// The student's language.
    pub locale: Locale,
    /// How far the student has come.
    pub level: Level,
}

/// A question that has its reply.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by the coach alone")]
pub struct Exchange {
    /// The turn.
    pub turn_id: TurnId,
    /// What the student asked.
    pub question: String,
    /// What the coach replied.
    pub reply: String,
}

impl Exchange {
    /// The bytes of both texts.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.question.len() + self.reply.len()
    }
}

impl Debug for Exchange {
    /// Says nothing of the words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exchange({}, {} bytes)", self.turn_id, self.len_bytes())
    }
}

/// What was said in a chat before a question, as far as it is sent.
#[derive(Clone, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by the coach alone")]
pub struct ChatHistory {
    /// What was said before the turns.
    pub summary: Option<String>,
    /// The last turns, the oldest first.
    pub turns: Vec<Exchange>,
}

impl Debug for ChatHistory {
    /// Says nothing of the words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatHistory")
            .field("summary_bytes", &self.summary.as_ref().map(String::len))
            .field("turns", &self.turns)
            .finish()
    }
}

/// A versioned template of the coach: what the model is told, which questions are not for it, and
/// which of its replies are shown.
///
/// All of it is decided without waiting and without asking anyone. Whatever comes from a student is
/// redacted here before it is part of a prompt, and is in no instructions.
pub trait ChatPrompt: Debug + Display + Send + Sync + 'static {
    /// The edition. Any change to what is sent or accepted is a new one.
    fn version(&self) -> PromptVersion;

    /// The words with which a question is declined, or `None` if it may be asked: the coach gives no
    /// advice on the health of anyone.
    fn decline(&self, subject: &ChatSubject, question: &str) -> Option<String>;

    /// The prompt for a reply to a question.
    ///
    /// The instructions are the same for whatever was asked.
    fn reply(&self, subject: &ChatSubject, history: &ChatHistory, question: &str) -> Prompt;

    /// Whether a reply may be shown as far as it has come. Called again and again as it grows.
    fn may_show(&self, text_so_far: &str) -> bool;

    /// Checks a whole reply and returns the text to show.
    ///
    /// # Errors
    /// The reason why the reply must be neither shown nor kept.
    fn check(&self, subject: &ChatSubject, reply: &Reply) -> Result<String, Rejection>;

    /// The prompt for a summary of `history`, which tells of all of it.
    fn summary(&self, subject: &ChatSubject, history: &ChatHistory) -> Prompt;

    /// Checks a whole summary and returns the text to keep.
    ///
    /// # Errors
    /// The reason why it must not be kept.
    fn check_summary(&self, reply: &Reply) -> Result<String, Rejection>;

    /// What is said when no model replies: what the author explains, after some fixed words.
    fn unavailable(&self, subject: &ChatSubject) -> String;
}
