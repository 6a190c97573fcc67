use std::collections::{HashMap, HashSet};

use medcards_core::job::{JOB_REASON_LEN_MAX, JobKind, JobOutcome, Settled, Settlement};
use medcards_core::{Result, Timestamp};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::SETTLE;
use crate::column::{Columns, instant};
use crate::effects::Written;
use crate::error::Failure;
use crate::steps::Steps;

/// Locks the jobs, so that none of them is claimed again until what is written is committed.
const LOCK_SQL: &str = "
SELECT id, attempt, kind, is_ordered, is_claimed FROM jobs WHERE id = ANY($1::uuid[])
ORDER BY id FOR UPDATE";

const END_SQL: &str = "DELETE FROM jobs WHERE id = ANY($1::uuid[])";

const RETRY_SQL: &str = "
UPDATE jobs SET run_at = given.run_at, uncounted = jobs.uncounted + given.uncounted,
                is_claimed = false
FROM unnest($1::uuid[], $2::timestamptz[], $3::bigint[]) AS given (id, run_at, uncounted)
WHERE jobs.id = given.id AND jobs.id = ANY($1::uuid[])";

const BURY_SQL: &str = "
WITH gone AS (
    DELETE FROM jobs WHERE id = ANY($1::uuid[])
    RETURNING id, enqueued_at, attempt, user_id, bucket, is_ordered, kind, payload
)
INSERT INTO dead_jobs (id, enqueued_at, died_at, attempts, user_id, bucket, is_ordered, kind,
                       payload, reason)
SELECT id, enqueued_at, $3, attempt, user_id, bucket, is_ordered, kind, payload, reason
FROM gone JOIN unnest($1::uuid[], $2::text[]) AS given (id, reason) USING (id)";

/// Ends of attempts, checked, in rounds in which no job is named twice.
pub(super) struct Settlements {
    rounds: Vec<Vec<Settlement>>,
    /// Where each stands: its round, and its place there.
    places: Vec<(usize, usize)>,
    now: Timestamp,
}

/// What ended attempts change beside the jobs themselves.
#[derive(Default)]
pub(super) struct Ended {
    /// What became of each, in the order in which they were given.
    pub(super) settled: Vec<Settled>,
    pub(super) effects: Written,
    /// Jobs that are to be tried again, and when.
    pub(super) retried: Vec<(JobKind, Timestamp)>,
    /// Whether others of a user may be next now.
    pub(super) frees_others: bool,
}

impl Settlements {
    /// Takes what is to be settled at `now`.
    ///
    /// # Errors
    /// Those of effects that cannot be written.
    pub(super) fn of(settlements: Vec<Settlement>, now: Timestamp) -> Result<Self> {
        settlements.iter().try_for_each(|it| it.effects.check())?;
        let mut rounds: Vec<Vec<Settlement>> = Vec::new();
        let mut places = Vec::with_capacity(settlements.len());
        let mut seen: HashMap<Uuid, usize> = HashMap::new();
        for settlement in settlements {
            let count = seen.entry(*settlement.claim.id.as_uuid()).or_default();
            let round = *count;
            *count += 1;
            if rounds.len() == round {
                rounds.push(Vec::new());
            }
            places.push((round, rounds[round].len()));
            rounds[round].push(settlement);
        }
        Ok(Self {
            rounds,
            places,
            now,
        })
    }

    /// Ends them inside a transaction, with their effects.
    pub(super) async fn end(&self, steps: &mut impl Steps) -> Result<Ended, Failure> {
        let mut ended = Ended::default();
        let mut counts = Vec::with_capacity(self.rounds.len());
        for round in &self.rounds {
            counts.push(self.end_round(steps, round, &mut ended).await?);
        }
        ended.effects.write(steps).await?;
        let settled = |(round, at): &(usize, usize)| match counts[*round].contains(at) {
            true => Settled::Done,
            false => Settled::Lost,
        };
        ended.settled = self.places.iter().map(settled).collect();
        Ok(ended)
    }

    /// Ends those of a round; returns the places of those that count.
    async fn end_round(
        &self,
        steps: &mut impl Steps,
        round: &[Settlement],
        ended: &mut Ended,
    ) -> Result<HashSet<usize>, Failure> {
        let ids: Vec<Uuid> = round.iter().map(|it| *it.claim.id.as_uuid()).collect();
        let rows = steps.fetch(sqlx::query(LOCK_SQL).bind(ids)).await?;
        let locked: Option<HashMap<Uuid, Locked>> = rows.iter().map(read_locked).collect();
        let locked = locked.ok_or(Failure::Unreadable("job"))?;
        let mut counting = HashSet::new();
        let (mut done, mut buried, mut retried) = (Vec::new(), Vec::new(), Vec::new());
        for (at, settlement) in round.iter().enumerate() {
            let id = *settlement.claim.id.as_uuid();
            let Some(job) = locked.get(&id) else { continue };
            if !job.is_claimed || job.attempt != settlement.claim.attempt {
                continue;
            }
            counting.insert(at);
            ended.frees_others |= job.is_ordered;
            let effects = settlement.effects.clone();
            ended.effects.add(SETTLE, effects, self.now)?;
            match &settlement.outcome {
                JobOutcome::Done => done.push(id),
                JobOutcome::Dead { reason } => {
                    let end = reason.floor_char_boundary(JOB_REASON_LEN_MAX);
                    // What no text may have here is no reason to keep the job alive.
                    buried.push((id, reason[..end].replace('\0', "")));
                }
                JobOutcome::Released => {
                    retried.push((id, instant(self.now), 1_i64));
                    ended.retried.push((job.kind.clone(), self.now));
                }
                JobOutcome::Retry { at, .. } => {
                    retried.push((id, instant(*at), 0));
                    ended.retried.push((job.kind.clone(), *at));
                }
            }
        }
        if !done.is_empty() {
            steps.fetch(sqlx::query(END_SQL).bind(done)).await?;
        }
        if !retried.is_empty() {
            let ids: Vec<_> = retried.iter().map(|(id, ..)| *id).collect();
            let instants: Vec<_> = retried.iter().map(|(_, at, _)| *at).collect();
            let uncounted: Vec<_> = retried.iter().map(|(.., it)| *it).collect();
            let retry = sqlx::query(RETRY_SQL).bind(ids).bind(instants);
            steps.fetch(retry.bind(uncounted)).await?;
        }
        if !buried.is_empty() {
            let (ids, reasons): (Vec<_>, Vec<_>) = buried.into_iter().unzip();
            let bury = sqlx::query(BURY_SQL).bind(ids).bind(reasons);
            steps.fetch(bury.bind(instant(self.now))).await?;
        }
        Ok(counting)
    }
}

/// A job that is not claimed again while it is locked.
struct Locked {
    attempt: u32,
    kind: JobKind,
    is_ordered: bool,
    is_claimed: bool,
}

fn read_locked(row: &PgRow) -> Option<(Uuid, Locked)> {
    let mut columns = Columns::of(row);
    let id = columns.id()?;
    let locked = Locked {
        attempt: columns.number()?,
        kind: JobKind::new(columns.next()?)?,
        is_ordered: columns.next()?,
        is_claimed: columns.next()?,
    };
    Some((id, locked))
}
