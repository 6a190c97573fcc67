//! Clusters: a server, its data, its port.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::bouncer::Bouncer;
use super::database::{self, Database};
use super::installed::Installed;
use crate::account::Account;
use crate::guard::Guard;
use crate::lock::lock;
use crate::port::{self, PORTS_TRIED_MAX};
use crate::wait::until;

/// The name of the data folder within the folder of a cluster.
const DATA: &str = "data";

/// What every cluster is started with, unless it is told otherwise. Files are not flushed to the
/// disk, which a killed process does not need: what it has written stays with the kernel.
pub(super) const SETTINGS: [(&str, &str); 12] = [
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("synchronous_commit", "on"),
    ("shared_buffers", "64MB"),
    ("wal_level", "logical"),
    ("max_connections", "200"),
    ("autovacuum", "on"),
    // Slots of replicas that are gone must not fill the disk.
    ("max_slot_wal_keep_size", "1GB"),
    // In the data folder, which goes away with the cluster; elsewhere it outlives a killed server.
    ("dynamic_shared_memory_type", "mmap"),
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ".."),
    ("log_line_prefix", "%m [%p] %b %d "),
];

/// How long a start is tried again while processes of the last one are still going away.
const START_AGAIN_WITHIN: Duration = Duration::from_secs(5);

/// What a server writes when processes of the last one are still there.
const STILL_THERE: [&str; 2] = [
    "lock file \"postmaster.pid\" already exists",
    "pre-existing shared memory block",
];

/// What a server writes when its port is taken.
const PORT_TAKEN: &str = "could not create any TCP/IP sockets";

/// Data folders as `initdb` makes them, one for each folder of programs.
static TEMPLATES: LazyLock<Mutex<HashMap<PathBuf, Guard>>> = LazyLock::new(Mutex::default);

/// The clusters that all tests of a process share, by major version.
static SHARED: LazyLock<Mutex<HashMap<u32, &'static Cluster>>> = LazyLock::new(Mutex::default);

/// How many replicas this process has made.
static REPLICAS: AtomicU64 = AtomicU64::new(0);

/// A running PostgreSQL server with data of its own, on a free port of 127.0.0.1.
///
/// Dropping it kills the server and removes its data. So does the end of the test process: after a
/// panic, a `SIGKILL`, and for those that live in statics.
///
/// Its methods block the thread until what they do is done.
#[derive(Debug)]
pub struct Cluster {
    installed: Installed,
    port: u16,
    folder: PathBuf,
    guard: Mutex<Guard>,
}

impl Cluster {
    /// Starts a cluster and waits until it answers. The settings go over our own, which are made for
    /// speed: `fsync` is off, for one.
    pub fn start(installed: &Installed, settings: &[(&str, &str)]) -> Self {
        let guard = postgres_guard(installed);
        copy_template(installed, guard.folder());
        configure(guard.folder(), &SETTINGS);
        configure(guard.folder(), settings);
        Self::start_on_free_port(installed, guard)
    }

    /// Starts a server on data from elsewhere: a call makes the folder of this path, such as a restore
    /// from a backup. Returns when the server answers, which it may do before it takes writes.
    pub fn start_on(installed: &Installed, make: impl FnOnce(&Path)) -> Self {
        let guard = postgres_guard(installed);
        make(&guard.folder().join(DATA));
        Self::start_on_free_port(installed, guard)
    }

    /// The cluster of this major version that all tests of this process share, started when it is
    /// first asked for. For tests with a database of their own that do not hurt the server.
    pub fn shared(major: u32) -> &'static Self {
        let mut shared = lock(&SHARED);
        shared.entry(major).or_insert_with(|| {
            let installed = Installed::find(major)
                .unwrap_or_else(|| panic!("there is no PostgreSQL {major}: run ./tests/run"));
            Box::leak(Box::new(Self::start(&installed, &[])))
        })
    }

    /// The programs that it runs with.
    pub fn installed(&self) -> &Installed {
        &self.installed
    }

    /// The address of one of its databases, as the user `postgres`.
    pub fn url(&self, database: &str) -> String {
        database::url(self.port, database)
    }

    /// The port of 127.0.0.1 that it listens on, the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder with its data.
    pub fn data_folder(&self) -> PathBuf {
        self.folder.join(DATA)
    }

    /// What it has written so far, over all its starts.
    pub fn log(&self) -> String {
        self.guard().log()
    }

    /// Runs SQL, each statement on its own, and returns the rows, with `|` between columns.
    ///
    /// Panics with the complaint of the first statement that fails.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        database::run(&self.installed, &self.url(database), sql)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Makes an empty database with a name of its own.
    pub fn fresh_database(&self) -> Database {
        self.fresh_database_from("template1")
    }

    /// Makes a database that is a copy of another, to which nobody may be connected.
    pub fn fresh_database_from(&self, template: &str) -> Database {
        Database::create(&self.installed, self.port, template)
    }

    /// Kills the server and all its processes at once (`SIGKILL`), as a crash would, and waits until
    /// they are gone.
    pub fn kill(&self) {
        self.guard().kill();
    }

    /// Stops the server: it ends its connections and then itself, in good order ("fast").
    pub fn stop(&self) {
        self.guard().stop("INT");
    }

    /// Starts a server that was killed or stopped, on its data and port, and waits until it answers.
    pub fn start_again(&self) {
        let mut guard = self.guard();
        start(&mut guard).unwrap_or_else(|log| panic!("PostgreSQL did not start: {log}"));
    }

    /// Stops the server and starts it again, as a change of some settings needs.
    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    /// Suspends all its processes (`SIGSTOP`): connections stay open and nothing answers.
    pub fn suspend(&self) {
        self.guard().signal_tree("STOP");
    }

    /// Lets suspended processes go on.
    pub fn resume(&self) {
        self.guard().signal_tree("CONT");
    }

    /// Whether the server runs, be it suspended.
    pub fn is_running(&self) -> bool {
        self.guard().is_running()
    }

    /// Starts a replica that follows this cluster through a slot of its own and can be read.
    ///
    /// Its name for `synchronous_standby_names` is its `cluster_name`.
    #[must_use]
    pub fn replica(&self) -> Self {
        let name = format!("replica_{}", REPLICAS.fetch_add(1, Ordering::Relaxed));
        let guard = postgres_guard(&self.installed);
        let from = format!("host=127.0.0.1 port={} user=postgres", self.port);
        let copy = [
            "-d",
            &from,
            "-D",
            DATA,
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
        ];
        let follow = ["-R", "-C", "-S", &name];
        Account::of_servers().run(
            &self.installed.program("pg_basebackup"),
            [&copy[..], &follow].concat(),
            guard.folder(),
        );
        let settings = [("cluster_name", name.as_str()), ("hot_standby", "on")];
        configure(guard.folder(), &settings);
        Self::start_on_free_port(&self.installed, guard)
    }

    /// Makes a replica receive, but no longer show, what its primary writes; returns when it is so.
    pub fn pause_replay(&self) {
        self.psql("postgres", "select pg_wal_replay_pause()");
        until("the replay pauses", || {
            let state = self.psql("postgres", "select pg_get_wal_replay_pause_state()");
            (state == "paused").then_some(())
        });
    }

    /// Makes a replica show again what its primary writes.
    pub fn resume_replay(&self) {
        self.psql("postgres", "select pg_wal_replay_resume()");
    }

    /// Makes a replica a primary, and returns when it takes writes.
    pub fn promote(&self) {
        let promoted = self.psql("postgres", "select pg_promote()");
        assert_eq!(promoted, "t", "the replica was not promoted in a minute");
    }

    /// Waits until this replica shows all that its primary has written by now.
    pub fn wait_until_caught_up(&self, primary: &Self) {
        let wanted = primary.psql("postgres", "select pg_current_wal_lsn()");
        let sql = format!("select pg_last_wal_replay_lsn() >= '{wanted}'");
        until("the replica catches up", || {
            (self.psql("postgres", &sql) == "t").then_some(())
        });
    }

    /// Starts PgBouncer in front of this cluster, in transaction mode. The settings go over our own.
    pub fn bouncer(&self, settings: &[(&str, &str)]) -> Bouncer {
        Bouncer::start(self.port, settings)
    }

    /// Starts what is in the folder of the guard on a port that is free.
    pub(super) fn start_on_free_port(installed: &Installed, mut guard: Guard) -> Self {
        for _ in 0..PORTS_TRIED_MAX {
            let port = port::free();
            configure(guard.folder(), &[("port", &port.to_string())]);
            match start(&mut guard) {
                Ok(()) => {
                    return Self {
                        installed: installed.clone(),
                        port,
                        folder: guard.folder().to_owned(),
                        guard: Mutex::new(guard),
                    };
                }
                Err(log) => assert!(log.contains(PORT_TAKEN), "PostgreSQL did not start: {log}"),
            }
        }
        panic!("{PORTS_TRIED_MAX} free ports were taken before PostgreSQL could take them");
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        lock(&self.guard)
    }
}

/// The guard of a server that keeps its data in the folder of the guard.
pub(super) fn postgres_guard(installed: &Installed) -> Guard {
    Guard::new([
        installed.program("postgres").as_os_str(),
        "-D".as_ref(),
        DATA.as_ref(),
    ])
}

/// Copies the data of an empty cluster into a folder.
pub(super) fn copy_template(installed: &Installed, folder: &Path) {
    let mut templates = lock(&TEMPLATES);
    let template = templates
        .entry(installed.bin().to_owned())
        .or_insert_with(|| {
            let guard = postgres_guard(installed);
            let arguments = ["-D", DATA, "-U", "postgres", "-A", "trust", "-E", "UTF8"];
            let more = ["--locale=C.UTF-8", "--no-sync"];
            Account::of_servers().run(
                &installed.program("initdb"),
                [&arguments[..], &more].concat(),
                guard.folder(),
            );
            guard
        });
    let status = Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .args([template.folder().join(DATA), folder.join(DATA)])
        .status()
        .unwrap();
    assert!(status.success(), "cp failed: {status}");
}

/// Adds settings, which go over those before them.
pub(super) fn configure(folder: &Path, settings: &[(&str, &str)]) {
    let mut lines = String::new();
    for (name, value) in settings {
        writeln!(lines, "{name} = '{}'", value.replace('\'', "''")).unwrap();
    }
    let file = OpenOptions::new()
        .append(true)
        .open(folder.join(DATA).join("postgresql.conf"));
    file.unwrap().write_all(lines.as_bytes()).unwrap();
}

/// Starts the server and waits until it takes connections, or returns what it has written instead.
fn start(guard: &mut Guard) -> Result<(), String> {
    let started = Instant::now();
    loop {
        let written = guard.log().len();
        let server = guard.start();
        let is_ready = until("PostgreSQL starts", || {
            if takes_connections(guard.folder(), server) {
                Some(true)
            } else {
                (!guard.is_running()).then_some(false)
            }
        });
        if is_ready {
            return Ok(());
        }
        let log = guard.log().split_off(written);
        let is_early = STILL_THERE.iter().any(|words| log.contains(words));
        if !is_early || started.elapsed() > START_AGAIN_WITHIN {
            return Err(log);
        }
    }
}

/// Whether the lock file says that this server takes connections: its id is on the first line, its
/// state on the eighth.
fn takes_connections(folder: &Path, server: u32) -> bool {
    let lines = fs::read_to_string(folder.join(DATA).join("postmaster.pid")).unwrap_or_default();
    let is_its_own = lines.lines().next() == Some(&server.to_string());
    is_its_own
        && lines
            .lines()
            .nth(7)
            .is_some_and(|state| state.trim() == "ready")
}
