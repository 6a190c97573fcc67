use std::time::Duration;

use medcards_core::job::{Effects, JobOutcome};
use medcards_core::{Error, Timestamp};

use super::{JobEnd, JobPolicy};

/// How a run ended, as its worker sees it.
#[derive(Debug)]
pub(super) enum RunEnd {
    /// Its handler returned.
    Returned(Result<JobEnd, Error>),
    /// Its handler panicked.
    Panicked,
    /// It was claimed more often than it is tried, because whoever ran it never said how it ended.
    WornOut,
    /// Its effects cannot be written.
    Unwritable(String),
    /// This process stops, and has no more patience.
    Stopped,
}

/// What a run counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum RunLabel {
    Dead,
    Done,
    Lost,
    Panicked,
    Released,
    Retried,
}

impl RunLabel {
    pub(super) const ALL: [Self; 6] = [
        Self::Dead,
        Self::Done,
        Self::Lost,
        Self::Panicked,
        Self::Released,
        Self::Retried,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Done => "done",
            Self::Lost => "lost",
            Self::Panicked => "panicked",
            Self::Released => "released",
            Self::Retried => "retried",
        }
    }
}

/// How many claims of a job there may be for each of its attempts. A dead job that somebody requeues
/// has had all its attempts, and is to have one more each time; so only twice as many claims show that
/// it ends the processes that run it.
const CLAIMS_PER_ATTEMPT_MAX: u32 = 2;

/// Whether a claim is one too many to be run.
pub(super) fn is_worn_out(attempt: u32, policy: &JobPolicy) -> bool {
    let claims_max = policy
        .attempts_max
        .max(1)
        .saturating_mul(CLAIMS_PER_ATTEMPT_MAX);
    attempt > claims_max
}

/// Decides what becomes of a job. `luck` is from 0 to 1.
pub(super) fn outcome(
    end: RunEnd,
    attempt: u32,
    policy: &JobPolicy,
    now: Timestamp,
    luck: f64,
) -> (JobOutcome, Effects, RunLabel) {
    let nothing = Effects::default;
    let fail = |after: Option<Duration>, reason: String, label: RunLabel| {
        if attempt >= policy.attempts_max.max(1) {
            return (JobOutcome::Dead { reason }, nothing(), RunLabel::Dead);
        }
        let wait = policy.backoff.wait(attempt, luck);
        let wait = wait.max(after.unwrap_or_default());
        let at = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        (JobOutcome::Retry { at, reason }, nothing(), label)
    };
    match end {
        RunEnd::Returned(Ok(JobEnd::Done(effects))) => (JobOutcome::Done, effects, RunLabel::Done),
        RunEnd::Returned(Ok(JobEnd::Dead { reason })) => {
            (JobOutcome::Dead { reason }, nothing(), RunLabel::Dead)
        }
        RunEnd::Returned(Ok(JobEnd::Retry { after, reason })) => {
            fail(after, reason, RunLabel::Retried)
        }
        RunEnd::Returned(Err(error)) => {
            fail(error.retry_after(), error.to_string(), RunLabel::Retried)
        }
        RunEnd::Panicked => fail(None, "its handler panicked".to_owned(), RunLabel::Panicked),
        RunEnd::Unwritable(reason) => fail(None, reason, RunLabel::Retried),
        RunEnd::WornOut => {
            let reason = format!(
                "its worker died, or it was requeued, {attempt} times: if it is harmless, enqueue it anew"
            );
            (JobOutcome::Dead { reason }, nothing(), RunLabel::Dead)
        }
        RunEnd::Stopped => {
            let reason = "its process stopped".to_owned();
            let again = JobOutcome::Retry { at: now, reason };
            (again, nothing(), RunLabel::Released)
        }
    }
}
