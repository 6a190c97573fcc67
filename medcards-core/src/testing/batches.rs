use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::StreamExt;
use jiff::Timestamp;

use super::sample::sample_model;
use crate::ai::{
    AiBatches, AiFailure, BatchInfo, BatchItem, BatchResult, BatchResults, Reply, StopReason,
};
use crate::spend::{MicroDollars, Price, TokenUsage};
use crate::time::Clock;
use crate::{Error, ErrorKind, Result};

/// The most prompts of one scripted batch, as many as real providers take.
const BATCH_LEN_MAX: usize = 100_000;

type Answering = dyn Fn(&BatchItem) -> Result<Reply, AiFailure> + Send + Sync;

/// Batches of a model, without a network. Give them to
/// [`ScriptedProvider::with_batches`](super::ScriptedProvider::with_batches).
///
/// A batch is in progress until the test [ends](Self::end_all) it. Each item gets a reply that
/// depends on its prompt alone, or what [`with_answers`](Self::with_answers) says. Cloning gives
/// another handle on the same batches.
#[derive(Clone)]
pub struct ScriptedBatches {
    price: Price,
    clock: Arc<dyn Clock>,
    answering: Arc<Answering>,
    made: Arc<Mutex<Vec<Made>>>,
}

struct Made {
    created_at: Timestamp,
    items: Vec<BatchItem>,
    has_ended: bool,
    is_canceled: bool,
}

impl ScriptedBatches {
    /// Makes a provider's side of batches, at half a dollar per million tokens read and two and a
    /// half per million written, which is half of what [`ScriptedProvider`](super::ScriptedProvider)
    /// costs live.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let price = Price {
            input: MicroDollars::new(500_000),
            cache_read: MicroDollars::new(50_000),
            cache_write: MicroDollars::new(625_000),
            output: MicroDollars::new(2_500_000),
        };
        Self {
            price,
            clock,
            answering: Arc::new(|item| Ok(default_reply(item))),
            made: Arc::default(),
        }
    }

    /// Says what each item gets.
    #[must_use]
    pub fn with_answers(
        mut self,
        answering: impl Fn(&BatchItem) -> Result<Reply, AiFailure> + Send + Sync + 'static,
    ) -> Self {
        self.answering = Arc::new(answering);
        self
    }

    /// Ends all batches that are in progress.
    pub fn end_all(&self) {
        for made in self.made().iter_mut() {
            made.has_ended = true;
        }
    }

    /// How many batches were handed in.
    #[must_use]
    pub fn created(&self) -> usize {
        self.made().len()
    }

    /// The names of all items that were handed in and not cancelled, in their order.
    #[must_use]
    pub fn item_names(&self) -> Vec<String> {
        let made = self.made();
        let bought = made.iter().filter(|made| !made.is_canceled);
        let items = bought.flat_map(|made| &made.items);
        items.map(|item| item.name.clone()).collect()
    }

    /// What a bill would say: each reply of each batch that was not cancelled.
    #[must_use]
    pub fn billed(&self) -> MicroDollars {
        let made = self.made();
        let bought = made.iter().filter(|made| !made.is_canceled);
        let replies = bought.flat_map(|made| made.items.iter().map(|item| (self.answering)(item)));
        replies
            .flatten()
            .map(|reply| self.price.cost(reply.usage))
            .sum()
    }

    fn made(&self) -> MutexGuard<'_, Vec<Made>> {
        // Only whole batches are pushed, so the data is whole even after a panic.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reply that an item gets unless it is told otherwise.
fn default_reply(item: &BatchItem) -> Reply {
    let bytes = item.prompt.len_bytes();
    let text = format!(
        "Scripted feedback of a batch on a prompt of {bytes} bytes. Compare the choice with the \
         history once more, and name the finding that speaks against it."
    );
    let usage = TokenUsage {
        input: bytes as u64 / 4,
        output: text.len() as u64 / 4,
        ..TokenUsage::default()
    };
    Reply {
        text,
        stop: StopReason::Complete,
        usage,
        model: sample_model(),
        cost: MicroDollars::ZERO,
    }
}

fn place(batch: &str) -> Option<usize> {
    batch.strip_prefix("scripted-")?.parse().ok()
}

fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "find batch", "there is no such batch")
}

impl fmt::Debug for ScriptedBatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedBatches")
            .field("created", &self.created())
            .finish_non_exhaustive()
    }
}

impl Made {
    fn info(&self, place: usize) -> BatchInfo {
        let total = self.items.len() as u64;
        BatchInfo {
            batch: format!("scripted-{place}"),
            has_ended: self.has_ended,
            created_at: self.created_at,
            done: if self.has_ended { total } else { 0 },
            total,
        }
    }
}

#[async_trait]
impl AiBatches for ScriptedBatches {
    fn price(&self) -> Price {
        self.price
    }

    fn batch_len_max(&self) -> usize {
        BATCH_LEN_MAX
    }

    async fn create_batch(&self, items: Vec<BatchItem>) -> Result<String> {
        let mut names: Vec<_> = items.iter().map(|item| item.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let fits = |name: &&str| (1..=64).contains(&name.len());
        if items.is_empty() || names.len() < items.len() || !names.iter().all(fits) {
            let context = "a batch has items, with a name of their own each";
            return Err(Error::new(ErrorKind::Invalid, "create batch", context));
        }
        let created_at = self.clock.now();
        let mut made = self.made();
        made.push(Made {
            created_at,
            items,
            has_ended: false,
            is_canceled: false,
        });
        Ok(format!("scripted-{}", made.len() - 1))
    }

    async fn find_batch(&self, batch: &str) -> Result<BatchInfo> {
        let made = self.made();
        let place = place(batch).ok_or_else(not_found)?;
        let found = made.get(place).ok_or_else(not_found)?;
        Ok(found.info(place))
    }

    async fn list_batches(&self, limit: usize) -> Result<Vec<BatchInfo>> {
        let made = self.made();
        let newest = made.iter().enumerate().rev().take(limit);
        Ok(newest.map(|(place, made)| made.info(place)).collect())
    }

    async fn results(&self, batch: &str) -> Result<BatchResults> {
        let made = self.made();
        let found = place(batch).and_then(|place| made.get(place));
        let found = found.ok_or_else(not_found)?;
        if !found.has_ended {
            let context = "it has not ended";
            return Err(Error::new(ErrorKind::Conflict, "read results", context));
        }
        let canceled = || {
            let context = "its batch was cancelled";
            AiFailure::free(Error::new(ErrorKind::Unavailable, "write reply", context))
        };
        // The last one first: providers promise no order.
        let results: Vec<_> = found
            .items
            .iter()
            .rev()
            .map(|item| {
                Ok(BatchResult {
                    name: item.name.clone(),
                    reply: match found.is_canceled {
                        true => Err(canceled()),
                        false => (self.answering)(item),
                    },
                })
            })
            .collect();
        Ok(futures_util::stream::iter(results).boxed())
    }

    async fn cancel_batch(&self, batch: &str) -> Result<()> {
        let mut made = self.made();
        let found = place(batch).and_then(|place| made.get_mut(place));
        let found = found.ok_or_else(not_found)?;
        if !found.has_ended {
            found.is_canceled = true;
            found.has_ended = true;
        }
        Ok(())
    }
}
