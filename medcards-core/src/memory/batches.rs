use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use jiff::Timestamp;

use super::MemoryStore;
use crate::feedback::FeedbackKey;
use crate::id::BatchId;
use crate::precompute::{
    BatchClaim, BatchEnd, BatchHold, BatchIntent, BatchOpening, BatchRecord, BatchStore,
    KEYS_PER_LOOK_MAX, KeyOutcome, KeyStanding,
};
use crate::{Error, ErrorKind, Result};

/// All batches, in the order in which they were opened.
#[derive(Clone, Default)]
pub(super) struct Batches {
    kept: BTreeMap<u64, Kept>,
    place_by_id: HashMap<BatchId, u64>,
    standing_by_key: HashMap<FeedbackKey, KeyStanding>,
}

#[derive(Clone)]
struct Kept {
    record: BatchRecord,
    keys: Vec<FeedbackKey>,
}

impl Batches {
    fn find(&self, batch: BatchId) -> Option<&Kept> {
        self.kept.get(self.place_by_id.get(&batch)?)
    }

    fn find_mut(&mut self, operation: &'static str, batch: BatchId) -> Result<&mut Kept> {
        let place = self.place_by_id.get(&batch);
        let kept = place.and_then(|place| self.kept.get_mut(place));
        kept.ok_or_else(|| Error::new(ErrorKind::NotFound, operation, "no batch has this id"))
    }
}

#[async_trait]
impl BatchStore for MemoryStore {
    async fn open_batch(&self, intent: &BatchIntent) -> Result<BatchOpening> {
        intent.check()?;
        let batches = &mut self.state().batches;
        if batches.place_by_id.contains_key(&intent.id) {
            return Ok(BatchOpening::Opened);
        }
        let is_open = |key: &&FeedbackKey| {
            let standing = batches.standing_by_key.get(*key);
            standing.is_some_and(|standing| standing.is_open)
        };
        let taken: Vec<_> = intent.keys.iter().filter(is_open).cloned().collect();
        if !taken.is_empty() {
            return Ok(BatchOpening::Taken(taken));
        }
        for key in &intent.keys {
            let standing = batches.standing_by_key.entry(key.clone()).or_default();
            standing.is_open = true;
        }
        let place = batches.kept.len() as u64;
        batches.place_by_id.insert(intent.id, place);
        let kept = Kept {
            record: BatchRecord::opened(intent),
            keys: intent.keys.clone(),
        };
        batches.kept.insert(place, kept);
        Ok(BatchOpening::Opened)
    }

    async fn find_batch(&self, batch: BatchId) -> Result<Option<BatchRecord>> {
        let state = self.state();
        Ok(state.batches.find(batch).map(|kept| kept.record.clone()))
    }

    async fn batch_keys(&self, batch: BatchId) -> Result<Vec<FeedbackKey>> {
        let state = self.state();
        let keys = state.batches.find(batch).map(|kept| kept.keys.clone());
        Ok(keys.unwrap_or_default())
    }

    async fn list_open_batches(&self, limit: usize) -> Result<Vec<BatchRecord>> {
        let state = self.state();
        let records = state.batches.kept.values().map(|kept| &kept.record);
        let open = records.filter(|record| record.end.is_none());
        Ok(open.take(limit).cloned().collect())
    }

    async fn find_batch_named(&self, name: &str) -> Result<Option<BatchId>> {
        let state = self.state();
        let mut records = state.batches.kept.values().map(|kept| &kept.record);
        let named = records.find(|record| record.name.as_deref() == Some(name));
        Ok(named.map(|record| record.id))
    }

    async fn claim_batch(&self, batch: BatchId, seen: u32, now: Timestamp) -> Result<BatchClaim> {
        let batches = &mut self.state().batches;
        let record = &mut batches.find_mut("claim batch", batch)?.record;
        if record.attempt != seen || record.name.is_some() || record.end.is_some() {
            return Ok(BatchClaim::Lost);
        }
        record.attempt += 1;
        record.claimed_at = Some(now);
        Ok(BatchClaim::Claimed(record.attempt))
    }

    async fn name_batch(&self, batch: BatchId, attempt: u32, name: &str) -> Result<BatchHold> {
        let batches = &mut self.state().batches;
        let record = &mut batches.find_mut("name batch", batch)?.record;
        let is_other = record.name.as_ref().is_some_and(|known| known != name);
        if record.attempt != attempt || is_other || record.end.is_some() {
            return Ok(BatchHold::Lost);
        }
        record.name = Some(name.to_owned());
        Ok(BatchHold::Held)
    }

    async fn close_batch(
        &self,
        batch: BatchId,
        attempt: u32,
        end: &BatchEnd,
        outcomes: &[KeyOutcome],
    ) -> Result<BatchHold> {
        const CLOSE: &str = "close batch";
        let batches = &mut self.state().batches;
        let kept = batches.find_mut(CLOSE, batch)?;
        if kept.keys.len() != outcomes.len() {
            let context = "each key has one outcome";
            return Err(Error::new(ErrorKind::Invalid, CLOSE, context));
        }
        if kept.record.attempt != attempt {
            return Ok(BatchHold::Lost);
        }
        if kept.record.end.is_some() {
            return Ok(BatchHold::Held);
        }
        kept.record.end = Some(*end);
        let keys = kept.keys.clone();
        for (key, outcome) in keys.into_iter().zip(outcomes) {
            let standing = batches.standing_by_key.entry(key).or_default();
            standing.is_open = false;
            standing.rejections += u32::from(*outcome == KeyOutcome::Rejected);
        }
        Ok(BatchHold::Held)
    }

    async fn key_standings(&self, keys: &[FeedbackKey]) -> Result<Vec<KeyStanding>> {
        if keys.len() > KEYS_PER_LOOK_MAX {
            let context = "too many keys at once: ask about fewer";
            return Err(Error::new(ErrorKind::Invalid, "look at keys", context));
        }
        let state = self.state();
        let standing = |key| state.batches.standing_by_key.get(key).copied();
        let standings = keys.iter().map(|key| standing(key).unwrap_or_default());
        Ok(standings.collect())
    }
}
