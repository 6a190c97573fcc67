//! Prices are those of the list, and models that only look like listed ones have none.

use medcards_ai::{AnthropicProvider, PriceTable, price_of};
use medcards_core::ai::AiProvider;
use medcards_core::spend::{MicroDollars, TokenUsage};
use medcards_core::{Error, ErrorKind};

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

#[test]
fn the_built_in_table_is_complete_and_right_by_its_own_rules() {
    let table = PriceTable::built_in();
    assert!(table.as_of().to_string().starts_with("2026-11"));
    assert!(table.source().contains("Anthropic"));
    let names: Vec<_> = table.models().map(ToString::to_string).collect();
    let listed = [
        "claude-haiku-4-5",
        "claude-haiku-5-5",
        "claude-opus-5-5",
        "claude-sonnet-4-6",
        "claude-sonnet-5-5",
    ];
    assert_eq!(names, listed);
    for name in listed {
        let price = table.find(name).unwrap();
        let input = price.live.input.get();
        assert_eq!(price.live.cache_write.get(), input * 5 / 4, "{name}");
        assert_eq!(price.cache_write_1h.get(), input * 2, "{name}");
        assert!(price.live.cache_read.get() * 10 <= input, "{name}");
        assert_eq!(price.batch, price.live.in_batch(), "{name}");
    }
}

/// A table with one model, and one line of it replaced.
fn table_with(line: &str, replacement: &str) -> Result<PriceTable, Error> {
    let text = r#"
as_of = "2026-12-01"
source = "a contract"
[[models]]
name = "m-1"
aliases = ["one", "uno"]
input = 7
cache_read = 1
cache_write_5m = 9
cache_write_1h = 14
output = 35
batch_percent = 33
"#;
    assert!(text.contains(line));
    PriceTable::parse(&text.replace(line, replacement))
}

#[test]
fn a_table_of_ones_own_replaces_the_built_in_one() {
    let table = table_with("", "").unwrap();
    let price = *table.find("one-20260101").unwrap();
    assert_eq!(table.find("m-1"), Some(&price));
    assert_eq!(table.find("two"), None);
    // 33 % of 35 is 11.55: rounded up.
    assert_eq!(price.batch.output, MicroDollars::new(12));

    let builder = || AnthropicProvider::builder("uno").with_base_url("http://127.0.0.1:1");
    assert_eq!(builder().build().unwrap_err().kind(), ErrorKind::Invalid);
    let provider = builder().with_price_table(table.clone()).build().unwrap();
    assert_eq!(provider.price(), price.live);
    assert_eq!(provider.batches().unwrap().price(), price.batch);
    let given = provider.price().in_batch();
    let provider = builder().with_price_table(table).with_price(given);
    assert_eq!(provider.build().unwrap().price(), given);
}

#[test]
fn a_table_that_cannot_be_is_refused_with_the_reason() {
    for (line, replacement, reason) in [
        ("input = 7", "", "missing field `input`"),
        ("input = 7", "input = -7", "invalid value"),
        ("input = 7", "input = 0.7", "invalid type"),
        ("input = 7", "input = 7\ninptu = 7", "unknown field `inptu`"),
        ("input = 7", "input = ", "price table cannot be read"),
        (
            "\"2026-12-01\"",
            "\"the other day\"",
            "price table cannot be read",
        ),
        ("\"m-1\"", "\"m 1\"", "printable ASCII"),
        ("\"uno\"", "\"m-1\"", "the price table has m-1 twice"),
        ("= 33", "= 101", "batch_percent is at most 100"),
    ] {
        let error = table_with(line, replacement).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(reason), "{error}");
    }
}
