use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use xxhash_rust::xxh3::xxh3_64;

use super::{Reusable, ReuseWish, SemanticReuse, SharedAnswers};
use crate::Result;

/// The similarity from which on two questions count as one, unless somebody says otherwise: of the
/// pairs in this module's tests no two that differ in meaning reach it and pass the other rules.
pub const SIMILARITY_MIN_DEFAULT: f32 = 0.55;

/// The places of a vector: enough that the few dozen pieces of a question seldom share one.
const DIMENSIONS: usize = 512;

/// What a word counts beside its pieces, which count 1 each.
const WORD_WEIGHT: f32 = 3.0;

/// What a word that says little counts, as a part of the others.
const SOFT_WEIGHT: f32 = 0.3;

/// Finds reviewed answers to a question in other words, without a model.
///
/// Words and their pieces of three letters make a vector; questions are compared by its cosine. Two
/// questions mean the same only if besides
///
/// - they have the same negations, numbers, directions (high or low, before or after, hyper- or
///   hypo-) and words of asking (why, how, when),
/// - no word of one is missing in the other, but for endings and words that say little,
/// - nothing in them points to what was said before, such as "it" or "that".
///
/// It is made to miss rather than to err: a miss costs a call, a wrong answer costs trust. It knows
/// English and French; in other languages it finds little but the same words.
#[derive(Clone)]
pub struct SimilarQuestions {
    shared: Arc<dyn SharedAnswers>,
    similarity_min: f32,
}

impl SimilarQuestions {
    /// Looks among these answers.
    #[must_use]
    pub fn new(shared: Arc<dyn SharedAnswers>) -> Self {
        Self {
            shared,
            similarity_min: SIMILARITY_MIN_DEFAULT,
        }
    }

    /// From which similarity on two questions count as one, 0 to 1. Default:
    /// [`SIMILARITY_MIN_DEFAULT`].
    #[must_use]
    pub fn with_similarity_min(mut self, similarity_min: f32) -> Self {
        self.similarity_min = similarity_min;
        self
    }
}

impl fmt::Debug for SimilarQuestions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimilarQuestions")
            .field("shared", &self.shared)
            .field("similarity_min", &self.similarity_min)
            .finish()
    }
}

impl fmt::Display for SimilarQuestions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimilarQuestions({})", self.shared)
    }
}

#[async_trait]
impl SemanticReuse for SimilarQuestions {
    async fn find_reusable(&self, wish: ReuseWish<'_>) -> Result<Option<Reusable>> {
        let answers = self.shared.list_shared_answers(wish.case_id).await?;
        let asked = Meaning::of(wish.question);
        let fitting = answers.into_iter().filter(|answer| {
            answer.case_id == wish.case_id
                && answer.case_version == wish.case_version
                && answer.locale.language() == wish.locale.language()
        });
        let near = fitting.filter_map(|answer| {
            let similarity = asked.similarity(&Meaning::of(&answer.question))?;
            (similarity >= self.similarity_min).then_some(Reusable { answer, similarity })
        });
        Ok(near.max_by(|one, other| one.similarity.total_cmp(&other.similarity)))
    }
}

/// What a question says, as far as it is looked at here.
struct Meaning {
    /// All words, as they are compared when nothing else is needed.
    words: Vec<String>,
    /// What must be the same in both, each with its kind.
    fixed: Vec<String>,
    /// The words that say something.
    telling: BTreeSet<String>,
    points_back: bool,
    vector: Vec<f32>,
}

impl Meaning {
    fn of(question: &str) -> Self {
        let words = words(question);
        let mut meaning = Self {
            fixed: Vec::new(),
            telling: BTreeSet::new(),
            points_back: false,
            vector: vec![0.0; DIMENSIONS],
            words,
        };
        for word in meaning.words.clone() {
            meaning.take(&word);
        }
        meaning.fixed.sort_unstable();
        meaning.fixed.dedup();
        let length = meaning.vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        if length > 0.0 {
            meaning.vector.iter_mut().for_each(|x| *x /= length);
        }
        meaning
    }

    fn take(&mut self, word: &str) {
        if let Some(kind) = kind_of(word) {
            self.fixed.push(kind.to_owned());
            return;
        }
        if word.bytes().any(|byte| byte.is_ascii_digit()) {
            self.fixed.push(word.to_owned());
            return;
        }
        if POINTING.contains(&word) {
            self.points_back = true;
        }
        if STOP.contains(&word) || POINTING.contains(&word) {
            return;
        }
        if let Some(direction) = PREFIXES.iter().find(|prefix| word.starts_with(**prefix)) {
            self.fixed.push((*direction).to_owned());
        }
        let is_soft = SOFT.contains(&word);
        if !is_soft {
            self.telling.insert(word.to_owned());
        }
        let weight = if is_soft { SOFT_WEIGHT } else { 1.0 };
        self.add(word, WORD_WEIGHT * weight);
        let bounded: Vec<char> = format!("^{word}$").chars().collect();
        for piece in bounded.windows(3) {
            let piece: String = piece.iter().collect();
            self.add(&piece, weight);
        }
    }

    fn add(&mut self, piece: &str, weight: f32) {
        // The remainder is below 512.
        let place = (xxh3_64(piece.as_bytes()) % DIMENSIONS as u64) as usize;
        self.vector[place] += weight;
    }

    /// How near two questions are; `None` if they differ in what must be the same.
    fn similarity(&self, other: &Self) -> Option<f32> {
        if self.words.is_empty() {
            return None;
        }
        if self.points_back || self.telling.is_empty() {
            return None;
        }
        if self.words == other.words {
            return Some(1.0);
        }
        if other.points_back || self.fixed != other.fixed {
            return None;
        }
        let has = |all: &BTreeSet<String>, word: &str| all.iter().any(|w| is_same_word(w, word));
        let none_missing = self.telling.iter().all(|word| has(&other.telling, word))
            && other.telling.iter().all(|word| has(&self.telling, word));
        let pairs = self.vector.iter().zip(&other.vector);
        none_missing.then(|| pairs.map(|(one, other)| one * other).sum())
    }
}

/// Whether two words differ in their endings alone.
fn is_same_word(one: &str, other: &str) -> bool {
    let shared = one
        .char_indices()
        .zip(other.chars())
        .take_while(|((_, a), b)| a == b)
        .last()
        .map_or(0, |((at, a), _)| at + a.len_utf8());
    let is_ending = |ending: &str| ENDINGS.contains(&ending);
    one == other || (shared >= 3 && is_ending(&one[shared..]) && is_ending(&other[shared..]))
}

/// The words of a question: lower case, without accents, a negation as a word of its own.
fn words(question: &str) -> Vec<String> {
    let mut plain = String::with_capacity(question.len());
    let chars: Vec<char> = question.to_lowercase().chars().collect();
    for (at, char) in chars.iter().enumerate() {
        let digit = |place: Option<usize>| {
            place
                .and_then(|place| chars.get(place))
                .is_some_and(char::is_ascii_digit)
        };
        match plain_letter(*char) {
            Some(letters) => plain.push_str(letters),
            None if char.is_alphanumeric() => plain.push(*char),
            // A decimal, whichever sign it is written with.
            None if matches!(char, '.' | ',')
                && digit(at.checked_sub(1))
                && digit(at.checked_add(1)) =>
            {
                plain.push('.');
            }
            None if matches!(char, '\'' | '’') => plain.push('\''),
            // What has a value of its own, and must not get lost between two numbers.
            None if matches!(char, '<' | '>' | '=' | '≥' | '≤' | '%' | '+' | '/') => {
                plain.extend([' ', *char, ' ']);
            }
            None => plain.push(' '),
        }
    }
    let mut words = Vec::new();
    for word in plain.split_whitespace() {
        let word = word.trim_matches('\'');
        if let Some(verb) = word.strip_suffix("n't") {
            words.extend([verb.to_owned(), "not".to_owned()]);
        } else if word == "cannot" || word == "cant" {
            words.extend(["can".to_owned(), "not".to_owned()]);
        } else {
            let parts = word.split('\'').filter(|part| !part.is_empty());
            words.extend(parts.map(str::to_owned));
        }
    }
    words
}

/// A letter without its accent.
fn plain_letter(char: char) -> Option<&'static str> {
    Some(match char {
        'à' | 'á' | 'â' | 'ã' | 'å' => "a",
        'ä' | 'æ' => "ae",
        'ç' => "c",
        'è' | 'é' | 'ê' | 'ë' => "e",
        'ì' | 'í' | 'î' | 'ï' => "i",
        'ñ' => "n",
        'ò' | 'ó' | 'ô' | 'õ' => "o",
        'ö' | 'œ' => "oe",
        'ù' | 'ú' | 'û' => "u",
        'ü' => "ue",
        'ß' => "ss",
        _ => return None,
    })
}

/// What a word means that must be the same in both questions. Words of one kind mean the same.
fn kind_of(word: &str) -> Option<&'static str> {
    KINDS
        .iter()
        .find(|(_, words)| words.contains(&word))
        .map(|(kind, _)| *kind)
}

const KINDS: &[(&str, &[&str])] = &[
    // Negations.
    ("not", &["not", "no", "pas", "non"]),
    ("never", &["never", "jamais"]),
    ("without", &["without", "sans"]),
    (
        "none",
        &[
            "none", "nothing", "neither", "nor", "aucun", "aucune", "ni", "rien",
        ],
    ),
    (
        "except",
        &[
            "except", "unless", "sauf", "but", "mais", "instead", "rather", "plutot",
        ],
    ),
    (
        "avoid",
        &[
            "avoid",
            "avoided",
            "contraindicated",
            "eviter",
            "contreindique",
        ],
    ),
    // Words of asking.
    (
        "why",
        &["why", "reason", "reasons", "pourquoi", "raison", "raisons"],
    ),
    ("how", &["how", "comment"]),
    ("when", &["when", "quand"]),
    ("where", &["where", "ou"]),
    ("who", &["who", "qui"]),
    ("many", &["many", "much", "combien", "often"]),
    // Directions and opposites.
    (
        "up",
        &[
            "high",
            "higher",
            "raised",
            "elevated",
            "increase",
            "increased",
            "increases",
            "rise",
            "rises",
            "eleve",
            "elevee",
            "augmente",
            "augmentee",
            "haut",
            "haute",
        ],
    ),
    (
        "down",
        &[
            "low",
            "lower",
            "lowered",
            "reduced",
            "reduce",
            "reduces",
            "decrease",
            "decreased",
            "decreases",
            "fall",
            "falls",
            "bas",
            "basse",
            "diminue",
            "diminuee",
            "abaisse",
        ],
    ),
    ("left", &["left", "gauche"]),
    ("right", &["right", "droit", "droite"]),
    ("before", &["before", "avant", "prior"]),
    ("after", &["after", "apres", "following", "later"]),
    ("more", &["more", "plus", "most"]),
    ("less", &["less", "fewer", "moins", "least"]),
    (
        "first",
        &["first", "initial", "initially", "premier", "premiere"],
    ),
    ("last", &["last", "final", "finally", "dernier", "derniere"]),
    ("acute", &["acute", "aigu", "aigue"]),
    ("chronic", &["chronic", "chronique"]),
    ("positive", &["positive", "positif"]),
    ("negative", &["negative", "negatif"]),
    ("systolic", &["systolic", "systolique"]),
    ("diastolic", &["diastolic", "diastolique"]),
    (
        "artery",
        &["artery", "arterial", "arteries", "arteriel", "artere"],
    ),
    ("vein", &["vein", "venous", "veins", "veineux", "veine"]),
    (
        "start",
        &["start", "started", "begin", "debuter", "commencer"],
    ),
    ("stop", &["stop", "stopped", "discontinue", "arreter"]),
    ("wrong", &["wrong", "incorrect", "false", "faux", "fausse"]),
    ("correct", &["correct", "true", "vrai", "juste"]),
    (
        "all",
        &[
            "all",
            "always",
            "every",
            "only",
            "toujours",
            "tous",
            "seulement",
        ],
    ),
];

/// Beginnings of words that turn them around.
const PREFIXES: &[&str] = &[
    "hyper", "hypo", "tachy", "brady", "anti", "contra", "contre", "poly", "oligo", "macro",
    "micro", "intra", "extra", "inter", "pre", "post", "endo", "exo", "ante", "retro", "non", "un",
    "in", "dys",
];

/// What points to something said before, which a question by itself does not tell.
const POINTING: &[&str] = &[
    "it", "its", "that", "those", "them", "they", "ca", "cela", "celui", "celle", "ceux",
    "previous", "earlier", "above", "same", "other", "another", "autre",
];

/// Words that say nothing about what is asked.
const STOP: &[&str] = &[
    "a", "an", "the", "is", "are", "was", "were", "be", "been", "do", "does", "did", "of", "to",
    "in", "on", "for", "with", "at", "by", "from", "and", "or", "this", "these", "here", "there",
    "i", "you", "we", "me", "my", "he", "she", "his", "her", "him", "would", "could", "can",
    "will", "should", "what", "which", "as", "so", "then", "have", "has", "had", "s", "m", "t",
    "d", "l", "n", "j", "c", "qu", "le", "la", "les", "un", "une", "des", "du", "de", "en", "au",
    "aux", "et", "est", "sont", "ce", "cet", "cette", "ces", "il", "elle", "on", "je", "tu",
    "vous", "nous", "que", "quoi", "quel", "quelle", "quels", "quelles", "dans", "chez", "pour",
    "par", "sur", "avec", "ne", "son", "sa", "ses", "a", "y", "se", "doit", "faut", "peut", "t",
    "if", "si",
];

/// Words that say little: without them the question is the same.
const SOFT: &[&str] = &[
    "patient",
    "patients",
    "patiente",
    "case",
    "cas",
    "please",
    "explain",
    "explains",
    "expliquer",
    "expliquez",
    "tell",
    "say",
    "exactly",
    "really",
    "just",
    "actually",
    "choice",
    "option",
    "answer",
    "reponse",
    "choix",
    "give",
    "given",
    "gives",
    "get",
    "gets",
    "use",
    "used",
    "uses",
    "using",
    "donne",
    "donner",
    "utilise",
    "utiliser",
    "svp",
    "plait",
    "man",
    "woman",
    "person",
    "boy",
    "girl",
    "homme",
    "femme",
    "happen",
    "happens",
    "mean",
    "means",
    "exactement",
    "donc",
    "come",
];

/// Endings in which forms of one word differ.
const ENDINGS: &[&str] = &[
    "", "s", "es", "d", "ed", "e", "ing", "ent", "er", "ment", "ments", "ez", "ee", "ees",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn similarity(one: &str, other: &str) -> Option<f32> {
        Meaning::of(one).similarity(&Meaning::of(other))
    }

    fn is_reused(one: &str, other: &str) -> bool {
        similarity(one, other).is_some_and(|similarity| similarity >= SIMILARITY_MIN_DEFAULT)
    }

    /// Questions by what they mean: those of one line mean the same, those of two never.
    const ENGLISH: &[&[&str]] = &[
        &[
            "Why is furosemide given?",
            "why is furosemide given",
            "Why give furosemide here?",
            "Can you explain why furosemide is used in this patient?",
        ],
        &[
            "Why is furosemide not given?",
            "Why isn't furosemide given?",
            "Why not give furosemide?",
        ],
        &["Why is furosemide never given?"],
        &[
            "When is furosemide given?",
            "When would you give furosemide?",
        ],
        &["How is furosemide given?"],
        &["How much furosemide is given?"],
        &["Why is spironolactone given?"],
        &["Why give furosemide first?"],
        &["Why give furosemide last?"],
        &["Why stop furosemide?"],
        &[
            "Why is the lactate raised?",
            "What is the reason for the elevated lactate?",
            "Why does the patient have a high lactate?",
        ],
        &["Why is the lactate low?"],
        &[
            "What causes the oedema?",
            "What is causing oedema in this case?",
        ],
        &["What treats the oedema?"],
        &[
            "What dose of furosemide is used?",
            "Which furosemide dose would you give?",
        ],
        &[
            "How is pneumonia treated?",
            "How would you treat the pneumonia?",
        ],
        &[
            "Is a CT needed if the D-dimer is 500?",
            "If D-dimer is 500, is a CT needed?",
        ],
        &["Is a CT needed if the D-dimer is 300?"],
        &["What explains hyperkalaemia?"],
        &["What explains hypokalaemia?"],
        &["Why is there tachycardia?"],
        &["Why is there bradycardia?"],
        &["Would you give 20 mg of furosemide?"],
        &["Would you give 40 mg of furosemide?"],
        &["Is a pH of 7.2 severe?", "Is a pH of 7,2 severe?"],
        &["Is a pH of 7.3 severe?"],
        &["Would prednisone help?"],
        &["Would prednisolone help?"],
        &["Is this a nephrotic syndrome?"],
        &["Is this a nephritic syndrome?"],
        &["Is the left ventricle failing?"],
        &["Is the right ventricle failing?"],
        &["Do you give heparin before surgery?"],
        &["Do you give heparin after surgery?"],
        &["Why is the troponin positive?"],
        &["Why is the troponin negative?"],
        &["What is the treatment of sepsis with aspirin allergy?"],
        &["What is the treatment of sepsis?"],
        &["Is the systolic pressure low?"],
        &["Is the diastolic pressure low?"],
        &["Can he eat without insulin?"],
        &["Can he eat with insulin?"],
        &["Which artery is blocked?"],
        &["Which vein is blocked?"],
        &["Is a value > 5 normal?"],
        &["Is a value < 5 normal?"],
        &["Why is aspirin right?"],
        &["Why is aspirin wrong?"],
        // What points back means something else in each chat.
        &["Why is that given?"],
        &["Why is that given here?"],
        &["Why is it raised?"],
        &["Why is it raised in this patient?"],
        &["Why?"],
        &["Why exactly?"],
    ];

    const FRENCH: &[&[&str]] = &[
        &[
            "Pourquoi donne-t-on du furosémide ?",
            "Pourquoi utiliser le furosemide chez ce patient ?",
            "Pourquoi donner du furosémide ?",
        ],
        &["Pourquoi ne pas donner de furosémide ?"],
        &["Quand donner du furosémide ?"],
        &["Combien de furosémide donner ?"],
        &[
            "Quelle est la cause de l’œdème ?",
            "Quelle est la cause de l'oedème dans ce cas ?",
        ],
        &["Quel est le traitement de l’œdème ?"],
        &["La kaliémie est-elle élevée ?"],
        &["La kaliémie est-elle basse ?"],
        &["Faut-il opérer avant l’antibiotique ?"],
        &["Faut-il opérer après l’antibiotique ?"],
    ];

    #[test]
    fn what_means_the_same_is_found_and_what_does_not_is_never() {
        let (mut found, mut missed, mut wrong) = (0, Vec::new(), Vec::new());
        for table in [ENGLISH, FRENCH] {
            let all = || {
                let numbered = table.iter().enumerate();
                numbered.flat_map(|(group, texts)| texts.iter().map(move |text| (group, *text)))
            };
            for (group, one) in all() {
                for (other_group, other) in all().filter(|(_, other)| *other != one) {
                    match (group == other_group, is_reused(one, other)) {
                        (true, true) => found += 1,
                        (true, false) => missed.push((one, other, similarity(one, other))),
                        (false, true) => wrong.push((one, other, similarity(one, other))),
                        (false, false) => {}
                    }
                }
            }
        }
        println!(
            "found {found}, missed {}, wrong {}",
            missed.len(),
            wrong.len()
        );
        assert!(wrong.is_empty(), "taken for the same: {wrong:#?}");
        assert!(missed.is_empty(), "not found: {missed:#?}");
    }

    #[test]
    fn strange_texts_match_nothing() {
        for text in [
            "",
            "   ",
            "?!",
            "\u{0}",
            "…",
            "漢字",
            "''''",
            "n't",
            "𝕏𝕏𝕏 why",
        ] {
            assert!(!is_reused(text, "Why is furosemide given?"), "{text:?}");
        }
    }
}
