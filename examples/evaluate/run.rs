#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

use std::collections::BTreeMap;
use std::path::Path;

use medcards::learning::ability::AbilityModel;
use medcards::learning::irt::{CaseParameters, Prior};
use serde::Deserialize;

use crate::Error;
use crate::arguments::Arguments;
use crate::baseline::{Elo, sequential_ability};
use crate::log::{Course, Log};
use crate::online;
use crate::score::Score;

/// Of ten parts of the users, so many are for tuning: constants, difficulties, calibrations.
const TUNING_PARTS: u64 = 7;

/// Of these, so many are known while constants are compared on the others.
const KNOWN_PARTS: u64 = 5;

/// Evaluates the logs, prints the table, and says whether no baseline is better.
pub(crate) fn evaluate(arguments: &Arguments) -> Result<bool, Error> {
    println!(
        "{:<12} {:<44} {:>8} {:>7} {:>9} {:>9}",
        "log", "", "answers", "AUC", "log loss", "accuracy"
    );
    let mut is_best = true;
    for log in Log::ALL {
        if arguments
            .log
            .as_deref()
            .is_none_or(|name| name == log.name())
        {
            is_best &= evaluate_log(log, arguments)?;
        }
    }
    Ok(is_best)
}

fn evaluate_log(log: Log, arguments: &Arguments) -> Result<bool, Error> {
    let course = log.read(&arguments.data)?;
    let (known, scored) = if arguments.tuning {
        (0..KNOWN_PARTS, KNOWN_PARTS..TUNING_PARTS)
    } else {
        (0..TUNING_PARTS, TUNING_PARTS..10)
    };
    let is_known = |user| known.contains(&course.part(user));
    let is_scored = |user| scored.contains(&course.part(user));
    let print = |what: &str, score: &Score| {
        println!(
            "{:<12} {what:<44} {:>8} {:>7.4} {:>9.4} {:>9.4}",
            log.name(),
            score.answers,
            score.area,
            score.log_loss,
            score.accuracy
        );
    };

    let mut best = 0.0_f64;
    for (name, published) in published(log, &arguments.data)? {
        println!(
            "{:<12} {:<44} {:>8} {:>7.4} {:>9.4}",
            log.name(),
            format!("reference: {name}"),
            published.n,
            published.auc,
            published.logloss
        );
        best = best.max(published.auc);
    }
    for by_case in [false, true] {
        let elo = tuned(&course, by_case);
        let what = if by_case { "user and case" } else { "user" };
        let score = elo.score(&course, is_known, is_scored);
        print(&format!("Elo of {what}, step {}", elo.step), &score);
        best = best.max(score.area);
    }
    let calibration = online::calibrate(&course, is_known, Some(Prior::WEAK));
    if log == Log::Credential {
        print_beside_girth(&course, &arguments.data)?;
        let score = sequential_ability(&course, &calibration.parameters, is_scored);
        print("two-parameter model, sequential ability", &score);
        best = best.max(score.area);
    }

    let model = AbilityModel::default();
    let score = online::score(&course, model, None, is_known, is_scored)?;
    print("ability, not calibrated", &score);
    let score = online::score(&course, model, Some(&calibration), is_known, is_scored)?;
    print("ability, calibrated", &score);
    println!();
    Ok(score.area >= best)
}

/// Compares a calibration by all users with one that another program made of the same log.
fn print_beside_girth(course: &Course, data: &Path) -> Result<(), Error> {
    let path = data.join("reference/credential_2pl_girth_from_shared.json");
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let theirs: Vec<GirthCase> = serde_json::from_str(&text)?;
    let ours = online::calibrate(course, |_| true, None);
    let (mut sum, mut most, mut count) = (0.0_f64, 0.0_f64, 0.0);
    for case in &theirs {
        let Some(number) = course.cases.find(&case.item) else {
            continue;
        };
        let theirs = CaseParameters {
            discrimination: case.a,
            intercept: -case.a * case.b,
        };
        for ability in [-2.0, -1.0, 0.0, 1.0, 2.0] {
            let difference = ours.parameters[number].chance(ability) - theirs.chance(ability);
            sum += difference.abs();
            most = most.max(difference.abs());
            count += 1.0;
        }
    }
    println!(
        "{:<12} calibration beside girth's: chances differ by {:.4} in the mean, {most:.4} at most; \
         {} iterations",
        Log::Credential.name(),
        sum / count,
        ours.iterations
    );
    Ok(())
}

/// A case as girth calibrated it.
#[derive(Debug, Deserialize)]
struct GirthCase {
    item: String,
    a: f64,
    b: f64,
}

/// The Elo rating that is best among users for tuning.
fn tuned(course: &Course, by_case: bool) -> Elo {
    let area = |elo: &Elo| {
        let is_known = |user| course.part(user) < KNOWN_PARTS;
        let is_scored = |user| (KNOWN_PARTS..TUNING_PARTS).contains(&course.part(user));
        elo.score(course, is_known, is_scored).area
    };
    let scored = Elo::candidates(by_case).map(|elo| (area(&elo), elo));
    let best = scored.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.map_or(Elo { step: 0.5, by_case }, |(_, elo)| elo)
}

/// A figure that somebody else measured, on other parts of the users.
#[derive(Debug, Deserialize)]
struct Published {
    n: u64,
    auc: f64,
    logloss: f64,
}

/// The figures of a log, the best last.
fn published(log: Log, data: &Path) -> Result<Vec<(String, Published)>, Error> {
    let mut all = Vec::new();
    for file in ["baselines.json", "baselines_elo_tuned.json"] {
        let path = data.join("reference").join(file);
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let figures: BTreeMap<String, Published> = serde_json::from_str(&text)?;
        all.extend(figures.into_iter().filter_map(|(name, figure)| {
            let name = name.strip_prefix(log.name())?.strip_prefix('/')?.to_owned();
            Some((name, figure))
        }));
    }
    all.sort_by(|(_, one), (_, other)| one.auc.total_cmp(&other.auc));
    Ok(all.split_off(all.len().saturating_sub(2)))
}
