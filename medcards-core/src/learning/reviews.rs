//! Spacing: when a student should see a case again, by [FSRS-6].
//!
//! The view `reviews` has one row per user and case, of 25 to 70 bytes, placed by the instant at which
//! it is due: the due reviews of a student are one read of a shelf. An event costs at most
//! [`RECENT_REVIEWS_MAX`] steps of the model.
//!
//! The state is that of the answers in the order of their instants, whatever order they arrive in, as
//! long as no more than [`RECENT_REVIEWS_MAX`] newer ones of the same user and case were there first. An
//! answer that arrives later still is counted, and leaves the memory as it is.
//!
//! [FSRS-6]: https://github.com/open-spaced-repetition/fsrs4anki/wiki/The-Algorithm

use fsrs::{FSRS, FSRS6_DEFAULT_DECAY, FSRSItem, FSRSReview, MemoryState};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::event::{Event, EventBody};
use crate::id::{CaseId, UserId};
use crate::view::{
    Changes, Facts, Item, PlacedRow, Projection, RowKey, ShelfQuery, Stop, ViewName,
};

/// The name of the view.
pub const REVIEWS: &str = "reviews";

/// With which chance a student is to know a case when it is due: what FSRS and Anki begin with.
pub const DESIRED_RETENTION: f32 = 0.9;

/// The longest wait for a review, in days: the hundred years of the reference implementations.
pub const REVIEW_WAIT_MAX_DAYS: u32 = 36_500;

/// How many of the last reviews of a case are kept, so that one which arrives late can be put among
/// them. A student seldom answers a case more often while a device is offline.
pub const RECENT_REVIEWS_MAX: usize = 4;

/// How sure, in percent, a student is at most of a right answer that was hard.
pub const HARD_CONFIDENCE_MAX: u8 = 40;

/// How sure, in percent, a student is at least of a right answer that was easy.
pub const EASY_CONFIDENCE_MIN: u8 = 80;

/// How long a student takes at most for a right answer that was easy: 30 seconds, time to read a
/// vignette and not to weigh its options.
pub const EASY_TIME_MAX_MS: u32 = 30_000;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// How well a student knew a case, as FSRS has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "FSRS has these four")]
pub enum Rating {
    /// Wrong.
    Again,
    /// Right, with a confidence of at most [`HARD_CONFIDENCE_MAX`].
    Hard,
    /// Right.
    Good,
    /// Right, with a confidence of at least [`EASY_CONFIDENCE_MIN`] and in at most
    /// [`EASY_TIME_MAX_MS`].
    Easy,
}

impl Rating {
    /// What an answer that is right or wrong says of the student's memory.
    #[must_use]
    pub fn of(answer: &Answer, is_right: bool) -> Self {
        let confidence = answer.confidence.map(|it| it.percent());
        let is_fast = answer
            .time_to_answer_ms
            .is_some_and(|time_ms| time_ms <= EASY_TIME_MAX_MS);
        match confidence {
            _ if !is_right => Self::Again,
            Some(percent) if percent <= HARD_CONFIDENCE_MAX => Self::Hard,
            Some(percent) if percent >= EASY_CONFIDENCE_MIN && is_fast => Self::Easy,
            Some(_) | None => Self::Good,
        }
    }

    /// The number that FSRS has for it, 1 to 4.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Again => 1,
            Self::Hard => 2,
            Self::Good => 3,
            Self::Easy => 4,
        }
    }
}

/// What a student remembers of a case.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "FSRS has these two")]
pub struct Memory {
    /// After how many days the student knows it with a chance of 90 %.
    pub stability: f32,
    /// How hard it is to make it more stable, 1 to 10.
    pub difficulty: f32,
}

impl Memory {
    /// The chance that the student knows it so many days after the last review, 0 to 1.
    #[must_use]
    pub fn retrievability(self, days: f64) -> f64 {
        let state = MemoryState {
            stability: self.stability,
            difficulty: self.difficulty,
        };
        let days = days.max(0.0) as f32;
        f64::from(fsrs::current_retrievability(
            state,
            days,
            FSRS6_DEFAULT_DECAY,
        ))
    }
}

/// A row of the view: what a student remembers of a case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReviewRow {
    /// The memory of before the recent reviews, and the instant of the last review that it knows.
    base: Option<(Memory, i64)>,
    /// The last reviews with their instants in milliseconds, in the order of those.
    recent: Vec<(i64, Rating)>,
    memory: Memory,
    due_ms: i64,
    answers: u32,
    lapses: u32,
}

/// Makes memories of reviews.
#[derive(Clone, Debug, Default)]
struct Model {
    fsrs: FSRS,
}

impl Model {
    /// The memory after more reviews, or `None` if there is none.
    fn after(&self, base: Option<(Memory, i64)>, reviews: &[(i64, Rating)]) -> Option<Memory> {
        let mut last_ms = base.map(|(_, at_ms)| at_ms);
        let review = |(at_ms, rating): &(i64, Rating)| FSRSReview {
            rating: rating.number(),
            delta_t: elapsed_days(last_ms.replace(*at_ms), *at_ms),
        };
        let reviews = reviews.iter().map(review).collect();
        let start = base.map(|(memory, _)| MemoryState {
            stability: memory.stability,
            difficulty: memory.difficulty,
        });
        let state = self.fsrs.memory_state(FSRSItem { reviews }, start).ok()?;
        Some(Memory {
            stability: state.stability,
            difficulty: state.difficulty,
        })
    }

    /// After how many whole days a memory is to be refreshed, at least one.
    fn wait_days(&self, memory: Memory) -> u32 {
        let days = self
            .fsrs
            .next_interval(Some(memory.stability), DESIRED_RETENTION, 0);
        (days.round() as u32).clamp(1, REVIEW_WAIT_MAX_DAYS)
    }
}

/// The whole days between two reviews, rounded: one in the evening and one the next morning are of one
/// day for the model, which then strengthens the memory less; a day apart is a day, also if a student is
/// an hour earlier.
fn elapsed_days(from_ms: Option<i64>, to_ms: i64) -> u32 {
    let elapsed_ms = from_ms.map_or(0, |from_ms| to_ms.saturating_sub(from_ms));
    let days = elapsed_ms.saturating_add(DAY_MS / 2).div_euclid(DAY_MS);
    u32::try_from(days).unwrap_or_default()
}

/// Keeps when each student should see each case again.
#[derive(Clone, Debug, Default)]
pub struct ReviewsProjection {
    model: Model,
}

impl ReviewsProjection {
    /// With the parameters that FSRS-6 begins with.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn reviewed(&self, known: Option<&ReviewRow>, at_ms: i64, rating: Rating) -> Option<ReviewRow> {
        let (mut base, mut recent) =
            known.map_or_else(Default::default, |row| (row.base, row.recent.clone()));
        let is_wrong = rating == Rating::Again;
        let answers = known.map_or(0, |row| row.answers).saturating_add(1);
        let lapses = known.map_or(0, |row| row.lapses);
        let lapses = lapses.saturating_add(u32::from(is_wrong));
        let is_too_late = base.is_some_and(|(_, base_ms)| at_ms < base_ms);
        if let (Some(row), true) = (known, is_too_late) {
            return Some(ReviewRow {
                answers,
                lapses,
                ..row.clone()
            });
        }
        let review = (at_ms, rating);
        recent.insert(recent.partition_point(|it| *it <= review), review);
        if recent.len() > RECENT_REVIEWS_MAX {
            let settled = recent.remove(0);
            base = Some((self.model.after(base, &[settled])?, settled.0));
        }
        let memory = self.model.after(base, &recent)?;
        let last_ms = recent.last().map_or(at_ms, |(at_ms, _)| *at_ms);
        let wait_ms = i64::from(self.model.wait_days(memory)) * DAY_MS;
        Some(ReviewRow {
            base,
            recent,
            memory,
            due_ms: last_ms.saturating_add(wait_ms),
            answers,
            lapses,
        })
    }
}

impl Projection for ReviewsProjection {
    type Row = ReviewRow;

    fn name(&self) -> ViewName {
        super::view_name(REVIEWS)
    }

    fn version(&self) -> u64 {
        1
    }

    fn likely_rows(&self, event: &Event, _facts: &Facts) -> Vec<RowKey> {
        match &event.body {
            EventBody::AnswerRecorded { answer } => vec![key(answer.user_id, answer.case_id)],
            _ => Vec::new(),
        }
    }

    fn place(&self, _key: &RowKey, row: &Self::Row) -> Option<i64> {
        Some(row.due_ms.saturating_mul(1_000))
    }

    fn apply(
        &self,
        event: &Event,
        facts: &Facts,
        changes: &mut Changes<Self::Row>,
    ) -> Result<(), Stop> {
        let EventBody::AnswerRecorded { answer } = &event.body else {
            return Ok(());
        };
        let key = key(answer.user_id, answer.case_id);
        let rating = Rating::of(answer, facts.is_correct(answer));
        let at_ms = answer.created_at.as_millisecond();
        let row = self.reviewed(changes.find(key)?, at_ms, rating);
        let unknown = || Stop::SetAside("the memory of the case is not a number".to_owned());
        changes.put(key, row.ok_or_else(unknown)?)
    }
}

fn key(user_id: UserId, case_id: CaseId) -> RowKey {
    RowKey::new(*user_id.as_uuid(), Item::of(case_id.as_uuid()))
}

/// A case that a student has answered, and how well it is remembered.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct DueReview {
    /// The case.
    pub case_id: CaseId,
    /// When it is due.
    pub due_at: Timestamp,
    /// When it was last answered, by the instants of the answers.
    pub last_at: Timestamp,
    /// How well the student knew it then.
    pub rating: Rating,
    /// What was remembered then.
    pub memory: Memory,
    /// The chance that the student knows it now, 0 to 1.
    pub retrievability: f64,
    /// How often it was answered.
    pub answers: u32,
    /// How often wrongly.
    pub lapses: u32,
}

impl DueReview {
    /// Which rows of the view are due at `now`, those due longest first.
    #[must_use]
    pub fn query(user_id: UserId, now: Timestamp, limit: usize) -> ShelfQuery {
        ShelfQuery {
            to: now.as_microsecond(),
            ..ShelfQuery::new(*user_id.as_uuid(), limit)
        }
    }

    /// The row of a case that the student may have answered.
    #[must_use]
    pub fn key(user_id: UserId, case_id: CaseId) -> RowKey {
        key(user_id, case_id)
    }

    /// Makes it of a row as it is at `now`; `None` for a row of something else.
    #[must_use]
    pub fn read(key: &RowKey, row: &ReviewRow, now: Timestamp) -> Option<Self> {
        let (last_ms, rating) = *row.recent.last()?;
        let elapsed_ms = now.as_millisecond().saturating_sub(last_ms);
        Some(Self {
            case_id: CaseId::from_uuid(key.item.id()?),
            due_at: Timestamp::from_millisecond(row.due_ms).ok()?,
            last_at: Timestamp::from_millisecond(last_ms).ok()?,
            rating,
            memory: row.memory,
            retrievability: row.memory.retrievability(elapsed_ms as f64 / DAY_MS as f64),
            answers: row.answers,
            lapses: row.lapses,
        })
    }

    /// Makes those of a shelf, in its order.
    #[must_use]
    pub fn read_all(rows: &[PlacedRow<ReviewRow>], now: Timestamp) -> Vec<Self> {
        rows.iter()
            .filter_map(|placed| Self::read(&placed.key, &placed.row, now))
            .collect()
    }
}
