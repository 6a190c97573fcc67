//! Chat completions of OpenAI, and of the many servers that speak it.

mod batch;
mod batch_wire;
mod stream;
mod wire;

pub use batch::{OPENAI_BATCH_BYTES_MAX, OPENAI_BATCH_LEN_MAX};

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
use reqwest::header::{AUTHORIZATION, HeaderMap};
use secrecy::SecretString;

use self::batch::CompletionBatches;
use self::stream::CompletionDecoder;
use crate::http::{self, Bill, Endpoint, ServerOptions, Timeouts};
use crate::price::{PriceOptions, PriceTable};

const BASE_URL: &str = "https://api.openai.com/v1";

/// The field that limits the tokens of a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenLimitField {
    /// `max_completion_tokens`, which OpenAI wants.
    #[default]
    MaxCompletionTokens,
    /// `max_tokens`, which older servers know.
    MaxTokens,
}

/// Asks a model behind a chat completions interface. Cheap to clone.
///
/// Sampling parameters are never sent. The parts of a prompt go as one text, each in its tags,
/// because many servers take no list of parts. A stream ends with `[DONE]`; where it just ends, the
/// reply is whole if the server had said why the model finished.
#[derive(Clone)]
pub struct OpenAiProvider {
    shared: Arc<Shared>,
    batches: Option<Arc<CompletionBatches>>,
}

struct Shared {
    endpoint: Endpoint,
    model: ModelId,
    price: Price,
    token_limit_field: TokenLimitField,
    streaming: bool,
}

impl OpenAiProvider {
    /// Starts to configure a provider of one model.
    pub fn builder(model: impl Into<String>) -> OpenAiBuilder {
        OpenAiBuilder {
            model: model.into(),
            prices: PriceOptions::default(),
            token_limit_field: TokenLimitField::default(),
            has_batches: None,
            options: ServerOptions::default(),
        }
    }
}

impl fmt::Debug for OpenAiProvider {
    /// Says nothing of keys and headers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiProvider")
            .field("model", &self.shared.model)
            .field("host", &self.shared.endpoint.host())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for OpenAiProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "OpenAiProvider({} at {})",
            self.shared.model,
            self.shared.endpoint.host()
        )
    }
}

#[async_trait]
impl AiProvider for OpenAiProvider {
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
            token_limit_field,
            streaming,
            ..
        } = &*self.shared;
        let body = wire::request_body(model, &prompt, *token_limit_field, *streaming)
            .map_err(AiFailure::free)?;
        let decoder = CompletionDecoder::new(prompt.len_bytes());
        let response = endpoint.ask(body).await?;
        let bill = Bill::new(model, self.shared.price);
        http::read_reply(response, endpoint.timeouts(), decoder, bill).await
    }

    fn batches(&self) -> Option<&dyn AiBatches> {
        let batches: &CompletionBatches = self.batches.as_deref()?;
        Some(batches)
    }

    fn rate_limits(&self) -> Option<RateLimits> {
        self.shared.endpoint.rate_limits()
    }
}

/// Configures an [`OpenAiProvider`].
#[must_use]
pub struct OpenAiBuilder {
    model: String,
    prices: PriceOptions,
    token_limit_field: TokenLimitField,
    has_batches: Option<bool>,
    options: ServerOptions,
}

impl OpenAiBuilder {
    /// Sets the key, sent as `Authorization: Bearer KEY`. Default: none, which only a server set by
    /// [`Self::with_base_url`] may take.
    pub fn with_key(mut self, key: SecretString) -> Self {
        self.options.key = Some(key);
        self
    }

    /// Sets the server, as its makers write it: mostly with `/v1` at the end, which is added to a
    /// url without a path. A query stays. Default: `https://api.openai.com/v1`.
    pub fn with_base_url(mut self, url: impl Into<String>) -> Self {
        self.options.base_url = Some(url.into());
        self
    }

    /// Adds a header to every call, kept secret like a key. Default: none.
    pub fn with_header(mut self, name: impl Into<String>, value: SecretString) -> Self {
        self.options.headers.push((name.into(), value));
        self
    }

    /// Sets what the model costs. Default: what [`price_of`](crate::price_of) knows, which is
    /// nothing of most servers; [`Price::default`] is free of charge.
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

    /// Sets the field that limits the tokens of a reply. Default:
    /// [`TokenLimitField::MaxCompletionTokens`].
    pub fn with_token_limit_field(mut self, field: TokenLimitField) -> Self {
        self.token_limit_field = field;
        self
    }

    /// Sets whether the server has the interfaces for files and batches, beside that for chat
    /// completions. Default: OpenAI's has, one set by [`Self::with_base_url`] has not.
    pub fn with_batches(mut self, has_batches: bool) -> Self {
        self.has_batches = Some(has_batches);
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
    pub fn build(self) -> Result<OpenAiProvider> {
        let model: ModelId = self.model.parse()?;
        let price = self.prices.resolve(&model)?;
        let mut headers = HeaderMap::new();
        if let Some(key) = &self.options.key {
            headers.insert(AUTHORIZATION, http::bearer(key)?);
        }
        let endpoint = Endpoint::new(&self.options, BASE_URL, completions_path, headers)?;
        let Self {
            token_limit_field,
            has_batches,
            options:
                ServerOptions {
                    streaming,
                    base_url,
                    ..
                },
            ..
        } = self;
        let has_batches = has_batches.unwrap_or(base_url.is_none());
        let shared = Shared {
            endpoint,
            model,
            price: price.live,
            token_limit_field,
            streaming,
        };
        let shared = Arc::new(shared);
        let batches =
            has_batches.then(|| Arc::new(CompletionBatches::new(Arc::clone(&shared), price.batch)));
        Ok(OpenAiProvider { shared, batches })
    }
}

impl fmt::Debug for OpenAiBuilder {
    /// Says nothing of keys, headers and urls.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiBuilder")
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

fn completions_path(url: &mut Url) -> Option<()> {
    let is_bare = matches!(url.path(), "" | "/");
    let mut path = url.path_segments_mut().ok()?;
    path.pop_if_empty();
    if is_bare {
        path.push("v1");
    }
    path.extend(["chat", "completions"]);
    Some(())
}
