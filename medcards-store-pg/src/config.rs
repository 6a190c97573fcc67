use std::fmt;
use std::time::Duration;

use medcards_core::{Error, ErrorKind, Result};
use sqlx::postgres::PgConnectOptions;

use crate::node::{Limits, name_of};

const OPERATION: &str = "open store";

/// How a [`PgStore`](crate::PgStore) is opened.
///
/// Shown as text it says where, such as `db1:5432,db2:5433/medcards (1 replica)`, and never as whom or
/// with which password.
///
/// ```
/// use medcards_store_pg::PgConfig;
///
/// let config = PgConfig::new("postgres://medcards:secret@db1,db2:5433/medcards")?
///     .with_replicas(&["postgres://medcards:secret@db3/medcards"])?
///     .with_connections_max(20);
/// assert_eq!(config.to_string(), "db1:5432,db2:5433/medcards (1 replica)");
/// # Ok::<(), medcards_core::Error>(())
/// ```
#[derive(Clone)]
pub struct PgConfig {
    primary: Vec<PgConnectOptions>,
    replicas: Vec<PgConnectOptions>,
    pooling: Pooling,
    connections_max: u32,
    writers: u32,
    statement_timeout: Duration,
    lock_timeout: Duration,
    case_cache_bytes: u64,
    retention: Retention,
    keeping: Keeping,
    cache_refresh: Duration,
    half_moved: HalfMoved,
}

/// What stands between this process and the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a pooler shares servers or not")]
pub enum Pooling {
    /// Nothing. A pooler that gives each connection a server of its own is as good as nothing if it
    /// is told to let the parameter `options` of a connection pass; else say [`Self::Transaction`].
    #[default]
    None,
    /// A pooler that gives each transaction a server, as PgBouncer does with
    /// `pool_mode = transaction`, and Supavisor on port 6543.
    ///
    /// Each call is then a transaction of unnamed statements, which costs two round trips more.
    Transaction,
}

/// How long answers are kept in `interactions`. Their events stay in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retention {
    /// For ever.
    #[default]
    Forever,
    /// For this many whole months before the current one, at least [`Self::MONTHS_MIN`]; the
    /// partitions of older ones are detached, and stay as tables of their own.
    Detach(u32),
    /// The same, and then dropped.
    Drop(u32),
}

impl Retention {
    /// The fewest months: an answer may come 90 days late, and what was dropped could be stored
    /// twice.
    pub const MONTHS_MIN: u32 = 4;
}

/// Whether this process looks after the database: partitions, statistics, their cross-check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "it does or it does not")]
pub enum Keeping {
    /// Another process does. A month that is missing is made here all the same.
    Elsewhere,
    /// It does, beside all others that do.
    #[default]
    Here,
}

/// What to do with a database into which only a part of another store has been moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "it is opened or not")]
pub enum HalfMoved {
    /// Refuse it: what is written now would stand among what is still to come.
    #[default]
    Refused,
    /// Open it, to go on with the move.
    Taken,
}

impl PgConfig {
    /// The most connections that may be asked for: a server has a process for each.
    pub const CONNECTIONS_MAX: u32 = 500;

    /// The most writers: what more could gain, one commit for many gains already.
    pub const WRITERS_MAX: u32 = 16;

    /// Describes the store at this address: `postgres://user:password@host:port/database`, with the
    /// parameters of [libpq](https://www.postgresql.org/docs/current/libpq-connect.html) for TLS
    /// (`sslmode`, `sslrootcert`, `sslcert`, `sslkey`).
    ///
    /// Several hosts with commas between are servers of which one takes writes at a time; the store
    /// looks for it whenever it connects, as libpq does with `target_session_attrs=read-write`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is not such an address. The error never repeats it: there may
    /// be a password in it.
    pub fn new(url: &str) -> Result<Self> {
        Ok(Self {
            primary: hosts_of(url)?,
            replicas: Vec::new(),
            pooling: Pooling::None,
            connections_max: 10,
            writers: 2,
            statement_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(2),
            case_cache_bytes: 32 * 1024 * 1024,
            retention: Retention::Forever,
            keeping: Keeping::Here,
            cache_refresh: Duration::from_hours(24),
            half_moved: HalfMoved::Refused,
        })
    }

    /// Sets the addresses of streaming replicas, each with the same users and rights. Default:
    /// none.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if one of them is no address.
    pub fn with_replicas(mut self, urls: &[impl AsRef<str>]) -> Result<Self> {
        self.replicas.clear();
        for url in urls {
            self.replicas.extend(hosts_of(url.as_ref())?);
        }
        Ok(self)
    }

    /// Says what stands between this process and the primary. Replicas are reached in the same way.
    /// Default: [`Pooling::None`].
    #[must_use]
    pub fn with_pooling(mut self, pooling: Pooling) -> Self {
        self.pooling = pooling;
        self
    }

    /// Sets the most connections to the primary, and to each replica, beside those of the writers;
    /// 1 to [`Self::CONNECTIONS_MAX`]. Default: 10.
    #[must_use]
    pub fn with_connections_max(mut self, connections: u32) -> Self {
        self.connections_max = connections;
        self
    }

    /// Sets how many writers commit answers at once, 1 to [`Self::WRITERS_MAX`]; each has a
    /// connection of its own. Default: 2.
    #[must_use]
    pub fn with_writers(mut self, writers: u32) -> Self {
        self.writers = writers;
        self
    }

    /// Sets how long one statement may take, 100 ms to 10 minutes. Default: 10 seconds.
    #[must_use]
    pub fn with_statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// Sets how long a statement waits for a lock, at most the time it may take. Default: 2
    /// seconds.
    #[must_use]
    pub fn with_lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Sets the size of the cache of case versions, in bytes of their JSON. Default: 32 MiB.
    #[must_use]
    pub fn with_case_cache_bytes(mut self, bytes: u64) -> Self {
        self.case_cache_bytes = bytes;
        self
    }

    /// Sets how long answers are kept. Default: [`Retention::Forever`].
    #[must_use]
    pub fn with_retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Says whether this process looks after the database. Default: [`Keeping::Here`].
    #[must_use]
    pub fn with_keeping(mut self, keeping: Keeping) -> Self {
        self.keeping = keeping;
        self
    }

    /// Sets how often the cross-check `user_stats_cache` is refreshed by whichever process comes
    /// first, one minute to a week. A refresh reads all answers, and readers of the log wait while it
    /// runs. Default: one day.
    #[must_use]
    pub fn with_cache_refresh(mut self, interval: Duration) -> Self {
        self.cache_refresh = interval;
        self
    }

    /// Says what to do with a database into which only a part of another store has been moved.
    /// Default: [`HalfMoved::Refused`].
    #[must_use]
    pub fn with_half_moved(mut self, half_moved: HalfMoved) -> Self {
        self.half_moved = half_moved;
        self
    }

    pub(crate) fn checked(self) -> Result<Self> {
        let months = match self.retention {
            Retention::Forever => Retention::MONTHS_MIN,
            Retention::Detach(months) | Retention::Drop(months) => months,
        };
        within(
            "connections",
            self.connections_max,
            1,
            Self::CONNECTIONS_MAX,
        )?;
        within("writers", self.writers, 1, Self::WRITERS_MAX)?;
        within("months of retention", months, Retention::MONTHS_MIN, 12_000)?;
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let statement_ms = ms(self.statement_timeout);
        within("milliseconds of a statement", statement_ms, 100, 600_000)?;
        let lock_ms = ms(self.lock_timeout);
        within("milliseconds for a lock", lock_ms, 1, statement_ms)?;
        let refresh = u32::try_from(self.cache_refresh.as_secs()).unwrap_or(u32::MAX);
        within("seconds between refreshes", refresh, 60, 604_800)?;
        Ok(self)
    }

    pub(crate) fn primary(&self) -> &[PgConnectOptions] {
        &self.primary
    }

    pub(crate) fn replicas(&self) -> &[PgConnectOptions] {
        &self.replicas
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            connections_max: self.connections_max,
            pooling: self.pooling,
            statement_timeout: self.statement_timeout,
            lock_timeout: self.lock_timeout,
        }
    }

    pub(crate) fn writers(&self) -> u32 {
        self.writers
    }

    pub(crate) fn case_cache_bytes(&self) -> u64 {
        self.case_cache_bytes
    }

    pub(crate) fn retention(&self) -> Retention {
        self.retention
    }

    pub(crate) fn keeping(&self) -> Keeping {
        self.keeping
    }

    pub(crate) fn half_moved(&self) -> HalfMoved {
        self.half_moved
    }

    pub(crate) fn cache_refresh(&self) -> Duration {
        self.cache_refresh
    }
}

impl fmt::Debug for PgConfig {
    /// The driver's own text of an address has the password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgConfig")
            .field("primary", &name_of(&self.primary))
            .field("replicas", &name_of(&self.replicas))
            .field("pooling", &self.pooling)
            .field("connections_max", &self.connections_max)
            .field("writers", &self.writers)
            .field("statement_timeout", &self.statement_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .field("case_cache_bytes", &self.case_cache_bytes)
            .field("retention", &self.retention)
            .field("keeping", &self.keeping)
            .field("cache_refresh", &self.cache_refresh)
            .finish()
    }
}

impl fmt::Display for PgConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name_of(&self.primary))?;
        let replicas = match self.replicas.len() {
            0 => None,
            1 => Some("1 replica".to_owned()),
            count => Some(format!("{count} replicas")),
        };
        let pooler = match self.pooling {
            Pooling::None => None,
            Pooling::Transaction => Some("behind a pooler".to_owned()),
        };
        let remarks: Vec<_> = replicas.into_iter().chain(pooler).collect();
        match remarks.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", remarks.join(", ")),
        }
    }
}

fn within(what: &str, value: u32, least: u32, most: u32) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let context = format!("{what} must be {least} to {most}, not {value}");
    Err(Error::new(ErrorKind::Invalid, OPERATION, context))
}

/// The parameters that an address may have; `options[...]` besides.
const PARAMETERS: [&str; 17] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

/// Reads an address that may name several hosts, as one of each.
///
/// What the driver would pass over is refused: a misspelled `sslmode` must not turn encryption off.
fn hosts_of(url: &str) -> Result<Vec<PgConnectOptions>> {
    let invalid = |context: String| Error::new(ErrorKind::Invalid, OPERATION, context);
    let malformed = || {
        invalid(
            "the address must look like postgres://user:password@host:5432/database; several hosts \
             stand with commas between, and in user and password # / ? @ are written %23 %2F %3F %40"
                .to_owned(),
        )
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(malformed)?;
    if !matches!(scheme, "postgres" | "postgresql") || rest.contains('#') {
        return Err(malformed());
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    // Then what stands there is the end of a password, which must not be repeated.
    if tail.contains('@') {
        return Err(malformed());
    }
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (format!("{login}@"), hosts),
        None => (String::new(), authority),
    };
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split('=').next().unwrap_or_default();
        // This store always takes it to be `read-write`.
        if name == "target_session_attrs" {
            continue;
        }
        if !PARAMETERS.contains(&name) && !name.starts_with("options[") {
            return Err(invalid(format!(
                "the address has the parameter {name}, which is not known: known are {}",
                PARAMETERS.join(", ")
            )));
        }
        kept.push(pair);
    }
    let kept = kept.join("&");
    let one = |host: &str| {
        let url = format!("postgres://{login}{host}{path}?{kept}");
        // Its words may repeat the address.
        let options: PgConnectOptions = url.parse().map_err(|_secret| malformed())?;
        Ok(match options.get_application_name() {
            Some(_) => options,
            None => options.application_name("medcards"),
        })
    };
    hosts.split(',').map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_texts_say_where_and_never_as_whom() {
        for (url, replicas, pooling, text) in [
            (
                "postgres://ada:pw@db/m",
                &[][..],
                Pooling::None,
                "db:5432/m",
            ),
            (
                "postgresql://ada:pw@db1,db2:5433/m?sslmode=require",
                &["postgres://ada:pw@r1,r2/m", "postgres://r3/m?password=pw"],
                Pooling::Transaction,
                "db1:5432,db2:5433/m (3 replicas, behind a pooler)",
            ),
            (
                "postgres://m@%2Frun%2Fpg/m",
                &["postgres://m:pw@r/m"],
                Pooling::None,
                "/run/pg:5432/m (1 replica)",
            ),
            ("postgres://ada:pw@db", &[], Pooling::None, "db:5432/ada"),
        ] {
            let config = PgConfig::new(url).unwrap().with_replicas(replicas).unwrap();
            let config = config.with_pooling(pooling);
            assert_eq!(config.to_string(), text);
            assert!(!format!("{config:?}").contains("pw"), "{config:?}");
        }
    }
}
