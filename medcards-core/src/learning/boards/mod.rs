//! Boards and cohorts, kept in the store: the view `boards`.
//!
//! The boards are those of [`leaderboard`](crate::leaderboard), with the same rules, by the keys as they
//! are corrected. A board has a row per member, by whose places a top is read, and a histogram of points,
//! from which a rank is counted: so a top, a rank and a cohort cost a few rows each, however many
//! members there are.
//!
//! A week is known to be over by the log alone. The boards of a week are kept until the third week after
//! it has its first point; then those of the fourth are written over them, so that nothing has to be
//! looked for to be deleted.

mod projection;
mod rows;
mod stored;

pub use projection::{BOARDS, BoardsProjection};
pub use rows::{BoardHead, BoardMember, BoardRow, BoardSpan, CohortMember, CohortRow};
pub use stored::StoredLeaderboards;
