use crate::case::{Case, CaseOption, OptionSet};
use crate::user::Locale;

/// The feedback that needs no model: what the author wrote about the options chosen, and about the
/// right ones.
///
/// Never empty: where the author wrote nothing it says which options were chosen and which are
/// right. It names options by their text, never by a letter. French if the locale is French, else
/// English; the author's own words stay as they are.
#[must_use]
pub fn authored_text(case: &Case, chosen: OptionSet, locale: Locale) -> String {
    let words = Words::of(locale);
    let right = case.content.right_options();
    let mut paragraphs = Vec::new();
    let verdict = if chosen == right {
        words.right
    } else {
        words.wrong
    };
    paragraphs.push(verdict.to_owned());
    for option in options(case, chosen) {
        paragraphs.push(about(words.you_chose, option));
    }
    let missed = right
        .positions()
        .filter(|position| !chosen.contains(*position))
        .collect();
    for option in options(case, missed) {
        paragraphs.push(about(words.right_is, option));
    }
    if let Some(explanation) = case.content.explanation() {
        paragraphs.push(explanation.to_owned());
    }
    paragraphs.join("\n\n")
}

fn options(case: &Case, set: OptionSet) -> impl Iterator<Item = &CaseOption> {
    set.positions()
        .filter_map(|position| case.content.options().get(position))
}

fn about(lead: &str, option: &CaseOption) -> String {
    match &option.explanation {
        Some(explanation) => format!("{lead} “{}”. {explanation}", option.text),
        None => format!("{lead} “{}”.", option.text),
    }
}

struct Words {
    right: &'static str,
    wrong: &'static str,
    you_chose: &'static str,
    right_is: &'static str,
}

impl Words {
    fn of(locale: Locale) -> Self {
        match locale.language() {
            "fr" => Self {
                right: "Bonne réponse.",
                wrong: "Ce n’est pas la bonne réponse.",
                you_chose: "Vous avez choisi :",
                right_is: "Il fallait choisir :",
            },
            _ => Self {
                right: "That is right.",
                wrong: "That is not right.",
                you_chose: "You chose:",
                right_is: "The right choice is:",
            },
        }
    }
}
