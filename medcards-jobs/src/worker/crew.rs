use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use medcards_core::job::{
    ClaimedJob, JOBS_PER_CALL_MAX, JobClaim, JobCounts, JobKind, JobOutcome, JobQueue, Settled,
    Settlement,
};
use medcards_core::metric::{Metric, MetricSource};
use medcards_core::store::Hint;
use medcards_core::time::Clock;
use medcards_core::{Error, ErrorKind, Result, Timestamp};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::figures::Figures;
use super::outcome::{RunEnd, RunLabel, is_worn_out, outcome};
use super::{JobContext, JobHandler, JobPolicy};
use crate::backoff::Trouble;

/// How long a claim lasts without a heartbeat, which comes at a third of it: more than clocks differ
/// and a database is away for a switch of its primary, and as long as a job waits when its process is
/// killed.
const LEASE: Duration = Duration::from_secs(60);

/// How long after a heartbeat that failed the next one comes: often enough that several fail before
/// the leases end.
const BEAT_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// How long to wait for a hint before the queue is asked anyway.
const POLL: Duration = Duration::from_secs(1);

/// How often to count the jobs in the queue, for the metrics.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// The most notices, jobs and events of one settling: each is a row.
const EFFECTS_PER_CALL_MAX: usize = 5_000;

/// How long a process that stops goes on trying to write how jobs ended: those it cannot write come
/// back when their leases end.
const LAST_SETTLING_PATIENCE: Duration = Duration::from_secs(5);

/// Does the jobs of some kinds from a task of its own, until it is stopped.
///
/// Every process may have some on the same queue. A failure of the queue is logged, at most once a
/// minute, and tried again.
///
/// Cloning gives a handle on the same workers. Dropping every handle stops them at once: their jobs
/// are given back.
#[derive(Clone)]
pub struct Workers {
    handle: Arc<Handle>,
}

struct Handle {
    queue: Arc<dyn JobQueue>,
    clock: Arc<dyn Clock>,
    figures: Arc<Figures>,
    stop: Arc<Stop>,
    tasks: TaskTracker,
}

/// That work is to end, and by when.
#[derive(Debug, Default)]
struct Stop {
    asked: CancellationToken,
    deadline: Mutex<Option<Instant>>,
}

impl Stop {
    fn ask(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut known = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(known.map_or(deadline, |known| known.min(deadline)));
        drop(known);
        self.asked.cancel();
    }

    fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Builds [`Workers`].
#[derive(Debug)]
pub struct WorkersBuilder {
    queue: Arc<dyn JobQueue>,
    clock: Arc<dyn Clock>,
    handlers: Vec<Arc<dyn JobHandler>>,
}

impl WorkersBuilder {
    /// Has jobs of a kind done by this.
    #[must_use]
    pub fn handler(mut self, handler: Arc<dyn JobHandler>) -> Self {
        self.handlers.push(handler);
        self
    }

    /// Starts to work.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if two handlers are for the same kind.
    ///
    /// # Panics
    /// If there is no tokio runtime.
    pub fn start(self) -> Result<Workers> {
        let mut lanes = BTreeMap::new();
        for handler in self.handlers {
            let lane = Lane {
                policy: handler.policy(),
                handler: Arc::clone(&handler),
                waiting: VecDeque::new(),
                running: 0,
                in_hand: 0,
            };
            if lanes.insert(handler.kind(), lane).is_some() {
                let context = format!("two handlers are for `{}`: leave one out", handler.kind());
                return Err(Error::new(ErrorKind::Invalid, "start workers", context));
            }
        }
        let handle = Handle {
            figures: Arc::new(Figures::new(lanes.keys())),
            queue: self.queue,
            clock: self.clock,
            stop: Arc::default(),
            tasks: TaskTracker::new(),
        };
        let crew = Crew {
            queue: Arc::clone(&handle.queue),
            clock: Arc::clone(&handle.clock),
            figures: Arc::clone(&handle.figures),
            stop: Arc::clone(&handle.stop),
            lanes,
            in_hand: HashMap::new(),
            running: JoinSet::new(),
            ended: VecDeque::new(),
            parts: VecDeque::new(),
            happenings: FuturesUnordered::new(),
            is_claiming: false,
            is_settling: false,
            dry: HashSet::new(),
            was_woken: false,
            trouble: Trouble::default(),
        };
        drop(handle.tasks.spawn(crew.work()));
        handle.tasks.close();
        Ok(Workers {
            handle: Arc::new(handle),
        })
    }
}

impl Workers {
    /// Begins workers on a queue.
    #[must_use]
    pub fn builder(queue: Arc<dyn JobQueue>, clock: Arc<dyn Clock>) -> WorkersBuilder {
        WorkersBuilder {
            queue,
            clock,
            handlers: Vec::new(),
        }
    }

    /// Stops: claims no more, lets what runs end within the patience, and gives the rest back, to be
    /// done at once by others. Close the store after it.
    ///
    /// # Cancel safety
    /// A dropped future leaves the workers stopping.
    pub async fn stop(&self, patience: Duration) {
        self.handle.stop.ask(patience);
        self.handle.tasks.wait().await;
    }

    /// How many runs of this kind ended well since the workers were started.
    #[must_use]
    pub fn done(&self, kind: &JobKind) -> u64 {
        self.handle.figures.runs(kind, RunLabel::Done)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.ask(Duration::ZERO);
    }
}

impl MetricSource for Workers {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        let now = self.handle.clock.now();
        self.handle.figures.collect(now, metrics);
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("queue", &self.handle.queue)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workers({})", self.handle.queue)
    }
}

/// The jobs of a kind.
#[derive(Debug)]
struct Lane {
    policy: JobPolicy,
    handler: Arc<dyn JobHandler>,
    /// Claimed, and not begun.
    waiting: VecDeque<ClaimedJob>,
    running: usize,
    /// Claimed, and not settled.
    in_hand: usize,
}

impl Lane {
    /// How many to claim: none while those claimed ahead are not begun.
    fn room(&self) -> usize {
        let (slots, ahead) = (self.policy.slots(), self.policy.ahead());
        if !self.waiting.is_empty() || (ahead == 0 && self.in_hand >= slots) {
            return 0;
        }
        (slots + ahead).saturating_sub(self.in_hand)
    }
}

/// A claim of this process.
#[derive(Debug)]
struct Held {
    kind: JobKind,
    tries: u32,
    cancelled: CancellationToken,
    /// Whether somebody else has the job by now.
    is_lost: bool,
}

/// The end of a run.
#[derive(Debug)]
struct Ended {
    claim: JobClaim,
    kind: JobKind,
    /// `None` if it was cancelled.
    end: Option<RunEnd>,
    took: Duration,
}

/// The end of something that was waited for.
enum Happening {
    Beat(Result<Vec<JobClaim>>),
    BeatDue,
    Claimed {
        kinds: Vec<JobKind>,
        limit: usize,
        claimed: Result<Claimed>,
    },
    Counted(Result<Vec<JobCounts>>),
    Due,
    Settled {
        settlements: Vec<(Settlement, RunLabel)>,
        settled: Result<Vec<Settled>>,
    },
    /// A failed claim may be tried again.
    TryAgain,
    Woken(Hint),
}

struct Claimed {
    jobs: Vec<ClaimedJob>,
    /// When the next one is due, if the queue had fewer than were asked for.
    next_due: Option<Timestamp>,
}

/// All state of the workers, owned by one task, which waits for what happens and never for one thing
/// alone.
struct Crew {
    queue: Arc<dyn JobQueue>,
    clock: Arc<dyn Clock>,
    figures: Arc<Figures>,
    stop: Arc<Stop>,
    lanes: BTreeMap<JobKind, Lane>,
    in_hand: HashMap<JobClaim, Held>,
    running: JoinSet<Ended>,
    /// Ended, and to be settled.
    ended: VecDeque<(Settlement, RunLabel)>,
    /// Parts of what the queue has refused, each to be settled alone.
    parts: VecDeque<Vec<(Settlement, RunLabel)>>,
    happenings: FuturesUnordered<BoxFuture<'static, Happening>>,
    is_claiming: bool,
    is_settling: bool,
    /// Kinds of which the queue had no more when it was last asked.
    dry: HashSet<JobKind>,
    /// Whether there was a hint since the claim under way was begun.
    was_woken: bool,
    trouble: Trouble,
}

impl Crew {
    async fn work(mut self) {
        let (hint, stop) = (self.queue.enqueued(), Arc::clone(&self.stop));
        self.wait_for_hint(hint);
        self.beat_after(LEASE / 3);
        self.count_later(Duration::ZERO);
        loop {
            let is_stopping = stop.asked.is_cancelled();
            if is_stopping {
                self.give_back_waiting();
            } else {
                self.begin_waiting();
                self.claim();
            }
            self.settle();
            if is_stopping && self.in_hand.is_empty() && !self.is_claiming {
                return;
            }
            let deadline = stop.deadline();
            tokio::select! {
                Some(happening) = self.happenings.next() => self.see(happening),
                Some(ended) = self.running.join_next() => {
                    self.end(ended);
                    while let Some(ended) = self.running.try_join_next() {
                        self.end(ended);
                    }
                }
                () = stop.asked.cancelled(), if !is_stopping => {}
                () = until(deadline), if is_stopping && !self.running.is_empty() => {
                    self.cancel_running();
                    while let Some(ended) = self.running.join_next().await {
                        self.end(ended);
                    }
                }
                () = until(deadline.map(|it| it + LAST_SETTLING_PATIENCE)), if is_stopping && self.running.is_empty() => {
                    tracing::warn!(queue = %self.queue, jobs = self.in_hand.len(), "the end of jobs could not be written: they are due again when their leases end");
                    return;
                }
            }
        }
    }

    /// Begins what was claimed, as far as there are slots.
    fn begin_waiting(&mut self) {
        let now = self.clock.now();
        let mut worn_out = Vec::new();
        for (kind, lane) in &mut self.lanes {
            while lane.running < lane.policy.slots()
                && let Some(job) = lane.waiting.pop_front()
            {
                let Some(held) = self.in_hand.get(&job.claim()) else {
                    continue;
                };
                if is_worn_out(job.tries, &lane.policy) {
                    worn_out.push(job.claim());
                    continue;
                }
                let waited = now.duration_since(job.run_at);
                let waited = Duration::try_from(waited).unwrap_or_default();
                self.figures.picked_up(kind, waited);
                let context = JobContext {
                    clock: Arc::clone(&self.clock),
                    cancelled: held.cancelled.clone(),
                };
                lane.running += 1;
                let run = run(Arc::clone(&lane.handler), kind.clone(), job, context);
                drop(self.running.spawn(run));
            }
        }
        for claim in worn_out {
            self.decide(claim, RunEnd::WornOut);
        }
    }

    /// Asks the queue for jobs, unless that is under way or would be in vain.
    fn claim(&mut self) {
        if self.is_claiming {
            return;
        }
        let wanted = |(kind, lane): (&JobKind, &Lane)| {
            let room = lane.room();
            (room > 0 && !self.dry.contains(kind)).then(|| (kind.clone(), room))
        };
        let (kinds, rooms): (Vec<_>, Vec<_>) = self.lanes.iter().filter_map(wanted).unzip();
        if kinds.is_empty() {
            return;
        }
        let limit = rooms.iter().sum::<usize>().min(JOBS_PER_CALL_MAX);
        self.is_claiming = true;
        self.was_woken = false;
        let (queue, now) = (Arc::clone(&self.queue), self.clock.now());
        self.happenings.push(Box::pin(async move {
            let claimed = async {
                let jobs = queue.claim(&kinds, limit, now, LEASE).await?;
                let next_due = if jobs.len() < limit {
                    queue.next_due(&kinds).await.ok().flatten()
                } else {
                    None
                };
                Ok(Claimed { jobs, next_due })
            };
            let claimed = claimed.await;
            Happening::Claimed {
                kinds,
                limit,
                claimed,
            }
        }));
    }

    /// Writes how runs ended, all that have ended since the last time.
    fn settle(&mut self) {
        if self.is_settling {
            return;
        }
        if let Some(part) = self.parts.pop_front() {
            return self.settle_after(Duration::ZERO, part);
        }
        let mut settlements = Vec::new();
        let mut effects = 0;
        while let Some((settlement, _)) = self.ended.front() {
            let written = &settlement.effects;
            effects += written.notices.len() + written.jobs.len() + written.events.len();
            let is_full = settlements.len() >= JOBS_PER_CALL_MAX || effects > EFFECTS_PER_CALL_MAX;
            if is_full && !settlements.is_empty() {
                break;
            }
            settlements.extend(self.ended.pop_front());
        }
        if !settlements.is_empty() {
            self.settle_after(Duration::ZERO, settlements);
        }
    }

    fn settle_after(&mut self, wait: Duration, settlements: Vec<(Settlement, RunLabel)>) {
        self.is_settling = true;
        let (queue, clock) = (Arc::clone(&self.queue), Arc::clone(&self.clock));
        self.happenings.push(Box::pin(async move {
            if !wait.is_zero() {
                sleep(wait).await;
            }
            let only = settlements.iter().map(|(it, _)| it.clone()).collect();
            let settled = queue.settle(only, clock.now()).await;
            Happening::Settled {
                settlements,
                settled,
            }
        }));
    }

    fn see(&mut self, happening: Happening) {
        match happening {
            Happening::Beat(lost) => self.see_beat(lost),
            Happening::BeatDue => self.beat(),
            Happening::Claimed {
                kinds,
                limit,
                claimed,
            } => self.see_claimed(kinds, limit, claimed),
            Happening::Counted(counted) => {
                if let Ok(counts) = counted {
                    self.figures.counted(counts);
                }
                self.count_later(COUNT_EVERY);
            }
            Happening::Due => self.wake(),
            Happening::Settled {
                settlements,
                settled,
            } => self.see_settled(settlements, settled),
            Happening::TryAgain => self.is_claiming = false,
            Happening::Woken(hint) => {
                self.wake();
                self.wait_for_hint(hint);
            }
        }
    }

    fn wake(&mut self) {
        self.was_woken = true;
        self.dry.clear();
    }

    fn wait_for_hint(&self, mut hint: Hint) {
        let poll = POLL.mul_f64(0.75 + fastrand::f64() / 4.0);
        self.happenings.push(Box::pin(async move {
            hint.wait(poll).await;
            Happening::Woken(hint)
        }));
    }

    fn count_later(&self, wait: Duration) {
        let (queue, clock) = (Arc::clone(&self.queue), Arc::clone(&self.clock));
        self.happenings.push(Box::pin(async move {
            sleep(wait).await;
            Happening::Counted(queue.job_counts(clock.now()).await)
        }));
    }

    fn see_claimed(&mut self, kinds: Vec<JobKind>, limit: usize, claimed: Result<Claimed>) {
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(error) => {
                let wait = self.fail(&error);
                // Until then nothing is claimed.
                self.happenings.push(Box::pin(async move {
                    sleep(wait).await;
                    Happening::TryAgain
                }));
                return;
            }
        };
        self.trouble.is_over();
        self.is_claiming = false;
        if claimed.jobs.len() < limit && !self.was_woken {
            self.dry.extend(kinds);
            self.wake_at(claimed.next_due);
        }
        for job in claimed.jobs {
            let Some(lane) = self.lanes.get_mut(&job.kind) else {
                continue;
            };
            let held = Held {
                kind: job.kind.clone(),
                tries: job.tries,
                cancelled: CancellationToken::new(),
                is_lost: false,
            };
            self.in_hand.insert(job.claim(), held);
            lane.in_hand += 1;
            lane.waiting.push_back(job);
        }
    }

    /// Has the queue asked when a job will be due, if that is before it is asked anyway. One that is
    /// due already and was not claimed waits for another, whose end gives a hint.
    fn wake_at(&self, due: Option<Timestamp>) {
        let Some(due) = due else { return };
        let wait = due.duration_since(self.clock.now());
        let Ok(wait) = Duration::try_from(wait) else {
            return;
        };
        if wait.is_zero() || wait >= POLL {
            return;
        }
        self.happenings.push(Box::pin(async move {
            sleep(wait).await;
            Happening::Due
        }));
    }

    fn beat_after(&self, wait: Duration) {
        self.happenings.push(Box::pin(async move {
            sleep(wait).await;
            Happening::BeatDue
        }));
    }

    /// Prolongs all claims.
    fn beat(&self) {
        let held = self.in_hand.iter().filter(|(_, held)| !held.is_lost);
        let claims: Vec<JobClaim> = held.map(|(claim, _)| *claim).collect();
        let (queue, clock) = (Arc::clone(&self.queue), Arc::clone(&self.clock));
        self.happenings.push(Box::pin(async move {
            let mut lost = Vec::new();
            for claims in claims.chunks(JOBS_PER_CALL_MAX) {
                match queue.heartbeat(claims, clock.now(), LEASE).await {
                    Ok(gone) => lost.extend(gone),
                    Err(error) => return Happening::Beat(Err(error)),
                }
            }
            Happening::Beat(Ok(lost))
        }));
    }

    fn see_beat(&mut self, lost: Result<Vec<JobClaim>>) {
        let lost = match lost {
            Ok(lost) => lost,
            Err(error) => {
                self.fail(&error);
                return self.beat_after(BEAT_AGAIN_AFTER);
            }
        };
        self.beat_after(LEASE / 3);
        for claim in lost {
            let Some(held) = self.in_hand.get_mut(&claim) else {
                continue;
            };
            held.is_lost = true;
            held.cancelled.cancel();
            let Some(lane) = self.lanes.get_mut(&held.kind) else {
                continue;
            };
            let waiting = lane.waiting.len();
            lane.waiting.retain(|job| job.claim() != claim);
            if lane.waiting.len() < waiting {
                self.let_go(claim, RunLabel::Lost);
            }
        }
    }

    fn see_settled(
        &mut self,
        settlements: Vec<(Settlement, RunLabel)>,
        settled: Result<Vec<Settled>>,
    ) {
        self.is_settling = false;
        let settled = match settled {
            Ok(settled) => settled,
            Err(error) => return self.settle_again(settlements, &error),
        };
        self.trouble.is_over();
        for ((settlement, label), settled) in settlements.iter().zip(settled) {
            let label = match settled {
                Settled::Done => *label,
                Settled::Lost => RunLabel::Lost,
            };
            self.let_go(settlement.claim, label);
        }
    }

    /// Settles once more what could not be written: in parts what the queue refuses, until the one is
    /// found that it refuses, and the rest later.
    fn settle_again(&mut self, mut settlements: Vec<(Settlement, RunLabel)>, error: &Error) {
        if error.kind() != ErrorKind::Invalid {
            let wait = self.fail(error);
            return self.settle_after(wait, settlements);
        }
        if settlements.len() > 1 {
            let second = settlements.split_off(settlements.len() / 2);
            self.parts.extend([settlements, second]);
            return;
        }
        for (settlement, _) in settlements {
            let reason = format!("its effects cannot be written: {error}");
            self.decide(settlement.claim, RunEnd::Unwritable(reason));
        }
    }

    fn fail(&mut self, error: &Error) -> Duration {
        self.figures.failures.fetch_add(1, Ordering::Relaxed);
        self.trouble.again("the job queue cannot be reached", error)
    }

    fn end(&mut self, ended: std::result::Result<Ended, tokio::task::JoinError>) {
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // Panics of handlers are caught within.
                tracing::error!(%error, "a run of a job was lost: it is due again when its process has ended");
                return;
            }
        };
        if let Some(lane) = self.lanes.get_mut(&ended.kind) {
            lane.running -= 1;
        }
        self.figures.ran(&ended.kind, ended.took);
        let is_lost = self
            .in_hand
            .get(&ended.claim)
            .is_none_or(|held| held.is_lost);
        match ended.end {
            _ if is_lost => self.let_go(ended.claim, RunLabel::Lost),
            Some(end) => self.decide(ended.claim, end),
            None => self.decide(ended.claim, RunEnd::Stopped),
        }
    }

    /// Decides what becomes of a job that is in hand.
    fn decide(&mut self, claim: JobClaim, end: RunEnd) {
        let Some(held) = self.in_hand.get(&claim) else {
            return;
        };
        let Some(lane) = self.lanes.get(&held.kind) else {
            return;
        };
        let luck = fastrand::f64();
        let now = self.clock.now();
        let (outcome, effects, label) = outcome(end, held.tries, &lane.policy, now, luck);
        match &outcome {
            JobOutcome::Dead { reason } => {
                tracing::error!(kind = %held.kind, job = %claim.id, attempt = claim.attempt, reason, "a job is dead");
            }
            JobOutcome::Retry { at, reason } => {
                tracing::warn!(kind = %held.kind, job = %claim.id, attempt = claim.attempt, %at, reason, "a job is to be tried again");
            }
            JobOutcome::Done | JobOutcome::Released => {}
        }
        let settlement = Settlement {
            claim,
            outcome,
            effects,
        };
        self.ended.push_back((settlement, label));
    }

    fn let_go(&mut self, claim: JobClaim, label: RunLabel) {
        let Some(held) = self.in_hand.remove(&claim) else {
            return;
        };
        self.figures.ended(&held.kind, label);
        if let Some(lane) = self.lanes.get_mut(&held.kind) {
            lane.in_hand -= 1;
        }
    }

    fn give_back_waiting(&mut self) {
        let waiting = self.lanes.values_mut().flat_map(|it| it.waiting.drain(..));
        let claims: Vec<JobClaim> = waiting.map(|job| job.claim()).collect();
        for claim in claims {
            self.decide(claim, RunEnd::Unbegun);
        }
    }

    fn cancel_running(&self) {
        for held in self.in_hand.values() {
            held.cancelled.cancel();
        }
    }
}

/// Runs a handler until it returns or its claim is cancelled.
async fn run(
    handler: Arc<dyn JobHandler>,
    kind: JobKind,
    job: ClaimedJob,
    context: JobContext,
) -> Ended {
    let begun_at = Instant::now();
    let running = AssertUnwindSafe(handler.run(&job, &context)).catch_unwind();
    let end = tokio::select! {
        biased;
        () = context.cancelled.cancelled() => None,
        returned = running => Some(match returned {
            Ok(returned) => RunEnd::Returned(returned),
            Err(_panic) => RunEnd::Panicked,
        }),
    };
    Ended {
        claim: job.claim(),
        kind,
        end,
        took: begun_at.elapsed(),
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
