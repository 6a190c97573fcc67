//! What can happen to a Redis, and how it ends.

use medcards_tests::redis::{RedisCluster, RedisServer, Sentinels};

/// The memory of the Redis that is filled: enough for all that the servers keep there.
const MEMORY: &str = "24mb";

/// More than that memory, as the count and the bytes of what fills it.
const FILLING: [&str; 2] = ["20000", "2000"];

/// Something that happens to a Redis. Its methods block the thread.
pub(super) trait Fault: Sync + Send + 'static {
    /// How often what was counted there may be lost by it.
    const LOSSES: u64;

    /// Whether all servers notice that Redis is away, until it ends.
    const IS_NOTICED: bool;

    /// Starts what it happens to.
    fn start() -> Self;

    /// Where that is.
    fn url(&self) -> String;

    /// It happens.
    fn happen(&self);

    /// It ends.
    fn end(&self);
}

/// Killed, and started again without anything.
pub(super) struct Killed(RedisServer);

/// Stopped with its connections open (`SIGSTOP`), as on a host that hangs.
pub(super) struct Paused(RedisServer);

/// Full, until it is given more memory.
pub(super) struct Filled(RedisServer);

/// Emptied.
pub(super) struct Flushed(RedisServer);

/// The primary is killed, and the Sentinels make the replica the primary.
pub(super) struct FailedOver(Sentinels);

/// A primary of a Cluster is killed, its replica takes over, and it comes back as a replica.
pub(super) struct NodeLost(RedisCluster);

impl Fault for Killed {
    const LOSSES: u64 = 1;
    const IS_NOTICED: bool = true;

    fn start() -> Self {
        Self(RedisServer::start())
    }

    fn url(&self) -> String {
        self.0.url()
    }

    fn happen(&self) {
        self.0.kill();
    }

    fn end(&self) {
        self.0.start_again();
    }
}

impl Fault for Paused {
    const LOSSES: u64 = 0;
    const IS_NOTICED: bool = true;

    fn start() -> Self {
        Self(RedisServer::start())
    }

    fn url(&self) -> String {
        self.0.url()
    }

    fn happen(&self) {
        self.0.suspend();
    }

    fn end(&self) {
        self.0.resume();
    }
}

impl Fault for Filled {
    const LOSSES: u64 = 0;
    const IS_NOTICED: bool = false;

    fn start() -> Self {
        let settings = [("maxmemory", MEMORY), ("maxmemory-policy", "noeviction")];
        Self(RedisServer::start_with(&settings))
    }

    fn url(&self) -> String {
        self.0.url()
    }

    fn happen(&self) {
        let [count, bytes] = FILLING;
        let filled = ["DEBUG", "POPULATE", count, "filling", bytes];
        self.0.command(&filled);
        let refused = self.0.try_command(&["SET", "one", "more"]);
        let complaint = refused.expect_err("it is full");
        assert!(complaint.contains("OOM"), "{complaint}");
    }

    fn end(&self) {
        self.0.command(&["CONFIG", "SET", "maxmemory", "0"]);
    }
}

impl Fault for Flushed {
    const LOSSES: u64 = 1;
    const IS_NOTICED: bool = false;

    fn start() -> Self {
        Self(RedisServer::start())
    }

    fn url(&self) -> String {
        self.0.url()
    }

    fn happen(&self) {
        self.0.command(&["FLUSHALL"]);
    }

    fn end(&self) {}
}

impl Fault for FailedOver {
    const LOSSES: u64 = 1;
    const IS_NOTICED: bool = true;

    fn start() -> Self {
        Self(Sentinels::start())
    }

    fn url(&self) -> String {
        self.0.url()
    }

    fn happen(&self) {
        self.0.kill_primary();
    }

    fn end(&self) {
        self.0.wait_until_writable();
    }
}

impl Fault for NodeLost {
    const LOSSES: u64 = 1;
    const IS_NOTICED: bool = false;

    fn start() -> Self {
        Self(RedisCluster::start())
    }

    fn url(&self) -> String {
        self.0.url()
    }

    fn happen(&self) {
        self.0.kill_a_primary();
    }

    fn end(&self) {
        self.0.wait_ok();
        self.0.start_again();
    }
}
