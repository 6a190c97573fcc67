//! A primary and its replica, watched by Sentinels.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use super::server::RedisServer;
use crate::wait::until;

/// What the Sentinels call the primary.
const NAME: &str = "mymaster";

/// How many Sentinels must agree: the majority of three.
const QUORUM: usize = 2;

/// How long a server may be silent before it counts as down: short, for tests that wait for it.
const DOWN_AFTER: Duration = Duration::from_secs(1);

/// The same for those that tests share, which must not fail over because the machine is busy.
const DOWN_AFTER_SHARED: Duration = Duration::from_secs(60);

/// Why a Sentinel may not fail over now, but soon.
const NOT_YET: [&str; 2] = ["INPROG", "NOGOODSLAVE"];

/// The ones that all tests of a process share.
static SHARED: LazyLock<Sentinels> = LazyLock::new(|| Sentinels::start_patient(DOWN_AFTER_SHARED));

/// A primary and a replica, and three Sentinels, two of which must agree that the primary is down: when
/// it was silent for a second.
///
/// Within ten seconds of a failover the Sentinels begin no other, except when
/// [told to](Self::fail_over). Dropping it, or the end of the test process, kills all servers.
#[derive(Debug)]
pub struct Sentinels {
    servers: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
}

impl Sentinels {
    /// Starts them, and waits until all know each other and the replica has all that the primary has.
    pub fn start() -> Self {
        Self::start_patient(DOWN_AFTER)
    }

    /// The ones that all tests of this process share, started when they are first asked for. For tests
    /// with a [namespace](super::fresh_namespace) of their own that hurt none of them.
    pub fn shared() -> &'static Self {
        &SHARED
    }

    fn start_patient(down_after: Duration) -> Self {
        let primary = RedisServer::start();
        let port = primary.port();
        let replica = RedisServer::start_with(&[("replicaof", &format!("127.0.0.1 {port}"))]);
        let monitor = format!("monitor {NAME} 127.0.0.1 {port} {QUORUM}");
        let down_after = format!("down-after-milliseconds {NAME} {}", down_after.as_millis());
        let timeout = format!("failover-timeout {NAME} 5000");
        let settings = [&*monitor, &down_after, &timeout].map(|value| ("sentinel", value));
        let sentinels = (0..3).map(|_| RedisServer::start_sentinel(&settings));
        let started = Self {
            servers: vec![primary, replica],
            sentinels: sentinels.collect(),
        };
        started.wait_until_whole();
        started
    }

    /// The address: `redis+sentinel://127.0.0.1:P1,127.0.0.1:P2,127.0.0.1:P3/mymaster`.
    pub fn url(&self) -> String {
        let hosts = super::cluster::hosts(&self.sentinels).join(",");
        format!("redis+sentinel://{hosts}/{NAME}")
    }

    /// The Sentinels themselves.
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// The server that the Sentinels now call the primary, even if it is gone.
    pub fn primary(&self) -> &RedisServer {
        let port = self.primary_port();
        self.server(port)
    }

    /// The other one.
    pub fn replica(&self) -> &RedisServer {
        let port = self.primary_port();
        let mut others = self.servers.iter().filter(|server| server.port() != port);
        others.next().unwrap()
    }

    /// The port of the server that the Sentinels now call the primary, even if it is gone.
    pub fn primary_port(&self) -> u16 {
        until("the Sentinels agree", || self.agreed_port())
    }

    /// Kills the primary, and returns its port before anybody else has noticed.
    pub fn kill_primary(&self) -> u16 {
        let primary = self.primary();
        primary.kill();
        primary.port()
    }

    /// Waits until all Sentinels that run name a primary which answers and takes writes, and returns
    /// its port.
    pub fn wait_until_writable(&self) -> u16 {
        until("the Sentinels name a primary that takes writes", || {
            let port = self.agreed_port()?;
            let server = self.server(port);
            (server.answers() && is_primary(server)).then_some(port)
        })
    }

    /// Makes the replica the primary once all [are whole](Self::wait_until_whole), and waits until all
    /// Sentinels name it and it takes writes. Returns its port.
    ///
    /// The old primary takes writes, too, which are lost when the Sentinels make it a replica some ten
    /// seconds later. [`Self::wait_until_whole`] waits for that.
    pub fn fail_over(&self) -> u16 {
        self.wait_until_whole();
        let old = self.primary_port();
        let sentinel = self.sentinels.iter().find(|sentinel| sentinel.answers());
        let sentinel = sentinel.expect("a Sentinel runs");
        until("a Sentinel begins to fail over", || {
            let begun = sentinel.try_command(&["SENTINEL", "FAILOVER", NAME]);
            let Err(complaint) = begun else {
                return Some(());
            };
            let is_early = NOT_YET.iter().any(|words| complaint.contains(words));
            assert!(is_early, "{complaint}");
            None
        });
        until("the Sentinels name another primary", || {
            let new = self.agreed_port().filter(|port| *port != old)?;
            is_primary(self.server(new)).then_some(new)
        })
    }

    /// Starts all that was killed or stopped, and waits until all is whole: an old primary has then
    /// become a replica, which the Sentinels notice ten to twenty seconds after it is back.
    pub fn start_again(&self) {
        for server in self.servers.iter().chain(&self.sentinels) {
            if !server.is_running() {
                server.start_again();
            }
        }
        self.wait_until_whole();
    }

    /// Waits until all run and know each other, and the replica has all that the primary has.
    pub fn wait_until_whole(&self) {
        until("the Sentinels, primary and replica are whole", || {
            self.is_whole().then_some(())
        });
    }

    fn is_whole(&self) -> bool {
        let mut all = self.servers.iter().chain(&self.sentinels);
        if !all.all(RedisServer::answers) {
            return false;
        }
        let Some(port) = self.agreed_port() else {
            return false;
        };
        let follows = |server: &RedisServer| {
            let link = server.info("replication", "master_link_status");
            let followed = server.info("replication", "master_port");
            link.as_deref() == Some("up") && followed == Some(port.to_string())
        };
        self.servers.iter().all(|server| {
            if server.port() == port {
                is_primary(server)
            } else {
                follows(server)
            }
        }) && self.sentinels.iter().all(sees_all)
    }

    /// The port of the primary, if all Sentinels that answer name the same.
    fn agreed_port(&self) -> Option<u16> {
        let answering = self.sentinels.iter().filter(|sentinel| sentinel.answers());
        let named: BTreeSet<u16> = answering
            .map(|sentinel| {
                let address = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
                address.lines().nth(1).unwrap().parse().unwrap()
            })
            .collect();
        let only = named.len() == 1;
        named.into_iter().next().filter(|_| only)
    }

    fn server(&self, port: u16) -> &RedisServer {
        let mut servers = self.servers.iter();
        let found = servers.find(|server| server.port() == port);
        found.expect("the Sentinels name one of our servers")
    }
}

fn is_primary(server: &RedisServer) -> bool {
    server.info("replication", "role").as_deref() == Some("master")
}

/// Whether a Sentinel sees the two others and one replica, all being well.
fn sees_all(sentinel: &RedisServer) -> bool {
    let quorum = sentinel.try_command(&["SENTINEL", "CKQUORUM", NAME]);
    if !quorum.is_ok_and(|answer| answer.starts_with("OK 3 usable")) {
        return false;
    }
    let replicas = sentinel.command(&["SENTINEL", "REPLICAS", NAME]);
    // A name and its value are on a line each.
    let lines: Vec<_> = replicas.lines().collect();
    let values = |name| {
        let pairs = lines.chunks(2).filter(move |pair| pair[0] == name);
        pairs.filter_map(|pair| pair.get(1).copied())
    };
    // One that it still takes for a primary it would soon demote, even if that was promoted meanwhile.
    values("flags").eq(["slave"]) && values("role-reported").eq(["slave"])
}
