//! Moving a whole deployment from one store into another, row by row as it is kept, in steps that
//! may be killed.
//!
//! [`Inventory::take`] reads a store and says what is in it: rows of each part, a hash of each part
//! and of each user, and the rows that the target cannot keep. [`carry`] then writes part after part.
//! Each step writes its rows and how far it came in one transaction, so that whoever starts again
//! goes on there: no row is lost, and none is written twice. Another inventory, of the target, tells
//! whether both hold the same ([`Inventory::compare`]).
//!
//! A source must not change meanwhile. Its inventory has a [`Fingerprint`], under which the target
//! keeps what it was given: the rest of a source that did change is refused.
//!
//! Views of the answer log are not carried: the target builds them anew from the log. A view that is
//! new announces nothing of what was there before it, so no student is told anything twice. What
//! outlives views is carried: awards, and the jobs with their keys. Notices are not: they are of
//! yesterday.

mod inventory;
mod json;
mod row;
mod run;

pub use inventory::{Differences, Fingerprint, Inventory, OBJECTIONS_MAX, Objection, PartSum};
pub use json::{JsonSense, StoredJson};
pub use row::{
    AwardRow, CaseRow, CursorRow, DeadJobRow, EventRow, FeedbackRow, JobKeyRow, JobRow,
    ReservationRow, Row, SpendDayRow, SpendScopeRow, UserRow,
};
pub use run::{ROWS_PER_STEP, ROWS_PER_STEP_MAX, carry};

use std::fmt;
use std::fmt::{Debug, Display};
use std::str::FromStr;

use async_trait::async_trait;

use crate::{Error, ErrorKind, Result};

/// What a deployment consists of, in the order in which it is carried: who is named comes before
/// whoever names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a store that does not carry a new part must not compile"
)]
pub enum Part {
    /// All versions of all cases.
    Cases,
    /// Which keys of which versions were wrong.
    KeyCorrections,
    /// Users and their settings.
    Users,
    /// The badges of users.
    Awards,
    /// Feedback that was written before it is asked for, with its reviews.
    Feedback,
    /// What each day has spent and set aside.
    SpendDays,
    /// The same for months, purposes and users.
    SpendScopes,
    /// Money set aside for live calls.
    Reservations,
    /// What each tier did, per day, model and case.
    SpendTotals,
    /// The answers.
    Answers,
    /// The answer log.
    Events,
    /// How far each reader of the log has come.
    Cursors,
    /// What students asked the coach, and what it replied.
    ChatTurns,
    /// What was said in chats before.
    ChatSummaries,
    /// Answers of the coach that anyone may see.
    SharedAnswers,
    /// What is to be done, and what somebody has begun to do.
    Jobs,
    /// What was given up.
    DeadJobs,
    /// What keeps jobs from being enqueued twice.
    JobKeys,
}

impl Part {
    /// All parts, in order.
    pub const ALL: [Self; 18] = [
        Self::Cases,
        Self::KeyCorrections,
        Self::Users,
        Self::Awards,
        Self::Feedback,
        Self::SpendDays,
        Self::SpendScopes,
        Self::Reservations,
        Self::SpendTotals,
        Self::Answers,
        Self::Events,
        Self::Cursors,
        Self::ChatTurns,
        Self::ChatSummaries,
        Self::SharedAnswers,
        Self::Jobs,
        Self::DeadJobs,
        Self::JobKeys,
    ];

    /// The stable name, as stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cases => "cases",
            Self::KeyCorrections => "key corrections",
            Self::Users => "users",
            Self::Awards => "awards",
            Self::Feedback => "feedback",
            Self::SpendDays => "spend days",
            Self::SpendScopes => "spend scopes",
            Self::Reservations => "reservations",
            Self::SpendTotals => "spend totals",
            Self::Answers => "answers",
            Self::Events => "events",
            Self::Cursors => "cursors",
            Self::ChatTurns => "chat turns",
            Self::ChatSummaries => "chat summaries",
            Self::SharedAnswers => "shared answers",
            Self::Jobs => "jobs",
            Self::DeadJobs => "dead jobs",
            Self::JobKeys => "job keys",
        }
    }

    /// The most rows that are read or written at once: texts and payloads are longer than answers, and
    /// a case costs the index of its words.
    #[must_use]
    pub fn rows_max(self) -> usize {
        match self {
            Self::Cases => 250,
            Self::Feedback
            | Self::ChatTurns
            | Self::ChatSummaries
            | Self::SharedAnswers
            | Self::Jobs
            | Self::DeadJobs => 1_000,
            Self::KeyCorrections
            | Self::Users
            | Self::Awards
            | Self::SpendDays
            | Self::SpendScopes
            | Self::Reservations
            | Self::SpendTotals
            | Self::Answers
            | Self::Events
            | Self::Cursors
            | Self::JobKeys => ROWS_PER_STEP_MAX,
        }
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A place between two rows of a part. Only the store that gave it can say where that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(Box<str>);

impl Place {
    /// A place that is written like this.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// How it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a field of a place whose fields have `/` between them; the last one may have more.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if there is no such field.
    pub fn field<T: FromStr>(&self, index: usize, fields: usize) -> Result<T> {
        let field = self.0.splitn(fields, '/').nth(index);
        field.and_then(|text| text.parse().ok()).ok_or_else(|| {
            let context = "a place is not in the expected form: it was written by another program";
            Error::new(ErrorKind::Corrupt, "read place", context)
        })
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a part was carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is nothing else to be at")]
pub enum Stand {
    /// Nothing was carried.
    #[default]
    Start,
    /// All rows before this place of the source.
    After(Place),
    /// All of it.
    End,
}

/// Some rows of a part, in the order of the store.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "made by every store")]
pub struct Batch {
    /// The rows.
    pub rows: Vec<Row>,
    /// What stands among them and cannot be read, by name.
    pub unreadable: Vec<String>,
    /// Where the next rows begin; `None` if these are the last.
    pub next: Option<Place>,
}

/// Some rows to be written.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "read by every target")]
pub struct Step {
    /// Of which part.
    pub part: Part,
    /// How far the part was carried before.
    pub from: Stand,
    /// The next rows, in order, all of this part.
    pub rows: Vec<Row>,
    /// How far it is carried with them.
    pub to: Stand,
}

/// What was written of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every target")]
pub struct Progress {
    /// How many rows.
    pub rows: u64,
    /// How far that is.
    pub stand: Stand,
}

/// What a store holds, as far as moving into it is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever moves must tell them apart"
)]
pub enum TargetState {
    /// Nothing: it can be moved into.
    Empty,
    /// A part of the source with this fingerprint.
    Begun(Fingerprint),
    /// All of the source with this fingerprint, and whatever happened since.
    Ended(Fingerprint),
    /// Data of its own, of these kinds.
    Occupied(String),
}

/// A store that can be read row by row, as it is kept.
#[async_trait]
pub trait TransferSource: Debug + Display + Send + Sync + 'static {
    /// How many rows a part has.
    ///
    /// # Errors
    /// Those of the storage.
    async fn count_rows(&self, part: Part) -> Result<u64>;

    /// The next rows of a part after a place, at most `limit`, always in the same order while
    /// nobody writes.
    ///
    /// Answers, turns and summaries of chats come user by user, each user's by id; awards user by user,
    /// each user's by badge, as bytes are ordered; events in the order of the log; jobs in the order in
    /// which they were enqueued, dead ones by id; everything that is kept, whether or not it could be
    /// written today.
    ///
    /// # Errors
    /// Those of the storage. A row that cannot be read is named in the batch instead.
    async fn read_rows(&self, part: Part, after: Option<&Place>, limit: usize) -> Result<Batch>;
}

/// A store that a whole deployment can be moved into.
#[async_trait]
pub trait TransferTarget: TransferSource {
    /// Why it cannot keep a row; `None` if it can.
    fn objection(row: &Row) -> Option<&'static str>
    where
        Self: Sized;

    /// What it holds.
    ///
    /// # Errors
    /// Those of the storage.
    async fn target_state(&self) -> Result<TargetState>;

    /// Begins to take the source with this fingerprint, or goes on with it.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if it holds data of its own, or of another source.
    ///
    /// # Cancel safety
    /// A dropped future leaves it begun or not.
    async fn begin_transfer(&self, source: Fingerprint) -> Result<()>;

    /// How far a part was carried.
    ///
    /// # Errors
    /// Those of the storage.
    async fn progress(&self, part: Part) -> Result<Progress>;

    /// Writes the rows of a step and how far it came, both or neither.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the part does not stand where the step begins, because somebody
    /// else carries it, or if a row is there already; those of the storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves the step either done or not; [`progress`](Self::progress) says which.
    async fn write_step(&self, step: &Step) -> Result<()>;

    /// Says that everything was carried and found equal: from now on it may be used.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if some part was not carried to its end.
    ///
    /// # Cancel safety
    /// A dropped future leaves it ended or not; ending twice is ending once.
    async fn end_transfer(&self) -> Result<()>;
}
