//! A Redis server of a test's own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use medcards_cache::{Redis, RedisConfig};

/// How long anything that is waited for may take on a busy machine.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(20);

/// A server without persistence, which ends with its handle.
pub(super) struct Server {
    child: Option<Child>,
    port: u16,
    speaks_tls: bool,
    arguments: Vec<String>,
    dir: tempfile::TempDir,
}

impl Server {
    /// Starts a server and waits until it answers.
    pub(super) async fn start(arguments: &[&str]) -> Self {
        let mut server = Self::prepared(arguments);
        server.run().await;
        server
    }

    /// A server that is not running yet.
    pub(super) fn prepared(arguments: &[&str]) -> Self {
        Self {
            child: None,
            port: free_port(),
            speaks_tls: false,
            arguments: arguments.iter().map(|&argument| argument.into()).collect(),
            dir: tempfile::tempdir().expect("there is room"),
        }
    }

    /// Makes it speak nothing but TLS.
    #[cfg(feature = "redis-tls")]
    pub(super) fn speak_tls(&mut self, arguments: &[&str]) {
        self.speaks_tls = true;
        self.arguments = arguments.iter().map(|&argument| argument.into()).collect();
    }

    pub(super) async fn run(&mut self) {
        let port = self.port.to_string();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", ""])
            .args(if self.speaks_tls {
                ["--port", "0", "--tls-port"].as_slice()
            } else {
                &["--port"]
            })
            .arg(&port)
            .arg("--dir")
            .arg(self.dir.path())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.child = Some(child);
        let address = ("127.0.0.1", self.port);
        until("the server listens", async || {
            std::net::TcpStream::connect(address).is_ok()
        })
        .await;
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is ours");
            child.wait().expect("it is ours");
        }
    }

    /// Stops it in the middle of what it does, or lets it go on.
    pub(super) fn signal(&self, signal: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill")
            .args([signal, &id])
            .status()
            .expect("there is kill");
        assert!(status.success());
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    #[cfg(feature = "redis-tls")]
    pub(super) fn dir(&self) -> std::path::PathBuf {
        self.dir.path().to_owned()
    }

    pub(super) async fn redis(&self) -> Redis {
        Redis::connect(patient(&self.url()))
            .await
            .expect("the address is right")
    }

    /// A connection without anything of ours in between.
    pub(super) async fn raw(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("the address is right");
        client
            .get_multiplexed_async_connection()
            .await
            .expect("the server runs")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody listens on, and that no other test of this process is given. Below those that
/// clients are given by the system.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() as u16 % 100 * 100;
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A configuration for tests of what is found: a busy machine is no reason to fail.
pub(super) fn patient(url: &str) -> RedisConfig {
    RedisConfig::new(url)
        .expect("the address is right")
        .with_patience(Duration::from_secs(5))
}

/// Waits until something is so.
pub(super) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WAIT_MAX, wait)
        .await
        .unwrap_or_else(|_| panic!("it never came to pass that {what}"));
}
