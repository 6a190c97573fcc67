//! Waiting for conditions.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at: fast enough to add nothing to a test, slow enough to leave
/// the processor to what is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// How long anything may take before it counts as hung, on a machine that also compiles.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until the condition gives something, and panics with `what` when patience ends.
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} for this: {what}"
        );
        thread::sleep(LOOK_INTERVAL);
    }
}
