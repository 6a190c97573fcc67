use std::borrow::Cow;
use std::sync::LazyLock;

use medcards_core::ai::PromptPart;
use regex::Regex;

/// What looks like one of our tags, opening or closing.
static TAG: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)<(\s*/?\s*(?:case|student)\b)").expect("a constant that tests compile")
});

/// A part of a prompt as it is sent: in tags that say where it comes from.
///
/// Data cannot end its tags: what looks like one of them loses its bracket.
pub(crate) fn in_tags(part: &PromptPart) -> String {
    let name = match part {
        PromptPart::Case(_) => "case",
        // A kind of part that is not known here is not trusted.
        _ => "student",
    };
    let text = without_tags(part.text());
    format!("<{name}>\n{text}\n</{name}>")
}

/// A text in which nothing looks like one of our tags.
pub(crate) fn without_tags(text: &str) -> Cow<'_, str> {
    TAG.replace_all(text, "&lt;$1")
}

/// Whether a text has one of our tags in it.
pub(crate) fn has_tag(text: &str) -> bool {
    TAG.is_match(text)
}
