//! Message Batches: many prompts at half the price, within a day.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use medcards_core::ai::{AiBatches, BatchInfo, BatchItem, BatchResults};
use medcards_core::spend::Price;
use medcards_core::{Error, ErrorKind, Result};
use reqwest::{Method, Url};

use super::Shared;
use super::batch_wire::{BatchObject, BatchPage, batch_body, read_result};
use crate::batch::{
    BATCH_RESULT_BYTES_MAX, BATCH_RESULTS_BYTES_MAX, CANCEL, CREATE, CREATE_WAIT_MAX, FIND, LIST,
    Newest, RESULTS, checked_items, checked_name, perhaps_made,
};
use crate::http::{Bill, Call};

/// The most prompts of one batch that Anthropic takes.
pub const ANTHROPIC_BATCH_LEN_MAX: usize = 100_000;

/// The most bytes of one batch that Anthropic takes, as JSON.
pub const ANTHROPIC_BATCH_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The most batches of one page of a list.
const PAGE_LEN_MAX: usize = 1_000;

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
        let endpoint = &self.shared.endpoint;
        let call = Call {
            method: Method::POST,
            body,
            wait: CREATE_WAIT_MAX,
            ..endpoint.get(CREATE, self.url(&[]))
        };
        let made = endpoint.read::<BatchObject>(call).await;
        let made = made.and_then(|batch| batch.into_info(CREATE));
        made.map(|info| info.batch).map_err(perhaps_made)
    }

    async fn find_batch(&self, batch: &str) -> Result<BatchInfo> {
        let url = self.url(&[checked_name(FIND, batch)?]);
        let endpoint = &self.shared.endpoint;
        let found: BatchObject = endpoint.read(endpoint.get(FIND, url)).await?;
        found.into_info(FIND)
    }

    async fn list_batches(&self, limit: usize) -> Result<Vec<BatchInfo>> {
        let endpoint = &self.shared.endpoint;
        let mut newest = Newest::new(limit, PAGE_LEN_MAX);
        while let Some((len, after)) = newest.next_page() {
            let mut url = self.url(&[]);
            url.query_pairs_mut().append_pair("limit", &len.to_string());
            if let Some(after) = after {
                url.query_pairs_mut().append_pair("after_id", after);
            }
            let page: BatchPage = endpoint.read(endpoint.get(LIST, url)).await?;
            let infos = page.data.into_iter().map(|batch| batch.into_info(LIST));
            newest.take(infos.collect::<Result<_>>()?, page.has_more);
        }
        Ok(newest.finish())
    }

    async fn results(&self, batch: &str) -> Result<BatchResults> {
        if !self.find_batch(batch).await?.has_ended {
            let context = "the batch has not ended: look again later";
            return Err(Error::new(ErrorKind::Conflict, RESULTS, context));
        }
        let url = self.url(&[checked_name(RESULTS, batch)?, "results"]);
        let endpoint = &self.shared.endpoint;
        let call = endpoint.get(RESULTS, url);
        let lines = endpoint.read_lines(call, BATCH_RESULTS_BYTES_MAX, BATCH_RESULT_BYTES_MAX);
        let lines = lines.await?;
        let bill = Bill::new(&self.shared.model, self.price);
        let results = lines.map(move |line| read_result(RESULTS, &line?, &bill));
        Ok(results.boxed())
    }

    async fn cancel_batch(&self, batch: &str) -> Result<()> {
        let url = self.url(&[checked_name(CANCEL, batch)?, "cancel"]);
        let call = Call {
            method: Method::POST,
            ..self.shared.endpoint.get(CANCEL, url)
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
