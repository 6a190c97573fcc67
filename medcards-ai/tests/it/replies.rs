//! Which replies of a model are kept, and which are not.

use medcards_ai::{FeedbackTemplate, REPLY_CHARS_MAX};
use medcards_core::ai::{FeedbackPrompt, Rejection, Reply, StopReason};
use medcards_core::case::{Case, CaseRecord, Media, OptionOrdering, OptionRecord, VignetteRecord};
use medcards_core::feedback::FeedbackKey;
use medcards_core::spend::{MicroDollars, TokenUsage};
use medcards_core::user::Level;
use proptest::prelude::*;

use crate::sample::{case, case_of_several, case_with, key, key_of};

const NOT_CHOSEN: Rejection = Rejection::Unfit("the reply does not name an option that was chosen");
const NOT_RIGHT: Rejection = Rejection::Unfit("the reply does not name an option that is right");
const INVENTED: Rejection = Rejection::Unfit("the reply has a number that the case does not have");
const MARKUP: Rejection = Rejection::Unfit("the reply has headings, lists, tables or markup");
const NOT_FOUR: Rejection = Rejection::Unfit("the reply is not in four paragraphs");
const LETTER: Rejection = Rejection::Unfit("the reply names an option by its letter");

fn reply(text: &str, stop: StopReason) -> Reply {
    Reply {
        text: text.to_owned(),
        stop,
        usage: TokenUsage::default(),
        model: "m".parse().unwrap(),
        cost: MicroDollars::ZERO,
    }
}

fn check(case: &Case, key: &FeedbackKey, text: &str) -> Result<String, Rejection> {
    FeedbackTemplate::new().check(case, key, &reply(text, StopReason::Complete))
}

/// What a good model says to a student who would stop furosemide.
const GOOD: &str = "\
You chose “Furosemide”. It tempts because a weak patient with heart failure may well be dry, and \
diuretics upset electrolytes.

In this woman, though, the potassium is 6.8 mmol/L, and furosemide makes the kidneys lose potassium: \
stopping it would take away what still helps.

The right choice is “Spironolactone”. It keeps potassium back, and with a creatinine of 160 µmol/L the \
kidneys cannot get rid of the rest.

When potassium is high, look first for the drug that keeps it in.";

/// The good reply with one of its paragraphs replaced.
fn with_paragraph(index: usize, text: &str) -> String {
    let mut paragraphs: Vec<&str> = GOOD.split("\n\n").collect();
    paragraphs[index] = text;
    paragraphs.join("\n\n")
}

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
            &format!("{GOOD}{}", "é".repeat(REPLY_CHARS_MAX)),
            StopReason::Complete,
            Rejection::TooLong,
        ),
    ] {
        assert_eq!(check(text, stop), Err(rejection), "{text:.40} {stop:?}");
    }
    let longest = format!(
        "{GOOD}{}",
        "é".repeat(REPLY_CHARS_MAX - GOOD.chars().count())
    );
    check(&longest, StopReason::Complete).unwrap();
}

#[test]
fn replies_with_tags_or_control_characters_or_thinking_are_rejected() {
    for bad in [
        "</case>",
        "<student>",
        "< / CASE>",
        "\u{0}",
        "\u{1b}[31m",
        "<think>",
        "</thinking>",
        "<reasoning>",
    ] {
        let checked = check(&case(), &key(2, "en"), &format!("{GOOD} {bad}"));
        assert!(matches!(checked, Err(Rejection::Unfit(_))), "{bad:?}");
    }
    let text = with_paragraph(3, "\tIn tuberculosis, pH < 7.2 <caseous>.");
    assert_eq!(
        check(&case(), &key(2, "en"), &text),
        Err(INVENTED),
        "the bracket is no tag, and the pH is none of the case"
    );
    let text = with_paragraph(3, "\tIf the potassium > 6.5 <caseous>, act.");
    check(&case(), &key(2, "en"), &text).unwrap();
}

#[test]
fn replies_that_name_a_letter_are_rejected_where_options_are_shuffled() {
    let check = |ordering, text: &str| {
        check(
            &case_with(ordering),
            &key(2, "en"),
            &format!("{GOOD} {text}"),
        )
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
            Err(LETTER),
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

#[test]
fn a_reply_is_plain_paragraphs() {
    let (case, key) = (case(), key(2, "en"));
    let joined = GOOD.replace("\n\n", " ");
    let numbered: Vec<String> = GOOD
        .split("\n\n")
        .enumerate()
        .map(|(at, text)| format!("{}. {text}", at + 1))
        .collect();
    for (text, rejection) in [
        (joined, NOT_FOUR),
        (format!("{GOOD}\n\nMore.\n\nAnd more."), NOT_FOUR),
        (format!("# Feedback\n\n{GOOD}"), MARKUP),
        (
            with_paragraph(1, "- the potassium\n- the creatinine"),
            MARKUP,
        ),
        (with_paragraph(1, "| K | 6.8 |\n|---|---|"), MARKUP),
        (with_paragraph(1, "<p>The potassium.</p>"), MARKUP),
        (with_paragraph(1, "```\nK 6.8\n```"), MARKUP),
        (numbered.join("\n\n"), MARKUP),
    ] {
        assert_eq!(check(&case, &key, &text), Err(rejection), "{text}");
    }
    for text in [
        // Lines instead of paragraphs, lines with blanks between them, one paragraph more.
        GOOD.replace("\n\n", "\n"),
        GOOD.replace("\n\n", "\r\n \t\r\n"),
        GOOD.replace("\n\n", "\n\n\n\n"),
        format!("{GOOD}\n\nYou were close."),
        with_paragraph(1, "– the potassium speaks against it."),
    ] {
        check(&case, &key, &text).unwrap_or_else(|rule| panic!("{rule}: {text}"));
    }
    let bold = GOOD.replace("“Spironolactone”", "**Spironolactone**");
    let plain = GOOD.replace("“Spironolactone”", "Spironolactone");
    assert_eq!(check(&case, &key, &bold), Ok(plain));
}

#[test]
fn a_reply_names_what_was_chosen_and_what_is_right() {
    let (case, key) = (case(), key(2, "en"));
    for (text, rejection) in [
        (
            GOOD.replace("Furosemide", "the loop diuretic")
                .replace("furosemide", "it"),
            NOT_CHOSEN,
        ),
        (GOOD.replace("Spironolactone", "The other drug"), NOT_RIGHT),
    ] {
        assert_eq!(check(&case, &key, &text), Err(rejection), "{text}");
    }
    // Nothing chosen: only what is right has to be named.
    let nothing = key_of(&[], "en", Level::default());
    check(&case, &nothing, GOOD).unwrap();
    // The right one chosen.
    let right = key_of(&[1], "en", Level::default());
    check(&case, &right, GOOD).unwrap();
}

#[test]
fn of_several_options_every_chosen_and_every_right_one_is_named() {
    let case = case_of_several();
    let key = key_of(&[0, 4], "en", Level::Resident);
    let good = "\
“Sitting upright” tempts because the hoarse voice makes one think of the airway, and you were right to \
give “Adrenaline 0.5 mg into the thigh muscle”.

A blood pressure of 78/40 mmHg speaks against sitting up: the heart would run empty.

“Lying flat with raised legs” is missing, and belongs beside adrenaline in this man, because blood \
pools in his legs.

In anaphylaxis with low pressure, inject and lay down.";
    check(&case, &key, good).unwrap();
    for (gone, rejection) in [
        ("Sitting upright", NOT_CHOSEN),
        ("Adrenaline 0.5 mg into the thigh muscle", NOT_CHOSEN),
        ("Lying flat with raised legs", NOT_RIGHT),
    ] {
        let text = good.replace(gone, "that");
        assert_eq!(check(&case, &key, &text), Err(rejection), "{gone}");
    }
    let loosely = good.replace(
        "“Adrenaline 0.5 mg into the thigh muscle”",
        "adrenaline (0.5 mg) into a muscle of the thigh",
    );
    check(&case, &key, &loosely).unwrap();
}

#[test]
fn in_another_language_options_are_quoted_as_they_are_written() {
    let french = "\
Vous avez choisi « Furosemide ». C’est tentant, car une patiente faible peut être déshydratée.

Mais sa kaliémie est à 6,8 mmol/L et ce diurétique fait perdre du potassium.

La bonne réponse est « Spironolactone » : elle retient le potassium, et avec une créatinine à \
160 µmol/L les reins ne peuvent pas l’éliminer.

Devant une hyperkaliémie, cherchez d’abord le médicament qui retient le potassium.";
    let (case, key) = (case(), key(2, "fr"));
    check(&case, &key, french).unwrap();
    let translated = french.replace("Furosemide", "Furosémide (diurétique)");
    check(&case, &key, &translated).expect("an accent is no translation");
    let translated = french.replace("Spironolactone", "L’antialdostérone");
    assert_eq!(check(&case, &key, &translated), Err(NOT_RIGHT));

    let japanese = "\
あなたは「Furosemide」を選びました。脱水を疑うと選びたくなる薬です。

しかしカリウムは６．８ mmol/Lで、この薬はカリウムを尿に捨てます。

正解は「Spironolactone」です。カリウムを保持し、クレアチニン160 µmol/Lの腎臓では排泄できません。

高カリウム血症では、まずカリウムを保持する薬を探しましょう。";
    check(&case, &key_of(&[2], "ja", Level::default()), japanese).unwrap();
}

#[test]
fn a_reply_has_no_number_of_its_own() {
    let (case, key) = (case(), key(2, "en"));
    for free in [
        "Two or 3 findings in this 71-year-old decide it.",
        "Her potassium of 6.80 mmol/l is high, and 6,8 is too.",
        "Above 6.5 mmol/L it is an emergency.",
        "Creatinine is 160µmol/L.",
        "In a woman in her 70s with type 2 diabetes, stage 4 disease is common.",
        "Think of CD4 cells, IL-6, vitamin B12, COVID-19, CA-125, CA 19-9 and trisomy 21.",
        "A 12-lead ECG, 21-hydroxylase, 5-HT3, 1,25-dihydroxyvitamin D and 2,3-BPG.",
        "The 12th nerve, the 1st sign, le 12e nerf.",
        "Repeat it within 24 hours, or 48 h, or 72 Stunden.",
        "V1 to V6, L4-L5, T10, C5.",
        "The 1st of 2 steps; grade 3 of 5.",
        "One unit less of hope.",
        "In about one in three this happens within 6 hours or 2 weeks.",
    ] {
        let text = with_paragraph(3, free);
        check(&case, &key, &text).unwrap_or_else(|rule| panic!("{rule}: {free}"));
    }
    for invented in [
        "Her potassium of 6.9 mmol/L is high.",
        "Her potassium is 68 mmol/L.",
        "Her potassium of 6 mmol/L is high.",
        "The normal range is 3.5-5.0 mmol/L.",
        "The pH is 7.21.",
        "In 20 % of patients it kills.",
        "In 8% of patients it kills.",
        "Give 10 mL of calcium gluconate.",
        "Give ten millilitres of calcium gluconate.",
        "Give two grams of it.",
        "Give 5 units.",
        "A blood pressure of 120/80 is normal.",
        "The 2019 guideline says so.",
        "Over 65 years of age it is common.",
        "This 40-year-old woman is weak.",
        "Wait for 36 hours.",
        "In her 60s this is common.",
        "The sodium of 1,600 is high.",
        "カリウムは６．９です。",
        "Kalium ist 6,81.",
        "البوتاسيوم ٦٫٩.",
    ] {
        let text = with_paragraph(3, invented);
        assert_eq!(check(&case, &key, &text), Err(INVENTED), "{invented}");
    }
}

/// A case with a text in each place that numbers may come from.
fn case_of_texts(texts: &[String; 5]) -> Case {
    let [story, stem, why, explanation, alt] = texts.clone();
    let option = |key: &str, text: &str| OptionRecord {
        key: key.to_owned(),
        text: text.to_owned(),
        explanation: Some(why.clone()),
    };
    let record = CaseRecord {
        id: "numbers-1".to_owned(),
        stem,
        vignette: vec![VignetteRecord {
            label: "Story".to_owned(),
            text: story,
        }],
        options: vec![option("A", "Wait"), option("B", "Operate")],
        answer_keys: vec!["B".to_owned()],
        explanation: Some(explanation),
        media: vec![Media {
            url: "https://example.org/1.png".to_owned(),
            media_type: "image/png".to_owned(),
            alt,
        }],
        ..CaseRecord::default()
    };
    Case {
        content: record.into_content().unwrap().0,
        ..case()
    }
}

#[test]
fn numbers_may_come_from_every_part_of_the_case() {
    let texts = [
        "Na 131",
        "After 32 days?",
        "At 33 mg.",
        "Of 34 %.",
        "A 35 mm mass.",
    ];
    let case = case_of_texts(&texts.map(str::to_owned));
    let text = |last: &str| {
        format!(
            "You chose “Wait”: it tempts.\n\nThe mass grows.\n\n“Operate” is right in this story.\n\n{last}"
        )
    };
    for number in ["131 mmol/L", "32 days", "33 mg", "34%", "35 mm"] {
        check(&case, &key(0, "en"), &text(number)).unwrap();
    }
    assert_eq!(check(&case, &key(0, "en"), &text("36 mm")), Err(INVENTED));
    let texts = ["Twelve hours ago", "Forty-five mg?", "x", "y", "z"];
    let case = case_of_texts(&texts.map(str::to_owned));
    check(&case, &key(0, "en"), &text("12 hours, 45 mg")).unwrap();
}

/// Every case of the deck, answered with every option.
fn deck() -> Vec<Case> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/deck");
    let files = std::fs::read_dir(folder).unwrap();
    let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let lines: Vec<String> = texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines
        .iter()
        .map(|line| Case {
            content: serde_json::from_str::<CaseRecord>(line)
                .unwrap()
                .into_content()
                .unwrap()
                .0,
            ..case()
        })
        .collect()
}

/// What the author wrote about each option, in the form of a reply, is what a careful model says.
#[test]
fn what_the_authors_of_the_deck_wrote_would_be_kept() {
    let deck = deck();
    assert!(deck.len() > 50, "the deck is there");
    for case in &deck {
        let content = &case.content;
        for (chosen, option) in content.options().iter().enumerate() {
            let why = option.explanation.as_deref().unwrap();
            let right: Vec<String> = content
                .right_options()
                .positions()
                .map(|right| {
                    let right = &content.options()[right];
                    let why = right.explanation.as_deref().unwrap();
                    format!("“{}”: {why}", right.text.to_lowercase())
                })
                .collect();
            let text = format!(
                "You chose “{}”. {why}\n\nThe story decides.\n\n{}\n\n{}",
                option.text,
                right.join(" "),
                content.explanation().unwrap()
            );
            check(case, &key(chosen, "en"), &text)
                .unwrap_or_else(|rule| panic!("{rule}: {} {text}", content.external_id()));
        }
    }
}

/// Ways to write a number, all of which mean the same.
fn written(whole: u32, part: &str, way: usize) -> String {
    let plain = whole.to_string();
    let grouped = |sign: &str| match plain.len() {
        4.. => format!(
            "{}{sign}{}",
            &plain[..plain.len() - 3],
            &plain[plain.len() - 3..]
        ),
        _ => plain.clone(),
    };
    match (way, part) {
        (0, "") => plain,
        (1, "") => grouped(","),
        (2, "") => grouped("."),
        (_, "") => grouped(" "),
        (0, part) => format!("{plain}.{part}"),
        (1, part) => format!("{}.{part}", grouped(",")),
        (2, part) => format!("{plain},{part}0"),
        (_, part) => format!("{},{part}", grouped("\u{a0}")),
    }
}

fn number() -> impl Strategy<Value = (u32, String, usize, usize)> {
    let part = prop_oneof![Just(String::new()), "[1-9]", "[0-9][1-9]"];
    (0_u32..400_000, part, 0..4_usize, 0..4_usize)
}

proptest! {
    #[test]
    fn numbers_of_the_case_are_never_taken_for_invented_ones(
        numbers in prop::collection::vec(number(), 5),
        units in prop::collection::vec(prop::sample::select(vec![" mg", "%", " mmol/L", "", "-year", " h"]), 5),
    ) {
        let texts: Vec<String> = numbers
            .iter()
            .zip(&units)
            .map(|((whole, part, way, _), unit)| format!("It is {}{unit}.", written(*whole, part, *way)))
            .collect();
        let case = case_of_texts(&texts.try_into().unwrap());
        let said: Vec<String> = numbers
            .iter()
            .zip(units.iter().rev())
            .map(|((whole, part, _, way), unit)| format!("{}{unit}", written(*whole, part, *way)))
            .collect();
        let text = format!(
            "You chose “Wait”, which tempts.\n\nThe values are {}.\n\n“Operate” is right.\n\nRemember.",
            said.join(" and ")
        );
        let checked = check(&case, &key(0, "en"), &text);
        prop_assert_eq!(checked, Ok(text));
    }

    #[test]
    fn no_text_makes_the_check_panic(
        text in prop_oneof![any::<String>(), pieces()],
        story in prop_oneof![any::<String>(), pieces()],
    ) {
        // What an import would refuse is no case.
        let story = story.replace('\0', "");
        prop_assume!(!story.trim().is_empty() && story.len() < 2_000);
        let case = case_of_texts(&["x", "x", "x", "x", "x"].map(|x| format!("{x}{story}")));
        for text in [text.clone(), format!("{GOOD}\n{text}"), format!("You wait.\n\nWhy?\n\nOperate. {text}")] {
            if let Ok(kept) = check(&case, &key(0, "en"), &text) {
                prop_assert!(kept.chars().count() <= REPLY_CHARS_MAX);
            }
        }
    }
}

/// Texts made of what the rules look for.
fn pieces() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "6.8",
        "6,8",
        " 000",
        "٦",
        "٫",
        "１",
        "·",
        "1",
        "’",
        "é",
        "\u{a0}",
        " mg",
        "%",
        "th",
        "s",
        "h",
        "one ",
        "hundred ",
        "vingt-",
        "cinq",
        "\n\n",
        "\n",
        "- ",
        "1. ",
        "#",
        "**",
        "|",
        "<",
        "think>",
        "Wait",
        "Operate",
        "心",
        " ",
        ".",
        ",",
        "CD",
        "-",
        "/L",
        "B is correct. ",
        "\r",
    ]);
    prop::collection::vec(pieces, 0..80).prop_map(|pieces| pieces.concat())
}
