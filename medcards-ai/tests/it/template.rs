//! What the model is told, what of the student it never learns, and which replies are kept.

use medcards_ai::{FeedbackTemplate, REPLY_CHARS_MAX};
use medcards_core::ai::{
    FeedbackPrompt, PersonalContext, Prompt, PromptPart, Rejection, Reply, StopReason,
};
use medcards_core::case::OptionOrdering;
use medcards_core::spend::{MicroDollars, TokenUsage};
use medcards_core::user::Level;

use crate::sample::{case, case_with, key};

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
/// one is taken for the new, and accept the snapshot of the new edition.
#[test]
fn a_change_of_the_prompt_is_a_new_edition() {
    let template = FeedbackTemplate::new();
    let edition = template.version(Level::default());
    let shared = template.shared(&case(), &key(2, "en"));
    insta::assert_snapshot!(
        format!("prompt_edition_{edition}_shared"),
        rendered(&shared)
    );
    let personal = template.personal(
        &case(),
        &key(1, "pt-BR"),
        &context("I always mix these two up."),
    );
    insta::assert_snapshot!(
        format!("prompt_edition_{edition}_personal"),
        rendered(&personal)
    );
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

fn reply(text: &str, stop: StopReason) -> Reply {
    Reply {
        text: text.to_owned(),
        stop,
        usage: TokenUsage::default(),
        model: "m".parse().unwrap(),
        cost: MicroDollars::ZERO,
    }
}

const GOOD: &str = "Furosemide tempts because it lowers potassium, and in this patient nothing \
speaks against it but time. The potassium of 6.8 mmol/L with failing kidneys decides the case.";

#[test]
fn only_whole_replies_of_the_right_length_are_kept() {
    let check = |text: &str, stop| {
        FeedbackTemplate::new().check(&case(), &key(2, "en"), &reply(text, stop))
    };
    assert_eq!(
        check(&format!("\n {GOOD}\n\n"), StopReason::Complete),
        Ok(GOOD.to_owned())
    );
    for (text, stop, rejection) in [
        (GOOD, StopReason::MaxTokens, Rejection::Incomplete),
        (GOOD, StopReason::Unknown, Rejection::Incomplete),
        (GOOD, StopReason::Refusal, Rejection::Refused),
        ("", StopReason::Complete, Rejection::TooShort),
        (
            "Because of the potassium.",
            StopReason::Complete,
            Rejection::TooShort,
        ),
        (&" ".repeat(200), StopReason::Complete, Rejection::TooShort),
        (
            &"é".repeat(REPLY_CHARS_MAX + 1),
            StopReason::Complete,
            Rejection::TooLong,
        ),
    ] {
        assert_eq!(check(text, stop), Err(rejection), "{text:.40} {stop:?}");
    }
    check(&"é".repeat(REPLY_CHARS_MAX), StopReason::Complete).unwrap();
}

#[test]
fn replies_with_tags_or_control_characters_are_rejected() {
    for bad in ["</case>", "<student>", "< / CASE>", "\u{0}", "\u{1b}[31m"] {
        let reply = reply(&format!("{GOOD} {bad}"), StopReason::Complete);
        let checked = FeedbackTemplate::new().check(&case(), &key(2, "en"), &reply);
        assert!(matches!(checked, Err(Rejection::Unfit(_))), "{bad:?}");
    }
    let paragraphs = reply(
        &format!("{GOOD}\n\n\tpH < 7.2 <caseous> {GOOD}"),
        StopReason::Complete,
    );
    FeedbackTemplate::new()
        .check(&case(), &key(2, "en"), &paragraphs)
        .unwrap();
}

#[test]
fn replies_that_name_a_letter_are_rejected_where_options_are_shuffled() {
    let template = FeedbackTemplate::new();
    let check = |ordering, text: &str| {
        let reply = reply(&format!("{GOOD} {text}"), StopReason::Complete);
        template.check(&case_with(ordering), &key(2, "en"), &reply)
    };
    for letter in [
        "The correct answer is B.",
        "Option C is wrong.",
        "So (B) is right.",
        "B is correct because of the kidneys.",
        "La bonne réponse est B.",
        "You chose option A, which is wrong.",
    ] {
        assert_eq!(
            check(OptionOrdering::Shuffled, letter),
            Err(Rejection::Unfit("the reply names an option by its letter")),
            "{letter}"
        );
        assert!(check(OptionOrdering::Fixed, letter).is_ok(), "{letter}");
    }
    for prose in [
        "The key is a high index of suspicion.",
        "Your choice, a loop diuretic, tempts.",
        "The answer is a drug that keeps potassium back.",
        "La réponse d’un patient âgé est lente.",
        "This option a clinician would keep.",
        "Votre réponse a du sens.",
        "Hepatitis B and vitamin D play no part.",
    ] {
        assert!(check(OptionOrdering::Shuffled, prose).is_ok(), "{prose}");
    }
}
