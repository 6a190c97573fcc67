use std::collections::{HashMap, HashSet};

use medcards::case::CaseVersion;
use medcards::event::{CALIBRATIONS_PER_EVENT_MAX, CaseCalibration, Event, EventBody};
use medcards::learning::ability::{
    AbilityModel, AbilityProjection, AbilityRow, Encounter, case_key, memory_key, user_key,
};
use medcards::learning::irt::{Fit, FitConfig, Prior, Responses, fit};
use medcards::view::{Applied, Facts, Folder, RowKey};
use medcards::{Timestamp, UserId};

use crate::Error;
use crate::log::{Course, Given, event};
use crate::score::{Foretold, Score};

/// The view as it stands after each event.
struct Online {
    folder: Folder<AbilityProjection>,
    rows: HashMap<RowKey, AbilityRow>,
    facts: Facts,
    applied: u64,
}

impl Online {
    fn apply(&mut self, event: &Event) -> Result<(), Error> {
        loop {
            match self.folder.apply(event, &self.facts) {
                Applied::Missing(key) => self.folder.learn(key, None),
                Applied::SetAside(reason) => return Err(reason.into()),
                Applied::Done { .. } => break,
            }
        }
        for (key, row) in self.folder.take_changed() {
            match row {
                Some(row) => self.rows.insert(key, row),
                None => self.rows.remove(&key),
            };
        }
        self.applied += 1;
        Ok(())
    }

    fn chance(&self, course: &Course, given: &Given) -> f64 {
        let (user_id, case_id) = (course.user_id(given.user), course.case_id(given.case));
        let row = |key| self.rows.get(&key);
        let encounter = Encounter {
            user: row(user_key(user_id)).and_then(AbilityRow::user),
            case: row(case_key(case_id)).and_then(AbilityRow::case),
            memory: row(memory_key(user_id, case_id)).and_then(AbilityRow::memory),
            specialty: "",
            topic: course.topic(given.topic),
            at: Timestamp::from_millisecond(given.at_ms).unwrap_or(Timestamp::UNIX_EPOCH),
        };
        self.folder.projection().model().predict(&encounter).chance
    }
}

/// Has some users answer, and foretells each answer of others.
pub(crate) fn score(
    course: &Course,
    model: AbilityModel,
    calibration: Option<&Fit>,
    is_known: impl Fn(usize) -> bool,
    is_scored: impl Fn(usize) -> bool,
) -> Result<Score, Error> {
    let mut online = Online {
        folder: Folder::new(AbilityProjection::with_model(model, 1)),
        rows: HashMap::new(),
        facts: course.facts(),
        applied: 0,
    };
    for given in course.answers.iter().filter(|it| is_known(it.user)) {
        online.apply(&course.event(given, online.applied + 1))?;
    }
    for body in calibration.iter().flat_map(|fit| calibrated(course, fit)) {
        online.apply(&event(UserId::EVERYONE, online.applied + 1, body))?;
    }
    let mut foretold = Foretold::default();
    for given in course.answers.iter().filter(|it| is_scored(it.user)) {
        foretold.push(online.chance(course, given), given.is_right);
        online.apply(&course.event(given, online.applied + 1))?;
    }
    Ok(foretold.score())
}

/// Calibrates the cases with the first answers of some users.
pub(crate) fn calibrate(
    course: &Course,
    is_known: impl Fn(usize) -> bool,
    prior: Option<Prior>,
) -> Fit {
    let mut students = vec![Vec::new(); course.users.len()];
    let mut seen = HashSet::new();
    for given in course.answers.iter().filter(|it| is_known(it.user)) {
        if seen.insert((given.user, given.case)) {
            students[given.user].push((given.case, given.is_right));
        }
    }
    let mut responses = Responses::new(course.cases.len());
    for student in students.into_iter().filter(|student| !student.is_empty()) {
        responses.push(student);
    }
    let config = FitConfig {
        prior,
        ..FitConfig::default()
    };
    fit(&responses, &config)
}

fn calibrated(course: &Course, fit: &Fit) -> Vec<EventBody> {
    let millionths = |value: f64| (value * 1e6).round() as i64;
    let found = fit.parameters.iter().zip(&fit.answers).enumerate();
    let calibrations: Vec<_> = found
        .map(|(case, (found, answers))| CaseCalibration {
            case_id: course.case_id(case),
            version: CaseVersion::FIRST,
            discrimination_millionths: millionths(found.discrimination),
            difficulty_millionths: millionths(found.difficulty()),
            answers: *answers,
        })
        .collect();
    let event = |calibrations: &[CaseCalibration]| EventBody::CasesCalibrated {
        calibrations: calibrations.to_vec(),
        calibrated_at: Timestamp::UNIX_EPOCH,
    };
    calibrations
        .chunks(CALIBRATIONS_PER_EVENT_MAX)
        .map(event)
        .collect()
}
