//! Message Batches: many prompts at half the price, within a day.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use medcards_core::ai::{AiBatches, BatchInfo, BatchItem, BatchResults};
use medcards_core::spend::Price;
use medcards_core::{Error, ErrorKind, Result};
use reqwest::{Method, Url};
use serde::de::DeserializeOwned;

use super::Shared;
use super::batch_wire::{BatchObject, BatchPage, batch_body, read_result};
use crate::batch::{BATCH_RESULT_BYTES_MAX, BATCH_RESULTS_BYTES_MAX, checked_items, checked_name};
use crate::http::{self, Bill, Call, REPLY_BYTES_MAX, Reading};

/// The most prompts of one batch that Anthropic takes.
pub const ANTHROPIC_BATCH_LEN_MAX: usize = 100_000;

/// The most bytes of one batch that Anthropic takes, as JSON.
pub const ANTHROPIC_BATCH_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The most batches of one page of a list, and of the list.
const LIST_LEN_MAX: usize = 1_000;

/// The most pages that a list is read from, for servers with pages shorter than asked for.
const LIST_PAGES_MAX: usize = 100;

/// How long handing in a batch may take: 256 MB at 4 Mbit/s, and the time to read them.
const CREATE_WAIT_MAX: Duration = Duration::from_secs(600);

const CREATE: &str = "create batch";
const FIND: &str = "find batch";
const LIST: &str = "list batches";
const RESULTS: &str = "read batch results";
const CANCEL: &str = "cancel batch";

/// The batches of a provider.
///
/// Nothing in them is marked for the prompt cache: a batch is worked on in any order over hours, so
/// that writing the cache costs for certain what reading it may save.
pub(super) struct MessageBatches {
    shared: Arc<Shared>,
    price: Price,
}

impl MessageBatches {
    pub(super) fn new(shared: Arc<Shared>, price: Price) -> Self {
        Self { shared, price }
    }

    /// The address of all batches, or of something that is below it.
    fn url(&self, below: &[&str]) -> Url {
        let mut url = self.shared.endpoint.url().clone();
        // Prompts are posted to a path, so that it can be extended.
        if let Ok(mut path) = url.path_segments_mut() {
            path.push("batches").extend(below);
        }
        url
    }

    fn get(&self, operation: &'static str, url: Url) -> Call {
        Call {
            operation,
            method: Method::GET,
            url,
            body: Vec::new(),
            wait: self.shared.endpoint.timeouts().first_byte,
        }
    }

    fn reading(&self, operation: &'static str) -> Reading {
        Reading {
            operation,
            between_bytes: self.shared.endpoint.timeouts().between_bytes,
            bytes_max: REPLY_BYTES_MAX as u64,
        }
    }

    /// Makes a call and reads the document that answers it.
    async fn read<T: DeserializeOwned>(&self, call: Call) -> Result<T> {
        let operation = call.operation;
        let response = self.shared.endpoint.send(call).await;
        let response = response.map_err(|failure| failure.error)?;
        let body = http::whole(response, self.reading(operation)).await?;
        serde_json::from_slice(&body).map_err(|source| {
            let context = format!(
                "the reply has {:?} JSON that does not fit",
                source.classify()
            );
            Error::new(ErrorKind::Corrupt, operation, context)
        })
    }
}

#[async_trait]
impl AiBatches for MessageBatches {
    fn price(&self) -> Price {
        self.price
    }

    fn batch_len_max(&self) -> usize {
        ANTHROPIC_BATCH_LEN_MAX
    }

    async fn create_batch(&self, items: Vec<BatchItem>) -> Result<String> {
        checked_items(CREATE, &items, ANTHROPIC_BATCH_LEN_MAX)?;
        let body = batch_body(
            CREATE,
            &self.shared.model,
            &items,
            ANTHROPIC_BATCH_BYTES_MAX,
        )?;
        drop(items);
        let call = Call {
            operation: CREATE,
            method: Method::POST,
            url: self.url(&[]),
            body,
            wait: CREATE_WAIT_MAX,
        };
        let made = self
            .read::<BatchObject>(call)
            .await
            .and_then(|batch| batch.into_info(CREATE));
        match made {
            Ok(info) => Ok(info.batch),
            // A reply without sense does not say that there is no batch.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let context = "the reply does not name the batch, which may exist: list batches";
                Err(Error::new(ErrorKind::Unavailable, CREATE, context).with_source(error))
            }
            Err(error) => Err(error),
        }
    }

    async fn find_batch(&self, batch: &str) -> Result<BatchInfo> {
        let url = self.url(&[checked_name(FIND, batch)?]);
        let found: BatchObject = self.read(self.get(FIND, url)).await?;
        found.into_info(FIND)
    }

    async fn list_batches(&self, limit: usize) -> Result<Vec<BatchInfo>> {
        let limit = limit.min(LIST_LEN_MAX);
        let mut batches: Vec<BatchInfo> = Vec::new();
        let mut seen = HashSet::new();
        for _ in 0..LIST_PAGES_MAX {
            let wanted = limit - batches.len();
            if wanted == 0 {
                break;
            }
            let mut url = self.url(&[]);
            url.query_pairs_mut()
                .append_pair("limit", &wanted.to_string());
            if let Some(last) = batches.last() {
                url.query_pairs_mut().append_pair("after_id", &last.batch);
            }
            let page: BatchPage = self.read(self.get(LIST, url)).await?;
            let len_before = batches.len();
            for batch in page.data.into_iter().take(wanted) {
                let info = batch.into_info(LIST)?;
                if seen.insert(info.batch.clone()) {
                    batches.push(info);
                }
            }
            // A server that repeats itself has no more.
            if !page.has_more || batches.len() == len_before {
                break;
            }
        }
        batches.sort_by_key(|batch| std::cmp::Reverse(batch.created_at));
        Ok(batches)
    }

    async fn results(&self, batch: &str) -> Result<BatchResults> {
        if !self.find_batch(batch).await?.has_ended {
            let context = "the batch has not ended: look again later";
            return Err(Error::new(ErrorKind::Conflict, RESULTS, context));
        }
        let url = self.url(&[checked_name(RESULTS, batch)?, "results"]);
        let response = self.shared.endpoint.send(self.get(RESULTS, url)).await;
        let response = response.map_err(|failure| failure.error)?;
        let reading = Reading {
            bytes_max: BATCH_RESULTS_BYTES_MAX,
            ..self.reading(RESULTS)
        };
        let pieces = http::pieces(response, reading);
        let lines = http::lines(pieces, RESULTS, BATCH_RESULT_BYTES_MAX);
        let bill = Bill::new(&self.shared.model, self.price);
        let results = lines.map(move |line| read_result(RESULTS, &line?, &bill));
        Ok(results.boxed())
    }

    async fn cancel_batch(&self, batch: &str) -> Result<()> {
        let url = self.url(&[checked_name(CANCEL, batch)?, "cancel"]);
        let call = Call {
            method: Method::POST,
            ..self.get(CANCEL, url)
        };
        let cancelled = self.shared.endpoint.send(call).await;
        cancelled.map(drop).map_err(|failure| failure.error)
    }
}

impl fmt::Debug for MessageBatches {
    /// Says nothing of keys and headers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageBatches")
            .field("model", &self.shared.model)
            .field("host", &self.shared.endpoint.host())
            .finish_non_exhaustive()
    }
}
