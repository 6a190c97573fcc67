use std::fmt;
use std::sync::Arc;

use super::boards::StoredLeaderboards;
use super::next::NextReason;
use super::reviews::{DueReview, REVIEWS, ReviewRow};
use super::user_stats::{Dashboard, USER_STATS, UserStatsRow};
use super::view_name;
use crate::Result;
use crate::app::{Medcards, ShownCase};
use crate::case::CaseFilter;
use crate::id::UserId;
use crate::leaderboard::Leaderboards;
use crate::store::{Consistency, LearningStore, Store};
use crate::view::{Award, ProjectionRow, View, ViewState, ViewStore};

/// The most due reviews that one read returns.
pub const DUE_REVIEWS_MAX: usize = 200;

/// What is learnt from the answers of a platform, to be read.
///
/// It is kept up by whoever runs the projections, in this process or another. A view that was never
/// built reads as if nothing were known.
///
/// Cloning gives a handle on the same.
#[derive(Clone)]
pub struct Learning {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) medcards: Medcards,
    pub(super) learning: Arc<dyn LearningStore>,
    leaderboards: Arc<dyn Leaderboards>,
    user_stats: View<UserStatsRow>,
    reviews: View<ReviewRow>,
}

/// A case that a student should see next.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a case and why")]
pub struct NextShown {
    /// The case, as this student sees it.
    pub shown: ShownCase,
    /// Why this one.
    pub reason: NextReason,
}

/// Builds a [`Learning`].
#[derive(Debug)]
pub struct LearningBuilder {
    medcards: Medcards,
    learning: Arc<dyn LearningStore>,
    leaderboards: Option<Arc<dyn Leaderboards>>,
}

impl LearningBuilder {
    /// The leaderboards to read. Default: those in the store.
    #[must_use]
    pub fn leaderboards(mut self, leaderboards: Arc<dyn Leaderboards>) -> Self {
        self.leaderboards = Some(leaderboards);
        self
    }

    /// Builds it.
    #[must_use]
    pub fn build(self) -> Learning {
        let Self {
            medcards,
            learning,
            leaderboards,
        } = self;
        let leaderboards =
            leaderboards.unwrap_or_else(|| Arc::new(stored_leaderboards(&medcards, &learning)));
        let inner = Inner {
            leaderboards,
            user_stats: view_of(USER_STATS, &learning),
            reviews: view_of(REVIEWS, &learning),
            medcards,
            learning,
        };
        Learning {
            inner: Arc::new(inner),
        }
    }
}

fn view_of<R: ProjectionRow>(name: &'static str, learning: &Arc<dyn LearningStore>) -> View<R> {
    View::new(view_name(name), Arc::clone(learning) as Arc<dyn ViewStore>)
}

fn stored_leaderboards(
    medcards: &Medcards,
    learning: &Arc<dyn LearningStore>,
) -> StoredLeaderboards {
    let (store, clock) = (Arc::clone(medcards.store()), Arc::clone(medcards.clock()));
    StoredLeaderboards::new(store, Arc::clone(learning) as _, clock)
}

impl Learning {
    /// Reads what is learnt from the answers of this platform, and kept there. Both are of one log.
    #[must_use]
    pub fn new(medcards: Medcards, learning: Arc<dyn LearningStore>) -> Self {
        Self::builder(medcards, learning).build()
    }

    /// The same with other parts.
    #[must_use]
    pub fn builder(medcards: Medcards, learning: Arc<dyn LearningStore>) -> LearningBuilder {
        LearningBuilder {
            medcards,
            learning,
            leaderboards: None,
        }
    }

    /// The platform.
    #[must_use]
    pub fn medcards(&self) -> &Medcards {
        &self.inner.medcards
    }

    /// Where it is kept.
    #[must_use]
    pub fn learning_store(&self) -> &Arc<dyn LearningStore> {
        &self.inner.learning
    }

    pub(super) fn store(&self) -> &Arc<dyn Store> {
        self.inner.medcards.store()
    }

    /// The boards and cohorts.
    #[must_use]
    pub fn leaderboards(&self) -> &Arc<dyn Leaderboards> {
        &self.inner.leaderboards
    }

    /// What there is of each view, in the order of their names.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn views(&self) -> Result<Vec<ViewState>> {
        self.inner.learning.list_views().await
    }

    /// How a student does: nothing, for one who has not answered.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn dashboard(&self, user_id: UserId, consistency: &Consistency) -> Result<Dashboard> {
        let keys = Dashboard::keys(user_id);
        let rows = self.inner.user_stats.find_all(&keys, consistency).await?;
        let now = self.inner.medcards.now();
        Ok(Dashboard::read(rows.iter().map(|(_, row)| row), now))
    }

    /// The cases that a student should see again by now, those due longest first, at most `limit` and at
    /// most [`DUE_REVIEWS_MAX`].
    ///
    /// # Errors
    /// Those of the store.
    pub async fn due_reviews(
        &self,
        user_id: UserId,
        limit: usize,
        consistency: &Consistency,
    ) -> Result<Vec<DueReview>> {
        let now = self.inner.medcards.now();
        let query = DueReview::query(user_id, now, limit.min(DUE_REVIEWS_MAX));
        let rows = self.inner.reviews.shelf(&query, consistency).await?;
        Ok(DueReview::read_all(&rows, now))
    }

    /// The badges of a student, the first one first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn badges(&self, user_id: UserId, consistency: &Consistency) -> Result<Vec<Award>> {
        self.inner.learning.list_awards(user_id, consistency).await
    }

    /// The case that a student should see next, with the reason; `None` if no case passes the filter.
    ///
    /// The same student with the same answers gets the same case, as long as what is known stays the
    /// same. What was answered a moment ago does not come again, although the views may be behind.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn next_case(
        &self,
        user_id: UserId,
        filter: &CaseFilter,
        consistency: &Consistency,
    ) -> Result<Option<NextShown>> {
        let medcards = &self.inner.medcards;
        let next = medcards.next_case(user_id, filter, consistency).await?;
        Ok(next.map(|(shown, reason)| NextShown {
            shown,
            reason: reason.into(),
        }))
    }
}

impl fmt::Debug for Learning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learning")
            .field("learning", &self.inner.learning)
            .field("leaderboards", &self.inner.leaderboards)
            .finish_non_exhaustive()
    }
}
