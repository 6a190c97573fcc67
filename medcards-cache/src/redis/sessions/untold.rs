use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use medcards_core::session::SessionKey;
use tokio::time::Instant;

use crate::lock::lock;

/// The revoked sessions of which Redis has not been told yet.
///
/// After some time nobody has to be told any more, because no copy from before is left.
#[derive(Debug)]
pub(super) struct Untold {
    state: Mutex<State>,
    kept_for: Duration,
    keys_max: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Until when each matters.
    until: HashMap<SessionKey, Instant>,
    is_being_told: bool,
}

impl Untold {
    pub(super) fn new(kept_for: Duration, keys_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            kept_for,
            keys_max,
        }
    }

    /// Adds sessions. If there is no room, those that matter for the shortest time go.
    pub(super) fn add(&self, keys: &[SessionKey], now: Instant) {
        let mut state = lock(&self.state);
        for key in keys {
            if state.until.len() >= self.keys_max && !state.until.contains_key(key) {
                state.make_room(now);
            }
            state.until.insert(*key, now + self.kept_for);
        }
    }

    pub(super) fn has(&self, key: &SessionKey) -> bool {
        lock(&self.state).until.contains_key(key)
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.state).until.len()
    }

    pub(super) fn remove(&self, key: &SessionKey) {
        lock(&self.state).until.remove(key);
    }

    /// Whether somebody has to begin to tell them: `true` once, until [`next`](Self::next) has none.
    pub(super) fn needs_telling(&self) -> bool {
        let mut state = lock(&self.state);
        let begins = !state.until.is_empty() && !state.is_being_told;
        state.is_being_told |= begins;
        begins
    }

    /// Some of those that still matter; none ends the telling.
    pub(super) fn next(&self, count_max: usize, now: Instant) -> Vec<SessionKey> {
        let mut state = lock(&self.state);
        state.until.retain(|_, until| now < *until);
        state.is_being_told = !state.until.is_empty();
        state.until.keys().take(count_max).copied().collect()
    }
}

impl State {
    fn make_room(&mut self, now: Instant) {
        self.until.retain(|_, until| now < *until);
        let first = self.until.iter().min_by_key(|(_, until)| **until);
        if let Some((key, _)) = first.map(|(key, until)| (*key, *until)) {
            tracing::warn!(
                "so many sessions were revoked while Redis is away that other processes may go on \
                 serving one for minutes"
            );
            self.until.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> SessionKey {
        SessionKey::from_bytes([n; 32])
    }

    #[test]
    fn the_oldest_give_way_and_all_are_forgotten_in_time() {
        let untold = Untold::new(Duration::from_secs(10), 3);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for n in 0..5 {
            untold.add(&[key(n)], at(u64::from(n)));
        }
        let mut left = untold.next(10, at(5));
        left.sort_unstable();
        assert_eq!(left, [key(2), key(3), key(4)]);
        assert_eq!(untold.next(2, at(5)).len(), 2);
        assert_eq!(untold.next(10, at(13)), [key(4)]);
        assert_eq!(untold.next(10, at(14)), []);
    }

    #[test]
    fn one_at_a_time_tells() {
        let untold = Untold::new(Duration::from_secs(10), 3);
        let now = Instant::now();
        assert!(!untold.needs_telling(), "there is nothing to tell");
        untold.add(&[key(1)], now);
        assert!(untold.needs_telling());
        untold.add(&[key(2)], now);
        assert!(!untold.needs_telling(), "somebody does");
        for key in untold.next(10, now) {
            untold.remove(&key);
        }
        assert_eq!(untold.next(10, now), []);
        untold.add(&[key(3)], now);
        assert!(untold.needs_telling(), "whoever did has ended");
    }
}
