//! Hints that something happened, within this process at once and from process to process by `NOTIFY`.
//!
//! A `NOTIFY` takes a lock of the whole server when it commits, so it is never in the transaction of
//! its cause: all that happened in a few milliseconds is told in one transaction of its own. One that is
//! lost costs whoever waits a look.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use medcards_core::store::{Hint, Hints};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, Executor};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::node::Node;

/// How long what happens is gathered before other processes are told once: nobody sees the
/// difference, and the lock is taken a hundred times a second at most.
const TELL_INTERVAL: Duration = Duration::from_millis(10);

/// How long connecting may take.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long a silent connection is trusted before it is asked for a sign of life.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How long it is waited after a first failure; twice as long after each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// The longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// What hints are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Events,
    Jobs,
    Notices,
}

impl Topic {
    const ALL: [Self; 3] = [Self::Events, Self::Jobs, Self::Notices];

    const fn channel(self) -> &'static str {
        match self {
            Self::Events => "medcards_events",
            Self::Jobs => "medcards_jobs",
            Self::Notices => "medcards_notices",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Gives hints and hears those of other processes.
#[derive(Debug)]
pub(crate) struct Signals {
    hints: [Hints; 3],
    /// The topics, by their bits, that others are still to be told of.
    untold: AtomicU8,
    has_untold: Notify,
    /// Somebody wants hints, so that listening is worth a connection.
    wanted: Notify,
    /// Tells what comes from here from what comes from others.
    origin: String,
}

impl Signals {
    pub(crate) fn new() -> Self {
        Self {
            hints: [Hints::default(), Hints::default(), Hints::default()],
            untold: AtomicU8::new(0),
            has_untold: Notify::new(),
            wanted: Notify::new(),
            origin: Uuid::now_v7().simple().to_string(),
        }
    }

    /// Takes part in the hints on a topic.
    pub(crate) fn take(&self, topic: Topic) -> Hint {
        self.wanted.notify_one();
        self.hints[topic as usize].take()
    }

    /// Hints to everybody, here and elsewhere. To be called after the commit.
    pub(crate) fn give(&self, topic: Topic) {
        self.give_here(topic);
        let before = self.untold.fetch_or(topic.bit(), Ordering::AcqRel);
        if before == 0 {
            self.has_untold.notify_one();
        }
    }

    /// Hints to everybody in this process alone.
    pub(crate) fn give_here(&self, topic: Topic) {
        self.hints[topic as usize].give();
    }

    /// Tells other processes until it is to stop.
    pub(crate) async fn tell_on(self: Arc<Self>, node: Node, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.has_untold.notified() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.tell(&node) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(TELL_INTERVAL) => {}
            }
        }
    }

    async fn tell(&self, node: &Node) {
        let topics = self.untold.swap(0, Ordering::AcqRel);
        let told = Topic::ALL.into_iter().filter(|it| topics & it.bit() != 0);
        let told: String = told
            .map(|it| format!("NOTIFY {}, '{}'; ", it.channel(), self.origin))
            .collect();
        // What is told need not outlive a crash, so nobody waits for the disk.
        let sql = format!("BEGIN; SET LOCAL synchronous_commit = off; {told}COMMIT");
        if let Err(failure) = node.run_once(AssertSqlSafe(sql)).await {
            let error = failure.during("tell other processes");
            tracing::debug!(%error, "other processes were not told; they look by themselves");
        }
    }

    /// Listens to other processes, once somebody wants hints, until it is to stop.
    pub(crate) async fn listen_on(
        self: Arc<Self>,
        hosts: Vec<PgConnectOptions>,
        stop: CancellationToken,
    ) {
        tokio::select! {
            () = stop.cancelled() => return,
            () = self.wanted.notified() => {}
        }
        let mut backoff = BACKOFF_MIN;
        loop {
            for host in &hosts {
                let heard = tokio::select! {
                    () = stop.cancelled() => return,
                    heard = self.listen(host) => heard,
                };
                if heard {
                    backoff = BACKOFF_MIN;
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(backoff) => {}
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Listens to a host for as long as it can be heard; `false` if it never could, as a standby.
    async fn listen(&self, host: &PgConnectOptions) -> bool {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_WAIT_MAX)
            .connect_lazy_with(host.clone());
        let connecting = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.eager_reconnect(false);
            listener.listen_all(Topic::ALL.map(Topic::channel)).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        let mut listener = match timeout(CONNECT_WAIT_MAX, connecting).await {
            Ok(Ok(listener)) => listener,
            Ok(Err(error)) => {
                tracing::debug!(%error, "cannot listen to the server; tried again soon");
                return false;
            }
            Err(_elapsed) => return false,
        };
        // Something may have happened while nobody listened.
        self.give_all_here();
        loop {
            match timeout(SILENCE_MAX, listener.try_recv()).await {
                Ok(Ok(Some(notification))) => {
                    if notification.payload() == self.origin {
                        continue;
                    }
                    for topic in Topic::ALL {
                        if topic.channel() == notification.channel() {
                            self.give_here(topic);
                        }
                    }
                }
                Ok(Ok(None) | Err(_)) => return true,
                Err(_silence) => {
                    let sign = timeout(CONNECT_WAIT_MAX, listener.execute("SELECT 1"));
                    if !matches!(sign.await, Ok(Ok(_))) {
                        return true;
                    }
                }
            }
        }
    }

    fn give_all_here(&self) {
        for topic in Topic::ALL {
            self.give_here(topic);
        }
    }
}
