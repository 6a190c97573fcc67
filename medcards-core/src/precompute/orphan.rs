use std::time::Duration;

use futures_util::StreamExt;

use super::precomputer::{Precomputer, name_prefix};
use super::store::BatchRecord;
use crate::ai::AiBatches;
use crate::{Error, ErrorKind, Result};

/// The most batches of the provider that are looked through: what providers list.
const LISTED_MAX: usize = 1_000;

/// How far the clocks of provider and process may lie apart.
const CLOCK_SKEW_MAX: Duration = Duration::from_mins(5);

/// How long a batch in progress that nobody knows may be the one looked for: providers end each
/// within a day, and an hour is for them to notice.
const IN_PROGRESS_MAX: Duration = Duration::from_hours(25);

/// Where a batch is that may have been handed in.
pub(super) enum Located {
    /// The provider does not have it, and will not.
    Absent,
    /// The provider calls it this.
    Found(String),
    /// That cannot be known yet.
    Unsure,
}

impl Precomputer {
    /// Looks for a batch that was claimed and has no name among those of the provider.
    pub(super) async fn locate(&self, record: &BatchRecord) -> Result<Located> {
        let ai = self.ai()?;
        let now = self.clock.now();
        let claimed_at = record.claimed_at.unwrap_or(record.opened_at);
        let since = record.opened_at - CLOCK_SKEW_MAX;
        let listed = ai.list_batches(LISTED_MAX).await?;
        let is_cut = listed.len() >= LISTED_MAX;
        if is_cut && listed.iter().all(|info| info.created_at >= since) {
            let context = format!(
                "the provider has made more than {LISTED_MAX} batches since batch {} was claimed, so \
                 that it cannot be seen whether that was: look for items named {}... in its console",
                record.id,
                name_prefix(record.id)
            );
            return Err(Error::new(
                ErrorKind::Unavailable,
                "find batch again",
                context,
            ));
        }
        let mut is_unsure = now < claimed_at + self.config.claim_patience;
        for info in listed {
            if info.created_at < since {
                continue;
            }
            if self.batches.find_batch_named(&info.batch).await?.is_some() {
                continue;
            }
            if !info.has_ended {
                is_unsure |= now < claimed_at + IN_PROGRESS_MAX;
                continue;
            }
            if is_of(ai, &info.batch, &name_prefix(record.id)).await? {
                return Ok(Located::Found(info.batch));
            }
        }
        Ok(match is_unsure {
            true => Located::Unsure,
            false => Located::Absent,
        })
    }
}

/// Whether the items of a batch that has ended have names that begin so.
async fn is_of(ai: &dyn AiBatches, name: &str, prefix: &str) -> Result<bool> {
    let mut results = ai.results(name).await?;
    while let Some(result) = results.next().await {
        match result {
            Ok(result) => return Ok(result.name.starts_with(prefix)),
            // Another item may be readable.
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
