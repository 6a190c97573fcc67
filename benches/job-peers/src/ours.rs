use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::Result;
use medcards_core::job::{ClaimedJob, JobKind, JobQueue, NewJob};
use medcards_core::time::{Clock, SystemClock};
use medcards_jobs::worker::{JobContext, JobEnd, JobHandler, JobPolicy, Workers};
use medcards_store_pg::{Keeping, PgConfig, PgStore};
use tokio::sync::Mutex;

use crate::queue::{BATCH, Queue, now, run_job};

/// `PgStore` with workers.
pub struct Ours {
    store: PgStore,
    clock: Arc<dyn Clock>,
    workers: Mutex<Option<Workers>>,
}

fn kind() -> JobKind {
    JobKind::new("bench").expect("a plain name")
}

#[derive(Debug)]
struct Handler;

#[async_trait]
impl JobHandler for Handler {
    fn kind(&self) -> JobKind {
        kind()
    }

    fn policy(&self) -> JobPolicy {
        JobPolicy {
            // They do nothing, so this is how many are claimed at once rather than how many run.
            concurrency_max: BATCH,
            ..JobPolicy::default()
        }
    }

    async fn run(&self, job: &ClaimedJob, _context: &JobContext) -> Result<JobEnd> {
        run_job(job.payload.parse().expect("a number"));
        Ok(JobEnd::done())
    }
}

impl Ours {
    pub async fn open(url: &str) -> Self {
        let config = PgConfig::new(url).expect("an address");
        let config = config.with_keeping(Keeping::Elsewhere);
        Self {
            store: PgStore::open(config).await.expect("a store"),
            clock: Arc::new(SystemClock::new()),
            workers: Mutex::new(None),
        }
    }
}

#[async_trait]
impl Queue for Ours {
    async fn enqueue(&self, count: u64) {
        let at = self.clock.now();
        let job = || NewJob::new(kind(), now().to_string(), at);
        let jobs = (0..count).map(|_| job()).collect();
        self.store.enqueue(jobs, at).await.expect("enqueue");
    }

    async fn start(&self) {
        let queue: Arc<dyn JobQueue> = Arc::new(self.store.clone());
        let workers = Workers::builder(queue, Arc::clone(&self.clock))
            .handler(Arc::new(Handler))
            .start();
        *self.workers.lock().await = Some(workers.expect("workers"));
    }

    async fn stop(&self) {
        if let Some(workers) = self.workers.lock().await.take() {
            workers.stop(Duration::from_secs(5)).await;
        }
        self.store.close().await;
    }
}
