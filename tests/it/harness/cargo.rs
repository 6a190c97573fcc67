//! The workspace, and what cargo says of it and builds from it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Runs cargo in the workspace and returns what it writes.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(workspace())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo failed: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Names a folder with the programs, for tests of what was built elsewhere.
const PROGRAMS: &str = "MEDCARDS_TEST_PROGRAMS";

/// Builds an example with the profile of these tests, and returns its program.
///
/// For all members and features, as `tests/run` does, so that nothing is compiled a second time.
pub(crate) fn example(name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os(PROGRAMS) {
        return Path::new(&folder).join(name);
    }
    let mut arguments = vec!["build", "--workspace", "--all-features", "--example", name];
    if !cfg!(debug_assertions) {
        arguments.push("--release");
    }
    arguments.push("--message-format=json-render-diagnostics");
    let messages = cargo(arguments);
    let program = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == name && message["target"]["kind"][0] == "example";
        is_it
            .then(|| message["executable"].as_str().map(PathBuf::from))
            .flatten()
    });
    program.unwrap_or_else(|| panic!("cargo built no example {name}"))
}
