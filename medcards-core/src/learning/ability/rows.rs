use serde::{Deserialize, Serialize};

use super::Estimate;
use crate::case::CaseVersion;
use crate::id::{CaseId, UserId};
use crate::view::{Item, RowKey};

/// The most specialties and topics that are kept of a user, at about 50 bytes each: more than one
/// exam has. With one more, the one that was answered longest ago is forgotten.
pub const AREAS_PER_USER_MAX: usize = 192;

/// A row of the view `ability`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "the three kinds of rows")]
pub enum AbilityRow {
    /// Of a user.
    User(UserAbility),
    /// Of a case.
    Case(CaseDifficulty),
    /// Of a user and a case that they have answered.
    Memory(CaseMemory),
}

impl AbilityRow {
    /// What it says of a user, if that is what it is about.
    #[must_use]
    pub const fn user(&self) -> Option<&UserAbility> {
        match self {
            Self::User(user) => Some(user),
            Self::Case(_) | Self::Memory(_) => None,
        }
    }

    /// What it says of a case, if that is what it is about.
    #[must_use]
    pub const fn case(&self) -> Option<&CaseDifficulty> {
        match self {
            Self::Case(case) => Some(case),
            Self::User(_) | Self::Memory(_) => None,
        }
    }

    /// What it says of a user and a case, if that is what it is about.
    #[must_use]
    pub const fn memory(&self) -> Option<&CaseMemory> {
        match self {
            Self::Memory(memory) => Some(memory),
            Self::User(_) | Self::Case(_) => None,
        }
    }
}

/// The key of the row of a user: an [`AbilityRow::User`].
#[must_use]
pub const fn user_key(user_id: UserId) -> RowKey {
    RowKey::of_user(user_id)
}

/// The key of the row of a case, whatever its version: an [`AbilityRow::Case`].
#[must_use]
pub const fn case_key(case_id: CaseId) -> RowKey {
    RowKey::new(*case_id.as_uuid(), Item::named("case"))
}

/// The key of the row of a user and a case: an [`AbilityRow::Memory`].
#[must_use]
pub fn memory_key(user_id: UserId, case_id: CaseId) -> RowKey {
    RowKey::new(*user_id.as_uuid(), Item::of(case_id.as_uuid()))
}

/// How able a user is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "what the view keeps of a user")]
pub struct UserAbility {
    /// In general.
    pub general: Estimate,
    /// How much better than that just now: it is gone within the hour.
    pub form: Estimate,
    /// How many answers it is made of.
    pub answers: u64,
    /// When the latest was given, in milliseconds since 1970.
    pub last_at_ms: i64,
    /// Specialties and topics that were answered, in the order of their names; at most
    /// [`AREAS_PER_USER_MAX`].
    pub areas: Vec<AreaAbility>,
}

impl UserAbility {
    /// What is known of a specialty, with an empty topic, or of a topic within it. Both in lower case.
    #[must_use]
    pub fn area(&self, specialty: &str, topic: &str) -> Option<&AreaAbility> {
        let found = self.find_area(specialty, topic).ok()?;
        self.areas.get(found)
    }

    /// Puts an area in its place, and forgets the one answered longest ago if there are too many.
    pub(super) fn put_area(&mut self, area: AreaAbility) {
        match self.find_area(&area.specialty, &area.topic) {
            Ok(found) => self.areas[found] = area,
            Err(place) => {
                self.areas.insert(place, area);
                if self.areas.len() > AREAS_PER_USER_MAX {
                    self.forget_oldest_beside(place);
                }
            }
        }
    }

    fn forget_oldest_beside(&mut self, kept: usize) {
        let others = self.areas.iter().enumerate().filter(|(at, _)| *at != kept);
        if let Some((oldest, _)) = others.min_by_key(|(_, area)| area.last_at_ms) {
            self.areas.remove(oldest);
        }
    }

    fn find_area(&self, specialty: &str, topic: &str) -> Result<usize, usize> {
        let name = |area: &AreaAbility| (&*area.specialty, &*area.topic).cmp(&(specialty, topic));
        self.areas.binary_search_by(name)
    }
}

/// How much better a user is in a specialty or topic than in general.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "what the view keeps of an area")]
pub struct AreaAbility {
    /// The specialty in lower case; empty for topics of none.
    pub specialty: Box<str>,
    /// The topic in lower case; empty for the specialty as a whole.
    pub topic: Box<str>,
    /// The offset: of a specialty to the general ability, of a topic to its specialty.
    pub offset: Estimate,
    /// How many answers it is made of.
    pub answers: u64,
    /// How many of them were right.
    pub right: u64,
    /// Whether the latest was right.
    pub last_right: bool,
    /// When that was given, in milliseconds since 1970.
    pub last_at_ms: i64,
}

/// How hard a case is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "what the view keeps of a case")]
pub struct CaseDifficulty {
    /// The latest version that was answered or calibrated.
    pub version: CaseVersion,
    /// The log odds of a wrong answer of an average student who sees it for the first time.
    pub difficulty: Estimate,
    /// How well it tells students apart.
    pub discrimination: f64,
    /// How many answers to any version.
    pub answers: u64,
    /// From how many answers it was calibrated; 0 if it never was.
    pub calibrated_from: u64,
}

impl CaseDifficulty {
    /// The chance that an average student gets it right at first sight.
    #[must_use]
    pub fn average_chance(&self) -> f64 {
        super::model::logistic(-self.difficulty.mean)
    }
}

/// What a user remembers of a case.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "what the view keeps of the two")]
pub struct CaseMemory {
    /// How often the user answered it.
    pub answers: u32,
    /// How often they were right.
    pub right: u32,
    /// Whether they were right the last time.
    pub last_right: bool,
    /// When that was, in milliseconds since 1970.
    pub last_at_ms: i64,
    /// How much better the user is at it than their ability says, in log odds, beside what exposure
    /// teaches.
    pub familiarity: f64,
}
