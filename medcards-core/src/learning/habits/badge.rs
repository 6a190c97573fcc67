use std::collections::BTreeSet;

use jiff::Timestamp;
use xxhash_rust::xxh3::Xxh3;

use super::{Habits, HabitsRow, Streak};
use crate::event::ReaderName;
use crate::view::Award;
use crate::{Error, ErrorKind, Result};

/// How many rules there may be: what a user has is kept as one bit each.
pub const BADGE_RULES_MAX: usize = 64;

/// What a badge is awarded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BadgeFact {
    /// Days with an answer.
    ActiveDays,
    /// Answers.
    Answers,
    /// Right answers.
    RightAnswers,
    /// The most right answers without a wrong one between, in the order in which they arrived.
    RightInARow,
    /// Specialties with an answer.
    Specialties,
    /// Days of the longest streak.
    StreakDays,
}

impl BadgeFact {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ActiveDays => "active_days",
            Self::Answers => "answers",
            Self::RightAnswers => "right_answers",
            Self::RightInARow => "right_in_a_row",
            Self::Specialties => "specialties",
            Self::StreakDays => "streak_days",
        }
    }
}

/// When a badge is awarded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "written out by who makes rules")]
pub struct BadgeRule {
    /// The stable name: 1 to 64 lower-case letters, digits and hyphens.
    pub name: Box<str>,
    /// What students read.
    pub title: Box<str>,
    /// Of what there is to be enough.
    pub fact: BadgeFact,
    /// How much is enough, at least 1.
    pub at_least: u64,
}

impl BadgeRule {
    /// The rules that come with the library.
    #[must_use]
    pub fn built_in() -> Vec<Self> {
        let rule = |(name, title, fact, at_least): &(&str, &str, BadgeFact, u64)| Self {
            name: (*name).into(),
            title: (*title).into(),
            fact: *fact,
            at_least: *at_least,
        };
        BUILT_IN.iter().map(rule).collect()
    }
}

const BUILT_IN: &[(&str, &str, BadgeFact, u64)] = &[
    ("first-answer", "First case", BadgeFact::Answers, 1),
    ("answers-100", "A hundred answers", BadgeFact::Answers, 100),
    (
        "answers-1000",
        "A thousand answers",
        BadgeFact::Answers,
        1_000,
    ),
    (
        "answers-10000",
        "Ten thousand answers",
        BadgeFact::Answers,
        10_000,
    ),
    (
        "right-50",
        "Fifty right answers",
        BadgeFact::RightAnswers,
        50,
    ),
    (
        "right-500",
        "Five hundred right answers",
        BadgeFact::RightAnswers,
        500,
    ),
    (
        "right-5000",
        "Five thousand right answers",
        BadgeFact::RightAnswers,
        5_000,
    ),
    ("row-10", "Ten right in a row", BadgeFact::RightInARow, 10),
    (
        "row-25",
        "Twenty-five right in a row",
        BadgeFact::RightInARow,
        25,
    ),
    ("row-50", "Fifty right in a row", BadgeFact::RightInARow, 50),
    ("streak-7", "A week without a gap", BadgeFact::StreakDays, 7),
    (
        "streak-30",
        "A month without a gap",
        BadgeFact::StreakDays,
        30,
    ),
    (
        "streak-100",
        "A hundred days without a gap",
        BadgeFact::StreakDays,
        100,
    ),
    (
        "streak-365",
        "A year without a gap",
        BadgeFact::StreakDays,
        365,
    ),
    ("days-10", "Ten days of learning", BadgeFact::ActiveDays, 10),
    (
        "days-100",
        "A hundred days of learning",
        BadgeFact::ActiveDays,
        100,
    ),
    (
        "specialties-5",
        "Five specialties",
        BadgeFact::Specialties,
        5,
    ),
    (
        "specialties-15",
        "Fifteen specialties",
        BadgeFact::Specialties,
        15,
    ),
];

/// Checks rules.
pub(super) fn check(rules: &[BadgeRule]) -> Result<()> {
    let invalid = |context| Err(Error::new(ErrorKind::Invalid, "read badge rules", context));
    if rules.len() > BADGE_RULES_MAX {
        return invalid("there are over 64: leave some out");
    }
    let mut names = BTreeSet::new();
    for rule in rules {
        if ReaderName::new(&rule.name).is_none() {
            return invalid("a name has 1 to 64 lower-case letters, digits and hyphens");
        }
        if !names.insert(&rule.name) {
            return invalid("two badges have the same name");
        }
        if rule.at_least == 0 {
            return invalid("a badge is awarded for something: ask for at least 1");
        }
    }
    Ok(())
}

/// What tells rules apart from others by which something else would be awarded.
pub(super) fn hash(rules: &[BadgeRule]) -> u64 {
    let mut hash = Xxh3::new();
    for rule in rules {
        hash.update(rule.name.as_bytes());
        hash.update(&[0]);
        hash.update(rule.fact.as_str().as_bytes());
        hash.update(&rule.at_least.to_le_bytes());
    }
    hash.digest()
}

/// How far a student is with a badge.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadgeStanding {
    /// When it is awarded.
    pub rule: BadgeRule,
    /// How much there is by now.
    pub progress: u64,
    /// Since when the student has it, whatever the progress says.
    pub awarded_at: Option<Timestamp>,
}

impl BadgeStanding {
    /// Makes those of all rules, in their order, of the rows of [`Streak::keys`] that there are, and of
    /// the awards of the user.
    #[must_use]
    pub fn read_all<'a>(
        rules: &[BadgeRule],
        rows: impl IntoIterator<Item = &'a HabitsRow> + Clone,
        awards: &[Award],
        now: Timestamp,
    ) -> Vec<Self> {
        let longest = Streak::read(rows.clone(), now).longest;
        let habits = rows.into_iter().find_map(HabitsRow::user);
        let standing = |rule: &BadgeRule| {
            let progress = habits.map_or(0, |it| match rule.fact {
                BadgeFact::StreakDays => u64::from(longest),
                fact => it.fact(fact),
            });
            let award = awards.iter().find(|it| *it.badge == *rule.name);
            Self {
                rule: rule.clone(),
                progress,
                awarded_at: award.map(|it| it.at),
            }
        };
        rules.iter().map(standing).collect()
    }
}

impl Habits {
    /// How much there is, as far as the last answer that was counted.
    pub(super) fn fact(&self, fact: BadgeFact) -> u64 {
        match fact {
            BadgeFact::ActiveDays => self.days.len(),
            BadgeFact::Answers => self.answers,
            BadgeFact::RightAnswers => self.right,
            BadgeFact::RightInARow => u64::from(self.right_in_a_row_max),
            BadgeFact::Specialties => self.specialties.len() as u64,
            BadgeFact::StreakDays => u64::from(self.longest_streak),
        }
    }
}
