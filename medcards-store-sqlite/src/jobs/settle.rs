use std::collections::HashMap;

use async_trait::async_trait;
use medcards_core::job::{JOB_REASON_LEN_MAX, JobClaim, JobOutcome, NewJob, Settled, Settlement};
use medcards_core::{JobId, Result, Timestamp};
use sqlx::SqliteConnection;

use super::{SETTLE, insert, json_of_claims};
use crate::column::{Columns, json_list, micros};
use crate::error::{self, Failure};
use crate::events::{self, EventColumns};
use crate::hints::{StoreHints, Wrote};
use crate::notices::{self, NoticeColumns};
use crate::writer::Write;

/// Which of these claims still stand.
const HELD_SQL: &str = "
SELECT jobs.id, jobs.attempt, jobs.sequence
FROM json_each(?) AS claim CROSS JOIN jobs ON jobs.id = unhex(claim.value ->> 0)
WHERE jobs.attempt = claim.value ->> 1 AND jobs.is_claimed = 1";

const DELETE_SQL: &str = "DELETE FROM jobs WHERE sequence IN (SELECT value FROM json_each(?))";

const RETRY_SQL: &str = "
UPDATE jobs SET run_at = retry.value ->> 1, reason = retry.value ->> 2, is_claimed = 0
FROM json_each(?) AS retry
WHERE jobs.sequence = retry.value ->> 0";

const RELEASE_SQL: &str = "
UPDATE jobs SET run_at = ?2, uncounted = uncounted + 1, is_claimed = 0
WHERE sequence IN (SELECT value FROM json_each(?1))";

const BURY_SQL: &str = "
INSERT INTO dead_jobs
    (id, kind, payload, user_id, bucket, is_ordered, attempt, enqueued_at, died_at, reason)
SELECT jobs.id, jobs.kind, payload, user_id, bucket, is_ordered, attempt, enqueued_at, ?2,
       dead.value ->> 1
FROM json_each(?1) AS dead CROSS JOIN jobs ON jobs.sequence = dead.value ->> 0";

pub(super) struct Settle {
    ends: Vec<End>,
    now: Timestamp,
    hints: StoreHints,
    wrote: Wrote,
}

/// A settlement with everything that is written for it.
struct End {
    claim: JobClaim,
    outcome: JobOutcome,
    notices: Vec<NoticeColumns>,
    events: Vec<EventColumns>,
    jobs: Vec<NewJob>,
}

impl End {
    fn of(settlement: Settlement) -> Result<Self> {
        let effects = settlement.effects;
        Ok(Self {
            claim: settlement.claim,
            outcome: settlement.outcome,
            notices: effects
                .notices
                .iter()
                .map(NoticeColumns::of)
                .collect::<Result<_>>()?,
            events: EventColumns::of_everyone(SETTLE, &effects.events)?,
            jobs: effects.jobs,
        })
    }
}

impl Settle {
    pub(super) fn new(
        settlements: Vec<Settlement>,
        now: Timestamp,
        hints: StoreHints,
    ) -> Result<Self> {
        let ends = settlements.into_iter().map(End::of);
        Ok(Self {
            ends: ends.collect::<Result<_>>()?,
            now,
            hints,
            wrote: Wrote::default(),
        })
    }
}

#[async_trait]
impl Write for Settle {
    type Output = Vec<Settled>;

    const OPERATION: &'static str = SETTLE;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<Vec<Settled>, Failure> {
        let claims = self.ends.iter().map(|end| &end.claim);
        let mut held = find_held(connection, claims).await?;
        let (mut settled, mut counted) = (Vec::with_capacity(self.ends.len()), Vec::new());
        for end in &self.ends {
            // A claim that is named twice ends once.
            let sequence = held.remove(&(end.claim.id, end.claim.attempt));
            settled.push(sequence.map_or(Settled::Lost, |_| Settled::Done));
            counted.extend(sequence.map(|sequence| (sequence, end)));
        }
        end_attempts(connection, &counted, self.now).await?;
        self.wrote = follow(connection, &counted, self.now).await?;
        Ok(settled)
    }

    fn committed(&self, _settled: &Vec<Settled>) {
        self.hints.give(self.wrote);
    }
}

async fn find_held(
    connection: &mut SqliteConnection,
    claims: impl Iterator<Item = &JobClaim>,
) -> Result<HashMap<(JobId, u32), i64>, Failure> {
    let claims = json_of_claims(claims)?;
    let rows = sqlx::query(HELD_SQL)
        .bind(claims)
        .fetch_all(connection)
        .await?;
    let held = rows.iter().map(|row| {
        let mut columns = Columns::of(row);
        let claim = (JobId::from_bytes(columns.id()?), columns.number()?);
        Some((claim, columns.next()?))
    });
    held.collect::<Option<_>>()
        .ok_or_else(|| error::unreadable("job"))
}

async fn end_attempts(
    connection: &mut SqliteConnection,
    ends: &[(i64, &End)],
    now: Timestamp,
) -> Result<(), Failure> {
    let (mut over, mut released) = (Vec::new(), Vec::new());
    let (mut retried, mut dead) = (Vec::new(), Vec::new());
    for (sequence, end) in ends {
        match &end.outcome {
            JobOutcome::Done => over.push(*sequence),
            JobOutcome::Released => released.push(*sequence),
            JobOutcome::Retry { at, reason } => {
                retried.push((*sequence, micros(*at), cut_off(reason)));
            }
            JobOutcome::Dead { reason } => {
                over.push(*sequence);
                dead.push((*sequence, cut_off(reason)));
            }
        }
    }
    if !retried.is_empty() {
        let retried = json_list(retried.into_iter())?;
        sqlx::query(RETRY_SQL)
            .bind(retried)
            .execute(&mut *connection)
            .await?;
    }
    if !released.is_empty() {
        sqlx::query(RELEASE_SQL)
            .bind(json_list(released.into_iter())?)
            .bind(micros(now))
            .execute(&mut *connection)
            .await?;
    }
    if !dead.is_empty() {
        sqlx::query(BURY_SQL)
            .bind(json_list(dead.into_iter())?)
            .bind(micros(now))
            .execute(&mut *connection)
            .await?;
    }
    if !over.is_empty() {
        let over = json_list(over.into_iter())?;
        sqlx::query(DELETE_SQL)
            .bind(over)
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Writes the effects of all that count, once all of these have ended.
async fn follow(
    connection: &mut SqliteConnection,
    ends: &[(i64, &End)],
    now: Timestamp,
) -> Result<Wrote, Failure> {
    let ends = || ends.iter().map(|(_, end)| *end);
    let notices: Vec<_> = ends().flat_map(|end| &end.notices).collect();
    let events: Vec<_> = ends().flat_map(|end| &end.events).collect();
    let jobs: Vec<_> = ends()
        .flat_map(|end| &end.jobs)
        .map(|job| (job, now))
        .collect();
    notices::insert(connection, &notices).await?;
    events::insert(connection, &events).await?;
    insert(connection, &jobs).await?;
    Ok(Wrote {
        events: !events.is_empty(),
        // A place in the order of a user may be free, or something due sooner.
        jobs: ends().next().is_some(),
        notices: !notices.is_empty(),
    })
}

fn cut_off(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(JOB_REASON_LEN_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plans::check;

    #[tokio::test]
    async fn statements_read_by_their_indexes() {
        check(HELD_SQL, &["(id=?)"]).await;
        check(DELETE_SQL, &["PRIMARY KEY (rowid=?)"]).await;
        check(RETRY_SQL, &["PRIMARY KEY (rowid=?)"]).await;
        check(RELEASE_SQL, &["PRIMARY KEY (rowid=?)"]).await;
        check(BURY_SQL, &["PRIMARY KEY (rowid=?)"]).await;
    }
}
