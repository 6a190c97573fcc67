use serde::{Deserialize, Serialize};

use super::MicroDollars;

/// The tokens of one call, by what they cost. No token counts in two fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "made by every provider")]
pub struct TokenUsage {
    /// Tokens read at the full price.
    pub input: u64,
    /// Tokens read from the provider's prompt cache.
    pub cache_read: u64,
    /// Tokens written to the provider's prompt cache.
    pub cache_write: u64,
    /// Tokens written by the model.
    pub output: u64,
}

/// What a model costs, in micro-dollars per million tokens of each kind.
///
/// A price of one dollar per million tokens is `1_000_000` here, which is one micro-dollar a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "made by who knows the price")]
pub struct Price {
    /// For tokens read at the full price.
    pub input: MicroDollars,
    /// For tokens read from the prompt cache.
    pub cache_read: MicroDollars,
    /// For tokens written to the prompt cache.
    pub cache_write: MicroDollars,
    /// For tokens written by the model.
    pub output: MicroDollars,
}

impl Price {
    /// What these tokens cost, rounded up to a whole micro-dollar.
    ///
    /// ```
    /// use medcards_core::spend::{MicroDollars, Price, TokenUsage};
    ///
    /// let price = Price {
    ///     input: MicroDollars::new(1_000_000),
    ///     output: MicroDollars::new(5_000_000),
    ///     ..Price::default()
    /// };
    /// let usage = TokenUsage { input: 400, output: 150, ..TokenUsage::default() };
    /// assert_eq!(price.cost(usage), MicroDollars::new(1_150));
    /// ```
    #[must_use]
    pub fn cost(&self, usage: TokenUsage) -> MicroDollars {
        let kinds = [
            (self.input, usage.input),
            (self.cache_read, usage.cache_read),
            (self.cache_write, usage.cache_write),
            (self.output, usage.output),
        ];
        let millionths: u128 = kinds
            .iter()
            .map(|(per_million, tokens)| u128::from(per_million.get()) * u128::from(*tokens))
            .fold(0, u128::saturating_add);
        MicroDollars::new(u64::try_from(millionths.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }

    /// What the provider of this price asks for calls in a batch: half, rounded up.
    #[must_use]
    pub fn in_batch(&self) -> Self {
        let half = |amount: MicroDollars| MicroDollars::new(amount.get().div_ceil(2));
        Self {
            input: half(self.input),
            cache_read: half(self.cache_read),
            cache_write: half(self.cache_write),
            output: half(self.output),
        }
    }

    /// The most that a call can cost whose prompt has `prompt_bytes` and whose reply has at most
    /// `output_tokens_max`.
    ///
    /// No tokeniser makes more than one token of a byte, and a provider adds a few of its own to
    /// each message: 1,024 are allowed for. Every input token is taken at the dearest input price.
    #[must_use]
    pub fn worst_case(&self, prompt_bytes: usize, output_tokens_max: u32) -> MicroDollars {
        let dearest = self.input.max(self.cache_read).max(self.cache_write);
        let input = u64::try_from(prompt_bytes)
            .unwrap_or(u64::MAX)
            .saturating_add(1_024);
        let price = Self {
            input: dearest,
            output: self.output,
            ..Self::default()
        };
        price.cost(TokenUsage {
            input,
            output: u64::from(output_tokens_max),
            ..TokenUsage::default()
        })
    }
}
