use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use medcards_core::event::LogPosition;
use medcards_core::leaderboard::{
    Applied, Batch, Board, Cohort, Edition, FedLeaderboards, GAINS_PER_BATCH_MAX, Gain,
    Leaderboards, Neighbourhood, Period, Progress, SpecialtyName, Top, Week,
};
use medcards_core::memory::MemoryLeaderboards;
use medcards_core::time::{Clock, SystemClock};
use medcards_core::{Result, UserId};

use super::Crowd;

/// Leaderboards that break the promise they are given.
#[derive(Debug)]
pub(super) struct LeaderboardSaboteur {
    inner: MemoryLeaderboards,
    promise: &'static str,
    crowd: Crowd,
    begun: AtomicU64,
}

impl LeaderboardSaboteur {
    pub(super) fn new(inner: MemoryLeaderboards, promise: &'static str) -> Self {
        Self {
            inner,
            promise,
            crowd: Crowd::default(),
            begun: AtomicU64::new(0),
        }
    }

    fn breaks(&self, promise: &str) -> bool {
        self.promise == promise
    }

    /// The gains as a backend sees them that misunderstands them.
    fn misread(&self, gains: &[Gain]) -> Vec<Gain> {
        let mut gains = gains.to_vec();
        for gain in &mut gains {
            if self.breaks("boards_agree_with_counting_by_hand") {
                // As a backend that takes a name with a slash for two.
                let name = gain.specialty.as_ref().map(SpecialtyName::as_str);
                let name = name.and_then(|name| name.split('/').next());
                gain.specialty = name.map(SpecialtyName::new);
            }
        }
        if self.breaks("a_week_long_over_counts_for_all_time_alone") {
            let now = SystemClock::new().now();
            gains.retain(|gain| now < gain.week.kept_until());
        }
        if self.breaks("points_count_on_the_boards_they_belong_to") {
            gains.retain(|gain| gain.specialty.is_some());
        }
        if self.breaks("cohorts_fill_in_the_order_of_the_log") {
            gains.sort_by_key(|gain| gain.user_id);
        }
        gains
    }

    async fn position(&self, edition: Edition) -> Result<Option<LogPosition>> {
        let progress = self.inner.progress().await?;
        let both = [progress.current, progress.next].into_iter().flatten();
        let mut found = both.filter(|progress| progress.edition == edition);
        Ok(found.next().map(|progress| progress.position))
    }
}

impl fmt::Display for LeaderboardSaboteur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaderboardSaboteur({})", self.promise)
    }
}

#[async_trait]
impl FedLeaderboards for LeaderboardSaboteur {
    async fn progress(&self) -> Result<Progress> {
        self.inner.progress().await
    }

    async fn verify(&self) -> Result<Progress> {
        self.inner.verify().await
    }

    async fn apply(&self, edition: Edition, batch: &Batch<'_>) -> Result<Applied> {
        let gains = self.misread(batch.gains);
        let mut batch = Batch {
            gains: &gains,
            ..batch.clone()
        };
        if self.breaks("a_batch_counts_once")
            && let Some(position) = self.position(edition).await?
            && batch.to == position
        {
            batch.from = position;
        }
        if self.breaks("a_batch_applied_by_many_at_once_counts_once") {
            // As a backend that looks first and applies then.
            let position = self.position(edition).await?;
            self.crowd.wait_for_another().await;
            if position == Some(batch.from) {
                batch.from = self.position(edition).await?.unwrap_or(batch.from);
                batch.to = batch.to.max(batch.from);
            }
        }
        if self.breaks("a_part_without_gains_moves_the_place") && batch.gains.is_empty() {
            return Ok(Applied::Done);
        }
        if self.breaks("batches_that_nobody_may_apply_are_refused") {
            batch.gains = &batch.gains[..batch.gains.len().min(GAINS_PER_BATCH_MAX)];
            batch.to = batch.to.max(batch.from);
        }
        let applied = self.inner.apply(edition, &batch).await?;
        if self.breaks("what_was_switched_out_takes_no_more") && applied == Applied::Gone {
            return Ok(Applied::Done);
        }
        Ok(applied)
    }

    async fn begin_rebuild(&self, corrections: u64) -> Result<Progress> {
        let mut progress = self.inner.begin_rebuild(corrections).await?;
        if self.breaks("a_rebuild_knows_of_the_corrections_asked_for")
            && let Some(next) = &mut progress.next
        {
            // As a backend that does not keep what it was told.
            next.corrections = corrections;
        }
        if self.breaks("a_rebuild_begun_by_many_is_one")
            && let Some(next) = &mut progress.next
        {
            // As a backend that begins one for each who asks.
            let begun = self.begun.fetch_add(1, Ordering::Relaxed);
            next.edition = Edition::new(next.edition.get() + begun);
        }
        Ok(progress)
    }

    async fn switch(&self, edition: Edition, mut position: LogPosition) -> Result<bool> {
        if self.breaks("a_rebuild_is_not_seen_before_it_is_switched_in") {
            // As a backend that does not look how far it has come.
            position = self.position(edition).await?.unwrap_or(position);
        }
        self.inner.switch(edition, position).await
    }
}

#[async_trait]
impl Leaderboards for LeaderboardSaboteur {
    async fn top(&self, board: &Board, limit: usize) -> Result<Top> {
        let mut top = self.inner.top(board, limit).await?;
        if self.breaks("equal_points_share_a_rank") {
            for (rank, standing) in (1..).zip(&mut top.standings) {
                standing.rank = rank;
            }
        }
        if self.breaks("a_top_has_as_many_as_were_asked_for") {
            top.members = top.standings.len() as u64;
        }
        if self.breaks("answers_say_what_they_take_into_account") {
            top.as_of.is_complete = true;
        }
        Ok(top)
    }

    async fn standing(
        &self,
        board: &Board,
        user_id: UserId,
        neighbours: usize,
    ) -> Result<Neighbourhood> {
        let mut found = self.inner.standing(board, user_id, neighbours).await?;
        if self.breaks("neighbours_are_those_next_to_me") && found.above.is_empty() {
            // As a backend that counts places from the other end when there are too few.
            found.above = self.inner.top(board, 1).await?.standings;
        }
        if self.breaks("what_nobody_is_on_is_empty") && found.user.is_none() {
            let overall = Board::overall(Period::AllTime);
            found.members = self.inner.top(&overall, 0).await?.members;
            found.below = self.inner.top(&overall, 1).await?.standings;
        }
        Ok(found)
    }

    async fn cohort(&self, week: Week, user_id: UserId) -> Result<Option<Cohort>> {
        self.inner.cohort(week, user_id).await
    }

    async fn rebuild(&self) -> Result<()> {
        self.inner.rebuild().await
    }
}
