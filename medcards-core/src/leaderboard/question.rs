use std::hash::Hash;

use async_trait::async_trait;

use super::{AsOf, Board, Cohort, Leaderboards, Neighbourhood, Top, Week};
use crate::Result;
use crate::id::UserId;

/// What can be asked of boards, so that it can be asked again and the answer be remembered.
#[async_trait]
pub(super) trait Question: Eq + Hash + Sync {
    /// The default is what boards say that know nothing.
    type Answer: Clone + Default + Send + Sync;

    /// Asks it.
    async fn ask(&self, boards: &dyn Leaderboards) -> Result<Self::Answer>;

    /// What an answer takes into account, if it says so.
    fn as_of(answer: &mut Self::Answer) -> Option<&mut AsOf>;
}

/// The first users of a board, so many.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct TopOf(pub(super) Board, pub(super) usize);

/// A user on a board, with so many neighbours.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct StandingOf(pub(super) Board, pub(super) UserId, pub(super) usize);

/// The cohort of a user in a week.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct CohortOf(pub(super) Week, pub(super) UserId);

#[async_trait]
impl Question for TopOf {
    type Answer = Top;

    async fn ask(&self, boards: &dyn Leaderboards) -> Result<Top> {
        boards.top(&self.0, self.1).await
    }

    fn as_of(answer: &mut Top) -> Option<&mut AsOf> {
        Some(&mut answer.as_of)
    }
}

#[async_trait]
impl Question for StandingOf {
    type Answer = Neighbourhood;

    async fn ask(&self, boards: &dyn Leaderboards) -> Result<Neighbourhood> {
        boards.standing(&self.0, self.1, self.2).await
    }

    fn as_of(answer: &mut Neighbourhood) -> Option<&mut AsOf> {
        Some(&mut answer.as_of)
    }
}

#[async_trait]
impl Question for CohortOf {
    type Answer = Option<Cohort>;

    async fn ask(&self, boards: &dyn Leaderboards) -> Result<Option<Cohort>> {
        boards.cohort(self.0, self.1).await
    }

    fn as_of(answer: &mut Option<Cohort>) -> Option<&mut AsOf> {
        answer.as_mut().map(|cohort| &mut cohort.as_of)
    }
}
