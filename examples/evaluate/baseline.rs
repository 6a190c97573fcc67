use std::collections::HashMap;

use medcards::learning::irt::{CaseParameters, eap};

use crate::log::Course;
use crate::score::{Foretold, Score};

/// How much a new case is moved by an answer, and how fast that wears off.
const CASE_STEP: f64 = 1.0;
const CASE_WEAR: f64 = 0.05;

/// Elo ratings (Pelánek, *Applications of the Elo rating system in adaptive educational systems*, 2016)
/// of users and cases, and where asked of users at each case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elo {
    /// How much a user is moved by an answer.
    pub(crate) step: f64,
    pub(crate) by_case: bool,
}

impl Elo {
    /// With each of some steps.
    pub(crate) fn candidates(by_case: bool) -> impl Iterator<Item = Self> {
        let steps = [0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5];
        steps.into_iter().map(move |step| Self { step, by_case })
    }

    /// Has some users answer, and foretells each answer of others.
    pub(crate) fn score(
        self,
        course: &Course,
        is_known: impl Fn(usize) -> bool,
        is_scored: impl Fn(usize) -> bool,
    ) -> Score {
        let mut users = vec![0.0; course.users.len()];
        let mut cases = vec![(0.0, 0.0); course.cases.len()];
        let mut pairs = HashMap::<(usize, usize), f64>::new();
        let mut foretold = Foretold::default();
        let known = course.answers.iter().filter(|it| is_known(it.user));
        let known = known.map(|given| (false, given));
        let scored = course.answers.iter().filter(|it| is_scored(it.user));
        for (counts, given) in known.chain(scored.map(|given| (true, given))) {
            let pair = pairs.entry((given.user, given.case)).or_default();
            let (difficulty, answers) = &mut cases[given.case];
            let odds = users[given.user] + *pair - *difficulty;
            let chance = 1.0 / (1.0 + f64::exp(-odds));
            if counts {
                foretold.push(chance, given.is_right);
            }
            let error = f64::from(u8::from(given.is_right)) - chance;
            users[given.user] += self.step * error;
            if self.by_case {
                *pair += self.step * error;
            }
            *difficulty -= CASE_STEP / (1.0 + CASE_WEAR * *answers) * error;
            *answers += 1.0;
        }
        foretold.score()
    }
}

/// The ability of a user by all their answers so far, in the two-parameter model.
pub(crate) fn sequential_ability(
    course: &Course,
    parameters: &[CaseParameters],
    is_scored: impl Fn(usize) -> bool,
) -> Score {
    let mut answered = vec![Vec::new(); course.users.len()];
    let mut foretold = Foretold::default();
    for given in course.answers.iter().filter(|it| is_scored(it.user)) {
        let answered = &mut answered[given.user];
        let (ability, _) = eap(answered.iter().copied(), parameters);
        foretold.push(parameters[given.case].chance(ability), given.is_right);
        answered.push((given.case, given.is_right));
    }
    foretold.score()
}
