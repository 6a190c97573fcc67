use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use medcards::ai::{
    AiCapability, AiEvent, AiFailure, AiProvider, AiRequest, AiStream, ModelId, Prompt, ReplyEnd,
    StopReason,
};
use medcards::spend::{MicroDollars, Price, TokenUsage};
use xxhash_rust::xxh3::Xxh3;

use crate::clock::LogClock;

/// How many bytes of English and French make a token, which is what providers give as a rule.
const BYTES_PER_TOKEN: usize = 4;

/// The tokens of a reply: what the 120 to 180 words come to that the prompt asks for.
const REPLY_TOKENS: std::ops::RangeInclusive<u64> = 150..=220;

const SENTENCES: [&str; 5] = [
    "It is tempting because the complaint fits it at first sight.",
    "What speaks against it is how slowly everything began, and that the pulse stayed regular.",
    "The finding that decides is the one that no other disease of this list would explain.",
    "Look again at the order in which things happened and at what was measured on admission.",
    "For the next patient: ask first what has changed, and only then what is there.",
];

/// A model that stands in for a real one: at its price, with as many tokens, and with words that
/// depend on the prompt alone.
pub(crate) struct ReplayModel {
    model: ModelId,
    price: Price,
    latency: Duration,
    seed: u64,
    clock: Arc<LogClock>,
    calls: Mutex<Calls>,
}

/// What a provider would write on its bill.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    /// How many calls.
    pub(crate) count: u64,
    /// What they cost.
    pub(crate) cost: MicroDollars,
    /// The shortest time of the log between two calls with the same prompt.
    pub(crate) shortest_gap_ms: Option<i64>,
    last_ms: HashMap<u128, i64>,
}

impl ReplayModel {
    pub(crate) fn new(
        model: ModelId,
        price: Price,
        latency: Duration,
        seed: u64,
        clock: Arc<LogClock>,
    ) -> Self {
        Self {
            model,
            price,
            latency,
            seed,
            clock,
            calls: Mutex::default(),
        }
    }

    /// What a call with this prompt costs.
    pub(crate) fn cost(&self, prompt: &Prompt) -> MicroDollars {
        self.price.cost(self.usage(prompt))
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Calls {
        self.lock().clone()
    }

    /// What the calls so far cost.
    pub(crate) fn spent(&self) -> MicroDollars {
        self.lock().cost
    }

    fn usage(&self, prompt: &Prompt) -> TokenUsage {
        let replies = REPLY_TOKENS.end() - REPLY_TOKENS.start() + 1;
        TokenUsage {
            input: (prompt.len_bytes() / BYTES_PER_TOKEN) as u64,
            output: REPLY_TOKENS.start() + (self.digest(prompt) as u64) % replies,
            ..TokenUsage::default()
        }
    }

    fn digest(&self, prompt: &Prompt) -> u128 {
        let mut hash = Xxh3::with_seed(self.seed);
        hash.update(prompt.instructions.as_bytes());
        prompt
            .parts
            .iter()
            .for_each(|part| hash.update(part.text().as_bytes()));
        hash.digest128()
    }

    fn book(&self, prompt: &Prompt) {
        let now_ms = self.clock.now_ms();
        let mut calls = self.lock();
        calls.count += 1;
        calls.cost += self.cost(prompt);
        if let Some(last_ms) = calls.last_ms.insert(self.digest(prompt), now_ms) {
            let gap = now_ms - last_ms;
            calls.shortest_gap_ms = Some(calls.shortest_gap_ms.map_or(gap, |least| least.min(gap)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The options of a prompt that have a mark.
fn marked(prompt: &Prompt, mark: &str) -> String {
    let lines = prompt.parts.iter().flat_map(|part| part.text().lines());
    let options = lines.filter(|line| line.starts_with("- [") && line.contains(mark));
    let texts = options.filter_map(|line| line.rsplit("] ").next());
    texts
        .map(|text| format!("“{text}”"))
        .collect::<Vec<_>>()
        .join(" and ")
}

impl fmt::Debug for ReplayModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayModel")
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ReplayModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplayModel({})", self.model)
    }
}

#[async_trait]
impl AiProvider for ReplayModel {
    fn model(&self) -> &ModelId {
        &self.model
    }

    fn price(&self) -> Price {
        self.price
    }

    fn capability(&self) -> AiCapability {
        AiCapability::LIVE
    }

    async fn stream(&self, AiRequest { prompt, .. }: AiRequest) -> Result<AiStream, AiFailure> {
        self.book(&prompt);
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        let usage = self.usage(&prompt);
        let length = usage.output as usize * BYTES_PER_TOKEN;
        let first = self.digest(&prompt) as usize % SENTENCES.len();
        // What the check of the template looks for: paragraphs, and the options by their texts.
        let head = format!(
            "You chose {}.\n\nWhat is right is {}.\n\n",
            marked(&prompt, "[chosen] "),
            marked(&prompt, "[right] ")
        );
        let sentences = SENTENCES.iter().cycle().skip(first);
        let sentences = sentences.map(|sentence| format!("{sentence} "));
        let deltas = [head].into_iter().chain(sentences);
        let deltas = deltas.scan(0, move |written, text| {
            (*written < length).then(|| {
                *written += text.len();
                Ok(AiEvent::Delta(text))
            })
        });
        let end = Ok(AiEvent::End(ReplyEnd {
            stop: StopReason::Complete,
            usage,
            model: self.model.clone(),
            cost: self.price.cost(usage),
        }));
        Ok(futures_util::stream::iter(deltas.chain([end])).boxed())
    }
}
