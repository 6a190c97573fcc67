use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use medcards_core::event::{EventLog, LogPosition, ReaderName};
use medcards_core::job::{JobQueue, NewJob};
use medcards_core::notice::{Notice, NoticeBody, NoticeStore};
use medcards_core::{Error, ErrorKind, Result};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::job_kind;
use crate::Stores;
use crate::backoff::Trouble;

/// The name under which the log remembers how far notices are forwarded.
const READER: &str = "webhook-notices";

/// The name under which it remembers with which notice that began: its place, and one more, so that it
/// is not the start where there was no notice before.
const BEGUN: &str = "webhook-begun";

/// How many notices are read at a time: each may be a job to be written.
const NOTICES_PER_STEP: usize = 500;

/// How long to wait for a hint before notices are looked for anyway.
const POLL: Duration = Duration::from_secs(1);

/// How long it is remembered that a notice was forwarded: longer than any process stands still between
/// reading notices and writing how far it has come.
const KEY_KEPT_FOR: Duration = Duration::from_hours(7 * 24);

/// Makes a job of each notice that another server is to be told of, from a task of its own, until it is
/// stopped.
///
/// Every process may run one: each notice is forwarded once. The first one ever begins with the notices
/// that come after it; one that starts later goes on where the others ended.
///
/// Cloning gives a handle on the same task. Dropping every handle stops it.
#[derive(Clone)]
pub struct NoticeForwarder {
    handle: Arc<Handle>,
}

struct Handle {
    stores: Stores,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

/// A message, as Standard Webhooks would have it.
#[derive(Serialize)]
struct Message<'a> {
    r#type: &'static str,
    timestamp: medcards_core::Timestamp,
    data: MessageData<'a>,
}

#[derive(Serialize)]
struct MessageData<'a> {
    user_id: medcards_core::UserId,
    notice: &'a NoticeBody,
}

impl NoticeForwarder {
    /// Starts to forward notices.
    ///
    /// # Panics
    /// If there is no tokio runtime.
    #[must_use]
    pub fn start(stores: Stores) -> Self {
        let handle = Handle {
            stores: stores.clone(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        drop(handle.tasks.spawn(forward(stores, handle.stopping.clone())));
        handle.tasks.close();
        Self {
            handle: Arc::new(handle),
        }
    }

    /// Stops.
    ///
    /// # Cancel safety
    /// A dropped future leaves it stopping.
    pub async fn stop(&self) {
        self.handle.stopping.cancel();
        self.handle.tasks.wait().await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

impl fmt::Debug for NoticeForwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoticeForwarder")
            .field("stores", &self.handle.stores)
            .finish_non_exhaustive()
    }
}

async fn forward(stores: Stores, stopping: CancellationToken) {
    let mut hint = stores.learning.noticed();
    let mut trouble = Trouble::default();
    while !stopping.is_cancelled() {
        let stepped = step(&stores).await;
        let wait = match stepped {
            Ok(true) => {
                trouble.is_over();
                tokio::task::yield_now().await;
                continue;
            }
            Ok(false) => {
                trouble.is_over();
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = hint.wait(POLL) => {}
                }
                continue;
            }
            Err(error) => trouble.again("notices are not forwarded", &error),
        };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Forwards some notices; says whether there may be more.
async fn step(stores: &Stores) -> Result<bool> {
    let (Some(reader), Some(begun)) = (ReaderName::new(READER), ReaderName::new(BEGUN)) else {
        return Ok(false);
    };
    let mut from = stores.store.find_cursor(&reader).await?;
    if from == LogPosition::START {
        let first = begin(stores, &begun).await?;
        if first != from {
            move_cursor(stores, &reader, from, first).await?;
            from = stores.store.find_cursor(&reader).await?;
        }
    }
    let notices = stores.learning.read_notices(from, NOTICES_PER_STEP).await?;
    let Some(last) = notices.last() else {
        return Ok(false);
    };
    let now = stores.now();
    let jobs: Vec<NewJob> = notices
        .iter()
        .filter_map(|notice| job(notice, now).transpose())
        .collect::<Result<_>>()?;
    if !jobs.is_empty() {
        stores.learning.enqueue(jobs, now).await?;
    }
    move_cursor(stores, &reader, from, last.position).await?;
    Ok(true)
}

/// After which notice forwarding began: after the last one that there is now, if it did not before.
async fn begin(stores: &Stores, begun: &ReaderName) -> Result<LogPosition> {
    let mut mark = stores.store.find_cursor(begun).await?;
    if mark == LogPosition::START {
        let last = stores.learning.last_notice().await?;
        let sequence = last.sequence.saturating_add(1);
        let marked = LogPosition { sequence, ..last };
        move_cursor(stores, begun, mark, marked).await?;
        mark = stores.store.find_cursor(begun).await?;
    }
    let sequence = mark.sequence.saturating_sub(1);
    Ok(LogPosition { sequence, ..mark })
}

async fn move_cursor(
    stores: &Stores,
    reader: &ReaderName,
    from: LogPosition,
    to: LogPosition,
) -> Result<()> {
    match stores.store.move_cursor(reader, from, to).await {
        // Another process was faster.
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
        moved => moved,
    }
}

/// The job that tells of a notice, if it is one to be told of.
fn job(notice: &Notice, now: medcards_core::Timestamp) -> Result<Option<NewJob>> {
    let kind = match &notice.body {
        NoticeBody::Badge { .. } => "medcards.badge",
        NoticeBody::Regraded { .. } => "medcards.regraded",
        _ => return Ok(None),
    };
    let message = Message {
        r#type: kind,
        timestamp: notice.at,
        data: MessageData {
            user_id: notice.user_id,
            notice: &notice.body,
        },
    };
    let payload = serde_json::to_string(&message).map_err(|source| {
        let context = "a message has no stored form";
        Error::new(ErrorKind::Unexpected, "write job", context).with_source(source)
    })?;
    let key = notice.position.to_string();
    let job = NewJob::new(job_kind(), payload, now).for_user(notice.user_id);
    Ok(Some(job.once(key, KEY_KEPT_FOR)))
}
