//! What the batches of all providers share.

use std::collections::HashSet;
use std::time::Duration;

use medcards_core::ai::{BatchInfo, BatchItem};
use medcards_core::{Error, ErrorKind, Result};
use serde::Serialize;

/// The most bytes of one result of a batch. A reply of 32,000 tokens has about an eighth.
///
/// A longer one is an error in its place.
pub const BATCH_RESULT_BYTES_MAX: usize = 1024 * 1024;

/// The most bytes of all results of a batch: 100,000 with 32 kB each. They are read as a stream.
pub(crate) const BATCH_RESULTS_BYTES_MAX: u64 = 100_000 * 32 * 1024;

/// The longest name of an item, by the word of the interface.
const ITEM_NAME_LEN_MAX: usize = 64;

/// The longest name of a batch that is believed. Those of today have about 40 characters.
const BATCH_NAME_LEN_MAX: usize = 128;

/// The most pages that a list is read from, for servers with pages shorter than asked for.
const LIST_PAGES_MAX: usize = 100;

/// The most batches of a list, by the promise of the trait.
const LIST_LEN_MAX: usize = 1_000;

/// How long handing in a batch may take: 256 MB at 4 Mbit/s, and the time to read them.
pub(crate) const CREATE_WAIT_MAX: Duration = Duration::from_secs(600);

pub(crate) const CREATE: &str = "create batch";
pub(crate) const FIND: &str = "find batch";
pub(crate) const LIST: &str = "list batches";
pub(crate) const RESULTS: &str = "read batch results";
pub(crate) const CANCEL: &str = "cancel batch";

/// The newest batches, as far as they are read: page by page.
#[derive(Debug)]
pub(crate) struct Newest {
    limit: usize,
    page_len_max: usize,
    pages: usize,
    is_over: bool,
    seen: HashSet<String>,
    batches: Vec<BatchInfo>,
}

impl Newest {
    pub(crate) fn new(limit: usize, page_len_max: usize) -> Self {
        Self {
            limit: limit.min(LIST_LEN_MAX),
            page_len_max,
            pages: 0,
            is_over: false,
            seen: HashSet::new(),
            batches: Vec::new(),
        }
    }

    /// How many batches the next page is to have, and the name of the one before it; `None` if no
    /// page is wanted any more.
    pub(crate) fn next_page(&self) -> Option<(usize, Option<&str>)> {
        let wanted = (self.limit - self.batches.len()).min(self.page_len_max);
        if self.is_over || wanted == 0 || self.pages == LIST_PAGES_MAX {
            return None;
        }
        Some((wanted, self.batches.last().map(|last| last.batch.as_str())))
    }

    /// Takes a page.
    pub(crate) fn take(&mut self, page: Vec<BatchInfo>, has_more: bool) {
        let len_before = self.batches.len();
        for info in page {
            if self.batches.len() < self.limit && self.seen.insert(info.batch.clone()) {
                self.batches.push(info);
            }
        }
        self.pages += 1;
        // A server that repeats itself has no more.
        self.is_over = !has_more || self.batches.len() == len_before;
    }

    pub(crate) fn finish(mut self) -> Vec<BatchInfo> {
        self.batches
            .sort_by_key(|batch| std::cmp::Reverse(batch.created_at));
        self.batches
    }
}

/// The error of a call that was never sent, as one after which there surely is no batch.
///
/// Any other is left as it is.
pub(crate) fn unsent(error: Error) -> Error {
    if !is_unsent(&error) {
        return error;
    }
    let context = "the provider cannot be reached, and nothing was handed in: try again later";
    Error::new(ErrorKind::Busy, CREATE, context).with_source(error)
}

/// Whether no byte of a call can have arrived: there was no connection.
fn is_unsent(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(source) = error.downcast_ref::<reqwest::Error>() {
            return source.is_connect();
        }
        cause = error.source();
    }
    false
}

/// The error of handing in a batch. A reply without sense does not say that there is no batch.
pub(crate) fn perhaps_made(error: Error) -> Error {
    let error = unsent(error);
    if error.kind() != ErrorKind::Corrupt {
        return error;
    }
    let context = "the reply does not name the batch, which may exist: list batches";
    Error::new(ErrorKind::Unavailable, CREATE, context).with_source(error)
}

/// Checks what holds for every batch, whoever takes it.
pub(crate) fn checked_items(
    operation: &'static str,
    items: &[BatchItem],
    len_max: usize,
) -> Result<()> {
    let invalid = |context: String| Err(Error::new(ErrorKind::Invalid, operation, context));
    if items.is_empty() {
        return invalid("a batch needs an item".to_owned());
    }
    if items.len() > len_max {
        return invalid(format!("a batch has at most {len_max} items: make several"));
    }
    let mut names = HashSet::with_capacity(items.len());
    for BatchItem { name, .. } in items {
        if !is_name(name, ITEM_NAME_LEN_MAX) {
            let context = "the name of an item has 1 to 64 letters, digits, hyphens or underscores";
            return invalid(context.to_owned());
        }
        if !names.insert(name) {
            return invalid(format!("two items have the name {name}"));
        }
    }
    Ok(())
}

/// The name of a batch or file, if it can be one: it becomes a part of an address.
pub(crate) fn checked_name<'a>(operation: &'static str, name: &'a str) -> Result<&'a str> {
    if is_name(name, BATCH_NAME_LEN_MAX) {
        return Ok(name);
    }
    let context = "no batch has such a name";
    Err(Error::new(ErrorKind::NotFound, operation, context))
}

fn is_name(name: &str, len_max: usize) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && name.len() <= len_max && name.bytes().all(is_letter)
}

/// Writes the body of a batch, as long as it may become.
pub(crate) struct BodyWriter {
    operation: &'static str,
    bytes_max: usize,
    body: Vec<u8>,
}

impl BodyWriter {
    pub(crate) fn new(operation: &'static str, bytes_max: usize) -> Self {
        Self {
            operation,
            bytes_max,
            body: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.body.extend_from_slice(bytes);
        self.check()
    }

    pub(crate) fn push_json(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.body, value).map_err(|source| {
            let context = "a prompt cannot be written as JSON";
            Error::new(ErrorKind::Unexpected, self.operation, context).with_source(source)
        })?;
        self.check()
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.body
    }

    fn check(&self) -> Result<()> {
        if self.body.len() <= self.bytes_max {
            return Ok(());
        }
        let context = format!("a batch has at most {} bytes: make several", self.bytes_max);
        Err(Error::new(ErrorKind::Invalid, self.operation, context))
    }
}
