//! Connections: how they are made, pooled, lent and given up.
//!
//! A connection goes back to its pool only if what was asked of it has been answered in full. When
//! the future that uses it is dropped half-way, or waits too long, the socket is closed instead: the
//! server rolls back, and nobody else ever gets a connection inside somebody's transaction.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, Object, Pool, RecycleError, RecycleResult};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions, PgConnection, Postgres, Row, SqlSafeStr};
use tokio::time::{Instant, timeout};

use crate::config::Pooling;
use crate::error::Failure;
use crate::node::Limits;

/// A statement with its values.
pub(crate) type Statement = Query<'static, Postgres, PgArguments>;

/// A pool of connections to one place.
pub(crate) type Sessions = Pool<Connector>;

/// How long one host may take to take a connection: three lost packets on a slow network.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(3);

/// How long the other hosts are waited for once one has answered: to hear of a promotion, and still
/// be quick where one of them is gone.
const SURVEY_GRACE: Duration = Duration::from_millis(250);

/// How long a connection is used: so that those of a host that moved, or of a server that was added
/// behind a balancer, are made anew some day. A tenth of it is spread by the age of the pool.
const LIFETIME_MAX: Duration = Duration::from_secs(30 * 60);

/// How much longer than the server's own limit an answer is waited for: the server says which limit
/// was passed, a silent network says nothing.
const ANSWER_GRACE: Duration = Duration::from_secs(2);

/// The file that is written to; null on a standby.
const TIMELINE_SQL: &str = "
SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_lsn()) END";

/// What a host must be to be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Whatever it is.
    Any,
    /// It takes writes.
    Primary,
}

/// Makes connections.
pub(crate) struct Connector {
    /// Where a server may be.
    hosts: Vec<PgConnectOptions>,
    /// The newest timeline that this store has seen on any of its connections.
    timeline: Arc<AtomicU32>,
    role: Role,
    pooling: Pooling,
    statement_timeout: Duration,
}

impl Connector {
    pub(crate) fn new(
        hosts: Vec<PgConnectOptions>,
        role: Role,
        timeline: Arc<AtomicU32>,
        limits: &Limits,
    ) -> Self {
        Self {
            hosts,
            timeline,
            role,
            pooling: limits.pooling,
            statement_timeout: limits.statement_timeout,
        }
    }

    /// How long one statement may take before its connection is given up.
    pub(crate) fn answer_wait_max(&self) -> Duration {
        self.statement_timeout + ANSWER_GRACE
    }

    /// Connects to the host that was promoted last of those that answer.
    ///
    /// A primary that was failed over and came back by itself also takes writes, but on a timeline
    /// that ended: what is written there is lost. So all hosts are asked, and once one has answered,
    /// those that are silent are not waited for long.
    pub(crate) async fn connect(&self) -> Result<PgConnection, Failure> {
        let mut asked: FuturesUnordered<_> = self
            .hosts
            .iter()
            .map(|host| self.connect_to(host))
            .collect();
        let mut failure = Failure::NoPrimary;
        let mut best: Option<Found> = None;
        let mut patience = CONNECT_WAIT_MAX * 2;
        while let Ok(Some(connected)) = timeout(patience, asked.next()).await {
            match connected {
                Ok(found) => {
                    patience = SURVEY_GRACE;
                    if best
                        .as_ref()
                        .is_none_or(|best| found.timeline > best.timeline)
                    {
                        best = Some(found);
                    }
                }
                // What a standby says matters less than why no other host could be reached.
                Err(Failure::NoPrimary) => {}
                Err(other) => failure = other,
            }
        }
        Ok(best.ok_or(failure)?.connection)
    }

    /// Connects to a host, if it is what it must be and not on a timeline that ended.
    async fn connect_to(&self, host: &PgConnectOptions) -> Result<Found, Failure> {
        let connecting = async {
            let mut connection = host.connect().await?;
            let mut timeline = 0;
            if self.role == Role::Primary {
                let row = sqlx::raw_sql(TIMELINE_SQL)
                    .fetch_one(&mut connection)
                    .await?;
                let file: Option<&str> = row.try_get(0)?;
                timeline = file.and_then(timeline_of).ok_or(Failure::NoPrimary)?;
            }
            Ok(Found {
                connection,
                timeline,
            })
        };
        let found = match timeout(CONNECT_WAIT_MAX, connecting).await {
            Ok(connected) => connected.map_err(Failure::while_connecting)?,
            Err(_elapsed) => return Err(Failure::NotReached(None)),
        };
        let newest = self.timeline.fetch_max(found.timeline, Ordering::AcqRel);
        match found.timeline < newest {
            true => Err(Failure::NoPrimary),
            false => Ok(found),
        }
    }
}

/// A connection to a host, and the timeline of a host that takes writes.
struct Found {
    connection: PgConnection,
    timeline: u32,
}

/// The timeline in the name of a file of the write-ahead log: its first eight hexadecimal digits.
fn timeline_of(file: &str) -> Option<u32> {
    u32::from_str_radix(file.get(..8)?, 16).ok()
}

impl fmt::Debug for Connector {
    /// Says where, and never with which password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self
            .hosts
            .iter()
            .map(|host| format!("{}:{}", host.get_host(), host.get_port()));
        f.debug_struct("Connector")
            .field("hosts", &hosts.collect::<Vec<_>>())
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// A connection and how old it is.
pub(crate) struct Session {
    connection: PgConnection,
    made: Instant,
}

impl Manager for Connector {
    type Type = Session;
    type Error = Failure;

    async fn create(&self) -> Result<Session, Failure> {
        let connection = self.connect().await?;
        let made = Instant::now();
        Ok(Session { connection, made })
    }

    /// A connection in the pool is clean, and may be dead all the same: who leases it finds out.
    async fn recycle(&self, session: &mut Session, metrics: &Metrics) -> RecycleResult<Failure> {
        // Connections that were made together do not all end together.
        let spread = LIFETIME_MAX / 10 * u32::try_from(metrics.recycle_count % 8).unwrap_or(0) / 8;
        if session.made.elapsed() > LIFETIME_MAX - spread {
            return Err(RecycleError::message("it is old"));
        }
        Ok(())
    }
}

/// A connection on loan. Dropping it closes the connection; [`give_back`](Self::give_back) keeps it.
pub(crate) struct Lease {
    session: Option<Object<Connector>>,
    pooling: Pooling,
    answer_wait_max: Duration,
}

impl Lease {
    /// Borrows a connection, waiting for a free one if all are lent.
    pub(crate) async fn take(sessions: &Sessions) -> Result<Self, Failure> {
        let session = sessions.get().await.map_err(Failure::from)?;
        Ok(Self {
            session: Some(session),
            pooling: sessions.manager().pooling,
            answer_wait_max: sessions.manager().answer_wait_max(),
        })
    }

    /// Returns the connection to its pool: nothing is under way on it.
    pub(crate) fn give_back(mut self) {
        drop(self.session.take());
    }

    /// Runs a statement and returns its rows.
    pub(crate) async fn fetch(&mut self, statement: Statement) -> Result<Vec<PgRow>, Failure> {
        // Behind a pooler the next transaction may run on another server, which knows no names.
        let statement = statement.persistent(self.pooling == Pooling::None);
        let (connection, wait) = self.connection()?;
        let fetched = timeout(wait, statement.fetch_all(connection)).await;
        fetched.map_or(Err(Failure::Silent), |rows| Ok(rows?))
    }

    /// Runs a statement and returns how many rows it changed.
    pub(crate) async fn execute(&mut self, statement: Statement) -> Result<u64, Failure> {
        let statement = statement.persistent(self.pooling == Pooling::None);
        let (connection, wait) = self.connection()?;
        let done = timeout(wait, statement.execute(connection)).await;
        done.map_or(Err(Failure::Silent), |done| Ok(done?.rows_affected()))
    }

    /// Runs statements without values, as one message.
    pub(crate) async fn run(&mut self, sql: impl SqlSafeStr) -> Result<(), Failure> {
        let (connection, wait) = self.connection()?;
        let done = timeout(wait, sqlx::raw_sql(sql).execute(connection)).await;
        done.map_or(Err(Failure::Silent), |done| Ok(done.map(drop)?))
    }

    /// Lets what follows take longer, until it is given back.
    pub(crate) fn wait_up_to(&mut self, wait: Duration) {
        self.answer_wait_max = wait;
    }

    /// The connection itself, for what the calls above do not offer.
    pub(crate) fn connection(&mut self) -> Result<(&mut PgConnection, Duration), Failure> {
        match &mut self.session {
            Some(session) => Ok((&mut session.connection, self.answer_wait_max)),
            None => Err(Failure::Closed),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // Out of the pool: the socket is closed, whatever state it is in.
            drop(Object::take(session));
        }
    }
}
