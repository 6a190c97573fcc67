use std::fmt;
use std::fmt::{Debug, Display};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{Announced, Item, RowKey};
use crate::Result;
use crate::event::{Event, LogPosition, ReaderName};
use crate::id::UserId;
use crate::store::Consistency;

/// The name of a view, such as `user-stats`.
pub type ViewName = ReaderName;

/// The most rows that one call reads or writes: some 100 ms of work for a database.
pub const ROWS_PER_CALL_MAX: usize = 10_000;

/// The most events of a view that are kept with the reason why they were set aside. More are only
/// counted: whoever has so many has one fault, not many.
pub const SET_ASIDE_KEPT_MAX: usize = 1_000;

/// The number of an edition, which no two editions of a store share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EditionNumber(i64);

impl EditionNumber {
    /// Takes a number. For who writes a store.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl Display for EditionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

/// Which edition of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the current one or a given one")]
pub enum EditionOf {
    /// The one that answers, whichever that is when the store looks.
    Current(ViewName),
    /// This one.
    Number(EditionNumber),
}

/// An edition of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every store")]
pub struct EditionState {
    /// Which.
    pub number: EditionNumber,
    /// By which rules; see [`Projection::version`](super::Projection::version).
    pub version: u64,
    /// With how many [corrections](crate::case::KeyCorrection) of keys, the first so many.
    pub corrections: u64,
    /// The last event that counts in it.
    pub position: LogPosition,
    /// How many events were set aside.
    pub set_aside: u64,
    /// When it was begun.
    pub begun_at: Timestamp,
}

/// What there is of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every store")]
pub struct ViewState {
    /// The view.
    pub name: ViewName,
    /// The edition that answers, if any was ever whole.
    pub current: Option<EditionState>,
    /// The edition that is being built.
    pub next: Option<EditionState>,
    /// The last event that was announced. Of a view that is new it is the last event there was.
    pub announced: LogPosition,
    /// Who applies events, and until when unless it goes on.
    pub lead: Option<(Runner, Timestamp)>,
}

/// Who applies events to a view: a process, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Runner(Uuid);

impl Runner {
    /// Takes a name that nobody else has, such as a random UUID.
    #[must_use]
    pub const fn new(name: Uuid) -> Self {
        Self(name)
    }

    /// The name.
    #[must_use]
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl Display for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

/// A row as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every store")]
pub struct StoredRow {
    /// Its name.
    pub key: RowKey,
    /// Where it stands among those of its owner, if it has a place.
    pub place: Option<i64>,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// A row in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what a view gives")]
pub struct PlacedRow<R> {
    /// Its name.
    pub key: RowKey,
    /// Where it stands.
    pub place: i64,
    /// What it says.
    pub row: R,
}

/// In which order places are read; equal places always in the order of their items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "up or down")]
pub enum Placement {
    /// The lowest place first.
    #[default]
    Ascending,
    /// The highest place first.
    Descending,
}

/// Which of the rows with a place of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "read by every store")]
pub struct ShelfQuery {
    /// Whose.
    pub owner: Uuid,
    /// No place below.
    pub from: i64,
    /// No place above.
    pub to: i64,
    /// In which order.
    pub order: Placement,
    /// Only what comes behind this row in that order.
    pub after: Option<(i64, Item)>,
    /// At most so many, and at most [`ROWS_PER_CALL_MAX`].
    pub limit: usize,
}

impl ShelfQuery {
    /// The first so many of an owner, the lowest place first.
    #[must_use]
    pub const fn new(owner: Uuid, limit: usize) -> Self {
        Self {
            owner,
            from: i64::MIN,
            to: i64::MAX,
            order: Placement::Ascending,
            after: None,
            limit,
        }
    }
}

/// A change of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a row is there afterwards or it is not"
)]
pub enum RowWrite {
    /// Makes the row this, whatever it was.
    Put(StoredRow),
    /// Takes it away, if it is there.
    Remove(RowKey),
}

/// A badge to be awarded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "written by every store")]
pub struct NewAward {
    /// Who has earned it.
    pub user_id: UserId,
    /// The stable name of the badge, at most 64 bytes.
    pub badge: String,
    /// When.
    pub at: Timestamp,
    /// What to do when it is new: it is done in the same transaction, whatever was announced.
    pub job: Option<crate::job::NewJob>,
}

/// A badge that a user has, for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every store")]
pub struct Award {
    /// The stable name of the badge.
    pub badge: String,
    /// Since when.
    pub at: Timestamp,
}

/// An event that does not count in a view, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "kept by every store")]
pub struct SetAside {
    /// Which event.
    pub position: LogPosition,
    /// Its kind.
    pub kind: String,
    /// Why, without any text of a student.
    pub reason: String,
}

impl SetAside {
    /// Sets an event aside. What is over 500 bytes of the reason is cut off.
    #[must_use]
    pub fn new(event: &Event, reason: String) -> Self {
        let mut reason = reason;
        reason.truncate(reason.floor_char_boundary(crate::job::JOB_REASON_LEN_MAX));
        Self {
            position: event.position,
            kind: event.body.kind().to_owned(),
            reason,
        }
    }
}

/// What some events change, all of it in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "written by every store")]
pub struct ViewCommit {
    /// The view.
    pub view: ViewName,
    /// The edition, the current one or the next.
    pub edition: EditionNumber,
    /// Who applied them.
    pub runner: Runner,
    /// Where the edition stood before.
    pub from: LogPosition,
    /// Where it stands afterwards.
    pub to: LogPosition,
    /// Each row at most once; at most [`ROWS_PER_CALL_MAX`].
    pub rows: Vec<RowWrite>,
    /// What events would do, each with the event: done only for those behind what was announced.
    pub announced: Vec<(LogPosition, Announced)>,
    /// What events would award: awarded only to who does not have it, and then told.
    pub awards: Vec<NewAward>,
    /// Events that do not count.
    pub set_aside: Vec<SetAside>,
}

/// Whether a commit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "it counts, or why it does not")]
pub enum Committed {
    /// It is written.
    Done,
    /// Nothing is written: the edition stands here. Forget all rows, and go on from there.
    Elsewhere(LogPosition),
    /// Nothing is written: there is no such edition any more.
    Gone,
    /// Nothing is written: another runner leads.
    NotLeading,
}

/// Keeps views, and what outlives their editions.
///
/// Instants come from the callers, whose clocks may differ by a little. A lead only saves work: what
/// keeps an event from counting twice is that [`ViewCommit::from`] must be where the edition stands.
#[async_trait]
pub trait ViewStore: Debug + Display + Send + Sync + 'static {
    /// What there is of a view; neither edition for one that nobody began.
    ///
    /// # Errors
    /// Those of the storage.
    async fn view(&self, name: &ViewName) -> Result<ViewState>;

    /// All views that were ever begun, in the order of their names.
    ///
    /// # Errors
    /// Those of the storage.
    async fn list_views(&self) -> Result<Vec<ViewState>>;

    /// Begins the next edition of a view, empty and before the first event, and says what there is.
    ///
    /// If one of this version with as many corrections is being built, nothing changes. If another is,
    /// it is given up. A view that is new has announced whatever the log has now.
    ///
    /// # Errors
    /// Those of the storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves the edition begun or not.
    async fn begin_edition(
        &self,
        name: &ViewName,
        version: u64,
        corrections: u64,
        now: Timestamp,
    ) -> Result<ViewState>;

    /// Takes the lead of a view, or prolongs it, until a lease from `now` ends; says whether the runner
    /// has it. It has it if nobody else does, or whose lease had ended before `now`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if no edition of the view was ever begun;
    /// those of the storage.
    async fn take_lead(
        &self,
        name: &ViewName,
        runner: Runner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<bool>;

    /// Gives the lead up, if this runner has it.
    ///
    /// # Errors
    /// Those of the storage.
    async fn give_up_lead(&self, name: &ViewName, runner: Runner) -> Result<()>;

    /// Rows by their keys, in any order; a key that has no row gives none. At most
    /// [`ROWS_PER_CALL_MAX`] keys. An edition that is gone has no rows.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for too many keys; those of the storage.
    async fn find_rows(
        &self,
        edition: &EditionOf,
        keys: &[RowKey],
        consistency: &Consistency,
    ) -> Result<Vec<StoredRow>>;

    /// The rows of an owner in the order of their items, after this one, at most `limit` and at most
    /// [`ROWS_PER_CALL_MAX`].
    ///
    /// # Errors
    /// Those of the storage.
    async fn list_rows(
        &self,
        edition: &EditionOf,
        owner: Uuid,
        after: Option<Item>,
        limit: usize,
        consistency: &Consistency,
    ) -> Result<Vec<StoredRow>>;

    /// The rows of an owner in the order of their places. Those without a place are left out.
    ///
    /// # Errors
    /// Those of the storage.
    async fn list_shelf(
        &self,
        edition: &EditionOf,
        query: &ShelfQuery,
        consistency: &Consistency,
    ) -> Result<Vec<StoredRow>>;

    /// Writes what events change, in one transaction, and says whether it counts.
    ///
    /// It counts if the runner leads, although its lease may have ended, and the edition stands at
    /// [`ViewCommit::from`]. Then rows are written and events set aside; what is announced is done for
    /// events behind the last that was announced, which becomes the greatest of those that the view
    /// has counted; awards that are new are written, with a [notice](crate::notice::NoticeBody::Badge)
    /// and their job.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for too many rows, a `to` before `from`, or a
    /// job that cannot be enqueued; then nothing is written. Those of the storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves all of it written or nothing.
    async fn commit(&self, commit: ViewCommit) -> Result<Committed>;

    /// Makes the next edition the current one, if it is this one, and stands at or behind the place of
    /// the current one; says whether it is.
    ///
    /// # Errors
    /// Those of the storage.
    async fn switch(&self, name: &ViewName, edition: EditionNumber) -> Result<bool>;

    /// Events that were set aside, the latest first, at most `limit` and at most
    /// [`SET_ASIDE_KEPT_MAX`].
    ///
    /// # Errors
    /// Those of the storage.
    async fn list_set_aside(&self, edition: EditionNumber, limit: usize) -> Result<Vec<SetAside>>;

    /// Deletes rows of editions that are gone, at most `limit`; returns how many there were.
    ///
    /// # Errors
    /// Those of the storage.
    async fn sweep_rows(&self, limit: usize) -> Result<u64>;

    /// The badges of a user, the first one first.
    ///
    /// # Errors
    /// Those of the storage.
    async fn list_awards(&self, user_id: UserId, consistency: &Consistency) -> Result<Vec<Award>>;
}

#[async_trait]
impl<T: ViewStore + ?Sized> ViewStore for Arc<T> {
    async fn view(&self, name: &ViewName) -> Result<ViewState> {
        (**self).view(name).await
    }

    async fn list_views(&self) -> Result<Vec<ViewState>> {
        (**self).list_views().await
    }

    async fn begin_edition(
        &self,
        name: &ViewName,
        version: u64,
        corrections: u64,
        now: Timestamp,
    ) -> Result<ViewState> {
        (**self)
            .begin_edition(name, version, corrections, now)
            .await
    }

    async fn take_lead(
        &self,
        name: &ViewName,
        runner: Runner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<bool> {
        (**self).take_lead(name, runner, now, lease).await
    }

    async fn give_up_lead(&self, name: &ViewName, runner: Runner) -> Result<()> {
        (**self).give_up_lead(name, runner).await
    }

    async fn find_rows(
        &self,
        edition: &EditionOf,
        keys: &[RowKey],
        consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        (**self).find_rows(edition, keys, consistency).await
    }

    async fn list_rows(
        &self,
        edition: &EditionOf,
        owner: Uuid,
        after: Option<Item>,
        limit: usize,
        consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        (**self)
            .list_rows(edition, owner, after, limit, consistency)
            .await
    }

    async fn list_shelf(
        &self,
        edition: &EditionOf,
        query: &ShelfQuery,
        consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        (**self).list_shelf(edition, query, consistency).await
    }

    async fn commit(&self, commit: ViewCommit) -> Result<Committed> {
        (**self).commit(commit).await
    }

    async fn switch(&self, name: &ViewName, edition: EditionNumber) -> Result<bool> {
        (**self).switch(name, edition).await
    }

    async fn list_set_aside(&self, edition: EditionNumber, limit: usize) -> Result<Vec<SetAside>> {
        (**self).list_set_aside(edition, limit).await
    }

    async fn sweep_rows(&self, limit: usize) -> Result<u64> {
        (**self).sweep_rows(limit).await
    }

    async fn list_awards(&self, user_id: UserId, consistency: &Consistency) -> Result<Vec<Award>> {
        (**self).list_awards(user_id, consistency).await
    }
}
