use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hdrhistogram::Histogram;

/// How many handlers run at a time, in each queue.
pub const CONCURRENCY: usize = 100;

/// How many jobs are claimed at once, in each queue.
pub const BATCH: usize = 500;

/// A queue with a worker that runs in this process.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Enqueues jobs in one call; each carries the instant at which it was, in microseconds.
    async fn enqueue(&self, count: u64);

    /// Starts the worker.
    async fn start(&self);

    /// Stops it, so that jobs gather.
    async fn stop(&self);
}

static DONE: AtomicU64 = AtomicU64::new(0);
static WAITS: Mutex<Option<Histogram<u64>>> = Mutex::new(None);

/// The microseconds since the program began.
pub fn now() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let began = BEGAN.get_or_init(Instant::now);
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// What every handler does.
pub fn run_job(enqueued_at: u64) {
    let waited = now().saturating_sub(enqueued_at);
    let mut waits = WAITS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(waits) = &mut *waits {
        // It grows as needed, and fails only beyond what fits into memory.
        let _ = waits.record(waited);
    }
    DONE.fetch_add(1, Ordering::Relaxed);
}

/// How many jobs were run since the program began.
pub fn done() -> u64 {
    DONE.load(Ordering::Relaxed)
}

/// Begins to note how long jobs wait; returns what was noted until then.
pub fn note_waits() -> Option<Histogram<u64>> {
    let fresh = Histogram::new(3).ok();
    std::mem::replace(
        &mut *WAITS.lock().unwrap_or_else(PoisonError::into_inner),
        fresh,
    )
}

/// Waits until so many jobs were run in all.
pub async fn wait_until(count: u64) {
    while done() < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
