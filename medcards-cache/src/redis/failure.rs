//! What an error of the driver means, and what to do about it.

use std::io;
use std::sync::Arc;

use medcards_core::{Error, ErrorKind};
use redis::{RedisError, ServerErrorKind};

/// What a failed call says about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It knows us and says no.
    Denied,
    /// It has no memory left for a write.
    Full,
    /// It answered, and the answer is about this call only.
    Refused,
    /// Nobody answered.
    Gone,
    /// It takes longer than it may.
    Slow,
    /// It answered that another node of its Cluster has the key.
    Moved,
    /// It answered that it cannot serve now: it is a replica, loading, or without its primary.
    NotServing,
    /// It answered that it takes no writes now: its disk is full, or it misses its replicas.
    ReadOnly,
    /// It answered something that we cannot read.
    Unreadable,
    /// What we were told to do cannot be done.
    Unusable,
    /// It has no database of the number that the address names.
    NoDatabase,
    /// It is no node of a Cluster.
    NoCluster,
}

/// What an error that has no code of its own says somewhere, and what that means. These are mistakes
/// in the address, which show when a connection is made.
const MISTAKES: [(&str, Failure); 4] = [
    ("DB index is out of range", Failure::NoDatabase),
    ("SELECT is not allowed", Failure::NoDatabase),
    ("cluster support disabled", Failure::NoCluster),
    // All that the driver says of the nodes of a Cluster if it can log in on none of them.
    ("AuthenticationFailed", Failure::Denied),
];

impl Failure {
    pub(super) fn of(error: &RedisError) -> Self {
        use redis::ErrorKind as Kind;
        match error.kind() {
            Kind::AuthenticationFailed => return Self::Denied,
            Kind::InvalidClientConfig | Kind::RESP3NotSupported | Kind::EmptySentinelList => {
                return Self::Unusable;
            }
            Kind::Io => {
                if is_tls_refusal(error) {
                    return Self::Denied;
                }
                let mistake = error.detail().and_then(Self::of_mistake);
                return mistake.unwrap_or(Self::Gone);
            }
            Kind::UnexpectedReturnType | Kind::Client => return Self::Unreadable,
            Kind::Parse
            | Kind::ClusterConnectionNotFound
            | Kind::MasterNameNotFoundBySentinel
            | Kind::NoValidReplicasFoundBySentinel => return Self::Gone,
            Kind::Server(ServerErrorKind::NoPerm) => return Self::Denied,
            _ => {}
        }
        // The error of a pipeline names the code of a command only inside.
        let inner = error.clone().into_server_errors();
        let inner = inner.as_deref().unwrap_or_default();
        let codes = inner.iter().map(|(_, error)| error.code());
        codes
            .chain(error.code())
            .find_map(Self::of_code)
            .or_else(|| Self::of_mistake(error.detail()?))
            .unwrap_or(Self::Refused)
    }

    fn of_mistake(detail: &str) -> Option<Self> {
        let mut mistakes = MISTAKES.into_iter();
        mistakes.find_map(|(words, failure)| detail.contains(words).then_some(failure))
    }

    /// Whether it stays until somebody changes what we were told of the server, or the server.
    pub(super) fn is_mistake(self) -> bool {
        matches!(
            self,
            Self::Denied | Self::Unusable | Self::NoDatabase | Self::NoCluster
        )
    }

    fn of_code(code: &str) -> Option<Self> {
        match code {
            "OOM" => Some(Self::Full),
            "NOAUTH" | "WRONGPASS" | "NOPERM" => Some(Self::Denied),
            "READONLY" | "MASTERDOWN" | "LOADING" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY" => {
                Some(Self::NotServing)
            }
            "MOVED" | "ASK" => Some(Self::Moved),
            "MISCONF" | "NOREPLICAS" => Some(Self::ReadOnly),
            "WRONGTYPE" => Some(Self::Unreadable),
            _ => None,
        }
    }

    /// The error that says what it means and what to do.
    pub(super) fn error(self, operation: &'static str) -> Error {
        let (kind, what) = match self {
            Self::Denied => (
                ErrorKind::Denied,
                "Redis refuses us: check user, password, certificates, and that the user may run all commands",
            ),
            Self::Full => (
                ErrorKind::Full,
                "Redis has no memory left: raise its maxmemory, or let it evict",
            ),
            Self::Refused => (
                ErrorKind::Unexpected,
                "Redis refuses the command: is it older than 7?",
            ),
            Self::Moved => (
                ErrorKind::Unavailable,
                "another node of the Cluster takes over: wait for it, and address a Cluster as redis+cluster://",
            ),
            Self::Gone | Self::NotServing => (
                ErrorKind::Unavailable,
                "Redis is away: each process goes on alone until it is back",
            ),
            Self::Slow => (
                ErrorKind::Timeout,
                "Redis takes longer than it may: see its SLOWLOG, or allow it more patience",
            ),
            Self::ReadOnly => (
                ErrorKind::ReadOnly,
                "Redis takes no writes: see its log, it misses room on its disk or replicas",
            ),
            Self::Unreadable => (
                ErrorKind::Corrupt,
                "Redis holds something else under this key: does another program use this namespace?",
            ),
            Self::Unusable => (
                ErrorKind::Invalid,
                "the address does not fit what is there: check server, Sentinel or Cluster, and TLS",
            ),
            Self::NoDatabase => (
                ErrorKind::Invalid,
                "Redis has no such database: name one below its setting databases, and none in a Cluster",
            ),
            Self::NoCluster => (
                ErrorKind::Invalid,
                "this Redis is no node of a Cluster: address it as redis://, or name nodes of a Cluster",
            ),
        };
        Error::new(kind, operation, what)
    }

    /// The error together with that of the driver.
    pub(super) fn into_error(self, operation: &'static str, source: RedisError) -> Error {
        let error = self.error(operation);
        // An unknown command is answered with its arguments, which may be a student's words.
        let repeats_arguments = source
            .detail()
            .is_some_and(|detail| detail.contains("with args"));
        if repeats_arguments {
            return error;
        }
        error.with_source(source)
    }
}

/// Whether the two sides could not agree on TLS, which waiting does not mend.
fn is_tls_refusal(error: &RedisError) -> bool {
    let source = std::error::Error::source(error);
    // The driver shares the cause between clones of the error.
    source
        .and_then(|source| source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>())
        .and_then(|shared| shared.downcast_ref::<io::Error>())
        .is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
}
