use std::time::Duration;

use async_trait::async_trait;
use medcards_core::job::{ClaimedJob, JobKind};
use medcards_core::{Error, ErrorKind, Result};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use reqwest::{Client, StatusCode, Url, redirect};

use super::{WebhookSecret, job_kind};
use crate::worker::{JobContext, JobEnd, JobHandler, JobPolicy};

/// How long a server may take: the specification asks for 15 to 30 s.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How long a connection may take: a server that is there answers sooner by far.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest wait that a server may ask for: one that is mistaken is not to keep messages for weeks.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// How many messages are under way at a time: what a small server can take.
const CONCURRENCY_MAX: usize = 8;

/// Sends a message to a server: does the jobs that a [`NoticeForwarder`](super::NoticeForwarder) makes.
///
/// Any status from 200 to 299 is success. 410 means that no messages are wanted any more, and makes the
/// job dead; with any other it is tried again, not before the `Retry-After` of the answer.
#[derive(Debug)]
pub struct Webhook {
    client: Client,
    url: Url,
    secret: WebhookSecret,
}

impl Webhook {
    /// Sends messages to this URL, signed with this secret.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is no URL of HTTP, or the client cannot start.
    pub fn new(url: &str, secret: WebhookSecret) -> Result<Self> {
        let invalid = |context| Error::new(ErrorKind::Invalid, "read webhook", context);
        let url = Url::parse(url).map_err(|source| invalid("it is no URL").with_source(source))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("its URL begins with https:// or http://"));
        }
        let mut builder = Client::builder()
            // A redirect would carry the message to a place that nobody configured.
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .default_headers(HeaderMap::from_iter([(
                USER_AGENT,
                HeaderValue::from_static(concat!("medcards-jobs/", env!("CARGO_PKG_VERSION"))),
            )]));
        if url.scheme() == "http" {
            // No certificates are needed, so a machine without any is no reason to fail.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|source| {
            invalid(
                "the HTTP client cannot start; if the system has no certificates set SSL_CERT_FILE",
            )
            .with_source(source)
        })?;
        Ok(Self {
            client,
            url,
            secret,
        })
    }
}

#[async_trait]
impl JobHandler for Webhook {
    fn kind(&self) -> JobKind {
        job_kind()
    }

    fn policy(&self) -> JobPolicy {
        JobPolicy {
            concurrency_max: CONCURRENCY_MAX,
            ..JobPolicy::default()
        }
    }

    async fn run(&self, job: &ClaimedJob, context: &JobContext) -> Result<JobEnd> {
        let (id, timestamp_s) = (job.id.to_string(), context.now().as_second());
        let signature = self.secret.sign(&id, timestamp_s, &job.payload);
        let sent = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp_s.to_string())
            .header("webhook-signature", signature)
            .body(job.payload.clone())
            .send()
            .await;
        let answer = sent.map_err(|source| {
            // The URL may have a token in it.
            let source = source.without_url();
            let context = "the server cannot be reached";
            Error::new(ErrorKind::Unavailable, "send webhook", context).with_source(source)
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(JobEnd::done());
        }
        if status == StatusCode::GONE {
            return Ok(JobEnd::Dead {
                reason: "the server wants no messages any more (410): take the webhook away"
                    .to_owned(),
            });
        }
        Ok(JobEnd::Retry {
            after: retry_after(answer.headers()),
            reason: format!("the server answered {}", status.as_u16()),
        })
    }
}

/// How long to wait, if it is said in seconds. A date is passed over: it depends on the other's clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let wait = Duration::from_secs(text.trim().parse().ok()?);
    Some(wait.min(RETRY_AFTER_MAX))
}
