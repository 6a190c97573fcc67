//! The log of removals: a capped stream.
//!
//! Messages of Redis' own publish and subscribe may be lost without a word. Whoever reads a stream
//! asks for the entry that was read last and those after it: if that one is missing, the log was
//! trimmed, flushed, evicted, or lost its end when a replica took over, and the reader knows that it
//! may have missed something.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::{ErrorKind, Result};
use redis::{Cmd, Value};

use super::super::duration::{micros, millis};
use super::RedisCache;
use crate::tiered::{FarCache, LogPage, LogPosition, Notice, Removal};

/// About how many removals the log holds. Who reads every quarter of a second misses none below
/// 40,000 a second.
const LOG_LEN_MAX: u32 = 10_000;

/// How long the log outlives the last process that reads it.
const LOG_KEPT_FOR: Duration = Duration::from_hours(1);

/// How often a reader makes the log live longer.
const LOG_KEPT_EVERY: Duration = Duration::from_mins(10);

/// How many removals are read at once.
const PAGE_LEN: usize = 1_000;

/// The text of an entry that says nothing: it makes a log that can be followed from its beginning.
const BEGINNING: &str = "begin";

/// An entry of a stream: its id, and its fields and values in turn.
type Entry = (String, Vec<String>);

impl RedisCache {
    fn log(&self) -> String {
        self.redis.key("removals", "1")
    }

    /// Adds an entry and returns its id.
    async fn append(&self, text: &str, by: &str) -> Result<LogPosition> {
        let mut both = redis::pipe();
        both.cmd("XADD")
            .arg(self.log())
            .arg(("MAXLEN", "~", LOG_LEN_MAX))
            .arg(("*", "by", by, "what", text))
            .add_command(self.keep_log())
            .ignore();
        let patience = self.redis.patience();
        let (id,): (String,) = self
            .redis
            .pipeline("announce a removal", patience, &both)
            .await?;
        Ok(LogPosition::new(id))
    }

    /// Deletes the log, after which everybody forgets everything.
    async fn delete_log(&self, operation: &'static str) -> Result<()> {
        let mut command = redis::cmd("UNLINK");
        command.arg(self.log());
        let _: i64 = self.query(operation, &command).await?;
        Ok(())
    }

    fn keep_log(&self) -> Cmd {
        let mut command = redis::cmd("PEXPIRE");
        command.arg(self.log()).arg(millis(LOG_KEPT_FOR));
        command
    }

    /// Where the log ends, which is begun if there is none.
    async fn end(&self) -> Result<LogPosition> {
        let mut command = redis::cmd("XREVRANGE");
        command.arg(self.log()).arg(("+", "-", "COUNT", 1));
        let mut last: Vec<(String, Value)> = self.query("find the last removal", &command).await?;
        match last.pop() {
            Some((id, _)) => Ok(LogPosition::new(id)),
            None => self.append(BEGINNING, self.redis.process_id()).await,
        }
    }

    /// Makes the log live longer, now and then.
    async fn keep_log_now_and_then(&self) -> Result<()> {
        let now_us = self.clock.monotonic_us();
        let due_us = self.log_kept_at_us.load(Ordering::Relaxed);
        if now_us < due_us {
            return Ok(());
        }
        let _: i64 = self.query("keep the removals", &self.keep_log()).await?;
        let next_us = now_us + micros(LOG_KEPT_EVERY);
        self.log_kept_at_us.store(next_us, Ordering::Relaxed);
        Ok(())
    }
}

fn notice((id, fields): Entry) -> Option<Notice> {
    let value = |name: &str| {
        let mut pairs = fields.chunks_exact(2);
        pairs.find_map(|pair| (pair[0] == name).then(|| pair[1].as_str()))
    };
    let what = value("what").unwrap_or_default();
    (what != BEGINNING).then(|| Notice {
        position: LogPosition::new(id),
        removal: what.parse().ok(),
        by: value("by").unwrap_or_default().to_owned(),
    })
}

#[async_trait]
impl FarCache for RedisCache {
    fn is_away(&self) -> bool {
        self.redis.is_away()
    }

    async fn announce(&self, removal: &Removal, by: &str) -> Result<Option<LogPosition>> {
        const OPERATION: &str = "announce a removal";
        let text = removal.to_string();
        match self.append(&text, by).await {
            Ok(position) => Ok(Some(position)),
            Err(error) if error.kind() == ErrorKind::Full => {
                // There is no room to say what is to be forgotten, but room to delete the log.
                self.delete_log(OPERATION).await?;
                Ok(None)
            }
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.delete_log(OPERATION).await?;
                self.append(&text, by).await.map(Some)
            }
            Err(error) => Err(error),
        }
    }

    async fn announced_after(&self, position: Option<&LogPosition>) -> Result<LogPage> {
        match self.read_after(position).await {
            // Something else is in its place, which nobody mends but we.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.delete_log("begin the removals anew").await?;
                self.read_after(position).await
            }
            read => read,
        }
    }
}

impl RedisCache {
    async fn read_after(&self, position: Option<&LogPosition>) -> Result<LogPage> {
        let Some(position) = position else {
            return Ok(LogPage {
                notices: Vec::new(),
                follows: false,
                end: Some(self.end().await?),
                has_more: false,
            });
        };
        let mut command = redis::cmd("XRANGE");
        command
            .arg(self.log())
            .arg((position.as_str(), "+", "COUNT", PAGE_LEN + 1));
        let entries: Vec<Entry> = self.query("read the removals", &command).await?;
        if entries
            .first()
            .is_none_or(|(id, _)| id != position.as_str())
        {
            let end = match self.end().await {
                Ok(end) => Some(end),
                // There is no room for a log. That the old one is gone must be known all the same.
                Err(error) if error.kind() == ErrorKind::Full => None,
                Err(error) => return Err(error),
            };
            return Ok(LogPage {
                notices: Vec::new(),
                follows: false,
                end,
                has_more: false,
            });
        }
        self.keep_log_now_and_then().await?;
        let has_more = entries.len() > PAGE_LEN;
        let end = entries.last().map(|(id, _)| LogPosition::new(id));
        let new = entries.into_iter().skip(1);
        Ok(LogPage {
            notices: new.filter_map(notice).collect(),
            follows: true,
            end,
            has_more,
        })
    }
}
