use std::sync::Mutex;
use std::time::Duration;

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::*;
use apalis_postgres::{Config, PostgresStorage};
use async_trait::async_trait;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinHandle;

use crate::queue::{BATCH, CONCURRENCY, Queue, now, run_job};

const QUEUE: &str = "bench";

/// apalis-postgres, told of new jobs by the database.
pub struct Apalis {
    pool: PgPool,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Apalis {
    pub async fn open(url: &str) -> Self {
        let pool = PgPoolOptions::new().max_connections(20).connect(url).await;
        let pool = pool.expect("connect");
        PostgresStorage::setup(&pool).await.expect("migrate");
        Self {
            pool,
            worker: Mutex::new(None),
        }
    }
}

async fn handle(enqueued_at: u64) -> Result<(), BoxDynError> {
    run_job(enqueued_at);
    Ok(())
}

#[async_trait]
impl Queue for Apalis {
    async fn enqueue(&self, count: u64) {
        let task = || TaskBuilder::new(serde_json::to_vec(&now()).expect("json")).build();
        let tasks = (0..count).map(|_| task()).collect();
        let mut connection = self.pool.acquire().await.expect("connection");
        apalis_postgres::queries::push_tasks(&mut *connection, QUEUE, tasks)
            .await
            .expect("push");
    }

    async fn start(&self) {
        let config = Config::default()
            .queue(QUEUE)
            .batch_size(BATCH)
            .lock_tasks(false)
            .persist_results(false);
        let backend = PostgresStorage::new(&self.pool)
            .with_config(config)
            .with_pubsub()
            .poll_with_interval(Duration::from_millis(100));
        let worker = WorkerBuilder::new("bench-worker")
            .backend(backend)
            .concurrency(CONCURRENCY)
            .build(handle);
        let worker = tokio::spawn(async move {
            let _ = worker.run().await;
        });
        *self.worker.lock().expect("lock") = Some(worker);
    }

    async fn stop(&self) {
        if let Some(worker) = self.worker.lock().expect("lock").take() {
            worker.abort();
        }
    }
}
