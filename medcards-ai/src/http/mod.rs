//! What the providers share: connections, limits, errors, and the reading of replies.

mod body;
mod error;
mod lines;
mod rate;
mod reply;

use body::{Reading, pieces, whole};
pub(crate) use error::{ApiError, failure_of_item, failure_within_reply};
use lines::lines;
pub(crate) use reply::{Bill, Decode, Step, WholeReply, read_reply, usage_bound};

pub use body::{EVENT_BYTES_MAX, REPLY_BYTES_MAX};
pub use error::RETRY_AFTER_MAX;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use medcards_core::ai::{AiFailure, RateLimits};
use medcards_core::time::{Clock, SystemClock};
use medcards_core::{Error, ErrorKind, Result};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::{Client, Method, Response, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use self::rate::RateMemory;

/// The operation that errors of a call name.
pub(crate) const ASK: &str = "ask model";

/// What most bodies are.
pub(crate) const JSON: &str = "application/json";

/// The operation that errors of a configuration name.
pub(crate) const CONFIGURE: &str = "configure ai provider";

/// How often an HTTP/2 connection in use is probed, and how long the probe may take.
///
/// Without it a connection that a middlebox forgot takes every call to its grave. 20 s is below the
/// shortest idle limits of such boxes that are common (30 s and more).
const PROBE_EVERY: Duration = Duration::from_secs(20);
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a call may wait, each time it waits.
///
/// These are the last resort of a call that nobody ends; a caller that has a deadline drops the
/// call. There is no limit on a whole reply: a stream that moves is alive, and its size is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "built with struct update syntax")]
pub struct Timeouts {
    /// Until the connection stands. Default: 5 s, which is three lost packets and some.
    pub connect: Duration,
    /// From sending until the reply begins. Default: 60 s, because a reply that is not streamed
    /// begins when it is complete.
    pub first_byte: Duration,
    /// Between two pieces of a reply. Default: 30 s; Anthropic pings far more often than that.
    pub between_bytes: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            between_bytes: Duration::from_secs(30),
        }
    }
}

/// What the builders of all providers collect about their server.
pub(crate) struct ServerOptions {
    pub(crate) base_url: Option<String>,
    pub(crate) key: Option<SecretString>,
    pub(crate) headers: Vec<(String, SecretString)>,
    pub(crate) timeouts: Timeouts,
    pub(crate) streaming: bool,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            base_url: None,
            key: None,
            headers: Vec::new(),
            timeouts: Timeouts::default(),
            streaming: true,
            clock: Arc::new(SystemClock::new()),
        }
    }
}

/// One address that prompts are posted to.
pub(crate) struct Endpoint {
    client: Client,
    url: Url,
    headers: HeaderMap,
    timeouts: Timeouts,
    host: String,
    rate: RateMemory,
}

impl Endpoint {
    /// Checks the options. `path` makes the url of the endpoint from the base url.
    pub(crate) fn new(
        options: &ServerOptions,
        default_base_url: &str,
        path: impl FnOnce(&mut Url) -> Option<()>,
        mut headers: HeaderMap,
    ) -> Result<Self> {
        if options.key.is_none() && options.headers.is_empty() && options.base_url.is_none() {
            return Err(invalid(format!(
                "{default_base_url} needs a key: set one with with_key, or name another server \
                 with with_base_url"
            )));
        }
        let mut url = base_url(options.base_url.as_deref().unwrap_or(default_base_url))?;
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err(invalid("the base url names no host")),
        };
        path(&mut url).ok_or_else(|| invalid("the base url cannot be extended with a path"))?;
        for (name, value) in &options.headers {
            headers.insert(header_name(name)?, secret_header(value.expose_secret())?);
        }
        let client = client(&url, options.timeouts)?;
        Ok(Self {
            client,
            url,
            headers,
            timeouts: options.timeouts,
            host,
            rate: RateMemory::new(Arc::clone(&options.clock)),
        })
    }

    /// The host, and the port if it is an unusual one.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// The address, to make others from.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// What the server last said of how much it may still be asked, whatever came of the asking.
    pub(crate) fn rate_limits(&self) -> Option<RateLimits> {
        self.rate.last()
    }

    /// Posts a prompt and waits for a reply of status 200.
    pub(crate) async fn ask(&self, body: Vec<u8>) -> Result<Response, AiFailure> {
        let call = Call {
            operation: ASK,
            method: Method::POST,
            url: self.url.clone(),
            body,
            media_type: JSON,
            wait: self.timeouts.first_byte,
        };
        let response = self.answer_to(call).await?;
        self.rate.note(response.headers());
        self.checked(ASK, response).await
    }

    /// Makes any other call to the server and waits for a reply of status 200.
    ///
    /// Such calls have rate limits of their own, which nobody needs.
    pub(crate) async fn send(&self, call: Call) -> Result<Response, AiFailure> {
        let operation = call.operation;
        let response = self.answer_to(call).await?;
        self.checked(operation, response).await
    }

    /// A call that asks for what is at an address.
    pub(crate) fn get(&self, operation: &'static str, url: Url) -> Call {
        Call {
            operation,
            method: Method::GET,
            url,
            body: Vec::new(),
            media_type: JSON,
            wait: self.timeouts.first_byte,
        }
    }

    /// Makes a call and reads the document that answers it.
    pub(crate) async fn read<T: DeserializeOwned>(&self, call: Call) -> Result<T> {
        let reading = Reading {
            operation: call.operation,
            between_bytes: self.timeouts.between_bytes,
            bytes_max: REPLY_BYTES_MAX as u64,
        };
        let response = self.send(call).await.map_err(|failure| failure.error)?;
        let body = whole(response, reading).await?;
        serde_json::from_slice(&body).map_err(|source| {
            // The message of the JSON error may quote the data.
            let what = source.classify();
            let context = format!("the reply has {what:?} JSON that does not fit");
            Error::new(ErrorKind::Corrupt, reading.operation, context)
        })
    }

    /// Makes a call and reads the lines that answer it, each of at most `line_bytes_max`.
    pub(crate) async fn read_lines(
        &self,
        call: Call,
        bytes_max: u64,
        line_bytes_max: usize,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let reading = Reading {
            operation: call.operation,
            between_bytes: self.timeouts.between_bytes,
            bytes_max,
        };
        let response = self.send(call).await.map_err(|failure| failure.error)?;
        let pieces = pieces(response, reading);
        Ok(lines(pieces, reading.operation, line_bytes_max))
    }

    /// Waits for an answer, whatever its status is.
    async fn answer_to(&self, call: Call) -> Result<Response, AiFailure> {
        let Call {
            operation,
            method,
            url,
            body,
            media_type,
            wait,
        } = call;
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        let request = self.client.request(method, url);
        let request = request.headers(headers).body(body).send();
        match tokio::time::timeout(wait, request).await {
            Err(elapsed) => {
                let context = format!("{} did not begin to reply in time", self.host);
                let error = Error::new(ErrorKind::Timeout, operation, context);
                Err(AiFailure::unknown(error.with_source(elapsed)))
            }
            Ok(Err(source)) => Err(self.unsent_or_lost(operation, source)),
            Ok(Ok(response)) => Ok(response),
        }
    }

    async fn checked(
        &self,
        operation: &'static str,
        response: Response,
    ) -> Result<Response, AiFailure> {
        if response.status() == reqwest::StatusCode::OK {
            return Ok(response);
        }
        Err(error::failure_of_status(response, operation, self.timeouts.between_bytes).await)
    }

    fn unsent_or_lost(&self, operation: &'static str, source: reqwest::Error) -> AiFailure {
        let source = source.without_url();
        let host = &self.host;
        if source.is_connect() || source.is_builder() {
            let context = format!("{host} cannot be reached; check the base url and the network");
            return AiFailure::free(
                Error::new(ErrorKind::Unavailable, operation, context).with_source(source),
            );
        }
        let context = format!("the connection to {host} broke before a reply");
        AiFailure::unknown(
            Error::new(ErrorKind::Unavailable, operation, context).with_source(source),
        )
    }
}

/// A call to a server.
pub(crate) struct Call {
    /// What errors call it.
    pub(crate) operation: &'static str,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) body: Vec<u8>,
    pub(crate) media_type: &'static str,
    /// The longest wait until the reply begins.
    pub(crate) wait: Duration,
}

/// A header value that no log shows.
pub(crate) fn secret_header(value: &str) -> Result<HeaderValue> {
    let mut header = HeaderValue::from_str(value).map_err(|source| {
        invalid(
            "a key or header value has characters that a header cannot have; check for line ends",
        )
        .with_source(source)
    })?;
    header.set_sensitive(true);
    Ok(header)
}

/// The value of an `Authorization: Bearer` header.
pub(crate) fn bearer(key: &SecretString) -> Result<HeaderValue> {
    secret_header(&format!("Bearer {}", checked_key(key)?))
}

/// The key, if it is not empty: an empty one comes from an unset variable.
pub(crate) fn checked_key(key: &SecretString) -> Result<&str> {
    let key = key.expose_secret();
    if key.trim().is_empty() {
        return Err(invalid("the key is empty: set one, or leave with_key out"));
    }
    Ok(key)
}

pub(crate) fn invalid(context: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Invalid, CONFIGURE, context)
}

fn header_name(name: &str) -> Result<HeaderName> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|source| invalid("a header has an unusable name").with_source(source))
}

fn base_url(text: &str) -> Result<Url> {
    let url = Url::parse(text).map_err(|source| {
        invalid("the base url is not a url such as https://api.example.org").with_source(source)
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("the base url must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(
            "the base url holds a password: give it with with_key or with_header",
        ));
    }
    Ok(url)
}

fn client(url: &Url, timeouts: Timeouts) -> Result<Client> {
    let mut builder = Client::builder()
        // A redirect would carry the key to a place that nobody configured.
        .redirect(redirect::Policy::none())
        .connect_timeout(timeouts.connect)
        .http2_keep_alive_interval(PROBE_EVERY)
        .http2_keep_alive_timeout(PROBE_TIMEOUT)
        .default_headers(HeaderMap::from_iter([(
            USER_AGENT,
            HeaderValue::from_static(concat!("medcards-ai/", env!("CARGO_PKG_VERSION"))),
        )]));
    if url.scheme() == "http" {
        // No certificates are needed, so a machine without any is no reason to fail.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|source| {
        invalid("the HTTP client cannot start; if the system has no certificates set SSL_CERT_FILE")
            .with_source(source)
    })
}
