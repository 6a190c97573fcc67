//! Leaderboards: a view of the answer log that can be built anew at any time.
//!
//! A right answer is a point. Points count on the board of all time and on that of the week in which
//! the student answered, each for all specialties and for that of the case. More points stand
//! first; equal points share a rank, and the next rank is left out for each who shares it: 1, 2, 2,
//! 4. Those who share a rank are shown in order of their ids.
//!
//! Each week the students who answer also meet in small cohorts, in which everybody has a chance:
//! the first [`COHORT_SIZE`] who gain a point in that week, the next [`COHORT_SIZE`], and so on in
//! the order of the log.
//!
//! Nothing is kept here that the log and the [corrections](crate::case::KeyCorrection) of keys do not
//! say. So a backend may lose all of it: a [`BoardKeeper`] fills it again from the start, and every
//! process may run one. Boards that are a view of the store need none:
//! [`StoredLeaderboards`](crate::learning::boards::StoredLeaderboards).

mod board;
mod fallback;
mod feed;
mod gain;
mod keeper;
mod week;

pub use board::{Board, Period, SpecialtyName};
pub use fallback::FallbackLeaderboards;
pub use feed::{BoardFeed, FeedStep};
pub use gain::{Batch, GAINS_PER_BATCH_MAX, Gain, gains_of};
pub use keeper::{BoardKeeper, KeeperCounts};
pub use week::{WEEK_KEPT_FOR, Week};

use std::fmt;
use std::fmt::{Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;

use crate::Result;
use crate::event::LogPosition;
use crate::id::UserId;

/// How many students are in a cohort: few enough that each may win it.
pub const COHORT_SIZE: u64 = 30;

/// The most standings that one answer has: of a top, and of neighbours on each side.
pub const STANDINGS_MAX: usize = 100;

/// All boards as they were filled in one go from the start of the log.
///
/// There may be two at a time: the current one, which answers, and the next one, which is being
/// filled. The number tells them apart and means nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edition(u64);

impl Edition {
    /// Takes the number of an edition. For who writes a backend.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// How far an edition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every backend")]
pub struct EditionProgress {
    /// Which.
    pub edition: Edition,
    /// With how many [corrections](crate::case::KeyCorrection) of keys, the first so many.
    pub corrections: u64,
    /// The last event that counts in it.
    pub position: LogPosition,
    /// Whether nothing of it is known to be lost. One that has lost something takes no more gains.
    pub is_whole: bool,
}

/// Which editions there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every backend")]
pub struct Progress {
    /// The one that answers, if any was ever full.
    pub current: Option<EditionProgress>,
    /// The one that is being filled, if any.
    pub next: Option<EditionProgress>,
}

/// What became of gains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "they count, counted already, or cannot"
)]
pub enum Applied {
    /// They count now.
    Done,
    /// They were not applied, because the edition stands at another place: another process was
    /// faster. Go on from there.
    Elsewhere(LogPosition),
    /// They were not applied, because there is no such edition, or it lost something.
    Gone,
}

/// A user on a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "made by every backend")]
pub struct Standing {
    /// Who.
    pub user_id: UserId,
    /// One more than there are users with more points.
    pub rank: u64,
    /// How many right answers.
    pub points: u64,
}

/// Ranks standings that follow each other on a board, of which the first has this place and this
/// rank, both from 1. For who writes a backend.
pub fn rank_from(first_place: u64, first_rank: u64, standings: &mut [Standing]) {
    let mut last: Option<(u64, u64)> = None;
    for (place, standing) in (first_place..).zip(standings) {
        standing.rank = match last {
            None => first_rank,
            Some((points, rank)) if points == standing.points => rank,
            Some(_) => place,
        };
        last = Some((standing.points, standing.rank));
    }
}

/// What an answer of a backend takes into account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "made by every backend")]
pub struct AsOf {
    /// Events up to this place count.
    pub position: LogPosition,
    /// Whether all of them count. `false` while boards are built for the first time, when some of
    /// them were lost or had no room, and for an answer of earlier that is given again. Read through
    /// a [`BoardKeeper`] also while the log may have more.
    pub is_complete: bool,
}

/// The first users of a board.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every backend")]
pub struct Top {
    /// They, best first.
    pub standings: Vec<Standing>,
    /// How many users are on the board.
    pub members: u64,
    /// What this takes into account.
    pub as_of: AsOf,
}

/// A user among those next to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every backend")]
pub struct Neighbourhood {
    /// The user; `None` without a point on this board. Then there are no neighbours either.
    pub user: Option<Standing>,
    /// Those right above, best first.
    pub above: Vec<Standing>,
    /// Those right below, best first.
    pub below: Vec<Standing>,
    /// How many users are on the board.
    pub members: u64,
    /// What this takes into account.
    pub as_of: AsOf,
}

/// A cohort of a week.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every backend")]
pub struct Cohort {
    /// Its number in the week, from 0.
    pub number: u64,
    /// All of it, best first, with their ranks within it: at most [`COHORT_SIZE`].
    pub standings: Vec<Standing>,
    /// What this takes into account.
    pub as_of: AsOf,
}

/// Boards to be read.
///
/// What nobody gained a point on is empty. Boards of a week are empty from
/// [`Week::kept_until`] on, by the backend's clock.
#[async_trait]
pub trait Leaderboards: Debug + Display + Send + Sync + 'static {
    /// The first users of a board, at most `limit` and at most [`STANDINGS_MAX`].
    ///
    /// # Errors
    /// Those of the backend.
    async fn top(&self, board: &Board, limit: usize) -> Result<Top>;

    /// A user, with at most `neighbours` on each side, and at most [`STANDINGS_MAX`].
    ///
    /// # Errors
    /// Those of the backend.
    async fn standing(
        &self,
        board: &Board,
        user_id: UserId,
        neighbours: usize,
    ) -> Result<Neighbourhood>;

    /// The cohort of a user in a week; `None` without a point in that week.
    ///
    /// # Errors
    /// Those of the backend.
    async fn cohort(&self, week: Week, user_id: UserId) -> Result<Option<Cohort>>;

    /// Makes sure that all boards are built anew from the start of the log, beside those that answer
    /// until it is done. Returns when it is begun; whoever feeds these boards does it.
    ///
    /// # Errors
    /// Those of the backend.
    ///
    /// # Cancel safety
    /// A dropped future leaves it begun or not.
    async fn rebuild(&self) -> Result<()>;
}

/// Boards that somebody feeds from one answer log.
///
/// They are told what to count by [`BoardKeeper`]s, of which any number may run at once.
///
/// Reads are answered by the current edition, and by the next one as long as there is no other.
#[async_trait]
pub trait FedLeaderboards: Leaderboards {
    /// Which editions there are, and how far they have come.
    ///
    /// # Errors
    /// Those of the backend.
    async fn progress(&self) -> Result<Progress>;

    /// The same after looking whether everything that was kept is still there.
    ///
    /// # Errors
    /// Those of the backend.
    async fn verify(&self) -> Result<Progress>;

    /// Counts gains in an edition, if it stands at the batch's `from`, and moves it to `to`. All of
    /// the batch counts or none of it, and none of it twice, whoever applies it at the same time.
    ///
    /// A week that [is not kept any more](Week::kept_until) is left out; all time counts.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for more than [`GAINS_PER_BATCH_MAX`]
    /// gains, or a `to` before `from`. Those of the backend: then it is not known whether the batch
    /// was applied; [`progress`](Self::progress) tells.
    ///
    /// # Cancel safety
    /// A dropped future leaves the batch either applied whole or not at all.
    async fn apply(&self, edition: Edition, batch: &Batch<'_>) -> Result<Applied>;

    /// Makes sure that a whole next edition is being filled, from the start of the log, with at least
    /// so many corrections of keys, and says where everything stands. One that others began is that
    /// one; if it knows of fewer corrections it is given up for one of so many.
    ///
    /// # Errors
    /// Those of the backend.
    ///
    /// # Cancel safety
    /// A dropped future leaves a next edition begun or not.
    async fn begin_rebuild(&self, corrections: u64) -> Result<Progress>;

    /// Makes the next edition the current one, and drops the old one, if `edition` is the next one,
    /// is whole and stands at `position`; says whether it did.
    ///
    /// # Errors
    /// Those of the backend.
    ///
    /// # Cancel safety
    /// A dropped future leaves either one the current one.
    async fn switch(&self, edition: Edition, position: LogPosition) -> Result<bool>;
}

impl Progress {
    /// How many corrections of keys an edition knows of, whichever knows of more. Who begins a rebuild
    /// and has no store to ask loses none with it.
    #[must_use]
    pub fn corrections(&self) -> u64 {
        let both = [self.current, self.next].into_iter().flatten();
        both.map(|it| it.corrections).max().unwrap_or(0)
    }
}

#[async_trait]
impl<T: Leaderboards + ?Sized> Leaderboards for Arc<T> {
    async fn top(&self, board: &Board, limit: usize) -> Result<Top> {
        (**self).top(board, limit).await
    }

    async fn standing(
        &self,
        board: &Board,
        user_id: UserId,
        neighbours: usize,
    ) -> Result<Neighbourhood> {
        (**self).standing(board, user_id, neighbours).await
    }

    async fn cohort(&self, week: Week, user_id: UserId) -> Result<Option<Cohort>> {
        (**self).cohort(week, user_id).await
    }

    async fn rebuild(&self) -> Result<()> {
        (**self).rebuild().await
    }
}

#[async_trait]
impl<T: FedLeaderboards + ?Sized> FedLeaderboards for Arc<T> {
    async fn progress(&self) -> Result<Progress> {
        (**self).progress().await
    }

    async fn verify(&self) -> Result<Progress> {
        (**self).verify().await
    }

    async fn apply(&self, edition: Edition, batch: &Batch<'_>) -> Result<Applied> {
        (**self).apply(edition, batch).await
    }

    async fn begin_rebuild(&self, corrections: u64) -> Result<Progress> {
        (**self).begin_rebuild(corrections).await
    }

    async fn switch(&self, edition: Edition, position: LogPosition) -> Result<bool> {
        (**self).switch(edition, position).await
    }
}
