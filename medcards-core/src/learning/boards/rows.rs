use std::fmt::Display;

use serde::{Deserialize, Serialize};
use uuid::{Uuid, uuid};

use crate::id::UserId;
use crate::leaderboard::{SpecialtyName, Week};
use crate::view::{Item, RowKey};

/// In which the names of boards are hashed to owners of rows.
const NAMESPACE: Uuid = uuid!("5f0a2f43-6a52-4f6a-9d0c-0f8f0b4b7a51");

/// How many numbers of points one span counts: a row of some 200 bytes.
pub(super) const SPAN_POINTS: u64 = 128;

/// How many weeks have rows of their own. Three are kept at a time: so that week is written over which
/// nobody is shown any more, even by a clock that is behind.
const WEEK_SLOTS: i64 = 4;

/// The place of a member is that of its week, and within it the points, so that what was left by an
/// earlier week stands elsewhere.
const PLACES_PER_WEEK: i64 = 1 << 40;

/// A row of the view `boards`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the rows of one version of the view"
)]
pub enum BoardRow {
    /// Of a board: who is on it.
    Head(BoardHead),
    /// Of a board and some numbers of points: how many have each.
    Span(BoardSpan),
    /// Of a board and a user.
    Member(BoardMember),
    /// Of a cohort.
    Cohort(CohortRow),
    /// Of the view: the latest week with a point. The one that began on Monday, 5 January 1970, is the
    /// millionth.
    Latest(i64),
}

/// How many are on a board.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "what the view keeps of a board")]
pub struct BoardHead {
    /// Of which week it is; 0 for all time.
    pub week: i64,
    /// How many members it has.
    pub members: u64,
    /// How many of them are in each span.
    pub spans: Vec<u64>,
}

/// How many members have so many points.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "what the view keeps of a board")]
pub struct BoardSpan {
    /// Of which week it is; 0 for all time.
    pub week: i64,
    /// A count for each number of points from the first of the span.
    pub counts: Vec<u64>,
}

/// A user on a board.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "what the view keeps of a member")]
pub struct BoardMember {
    /// Of which week it is; 0 for all time.
    pub week: i64,
    /// How many points the user has.
    pub points: u64,
    /// The number of the user's cohort, on the board of a week of all specialties.
    pub cohort: Option<u64>,
}

/// The members of a cohort.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "what the view keeps of a cohort")]
pub struct CohortRow {
    /// Of which week it is.
    pub week: i64,
    /// They, in the order in which they came.
    pub members: Vec<CohortMember>,
}

/// A member of a cohort.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "what the view keeps of a member")]
pub struct CohortMember {
    /// Who.
    pub user_id: UserId,
    /// The points of the week.
    pub points: u64,
    /// The best rank that the user was told of this week.
    pub told: Option<u64>,
}

/// What a row of a week says that another week has taken since is nothing.
pub(super) trait OfWeek: Sized {
    fn week(&self) -> i64;

    fn of(self, week: WeekNumber) -> Option<Self> {
        (self.week() == week.0).then_some(self)
    }
}

macro_rules! of_week {
    ($($row:ident),*) => {$(
        impl OfWeek for &$row {
            fn week(&self) -> i64 {
                self.week
            }
        }
    )*};
}

of_week!(BoardHead, BoardSpan, BoardMember, CohortRow);

impl BoardRow {
    pub(super) const fn head(&self) -> Option<&BoardHead> {
        match self {
            Self::Head(head) => Some(head),
            _ => None,
        }
    }

    pub(super) const fn span(&self) -> Option<&BoardSpan> {
        match self {
            Self::Span(span) => Some(span),
            _ => None,
        }
    }

    pub(super) const fn member(&self) -> Option<&BoardMember> {
        match self {
            Self::Member(member) => Some(member),
            _ => None,
        }
    }

    pub(super) const fn cohort(&self) -> Option<&CohortRow> {
        match self {
            Self::Cohort(cohort) => Some(cohort),
            _ => None,
        }
    }
}

impl BoardMember {
    /// Where the member stands on its board.
    pub(super) fn place(&self) -> i64 {
        place_of(WeekNumber(self.week), self.points)
    }
}

/// Where whoever has so many points stands.
pub(super) fn place_of(week: WeekNumber, points: u64) -> i64 {
    let points = i64::try_from(points).unwrap_or(i64::MAX);
    let first = week.0.saturating_mul(PLACES_PER_WEEK);
    first.saturating_add(points.min(PLACES_PER_WEEK - 1))
}

/// The first and the last place of a board.
pub(super) fn places_of(week: WeekNumber) -> (i64, i64) {
    (place_of(week, 0), place_of(week, u64::MAX))
}

/// A week, counted so that none that students know is 0, which stands for all time: the one that began
/// on Monday, 5 January 1970, is the millionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WeekNumber(pub(super) i64);

impl WeekNumber {
    pub(super) const ALL_TIME: Self = Self(0);

    pub(super) fn of(week: Week) -> Self {
        const WEEK_S: i64 = 7 * 24 * 3_600;
        // Monday, 5 January 1970, 00:00 UTC.
        const FIRST_S: i64 = 4 * 24 * 3_600;
        const FIRST: i64 = 1_000_000;
        Self(FIRST + (week.begins_at().as_second() - FIRST_S).div_euclid(WEEK_S))
    }

    fn slot(self) -> i64 {
        self.0.rem_euclid(WEEK_SLOTS)
    }
}

/// Whose rows a board's are.
#[derive(Clone, Copy, Debug)]
pub(super) struct BoardOwner {
    pub(super) owner: Uuid,
    pub(super) week: WeekNumber,
}

impl BoardOwner {
    pub(super) fn new(week: WeekNumber, specialty: Option<&SpecialtyName>) -> Self {
        let specialty = specialty.map_or("", SpecialtyName::as_str);
        let owner = match week {
            WeekNumber::ALL_TIME => owner(format_args!("all-time/{specialty}")),
            week => owner(format_args!("week-{}/{specialty}", week.slot())),
        };
        Self { owner, week }
    }

    pub(super) const fn head(&self) -> RowKey {
        RowKey::new(self.owner, Item::named("head"))
    }

    /// The row that counts who has so many points.
    pub(super) fn span(&self, points: u64) -> RowKey {
        RowKey::new(self.owner, numbered(*b"span", points / SPAN_POINTS))
    }

    pub(super) fn member(&self, user_id: UserId) -> RowKey {
        RowKey::new(self.owner, Item::of(user_id.as_uuid()))
    }
}

/// The row of a cohort.
pub(super) fn cohort_key(week: WeekNumber, number: u64) -> RowKey {
    let owner = owner(format_args!("cohorts-{}", week.slot()));
    RowKey::new(owner, numbered(*b"coho", number))
}

/// The row of the latest week.
pub(super) const LATEST: RowKey = RowKey::of_view(Item::named("latest"));

fn owner(name: impl Display) -> Uuid {
    Uuid::new_v5(&NAMESPACE, name.to_string().as_bytes())
}

/// Of another length than the item of a member.
fn numbered(kind: [u8; 4], number: u64) -> Item {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&kind);
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    // It is short enough.
    Item::from_bytes(&bytes).unwrap_or(Item::NONE)
}

/// The index of points in the head, and in their span.
pub(super) fn index_of(points: u64) -> (usize, usize) {
    let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    (index(points / SPAN_POINTS), index(points % SPAN_POINTS))
}
