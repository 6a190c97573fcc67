use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AbilityModel, UserAbility};

/// How many answers a level above [`Mastery::Attempted`] takes: with fewer, chance decides.
const ANSWERS_MIN: u64 = 4;

/// How many answers [`Mastery::Mastered`] takes.
const ANSWERS_TO_MASTER: u64 = 10;

/// After how many days without an answer there half of what lies above the average student no longer
/// counts: half a year, after which a course is mostly forgotten unless it was used.
const FADING_DAYS: f64 = 180.0;

const DAY_MS: f64 = 86_400_000.0;

/// How well a user masters a specialty or topic.
///
/// The level is read from the chance of a right answer at a case of usual difficulty, taken one
/// deviation below the estimate: so it rises with right answers, and falls with wrong ones. It falls
/// while nothing is answered there, too: less and less is known for sure, and after 180 days half of
/// what lies above the average student no longer counts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "the five levels, in their order")]
pub enum Mastery {
    /// Nothing was answered.
    #[default]
    NotStarted,
    /// Something was answered; the chance is below 60 %, or there are fewer than 4 answers.
    Attempted,
    /// The chance is at least 60 %.
    Familiar,
    /// The chance is at least 70 %.
    Proficient,
    /// The chance is at least 80 %, there are at least 10 answers, and the latest is right.
    Mastered,
}

impl Mastery {
    /// The level of a user in a specialty, with an empty topic, or in a topic within it.
    #[must_use]
    pub fn of(
        model: &AbilityModel,
        user: &UserAbility,
        specialty: &str,
        topic: &str,
        now: Timestamp,
    ) -> Self {
        let Some(area) = user.area(specialty, topic) else {
            return Self::NotStarted;
        };
        if area.answers < ANSWERS_MIN {
            return Self::Attempted;
        }
        let ability = model.ability(user, specialty, topic, now);
        let days = now.as_millisecond().saturating_sub(area.last_at_ms).max(0) as f64 / DAY_MS;
        let kept = if ability.mean > 0.0 {
            ability.mean / (1.0 + days / FADING_DAYS)
        } else {
            ability.mean
        };
        let chance = model.usual_chance(kept - ability.deviation());
        let can_master = area.answers >= ANSWERS_TO_MASTER && area.last_right;
        match chance {
            0.8.. if can_master => Self::Mastered,
            0.7.. => Self::Proficient,
            0.6.. => Self::Familiar,
            _ => Self::Attempted,
        }
    }

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::Attempted => "attempted",
            Self::Familiar => "familiar",
            Self::Proficient => "proficient",
            Self::Mastered => "mastered",
        }
    }
}

/// How well a user masters each specialty and topic at an instant.
#[derive(Clone, Debug)]
pub struct Masteries {
    model: AbilityModel,
    user: Option<UserAbility>,
    now: Timestamp,
}

impl Masteries {
    /// Those of a user, of whom nothing may be known.
    #[must_use]
    pub const fn new(model: AbilityModel, user: Option<UserAbility>, now: Timestamp) -> Self {
        Self { model, user, now }
    }

    /// The level in a specialty, with an empty topic, or in a topic within it.
    #[must_use]
    pub fn of(&self, specialty: &str, topic: &str) -> Mastery {
        match &self.user {
            Some(user) => Mastery::of(&self.model, user, specialty, topic, self.now),
            None => Mastery::NotStarted,
        }
    }
}

impl fmt::Display for Mastery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
