//! How the words of a case stand in its index, and how a search asks for them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use medcards_core::case::{CaseContent, folded_words};

/// The longest word that is kept, in bytes: Postgres takes 2,046, and nobody types that many.
const WORD_LEN_MAX: usize = 255;

/// The most bytes of words of one case, a fifth of what Postgres takes: what follows is not found.
/// The largest real case known to us has 12 kB.
const WORDS_LEN_MAX: usize = 200_000;

/// The greatest position that an index tells apart from others.
const POSITION_MAX: usize = 16_383;

/// The most positions of one word; more of them do not make it matter more.
const POSITIONS_PER_WORD_MAX: usize = 64;

/// What the index holds of one case.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct IndexedWords {
    /// Stem and specialty, folded.
    pub(crate) leading: String,
    /// Vignette, options and topic, folded.
    pub(crate) others: String,
    /// All of them as the text form of a `tsvector`; those that lead have weight A.
    pub(crate) vector: String,
}

impl IndexedWords {
    pub(crate) fn of(content: &CaseContent) -> Self {
        let leading = [Some(content.stem()), content.specialty()];
        let vignette = content.vignette().iter();
        let others = vignette
            .flat_map(|field| [field.label.as_str(), field.text.as_str()])
            .chain(content.options().iter().map(|option| option.text.as_str()))
            .chain(content.topic());
        let mut room = WORDS_LEN_MAX;
        let leading = kept(leading.into_iter().flatten(), &mut room);
        let others = kept(others, &mut room);
        Self {
            vector: vector(&leading, &others),
            leading: leading.join(" "),
            others: others.join(" "),
        }
    }
}

/// The words of some texts, as long as there is room.
fn kept<'a>(texts: impl Iterator<Item = &'a str>, room: &mut usize) -> Vec<String> {
    let mut words = Vec::new();
    for word in texts.flat_map(folded_words).map(shortened) {
        match room.checked_sub(word.len() + 1) {
            Some(left) => *room = left,
            None => break,
        }
        words.push(word);
    }
    words
}

fn shortened(mut word: String) -> String {
    let end = word.floor_char_boundary(WORD_LEN_MAX);
    word.truncate(end);
    word
}

fn vector(leading: &[String], others: &[String]) -> String {
    let mut places: BTreeMap<&str, Vec<(usize, &str)>> = BTreeMap::new();
    let weighted = leading.iter().map(|word| (word, "A"));
    let all = weighted.chain(others.iter().map(|word| (word, "")));
    for (position, (word, weight)) in (1..).zip(all) {
        let places = places.entry(word).or_default();
        if places.len() < POSITIONS_PER_WORD_MAX {
            places.push((position.min(POSITION_MAX), weight));
        }
    }
    let mut vector = String::new();
    for (word, places) in places {
        // Words have letters and digits only, so nothing in them needs to be escaped. Writing to a
        // string cannot fail.
        let _ = write!(vector, "'{word}':");
        for (at, (position, weight)) in places.into_iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let _ = write!(vector, "{comma}{position}{weight}");
        }
        vector.push(' ');
    }
    vector
}

/// The text form of the `tsquery` for cases in which each of these words begins a word.
pub(crate) fn prefix_query(words: &[String]) -> String {
    let quoted: Vec<_> = words
        .iter()
        .map(|word| format!("'{}':*", shortened(word.clone())))
        .collect();
    quoted.join(" & ")
}

/// Every configuration that [`config_of`] can name.
pub(crate) const CONFIGS: &[&str] = &[
    "arabic",
    "armenian",
    "basque",
    "catalan",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hindi",
    "hungarian",
    "indonesian",
    "irish",
    "italian",
    "lithuanian",
    "nepali",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "serbian",
    "simple",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
    "yiddish",
];

/// The text search configuration of a language; `simple` for one that Postgres 15 does not know.
pub(crate) fn config_of(language: &str) -> &'static str {
    match language {
        "ar" => "arabic",
        "ca" => "catalan",
        "da" => "danish",
        "de" => "german",
        "el" => "greek",
        "en" => "english",
        "es" => "spanish",
        "eu" => "basque",
        "fi" => "finnish",
        "fr" => "french",
        "ga" => "irish",
        "hi" => "hindi",
        "hu" => "hungarian",
        "hy" => "armenian",
        "id" => "indonesian",
        "it" => "italian",
        "lt" => "lithuanian",
        "nb" | "nn" | "no" => "norwegian",
        "ne" => "nepali",
        "nl" => "dutch",
        "pt" => "portuguese",
        "ro" => "romanian",
        "ru" => "russian",
        "sr" => "serbian",
        "sv" => "swedish",
        "ta" => "tamil",
        "tr" => "turkish",
        "yi" => "yiddish",
        _ => "simple",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_tells_where_each_word_stands_and_which_lead() {
        let words = |text: &str| folded_words(text).collect::<Vec<_>>();
        let vector = vector(&words("Chest pain"), &words("No pain, l'œdème"));
        assert_eq!(vector, "'chest':1A 'l':5 'no':3 'oedeme':6 'pain':2A,4 ");
    }

    #[test]
    fn a_word_is_cut_between_letters() {
        let long = "é".repeat(200);
        assert_eq!(shortened(long).len(), 254);
        let query = prefix_query(&["a".repeat(300)]);
        assert_eq!(query, format!("'{}':*", "a".repeat(255)));
    }

    #[test]
    fn every_language_has_a_configuration_that_is_listed() {
        for language in ["ar", "de", "en", "fr", "nb", "pt", "zh", "und"] {
            assert!(CONFIGS.contains(&config_of(language)), "{language}");
        }
    }
}
