//! PgBouncer in front of a cluster.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use super::database;
use crate::guard::Guard;
use crate::lock::lock;
use crate::port::{self, PORTS_TRIED_MAX};
use crate::wait::until;

/// Where Debian keeps it, which is not on everybody's path.
const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// What it is started with, unless it is told otherwise. It takes no startup parameters that it does
/// not know, as it comes.
const SETTINGS: [(&str, &str); 9] = [
    ("listen_addr", "127.0.0.1"),
    ("unix_socket_dir", ""),
    ("auth_type", "trust"),
    ("auth_file", "users.txt"),
    ("admin_users", "postgres"),
    ("pool_mode", "transaction"),
    ("default_pool_size", "8"),
    ("max_client_conn", "500"),
    // Seconds, 15 by default: how long clients are turned away after the server was.
    ("server_login_retry", "1"),
];

/// A running PgBouncer: at most 8 connections to the server for each database, in transaction mode,
/// for 500 clients. Dropping it, or the end of the test process, kills it.
#[derive(Debug)]
pub struct Bouncer {
    port: u16,
    guard: Mutex<Guard>,
}

impl Bouncer {
    pub(super) fn start(server_port: u16, settings: &[(&str, &str)]) -> Self {
        let program = std::env::var_os("PATH").and_then(|path| {
            let mut programs = std::env::split_paths(&path).map(|folder| folder.join("pgbouncer"));
            programs.find(|program| program.is_file())
        });
        let program = program.unwrap_or_else(|| PathBuf::from(PROGRAM));
        assert!(program.is_file(), "there is no pgbouncer: run ./tests/run");
        let mut guard = Guard::new([program.as_os_str(), "bouncer.ini".as_ref()]);
        fs::write(guard.folder().join("users.txt"), "\"postgres\" \"\"\n").unwrap();
        for _ in 0..PORTS_TRIED_MAX {
            let port = port::free();
            let mut file = format!(
                "[databases]\n* = host=127.0.0.1 port={server_port}\n[pgbouncer]\nlisten_port = {port}\n"
            );
            for (name, value) in SETTINGS.iter().chain(settings) {
                writeln!(file, "{name} = {value}").unwrap();
            }
            fs::write(guard.folder().join("bouncer.ini"), file).unwrap();
            if start(&mut guard, port) {
                return Self {
                    port,
                    guard: Mutex::new(guard),
                };
            }
        }
        panic!("pgbouncer did not start: {}", guard.log());
    }

    /// The address of one of the cluster's databases, as the user `postgres`.
    pub fn url(&self, database: &str) -> String {
        database::url(self.port, database)
    }

    /// The port of 127.0.0.1 that it listens on, the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        self.guard().log()
    }

    /// Kills it (`SIGKILL`), which ends all connections through it.
    pub fn kill(&self) {
        self.guard().kill();
    }

    /// Starts it after a kill, on the same port, and waits until it listens.
    pub fn start_again(&self) {
        let mut guard = self.guard();
        let is_up = start(&mut guard, self.port);
        assert!(is_up, "pgbouncer did not start: {}", guard.log());
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        lock(&self.guard)
    }
}

/// Starts it and returns whether it came to listen.
fn start(guard: &mut Guard, port: u16) -> bool {
    guard.start();
    until("pgbouncer listens", || {
        // A port that somebody else listens on would answer as well: it must still run afterwards.
        let listens = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        if guard.is_running() {
            listens.then_some(true)
        } else {
            Some(false)
        }
    })
}
