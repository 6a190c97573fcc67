//! The prompt of the coach: what the model is told, which questions are not for it, and which of its
//! replies are shown.

mod advice;
mod instructions;
mod words;

use std::fmt;

use medcards_core::ai::{Prompt, PromptPart, PromptVersion, Rejection, Reply, StopReason};
use medcards_core::chat::{CHAT_SUMMARY_LEN_MAX, ChatHistory, ChatPrompt, ChatSubject};
use medcards_core::feedback::authored_text;

use self::words::Words;
use crate::prompt::{
    AUTHORED_HEADING, case_text, has_tag, named_by_letter, redacted, shows_thinking,
};

/// The most tokens of a reply of the coach: twice what 150 words have in the most wordy scripts.
///
/// It is also what each call reserves of the spend budget.
pub const CHAT_OUTPUT_TOKENS_MAX: u32 = 800;

/// The most tokens of a summary: twice what 120 words have.
pub const CHAT_SUMMARY_TOKENS_MAX: u32 = 600;

/// The most characters of a reply of the coach: thrice what was asked for.
pub const CHAT_REPLY_CHARS_MAX: usize = 3_000;

/// How much of the end of a growing reply is looked at: what must not be shown is shorter.
const TAIL_BYTES: usize = 400;

/// The edition. Any change to a text or rule in this module is a new one.
const EDITION: u32 = 2;

/// The prompt of a coach who leads by questions.
///
/// The instructions depend on language and level alone. The case and the author's explanation are
/// parts from the case; the student's words, redacted, are parts of their own, and so is what the
/// two spoke of before.
///
/// # Which questions are declined
///
/// Those about the real health of the student or of someone the student knows: own complaints, own
/// drugs and doses, relatives, and whatever may be an emergency, which gets the words to call for
/// help. They are told from questions about the case by patterns in English, French, Spanish and German
/// and, less closely, in Italian and Portuguese; the model is told to decline the rest.
///
/// # Which replies are shown
///
/// Whole ones of at most [`CHAT_REPLY_CHARS_MAX`] characters, without control characters, without
/// tags of the prompt or traces of thinking, and without a part of the instructions. If the options
/// are shuffled, a reply names none by its letter.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ChatTemplate;

impl ChatTemplate {
    /// The template in its current edition.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl fmt::Display for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChatTemplate(edition {EDITION})")
    }
}

impl ChatPrompt for ChatTemplate {
    fn version(&self) -> PromptVersion {
        PromptVersion::new(EDITION)
    }

    fn decline(&self, subject: &ChatSubject, question: &str) -> Option<String> {
        let advice = advice::asked_for(question)?;
        Some(Words::of(subject.locale).declining(advice).to_owned())
    }

    fn reply(&self, subject: &ChatSubject, history: &ChatHistory, question: &str) -> Prompt {
        let ChatSubject {
            case,
            chosen,
            locale,
            level,
        } = subject;
        let authored = authored_text(case, *chosen, *locale);
        let mut parts = vec![
            PromptPart::Case(case_text(case, *chosen)),
            PromptPart::Case(format!("{AUTHORED_HEADING}{authored}")),
        ];
        if let Some(summary) = &history.summary {
            let summary = redacted(summary);
            parts.push(PromptPart::Student(format!(
                "What we spoke of before:\n\n{summary}"
            )));
        }
        for turn in &history.turns {
            parts.push(PromptPart::Student(redacted(&turn.question)));
            parts.push(PromptPart::Coach(redacted(&turn.reply)));
        }
        parts.push(PromptPart::Student(redacted(question)));
        Prompt {
            version: self.version(),
            instructions: instructions::instructions(*locale, *level),
            // The next question repeats all of it.
            cache_through: Some(parts.len()),
            parts,
            output_tokens_max: CHAT_OUTPUT_TOKENS_MAX,
        }
    }

    fn may_show(&self, text_so_far: &str) -> bool {
        let start = text_so_far.floor_char_boundary(text_so_far.len().saturating_sub(TAIL_BYTES));
        broken_rule(&text_so_far[start..]).is_none()
    }

    fn check(&self, subject: &ChatSubject, reply: &Reply) -> Result<String, Rejection> {
        // Not trimmed: what was shown as it came stays as it is.
        let text = checked(reply, CHAT_REPLY_CHARS_MAX)?;
        // A coach asks: the rule of feedback knows statements.
        let stated = text.replace(['?', '!'], ".");
        match named_by_letter(&subject.case, &stated) {
            None => Ok(text),
            Some(rule) => Err(Rejection::Unfit(rule)),
        }
    }

    fn summary(&self, subject: &ChatSubject, history: &ChatHistory) -> Prompt {
        let mut said = Vec::new();
        said.extend(history.summary.as_deref().map(redacted));
        for turn in &history.turns {
            said.push(format!("The student: {}", redacted(&turn.question)));
            said.push(format!("The coach: {}", redacted(&turn.reply)));
        }
        Prompt {
            version: self.version(),
            instructions: instructions::of_summary(subject.locale),
            parts: vec![PromptPart::Student(said.join("\n\n"))],
            cache_through: None,
            output_tokens_max: CHAT_SUMMARY_TOKENS_MAX,
        }
    }

    fn check_summary(&self, reply: &Reply) -> Result<String, Rejection> {
        let text = checked(reply, CHAT_SUMMARY_LEN_MAX)?;
        Ok(redacted(text.trim()))
    }

    fn unavailable(&self, subject: &ChatSubject) -> String {
        let ChatSubject {
            case,
            chosen,
            locale,
            ..
        } = subject;
        let words = Words::of(*locale).unavailable;
        format!("{words}\n\n{}", authored_text(case, *chosen, *locale))
    }
}

fn checked(reply: &Reply, chars_max: usize) -> Result<String, Rejection> {
    match reply.stop {
        StopReason::Complete => {}
        StopReason::Refusal => return Err(Rejection::Refused),
        _ => return Err(Rejection::Incomplete),
    }
    let text = &reply.text;
    if text.trim().is_empty() {
        return Err(Rejection::TooShort);
    }
    if text.chars().count() > chars_max {
        return Err(Rejection::TooLong);
    }
    match broken_rule(text) {
        None => Ok(text.clone()),
        Some(rule) => Err(Rejection::Unfit(rule)),
    }
}

/// The first rule that a text breaks.
fn broken_rule(text: &str) -> Option<&'static str> {
    let is_control = |char: char| char.is_control() && !matches!(char, '\n' | '\t' | '\r');
    if text.chars().any(is_control) {
        return Some("the reply has control characters");
    }
    if shows_thinking(text) {
        return Some("the reply shows how the model thinks");
    }
    if has_tag(text) {
        return Some("the reply repeats the tags of the prompt");
    }
    instructions::repeats(text).then_some("the reply repeats the instructions")
}
