//! A cluster: three primaries that share the slots, each with a replica.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use super::cli::Cli;
use super::server::{RedisServer, field};
use crate::wait::until;

/// How many share the slots: the fewest of which a majority is left when one is gone.
const PRIMARIES: usize = 3;

/// Each with one replica.
const NODES: usize = 2 * PRIMARIES;

/// The slots of every cluster.
const SLOTS: usize = 16_384;

/// How long a node may be silent before it counts as down: short, for tests that wait for it.
const NODE_TIMEOUT: Duration = Duration::from_secs(1);

/// The same for the one that tests share, which must not fail over because the machine is busy. News
/// between nodes take as long as half of it, and so does the start.
const NODE_TIMEOUT_SHARED: Duration = Duration::from_secs(5);

/// The one that all tests of a process share.
static SHARED: LazyLock<RedisCluster> =
    LazyLock::new(|| RedisCluster::start_patient(NODE_TIMEOUT_SHARED));

/// Six nodes: three primaries, each with a replica that takes over when its primary was silent for a
/// second.
///
/// Dropping it, or the end of the test process, kills all nodes.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

/// What one node knows of another.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    id: String,
    /// That of its primary, if it is a replica.
    primary: Option<String>,
    /// Whether nobody holds it for down, and there is a connection to it.
    is_well: bool,
    /// Ranges, both ends included, in order.
    slots: Vec<(usize, usize)>,
}

/// What one node knows of all, by port.
type Knowledge = BTreeMap<u16, Known>;

impl RedisCluster {
    /// Starts one, and waits until all nodes know each other and each replica has all that its primary
    /// has.
    pub fn start() -> Self {
        Self::start_patient(NODE_TIMEOUT)
    }

    /// The one that all tests of this process share, started when it is first asked for. For tests with
    /// a [namespace](super::fresh_namespace) of their own that hurt none of its nodes.
    pub fn shared() -> &'static Self {
        &SHARED
    }

    fn start_patient(node_timeout: Duration) -> Self {
        let node_timeout = node_timeout.as_millis().to_string();
        let settings = [
            ("cluster-enabled", "yes"),
            ("cluster-node-timeout", &node_timeout),
            // A replica takes over however long it has not heard of its primary.
            ("cluster-replica-validity-factor", "0"),
            // Whose replica it is does not change.
            ("cluster-allow-replica-migration", "no"),
        ];
        let nodes = (0..NODES).map(|_| RedisServer::start_member(&settings));
        let cluster = Self {
            nodes: nodes.collect(),
        };
        let hosts = hosts(&cluster.nodes);
        let mut words = vec!["--cluster", "create"];
        words.extend(hosts.iter().map(|host| &**host));
        words.extend(["--cluster-replicas", "1", "--cluster-yes"]);
        let created = Cli::default().run(cluster.nodes[0].port(), &words);
        created.unwrap_or_else(|complaint| panic!("no cluster was made: {complaint}"));
        cluster.wait_ok();
        cluster
    }

    /// The address: `redis+cluster://127.0.0.1:P1,127.0.0.1:P2,...`, all six.
    pub fn url(&self) -> String {
        format!("redis+cluster://{}", hosts(&self.nodes).join(","))
    }

    /// All nodes, in no order.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The nodes that have slots, even if they are gone.
    pub fn primaries(&self) -> Vec<&RedisServer> {
        let knowledge = self.knowledge();
        let primaries = knowledge
            .iter()
            .filter(|(_, known)| !known.slots.is_empty());
        primaries.map(|(port, _)| self.node(*port)).collect()
    }

    /// The node that has the slot of a key, even if it is gone.
    pub fn primary_of(&self, key: &str) -> &RedisServer {
        let (port, _) = self.owner_of(key);
        self.node(port)
    }

    /// The replica of that node.
    pub fn replica_of(&self, key: &str) -> &RedisServer {
        let (_, owner) = self.owner_of(key);
        let knowledge = self.knowledge();
        let mut nodes = knowledge.iter();
        let replica = nodes.find(|(_, known)| known.primary.as_ref() == Some(&owner.id));
        self.node(*replica.expect("each primary has a replica").0)
    }

    /// Gives a command to the node that has its key, and returns the answer as text.
    ///
    /// Panics with the complaint of the cluster if it refuses.
    pub fn command(&self, words: &[&str]) -> String {
        let following = [&["-c"], words].concat();
        self.any_node().command(&following)
    }

    /// The slot of a key.
    pub fn slot_of(&self, key: &str) -> u16 {
        let slot = self.any_node().command(&["CLUSTER", "KEYSLOT", key]);
        slot.parse().unwrap()
    }

    /// Kills the node that has the slot of a key, and returns its port before anybody has noticed.
    pub fn kill_primary_of(&self, key: &str) -> u16 {
        let primary = self.primary_of(key);
        primary.kill();
        primary.port()
    }

    /// Kills a node that has slots, and returns its port before anybody has noticed.
    pub fn kill_a_primary(&self) -> u16 {
        self.kill_primary_of("")
    }

    /// Makes the replica of the node that has the slot of a key its primary, both being well, and waits
    /// until it is so. Returns the port of the new primary.
    pub fn fail_over_primary_of(&self, key: &str) -> u16 {
        let replica = self.replica_of(key);
        replica.command(&["CLUSTER", "FAILOVER"]);
        until("the replica takes over", || {
            let is_owner = self.primary_of(key).port() == replica.port();
            (is_owner && self.is_ok()).then(|| replica.port())
        })
    }

    /// Starts all nodes that were killed or stopped, and waits until each has its part.
    pub fn start_again(&self) {
        for node in self.nodes.iter().filter(|node| !node.is_running()) {
            node.start_again();
        }
        self.wait_ok();
    }

    /// Waits until the nodes that run and are not suspended agree that all slots are served by three of
    /// them, and the others have all that their primaries have. After a kill: until the replica has
    /// taken over.
    pub fn wait_ok(&self) {
        until("the cluster is ok", || self.is_ok().then_some(()));
    }

    fn is_ok(&self) -> bool {
        let answering: Vec<_> = self.nodes.iter().filter(|node| node.answers()).collect();
        let knowledge = self.knowledge();
        let agree = answering.iter().all(|node| {
            let state = node.command(&["CLUSTER", "INFO"]);
            field(&state, "cluster_state") == Some("ok") && self.known_to(node) == knowledge
        });
        let is_linked = |node: &RedisServer| {
            let link = node.info("replication", "master_link_status");
            link.as_deref() == Some("up")
        };
        let has_part = |node: &RedisServer| match knowledge.get(&node.port()) {
            Some(known) if known.is_well => known.primary.is_none() || is_linked(node),
            _ => false,
        };
        let mut served = 0;
        let mut primaries = 0;
        for node in &answering {
            let Some(known) = knowledge.get(&node.port()) else {
                return false;
            };
            primaries += usize::from(known.primary.is_none());
            let sizes = known.slots.iter().map(|(first, last)| last - first + 1);
            served += sizes.sum::<usize>();
        }
        agree
            && served == SLOTS
            && primaries == PRIMARIES
            && answering.iter().all(|node| has_part(node))
    }

    /// What one of the nodes that answer knows.
    fn knowledge(&self) -> Knowledge {
        self.known_to(self.any_node())
    }

    /// What this node knows of all that answer, and of all that have slots.
    fn known_to(&self, node: &RedisServer) -> Knowledge {
        let lines = node.command(&["CLUSTER", "NODES"]);
        let mut known: Knowledge = lines.lines().filter_map(parse).collect();
        known.retain(|port, known| self.node(*port).answers() || !known.slots.is_empty());
        known
    }

    fn owner_of(&self, key: &str) -> (u16, Known) {
        let slot = usize::from(self.slot_of(key));
        let is_owner = |known: &Known| {
            let mut slots = known.slots.iter();
            slots.any(|(first, last)| (*first..=*last).contains(&slot))
        };
        let mut all = self.knowledge().into_iter();
        let owner = all.find(|(_, known)| is_owner(known));
        owner.expect("each slot is somebody's")
    }

    fn any_node(&self) -> &RedisServer {
        let mut nodes = self.nodes.iter();
        let found = nodes.find(|node| node.answers());
        found.expect("a node of the cluster runs")
    }

    fn node(&self, port: u16) -> &RedisServer {
        let mut nodes = self.nodes.iter();
        let found = nodes.find(|node| node.port() == port);
        found.expect("the cluster has only our nodes")
    }
}

/// The addresses of servers: `127.0.0.1:7000`.
pub(super) fn hosts(servers: &[RedisServer]) -> Vec<String> {
    let ports = servers.iter().map(RedisServer::port);
    ports.map(|port| format!("127.0.0.1:{port}")).collect()
}

/// Reads a line of `CLUSTER NODES`:
/// `ID 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-5460 7000`. Nothing for a node whose
/// address is not known.
fn parse(line: &str) -> Option<(u16, Known)> {
    let mut words = line.split(' ');
    let id = words.next()?.to_owned();
    let (address, _) = words.next()?.split_once('@')?;
    let port = address.rsplit_once(':')?.1.parse().ok();
    let port = port.filter(|port| *port != 0)?;
    let flags: Vec<_> = words.next()?.split(',').collect();
    let primary = words.next()?;
    let is_connected = words.nth(3)? == "connected";
    // Slots on the way to or from another node are in brackets.
    let slots = words.filter(|word| !word.starts_with('['));
    let range = |word: &str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    let unwell = ["fail", "fail?", "handshake", "noaddr"];
    let known = Known {
        id,
        primary: flags.contains(&"slave").then(|| primary.to_owned()),
        is_well: is_connected && !flags.iter().any(|flag| unwell.contains(flag)),
        slots: slots.map(range).collect::<Option<_>>()?,
    };
    Some((port, known))
}
