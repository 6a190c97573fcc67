use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::{NewAward, RowKey};
use crate::id::UserId;
use crate::job::NewJob;
use crate::notice::NoticeBody;

/// Why an event was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a row is missing, or the event cannot be counted"
)]
pub enum Stop {
    /// This row has not been read yet.
    Missing(RowKey),
    /// The event cannot be counted. The reason has no text of a student.
    SetAside(String),
}

/// What is done once an event counts, if nobody did it for this event before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a store that cannot do a new kind must not compile"
)]
pub enum Announced {
    /// Something is to be done.
    Job(NewJob),
    /// A student is told.
    Notice {
        /// Who.
        user_id: UserId,
        /// When it happened.
        at: Timestamp,
        /// What.
        body: NoticeBody,
    },
}

/// The rows that an event sees and changes, and what follows from it.
#[derive(Debug)]
pub struct Changes<R> {
    /// What is known of each row that was read or changed; `None` where there is no row.
    rows: HashMap<RowKey, Option<R>>,
    /// Rows that differ from what is stored.
    dirty: HashSet<RowKey>,
    /// What the event under way found before it changed it, and whether that was dirty.
    undo: Vec<(RowKey, Option<R>, bool)>,
    announced: Vec<Announced>,
    awards: Vec<NewAward>,
}

impl<R: Clone> Changes<R> {
    pub(super) fn new() -> Self {
        Self {
            rows: HashMap::new(),
            dirty: HashSet::new(),
            undo: Vec::new(),
            announced: Vec::new(),
            awards: Vec::new(),
        }
    }

    /// The row with this key, or `None` if there is none.
    ///
    /// # Errors
    /// [`Stop::Missing`] if it has not been read yet: hand it on.
    pub fn find(&self, key: RowKey) -> Result<Option<&R>, Stop> {
        let found = self.rows.get(&key).ok_or(Stop::Missing(key))?;
        Ok(found.as_ref())
    }

    /// Puts a row in the place of whatever is there.
    ///
    /// # Errors
    /// [`Stop::Missing`] if that has not been read yet: hand it on.
    pub fn put(&mut self, key: RowKey, row: R) -> Result<(), Stop> {
        self.set(key, Some(row))
    }

    /// Takes a row away.
    ///
    /// # Errors
    /// [`Stop::Missing`] if it has not been read yet: hand it on.
    pub fn remove(&mut self, key: RowKey) -> Result<(), Stop> {
        self.set(key, None)
    }

    /// Tells a student something, once for this event however often the view is built.
    pub fn notify(&mut self, user_id: UserId, at: Timestamp, body: NoticeBody) {
        self.announced.push(Announced::Notice { user_id, at, body });
    }

    /// Has a job enqueued, once for this event however often the view is built.
    pub fn enqueue(&mut self, job: NewJob) {
        self.announced.push(Announced::Job(job));
    }

    /// Awards a badge, unless the user has it. The user is told by a notice.
    pub fn award(&mut self, award: NewAward) {
        self.awards.push(award);
    }

    fn set(&mut self, key: RowKey, row: Option<R>) -> Result<(), Stop> {
        let known = self.rows.get_mut(&key).ok_or(Stop::Missing(key))?;
        let before = std::mem::replace(known, row);
        let was_dirty = !self.dirty.insert(key);
        self.undo.push((key, before, was_dirty));
        Ok(())
    }

    pub(super) fn knows(&self, key: &RowKey) -> bool {
        self.rows.contains_key(key)
    }

    pub(super) fn learn(&mut self, key: RowKey, row: Option<R>) {
        self.rows.entry(key).or_insert(row);
    }

    pub(super) fn accept(&mut self) -> (Vec<Announced>, Vec<NewAward>) {
        self.undo.clear();
        let announced = std::mem::take(&mut self.announced);
        (announced, std::mem::take(&mut self.awards))
    }

    pub(super) fn undo(&mut self) {
        for (key, before, was_dirty) in self.undo.drain(..).rev() {
            self.rows.insert(key, before);
            if !was_dirty {
                self.dirty.remove(&key);
            }
        }
        self.announced.clear();
        self.awards.clear();
    }

    /// The rows that differ from what is stored, which count as stored from now on.
    pub(super) fn take_dirty(&mut self) -> Vec<(RowKey, Option<R>)> {
        let keys = std::mem::take(&mut self.dirty);
        let row = |key: RowKey| (key, self.rows.get(&key).cloned().flatten());
        let mut rows: Vec<_> = keys.into_iter().map(row).collect();
        rows.sort_by_key(|(key, _)| *key);
        rows
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    pub(super) fn forget(&mut self) {
        self.rows.clear();
        self.dirty.clear();
    }

    pub(super) fn into_rows(self) -> HashMap<RowKey, R> {
        let present = |(key, row): (RowKey, Option<R>)| Some((key, row?));
        self.rows.into_iter().filter_map(present).collect()
    }
}
