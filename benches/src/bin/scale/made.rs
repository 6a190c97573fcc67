//! Answers made in the shape of real ones: who, what, when.
//!
//! Users are drawn from the shape until there are enough answers. Each begins at some moment of the
//! months and keeps at it for a while, in sessions of a dozen answers at the hours at which people
//! study. An item of the shape stands for as many cases as there are for each.

use std::time::Duration;

use fastrand::Rng;
use medcards_core::answer::{Answer, Confidence};
use medcards_core::case::{Case, OptionSet};
use medcards_core::testing::sample_user_id;
use medcards_core::{AnswerId, Timestamp};

use crate::arguments;
use crate::shape::{Shape, normal};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A month on average.
const MONTH_MS: i64 = 30 * DAY_MS + 10 * HOUR_MS;

/// How many answers a session has, at most.
const SESSION: usize = 12;

/// How busy each hour of the day is: little before dawn, most in the evening.
const RHYTHM: [u32; 24] = [
    6, 3, 2, 1, 1, 2, 6, 14, 24, 32, 36, 34, 28, 32, 36, 38, 40, 38, 36, 42, 48, 44, 30, 14,
];

/// An answer, as small as it can be while millions are sorted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    /// Milliseconds since 1970.
    at_ms: i64,
    user: u32,
    case: u32,
    is_correct: bool,
}

/// Makes so many answers, in the order of their instants, and says by how many users.
pub(crate) fn make(
    shape: &Shape,
    course: arguments::Course,
    seed: u64,
    count: u64,
    now: Timestamp,
) -> (Vec<Made>, u32) {
    let mut rng = Rng::with_seed(seed);
    let end_ms = now.as_millisecond();
    let start_ms = end_ms - i64::from(course.months) * MONTH_MS;
    let mut made = Vec::with_capacity(count as usize);
    let mut users = 0;
    while (made.len() as u64) < count {
        let steps = &shape.users[rng.usize(..shape.users.len())];
        let left = count as usize - made.len();
        let steps = &steps[..steps.len().min(left)];
        let instants = instants(&mut rng, steps.len(), start_ms, end_ms);
        for (step, at_ms) in steps.iter().zip(instants) {
            made.push(Made {
                at_ms,
                user: users,
                case: case_of(&mut rng, step.item, shape.items, course.cases),
                is_correct: step.is_correct,
            });
        }
        users += 1;
    }
    made.sort_unstable_by_key(|made| (made.at_ms, made.user));
    (made, users)
}

/// One of the cases that an item stands for: those whose number leaves the item's as remainder.
fn case_of(rng: &mut Rng, item: u16, items: u16, cases: u32) -> u32 {
    let item = u32::from(item) % cases;
    let of_item = (cases - item).div_ceil(u32::from(items));
    item + rng.u32(..of_item) * u32::from(items)
}

/// When a user answers so many times, in order.
fn instants(rng: &mut Rng, count: usize, start_ms: i64, end_ms: i64) -> Vec<i64> {
    let first_day = rng.i64(start_ms / DAY_MS..end_ms / DAY_MS);
    // Most stay for weeks, some for all the time there is.
    let days = (3.5 + 1.2 * normal(rng)).exp() as i64;
    let last_day = (first_day + days).min(end_ms / DAY_MS - 1);
    let mut instants = Vec::with_capacity(count);
    while instants.len() < count {
        let day = rng.i64(first_day..=last_day);
        let mut at_ms = day * DAY_MS + hour(rng) * HOUR_MS + rng.i64(0..HOUR_MS);
        for _ in 0..SESSION.min(count - instants.len()) {
            instants.push(at_ms);
            at_ms += rng.i64(10_000..120_000);
        }
    }
    instants.sort_unstable();
    instants
}

/// An hour of the day, a busy one more likely.
fn hour(rng: &mut Rng) -> i64 {
    let mut left = rng.u32(..RHYTHM.iter().sum::<u32>());
    let mut hour = 0;
    for busy in RHYTHM {
        if left < busy {
            break;
        }
        left -= busy;
        hour += 1;
    }
    hour
}

impl Made {
    /// Its instant, to the millisecond.
    pub(crate) fn at(&self) -> Timestamp {
        Timestamp::from_millisecond(self.at_ms).expect("it lies between two that exist")
    }

    /// The whole answer.
    pub(crate) fn answer(&self, cases: &[Case], rng: &mut Rng) -> Answer {
        let case = &cases[self.case as usize];
        let user_id = sample_user_id(self.user);
        let right = case.content.right_options();
        let chosen = match self.is_correct {
            true => right,
            false => wrong(rng, right, case.content.options().len()),
        };
        let time = (2.9 + 0.8 * normal(rng)).exp();
        Answer {
            id: self.id(rng),
            user_id,
            case_id: case.id,
            case_version: case.version,
            chosen,
            shown: case.order_shown_to(&user_id),
            is_correct: self.is_correct,
            time_to_answer_ms: Some(Duration::from_secs_f64(time).as_millis() as u32),
            confidence: rng
                .bool()
                .then(|| Confidence::try_from(rng.u8(0..=10) * 10).ok())
                .flatten(),
            created_at: self.at(),
        }
    }

    /// An id of version 7, as a client makes it.
    fn id(&self, rng: &mut Rng) -> AnswerId {
        let mut random = [0; 10];
        rng.fill(&mut random);
        let millis = u64::try_from(self.at_ms).expect("it is after 1970");
        AnswerId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }
}

/// One of the wrong options.
fn wrong(rng: &mut Rng, right: OptionSet, options: usize) -> OptionSet {
    let wrong: Vec<_> = (0..options)
        .filter(|position| !right.contains(*position))
        .collect();
    [wrong[rng.usize(..wrong.len())]].into_iter().collect()
}
