use std::collections::HashMap;

use async_trait::async_trait;

use super::MemoryStore;
use crate::event::{
    EVENTS_COUNTED_MAX, EVENTS_PER_READ_MAX, Event, EventBody, EventLog, LogPosition, ReaderName,
};
use crate::id::UserId;
use crate::shard::Bucket;
use crate::store::{Hint, Hints};
use crate::{Error, ErrorKind, Result};

/// The answer log, and how far its readers have come.
#[derive(Clone, Default)]
pub(super) struct Log {
    /// The event at place `n` stands at index `n - 1`.
    events: Vec<Event>,
    cursors: HashMap<ReaderName, LogPosition>,
    appended: Hints,
}

impl Log {
    pub(super) fn append(&mut self, user_id: UserId, body: EventBody) {
        let position = LogPosition {
            transaction: 0,
            sequence: self.events.len() as u64 + 1,
        };
        self.events.push(Event {
            position,
            user_id,
            bucket: Bucket::of(&user_id),
            body,
        });
        self.appended.give();
    }

    pub(super) fn last(&self) -> LogPosition {
        self.events
            .last()
            .map_or(LogPosition::START, |event| event.position)
    }

    fn cursor(&self, reader: &ReaderName) -> LogPosition {
        self.cursors
            .get(reader)
            .copied()
            .unwrap_or(LogPosition::START)
    }
}

#[async_trait]
impl EventLog for MemoryStore {
    async fn read_events(&self, after: LogPosition, limit: usize) -> Result<Vec<Event>> {
        let state = self.state();
        let events = &state.log.events;
        let first = events.partition_point(|event| event.position <= after);
        let count = limit.min(EVENTS_PER_READ_MAX);
        Ok(events[first..].iter().take(count).cloned().collect())
    }

    async fn append_events(&self, bodies: Vec<EventBody>) -> Result<()> {
        bodies.iter().try_for_each(EventBody::check_everyone)?;
        let mut state = self.state();
        for body in bodies {
            state.log.append(UserId::EVERYONE, body);
        }
        Ok(())
    }

    async fn count_events(&self, after: LogPosition) -> Result<u64> {
        let state = self.state();
        let events = &state.log.events;
        let first = events.partition_point(|event| event.position <= after);
        Ok(((events.len() - first) as u64).min(EVENTS_COUNTED_MAX))
    }

    fn appended(&self) -> Hint {
        self.state().log.appended.take()
    }

    async fn find_cursor(&self, reader: &ReaderName) -> Result<LogPosition> {
        Ok(self.state().log.cursor(reader))
    }

    async fn move_cursor(
        &self,
        reader: &ReaderName,
        from: LogPosition,
        to: LogPosition,
    ) -> Result<()> {
        let refuse = |kind, context| Err(Error::new(kind, "move cursor", context));
        if to < from {
            return refuse(
                ErrorKind::Invalid,
                "a reader does not go back: move it forward",
            );
        }
        let mut state = self.state();
        if state.log.cursor(reader) != from {
            return refuse(
                ErrorKind::Conflict,
                "another process moved it: read it again",
            );
        }
        state.log.cursors.insert(reader.clone(), to);
        Ok(())
    }
}
