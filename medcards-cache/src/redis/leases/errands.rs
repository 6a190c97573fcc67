//! What is to be said to Redis of leases when it answers again.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use medcards_core::Result;
use redis::Script;
use tokio::time::{Instant, sleep};

use super::{END, PATIENCE, Redis, Written};
use crate::lock::lock;

/// The most errands that are remembered: as many as come up while Redis is found to be away, many
/// times over. What goes beyond runs out by itself.
const ERRANDS_MAX: usize = 1_000;

/// The first and the longest wait between two attempts.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Gives a lease back, if this wish for it was granted.
static GIVE_BACK_SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local own = redis.call('HMGET', KEYS[1], 'by', 'state')
        if own[1] == ARGV[1] and own[2] == 'held' then redis.call('DEL', KEYS[1], KEYS[2]) end",
    )
});

/// Something to be said.
#[derive(Clone, Debug)]
pub(super) enum Errand {
    /// A lease that was asked for, and of which no answer came: it may have been given to nobody, also
    /// long afterwards, when a Redis that was suspended goes on.
    GiveBack(Wish),
    /// A lease has ended. After the time it has run out, and nothing needs to be said.
    End(Written, Instant),
}

/// A wish for a lease.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// The names of the lease and of its words.
    pub(super) keys: [String; 2],
    /// Tells it from all others.
    pub(super) name: String,
}

/// All that is to be said.
#[derive(Debug, Default)]
pub(super) struct Errands(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Errand>,
    is_working: bool,
}

/// Has a wish withdrawn when it is dropped, unless it is [settled](Self::settle).
pub(super) struct Doubt<'a> {
    redis: &'a Redis,
    errands: &'a Arc<Errands>,
    wish: Option<Wish>,
}

impl Errands {
    /// Begins to doubt a wish that is about to be made.
    pub(super) fn doubt<'a>(self: &'a Arc<Self>, redis: &'a Redis, wish: Wish) -> Doubt<'a> {
        Doubt {
            redis,
            errands: self,
            // Then it is not even sent.
            wish: Some(wish).filter(|_| !redis.is_away()),
        }
    }

    /// Has something said in the background.
    pub(super) fn run(self: &Arc<Self>, redis: &Redis, errand: Errand) {
        {
            let mut state = lock(&self.0);
            if state.waiting.len() >= ERRANDS_MAX {
                return;
            }
            state.waiting.push_back(errand);
            if std::mem::replace(&mut state.is_working, true) {
                return;
            }
        }
        let errands = Arc::clone(self);
        redis.spawn(|redis| async move { errands.work(&redis).await });
    }

    /// The next, or none and the work is over.
    fn next(&self) -> Option<Errand> {
        let mut state = lock(&self.0);
        let next = state.waiting.pop_front();
        state.is_working = next.is_some();
        next
    }

    /// Puts one off. Others go first: in a Cluster one node may be away.
    fn put_off(&self, errand: Errand) {
        lock(&self.0).waiting.push_back(errand);
    }

    async fn work(&self, redis: &Redis) {
        let (first, longest) = PAUSE;
        let mut pause = first;
        while let Some(errand) = self.next() {
            match errand.run(redis).await {
                Err(error) if error.kind().is_transient() => {
                    self.put_off(errand);
                    sleep(pause).await;
                    pause = (2 * pause).min(longest);
                }
                Ok(()) | Err(_) => pause = first,
            }
        }
    }
}

impl Errand {
    async fn run(&self, redis: &Redis) -> Result<()> {
        match self {
            Self::GiveBack(wish) => {
                let [lease, words] = &wish.keys;
                let mut script = GIVE_BACK_SCRIPT.key(lease);
                script.key(words).arg(&wish.name);
                redis.script("give a lease back", PATIENCE, &script).await
            }
            Self::End(_, until) if Instant::now() >= *until => Ok(()),
            Self::End(written, _) => {
                let shown: Result<i64> = redis.script(END, PATIENCE, &written.script()).await;
                shown.map(drop)
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
        if let Some(wish) = self.wish.take() {
            self.errands.run(self.redis, Errand::GiveBack(wish));
        }
    }
}
