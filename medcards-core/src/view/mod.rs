//! Views of the answer log: what is derived from it, kept as rows, and can be built anew at any time.
//!
//! A [`Projection`] says what an event changes, as a pure function of the rows it changes. A
//! [`ViewStore`] keeps the rows, and how far in the log they are, in one transaction: so each event
//! counts once, whatever is killed in between. [`fold`] computes the same from a list of events, with
//! no store.
//!
//! An edition of a view is all its rows as they were made in one go from the start of the log. The
//! current one answers; the next one is built beside it when the rules of the projection or the [key of
//! a case](crate::case::KeyCorrection) have changed, and takes its place when it has come as far.
//!
//! Some things outlive editions. What students are [told](crate::notice) of an event they are told
//! once: a view remembers the last event that was announced. [Badges](Award) are awarded once and stay
//! awarded, whatever later editions say.

mod changes;
mod fact;
mod fold;
mod projection;
mod reader;
mod row;
mod store;

pub use changes::{Announced, Changes, Stop};
pub use fact::{CaseFact, Facts};
pub use fold::{Applied, Folded, Folder, fold};
pub use projection::{Projection, ProjectionRow};
pub use reader::View;
pub use row::{ITEM_LEN_MAX, Item, RowKey};
pub use store::{
    Award, Committed, EditionNumber, EditionOf, EditionState, NewAward, PlacedRow, Placement,
    ROWS_PER_CALL_MAX, RowWrite, Runner, SET_ASIDE_KEPT_MAX, SetAside, ShelfQuery, StoredRow,
    ViewCommit, ViewName, ViewState, ViewStore,
};
