//! What a prompt asks for: feedback on the options of a case, or something else.

use xxhash_rust::xxh3::xxh3_64;

/// What our feedback prompt says of the length of the reply, and no other prompt does.
const FEEDBACK_MARK: &str = "120 to 180 words";

/// The line that the options of a case follow.
const OPTIONS_MARK: &str = "The options";

/// The longest finding that is quoted, in words: a sentence, not a report.
const FINDING_WORDS_MAX: usize = 16;

/// The bytes that a token has, roughly, in the languages of Europe.
const TOKEN_BYTES: usize = 4;

/// How many tokens a text has; never none.
pub(super) fn tokens_of(text: &str) -> u64 {
    text.len().div_ceil(TOKEN_BYTES).max(1) as u64
}

/// What a reply is to be about.
#[derive(Clone, Debug)]
pub(super) enum Matter {
    /// Anything else than feedback.
    Chat,
    /// Feedback on the choice in a case.
    Feedback(CaseAsked),
}

/// What a choice is worth.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Some of it is right, or all of it and something is missing.
    Partly,
    Right,
    #[default]
    Wrong,
}

/// The case in a feedback prompt.
#[derive(Clone, Debug, Default)]
pub(super) struct CaseAsked {
    pub(super) right: Vec<String>,
    pub(super) chosen: Vec<String>,
    pub(super) verdict: Verdict,
    /// Sentences of the vignette that may be quoted.
    pub(super) findings: Vec<String>,
    /// A number that is nowhere in the case.
    pub(super) absent_number: u32,
}

/// Reads what is asked for from the instructions and the texts of a prompt.
pub(super) fn matter_of(instructions: &str, texts: &str) -> Matter {
    if !instructions.contains(FEEDBACK_MARK) && !texts.contains(FEEDBACK_MARK) {
        return Matter::Chat;
    }
    let cases = texts.split("<case>").skip(1);
    let case = cases
        .map(|rest| rest.split("</case>").next().unwrap_or(rest))
        .find_map(read_case);
    case.map_or(Matter::Chat, Matter::Feedback)
}

/// What tells one prompt from another, to vary replies.
pub(super) fn fingerprint(instructions: &str, texts: &str) -> u64 {
    xxh3_64(instructions.as_bytes()).rotate_left(1) ^ xxh3_64(texts.as_bytes())
}

fn read_case(text: &str) -> Option<CaseAsked> {
    let options_at = text
        .match_indices(OPTIONS_MARK)
        .map(|(at, _)| at)
        .filter(|at| *at == 0 || text[..*at].ends_with('\n'))
        .last()?;
    let (story, options) = text.split_at(options_at);
    let mut case = CaseAsked::default();
    let mut chosen_right = 0;
    for option in options_in(options) {
        let (right, option) = take_mark(&option, "[right] ");
        let (chosen, option) = take_mark(option, "[chosen] ");
        if right {
            case.right.push(option.to_owned());
        }
        if chosen {
            case.chosen.push(option.to_owned());
        }
        chosen_right += usize::from(right && chosen);
    }
    if case.right.is_empty() {
        return None;
    }
    let all_of = case.right.len().max(case.chosen.len());
    case.verdict = match chosen_right {
        0 => Verdict::Wrong,
        count if count == all_of => Verdict::Right,
        _ => Verdict::Partly,
    };
    case.findings = findings_in(story);
    case.absent_number = (873..).find(|number| !text.contains(&number.to_string()))?;
    Some(case)
}

/// The options, one for each line that begins as one; a line that does not goes on with the last.
fn options_in(text: &str) -> Vec<String> {
    let mut options: Vec<String> = Vec::new();
    for line in text.lines().skip(1) {
        match (line.strip_prefix("- "), options.last_mut()) {
            (Some(option), _) => options.push(option.trim().to_owned()),
            (None, _) if line.trim().is_empty() => break,
            (None, Some(last)) => {
                last.push(' ');
                last.push_str(line.trim());
            }
            (None, None) => {}
        }
    }
    options
}

fn take_mark<'a>(option: &'a str, mark: &str) -> (bool, &'a str) {
    option
        .strip_prefix(mark)
        .map_or((false, option), |rest| (true, rest))
}

/// Sentences short enough to quote. Those with a single letter are left out: it may look like the
/// letter of an option.
fn findings_in(story: &str) -> Vec<String> {
    let fields = story
        .lines()
        .filter(|line| !line.starts_with("Question:"))
        .filter_map(|line| line.split_once(": "));
    fields
        .filter(|(label, _)| !matches!(*label, "Specialty" | "Topic" | "The case"))
        .flat_map(|(_, text)| text.split_inclusive(". "))
        .map(|sentence| sentence.trim().trim_end_matches('.'))
        .filter(|sentence| {
            let words = sentence.split_whitespace();
            let whole = words.clone().all(|word| {
                word.chars().filter(|char| char.is_alphanumeric()).count() > 1
                    || word.chars().all(|char| char.is_ascii_digit())
                    || word == "a"
            });
            whole && (4..=FINDING_WORDS_MAX).contains(&words.count())
        })
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: &str = "<case>\nThe case:\nSpecialty: Cardiology\nHistory: She takes the drug for \
        years. Potassium was 873 mmol.\nQuestion: What now?\n\nThe options, in no order:\n- Give 5 \
        mg\n- [right] [chosen] Stop\nthe drug\n- [chosen] [odd] thing\n</case>\n\n<case>\nThe \
        author's explanation:\n\n- [right] nothing\n</case>";

    #[test]
    fn options_and_findings_are_read_from_a_case() {
        let Matter::Feedback(case) = matter_of("Write 120 to 180 words.", PROMPT) else {
            panic!("it is a feedback prompt");
        };
        assert_eq!(case.right, ["Stop the drug"]);
        assert_eq!(case.chosen, ["Stop the drug", "[odd] thing"]);
        assert_eq!(case.verdict, Verdict::Partly);
        assert_eq!(
            case.findings,
            ["She takes the drug for years", "Potassium was 873 mmol"]
        );
        assert_eq!(case.absent_number, 874);
    }

    #[test]
    fn a_choice_is_right_only_if_it_is_all_of_what_is_right() {
        for (options, verdict) in [
            ("- [right] [chosen] a\n- b", Verdict::Right),
            ("- [right] [chosen] a\n- [right] [chosen] b", Verdict::Right),
            ("- [right] [chosen] a\n- [right] b", Verdict::Partly),
            ("- [right] [chosen] a\n- [chosen] b", Verdict::Partly),
            ("- [right] a\n- [chosen] b", Verdict::Wrong),
            ("- [right] a\n- b", Verdict::Wrong),
        ] {
            let case = read_case(&format!("The options:\n{options}")).unwrap();
            assert_eq!(case.verdict, verdict, "{options}");
        }
    }

    #[test]
    fn anything_else_is_a_chat() {
        for (instructions, texts) in [
            ("Be kind.", PROMPT),
            ("Write 120 to 180 words.", "no case"),
            (
                "Write 120 to 180 words.",
                "<case>\nThe options:\n- one\n- two",
            ),
            ("Write 120 to 180 words.", "<case>"),
        ] {
            assert!(matches!(matter_of(instructions, texts), Matter::Chat));
        }
    }
}
