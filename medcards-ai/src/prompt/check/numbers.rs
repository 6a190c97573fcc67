//! The rule that a reply has no number of its own.

use std::collections::HashSet;
use std::sync::LazyLock;

use medcards_core::case::CaseContent;
use regex::Regex;

use super::super::digits::with_ascii_digits;
use super::super::number_words::{NumberWord, number_words};

/// Below this an integer without a unit is free: "two of 3 findings", "stage 4", "type 2".
const FREE_BELOW: u32 = 10;

/// The largest number within a name, such as the 125 of CA-125 or the 717 of a gene.
const NAME_MAX: u32 = 999;

/// The largest ordinal: "the 12th nerve", "the 99th percentile".
const ORDINAL_MAX: u32 = 100;

/// Periods in hours that medicine counts in and no case owns.
const HOURS: [u32; 3] = [24, 48, 72];

/// A number: groups of three after blanks or apostrophes belong to it.
static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"[0-9]+(?:[.,][0-9]+)*(?:[ \u{a0}\u{202f}\u{2009}'’][0-9]{3}\b)*(?:[.,][0-9]+\b)?")
});

/// What makes a number a measurement or a dose. Times are none: small ones are common knowledge.
static UNIT: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)^[ \u{a0}\u{202f}\u{2009}-]{0,2}(?:%|‰|°|per ?cent\b|pour ?cent\b|prozent\b|por ?ciento\b|(?:[µμmnpkdcf]|mc)?(?:g|gr|mol|eq|osm|u|iu|ie|ui|pa|kat|cal|gy|sv)\b|(?:[µμmnpdcf]|mc)?l(?:[^\w'’]|$)|[mcµμ]m\b|mm\s?hg\b|ms\b|bpm\b|units?\b|unités?\b|einheiten\b|(?:milli|micro|mikro|nano|kilo)?(?:gram|gramm|gramme|lit(?:er|re)|mole?)s?\b|cells ?/|/[a-zµμ])",
    )
});

/// What stands before a number that is part of a name.
static NAME_BEFORE: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)(?:[^\W\d_][-\u{2010}\u{2011}]?|\b(?:type|typ|tipo|trisom(?:y|ie)|chromosome?|chromosom|hpv|hhv|ca|ck|covid|vitamin(?:e)? b|factor|faktor|facteur|grade|grad|stage|stade|stadium|class|classe|group|groupe|phase|th|[tlcs]|interleukine?|nerve|nerf|apolipoprotein) )$",
    )
});

/// What stands after a number that is part of a name: 21-hydroxylase, 5-HT, 12-lead.
static NAME_AFTER: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)^[-\u{2010}\u{2011}]?(?:(?:di)?hydroxy|\(?oh\b|ht[0-9]?\b|[αβ]|alpha|beta|keto|d?e?s?oxy|lyase|[bd]pg\b|(?:di|bis)phosph|lead\b|kanal|dérivations)",
    )
});

static ORDINAL: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^(?:st|nd|rd|th|er|re|ère|e|ème|eme|º|ª)\b"));

static DECADE: LazyLock<Regex> = LazyLock::new(|| regex(r"^['’]?s\b"));

static HOUR: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"(?i)^[ \u{a0}\u{202f}-]?(?:h|hrs?|hours?|heures?|stunden?|horas?|ore|uur)\b")
});

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant that tests compile")
}

/// Whether a text has a number that the case does not have, and that is not free.
pub(super) fn has_invented(content: &CaseContent, text: &str) -> bool {
    let known = values_of(content);
    let text = with_ascii_digits(text);
    let invented = NUMBER.find_iter(&text).any(|found| {
        let (before, after) = (&text[..found.start()], &text[found.end()..]);
        !is_known(found.as_str(), &known) && !is_free(found.as_str(), before, after, &known)
    });
    invented || number_words(&text).any(|word| is_invented_dose(&word, &text, &known))
}

/// All values of a case, in all ways that they may be read.
fn values_of(content: &CaseContent) -> HashSet<String> {
    let mut texts = vec![content.stem()];
    texts.extend(content.explanation());
    texts.extend(content.specialty());
    texts.extend(content.topic());
    for field in content.vignette() {
        texts.extend([field.label.as_str(), field.text.as_str()]);
    }
    for option in content.options() {
        texts.push(&option.text);
        texts.extend(option.explanation.as_deref());
    }
    texts.extend(content.media().iter().map(|media| media.alt.as_str()));

    let mut values = HashSet::new();
    for text in texts {
        let text = with_ascii_digits(text);
        for found in NUMBER.find_iter(&text) {
            values.extend(readings(found.as_str()));
            values.extend(parts(found.as_str()).flat_map(readings));
        }
        values.extend(number_words(&text).map(|word| word.value.to_string()));
    }
    values
}

/// Whether a number is one of the case: as a whole or, where it is several in a row, each of them.
fn is_known(number: &str, known: &HashSet<String>) -> bool {
    let has = |number: &str| readings(number).iter().any(|value| known.contains(value));
    has(number) || (parts(number).nth(1).is_some() && parts(number).all(has))
}

/// What a number consists of if its blanks part numbers, or its dots the parts of a date.
fn parts(number: &str) -> impl Iterator<Item = &str> {
    let signs = number.bytes().filter(|byte| b".,".contains(byte)).count();
    number.split(move |char: char| !char.is_ascii_digit() && (signs > 1 || !".,".contains(char)))
}

/// The values that a number may mean: 1,200 is 1200 in some countries and 1.2 in others.
fn readings(number: &str) -> Vec<String> {
    // Blanks and apostrophes part thousands only.
    let joined: String = number
        .chars()
        .filter(|char| char.is_ascii_digit() || ".,".contains(*char))
        .collect();
    let groups: Vec<&str> = joined.split(['.', ',']).collect();
    let signs: Vec<char> = joined.chars().filter(|char| ".,".contains(*char)).collect();
    let are_thousands = |groups: &[&str]| {
        (1..=3).contains(&groups[0].len()) && groups[1..].iter().all(|group| group.len() == 3)
    };
    match groups.as_slice() {
        [whole] => vec![value(whole, "")],
        [whole, part] => {
            let mut readings = vec![value(whole, part)];
            if are_thousands(&groups) && *whole != "0" {
                readings.push(value(&groups.concat(), ""));
            }
            readings
        }
        [thousands @ .., part] => {
            let last = signs.len() - 1;
            let is_same = signs[..last].iter().all(|sign| *sign == signs[0]);
            if is_same && signs[last] != signs[0] && are_thousands(thousands) {
                vec![value(&thousands.concat(), part)]
            } else if is_same && signs[last] == signs[0] && are_thousands(&groups) {
                vec![value(&groups.concat(), "")]
            } else {
                // A date or a version: no value by itself.
                vec![joined.replace(',', ".")]
            }
        }
        [] => Vec::new(),
    }
}

/// One way to write a value: no zeros that say nothing.
fn value(whole: &str, part: &str) -> String {
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    match part.trim_end_matches('0') {
        "" => whole.to_owned(),
        part => format!("{whole}.{part}"),
    }
}

/// Whether an integer may stand in a reply although the case does not have it.
fn is_free(number: &str, before: &str, after: &str, known: &HashSet<String>) -> bool {
    if NAME_AFTER.is_match(after) {
        // 1,25-dihydroxy, 2,3-DPG: the places of atoms.
        return true;
    }
    // Whatever else is no plain integer is a measurement.
    let Ok(integer) = number.parse::<u32>() else {
        return false;
    };
    if UNIT.is_match(after) {
        return false;
    }
    let is_of_name = integer <= NAME_MAX && NAME_BEFORE.is_match(tail(before));
    let is_in_decade = || (integer..integer + 10).any(|year| known.contains(&year.to_string()));
    integer < FREE_BELOW
        || is_of_name
        || (integer <= ORDINAL_MAX && ORDINAL.is_match(after))
        || (HOURS.contains(&integer) && HOUR.is_match(after))
        || (integer.is_multiple_of(10) && integer < 200 && DECADE.is_match(after) && is_in_decade())
}

/// The end of what stands before a number: no word that makes a name is longer.
fn tail(before: &str) -> &str {
    &before[before.ceil_char_boundary(before.len().saturating_sub(24))..]
}

/// Whether a number in words has a unit, and is not of the case. "One unit" is an article and a noun.
fn is_invented_dose(word: &NumberWord, text: &str, known: &HashSet<String>) -> bool {
    word.value > 1 && UNIT.is_match(&text[word.end..]) && !known.contains(&word.value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_all_ways_that_they_may_mean() {
        for (number, values) in [
            ("3.50", &["3.5"][..]),
            ("3,5", &["3.5"]),
            ("007", &["7"]),
            ("0.150", &["0.15"]),
            ("1,200", &["1.2", "1200"]),
            ("1.200", &["1.2", "1200"]),
            ("1 200", &["1200"]),
            ("1'200'000", &["1200000"]),
            ("1,200,000", &["1200000"]),
            ("1.200.000,5", &["1200000.5"]),
            ("1,200.50", &["1200.5"]),
            ("3.4.99", &["3.4.99"]),
        ] {
            assert_eq!(readings(number), values, "{number}");
        }
    }
}
