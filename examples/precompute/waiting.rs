use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use medcards::precompute::WaitReason;
use medcards::{BatchId, Error};
use tokio::time::Instant;

/// How often a wait that goes on is told of: often enough to see that it is alive, and 1,440 lines
/// for the longest batch.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// Why a batch is waited for.
pub(crate) enum Why {
    /// It is not done.
    Goes(WaitReason),
    /// Something failed, and is tried again.
    Failed(Error),
}

impl Why {
    fn told(&self) -> String {
        match self {
            Self::Goes(WaitReason::Provider { done, total }) => {
                format!("the provider writes: {done} of {total} are done")
            }
            Self::Goes(WaitReason::Submission { claimed_at }) => format!(
                "it may have been handed in at {claimed_at}: it is looked for at the provider"
            ),
            Self::Goes(_) => "it is not done".to_owned(),
            Self::Failed(error) => format!("{error}; it is tried again"),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Goes(reason) => Kind::Goes(discriminant(reason)),
            Self::Failed(_) => Kind::Failed,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Goes(Discriminant<WaitReason>),
    Failed,
}

/// Says in lines what a bar shows where there is a terminal.
pub(crate) struct Lines {
    batch: BatchId,
    last: Option<(Kind, Instant)>,
}

impl Lines {
    pub(crate) fn new(batch: BatchId) -> Self {
        Self { batch, last: None }
    }

    /// The line to print: when the wait begins, when its reason is another, and every minute.
    pub(crate) fn line(&mut self, why: &Why, now: Instant) -> Option<String> {
        let kind = why.kind();
        if let Some((last, at)) = self.last
            && last == kind
            && now < at + LINE_EVERY
        {
            return None;
        }
        self.last = Some((kind, now));
        Some(format!("batch {}: waiting: {}", self.batch, why.told()))
    }
}

#[cfg(test)]
mod tests {
    use medcards::{ErrorKind, Timestamp};

    use super::*;

    #[test]
    fn a_wait_is_told_at_its_beginning_then_every_minute_and_when_its_reason_changes() {
        let mut lines = Lines::new(BatchId::new(Timestamp::UNIX_EPOCH));
        let begin = Instant::now();
        let writes = |done| Why::Goes(WaitReason::Provider { done, total: 9 });
        let failed = || Why::Failed(Error::new(ErrorKind::Unavailable, "find batch", "away"));
        let mut told = Vec::new();
        for (seconds, why) in [
            (0, writes(0)),
            (30, writes(1)),
            (59, writes(2)),
            (60, writes(3)),
            (90, failed()),
            (100, failed()),
            (110, writes(4)),
            (169, writes(5)),
            (170, writes(6)),
        ] {
            let line = lines.line(&why, begin + Duration::from_secs(seconds));
            told.extend(line.map(|line| (seconds, line)));
        }
        let seconds: Vec<_> = told.iter().map(|(seconds, _)| *seconds).collect();
        assert_eq!(seconds, [0, 60, 90, 110, 170]);
        assert!(told[0].1.ends_with("0 of 9 are done"), "{}", told[0].1);
        assert!(told[1].1.ends_with("3 of 9 are done"), "{}", told[1].1);
        assert!(told[2].1.contains("away"), "{}", told[2].1);
    }
}
