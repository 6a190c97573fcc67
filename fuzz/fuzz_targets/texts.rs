//! Searches and explanations: any text gives a bounded search, and never takes long to read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use medcards_core::case::{SEARCH_WORDS_MAX, names_option_letter, search_words};

fuzz_target!(|text: &str| {
    let words = search_words(text);
    assert!(words.len() <= SEARCH_WORDS_MAX);
    assert!(words.iter().all(|word| !word.is_empty()));
    assert_eq!(
        words,
        search_words(&format!(" .{text}? ")),
        "what is around the words is nothing"
    );
    // A search in capitals is the same search, where capitals have small letters of their own.
    if text.is_ascii() {
        assert_eq!(words, search_words(&text.to_ascii_uppercase()));
    }
    // The engine is linear in the text, so that a slow text shows as a timeout here.
    std::hint::black_box(names_option_letter(text));
});
