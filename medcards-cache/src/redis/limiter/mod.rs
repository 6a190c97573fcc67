mod counts;
mod script;

pub use counts::LimiterCounts;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use medcards_core::Result;
use medcards_core::limit::{LimitDecision, LimitedCall, Quota, RateLimiter};
use medcards_core::memory::MemoryRateLimiter;
use medcards_core::time::{Clock, SystemClock};

use self::counts::Tally;
use self::script::{Counted, count, refund};
use super::Redis;

/// A rate limiter that counts in Redis, so that all processes share each quota.
///
/// Cloning gives a handle on the same limiter.
///
/// # Several quotas
/// Calls whose keys have the same [name][`LimitKey::name`] are counted by one script, in one round
/// trip: all of them or none, and nobody sees them half counted. Those of different names may be on
/// different servers of a Cluster, and take a script for each name, sent at the same time. If one
/// of these refuses, what the others counted is taken back at once. Until then another call may be
/// refused for it; none is ever allowed too much. If Redis goes away in between, or the future is
/// dropped, a refused call stays counted, until two windows later.
///
/// # When Redis is away
/// Or slower than it may be: then this process counts in its own memory, against the quota
/// divided by the number of processes, rounded down but at least one. There a call costs no more
/// than this share, so that a dear one still goes on in its turn. [`check_all`](Self::check_all)
/// never fails because of Redis.
///
/// So with `n` processes, over any window in which Redis went away or came back, however often, a
/// client is allowed
/// - by Redis, no more than the quota; and again the quota for each time that Redis lost its data,
///   as after a restart without a file, `FLUSHALL`, the eviction of the counter (they have an
///   expiry, so the policies `volatile-*` may choose them), or a failover to a replica that was
///   behind, which forgets what it had not heard of;
/// - by the processes together, no more than the quota, or `n` calls if the quota is smaller than
///   that. A call dearer than the share may go on once in each process.
///
/// That is twice the quota where Redis is merely away. The number of processes is the last that was
/// known: while it is too small, the second part is larger by as much. A process that is started
/// again begins its share anew.
///
/// # Keys
/// Each counter is a string of 16 bytes, `limit:LENGTH:SCOPE` under the tag of the name, where `LENGTH` is that of
/// the window in microseconds. The script that writes it also makes it expire, two windows and a
/// second later; there is none without an expiry. These names hold what a [`LimitKey`] holds, such
/// as addresses.
///
/// [`LimitKey`]: medcards_core::limit::LimitKey
/// [`LimitKey::name`]: medcards_core::limit::LimitKey::name
#[derive(Clone)]
pub struct RedisRateLimiter {
    inner: Arc<Inner>,
}

struct Inner {
    redis: Redis,
    clock: Arc<dyn Clock>,
    /// Whether Redis is told the time.
    tells_time: bool,
    /// `None` to ask Redis how many it last saw.
    processes: Option<Processes>,
    /// Counts while Redis is away. What it counted stays for the next time.
    local: MemoryRateLimiter,
    tally: Tally,
}

type Processes = Arc<dyn Fn() -> u32 + Send + Sync>;

/// Builds a [`RedisRateLimiter`].
#[must_use = "a builder does nothing until it is built"]
pub struct RedisRateLimiterBuilder {
    redis: Redis,
    clock: Option<Arc<dyn Clock>>,
    processes: Option<Processes>,
}

impl RedisRateLimiter {
    /// Makes a limiter with the defaults.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self::builder(redis).build()
    }

    /// Begins to build a limiter.
    pub fn builder(redis: Redis) -> RedisRateLimiterBuilder {
        RedisRateLimiterBuilder {
            redis,
            clock: None,
            processes: None,
        }
    }

    /// What it decided so far, and who decides now.
    #[must_use]
    pub fn counts(&self) -> LimiterCounts {
        self.inner.tally.counts()
    }
}

impl RedisRateLimiterBuilder {
    /// Takes the time from this clock, and tells it to Redis.
    ///
    /// For tests, and to replay what happened at other times. All processes must then share one
    /// clock: of two clocks that differ, the one behind stands still for the counters which the one
    /// ahead has moved on. Default: the time of the server, so that the clocks of the processes do
    /// not matter.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Asks here how many processes share the quotas, whenever Redis is away. Zero counts as one.
    /// Default: [`Redis::processes`].
    pub fn with_processes(mut self, processes: impl Fn() -> u32 + Send + Sync + 'static) -> Self {
        self.processes = Some(Arc::new(processes));
        self
    }

    /// Builds the limiter.
    #[must_use]
    pub fn build(self) -> RedisRateLimiter {
        let tells_time = self.clock.is_some();
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let local = MemoryRateLimiter::new(Arc::clone(&clock));
        RedisRateLimiter {
            inner: Arc::new(Inner {
                redis: self.redis,
                clock,
                tells_time,
                processes: self.processes,
                local,
                tally: Tally::default(),
            }),
        }
    }
}

#[async_trait]
impl RateLimiter for RedisRateLimiter {
    async fn check_all(&self, calls: &[LimitedCall]) -> Result<Vec<LimitDecision>> {
        self.inner.check_all(calls).await
    }
}

/// The calls of one name, and what Redis said of them.
struct Asked<'a> {
    /// Where each stands among all calls.
    places: Vec<usize>,
    calls: Vec<&'a LimitedCall>,
    answer: Option<Counted>,
}

impl Inner {
    async fn check_all(&self, calls: &[LimitedCall]) -> Result<Vec<LimitDecision>> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let mut groups = by_name(calls);
        let asked = match groups.pop() {
            // As a rule all have one name, and Redis answers.
            Some(only) if groups.is_empty() => {
                let asked = self.ask(only).await;
                if let Some(counted) = asked.answer {
                    let is_refused = counted.is_refused();
                    self.tally.decided(false, is_refused, &*self.clock);
                    return Ok(counted.decisions);
                }
                vec![asked]
            }
            last => join_all(groups.into_iter().chain(last).map(|asked| self.ask(asked))).await,
        };
        let is_refused = asked
            .iter()
            .any(|asked| asked.answer.as_ref().is_some_and(Counted::is_refused));
        let left: Vec<_> = asked
            .iter()
            .filter(|asked| asked.answer.is_none())
            .flat_map(|asked| asked.places.iter().map(|place| &calls[*place]))
            .collect();
        let locally = self.decide_locally(&left, is_refused).await?;
        let is_refused = is_refused || locally.iter().any(|decision| !decision.is_allowed);
        if is_refused {
            join_all(asked.iter().map(|asked| self.take_back(asked))).await;
        }
        self.tally
            .decided(!left.is_empty(), is_refused, &*self.clock);

        let mut decisions = Vec::with_capacity(calls.len());
        let mut locally = locally.into_iter();
        for asked in asked {
            match asked.answer {
                Some(counted) => decisions.extend(asked.places.into_iter().zip(counted.decisions)),
                None => decisions.extend(asked.places.into_iter().zip(locally.by_ref())),
            }
        }
        decisions.sort_unstable_by_key(|(place, _)| *place);
        Ok(decisions
            .into_iter()
            .map(|(_, decision)| decision)
            .collect())
    }

    /// Has Redis count the calls of one name; what it does not do is left for this process.
    async fn ask<'a>(&self, mut asked: Asked<'a>) -> Asked<'a> {
        let now = self.tells_time.then(|| self.clock.now());
        match count(&self.redis, &asked.calls, now).await {
            Ok(counted) => asked.answer = Some(counted),
            Err(error) => tracing::debug!(%error, "a limit is counted in this process"),
        }
        asked
    }

    async fn take_back(&self, asked: &Asked<'_>) {
        let Some(counted) = asked
            .answer
            .as_ref()
            .filter(|counted| !counted.is_refused())
        else {
            return;
        };
        if let Err(error) = refund(&self.redis, &asked.calls, counted).await {
            self.tally.stays_counted(&error);
        }
    }

    /// Decides in the memory of this process. What Redis refused already is not counted there.
    async fn decide_locally(
        &self,
        calls: &[&LimitedCall],
        is_refused: bool,
    ) -> Result<Vec<LimitDecision>> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let processes = match &self.processes {
            Some(count) => count(),
            None => self.redis.processes(),
        };
        let processes = processes.max(1);
        let mut shares: Vec<_> = calls
            .iter()
            .map(|call| share(call, processes))
            .collect::<Result<_>>()?;
        if !is_refused {
            return self.local.check_all(&shares).await;
        }
        let costs: Vec<_> = shares
            .iter_mut()
            .map(|call| std::mem::take(&mut call.cost))
            .collect();
        let untouched = self.local.check_all(&shares).await?;
        Ok(untouched
            .into_iter()
            .zip(costs)
            .map(|(decision, cost)| would_decide(decision, cost))
            .collect())
    }
}

/// What is decided on a call of this cost, told by what was on one that cost nothing. Who must wait
/// is told to until all of the quota is there again, which is sure to be long enough.
fn would_decide(untouched: LimitDecision, cost: u32) -> LimitDecision {
    match untouched.remaining.checked_sub(cost) {
        Some(remaining) => LimitDecision {
            remaining,
            ..untouched
        },
        None => LimitDecision {
            is_allowed: false,
            retry_after: untouched.reset_after,
            ..untouched
        },
    }
}

/// The call as one of so many processes counts it.
fn share(call: &LimitedCall, processes: u32) -> Result<LimitedCall> {
    let limit = (call.quota.limit() / processes).max(1);
    // What is too dear for the whole quota stays so.
    let cost = if call.cost > call.quota.limit() {
        call.cost
    } else {
        call.cost.min(limit)
    };
    Ok(LimitedCall {
        key: call.key.clone(),
        quota: Quota::new(limit, call.quota.window())?,
        cost,
    })
}

/// Puts the calls together whose keys have the same name.
fn by_name(calls: &[LimitedCall]) -> Vec<Asked<'_>> {
    let mut groups: Vec<Asked<'_>> = Vec::with_capacity(1);
    for (place, call) in calls.iter().enumerate() {
        let same = |asked: &&mut Asked<'_>| {
            let first = asked.calls.first();
            first.is_some_and(|first| first.key.name() == call.key.name())
        };
        match groups.iter_mut().find(same) {
            Some(asked) => {
                asked.places.push(place);
                asked.calls.push(call);
            }
            None => groups.push(Asked {
                places: vec![place],
                calls: vec![call],
                answer: None,
            }),
        }
    }
    groups
}

impl fmt::Debug for RedisRateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRateLimiter")
            .field("redis", &self.inner.redis)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for RedisRateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisRateLimiter")
    }
}

impl fmt::Debug for RedisRateLimiterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRateLimiterBuilder")
            .field("redis", &self.redis)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use medcards_core::limit::LimitKey;

    use super::*;

    #[test]
    fn each_process_has_an_equal_share_and_at_least_one_call() {
        for (limit, cost, processes, share_limit, share_cost) in [
            (100, 1, 1, 100, 1),
            (100, 1, 3, 33, 1),
            (100, 3, 50, 2, 2),
            (100, 3, 200, 1, 1),
            (3, 2, 7, 1, 1),
            (100, 100, 4, 25, 25),
            // Too dear for the whole quota, it is too dear for a share.
            (100, 101, 4, 25, 101),
            (100, 0, 4, 25, 0),
            (1, 1, u32::MAX, 1, 1),
        ] {
            let quota = Quota::new(limit, Duration::from_mins(1)).unwrap();
            let key = LimitKey::new("client", "a");
            let share = share(&LimitedCall { key, quota, cost }, processes).unwrap();
            let seen = (share.quota.limit(), share.cost);
            assert_eq!(
                seen,
                (share_limit, share_cost),
                "{limit}, {cost}, {processes}"
            );
        }
    }
}
