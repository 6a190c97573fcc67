//! Streaks in the student's own time zones, and badges.
//!
//! The view `habits` has one row per user, of 100 bytes to 3 kB, and one row with all outages. What a streak
//! is at a given instant is a [pure function](streak) of the two: so an outage that is declared later mends
//! streaks at once, and nothing has to run at midnight. An event costs a copy of the user's row; the first answer
//! of a day also costs two walks over the days of activity.
//!
//! - The date of an answer is that of its instant in the zone where the student was then, by the
//!   settings; UTC if none was set, or if the zone is not known. So an answer that arrives late fills its
//!   own date, and the order of arrival makes no difference.
//! - A date without an answer breaks a streak, unless a change of zone left less than 20 hours of it, an
//!   outage took a quarter of it or half an hour of its last three, or a freeze is left.
//! - Badges are awarded when the facts reach what their rule asks for, and stay. One that a later declared
//!   outage brings about is awarded with the next answer on a new day.
//!
//! Zones are read from the database of the machine. Without one (Debian's package `tzdata`) all days are those
//! of UTC.

mod badge;
mod calendar;
mod days;
mod outage;
mod streak;

pub use badge::{BADGE_RULES_MAX, BadgeFact, BadgeRule, BadgeStanding};
pub use calendar::ZONE_CHANGES_MAX;
pub use days::ACTIVE_RUNS_MAX;
pub use outage::{
    LAST_HOURS_LOST_MIN_MS, LAST_HOURS_MS, OUTAGE_MAX_MS, OUTAGE_PART, OUTAGES_MAX, Outages,
};
pub use streak::{DAYS_PER_FREEZE, FREEZES_MAX, Streak, WHOLE_DAY_MIN_MS, streak};

use std::sync::Arc;

use calendar::ZoneHistory;
use days::ActiveDays;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::Result;
use crate::answer::Answer;
use crate::event::{Event, EventBody};
use crate::notice::NoticeBody;
use crate::view::{Changes, Facts, Item, NewAward, Projection, RowKey, Stop, ViewName};

/// The name of the view.
pub const HABITS: &str = "habits";

/// How many specialties of a user are told apart: twice as many as medicine has.
pub const SPECIALTIES_TOUCHED_MAX: usize = 64;

/// Which form the rows have; the rules of badges are counted in beside.
const FORM: u64 = 1;

/// The row of all outages.
const OUTAGES: RowKey = RowKey::of_view(Item::named("outages"));

/// A row of the view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the rows of one version of the view"
)]
pub enum HabitsRow {
    /// When students could not answer.
    Outages(Outages),
    /// When a user was active, and what there is to award.
    User(Box<Habits>),
}

impl HabitsRow {
    fn user(&self) -> Option<&Habits> {
        match self {
            Self::User(habits) => Some(habits),
            Self::Outages(_) => None,
        }
    }

    const fn outages(&self) -> Option<&Outages> {
        match self {
            Self::Outages(outages) => Some(outages),
            Self::User(_) => None,
        }
    }
}

/// When a user was active, and what there is to award.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Habits {
    zones: ZoneHistory,
    days: ActiveDays,
    /// The latest instant of an answer, in milliseconds.
    last_ms: Option<i64>,
    answers: u64,
    right: u64,
    right_in_a_row: u32,
    right_in_a_row_max: u32,
    /// A hash of each name, in ascending order.
    specialties: Vec<u32>,
    /// As far as the last new day.
    longest_streak: u32,
    /// One bit per rule.
    awarded: u64,
}

impl Habits {
    fn count(&mut self, answer: &Answer, specialty: &str, is_right: bool) {
        self.last_ms = self.last_ms.max(Some(answer.created_at.as_millisecond()));
        self.answers += 1;
        if is_right {
            self.right += 1;
            self.right_in_a_row = self.right_in_a_row.saturating_add(1);
            self.right_in_a_row_max = self.right_in_a_row_max.max(self.right_in_a_row);
        } else {
            self.right_in_a_row = 0;
        }
        let hash = xxh3_64(specialty.as_bytes()) as u32;
        let has_room = self.specialties.len() < SPECIALTIES_TOUCHED_MAX;
        if let (false, true) = (specialty.is_empty(), has_room)
            && let Err(index) = self.specialties.binary_search(&hash)
        {
            self.specialties.insert(index, hash);
        }
    }

    /// Makes the date of an answer an active one; the length of the streak if that made it longer.
    fn be_active(&mut self, answer: &Answer, outages: &Outages) -> Option<u32> {
        let day = self.zones.day_of(answer.created_at);
        if self.days.contains(day) {
            return None;
        }
        let last = self.last_ms.unwrap_or(i64::MIN);
        let last = Timestamp::from_millisecond(last).unwrap_or(answer.created_at);
        let now = last.max(answer.created_at);
        let before = streak(self, outages, now);
        if !self.days.insert(day) {
            return None;
        }
        let after = streak(self, outages, now);
        self.longest_streak = self.longest_streak.max(after.longest);
        (after.days > before.days).then_some(after.days)
    }

    /// Which rules are met that were not before.
    fn award<'a>(&mut self, rules: &'a [BadgeRule]) -> Vec<&'a BadgeRule> {
        let mut met = Vec::new();
        for (index, rule) in rules.iter().enumerate().take(BADGE_RULES_MAX) {
            let bit = 1_u64 << index;
            if self.awarded & bit == 0 && self.fact(rule.fact) >= rule.at_least {
                self.awarded |= bit;
                met.push(rule);
            }
        }
        met
    }
}

/// Keeps when users are active, and awards badges.
#[derive(Clone, Debug)]
pub struct HabitsProjection {
    rules: Arc<[BadgeRule]>,
}

impl HabitsProjection {
    /// With the rules that come with the library.
    #[must_use]
    pub fn new() -> Self {
        Self {
            rules: BadgeRule::built_in().into(),
        }
    }

    /// With these rules instead. Other rules make another version: the view is built anew, and awards what
    /// is due by them.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for more than [`BADGE_RULES_MAX`] rules, a name
    /// that is no name or stands twice, and a rule that asks for nothing.
    pub fn with_rules(rules: Vec<BadgeRule>) -> Result<Self> {
        badge::check(&rules)?;
        Ok(Self {
            rules: rules.into(),
        })
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &[BadgeRule] {
        &self.rules
    }

    fn answered(
        &self,
        answer: &Answer,
        facts: &Facts,
        changes: &mut Changes<HabitsRow>,
    ) -> Result<(), Stop> {
        let fact = facts.case_of(answer)?;
        let is_right = facts.is_correct(answer);
        let key = RowKey::of_user(answer.user_id);
        let known = changes.find(key)?.and_then(HabitsRow::user);
        let mut habits = known.cloned().unwrap_or_default();
        let outages = changes.find(OUTAGES)?.and_then(HabitsRow::outages);
        let longer = match outages {
            Some(outages) => habits.be_active(answer, outages),
            None => habits.be_active(answer, &Outages::default()),
        };
        habits.count(answer, &fact.specialty, is_right);
        let met = habits.award(&self.rules);
        changes.put(key, HabitsRow::User(Box::new(habits)))?;
        let (user_id, at) = (answer.user_id, answer.created_at);
        if let Some(days) = longer {
            changes.notify(user_id, at, NoticeBody::Streak { days });
        }
        for rule in met {
            changes.award(NewAward {
                user_id,
                badge: rule.name.to_string(),
                at,
                job: None,
            });
        }
        Ok(())
    }
}

impl Default for HabitsProjection {
    fn default() -> Self {
        Self::new()
    }
}

impl Projection for HabitsProjection {
    type Row = HabitsRow;

    fn name(&self) -> ViewName {
        super::view_name(HABITS)
    }

    fn version(&self) -> u64 {
        // Some stores keep a signed number.
        (badge::hash(&self.rules) ^ FORM) >> 1
    }

    fn likely_rows(&self, event: &Event, _facts: &Facts) -> Vec<RowKey> {
        match &event.body {
            EventBody::AnswerRecorded { answer } => {
                vec![RowKey::of_user(answer.user_id), OUTAGES]
            }
            EventBody::OutageDeclared { .. } => vec![OUTAGES],
            EventBody::SettingsChanged { .. } => vec![RowKey::of_user(event.user_id)],
            _ => Vec::new(),
        }
    }

    fn place(&self, _key: &RowKey, _row: &Self::Row) -> Option<i64> {
        None
    }

    fn apply(
        &self,
        event: &Event,
        facts: &Facts,
        changes: &mut Changes<Self::Row>,
    ) -> Result<(), Stop> {
        match &event.body {
            EventBody::AnswerRecorded { answer } => self.answered(answer, facts, changes),
            EventBody::OutageDeclared {
                began_at, ended_at, ..
            } => {
                let outages = changes.find(OUTAGES)?.and_then(HabitsRow::outages);
                let mut outages = outages.cloned().unwrap_or_default();
                let declared = outages.declare(*began_at, *ended_at);
                declared.map_err(|reason| Stop::SetAside(reason.to_owned()))?;
                changes.put(OUTAGES, HabitsRow::Outages(outages))
            }
            EventBody::SettingsChanged {
                settings,
                changed_at,
            } => {
                let key = RowKey::of_user(event.user_id);
                let known = changes.find(key)?.and_then(HabitsRow::user);
                let mut habits = known.cloned().unwrap_or_default();
                let before = habits.zones.clone();
                let at_ms = changed_at.as_millisecond();
                habits.zones.change(at_ms, settings.time_zone.as_str());
                if habits.zones == before {
                    return Ok(());
                }
                changes.put(key, HabitsRow::User(Box::new(habits)))
            }
            _ => Ok(()),
        }
    }
}
