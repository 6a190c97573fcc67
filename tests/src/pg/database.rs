//! Databases, and SQL from outside any driver.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::installed::Installed;

/// How many databases this process has made.
static MADE: AtomicU64 = AtomicU64::new(0);

/// How long psql waits for a server that does not answer.
const CONNECT_SECONDS_MAX: &str = "20";

/// A database of its own for one test, dropped with it, with all connections that are still open.
#[derive(Debug)]
pub struct Database {
    installed: Installed,
    port: u16,
    name: String,
}

impl Database {
    pub(super) fn create(installed: &Installed, port: u16, template: &str) -> Self {
        let name = format!("fresh_{}", MADE.fetch_add(1, Ordering::Relaxed));
        let sql = format!("create database {name} template {template}");
        run(installed, &url(port, "postgres"), &sql).unwrap_or_else(|error| panic!("{error}"));
        Self {
            installed: installed.clone(),
            port,
            name,
        }
    }

    /// Where it is, as the user `postgres`.
    pub fn url(&self) -> String {
        url(self.port, &self.name)
    }

    /// Its name, for the address of a proxy or a bouncer in front of it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs SQL and returns its rows, as [`Cluster::psql`](super::Cluster::psql) does.
    pub fn psql(&self, sql: &str) -> String {
        run(&self.installed, &self.url(), sql).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("drop database {} with (force)", self.name);
        // Its cluster may be dead, which is as good.
        drop(run(&self.installed, &url(self.port, "postgres"), &sql));
    }
}

/// The address of a database on a port of this machine.
pub(super) fn url(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}")
}

/// Runs SQL and returns its rows, or what psql complains about.
pub(super) fn run(installed: &Installed, url: &str, sql: &str) -> Result<String, String> {
    let mut command = Command::new(installed.program("psql"));
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG"))
    {
        command.env_remove(name);
    }
    let mut child = command
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url])
        .env("PGCONNECT_TIMEOUT", CONNECT_SECONDS_MAX)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql runs");
    let mut input = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        // Beside the reading, so that neither waits for the other. It stops reading at an error.
        scope.spawn(move || drop(input.write_all(sql.as_bytes())));
        child.wait_with_output().unwrap()
    });
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
