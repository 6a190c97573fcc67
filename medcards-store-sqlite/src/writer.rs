//! The one writer: takes what is queued, commits it in one transaction, then answers everybody.
//!
//! While one commit waits for the disk, the next writes gather in the queue and share the next
//! commit. Nothing is ever delayed so that more may gather.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::answer::{Answer, RecordedAnswer};
use medcards_core::store::Hints;
use medcards_core::{Error, ErrorKind, Result};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot, watch};

use crate::answers::{self, Record};
use crate::error::{self, Failure};
use crate::file::HeldFile;

/// The most writes that wait: four full batches, about 100 ms of work on a slow disk.
const QUEUE_MAX: usize = 4_096;

/// The most writes in one transaction: enough to make the wait for the disk small for each, few
/// enough to keep the transaction under about 20 ms.
const BATCH_MAX: usize = 1_024;

/// How long a write waits for a place in a full queue: ten times what emptying it takes.
const QUEUE_WAIT_MAX: Duration = Duration::from_secs(10);

/// How many commits lie between two looks at the size of the write-ahead log.
const COMMITS_PER_WAL_LOOK: u64 = 256;

/// The size of the log that is worth a warning: many checkpoints must have been held up.
const WAL_NOTICE_BYTES: u64 = 256 * 1024 * 1024;

const BEGIN: &str = "BEGIN IMMEDIATE";
const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";
const CHECKPOINT: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

/// A write of one kind.
///
/// It refuses before its first change, so that what it shares a transaction with need not be
/// undone. It may be applied again after the transaction was rolled back.
#[async_trait]
pub(crate) trait Write: Send + 'static {
    type Output: Send + 'static;

    /// The operation, as errors name it.
    const OPERATION: &'static str;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<Self::Output, Failure>;

    /// What to do once it is committed and before anyone is told.
    fn committed(&self, _output: &Self::Output) {}
}

/// Hands writes to the writer.
#[derive(Clone, Debug)]
pub(crate) struct WriteQueue {
    queue: mpsc::Sender<Command>,
    commits: Arc<AtomicU64>,
    /// Closed when the writer has ended.
    ended: watch::Receiver<()>,
}

impl WriteQueue {
    /// Starts the writer, which holds the file until it ends.
    pub(crate) fn start(
        file: HeldFile,
        options: SqliteConnectOptions,
        connection: SqliteConnection,
        appended: Hints,
    ) -> Self {
        let (queue, commands) = mpsc::channel(QUEUE_MAX);
        let (running, ended) = watch::channel(());
        let commits = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            connection: Some(connection),
            commands,
            commits: Arc::clone(&commits),
            options,
            appended,
            wal_noticed: false,
            file,
            _running: running,
        };
        tokio::spawn(writer.run());
        Self {
            queue,
            commits,
            ended,
        }
    }

    /// Does a write. Once it is queued it is done, whether or not anyone waits for it.
    pub(crate) async fn write<W: Write>(&self, write: W) -> Result<W::Output> {
        let (reply, answer) = oneshot::channel();
        let pending = Pending {
            write,
            done: None,
            reply,
        };
        self.send(W::OPERATION, Command::Write(Box::new(pending)))
            .await?;
        answer.await.map_err(|_gone| error::closed(W::OPERATION))?
    }

    /// Records an answer; answers have a way of their own, because they are many.
    pub(crate) async fn record(&self, answer: Answer, event: String) -> Result<RecordedAnswer> {
        let (reply, recorded) = oneshot::channel();
        let record = Record {
            answer,
            event,
            done: None,
            reply,
        };
        self.send(answers::RECORD, Command::Record(record)).await?;
        recorded
            .await
            .map_err(|_gone| error::closed(answers::RECORD))?
    }

    /// How many transactions were committed.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Takes no more writes, does those that are queued, and returns when the file is closed.
    pub(crate) async fn close(&self) {
        // An error says that the writer is closing already.
        let _ = self.queue.send(Command::Close).await;
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    async fn send(&self, operation: &'static str, command: Command) -> Result<()> {
        let command = match self.queue.try_send(command) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(error::closed(operation)),
            Err(mpsc::error::TrySendError::Full(command)) => command,
        };
        match self.queue.send_timeout(command, QUEUE_WAIT_MAX).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(error::closed(operation)),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(Error::new(
                ErrorKind::Busy,
                operation,
                "too many writes wait for the disk: try again later",
            )),
        }
    }
}

#[expect(
    clippy::large_enum_variant,
    reason = "nearly every command is a record"
)]
enum Command {
    Close,
    Record(Record),
    Write(Box<dyn Job>),
}

/// A [`Write`] whose kind is forgotten.
#[async_trait]
trait Job: Send {
    async fn run(&mut self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error>;
    fn acknowledge(self: Box<Self>);
    fn fail(self: Box<Self>, cause: &Arc<sqlx::Error>);
}

struct Pending<W: Write> {
    write: W,
    done: Option<Result<W::Output>>,
    reply: oneshot::Sender<Result<W::Output>>,
}

#[async_trait]
impl<W: Write> Job for Pending<W> {
    async fn run(&mut self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        self.done = Some(match self.write.apply(connection).await {
            Ok(output) => Ok(output),
            Err(Failure::Refused(error)) => Err(error),
            Err(Failure::Storage(source)) => return Err(source),
        });
        Ok(())
    }

    fn acknowledge(self: Box<Self>) {
        let Some(done) = self.done else { return };
        if let Ok(output) = &done {
            self.write.committed(output);
        }
        // Who hung up is not told.
        let _ = self.reply.send(done);
    }

    fn fail(self: Box<Self>, cause: &Arc<sqlx::Error>) {
        let _ = self
            .reply
            .send(Err(error::storage_shared(W::OPERATION, cause)));
    }
}

struct Writer {
    /// `None` after a failure that left its state unknown.
    connection: Option<SqliteConnection>,
    commands: mpsc::Receiver<Command>,
    commits: Arc<AtomicU64>,
    options: SqliteConnectOptions,
    /// Of the events of answers; other writes give their own hints.
    appended: Hints,
    wal_noticed: bool,
    /// Given up after the connection, because fields are dropped in order.
    file: HeldFile,
    _running: watch::Sender<()>,
}

impl Writer {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while self.gather(&mut batch).await {
            let mut records = Vec::with_capacity(batch.len());
            let mut jobs = Vec::new();
            for command in batch.drain(..) {
                match command {
                    // What is queued behind it is still done.
                    Command::Close => self.commands.close(),
                    Command::Record(record) => records.push(record),
                    Command::Write(job) => jobs.push(job),
                }
            }
            self.settle(records, jobs).await;
            self.look_at_wal();
        }
        self.close_file().await;
    }

    /// Waits for a write, then takes what is queued; `false` when no more can come.
    async fn gather(&mut self, batch: &mut Vec<Command>) -> bool {
        if self.commands.recv_many(batch, BATCH_MAX).await == 0 {
            return false;
        }
        // Those whom the last commit answered are about to queue their next write: letting them go
        // first makes one commit of what would be two.
        tokio::task::yield_now().await;
        while batch.len() < BATCH_MAX {
            let Ok(command) = self.commands.try_recv() else {
                break;
            };
            batch.push(command);
        }
        true
    }

    /// Commits a batch and answers everyone in it.
    async fn settle(&mut self, mut records: Vec<Record>, mut jobs: Vec<Box<dyn Job>>) {
        let failure = match self.transact(&mut records, &mut jobs).await {
            Ok(()) => {
                self.acknowledge(records);
                jobs.into_iter().for_each(Job::acknowledge);
                return;
            }
            Err(failure) => failure,
        };
        if records.len() + jobs.len() == 1 || error::is_storage_wide(&failure) {
            return fail(records, jobs, failure);
        }
        // One of them is at fault: each gets a transaction of its own.
        for record in records {
            let mut alone = vec![record];
            match self.transact(&mut alone, &mut []).await {
                Ok(()) => self.acknowledge(alone),
                Err(failure) => fail(alone, Vec::new(), failure),
            }
        }
        for job in jobs {
            let mut alone = vec![job];
            match self.transact(&mut [], &mut alone).await {
                Ok(()) => alone.into_iter().for_each(Job::acknowledge),
                Err(failure) => fail(Vec::new(), alone, failure),
            }
        }
    }

    fn acknowledge(&self, records: Vec<Record>) {
        if records.iter().any(|record| record.done.is_none()) {
            self.appended.give();
        }
        records.into_iter().for_each(Record::acknowledge);
    }

    async fn transact(
        &mut self,
        records: &mut [Record],
        jobs: &mut [Box<dyn Job>],
    ) -> Result<(), sqlx::Error> {
        if records.is_empty() && jobs.is_empty() {
            return Ok(());
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.options.connect().await?),
        };
        let done = run_transaction(connection, records, jobs).await;
        match &done {
            Ok(()) => {
                self.commits.fetch_add(1, Ordering::Relaxed);
            }
            Err(failure) => {
                tracing::warn!(%failure, "a transaction was rolled back");
                self.roll_back().await;
            }
        }
        done
    }

    async fn roll_back(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let done = sqlx::query(ROLLBACK).execute(connection).await;
        // A connection that cannot even roll back is given up; the next write makes another.
        if done.is_err_and(|error| !error::is_nothing_to_roll_back(&error)) {
            self.connection = None;
        }
    }

    /// Warns of a log that only grows, which a long read of another program causes.
    fn look_at_wal(&mut self) {
        if !self
            .commits
            .load(Ordering::Relaxed)
            .is_multiple_of(COMMITS_PER_WAL_LOOK)
        {
            return;
        }
        let bytes = self.file.wal_bytes();
        if bytes > WAL_NOTICE_BYTES && !self.wal_noticed {
            tracing::warn!(
                bytes,
                "the write-ahead log does not shrink: end the long read that some program does"
            );
        }
        self.wal_noticed = bytes > WAL_NOTICE_BYTES;
    }

    async fn close_file(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let done = async {
            sqlx::query(CHECKPOINT).execute(&mut connection).await?;
            connection.close().await
        };
        if let Err(failure) = done.await {
            tracing::warn!(%failure, "the log was not merged into the file; the next opening does it");
        }
    }
}

async fn run_transaction(
    connection: &mut SqliteConnection,
    records: &mut [Record],
    jobs: &mut [Box<dyn Job>],
) -> Result<(), sqlx::Error> {
    sqlx::query(BEGIN).execute(&mut *connection).await?;
    answers::insert(connection, records).await?;
    for job in jobs {
        job.run(connection).await?;
    }
    sqlx::query(COMMIT).execute(connection).await?;
    Ok(())
}

fn fail(records: Vec<Record>, jobs: Vec<Box<dyn Job>>, failure: sqlx::Error) {
    let cause = Arc::new(failure);
    records.into_iter().for_each(|record| record.fail(&cause));
    jobs.into_iter().for_each(|job| job.fail(&cause));
}
