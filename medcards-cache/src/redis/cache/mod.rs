//! Feedback that all processes share.
//!
//! All entries of a case are fields of one hash in Redis, named after the case. So a purge deletes
//! one key, whatever others put at the same time, and nothing has to be searched for. The hash lives
//! as long as the entry that lives longest; each entry says itself how long it is kept, and each put
//! looks at a few others and deletes those whose time is over.

mod counts;
mod log;
pub(super) mod payload;

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use futures_util::future::join_all;
use medcards_core::cache::{Cache, CacheEntry, CacheHit, Stage};
use medcards_core::feedback::{FeedbackKey, Tier};
use medcards_core::time::Clock;
use medcards_core::{CaseId, Result, Timestamp};
use redis::{Cmd, Script};

pub use self::counts::RedisCacheCounts;
use self::counts::Tally;
use super::Redis;

/// The most entries of one case: eight versions with 32 choices each. A case that has more is begun
/// anew, so that no case can fill Redis.
const ENTRIES_PER_CASE_MAX: u32 = 256;

/// How many other entries of its case a put looks at. Each put adds at most one, so that at most a
/// quarter of a case can be entries whose time is over.
const LOOKED_AT_PER_PUT: u32 = 4;

/// How long the name of an entry is with most models, and a command that looks for one.
const FIELD_LEN: usize = 64;
const COMMAND_LEN: usize = 256;

static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local hash, field, payload, keep_ms, now_ms = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
         if redis.call('HSET', hash, field, payload) == 1 then
             local others = redis.call('HRANDFIELD', hash, ARGV[5], 'WITHVALUES')
             for at = 1, #others, 2 do
                 local other = others[at + 1]
                 if #other < 10 or struct.unpack('>I8', other, 3) <= tonumber(now_ms) then
                     redis.call('HDEL', hash, others[at])
                 end
             end
             if redis.call('HLEN', hash) > tonumber(ARGV[6]) then
                 redis.call('UNLINK', hash)
                 redis.call('HSET', hash, field, payload)
             end
         end
         if redis.call('PTTL', hash) < tonumber(keep_ms) then
             redis.call('PEXPIRE', hash, keep_ms)
         end",
    )
});

/// Keeps feedback in Redis, for every process. Cloning gives a handle on the same.
///
/// By itself it tells no process what another removed, which matters to those that keep entries in
/// their memory too: for them there is [`TieredCache`](crate::TieredCache).
///
/// An entry that cannot be read, because it is damaged or of a newer program, is a miss. So is one
/// whose time is over. An entry of more than 1 MiB is not kept.
///
/// # Cancel safety
/// As with [`Redis`]: a dropped call may have been carried out.
#[derive(Clone)]
pub struct RedisCache {
    redis: Redis,
    clock: Arc<dyn Clock>,
    tally: Arc<Tally>,
    log_kept_at_us: Arc<AtomicU64>,
}

impl RedisCache {
    /// Makes a cache that tells the time by this clock.
    #[must_use]
    pub fn new(redis: Redis, clock: Arc<dyn Clock>) -> Self {
        Self {
            redis,
            clock,
            tally: Arc::default(),
            log_kept_at_us: Arc::default(),
        }
    }

    /// What it has found, kept and missed so far.
    #[must_use]
    pub fn counts(&self) -> RedisCacheCounts {
        self.tally.counts()
    }

    fn hash(&self, case_id: CaseId) -> String {
        let version = payload::VERSION;
        self.redis.key(case_id, format_args!("feedback{version}"))
    }

    /// Reads what was found.
    fn hit(&self, payload: Option<Vec<u8>>, now: Timestamp) -> Option<CacheHit> {
        let found = payload.and_then(|payload| {
            Tally::add(&self.tally.bytes_read, payload.len() as u64);
            let entry = payload::read(&payload);
            if entry.is_none() {
                Tally::add(&self.tally.unreadable, 1);
            }
            entry.filter(|entry| entry.lifetime().stage(now) != Stage::Expired)
        });
        let count = match found {
            Some(_) => &self.tally.hits,
            None => &self.tally.misses,
        };
        Tally::add(count, 1);
        found.map(|entry| CacheHit {
            entry: Arc::new(entry),
            tier: Tier::Remote,
        })
    }

    async fn query<T: redis::FromRedisValue>(
        &self,
        operation: &'static str,
        command: &Cmd,
    ) -> Result<T> {
        let patience = self.redis.patience();
        self.redis.query(operation, patience, command).await
    }
}

/// The name of an entry among those of its case.
fn field(key: &FeedbackKey) -> String {
    let FeedbackKey {
        case_id: _,
        case_version,
        chosen,
        locale,
        prompt_version,
        model,
    } = key;
    let bits = chosen.bits();
    let mut field = String::with_capacity(FIELD_LEN);
    // Writing to a string never fails.
    let _ = write!(
        field,
        "{case_version}/{bits:x}/{locale}/{prompt_version}/{model}"
    );
    field
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Cache for RedisCache {
    fn get_local(&self, _key: &FeedbackKey) -> Option<Arc<CacheEntry>> {
        None
    }

    async fn get(&self, key: &FeedbackKey) -> Result<Option<CacheHit>> {
        let mut command = Cmd::with_capacity(3, COMMAND_LEN);
        command
            .arg("HGET")
            .arg(self.hash(key.case_id))
            .arg(field(key));
        let payload = self.query("find cached feedback", &command).await;
        let payload = payload.inspect_err(|_| Tally::add(&self.tally.failures, 1))?;
        Ok(self.hit(payload, self.clock.now()))
    }

    /// Asks once for each case, all at the same time. Where a part of a Cluster is away, its keys are
    /// misses; only if nobody answers it is an error.
    async fn get_many(&self, keys: &[FeedbackKey]) -> Result<Vec<Option<CacheHit>>> {
        const OPERATION: &str = "find many cached feedbacks";
        let mut places: HashMap<CaseId, Vec<usize>> = HashMap::new();
        for (place, key) in keys.iter().enumerate() {
            places.entry(key.case_id).or_default().push(place);
        }
        let asked = places.into_iter().map(async |(case_id, places)| {
            let mut command = redis::cmd("HMGET");
            command.arg(self.hash(case_id));
            for &place in &places {
                command.arg(field(&keys[place]));
            }
            let found: Result<Vec<Option<Vec<u8>>>> = self.query(OPERATION, &command).await;
            (places, found)
        });
        let mut hits = vec![None; keys.len()];
        let now = self.clock.now();
        let (mut answers, mut error) = (0, None);
        for (places, found) in join_all(asked).await {
            match found {
                Ok(found) => {
                    answers += 1;
                    for (place, payload) in places.into_iter().zip(found) {
                        hits[place] = self.hit(payload, now);
                    }
                }
                Err(failed) => {
                    Tally::add(&self.tally.failures, 1);
                    error = Some(failed);
                }
            }
        }
        match error {
            Some(error) if answers == 0 => Err(error),
            _ => Ok(hits),
        }
    }

    async fn put(&self, key: FeedbackKey, entry: Arc<CacheEntry>) -> Result<()> {
        let now_ms = self.clock.now().as_millisecond();
        let keep_ms = entry.lifetime().keep_until.as_millisecond() - now_ms;
        if keep_ms <= 0 {
            return Ok(());
        }
        let Some(payload) = payload::write(&entry) else {
            Tally::add(&self.tally.put_failures, 1);
            return Ok(());
        };
        let mut put = PUT.prepare_invoke();
        put.key(self.hash(key.case_id))
            .arg(field(&key))
            .arg(&payload.bytes)
            .arg(keep_ms)
            .arg(now_ms)
            .arg(LOOKED_AT_PER_PUT)
            .arg(ENTRIES_PER_CASE_MAX);
        let patience = self.redis.patience();
        let put: Result<()> = self.redis.script("cache feedback", patience, &put).await;
        match put {
            Ok(()) => {
                Tally::add(&self.tally.puts, 1);
                Tally::add(&self.tally.bytes_written, payload.bytes.len() as u64);
                Tally::add(&self.tally.compressed, u64::from(payload.is_compressed));
                Ok(())
            }
            Err(error) => {
                Tally::add(&self.tally.put_failures, 1);
                Err(error)
            }
        }
    }

    async fn remove(&self, key: &FeedbackKey) -> Result<()> {
        let mut command = redis::cmd("HDEL");
        command.arg(self.hash(key.case_id)).arg(field(key));
        self.query("forget cached feedback", &command).await
    }

    async fn purge_case(&self, case_id: CaseId) -> Result<()> {
        let mut command = redis::cmd("UNLINK");
        command.arg(self.hash(case_id));
        self.query("forget cached feedback of a case", &command)
            .await
    }

    fn removals_heard(&self) -> u64 {
        0
    }

    fn has_heard_of(&self, _key: &FeedbackKey, _since: u64) -> bool {
        false
    }
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCache")
            .field("redis", &self.redis)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisCache({})", self.redis)
    }
}
