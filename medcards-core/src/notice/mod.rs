//! Notices: what a student is told of as it happens, such as a badge.
//!
//! They are written in the transaction of their cause, kept for [`NOTICE_KEPT_FOR`], and read in
//! commit order: by each process as one stream for all its clients, and by a client that was away from
//! where it was.

mod store;

pub use store::NoticeStore;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::case::CaseVersion;
use crate::event::LogPosition;
use crate::id::{CaseId, UserId};

/// How long notices are kept: a client that was away longer reads the dashboard instead.
pub const NOTICE_KEPT_FOR: Duration = Duration::from_hours(30 * 24);

/// The most notices that one read returns: about 200 kB.
pub const NOTICES_PER_READ_MAX: usize = 1_000;

/// Something a student is to be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "written by every store")]
pub struct NewNotice {
    /// Who.
    pub user_id: UserId,
    /// When it happened.
    pub at: Timestamp,
    /// What.
    pub body: NoticeBody,
}

/// A notice in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every store")]
pub struct Notice {
    /// Where it stands among all notices of its store; later commits have greater places.
    pub position: LogPosition,
    /// Who is told.
    pub user_id: UserId,
    /// When it happened.
    pub at: Timestamp,
    /// What.
    pub body: NoticeBody,
}

/// What a student is told of.
///
/// The serialised form is stored. Fields may be added with a default; anything else is a new kind. A
/// reader passes over kinds that it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoticeBody {
    /// The student has a badge.
    Badge {
        /// The stable name of the badge.
        badge: String,
    },
    /// The student rose in the cohort of the week.
    Rank {
        /// The week, such as `2026-W48`.
        week: String,
        /// The rank now, from 1.
        rank: u64,
        /// The points now.
        points: u64,
    },
    /// The key of a case that the student answered was corrected.
    Regraded {
        /// The case.
        case_id: CaseId,
        /// The version that the student answered.
        version: CaseVersion,
        /// Whether the student's last answer to that version is right now.
        is_correct: bool,
    },
    /// The student's streak is one day longer.
    Streak {
        /// How many days it has.
        days: u32,
    },
}

impl NoticeBody {
    /// The stable name of the kind, as stored.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Badge { .. } => "badge",
            Self::Rank { .. } => "rank",
            Self::Regraded { .. } => "regraded",
            Self::Streak { .. } => "streak",
        }
    }
}
