//! The account that servers run under: PostgreSQL refuses root.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;

/// Those that servers may run under when the tests run as root, best first.
const INSTEAD_OF_ROOT: [&str; 2] = ["postgres", "nobody"];

/// The user that this process runs as.
pub(crate) fn own_user() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

/// A user and its group, or this process's own.
#[derive(Debug)]
pub(crate) struct Account {
    instead: Option<(u32, u32)>,
}

impl Account {
    /// Our own, unless it is root.
    pub(crate) fn of_servers() -> Self {
        let instead = (own_user() == 0).then(|| {
            let users = fs::read_to_string("/etc/passwd").unwrap();
            let ids = |name: &&str| {
                let line = users
                    .lines()
                    .find(|line| line.split(':').next() == Some(*name))?;
                let mut fields = line.split(':').skip(2).map(|id| id.parse().unwrap());
                Some((fields.next()?, fields.next()?))
            };
            let found = INSTEAD_OF_ROOT.iter().find_map(ids);
            found.expect("there is a user to run servers as, because some refuse root")
        });
        Self { instead }
    }

    /// What to put before a command so that it runs under the account, and ends with its parent.
    pub(crate) fn prefix(&self) -> Vec<String> {
        let mut words = ["setpriv", "--pdeathsig", "KILL"]
            .map(str::to_owned)
            .to_vec();
        if let Some((user, group)) = self.instead {
            words.push(format!("--reuid={user}"));
            words.push(format!("--regid={group}"));
            words.push("--clear-groups".to_owned());
        }
        words
    }

    /// Runs a program in a folder to its end, and panics with its complaint if it fails.
    pub(crate) fn run<S: AsRef<OsStr>>(
        &self,
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
        folder: &Path,
    ) {
        let prefix = self.prefix();
        let output = Command::new(&prefix[0])
            .args(&prefix[1..])
            .arg(program)
            .args(arguments)
            .current_dir(folder)
            .output()
            .expect("setpriv runs");
        assert!(
            output.status.success(),
            "{} failed: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Gives a file or folder to the account.
    pub(crate) fn give(&self, path: &Path) {
        if let Some((user, group)) = self.instead {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }
}
