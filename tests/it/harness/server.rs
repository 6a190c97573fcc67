//! The server example as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;

use super::client::{Client, Student};
use super::{Home, SECRET, admin_token, cargo, until};
use serde_json::Value;

/// How many views of the log there are.
const VIEWS: usize = 6;

/// What the server writes before it can be asked.
const READY: &str = "listening on ";

/// The program, built once for all tests of this process.
static PROGRAM: LazyLock<std::path::PathBuf> = LazyLock::new(|| cargo::example("server"));

/// How a server is started: on a free port, with a known secret, without a rate limit, and with
/// nothing else from the environment of the tests.
#[derive(Debug)]
pub(crate) struct Launch {
    command: Command,
}

impl Launch {
    /// On this data folder.
    pub(crate) fn on(folder: &Path) -> Self {
        let mut command = Command::new(&*PROGRAM);
        for (name, _) in std::env::vars_os() {
            let is_ours = name.to_string_lossy().starts_with("MEDCARDS_");
            let is_proxy = name
                .to_string_lossy()
                .to_ascii_uppercase()
                .ends_with("_PROXY");
            if is_ours || is_proxy {
                command.env_remove(name);
            }
        }
        command
            .env("MEDCARDS_DATA", folder)
            .env("MEDCARDS_LISTEN", "127.0.0.1:0");
        Self { command }
            .with("MEDCARDS_JWT_SECRET", SECRET)
            .with("MEDCARDS_RATE_LIMIT", "off")
    }

    /// With a setting.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it and waits until it listens.
    pub(crate) async fn start(mut self) -> Server {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        keep_lines(child.stdout.take().unwrap(), &output);
        keep_lines(child.stderr.take().unwrap(), &output);
        let mut server = Server {
            child,
            url: String::new(),
            output,
        };
        server.url = until("the server listens", async || server.listening_url()).await;
        server
    }

    /// Starts it, expecting it to end by itself, and returns how and with which words.
    pub(crate) async fn fail(mut self) -> (Option<i32>, String) {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = self.command.spawn().unwrap();
        let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap());
        let output = output.await.unwrap();
        let words = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&words).into_owned(),
        )
    }
}

/// A running server. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    url: String,
    output: Arc<Mutex<String>>,
}

impl Server {
    /// Where it listens, without a slash at the end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The address and port.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Somebody who asks it.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url)
    }

    /// What it has written so far.
    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Kills it as the kernel would, without a word (SIGKILL), and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop (SIGTERM).
    pub(crate) fn terminate(&self) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -TERM {}", self.child.id())])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn exit(mut self) -> ExitStatus {
        until("the server ends", async || self.child.try_wait().unwrap()).await
    }

    /// Asks it to stop and waits until it has, successfully.
    pub(crate) async fn stop(self) {
        self.terminate();
        let output = Arc::clone(&self.output);
        let status = self.exit().await;
        assert!(status.success(), "{status}: {}", output.lock().unwrap());
    }

    fn listening_url(&mut self) -> Option<String> {
        let output = self.output();
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the server ended with {status}: {output}");
        }
        let line = output.lines().find_map(|line| line.split_once(READY))?.1;
        line.split_whitespace()
            .next()
            .map(|url| url.trim_end_matches('/').to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Keeps all lines, in a thread that ends with the process.
fn keep_lines(pipe: impl Read + Send + 'static, output: &Arc<Mutex<String>>) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { return };
            let mut output = output.lock().unwrap();
            output.push_str(&line);
            output.push('\n');
        }
    });
}

/// Waits until the views of the log have counted all of it.
pub(crate) async fn is_learnt(home: &Home, server: &Server) {
    home.log_is_shown().await;
    let admin = server.client().holder(admin_token());
    until("the views have counted every event", async || {
        let views = views(&admin).await;
        let has_counted =
            |view: &Value| view["next"].is_null() && view["current"]["behind_events"] == 0;
        (views.len() == VIEWS && views.iter().all(has_counted)).then_some(())
    })
    .await;
    home.log_is_shown().await;
}

/// Waits until the views know so many corrections of keys, and have counted all of the log with them.
pub(crate) async fn is_corrected(home: &Home, server: &Server, corrections: u64) {
    let admin = server.client().holder(admin_token());
    until("the views know every correction", async || {
        let views = views(&admin).await;
        let knows = |view: &Value| view["current"]["corrections"] == corrections;
        views.iter().all(knows).then_some(())
    })
    .await;
    is_learnt(home, server).await;
}

/// Waits until all jobs are done, or dead.
pub(crate) async fn is_done(home: &Home, server: &Server) {
    let admin = server.client().holder(admin_token());
    until("all jobs are done", async || {
        let kinds = admin.get("/v1/admin/jobs").await.expect(200);
        let mut kinds = kinds["items"].as_array()?.iter();
        // What cron enqueues is no job of the test.
        let is_done = |kind: &Value| kind["due"] == 0 && kind["later"] == 0;
        kinds.all(is_done).then_some(())
    })
    .await;
    home.log_is_shown().await;
}

/// How the views stand.
async fn views(admin: &Student) -> Vec<Value> {
    let views = admin.get("/v1/admin/views").await.expect(200);
    views["items"].as_array().unwrap().clone()
}
