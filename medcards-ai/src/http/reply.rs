use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use medcards_core::ai::{AiEvent, AiFailure, AiStream, Billed, ModelId, ReplyEnd, StopReason};
use medcards_core::spend::{Price, TokenUsage};
use medcards_core::{Error, ErrorKind, Result};
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use sse_stream::Sse;

use super::body::{self, Reading};
use super::{ASK, Timeouts};

/// The tokens that a provider adds to a prompt of its own, as the worst case of a price allows.
const TOKENS_ADDED: u64 = 1_024;

/// Reads the replies of one kind of server. Plain data: it is given events and says what they mean.
pub(crate) trait Decode: Send + 'static {
    /// Takes the next event of a stream.
    fn event(&mut self, name: Option<&str>, data: &str) -> Result<Step, AiFailure>;

    /// Reads a reply that came in one piece.
    fn whole(&mut self, body: &[u8]) -> Result<WholeReply, AiFailure>;

    /// The end, if the reply is whole although the stream closes without the event that ends it.
    fn closed(&self) -> Option<(StopReason, TokenUsage)> {
        None
    }

    /// What the reply is billed at if it breaks off here.
    fn billed(&self) -> Billed;
}

/// What an event of a stream means.
#[derive(Debug)]
pub(crate) enum Step {
    /// More text, perhaps empty.
    Delta(String),
    /// The reply is complete.
    End { stop: StopReason, usage: TokenUsage },
    /// Nothing that matters.
    Nothing,
}

/// A reply that came in one piece.
#[derive(Debug)]
pub(crate) struct WholeReply {
    pub(crate) text: String,
    pub(crate) stop: StopReason,
    pub(crate) usage: TokenUsage,
}

/// Who answers, and at what price.
#[derive(Clone, Debug)]
pub(crate) struct Bill {
    model: ModelId,
    price: Price,
}

impl Bill {
    pub(crate) fn new(model: &ModelId, price: Price) -> Self {
        let model = model.clone();
        Self { model, price }
    }

    pub(crate) fn reply_end(&self, stop: StopReason, usage: TokenUsage) -> ReplyEnd {
        ReplyEnd {
            stop,
            usage,
            model: self.model.clone(),
            cost: self.price.cost(usage),
        }
    }

    fn end(&self, stop: StopReason, usage: TokenUsage) -> AiEvent {
        AiEvent::End(self.reply_end(stop, usage))
    }
}

/// Reads a reply of status 200 in the form it came in: events, or one JSON document.
///
/// A server may answer a request for a stream with a document; that is a reply all the same.
pub(crate) async fn read_reply(
    response: Response,
    timeouts: Timeouts,
    mut decoder: impl Decode,
    bill: Bill,
) -> Result<AiStream, AiFailure> {
    let form = Form::of(&response)?;
    let reading = Reading::reply(timeouts.between_bytes);
    match form {
        Form::Events => {
            let events = body::events(body::pieces(response, reading));
            Ok(stream_of(events, decoder, bill))
        }
        Form::Document => {
            let body = body::whole(response, reading)
                .await
                .map_err(AiFailure::unknown)?;
            Ok(stream_of_whole(decoder.whole(&body)?, &bill))
        }
    }
}

/// The most tokens that a call can have had, for servers that do not tell: one for each byte.
pub(crate) fn usage_bound(prompt_bytes: usize, reply_bytes: usize) -> TokenUsage {
    let tokens = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    TokenUsage {
        input: tokens(prompt_bytes).saturating_add(TOKENS_ADDED),
        output: tokens(reply_bytes),
        ..TokenUsage::default()
    }
}

enum Form {
    Document,
    Events,
}

impl Form {
    fn of(response: &Response) -> Result<Self, AiFailure> {
        let given = response
            .headers()
            .get(CONTENT_TYPE)
            .map(|value| value.to_str().unwrap_or(""));
        let media_type = given
            .unwrap_or("text/event-stream")
            .split(';')
            .next()
            .unwrap_or("")
            .trim();
        if media_type.eq_ignore_ascii_case("text/event-stream") {
            return Ok(Self::Events);
        }
        if media_type.eq_ignore_ascii_case("application/json") {
            return Ok(Self::Document);
        }
        Err(AiFailure::unknown(Error::new(
            ErrorKind::Corrupt,
            ASK,
            "the reply is neither JSON nor a stream of events; check the base url",
        )))
    }
}

fn stream_of_whole(reply: WholeReply, bill: &Bill) -> AiStream {
    let delta = (!reply.text.is_empty()).then_some(AiEvent::Delta(reply.text));
    let end = bill.end(reply.stop, reply.usage);
    stream::iter(delta.into_iter().chain([end]).map(Ok)).boxed()
}

fn stream_of(
    events: BoxStream<'static, Result<Sse>>,
    decoder: impl Decode,
    bill: Bill,
) -> AiStream {
    stream::unfold(Some((events, decoder, bill)), async |state| {
        let (mut events, mut decoder, bill) = state?;
        let event = next_event(&mut events, &mut decoder, &bill).await;
        let more = matches!(event, Ok(AiEvent::Delta(_)));
        Some((event, more.then_some((events, decoder, bill))))
    })
    .boxed()
}

async fn next_event(
    events: &mut BoxStream<'static, Result<Sse>>,
    decoder: &mut impl Decode,
    bill: &Bill,
) -> Result<AiEvent, AiFailure> {
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| AiFailure {
            error,
            billed: decoder.billed(),
            refusal: None,
        })?;
        let Some(data) = event.data else { continue };
        match decoder.event(event.event.as_deref(), &data)? {
            Step::Delta(text) if text.is_empty() => {}
            Step::Delta(text) => return Ok(AiEvent::Delta(text)),
            Step::End { stop, usage } => return Ok(bill.end(stop, usage)),
            Step::Nothing => {}
        }
    }
    if let Some((stop, usage)) = decoder.closed() {
        return Ok(bill.end(stop, usage));
    }
    let error = Error::new(
        ErrorKind::Unavailable,
        ASK,
        "the reply was cut before its end",
    );
    Err(AiFailure {
        error,
        billed: decoder.billed(),
        refusal: None,
    })
}
