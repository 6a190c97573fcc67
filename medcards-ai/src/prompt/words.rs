/// The words of a text with where they begin, as they are written.
pub(super) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = text;
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = rest.find(is_of_word)?;
        let word = &rest[start..];
        let len = word.find(|char| !is_of_word(char)).unwrap_or(word.len());
        let found = (at + start, &word[..len]);
        at += start + len;
        rest = &word[len..];
        Some(found)
    })
}

/// Accents that stand behind their letters belong to the word.
fn is_of_word(char: char) -> bool {
    char.is_alphanumeric() || ('\u{300}'..='\u{36f}').contains(&char)
}

/// Whether a character is of a script that is written without spaces between words.
pub(super) const fn is_unspaced(char: char) -> bool {
    matches!(char,
        // Thai and Lao, Burmese, Khmer.
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        // Kana, and Han with its extensions.
        | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3134f}')
}
