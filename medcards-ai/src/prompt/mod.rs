//! The feedback prompt: what the model is told, and which of its replies are kept.

mod case_text;
mod check;
mod digits;
mod instructions;
mod language;
mod number_words;
mod redact;
mod tags;
mod words;

pub(crate) use case_text::case_text;
pub use check::{REPLY_CHARS_MAX, REPLY_CHARS_MIN};
pub(crate) use check::{named_by_letter, shows_thinking};
pub(crate) use language::language_name;
pub use redact::{STUDENT_BYTES_MAX, redacted, redacted_with};
pub(crate) use tags::{has_tag, in_tags, without_tags};

use std::fmt;

use medcards_core::ai::{
    FeedbackPrompt, PersonalContext, Prompt, PromptPart, PromptVersion, Rejection, Reply,
};
use medcards_core::case::Case;
use medcards_core::feedback::{FeedbackKey, authored_text};
use medcards_core::user::Level;

/// The most tokens of a reply: twice what 180 words have in the most wordy scripts.
///
/// It is also what each live call reserves of the spend budget.
pub const OUTPUT_TOKENS_MAX: u32 = 1_000;

/// What the part begins with that holds the author's words.
pub(crate) const AUTHORED_HEADING: &str = "The author's explanation:\n\n";

/// The edition. Any change to a text or rule in this module is a new one.
const EDITION: u32 = 2;

/// Editions are this far apart in [`PromptVersion`], so that each has a number for every level:
/// edition 2 is 20 for the first level, 21 for the second and so on.
const NUMBERS_PER_EDITION: u32 = 10;

/// The prompt for feedback on a choice.
///
/// It asks for four short paragraphs of plain text, in the language and for the level of the key:
/// what was chosen and why it tempts, what in the case speaks against it, what is right and why,
/// and one sentence to take away. What each paragraph is about depends on the
/// [`Mistake`](medcards_core::case::Mistake). A prompt has two parts from the case, the case itself
/// with the choice and the author's explanation, and, if it is personal, one from the student.
///
/// # Which replies are kept
///
/// Whole ones of [`REPLY_CHARS_MIN`] to [`REPLY_CHARS_MAX`] characters in three to five paragraphs,
/// that name every option that was chosen and every right one, that name none by a letter if the
/// options are shuffled, that have no heading, list, table, tag or trace of thinking, and no number
/// that the case does not have:
///
/// - An option is named if its words stand in one paragraph, in a row if it is short, 60 in a hundred
///   of them if it is long. Case, accents, spelling such as `oedema` and leading articles do not
///   count. In another language than that of the case, the option is quoted, not translated.
/// - Numbers are compared by value: `3,50` is `3.5`, and `1,200` may be 1200 or 1.2. The case has
///   those of its story, question, options, explanations and pictures, in digits or in English or
///   French words.
/// - Numbers below ten without a unit are free, and so are ordinals, those within a name (`CD4`,
///   `COVID-19`, `type 2`, `21-hydroxylase`), 24, 48 and 72 hours, and decades that a value of the
///   case is in. Every decimal, percentage, dose and value with a unit must be of the case: those are
///   what a student would learn by heart although nobody measured or wrote them.
///
/// Emphasis with double asterisks is taken away, not rejected.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct FeedbackTemplate;

impl FeedbackTemplate {
    /// The template in its current edition.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl fmt::Display for FeedbackTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FeedbackTemplate(edition {EDITION})")
    }
}

impl FeedbackPrompt for FeedbackTemplate {
    fn version(&self, level: Level) -> PromptVersion {
        // There are three levels.
        PromptVersion::new(EDITION * NUMBERS_PER_EDITION + level.index() as u32)
    }

    fn shared(&self, case: &Case, key: &FeedbackKey) -> Prompt {
        let level = level_of(key.prompt_version);
        let authored = authored_text(case, key.chosen, key.locale);
        Prompt {
            version: self.version(level),
            instructions: instructions::instructions(&case.content, key.chosen, key.locale, level),
            parts: vec![
                PromptPart::Case(case_text::case_text(case, key.chosen)),
                PromptPart::Case(format!("{AUTHORED_HEADING}{authored}")),
            ],
            // The case tells the choice, so that only the instructions are those of other prompts.
            cache_through: Some(0),
            output_tokens_max: OUTPUT_TOKENS_MAX,
        }
    }

    fn personal(&self, case: &Case, key: &FeedbackKey, context: &PersonalContext) -> Prompt {
        let mut prompt = self.shared(case, key);
        prompt
            .instructions
            .push_str(instructions::ABOUT_THE_STUDENT);
        prompt
            .parts
            .push(PromptPart::Student(redact::redacted(&context.text)));
        prompt
    }

    fn check(&self, case: &Case, key: &FeedbackKey, reply: &Reply) -> Result<String, Rejection> {
        check::checked(case, key, reply)
    }
}

/// The author's words, if the text is the part of a prompt that holds them.
pub(crate) fn authored_of(text: &str) -> Option<&str> {
    text.strip_prefix(AUTHORED_HEADING)
}

/// The level that an edition is for. One that is not of this template counts as the default.
fn level_of(version: PromptVersion) -> Level {
    let of_edition = |level: &Level| FeedbackTemplate.version(*level) == version;
    Level::ALL.into_iter().find(of_edition).unwrap_or_default()
}
