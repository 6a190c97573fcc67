//! Looks after the database: months ahead, months that are over, the cross-check of figures.
//!
//! Every process may do it at once. What only one should do is begun by whoever writes down first
//! that it has begun.

use std::sync::Arc;
use std::time::Duration;

use medcards_core::Result;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::PgStore;
use crate::column::Columns;
use crate::cross_check;
use crate::error::Failure;
use crate::node::Node;
use crate::partition::{Month, Partitions};

const KEEP: &str = "keep database";

/// How often the keeper looks: a month that is needed at once is made at once anyway.
const KEEP_INTERVAL: Duration = Duration::from_secs(60);

/// How many months ahead have a partition: a keeper that is down for a month is no emergency.
const MONTHS_AHEAD: i32 = 2;

/// The name of the refresh in `maintenance`, and of the job of pg_cron.
const REFRESH_TASK: &str = "refresh user_stats_cache";

const NOW_SQL: &str = "SELECT now()";

/// A row for whoever comes first in this interval; nobody else gets one.
const BEGIN_TASK_SQL: &str = "
INSERT INTO maintenance AS known (task, begun_at) VALUES ($1, now())
ON CONFLICT (task) DO UPDATE SET begun_at = now()
WHERE known.begun_at <= now() - $2::bigint * interval '1 second'
RETURNING 1";

const FORGET_TASK_SQL: &str = "DELETE FROM maintenance WHERE task = $1";

const HAS_CRON_SQL: &str = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron')";

const HAS_JOB_SQL: &str =
    "SELECT EXISTS (SELECT FROM cron.job WHERE jobname = $1 AND schedule = $2)";

const SCHEDULE_SQL: &str = "
SELECT cron.schedule($1, $2, 'REFRESH MATERIALIZED VIEW CONCURRENTLY user_stats_cache')";

/// What one round of the keeper did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeepReport {
    /// How many partitions were detached.
    pub detached: u32,
    /// How many detached partitions were dropped.
    pub dropped: u32,
    /// Whether the cross-check was refreshed.
    pub refreshed: bool,
}

impl PgStore {
    /// Does a round of what the store does by itself every minute where it
    /// [keeps](crate::Keeping) the database: makes the partitions of this month and the next two,
    /// retires those that [retention](crate::Retention) does not leave, and refreshes the
    /// cross-check `user_stats_cache` when it is due, unless pg_cron does.
    ///
    /// # Errors
    /// Those of the storage. A lock that is not had in a moment is no error: the next round tries
    /// again.
    ///
    /// # Cancel safety
    /// A dropped future leaves each step either done or not.
    pub async fn keep(&self) -> Result<KeepReport> {
        let kept = self.keeper().keep().await;
        kept.map_err(|failure| failure.during(KEEP))
    }
}

/// Looks after the database behind a node.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    node: Node,
    partitions: Arc<Partitions>,
    cache_refresh: Duration,
}

impl Keeper {
    pub(crate) fn new(node: Node, partitions: Arc<Partitions>, cache_refresh: Duration) -> Self {
        Self {
            node,
            partitions,
            cache_refresh,
        }
    }

    /// Keeps until it is told to stop.
    pub(crate) async fn keep_on(self, stop: CancellationToken) {
        let mut ticks = interval(KEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                kept = self.keep() => if let Err(failure) = kept {
                    let error = failure.during(KEEP);
                    tracing::warn!(%error, "the database was not looked after; tried again soon");
                }
            }
        }
    }

    /// Gives its connections up.
    pub(crate) fn close(&self) {
        self.node.close();
    }

    pub(crate) async fn keep(&self) -> Result<KeepReport, Failure> {
        self.make_ahead().await?;
        let (detached, dropped) = self.partitions.retire(&self.node).await?;
        let refreshed = self.refresh_if_due().await?;
        Ok(KeepReport {
            detached,
            dropped,
            refreshed,
        })
    }

    /// Makes the partitions of this month and of those to come, by the server's clock.
    pub(crate) async fn make_ahead(&self) -> Result<(), Failure> {
        let rows = self.node.fetch(|| sqlx::query(NOW_SQL)).await?;
        let now = rows.first().and_then(|row| Columns::of(row).instant());
        let now = now.ok_or(Failure::Unreadable("time"))?;
        self.partitions.learn_time(now);
        for months in 0..=MONTHS_AHEAD {
            let month = Month::of(now).plus(months);
            self.partitions.ensure(&self.node, month).await?;
        }
        Ok(())
    }

    async fn refresh_if_due(&self) -> Result<bool, Failure> {
        match self.is_scheduled().await {
            Ok(true) => return Ok(false),
            Ok(false) => {}
            Err(failure) if failure.is_of_right() => {
                tracing::debug!("pg_cron is installed, but not for this user: refreshed from here");
            }
            Err(failure) => return Err(failure),
        }
        let seconds = i64::try_from(self.cache_refresh.as_secs()).unwrap_or(i64::MAX);
        let begin = sqlx::query(BEGIN_TASK_SQL).bind(REFRESH_TASK).bind(seconds);
        if self.node.fetch_once(begin).await?.is_empty() {
            return Ok(false);
        }
        if let Err(failure) = cross_check::refresh(&self.node).await {
            // Who tries next need not wait for a whole interval. If this fails too, they do.
            let _ = self
                .node
                .fetch(|| sqlx::query(FORGET_TASK_SQL).bind(REFRESH_TASK))
                .await;
            return Err(failure);
        }
        Ok(true)
    }

    /// Whether pg_cron refreshes; where it is installed, it is told to.
    async fn is_scheduled(&self) -> Result<bool, Failure> {
        if !self.says(|| sqlx::query(HAS_CRON_SQL)).await? {
            return Ok(false);
        }
        if !self
            .says(|| {
                sqlx::query(HAS_JOB_SQL)
                    .bind(REFRESH_TASK)
                    .bind(cron_schedule(self.cache_refresh))
            })
            .await?
        {
            let schedule = || {
                sqlx::query(SCHEDULE_SQL)
                    .bind(REFRESH_TASK)
                    .bind(cron_schedule(self.cache_refresh))
            };
            // The name is unique to its user, so two processes schedule one job, and a new interval
            // replaces the old one.
            self.node.fetch(schedule).await?;
            tracing::info!("pg_cron refreshes user_stats_cache");
        }
        Ok(true)
    }

    async fn says(
        &self,
        statement: impl Fn() -> crate::session::Statement + Send + Sync,
    ) -> Result<bool, Failure> {
        let rows = self.node.fetch(statement).await?;
        let says = rows.first().and_then(|row| Columns::of(row).next());
        says.ok_or(Failure::Unreadable("answer"))
    }
}

/// A schedule that comes about as often: every so many minutes, hours, or once a day.
fn cron_schedule(interval: Duration) -> String {
    let minutes = (interval.as_secs() / 60).max(1);
    match minutes {
        1..60 => format!("*/{minutes} * * * *"),
        60..1_440 => format!("7 */{} * * *", minutes / 60),
        _ => "7 3 * * *".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_comes_about_as_often_as_the_interval() {
        for (minutes, schedule) in [
            (1, "*/1 * * * *"),
            (15, "*/15 * * * *"),
            (60, "7 */1 * * *"),
            (180, "7 */3 * * *"),
            (10_080, "7 3 * * *"),
        ] {
            assert_eq!(cron_schedule(Duration::from_secs(minutes * 60)), schedule);
        }
    }
}
