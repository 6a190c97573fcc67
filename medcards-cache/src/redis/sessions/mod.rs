//! Sessions in Redis, as copies of those in a store.

mod copy;
mod untold;

use std::fmt;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use medcards_core::metric::{Metric, MetricSource};
use medcards_core::session::{Session, SessionKey, SessionStore};
use medcards_core::{Result, Timestamp, UserId};
use redis::{Script, cmd};
use tokio::time::{Instant, sleep};

use self::untold::Untold;
use super::Redis;
use super::duration::millis;

/// How long a copy is believed after the store was asked: so long may a session that was revoked
/// elsewhere be served if Redis could not be told of it.
const RECHECK: Duration = Duration::from_mins(5);

/// How many revoked sessions a process remembers to tell Redis of when it is back: 1 MB.
const UNTOLD_MAX: usize = 10_000;

/// How many of them are told at once.
const TOLD_AT_ONCE: usize = 100;

/// The first and the longest wait between two attempts to tell Redis.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Keeps a copy if nothing has changed since it was missed: a session that was revoked meanwhile
/// stays so. Says whether it did.
static KEEP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
         redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
         return 1",
    )
});

/// A store of sessions, with copies in Redis that all processes share.
///
/// The store is the truth, and Redis saves asking it: [`touch_session`](SessionStore::touch_session)
/// reads the copy, in one round trip, and believes it for five minutes after the store was asked. A
/// use that moves the end of a session on goes to the store at once, so that a session lives as long
/// as with the store alone. Whatever is missing in Redis is asked of the store and copied again, and
/// while Redis is away everything is asked of the store.
///
/// # Revoking
///
/// A session that was revoked ends in the store first, then in Redis, where a mark keeps slow
/// readers from bringing it back. If Redis cannot be told, this process no longer believes its copy
/// and goes on trying to tell it; other processes may serve the session for at most **five minutes**
/// after they asked the store last. The same holds for a mark that Redis itself loses, in a failover
/// or for want of memory.
///
/// # Limits
///
/// Every key expires within five minutes. Keys are the SHA-256 of the token, and copies hold no
/// more than the store does. A token that is none is asked of the store each time: limit by address
/// who may try.
///
/// Cloning it gives another handle on the same.
#[derive(Clone)]
pub struct RedisSessions<S> {
    store: S,
    redis: Redis,
    untold: Arc<Untold>,
    tally: Arc<Tally>,
}

/// Where sessions were found.
#[derive(Default)]
struct Tally {
    from_redis: AtomicU64,
    from_store: AtomicU64,
}

/// What Redis says of a session.
enum Copy {
    /// It must be asked of the store; what stood there, if only nothing, may be replaced.
    Ask { instead_of: Vec<u8> },
    /// Redis does not know, or is not to be believed: nothing is to be kept there.
    Away,
    /// It is good.
    Live(Session),
    /// It was revoked a moment ago.
    Revoked,
}

impl<S: SessionStore> RedisSessions<S> {
    /// Keeps copies of the sessions of `store`.
    #[must_use]
    pub fn new(store: S, redis: Redis) -> Self {
        Self {
            store,
            redis,
            untold: Arc::new(Untold::new(RECHECK, UNTOLD_MAX)),
            tally: Arc::default(),
        }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
    }

    /// How many revoked sessions Redis has not been told of yet. Above zero for longer than a moment
    /// only while it is away.
    #[must_use]
    pub fn untold(&self) -> usize {
        self.untold.len()
    }

    async fn look(&self, key: &SessionKey, now: Timestamp) -> Copy {
        if self.untold.has(key) {
            return Copy::Away;
        }
        let mut get = cmd("GET");
        get.arg(place(&self.redis, key));
        let patience = self.redis.patience();
        let bytes: Option<Vec<u8>> = match self.redis.query("find session", patience, &get).await {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::debug!(%error, "a session is asked of the store");
                return Copy::Away;
            }
        };
        let bytes = bytes.unwrap_or_default();
        if bytes == copy::REVOKED {
            return Copy::Revoked;
        }
        match copy::read(key, &bytes) {
            Some(session) if session.is_live(now) && session.slides_to(now).is_none() => {
                Copy::Live(session)
            }
            _ => Copy::Ask { instead_of: bytes },
        }
    }

    /// Copies what the store said when it was asked at `asked`.
    async fn keep(&self, session: &Session, asked: Instant, instead_of: &[u8]) {
        let left_ms = millis(RECHECK.saturating_sub(asked.elapsed()));
        let Some(bytes) = copy::write(session).filter(|_| left_ms > 0) else {
            return;
        };
        let mut keep = KEEP.key(place(&self.redis, &session.key));
        keep.arg(instead_of).arg(bytes).arg(left_ms);
        let patience = self.redis.patience();
        let kept: Result<u8> = self.redis.script("keep session", patience, &keep).await;
        if let Err(error) = kept {
            tracing::debug!(%error, "a session was not copied");
        }
    }

    /// Tells Redis of sessions that have ended in the store, now or as soon as it can be told.
    async fn tell(&self, keys: &[SessionKey]) {
        if keys.is_empty() {
            return;
        }
        self.untold.add(keys, Instant::now());
        // Also if this future is dropped half-way, or some were not told.
        let _later = TellLater(self);
        tell_all(&self.redis, &self.untold, keys).await;
    }
}

/// Has what is untold told in the background.
struct TellLater<'a, S>(&'a RedisSessions<S>);

impl<S> Drop for TellLater<'_, S> {
    fn drop(&mut self) {
        if self.0.untold.needs_telling() {
            let untold = Arc::clone(&self.0.untold);
            self.0
                .redis
                .spawn(|redis| async move { tell_on(&redis, &untold).await });
        }
    }
}

/// Tells Redis until there is nothing that it has to be told.
async fn tell_on(redis: &Redis, untold: &Untold) {
    let (first, longest) = PAUSE;
    let mut pause = first;
    loop {
        let keys = untold.next(TOLD_AT_ONCE, Instant::now());
        if keys.is_empty() {
            return;
        }
        if tell_all(redis, untold, &keys).await {
            pause = first;
        } else {
            sleep(pause).await;
            pause = (2 * pause).min(longest);
        }
    }
}

/// Tells Redis of some sessions, and says whether it has heard of all.
async fn tell_all(redis: &Redis, untold: &Untold, keys: &[SessionKey]) -> bool {
    let told = join_all(keys.iter().map(|key| tell_one(redis, untold, key))).await;
    told.into_iter().all(|is_told| is_told)
}

async fn tell_one(redis: &Redis, untold: &Untold, key: &SessionKey) -> bool {
    let mut set = cmd("SET");
    set.arg(place(redis, key)).arg(copy::REVOKED);
    set.arg("PX").arg(RECHECK.as_secs() * 1_000);
    let told: Result<()> = redis.query("revoke session", redis.patience(), &set).await;
    match told {
        Ok(()) => {
            untold.remove(key);
            true
        }
        Err(error) => {
            tracing::debug!(%error, "Redis was not told of a revoked session yet");
            false
        }
    }
}

/// Where a session is: each on the server of a cluster that its digest falls on.
fn place(redis: &Redis, key: &SessionKey) -> String {
    let mut digest = String::with_capacity(64);
    for byte in key.as_bytes() {
        // Writing to a string never fails.
        let _ = write!(digest, "{byte:02x}");
    }
    redis.key(&digest, "session")
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: SessionStore> SessionStore for RedisSessions<S> {
    async fn create_session(&self, session: &Session) -> Result<Vec<SessionKey>> {
        let ended = self.store.create_session(session).await?;
        self.tell(&ended).await;
        Ok(ended)
    }

    async fn touch_session(&self, key: &SessionKey, now: Timestamp) -> Result<Option<Session>> {
        let looked = self.look(key, now).await;
        let from = match &looked {
            Copy::Live(_) | Copy::Revoked => &self.tally.from_redis,
            Copy::Ask { .. } | Copy::Away => &self.tally.from_store,
        };
        from.fetch_add(1, Ordering::Relaxed);
        let instead_of = match looked {
            Copy::Live(session) => return Ok(Some(session)),
            Copy::Revoked => return Ok(None),
            Copy::Ask { instead_of } => Some(instead_of),
            Copy::Away => None,
        };
        let asked = Instant::now();
        let found = self.store.touch_session(key, now).await?;
        if let (Some(session), Some(instead_of)) = (&found, instead_of) {
            self.keep(session, asked, &instead_of).await;
        }
        Ok(found)
    }

    async fn list_sessions(&self, user_id: UserId, now: Timestamp) -> Result<Vec<Session>> {
        self.store.list_sessions(user_id, now).await
    }

    async fn revoke_session(&self, user_id: UserId, key: &SessionKey) -> Result<bool> {
        let revoked = self.store.revoke_session(user_id, key).await?;
        if revoked {
            self.tell(&[*key]).await;
        }
        Ok(revoked)
    }

    async fn revoke_sessions(&self, user_id: UserId) -> Result<Vec<SessionKey>> {
        let revoked = self.store.revoke_sessions(user_id).await?;
        self.tell(&revoked).await;
        Ok(revoked)
    }
}

impl<S: SessionStore> MetricSource for RedisSessions<S> {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        const NAME: &str = "medcards_session_lookups_total";
        const HELP: &str = "How often a session was looked up, by who knew of it.";
        for (from, count) in [
            ("redis", &self.tally.from_redis),
            ("store", &self.tally.from_store),
        ] {
            let count = count.load(Ordering::Relaxed);
            metrics.push(Metric::counter(NAME, HELP, count).with_label("from", from));
        }
        metrics.push(Metric::gauge(
            "medcards_session_revocations_untold",
            "How many revoked sessions Redis has not been told of yet.",
            self.untold.len() as f64,
        ));
    }
}

impl<S: fmt::Debug> fmt::Debug for RedisSessions<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSessions")
            .field("store", &self.store)
            .field("redis", &self.redis)
            .field("untold", &self.untold.len())
            .finish()
    }
}

impl<S: fmt::Display> fmt::Display for RedisSessions<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisSessions({})", self.store)
    }
}
