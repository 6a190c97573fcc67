mod form;
mod naming;
mod numbers;

use std::sync::LazyLock;

use medcards_core::ai::{Rejection, Reply, StopReason};
use medcards_core::case::{Case, OptionOrdering, names_option_letter};
use medcards_core::feedback::FeedbackKey;
use regex::Regex;

use super::tags::has_tag;

pub(crate) use form::shows_thinking;

/// The fewest characters of a reply: less is no feedback, even in scripts with a character a word.
pub const REPLY_CHARS_MIN: usize = 80;

/// The most characters of a reply: twice what 180 long words have.
pub const REPLY_CHARS_MAX: usize = 2_500;

/// The words of prose that the search for letters takes for letters: "The key is a raised lactate",
/// "Your choice, I think", "la réponse d'un patient".
static WORDS_LIKE_LETTERS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:^|\s)(?:a|I)(?:\s)|\b[cdCD]['’]\b").expect("a constant that tests compile")
});

/// The text of a whole reply, if it may be shown.
pub(super) fn checked(case: &Case, key: &FeedbackKey, reply: &Reply) -> Result<String, Rejection> {
    match reply.stop {
        StopReason::Complete => {}
        StopReason::Refusal => return Err(Rejection::Refused),
        _ => return Err(Rejection::Incomplete),
    }
    let text = form::without_emphasis(reply.text.trim());
    let chars = text.chars().count();
    if chars < REPLY_CHARS_MIN {
        return Err(Rejection::TooShort);
    }
    if chars > REPLY_CHARS_MAX {
        return Err(Rejection::TooLong);
    }
    match broken_rule(case, key, &text) {
        None => Ok(text),
        Some(rule) => Err(Rejection::Unfit(rule)),
    }
}

/// The first rule that a text breaks: the cheap ones first.
fn broken_rule(case: &Case, key: &FeedbackKey, text: &str) -> Option<&'static str> {
    if text
        .chars()
        .any(|char| char.is_control() && !matches!(char, '\n' | '\t' | '\r'))
    {
        return Some("the reply has control characters");
    }
    if form::shows_thinking(text) {
        return Some("the reply shows how the model thinks");
    }
    if has_tag(text) {
        return Some("the reply repeats the tags of the prompt");
    }
    if form::has_markup(text) {
        return Some("the reply has headings, lists, tables or markup");
    }
    let paragraphs = form::paragraphs(text);
    if !form::PARAGRAPHS.contains(&paragraphs.len()) {
        return Some("the reply is not in four paragraphs");
    }
    if let Some(rule) = named_by_letter(case, text) {
        return Some(rule);
    }
    let named = naming::named(case.content.options(), &paragraphs);
    if key.chosen.positions().any(|chosen| !named.contains(chosen)) {
        return Some("the reply does not name an option that was chosen");
    }
    let right = case.content.right_options();
    if right.positions().any(|right| !named.contains(right)) {
        return Some("the reply does not name an option that is right");
    }
    if numbers::has_invented(&case.content, text) {
        return Some("the reply has a number that the case does not have");
    }
    None
}

/// The rule that a text breaks which names an option by its letter where each student sees another
/// order. Emphasis hides no letter.
pub(crate) fn named_by_letter(case: &Case, text: &str) -> Option<&'static str> {
    let shuffled = case.content.option_ordering() == OptionOrdering::Shuffled;
    (shuffled && names_letter(&form::without_emphasis(text)))
        .then_some("the reply names an option by its letter")
}

/// Rejecting a paid reply costs more than keeping the order of a case, so this errs less towards
/// yes than the search in what authors wrote.
fn names_letter(text: &str) -> bool {
    names_option_letter(&WORDS_LIKE_LETTERS.replace_all(text, " … "))
}
