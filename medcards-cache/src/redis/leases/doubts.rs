//! Leases that were asked for, and of which no answer came: they may have been given to nobody.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::Script;
use tokio::time::sleep;

use super::{PATIENCE, Redis};

/// The most wishes that are remembered: as many as can be asked for while Redis is found to be away,
/// many times over. What goes beyond runs out by itself.
const WISHES_MAX: usize = 1_000;

/// The first and the longest wait between two attempts.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Gives a lease back, if this wish for it was granted.
static GIVE_BACK_SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local own = redis.call('HMGET', KEYS[1], 'by', 'state')
        if own[1] == ARGV[1] and own[2] == 'held' then redis.call('DEL', KEYS[1], KEYS[2]) end",
    )
});

/// A wish for a lease.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// The names of the lease and of its words.
    pub(super) keys: [String; 2],
    /// Tells it from all others.
    pub(super) name: String,
}

/// Wishes to be withdrawn.
#[derive(Debug, Default)]
pub(super) struct Doubts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    wishes: VecDeque<Wish>,
    is_working: bool,
}

/// Withdraws a wish when it is dropped, unless it is [settled](Self::settle).
pub(super) struct Doubt<'a> {
    redis: &'a Redis,
    doubts: &'a Arc<Doubts>,
    wish: Option<Wish>,
}

impl Doubts {
    /// Begins to doubt a wish that is about to be made.
    pub(super) fn about<'a>(self: &'a Arc<Self>, redis: &'a Redis, wish: Wish) -> Doubt<'a> {
        Doubt {
            redis,
            doubts: self,
            // Then it is not even sent.
            wish: Some(wish).filter(|_| !redis.is_away()),
        }
    }

    /// Remembers a wish, and says whether somebody has to begin to work.
    fn add(&self, wish: Wish) -> bool {
        let mut state = self.state();
        if state.wishes.len() >= WISHES_MAX {
            return false;
        }
        state.wishes.push_back(wish);
        !std::mem::replace(&mut state.is_working, true)
    }

    /// The next wish, or none and the work is over.
    fn next(&self) -> Option<Wish> {
        let mut state = self.state();
        let next = state.wishes.pop_front();
        state.is_working = next.is_some();
        next
    }

    /// Puts a wish off. Others go first: in a Cluster one node may be away.
    fn put_off(&self, wish: Wish) {
        self.state().wishes.push_back(wish);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Withdraws all wishes, however long Redis is away: it may grant them when it goes on.
    async fn work(&self, redis: &Redis) {
        let (first, longest) = PAUSE;
        let mut pause = first;
        while let Some(wish) = self.next() {
            let [lease, words] = &wish.keys;
            let mut script = GIVE_BACK_SCRIPT.key(lease);
            script.key(words).arg(&wish.name);
            let done = redis.script::<()>("give a lease back", PATIENCE, &script);
            match done.await {
                Err(error) if error.kind().is_transient() => {
                    self.put_off(wish);
                    sleep(pause).await;
                    pause = (2 * pause).min(longest);
                }
                Ok(()) | Err(_) => pause = first,
            }
        }
    }
}

impl Doubt<'_> {
    /// It is known what became of the wish.
    pub(super) fn settle(mut self) {
        self.wish = None;
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        let Some(wish) = self.wish.take() else {
            return;
        };
        if self.doubts.add(wish) {
            let doubts = Arc::clone(self.doubts);
            self.redis
                .spawn(|redis| async move { doubts.work(&redis).await });
        }
    }
}
