//! `redis-cli`, through which tests speak to servers beside the library that they test.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// How to speak to one kind of server.
#[derive(Clone, Debug, Default)]
pub(super) struct Cli {
    /// Of the default user.
    pub(super) password: Option<String>,
    /// Where the certificates are, if the server speaks TLS.
    pub(super) certificates: Option<PathBuf>,
}

impl Cli {
    /// What the server at this port answers to a command, or how it refuses.
    pub(super) fn run(&self, port: u16, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new("redis-cli");
        // -e: an error is an exit status, too.
        command.args(["-h", "127.0.0.1", "-e", "-p", &port.to_string()]);
        if let Some(folder) = &self.certificates {
            command.arg("--tls");
            for (option, file) in [
                ("--cacert", "ca.crt"),
                ("--cert", "client.crt"),
                ("--key", "client.key"),
            ] {
                command.arg(option).arg(folder.join(file));
            }
        }
        if let Some(password) = &self.password {
            command.env("REDISCLI_AUTH", password);
        }
        let output = command
            .args(words)
            .stdin(Stdio::null())
            .output()
            .expect("redis-cli runs: ./tests/run installs it");
        let mut answer = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            // The one that redis-cli adds.
            if answer.ends_with('\n') {
                answer.pop();
            }
            Ok(answer)
        } else {
            answer.push_str(&String::from_utf8_lossy(&output.stderr));
            Err(answer)
        }
    }
}
