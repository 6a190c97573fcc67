use std::borrow::Cow;

/// The digit 0 of the scripts that languages of medicine are written in.
const ZEROS: [char; 17] = [
    '\u{660}', '\u{6f0}', '\u{966}', '\u{9e6}', '\u{a66}', '\u{ae6}', '\u{b66}', '\u{be6}',
    '\u{c66}', '\u{ce6}', '\u{d66}', '\u{e50}', '\u{ed0}', '\u{f20}', '\u{1040}', '\u{17e0}',
    '\u{ff10}',
];

/// The text with the digits of all scripts, and their decimal and thousands signs, as ASCII.
pub(super) fn with_ascii_digits(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    text.chars().map(ascii_digit).collect::<String>().into()
}

fn ascii_digit(char: char) -> char {
    match char {
        // The decimal sign of Arabic, of some British journals, and the wide one.
        '٫' | '·' | '．' => '.',
        '٬' | '，' => ',',
        char if char.is_ascii() => char,
        char => ZEROS
            .iter()
            .find_map(|zero| {
                u32::from(char)
                    .checked_sub(u32::from(*zero))
                    .filter(|d| *d < 10)
            })
            .and_then(|digit| char::from_digit(digit, 10))
            .unwrap_or(char),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_all_scripts_become_ascii() {
        for (text, ascii) in [
            ("٦٫٨", "6.8"),
            ("۱۲۰/۸۰", "120/80"),
            ("१६०", "160"),
            ("６．８", "6.8"),
            ("6·8 µmol", "6.8 µmol"),
            ("é 5", "é 5"),
            ("10⁹", "10⁹"),
        ] {
            assert_eq!(with_ascii_digits(text), ascii, "{text}");
        }
    }
}
