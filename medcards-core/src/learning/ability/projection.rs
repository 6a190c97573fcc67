use super::model::Seen;
use super::{AbilityModel, AbilityRow, Encounter, case_key, memory_key, user_key};
use crate::answer::Answer;
use crate::event::{CaseCalibration, Event, EventBody};
use crate::view::{Changes, Facts, Projection, RowKey, Stop, ViewName};

/// The name of the view that [`AbilityProjection`] keeps.
pub const ABILITY_VIEW: &str = "ability";

/// Which rules these are, with the usual constants.
const RULES: u64 = 1;

/// Keeps how able users are and how hard cases, answer by answer.
///
/// An answer counts by what is known to be right now, so that a corrected key is followed by replay. A
/// calibration takes the place of what is known of a case, unless it is of an older version, or of one
/// whose key was corrected: it may come of the wrong key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AbilityProjection {
    model: AbilityModel,
    version: u64,
}

impl AbilityProjection {
    /// By the usual constants.
    #[must_use]
    pub fn new() -> Self {
        Self::with_model(AbilityModel::default(), RULES)
    }

    /// By other constants, which make another [`version`](Projection::version) of the view.
    #[must_use]
    pub const fn with_model(model: AbilityModel, version: u64) -> Self {
        Self { model, version }
    }

    /// What says what is expected, and what an answer changes.
    #[must_use]
    pub const fn model(&self) -> &AbilityModel {
        &self.model
    }

    fn answered(
        &self,
        answer: &Answer,
        facts: &Facts,
        changes: &mut Changes<AbilityRow>,
    ) -> Result<(), Stop> {
        let fact = facts.case_of(answer)?;
        let [user, case, memory] = keys(answer);
        let seen = Seen {
            version: answer.case_version,
            is_right: facts.is_correct(answer),
        };
        let encounter = Encounter {
            user: changes.find(user)?.and_then(AbilityRow::user),
            case: changes.find(case)?.and_then(AbilityRow::case),
            memory: changes.find(memory)?.and_then(AbilityRow::memory),
            specialty: &fact.specialty,
            topic: &fact.topic,
            at: answer.created_at,
        };
        let learnt = self.model.answered(&encounter, &seen);
        changes.put(user, AbilityRow::User(learnt.user))?;
        changes.put(case, AbilityRow::Case(learnt.case))?;
        changes.put(memory, AbilityRow::Memory(learnt.memory))
    }

    fn calibrated(
        &self,
        found: &CaseCalibration,
        facts: &Facts,
        changes: &mut Changes<AbilityRow>,
    ) -> Result<(), Stop> {
        if facts.right_of(found.case_id, found.version).is_some() {
            return Ok(());
        }
        let key = case_key(found.case_id);
        let case = changes.find(key)?.and_then(AbilityRow::case);
        let case = self.model.calibrated(case, found);
        changes.put(key, AbilityRow::Case(case))
    }
}

impl Default for AbilityProjection {
    fn default() -> Self {
        Self::new()
    }
}

impl Projection for AbilityProjection {
    type Row = AbilityRow;

    fn name(&self) -> ViewName {
        ViewName::new(ABILITY_VIEW).expect("it is made of lower-case letters")
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn likely_rows(&self, event: &Event, _facts: &Facts) -> Vec<RowKey> {
        match &event.body {
            EventBody::AnswerRecorded { answer } => keys(answer).to_vec(),
            EventBody::CasesCalibrated { calibrations, .. } => {
                calibrations.iter().map(|it| case_key(it.case_id)).collect()
            }
            EventBody::KeyCorrected { .. }
            | EventBody::OutageDeclared { .. }
            | EventBody::SettingsChanged { .. }
            | EventBody::Unreadable { .. } => Vec::new(),
        }
    }

    fn place(&self, _key: &RowKey, _row: &AbilityRow) -> Option<i64> {
        None
    }

    fn apply(
        &self,
        event: &Event,
        facts: &Facts,
        changes: &mut Changes<AbilityRow>,
    ) -> Result<(), Stop> {
        match &event.body {
            EventBody::AnswerRecorded { answer } => self.answered(answer, facts, changes),
            EventBody::CasesCalibrated { calibrations, .. } => calibrations
                .iter()
                .try_for_each(|found| self.calibrated(found, facts, changes)),
            EventBody::KeyCorrected { .. }
            | EventBody::OutageDeclared { .. }
            | EventBody::SettingsChanged { .. }
            | EventBody::Unreadable { .. } => Ok(()),
        }
    }
}

fn keys(answer: &Answer) -> [RowKey; 3] {
    let (user_id, case_id) = (answer.user_id, answer.case_id);
    [
        user_key(user_id),
        case_key(case_id),
        memory_key(user_id, case_id),
    ]
}
