use std::sync::LazyLock;

use regex::Regex;

/// What an explanation looks like that names an option by its letter or number.
///
/// Collected from MedMCQA, where about half of the explanations do: "Ans. is 'b'", "Answer: C",
/// "Ans-a.", "Option D", "(A) is correct", "B i.e. ...", "réponse C"; also run together with what
/// follows, as in "Ans. BMalaria".
static LETTER: LazyLock<Regex> = LazyLock::new(|| {
    let keyword = r#"\b(?i:ans(?:wer)?|option|choice|key|r[ée]ponse|proposition)s?\b[\s.:,;=-]*(?:(?i:is|are|est|sont|no)\b[\s.:,;=-]*)?(?:(?i:option)\s+)?"#;
    let answer = r"\b(?i:ans(?:wer)?)[\s.:,;=-]+";
    let begin = r#"^[\s"'`‘’“”(\[]*"#;
    let close = r#"[\s"'`‘’“”)\]]*"#;
    let patterns = [
        // A letter in quotes or brackets: whatever its case.
        format!(r#"{keyword}["'`‘’“”(\[]+\s*[A-Ja-j]\s*["'`‘’“”)\],.&/-]"#),
        // A capital alone.
        format!(r"{keyword}[A-J](?:[\s().,:;/&\[\]-]|$)"),
        // A small letter alone, unless it can be the article "a" or the start of a word.
        format!(r"{keyword}[a-j](?:\s*[).:;/&\]-]|\s*,\s*[a-j]\b|\s+i\.?e\b|\s*$)"),
        // The same after the short word, which no sentence begins with.
        r"\b(?i:ans)[.:,;=-]+\s*[a-j]\s".to_owned(),
        // A capital that a word begins right after, and several in a row.
        format!(r"{answer}[A-J][A-Z][a-z]|{answer}[A-E]{{1,4}}\s*,\s*[A-E]\b"),
        r"\b(?i:option)s?\s+[1-9](?:[\s.,:;)-]|$)".to_owned(),
        // At the beginning; but not the genus of "E. coli", and not the prefix of "C-kit".
        format!(r"{begin}[A-HJa-hj]{close}(?:\.\s*e\.|i\.\s?e\.|[:)\]]|,|-\s|\.\s*[^\sa-z]|\.$)"),
        format!(r"{begin}[a-hj]{close}\."),
        r"(?i)[(\[][a-e][)\]]\s*(?:is|are|was|est|option|can|has|will|being)\b".to_owned(),
        r"\b[A-E] (?:is|are) (?:the )?(?:correct|incorrect|right|wrong|true|false|answer)\b"
            .to_owned(),
    ];
    any_of(&patterns)
});

/// What an option looks like that speaks of the other options or their places.
static OTHERS: LazyLock<Regex> = LazyLock::new(|| {
    let whole = r"^\s*(?:all|none|both|neither|aucune?|toutes|tous)\s*\.?\s*$";
    any_of(&[
        r"(?i)\b(?:all|none|any|both|neither|either) (?:of )?(?:the )?(?:above|below|following|these|options?)\b".to_owned(),
        format!(r"(?i){whole}"),
        r"\b(?i:both|neither|either|only)\s+\(?[A-E]{1,2}\b".to_owned(),
        r"(?i)\b(?:both|neither|either)\s+\(?[a-e1-5]\)?\s*(?:and|or|nor|&|,)\s*\(?[a-e1-5]\b".to_owned(),
        r"(?i)^\s*(?:options?\s+|only\s+)?\(?[a-e]\)?\s*(?:(?:,|and|or|&|\+|et|ou)\s*\(?[a-e]\b|$)".to_owned(),
        r"(?i)\boptions?\s+[1-9]\b".to_owned(),
        r"(?i)\b(?:toutes|tous|aucune?) (?:(?:les|des|de|ces) )*(?:r[ée]ponses?|propositions?)\b".to_owned(),
    ])
});

fn any_of(patterns: &[String]) -> Regex {
    let patterns: Vec<_> = patterns
        .iter()
        .map(|pattern| format!("(?:{pattern})"))
        .collect();
    Regex::new(&patterns.join("|")).expect("the pattern is a constant, which tests compile")
}

/// Whether a text names an option by its letter or number, so that shuffling the options would make it wrong.
///
/// A guess from the wording, made to err towards yes: a false alarm costs the shuffling of one
/// case, a miss shows a student a wrong explanation.
///
/// ```
/// use medcards_core::case::names_option_letter;
///
/// assert!(names_option_letter("Ans. is 'b' i.e. Hypokalaemia"));
/// assert!(!names_option_letter("Vitamin A deficiency causes night blindness."));
/// ```
#[must_use]
pub fn names_option_letter(text: &str) -> bool {
    LETTER.is_match(text)
}

/// Whether an option speaks of the other options or their places.
pub(super) fn speaks_of_other_options(text: &str) -> bool {
    OTHERS.is_match(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explanations_that_name_a_letter_are_told_from_those_that_do_not() {
        for text in [
            "Ans-a. The oncotic pressure of the fluid",
            "Ans. is 'b' i.e. Hypokalaemia",
            "Answer: C",
            "Ans: (D) 8 weeks",
            "Answer is C. Ref: Harrison",
            "The correct option is D",
            "A i.e. Lateral ventricle",
            "(b) Thiazide",
            "B. Malaria",
            "C is correct because of the murmur",
            "La bonne réponse est C.",
            "Ans. D",
            "Ans. A: All of the above",
            "Ans. is a. Glucose",
            "Answer: b, c",
            "ans b i.e. the pulse",
            "Ans: A(Ref: Harper)",
            "Ans.a Acute intermittent porphyria",
            "Ans. BSolitary bone cyst",
            "Answer- CStructures removed",
            "Answer- DB, D, C, A",
            "Option 1 is Young's formula.",
            "A - Incus, B - Facial nerve",
            "b. thiazide",
        ] {
            assert!(names_option_letter(text), "{text}");
        }
        for text in [
            "Vitamin A deficiency causes night blindness.",
            "A 40-year-old man has a hepatitis B infection.",
            "Hepatitis C is treated with antivirals.",
            "The answer lies in the potassium.",
            "A patient in whom option value is low",
            "An answer a day",
            "The key is a raised potassium.",
            "Your choice, a diuretic, lowers it.",
            "La réponse d'emblée est le repos.",
            "E. coli is found in the urine.",
            "C-kit positivity was observed.",
            "a-tDCS could be useful.",
            "Ans. Mullerian agenesis",
            "I.e. the pulse is weak.",
            "The drug of choice in children is amoxicillin.",
            "This is the best option in pregnancy.",
            "",
        ] {
            assert!(!names_option_letter(text), "{text}");
        }
    }

    #[test]
    fn options_that_speak_of_others_are_found() {
        for text in [
            "All of the above",
            "None of these",
            "Both A and B",
            "a, b",
            "neither option",
            "Both.",
            "Both AB",
            "Both (A) & (C)",
            "Both 1 and 2",
            "Option 1 and 2",
            "Only C",
            "Aucune de ces réponses n'est exacte",
            "Toutes les propositions",
        ] {
            assert!(speaks_of_other_options(text), "{text}");
        }
        for text in [
            "Vitamins A and D",
            "Hepatitis B",
            "Both kidneys",
            "Only a few days",
            "It can only be inherited",
            "None of the children is affected",
            "All nucleated cells",
            "Tous les muscles",
        ] {
            assert!(!speaks_of_other_options(text), "{text}");
        }
    }
}
