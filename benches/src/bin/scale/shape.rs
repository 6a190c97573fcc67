//! How real users answer: how often, which items, how many of them right.

use std::collections::HashMap;

use fastrand::Rng;
use medcards_benches::log;
use serde::Deserialize;

use crate::Error;
use crate::arguments;

/// How many users the shape of our own has, about as many as a real log.
const USERS: usize = 3_000;

/// How many items it has.
const ITEMS: u16 = 123;

/// Its users' numbers of answers: log-normal, with this logarithm of the median and this spread.
const ANSWERS: (f64, f64) = (3.3, 1.6);

/// The most answers of one of its users: twice what the busiest user of a real log has.
const ANSWERS_MAX: f64 = 8_000.0;

/// The part of its answers that is right.
const RIGHT: f64 = 0.68;

/// One answer of a user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Which item it answers, from 0.
    pub(crate) item: u16,
    pub(crate) is_correct: bool,
}

/// Users to draw from, each with all answers in their order.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) users: Vec<Vec<Step>>,
    pub(crate) items: u16,
}

#[derive(Deserialize)]
struct Row {
    user: String,
    item: String,
    correct: u8,
}

impl Shape {
    pub(crate) fn of(arguments: &arguments::Shape) -> Result<Self, Error> {
        match &arguments.log {
            Some(path) => Self::of_log(log::read(path)?),
            None => Ok(Self::of_our_own(&mut Rng::with_seed(arguments.seed))),
        }
    }

    fn of_log(rows: Vec<Row>) -> Result<Self, Error> {
        let (mut users, mut items) = (Vec::new(), HashMap::new());
        let mut numbers = HashMap::new();
        for row in rows {
            let next = u16::try_from(items.len()).map_err(|_many| "the log has too many items")?;
            let item = *items.entry(row.item).or_insert(next);
            let user = *numbers.entry(row.user).or_insert_with(|| {
                users.push(Vec::new());
                users.len() - 1
            });
            users[user].push(Step {
                item,
                is_correct: row.correct == 1,
            });
        }
        if users.is_empty() {
            return Err("the log has no answers".into());
        }
        let items = u16::try_from(items.len()).map_err(|_many| "the log has too many items")?;
        Ok(Self { users, items })
    }

    fn of_our_own(rng: &mut Rng) -> Self {
        let user = |rng: &mut Rng| {
            let count = (ANSWERS.0 + ANSWERS.1 * normal(rng)).exp();
            (0..count.clamp(1.0, ANSWERS_MAX) as usize)
                .map(|_| Step {
                    item: popular(rng),
                    is_correct: rng.f64() < RIGHT,
                })
                .collect()
        };
        Self {
            users: (0..USERS).map(|_| user(rng)).collect(),
            items: ITEMS,
        }
    }

    /// How many answers a user has, on average.
    pub(crate) fn answers_per_user(&self) -> f64 {
        let answers: usize = self.users.iter().map(Vec::len).sum();
        answers as f64 / self.users.len() as f64
    }
}

/// An item, the `n`th in proportion to about `1/n` (Zipf).
fn popular(rng: &mut Rng) -> u16 {
    let among = f64::from(ITEMS);
    let n = among.powf(rng.f64());
    (n as u16 - 1).min(ITEMS - 1)
}

/// A number from the normal distribution (Box and Muller).
pub(crate) fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}
