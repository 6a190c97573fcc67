use std::fmt;
use std::sync::Mutex;

use async_trait::async_trait;
use medcards_core::feedback::FeedbackKey;
use medcards_core::memory::MemoryStore;
use medcards_core::precompute::{
    BatchClaim, BatchEnd, BatchHold, BatchIntent, BatchOpening, BatchRecord, BatchStore,
    KeyOutcome, KeyStanding,
};
use medcards_core::{BatchId, ErrorKind, Result, Timestamp};

use super::Crowd;

/// A store of batches that breaks the promise it is given.
#[derive(Debug)]
pub(super) struct BatchSaboteur {
    inner: MemoryStore,
    promise: &'static str,
    crowd: Crowd,
    /// The last end, which overwrites the first.
    last_end: Mutex<Option<BatchEnd>>,
}

impl BatchSaboteur {
    pub(super) fn new(inner: MemoryStore, promise: &'static str) -> Self {
        Self {
            inner,
            promise,
            crowd: Crowd::default(),
            last_end: Mutex::default(),
        }
    }

    fn breaks(&self, promise: &str) -> bool {
        self.promise == promise
    }

    async fn attempt(&self, batch: BatchId) -> Result<u32> {
        let record = self.inner.find_batch(batch).await?;
        Ok(record.map_or(0, |record| record.attempt))
    }
}

impl fmt::Display for BatchSaboteur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BatchSaboteur({})", self.promise)
    }
}

#[async_trait]
impl BatchStore for BatchSaboteur {
    async fn open_batch(&self, intent: &BatchIntent) -> Result<BatchOpening> {
        if self.breaks("one_of_many_who_want_the_same_keys_gets_them") {
            let standings = self.inner.key_standings(&intent.keys).await?;
            self.crowd.wait_for_another().await;
            if standings.iter().all(|standing| !standing.is_open) {
                return Ok(BatchOpening::Opened);
            }
        }
        if self.breaks("a_batch_opened_again_stays_as_it_is")
            && self.inner.find_batch(intent.id).await?.is_some()
        {
            return Ok(BatchOpening::Taken(intent.keys.clone()));
        }
        if self.breaks("a_batch_without_a_key_or_with_one_twice_is_refused") {
            let mut intent = intent.clone();
            intent.keys.sort();
            intent.keys.dedup();
            return match intent.keys.is_empty() {
                true => Ok(BatchOpening::Opened),
                false => self.inner.open_batch(&intent).await,
            };
        }
        let opening = self.inner.open_batch(intent).await?;
        match opening {
            BatchOpening::Taken(taken) if self.breaks("a_key_is_in_one_open_batch_only") => {
                // The others are kept although one is taken.
                let mut rest = intent.clone();
                rest.keys.retain(|key| !taken.contains(key));
                self.inner.open_batch(&rest).await?;
                Ok(BatchOpening::Taken(taken))
            }
            opening => Ok(opening),
        }
    }

    async fn find_batch(&self, batch: BatchId) -> Result<Option<BatchRecord>> {
        let mut record = self.inner.find_batch(batch).await?;
        if self.breaks("a_batch_closed_again_stays_as_it_is")
            && let Some(record) = &mut record
            && record.end.is_some()
        {
            record.end = *self.last_end.lock().expect("nobody panics with the lock");
        }
        Ok(record)
    }

    async fn batch_keys(&self, batch: BatchId) -> Result<Vec<FeedbackKey>> {
        let mut keys = self.inner.batch_keys(batch).await?;
        if self.breaks("an_opened_batch_is_found_as_it_was_given") {
            keys.sort();
        }
        Ok(keys)
    }

    async fn list_open_batches(&self, limit: usize) -> Result<Vec<BatchRecord>> {
        let mut listed = self.inner.list_open_batches(limit).await?;
        if self.breaks("open_batches_are_listed_oldest_first") {
            listed.reverse();
        }
        Ok(listed)
    }

    async fn find_batch_named(&self, name: &str) -> Result<Option<BatchId>> {
        let found = self.inner.find_batch_named(name).await?;
        if self.breaks("a_batch_is_found_by_its_name")
            && let Some(batch) = found
        {
            // Only while it is open.
            let record = self.inner.find_batch(batch).await?;
            return Ok(record
                .filter(|record| record.end.is_none())
                .map(|record| record.id));
        }
        Ok(found)
    }

    async fn claim_batch(&self, batch: BatchId, seen: u32, now: Timestamp) -> Result<BatchClaim> {
        if self.breaks("one_of_many_claims_of_a_batch_succeeds") {
            let attempt = self.attempt(batch).await?;
            self.crowd.wait_for_another().await;
            self.inner.claim_batch(batch, attempt, now).await?;
            return Ok(BatchClaim::Claimed(attempt + 1));
        }
        if self.breaks("a_claim_must_have_seen_the_last_attempt") {
            let attempt = self.attempt(batch).await?;
            return self.inner.claim_batch(batch, attempt, now).await;
        }
        let claim = self.inner.claim_batch(batch, seen, now).await;
        match claim {
            Ok(BatchClaim::Lost) if self.breaks("a_named_or_closed_batch_is_not_claimed") => {
                Ok(BatchClaim::Claimed(seen + 1))
            }
            Err(error)
                if self.breaks("a_batch_never_opened_is_not_found")
                    && error.kind() == ErrorKind::NotFound =>
            {
                Ok(BatchClaim::Lost)
            }
            claim => claim,
        }
    }

    async fn name_batch(&self, batch: BatchId, attempt: u32, name: &str) -> Result<BatchHold> {
        let attempt = if self.breaks("a_name_is_given_by_the_last_attempt_and_once") {
            self.attempt(batch).await?
        } else {
            attempt
        };
        self.inner.name_batch(batch, attempt, name).await
    }

    async fn close_batch(
        &self,
        batch: BatchId,
        attempt: u32,
        end: &BatchEnd,
        outcomes: &[KeyOutcome],
    ) -> Result<BatchHold> {
        *self.last_end.lock().expect("nobody panics with the lock") = Some(*end);
        if self.breaks("the_keys_of_a_closed_batch_are_free") {
            return Ok(BatchHold::Held);
        }
        let mut outcomes = outcomes.to_vec();
        if self.breaks("an_end_without_all_outcomes_is_refused") {
            let keys = self.inner.batch_keys(batch).await?.len();
            outcomes.resize(keys, KeyOutcome::Unserved);
        }
        if self.breaks("rejections_of_a_key_are_counted") {
            outcomes.fill(KeyOutcome::Rejected);
        }
        let attempt = if self.breaks("a_batch_is_closed_by_the_last_attempt") {
            self.attempt(batch).await?
        } else {
            attempt
        };
        self.inner.close_batch(batch, attempt, end, &outcomes).await
    }

    async fn key_standings(&self, keys: &[FeedbackKey]) -> Result<Vec<KeyStanding>> {
        self.inner.key_standings(keys).await
    }
}
