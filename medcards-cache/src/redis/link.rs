use std::fmt::{self, Display, Write as _};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use medcards_core::metric::DurationHistogram;
use medcards_core::{Error, ErrorKind, Result};
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, ScriptInvocation};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::RedisConfig;
use super::backoff::Backoff;
use super::complaints::Complaints;
use super::counts::RedisCounts;
use super::duration::{jittered, micros};
use super::failure::Failure;
use super::processes;
use super::seldom::{Seldom, Spells};
use super::wire::{ScriptWire, Wire};
use crate::lock::lock;

/// How long most keys are, beside the namespace.
const KEY_LEN: usize = 64;

/// How many calls in a row may go without an answer before Redis is taken to be away. A stumble of
/// the network costs one or two; each call to a server that hangs costs its patience.
const UNANSWERED_MAX: u32 = 8;

/// How long connecting may take, at the start and each time later: three lost packets.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// How long a connection has to answer once within the patience of requests, before it is given up. A
/// server that was busy for a moment is back by then.
const PROBE_PATIENCE: Duration = Duration::from_millis(100);

/// What is written of a Redis that goes away and comes back all the time: no more than this.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest time between two new connections to a Cluster of which a node is away: its others
/// are not to be kept busy with that.
const RENEWAL_PAUSE: Duration = Duration::from_secs(1);

/// What the errors of making a connection name.
const CONNECT: &str = "connect to Redis";

/// A connection to Redis that everything in this process shares. Cloning gives a handle on the same.
///
/// Each call ends within its patience. Once Redis is found to be away, calls fail at once, and a
/// task in the background tries to reach it; it ends, as all others, with the last handle or with
/// [`close`](Self::close). Redis is away when a connection breaks, when the server says that it
/// cannot serve (a replica, or one that is loading), or when eight calls in a row got no answer. It
/// stays away for as long as it answers later than a request may wait. It is tried again at least once
/// a second, and no more often if it only ever comes back for a moment.
///
/// In a Cluster one node may be away while the others serve: calls to that one end with their
/// patience, and Redis is away only if no node answers. The others serve all the while if the
/// Cluster is set to `cluster-require-full-coverage no`; by default they refuse, too, until a replica
/// has taken over.
///
/// # Cancel safety
/// A dropped call may have been carried out. It disturbs no other.
#[derive(Clone)]
pub struct Redis {
    link: Arc<Link>,
    tasks: Weak<Tasks>,
    /// What keeps the tasks running; `None` in the tasks themselves.
    _keeps: Option<Arc<Tasks>>,
}

/// Everything that runs in the background. Dropping it ends all.
#[derive(Default)]
struct Tasks {
    running: Mutex<JoinSet<()>>,
}

struct Link {
    config: RedisConfig,
    process_id: String,
    processes: AtomicU32,
    /// `None` while Redis is away: who asks then is told at once.
    line: ArcSwapOption<Line>,
    is_closed: AtomicBool,
    /// The connection that was last given up, in case it answers after all.
    given_up: Mutex<Option<Arc<Line>>>,
    /// Wakes the keeper.
    trouble: Notify,
    away_since: Mutex<Option<Instant>>,
    /// Of being away, for the log.
    away_spells: Spells,
    away_reasons: Seldom,
    complaints: Complaints,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    failures: AtomicU64,
    timeouts: AtomicU64,
    refused: AtomicU64,
    opened: AtomicU64,
    degraded_us: AtomicU64,
    latency: DurationHistogram,
}

/// One connection, and how often in a row it did not answer.
pub(super) struct Line {
    wire: Wire,
    unanswered: AtomicU32,
}

impl Redis {
    /// Connects, or goes on without if Redis cannot be reached within a second. It is then tried again
    /// in the background, and every call fails meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the configuration cannot work, or not with what is there: a database
    /// that the server does not have, a server that is no Sentinel or no node of a Cluster.
    /// [`ErrorKind::Denied`] if the server refuses the name, the password or the certificates.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(config: RedisConfig) -> Result<Self> {
        config.check()?;
        let link = Link {
            config,
            process_id: Uuid::now_v7().simple().to_string(),
            processes: AtomicU32::new(1),
            line: ArcSwapOption::empty(),
            is_closed: AtomicBool::new(false),
            given_up: Mutex::default(),
            trouble: Notify::new(),
            away_since: Mutex::new(Some(Instant::now())),
            away_spells: Spells::new(LOG_INTERVAL),
            away_reasons: Seldom::new(LOG_INTERVAL),
            complaints: Complaints::new(),
            tally: Tally::default(),
        };
        // It is away at first, which needs no telling.
        link.away_spells.begins();
        match link.reach().await {
            Ok(wire) => link.serve(Line::new(wire)),
            Err((failure, error)) => {
                if failure.is_mistake() {
                    return Err(error);
                }
                tracing::warn!(redis = %link.config, %error, "starting without Redis");
                link.trouble.notify_one();
            }
        }
        let tasks = Arc::new(Tasks::default());
        let redis = Self {
            link: Arc::new(link),
            tasks: Arc::downgrade(&tasks),
            _keeps: Some(tasks),
        };
        redis.spawn(|redis| async move { redis.link.keep().await });
        redis.spawn(processes::beat);
        Ok(redis)
    }

    /// Ends what runs in the background and closes the connection, for all handles. Every later call
    /// fails.
    ///
    /// # Cancel safety
    /// A dropped future leaves it closed.
    pub async fn close(&self) {
        if let Some(tasks) = self.tasks.upgrade() {
            lock(&tasks.running).abort_all();
        }
        let Some(line) = self.link.close() else {
            return;
        };
        let mut wire = line.wire.clone();
        let leave = processes::leaving(self);
        // If it does not hear of it, it sees within seconds that this process is gone.
        let _ = timeout(self.link.config.patience, leave.exec_async(&mut wire)).await;
    }

    /// What it has seen so far.
    #[must_use]
    pub fn counts(&self) -> RedisCounts {
        let tally = &self.link.tally;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let latency = tally.latency.counts();
        // Held to the end: whoever serves meanwhile would add what is counted here already.
        let away_since = lock(&self.link.away_since);
        let away_us = away_since.map_or(0, |since| micros(since.elapsed()));
        RedisCounts {
            commands: latency.count,
            failures: load(&tally.failures),
            timeouts: load(&tally.timeouts),
            refused: load(&tally.refused),
            opened: load(&tally.opened),
            degraded_us: load(&tally.degraded_us) + away_us,
            is_away: self.is_away(),
            processes: self.processes(),
            latency,
        }
    }

    /// Whether Redis is away, as far as is known. Calls fail at once then.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.link.line.load().is_none()
    }

    /// How many processes share this namespace, this one included, as was last known.
    #[must_use]
    pub fn processes(&self) -> u32 {
        self.link.processes.load(Ordering::Relaxed).max(1)
    }

    pub(super) fn set_processes(&self, count: u32) {
        self.link.processes.store(count, Ordering::Relaxed);
    }

    /// The name of this process: different for each connection, and at each start.
    pub(crate) fn process_id(&self) -> &str {
        &self.link.process_id
    }

    /// How long a request may wait for one answer of Redis.
    pub(crate) fn patience(&self) -> Duration {
        self.link.config.patience
    }

    /// The name of something in Redis. What has the same `tag` is on the same server of a cluster.
    pub(crate) fn key(&self, tag: impl Display, rest: impl Display) -> String {
        let namespace = &self.link.config.namespace;
        // One allocation is enough for every key of ours but those of long limits.
        let mut key = String::with_capacity(namespace.len() + KEY_LEN);
        // Writing to a string never fails.
        let _ = write!(key, "{namespace}:{{{tag}}}:{rest}");
        key
    }

    /// Starts something in the background, which ends with the last handle or with
    /// [`close`](Self::close). The handle that it is given keeps nothing running.
    pub(crate) fn spawn<W>(&self, work: impl FnOnce(Self) -> W)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        // None if all handles are gone: then nothing is to be started either.
        let Some(tasks) = self.tasks.upgrade() else {
            return;
        };
        let mut running = lock(&tasks.running);
        while running.try_join_next().is_some() {}
        if !self.link.is_closed.load(Ordering::Acquire) {
            running.spawn(work(self.background()));
        }
    }

    /// A handle that keeps nothing running.
    pub(crate) fn background(&self) -> Self {
        Self {
            link: Arc::clone(&self.link),
            tasks: Weak::clone(&self.tasks),
            _keeps: None,
        }
    }

    /// Sends one command.
    pub(crate) async fn query<T: FromRedisValue>(
        &self,
        operation: &'static str,
        patience: Duration,
        command: &Cmd,
    ) -> Result<T> {
        let line = self.link.line_for(operation)?;
        let mut wire = line.wire.clone();
        let call = command.query_async(&mut wire);
        self.link.finish(operation, patience, &line, call).await
    }

    /// Sends several commands at once, whose keys have the same tag.
    pub(crate) async fn pipeline<T: FromRedisValue>(
        &self,
        operation: &'static str,
        patience: Duration,
        pipeline: &Pipeline,
    ) -> Result<T> {
        let line = self.link.line_for(operation)?;
        let mut wire = line.wire.clone();
        let call = pipeline.query_async(&mut wire);
        self.link.finish(operation, patience, &line, call).await
    }

    /// Runs a script, whose keys have the same tag.
    pub(crate) async fn script<T: FromRedisValue>(
        &self,
        operation: &'static str,
        patience: Duration,
        script: &ScriptInvocation<'_>,
    ) -> Result<T> {
        let line = self.link.line_for(operation)?;
        let mut wire = ScriptWire::new(line.wire.clone());
        let call = script.invoke_async(&mut wire);
        self.link.finish(operation, patience, &line, call).await
    }
}

impl Link {
    /// The connection, or the error while there is none.
    fn line_for(&self, operation: &'static str) -> Result<Arc<Line>> {
        self.line.load_full().ok_or_else(|| {
            self.tally.refused.fetch_add(1, Ordering::Relaxed);
            let what = if self.is_closed.load(Ordering::Relaxed) {
                "the connection to Redis was closed"
            } else {
                "Redis is away: each process goes on alone until it is back"
            };
            Error::new(ErrorKind::Unavailable, operation, what)
        })
    }

    /// Waits for a call as long as it may take, and learns from how it ends.
    async fn finish<T>(
        &self,
        operation: &'static str,
        patience: Duration,
        line: &Arc<Line>,
        call: impl Future<Output = RedisResult<T>>,
    ) -> Result<T> {
        let began = Instant::now();
        let ended = timeout(patience, call).await;
        self.tally.latency.record(began.elapsed());
        match ended {
            Ok(Ok(value)) => {
                line.answered();
                Ok(value)
            }
            Ok(Err(source)) => {
                self.tally.failures.fetch_add(1, Ordering::Relaxed);
                let failure = Failure::of(&source);
                match failure {
                    Failure::Gone | Failure::NotServing => self.doubt(line, "it failed"),
                    // What the driver knows of the nodes is old. One server alone stays as it is.
                    Failure::Moved if line.wire.is_cluster() => self.doubt(line, "a key moved"),
                    _ => line.answered(),
                }
                let error = failure.into_error(operation, source);
                self.complaints.hear(&self.config, failure, &error);
                Err(error)
            }
            Err(_) => {
                self.tally.timeouts.fetch_add(1, Ordering::Relaxed);
                // More than one call may come here: the first past the limit acts, and no harm is
                // done if others do too.
                if line.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= UNANSWERED_MAX {
                    self.doubt(line, "it does not answer");
                }
                Err(Failure::Slow.error(operation))
            }
        }
    }

    /// Acts on a connection that seems not to work.
    fn doubt(&self, line: &Arc<Line>, why: &'static str) {
        if line.wire.is_cluster() {
            // The other nodes may well serve: the keeper finds out while calls go on.
            self.trouble.notify_one();
        } else {
            self.give_up(line, why);
        }
    }

    /// Takes Redis to be away, unless this connection has been replaced already.
    fn give_up(&self, line: &Arc<Line>, why: &'static str) {
        let mut away_since = lock(&self.away_since);
        let before = self.line.compare_and_swap(line, None);
        let was_current = before
            .as_ref()
            .is_some_and(|before| Arc::ptr_eq(before, line));
        if !was_current {
            return;
        }
        *away_since = Some(Instant::now());
        drop(away_since);
        *lock(&self.given_up) = Some(Arc::clone(line));
        self.tally.opened.fetch_add(1, Ordering::Relaxed);
        if let Some(left_out) = self.away_spells.begins() {
            tracing::warn!(redis = %self.config, why, left_out, "Redis is away");
        }
        self.trouble.notify_one();
    }

    /// Has no connection from now on, and returns the one that there was.
    fn close(&self) -> Option<Arc<Line>> {
        let mut away_since = lock(&self.away_since);
        self.is_closed.store(true, Ordering::Release);
        away_since.get_or_insert_with(Instant::now);
        lock(&self.given_up).take();
        self.line.swap(None)
    }

    /// Takes Redis to be there.
    fn serve(&self, line: Arc<Line>) {
        line.answered();
        let mut away_since = lock(&self.away_since);
        if self.is_closed.load(Ordering::Acquire) {
            return;
        }
        self.line.store(Some(line));
        if let Some(since) = away_since.take() {
            let away_us = micros(since.elapsed());
            self.tally.degraded_us.fetch_add(away_us, Ordering::Relaxed);
            if self.away_spells.is_over() {
                tracing::info!(redis = %self.config, away_us, "connected to Redis");
            }
        }
    }

    /// Keeps the connection, for ever.
    async fn keep(&self) {
        let mut backoff = Backoff::new();
        loop {
            self.trouble.notified().await;
            match self.line.load_full() {
                Some(line) => self.renew(&line).await,
                None => self.bring_back(&mut backoff).await,
            }
        }
    }

    /// Replaces a connection to a Cluster in which a node is away, or gives it up if all are.
    async fn renew(&self, line: &Arc<Line>) {
        if !line.wire.is_cluster() {
            return;
        }
        match self.reach().await {
            Ok(wire) => {
                self.serve(Line::new(wire));
                sleep(jittered(RENEWAL_PAUSE)).await;
            }
            // Those that the address names may be the ones that are away.
            Err(_) => match self.probe(&line.wire).await {
                Ok(()) => sleep(jittered(RENEWAL_PAUSE)).await,
                Err(_) => self.give_up(line, "no node answers"),
            },
        }
    }

    /// Tries until there is a connection again.
    async fn bring_back(&self, backoff: &mut Backoff) {
        backoff.turn().await;
        let given_up = lock(&self.given_up).take();
        if let Some(line) = given_up
            && self.probe(&line.wire).await.is_ok()
        {
            self.serve(line);
            return;
        }
        let mut failure_told = Failure::Gone;
        loop {
            let (failure, error) = match self.reach().await {
                Ok(wire) => return self.serve(Line::new(wire)),
                Err(failed) => failed,
            };
            if let Some(left_out) = self.away_spells.goes_on() {
                tracing::warn!(redis = %self.config, %error, left_out, "Redis is away");
                failure_told = failure;
            } else if failure != failure_told
                && let Some(left_out) = self.away_reasons.turn()
            {
                // Such as a password that was changed: somebody must act.
                tracing::warn!(redis = %self.config, %error, left_out, "Redis is still away");
                failure_told = failure;
            } else {
                tracing::debug!(redis = %self.config, %error, "Redis is still away");
            }
            backoff.turn().await;
        }
    }

    /// Connects and sees whether the other end serves.
    async fn reach(&self) -> Result<Wire, (Failure, Error)> {
        let reach = async {
            let wire = Wire::connect(&self.config.address).await.map_err(failed)?;
            self.probe(&wire).await?;
            Ok(wire)
        };
        let reached = timeout(CONNECT_PATIENCE, reach).await;
        reached.unwrap_or_else(|elapsed| Err(failed(std::io::Error::from(elapsed).into())))
    }

    /// Sees whether the other end serves, and answers as fast as requests need it.
    async fn probe(&self, wire: &Wire) -> Result<(), (Failure, Error)> {
        let patience = self.config.patience;
        let in_time = async {
            loop {
                if let Ok(answer) = timeout(patience, wire.ping()).await {
                    return answer;
                }
            }
        };
        let probe = async {
            match timeout(PROBE_PATIENCE.max(patience), in_time).await {
                Ok(answer) => answer.map_err(failed)?,
                Err(_) => return Err((Failure::Slow, Failure::Slow.error(CONNECT))),
            }
            wire.check_role().await.map_err(failed)
        };
        let probed = timeout(CONNECT_PATIENCE, probe).await;
        probed.unwrap_or_else(|elapsed| Err(failed(std::io::Error::from(elapsed).into())))
    }
}

/// What it means that there is no connection.
fn failed(source: RedisError) -> (Failure, Error) {
    let failure = Failure::of(&source);
    (failure, failure.into_error(CONNECT, source))
}

impl Line {
    fn new(wire: Wire) -> Arc<Self> {
        Arc::new(Self {
            wire,
            unanswered: AtomicU32::new(0),
        })
    }

    fn answered(&self) {
        // Most of the time there is nothing to write, and no other core is disturbed.
        if self.unanswered.load(Ordering::Relaxed) > 0 {
            self.unanswered.store(0, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("config", &self.link.config)
            .field("process_id", &self.link.process_id)
            .field("is_away", &self.is_away())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis({})", self.link.config)
    }
}
