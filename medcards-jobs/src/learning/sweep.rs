use async_trait::async_trait;
use medcards_core::job::{ClaimedJob, Effects, JobKind, JobQueue, NewJob};
use medcards_core::notice::{NOTICE_KEPT_FOR, NoticeStore};
use medcards_core::view::ViewStore;
use medcards_core::{Result, Timestamp};

use crate::Stores;
use crate::worker::{JobContext, JobEnd, JobHandler, JobPolicy};

/// The name of the kind of job that deletes what is not needed any more.
const SWEEP: &str = "sweep";

/// The most rows that one statement deletes: some tens of milliseconds, and few locks.
const ROWS_PER_CALL: usize = 1_000;

/// The most statements of each kind in one job: some seconds.
const CALLS_PER_JOB_MAX: usize = 100;

/// Deletes notices that are older than [`NOTICE_KEPT_FOR`], keys of jobs that are free again, and rows of
/// editions that are gone.
#[derive(Debug)]
pub struct Sweep {
    stores: Stores,
}

impl Sweep {
    /// Does it in these stores.
    #[must_use]
    pub const fn new(stores: Stores) -> Self {
        Self { stores }
    }

    /// The kind of its jobs, which have no payload.
    #[must_use]
    pub fn job_kind() -> JobKind {
        JobKind::named(SWEEP)
    }

    /// Deletes some of each; says whether there is nothing more.
    async fn sweep(&self, now: Timestamp) -> Result<bool> {
        let learning = &self.stores.learning;
        let before = now.checked_sub(NOTICE_KEPT_FOR).unwrap_or(Timestamp::MIN);
        let notices = learning.sweep_notices(before, ROWS_PER_CALL).await?;
        let keys = learning.sweep_keys(now, ROWS_PER_CALL).await?;
        let rows = learning.sweep_rows(ROWS_PER_CALL).await?;
        Ok(notices + keys + rows == 0)
    }
}

#[async_trait]
impl JobHandler for Sweep {
    fn kind(&self) -> JobKind {
        Self::job_kind()
    }

    fn policy(&self) -> JobPolicy {
        JobPolicy::default().one_at_a_time()
    }

    async fn run(&self, _job: &ClaimedJob, context: &JobContext) -> Result<JobEnd> {
        let now = context.now();
        for _ in 0..CALLS_PER_JOB_MAX {
            if self.sweep(now).await? {
                return Ok(JobEnd::done());
            }
        }
        // There is more: others may want the worker meanwhile.
        let next = NewJob::new(Self::job_kind(), "", now);
        Ok(JobEnd::Done(Effects {
            jobs: vec![next],
            ..Effects::default()
        }))
    }
}
