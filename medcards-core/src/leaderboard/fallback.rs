use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use quick_cache::sync::Cache;
use tokio::time::{Instant, sleep, timeout};

use super::question::{CohortOf, Question, StandingOf, TopOf};
use super::{
    Applied, Batch, Board, BoardKeeper, Cohort, Edition, Leaderboards, Neighbourhood, Progress,
    Top, Week,
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

/// For how long nothing but failures must come before boards of this process are built: longer than a
/// hiccup, because that reads the whole log, and every process would do so in the same hiccup.
const AWAY_FOR: Duration = Duration::from_secs(5);

/// How long to wait before something is asked once more that nobody remembers: most hiccups are over
/// then.
const ONCE_MORE_WAIT: Duration = Duration::from_millis(20);

/// How long the answer may take then: together with the wait what a student does not notice.
const ONCE_MORE_PATIENCE: Duration = Duration::from_millis(30);

/// How long boards of this process are kept after they were last needed: what has just come back
/// may go again.
const OWN_KEPT_FOR: Duration = Duration::from_secs(600);

/// Leaderboards that go on answering while their backend is away. Reads of it never fail.
///
/// When the backend fails a read, the answer is what the same question was last answered with. If it
/// was not, the backend is asked once more, after 20 ms and for 30 ms at most; then nobody is on the
/// board. Such answers say that they are not complete.
///
/// When it has done nothing but fail for five seconds, boards begin to be built in the memory of this
/// process, from the store. What is not remembered is answered from what is built so far. Once built,
/// its own boards answer, as completely as the log is known. They are dropped when they have not been
/// needed for ten minutes.
///
/// What is not a read goes to the backend as it is, and fails as it fails.
pub struct FallbackLeaderboards {
    far: Arc<dyn Leaderboards>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    keeper: Option<BoardKeeper>,
    places_max: usize,
    tops: Cache<TopOf, Top>,
    standings: Cache<StandingOf, Neighbourhood>,
    cohorts: Cache<CohortOf, Option<Cohort>>,
    outage: Mutex<Outage>,
}

/// How the backend fares.
#[derive(Default)]
struct Outage {
    /// When it first failed since it last answered.
    failing_since: Option<Instant>,
    own: Option<Own>,
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
            outage: Mutex::default(),
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
        self.outage().own.is_some()
    }

    /// Drops its own boards, and stops reading the store for them. Close the store after it.
    ///
    /// # Cancel safety
    /// A dropped future leaves them stopping.
    pub async fn stop(&self) {
        let own = self.outage().own.take();
        if let Some(own) = own {
            own.keeper.stop().await;
        }
    }

    fn outage(&self) -> MutexGuard<'_, Outage> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read<Q: Question>(
        &self,
        asked: Q,
        remembered: &Cache<Q, Q::Answer>,
    ) -> Result<Q::Answer> {
        let error = match asked.ask(&*self.far).await {
            Ok(answer) => return Ok(self.answered(asked, answer, remembered)),
            Err(error) => error,
        };
        tracing::debug!(%error, "leaderboards are read without their backend");
        let own = self.failed();
        if let Some(own) = &own
            && is_built(own).await
        {
            return asked.ask(own).await;
        }
        if let Some(answer) = again(remembered, &asked) {
            return Ok(answer);
        }
        if let Some(own) = own {
            return asked.ask(&own).await;
        }
        sleep(ONCE_MORE_WAIT).await;
        match timeout(ONCE_MORE_PATIENCE, asked.ask(&*self.far)).await {
            Ok(Ok(answer)) => Ok(self.answered(asked, answer, remembered)),
            Ok(Err(_)) | Err(_) => Ok(Q::Answer::default()),
        }
    }

    /// Takes note that the backend answered, and says what to make of it.
    fn answered<Q: Question>(
        &self,
        asked: Q,
        mut answer: Q::Answer,
        remembered: &Cache<Q, Q::Answer>,
    ) -> Q::Answer {
        let unneeded = {
            let mut outage = self.outage();
            outage.failing_since = None;
            let is_over = |own: &mut Own| own.needed_at.elapsed() >= OWN_KEPT_FOR;
            outage.own.take_if(is_over)
        };
        drop(unneeded);
        let is_complete = Q::as_of(&mut answer).is_some_and(|as_of| as_of.is_complete);
        if !is_complete {
            return again(remembered, &asked).unwrap_or(answer);
        }
        // As it was before the keeper is asked, so that boards that it cannot keep up go on answering.
        remembered.insert(asked, answer.clone());
        if let (Some(keeper), Some(as_of)) = (&self.keeper, Q::as_of(&mut answer)) {
            keeper.check(as_of);
        }
        answer
    }

    /// Takes note that the backend failed, and returns the boards of this process, which begin to be
    /// built if it has failed for long; `None` if it has not, and there are none.
    fn failed(&self) -> Option<BoardKeeper> {
        let mut outage = self.outage();
        let failing_since = *outage.failing_since.get_or_insert_with(Instant::now);
        if outage.own.is_none() && failing_since.elapsed() >= AWAY_FOR {
            outage.own = Some(self.begin());
        }
        let own = outage.own.as_mut()?;
        own.needed_at = Instant::now();
        Some(own.keeper.clone())
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

async fn is_built(own: &BoardKeeper) -> bool {
    let progress = own.progress().await;
    progress.is_ok_and(|progress| progress.current.is_some())
}

/// The last answer to a question, if it is remembered. More may have happened since.
fn again<Q: Question>(remembered: &Cache<Q, Q::Answer>, asked: &Q) -> Option<Q::Answer> {
    let mut answer = remembered.get(asked)?;
    if let Some(as_of) = Q::as_of(&mut answer) {
        as_of.is_complete = false;
    }
    Some(answer)
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
        self.read(TopOf(board.clone(), limit), &self.tops).await
    }

    async fn standing(
        &self,
        board: &Board,
        user_id: UserId,
        neighbours: usize,
    ) -> Result<Neighbourhood> {
        let asked = StandingOf(board.clone(), user_id, neighbours);
        self.read(asked, &self.standings).await
    }

    async fn cohort(&self, week: Week, user_id: UserId) -> Result<Option<Cohort>> {
        self.read(CohortOf(week, user_id), &self.cohorts).await
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
