use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use graphile_worker::{
    Database, IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, TaskHandler, Worker,
    WorkerContext, WorkerOptions, WorkerUtils,
};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;

use crate::queue::{BATCH, CONCURRENCY, Queue, now, run_job};

const SCHEMA: &str = "graphile_worker";

/// graphile_worker with a local queue and completions in batches, as its own benches have it.
pub struct Graphile {
    database: Database,
    utils: WorkerUtils,
    worker: Mutex<Option<Arc<Worker>>>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Job {
    enqueued_at: u64,
}

impl TaskHandler for Job {
    const IDENTIFIER: &'static str = "bench";

    async fn run(self, _context: WorkerContext) -> impl IntoTaskHandlerResult {
        run_job(self.enqueued_at);
        Ok::<(), String>(())
    }
}

impl Graphile {
    pub async fn open(url: &str) -> Self {
        let pool = PgPoolOptions::new().max_connections(20).connect(url).await;
        let database: Database = pool.expect("connect").into();
        let utils = WorkerUtils::new(database.clone(), SCHEMA);
        utils.migrate().await.expect("migrate");
        Self {
            database,
            utils,
            worker: Mutex::new(None),
        }
    }
}

#[async_trait]
impl Queue for Graphile {
    async fn enqueue(&self, count: u64) {
        let job = || RawJobSpec {
            identifier: Job::IDENTIFIER.to_owned(),
            payload: serde_json::json!({ "enqueued_at": now() }),
            spec: JobSpec::default(),
        };
        let jobs: Vec<_> = (0..count).map(|_| job()).collect();
        self.utils.add_raw_jobs(&jobs).await.expect("add");
    }

    async fn start(&self) {
        let worker = WorkerOptions::default()
            .database(self.database.clone())
            .schema(SCHEMA)
            .concurrency(CONCURRENCY)
            .poll_interval(Duration::from_millis(100))
            .complete_job_batch_delay(Duration::from_millis(5))
            .local_queue(LocalQueueConfig::default().with_size(BATCH))
            .listen_os_shutdown_signals(false)
            .define_job::<Job>()
            .init()
            .await
            .expect("worker");
        let worker = Arc::new(worker);
        *self.worker.lock().expect("lock") = Some(Arc::clone(&worker));
        tokio::spawn(async move {
            let _ = worker.run().await;
        });
    }

    async fn stop(&self) {
        if let Some(worker) = self.worker.lock().expect("lock").take() {
            worker.request_shutdown();
        }
    }
}
