use std::sync::atomic::{AtomicU64, Ordering};

use super::Coach;
use crate::chat::TurnOrigin;
use crate::metric::{Metric, MetricSource};

/// What the coach of one process replied since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoachTally {
    /// Replies of a model.
    pub live: u64,
    /// Reviewed answers that were reused.
    pub reused: u64,
    /// Questions that were declined.
    pub declined: u64,
    /// Fixed words where no model could reply.
    pub unavailable: u64,
    /// Replies that counted no more when they were complete.
    pub lost: u64,
    /// Replies of a model that could not be shown.
    pub rejected: u64,
    /// Summaries that were made.
    pub summaries: u64,
    /// Replies under way.
    pub under_way: usize,
}

#[derive(Debug, Default)]
pub(super) struct Tallies {
    live: AtomicU64,
    reused: AtomicU64,
    declined: AtomicU64,
    unavailable: AtomicU64,
    lost: AtomicU64,
    rejected: AtomicU64,
    summaries: AtomicU64,
}

impl Tallies {
    pub(super) fn replied(&self, origin: TurnOrigin) {
        count(match origin {
            TurnOrigin::Live => &self.live,
            TurnOrigin::Reused => &self.reused,
            TurnOrigin::Declined => &self.declined,
            TurnOrigin::Unavailable => &self.unavailable,
        });
    }

    pub(super) fn lost(&self) {
        count(&self.lost);
    }

    pub(super) fn rejected(&self) {
        count(&self.rejected);
    }

    pub(super) fn summarised(&self) {
        count(&self.summaries);
    }

    pub(super) fn read(&self, under_way: usize) -> CoachTally {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CoachTally {
            live: read(&self.live),
            reused: read(&self.reused),
            declined: read(&self.declined),
            unavailable: read(&self.unavailable),
            lost: read(&self.lost),
            rejected: read(&self.rejected),
            summaries: read(&self.summaries),
            under_way,
        }
    }
}

impl MetricSource for Coach {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        let tally = self.tally();
        let help = "Turns of chats, by where the reply came from.";
        for (origin, turns) in [
            (TurnOrigin::Declined, tally.declined),
            (TurnOrigin::Live, tally.live),
            (TurnOrigin::Reused, tally.reused),
            (TurnOrigin::Unavailable, tally.unavailable),
        ] {
            let metric = Metric::counter("medcards_chat_turns_total", help, turns);
            metrics.push(metric.with_label("origin", origin.as_str()));
        }
        for (name, help, count) in [
            (
                "medcards_chat_lost_total",
                "Replies of chats that counted no more when they were complete.",
                tally.lost,
            ),
            (
                "medcards_chat_rejected_total",
                "Replies of a model in chats that could not be shown.",
                tally.rejected,
            ),
            (
                "medcards_chat_summaries_total",
                "Summaries of chats that were made.",
                tally.summaries,
            ),
        ] {
            metrics.push(Metric::counter(name, help, count));
        }
        let help = "Replies of chats under way.";
        let under_way = tally.under_way as f64;
        metrics.push(Metric::gauge("medcards_chat_under_way", help, under_way));
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
