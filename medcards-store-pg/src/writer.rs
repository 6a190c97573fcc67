//! The writers of answers: each takes what is queued, commits it in one statement, then answers
//! everybody.
//!
//! While one commit waits for the disk, the next answers gather in the queue and share the next. A
//! writer that has taken few holds the others up until they are committed: two small commits at once
//! would wait for the disk one after the other, and each answer twice as long. Nothing is ever
//! delayed for what may come later. A caller that hangs up changes nothing: what is queued is written.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use medcards_core::answer::{Answer, RecordOutcome, RecordedAnswer};
use medcards_core::store::ReadToken;
use medcards_core::{AnswerId, Error, ErrorKind, Result, UserId};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answers::{self, RECORD};
use crate::error::Failure;
use crate::node::Node;
use crate::partition::{Month, Partitions};
use crate::replicas::Replicas;
use crate::signals::{Signals, Topic};

/// The most answers that wait: some batches, a fraction of a second of work.
const QUEUE_MAX: usize = 4_096;

/// The most answers in one statement: enough to make the wait for the disk small for each, few
/// enough to keep a failed batch cheap to take apart.
const BATCH_MAX: usize = 256;

/// From how many answers on another writer may begin before they are committed: then carrying out
/// the statement takes about as long as the disk does, and both can be done at the same time.
const OVERLAP_MIN: usize = BATCH_MAX / 2;

/// How long fewer answers hold the other writers up: several times what a disk takes. A connection
/// that hangs must not stop those that do not.
const HOLD_MAX: Duration = Duration::from_millis(20);

/// How often a writer lets callers run that are ready to, and takes what they queue. Callers that were
/// answered together come back together; it ends as soon as nobody comes.
const YIELDS_MAX: usize = 8;

/// How long an answer waits for a place in a full queue: ten times what emptying it takes.
const QUEUE_WAIT_MAX: Duration = Duration::from_secs(10);

/// How often a batch is tried again because a month had no partition: a batch may span as many.
const MONTHS_PER_BATCH_MAX: usize = 8;

/// Hands answers to the writers.
#[derive(Debug)]
pub(crate) struct WriteQueue {
    queue: mpsc::Sender<Record>,
    commits: Arc<AtomicU64>,
    closing: CancellationToken,
}

/// An answer on its way to the disk.
pub(crate) struct Record {
    pub(crate) answer: Answer,
    pub(crate) event: String,
    reply: oneshot::Sender<Result<RecordedAnswer>>,
}

impl WriteQueue {
    pub(crate) fn start(
        writers: u32,
        node: Node,
        replicas: Arc<Replicas>,
        partitions: Arc<Partitions>,
        signals: Arc<Signals>,
        tasks: &TaskTracker,
    ) -> Self {
        let (queue, records) = mpsc::channel(QUEUE_MAX);
        let commits = Arc::new(AtomicU64::new(0));
        let closing = CancellationToken::new();
        let records = Arc::new(Mutex::new(records));
        for _ in 0..writers {
            let writer = Writer {
                node: node.clone(),
                records: Arc::clone(&records),
                replicas: Arc::clone(&replicas),
                partitions: Arc::clone(&partitions),
                signals: Arc::clone(&signals),
                commits: Arc::clone(&commits),
                closing: closing.clone(),
            };
            tasks.spawn(writer.run());
        }
        Self {
            queue,
            commits,
            closing,
        }
    }

    /// Records an answer. Once it is queued it is written, whether or not anyone waits for it.
    pub(crate) async fn record(&self, answer: Answer, event: String) -> Result<RecordedAnswer> {
        let (reply, recorded) = oneshot::channel();
        let record = Record {
            answer,
            event,
            reply,
        };
        match self.queue.try_send(record) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(closed()),
            Err(mpsc::error::TrySendError::Full(record)) => {
                match self.queue.send_timeout(record, QUEUE_WAIT_MAX).await {
                    Ok(()) => {}
                    Err(mpsc::error::SendTimeoutError::Closed(_)) => return Err(closed()),
                    Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                        let context = "too many answers wait for the server: try again later";
                        return Err(Error::new(ErrorKind::Busy, RECORD, context));
                    }
                }
            }
        }
        recorded.await.map_err(|_gone| closed())?
    }

    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Takes no more answers; the writers end when they have written what is queued.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }
}

fn closed() -> Error {
    Failure::Closed.during(RECORD)
}

struct Writer {
    node: Node,
    records: Arc<Mutex<mpsc::Receiver<Record>>>,
    replicas: Arc<Replicas>,
    partitions: Arc<Partitions>,
    signals: Arc<Signals>,
    commits: Arc<AtomicU64>,
    closing: CancellationToken,
}

impl Writer {
    async fn run(self) {
        loop {
            let mut batch = Vec::new();
            let mut records = self.records.lock().await;
            if !self.gather(&mut records, &mut batch).await {
                return;
            }
            let is_small = batch.len() < OVERLAP_MIN;
            let mut settling = pin!(self.settle(batch));
            if is_small && timeout(HOLD_MAX, &mut settling).await.is_ok() {
                continue;
            }
            drop(records);
            settling.await;
        }
    }

    /// Waits for an answer, then takes what is queued; `false` when no more can come.
    async fn gather(&self, records: &mut mpsc::Receiver<Record>, batch: &mut Vec<Record>) -> bool {
        let taken = tokio::select! {
            biased;
            () = self.closing.cancelled() => {
                records.close();
                records.recv_many(batch, BATCH_MAX).await
            }
            taken = records.recv_many(batch, BATCH_MAX) => taken,
        };
        for _ in 0..YIELDS_MAX {
            let before = batch.len();
            yield_now().await;
            while batch.len() < BATCH_MAX
                && let Ok(record) = records.try_recv()
            {
                batch.push(record);
            }
            if batch.len() == before {
                break;
            }
        }
        taken > 0
    }

    /// Writes a batch and answers everyone in it.
    async fn settle(&self, batch: Vec<Record>) {
        let failure = match self.write(&batch).await {
            Ok(written) => return self.acknowledge(batch, written).await,
            Err(failure) => failure,
        };
        if batch.len() > 1 && failure.is_of_one_value() {
            // One of them is at fault: each gets a statement of its own.
            let mut waiting = batch.into_iter();
            while let Some(record) = waiting.next() {
                let mut alone = vec![record];
                match self.write(&alone).await {
                    Ok(written) => self.acknowledge(alone, written).await,
                    Err(failure) => {
                        if failure.is_of_link() {
                            // The others would wait as long, one after the other.
                            alone.extend(waiting.by_ref());
                        }
                        refuse(alone, failure);
                    }
                }
            }
            return;
        }
        refuse(batch, failure);
    }

    /// Stores the answers of a batch that are new, with their events, in one transaction.
    async fn write(&self, batch: &[Record]) -> Result<Written, Failure> {
        // The same answer twice in a batch is the same answer sent again.
        let mut first_of: HashMap<(UserId, AnswerId), usize> = HashMap::with_capacity(batch.len());
        let mut distinct = Vec::with_capacity(batch.len());
        for record in batch {
            let name = (record.answer.user_id, record.answer.id);
            first_of.entry(name).or_insert_with(|| {
                distinct.push(record);
                distinct.len() - 1
            });
        }
        let mut outcomes = Err(Failure::Busy);
        for _ in 0..MONTHS_PER_BATCH_MAX {
            outcomes = answers::insert(&self.node, &distinct).await;
            match &outcomes {
                Err(failure) if failure.is_of_missing_partition() => {
                    self.make_months(&distinct).await?;
                }
                _ => break,
            }
        }
        let outcomes = outcomes?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        if outcomes.contains(&Insertion::Created) {
            self.signals.give(Topic::Events);
        }
        let repeated: Vec<_> = distinct
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| **outcome == Insertion::Known)
            .map(|(record, _)| &record.answer)
            .collect();
        let known = match repeated.is_empty() {
            true => HashMap::new(),
            false => answers::find_many(&self.node, &repeated).await?,
        };
        Ok(Written {
            token: self.replicas.token(&self.node).await,
            first_of,
            outcomes,
            known,
        })
    }

    /// Makes the partitions that these answers need.
    async fn make_months(&self, records: &[&Record]) -> Result<(), Failure> {
        let mut months: Vec<_> = records
            .iter()
            .map(|record| Month::of(record.answer.created_at))
            .collect();
        months.sort_unstable();
        months.dedup();
        for month in months {
            // What was known of it is wrong for one of them.
            self.partitions.forget(month);
            self.partitions.ensure(&self.node, month).await?;
        }
        Ok(())
    }

    async fn acknowledge(&self, batch: Vec<Record>, mut written: Written) {
        for record in batch {
            // Who hung up is not told.
            let _ = record.reply.send(written.result(record.answer));
        }
    }
}

fn refuse(batch: Vec<Record>, failure: Failure) {
    let error = failure.during(RECORD);
    let (kind, context) = (error.kind(), error.context().to_owned());
    let source = Arc::new(error);
    for record in batch {
        let error =
            Error::new(kind, RECORD, context.clone()).with_source(Shared(Arc::clone(&source)));
        let _ = record.reply.send(Err(error));
    }
}

/// What became of one answer in its statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insertion {
    /// It is stored, and its event.
    Created,
    /// It was stored before.
    Known,
    /// The bucket of its user is not this shard's.
    NotOwned,
}

/// What became of a batch.
struct Written {
    token: Option<ReadToken>,
    /// Where each answer stands among the outcomes.
    first_of: HashMap<(UserId, AnswerId), usize>,
    outcomes: Vec<Insertion>,
    /// The answers that were stored before, as they are stored.
    known: HashMap<(UserId, AnswerId), Answer>,
}

impl Written {
    fn result(&mut self, answer: Answer) -> Result<RecordedAnswer> {
        let name = (answer.user_id, answer.id);
        let at = self.first_of.get(&name).copied().unwrap_or_default();
        let outcome = self
            .outcomes
            .get(at)
            .copied()
            .unwrap_or(Insertion::NotOwned);
        match outcome {
            Insertion::Created => {
                // Who sent the same in the same batch is told what the first one stored.
                self.known.insert(name, answer.clone());
                if let Some(outcome) = self.outcomes.get_mut(at) {
                    *outcome = Insertion::Known;
                }
                Ok(self.recorded(answer, RecordOutcome::Created))
            }
            Insertion::Known => match self.known.get(&name) {
                Some(stored) => Ok(self.recorded(stored.clone(), RecordOutcome::Repeated)),
                None => Err(Failure::Unreadable("answer").during(RECORD)),
            },
            Insertion::NotOwned => Err(not_owned(RECORD)),
        }
    }

    fn recorded(&self, answer: Answer, outcome: RecordOutcome) -> RecordedAnswer {
        RecordedAnswer {
            answer,
            outcome,
            token: self.token.clone(),
        }
    }
}

/// The error of a write to a bucket that this shard does not own.
pub(crate) fn not_owned(operation: &'static str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        operation,
        "the user lives on another shard: read the shard map again, then try again",
    )
}

/// One cause of several errors.
#[derive(Debug)]
struct Shared(Arc<Error>);

impl std::fmt::Display for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match std::error::Error::source(&*self.0) {
            Some(source) => write!(f, "{source}"),
            None => f.write_str("all answers of a batch"),
        }
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.0)
    }
}
