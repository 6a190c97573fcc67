use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::StreamExt;
use tokio::sync::{Semaphore, watch};
use xxhash_rust::xxh3::Xxh3;

use super::ScriptedBatches;
use super::sample::sample_model;
use crate::ai::{
    AiBatches, AiCapability, AiEvent, AiFailure, AiProvider, AiRequest, AiStream, Billed, ModelId,
    Prompt, ReplyEnd, StopReason,
};
use crate::spend::{MicroDollars, Price, TokenUsage};
use crate::{Error, ErrorKind};

/// The most prompts that are remembered: enough for any test that looks at them, and little beside
/// what a load test of millions of calls takes.
const PROMPTS_MAX: usize = 1_024;

/// The length of the deltas of a default reply, in bytes: some words, as real providers send.
const DEFAULT_DELTA_BYTES: usize = 24;

/// An AI provider that follows a script, without a network.
///
/// Each call takes the oldest [`Script`] that was pushed. Without one it gets a default reply, which
/// depends on the prompt alone: equal prompts get equal texts. Cloning it gives another handle on
/// the same script and counts.
#[derive(Clone)]
pub struct ScriptedProvider {
    model: ModelId,
    price: Price,
    capability: AiCapability,
    batches: Option<ScriptedBatches>,
    played: Arc<Played>,
}

/// What all handles share.
struct Played {
    scripts: Mutex<VecDeque<Script>>,
    prompts: Mutex<VecDeque<Prompt>>,
    calls: watch::Sender<u64>,
    streams_open: watch::Sender<u64>,
}

impl ScriptedProvider {
    /// Makes a provider of the model `sample-model-1`, at one dollar per million tokens read and
    /// five per million written.
    #[must_use]
    pub fn new() -> Self {
        let price = Price {
            input: MicroDollars::new(1_000_000),
            cache_read: MicroDollars::new(100_000),
            cache_write: MicroDollars::new(1_250_000),
            output: MicroDollars::new(5_000_000),
        };
        let played = Arc::new(Played {
            scripts: Mutex::default(),
            prompts: Mutex::default(),
            calls: watch::Sender::new(0),
            streams_open: watch::Sender::new(0),
        });
        Self {
            model: sample_model(),
            price,
            capability: AiCapability::LIVE,
            batches: None,
            played,
        }
    }

    /// Says another model. Default: `sample-model-1`.
    #[must_use]
    pub fn with_model(mut self, model: ModelId) -> Self {
        self.model = model;
        self
    }

    /// Says another price. Default: see [`Self::new`].
    #[must_use]
    pub fn with_price(mut self, price: Price) -> Self {
        self.price = price;
        self
    }

    /// Says another capability. Default: [`AiCapability::LIVE`].
    #[must_use]
    pub fn with_capability(mut self, capability: AiCapability) -> Self {
        self.capability = capability;
        self
    }

    /// Has batches too. Default: none.
    #[must_use]
    pub fn with_batches(mut self, batches: ScriptedBatches) -> Self {
        self.batches = Some(batches);
        self
    }

    /// Queues what a call will get, after all that is queued already.
    pub fn push(&self, script: Script) {
        lock(&self.played.scripts).push_back(script);
    }

    /// How many calls there were.
    #[must_use]
    pub fn calls(&self) -> u64 {
        *self.played.calls.borrow()
    }

    /// Waits until there were at least this many calls.
    pub async fn called(&self, calls: u64) {
        reached(&self.played.calls, |seen| seen >= calls).await;
    }

    /// Waits until every stream was read to its end or dropped.
    pub async fn streams_closed(&self) {
        reached(&self.played.streams_open, |open| open == 0).await;
    }

    /// The prompts of the last calls, oldest first, at most 1,024.
    #[must_use]
    pub fn prompts(&self) -> Vec<Prompt> {
        lock(&self.played.prompts).iter().cloned().collect()
    }
}

async fn reached(count: &watch::Sender<u64>, is_reached: impl Fn(u64) -> bool + Send + Sync) {
    // The sender lives as long as this provider, so waiting cannot fail.
    let _ = count.subscribe().wait_for(|seen| is_reached(*seen)).await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only whole values are pushed and popped, so the data is whole even after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for ScriptedProvider {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ScriptedProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedProvider")
            .field("model", &self.model)
            .field("calls", &self.calls())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ScriptedProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScriptedProvider({})", self.model)
    }
}

#[async_trait]
impl AiProvider for ScriptedProvider {
    fn model(&self) -> &ModelId {
        &self.model
    }

    fn price(&self) -> Price {
        self.price
    }

    fn capability(&self) -> AiCapability {
        self.capability
    }

    fn batches(&self) -> Option<&dyn AiBatches> {
        self.batches.as_ref().map(|batches| batches as _)
    }

    async fn stream(&self, AiRequest { prompt, .. }: AiRequest) -> Result<AiStream, AiFailure> {
        let script = lock(&self.played.scripts).pop_front();
        let script = script.unwrap_or_else(|| Script::default_reply(&prompt));
        {
            let mut prompts = lock(&self.played.prompts);
            if prompts.len() == PROMPTS_MAX {
                prompts.pop_front();
            }
            prompts.push_back(prompt);
        }
        self.played.calls.send_modify(|calls| *calls += 1);
        match script.opening {
            Opening::Fails(kind, billed) => Err(failure(kind, billed)),
            Opening::Hangs => std::future::pending().await,
            Opening::Streams => Ok(script.stream(self.clone(), OpenStream::new(&self.played))),
        }
    }
}

/// Counts a stream as open until it is dropped.
struct OpenStream(Arc<Played>);

impl OpenStream {
    fn new(played: &Arc<Played>) -> Self {
        played.streams_open.send_modify(|open| *open += 1);
        Self(Arc::clone(played))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams_open.send_modify(|open| *open -= 1);
    }
}

/// What one call gets.
///
/// ```
/// use medcards_core::ErrorKind;
/// use medcards_core::ai::Billed;
/// use medcards_core::testing::{Gate, Script};
///
/// let gate = Gate::new();
/// let slow = Script::deltas(["It is ", "the potassium."]).gated(&gate);
/// let broken = Script::deltas(["It is "]).then_fails(ErrorKind::Unavailable, Billed::Unknown);
/// let refused = Script::fails(ErrorKind::RateLimited, Billed::Nothing);
/// ```
#[derive(Clone, Debug)]
#[must_use = "push it onto a ScriptedProvider"]
pub struct Script {
    opening: Opening,
    deltas: Vec<String>,
    ending: Ending,
    gate: Option<Gate>,
}

#[derive(Clone, Debug)]
enum Opening {
    Fails(ErrorKind, Billed),
    Hangs,
    Streams,
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    BreaksOff,
    Ends {
        stop: StopReason,
        usage: Option<TokenUsage>,
    },
    Fails(ErrorKind, Billed),
    Hangs,
}

impl Script {
    /// Streams these deltas, then a complete end with a usage of one output token per four bytes.
    pub fn deltas(deltas: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            opening: Opening::Streams,
            deltas: deltas.into_iter().map(Into::into).collect(),
            ending: Ending::Ends {
                stop: StopReason::Complete,
                usage: None,
            },
            gate: None,
        }
    }

    /// Fails before the first event.
    pub fn fails(kind: ErrorKind, billed: Billed) -> Self {
        Self {
            opening: Opening::Fails(kind, billed),
            ..Self::deltas([""; 0])
        }
    }

    /// Never answers at all.
    pub fn hangs() -> Self {
        Self {
            opening: Opening::Hangs,
            ..Self::deltas([""; 0])
        }
    }

    /// Fails after the deltas, instead of an end.
    pub fn then_fails(self, kind: ErrorKind, billed: Billed) -> Self {
        Self {
            ending: Ending::Fails(kind, billed),
            ..self
        }
    }

    /// Says nothing more after the deltas, and stays open.
    pub fn then_hangs(self) -> Self {
        Self {
            ending: Ending::Hangs,
            ..self
        }
    }

    /// Closes the stream after the deltas without an end, as no provider should.
    pub fn then_breaks_off(self) -> Self {
        Self {
            ending: Ending::BreaksOff,
            ..self
        }
    }

    /// Ends for this reason at this usage.
    pub fn then_ends(self, stop: StopReason, usage: TokenUsage) -> Self {
        Self {
            ending: Ending::Ends {
                stop,
                usage: Some(usage),
            },
            ..self
        }
    }

    /// Waits at the gate before each delta and before the end.
    pub fn gated(self, gate: &Gate) -> Self {
        Self {
            gate: Some(gate.clone()),
            ..self
        }
    }

    fn default_reply(prompt: &Prompt) -> Self {
        let mut hash = Xxh3::new();
        hash.update(prompt.instructions.as_bytes());
        prompt
            .parts
            .iter()
            .for_each(|part| hash.update(part.text().as_bytes()));
        let text = format!(
            "Scripted feedback {:016x}. It depends on the prompt alone, so that equal prompts get \
             equal words. Compare the choice with the history once more, name the finding that \
             speaks against it, and say what would be expected instead.",
            hash.digest()
        );
        let usage = TokenUsage {
            input: prompt.len_bytes() as u64 / 4,
            output: text.len() as u64 / 4,
            ..TokenUsage::default()
        };
        let deltas = text
            .as_bytes()
            .chunks(DEFAULT_DELTA_BYTES)
            .map(String::from_utf8_lossy);
        Self::deltas(deltas).then_ends(StopReason::Complete, usage)
    }

    fn stream(self, provider: ScriptedProvider, open: OpenStream) -> AiStream {
        let bytes: usize = self.deltas.iter().map(String::len).sum();
        let ending = self.ending;
        let last = futures_util::stream::once(async move {
            match ending {
                Ending::BreaksOff => None,
                Ending::Ends { stop, usage } => {
                    let output = bytes as u64 / 4;
                    let usage = usage.unwrap_or(TokenUsage {
                        output,
                        ..TokenUsage::default()
                    });
                    Some(Ok(AiEvent::End(ReplyEnd {
                        stop,
                        usage,
                        cost: provider.price.cost(usage),
                        model: provider.model,
                    })))
                }
                Ending::Fails(kind, billed) => Some(Err(failure(kind, billed))),
                Ending::Hangs => std::future::pending().await,
            }
        });
        let deltas = self
            .deltas
            .into_iter()
            .map(|delta| Some(Ok(AiEvent::Delta(delta))));
        let gate = self.gate;
        futures_util::stream::iter(deltas)
            .chain(last)
            .then(move |event| {
                let gate = gate.clone();
                let _counted_while_open = &open;
                async move {
                    if let Some(gate) = gate {
                        gate.pass().await;
                    }
                    event
                }
            })
            .filter_map(std::future::ready)
            .boxed()
    }
}

fn failure(kind: ErrorKind, billed: Billed) -> AiFailure {
    AiFailure {
        error: Error::new(kind, "ask scripted model", "its script fails here"),
        billed,
        refusal: None,
    }
}

/// Lets a test decide when scripted events arrive. It begins closed.
#[derive(Clone, Debug)]
pub struct Gate {
    permits: Arc<Semaphore>,
}

impl Gate {
    /// Makes a closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(0)),
        }
    }

    /// Lets this many events through, now or when they come.
    pub fn admit(&self, events: usize) {
        self.permits.add_permits(events);
    }

    /// Lets everything through from now on.
    pub fn open(&self) {
        self.permits.close();
    }

    async fn pass(&self) {
        // A closed semaphore is an open gate.
        if let Ok(permit) = self.permits.acquire().await {
            permit.forget();
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
