//! One server and the connections to it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::QueueMode;
use medcards_core::{Error, ErrorKind, Result};
use sqlx::SqlSafeStr;
use sqlx::postgres::{PgConnectOptions, PgRow};

use crate::config::Pooling;
use crate::error::Failure;
use crate::session::{Connector, Lease, Role, Sessions, Statement};

/// How long a call waits for a connection while all are lent: a hundred times what most take.
const LEASE_WAIT_MAX: Duration = Duration::from_secs(5);

/// How often a transaction that gave way to another is tried again before its caller hears of it.
pub(crate) const CLASHES_MAX: u32 = 3;

const BEGIN: &str = "BEGIN";
const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";

/// How the connections of a node behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) connections_max: u32,
    pub(crate) pooling: Pooling,
    pub(crate) statement_timeout: Duration,
    pub(crate) lock_timeout: Duration,
}

/// One server, or several of which one takes the writes.
#[derive(Clone)]
pub(crate) struct Node {
    name: String,
    sessions: Sessions,
    pooling: Pooling,
    /// What begins a transaction behind a pooler, which takes no settings with the connection.
    begin_pooled: String,
}

impl Node {
    /// Nodes that lead to the same hosts share what is known of their timelines.
    pub(crate) fn new(
        hosts: Vec<PgConnectOptions>,
        role: Role,
        timeline: Arc<AtomicU32>,
        limits: Limits,
    ) -> Result<Self> {
        let name = name_of(&hosts);
        let settings = settings(&limits);
        let hosts = match limits.pooling {
            Pooling::None => hosts
                .into_iter()
                .map(|host| host.options(settings.clone()).extra_float_digits(None))
                .collect(),
            // The names of prepared statements would be those of another server's connection, and
            // older poolers refuse parameters that they do not know.
            Pooling::Transaction => hosts
                .into_iter()
                .map(|host| host.statement_cache_capacity(0).extra_float_digits(None))
                .collect(),
        };
        let connector = Connector::new(hosts, role, timeline, &limits);
        let sessions = Sessions::builder(connector)
            .max_size(limits.connections_max as usize)
            .wait_timeout(Some(LEASE_WAIT_MAX))
            // The newest connection first, so that those that are not needed grow old.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|source| {
                let context = "no runtime for timeouts: this is a defect";
                Error::new(ErrorKind::Unexpected, "open store", context).with_source(source)
            })?;
        let set: Vec<_> = settings
            .iter()
            .map(|(name, value)| format!("; SET LOCAL {name} = '{value}'"))
            .collect();
        Ok(Self {
            name,
            sessions,
            pooling: limits.pooling,
            begin_pooled: format!("{BEGIN}{}", set.concat()),
        })
    }

    /// Runs a statement that may be run twice, and returns its rows.
    ///
    /// A connection that had been lost meanwhile, as all are after a restart, is replaced once.
    pub(crate) async fn fetch(
        &self,
        statement: impl Fn() -> Statement + Send + Sync,
    ) -> Result<Vec<PgRow>, Failure> {
        let mut clashes = 0;
        let mut is_first = true;
        loop {
            let failure = match self.fetch_once(statement()).await {
                Ok(rows) => return Ok(rows),
                Err(failure) => failure,
            };
            if failure.is_of_clash() && clashes < CLASHES_MAX {
                clashes += 1;
                continue;
            }
            if failure.is_of_link() {
                // Others that wait in the pool lead to the same place.
                self.forget_idle();
            }
            if !failure.is_of_dead_link() || !is_first {
                return Err(failure);
            }
            is_first = false;
        }
    }

    /// Runs a statement that must not be run twice.
    pub(crate) async fn fetch_once(&self, statement: Statement) -> Result<Vec<PgRow>, Failure> {
        let mut lease = Lease::take(&self.sessions).await?;
        if self.pooling == Pooling::Transaction {
            lease
                .run(sqlx::AssertSqlSafe(self.begin_pooled.clone()))
                .await?;
        }
        let rows = match lease.fetch(statement).await {
            Ok(rows) => rows,
            Err(failure) => {
                self.recover(lease, &failure).await;
                return Err(failure);
            }
        };
        if self.pooling == Pooling::Transaction {
            lease.run(COMMIT).await?;
        }
        lease.give_back();
        Ok(rows)
    }

    /// Runs statements without values as one message, which begins and ends their transaction.
    pub(crate) async fn run_once(&self, sql: impl SqlSafeStr) -> Result<(), Failure> {
        let mut lease = Lease::take(&self.sessions).await?;
        lease.run(sql).await?;
        lease.give_back();
        Ok(())
    }

    /// Runs a statement if another one, on the same connection before it, says so.
    pub(crate) async fn fetch_if(
        &self,
        condition: Statement,
        holds: impl Fn(&[PgRow]) -> bool + Send + Sync,
        statement: Statement,
    ) -> Result<Option<Vec<PgRow>>, Failure> {
        let mut transaction = match self.pooling {
            Pooling::None => Transaction {
                node: self,
                lease: Lease::take(&self.sessions).await?,
            },
            Pooling::Transaction => self.begin_once().await?,
        };
        let holds = holds(&transaction.fetch(condition).await?);
        let rows = match holds {
            true => Some(transaction.fetch(statement).await?),
            false => None,
        };
        match self.pooling {
            Pooling::None => transaction.lease.give_back(),
            Pooling::Transaction => transaction.commit().await?,
        }
        Ok(rows)
    }

    /// Begins a transaction.
    pub(crate) async fn begin(&self) -> Result<Transaction<'_>, Failure> {
        match self.begin_once().await {
            // Nothing was sent but BEGIN: another connection may begin instead.
            Err(failure) if failure.is_of_dead_link() => {
                self.forget_idle();
                self.begin_once().await
            }
            begun => begun,
        }
    }

    async fn begin_once(&self) -> Result<Transaction<'_>, Failure> {
        let mut lease = Lease::take(&self.sessions).await?;
        match self.pooling {
            Pooling::None => lease.run(BEGIN).await?,
            Pooling::Transaction => {
                lease
                    .run(sqlx::AssertSqlSafe(self.begin_pooled.clone()))
                    .await?;
            }
        }
        Ok(Transaction { node: self, lease })
    }

    /// Keeps a connection whose statement failed, if the server has ended what it began.
    async fn recover(&self, mut lease: Lease, failure: &Failure) {
        if failure.is_of_link() || matches!(failure, Failure::Closed | Failure::Unreadable(_)) {
            return;
        }
        let is_clean = match self.pooling {
            Pooling::None => true,
            Pooling::Transaction => lease.run(ROLLBACK).await.is_ok(),
        };
        if is_clean {
            lease.give_back();
        }
    }

    /// Gives up the connections that nobody uses: they lead to a server that is gone.
    pub(crate) fn forget_idle(&self) {
        self.sessions.retain(|_, _| false);
    }

    /// Takes no more calls; connections close when they come back.
    pub(crate) fn close(&self) {
        self.sessions.close();
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A transaction. Dropped without an end, it closes its connection, and the server rolls back.
pub(crate) struct Transaction<'n> {
    node: &'n Node,
    lease: Lease,
}

impl Transaction<'_> {
    pub(crate) async fn fetch(&mut self, statement: Statement) -> Result<Vec<PgRow>, Failure> {
        self.lease.fetch(statement).await
    }

    /// The one row of a statement, or none.
    pub(crate) async fn fetch_optional(
        &mut self,
        statement: Statement,
    ) -> Result<Option<PgRow>, Failure> {
        Ok(self.lease.fetch(statement).await?.into_iter().next())
    }

    pub(crate) async fn execute(&mut self, statement: Statement) -> Result<u64, Failure> {
        self.lease.execute(statement).await
    }

    pub(crate) fn lease(&mut self) -> &mut Lease {
        &mut self.lease
    }

    pub(crate) async fn commit(mut self) -> Result<(), Failure> {
        self.lease.run(COMMIT).await?;
        self.lease.give_back();
        Ok(())
    }

    /// Ends it without a change, because of `failure`.
    pub(crate) async fn give_up(mut self, failure: Failure) -> Failure {
        if failure.is_of_link() {
            self.node.forget_idle();
        } else if self.lease.run(ROLLBACK).await.is_ok() {
            self.lease.give_back();
        }
        failure
    }
}

/// Runs the steps of a transaction and commits it, or rolls it back as the steps fail.
///
/// A transaction that gave way to another is tried again.
macro_rules! transact {
    ($node:expr, |$transaction:ident| $steps:block) => {{
        let mut clashes = 0;
        loop {
            let mut $transaction = match $node.begin().await {
                Ok(transaction) => transaction,
                Err(failure) => break Err(failure),
            };
            let done: ::std::result::Result<_, $crate::error::Failure> = async { $steps }.await;
            let failure = match done {
                Ok(done) => match $transaction.commit().await {
                    Ok(()) => break Ok(done),
                    Err(failure) => failure,
                },
                Err(failure) => $transaction.give_up(failure).await,
            };
            if !failure.is_of_clash() || clashes == $crate::node::CLASHES_MAX {
                break Err(failure);
            }
            clashes += 1;
        }
    }};
}
pub(crate) use transact;

/// What each session is set to: limits on the server's side, which hold even if we are gone.
fn settings(limits: &Limits) -> Vec<(&'static str, String)> {
    let ms = |time: Duration| time.as_millis().to_string();
    vec![
        ("statement_timeout", ms(limits.statement_timeout)),
        ("lock_timeout", ms(limits.lock_timeout)),
        (
            "idle_in_transaction_session_timeout",
            ms(limits.statement_timeout),
        ),
        // What nobody waits for any more ends, and holds up no reader of the log.
        ("client_connection_check_interval", "5s".to_owned()),
        // Compiling a statement takes longer than any of ours runs.
        ("jit", "off".to_owned()),
    ]
}

/// Where these hosts are and which database is meant, without what must stay secret.
pub(crate) fn name_of(hosts: &[PgConnectOptions]) -> String {
    let places: Vec<_> = hosts
        .iter()
        .map(|host| match host.get_socket() {
            Some(folder) => format!("{}:{}", folder.display(), host.get_port()),
            None => format!("{}:{}", host.get_host(), host.get_port()),
        })
        .collect();
    // The server takes the name of the user for that of the database if none is given.
    let database = hosts
        .first()
        .map(|host| host.get_database().unwrap_or(host.get_username()));
    format!("{}/{}", places.join(","), database.unwrap_or_default())
}
