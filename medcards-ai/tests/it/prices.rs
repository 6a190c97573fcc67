//! Prices are those of the list, and models that only look like listed ones have none.

use medcards_ai::price_of;
use medcards_core::spend::{MicroDollars, TokenUsage};

#[test]
fn a_call_costs_what_the_price_list_says() {
    let usage = TokenUsage {
        input: 1_000_000,
        cache_read: 1_000_000,
        cache_write: 1_000_000,
        output: 1_000_000,
    };
    // Dollars: input + cache read + cache write at 1.25 of the input + output.
    for (model, micros) in [
        ("claude-haiku-5-5", 100_000 + 10_000 + 125_000 + 500_000),
        (
            "claude-haiku-4-5",
            1_000_000 + 100_000 + 1_250_000 + 5_000_000,
        ),
        (
            "claude-sonnet-5-5",
            2_000_000 + 100_000 + 2_500_000 + 10_000_000,
        ),
        (
            "claude-sonnet-4-6",
            3_000_000 + 300_000 + 3_750_000 + 15_000_000,
        ),
        (
            "claude-opus-5-5",
            4_000_000 + 200_000 + 5_000_000 + 20_000_000,
        ),
    ] {
        assert_eq!(
            price_of(model).unwrap().cost(usage),
            MicroDollars::new(micros),
            "{model}"
        );
        assert_eq!(price_of(&format!("{model}-20251001")), price_of(model));
        for other in ["-2025", "-fast", "0", "-20251001x", "-２０２５１００１"] {
            assert_eq!(price_of(&format!("{model}{other}")), None, "{model}{other}");
        }
    }
}
