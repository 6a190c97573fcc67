use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::ability::{ABILITY_VIEW, AbilityModel, AbilityRow, Masteries, user_key};
use super::boards::StoredLeaderboards;
use super::case_stats::{CASE_STATS, CaseReport, CaseStatsRow};
use super::habits::{HABITS, HabitsRow, Streak};
use super::next::{
    CatalogueKeeper, ExamWeights, NextCasePolicy, NextCaseView, NextReason, Pick,
    RECENT_ANSWERS_MAX, Targeted,
};
use super::reviews::{DueReview, REVIEWS, ReviewRow};
use super::user_stats::{Dashboard, USER_STATS, UserStatsRow};
use super::{SeenCases, view_name};
use crate::answer::{Answer, AnswerStore};
use crate::app::{Medcards, ShownCase};
use crate::case::{CaseFilter, CaseVersion};
use crate::id::{CaseId, UserId};
use crate::leaderboard::Leaderboards;
use crate::store::{Consistency, LearningStore, PageLimit, Store};
use crate::view::{Award, ProjectionRow, View, ViewState, ViewStore};
use crate::{ErrorKind, Result, Timestamp};

/// The most due reviews that one read returns.
pub const DUE_REVIEWS_MAX: usize = 200;

/// Of how many due reviews, those due longest, the next case is picked.
const DUE_REVIEWS_PICKED_FROM: usize = 64;

/// How long ago an answer was given at most that keeps its case from coming again: 12 hours, a day of
/// study. Nothing is due sooner.
const ANSWERED_LATELY: Duration = Duration::from_hours(12);

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
    policy: Arc<dyn NextCasePolicy>,
    model: AbilityModel,
    catalogue: Arc<CatalogueKeeper>,
    ability: View<AbilityRow>,
    user_stats: View<UserStatsRow>,
    case_stats: View<CaseStatsRow>,
    habits: View<HabitsRow>,
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
    policy: Arc<dyn NextCasePolicy>,
    exam: ExamWeights,
    model: AbilityModel,
}

impl LearningBuilder {
    /// The leaderboards to read. Default: those in the store.
    #[must_use]
    pub fn leaderboards(mut self, leaderboards: Arc<dyn Leaderboards>) -> Self {
        self.leaderboards = Some(leaderboards);
        self
    }

    /// What picks the next case. Default: [`Targeted`].
    #[must_use]
    pub fn policy(mut self, policy: Arc<dyn NextCasePolicy>) -> Self {
        self.policy = policy;
        self
    }

    /// What share of the exam each topic has. Default: that of its cases.
    #[must_use]
    pub fn exam(mut self, exam: ExamWeights) -> Self {
        self.exam = exam;
        self
    }

    /// The model by which the view `ability` is kept. Default: [`AbilityModel::default`].
    #[must_use]
    pub fn model(mut self, model: AbilityModel) -> Self {
        self.model = model;
        self
    }

    /// Builds it.
    #[must_use]
    pub fn build(self) -> Learning {
        let Self {
            medcards,
            learning,
            leaderboards,
            policy,
            exam,
            model,
        } = self;
        let leaderboards =
            leaderboards.unwrap_or_else(|| Arc::new(stored_leaderboards(&medcards, &learning)));
        let ability = view_of(ABILITY_VIEW, &learning);
        let store = Arc::clone(medcards.store());
        let inner = Inner {
            leaderboards,
            policy,
            model,
            catalogue: Arc::new(CatalogueKeeper::new(store, ability.clone(), exam)),
            ability,
            user_stats: view_of(USER_STATS, &learning),
            case_stats: view_of(CASE_STATS, &learning),
            habits: view_of(HABITS, &learning),
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
            policy: Arc::new(Targeted::new()),
            exam: ExamWeights::by_cases(),
            model: AbilityModel::default(),
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

    /// How well a student masters each specialty and topic now.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn masteries(&self, user_id: UserId, consistency: &Consistency) -> Result<Masteries> {
        let inner = &*self.inner;
        let row = inner.ability.find(user_key(user_id), consistency).await?;
        let user = row.as_ref().and_then(AbilityRow::user).cloned();
        Ok(Masteries::new(inner.model, user, inner.medcards.now()))
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

    /// How a version of a case does: nothing, for one that nobody has answered.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn case_report(
        &self,
        case_id: CaseId,
        version: CaseVersion,
        consistency: &Consistency,
    ) -> Result<CaseReport> {
        let keys = CaseReport::keys(case_id, version);
        let rows = self.inner.case_stats.find_all(&keys, consistency).await?;
        Ok(CaseReport::read(rows.iter().map(|(_, row)| row)))
    }

    /// The streak of a student by now.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn streak(&self, user_id: UserId, consistency: &Consistency) -> Result<Streak> {
        let keys = Streak::keys(user_id);
        let rows = self.inner.habits.find_all(&keys, consistency).await?;
        let now = self.inner.medcards.now();
        Ok(Streak::read(rows.iter().map(|(_, row)| row), now))
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
        if let Some(pick) = self.pick(user_id, filter, consistency).await? {
            let shown = self.inner.medcards.show_case(user_id, pick.case_id, None);
            match shown.await {
                Ok(shown) => {
                    let reason = pick.reason;
                    return Ok(Some(NextShown { shown, reason }));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    tracing::debug!(%error, "a case of the catalogue is gone");
                }
                Err(error) => return Err(error),
            }
        }
        let medcards = &self.inner.medcards;
        let next = medcards.next_case(user_id, filter, consistency).await?;
        Ok(next.map(|(shown, reason)| NextShown {
            shown,
            reason: reason.into(),
        }))
    }

    /// Reads anew which cases there are and how hard they are, for the next case. Who never calls it has
    /// the first request wait for it; later it is read anew behind requests, every ten minutes, or oftener
    /// if there are few cases.
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// # Cancel safety
    /// A dropped future leaves what was known before.
    pub async fn refresh_catalogue(&self) -> Result<()> {
        self.inner.catalogue.refresh().await
    }

    /// What the policy picks; `None` also if the views do not know the student yet.
    async fn pick(
        &self,
        user_id: UserId,
        filter: &CaseFilter,
        consistency: &Consistency,
    ) -> Result<Option<Pick>> {
        let inner = &*self.inner;
        let catalogue = inner.catalogue.catalogue().await?;
        let seen_keys = SeenCases::keys(user_id);
        let (recent, seen, ability, due) = futures_util::try_join!(
            self.recent_answers(user_id),
            inner.user_stats.find_all(&seen_keys, consistency),
            inner.ability.find(user_key(user_id), consistency),
            self.due_reviews(user_id, DUE_REVIEWS_PICKED_FROM, consistency),
        )?;
        let seen = SeenCases::read(seen.iter().map(|(_, row)| row));
        if seen.is_empty() && !recent.is_empty() {
            return Ok(None);
        }
        let view = NextCaseView {
            now: inner.medcards.now(),
            catalogue: &catalogue,
            filter,
            model: &inner.model,
            user: ability.as_ref().and_then(AbilityRow::user),
            seen: &seen,
            recent: lately(&recent, inner.medcards.now()),
            due: &due,
        };
        Ok(inner.policy.pick(&view, seed_of(user_id, &recent)))
    }

    /// The latest answers, the last one first, of which none is missing.
    async fn recent_answers(&self, user_id: UserId) -> Result<Vec<Answer>> {
        let limit = PageLimit::new(RECENT_ANSWERS_MAX as u32)?;
        let strong = &Consistency::Strong;
        let page = self.store().list_answers(user_id, None, limit, strong);
        Ok(page.await?.items)
    }
}

/// Those of the latest answers, newest first, that were given lately.
fn lately(recent: &[Answer], now: Timestamp) -> &[Answer] {
    let since = now - ANSWERED_LATELY;
    let count = recent.partition_point(|answer| answer.created_at > since);
    &recent[..count]
}

/// A seed that is the same until the student answers.
fn seed_of(user_id: UserId, recent: &[Answer]) -> u64 {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(user_id.as_bytes());
    if let Some(last) = recent.first() {
        bytes[16..].copy_from_slice(last.id.as_bytes());
    }
    xxh3_64(&bytes)
}

impl fmt::Debug for Learning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learning")
            .field("learning", &self.inner.learning)
            .field("leaderboards", &self.inner.leaderboards)
            .finish_non_exhaustive()
    }
}
