//! The server as a process, its clients, a model that is no model.

mod cargo;
mod client;
mod fleet;
mod home;
mod model;
mod processes;
mod server;
mod stream;
mod token;

pub(crate) use cargo::{cargo, example, workspace};
pub(crate) use client::{Client, Reply, Student, send, try_send, uuid_v7, uuid_v7_of};
pub(crate) use fleet::{Fleet, SERVERS, figure, measure};
pub(crate) use home::{Home, on_each_store};
pub(crate) use model::{CALL_COST, Model, Mood, PIECES};
pub(crate) use processes::{block_until, processes_in};
pub(crate) use server::{Launch, Server, is_corrected, is_done, is_learnt};
pub(crate) use stream::SseReader;
pub(crate) use token::{Claims, SECRET, admin_token, forge, seconds_from_now};

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often a condition is looked at: fast enough to add nothing to a test, slow enough to leave
/// the processor to what is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How long anything may take before it counts as hung, on a machine that also compiles.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until the condition gives something, and panics with `what` when patience ends.
pub(crate) async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} for this: {what}"
        );
        sleep(LOOK_INTERVAL).await;
    }
}
