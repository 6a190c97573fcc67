//! One server: its process, its folder, its port.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, MutexGuard};

use super::cli::Cli;
use crate::account::Account;
use crate::certificates;
use crate::guard::Guard;
use crate::lock::lock;
use crate::port::{self, PORTS_TRIED_MAX};
use crate::wait::until;

/// Names another program to run, such as `valkey-server`.
const PROGRAM_VARIABLE: &str = "MEDCARDS_REDIS_SERVER";

/// The file with the settings, which Redis also writes.
const SETTINGS_FILE: &str = "redis.conf";

/// The name of the folder that it runs in, within that of the guard.
const DATA: &str = "data";

/// What every server is started with, unless it is told otherwise.
const SETTINGS: [(&str, &str); 6] = [
    ("dir", DATA),
    ("bind", "127.0.0.1"),
    ("save", "\"\""),
    // What was written stays with the kernel when the server is killed. Any other value may put a
    // write off while the disk is busy, and yet acknowledge it.
    ("appendfsync", "no"),
    // Seconds, 5 by default, in which a replica waits for others to come.
    ("repl-diskless-sync-delay", "0"),
    ("enable-debug-command", "yes"),
];

/// What a server writes when its port is taken.
const PORT_TAKEN: &str = "Address already in use";

/// The server that all tests of a process share.
static SHARED: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);

/// A running Redis on a free port of 127.0.0.1, with 16 databases and no password.
///
/// Dropping it kills the server and removes its folder. So does the end of the test process: after a
/// panic, a `SIGKILL`, and for those that live in statics.
///
/// Its methods block the thread until what they do is done.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    cli: Cli,
    folder: PathBuf,
    process: Mutex<Process>,
}

#[derive(Debug)]
struct Process {
    guard: Guard,
    is_suspended: bool,
}

impl RedisServer {
    /// Starts a server that keeps nothing on the disk, and waits until it answers.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with settings over our own, written as in `redis.conf`: `("maxmemory", "8mb")`,
    /// `("appendonly", "yes")`, `("requirepass", "secret")`.
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::launch(guard(&[]), password_in(settings), |port| {
            let port = port.to_string();
            file_of(&[&SETTINGS, &[("port", &port)], settings])
        })
    }

    /// Starts a server that speaks only TLS, with settings over our own. Clients may come without a
    /// certificate, unless `tls-auth-clients` is `yes`.
    pub fn start_with_tls(settings: &[(&str, &str)]) -> Self {
        let guard = guard(&[]);
        certificates::make(guard.folder(), "client");
        let mut cli = password_in(settings);
        cli.certificates = Some(guard.folder().to_owned());
        Self::launch(guard, cli, |port| {
            let port = port.to_string();
            let tls = [
                ("port", "0"),
                ("tls-port", &port),
                ("tls-ca-cert-file", "../ca.crt"),
                ("tls-cert-file", "../server.crt"),
                ("tls-key-file", "../server.key"),
                ("tls-auth-clients", "no"),
            ];
            file_of(&[&SETTINGS, &tls, settings])
        })
    }

    /// The server that all tests of this process share, started when it is first asked for. For tests
    /// with a [namespace](super::fresh_namespace) of their own that do not hurt the server.
    pub fn shared() -> &'static Self {
        &SHARED
    }

    /// Starts a member of a cluster, which needs a second port.
    pub(super) fn start_member(settings: &[(&str, &str)]) -> Self {
        Self::launch(guard(&[]), Cli::default(), |port| {
            let ports = [port, port::free()].map(|port| port.to_string());
            let ports = [("port", &*ports[0]), ("cluster-port", &ports[1])];
            file_of(&[&SETTINGS, &ports, settings])
        })
    }

    /// Starts a Sentinel.
    pub(super) fn start_sentinel(settings: &[(&str, &str)]) -> Self {
        Self::launch(guard(&["--sentinel"]), Cli::default(), |port| {
            let port = port.to_string();
            let ours = [("dir", DATA), ("bind", "127.0.0.1"), ("port", &port)];
            file_of(&[&ours, settings])
        })
    }

    /// Starts what the guard runs on a port that is free, with the settings for that port.
    fn launch(mut guard: Guard, cli: Cli, settings: impl Fn(u16) -> String) -> Self {
        let data = guard.folder().join(DATA);
        fs::create_dir(&data).unwrap();
        Account::of_servers().give(&data);
        for _ in 0..PORTS_TRIED_MAX {
            let port = port::free();
            let file = guard.folder().join(SETTINGS_FILE);
            fs::write(&file, settings(port)).unwrap();
            Account::of_servers().give(&file);
            match start(&mut guard, &cli, port) {
                Ok(()) => {
                    return Self {
                        port,
                        cli,
                        folder: guard.folder().to_owned(),
                        process: Mutex::new(Process {
                            guard,
                            is_suspended: false,
                        }),
                    };
                }
                Err(log) => assert!(
                    log.contains(PORT_TAKEN),
                    "Redis did not start; ./tests/run installs it: {log}"
                ),
            }
        }
        panic!("{PORTS_TRIED_MAX} free ports were taken before Redis could take them");
    }

    /// The address: `redis://127.0.0.1:PORT`, `rediss:` with TLS, and with the password if one was
    /// set at the start.
    pub fn url(&self) -> String {
        let scheme = match self.cli.certificates {
            Some(_) => "rediss",
            None => "redis",
        };
        let login = match &self.cli.password {
            Some(password) => format!(":{password}@"),
            None => String::new(),
        };
        format!("{scheme}://{login}127.0.0.1:{}", self.port)
    }

    /// The port of 127.0.0.1 that it listens on, the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder that it runs in, with its data.
    pub fn data_folder(&self) -> PathBuf {
        self.folder.join(DATA)
    }

    /// The certificate that signed the server's, in PEM. Only of one that was started with TLS.
    pub fn ca_certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// A client's certificate that the server takes, in PEM. Only of one that was started with TLS.
    pub fn client_certificate(&self) -> PathBuf {
        self.folder.join("client.crt")
    }

    /// The key of that certificate, in PEM.
    pub fn client_key(&self) -> PathBuf {
        self.folder.join("client.key")
    }

    /// What it has written so far, over all its starts.
    pub fn log(&self) -> String {
        self.process().guard.log()
    }

    /// Gives a command to the server and returns the answer as text, a line for each element.
    ///
    /// Panics with the complaint of the server if it refuses.
    pub fn command(&self, words: &[&str]) -> String {
        self.try_command(words)
            .unwrap_or_else(|complaint| panic!("{words:?}: {complaint}"))
    }

    /// Gives a command to the server and returns the answer as text.
    ///
    /// # Errors
    /// The complaint of the server if it refuses, or of `redis-cli` if there is no server.
    pub fn try_command(&self, words: &[&str]) -> Result<String, String> {
        assert!(
            !self.process().is_suspended,
            "a suspended server answers nothing"
        );
        self.cli.run(self.port, words)
    }

    /// Kills the server at once (`SIGKILL`), suspended or not, as a crash would, and waits until it is
    /// gone.
    pub fn kill(&self) {
        let mut process = self.process();
        process.guard.kill();
        process.is_suspended = false;
    }

    /// Stops the server: it ends in good order.
    pub fn stop(&self) {
        let mut process = self.process();
        process.guard.stop("TERM");
        process.is_suspended = false;
    }

    /// Starts a server that was killed or stopped, in its folder and on its port, and waits until it
    /// answers with all that it has kept.
    pub fn start_again(&self) {
        let started = start(&mut self.process().guard, &self.cli, self.port);
        started.unwrap_or_else(|log| panic!("Redis did not start: {log}"));
    }

    /// Suspends it (`SIGSTOP`): connections stay open, new ones are taken, and nothing answers.
    pub fn suspend(&self) {
        let mut process = self.process();
        process.guard.signal_tree("STOP");
        process.is_suspended = true;
    }

    /// Lets a suspended server go on.
    pub fn resume(&self) {
        let mut process = self.process();
        process.guard.signal_tree("CONT");
        process.is_suspended = false;
    }

    /// Whether the server runs, be it suspended.
    pub fn is_running(&self) -> bool {
        self.process().guard.is_running()
    }

    /// Whether it runs and is not suspended.
    pub(super) fn answers(&self) -> bool {
        let process = self.process();
        process.guard.is_running() && !process.is_suspended
    }

    /// A line of what the server tells of itself, such as `role`. Nothing if it hangs up meanwhile, as
    /// one does that a Sentinel gives another role.
    pub(super) fn info(&self, section: &str, name: &str) -> Option<String> {
        let lines = self.try_command(&["INFO", section]).ok()?;
        field(&lines, name).map(str::to_owned)
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        lock(&self.process)
    }
}

/// The value in the line of this name: `role:master`.
pub(super) fn field<'a>(lines: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = lines.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

/// The guard of a server that reads its settings in the folder of the guard.
fn guard(arguments: &[&str]) -> Guard {
    let program = std::env::var_os(PROGRAM_VARIABLE);
    let program = program.unwrap_or_else(|| "redis-server".into());
    let arguments = arguments.iter().map(OsStr::new);
    Guard::new(
        [&*program, SETTINGS_FILE.as_ref()]
            .into_iter()
            .chain(arguments),
    )
}

/// How to come in with these settings.
fn password_in(settings: &[(&str, &str)]) -> Cli {
    let password = settings.iter().find(|(name, _)| *name == "requirepass");
    Cli {
        password: password.map(|(_, value)| (*value).to_owned()),
        certificates: None,
    }
}

/// Lists of settings as the text of a file, in which later ones go over earlier ones.
fn file_of(lists: &[&[(&str, &str)]]) -> String {
    let mut text = String::new();
    for (name, value) in lists.concat() {
        writeln!(text, "{name} {value}").unwrap();
    }
    text
}

/// Starts the server and waits until it answers, or returns what it has written instead.
fn start(guard: &mut Guard, cli: &Cli, port: u16) -> Result<(), String> {
    let written = guard.log().len();
    let process = guard.start().to_string();
    let is_ready = until("Redis starts", || {
        // Somebody else may answer at this port: the process must be ours.
        let info = cli.run(port, &["INFO"]).unwrap_or_default();
        let is_loading = field(&info, "loading") == Some("1");
        if field(&info, "process_id") == Some(&process) && !is_loading {
            Some(true)
        } else {
            (!guard.is_running()).then_some(false)
        }
    });
    if is_ready {
        Ok(())
    } else {
        Err(guard.log().split_off(written))
    }
}
