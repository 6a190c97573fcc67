//! What all stores share: pages, cursors, and how fresh a read must be.

mod consistency;
mod hint;
mod list;
mod page;

pub use consistency::{Consistency, ReadToken};
pub use hint::{Hint, Hints};
pub use list::ListId;
pub use page::{Page, PageCursor, PageLimit};

use crate::answer::AnswerStore;
use crate::case::CaseStore;
use crate::event::EventLog;
use crate::feedback::PrecomputedStore;
use crate::job::JobQueue;
use crate::notice::NoticeStore;
use crate::spend::SpendLedger;
use crate::user::UserStore;
use crate::view::ViewStore;

/// A backend that has every store ability.
///
/// Implemented for whatever implements the narrow traits; never implement it by hand. It exists so
/// that one value can be handed to `Medcards::builder`.
pub trait Store:
    AnswerStore + CaseStore + EventLog + PrecomputedStore + SpendLedger + UserStore
{
}

impl<T> Store for T where
    T: AnswerStore + CaseStore + EventLog + PrecomputedStore + SpendLedger + UserStore + ?Sized
{
}

/// A backend that keeps what is derived from the log, and what is to be done about it.
///
/// Implemented for whatever implements the narrow traits; never implement it by hand. Not every
/// [`Store`] is one: then nothing is learnt from answers.
pub trait LearningStore: JobQueue + NoticeStore + ViewStore {}

impl<T> LearningStore for T where T: JobQueue + NoticeStore + ViewStore + ?Sized {}
