use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::{AsOf, Board, BoardKeeper, Cohort, Leaderboards, Neighbourhood, Top, Week};
use crate::Result;
use crate::id::UserId;

/// Leaderboards that go on answering while their fast backend is away: from those in the store.
///
/// The far boards answer as long as what they say is complete. When they fail, or have lost
/// something, the near ones are asked; if neither is complete, whichever has counted more of the log
/// answers. A read fails only if both do.
#[derive(Clone)]
pub struct FallbackLeaderboards {
    far: Arc<dyn Leaderboards>,
    near: Arc<dyn Leaderboards>,
    keeper: Option<BoardKeeper>,
}

impl FallbackLeaderboards {
    /// Asks the far boards first, and the near ones, of the same log, if those do not know.
    #[must_use]
    pub fn new(far: Arc<dyn Leaderboards>, near: Arc<dyn Leaderboards>) -> Self {
        Self {
            far,
            near,
            keeper: None,
        }
    }

    /// The same with the keeper that this process has for the far boards. While it does not
    /// [keep them up](BoardKeeper::is_kept_up), what they say is not complete. Default: none; they are
    /// believed.
    #[must_use]
    pub fn with_keeper(mut self, keeper: BoardKeeper) -> Self {
        self.keeper = Some(keeper);
        self
    }

    async fn read<A: Answer>(
        &self,
        far: impl Future<Output = Result<A>> + Send,
        near: impl Future<Output = Result<A>> + Send,
    ) -> Result<A> {
        let far = match far.await {
            Ok(mut answer) => {
                if let (Some(keeper), Some(as_of)) = (&self.keeper, answer.as_of_mut()) {
                    keeper.check(as_of);
                }
                Some(answer)
            }
            Err(error) => {
                tracing::debug!(%error, "leaderboards are read from the store");
                None
            }
        };
        let Some(far) = far else { return near.await };
        if far.as_of().is_complete {
            return Ok(far);
        }
        match near.await {
            Ok(near) if knows_more(near.as_of(), far.as_of()) => Ok(near),
            Ok(_) => Ok(far),
            Err(error) => {
                tracing::debug!(%error, "leaderboards that are not complete answer");
                Ok(far)
            }
        }
    }
}

fn knows_more(one: AsOf, other: AsOf) -> bool {
    one.is_complete || one.position > other.position
}

/// What says how much of the log it takes into account.
trait Answer: Send {
    /// What it takes into account; of nothing, nothing.
    fn as_of(&self) -> AsOf;

    fn as_of_mut(&mut self) -> Option<&mut AsOf>;
}

impl Answer for Top {
    fn as_of(&self) -> AsOf {
        self.as_of
    }

    fn as_of_mut(&mut self) -> Option<&mut AsOf> {
        Some(&mut self.as_of)
    }
}

impl Answer for Neighbourhood {
    fn as_of(&self) -> AsOf {
        self.as_of
    }

    fn as_of_mut(&mut self) -> Option<&mut AsOf> {
        Some(&mut self.as_of)
    }
}

impl Answer for Option<Cohort> {
    fn as_of(&self) -> AsOf {
        self.as_ref().map(|cohort| cohort.as_of).unwrap_or_default()
    }

    fn as_of_mut(&mut self) -> Option<&mut AsOf> {
        self.as_mut().map(|cohort| &mut cohort.as_of)
    }
}

#[async_trait]
impl Leaderboards for FallbackLeaderboards {
    async fn top(&self, board: &Board, limit: usize) -> Result<Top> {
        let (far, near) = (self.far.top(board, limit), self.near.top(board, limit));
        self.read(far, near).await
    }

    async fn standing(
        &self,
        board: &Board,
        user_id: UserId,
        neighbours: usize,
    ) -> Result<Neighbourhood> {
        let far = self.far.standing(board, user_id, neighbours);
        let near = self.near.standing(board, user_id, neighbours);
        self.read(far, near).await
    }

    async fn cohort(&self, week: Week, user_id: UserId) -> Result<Option<Cohort>> {
        let (far, near) = (
            self.far.cohort(week, user_id),
            self.near.cohort(week, user_id),
        );
        self.read(far, near).await
    }

    /// Both, the near ones also if the far ones are away.
    async fn rebuild(&self) -> Result<()> {
        self.near.rebuild().await?;
        match &self.keeper {
            Some(keeper) => keeper.rebuild().await,
            None => self.far.rebuild().await,
        }
    }
}

impl fmt::Debug for FallbackLeaderboards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackLeaderboards")
            .field("far", &self.far)
            .field("near", &self.near)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for FallbackLeaderboards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FallbackLeaderboards({}, then {})", self.far, self.near)
    }
}
