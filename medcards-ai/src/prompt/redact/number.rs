use regex::Captures;

/// Digits from which on a number in groups is taken for one that identifies somebody.
const GROUPED_DIGITS_MIN: usize = 8;

/// The most digits of a round number that may be a dose or a count, such as 2400000 units.
const ROUND_DIGITS_MAX: usize = 8;

/// What makes a number a value.
const UNITS: [&str; 17] = [
    "%", "/", "µ", "μ", "mg", "mcg", "ml", "mm", "g ", "kg", "units", "iu", "u/", "mmol", "ng",
    "cells", "kcal",
];

/// Tells numbers that may be a telephone, an account or a card from rows and ranges of values.
///
/// The form has seven digits or more, with single blanks, dots, dashes or brackets between them.
pub(super) fn judge(found: &Captures<'_>, after: &str) -> Option<String> {
    let text = &found[0];
    (text.starts_with('+') || !is_of_values(text, after)).then(|| "[number]".to_owned())
}

fn is_of_values(text: &str, after: &str) -> bool {
    let digits = text.chars().filter(|char| char.is_numeric()).count();
    let groups: Vec<&str> = text
        .split(|char: char| !char.is_numeric() && char != '.')
        .filter(|group| !group.is_empty())
        .collect();
    let is_round = |group: &&str| group.len() >= 3 && group.ends_with("00");
    match groups.as_slice() {
        [whole] if !whole.contains('.') => digits <= ROUND_DIGITS_MAX && whole.ends_with("0000"),
        // 10.000.000
        [thousands] => {
            let parts: Vec<&str> = thousands.split('.').collect();
            is_thousands(&parts)
        }
        _ if is_thousands(&groups) => true,
        // 12000-15000, 2019-2021
        _ if groups.iter().all(is_round) || groups.iter().all(|group| is_year(group)) => true,
        // 7.35 40 24.5, or 1022 (79.2
        _ if groups.iter().any(|group| is_decimal(group)) => groups
            .iter()
            .all(|group| is_decimal(group) || (group.len() <= 4 && !group.contains('.'))),
        _ if digits < GROUPED_DIGITS_MIN => {
            // A local telephone number: 555-1234, 555 12 34.
            let lens: Vec<usize> = groups.iter().map(|group| group.len()).collect();
            !matches!(lens.as_slice(), [3, 4] | [3, 2, 2]) || is_unit(after)
        }
        _ => false,
    }
}

/// 1 200 000: groups of three, the last of them empty of meaning.
fn is_thousands(groups: &[&str]) -> bool {
    let Some((first, rest)) = groups.split_first() else {
        return false;
    };
    (1..=3).contains(&first.len())
        && rest.iter().all(|group| group.len() == 3)
        && rest.last().is_some_and(|last| *last == "000")
}

fn is_decimal(group: &str) -> bool {
    group.split_once('.').is_some_and(|(whole, part)| {
        // 415.555 is the beginning of a telephone number, 41.555 is a value.
        let whole_max = if part.len() == 3 { 2 } else { 3 };
        (1..=whole_max).contains(&whole.len())
            && (1..=3).contains(&part.len())
            && !part.contains('.')
    })
}

fn is_year(group: &str) -> bool {
    group.len() == 4 && (group.starts_with("19") || group.starts_with("20"))
}

fn is_unit(after: &str) -> bool {
    let after = after.trim_start().to_lowercase();
    UNITS.iter().any(|unit| after.starts_with(unit))
}
