mod edition;
mod ranking;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use self::edition::Boards;
use crate::Result;
use crate::event::LogPosition;
use crate::id::UserId;
use crate::leaderboard::{
    Applied, Batch, Board, Cohort, Edition, FedLeaderboards, Leaderboards, Neighbourhood, Progress,
    Top, Week,
};
use crate::time::Clock;

/// Leaderboards in the memory of this process.
///
/// Cloning gives another handle on the same boards.
///
/// It has room for a bounded number of places: one for each user on each board and in each week's
/// cohorts. When there is no more, users who are new to a board are left out, and answers say that
/// they are not complete; those who have a place keep gaining points. Weeks make room when they
/// [are not kept any more](Week::kept_until).
#[derive(Clone)]
pub struct MemoryLeaderboards {
    clock: Arc<dyn Clock>,
    places_max: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    current: Option<Boards>,
    next: Option<Boards>,
    editions_begun: u64,
}

impl MemoryLeaderboards {
    /// How many places there are unless told otherwise: about 200 MB when all are taken. A student
    /// who answers in four specialties takes about 11.
    pub const PLACES_MAX_DEFAULT: usize = 1_000_000;

    /// Makes boards with [`Self::PLACES_MAX_DEFAULT`] places.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_places_max(Self::PLACES_MAX_DEFAULT, clock)
    }

    /// Makes boards with so many places. A rebuild shares them with the boards that it replaces.
    #[must_use]
    pub fn with_places_max(places_max: usize, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            places_max,
            state: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics between two changes that belong together, so the boards are whole even
        // then.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn progress(&self) -> Progress {
        Progress {
            current: self.current.as_ref().map(Boards::progress),
            next: self.next.as_ref().map(Boards::progress),
        }
    }

    fn edition_mut(&mut self, edition: Edition) -> Option<&mut Boards> {
        let editions = self.current.iter_mut().chain(self.next.iter_mut());
        let mut found = editions.filter(|boards| boards.edition == edition);
        found.next()
    }

    /// The boards that answer, and whether they are the current ones.
    fn answering(&self) -> Option<(&Boards, bool)> {
        let current = self.current.as_ref().map(|boards| (boards, true));
        current.or_else(|| self.next.as_ref().map(|boards| (boards, false)))
    }
}

#[async_trait]
impl FedLeaderboards for MemoryLeaderboards {
    async fn progress(&self) -> Result<Progress> {
        Ok(self.state().progress())
    }

    async fn verify(&self) -> Result<Progress> {
        Ok(self.state().progress())
    }

    async fn apply(&self, edition: Edition, batch: &Batch<'_>) -> Result<Applied> {
        batch.check()?;
        let now = self.clock.now();
        let mut state = self.state();
        let places = [&state.current, &state.next].into_iter().flatten();
        let taken: usize = places.map(Boards::places).sum();
        let Some(boards) = state.edition_mut(edition) else {
            return Ok(Applied::Gone);
        };
        if boards.position != batch.from {
            return Ok(Applied::Elsewhere(boards.position));
        }
        boards.count(batch.gains, self.places_max.saturating_sub(taken), now);
        boards.position = batch.to;
        Ok(Applied::Done)
    }

    async fn begin_rebuild(&self, corrections: u64) -> Result<Progress> {
        let mut state = self.state();
        let is_behind = |next: &Boards| next.corrections < corrections;
        if state.next.as_ref().is_none_or(is_behind) {
            state.editions_begun += 1;
            let edition = Edition::new(state.editions_begun);
            state.next = Some(Boards::new(edition, corrections));
        }
        Ok(state.progress())
    }

    async fn switch(&self, edition: Edition, position: LogPosition) -> Result<bool> {
        let mut state = self.state();
        let is_ready = |next: &mut Boards| next.edition == edition && next.position == position;
        match state.next.take_if(is_ready) {
            Some(next) => {
                state.current = Some(next);
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

#[async_trait]
impl Leaderboards for MemoryLeaderboards {
    async fn top(&self, board: &Board, limit: usize) -> Result<Top> {
        let now = self.clock.now();
        let state = self.state();
        let top = state
            .answering()
            .map(|(boards, is_current)| boards.top(board, limit, is_current, now));
        Ok(top.unwrap_or_default())
    }

    async fn standing(
        &self,
        board: &Board,
        user_id: UserId,
        neighbours: usize,
    ) -> Result<Neighbourhood> {
        let now = self.clock.now();
        let state = self.state();
        let standing = state.answering().map(|(boards, is_current)| {
            boards.standing(board, user_id, neighbours, is_current, now)
        });
        Ok(standing.unwrap_or_default())
    }

    async fn cohort(&self, week: Week, user_id: UserId) -> Result<Option<Cohort>> {
        let now = self.clock.now();
        let state = self.state();
        let cohort = state
            .answering()
            .and_then(|(boards, is_current)| boards.cohort(week, user_id, is_current, now));
        Ok(cohort)
    }

    async fn rebuild(&self) -> Result<()> {
        let corrections = self.state().progress().corrections();
        self.begin_rebuild(corrections).await.map(drop)
    }
}

impl fmt::Debug for MemoryLeaderboards {
    /// Says nothing of who is on them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLeaderboards")
            .field("places_max", &self.places_max)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for MemoryLeaderboards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryLeaderboards")
    }
}
