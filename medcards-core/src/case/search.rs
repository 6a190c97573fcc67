/// The most words of a search that count: what follows is ignored.
///
/// Each word is one lookup in an index, so a search of a million words would not be bounded.
pub const SEARCH_WORDS_MAX: usize = 16;

/// The words of a search: lower case, without the accents of Latin letters.
///
/// A case matches a search if each of these begins a word of its stem, vignette, options,
/// specialty or topic, compared without regard to case and accents. Explanations, references and
/// tags are left out: a student sees them after the answer, and they may give it away.
///
/// ```
/// use medcards_core::case::search_words;
///
/// assert_eq!(search_words("Méningite, aiguë?"), ["meningite", "aigue"]);
/// assert_eq!(search_words("Œdème, cœur"), ["oedeme", "coeur"]);
/// assert!(search_words(" ... ").is_empty());
/// ```
#[must_use]
pub fn search_words(text: &str) -> Vec<String> {
    folded_words(text).take(SEARCH_WORDS_MAX).collect()
}

/// All words of a text, folded as those of a search are: what a store keeps to be searched.
pub fn folded_words(text: &str) -> impl Iterator<Item = String> {
    text.split(|letter: char| !letter.is_alphanumeric() && !is_mark(letter))
        .map(fold)
        .filter(|word| !word.is_empty())
}

/// Whether it is an accent that stands behind its letter, as some systems write them.
fn is_mark(letter: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&letter)
}

/// Lower case without accents, for the letters of western Europe.
fn fold(word: &str) -> String {
    let mut folded = String::with_capacity(word.len());
    for letter in word.chars().flat_map(char::to_lowercase) {
        match letter {
            'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' => folded.push('a'),
            'æ' => folded.push_str("ae"),
            'ç' => folded.push('c'),
            'è' | 'é' | 'ê' | 'ë' => folded.push('e'),
            'ì' | 'í' | 'î' | 'ï' => folded.push('i'),
            'ñ' => folded.push('n'),
            'ò' | 'ó' | 'ô' | 'õ' | 'ö' => folded.push('o'),
            'œ' => folded.push_str("oe"),
            'ß' => folded.push_str("ss"),
            mark if is_mark(mark) => {}
            'ù' | 'ú' | 'û' | 'ü' => folded.push('u'),
            'ý' | 'ÿ' => folded.push('y'),
            other => folded.push(other),
        }
    }
    folded
}
