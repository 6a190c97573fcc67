//! The words of replies: plausible feedback on any case, and a few sentences for anything else.
//!
//! No sentence here has a number or a letter that could stand for an option: what a reply has of
//! either comes from the case, or is there on purpose.

use fastrand::Rng;

use super::prompt::{CaseAsked, Matter, Verdict};
use super::script::Behaviour;

/// The words that a feedback has at least and at most, as its prompt asks.
const WORDS_MIN: usize = 120;
const WORDS_MAX: usize = 180;

/// Within this a sentence more is left out rather than one too many written.
const WORDS_SPARE: usize = 4;

/// Up to how many words the case is quoted: there must be room for what is said of it.
const WORDS_MAX_TO_QUOTE: usize = 140;

/// What a model says when it refuses.
pub(super) const REFUSAL: &str = "I am not able to help with this request.";

/// The words of a reply. `words` is its length, if not the usual one.
pub(super) fn write(
    matter: &Matter,
    behaviour: Behaviour,
    words: Option<u32>,
    chance: &mut Rng,
) -> String {
    if behaviour == Behaviour::Refusal {
        return REFUSAL.to_owned();
    }
    let words = words.map(|words| words as usize);
    match matter {
        Matter::Chat => chat(words, chance),
        Matter::Feedback(case) => feedback(case, behaviour, words, chance),
    }
}

/// One of the ways to be unfit.
pub(super) fn unfit(chance: &mut Rng) -> Behaviour {
    [
        Behaviour::UnfitLetter,
        Behaviour::UnfitNumber,
        Behaviour::UnfitShort,
    ][chance.usize(..3)]
}

fn feedback(
    case: &CaseAsked,
    behaviour: Behaviour,
    words: Option<usize>,
    chance: &mut Rng,
) -> String {
    if behaviour == Behaviour::UnfitShort {
        return "Read the case again.".to_owned();
    }
    let mut text = Paragraphs([
        about_choice(case, chance),
        pick(
            match case.verdict {
                Verdict::Right => SPEAKS_FOR,
                Verdict::Partly | Verdict::Wrong => SPEAKS_AGAINST,
            },
            chance,
        ),
        about_right(case, chance),
        pick(REMEMBER, chance),
    ]);
    match behaviour {
        Behaviour::UnfitLetter => text.add(2, "Option B is the one to take."),
        Behaviour::UnfitNumber => text.add(
            1,
            &format!("The ferritin of {} µg/L settles it.", case.absent_number),
        ),
        _ => {}
    }
    if !case.findings.is_empty() {
        let finding = &case.findings[chance.usize(..case.findings.len())];
        let quoted = format!("{} “{finding}”.", pick(QUOTE, chance));
        if text.words() + count(&quoted) <= WORDS_MAX_TO_QUOTE {
            text.add(1, &quoted);
        }
    }
    let wanted = words.unwrap_or_else(|| chance.usize(WORDS_MIN + 8..WORDS_MAX - 18));
    let most = words.map_or(WORDS_MAX - WORDS_SPARE, |words| words + MORE_WORDS_MAX);
    text.fill(wanted, most, chance);
    text.0.join("\n\n")
}

/// More than any sentence to fill up with has.
const MORE_WORDS_MAX: usize = 24;

struct Paragraphs([String; 4]);

impl Paragraphs {
    fn words(&self) -> usize {
        self.0.iter().map(|text| count(text)).sum()
    }

    fn add(&mut self, paragraph: usize, sentence: &str) {
        self.0[paragraph].push(' ');
        self.0[paragraph].push_str(sentence);
    }

    /// Adds sentences until there are enough words, each once before any is there twice.
    fn fill(&mut self, wanted: usize, most: usize, chance: &mut Rng) {
        let mut sentences: Vec<_> = MORE_ON_CASE
            .iter()
            .map(|sentence| (1, *sentence))
            .chain(MORE_ON_RIGHT.iter().map(|sentence| (2, *sentence)))
            .collect();
        let mut words = self.words();
        while words < wanted {
            let before = words;
            chance.shuffle(&mut sentences);
            for (paragraph, sentence) in &sentences {
                if words < wanted && words + count(sentence) <= most {
                    self.add(*paragraph, sentence);
                    words += count(sentence);
                }
            }
            if words == before {
                return;
            }
        }
    }
}

fn about_choice(case: &CaseAsked, chance: &mut Rng) -> String {
    let chosen = listed(&case.chosen);
    if case.chosen.is_empty() {
        return "You chose none of the options, which is a fair thing to do while you are unsure, \
            but a patient waits for a decision."
            .to_owned();
    }
    let patterns = match case.verdict {
        Verdict::Partly => CHOSE_PARTLY,
        Verdict::Right => CHOSE_RIGHT,
        Verdict::Wrong => CHOSE_WRONG,
    };
    pick(patterns, chance).replace("{}", &chosen)
}

fn about_right(case: &CaseAsked, chance: &mut Rng) -> String {
    let pattern = if case.right.len() > 1 {
        pick(SEVERAL_RIGHT, chance)
    } else {
        pick(ONE_RIGHT, chance)
    };
    pattern.replace("{}", &listed(&case.right))
}

fn listed(options: &[String]) -> String {
    let quoted: Vec<_> = options.iter().map(|option| format!("“{option}”")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

fn chat(words: Option<usize>, chance: &mut Rng) -> String {
    let wanted = words.unwrap_or_else(|| chance.usize(40..90));
    let mut sentences = CHAT.to_vec();
    chance.shuffle(&mut sentences);
    let mut text = String::new();
    let mut written = 0;
    for sentence in sentences.iter().cycle() {
        if written >= wanted {
            break;
        }
        if written > 0 {
            text.push(' ');
        }
        text.push_str(sentence);
        written += count(sentence);
    }
    text
}

fn count(text: &str) -> usize {
    text.split_whitespace().count()
}

fn pick(sentences: &[&str], chance: &mut Rng) -> String {
    sentences[chance.usize(..sentences.len())].to_owned()
}

const CHOSE_WRONG: &[&str] = &[
    "You chose {}. It tempts because it fits the first impression of this story, and with other \
     findings it would be reasonable.",
    "Your choice was {}. Many would think of it first, because it belongs to complaints that begin \
     in much the same way.",
    "With {} you took what looks most familiar here. It tempts because parts of the picture do \
     resemble what it is known for.",
];

const CHOSE_RIGHT: &[&str] = &[
    "You chose {}, and that is right. You did not let the more familiar thoughts draw you away from \
     what the case shows.",
    "Your choice, {}, is right. It takes some care to see it, because other thoughts tempt when one \
     reads quickly.",
    "With {} you are right. The others tempt because each of them explains some part of the picture.",
];

const CHOSE_PARTLY: &[&str] = &[
    "You chose {}, and a part of the answer is in it. It tempts to stop there, because that part \
     does fit this story.",
    "Your choice was {}. Some of it holds, which is why it tempts, but it is not yet the whole answer.",
];

const SPEAKS_AGAINST: &[&str] = &[
    "Now look at what the case gives you, because some of it does not go with that choice.",
    "What tips the balance stands in the case itself.",
    "Yet the findings of this case point elsewhere when you take them together.",
];

const SPEAKS_FOR: &[&str] = &[
    "What decides it stands in the case itself.",
    "The findings of this case carry that choice when you take them together.",
    "Look once more at what the case gives you, because it is worth knowing which part decides.",
];

const QUOTE: &[&str] = &[
    "The case tells you:",
    "Read this line once more:",
    "One finding to weigh is this:",
];

const ONE_RIGHT: &[&str] = &[
    "The right option is {}. It accounts for the whole picture rather than for one part of it.",
    "What is right here is {}, because it follows from the findings and answers the question that \
     was asked.",
    "In this patient {} is right: nothing in the case contradicts it, and the leading findings call \
     for it.",
];

const SEVERAL_RIGHT: &[&str] = &[
    "The right options are {}. Together they account for the whole picture rather than for one part \
     of it.",
    "What is right here are {}, because each of them follows from the findings in its own way.",
];

const REMEMBER: &[&str] = &[
    "Remember for the next patient: name the finding that decides before you name the answer.",
    "Take this with you: an option must explain what is there, and also what is missing.",
    "For the next patient: let the finding that fits least decide how sure you are.",
];

const MORE_ON_CASE: &[&str] = &[
    "Ask of each finding whether you would expect it, and what its absence would mean.",
    "A single striking detail is seldom enough; the course over time and the whole pattern count for \
     more.",
    "When a finding does not fit, that is a reason to stop and think again, not to explain it away.",
    "Notice also what the case leaves out, because a feature that should be there and is not has \
     weight.",
    "The order in which things happened matters as much as the things themselves.",
];

const MORE_ON_RIGHT: &[&str] = &[
    "The mechanism behind it makes sense of the leading complaint and of the findings that go along \
     with it.",
    "It is also what helps this patient most now, given how urgent the situation is.",
    "If you can say in your own words how it leads to these findings, you will know it again.",
    "Compare it with the nearest alternative, and say which single finding would make you change \
     your mind.",
    "It asks for nothing that the case does not support.",
];

const CHAT: &[&str] = &[
    "That is a good question to ask about this case.",
    "Start from the finding that troubles you most, and say what could cause it.",
    "Then ask which of these causes would also explain the rest of the story.",
    "The mechanism matters more than the name, because it tells you what to expect next.",
    "If two explanations remain, look for the finding that only one of them predicts.",
    "It helps to say aloud what you would do first, and what you would do if you were wrong.",
    "Which part of the explanation would you like to go through once more?",
    "Try to put the key step into your own words, and see where you hesitate.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sentence_has_a_number() {
        for sentences in [
            CHOSE_WRONG,
            CHOSE_RIGHT,
            CHOSE_PARTLY,
            SPEAKS_AGAINST,
            SPEAKS_FOR,
            QUOTE,
            ONE_RIGHT,
            SEVERAL_RIGHT,
            REMEMBER,
            MORE_ON_CASE,
            MORE_ON_RIGHT,
            CHAT,
        ] {
            for sentence in sentences {
                assert!(
                    !sentence.contains(|char: char| char.is_numeric()),
                    "{sentence}"
                );
                assert!(
                    count(sentence) <= MORE_WORDS_MAX || sentence.contains("{}"),
                    "{sentence}"
                );
            }
        }
    }

    #[test]
    fn a_wanted_length_is_met_within_a_sentence() {
        let case = CaseAsked {
            right: vec!["Rest".to_owned()],
            ..CaseAsked::default()
        };
        for matter in [Matter::Chat, Matter::Feedback(case)] {
            for words in [200, 1_000] {
                let text = write(
                    &matter,
                    Behaviour::Good,
                    Some(words),
                    &mut Rng::with_seed(3),
                );
                let written = count(&text);
                let words = words as usize;
                assert!(
                    (words..words + MORE_WORDS_MAX).contains(&written),
                    "{written}"
                );
            }
        }
    }
}
