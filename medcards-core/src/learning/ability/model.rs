use std::f64::consts::PI;

use jiff::Timestamp;

use super::estimate::Surprise;
use super::{AreaAbility, CaseDifficulty, CaseMemory, Estimate, UserAbility};
use crate::case::CaseVersion;
use crate::event::CaseCalibration;

/// The least weight of an answer, which is the variance of its outcome: nobody is so able that a wrong
/// answer says nothing.
const WEIGHT_MIN: f64 = 0.01;

/// Chances stay this far from 0 and 1.
const CHANCE_MARGIN: f64 = 1e-4;

/// Discriminations are taken within these bounds: beyond them are accidents of few answers.
const DISCRIMINATION_BOUNDS: (f64, f64) = (0.1, 4.0);

/// Difficulties of a calibration are taken up to this far from 0.
const DIFFICULTY_MAX: f64 = 8.0;

const DAY_MS: f64 = 86_400_000.0;
const HOUR_MS: f64 = 3_600_000.0;

/// The constants of the model.
///
/// The log odds of a right answer are
/// `discrimination × (general + specialty + topic + form) − difficulty + familiarity + exposure`.
/// All but the last are estimates, moved by each answer as in a Kalman filter on the logistic model
/// (Glickman, *Parameter estimation in large dynamic paired comparison experiments*, 1999): a surprise
/// is shared out by variance, and what changes with time becomes less certain meanwhile. The chance is
/// moderated by the variance of the sum (MacKay, *The evidence framework applied to classification
/// networks*, 1992). `exposure` is what earlier answers taught: logarithms of how many were right and
/// wrong (Pavlik, Cen and Koedinger, *Performance factors analysis*, 2009), forgotten along a
/// hyperbola (Wickelgren, *Single-trace fragility theory of memory dynamics*, 1974).
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "built with struct update syntax")]
pub struct AbilityModel {
    /// The variance of general abilities over students: 1 by the scale.
    pub general_variance: f64,
    /// By how much a general ability becomes less certain with each answer.
    pub general_drift: f64,
    /// The variance of offsets in a specialty or topic.
    pub area_variance: f64,
    /// By how much an offset becomes less certain with each answer there.
    pub area_drift: f64,
    /// By how much the general ability and offsets become less certain with each day, in parts of
    /// their variance at first.
    pub daily_drift: f64,
    /// The variance of form.
    pub form_variance: f64,
    /// After how many hours form is down to 37 %.
    pub form_hours: f64,
    /// The difficulty of a case that nobody has answered.
    pub difficulty_mean: f64,
    /// The variance of difficulties.
    pub difficulty_variance: f64,
    /// The discrimination of a case that was not calibrated.
    pub discrimination: f64,
    /// The variance of a familiarity before the first answer.
    pub familiarity_variance: f64,
    /// The variance of a familiarity before each later answer, however many came before: what was known
    /// then may be forgotten now, and the other way round.
    pub familiarity_repeat_variance: f64,
    /// What each doubling or so of right answers to a case teaches.
    pub right_teaches: f64,
    /// What each doubling or so of wrong answers to a case, with their feedback, teaches.
    pub wrong_teaches: f64,
    /// After how many hours half of what was taught is forgotten.
    pub forgetting_hours: f64,
}

impl Default for AbilityModel {
    fn default() -> Self {
        Self {
            general_variance: 1.0,
            general_drift: 0.0017,
            area_variance: 0.3,
            area_drift: 0.0024,
            daily_drift: 0.035,
            form_variance: 0.12,
            form_hours: 0.15,
            difficulty_mean: -0.8,
            difficulty_variance: 4.0,
            discrimination: 0.8,
            familiarity_variance: 0.9,
            familiarity_repeat_variance: 1.8,
            right_teaches: 0.33,
            wrong_teaches: 1.1,
            forgetting_hours: 10.0,
        }
    }
}

/// A student before a case, and what is known of both.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "what a chance depends on")]
pub struct Encounter<'a> {
    /// The student; `None` for one who has answered nothing.
    pub user: Option<&'a UserAbility>,
    /// The case; `None` for one that nobody has answered.
    pub case: Option<&'a CaseDifficulty>,
    /// What the student remembers of it; `None` if they have not answered it.
    pub memory: Option<&'a CaseMemory>,
    /// The specialty of the case in lower case; empty if it names none.
    pub specialty: &'a str,
    /// Its topic in lower case; empty if it names none.
    pub topic: &'a str,
    /// When.
    pub at: Timestamp,
}

/// What is expected of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "what the model gives")]
pub struct Prediction {
    /// The chance that it is right, in whole from 0.0001 to 0.9999.
    pub chance: f64,
    /// The log odds, with their uncertainty.
    pub log_odds: Estimate,
}

impl AbilityModel {
    /// The chance that a student gets a case right.
    #[must_use]
    pub fn predict(&self, encounter: &Encounter<'_>) -> Prediction {
        self.terms(encounter).predict()
    }

    /// A user who has answered nothing.
    #[must_use]
    pub const fn new_user(&self) -> UserAbility {
        UserAbility {
            general: Estimate::new(0.0, self.general_variance),
            form: Estimate::new(0.0, self.form_variance),
            answers: 0,
            last_at_ms: i64::MIN,
            areas: Vec::new(),
        }
    }

    /// A case that nobody has answered.
    #[must_use]
    pub const fn new_case(&self, version: CaseVersion) -> CaseDifficulty {
        CaseDifficulty {
            version,
            difficulty: Estimate::new(self.difficulty_mean, self.difficulty_variance),
            discrimination: self.discrimination,
            answers: 0,
            calibrated_from: 0,
        }
    }

    /// The ability in a specialty, with an empty topic, or in a topic, without the form of the moment:
    /// the general one with the offsets, as far as there are any, and as uncertain as it is by now.
    #[must_use]
    pub fn ability(
        &self,
        user: &UserAbility,
        specialty: &str,
        topic: &str,
        now: Timestamp,
    ) -> Estimate {
        let at_ms = now.as_millisecond();
        let general = self.general(user, at_ms);
        let parts = areas(specialty, topic);
        let offsets = parts.map(|area| self.offset(user, area, at_ms));
        offsets.iter().fold(general, |sum, offset| {
            Estimate::new(sum.mean + offset.mean, sum.variance + offset.variance)
        })
    }

    /// The chance of somebody so able at a case of usual difficulty.
    #[must_use]
    pub fn usual_chance(&self, ability: f64) -> f64 {
        logistic(self.discrimination * ability - self.difficulty_mean)
    }

    /// What is known of all three after an answer.
    #[must_use]
    pub(super) fn answered(&self, encounter: &Encounter<'_>, seen: &Seen) -> Learnt {
        let terms = self.terms(encounter);
        let surprise = terms.surprise(seen.is_right);
        let at_ms = encounter.at.as_millisecond();
        let (slope, right) = (terms.discrimination, seen.is_right);

        let mut user = encounter.user.cloned().unwrap_or_else(|| self.new_user());
        user.general = terms.general.observed(slope, &surprise);
        user.form = terms.form.observed(slope, &surprise);
        user.answers = user.answers.saturating_add(1);
        user.last_at_ms = user.last_at_ms.max(at_ms);
        for (area, offset) in areas(encounter.specialty, encounter.topic)
            .into_iter()
            .zip(terms.offsets)
        {
            let Some((specialty, topic)) = area else {
                continue;
            };
            let before = user.area(specialty, topic);
            user.put_area(AreaAbility {
                specialty: specialty.into(),
                topic: topic.into(),
                offset: offset.observed(slope, &surprise),
                answers: before.map_or(0, |it| it.answers).saturating_add(1),
                right: before.map_or(0, |it| it.right).saturating_add(right.into()),
                last_right: right,
                last_at_ms: before.map_or(at_ms, |it| it.last_at_ms.max(at_ms)),
            });
        }

        let mut case = encounter.case.cloned();
        let case = case.get_or_insert_with(|| self.new_case(seen.version));
        let is_newer = seen.version > case.version;
        let difficulty = terms.difficulty.observed(-1.0, &surprise);
        let case = CaseDifficulty {
            version: case.version.max(seen.version),
            // Of a new version it is only known that it resembles the one before.
            difficulty: if is_newer {
                difficulty.drifted(self.difficulty_variance / 2.0, self.difficulty_variance)
            } else {
                difficulty
            },
            discrimination: case.discrimination,
            answers: case.answers.saturating_add(1),
            calibrated_from: case.calibrated_from,
        };

        let before = encounter.memory;
        let memory = CaseMemory {
            answers: before.map_or(0, |it| it.answers).saturating_add(1),
            right: before.map_or(0, |it| it.right).saturating_add(right.into()),
            last_right: right,
            last_at_ms: before.map_or(at_ms, |it| it.last_at_ms.max(at_ms)),
            familiarity: terms.familiarity.observed(1.0, &surprise).mean,
        };
        Learnt { user, case, memory }
    }

    /// What is known of a case after a calibration. One of an older version says nothing.
    #[must_use]
    pub(super) fn calibrated(
        &self,
        case: Option<&CaseDifficulty>,
        found: &CaseCalibration,
    ) -> CaseDifficulty {
        let mut case = case
            .cloned()
            .unwrap_or_else(|| self.new_case(found.version));
        if found.version < case.version || found.answers == 0 {
            return case;
        }
        let discrimination = found.discrimination_millionths as f64 / 1e6;
        let difficulty = discrimination * (found.difficulty_millionths as f64 / 1e6);
        let difficulty = difficulty.clamp(-DIFFICULTY_MAX, DIFFICULTY_MAX);
        let (least, most) = DISCRIMINATION_BOUNDS;
        let discrimination = discrimination.clamp(least, most);
        let chance = logistic(difficulty);
        // What so many answers of that chance say, as in any logistic model.
        let weight = found.answers as f64 * (chance * (1.0 - chance)).max(WEIGHT_MIN);
        let variance = (1.0 / weight).min(self.difficulty_variance);
        case.version = found.version;
        case.difficulty = Estimate::new(difficulty, variance);
        case.discrimination = discrimination;
        case.calibrated_from = found.answers;
        case
    }

    fn terms(&self, encounter: &Encounter<'_>) -> Terms {
        let at_ms = encounter.at.as_millisecond();
        let new_user;
        let user = match encounter.user {
            Some(user) => user,
            None => {
                new_user = self.new_user();
                &new_user
            }
        };
        let general = self.general(user, at_ms);
        let area = |area| {
            let offset = self.offset(user, area, at_ms);
            let drift = area.map_or(0.0, |_| self.area_drift);
            offset.drifted(drift, self.area_variance)
        };
        let hours = since(user.last_at_ms, at_ms) / HOUR_MS;
        let kept = (-hours / self.form_hours).exp();
        let (difficulty, discrimination) = match encounter.case {
            Some(case) => (case.difficulty, case.discrimination),
            None => (
                Estimate::new(self.difficulty_mean, self.difficulty_variance),
                self.discrimination,
            ),
        };
        Terms {
            general: general.drifted(self.general_drift, self.general_variance),
            offsets: areas(encounter.specialty, encounter.topic).map(area),
            form: user.form.faded(kept, self.form_variance),
            difficulty,
            familiarity: match encounter.memory {
                Some(memory) => Estimate::new(memory.familiarity, self.familiarity_repeat_variance),
                None => Estimate::new(0.0, self.familiarity_variance),
            },
            exposure: encounter
                .memory
                .map_or(0.0, |memory| self.exposure(memory, at_ms)),
            discrimination,
        }
    }

    fn general(&self, user: &UserAbility, at_ms: i64) -> Estimate {
        let days = since(user.last_at_ms, at_ms) / DAY_MS;
        let drift = days * self.daily_drift * self.general_variance;
        user.general.drifted(drift, self.general_variance)
    }

    fn offset(&self, user: &UserAbility, area: Option<(&str, &str)>, at_ms: i64) -> Estimate {
        let Some((specialty, topic)) = area else {
            return Estimate::new(0.0, 0.0);
        };
        match user.area(specialty, topic) {
            None => Estimate::new(0.0, self.area_variance),
            Some(area) => {
                let days = since(area.last_at_ms, at_ms) / DAY_MS;
                let drift = days * self.daily_drift * self.area_variance;
                area.offset.drifted(drift, self.area_variance)
            }
        }
    }

    fn exposure(&self, memory: &CaseMemory, at_ms: i64) -> f64 {
        let hours = since(memory.last_at_ms, at_ms) / HOUR_MS;
        let kept = 1.0 / (1.0 + hours / self.forgetting_hours);
        let wrong = memory.answers.saturating_sub(memory.right);
        let taught = self.right_teaches * f64::from(memory.right).ln_1p()
            + self.wrong_teaches * f64::from(wrong).ln_1p();
        taught * kept
    }
}

/// What was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) version: CaseVersion,
    pub(super) is_right: bool,
}

/// What is known after an answer.
#[derive(Clone, Debug)]
pub(super) struct Learnt {
    pub(super) user: UserAbility,
    pub(super) case: CaseDifficulty,
    pub(super) memory: CaseMemory,
}

/// What the log odds are made of, as uncertain as it all is at that instant.
#[derive(Clone, Copy, Debug)]
struct Terms {
    general: Estimate,
    offsets: [Estimate; 2],
    form: Estimate,
    difficulty: Estimate,
    familiarity: Estimate,
    exposure: f64,
    discrimination: f64,
}

impl Terms {
    fn log_odds(&self) -> Estimate {
        let parts = [self.general, self.offsets[0], self.offsets[1], self.form];
        let (mut mean, mut variance) = (0.0, 0.0);
        for part in parts {
            mean += self.discrimination * part.mean;
            variance += self.discrimination * self.discrimination * part.variance;
        }
        Estimate {
            mean: mean - self.difficulty.mean + self.familiarity.mean + self.exposure,
            variance: variance + self.difficulty.variance + self.familiarity.variance,
        }
    }

    fn predict(&self) -> Prediction {
        let log_odds = self.log_odds();
        let moderated = log_odds.mean / (1.0 + PI * log_odds.variance / 8.0).sqrt();
        Prediction {
            chance: logistic(moderated).clamp(CHANCE_MARGIN, 1.0 - CHANCE_MARGIN),
            log_odds,
        }
    }

    fn surprise(&self, is_right: bool) -> Surprise {
        let Prediction { chance, log_odds } = self.predict();
        let likely = logistic(log_odds.mean);
        let weight = (likely * (1.0 - likely)).max(WEIGHT_MIN);
        let spread = 1.0 + log_odds.variance * weight;
        let outcome = if is_right { 1.0 } else { 0.0 };
        Surprise {
            error: (outcome - chance) / spread,
            weight: weight / spread,
        }
    }
}

/// The chance with these log odds.
pub(super) fn logistic(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds).exp())
}

/// The specialty and the topic of a case, as far as it names them.
fn areas<'a>(specialty: &'a str, topic: &'a str) -> [Option<(&'a str, &'a str)>; 2] {
    [
        (!specialty.is_empty()).then_some((specialty, "")),
        (!topic.is_empty()).then_some((specialty, topic)),
    ]
}

/// How many milliseconds passed; none if the clock went back, or there was nothing before.
fn since(before_ms: i64, at_ms: i64) -> f64 {
    if before_ms == i64::MIN {
        return 0.0;
    }
    at_ms.saturating_sub(before_ms).max(0) as f64
}
