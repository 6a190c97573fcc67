//! `pg_receivewal`, which carries away what a cluster writes while it is written.

use std::path::PathBuf;

use super::cluster::Cluster;
use crate::account::Account;
use crate::guard::Guard;

/// The name of the folder within that of the guard.
const RECEIVED: &str = "received";

/// A running receiver of the write-ahead log. Dropping it, or the end of the test process, kills it
/// and removes what it has received.
#[derive(Debug)]
pub struct WalReceiver {
    guard: Guard,
}

impl WalReceiver {
    /// The folder that it writes to.
    pub fn folder(&self) -> PathBuf {
        self.guard.folder().join(RECEIVED)
    }

    /// Kills it (`SIGKILL`) and leaves what it has received.
    pub fn kill(&mut self) {
        self.guard.kill();
    }
}

impl Cluster {
    /// Starts a receiver that follows this cluster through a slot of its own. The name is that of the
    /// slot, and the one for `synchronous_standby_names`.
    pub fn wal_receiver(&self, name: &str) -> WalReceiver {
        let program = self.installed().program("pg_receivewal");
        let from = format!(
            "--dbname=host=127.0.0.1 port={} user=postgres application_name={name}",
            self.port()
        );
        let slot = format!("--slot={name}");
        let receive = ["-D", RECEIVED, "--synchronous", "--no-password"];
        let mut guard = Guard::new(
            [program.as_os_str()]
                .into_iter()
                .chain([&*from, &*slot].map(AsRef::as_ref))
                .chain(receive.map(AsRef::as_ref)),
        );
        let account = Account::of_servers();
        account.run(&program, [&*from, &*slot, "--create-slot"], guard.folder());
        let received = guard.folder().join(RECEIVED);
        std::fs::create_dir(&received).unwrap();
        account.give(&received);
        guard.start();
        WalReceiver { guard }
    }
}
