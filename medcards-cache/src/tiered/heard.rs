//! What was heard of removals.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use medcards_core::feedback::FeedbackKey;

use super::Removal;
use crate::lock::lock;

/// How many removals are remembered with what they were of: those of the searches under way, many times
/// over. Who began before them must take it that he was concerned.
const REMEMBERED_MAX: usize = 1_024;

/// Counts the removals that were heard of, and remembers the last of them.
#[derive(Debug, Default)]
pub(super) struct Heard {
    count: AtomicU64,
    /// The last, oldest first; `None` for one of which it is not known what it was of.
    last: Mutex<VecDeque<Option<Removal>>>,
}

impl Heard {
    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    pub(super) fn add(&self, removal: Option<Removal>) {
        let mut last = lock(&self.last);
        if last.len() >= REMEMBERED_MAX {
            last.pop_front();
        }
        last.push_back(removal);
        // Under the lock, so that count and list belong together.
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether one of those after the first `since` is of this key, or may be.
    pub(super) fn concerns(&self, key: &FeedbackKey, since: u64) -> bool {
        if self.count() == since {
            return false;
        }
        let last = lock(&self.last);
        let new = usize::try_from(self.count() - since).unwrap_or(usize::MAX);
        let is_of_key = |removal: &Option<Removal>| match removal {
            None => true,
            Some(Removal::Case(case_id)) => *case_id == key.case_id,
            Some(Removal::Key(removed)) => removed == key,
        };
        new > last.len() || last.iter().rev().take(new).any(is_of_key)
    }
}

#[cfg(test)]
mod tests {
    use medcards_core::testing::sample_key;

    use super::*;

    #[test]
    fn a_key_is_concerned_by_its_own_removals_and_by_those_of_unknown_things() {
        let heard = Heard::default();
        let [one, two] = [sample_key(1), sample_key(2)];
        heard.add(Some(Removal::Key(one.clone())));
        assert!(heard.concerns(&one, 0) && !heard.concerns(&two, 0));
        assert!(!heard.concerns(&one, 1));
        heard.add(Some(Removal::Case(two.case_id)));
        assert!(heard.concerns(&two, 1) && !heard.concerns(&one, 1));
        assert!(heard.concerns(&one, 0));
        heard.add(None);
        assert!(heard.concerns(&one, 2) && heard.concerns(&two, 2));
        for _ in 0..REMEMBERED_MAX {
            heard.add(Some(Removal::Key(one.clone())));
        }
        assert!(!heard.concerns(&two, 3));
        assert!(heard.concerns(&two, 2), "nobody remembers");
    }
}
