use std::collections::HashSet;

use medcards_core::case::{CaseOption, OptionSet, folded_words};

use super::super::words::is_unspaced;

/// An option with this many words or fewer is named by all of them in a row.
const SHORT_WORDS_MAX: usize = 3;

/// Of a longer option, this many of a hundred of its significant words name it.
///
/// A sentence is quoted loosely: words are inflected, and dosing or a subclause is left out.
const SHARE_PERCENT_MIN: usize = 60;

/// A long option with fewer significant words is treated as a short one.
const SIGNIFICANT_MIN: usize = 3;

/// From this many letters on a word says something; shorter ones are "with", "for", "mg".
const SIGNIFICANT_CHARS_MIN: usize = 4;

/// The most letters that an ending adds to a word, as in "furosemides" or "Furosemids".
const ENDING_CHARS_MAX: usize = 4;

/// From this many letters on a word may have an ending: "iron" is not the beginning of much.
const INFLECTED_CHARS_MIN: usize = 4;

/// What an option may begin with and a sentence leave out.
const ARTICLES: [&str; 22] = [
    "the", "a", "an", "le", "la", "les", "l", "un", "une", "des", "du", "der", "die", "das", "ein",
    "eine", "el", "los", "las", "una", "il", "lo",
];

/// The options that a reply names.
pub(super) fn named(options: &[CaseOption], paragraphs: &[&str]) -> OptionSet {
    let options: Vec<Vec<String>> = options
        .iter()
        .map(|option| words_of(&option.text))
        .collect();
    let paragraphs: Vec<Vec<String>> = paragraphs.iter().map(|text| words(text)).collect();
    let is_named = |position: &usize| {
        let option = &options[*position];
        let own = own_words(&options, *position);
        paragraphs
            .iter()
            .any(|paragraph| names(paragraph, option, &own))
    };
    (0..options.len()).filter(is_named).collect()
}

/// The words of an option, without the article that it begins with.
fn words_of(option: &str) -> Vec<String> {
    let mut words = words(option);
    if words.len() > 1 && ARTICLES.contains(&words[0].as_str()) {
        words.remove(0);
    }
    words
}

/// The words that set an option apart from all others.
fn own_words(options: &[Vec<String>], position: usize) -> Vec<&String> {
    let others: HashSet<&String> = options
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != position)
        .flat_map(|(_, words)| words)
        .collect();
    let words = options[position].iter();
    words.filter(|word| !others.contains(*word)).collect()
}

fn names(paragraph: &[String], option: &[String], own: &[&String]) -> bool {
    if option.is_empty() {
        // An option of signs alone, such as "+", cannot be looked for.
        return true;
    }
    if in_a_row(paragraph, option) {
        return true;
    }
    let significant: HashSet<&String> = option.iter().filter(|word| is_significant(word)).collect();
    if option.len() <= SHORT_WORDS_MAX || significant.len() < SIGNIFICANT_MIN {
        return false;
    }
    let has = |word: &str| paragraph.iter().any(|said| is_form_of(said, word));
    let found = significant.iter().filter(|word| has(word)).count();
    found * 100 >= significant.len() * SHARE_PERCENT_MIN
        // "The right upper lobe" does not name "the right lower lobe".
        && (own.is_empty() || own.iter().any(|word| has(word)))
}

fn in_a_row(paragraph: &[String], option: &[String]) -> bool {
    paragraph.windows(option.len()).any(|window| {
        window
            .iter()
            .zip(option)
            .all(|(said, word)| is_form_of(said, word))
    })
}

/// Whether a word of a reply is a word of an option, perhaps with another ending.
fn is_form_of(said: &str, word: &str) -> bool {
    if said == word {
        return true;
    }
    let is_number = |text: &str| text.starts_with(|char: char| char.is_ascii_digit());
    let letters = word.chars().count();
    // In scripts without capitals, endings and articles are written together with short words too.
    let letters_min = if word.is_ascii() {
        INFLECTED_CHARS_MIN
    } else {
        2
    };
    if is_number(word) || word.starts_with(is_unspaced) || letters < letters_min {
        return false;
    }
    let longer = said.chars().count().saturating_sub(letters);
    let has_ending = said.starts_with(word) || (!word.is_ascii() && said.ends_with(word));
    (has_ending && longer <= ENDING_CHARS_MAX)
        // The option is a plural, the reply speaks of one.
        || word.strip_suffix('s') == Some(said)
}

fn is_significant(word: &str) -> bool {
    word.starts_with(|char: char| char.is_ascii_digit())
        || word.chars().count() >= SIGNIFICANT_CHARS_MIN
}

/// Words as they are compared: folded, numbers by themselves with a dot as decimal sign, each
/// character alone in scripts without spaces, British spelling and Greek letters made uniform.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for piece in pieces(text) {
        if piece.starts_with(|char: char| char.is_ascii_digit()) {
            words.push(piece.replace(',', "."));
        } else {
            words.extend(folded_words(piece).map(|word| uniform(&word)));
        }
    }
    words
}

fn uniform(word: &str) -> String {
    let word = word.replace("ae", "e").replace("oe", "e");
    let word = word.replace('α', "alpha").replace('β', "beta");
    word.replace('γ', "gamma").replace('δ', "delta")
}

/// Cuts a text before and after each number and each character of a script without spaces.
fn pieces(text: &str) -> Vec<&str> {
    #[derive(PartialEq)]
    enum Kind {
        Number,
        Single,
        Other,
    }
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut kind = Kind::Other;
    let mut chars = text.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        let next_is_digit = chars.peek().is_some_and(|(_, next)| next.is_ascii_digit());
        let next_kind = if char.is_ascii_digit()
            || (kind == Kind::Number && matches!(char, '.' | ',') && next_is_digit)
        {
            Kind::Number
        } else if is_unspaced(char) {
            Kind::Single
        } else {
            Kind::Other
        };
        if next_kind != kind || next_kind == Kind::Single {
            pieces.push(&text[start..at]);
            start = at;
            kind = next_kind;
        }
    }
    pieces.push(&text[start..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(texts: &[&str]) -> Vec<CaseOption> {
        let option = |(position, text): (usize, &&str)| CaseOption {
            key: position.to_string().parse().unwrap(),
            text: (*text).to_owned(),
            explanation: None,
        };
        texts.iter().enumerate().map(option).collect()
    }

    #[test]
    fn an_option_is_named_by_its_words_and_by_nothing_less() {
        for (texts, said, is_named) in [
            (&["Spironolactone"][..], "You chose spironolactone.", true),
            (&["Spironolactone"], "Spironolactone’s effect", true),
            (&["Spironolactone"], "an aldosterone antagonist", false),
            (&["Diuretics"], "the diuretic", true),
            (&["Œdème aigu"], "un oedeme aigu", true),
            (&["Haemolysis"], "hemolysis", true),
            (&["β-blocker"], "A beta blocker", true),
            (&["The spleen"], "your spleen", true),
            (&["Hepatitis A", "Hepatitis B"], "hepatitis B", false),
            (&["Iron"], "an irony of fate", true),
            (&["ACE"], "peace", false),
            (&["10 mg"], "10mg", true),
            (&["10 mg"], "110 mg", false),
            (&["0.5 mg/kg"], "0,5 mg/kg", true),
            (&["5 mg"], "0.5 mg", false),
            (
                &["Aspirin, ticagrelor and urgent angiography"],
                "Aspirin with ticagrelor and an urgent angiography",
                true,
            ),
            (
                &["Aspirin, ticagrelor and urgent angiography"],
                "Aspirin and the cath lab",
                false,
            ),
            (
                &["Right upper lobe pneumonia", "Right lower lobe pneumonia"],
                "a right lower lobe pneumonia",
                false,
            ),
            (
                &["Apixaban 5 mg twice daily", "Apixaban 2.5 mg twice daily"],
                "apixaban 2.5 mg twice daily",
                false,
            ),
            (&["心不全"], "あなたは心不全を選びました", true),
            (&["心不全"], "心臓", false),
            (&["아스피린"], "아스피린은 혈소판을", true),
            (&["الأسبرين"], "والأسبرين دواء", true),
            (&["+"], "nothing", true),
        ] {
            let named = named(&options(texts), &["Nothing here.", said]);
            assert_eq!(named.contains(0), is_named, "{texts:?} in {said:?}");
        }
    }

    #[test]
    fn the_words_of_a_long_option_stand_in_one_paragraph() {
        let options = options(&["Aspirin, ticagrelor and urgent angiography"]);
        let together = ["Aspirin, ticagrelor, urgent."];
        let apart = ["Aspirin and ticagrelor.", "Urgent angiography."];
        assert!(named(&options, &together).contains(0));
        assert!(!named(&options, &apart).contains(0));
    }
}
