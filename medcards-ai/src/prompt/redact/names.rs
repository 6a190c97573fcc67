use regex::Captures;

/// Words that end a name written in small letters.
const NOT_NAMES: [&str; 44] = [
    "a", "am", "an", "and", "ask", "at", "aus", "but", "de", "et", "from", "für", "he", "here",
    "i", "ich", "im", "in", "is", "ist", "j", "je", "mais", "my", "of", "on", "or", "please",
    "que", "she", "so", "soy", "that", "the", "this", "to", "und", "von", "we", "what", "why",
    "with", "y", "you",
];

/// Titles. Not "Sr", which is how many write "serum", and not "MR", which is a valve.
pub(super) const TITLES: [&str; 17] = [
    "Dr",
    "Mr",
    "Mrs",
    "Ms",
    "Miss",
    "Mme",
    "Mlle",
    "Herr",
    "Frau",
    "Prof",
    "Professor",
    "Professeur",
    "Doctor",
    "Docteur",
    "Dra",
    "Sra",
    "Dott",
];

/// Words within a name that are in small letters.
const PARTICLES: [&str; 14] = [
    "al", "bin", "da", "de", "del", "der", "di", "dos", "du", "el", "la", "le", "van", "von",
];

/// The most words of a name.
const WORDS_MAX: usize = 5;

/// What follows "my name is": a word however it is written, and those that belong to it.
pub(super) fn introduced(found: &Captures<'_>, _after: &str) -> Option<String> {
    let lead = &found["lead"];
    let words = &found["words"];
    let mut end = 0;
    let mut names = 0;
    for word in words.split_inclusive([' ', '\t']).take(WORDS_MAX) {
        let bare = word.trim();
        let is_particle = names > 0 && PARTICLES.contains(&bare);
        let is_capital = bare.starts_with(char::is_uppercase);
        // The first word is a name whatever it looks like; a second one may be a surname.
        let is_small = names < 2 && !NOT_NAMES.contains(&bare.to_lowercase().as_str());
        if names == 0 || is_capital || is_small {
            names += 1;
        } else if !is_particle {
            break;
        }
        end += word.len();
    }
    let name = words[..end].trim_end();
    let rest = &words[name.len()..];
    Some(format!("{lead}[name]{rest}"))
}

/// What follows a title or "I am", and is written as a name. A title itself is none.
pub(super) fn stated(found: &Captures<'_>, _after: &str) -> Option<String> {
    let (lead, name) = (&found["lead"], &found["name"]);
    let is_title = name
        .split([' ', '\t'])
        .next()
        .is_some_and(|first| TITLES.contains(&first));
    (!is_title).then(|| format!("{lead}[name]"))
}
