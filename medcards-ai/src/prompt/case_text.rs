use std::fmt::Write;

use medcards_core::case::{Case, OptionSet};

/// The case as the model reads it. Options have no letters, so that it cannot name them by one.
pub(crate) fn case_text(case: &Case, chosen: OptionSet) -> String {
    let content = &case.content;
    let mut text = String::from("The case:\n");
    for (label, value) in [
        ("Specialty", content.specialty()),
        ("Topic", content.topic()),
    ] {
        if let Some(value) = value {
            push_line(&mut text, label, value);
        }
    }
    for field in content.vignette() {
        push_line(&mut text, &field.label, &field.text);
    }
    for media in content.media() {
        push_line(&mut text, "Picture or recording, described", &media.alt);
    }
    push_line(&mut text, "Question", content.stem());
    text.push_str("\nThe options, in no order:");
    for (position, option) in content.options().iter().enumerate() {
        text.push_str("\n- ");
        if content.right_options().contains(position) {
            text.push_str("[right] ");
        }
        if chosen.contains(position) {
            text.push_str("[chosen] ");
        }
        text.push_str(&option.text);
    }
    if chosen.is_empty() {
        text.push_str("\n\nThe student chose none of them.");
    }
    text
}

fn push_line(text: &mut String, label: &str, value: &str) {
    if label.is_empty() {
        text.push_str(value);
    } else {
        // Writing to a string cannot fail.
        let _ = write!(text, "{label}: {value}");
    }
    text.push('\n');
}
