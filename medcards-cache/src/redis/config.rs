use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use medcards_core::{Error, ErrorKind, Result};
use secrecy::SecretString;

use super::address::Address;

/// How long a request may wait for one answer of Redis unless said otherwise: twenty times what one
/// takes in the same data centre, and too little for a student to notice.
const PATIENCE_DEFAULT: Duration = Duration::from_millis(10);

/// The shortest and longest patience. Below a millisecond an idle Redis would seem slow; above five
/// seconds a dead one holds up what could have been answered without it.
const PATIENCE_BOUNDS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(5);

/// The longest namespace in bytes: each key begins with it.
const NAMESPACE_LEN_MAX: usize = 40;

/// Where Redis is, and how long it may take.
///
/// | address | what |
/// | --- | --- |
/// | `redis://[[user]:password@]host[:port][/database]` | one server |
/// | `unix:///path?db=0&user=…&pass=…` | one server by a socket on this machine |
/// | `redis+sentinel://[[user]:password@]host[:port],host…/service[/database]` | the primary that these Sentinels name |
/// | `redis+cluster://[[user]:password@]host[:port],host…` | a Cluster, found from any of these nodes |
///
/// `rediss` in place of `redis` means TLS, which needs the feature `redis-tls`. After a `?` there may
/// be `protocol=resp3`; with TLS `ca=/path` to a file of trusted certificates in PEM form in place of
/// the machine's, and `cert=/path` with `key=/path` to say who we are; with Sentinel
/// `sentinel_user=…` and `sentinel_password=…`. User, password and parameters are percent-encoded.
#[derive(Clone)]
pub struct RedisConfig {
    pub(super) address: Address,
    pub(super) namespace: String,
    pub(super) patience: Duration,
}

impl RedisConfig {
    /// Reads the address of Redis, and the files that it names.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is no such address, if a file cannot be read, or if it asks for
    /// TLS and this was built without.
    pub fn new(url: &str) -> Result<Self> {
        Ok(Self {
            address: Address::read(&SecretString::from(url))?,
            namespace: "medcards".to_owned(),
            patience: PATIENCE_DEFAULT,
        })
    }

    /// What the name of every key begins with, so that several deployments can use one Redis: 1 to 40
    /// letters, digits, `-`, `_`, `.` and `:`. Default: `medcards`.
    #[must_use]
    pub fn with_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How long a request may wait for one answer of Redis: 1 ms to 5 s. Default: 10 ms.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Says whether namespace and patience are such as can work, which
    /// [`Redis::connect`](super::Redis::connect) asks too.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], saying what they must be.
    pub fn check(&self) -> Result<()> {
        let invalid = |what: &'static str| Error::new(ErrorKind::Invalid, "connect to Redis", what);
        if !PATIENCE_BOUNDS.contains(&self.patience) {
            return Err(invalid("the patience must be 1 ms to 5 s"));
        }
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
        let fits = (1..=NAMESPACE_LEN_MAX).contains(&self.namespace.len());
        if !fits || !self.namespace.bytes().all(is_plain) {
            return Err(invalid(
                "the namespace must have 1 to 40 letters, digits, '-', '_', '.' or ':'",
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("address", &self.address.to_string())
            .field("namespace", &self.namespace)
            .field("patience", &self.patience)
            .finish()
    }
}

impl fmt::Display for RedisConfig {
    /// The address without user, password and parameters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}
