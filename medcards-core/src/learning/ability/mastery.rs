use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AbilityModel, UserAbility};

/// How many answers a level above [`Mastery::Attempted`] takes: with fewer, chance decides.
const ANSWERS_MIN: u64 = 4;

/// How many answers [`Mastery::Mastered`] takes.
const ANSWERS_TO_MASTER: u64 = 10;

/// How well a user masters a specialty or topic.
///
/// The level is read from the chance of a right answer at a case of usual difficulty, taken one
/// deviation below the estimate: so it rises with right answers, falls with wrong ones, and falls while
/// nothing is answered, since less and less is known.
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
        let chance = model.usual_chance(ability.mean - ability.deviation());
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

impl fmt::Display for Mastery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
