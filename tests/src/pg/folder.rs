//! A place for scripts and what they make.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account::Account;
use crate::guard::Guard;

/// An empty folder that belongs to the account of the servers, which may not read the repository.
///
/// Dropping it, or the end of the test process, removes it.
#[derive(Debug)]
pub struct Folder {
    guard: Guard,
}

impl Folder {
    /// Makes one.
    #[expect(
        clippy::new_without_default,
        reason = "what touches the disk says so by a call"
    )]
    pub fn new() -> Self {
        Self {
            guard: Guard::new(["true"]),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.guard.folder()
    }

    /// Makes a folder in it.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir(&path).unwrap();
        Account::of_servers().give(&path);
        path
    }

    /// Copies a file into it.
    pub fn copy(&self, from: &Path) -> PathBuf {
        let path = self.path().join(from.file_name().unwrap());
        fs::copy(from, &path).unwrap_or_else(|why| panic!("{}: {why}", from.display()));
        Account::of_servers().give(&path);
        path
    }

    /// A program that will run in it, under the account of the servers.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let prefix = Account::of_servers().prefix();
        let mut command = Command::new(&prefix[0]);
        command
            .args(&prefix[1..])
            .arg(program)
            .current_dir(self.path());
        command
    }
}
