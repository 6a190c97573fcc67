//! Which copy answers a read.
//!
//! Every demand on freshness is one log position that a copy must have replayed. `AtLeast` names it
//! itself. For `Bounded`, the primary's position is noted all the time: whoever has replayed what
//! the primary had written at some moment is not further behind than that moment.
//!
//! A copy is asked for its position on the very connection that then reads: a copy that crashed and
//! came back may stand before where it was, and what was known of it says nothing then.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use medcards_core::Result;
use medcards_core::store::{Consistency, ReadToken};
use sqlx::postgres::PgRow;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::column::Columns;
use crate::config::PgConfig;
use crate::error::Failure;
use crate::node::Node;
use crate::session::{Role, Statement};

/// How often primary and replicas are asked where they are.
///
/// A read that wants its own write goes to the primary until the next look, so this is how long.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// How long a look may take; a replica that takes longer is no help to a reader.
const PROBE_WAIT_MAX: Duration = Duration::from_secs(1);

/// How many looks in a row must succeed before a replica that failed is read from again.
const PROBES_TO_RETURN: u64 = 3;

/// How many notes of the primary's position are kept: a minute of them. Whoever allows a greater
/// lag is served as if it were a minute.
const NOTES_MAX: usize = 600;

/// How much a new time counts in the running mean of a replica's times: one part of this many.
const LATENCY_PARTS: u64 = 8;

/// Written, not only flushed: with `synchronous_commit` off a commit may be acknowledged before.
const WRITTEN_SQL: &str = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";

const FLUSHED_SQL: &str = "SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint";

/// Null on a server that takes writes. It may name a place all the same: where it was promoted, or how
/// far it replayed after a crash, which for a primary that was failed over is on a timeline that ended.
const REPLAYED_SQL: &str = "
SELECT CASE WHEN pg_is_in_recovery() THEN (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint END";

/// What a token of this store begins with: the format, and the shard.
const TOKEN_PREFIX: &str = "pg1.0.";

/// A place in the write-ahead log of the primary, in bytes.
pub(crate) type Lsn = i64;

/// The replicas of the primary, and what is known of them.
#[derive(Debug)]
pub(crate) struct Replicas {
    primary: Node,
    replicas: Vec<Replica>,
    /// When the primary was asked, and where it then was; oldest first.
    notes: Mutex<VecDeque<(Instant, Lsn)>>,
}

#[derive(Debug)]
struct Replica {
    node: Node,
    is_healthy: AtomicBool,
    /// Looks that succeeded since the last failure.
    successes: AtomicU64,
    /// Where it was when last looked at.
    replayed: AtomicI64,
    /// The running mean of how long it takes to answer.
    latency_us: AtomicU64,
}

impl Replicas {
    pub(crate) fn new(config: &PgConfig, primary: Node) -> Result<Self> {
        let replica = |host: &sqlx::postgres::PgConnectOptions| {
            Ok(Replica {
                node: Node::new(
                    vec![host.clone()],
                    Role::Any,
                    Arc::default(),
                    config.limits(),
                )?,
                is_healthy: AtomicBool::new(false),
                successes: AtomicU64::new(0),
                replayed: AtomicI64::new(0),
                latency_us: AtomicU64::new(0),
            })
        };
        Ok(Self {
            primary,
            replicas: config
                .replicas()
                .iter()
                .map(replica)
                .collect::<Result<_>>()?,
            notes: Mutex::default(),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.replicas.is_empty()
    }

    /// Reads from a replica that is fresh enough, else from the primary; says whether a replica
    /// answered.
    pub(crate) async fn fetch(
        &self,
        consistency: &Consistency,
        statement: impl Fn() -> Statement + Send + Sync,
    ) -> Result<(Vec<PgRow>, bool), Failure> {
        if let Some(needed) = self.needed(consistency)
            && let Some(replica) = self.choose(needed)
        {
            match replica.fetch(needed, statement()).await {
                Ok(Some(rows)) => return Ok((rows, true)),
                // It went back in a crash, or replay was paused: the primary has it.
                Ok(None) => {}
                Err(failure) => replica.blame(&failure),
            }
        }
        Ok((self.primary.fetch(statement).await?, false))
    }

    /// The token of what was committed until now; `None` if there is nobody else to read from.
    pub(crate) async fn token(&self, writer: &Node) -> Option<ReadToken> {
        if self.is_empty() {
            return None;
        }
        match position(writer, WRITTEN_SQL).await {
            Ok(Some(written)) => ReadToken::parse(&format!("{TOKEN_PREFIX}{written:x}")),
            // A client that keeps the token of an earlier answer must not read by that one: this names
            // a place that nobody reaches, so that the primary answers.
            Ok(None) | Err(_) => ReadToken::parse(&format!("{TOKEN_PREFIX}{:x}", Lsn::MAX)),
        }
    }

    /// Looks at all of them until it is told to stop.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(PROBE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let replicas = self.replicas.iter().map(Replica::probe);
            let all = futures_util::future::join_all(replicas);
            tokio::select! {
                () = stop.cancelled() => return,
                _ = futures_util::future::join(self.note_primary(), all) => {}
            }
        }
    }

    pub(crate) fn close(&self) {
        for replica in &self.replicas {
            replica.node.close();
        }
    }

    async fn note_primary(&self) {
        // Taken before: all that was committed until then is within what the answer says.
        let asked = Instant::now();
        let looked = timeout(PROBE_WAIT_MAX, position(&self.primary, FLUSHED_SQL)).await;
        let Ok(Ok(Some(flushed))) = looked else {
            return;
        };
        let mut notes = self.notes();
        notes.push_back((asked, flushed));
        if notes.len() > NOTES_MAX {
            notes.pop_front();
        }
    }

    /// What a replica must have replayed to answer; `None` if only the primary can.
    fn needed(&self, consistency: &Consistency) -> Option<Lsn> {
        if self.is_empty() {
            return None;
        }
        match consistency {
            Consistency::AtLeast(token) => {
                Lsn::from_str_radix(token.as_str().strip_prefix(TOKEN_PREFIX)?, 16).ok()
            }
            Consistency::Bounded(lag) => {
                let now = Instant::now();
                let notes = self.notes();
                notes
                    .iter()
                    .find(|(asked, _)| now.duration_since(*asked) <= *lag)
                    .map(|(_, flushed)| *flushed)
            }
            // Whatever is added to them later, the primary satisfies it.
            _ => None,
        }
    }

    /// The quickest of those that should be fresh enough.
    fn choose(&self, needed: Lsn) -> Option<&Replica> {
        self.replicas
            .iter()
            .filter(|replica| replica.is_healthy.load(Ordering::Acquire))
            .filter(|replica| replica.replayed.load(Ordering::Acquire) >= needed)
            .min_by_key(|replica| replica.latency_us.load(Ordering::Relaxed))
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, VecDeque<(Instant, Lsn)>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Replica {
    /// Reads, if it has replayed what is needed.
    async fn fetch(
        &self,
        needed: Lsn,
        statement: Statement,
    ) -> Result<Option<Vec<PgRow>>, Failure> {
        let asked = Instant::now();
        let rows = self.node.fetch_if(
            sqlx::query(REPLAYED_SQL),
            |rows| read_position(rows).is_some_and(|replayed| replayed >= needed),
            statement,
        );
        let rows = rows.await?;
        self.note_latency(asked.elapsed());
        Ok(rows)
    }

    async fn probe(&self) {
        let asked = Instant::now();
        match timeout(PROBE_WAIT_MAX, position(&self.node, REPLAYED_SQL)).await {
            Ok(Ok(Some(replayed))) => {
                self.replayed.store(replayed, Ordering::Release);
                self.note_latency(asked.elapsed());
                let successes = self.successes.fetch_add(1, Ordering::AcqRel) + 1;
                if successes >= PROBES_TO_RETURN && !self.is_healthy.swap(true, Ordering::AcqRel) {
                    tracing::info!(replica = %self.node, "a replica answers and is read from");
                }
            }
            Ok(Ok(None)) => self.eject("it is no replica any more"),
            Ok(Err(failure)) => self.blame(&failure),
            Err(_elapsed) => {
                self.node.forget_idle();
                self.eject("it does not answer in time");
            }
        }
    }

    /// Stops reading from it, unless the failure says nothing about it.
    fn blame(&self, failure: &Failure) {
        if failure.is_of_link() || matches!(failure, Failure::Busy) {
            self.node.forget_idle();
            self.eject("it cannot be reached");
        }
    }

    fn eject(&self, why: &'static str) {
        self.successes.store(0, Ordering::Release);
        if self.is_healthy.swap(false, Ordering::AcqRel) {
            tracing::warn!(replica = %self.node, why, "a replica is not read from for now");
        }
    }

    fn note_latency(&self, latency: Duration) {
        let new = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX / 2);
        let mean = self.latency_us.load(Ordering::Relaxed);
        // Two notes at once may lose one of them, which a running mean bears.
        let next = (mean.saturating_mul(LATENCY_PARTS - 1)).saturating_add(new) / LATENCY_PARTS;
        self.latency_us.store(next, Ordering::Relaxed);
    }
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} replicas", self.primary, self.replicas.len())
    }
}

async fn position(node: &Node, sql: &'static str) -> Result<Option<Lsn>, Failure> {
    Ok(read_position(&node.fetch(|| sqlx::query(sql)).await?))
}

fn read_position(rows: &[PgRow]) -> Option<Lsn> {
    Columns::of(rows.first()?).next::<Option<Lsn>>()?
}
