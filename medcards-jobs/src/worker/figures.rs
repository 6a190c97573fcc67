use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use medcards_core::Timestamp;
use medcards_core::job::{JobCounts, JobKind};
use medcards_core::metric::{DurationHistogram, Metric};

use super::outcome::RunLabel;

/// Upper bounds of how long runs take, in microseconds: from a query to a walk through the log.
const RUN_BOUNDS_US: [u64; 10] = [
    1_000,
    5_000,
    25_000,
    100_000,
    500_000,
    2_500_000,
    10_000_000,
    60_000_000,
    300_000_000,
    1_800_000_000,
];

/// Upper bounds of how long jobs wait, in microseconds: from a hint in this process to an hour.
const PICK_UP_BOUNDS_US: [u64; 11] = [
    500,
    1_000,
    2_500,
    5_000,
    25_000,
    100_000,
    500_000,
    2_500_000,
    10_000_000,
    60_000_000,
    3_600_000_000,
];

/// What workers know of themselves and their queue.
#[derive(Debug)]
pub(super) struct Figures {
    by_kind: BTreeMap<JobKind, OfKind>,
    /// What the queue has, when it was last asked.
    counts: Mutex<Vec<JobCounts>>,
    pub(super) failures: AtomicU64,
}

#[derive(Debug)]
struct OfKind {
    runs: [AtomicU64; RunLabel::ALL.len()],
    run_time: DurationHistogram,
    pick_up: DurationHistogram,
}

impl Figures {
    pub(super) fn new<'a>(kinds: impl IntoIterator<Item = &'a JobKind>) -> Self {
        let none = || OfKind {
            runs: Default::default(),
            run_time: DurationHistogram::with_bounds(&RUN_BOUNDS_US),
            pick_up: DurationHistogram::with_bounds(&PICK_UP_BOUNDS_US),
        };
        Self {
            by_kind: kinds.into_iter().map(|it| (it.clone(), none())).collect(),
            counts: Mutex::default(),
            failures: AtomicU64::default(),
        }
    }

    pub(super) fn ended(&self, kind: &JobKind, label: RunLabel) {
        if let Some(of_kind) = self.by_kind.get(kind) {
            of_kind.runs[label as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn ran(&self, kind: &JobKind, took: Duration) {
        if let Some(of_kind) = self.by_kind.get(kind) {
            of_kind.run_time.record(took);
        }
    }

    pub(super) fn picked_up(&self, kind: &JobKind, waited: Duration) {
        if let Some(of_kind) = self.by_kind.get(kind) {
            of_kind.pick_up.record(waited);
        }
    }

    pub(super) fn counted(&self, counts: Vec<JobCounts>) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// How many runs of a kind ended so.
    pub(super) fn runs(&self, kind: &JobKind, label: RunLabel) -> u64 {
        self.by_kind
            .get(kind)
            .map_or(0, |it| it.runs[label as usize].load(Ordering::Relaxed))
    }

    pub(super) fn collect(&self, now: Timestamp, metrics: &mut Vec<Metric>) {
        for (kind, of_kind) in &self.by_kind {
            let label = |metric: Metric| metric.with_label("kind", kind.as_str().to_owned());
            for run in RunLabel::ALL {
                let runs = Metric::counter(
                    "medcards_job_runs_total",
                    "Runs of jobs in this process, by how they ended.",
                    self.runs(kind, run),
                );
                metrics.push(label(runs).with_label("outcome", run.as_str()));
            }
            metrics.extend(
                [
                    Metric::histogram(
                        "medcards_job_run_seconds",
                        "How long jobs ran in this process.",
                        of_kind.run_time.counts(),
                    ),
                    Metric::histogram(
                        "medcards_job_pick_up_seconds",
                        "How long after it was enqueued a job was begun for the first time.",
                        of_kind.pick_up.counts(),
                    ),
                ]
                .map(label),
            );
        }
        metrics.push(Metric::counter(
            "medcards_job_failures_total",
            "Times that the queue could not be reached, and it was tried again.",
            self.failures.load(Ordering::Relaxed),
        ));
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for of_kind in counts.iter() {
            let due_for_s = of_kind.due_since.map_or(0.0, |since| {
                now.duration_since(since).as_secs_f64().max(0.0)
            });
            let states = [
                ("due", of_kind.due),
                ("later", of_kind.later),
                ("dead", of_kind.dead),
            ];
            let label =
                |metric: Metric| metric.with_label("kind", of_kind.kind.as_str().to_owned());
            for (state, count) in states {
                let jobs = Metric::gauge(
                    "medcards_jobs",
                    "Jobs in the queue, as counted within the last ten seconds: due, claimed or to be done later, dead.",
                    count as f64,
                );
                metrics.push(label(jobs).with_label("state", state));
            }
            metrics.push(label(Metric::gauge(
                "medcards_job_due_seconds",
                "For how long the job that waits longest is due.",
                due_for_s,
            )));
        }
    }
}
