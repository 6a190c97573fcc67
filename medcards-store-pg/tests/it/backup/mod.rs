//! What the scripts in `ops` do, on servers that lose their disks.

/// Clients that answer meanwhile, and what they remember.
mod clients;
/// Servers that are gone with their disks.
mod losses;
/// What the scripts refuse.
mod scripts;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use medcards_core::answer::{AnswerStore, RecordOutcome};
use medcards_store_pg::PgStore;
use medcards_tests::pg::{Cluster, Folder, Installed};
use tokio::time::Instant;

use crate::place::{answer, at, config, until};

/// The `archive_timeout` of the tests. The server looks once a second whether it has passed.
const ARCHIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Who answers first once a server is restored.
const FIRST_AFTERWARDS: u32 = 9_999;

const DATABASE: &str = "postgres";

/// The scripts for operators, and the folders they work with, where the servers' account can.
struct Place {
    folder: Folder,
    installed: Installed,
    backups: PathBuf,
    archive: PathBuf,
}

impl Place {
    fn new(installed: &Installed) -> Self {
        let folder = Folder::new();
        let ops = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops");
        for script in ["archive-wal", "backup", "restore"] {
            folder.copy(&ops.join(script));
        }
        Self {
            backups: folder.folder("backups"),
            archive: folder.folder("archive"),
            installed: installed.clone(),
            folder,
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// One of the scripts, as its users run it.
    fn script(&self, name: &str) -> Command {
        let mut command = self.folder.command(self.folder.path().join(name));
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.installed.bin().display()));
        command
    }

    /// A server that archives with the script.
    fn cluster(&self) -> Cluster {
        let command = format!(
            "{} %p {}/%f",
            self.path("archive-wal"),
            self.archive.display()
        );
        let timeout = ARCHIVE_TIMEOUT.as_secs().to_string();
        Cluster::start(
            &self.installed,
            &[
                ("archive_mode", "on"),
                ("archive_command", &command),
                ("archive_timeout", &timeout),
            ],
        )
    }

    /// Takes a backup and returns its folder.
    async fn backup(&self, cluster: &Cluster, archive: &Path, keep: u32) -> PathBuf {
        let mut command = self.script("backup");
        command
            .args(["--keep", &keep.to_string()])
            .args([&*self.backups, archive])
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", cluster.port().to_string())
            .env("PGUSER", "postgres");
        // Beside the clients, who go on.
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let said = succeeded(&output.await.unwrap());
        let newest = self.kept().pop().expect("there is a backup");
        assert!(said.contains(&*newest.to_string_lossy()), "{said}");
        newest
    }

    /// The backups there are, the oldest first.
    fn kept(&self) -> Vec<PathBuf> {
        let listed = fs::read_dir(&self.backups).unwrap();
        let mut kept: Vec<_> = listed.map(|entry| entry.unwrap().path()).collect();
        kept.retain(|path| !name_of(path).starts_with('.'));
        kept.sort();
        kept
    }

    /// Restores into a new server and waits until a store can be opened on it.
    async fn restore(&self, backup: &Path, archive: &Path, how: &[&str]) -> Restored {
        let started = Instant::now();
        let cluster = Cluster::start_on(&self.installed, |data| {
            let mut command = self.script("restore");
            let output = command.args(how).args([backup, archive, data]).output();
            succeeded(&output.unwrap());
        });
        let store = until("the restored server takes writes", async || {
            let config = config(&cluster.url(DATABASE));
            PgStore::open(config).await.ok()
        })
        .await;
        Restored {
            started,
            cluster,
            store,
        }
    }
}

struct Restored {
    started: Instant,
    cluster: Cluster,
    store: PgStore,
}

impl Restored {
    /// How long from the start of the restore until an answer is recorded.
    async fn recovery_time(&self) -> Duration {
        let first = answer(FIRST_AFTERWARDS, at(0));
        let recorded = self.store.record_answer(first).await.unwrap();
        assert_eq!(recorded.outcome, RecordOutcome::Created);
        self.started.elapsed()
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn succeeded(output: &Output) -> String {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    String::from_utf8(output.stdout.clone()).unwrap()
}
