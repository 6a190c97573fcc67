//! Processes that are not ours, seen from outside.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Instant;

use super::{LOOK_INTERVAL, PATIENCE};

/// Waits until the condition holds, and panics with `what` when patience ends. It blocks the thread.
pub(crate) fn block_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited for this: {what}");
        thread::sleep(LOOK_INTERVAL);
    }
}

/// The processes that work in a folder, by their state.
pub(crate) fn processes_in(folder: &Path) -> Vec<String> {
    let mut states = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let process = entry.unwrap().path();
        if fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == folder) {
            let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
            let state = stat.rsplit_once(") ").map(|(_, rest)| rest[..1].to_owned());
            states.extend(state);
        }
    }
    states
}
