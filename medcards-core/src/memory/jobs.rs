use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::MemoryStore;
use super::store::State;
use crate::id::{JobId, UserId};
use crate::job::{
    ClaimedJob, DeadJob, Effects, Enqueued, JOB_REASON_LEN_MAX, JOBS_PER_CALL_MAX, JobClaim,
    JobCounts, JobKind, JobOrder, JobOutcome, JobQueue, NewJob, Settled, Settlement,
};
use crate::store::{Hint, Hints};
use crate::{Error, ErrorKind, Result};

/// The queue, and the dead.
#[derive(Clone, Default)]
pub(super) struct Jobs {
    /// By the order in which they were enqueued.
    queue: BTreeMap<u64, Job>,
    dead: BTreeMap<JobId, (Job, DeadJob)>,
    keys: HashMap<(JobKind, String), (JobId, Timestamp)>,
    /// How many were ever enqueued.
    last: u64,
    enqueued: Hints,
}

#[derive(Clone)]
struct Job {
    new: NewJob,
    enqueued_at: Timestamp,
    /// When it is due, or the lease of its claim ends.
    run_at: Timestamp,
    attempt: u32,
    /// How many of the attempts do not count.
    uncounted: u32,
    /// From a claim until that attempt ends.
    is_claimed: bool,
}

impl Jobs {
    pub(super) fn enqueue(&mut self, jobs: Vec<NewJob>, now: Timestamp) -> Vec<Enqueued> {
        jobs.into_iter()
            .map(|job| self.enqueue_one(job, now))
            .collect()
    }

    fn enqueue_one(&mut self, new: NewJob, now: Timestamp) -> Enqueued {
        if self.is_kept(new.id) {
            return Enqueued::Known;
        }
        if let Some(dedup) = &new.dedup {
            let key = (new.kind.clone(), dedup.key.clone());
            if self
                .keys
                .get(&key)
                .is_some_and(|taken| self.is_taken(*taken, now))
            {
                return Enqueued::Known;
            }
            self.keys.insert(key, (new.id, later(now, dedup.keep_for)));
        }
        self.last += 1;
        let job = Job {
            run_at: new.run_at,
            new,
            enqueued_at: now,
            attempt: 0,
            uncounted: 0,
            is_claimed: false,
        };
        self.queue.insert(self.last, job);
        self.enqueued.give();
        Enqueued::New
    }

    fn is_kept(&self, id: JobId) -> bool {
        self.dead.contains_key(&id) || self.queue.values().any(|job| job.new.id == id)
    }

    fn is_taken(&self, (id, until): (JobId, Timestamp), now: Timestamp) -> bool {
        now < until || self.is_kept(id)
    }

    /// Whether a job must wait for another of its user: those that were begun go first, then those that
    /// came into the queue earlier. So one that was dead and is back waits for one that is under way.
    fn waits(&self, number: u64, job: &Job) -> bool {
        let of_user =
            |it: &Job| it.new.order == JobOrder::OfUser && it.new.user_id == job.new.user_id;
        let turn = |number: u64, it: &Job| (it.attempt == 0, number);
        job.new.order == JobOrder::OfUser
            && self
                .queue
                .iter()
                .any(|(other, it)| of_user(it) && turn(*other, it) < turn(number, job))
    }

    fn claim(
        &mut self,
        kinds: &[JobKind],
        limit: usize,
        now: Timestamp,
        lease: Duration,
    ) -> Vec<ClaimedJob> {
        let mut due: Vec<(Timestamp, u64)> = self
            .queue
            .iter()
            .filter(|(_, job)| job.run_at <= now && kinds.contains(&job.new.kind))
            .map(|(number, job)| (job.run_at, *number))
            .collect();
        due.sort_unstable();
        let mut claimed = Vec::new();
        for (run_at, number) in due {
            if claimed.len() >= limit.min(JOBS_PER_CALL_MAX) {
                break;
            }
            if self
                .queue
                .get(&number)
                .is_none_or(|job| self.waits(number, job))
            {
                continue;
            }
            let Some(job) = self.queue.get_mut(&number) else {
                continue;
            };
            job.attempt += 1;
            job.is_claimed = true;
            job.run_at = later(now, lease);
            claimed.push(ClaimedJob {
                id: job.new.id,
                kind: job.new.kind.clone(),
                payload: job.new.payload.clone(),
                user_id: job.new.user_id,
                enqueued_at: job.enqueued_at,
                run_at,
                attempt: job.attempt,
                tries: job.attempt.saturating_sub(job.uncounted),
                leased_until: job.run_at,
            });
        }
        claimed
    }

    fn find(&self, claim: JobClaim) -> Option<u64> {
        let is_it =
            |job: &Job| job.is_claimed && job.new.id == claim.id && job.attempt == claim.attempt;
        self.queue
            .iter()
            .find_map(|(number, job)| is_it(job).then_some(*number))
    }

    /// Ends an attempt; `false` if it was lost.
    fn end(&mut self, claim: JobClaim, outcome: JobOutcome, now: Timestamp) -> bool {
        let Some(number) = self.find(claim) else {
            return false;
        };
        match outcome {
            JobOutcome::Done => {
                self.queue.remove(&number);
            }
            JobOutcome::Released => {
                if let Some(job) = self.queue.get_mut(&number) {
                    job.run_at = now;
                    job.uncounted += 1;
                    job.is_claimed = false;
                }
            }
            JobOutcome::Retry { at, .. } => {
                if let Some(job) = self.queue.get_mut(&number) {
                    job.run_at = at;
                    job.is_claimed = false;
                }
            }
            JobOutcome::Dead { mut reason } => {
                reason.truncate(reason.floor_char_boundary(JOB_REASON_LEN_MAX));
                if let Some(job) = self.queue.remove(&number) {
                    let dead = DeadJob {
                        id: job.new.id,
                        kind: job.new.kind.clone(),
                        payload: job.new.payload.clone(),
                        user_id: job.new.user_id,
                        enqueued_at: job.enqueued_at,
                        attempts: job.attempt,
                        died_at: now,
                        reason,
                    };
                    self.dead.insert(job.new.id, (job, dead));
                }
            }
        }
        self.enqueued.give();
        true
    }
}

pub(super) fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Writes what belongs to a transaction.
pub(super) fn write_effects(state: &mut State, effects: Effects, now: Timestamp) {
    for notice in effects.notices {
        state.notices.write(notice);
    }
    for event in effects.events {
        state.log.append(UserId::EVERYONE, event);
    }
    state.jobs.enqueue(effects.jobs, now);
}

fn check_count(count: usize, operation: &'static str) -> Result<()> {
    if count <= JOBS_PER_CALL_MAX {
        return Ok(());
    }
    let context = "it is over 1,000 at once: make several calls of it";
    Err(Error::new(ErrorKind::Invalid, operation, context))
}

#[async_trait]
impl JobQueue for MemoryStore {
    async fn enqueue(&self, jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Enqueued>> {
        check_count(jobs.len(), "enqueue job")?;
        jobs.iter().try_for_each(NewJob::check)?;
        Ok(self.state().jobs.enqueue(jobs, now))
    }

    async fn claim(
        &self,
        kinds: &[JobKind],
        limit: usize,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<ClaimedJob>> {
        Ok(self.state().jobs.claim(kinds, limit, now, lease))
    }

    async fn heartbeat(
        &self,
        claims: &[JobClaim],
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<JobClaim>> {
        check_count(claims.len(), "prolong claims")?;
        let jobs = &mut self.state().jobs;
        let mut lost = Vec::new();
        for claim in claims {
            match jobs
                .find(*claim)
                .and_then(|number| jobs.queue.get_mut(&number))
            {
                Some(job) => job.run_at = later(now, lease),
                None => lost.push(*claim),
            }
        }
        Ok(lost)
    }

    async fn settle(&self, settlements: Vec<Settlement>, now: Timestamp) -> Result<Vec<Settled>> {
        check_count(settlements.len(), "settle job")?;
        settlements.iter().try_for_each(|it| it.effects.check())?;
        let mut state = self.state();
        let mut settle = |it: Settlement| {
            if !state.jobs.end(it.claim, it.outcome, now) {
                return Settled::Lost;
            }
            write_effects(&mut state, it.effects, now);
            Settled::Done
        };
        Ok(settlements.into_iter().map(&mut settle).collect())
    }

    async fn next_due(&self, kinds: &[JobKind]) -> Result<Option<Timestamp>> {
        let state = self.state();
        let jobs = state.jobs.queue.values();
        let of_kinds = jobs.filter(|job| kinds.contains(&job.new.kind));
        Ok(of_kinds.map(|job| job.run_at).min())
    }

    fn enqueued(&self) -> Hint {
        self.state().jobs.enqueued.take()
    }

    async fn list_dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadJob>> {
        let state = self.state();
        let dead = state.jobs.dead.values().map(|(_, dead)| dead);
        let later = dead.filter(|it| after.is_none_or(|after| it.id > after));
        Ok(later.take(limit.min(JOBS_PER_CALL_MAX)).cloned().collect())
    }

    async fn requeue(&self, jobs: &[JobId], now: Timestamp) -> Result<u64> {
        check_count(jobs.len(), "requeue job")?;
        let kept = &mut self.state().jobs;
        let mut count = 0;
        for id in jobs {
            if let Some((mut job, _)) = kept.dead.remove(id) {
                job.run_at = now;
                job.uncounted = job.attempt;
                job.is_claimed = false;
                kept.last += 1;
                kept.queue.insert(kept.last, job);
                count += 1;
            }
        }
        kept.enqueued.give();
        Ok(count)
    }

    async fn discard(&self, jobs: &[JobId]) -> Result<u64> {
        check_count(jobs.len(), "discard job")?;
        let dead = &mut self.state().jobs.dead;
        Ok(jobs.iter().filter(|id| dead.remove(id).is_some()).count() as u64)
    }

    async fn job_counts(&self, now: Timestamp) -> Result<Vec<JobCounts>> {
        let state = self.state();
        let mut counts = BTreeMap::new();
        let none = |kind: &JobKind| JobCounts {
            kind: kind.clone(),
            due: 0,
            later: 0,
            dead: 0,
            due_since: None,
        };
        for job in state.jobs.queue.values() {
            let kind = &job.new.kind;
            let count = counts.entry(kind.clone()).or_insert_with(|| none(kind));
            if job.run_at <= now {
                count.due += 1;
                let since = count.due_since.unwrap_or(job.run_at);
                count.due_since = Some(since.min(job.run_at));
            } else {
                count.later += 1;
            }
        }
        for (job, _) in state.jobs.dead.values() {
            let kind = &job.new.kind;
            counts
                .entry(kind.clone())
                .or_insert_with(|| none(kind))
                .dead += 1;
        }
        Ok(counts.into_values().collect())
    }

    async fn sweep_keys(&self, now: Timestamp, limit: usize) -> Result<u64> {
        let jobs = &mut self.state().jobs;
        let taken = |taken: &(JobId, Timestamp)| jobs.is_taken(*taken, now);
        let free: Vec<_> = jobs
            .keys
            .iter()
            .filter(|(_, it)| !taken(it))
            .map(|(key, _)| key.clone())
            .take(limit)
            .collect();
        for key in &free {
            jobs.keys.remove(key);
        }
        Ok(free.len() as u64)
    }
}
