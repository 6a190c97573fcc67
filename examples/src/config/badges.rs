use std::path::Path;

use medcards::Result;
use medcards::learning::habits::{BadgeFact, BadgeRule, HabitsProjection};
use serde::Deserialize;

use super::{read_toml, wrong};

/// What a file of rules says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    badge: Vec<RuleEntry>,
}

/// When a badge is awarded.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    name: String,
    title: String,
    of: String,
    at_least: u64,
}

/// Everything that a badge can be awarded for.
const FACTS: [BadgeFact; 6] = [
    BadgeFact::ActiveDays,
    BadgeFact::Answers,
    BadgeFact::RightAnswers,
    BadgeFact::RightInARow,
    BadgeFact::Specialties,
    BadgeFact::StreakDays,
];

/// The rules in a file, or those that come with the library.
pub(super) fn badges(file: Option<&Path>) -> Result<Vec<BadgeRule>> {
    let Some(path) = file else {
        return Ok(BadgeRule::built_in());
    };
    let RulesFile { badge } = read_toml(path)?;
    let rules: Vec<_> = badge.into_iter().map(rule).collect::<Result<_>>()?;
    // It knows what rules can be.
    HabitsProjection::with_rules(rules.clone()).map_err(|error| {
        let what = format!("has rules that cannot be: {}", error.context());
        wrong("MEDCARDS_BADGES", what)
    })?;
    Ok(rules)
}

fn rule(entry: RuleEntry) -> Result<BadgeRule> {
    let fact = FACTS.into_iter().find(|fact| fact.as_str() == entry.of);
    let fact = fact.ok_or_else(|| {
        let names = FACTS.map(BadgeFact::as_str).join(", ");
        let what = format!("has a badge of `{}`: it must be one of {names}", entry.of);
        wrong("MEDCARDS_BADGES", what)
    })?;
    Ok(BadgeRule {
        name: entry.name.into(),
        title: entry.title.into(),
        fact,
        at_least: entry.at_least,
    })
}
