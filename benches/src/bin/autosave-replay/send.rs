use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use medcards_core::answer::{Answer, RecordOutcome};
use medcards_core::store::Store;
use medcards_core::time::{Clock, SystemClock};
use medcards_core::{AnswerId, Timestamp, UserId};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Error;
use crate::arguments::{Arguments, Speed};
use crate::exam::{Exam, Submission, most_in_a_second};

/// How often a submission is sent before the replay gives up: half a minute of trying.
const TRIES_MAX: u32 = 60;

/// How long a client waits before it sends again.
const PAUSE: Duration = Duration::from_millis(500);

/// What the clients remember.
pub(crate) type Ledger = HashMap<(UserId, AnswerId), Acknowledged>;

/// What they were told of one submission.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Acknowledged {
    /// How often that it is new.
    pub(crate) created: u32,
    /// How often that it was there.
    pub(crate) repeated: u32,
}

/// What came of sending.
pub(crate) struct Sent {
    pub(crate) ledger: Ledger,
    waited_us: Histogram<u64>,
    took: Duration,
    /// The most acknowledgements in one second.
    peak: usize,
    twice: u64,
    failed: u64,
}

/// What all clients share.
struct Clients {
    store: Arc<dyn Store>,
    ledger: Mutex<Ledger>,
    /// How long each waited, in microseconds, and when it was acknowledged, in milliseconds.
    waits: Mutex<Vec<(u64, u64)>>,
    failed: AtomicU64,
    started: Instant,
    progress: ProgressBar,
}

/// Sends all submissions, each when it is due, until each is acknowledged.
pub(crate) async fn send(
    store: &Arc<dyn Store>,
    exam: &Exam,
    arguments: &Arguments,
) -> Result<Sent, Error> {
    // The whole examination lies in the past, as that of a client that was offline.
    let begin = SystemClock::new().now() - exam.lasts();
    let clients = Arc::new(Clients {
        store: Arc::clone(store),
        ledger: Mutex::default(),
        waits: Mutex::default(),
        failed: AtomicU64::new(0),
        started: Instant::now(),
        progress: ProgressBar::new(exam.submissions.len() as u64),
    });
    let mut rng = fastrand::Rng::with_seed(1);
    let plan: Vec<Planned> = exam
        .submissions
        .iter()
        .map(|submission| Planned {
            answer: answer(exam, submission, begin),
            after_ms: submission.after_ms,
            is_twice: rng.u8(..100) < arguments.twice,
        })
        .collect();
    let twice = plan.iter().filter(|planned| planned.is_twice).count();
    match arguments.speed {
        Speed::Times(times) => send_when_due(&clients, plan, times).await?,
        Speed::Max => send_at_once(&clients, plan, arguments.clients).await?,
    }
    clients.progress.finish_and_clear();
    let took = clients.started.elapsed();
    let mut waits = std::mem::take(&mut *lock(&clients.waits));
    waits.sort_unstable_by_key(|(_, at_ms)| *at_ms);
    let mut waited_us = Histogram::new_with_max(60_000_000, 3)?;
    for (us, _) in &waits {
        waited_us.saturating_record(*us);
    }
    let ledger = std::mem::take(&mut *lock(&clients.ledger));
    Ok(Sent {
        ledger,
        waited_us,
        took,
        peak: most_in_a_second(waits.iter().map(|(_, at_ms)| *at_ms)),
        twice: twice as u64,
        failed: clients.failed.load(Ordering::Relaxed),
    })
}

/// A submission that is to be sent.
#[derive(Clone)]
struct Planned {
    answer: Answer,
    after_ms: u64,
    is_twice: bool,
}

fn answer(exam: &Exam, submission: &Submission, begin: Timestamp) -> Answer {
    let case = &exam.cases[submission.case];
    let id = AnswerId::new(begin + Duration::from_millis(submission.after_ms));
    Answer {
        id,
        user_id: submission.user_id,
        case_id: case.id,
        case_version: case.version,
        chosen: exam.chosen(submission),
        shown: case.order_shown_to(&submission.user_id),
        is_correct: submission.is_correct,
        time_to_answer_ms: None,
        confidence: None,
        created_at: id.instant().unwrap_or(begin),
    }
}

/// Each at its moment, whatever became of those before it.
async fn send_when_due(
    clients: &Arc<Clients>,
    plan: Vec<Planned>,
    times: f64,
) -> Result<(), Error> {
    let mut sending = JoinSet::new();
    for planned in plan {
        let after = Duration::from_secs_f64(planned.after_ms as f64 / 1_000.0 / times);
        let due = clients.started + after;
        sleep_until(due).await;
        sending.spawn(Arc::clone(clients).deliver(planned, due));
        while let Some(done) = sending.try_join_next() {
            done??;
        }
    }
    while let Some(done) = sending.join_next().await {
        done??;
    }
    Ok(())
}

/// Each client one after the other.
async fn send_at_once(clients: &Arc<Clients>, plan: Vec<Planned>, count: u16) -> Result<(), Error> {
    let (plan, next) = (Arc::new(plan), Arc::new(AtomicUsize::new(0)));
    let mut sending = JoinSet::new();
    for _ in 0..count {
        let (clients, plan) = (Arc::clone(clients), Arc::clone(&plan));
        let next = Arc::clone(&next);
        sending.spawn(async move {
            while let Some(planned) = plan.get(next.fetch_add(1, Ordering::Relaxed)) {
                let clients = Arc::clone(&clients);
                clients.deliver(planned.clone(), Instant::now()).await?;
            }
            Ok::<(), Error>(())
        });
    }
    while let Some(done) = sending.join_next().await {
        done??;
    }
    Ok(())
}

impl Clients {
    /// Sends a submission until it is acknowledged; twice at once if that is planned.
    async fn deliver(self: Arc<Self>, planned: Planned, due: Instant) -> Result<(), Error> {
        let again = planned.is_twice.then(|| planned.answer.clone());
        let first = self.submit(planned.answer);
        match again {
            Some(again) => {
                let (first, second) = tokio::join!(first, self.submit(again));
                first.and(second)?;
            }
            None => first.await?,
        }
        let waited = u64::try_from(due.elapsed().as_micros())?;
        let at = u64::try_from(self.started.elapsed().as_millis())?;
        lock(&self.waits).push((waited, at));
        self.progress.inc(1);
        Ok(())
    }

    /// Sends one answer, and again if it fails, and writes down what is said of it.
    async fn submit(&self, answer: Answer) -> Result<(), Error> {
        let name = (answer.user_id, answer.id);
        let mut tries = 0;
        let recorded = loop {
            match self.store.record_answer(answer.clone()).await {
                Ok(recorded) => break recorded,
                Err(error) => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    tries += 1;
                    if tries == TRIES_MAX || !error.is_retryable() {
                        return Err(error.into());
                    }
                }
            }
            sleep(PAUSE).await;
        };
        if recorded.answer != answer {
            return Err(format!("answer {} was acknowledged as another one", answer.id).into());
        }
        let mut ledger = lock(&self.ledger);
        let acknowledged = ledger.entry(name).or_default();
        match recorded.outcome {
            RecordOutcome::Created => acknowledged.created += 1,
            RecordOutcome::Repeated => acknowledged.repeated += 1,
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |quantile| self.waited_us.value_at_quantile(quantile) as f64 / 1_000.0;
        write!(
            f,
            "acknowledged {} in {:.1} s ({:.0}/s on average, {} in the busiest second), {} of them \
             sent twice; {} calls failed and were tried again\n\
             waited from the moment it was due: p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms, \
             max {:.2} ms",
            self.ledger.len(),
            self.took.as_secs_f64(),
            self.ledger.len() as f64 / self.took.as_secs_f64(),
            self.peak,
            self.twice,
            self.failed,
            ms(0.5),
            ms(0.95),
            ms(0.99),
            ms(1.0),
        )
    }
}
