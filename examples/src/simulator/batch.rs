//! Batches in either dialect. What has become of one is computed from the time, so nothing runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use medcards::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

use super::cache::Cached;
use super::problem::{Problem, ProblemKind};
use super::reply::{Ask, Reply};
use super::script::{Behaviour, Script};
use super::state::{Shared, chance_of};

/// The most items of a batch, as the real ones have it.
pub(super) const ITEMS_MAX: usize = 100_000;

/// The most batches that are kept; the oldest that ended goes first.
const BATCHES_MAX: usize = 1_000;

/// The most items that are kept in all batches together, which may take half a gigabyte.
const ITEMS_KEPT_MAX: usize = 300_000;

/// How many items are remembered to tell repeated ones.
const ITEMS_SEEN_MAX: usize = 2_000_000;

/// A call that a batch is created with.
#[derive(Debug)]
pub(super) struct BatchCall {
    pub(super) custom_id: String,
    /// What it asks for, or why that cannot be.
    pub(super) ask: Result<Ask, Problem>,
}

/// A call of a batch, and what is in store for it.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) custom_id: String,
    /// What it asks for, or why that cannot be.
    pub(super) ask: Result<Ask, Problem>,
    fate: Fate,
    /// Whether its tokens are counted, which they are once, however often its result is read.
    billed: AtomicBool,
}

/// What the script has in store for an item that is done in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Errors,
    Expires,
    Succeeds,
}

/// What became of an item.
#[derive(Debug)]
pub(super) enum Outcome {
    Canceled,
    Errored(Problem),
    Expired,
    Succeeded(Reply),
}

/// How many items had which outcome.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Tally {
    pub(super) canceled: u64,
    pub(super) errored: u64,
    pub(super) expired: u64,
    pub(super) succeeded: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) id: String,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) cancelled_at: Option<Timestamp>,
    /// When an operator had it finished before its time.
    finished_at: Option<Timestamp>,
    items: Arc<[Item]>,
    script: Arc<Script>,
    /// What only the dialect of OpenAI has.
    pub(super) input: Option<Input>,
}

/// The file that items came from, and what the creator noted with them.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) file_id: String,
    pub(super) metadata: serde_json::Value,
    /// The lines that are no calls, from 1, and why. With any, nothing of the batch is done.
    pub(super) faults: Vec<(usize, String)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    InProgress,
    Canceling,
    Ended(Timestamp),
}

impl Batch {
    pub(super) fn phase(&self, now: Timestamp) -> Phase {
        let end = self.end();
        if now >= end {
            Phase::Ended(end)
        } else if self.cancelled_at.is_some() {
            Phase::Canceling
        } else {
            Phase::InProgress
        }
    }

    /// Whether it ended because its time had run out.
    pub(super) fn is_expired(&self) -> bool {
        self.cancelled_at.is_none() && self.end() == self.expires_at
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        matches!(self.phase(now), Phase::Ended(_))
    }

    /// How many items ended in which way, now or at the end. Writes no reply.
    pub(super) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for place in 0..self.items.len() {
            let count = match self.kind(place) {
                OutcomeKind::Canceled => &mut tally.canceled,
                OutcomeKind::Errored => &mut tally.errored,
                OutcomeKind::Expired => &mut tally.expired,
                OutcomeKind::Succeeded => &mut tally.succeeded,
            };
            *count += 1;
        }
        tally
    }

    /// How many items are done by now, whatever came of them.
    pub(super) fn done(&self, now: Timestamp) -> usize {
        (0..self.items.len())
            .take_while(|place| self.done_at(*place) <= now)
            .count()
    }

    /// What became of an item: the same each time it is asked.
    pub(super) fn outcome(&self, place: usize) -> Outcome {
        let item = &self.items[place];
        match self.kind(place) {
            OutcomeKind::Canceled => Outcome::Canceled,
            OutcomeKind::Expired => Outcome::Expired,
            OutcomeKind::Errored => Outcome::Errored(match &item.ask {
                Err(problem) => problem.clone(),
                Ok(_) => Problem::new(ProblemKind::Server, "Internal server error"),
            }),
            OutcomeKind::Succeeded => match &item.ask {
                Err(problem) => Outcome::Errored(problem.clone()),
                Ok(ask) => Outcome::Succeeded(self.reply(place, &item.custom_id, ask)),
            },
        }
    }

    /// Counts the tokens of results that are read for the first time.
    pub(super) fn bill<'a>(
        &self,
        results: impl IntoIterator<Item = (usize, &'a Outcome)>,
        shared: &Shared,
    ) {
        let mut state = shared.state();
        let counts = &mut state.counts.batches;
        for (place, outcome) in results {
            if let Outcome::Succeeded(reply) = outcome
                && !self.items[place].billed.swap(true, Ordering::Relaxed)
            {
                counts.input_tokens += reply.usage.all_input();
                counts.output_tokens += reply.usage.output;
            }
        }
    }

    /// The places of items in the order in which results are told, which is not that of creation.
    pub(super) fn places(&self) -> Vec<usize> {
        let mut places: Vec<_> = (0..self.items.len()).collect();
        places.sort_by_cached_key(|place| xxh3_64(self.items[*place].custom_id.as_bytes()));
        places
    }

    fn reply(&self, place: usize, custom_id: &str, ask: &Ask) -> Reply {
        let mut chance = chance_of(
            &self.script,
            ask.fingerprint ^ xxh3_64(custom_id.as_bytes()),
        );
        // A batch has no connection that could break: only what is about the text counts.
        let behaviour = match self.script.behaviour(&mut chance) {
            behaviour @ (Behaviour::MaxTokens
            | Behaviour::Refusal
            | Behaviour::Unfit
            | Behaviour::UnfitLetter
            | Behaviour::UnfitNumber
            | Behaviour::UnfitShort) => behaviour,
            _ => Behaviour::Good,
        };
        let id = format!(
            "{}{place:06x}",
            self.id.trim_start_matches(|char| char != '_')
        );
        Reply::new(
            id,
            ask,
            behaviour,
            Cached::default(),
            &self.script,
            &mut chance,
        )
    }

    fn kind(&self, place: usize) -> OutcomeKind {
        let item = &self.items[place];
        let done_at = self.done_at(place);
        if self.cancelled_at.is_some_and(|at| done_at > at) {
            return OutcomeKind::Canceled;
        }
        if done_at > self.expires_at || item.fate == Fate::Expires {
            return OutcomeKind::Expired;
        }
        match (&item.ask, item.fate) {
            (Ok(_), Fate::Succeeds) => OutcomeKind::Succeeded,
            _ => OutcomeKind::Errored,
        }
    }

    fn done_at(&self, place: usize) -> Timestamp {
        let share = (place + 1) as f64 / self.items.len() as f64;
        let at = later(self.created_at, self.duration().mul_f64(share));
        self.finished_at.map_or(at, |finished| finished.min(at))
    }

    fn end(&self) -> Timestamp {
        if self.items.is_empty() {
            return self.created_at;
        }
        let mut end = later(self.created_at, self.duration());
        if let Some(finished) = self.finished_at {
            end = end.min(finished);
        }
        if let Some(cancelled) = self.cancelled_at {
            let wait = Duration::from_millis(self.script.batch.cancel_ms);
            end = end.min(later(cancelled, wait));
        }
        end.min(self.expires_at)
    }

    fn duration(&self) -> Duration {
        Duration::from_millis(self.script.batch.duration_ms)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum OutcomeKind {
    Canceled,
    Errored,
    Expired,
    Succeeded,
}

/// The batches of one simulator, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Batches {
    batches: VecDeque<Batch>,
}

impl Batches {
    pub(super) fn find(&self, id: &str) -> Option<&Batch> {
        self.batches.iter().find(|batch| batch.id == id)
    }

    /// Those whose id begins so, the newest first: each dialect has its own.
    pub(super) fn newest_first(&self, begins: &str) -> Vec<&Batch> {
        let batches = self.batches.iter().rev();
        batches
            .filter(|batch| batch.id.starts_with(begins))
            .collect()
    }

    /// Cancels a batch, unless it has ended, and returns it as it is then.
    pub(super) fn cancel(&mut self, id: &str, now: Timestamp) -> Option<&Batch> {
        let batch = self.batches.iter_mut().find(|batch| batch.id == id)?;
        if !batch.has_ended(now) && batch.cancelled_at.is_none() {
            batch.cancelled_at = Some(now);
        }
        Some(batch)
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.batches.retain(|batch| batch.id != id);
    }

    /// Finishes at once what would take longer.
    pub(super) fn finish(&mut self, now: Timestamp) {
        let open = self
            .batches
            .iter_mut()
            .filter(|batch| !batch.has_ended(now));
        for batch in open {
            batch.finished_at = Some(now);
        }
    }

    /// Lets the time of all that is not done run out.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let open = self
            .batches
            .iter_mut()
            .filter(|batch| !batch.has_ended(now));
        for batch in open {
            batch.expires_at = now;
        }
    }

    fn make_room(&mut self, items: usize, now: Timestamp) -> Result<(), Problem> {
        let kept = |batches: &VecDeque<Batch>| -> usize {
            batches.iter().map(|batch| batch.items.len()).sum()
        };
        while self.batches.len() >= BATCHES_MAX || kept(&self.batches) + items > ITEMS_KEPT_MAX {
            let oldest = self.batches.iter().position(|batch| batch.has_ended(now));
            let Some(oldest) = oldest else {
                let message = "too many batches are under way: wait until some have ended";
                return Err(Problem::new(ProblemKind::RateLimit, message).after(60));
            };
            self.batches.remove(oldest);
        }
        Ok(())
    }
}

impl Shared {
    /// Creates a batch and returns it as it is at its start.
    pub(super) fn create_batch(
        &self,
        begins: &str,
        calls: Vec<BatchCall>,
        input: Option<Input>,
    ) -> Result<Batch, Problem> {
        let now = self.now();
        let id = format!("{begins}{}", self.id());
        let mut state = self.state();
        state.batches.make_room(calls.len(), now)?;
        let script = Arc::clone(&state.script);
        let items: Arc<[Item]> = calls
            .into_iter()
            .map(|BatchCall { custom_id, ask }| {
                let fate = fate(&script, &custom_id);
                Item {
                    custom_id,
                    ask,
                    fate,
                    billed: AtomicBool::new(false),
                }
            })
            .collect();
        state.count_items(&items);
        let window = Duration::from_millis(script.batch.window_ms);
        let batch = Batch {
            id,
            created_at: now,
            expires_at: later(now, window),
            cancelled_at: None,
            finished_at: None,
            items,
            script,
            input,
        };
        state.batches.batches.push_back(batch.clone());
        Ok(batch)
    }
}

impl super::state::State {
    fn count_items(&mut self, items: &[Item]) {
        let counts = &mut self.counts.batches;
        counts.created += 1;
        counts.items += items.len() as u64;
        for item in items {
            let Ok(ask) = &item.ask else {
                counts.invalid_items += 1;
                continue;
            };
            let asked = ask.fingerprint ^ xxh3_64(ask.model.as_bytes());
            if self.items_seen.contains(&asked) {
                counts.repeated_items += 1;
            } else if self.items_seen.len() < ITEMS_SEEN_MAX {
                self.items_seen.insert(asked);
            }
        }
    }
}

fn fate(script: &Script, custom_id: &str) -> Fate {
    let drawn = chance_of(script, xxh3_64(custom_id.as_bytes())).f64();
    let batch = &script.batch;
    if drawn < batch.errored {
        Fate::Errors
    } else if drawn < batch.errored + batch.expired {
        Fate::Expires
    } else {
        Fate::Succeeds
    }
}

/// A time so much later, or the last there is.
fn later(time: Timestamp, wait: Duration) -> Timestamp {
    time.checked_add(wait).unwrap_or(Timestamp::MAX)
}
