//! What the model is told, and what of the student it never learns.

use std::collections::BTreeSet;

use medcards_ai::FeedbackTemplate;
use medcards_core::ai::{FeedbackPrompt, PersonalContext, Prompt, PromptPart, PromptVersion};
use medcards_core::user::Level;

use crate::sample::{case, case_of_several, key, key_of};

fn context(text: &str) -> PersonalContext {
    PersonalContext {
        user_id: "0190b7a8-1c5e-7000-8000-000000000002".parse().unwrap(),
        text: text.to_owned(),
    }
}

fn rendered(prompt: &Prompt) -> String {
    let mut text = format!("{}\n", prompt.instructions);
    for part in &prompt.parts {
        let kind = match part {
            PromptPart::Student(_) => "student",
            _ => "case",
        };
        text.push_str(&format!("\n=== {kind} ===\n{}\n", part.text()));
    }
    text.push_str(&format!(
        "\n=== at most {} tokens ===\n",
        prompt.output_tokens_max
    ));
    text
}

/// If this fails, the prompt changed: give it a new edition, so that no feedback made with the old
/// one is taken for the new, and accept the snapshots of the new edition.
#[test]
fn a_change_of_the_prompt_is_a_new_edition() {
    let template = FeedbackTemplate::new();
    let edition = template.version(Level::default());
    let (one, several) = (case(), case_of_several());
    for (kind, case, chosen) in [
        ("right", &one, &[1][..]),
        ("nothing_chosen", &one, &[]),
        ("one_wrong", &one, &[2]),
        ("all_wrong", &several, &[2, 3]),
        ("some_missed", &several, &[0]),
        ("some_added", &several, &[0, 1, 3]),
        ("some_missed_and_added", &several, &[0, 4]),
    ] {
        let prompt = template.shared(case, &key_of(chosen, "en", Level::default()));
        let name = format!("prompt_edition_{edition}_{kind}");
        insta::assert_snapshot!(name, rendered(&prompt));
    }
    let personal = template.personal(
        &one,
        &key_of(&[1], "pt-BR", Level::Resident),
        &context("I always mix these two up."),
    );
    let name = format!("prompt_edition_{}_personal", personal.version);
    insta::assert_snapshot!(name, rendered(&personal));
}

#[test]
fn each_kind_of_mistake_has_a_prompt_of_its_own() {
    let case = case_of_several();
    let choices: [&[usize]; 7] = [&[0, 1], &[], &[4], &[2, 3], &[0], &[0, 1, 3], &[0, 4]];
    let prompts: BTreeSet<String> = choices
        .iter()
        .map(|chosen| {
            let key = key_of(chosen, "en", Level::default());
            FeedbackTemplate::new().shared(&case, &key).instructions
        })
        .collect();
    assert_eq!(prompts.len(), choices.len());
}

#[test]
fn the_level_is_that_of_the_edition() {
    let template = FeedbackTemplate::new();
    let mut seen = BTreeSet::new();
    for level in Level::ALL {
        let prompt = template.shared(&case(), &key_of(&[2], "en", level));
        assert_eq!(prompt.version, template.version(level));
        assert!(
            seen.insert(prompt.instructions),
            "{level} has words of its own"
        );
    }
    let numbers = Level::ALL.map(|level| template.version(level).get());
    assert_eq!(numbers, [20, 21, 22], "stored keys have these");

    // A key of another edition gets the default level, in this edition.
    let mut old = key(2, "en");
    old.prompt_version = PromptVersion::new(1);
    let prompt = template.shared(&case(), &old);
    assert_eq!(prompt, template.shared(&case(), &key(2, "en")));
}

#[test]
fn options_are_quoted_and_not_translated_where_the_languages_differ() {
    for (locale, is_other) in [("en", false), ("en-GB", false), ("fr", true)] {
        let prompt = FeedbackTemplate::new().shared(&case(), &key(0, locale));
        assert_eq!(
            prompt.instructions.contains("not translated"),
            is_other,
            "{locale}"
        );
    }
}

#[test]
fn the_language_is_that_of_the_key() {
    for (locale, named) in [
        ("en", "Write in English (language tag en)"),
        ("fr", "Write in French (language tag fr)"),
        ("pt-BR", "Write in Portuguese (language tag pt-BR)"),
        ("mfe", "Write in the language with the tag mfe"),
    ] {
        let prompt = FeedbackTemplate::new().shared(&case(), &key(0, locale));
        assert!(prompt.instructions.contains(named), "{locale}");
    }
}

#[test]
fn instructions_hold_nothing_of_case_or_student() {
    let template = FeedbackTemplate::new();
    let prompt = template.personal(&case(), &key(0, "en"), &context("zebra"));
    for word in [
        "Bisoprolol",
        "heart failure",
        "Cardiology",
        "zebra",
        "hyperkalaemia-1",
    ] {
        assert!(!prompt.instructions.contains(word), "{word}");
    }
    assert_eq!(
        prompt
            .parts
            .iter()
            .filter(|part| part.text().contains("zebra"))
            .count(),
        1
    );
}

#[test]
fn what_identifies_a_student_is_no_part_of_a_prompt() {
    let words = "I'm Dr. Ito, mail ito@example.org. Why not at BP 120/80?";
    let prompt = FeedbackTemplate::new().personal(&case(), &key(0, "en"), &context(words));
    let PromptPart::Student(student) = prompt.parts.last().unwrap() else {
        panic!("the last part is the student's")
    };
    assert_eq!(
        student,
        "I'm Dr. [name], mail [address]. Why not at BP 120/80?"
    );
}
