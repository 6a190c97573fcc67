//! Imports cases from files into a store: streaming, with bounded memory, saying what it refused.

mod csv;
mod decode;
mod lines;
mod rejects;
mod source;
mod summary;

pub use decode::{Entry, Refused};
pub use rejects::Rejects;
pub use source::{Format, Source};
pub use summary::{FileSummary, Tally};

use std::io::Read;

use medcards::case::{CaseContent, CaseStore};
use medcards::http::import::{RecordLines, SeenCases};
use medcards::{Result, Timestamp};

/// How many cases are published in one transaction: enough to share an fsync, few enough to hold.
pub const BATCH_CASES_MAX: usize = 256;

/// The most bytes of one record, whatever the format: as the HTTP interface takes.
pub const RECORD_BYTES_MAX: usize = RecordLines::LINE_BYTES_MAX;

/// Reads cases to the end of a file, publishes those that are right, and shows `each` to the caller.
///
/// Without a store they are only checked. Importing the same file again changes nothing; a case
/// that was changed since becomes a new version. A file that breaks off is imported up to there,
/// and [`FileSummary::broken`] says how it broke.
///
/// # Errors
/// Those of the store and of `each`.
///
/// # Cancel safety
/// A dropped future leaves each case either published whole or not at all.
pub async fn import(
    format: Format,
    bytes: impl Read + Send + 'static,
    store: Option<&dyn CaseStore>,
    now: Timestamp,
    each: &mut (dyn FnMut(&Entry) -> Result<()> + Send),
) -> Result<FileSummary> {
    let mut summary = FileSummary::default();
    let mut seen = SeenCases::default();
    let mut batch = Vec::with_capacity(BATCH_CASES_MAX);
    let entries = match Source::new(format, bytes) {
        Ok(entries) => entries,
        Err(broken) => {
            return Ok(FileSummary {
                broken: Some(broken.to_string()),
                ..summary
            });
        }
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry.admitted(&mut seen),
            Err(broken) => {
                summary.broken = Some(broken.to_string());
                break;
            }
        };
        each(&entry)?;
        summary.note(&entry);
        batch.extend(entry.record.map(|imported| imported.content));
        if batch.len() == BATCH_CASES_MAX {
            publish(&mut batch, store, now, &mut summary).await?;
        }
    }
    publish(&mut batch, store, now, &mut summary).await?;
    Ok(summary)
}

async fn publish(
    batch: &mut Vec<CaseContent>,
    store: Option<&dyn CaseStore>,
    now: Timestamp,
    summary: &mut FileSummary,
) -> Result<()> {
    let contents = std::mem::take(batch);
    match store {
        None => summary.checked += contents.len() as u64,
        Some(store) => {
            for publication in store.publish(contents, now).await? {
                summary.note_published(publication.outcome);
            }
        }
    }
    Ok(())
}
