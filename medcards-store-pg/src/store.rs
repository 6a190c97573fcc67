use std::fmt;
use std::sync::Arc;

use medcards_core::store::Consistency;
use medcards_core::{Error, ErrorKind, Result, Timestamp};
use sqlx::postgres::PgRow;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::case_cache::CaseCache;
use crate::column::Columns;
use crate::config::{HalfMoved, Keeping, PgConfig, Pooling};
use crate::error::Failure;
use crate::jobs::Floors;
use crate::keeper::Keeper;
use crate::migrate::migrate;
use crate::node::{Limits, Node};
use crate::partition::Partitions;
use crate::replicas::Replicas;
use crate::session::{Role, Statement};
use crate::signals::Signals;
use crate::transfer::check_not_half_moved;
use crate::writer::WriteQueue;

pub(crate) const OPEN: &str = "open store";

/// The connections of the keeper, who does one thing after the other.
const KEEPER_CONNECTIONS: u32 = 1;

/// The oldest server that this store runs on: `NULLS NOT DISTINCT` came with it.
const SERVER_VERSION_MIN: i32 = 150_000;

const SERVER_SQL: &str = "
SELECT now(), current_setting('server_version_num')::int,
       current_setting('fsync'), current_setting('synchronous_commit'),
       pg_current_xact_id()::text::bigint";

/// An event of a transaction that this server has not begun yet comes from another server.
const NEWEST_EVENT_SQL: &str =
    "SELECT transaction_id::text::bigint FROM events ORDER BY events.transaction_id DESC LIMIT 1";

/// A store in PostgreSQL, with every store ability.
///
/// Cloning it gives another handle on the same store. Dropping the last handle ends its background
/// work; [`close`](Self::close) waits for what is queued.
#[derive(Clone)]
pub struct PgStore {
    opened: Arc<Opened>,
}

struct Opened {
    name: String,
    primary: Node,
    /// The connections of the writers, so that readers never keep an answer waiting.
    writer: Node,
    writes: WriteQueue,
    replicas: Arc<Replicas>,
    cases: CaseCache,
    partitions: Arc<Partitions>,
    signals: Arc<Signals>,
    floors: Floors,
    keeper: Keeper,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_when_dropped: DropGuard,
}

impl PgStore {
    /// Connects, brings the database up to date, and begins to look after it.
    ///
    /// Any number of processes may open the same database at once; one of them changes its format
    /// and the others wait. The database must exist, be in UTF-8, and belong to the user that
    /// connects.
    ///
    /// # Errors
    /// Nothing is damaged by any of them.
    /// - [`Unavailable`](medcards_core::ErrorKind::Unavailable): no server that takes writes
    ///   answers.
    /// - [`Denied`](medcards_core::ErrorKind::Denied): user, password, certificate or rights.
    /// - [`Invalid`](medcards_core::ErrorKind::Invalid): no such database, a server before 15, a
    ///   configuration that cannot work, or a log that was restored into another server by a dump.
    /// - [`Conflict`](medcards_core::ErrorKind::Conflict): something is being moved into it, and
    ///   only a part of that is there; see [`HalfMoved`].
    /// - [`Corrupt`](medcards_core::ErrorKind::Corrupt): a migration is not what it was.
    ///
    /// # Cancel safety
    /// A dropped future leaves the database either brought up to date or as it was.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub async fn open(config: PgConfig) -> Result<Self> {
        let config = config.checked()?;
        let timeline = Arc::default();
        let node = |limits| {
            let hosts = config.primary().to_vec();
            Node::new(hosts, Role::Primary, Arc::clone(&timeline), limits)
        };
        let primary = node(config.limits())?;
        let writer = node(Limits {
            connections_max: config.writers(),
            ..config.limits()
        })?;
        let failed = |failure: Failure| failure.during(OPEN);
        let partitions = Arc::new(Partitions::new(config.retention()));
        partitions.learn_time(check_server(&primary).await?);
        migrate(&primary).await.map_err(failed)?;
        check_log(&primary).await?;
        if config.half_moved() == HalfMoved::Refused {
            check_not_half_moved(&primary).await.map_err(failed)?;
        }
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let replicas = Arc::new(Replicas::new(&config, primary.clone())?);
        // A refresh holds a connection for as long as it takes: not one of the readers'.
        let keeper_node = match config.keeping() {
            Keeping::Elsewhere => primary.clone(),
            Keeping::Here => node(Limits {
                connections_max: KEEPER_CONNECTIONS,
                ..config.limits()
            })?,
        };
        let keeper = Keeper::new(keeper_node, Arc::clone(&partitions), config.cache_refresh());
        keeper.make_ahead().await.map_err(failed)?;
        if !replicas.is_empty() {
            tasks.spawn(Arc::clone(&replicas).watch(stop.clone()));
        }
        if config.keeping() == Keeping::Here {
            tasks.spawn(keeper.clone().keep_on(stop.clone()));
        }
        let signals = Arc::new(Signals::new());
        tasks.spawn(Arc::clone(&signals).tell_on(primary.clone(), stop.clone()));
        // A pooler lends its servers to others between two transactions: nobody can listen through it.
        if config.limits().pooling == Pooling::None {
            let hosts = config.primary().to_vec();
            tasks.spawn(Arc::clone(&signals).listen_on(hosts, stop.clone()));
        }
        let opened = Opened {
            name: format!("PgStore({replicas})"),
            writes: WriteQueue::start(
                config.writers(),
                writer.clone(),
                Arc::clone(&replicas),
                Arc::clone(&partitions),
                Arc::clone(&signals),
                &tasks,
            ),
            primary,
            writer,
            replicas,
            cases: CaseCache::new(config.case_cache_bytes()),
            partitions,
            signals,
            floors: Floors::default(),
            keeper,
            _stop_when_dropped: stop.clone().drop_guard(),
            stop,
            tasks,
        };
        Ok(Self {
            opened: Arc::new(opened),
        })
    }

    /// Takes no more calls, commits the answers that are queued, and lets the connections go.
    ///
    /// Calls made after it fail with
    /// [`ErrorKind::Unavailable`](medcards_core::ErrorKind::Unavailable). Closing twice is closing
    /// once.
    ///
    /// # Cancel safety
    /// A dropped future leaves the store closing; no answer that was queued is lost.
    pub async fn close(&self) {
        let opened = &self.opened;
        opened.writes.close();
        opened.stop.cancel();
        opened.tasks.close();
        opened.tasks.wait().await;
        opened.primary.close();
        opened.writer.close();
        opened.replicas.close();
        opened.keeper.close();
    }

    /// How many transactions have committed answers since the store was opened.
    ///
    /// Answers that come at the same time share one, so this is usually less than their number.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.opened.writes.commits()
    }

    pub(crate) fn primary(&self) -> &Node {
        &self.opened.primary
    }

    pub(crate) fn writes(&self) -> &WriteQueue {
        &self.opened.writes
    }

    pub(crate) fn cases(&self) -> &CaseCache {
        &self.opened.cases
    }

    pub(crate) fn partitions(&self) -> &Partitions {
        &self.opened.partitions
    }

    pub(crate) fn signals(&self) -> &Signals {
        &self.opened.signals
    }

    pub(crate) fn floors(&self) -> &Floors {
        &self.opened.floors
    }

    pub(crate) fn keeper(&self) -> &Keeper {
        &self.opened.keeper
    }

    /// Reads from whichever copy is fresh enough.
    pub(crate) async fn read(
        &self,
        operation: &'static str,
        consistency: &Consistency,
        statement: impl Fn() -> Statement + Send + Sync,
    ) -> Result<Vec<PgRow>> {
        let fetched = self.opened.replicas.fetch(consistency, statement).await;
        fetched
            .map(|(rows, _from_replica)| rows)
            .map_err(|failure| failure.during(operation))
    }

    /// Runs a statement that may be run twice on the primary.
    pub(crate) async fn on_primary(
        &self,
        operation: &'static str,
        statement: impl Fn() -> Statement + Send + Sync,
    ) -> Result<Vec<PgRow>> {
        let fetched = self.primary().fetch(statement).await;
        fetched.map_err(|failure| failure.during(operation))
    }
}

impl fmt::Debug for PgStore {
    /// Says nothing of the data: answers are among it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgStore")
            .field("name", &self.opened.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for PgStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.opened.name)
    }
}

/// A lock of the whole database that ends with its transaction.
///
/// Two numbers name it; the first keeps ours apart from those of other programs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lock {
    Migrations = 1,
    Partitions = 2,
    Publications = 3,
    Transfers = 4,
}

impl Lock {
    const CLASS: i32 = i32::from_be_bytes(*b"mdcd");

    /// The statement that waits for it.
    pub(crate) fn take(self) -> Statement {
        sqlx::query("SELECT pg_advisory_xact_lock($1, $2)")
            .bind(Self::CLASS)
            .bind(self as i32)
    }

    /// The statement that takes it if it is free, and says whether.
    pub(crate) fn try_take(self) -> Statement {
        sqlx::query("SELECT pg_try_advisory_xact_lock($1, $2)")
            .bind(Self::CLASS)
            .bind(self as i32)
    }
}

/// Looks at the server, and returns the time by its clock.
pub(crate) async fn check_server(primary: &Node) -> Result<Timestamp> {
    let rows = primary.fetch(|| sqlx::query(SERVER_SQL)).await;
    let rows = rows.map_err(|failure| failure.during(OPEN))?;
    let read = || {
        let mut columns = Columns::of(rows.first()?);
        let now = columns.instant()?;
        let version: i32 = columns.next()?;
        let fsync: &str = columns.next()?;
        Some((
            now,
            version,
            fsync == "on",
            columns.next::<&str>()? != "off",
        ))
    };
    let Some((now, version, is_synced, is_synchronous)) = read() else {
        return Err(Failure::Unreadable("server setting").during(OPEN));
    };
    if version < SERVER_VERSION_MIN {
        let context = format!(
            "the server is PostgreSQL {}, and 15 or newer is needed: upgrade it",
            version / 10_000
        );
        return Err(Error::new(ErrorKind::Invalid, OPEN, context));
    }
    if !is_synced || !is_synchronous {
        tracing::warn!(
            fsync = is_synced,
            synchronous_commit = is_synchronous,
            "the server does not wait for its disk: a crash may lose answers that were acknowledged"
        );
    }
    Ok(now)
}

/// Refuses a log whose order this server cannot continue.
///
/// Events stand in the order of transaction numbers. A dump that was restored into a new server
/// carries numbers that the new one has not reached: new events would stand before old ones, and
/// readers would never see them.
async fn check_log(primary: &Node) -> Result<()> {
    let failed = |failure: Failure| failure.during(OPEN);
    let newest = primary.fetch(|| sqlx::query(NEWEST_EVENT_SQL)).await;
    let newest = newest.map_err(failed)?;
    let newest = newest
        .first()
        .and_then(|row| Columns::of(row).next::<i64>());
    let server = primary.fetch(|| sqlx::query(SERVER_SQL)).await;
    let server = server.map_err(failed)?;
    let current = server.first().and_then(|row| {
        let mut columns = Columns::of(row);
        let _ = (columns.instant(), columns.next::<i32>());
        let _ = (columns.next::<&str>(), columns.next::<&str>());
        columns.next::<i64>()
    });
    if newest > current {
        let context = "the log comes from another server, whose transaction numbers are greater: \
                       restore a base backup instead of a dump, or set the numbers forward with \
                       pg_resetwal --epoch before the first start";
        return Err(Error::new(ErrorKind::Invalid, OPEN, context));
    }
    Ok(())
}
