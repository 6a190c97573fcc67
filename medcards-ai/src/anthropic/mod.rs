//! Anthropic Messages, and servers that speak it.

mod batch;
mod batch_wire;
mod cache;
mod stream;
mod wire;

pub use batch::{ANTHROPIC_BATCH_BYTES_MAX, ANTHROPIC_BATCH_LEN_MAX};
pub use cache::PromptCache;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use medcards_core::Result;
use medcards_core::ai::{
    AiBatches, AiCapability, AiFailure, AiProvider, AiRequest, AiStream, ModelId, RateLimits,
};
use medcards_core::spend::Price;
use medcards_core::time::Clock;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};
use secrecy::SecretString;

use self::batch::MessageBatches;
use self::stream::MessageDecoder;
use crate::http::{self, Bill, Endpoint, ServerOptions, Timeouts};
use crate::price::{PriceOptions, PriceTable};

const BASE_URL: &str = "https://api.anthropic.com";
const VERSION: &str = "2023-06-01";

/// How the key is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnthropicAuth {
    /// As `x-api-key: KEY`.
    #[default]
    ApiKey,
    /// As `Authorization: Bearer KEY`.
    Bearer,
}

/// Asks a model behind Anthropic's Messages interface. Cheap to clone.
///
/// Sampling parameters are never sent, because newer models refuse them; thinking is not asked for.
/// What a prompt says will be repeated is marked for Anthropic's prompt cache, as [`PromptCache`]
/// says, where it can be long enough.
#[derive(Clone)]
pub struct AnthropicProvider {
    shared: Arc<Shared>,
    batches: Arc<MessageBatches>,
}

struct Shared {
    endpoint: Endpoint,
    model: ModelId,
    price: Price,
    cache: PromptCache,
    streaming: bool,
}

impl AnthropicProvider {
    /// Starts to configure a provider of one model.
    pub fn builder(model: impl Into<String>) -> AnthropicBuilder {
        AnthropicBuilder {
            model: model.into(),
            prices: PriceOptions::default(),
            auth: AnthropicAuth::default(),
            cache: PromptCache::default(),
            version: VERSION.to_owned(),
            options: ServerOptions::default(),
        }
    }
}

impl fmt::Debug for AnthropicProvider {
    /// Says nothing of keys and headers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnthropicProvider")
            .field("model", &self.shared.model)
            .field("host", &self.shared.endpoint.host())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for AnthropicProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "AnthropicProvider({} at {})",
            self.shared.model,
            self.shared.endpoint.host()
        )
    }
}

#[async_trait]
impl AiProvider for AnthropicProvider {
    fn model(&self) -> &ModelId {
        &self.shared.model
    }

    fn price(&self) -> Price {
        self.shared.price
    }

    fn capability(&self) -> AiCapability {
        AiCapability::LIVE
    }

    async fn stream(&self, AiRequest { prompt, .. }: AiRequest) -> Result<AiStream, AiFailure> {
        let Shared {
            endpoint,
            model,
            cache,
            streaming,
            ..
        } = &*self.shared;
        let body =
            wire::request_body(model, &prompt, *cache, *streaming).map_err(AiFailure::free)?;
        let decoder = MessageDecoder::new(prompt.len_bytes());
        let response = endpoint.ask(body).await?;
        let bill = Bill::new(model, self.shared.price);
        http::read_reply(response, endpoint.timeouts(), decoder, bill).await
    }

    fn rate_limits(&self) -> Option<RateLimits> {
        self.shared.endpoint.rate_limits()
    }

    fn batches(&self) -> Option<&dyn AiBatches> {
        Some(&*self.batches)
    }
}

/// Configures an [`AnthropicProvider`].
#[must_use]
pub struct AnthropicBuilder {
    model: String,
    prices: PriceOptions,
    auth: AnthropicAuth,
    cache: PromptCache,
    version: String,
    options: ServerOptions,
}

impl AnthropicBuilder {
    /// Sets the key. Default: none, which only a server set by [`Self::with_base_url`] may take.
    pub fn with_key(mut self, key: SecretString) -> Self {
        self.options.key = Some(key);
        self
    }

    /// Sets how the key is sent. Default: [`AnthropicAuth::ApiKey`].
    pub fn with_auth(mut self, auth: AnthropicAuth) -> Self {
        self.auth = auth;
        self
    }

    /// Sets the server, with or without `/v1` at its end. Default: `https://api.anthropic.com`.
    pub fn with_base_url(mut self, url: impl Into<String>) -> Self {
        self.options.base_url = Some(url.into());
        self
    }

    /// Sets the `anthropic-version` header. Default: `2023-06-01`.
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Adds a header to every call, kept secret like a key. Default: none.
    pub fn with_header(mut self, name: impl Into<String>, value: SecretString) -> Self {
        self.options.headers.push((name.into(), value));
        self
    }

    /// Sets how long what is repeated is kept in Anthropic's prompt cache. Default:
    /// [`PromptCache::FiveMinutes`].
    pub fn with_prompt_cache(mut self, cache: PromptCache) -> Self {
        self.cache = cache;
        self
    }

    /// Sets what the model costs, with a cache write at the price of [`Self::with_prompt_cache`]. Default: what [`price_of`](crate::price_of) knows.
    pub fn with_price(mut self, price: Price) -> Self {
        self.prices.price = Some(price);
        self
    }

    /// Sets the table in which the price is looked up, unless it is given. Default:
    /// [`PriceTable::built_in`].
    pub fn with_price_table(mut self, table: PriceTable) -> Self {
        self.prices.table = Some(table);
        self
    }

    /// Sets the clock that says when a rate limit is there again. Default: the system's.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.options.clock = clock;
        self
    }

    /// Sets how long a call may wait. Default: [`Timeouts::default`].
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.options.timeouts = timeouts;
        self
    }

    /// Sets whether replies are asked for as streams, or else in one piece. Default: `true`.
    pub fn with_streaming(mut self, streaming: bool) -> Self {
        self.options.streaming = streaming;
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](medcards_core::ErrorKind::Invalid) for a key, url, header or model
    /// that cannot be, and for a model whose price is neither known nor given.
    pub fn build(self) -> Result<AnthropicProvider> {
        let model: ModelId = self.model.parse()?;
        let price = self.prices.resolve(&model)?;
        let mut headers = HeaderMap::new();
        headers.insert(
            HeaderName::from_static("anthropic-version"),
            http::secret_header(&self.version)?,
        );
        if let Some(key) = &self.options.key {
            let (name, value) = match self.auth {
                AnthropicAuth::ApiKey => (
                    HeaderName::from_static("x-api-key"),
                    http::secret_header(http::checked_key(key)?)?,
                ),
                AnthropicAuth::Bearer => (AUTHORIZATION, http::bearer(key)?),
            };
            headers.insert(name, value);
        }
        let endpoint = Endpoint::new(&self.options, BASE_URL, messages_path, headers)?;
        let streaming = self.options.streaming;
        let mut live = price.live;
        if self.cache == PromptCache::OneHour {
            live.cache_write = price.cache_write_1h;
        }
        let shared = Arc::new(Shared {
            endpoint,
            model,
            price: live,
            cache: self.cache,
            streaming,
        });
        let batches = Arc::new(MessageBatches::new(Arc::clone(&shared), price.batch));
        Ok(AnthropicProvider { shared, batches })
    }
}

impl fmt::Debug for AnthropicBuilder {
    /// Says nothing of keys, headers and urls.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnthropicBuilder")
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

fn messages_path(url: &mut Url) -> Option<()> {
    let has_version = url.path().trim_end_matches('/').ends_with("/v1");
    let mut path = url.path_segments_mut().ok()?;
    path.pop_if_empty();
    if !has_version {
        path.push("v1");
    }
    path.push("messages");
    Some(())
}
