use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Announced, Changes, Facts, NewAward, Projection, RowKey, SetAside, Stop};
use crate::event::{Event, EventBody, LogPosition};

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "it counts, waits for a row, or cannot count"
)]
pub enum Applied {
    /// It counts.
    Done {
        /// What to do if nobody did it for this event before.
        announced: Vec<Announced>,
        /// What to award unless it was awarded before.
        awards: Vec<NewAward>,
    },
    /// It needs this row first: [`Folder::learn`] it and apply the event again.
    Missing(RowKey),
    /// It is set aside for this reason, and changed nothing.
    SetAside(String),
}

/// Applies events one after the other to rows that it is given.
#[derive(Debug)]
pub struct Folder<P: Projection> {
    projection: P,
    changes: Changes<P::Row>,
}

impl<P: Projection> Folder<P> {
    /// Begins with no row known.
    #[must_use]
    pub fn new(projection: P) -> Self {
        Self {
            projection,
            changes: Changes::new(),
        }
    }

    /// The projection.
    #[must_use]
    pub const fn projection(&self) -> &P {
        &self.projection
    }

    /// Whether it is known what this row is, or that there is none.
    #[must_use]
    pub fn knows(&self, key: &RowKey) -> bool {
        self.changes.knows(key)
    }

    /// Makes a row known as it is stored, or that there is none. What is known already stands.
    pub fn learn(&mut self, key: RowKey, row: Option<P::Row>) {
        self.changes.learn(key, row);
    }

    /// How many rows are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether no row is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many rows differ from what is stored.
    #[must_use]
    pub fn changed(&self) -> usize {
        self.changes.dirty_len()
    }

    /// Forgets all rows, also those that were changed.
    pub fn forget(&mut self) {
        self.changes.forget();
    }

    /// Applies an event, whole or not at all. A projection that panics has the event set aside.
    pub fn apply(&mut self, event: &Event, facts: &Facts) -> Applied {
        if let EventBody::Unreadable { reason, .. } = &event.body {
            return Applied::SetAside(reason.clone());
        }
        let (projection, changes) = (&self.projection, &mut self.changes);
        let run = AssertUnwindSafe(|| projection.apply(event, facts, changes));
        let stop = match catch_unwind(run) {
            Ok(Ok(())) => {
                let (announced, awards) = self.changes.accept();
                return Applied::Done { announced, awards };
            }
            Ok(Err(stop)) => stop,
            Err(_panic) => Stop::SetAside("the projection panicked".to_owned()),
        };
        self.changes.undo();
        match stop {
            Stop::Missing(key) => Applied::Missing(key),
            Stop::SetAside(reason) => Applied::SetAside(reason),
        }
    }

    /// The rows that differ from what is stored, in the order of their keys; they count as stored from
    /// now on.
    pub fn take_changed(&mut self) -> Vec<(RowKey, Option<P::Row>)> {
        self.changes.take_dirty()
    }
}

/// A view as computed from a list of events.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "what a fold gives")]
pub struct Folded<R> {
    /// All rows.
    pub rows: BTreeMap<RowKey, R>,
    /// What each event would have done, in their order.
    pub announced: Vec<(LogPosition, Announced)>,
    /// All awards, the first of each user and badge.
    pub awards: Vec<NewAward>,
    /// The events that could not be counted.
    pub set_aside: Vec<SetAside>,
}

/// Computes a view from the events of a log, from the first to the last.
#[must_use]
pub fn fold<'a, P: Projection>(
    projection: P,
    events: impl IntoIterator<Item = &'a Event>,
    facts: &Facts,
) -> Folded<P::Row> {
    let mut folder = Folder::new(projection);
    let (mut all, mut awards, mut set_aside) = (Vec::new(), Vec::<NewAward>::new(), Vec::new());
    let mut awarded = std::collections::HashSet::new();
    for event in events {
        loop {
            match folder.apply(event, facts) {
                Applied::Missing(key) => folder.learn(key, None),
                Applied::SetAside(reason) => {
                    set_aside.push(SetAside::new(event, reason));
                    break;
                }
                Applied::Done {
                    announced,
                    awards: new,
                } => {
                    all.extend(announced.into_iter().map(|it| (event.position, it)));
                    let is_first = |it: &NewAward| awarded.insert((it.user_id, it.badge.clone()));
                    awards.extend(new.into_iter().filter(is_first));
                    break;
                }
            }
        }
    }
    Folded {
        rows: folder.changes.into_rows().into_iter().collect(),
        announced: all,
        awards,
        set_aside,
    }
}
