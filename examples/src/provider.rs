//! Makes the provider of a model that the settings name.

use std::sync::Arc;

use medcards::ai::AiProvider;
use medcards::providers::{AnthropicProvider, OpenAiProvider, TokenLimitField, price_of};
use medcards::{Error, ErrorKind, Result};

use crate::config::{Dialect, ModelSettings};

/// The provider of a model that somebody set.
///
/// # Errors
/// [`ErrorKind::Invalid`] for a setting that cannot be, and for a model whose price is neither known
/// nor set.
pub fn provider(settings: &ModelSettings) -> Result<Arc<dyn AiProvider>> {
    if settings.price.is_none() && price_of(&settings.model).is_none() {
        let context = format!(
            "the price of {} is not known: set MEDCARDS_AI_PRICE, or MEDCARDS_FALLBACK_PRICE for a \
             second model, to dollars per million tokens read and written, such as 1.00/5.00, or to \
             free",
            settings.model
        );
        return Err(Error::new(ErrorKind::Invalid, "read settings", context));
    }
    match settings.dialect {
        Dialect::Anthropic => anthropic(settings),
        Dialect::OpenAi => openai(settings),
    }
}

fn anthropic(settings: &ModelSettings) -> Result<Arc<dyn AiProvider>> {
    let mut builder = AnthropicProvider::builder(&settings.model);
    if let Some(key) = &settings.key {
        builder = builder.with_key(key.clone());
    }
    if let Some(url) = &settings.url {
        builder = builder.with_base_url(url);
    }
    if let Some(price) = settings.price {
        builder = builder.with_price(price);
    }
    Ok(Arc::new(builder.build()?))
}

fn openai(settings: &ModelSettings) -> Result<Arc<dyn AiProvider>> {
    let mut builder = OpenAiProvider::builder(&settings.model);
    if let Some(key) = &settings.key {
        builder = builder.with_key(key.clone());
    }
    if let Some(url) = &settings.url {
        // Compatible servers know the older field; one that knows neither could overspend.
        builder = builder
            .with_base_url(url)
            .with_token_limit_field(TokenLimitField::MaxTokens);
    }
    if let Some(price) = settings.price {
        builder = builder.with_price(price);
    }
    Ok(Arc::new(builder.build()?))
}
