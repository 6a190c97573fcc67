mod errands;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::cache::{CacheEntry, Lifetime};
use medcards_core::feedback::{Feedback, FeedbackKey, Shared};
use medcards_core::lease::{
    FeedbackLeases, Fence, Lease, LeaseEnd, LeaseHold, LeaseState, LeaseTurn, LeaseView,
};
use medcards_core::metric::{Metric, MetricSource};
use medcards_core::{Error, ErrorKind, Result};
use redis::{Script, ScriptInvocation};
use tokio::time::Instant;

use self::errands::{Errand, Errands, Wish};
use super::Redis;
use super::cache::payload;
use super::duration::millis;

const TAKE: &str = "take lease in Redis";
const PUSH: &str = "show words in Redis";
const END: &str = "end lease in Redis";
const FOLLOW: &str = "follow lease in Redis";

/// How long a holder is believed to be alive without a sign of it. It gives one every third of that,
/// so that one that is lost or late costs nothing; a student waits for a dead one no longer.
const TTL: Duration = Duration::from_secs(5);

/// How long Redis may take for a call. One live call made twice costs more than this wait, before
/// which a student waits for a model anyway.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long followers can read how a lease ended: far longer than they wait between two looks.
const ENDED_FOR: Duration = Duration::from_secs(10);

/// The longest pause after a failed call that is kept; see
/// [`ResolverConfig::rejection_ttl`](medcards_core::feedback::ResolverConfig).
const PAUSE_MAX: Duration = Duration::from_hours(1);

/// What scripts begin with that write a lease: they may when Redis is full. Else a lease could be taken
/// there, since that deletes before it writes, and neither renewed nor ended, and others would wait for
/// it to run out. It takes some kilobytes for each live call, for seconds.
const THOUGH_FULL: &str = "#!lua flags=allow-oom\n";

/// Gives the lease unless it is held or paused: the state, then its fence or the pause that is left.
///
/// The fence is the time of the server in microseconds, or one more than the last if that is greater:
/// so it grows also when everything was lost.
static TAKE_SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    let take = "
        local now = redis.call('TIME')
        local last = redis.call('HMGET', KEYS[1], 'fence', 'state')
        if last[2] == 'held' then return {'followed', last[1]} end
        if last[2] == 'failed' then return {'failed', redis.call('PTTL', KEYS[1])} end
        local fence = now[1] * 1000000 + now[2]
        if last[1] and tonumber(last[1]) >= fence then fence = tonumber(last[1]) + 1 end
        fence = string.format('%.0f', fence)
        redis.call('DEL', KEYS[1], KEYS[2])
        redis.call('HSET', KEYS[1], 'fence', fence, 'state', 'held', 'by', ARGV[2])
        redis.call('PEXPIRE', KEYS[1], ARGV[1])
        return {'held', fence}";
    Script::new(&[THOUGH_FULL, take].concat())
});

/// What push and end begin with: whether the lease is its holder's. One that ran out and that nobody
/// took is.
const OWN: &str = "
    local own = redis.call('HMGET', KEYS[1], 'fence', 'state')
    if own[1] and (own[1] ~= ARGV[1] or own[2] ~= 'held') then return -1 end
    local shown = redis.call('LLEN', KEYS[2])
";

/// Adds the words that are not there yet, and renews: how many are there, or -1 if it is lost.
static PUSH_SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    let add = "
        redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'state', 'held')
        redis.call('PEXPIRE', KEYS[1], ARGV[2])
        if shown >= tonumber(ARGV[3]) then
            for i = 4 + shown - ARGV[3], #ARGV do shown = redis.call('RPUSH', KEYS[2], ARGV[i]) end
        end
        redis.call('PEXPIRE', KEYS[2], ARGV[2])
        return shown";
    Script::new(&[THOUGH_FULL, OWN, add].concat())
});

/// Ends the lease: how many words are there, or -1 if it is lost.
static END_SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    let end = "
        if ARGV[3] == 'released' then
            redis.call('DEL', KEYS[1], KEYS[2])
            return shown
        end
        redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'state', ARGV[3], 'end', ARGV[4])
        if ARGV[3] == 'failed' then redis.call('DEL', KEYS[2]) end
        redis.call('PEXPIRE', KEYS[1], ARGV[2])
        redis.call('PEXPIRE', KEYS[2], ARGV[2])
        return shown";
    Script::new(&[THOUGH_FULL, OWN, end].concat())
});

/// Reads a lease: its state, its end, and the words after some others.
static FOLLOW_SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local own = redis.call('HMGET', KEYS[1], 'fence', 'state', 'end')
        if own[1] ~= ARGV[1] then return {'vacant', '', {}} end
        return {own[2], own[3] or '', redis.call('LRANGE', KEYS[2], ARGV[2], -1)}",
    )
});

/// Leases in Redis, for all processes that share it.
///
/// A lease lasts five seconds after the last sign of life of its holder. All of a key is gone ten
/// seconds after its last lease ended, or after the pause of a failed call; nothing is kept without
/// an expiry. Each call is one round trip and one atomic script, with at most 0.25 s of patience.
///
/// When Redis loses everything in the middle of a call, its holder shows all of it again; if another
/// was faster to take the lease, that one call more is made.
///
/// A wish for a lease that Redis does not answer in time may be granted later, when nobody waits for
/// it any more. It is withdrawn as soon as Redis answers, so that nobody follows a lease of nobody. The
/// end of a lease that Redis could not be told is told then too, unless the lease has run out.
#[derive(Clone)]
pub struct RedisLeases {
    redis: Redis,
    ttl: Duration,
    errands: Arc<Errands>,
    tally: Arc<Tally>,
}

#[derive(Default)]
struct Tally {
    /// How many wishes for a lease there were.
    wishes: AtomicU64,
    held: AtomicU64,
    followed: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
    away: AtomicU64,
}

impl RedisLeases {
    /// Leases that last five seconds.
    #[must_use]
    pub fn new(redis: &Redis) -> Self {
        Self {
            redis: redis.clone(),
            ttl: TTL,
            errands: Arc::default(),
            tally: Arc::default(),
        }
    }

    /// Says how long a lease lasts without a sign of life. Default: 5 seconds.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// The names of a lease and of its words, which are on the same server of a cluster.
    fn keys(&self, key: &FeedbackKey) -> [String; 2] {
        ["lease", "words"].map(|what| {
            let rest = format_args!("{what}:{key}");
            self.redis.key(key.case_id, rest)
        })
    }

    fn wish(&self, key: &FeedbackKey) -> Wish {
        let number = self.tally.wishes.fetch_add(1, Ordering::Relaxed);
        Wish {
            keys: self.keys(key),
            name: format!("{}-{number}", self.redis.process_id()),
        }
    }

    /// Counts a call that failed.
    fn counted<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|_| {
            self.tally.away.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn hold(&self, shown: i64) -> LeaseHold {
        match usize::try_from(shown) {
            Ok(shown) => LeaseHold::Held { shown },
            Err(_) => {
                self.tally.lost.fetch_add(1, Ordering::Relaxed);
                LeaseHold::Lost
            }
        }
    }
}

/// The end of a lease as it is written down.
#[derive(Clone, Debug)]
struct Written {
    keys: [String; 2],
    fence: Fence,
    kept_for: Duration,
    state: &'static str,
    bytes: Vec<u8>,
}

impl Written {
    fn script(&self) -> ScriptInvocation<'static> {
        let [lease, words] = &self.keys;
        let mut script = END_SCRIPT.key(lease);
        script.key(words).arg(self.fence.get());
        script.arg(expiry_ms(self.kept_for)).arg(self.state);
        script.arg(&*self.bytes);
        script
    }
}

/// Milliseconds for an expiry, of which there is none of zero.
fn expiry_ms(time: Duration) -> u64 {
    millis(time).max(1)
}

fn damaged(operation: &'static str) -> Error {
    let context = "what is kept of the lease cannot be read: another version may have written it";
    Error::new(ErrorKind::Corrupt, operation, context)
}

/// A feedback as the cache writes it; a lease has no use for its lifetime.
fn written(feedback: &Feedback<Shared>) -> Option<Vec<u8>> {
    let at = feedback.written_at;
    let lifetime = Lifetime {
        fresh_until: at,
        revalidate_until: at,
        keep_until: at,
    };
    let payload = payload::write(&CacheEntry::new(feedback.clone(), lifetime))?;
    Some(payload.bytes)
}

#[async_trait]
impl FeedbackLeases for RedisLeases {
    fn ttl(&self) -> Duration {
        self.ttl
    }

    async fn take(&self, key: &FeedbackKey) -> Result<LeaseTurn> {
        let wish = self.wish(key);
        let [lease, words] = &wish.keys;
        let mut script = TAKE_SCRIPT.key(lease);
        script.key(words).arg(expiry_ms(self.ttl)).arg(&wish.name);
        let doubt = self.errands.doubt(&self.redis, wish);
        let taken = self.redis.script(TAKE, PATIENCE, &script).await;
        if !matches!(&taken, Err(error) if error.kind().is_transient()) {
            doubt.settle();
        }
        let (state, number): (String, i64) = self.counted(taken)?;
        let number = u64::try_from(number).unwrap_or(0);
        let (count, turn) = match &*state {
            "followed" => {
                let fence = Fence::new(number);
                (&self.tally.followed, LeaseTurn::Followed(fence))
            }
            "failed" => {
                let left = Duration::from_millis(number);
                (&self.tally.failed, LeaseTurn::Failed(left))
            }
            "held" => {
                let fence = Fence::new(number);
                let key = key.clone();
                let lease = Lease { key, fence };
                (&self.tally.held, LeaseTurn::Held(lease))
            }
            _ => return Err(damaged(TAKE)),
        };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(turn)
    }

    async fn push(&self, lease: &Lease, shown: usize, deltas: &[Arc<str>]) -> Result<LeaseHold> {
        let [own, words] = self.keys(&lease.key);
        let mut script = PUSH_SCRIPT.key(own);
        script.key(words).arg(lease.fence.get());
        script.arg(expiry_ms(self.ttl)).arg(shown);
        for delta in deltas {
            script.arg(&**delta);
        }
        let pushed = self.redis.script(PUSH, PATIENCE, &script).await;
        Ok(self.hold(self.counted(pushed)?))
    }

    async fn end(&self, lease: &Lease, end: &LeaseEnd) -> Result<LeaseHold> {
        let (kept_for, state, bytes) = match end {
            LeaseEnd::Failed(pause) => ((*pause).min(PAUSE_MAX), "failed", Vec::new()),
            LeaseEnd::Released => (ENDED_FOR, "released", Vec::new()),
            LeaseEnd::Written(feedback) => match written(feedback) {
                Some(bytes) => (ENDED_FOR, "written", bytes),
                // Others find it in the cache, or have it written again.
                None => (ENDED_FOR, "released", Vec::new()),
            },
        };
        let written = Written {
            keys: self.keys(&lease.key),
            fence: lease.fence,
            kept_for,
            state,
            bytes,
        };
        let ended = self.redis.script(END, PATIENCE, &written.script()).await;
        if matches!(&ended, Err(error) if error.kind().is_transient()) {
            let errand = Errand::End(written, Instant::now() + self.ttl);
            self.errands.run(&self.redis, errand);
        }
        Ok(self.hold(self.counted(ended)?))
    }

    async fn follow(&self, key: &FeedbackKey, fence: Fence, read: usize) -> Result<LeaseView> {
        let [own, words] = self.keys(key);
        let mut script = FOLLOW_SCRIPT.key(own);
        script.key(words).arg(fence.get()).arg(read);
        let seen = self.redis.script(FOLLOW, PATIENCE, &script).await;
        let (state, end, words): (String, Vec<u8>, Vec<String>) = self.counted(seen)?;
        let state = match &*state {
            "vacant" => LeaseState::Vacant,
            "held" => LeaseState::Held,
            // For how long is told to who asks for the lease.
            "failed" => LeaseState::Ended(LeaseEnd::Failed(self.failed_for(key).await?)),
            "written" => {
                let entry = payload::read(&end).ok_or_else(|| damaged(FOLLOW))?;
                let feedback = Box::new(entry.feedback().clone());
                LeaseState::Ended(LeaseEnd::Written(feedback))
            }
            _ => return Err(damaged(FOLLOW)),
        };
        Ok(LeaseView {
            deltas: words.into_iter().map(Arc::from).collect(),
            state,
        })
    }
}

impl RedisLeases {
    /// What is left of the pause after a failed call.
    async fn failed_for(&self, key: &FeedbackKey) -> Result<Duration> {
        let [own, _] = self.keys(key);
        let mut command = redis::cmd("PTTL");
        let left = self.redis.query(FOLLOW, PATIENCE, command.arg(own)).await;
        let left: i64 = self.counted(left)?;
        Ok(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
    }
}

impl MetricSource for RedisLeases {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        for (outcome, count) in [
            ("held", &self.tally.held),
            ("followed", &self.tally.followed),
            ("failed", &self.tally.failed),
            ("lost", &self.tally.lost),
            ("away", &self.tally.away),
        ] {
            let help = "Leases of live calls, by what became of them.";
            let count = count.load(Ordering::Relaxed);
            let metric = Metric::counter("medcards_redis_leases_total", help, count);
            metrics.push(metric.with_label("outcome", outcome));
        }
    }
}

impl fmt::Debug for RedisLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLeases")
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for RedisLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisLeases")
    }
}
