use std::cmp::Reverse;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::catalogue::area_passes;
use super::{Catalogue, CatalogueCase, LastTime, NextCasePolicy, NextCaseView, NextReason, Pick};
use crate::id::CaseId;
use crate::learning::ability::Encounter;
use crate::learning::reviews::{DueReview, Rating};

/// The chances of a right answer that suit a student: hard enough to learn from, and not so hard as to
/// dishearten (Wilson et al., *The eighty five percent rule for optimal learning*, 2019, found 85 % for
/// two options; with four or five, and feedback after each, somewhat less).
const TARGET: std::ops::RangeInclusive<f64> = 0.70..=0.80;

/// How many cases of one topic come one after the other at most, as long as there are others.
const SAME_TOPIC_MAX: usize = 2;

/// How often a case is picked to find out how hard it is.
const EXPLORATION_SHARE: f64 = 0.10;

/// With so many answers it is known how hard a case is: to ± 10 percentage points at 25.
const EXPLORED_ANSWERS: u64 = 25;

/// How many cases are looked at for one that is to be explored.
const EXPLORATION_CASES_MAX: usize = 2_000;

/// How many cases of a topic are compared.
const COMPARED_PER_TOPIC_MAX: usize = 256;

/// How many topics are looked through for a case that suits, before the nearest is taken.
const TOPICS_TRIED_MAX: usize = 12;

/// A student who would get fewer cases of usual difficulty right than this does not do well in a topic.
const WEAK_BELOW: f64 = 0.65;

/// How much a topic in which a student is perfect still counts.
const STRONG_TOPIC_WEIGHT: f64 = 0.05;

/// Picks what is due first, the one most nearly forgotten. Then a case that the student has not seen: of a
/// topic that is weak and weighs in the exam, as hard as to be answered rightly three times of four;
/// one time of ten one that has few answers. Not more than two of a topic follow each other.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Targeted;

impl Targeted {
    /// Makes it.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl NextCasePolicy for Targeted {
    fn pick(&self, view: &NextCaseView<'_>, seed: u64) -> Option<Pick> {
        let search = Search {
            view,
            dice: Dice(seed),
            tired_of: tired_of(view),
        };
        let any = Search {
            tired_of: None,
            ..search
        };
        search
            .due()
            .or_else(|| search.unseen())
            .or_else(|| any.due())
            .or_else(|| any.unseen())
    }
}

/// The topic that the last answers were all of, if there were so many.
fn tired_of(view: &NextCaseView<'_>) -> Option<usize> {
    let area = |case_id| Some(view.catalogue.find(case_id)?.area);
    let mut last = view.recent.iter().take(SAME_TOPIC_MAX);
    let first = area(last.next()?.case_id)?;
    let is_full = view.recent.len() >= SAME_TOPIC_MAX;
    (is_full && last.all(|answer| area(answer.case_id) == Some(first))).then_some(first)
}

#[derive(Clone, Copy)]
struct Search<'a> {
    view: &'a NextCaseView<'a>,
    dice: Dice,
    /// The topic that is not to come next.
    tired_of: Option<usize>,
}

impl<'a> Search<'a> {
    fn catalogue(&self) -> &'a Catalogue {
        self.view.catalogue
    }

    /// Whether a case may come next.
    fn may(&self, case: &CatalogueCase) -> bool {
        Some(case.area) != self.tired_of
            && self.catalogue().passes(case, self.view.filter)
            && !self.view.is_recent(case.case_id)
    }

    fn is_unseen(&self, case: &CatalogueCase) -> bool {
        !self.view.seen.contains(case.case_id)
    }

    /// Of what is due, the case that the student is most likely to have forgotten.
    fn due(&self) -> Option<Pick> {
        let may = |due: &&DueReview| {
            let case = self.catalogue().find(due.case_id);
            case.is_some_and(|case| self.may(case))
        };
        let due = self.view.due.iter().filter(may);
        let due = due.min_by(|a, b| {
            let by_memory = a.retrievability.total_cmp(&b.retrievability);
            by_memory.then(a.case_id.cmp(&b.case_id))
        })?;
        let case = self.catalogue().find(due.case_id)?;
        let ago = self.view.now.duration_since(due.last_at);
        Some(Pick {
            case_id: due.case_id,
            reason: NextReason::Due {
                topic: self.catalogue().area_of(case).label.to_string(),
                last_at: due.last_at,
                days: u32::try_from(ago.as_hours().div_euclid(24)).unwrap_or(0),
                recall_percent: percent(due.retrievability),
                memory: match due.rating {
                    Rating::Again => LastTime::Wrong,
                    Rating::Hard => LastTime::Unsure,
                    Rating::Good | Rating::Easy => LastTime::Right,
                },
            },
        })
    }

    /// A case that the student has not answered.
    fn unseen(&self) -> Option<Pick> {
        if self.dice.chance("explore") < EXPLORATION_SHARE
            && let Some(pick) = self.exploration()
        {
            return Some(pick);
        }
        self.suiting()
    }

    fn exploration(&self) -> Option<Pick> {
        let cases = self.catalogue().cases();
        let mut found = self
            .dice
            .around(cases, "case")
            .take(EXPLORATION_CASES_MAX)
            .filter(|case| case.answers() < EXPLORED_ANSWERS)
            .filter(|case| self.may(case) && self.is_unseen(case));
        let case = found.next()?;
        Some(Pick {
            case_id: case.case_id,
            reason: NextReason::Exploration {
                answers: case.answers(),
            },
        })
    }

    /// A case that suits, of a topic that needs it.
    fn suiting(&self) -> Option<Pick> {
        let mut nearest: Option<Fit<'_>> = None;
        let (mut tried, mut order) = (0, self.areas());
        // Those of most need first, by chance.
        while let Some((area, _)) = order.pop() {
            let Some(fit) = self.best_of(area) else {
                continue;
            };
            tried += 1;
            if nearest.as_ref().is_none_or(|it| fit.miss < it.miss) {
                nearest = Some(fit);
            }
            let suits = nearest.as_ref().is_some_and(|it| it.miss == 0.0);
            if suits || tried >= TOPICS_TRIED_MAX {
                break;
            }
        }
        let fit = nearest?;
        Some(Pick {
            case_id: fit.case.case_id,
            reason: self.reason(&fit),
        })
    }

    /// The topics in an order by chance, that of most need likely last: a sample without replacement by
    /// weight (Efraimidis and Spirakis, *Weighted random sampling with a reservoir*, 2006).
    fn areas(&self) -> Vec<(usize, f64)> {
        let areas = self.catalogue().areas().iter().enumerate();
        let wanted = areas.filter(|(index, area)| {
            Some(*index) != self.tired_of && area_passes(area, self.view.filter)
        });
        let keyed = wanted.map(|(index, area)| {
            let weakness = 1.0 - self.usual_chance(index) + STRONG_TOPIC_WEIGHT;
            let weight = (area.exam_share * weakness).max(f64::MIN_POSITIVE);
            let dice = self.dice.of(("topic", index as u64));
            (index, dice.max(f64::MIN_POSITIVE).ln() / weight)
        });
        let mut keyed: Vec<_> = keyed.collect();
        keyed.sort_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        keyed
    }

    /// The chance of a right answer at a case of usual difficulty of a topic.
    fn usual_chance(&self, area: usize) -> f64 {
        let model = self.view.model;
        let area = &self.catalogue().areas()[area];
        let ability = self.view.user.map_or(0.0, |user| {
            let (specialty, topic) = (&area.specialty, &area.topic);
            model.ability(user, specialty, topic, self.view.now).mean
        });
        model.usual_chance(ability)
    }

    /// The case of a topic that suits best: of those that suit, any.
    fn best_of(&self, area: usize) -> Option<Fit<'a>> {
        let cases = &self.catalogue().cases()[self.catalogue().areas()[area].cases.clone()];
        let fits = self
            .dice
            .around(cases, "first")
            .filter(|case| self.may(case) && self.is_unseen(case))
            .take(COMPARED_PER_TOPIC_MAX)
            .map(|case| self.fit(case));
        fits.min_by(|a, b| {
            let order = |fit: &Fit<'_>| (fit.dice, Reverse(fit.case.case_id));
            a.miss.total_cmp(&b.miss).then(order(a).cmp(&order(b)))
        })
    }

    fn fit(&self, case: &'a CatalogueCase) -> Fit<'a> {
        let area = self.catalogue().area_of(case);
        let prediction = self.view.model.predict(&Encounter {
            user: self.view.user,
            case: case.difficulty.as_ref(),
            memory: None,
            specialty: &area.specialty,
            topic: &area.topic,
            at: self.view.now,
        });
        let chance = prediction.chance;
        let miss = (TARGET.start() - chance).max(chance - TARGET.end());
        Fit {
            case,
            chance,
            miss: miss.max(0.0),
            dice: self.dice.of_case(case.case_id),
        }
    }

    fn reason(&self, fit: &Fit<'_>) -> NextReason {
        let area = self.catalogue().area_of(fit.case);
        let topic = area.label.to_string();
        let known = |user| -> Option<u64> {
            let user: &crate::learning::ability::UserAbility = user;
            user.area(&area.specialty, &area.topic).map(|it| it.answers)
        };
        let answers = self.view.user.and_then(known).unwrap_or(0);
        let usual = self.usual_chance(fit.case.area);
        let exam_percent = percent(area.exam_share);
        match self.view.user {
            Some(_) if answers == 0 && !topic.is_empty() => NextReason::Untried {
                topic,
                exam_percent,
            },
            Some(_) if usual < WEAK_BELOW && !topic.is_empty() => NextReason::WeakTopic {
                topic,
                chance_percent: percent(usual),
                exam_percent,
            },
            _ => NextReason::Match {
                topic,
                chance_percent: percent(fit.chance),
            },
        }
    }
}

/// How well a case suits.
struct Fit<'a> {
    case: &'a CatalogueCase,
    /// The chance of a right answer.
    chance: f64,
    /// How far that is from what is aimed at.
    miss: f64,
    dice: u64,
}

fn percent(share: f64) -> u8 {
    (share * 100.0).round().clamp(0.0, 100.0) as u8
}

/// Chance that a seed decides, so that each question has its own.
#[derive(Clone, Copy, Debug)]
struct Dice(u64);

impl Dice {
    /// A number from 0 to below 1.
    fn chance(self, question: &str) -> f64 {
        self.of((question, 0))
    }

    fn of(self, (question, number): (&str, u64)) -> f64 {
        // The 53 bits that a float has.
        (self.roll(question, number) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn of_case(self, case_id: CaseId) -> u64 {
        xxh3_64_with_seed(case_id.as_bytes(), self.0)
    }

    fn roll(self, question: &str, number: u64) -> u64 {
        xxh3_64_with_seed(question.as_bytes(), self.0 ^ number.wrapping_mul(PRIME))
    }

    /// All of some things, from one of them on and around.
    fn around<'a, T>(self, all: &'a [T], question: &str) -> impl Iterator<Item = &'a T> {
        let first = match all.len() as u64 {
            0 => 0,
            len => (self.roll(question, 0) % len) as usize,
        };
        let (before, after) = all.split_at(first);
        after.iter().chain(before)
    }
}

/// Odd, with as many bits set as not: 2^64 divided by the golden ratio.
const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
