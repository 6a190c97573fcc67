use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

/// The most bytes of a student's text that a prompt holds: a page and a half.
pub const STUDENT_BYTES_MAX: usize = 4 * 1024;

/// What identifies a person, and what stands in its place. In order: what comes first wins.
///
/// Made to err towards yes: a value lost from a student's text costs a nuance, an address sent
/// costs trust. Seven digits in a row are kept by no laboratory report that a student quotes.
static IDENTIFYING: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"(?i)\b(?:https?|ftp)://\S+|\bwww\.\S+", "[link]"),
        (r"[\w.+%'-]+@[\w-]+(?:\.[\w-]+)+", "[address]"),
        // Telephones, cards and account numbers: eight digits or more, however they are grouped.
        (r"\+?\(?\d(?:[\s.()-]{0,2}\d){7,}", "[number]"),
        (r"\d{7,}", "[number]"),
        // Days, such as that of a birth, as far as they are not numbers yet.
        (
            r"\b(?:\d{1,2}/\d{1,2}/\d{2,4}|\d{1,2}\.\d{1,2}\.\d{2,4}|\d{1,2}-\d{1,2}-\d{2,4}|\d{4}[-/.]\d{1,2}[-/.]\d{1,2})\b",
            "[date]",
        ),
        (
            r"((?i:\b(?:my name is|my name's|je m['’]appelle|mon nom est|me llamo|mi nombre es|ich hei(?:ß|ss)e|mein name ist|mi chiamo|meu nome é))\s+)[\w'’-]+(?:\s+(?:(?:de|da|du|von|van|der|la|el|al|bin|ben)\s+)*[A-ZÀ-ÖØ-Þ][\w'’-]*){0,3}",
            "${1}[name]",
        ),
        (
            r"\b((?:Dr|Mr|Mrs|Ms|Mme|Mlle|Herr|Frau|Prof)\b\.?\s+)[A-ZÀ-ÖØ-Þ][\w'’-]*(?:\s+[A-ZÀ-ÖØ-Þ][\w'’-]*){0,2}",
            "${1}[name]",
        ),
    ]
    .into_iter()
    .map(|(pattern, place)| (Regex::new(pattern).expect("a constant that tests compile"), place))
    .collect()
});

/// A student's text without what identifies a person, as far as its form shows, and cut to
/// [`STUDENT_BYTES_MAX`].
pub(super) fn redacted(text: &str) -> String {
    let mut kept = Cow::Borrowed(text);
    for (pattern, place) in IDENTIFYING.iter() {
        if let Cow::Owned(replaced) = pattern.replace_all(&kept, *place) {
            kept = Cow::Owned(replaced);
        }
    }
    // Cut last: a cut through an address would hide its form.
    let end = kept.floor_char_boundary(STUDENT_BYTES_MAX);
    kept[..end].to_owned()
}
