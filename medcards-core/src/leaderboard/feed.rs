use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::gain::batches;
use super::{Applied, Edition, EditionProgress, FedLeaderboards, Gain, Progress, gains_of};
use crate::case::{CORRECTIONS_PER_READ_MAX, CaseStore, CaseVersion, KeyCorrection};
use crate::event::{EVENTS_PER_READ_MAX, Event, EventBody, EventLog, LogPosition};
use crate::id::CaseId;
use crate::store::Store;
use crate::view::{CaseFact, Facts};
use crate::{Error, ErrorKind, Result};

/// How many versions of cases are remembered, at about 150 bytes each. A version never changes, so
/// that a forgotten one costs a read.
const REMEMBERED_CASES_MAX: usize = 50_000;

/// The shortest wait before boards that were lost again are built again; doubled each time.
const REBUILD_WAIT_MIN: Duration = Duration::from_secs(1);

/// The longest such wait. A backend that is too small for the boards loses them as soon as they are
/// built; the store is not to be read for that all the time.
const REBUILD_WAIT_MAX: Duration = Duration::from_secs(300);

/// Carries what the log says to boards, a part at a time. A [`BoardKeeper`](super::BoardKeeper)
/// does it for as long as a process lives.
///
/// It remembers nothing of how far it has come: the boards say so.
pub struct BoardFeed {
    store: Arc<dyn Store>,
    boards: Arc<dyn FedLeaderboards>,
    cases: Cache<(CaseId, CaseVersion), CaseFact>,
    /// All that were read so far, in the order of their numbers.
    corrections: Mutex<Vec<KeyCorrection>>,
    losses: Mutex<Losses>,
}

/// When a rebuild was last begun because something was lost, and how long to wait with the next.
#[derive(Debug, Default)]
struct Losses {
    begun_at: Option<Instant>,
    wait: Duration,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedStep {
    /// How many events count now that did not before.
    pub events: u64,
    /// How many gains were among them.
    pub gains: u64,
    /// Whether another process was faster, so that some of the work was in vain.
    pub was_overtaken: bool,
    /// Whether a rebuild was begun, because there are no whole boards.
    pub began_rebuild: bool,
    /// Whether a rebuild was switched in.
    pub switched: bool,
    /// Whether boards are lost, and are not built again yet because that happened a moment ago.
    pub is_waiting_to_rebuild: bool,
    /// Whether the log has nothing more for any edition, as of this step.
    pub is_caught_up: bool,
    /// Whether the boards that answer have all that the log had when this step read it. They may
    /// while others are still being filled.
    pub counts_all: bool,
}

/// What became of one edition in a step.
struct Carried {
    /// Where it stands, if there were no more events.
    end: Option<LogPosition>,
    /// Whether it has all that the log had.
    counts_all: bool,
}

impl BoardFeed {
    /// Carries the log of this store to these boards.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, boards: Arc<dyn FedLeaderboards>) -> Self {
        Self {
            store,
            boards,
            cases: Cache::new(REMEMBERED_CASES_MAX),
            corrections: Mutex::default(),
            losses: Mutex::default(),
        }
    }

    /// The boards that are fed.
    #[must_use]
    pub fn boards(&self) -> &Arc<dyn FedLeaderboards> {
        &self.boards
    }

    /// Makes sure that a next edition is being filled that knows of all corrections of keys.
    ///
    /// # Errors
    /// Those of the store and of the boards.
    ///
    /// # Cancel safety
    /// A dropped future leaves it begun or not.
    pub async fn begin_rebuild(&self) -> Result<Progress> {
        let corrections = self.learn_corrections().await?;
        self.boards.begin_rebuild(corrections).await
    }

    /// Carries at most [`EVENTS_PER_READ_MAX`] events to each edition. Begins a rebuild if there is
    /// no whole current edition, or the key of a case was corrected since it was begun, and switches
    /// the next one in when it has caught up.
    ///
    /// Boards that are lost again and again are built again after longer and longer waits, of at most
    /// five minutes.
    ///
    /// # Errors
    /// Those of the store and of the boards. What was applied before counts.
    ///
    /// # Cancel safety
    /// A dropped future leaves each batch either applied whole or not at all.
    pub async fn step(&self) -> Result<FeedStep> {
        let progress = self.boards.progress().await?;
        self.step_from(progress).await
    }

    /// The same after [`verify`](FedLeaderboards::verify).
    ///
    /// # Errors
    /// As for [`step`](Self::step).
    ///
    /// # Cancel safety
    /// As for [`step`](Self::step).
    pub async fn verify_and_step(&self) -> Result<FeedStep> {
        let progress = self.boards.verify().await?;
        self.step_from(progress).await
    }

    async fn step_from(&self, mut progress: Progress) -> Result<FeedStep> {
        // After the progress, so that no edition knows of more.
        let corrections = self.learn_corrections().await?;
        let mut step = FeedStep::default();
        let whole = |edition: Option<EditionProgress>| edition.filter(|progress| progress.is_whole);
        let is_behind = |edition: &EditionProgress| edition.corrections < corrections;
        let is_served = whole(progress.current).is_some();
        let is_filled = whole(progress.next).is_some_and(|next| !is_behind(&next));
        let both = [whole(progress.current), whole(progress.next)];
        let is_outdated = !is_filled && both.iter().flatten().any(is_behind);
        let is_lost = !is_outdated && !is_filled && (!is_served || progress.next.is_some());
        if is_outdated || (is_lost && self.losses().may_begin(Instant::now())) {
            progress = self.boards.begin_rebuild(corrections).await?;
            step.began_rebuild = true;
        }
        let mut is_caught_up = true;
        if let Some(current) = whole(progress.current) {
            let carried = self.carry(current, &mut step).await?;
            is_caught_up &= carried.end.is_some();
            step.counts_all = carried.counts_all;
        }
        if let Some(next) = whole(progress.next) {
            match self.carry(next, &mut step).await?.end {
                Some(position) => {
                    step.switched = self.boards.switch(next.edition, position).await?;
                    step.counts_all |= step.switched;
                }
                None => is_caught_up = false,
            }
        }
        let is_waiting = is_lost && !step.began_rebuild;
        step.is_caught_up = is_caught_up && !step.was_overtaken && !is_waiting;
        step.is_waiting_to_rebuild = is_waiting;
        Ok(step)
    }

    fn losses(&self) -> MutexGuard<'_, Losses> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries events to one edition.
    async fn carry(&self, edition: EditionProgress, step: &mut FeedStep) -> Result<Carried> {
        let from = edition.position;
        let events = self.store.read_events(from, EVENTS_PER_READ_MAX).await?;
        let Some(last) = events.last().map(|event| event.position) else {
            return Ok(Carried {
                end: Some(from),
                counts_all: true,
            });
        };
        let facts = self.facts_of(&events, edition.corrections).await?;
        let gains = gains_of(&events, &facts);
        let counts = match self.apply(edition.edition, from, last, &gains).await? {
            Applied::Done => {
                step.events += events.len() as u64;
                step.gains += gains.len() as u64;
                true
            }
            // The next step asks where everything stands.
            Applied::Elsewhere(position) => {
                step.was_overtaken = true;
                position >= last
            }
            Applied::Gone => {
                step.was_overtaken = true;
                false
            }
        };
        Ok(Carried {
            end: None,
            // A read with room for more had all.
            counts_all: counts && events.len() < EVENTS_PER_READ_MAX,
        })
    }

    /// Applies all batches, up to one that is not done.
    async fn apply(
        &self,
        edition: Edition,
        from: LogPosition,
        to: LogPosition,
        gains: &[Gain],
    ) -> Result<Applied> {
        for batch in batches(from, to, gains) {
            match self.boards.apply(edition, &batch).await? {
                Applied::Done => {}
                other => return Ok(other),
            }
        }
        Ok(Applied::Done)
    }

    /// Reads the corrections that were made meanwhile, and says how many there are.
    async fn learn_corrections(&self) -> Result<u64> {
        loop {
            let last = self.corrections().last().map_or(0, |it| it.number);
            let limit = CORRECTIONS_PER_READ_MAX;
            let new = self.store.list_corrections(last, limit).await?;
            if new.is_empty() {
                return Ok(last);
            }
            let mut known = self.corrections();
            // Another step may have read them too.
            let last = known.last().map_or(0, |it| it.number);
            known.extend(new.into_iter().filter(|it| it.number > last));
        }
    }

    fn corrections(&self) -> MutexGuard<'_, Vec<KeyCorrection>> {
        let corrections = self.corrections.lock();
        corrections.unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be known about events, with the first so many corrections: the cases of answers that
    /// are right, or to versions whose keys were corrected.
    async fn facts_of(&self, events: &[Event], corrections: u64) -> Result<Facts> {
        let mut facts = {
            let known = self.corrections();
            let first = known.iter().take_while(|it| it.number <= corrections);
            Facts::new(first)
        };
        for event in events {
            let EventBody::AnswerRecorded { answer } = &event.body else {
                continue;
            };
            let (case_id, version) = (answer.case_id, answer.case_version);
            let counts = answer.is_correct || facts.right_of(case_id, version).is_some();
            if counts && !facts.knows(case_id, version) {
                facts.insert(case_id, version, self.case_fact(case_id, version).await?);
            }
        }
        Ok(facts)
    }

    async fn case_fact(&self, case_id: CaseId, version: CaseVersion) -> Result<CaseFact> {
        if let Some(known) = self.cases.get(&(case_id, version)) {
            return Ok(known);
        }
        let found = self.store.find_case(case_id, Some(version)).await?;
        // Not to be guessed: another process, or a rebuild, would count it otherwise.
        let case = found.ok_or_else(|| {
            Error::new(
                ErrorKind::Corrupt,
                "feed leaderboards",
                "an answer's case version is missing in the store",
            )
        })?;
        let fact = CaseFact::of(&case);
        self.cases.insert((case_id, version), fact.clone());
        Ok(fact)
    }
}

impl Losses {
    /// Whether a rebuild may begin now; then it is taken to begin.
    fn may_begin(&mut self, now: Instant) -> bool {
        let since = self.begun_at.map(|at| now.saturating_duration_since(at));
        match since {
            Some(since) if since < self.wait => return false,
            // It held for long: what is lost now is another matter.
            Some(since) if since < 2 * REBUILD_WAIT_MAX => {
                self.wait = (2 * self.wait).clamp(REBUILD_WAIT_MIN, REBUILD_WAIT_MAX);
            }
            _ => self.wait = REBUILD_WAIT_MIN,
        }
        self.begun_at = Some(now);
        true
    }
}

impl fmt::Debug for BoardFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoardFeed")
            .field("store", &self.store)
            .field("boards", &self.boards)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for BoardFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BoardFeed({} to {})", self.store, self.boards)
    }
}
