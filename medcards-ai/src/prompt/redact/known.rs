use std::collections::HashSet;

use medcards_core::case::folded_words;

use super::super::words::{is_unspaced, words};
use super::rules::PLACES;

/// The longest part of a name that is removed only where it begins with a capital: `An` and `Li`
/// are names, `an` and `li` are not.
const SHORT_CHARS_MAX: usize = 2;

/// Parts of names that are words of their own.
const PARTICLES: [&str; 15] = [
    "al", "bin", "da", "de", "del", "der", "di", "dos", "du", "el", "la", "le", "ten", "van", "von",
];

/// The folded words of names that are to be removed.
pub(super) fn words_of(names: &[&str]) -> HashSet<String> {
    let words = names.iter().flat_map(|name| folded_words(name));
    words
        .filter(|word| word.chars().any(char::is_alphabetic))
        .filter(|word| word.chars().count() > 1)
        .filter(|word| !PARTICLES.contains(&word.as_str()))
        // What stands in the place of something removed is not removed again.
        .filter(|word| !PLACES.contains(&word.as_str()))
        .collect()
}

/// The text without these words.
pub(super) fn without(text: &str, known: &HashSet<String>) -> String {
    if known.is_empty() {
        return text.to_owned();
    }
    let mut kept = String::with_capacity(text.len());
    let mut end = 0;
    for (start, word) in words(text) {
        let is_known = folded_words(word).any(|folded| known.contains(&folded))
            && (word.chars().count() > SHORT_CHARS_MAX || !word.starts_with(char::is_lowercase));
        if is_known {
            kept.push_str(&text[end..start]);
            kept.push_str("[name]");
            end = start + word.len();
        }
    }
    kept.push_str(&text[end..]);
    // Scripts without spaces have no words to compare.
    for name in known.iter().filter(|name| name.chars().any(is_unspaced)) {
        kept = kept.replace(name.as_str(), "[name]");
    }
    kept
}
