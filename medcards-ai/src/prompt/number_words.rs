use super::words::words;

/// A number in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NumberWord {
    /// What it means.
    pub(super) value: u32,
    /// Where it ends in the text.
    pub(super) end: usize,
}

/// The numbers that a text has in English or French words, compounds such as "forty-five" as one.
pub(super) fn number_words(text: &str) -> impl Iterator<Item = NumberWord> {
    let mut words = words(text).peekable();
    std::iter::from_fn(move || {
        loop {
            let (at, word) = words.next()?;
            let Some(mut value) = value_of(word) else {
                continue;
            };
            let mut end = at + word.len();
            while let Some((next_at, next)) = words.peek() {
                // Only a blank or a hyphen joins.
                let is_near = *next_at == end + 1;
                let Some(joined) = value_of(next)
                    .filter(|_| is_near)
                    .and_then(|next| join(value, next))
                else {
                    break;
                };
                value = joined;
                end = next_at + next.len();
                words.next();
            }
            return Some(NumberWord { value, end });
        }
    })
}

/// Twenty and five is 25, five and hundred is 500; twenty and thirty are two numbers.
fn join(value: u32, next: u32) -> Option<u32> {
    match next {
        100 | 1_000 if value < next => Some(value * next),
        1..=9 if value >= 20 && value.is_multiple_of(10) => Some(value + next),
        10..=99 if value >= 100 && value.is_multiple_of(100) => Some(value + next),
        _ => None,
    }
}

fn value_of(word: &str) -> Option<u32> {
    Some(match word.to_lowercase().as_str() {
        "one" | "un" | "une" => 1,
        "two" | "deux" => 2,
        "three" | "trois" => 3,
        "four" | "quatre" => 4,
        "five" | "cinq" => 5,
        "six" => 6,
        "seven" | "sept" => 7,
        "eight" | "huit" => 8,
        "nine" | "neuf" => 9,
        "ten" | "dix" => 10,
        "eleven" | "onze" => 11,
        "twelve" | "douze" => 12,
        "thirteen" | "treize" => 13,
        "fourteen" | "quatorze" => 14,
        "fifteen" | "quinze" => 15,
        "sixteen" | "seize" => 16,
        "seventeen" => 17,
        "eighteen" => 18,
        "nineteen" => 19,
        "twenty" | "vingt" => 20,
        "thirty" | "trente" => 30,
        "forty" | "quarante" => 40,
        "fifty" | "cinquante" => 50,
        "sixty" | "soixante" => 60,
        "seventy" => 70,
        "eighty" => 80,
        "ninety" => 90,
        "hundred" | "cent" => 100,
        "thousand" | "mille" => 1_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_words_are_read_with_their_compounds() {
        for (text, values) in [
            ("ten days", &[10][..]),
            ("Forty-five mg of it", &[45]),
            ("two hundred and fifty", &[200, 50]),
            ("five thousand units", &[5_000]),
            ("twenty thirty", &[20, 30]),
            ("vingt-cinq ans", &[25]),
            ("three, four", &[3, 4]),
            ("often tension", &[]),
        ] {
            let found: Vec<u32> = number_words(text).map(|word| word.value).collect();
            assert_eq!(found, values, "{text}");
        }
    }
}
