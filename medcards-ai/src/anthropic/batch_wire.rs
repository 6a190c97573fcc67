//! The JSON of Message Batches.

use medcards_core::ai::{AiFailure, BatchInfo, BatchItem, BatchResult, ModelId, Reply, ReplyEnd};
use medcards_core::{Error, ErrorKind, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::cache::PromptCache;
use super::stream::MessageDecoder;
use super::wire::{Request, WholeMessage};
use crate::batch::{BodyWriter, checked_name};
use crate::http::{ApiError, Bill, WholeReply, failure_of_item};

#[derive(Serialize)]
struct BatchRequest<'a> {
    custom_id: &'a str,
    params: Request<'a>,
}

/// The body that hands in a batch.
pub(super) fn batch_body(
    operation: &'static str,
    model: &ModelId,
    items: &[BatchItem],
    bytes_max: usize,
) -> Result<Vec<u8>> {
    let mut body = BodyWriter::new(operation, bytes_max);
    body.push(br#"{"requests":["#)?;
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            body.push(b",")?;
        }
        body.push_json(&BatchRequest {
            custom_id: &item.name,
            params: Request::new(model, &item.prompt, PromptCache::Off, None)?,
        })?;
    }
    body.push(b"]}")?;
    Ok(body.finish())
}

/// A batch, as the server describes it.
#[derive(Debug, Deserialize)]
pub(super) struct BatchObject {
    id: String,
    processing_status: String,
    created_at: Timestamp,
    #[serde(default)]
    request_counts: RequestCounts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RequestCounts {
    processing: u64,
    succeeded: u64,
    errored: u64,
    canceled: u64,
    expired: u64,
}

impl BatchObject {
    pub(super) fn into_info(self, operation: &'static str) -> Result<BatchInfo> {
        if checked_name(operation, &self.id).is_err() {
            let context = "the batch has an unusable name";
            return Err(Error::new(ErrorKind::Corrupt, operation, context));
        }
        let counts = self.request_counts;
        let done = [
            counts.succeeded,
            counts.errored,
            counts.canceled,
            counts.expired,
        ]
        .into_iter()
        .fold(0, u64::saturating_add);
        Ok(BatchInfo {
            batch: self.id,
            has_ended: self.processing_status == "ended",
            created_at: self.created_at,
            done,
            total: done.saturating_add(counts.processing),
        })
    }
}

/// A page of a list of batches.
#[derive(Debug, Deserialize)]
pub(super) struct BatchPage {
    pub(super) data: Vec<BatchObject>,
    #[serde(default)]
    pub(super) has_more: bool,
}

#[derive(Deserialize)]
struct ResultLine {
    custom_id: String,
    #[serde(default)]
    result: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ItemResult {
    Canceled,
    Errored {
        #[serde(default)]
        error: serde_json::Value,
    },
    Expired,
    Succeeded {
        message: WholeMessage,
    },
}

/// What a line of the results says. A line that names its item is a result, whatever else it has.
pub(super) fn read_result(
    operation: &'static str,
    line: &[u8],
    bill: &Bill,
) -> Result<BatchResult> {
    let line: ResultLine = serde_json::from_slice(line).map_err(|source| {
        let context = format!(
            "a result has {:?} JSON that does not fit",
            source.classify()
        );
        Error::new(ErrorKind::Corrupt, operation, context)
    })?;
    let reply = match ItemResult::deserialize(line.result) {
        Ok(result) => reply_of(operation, result, bill),
        // The message of the JSON error may quote the data.
        Err(_) => {
            let context = "the result of an item does not fit";
            let error = Error::new(ErrorKind::Corrupt, operation, context);
            Err(AiFailure::unknown(error))
        }
    };
    Ok(BatchResult {
        name: line.custom_id,
        reply,
    })
}

fn reply_of(operation: &'static str, result: ItemResult, bill: &Bill) -> Result<Reply, AiFailure> {
    let unasked =
        |kind, context: &'static str| Err(AiFailure::free(Error::new(kind, operation, context)));
    match result {
        ItemResult::Canceled => unasked(
            ErrorKind::Unavailable,
            "the batch was cancelled before this item",
        ),
        ItemResult::Expired => unasked(
            ErrorKind::Timeout,
            "the batch expired before this item: hand it in again",
        ),
        ItemResult::Errored { error } => {
            Err(failure_of_item(operation, &ApiError::within(&error), None))
        }
        ItemResult::Succeeded { message } => {
            // The prompt is not at hand; this server always tells what it counted.
            let WholeReply { text, stop, usage } = MessageDecoder::new(0).message(message)?;
            let end: ReplyEnd = bill.reply_end(stop, usage);
            Ok(Reply::new(text, end))
        }
    }
}
