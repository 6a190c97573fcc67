//! What models cost.

mod table;

pub use table::{ModelPrice, PriceTable};

use medcards_core::ai::ModelId;
use medcards_core::spend::Price;
use medcards_core::{Error, ErrorKind, Result};

/// The list price of a model, as of the day of [`PriceTable::built_in`]; `None` for a model that it
/// does not list.
///
/// A name may end with the day of a snapshot. Prices change, and contracts differ: `with_price` and
/// `with_price_table` of a provider's builder replace this. A cache write counts as 1.25 times the
/// input, which is the price of keeping it five minutes.
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
    PriceTable::built_in().find(model).map(|price| price.live)
}

/// What a builder was told of prices.
#[derive(Debug, Default)]
pub(crate) struct PriceOptions {
    pub(crate) price: Option<Price>,
    pub(crate) table: Option<PriceTable>,
}

impl PriceOptions {
    /// The price given, else the one listed.
    ///
    /// Of a price that was given it is not known what an hour in the cache costs: it is the one
    /// given for the cache.
    pub(crate) fn resolve(self, model: &ModelId) -> Result<ModelPrice> {
        if let Some(price) = self.price {
            return Ok(ModelPrice {
                live: price,
                cache_write_1h: price.cache_write,
                batch: price.in_batch(),
            });
        }
        let table = self.table.as_ref().unwrap_or(PriceTable::built_in());
        table.find(model.as_str()).copied().ok_or_else(|| {
            let context = format!(
                "the price of {model} is not known: set it with with_price, in micro-dollars per \
                 million tokens; Price::default() is free of charge"
            );
            Error::new(ErrorKind::Invalid, crate::http::CONFIGURE, context)
        })
    }
}
