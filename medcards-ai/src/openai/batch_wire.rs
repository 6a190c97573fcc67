//! The JSON of files and batches.

use medcards_core::ai::{AiFailure, BatchInfo, BatchItem, BatchResult, ModelId, Reply};
use medcards_core::{Error, ErrorKind, Result, Timestamp};
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};

use super::TokenLimitField;
use super::stream::CompletionDecoder;
use super::wire::{Completion, Request};
use crate::batch::{BodyWriter, checked_name};
use crate::http::{ApiError, Bill, WholeReply, failure_of_item};

/// The interface that the items of a batch are for, as OpenAI names it wherever it is.
const ENDPOINT: &str = "/v1/chat/completions";

/// The media type of [`batch_file`].
///
/// What parts the form is in none of its contents: JSON has a line end in no string, so that no line
/// of it begins with hyphens.
pub(super) const FORM_TYPE: &str = "multipart/form-data; boundary=medcards-batch";

const FORM_HEAD: &str = "--medcards-batch\r\n\
    content-disposition: form-data; name=\"purpose\"\r\n\r\n\
    batch\r\n\
    --medcards-batch\r\n\
    content-disposition: form-data; name=\"file\"; filename=\"batch.jsonl\"\r\n\
    content-type: application/jsonl\r\n\r\n";

const FORM_END: &str = "\r\n--medcards-batch--\r\n";

#[derive(Serialize)]
struct BatchLine<'a> {
    custom_id: &'a str,
    method: &'static str,
    url: &'static str,
    body: Request<'a>,
}

/// The form that hands in a file with the prompts of a batch.
pub(super) fn batch_file(
    operation: &'static str,
    model: &ModelId,
    field: TokenLimitField,
    items: &[BatchItem],
    bytes_max: usize,
) -> Result<Vec<u8>> {
    let mut body = BodyWriter::new(operation, bytes_max);
    body.push(FORM_HEAD.as_bytes())?;
    for item in items {
        body.push_json(&BatchLine {
            custom_id: &item.name,
            method: "POST",
            url: ENDPOINT,
            body: Request::new(model, &item.prompt, field, None)?,
        })?;
        body.push(b"\n")?;
    }
    body.push(FORM_END.as_bytes())?;
    Ok(body.finish())
}

#[derive(Serialize)]
struct Creation<'a> {
    input_file_id: &'a str,
    endpoint: &'static str,
    completion_window: &'static str,
}

/// The body that makes a batch of a file.
pub(super) fn creation_body(operation: &'static str, file: &str) -> Result<Vec<u8>> {
    let mut body = BodyWriter::new(operation, usize::MAX);
    body.push_json(&Creation {
        input_file_id: file,
        endpoint: ENDPOINT,
        // The only one that there is.
        completion_window: "24h",
    })?;
    Ok(body.finish())
}

#[derive(Debug, Deserialize)]
pub(super) struct FileObject {
    pub(super) id: String,
}

/// A batch, as the server describes it.
#[derive(Debug, Deserialize)]
pub(super) struct BatchObject {
    id: String,
    status: String,
    /// In seconds.
    created_at: i64,
    #[serde(default)]
    request_counts: Option<RequestCounts>,
    #[serde(default)]
    output_file_id: Option<String>,
    #[serde(default)]
    error_file_id: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct RequestCounts {
    total: u64,
    completed: u64,
    failed: u64,
}

impl BatchObject {
    pub(super) fn has_ended(&self) -> bool {
        matches!(
            self.status.as_str(),
            "cancelled" | "completed" | "expired" | "failed"
        )
    }

    pub(super) fn into_info(self, operation: &'static str) -> Result<BatchInfo> {
        let corrupt = |context| Error::new(ErrorKind::Corrupt, operation, context);
        if checked_name(operation, &self.id).is_err() {
            return Err(corrupt("the batch has an unusable name"));
        }
        let created_at = Timestamp::from_second(self.created_at)
            .map_err(|source| corrupt("the batch has no time").with_source(source))?;
        let counts = self.request_counts.unwrap_or_default();
        Ok(BatchInfo {
            has_ended: self.has_ended(),
            batch: self.id,
            created_at,
            done: counts.completed.saturating_add(counts.failed),
            total: counts.total,
        })
    }

    /// The files that hold results: of the items with replies, and of those without.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the batch failed as a whole, which it does if its file is refused.
    pub(super) fn into_result_files(self, operation: &'static str) -> Result<Vec<String>> {
        let files = [self.output_file_id, self.error_file_id];
        let files: Vec<_> = files
            .into_iter()
            .flatten()
            .filter(|file| !file.is_empty())
            .collect();
        if files.is_empty() && self.status == "failed" {
            let context = "the provider refused the whole batch when it looked at it";
            return Err(Error::new(ErrorKind::Invalid, operation, context));
        }
        for file in &files {
            checked_name(operation, file)?;
        }
        Ok(files)
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
    response: Option<serde_json::Value>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct ItemResponse {
    status_code: u16,
    #[serde(default)]
    body: serde_json::Value,
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
    let reply = match (line.error, line.response) {
        (Some(error), _) => Err(failure_of_item(operation, &ApiError::within(&error), None)),
        (None, Some(response)) => reply_of(operation, response, bill),
        (None, None) => Err(unfit(operation)),
    };
    Ok(BatchResult {
        name: line.custom_id,
        reply,
    })
}

fn reply_of(
    operation: &'static str,
    response: serde_json::Value,
    bill: &Bill,
) -> Result<Reply, AiFailure> {
    // The message of the JSON error may quote the data.
    let response = ItemResponse::deserialize(response)
        .ok()
        .ok_or_else(|| unfit(operation))?;
    let status = StatusCode::from_u16(response.status_code)
        .ok()
        .ok_or_else(|| unfit(operation))?;
    if status != StatusCode::OK {
        let api = ApiError::within(&response.body);
        return Err(failure_of_item(operation, &api, Some(status)));
    }
    let completion = Completion::deserialize(response.body)
        .ok()
        .ok_or_else(|| unfit(operation))?;
    // The prompt is not at hand; where a server does not tell, it is the reply that is billed.
    let WholeReply { text, stop, usage } = CompletionDecoder::new(0).completion(completion)?;
    Ok(Reply::new(text, bill.reply_end(stop, usage)))
}

/// The failure of an item whose result has no sense: it may have been worked on.
fn unfit(operation: &'static str) -> AiFailure {
    let context = "the result of an item does not fit";
    AiFailure::unknown(Error::new(ErrorKind::Corrupt, operation, context))
}
