use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use crate::queue::{BATCH, Queue, done, note_waits, wait_until};

/// How many jobs wait or run at most while they flow: enough to keep every queue busy.
const FLOW_OPEN_MAX: u64 = 5_000;

/// How often the rate of a flow is printed.
const FLOW_STEP: Duration = Duration::from_secs(10);

/// Runs jobs that have gathered, and prints how many a second.
pub async fn drain(queue: &dyn Queue, name: &str, count: u64) {
    let began = Instant::now();
    for _ in 0..count / BATCH as u64 {
        queue.enqueue(BATCH as u64).await;
    }
    let enqueued = began.elapsed();
    let until = done() + count / BATCH as u64 * BATCH as u64;
    let began = Instant::now();
    queue.start().await;
    wait_until(until).await;
    println!(
        "{name:10} enqueues {:.0}/s in batches of {BATCH}, drains {:.0}/s",
        count as f64 / enqueued.as_secs_f64(),
        count as f64 / began.elapsed().as_secs_f64()
    );
}

/// Enqueues jobs one by one, and prints how long each waited for its handler.
pub async fn single(queue: &dyn Queue, name: &str, count: u64) {
    note_waits();
    for _ in 0..count {
        let until = done() + 1;
        queue.enqueue(1).await;
        wait_until(until).await;
        // Long enough for every worker to be idle again.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let Some(waits) = note_waits() else { return };
    let ms = |quantile| waits.value_at_quantile(quantile) as f64 / 1_000.0;
    println!(
        "{name:10} begins a job after {:.2} ms (p50), {:.2} ms (p99)",
        ms(0.5),
        ms(0.99)
    );
}

/// Keeps some thousand jobs in the queue for a time, and prints how many are run a second.
///
/// With an address, a transaction is open there meanwhile that must go on seeing all that is deleted.
pub async fn flow(queue: &dyn Queue, name: &str, time: Duration, held_at: Option<&str>) -> f64 {
    let mut holder = match held_at {
        Some(url) => Some(hold_vacuum_back(url).await),
        None => None,
    };
    let (began, first) = (Instant::now(), done());
    let (mut enqueued, mut step, mut step_first) = (first, Instant::now(), first);
    let mut rates = Vec::new();
    while began.elapsed() < time {
        if enqueued - done() < FLOW_OPEN_MAX {
            queue.enqueue(BATCH as u64).await;
            enqueued += BATCH as u64;
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if step.elapsed() >= FLOW_STEP {
            rates.push((done() - step_first) as f64 / step.elapsed().as_secs_f64());
            (step, step_first) = (Instant::now(), done());
        }
    }
    let rate = (done() - first) as f64 / began.elapsed().as_secs_f64();
    let rates: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
    let how = if held_at.is_some() { "held back" } else { "free" };
    println!("{name:10} vacuum {how}: {rate:.0}/s; every 10 s: {}", rates.join(" "));
    wait_until(enqueued).await;
    if let Some(holder) = holder.take() {
        let _ = holder.close().await;
    }
    rate
}

async fn hold_vacuum_back(url: &str) -> PgConnection {
    let mut holder = PgConnection::connect(url).await.expect("connect");
    for sql in [
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "SELECT count(*) FROM pg_class",
    ] {
        sqlx::query(sql).execute(&mut holder).await.expect("hold");
    }
    holder
}
