use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Stream, StreamExt};
use medcards_core::ai::{AiEvent, AiFailure, AiProvider, AiRequest, AiStream, Billed};
use medcards_core::spend::{MicroDollars, Price};
use medcards_core::{Error, ErrorKind};

use crate::http::ASK;

/// An event of a reply.
pub(super) type Event = Result<AiEvent, AiFailure>;

/// Sees each event of a reply before the caller does, and may change it.
///
/// It is dropped with the stream, which is how it learns that the caller has gone.
pub(super) trait Watch: Send + Unpin + 'static {
    fn see(&mut self, event: &mut Event);
}

/// A reply that is watched until it ends. One that breaks off without an end fails.
pub(super) struct Watched<W> {
    stream: Option<AiStream>,
    watch: W,
}

impl<W: Watch> Watched<W> {
    pub(super) fn stream(stream: AiStream, watch: W) -> AiStream {
        let stream = Some(stream);
        Self { stream, watch }.boxed()
    }
}

impl<W: Watch> Stream for Watched<W> {
    type Item = Result<AiEvent, AiFailure>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { stream, watch } = self.get_mut();
        let Some(reply) = stream else {
            return Poll::Ready(None);
        };
        let event = ready!(reply.poll_next_unpin(context));
        let mut event = event.unwrap_or_else(|| Err(broke_off()));
        if !matches!(event, Ok(AiEvent::Delta(_))) {
            *stream = None;
        }
        watch.see(&mut event);
        Poll::Ready(Some(event))
    }
}

/// Asks, and waits for the first event: a failure that comes as one is a failure of the call.
///
/// # Cancel safety
/// Dropping the future drops the call.
pub(super) async fn ask_until_first_event(
    provider: &dyn AiProvider,
    request: AiRequest,
) -> Result<AiStream, AiFailure> {
    let mut stream = provider.stream(request).await?;
    match stream.next().await {
        Some(Ok(event)) => {
            let first = futures_util::stream::iter([Ok(event)]);
            Ok(first.chain(stream).boxed())
        }
        Some(Err(failure)) => Err(failure),
        None => Err(broke_off()),
    }
}

/// The failure that a stream without an end is.
pub(super) fn broke_off() -> AiFailure {
    AiFailure::unknown(Error::new(
        ErrorKind::Corrupt,
        ASK,
        "the reply broke off without an end",
    ))
}

/// What a call of one provider costs if it fails.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tariff {
    price: Price,
    prompt_bytes: usize,
    output_tokens_max: u32,
}

impl Tariff {
    pub(super) fn of(provider: &dyn AiProvider, request: &AiRequest) -> Self {
        Self {
            price: provider.price(),
            prompt_bytes: request.prompt.len_bytes(),
            output_tokens_max: request.prompt.output_tokens_max,
        }
    }

    pub(super) fn cost(&self, billed: Billed) -> MicroDollars {
        match billed {
            Billed::Booked(cost) => cost,
            Billed::Nothing => MicroDollars::ZERO,
            Billed::Tokens(usage) => self.price.cost(usage),
            Billed::Unknown => self
                .price
                .worst_case(self.prompt_bytes, self.output_tokens_max),
        }
    }
}

/// What attempts before this one cost, which its end or its failure is to tell.
#[derive(Debug)]
pub(super) struct Spent {
    pub(super) tariff: Tariff,
    pub(super) before: MicroDollars,
}

impl Spent {
    pub(super) fn add_to(&self, event: &mut Event) {
        if self.before == MicroDollars::ZERO {
            return;
        }
        match event {
            Ok(AiEvent::End(end)) => end.cost += self.before,
            Ok(_) => {}
            Err(failure) => {
                let cost = self.before + self.tariff.cost(failure.billed);
                failure.billed = Billed::Booked(cost);
            }
        }
    }
}
