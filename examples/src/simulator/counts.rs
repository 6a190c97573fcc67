use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a simulator was asked and what it did, since its start or the last time this was cleared.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Counts {
    /// Calls by route, such as `POST /v1/messages`, and outcome.
    ///
    /// Outcomes are the names of [`Behaviour`](super::Behaviour), and `hung_up` for a caller that
    /// went before the end, `invalid` for a call that was not understood, `limited` for one beyond
    /// a rate limit of the script, `not_found`, and `unauthorized`.
    pub calls: BTreeMap<String, BTreeMap<String, u64>>,
    /// Calls to models that are under way.
    pub under_way: u64,
    /// The most calls to models that were under way at once.
    pub most_at_once: u64,
    /// Tokens of prompts that were neither read from the cache nor written to it. Those of batches
    /// are counted apart, here and in what follows.
    pub input_tokens: u64,
    /// Tokens of prompts that the cache had.
    pub cache_read_tokens: u64,
    /// Tokens of prompts that the cache took in.
    pub cache_write_tokens: u64,
    /// Tokens of replies, as far as they were sent.
    pub output_tokens: u64,
    /// What batches were asked for.
    pub batches: BatchCounts,
}

/// What batches were asked for.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct BatchCounts {
    /// Batches that were created.
    pub created: u64,
    /// Items in them.
    pub items: u64,
    /// Items that ask for the very same as an item before: whatever they cost was paid twice.
    pub repeated_items: u64,
    /// Items whose prompt could not be accepted.
    pub invalid_items: u64,
    /// Tokens of the prompts of items that succeeded, counted when their results are first read.
    pub input_tokens: u64,
    /// Tokens of their replies.
    pub output_tokens: u64,
}

impl Counts {
    /// The calls of a route with an outcome.
    #[must_use]
    pub fn calls_of(&self, route: &str, outcome: &str) -> u64 {
        self.calls
            .get(route)
            .and_then(|outcomes| outcomes.get(outcome))
            .copied()
            .unwrap_or(0)
    }

    /// All calls of a route.
    #[must_use]
    pub fn all_calls_of(&self, route: &str) -> u64 {
        self.calls
            .get(route)
            .map_or(0, |outcomes| outcomes.values().sum())
    }

    pub(super) fn count(&mut self, route: &str, outcome: &str) {
        let outcomes = match self.calls.get_mut(route) {
            Some(outcomes) => outcomes,
            None => self.calls.entry(route.to_owned()).or_default(),
        };
        match outcomes.get_mut(outcome) {
            Some(count) => *count += 1,
            None => {
                outcomes.insert(outcome.to_owned(), 1);
            }
        }
    }
}
