//! Names in urls, settings and stored keys: what is taken means one thing, and is written back.

#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use medcards_core::ai::ModelId;
use medcards_core::case::OptionKey;
use medcards_core::feedback::FeedbackKey;
use medcards_core::limit::Quota;
use medcards_core::store::{PageCursor, ReadToken};
use medcards_core::user::Locale;
use medcards_core::{AnswerId, CaseId};

fuzz_target!(|text: &str| {
    // One key has one text, because stores and caches find it by its text.
    if let Some(key) = written_back::<FeedbackKey>(text) {
        assert_eq!(key.to_string(), text);
    }
    if let Some(quota) = written_back::<Quota>(text) {
        assert!(quota.limit() > 0 && quota.window().as_secs() > 0);
    }
    if let Some(id) = written_back::<AnswerId>(text) {
        // However far away the instant is, reading it is not a panic.
        drop(id.instant());
    }
    written_back::<CaseId>(text);
    written_back::<Locale>(text);
    written_back::<ModelId>(text);
    written_back::<OptionKey>(text);
    if let Ok(cursor) = PageCursor::parse(text) {
        assert_eq!(cursor.as_str(), text);
        assert!(text.len() <= PageCursor::LEN_MAX);
    }
    if let Some(token) = ReadToken::parse(text) {
        assert_eq!(token.as_str(), text);
    }
});

/// What the text means, after checking that it is written as something that means the same.
fn written_back<T: FromStr + Display + Debug + PartialEq>(text: &str) -> Option<T> {
    let value: T = text.parse().ok()?;
    let written = value.to_string();
    assert_eq!(
        written.parse::<T>().ok().as_ref(),
        Some(&value),
        "{text:?} becomes {written:?}"
    );
    Some(value)
}
