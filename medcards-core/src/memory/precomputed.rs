use std::collections::HashMap;

use async_trait::async_trait;
use jiff::Timestamp;

use super::MemoryStore;
use super::page::page;
use crate::feedback::{
    Feedback, FeedbackKey, KeyPage, KeyPosition, PrecomputedStore, Review, ReviewState, Shared,
};
use crate::store::{ListId, Page, PageCursor, PageLimit};
use crate::{Error, ErrorKind, Result};

/// All precomputed feedback, in the order in which its keys were first kept.
#[derive(Clone, Default)]
pub(super) struct Precomputed {
    kept: Vec<(FeedbackKey, Feedback<Shared>)>,
    index_by_key: HashMap<FeedbackKey, usize>,
    /// When each key was last reviewed.
    reviews: HashMap<FeedbackKey, Timestamp>,
}

impl Precomputed {
    fn find_mut(&mut self, key: &FeedbackKey) -> Option<&mut Feedback<Shared>> {
        let index = *self.index_by_key.get(key)?;
        self.kept.get_mut(index).map(|(_, feedback)| feedback)
    }
}

#[async_trait]
impl PrecomputedStore for MemoryStore {
    async fn find_feedback(&self, key: &FeedbackKey) -> Result<Option<Feedback<Shared>>> {
        Ok(self.state().precomputed.find_mut(key).cloned())
    }

    async fn put_feedback(&self, key: &FeedbackKey, feedback: &Feedback<Shared>) -> Result<bool> {
        let precomputed = &mut self.state().precomputed;
        let Some(kept) = precomputed.find_mut(key) else {
            precomputed
                .index_by_key
                .insert(key.clone(), precomputed.kept.len());
            precomputed.kept.push((key.clone(), feedback.clone()));
            return Ok(true);
        };
        let is_free = kept.review == ReviewState::Unreviewed;
        if is_free {
            kept.clone_from(feedback);
        }
        Ok(is_free)
    }

    async fn review_feedback(&self, key: &FeedbackKey, review: Review) -> Result<Feedback<Shared>> {
        let mut state = self.state();
        let Some(feedback) = state.precomputed.find_mut(key) else {
            let context = "no feedback is kept for this key";
            return Err(Error::new(ErrorKind::NotFound, "review feedback", context));
        };
        *feedback = review.of(feedback.clone());
        let reviewed = feedback.clone();
        let reviews = &mut state.precomputed.reviews;
        reviews.insert(key.clone(), review.reviewed_at);
        Ok(reviewed)
    }

    async fn list_feedback(
        &self,
        state: ReviewState,
        after: Option<&PageCursor>,
        limit: PageLimit,
    ) -> Result<Page<(FeedbackKey, Feedback<Shared>)>> {
        let list = ListId::new("m1", &format!("feedback {}", state.as_str()));
        let start: usize = match after {
            Some(cursor) => list.single::<usize>(cursor)?.saturating_add(1),
            None => 0,
        };
        let precomputed = &self.state().precomputed;
        let rest = precomputed.kept.iter().enumerate().skip(start);
        let in_state = rest.filter(|(_, (_, feedback))| feedback.review == state);
        let page = page(in_state, limit, |(index, _)| list.cursor(index))?;
        Ok(page.map(|(_, kept)| kept.clone()))
    }

    async fn list_keys(&self, after: KeyPosition, limit: usize) -> Result<KeyPage> {
        let start = usize::try_from(after.0).unwrap_or(usize::MAX);
        let kept = &self.state().precomputed.kept;
        let keys: Vec<_> = kept
            .iter()
            .skip(start)
            .take(limit)
            .map(|(key, _)| key.clone())
            .collect();
        let position = KeyPosition(after.0 + keys.len() as u64);
        Ok(KeyPage { keys, position })
    }

    async fn list_reviewed(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, FeedbackKey)>> {
        let reviews = &self.state().precomputed.reviews;
        let mut reviewed: Vec<_> = reviews
            .iter()
            .filter(|(_, at)| **at >= since)
            .map(|(key, at)| (*at, key.clone()))
            .collect();
        reviewed.sort_unstable();
        reviewed.truncate(limit);
        Ok(reviewed)
    }
}
