use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::Result;
use crate::feedback::{FeedbackKey, PrecomputedStore};

/// How many reviews one read of the store asks for.
const REVIEWS_PER_READ: usize = 1_000;

/// How far back each look goes besides: clocks of servers differ, and a review is written down some
/// time after the instant that it names.
const OVERLAP: SignedDuration = SignedDuration::from_mins(2);

/// How far this process knows what reviewers said, here and elsewhere.
#[derive(Debug)]
pub(super) struct Reviews(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    until: Timestamp,
    /// What was seen within the overlap, so that it is not acted on again.
    known: HashSet<(Timestamp, FeedbackKey)>,
}

impl Reviews {
    /// Knows everything that was said before `now`: nothing is cached yet.
    pub(super) fn new(now: Timestamp) -> Self {
        Self(Mutex::new(Seen {
            until: now,
            known: HashSet::new(),
        }))
    }

    /// The keys of which something was said since this was last asked.
    pub(super) async fn news(&self, store: &dyn PrecomputedStore) -> Result<Vec<FeedbackKey>> {
        let since = {
            let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            seen.until.saturating_sub(OVERLAP).unwrap_or(seen.until)
        };
        let mut from = since;
        let mut reviewed = HashSet::new();
        loop {
            let page = store.list_reviewed(from, REVIEWS_PER_READ).await?;
            let is_last = page.len() < REVIEWS_PER_READ;
            let last = page.last().map_or(from, |(at, _)| *at);
            reviewed.extend(page);
            // A page of one instant would be read again for ever.
            if is_last || last <= from {
                break;
            }
            from = last;
        }
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = reviewed.difference(&seen.known);
        let news = news.map(|(_, key)| key.clone()).collect();
        seen.until = reviewed
            .iter()
            .map(|(at, _)| *at)
            .fold(seen.until, Timestamp::max);
        let kept = seen.until.saturating_sub(OVERLAP).unwrap_or(seen.until);
        reviewed.retain(|(at, _)| *at >= kept);
        seen.known = reviewed;
        Ok(news)
    }
}
