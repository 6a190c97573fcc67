use std::ops::RangeInclusive;
use std::sync::LazyLock;

use regex::Regex;

/// How many paragraphs a reply may have. Four were asked for; one more or less is no reason to pay
/// again.
pub(super) const PARAGRAPHS: RangeInclusive<usize> = 3..=5;

static EMPTY_LINE: LazyLock<Regex> = LazyLock::new(|| regex(r"\n[ \t\r]*\n\s*"));

static EMPHASIS: LazyLock<Regex> = LazyLock::new(|| regex(r"\*\*([^*\n]+)\*\*"));

static THINKING: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?i)</?\s*(?:think|reason|scratchpad|reflection)"));

/// Headings, rows of tables, code, and elements of HTML or of a frame that models like to add.
static MARKUP: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?mi)^[ \t]{0,3}#{1,6}[ \t]|^[ \t]*\|.*\|[ \t]*$|```|</?(?:p|br|b|i|u|em|strong|ul|ol|li|h[1-6]|div|span|table|tr|td|code|pre|answer|feedback|output|reply|response|paragraph)\b[^<>\n]*>",
    )
});

/// A line of a list.
static ENTRY: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?m)^[ \t]*(?:[-*•‣–][ \t]|\d{1,2}[.)][ \t])"));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant that tests compile")
}

/// The text without double asterisks around words, which say nothing that plain text does not.
pub(super) fn without_emphasis(text: &str) -> String {
    EMPHASIS.replace_all(text, "$1").into_owned()
}

/// Whether a model left its reasoning in the reply.
pub(crate) fn shows_thinking(text: &str) -> bool {
    THINKING.is_match(text)
}

/// Whether a text is more than plain paragraphs. One dash at the beginning of a line is no list.
pub(super) fn has_markup(text: &str) -> bool {
    MARKUP.is_match(text) || ENTRY.find_iter(text).nth(1).is_some()
}

/// The paragraphs of a text: parted by empty lines or, where there is none, by the ends of lines.
pub(super) fn paragraphs(text: &str) -> Vec<&str> {
    let parted: Vec<&str> = EMPTY_LINE.split(text).collect();
    let parts = if parted.len() > 1 {
        parted
    } else {
        text.lines().collect()
    };
    let trimmed = parts.into_iter().map(str::trim);
    trimmed.filter(|part| !part.is_empty()).collect()
}
