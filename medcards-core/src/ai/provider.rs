use std::fmt::{Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::{AiBatches, AiRequest, ModelId, RateLimits};
use crate::spend::{MicroDollars, Price, TokenUsage};
use crate::{Error, ErrorKind};

/// The events of one reply. After an error or [`AiEvent::End`] it ends.
pub type AiStream = BoxStream<'static, Result<AiEvent, AiFailure>>;

/// Asks a model.
///
/// A layer wraps a provider and is one. It passes everything on that is not its own business: each
/// method below says what it does by default, which is not right for a layer.
#[async_trait]
pub trait AiProvider: Debug + Display + Send + Sync + 'static {
    /// The model that answers; part of every feedback key.
    fn model(&self) -> &ModelId;

    /// What the model costs. Costs are computed from it, never taken from a reply.
    fn price(&self) -> Price;

    /// What this provider can do.
    fn capability(&self) -> AiCapability;

    /// Sends a prompt and streams the reply: deltas, then exactly one end or one failure.
    ///
    /// Only the prompt leaves the process; the rest of the request is for layers. No delta is empty.
    /// A reply always reports what it is billed at: in its end, or in its failure as far as the
    /// provider said. A stream that breaks off without an end is a failure.
    ///
    /// # Errors
    /// A failure before the first event, with what it is billed at. It never carries the prompt,
    /// the reply or the key of the provider.
    ///
    /// # Cancel safety
    /// Dropping the future or the stream closes the connection; the provider may bill what it did.
    async fn stream(&self, request: AiRequest) -> Result<AiStream, AiFailure>;

    /// What the provider last said of how much it may still be asked. Default: nothing.
    fn rate_limits(&self) -> Option<RateLimits> {
        None
    }

    /// The same model at the price of batches, if the provider has them. Default: it has none.
    fn batches(&self) -> Option<&dyn AiBatches> {
        None
    }

    /// Waits until all that was billed is booked. Default: there is nothing to book.
    ///
    /// # Cancel safety
    /// Dropping the future stops nothing.
    async fn close(&self) {}
}

/// What a provider can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AiCapability {
    /// It only repeats what the author wrote, at no cost. The resolver does not count such a
    /// provider as live: the authored explanation is its own last tier.
    pub authored_only: bool,
    /// It, or a layer within it, keeps the spend budget: see [`Budgeted`](super::Budgeted).
    pub keeps_budget: bool,
}

impl AiCapability {
    /// A provider that asks a model.
    pub const LIVE: Self = Self {
        authored_only: false,
        keeps_budget: false,
    };

    /// A provider that repeats what the author wrote.
    pub const AUTHORED_ONLY: Self = Self {
        authored_only: true,
        keeps_budget: false,
    };

    /// The same for a provider that keeps the spend budget.
    #[must_use]
    pub const fn keeping_budget(self) -> Self {
        Self {
            keeps_budget: true,
            ..self
        }
    }
}

/// A part of a reply.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AiEvent {
    /// More text.
    Delta(String),
    /// The end of the reply.
    End(ReplyEnd),
}

impl Debug for AiEvent {
    /// Says nothing of the text: a reply may repeat a student's words.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Delta(text) => write!(f, "Delta({} bytes)", text.len()),
            Self::End(end) => f.debug_tuple("End").field(end).finish(),
        }
    }
}

/// How a reply ended, and what it is billed at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every provider")]
pub struct ReplyEnd {
    /// Why the model stopped.
    pub stop: StopReason,
    /// The tokens of the call.
    pub usage: TokenUsage,
    /// The model that answered: of several behind one provider, which.
    pub model: ModelId,
    /// What the call cost, with those before it that failed and are part of this one.
    pub cost: MicroDollars,
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// It said all it had to say.
    Complete,
    /// It reached the most tokens allowed, of the reply or of its context.
    MaxTokens,
    /// It, or a filter of the provider, declined.
    Refusal,
    /// Another reason, which no complete reply has.
    Unknown,
}

/// A call that failed, and what it is billed at.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "made by every provider")]
pub struct AiFailure {
    /// What happened.
    pub error: Error,
    /// What the provider bills for it.
    pub billed: Billed,
    /// Why no provider was asked at all, if none was.
    pub refusal: Option<Refusal>,
}

/// Why a layer refused a call before any provider was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The breaker of the model is open: it failed too often a moment ago.
    BreakerOpen,
    /// As many calls as allowed are under way, and none ended in time.
    Busy,
    /// The ledger of the spend budget is away.
    LedgerAway,
    /// The provider would say no: its rate limit is used up.
    RateLimited,
    /// The spend budget does not allow it.
    SpendBudgetExhausted,
}

impl AiFailure {
    /// A failure that costs nothing: the provider refused the call, or was never reached.
    #[must_use]
    pub const fn free(error: Error) -> Self {
        Self {
            error,
            billed: Billed::Nothing,
            refusal: None,
        }
    }

    /// A call that a layer refused: no provider was asked.
    #[must_use]
    pub const fn refused(refusal: Refusal, error: Error) -> Self {
        Self {
            error,
            billed: Billed::Nothing,
            refusal: Some(refusal),
        }
    }

    /// A failure that may cost anything up to the worst case.
    #[must_use]
    pub const fn unknown(error: Error) -> Self {
        Self {
            error,
            billed: Billed::Unknown,
            refusal: None,
        }
    }
}

impl Display for AiFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Display::fmt(&self.error, f)
    }
}

impl std::error::Error for AiFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// What a provider bills for a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "nothing, something known, or something unknown"
)]
pub enum Billed {
    /// This much, which is booked already.
    Booked(MicroDollars),
    /// Nothing: it refused the call.
    Nothing,
    /// At least these tokens.
    Tokens(TokenUsage),
    /// It did not say: the worst case counts.
    Unknown,
}

/// A whole reply.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what a stream adds up to")]
pub struct Reply {
    /// All deltas, joined.
    pub text: String,
    /// Why the model stopped.
    pub stop: StopReason,
    /// The tokens of the call.
    pub usage: TokenUsage,
    /// The model that answered.
    pub model: ModelId,
    /// What it cost.
    pub cost: MicroDollars,
}

impl Debug for Reply {
    /// Says nothing of the text.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply")
            .field("text", &format_args!("{} bytes", self.text.len()))
            .field("stop", &self.stop)
            .field("usage", &self.usage)
            .field("model", &self.model)
            .field("cost", &self.cost)
            .finish()
    }
}

impl Reply {
    /// The whole that deltas and an end add up to.
    #[must_use]
    pub fn new(text: String, end: ReplyEnd) -> Self {
        let ReplyEnd {
            stop,
            usage,
            model,
            cost,
        } = end;
        Self {
            text,
            stop,
            usage,
            model,
            cost,
        }
    }
}

/// Reads a stream to its end.
///
/// # Errors
/// The failure of the stream; [`ErrorKind::Corrupt`] if it breaks off without an end.
///
/// # Cancel safety
/// Dropping the future drops the stream, with the text so far.
pub async fn collect_reply(mut stream: AiStream) -> Result<Reply, AiFailure> {
    let mut text = String::new();
    while let Some(event) = stream.next().await {
        match event? {
            AiEvent::Delta(delta) => text.push_str(&delta),
            AiEvent::End(end) => return Ok(Reply::new(text, end)),
        }
    }
    Err(AiFailure::unknown(Error::new(
        ErrorKind::Corrupt,
        "read reply",
        "the stream broke off without an end",
    )))
}

#[async_trait]
impl<T: AiProvider + ?Sized> AiProvider for Arc<T> {
    fn model(&self) -> &ModelId {
        (**self).model()
    }

    fn price(&self) -> Price {
        (**self).price()
    }

    fn capability(&self) -> AiCapability {
        (**self).capability()
    }

    async fn stream(&self, request: AiRequest) -> Result<AiStream, AiFailure> {
        (**self).stream(request).await
    }

    fn rate_limits(&self) -> Option<RateLimits> {
        (**self).rate_limits()
    }

    fn batches(&self) -> Option<&dyn AiBatches> {
        (**self).batches()
    }

    async fn close(&self) {
        (**self).close().await;
    }
}
