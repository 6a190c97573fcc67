//! What a student wrote, without what says who wrote it.

mod known;
mod names;
mod number;
mod rules;

use std::collections::HashSet;

/// The most bytes of a student's text that a prompt holds: a page and a half.
pub const STUDENT_BYTES_MAX: usize = 4 * 1024;

/// How often a text is gone over. Twice is enough for what people write; each time more needs
/// forms that hide in what the cut left of others.
const PASSES_MAX: usize = 16;

/// A student's text without what identifies a person, as far as its form shows, and cut to
/// [`STUDENT_BYTES_MAX`].
///
/// Removed are names after a title, an introduction or a farewell; addresses of mail, of the web, of
/// houses and of machines; handles; telephone, account and identity numbers; and days of the
/// calendar. In their place stands what they were, such as `[name]`. Values, doses and years stay.
///
/// It errs towards removing: a value lost costs a nuance, an address sent costs trust. A name that
/// stands in a sentence like any other word is not found; [`redacted_with`] removes those that are
/// known. Redacting twice changes nothing.
///
/// ```
/// use medcards_ai::redacted;
///
/// let text = "I'm Dr. Ito (ito@example.org). Why not bisoprolol at BP 120/80?";
/// assert_eq!(redacted(text), "I'm Dr. [name] ([address]). Why not bisoprolol at BP 120/80?");
/// ```
#[must_use]
pub fn redacted(text: &str) -> String {
    redacted_with(text, &[])
}

/// The same as [`redacted`], and without the words of these names, wherever they stand.
///
/// Names are compared as words, without regard to case and accents: `Éloïse Roux` removes
/// `eloise` too. A part of two letters or fewer is removed only where it begins with a capital, and
/// a single letter never.
///
/// ```
/// use medcards_ai::redacted_with;
///
/// assert_eq!(redacted_with("anna is stuck", &["Anna Lee"]), "[name] is stuck");
/// ```
#[must_use]
pub fn redacted_with(text: &str, known: &[&str]) -> String {
    let known: HashSet<String> = known::words_of(known);
    let mut kept = once(text, &known);
    for _ in 1..PASSES_MAX {
        let again = once(&kept, &known);
        if again == kept {
            break;
        }
        kept = again;
    }
    kept
}

fn once(text: &str, known: &HashSet<String>) -> String {
    let mut kept = rules::without_forms(text);
    kept = known::without(&kept, known);
    // Cut last: a cut through an address would hide its form.
    kept.truncate(kept.floor_char_boundary(STUDENT_BYTES_MAX));
    kept
}
