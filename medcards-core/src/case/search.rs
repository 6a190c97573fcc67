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

/// The Latin letters with accents that Unicode has as one character each, by what they are without.
const ACCENTED: [(char, &str); 25] = [
    ('a', "àáâãäåāăąǎǟǻȁȃȧḁạảấầẩẫậắằẳẵặ"),
    ('b', "ḃḅḇ"),
    ('c', "çćĉċčḉ"),
    ('d', "ďḋḍḏḑḓ"),
    ('e', "èéêëēĕėęěȅȇȩḕḗḙḛḝẹẻẽếềểễệ"),
    ('f', "ḟ"),
    ('g', "ĝğġģǧǵḡ"),
    ('h', "ĥȟḣḥḧḩḫẖ"),
    ('i', "ìíîïĩīĭįǐȉȋḭḯỉị"),
    ('j', "ĵǰ"),
    ('k', "ķǩḱḳḵ"),
    ('l', "ĺļľḷḹḻḽ"),
    ('m', "ḿṁṃ"),
    ('n', "ñńņňǹṅṇṉṋ"),
    ('o', "òóôõöōŏőơǒǫǭȍȏȫȭȯȱṍṏṑṓọỏốồổỗộớờởỡợ"),
    ('p', "ṕṗ"),
    ('r', "ŕŗřȑȓṙṛṝṟ"),
    ('s', "śŝşšſșṡṣṥṧṩẛ"),
    ('t', "ţťțṫṭṯṱẗ"),
    ('u', "ùúûüũūŭůűųưǔǖǘǚǜȕȗṳṵṷṹṻụủứừửữự"),
    ('v', "ṽṿ"),
    ('w', "ŵẁẃẅẇẉẘ"),
    ('x', "ẋẍ"),
    ('y', "ýÿŷȳẏẙỳỵỷỹ"),
    ('z', "źżžẑẓẕ"),
];

/// Letters that have two forms of lower case, by the one that is kept: the micro sign is not the letter
/// that it looks like, and a Greek word ends with a sigma of its own.
const SAME: [(char, &str); 10] = [
    ('β', "ϐ"),
    ('ε', "ϵ"),
    ('θ', "ϑ"),
    ('ι', "ι"),
    ('κ', "ϰ"),
    ('μ', "µ"),
    ('π', "ϖ"),
    ('ρ', "ϱ"),
    ('σ', "ς"),
    ('φ', "ϕ"),
];

/// Lower case without the accents of Latin letters.
fn fold(word: &str) -> String {
    let mut folded = String::with_capacity(word.len());
    for letter in word.chars().flat_map(char::to_lowercase) {
        match letter {
            letter if letter.is_ascii() => folded.push(letter),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'ß' => folded.push_str("ss"),
            mark if is_mark(mark) => {}
            other => folded.push(plain(other)),
        }
    }
    folded
}

fn plain(letter: char) -> char {
    let mut forms = ACCENTED.iter().chain(&SAME);
    let found = forms.find(|(_, forms)| forms.contains(letter));
    found.map_or(letter, |(plain, _)| *plain)
}
