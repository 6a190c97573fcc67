//! What models cost.

use medcards_core::ai::ModelId;
use medcards_core::spend::{MicroDollars, Price};
use medcards_core::{Error, ErrorKind, Result};

/// The month in which the prices of [`price_of`] were read from their provider's list.
pub const PRICES_AS_OF: &str = "2026-11";

/// Hundredths of a dollar per million tokens: model, input, cache read, output.
const TABLE: [(&str, u64, u64, u64); 5] = [
    ("claude-haiku-4-5", 100, 10, 500),
    ("claude-haiku-5-5", 10, 1, 50),
    ("claude-opus-5-5", 400, 20, 2_000),
    ("claude-sonnet-4-6", 300, 30, 1_500),
    ("claude-sonnet-5-5", 200, 10, 1_000),
];

/// The list price of a model, as of [`PRICES_AS_OF`]; `None` for a model that the list has not.
///
/// A name may end with the day of a snapshot. Prices change, and contracts differ: the `with_price`
/// of a provider's builder replaces this. A cache write counts as 1.25 times the input, which is
/// the price of keeping it five minutes.
///
/// ```
/// use medcards_core::spend::MicroDollars;
///
/// let price = medcards_ai::price_of("claude-haiku-4-5-20251001").expect("it is listed");
/// assert_eq!(price.output, MicroDollars::new(5_000_000));
/// assert_eq!(medcards_ai::price_of("a-model-of-my-own"), None);
/// ```
#[must_use]
pub fn price_of(model: &str) -> Option<Price> {
    let (_, input, cache_read, output) = TABLE
        .into_iter()
        .find(|(listed, ..)| is_snapshot_of(model, listed))?;
    let cents = |cents: u64| MicroDollars::new(cents * 10_000);
    Some(Price {
        input: cents(input),
        cache_read: cents(cache_read),
        cache_write: MicroDollars::new(input * 10_000 * 5 / 4),
        output: cents(output),
    })
}

/// The price given, else the one listed.
pub(crate) fn known_or_given(model: &ModelId, given: Option<Price>) -> Result<Price> {
    given.or_else(|| price_of(model.as_str())).ok_or_else(|| {
        let context = format!(
            "the price of {model} is not known: set it with with_price, in micro-dollars per \
             million tokens; Price::default() is free of charge"
        );
        Error::new(ErrorKind::Invalid, crate::http::CONFIGURE, context)
    })
}

fn is_snapshot_of(model: &str, listed: &str) -> bool {
    let is_day = |day: &str| day.len() == 8 && day.bytes().all(|byte| byte.is_ascii_digit());
    match model.strip_prefix(listed) {
        Some("") => true,
        Some(rest) => rest.strip_prefix('-').is_some_and(is_day),
        None => false,
    }
}
