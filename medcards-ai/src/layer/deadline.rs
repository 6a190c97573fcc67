use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{Stream, StreamExt};
use medcards_core::ai::{
    AiBatches, AiCapability, AiEvent, AiFailure, AiProvider, AiRequest, AiStream, ModelId,
    RateLimits,
};
use medcards_core::spend::Price;
use medcards_core::{Error, ErrorKind};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::after;
use super::watched::broke_off;
use crate::http::ASK;

/// How long a reply may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "built with struct update syntax")]
pub struct DeadlineConfig {
    /// Until its first event. Default: 10 s. Models that stream begin within a second or two; after
    /// 8 s a student reads the authored words, so what begins later helps only the next one. A
    /// provider that does not stream begins when it is done: give it more.
    pub first_event: Duration,
    /// Between two events. Default: 15 s: words come many times a second, and no student watches a
    /// sentence stand still for longer.
    pub between_events: Duration,
    /// From the call to the end. Default: 45 s, which with the waits before it is within the 60 s
    /// that a resolver gives a generation.
    pub total: Duration,
}

impl Default for DeadlineConfig {
    fn default() -> Self {
        Self {
            first_event: Duration::from_secs(10),
            between_events: Duration::from_secs(15),
            total: Duration::from_secs(45),
        }
    }
}

/// The layer that gives up a reply which takes too long.
///
/// The failure is a [`ErrorKind::Timeout`], and what it is billed at is unknown: the provider may
/// have been at work. It counts the time of the provider alone, so it stands within everything that
/// waits for a turn. The time that a caller takes to read counts in the total only. A reply that
/// breaks off without an end, as none should, fails here too.
pub struct Deadline<P> {
    provider: P,
    config: DeadlineConfig,
}

impl<P: AiProvider> Deadline<P> {
    /// Lets a provider take no longer than that.
    #[must_use]
    pub fn new(provider: P, config: DeadlineConfig) -> Self {
        Self { provider, config }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AiProvider> AiProvider for Deadline<P> {
    fn model(&self) -> &ModelId {
        self.provider.model()
    }

    fn price(&self) -> Price {
        self.provider.price()
    }

    fn capability(&self) -> AiCapability {
        self.provider.capability()
    }

    /// # Cancel safety
    /// Dropping the future or the stream drops the call.
    async fn stream(&self, request: AiRequest) -> Result<AiStream, AiFailure> {
        let began = Instant::now();
        let ends_at = after(began, self.config.total);
        let first_by = after(began, self.config.first_event).min(ends_at);
        let stream = timeout_at(first_by, self.provider.stream(request))
            .await
            .unwrap_or_else(|_| Err(late("the reply did not begin in time")))?;
        Ok(TimedStream {
            stream: Some(stream),
            between_events: self.config.between_events,
            ends_at,
            due: Box::pin(sleep_until(first_by)),
        }
        .boxed())
    }

    fn rate_limits(&self) -> Option<RateLimits> {
        self.provider.rate_limits()
    }

    fn batches(&self) -> Option<&dyn AiBatches> {
        self.provider.batches()
    }

    async fn close(&self) {
        self.provider.close().await;
    }
}

impl<P: fmt::Debug> fmt::Debug for Deadline<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadline")
            .field("provider", &self.provider)
            .field("config", &self.config)
            .finish()
    }
}

impl<P: fmt::Display> fmt::Display for Deadline<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.provider.fmt(f)
    }
}

struct TimedStream {
    stream: Option<AiStream>,
    between_events: Duration,
    ends_at: Instant,
    /// When the next event is due.
    due: Pin<Box<Sleep>>,
}

impl TimedStream {
    fn give_up(&mut self, what: &'static str) -> Poll<Option<Result<AiEvent, AiFailure>>> {
        self.stream = None;
        Poll::Ready(Some(Err(late(what))))
    }
}

impl Stream for TimedStream {
    type Item = Result<AiEvent, AiFailure>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(None);
        };
        match stream.poll_next_unpin(context) {
            Poll::Ready(Some(Ok(AiEvent::Delta(delta)))) => {
                let now = Instant::now();
                if now >= this.ends_at {
                    return this.give_up("the reply took longer than it may");
                }
                let due = after(now, this.between_events).min(this.ends_at);
                this.due.as_mut().reset(due);
                Poll::Ready(Some(Ok(AiEvent::Delta(delta))))
            }
            Poll::Ready(last) => {
                this.stream = None;
                Poll::Ready(Some(last.unwrap_or_else(|| Err(broke_off()))))
            }
            Poll::Pending if this.due.as_mut().poll(context).is_pending() => Poll::Pending,
            Poll::Pending if Instant::now() >= this.ends_at => {
                this.give_up("the reply took longer than it may")
            }
            Poll::Pending => this.give_up("no word of the reply came in time"),
        }
    }
}

fn late(what: &'static str) -> AiFailure {
    AiFailure::unknown(Error::new(ErrorKind::Timeout, ASK, what))
}
