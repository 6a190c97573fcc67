//! The process between a test and a server, which outlives the one to clean up after the other.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::account::Account;
use crate::wait::until;

/// What the guard runs.
const SCRIPT: &str = include_str!("guard.sh");

/// A folder and, once started, a server that runs in it.
///
/// Dropping it kills the server and removes the folder; so does the end of the test process, however
/// it comes, because the guard then reads the end of its input.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
    /// `None` only while it is dropped.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    folder: PathBuf,
    server: Option<u32>,
}

impl Guard {
    /// Makes a folder, for a server that is this command.
    pub(crate) fn new<S: AsRef<OsStr>>(command: impl IntoIterator<Item = S>) -> Self {
        let account = Account::of_servers();
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT, "guard"])
            .arg(std::env::temp_dir().join("medcards-test.XXXXXX"))
            .args(account.prefix())
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Not in the group of the tests, which a terminal ends as a whole.
            .process_group(0)
            .spawn()
            .expect("sh runs");
        let mut guard = Self {
            orders: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
            folder: PathBuf::new(),
            server: None,
        };
        guard.folder = PathBuf::from(guard.answer());
        account.give(&guard.folder);
        guard
    }

    /// The folder, which belongs to the account of the servers.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the server has written.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(self.folder.join("log")).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Starts the server, without waiting until it is ready, and returns the id of its process.
    pub(crate) fn start(&mut self) -> u32 {
        assert!(!self.is_running(), "the server runs already");
        self.reap();
        let server = self.order("start").parse().unwrap();
        self.server = Some(server);
        server
    }

    /// Whether the server runs, be it suspended.
    pub(crate) fn is_running(&self) -> bool {
        self.server.is_some_and(is_running)
    }

    /// Kills the server and its children, and waits until they are gone.
    pub(crate) fn kill(&mut self) {
        let children = self.signal_tree("KILL");
        self.reap();
        until("the children of the server end", || {
            (!children.iter().copied().any(is_running)).then_some(())
        });
    }

    /// Sends a signal that ends the server, and waits until it has.
    pub(crate) fn stop(&mut self, signal: &str) {
        self.signal_tree("CONT");
        self.order(&format!("server {signal}"));
        until("the server stops", || (!self.is_running()).then_some(()));
        self.reap();
    }

    /// Sends a signal to the server and its children, and returns the ids of the children.
    pub(crate) fn signal_tree(&mut self, signal: &str) -> Vec<u32> {
        assert!(self.is_running(), "the server does not run");
        let children = self.order(&format!("tree {signal}"));
        children
            .split_whitespace()
            .map(|id| id.parse().unwrap())
            .collect()
    }

    /// Takes the ended server from the table of processes, where its id would look alive.
    fn reap(&mut self) {
        if self.server.take().is_some() {
            self.order("wait");
        }
    }

    fn order(&mut self, order: &str) -> String {
        let orders = self.orders.as_mut().unwrap();
        writeln!(orders, "{order}").expect("the guard takes orders");
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        let bytes = self.answers.read_line(&mut line).unwrap();
        assert_ne!(bytes, 0, "the guard of a server has ended");
        line.trim_end().to_owned()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.orders.take());
        drop(self.child.wait());
    }
}

/// Whether there is a process with this id that has not ended. One that waits to be taken from the
/// table of processes (state Z) has.
fn is_running(process: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else {
        return false;
    };
    let state = stat.rsplit_once(") ").map(|(_, fields)| &fields[..1]);
    !matches!(state, Some("Z" | "X"))
}
