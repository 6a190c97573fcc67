use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::{
    Applied, AsOf, Batch, Board, BoardKeeper, Cohort, Edition, Leaderboards, Neighbourhood,
    Progress, Top, Week,
};
use crate::Result;
use crate::event::LogPosition;
use crate::id::UserId;
use crate::memory::MemoryLeaderboards;
use crate::store::Store;
use crate::time::Clock;

/// How many tops are remembered, at up to 3 kB each.
const REMEMBERED_TOPS_MAX: usize = 1_000;

/// How many neighbourhoods are remembered, at up to 700 bytes each for the API's ten neighbours.
const REMEMBERED_STANDINGS_MAX: usize = 10_000;

/// How many cohorts are remembered, for each user of them, at about 1 kB each.
const REMEMBERED_COHORTS_MAX: usize = 10_000;

/// How long boards of this process are kept after they were last needed: what has just come back
/// may go again.
const OWN_KEPT_FOR: Duration = Duration::from_secs(600);

/// Leaderboards that go on answering while their backend is away. Reads of it never fail.
///
/// The first read that the backend fails starts to build boards in the memory of this process, from
/// the store. Until they are built it answers what it was last asked for, and what it was not, from
/// what is built so far; such answers say that they are not complete. Once built, its own boards
/// answer, as completely as the log is known. They are dropped when they have not been needed for
/// ten minutes.
///
/// What is not a read goes to the backend as it is, and fails as it fails.
pub struct FallbackLeaderboards {
    far: Arc<dyn Leaderboards>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    keeper: Option<BoardKeeper>,
    places_max: usize,
    tops: Cache<(Board, usize), Top>,
    standings: Cache<(Board, UserId, usize), Neighbourhood>,
    cohorts: Cache<(Week, UserId), Cohort>,
    own: Mutex<Option<Own>>,
}

/// Boards of this process.
struct Own {
    keeper: BoardKeeper,
    needed_at: Instant,
}

impl FallbackLeaderboards {
    /// Wraps boards that are fed from this store. Its own have
    /// [`MemoryLeaderboards::PLACES_MAX_DEFAULT`] places.
    #[must_use]
    pub fn new(far: Arc<dyn Leaderboards>, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self {
            far,
            store,
            clock,
            keeper: None,
            places_max: MemoryLeaderboards::PLACES_MAX_DEFAULT,
            tops: Cache::new(REMEMBERED_TOPS_MAX),
            standings: Cache::new(REMEMBERED_STANDINGS_MAX),
            cohorts: Cache::new(REMEMBERED_COHORTS_MAX),
            own: Mutex::default(),
        }
    }

    /// The same with so many places in its own memory.
    #[must_use]
    pub fn with_places_max(mut self, places_max: usize) -> Self {
        self.places_max = places_max;
        self
    }

    /// The same with the keeper that this process has for the backend's boards. While it does not
    /// [keep them up](BoardKeeper::is_kept_up), their answers say that they are not complete.
    /// Default: none; they are believed.
    #[must_use]
    pub fn with_keeper(mut self, keeper: BoardKeeper) -> Self {
        self.keeper = Some(keeper);
        self
    }

    /// Whether it has boards of its own, because the backend failed lately.
    #[must_use]
    pub fn is_on_its_own(&self) -> bool {
        self.own().is_some()
    }

    /// Drops its own boards, and stops reading the store for them. Close the store after it.
    ///
    /// # Cancel safety
    /// A dropped future leaves them stopping.
    pub async fn stop(&self) {
        let own = self.own().take();
        if let Some(own) = own {
            own.keeper.stop().await;
        }
    }

    /// Takes from an answer of the backend that it is complete, if it is not kept up.
    fn check(&self, as_of: &mut AsOf) {
        if let Some(keeper) = &self.keeper {
            keeper.check(as_of);
        }
    }

    fn own(&self) -> MutexGuard<'_, Option<Own>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that the backend answered.
    fn answered(&self) {
        let is_over = |own: &mut Own| own.needed_at.elapsed() >= OWN_KEPT_FOR;
        drop(self.own().take_if(is_over));
    }

    /// Boards of this process, which begin to be built if there are none, and whether they are
    /// built.
    async fn own_boards(&self) -> (BoardKeeper, bool) {
        let keeper = {
            let mut own = self.own();
            let own = own.get_or_insert_with(|| self.begin());
            own.needed_at = Instant::now();
            own.keeper.clone()
        };
        let progress = keeper.progress().await;
        let is_built = progress.is_ok_and(|progress| progress.current.is_some());
        (keeper, is_built)
    }

    /// A cohort of earlier, which more may have joined since.
    fn remembered_cohort(&self, key: &(Week, UserId)) -> Option<Cohort> {
        let mut cohort = self.cohorts.get(key)?;
        again(&mut cohort.as_of);
        Some(cohort)
    }

    fn begin(&self) -> Own {
        tracing::warn!(far = %self.far, "leaderboards are away: this process builds its own");
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        let boards = MemoryLeaderboards::with_places_max(self.places_max, clock);
        Own {
            keeper: BoardKeeper::start(store, Arc::new(boards)),
            needed_at: Instant::now(),
        }
    }
}

/// An answer that is given again: more may have happened since.
fn again(as_of: &mut AsOf) {
    as_of.is_complete = false;
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Leaderboards for FallbackLeaderboards {
    async fn progress(&self) -> Result<Progress> {
        self.far.progress().await
    }

    async fn verify(&self) -> Result<Progress> {
        self.far.verify().await
    }

    async fn apply(&self, edition: Edition, batch: &Batch<'_>) -> Result<Applied> {
        self.far.apply(edition, batch).await
    }

    async fn begin_rebuild(&self) -> Result<Progress> {
        self.far.begin_rebuild().await
    }

    async fn switch(&self, edition: Edition, position: LogPosition) -> Result<bool> {
        self.far.switch(edition, position).await
    }

    async fn top(&self, board: &Board, limit: usize) -> Result<Top> {
        let key = (board.clone(), limit);
        match self.far.top(board, limit).await {
            Ok(top) if top.as_of.is_complete => {
                self.answered();
                self.tops.insert(key, top.clone());
                let mut top = top;
                self.check(&mut top.as_of);
                Ok(top)
            }
            Ok(top) => {
                self.answered();
                let mut remembered = self.tops.get(&key).unwrap_or(top);
                again(&mut remembered.as_of);
                Ok(remembered)
            }
            Err(error) => {
                tracing::debug!(%error, "a leaderboard is read without its backend");
                let (own, is_built) = self.own_boards().await;
                if !is_built && let Some(mut top) = self.tops.get(&key) {
                    again(&mut top.as_of);
                    return Ok(top);
                }
                own.top(board, limit).await
            }
        }
    }

    async fn standing(
        &self,
        board: &Board,
        user_id: UserId,
        neighbours: usize,
    ) -> Result<Neighbourhood> {
        let key = (board.clone(), user_id, neighbours);
        match self.far.standing(board, user_id, neighbours).await {
            Ok(found) if found.as_of.is_complete => {
                self.answered();
                self.standings.insert(key, found.clone());
                let mut found = found;
                self.check(&mut found.as_of);
                Ok(found)
            }
            Ok(found) => {
                self.answered();
                let mut remembered = self.standings.get(&key).unwrap_or(found);
                again(&mut remembered.as_of);
                Ok(remembered)
            }
            Err(error) => {
                tracing::debug!(%error, "a standing is read without its backend");
                let (own, is_built) = self.own_boards().await;
                if !is_built && let Some(mut found) = self.standings.get(&key) {
                    again(&mut found.as_of);
                    return Ok(found);
                }
                own.standing(board, user_id, neighbours).await
            }
        }
    }

    async fn cohort(&self, week: Week, user_id: UserId) -> Result<Option<Cohort>> {
        let key = (week, user_id);
        match self.far.cohort(week, user_id).await {
            Ok(Some(cohort)) if cohort.as_of.is_complete => {
                self.answered();
                self.cohorts.insert(key, cohort.clone());
                let mut cohort = cohort;
                self.check(&mut cohort.as_of);
                Ok(Some(cohort))
            }
            Ok(cohort) => {
                self.answered();
                Ok(self.remembered_cohort(&key).or(cohort))
            }
            Err(error) => {
                tracing::debug!(%error, "a cohort is read without its backend");
                let (own, is_built) = self.own_boards().await;
                if !is_built && let Some(cohort) = self.remembered_cohort(&key) {
                    return Ok(Some(cohort));
                }
                own.cohort(week, user_id).await
            }
        }
    }
}

impl fmt::Debug for FallbackLeaderboards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackLeaderboards")
            .field("far", &self.far)
            .field("store", &self.store)
            .field("is_on_its_own", &self.is_on_its_own())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for FallbackLeaderboards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FallbackLeaderboards({})", self.far)
    }
}
