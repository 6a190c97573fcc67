use std::collections::HashSet;
use std::sync::LazyLock;

use medcards_core::ai::ModelId;
use medcards_core::jiff::civil::Date;
use medcards_core::spend::{MicroDollars, Price};
use medcards_core::{Error, Result};
use serde::Deserialize;

use crate::http::invalid;

static BUILT_IN: LazyLock<PriceTable> = LazyLock::new(|| {
    PriceTable::parse(include_str!("prices.toml")).expect("a constant that tests parse")
});

/// What models cost, as of a day: data, which an operator may replace.
///
/// ```
/// use medcards_ai::PriceTable;
/// use medcards_core::spend::MicroDollars;
///
/// let table = PriceTable::parse(
///     r#"
///     as_of = "2026-12-01"
///     source = "our contract"
///
///     [[models]]
///     name = "claude-haiku-5-5"
///     aliases = ["haiku"]
///     input = 90_000 # micro-dollars per million tokens
///     cache_read = 9_000
///     cache_write_5m = 112_500
///     cache_write_1h = 180_000
///     output = 450_000
///     batch_percent = 50
///     "#,
/// )?;
/// let price = table.find("claude-haiku-5-5-20260901").expect("it is listed");
/// assert_eq!(price.live.output, MicroDollars::new(450_000));
/// assert_eq!(price.batch.output, MicroDollars::new(225_000));
/// assert_eq!(table.find("haiku"), Some(price));
/// # Ok::<(), medcards_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceTable {
    as_of: Date,
    source: String,
    models: Vec<(Vec<ModelId>, ModelPrice)>,
}

/// What one model costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelPrice {
    /// A call, with a prompt cache that keeps five minutes.
    pub live: Price,
    /// Tokens written to a prompt cache that keeps an hour, per million.
    pub cache_write_1h: MicroDollars,
    /// A call in a batch.
    pub batch: Price,
}

impl PriceTable {
    /// The table of this crate: the list prices of the models of Anthropic.
    #[must_use]
    pub fn built_in() -> &'static Self {
        &BUILT_IN
    }

    /// Reads a table in the form of this crate's own, `src/price/prices.toml`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](medcards_core::ErrorKind::Invalid) for a text that is no such table,
    /// or that has a name twice; it says where.
    pub fn parse(text: &str) -> Result<Self> {
        let table: TableFile = toml::from_str(text).map_err(|source| {
            invalid(format!(
                "the price table cannot be read: {}",
                source.message()
            ))
            .with_source(source)
        })?;
        let mut seen = HashSet::new();
        let mut models = Vec::with_capacity(table.models.len());
        for entry in table.models {
            let mut names = Vec::with_capacity(1 + entry.aliases.len());
            for name in std::iter::once(&entry.name).chain(&entry.aliases) {
                let name: ModelId = name.parse()?;
                if !seen.insert(name.clone()) {
                    return Err(invalid(format!("the price table has {name} twice")));
                }
                names.push(name);
            }
            models.push((names, entry.price()?));
        }
        Ok(Self {
            as_of: table.as_of,
            source: table.source,
            models,
        })
    }

    /// The day on which these prices were right.
    #[must_use]
    pub fn as_of(&self) -> Date {
        self.as_of
    }

    /// Where they are from, for people.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The price of a model, by its name or an alias, with or without the day of a snapshot.
    #[must_use]
    pub fn find(&self, model: &str) -> Option<&ModelPrice> {
        let is_named = |names: &[ModelId]| {
            names
                .iter()
                .any(|listed| is_snapshot_of(model, listed.as_str()))
        };
        self.models
            .iter()
            .find(|(names, _)| is_named(names))
            .map(|(_, price)| price)
    }

    /// The first name of each model, in the order of the table.
    pub fn models(&self) -> impl Iterator<Item = &ModelId> {
        self.models.iter().filter_map(|(names, _)| names.first())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    as_of: Date,
    source: String,
    models: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    input: u64,
    cache_read: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
    output: u64,
    batch_percent: u64,
}

impl Entry {
    fn price(&self) -> Result<ModelPrice, Error> {
        if self.batch_percent > 100 {
            let name = &self.name;
            return Err(invalid(format!(
                "{name} costs more in a batch: batch_percent is at most 100"
            )));
        }
        let live = Price {
            input: MicroDollars::new(self.input),
            cache_read: MicroDollars::new(self.cache_read),
            cache_write: MicroDollars::new(self.cache_write_5m),
            output: MicroDollars::new(self.output),
        };
        let share = |amount: MicroDollars| {
            let hundredfold = u128::from(amount.get()) * u128::from(self.batch_percent);
            MicroDollars::new(u64::try_from(hundredfold.div_ceil(100)).unwrap_or(u64::MAX))
        };
        Ok(ModelPrice {
            live,
            cache_write_1h: MicroDollars::new(self.cache_write_1h),
            batch: Price {
                input: share(live.input),
                cache_read: share(live.cache_read),
                cache_write: share(live.cache_write),
                output: share(live.output),
            },
        })
    }
}

fn is_snapshot_of(model: &str, listed: &str) -> bool {
    let is_day = |day: &str| day.len() == 8 && day.bytes().all(|byte| byte.is_ascii_digit());
    match model.strip_prefix(listed) {
        Some("") => true,
        Some(rest) => rest.strip_prefix('-').is_some_and(is_day),
        None => false,
    }
}
