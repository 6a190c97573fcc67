//! Batches: a file of prompts, worked on at half the price within a day.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use medcards_core::ai::{AiBatches, BatchInfo, BatchItem, BatchResults};
use medcards_core::spend::Price;
use medcards_core::{Error, ErrorKind, Result};
use reqwest::{Method, Url};

use super::Shared;
use super::batch_wire::{
    BatchObject, BatchPage, FORM_TYPE, FileObject, batch_file, creation_body, read_result,
};
use crate::batch::{
    BATCH_RESULT_BYTES_MAX, BATCH_RESULTS_BYTES_MAX, CANCEL, CREATE, CREATE_WAIT_MAX, FIND, LIST,
    Newest, RESULTS, checked_items, checked_name, perhaps_made, unsent,
};
use crate::http::{Bill, Call};

/// The most prompts of one batch that OpenAI takes.
pub const OPENAI_BATCH_LEN_MAX: usize = 50_000;

/// The most bytes of one batch that OpenAI takes, as a file.
pub const OPENAI_BATCH_BYTES_MAX: usize = 200 * 1024 * 1024;

/// The most batches of one page of a list.
const PAGE_LEN_MAX: usize = 100;

/// The batches of a provider.
///
/// A batch is made in two steps: its prompts are a file first. If the second step fails, the file
/// stays with the server, unused.
pub(super) struct CompletionBatches {
    shared: Arc<Shared>,
    price: Price,
}

impl CompletionBatches {
    pub(super) fn new(shared: Arc<Shared>, price: Price) -> Self {
        Self { shared, price }
    }

    /// An address beside that of `chat/completions`.
    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.shared.endpoint.url().clone();
        // Prompts are posted to a path, so that it can be changed.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop().pop().extend(path);
        }
        url
    }

    /// The batch as the server describes it.
    async fn object(&self, operation: &'static str, batch: &str) -> Result<BatchObject> {
        let url = self.url(&["batches", checked_name(operation, batch)?]);
        let endpoint = &self.shared.endpoint;
        endpoint.read(endpoint.get(operation, url)).await
    }

    /// The results in a file, or an error in the place of all of them.
    async fn results_in(self: Arc<Self>, file: String) -> BatchResults {
        let endpoint = &self.shared.endpoint;
        let call = endpoint.get(RESULTS, self.url(&["files", &file, "content"]));
        let lines = endpoint.read_lines(call, BATCH_RESULTS_BYTES_MAX, BATCH_RESULT_BYTES_MAX);
        match lines.await {
            Ok(lines) => {
                let bill = Bill::new(&self.shared.model, self.price);
                lines
                    .map(move |line| read_result(RESULTS, &line?, &bill))
                    .boxed()
            }
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }
}

#[async_trait]
impl AiBatches for CompletionBatches {
    fn price(&self) -> Price {
        self.price
    }

    fn batch_len_max(&self) -> usize {
        OPENAI_BATCH_LEN_MAX
    }

    async fn create_batch(&self, items: Vec<BatchItem>) -> Result<String> {
        checked_items(CREATE, &items, OPENAI_BATCH_LEN_MAX)?;
        let Shared {
            endpoint,
            model,
            token_limit_field,
            ..
        } = &*self.shared;
        let body = batch_file(
            CREATE,
            model,
            *token_limit_field,
            &items,
            OPENAI_BATCH_BYTES_MAX,
        )?;
        drop(items);
        let call = Call {
            method: Method::POST,
            body,
            media_type: FORM_TYPE,
            wait: CREATE_WAIT_MAX,
            ..endpoint.get(CREATE, self.url(&["files"]))
        };
        let file: FileObject = endpoint.read(call).await.map_err(unsent)?;
        let call = Call {
            method: Method::POST,
            body: creation_body(CREATE, &file.id)?,
            ..endpoint.get(CREATE, self.url(&["batches"]))
        };
        let made = endpoint.read::<BatchObject>(call).await;
        let made = made.and_then(|batch| batch.into_info(CREATE));
        made.map(|info| info.batch).map_err(perhaps_made)
    }

    async fn find_batch(&self, batch: &str) -> Result<BatchInfo> {
        self.object(FIND, batch).await?.into_info(FIND)
    }

    async fn list_batches(&self, limit: usize) -> Result<Vec<BatchInfo>> {
        let endpoint = &self.shared.endpoint;
        let mut newest = Newest::new(limit, PAGE_LEN_MAX);
        while let Some((len, after)) = newest.next_page() {
            let mut url = self.url(&["batches"]);
            url.query_pairs_mut().append_pair("limit", &len.to_string());
            if let Some(after) = after {
                url.query_pairs_mut().append_pair("after", after);
            }
            let page: BatchPage = endpoint.read(endpoint.get(LIST, url)).await?;
            let infos = page.data.into_iter().map(|batch| batch.into_info(LIST));
            newest.take(infos.collect::<Result<_>>()?, page.has_more);
        }
        Ok(newest.finish())
    }

    async fn results(&self, batch: &str) -> Result<BatchResults> {
        let object = self.object(RESULTS, batch).await?;
        if !object.has_ended() {
            let context = "the batch has not ended: look again later";
            return Err(Error::new(ErrorKind::Conflict, RESULTS, context));
        }
        let files = object.into_result_files(RESULTS)?;
        // One after the other: an open connection that nobody reads is soon closed.
        let this = Arc::new(Self::new(Arc::clone(&self.shared), self.price));
        let results = stream::iter(files).then(move |file| Arc::clone(&this).results_in(file));
        Ok(results.flatten().boxed())
    }

    async fn cancel_batch(&self, batch: &str) -> Result<()> {
        let url = self.url(&["batches", checked_name(CANCEL, batch)?, "cancel"]);
        let call = Call {
            method: Method::POST,
            ..self.shared.endpoint.get(CANCEL, url)
        };
        let cancelled = self.shared.endpoint.send(call).await;
        cancelled.map(drop).map_err(|failure| failure.error)
    }
}

impl fmt::Debug for CompletionBatches {
    /// Says nothing of keys and headers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletionBatches")
            .field("model", &self.shared.model)
            .field("host", &self.shared.endpoint.host())
            .finish_non_exhaustive()
    }
}
