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
    /// It was tried as often as it may be, and whoever ran it last never said how that ended.
    WornOut,
    /// Its effects cannot be written.
    Unwritable(String),
    /// This process stops, and has no more patience.
    Stopped,
    /// This process stops, and has not begun it.
    Unbegun,
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

/// Whether a job was tried as often as it may be before this, so that it is not to be run.
pub(super) fn is_worn_out(tries: u32, policy: &JobPolicy) -> bool {
    tries > policy.attempts_max.max(1)
}

/// Decides what becomes of a job after so many tries. `luck` is from 0 to 1.
pub(super) fn outcome(
    end: RunEnd,
    tries: u32,
    policy: &JobPolicy,
    now: Timestamp,
    luck: f64,
) -> (JobOutcome, Effects, RunLabel) {
    let nothing = Effects::default;
    let fail = |after: Option<Duration>, reason: String, label: RunLabel| {
        if tries >= policy.attempts_max.max(1) {
            return (JobOutcome::Dead { reason }, nothing(), RunLabel::Dead);
        }
        let wait = policy.backoff.wait(tries, luck);
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
            let before = tries.saturating_sub(1);
            let reason = format!(
                "it was begun {before} times, and at last its worker died: if it is harmless, requeue it"
            );
            (JobOutcome::Dead { reason }, nothing(), RunLabel::Dead)
        }
        RunEnd::Stopped => {
            let reason = "its process stopped".to_owned();
            let again = JobOutcome::Retry { at: now, reason };
            (again, nothing(), RunLabel::Released)
        }
        RunEnd::Unbegun => (JobOutcome::Released, nothing(), RunLabel::Released),
    }
}
