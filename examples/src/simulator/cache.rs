//! The provider's cache of beginnings of prompts.

use std::collections::{HashMap, VecDeque};

/// The most beginnings that are remembered: the oldest go first.
const PREFIXES_MAX: usize = 10_000;

/// A beginning of a prompt up to a mark, and how long it stays.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix {
    pub(super) hash: u64,
    pub(super) tokens: u64,
    pub(super) lives_us: u64,
}

/// The tokens of a prompt that were read from the cache, and those that were written to it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Cached {
    pub(super) read: u64,
    pub(super) written: u64,
}

#[derive(Debug, Default)]
pub(super) struct PromptCache {
    ends_us: HashMap<u64, u64>,
    in_order: VecDeque<u64>,
}

impl PromptCache {
    /// Finds the longest beginning that is cached, and keeps the others.
    ///
    /// A beginning shorter than the least is not cached, and nobody is told.
    pub(super) fn pass(&mut self, prefixes: &[Prefix], tokens_min: u64, now_us: u64) -> Cached {
        let long = prefixes.iter().filter(|prefix| prefix.tokens >= tokens_min);
        let mut read = 0;
        let mut longest = 0;
        for prefix in long {
            longest = longest.max(prefix.tokens);
            if self
                .ends_us
                .get(&prefix.hash)
                .is_some_and(|end| *end > now_us)
            {
                read = read.max(prefix.tokens);
            }
            // Reading one makes it live on.
            self.keep(prefix, now_us);
        }
        Cached {
            read,
            written: longest - read,
        }
    }

    fn keep(&mut self, prefix: &Prefix, now_us: u64) {
        let end = now_us.saturating_add(prefix.lives_us);
        if self.ends_us.insert(prefix.hash, end).is_none() {
            self.in_order.push_back(prefix.hash);
        }
        if self.in_order.len() > PREFIXES_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.ends_us.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(hash: u64, tokens: u64) -> Prefix {
        Prefix {
            hash,
            tokens,
            lives_us: 100,
        }
    }

    #[test]
    fn the_longest_cached_beginning_is_read_and_the_rest_written() {
        let mut cache = PromptCache::default();
        let written = |written| Cached { read: 0, written };
        assert_eq!(cache.pass(&[prefix(1, 9)], 10, 0), written(0));
        assert_eq!(cache.pass(&[prefix(2, 10)], 10, 0), written(10));
        let longer = [prefix(2, 10), prefix(3, 25)];
        assert_eq!(
            cache.pass(&longer, 10, 50),
            Cached {
                read: 10,
                written: 15
            }
        );
        assert_eq!(
            cache.pass(&longer, 10, 149),
            Cached {
                read: 25,
                written: 0
            }
        );
        assert_eq!(cache.pass(&longer, 10, 249), written(25));
    }

    #[test]
    fn it_remembers_no_more_than_it_may() {
        let mut cache = PromptCache::default();
        for hash in 0..=PREFIXES_MAX as u64 {
            cache.pass(&[prefix(hash, 10)], 1, 0);
        }
        assert_eq!(cache.ends_us.len(), PREFIXES_MAX);
        assert_eq!(cache.pass(&[prefix(0, 10)], 1, 0).read, 0);
    }
}
