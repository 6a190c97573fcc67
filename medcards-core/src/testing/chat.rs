use std::fmt;

use crate::ai::{Prompt, PromptPart, PromptVersion, Rejection, Reply, StopReason};
use crate::chat::{ChatHistory, ChatPrompt, ChatSubject};
use crate::feedback::authored_text;

/// A template of the coach for tests: everything as it is, without a rule of its own.
///
/// A question with `[decline]` in it is declined, a reply with `[unfit]` in it is rejected, and
/// nothing is shown from `[hide]` on.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct PlainChat;

impl PlainChat {
    /// What is said of a question that is declined.
    pub const DECLINED: &str = "That is not for a coach.";

    /// What every reply without a model begins with.
    pub const UNAVAILABLE: &str = "No coach is here. ";

    /// Makes it.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }

    fn prompt(self, instructions: &str, parts: Vec<PromptPart>) -> Prompt {
        Prompt {
            version: self.version(),
            instructions: instructions.to_owned(),
            parts,
            cache_through: None,
            output_tokens_max: 200,
        }
    }
}

impl fmt::Display for PlainChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainChat")
    }
}

impl ChatPrompt for PlainChat {
    fn version(&self) -> PromptVersion {
        PromptVersion::new(1)
    }

    fn decline(&self, _subject: &ChatSubject, question: &str) -> Option<String> {
        let is_declined = question.contains("[decline]");
        is_declined.then(|| Self::DECLINED.to_owned())
    }

    fn reply(&self, subject: &ChatSubject, history: &ChatHistory, question: &str) -> Prompt {
        let mut parts = vec![PromptPart::Case(subject.case.content.stem().to_owned())];
        parts.extend(history.summary.clone().map(PromptPart::Student));
        for turn in &history.turns {
            parts.push(PromptPart::Student(turn.question.clone()));
            parts.push(PromptPart::Coach(turn.reply.clone()));
        }
        parts.push(PromptPart::Student(question.to_owned()));
        self.prompt("Reply.", parts)
    }

    fn may_show(&self, text_so_far: &str) -> bool {
        !text_so_far.contains("[hide]")
    }

    fn check(&self, _subject: &ChatSubject, reply: &Reply) -> Result<String, Rejection> {
        match reply.stop {
            StopReason::Complete if reply.text.contains("[unfit]") => {
                Err(Rejection::Unfit("the reply says that it is unfit"))
            }
            StopReason::Complete => Ok(reply.text.clone()),
            StopReason::Refusal => Err(Rejection::Refused),
            StopReason::MaxTokens | StopReason::Unknown => Err(Rejection::Incomplete),
        }
    }

    fn summary(&self, _subject: &ChatSubject, history: &ChatHistory) -> Prompt {
        let mut parts: Vec<_> = history.summary.clone().into_iter().collect();
        for turn in &history.turns {
            parts.extend([turn.question.clone(), turn.reply.clone()]);
        }
        let parts = parts.into_iter().map(PromptPart::Student).collect();
        self.prompt("Summarise.", parts)
    }

    fn check_summary(&self, reply: &Reply) -> Result<String, Rejection> {
        Ok(reply.text.clone())
    }

    fn unavailable(&self, subject: &ChatSubject) -> String {
        let authored = authored_text(&subject.case, subject.chosen, subject.locale);
        format!("{}{authored}", Self::UNAVAILABLE)
    }
}
