use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use medcards::ai::{
    AiBatches, AiCapability, AiEvent, AiFailure, AiProvider, AiRequest, AiStream, BatchInfo,
    BatchItem, BatchResult, BatchResults, ModelId, Prompt, Reply, ReplyEnd, StopReason,
};
use medcards::spend::{MicroDollars, Price, TokenUsage};
use medcards::{Error, ErrorKind, Result, Timestamp};
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
    batch_ms: i64,
    seed: u64,
    clock: Arc<LogClock>,
    calls: Mutex<Calls>,
    batches: Mutex<Vec<Made>>,
}

/// A batch that was handed in.
struct Made {
    at_ms: i64,
    items: Vec<BatchItem>,
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
            batch_ms: 0,
            seed,
            clock,
            calls: Mutex::default(),
            batches: Mutex::default(),
        }
    }

    /// Says how long a batch takes, in the time of the log.
    pub(crate) fn with_batch_time(mut self, time: Duration) -> Self {
        self.batch_ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self
    }

    /// What all batches so far cost.
    pub(crate) fn spent_in_batches(&self) -> MicroDollars {
        let price = self.price.in_batch();
        let batches = self.batches();
        let items = batches.iter().flat_map(|made| &made.items);
        items.map(|item| price.cost(self.usage(&item.prompt))).sum()
    }

    fn batches(&self) -> MutexGuard<'_, Vec<Made>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn info(&self, place: usize, made: &Made) -> BatchInfo {
        let has_ended = self.clock.now_ms() >= made.at_ms.saturating_add(self.batch_ms);
        let total = made.items.len() as u64;
        BatchInfo {
            batch: place.to_string(),
            has_ended,
            created_at: Timestamp::from_millisecond(made.at_ms).unwrap_or_default(),
            done: if has_ended { total } else { 0 },
            total,
        }
    }

    /// The parts of a reply, which depend on the prompt alone.
    fn words(&self, prompt: &Prompt) -> Vec<String> {
        let length = self.usage(prompt).output as usize * BYTES_PER_TOKEN;
        let first = self.digest(prompt) as usize % SENTENCES.len();
        // What the check of the template looks for: paragraphs, and the options by their texts.
        let head = format!(
            "You chose {}.\n\nWhat is right is {}.\n\n",
            marked(prompt, "[chosen] "),
            marked(prompt, "[right] ")
        );
        let sentences = SENTENCES.iter().cycle().skip(first);
        let sentences = sentences.map(|sentence| format!("{sentence} "));
        let words = [head].into_iter().chain(sentences);
        let words = words.scan(0, move |written, text| {
            (*written < length).then(|| {
                *written += text.len();
                text
            })
        });
        words.collect()
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

    fn batches(&self) -> Option<&dyn AiBatches> {
        Some(self)
    }

    async fn stream(&self, AiRequest { prompt, .. }: AiRequest) -> Result<AiStream, AiFailure> {
        self.book(&prompt);
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        let usage = self.usage(&prompt);
        let deltas = self.words(&prompt).into_iter();
        let deltas = deltas.map(|text| Ok(AiEvent::Delta(text)));
        let end = Ok(AiEvent::End(ReplyEnd {
            stop: StopReason::Complete,
            usage,
            model: self.model.clone(),
            cost: self.price.cost(usage),
        }));
        Ok(futures_util::stream::iter(deltas.chain([end])).boxed())
    }
}

#[async_trait]
impl AiBatches for ReplayModel {
    fn price(&self) -> Price {
        self.price.in_batch()
    }

    fn batch_len_max(&self) -> usize {
        100_000
    }

    async fn create_batch(&self, items: Vec<BatchItem>) -> Result<String> {
        let at_ms = self.clock.now_ms();
        let mut batches = self.batches();
        batches.push(Made { at_ms, items });
        Ok((batches.len() - 1).to_string())
    }

    async fn find_batch(&self, batch: &str) -> Result<BatchInfo> {
        let batches = self.batches();
        let place = batch.parse::<usize>().ok();
        let found = place.and_then(|place| Some((place, batches.get(place)?)));
        let (place, made) = found.ok_or_else(unknown)?;
        Ok(self.info(place, made))
    }

    async fn list_batches(&self, limit: usize) -> Result<Vec<BatchInfo>> {
        let batches = self.batches();
        let newest = batches.iter().enumerate().rev().take(limit);
        Ok(newest.map(|(place, made)| self.info(place, made)).collect())
    }

    async fn results(&self, batch: &str) -> Result<BatchResults> {
        let batches = self.batches();
        let made = batch.parse::<usize>().ok();
        let made = made.and_then(|place| batches.get(place));
        let made = made.ok_or_else(unknown)?;
        let results: Vec<_> = made
            .items
            .iter()
            .map(|BatchItem { name, prompt }| {
                let usage = self.usage(prompt);
                let reply = Reply {
                    text: self.words(prompt).concat(),
                    stop: StopReason::Complete,
                    usage,
                    model: self.model.clone(),
                    cost: self.price.in_batch().cost(usage),
                };
                Ok(BatchResult {
                    name: name.clone(),
                    reply: Ok(reply),
                })
            })
            .collect();
        Ok(futures_util::stream::iter(results).boxed())
    }

    async fn cancel_batch(&self, _batch: &str) -> Result<()> {
        let context = "a replay cancels no batch";
        Err(Error::new(ErrorKind::Invalid, "cancel batch", context))
    }
}

fn unknown() -> Error {
    Error::new(ErrorKind::NotFound, "find batch", "there is no such batch")
}
