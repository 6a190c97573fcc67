use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{CaseFigures, CaseStatsRow};
use crate::case::CaseVersion;
use crate::id::CaseId;
use crate::view::{Item, RowKey, ShelfQuery};

/// How many first answers an alarm needs, from which the normal distribution is close enough.
pub const ALARM_ANSWERS_MIN: u64 = 30;

/// How many standard errors a discrimination lies below zero for an alarm: of a thousand cases that tell
/// nobody apart, one is alarmed in error.
pub const NEGATIVE_Z_MIN: f64 = 3.0;

/// By how many standard errors more students choose another option than the key for an alarm: of two
/// options that are chosen alike, one in two hundred.
pub const RIVAL_Z_MIN: f64 = 2.58;

/// Whose rows the alarms are: of nobody that has another row.
const ALARMS: Uuid = Uuid::from_u128(1);

/// Why the key of a version of a case is probably wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeyAlarm {
    /// Those who answer it right do worse in other cases than those who answer it wrong.
    ///
    /// The [correlation](super::CaseReport::discrimination) r lies [`NEGATIVE_Z_MIN`] standard errors
    /// below zero, by r √((n - 2) / (1 - r²)). Source: [Tate (1954)](https://doi.org/10.1214/aoms/1177728730).
    NegativeDiscrimination,
    /// Another option is chosen by clearly more students than the key, and they do no worse in other cases
    /// than those who choose the key.
    ///
    /// The counts o and k differ by [`RIVAL_Z_MIN`] standard errors, by (o - k) / √(o + k). Source:
    /// [McNemar (1947)](https://doi.org/10.1007/BF02295996).
    Rival {
        /// The authored position of that option.
        position: usize,
    },
}

impl CaseFigures {
    /// Why the key is probably wrong, if it is.
    ///
    /// A hard case has a popular wrong option too; those who choose it do worse elsewhere.
    pub(super) fn alarm(&self) -> Option<KeyAlarm> {
        if self.scored_answers() < ALARM_ANSWERS_MIN {
            return None;
        }
        if let Some(position) = self.rival() {
            return Some(KeyAlarm::Rival { position });
        }
        let correlation = self.correlation()?;
        let freedom = self.scored_answers() as f64 - 2.0;
        let z = correlation * (freedom / (1.0 - correlation * correlation)).sqrt();
        (z <= -NEGATIVE_Z_MIN).then_some(KeyAlarm::NegativeDiscrimination)
    }

    /// The option that is probably right instead of the one that counts as right.
    fn rival(&self) -> Option<usize> {
        let right = self.right();
        let key = right.positions().next().filter(|_| right.len() == 1)?;
        let (_, of_key) = self.choosers().nth(key)?;
        let others = self.choosers().filter(|(position, _)| *position != key);
        let (position, most) = others.max_by_key(|(_, sums)| sums.students)?;
        let (more, fewer) = (most.students as f64, of_key.students as f64);
        let z = (more - fewer) / (more + fewer).sqrt();
        // Nobody who chooses the key: then nothing speaks for it.
        let does_worse = match (most.mean(), of_key.mean()) {
            (Some(of_rival), Some(of_key)) => of_rival < of_key,
            _ => false,
        };
        (z >= RIVAL_Z_MIN && !does_worse).then_some(position)
    }
}

/// A version of a case whose key is probably wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlarmedCase {
    /// The case.
    pub case_id: CaseId,
    /// The version.
    pub version: CaseVersion,
    /// Why.
    pub alarm: KeyAlarm,
    /// The instant of the answer with which it was raised.
    pub raised_at: Timestamp,
}

impl AlarmedCase {
    /// Which rows of the view are alarms, the oldest first.
    #[must_use]
    pub const fn query(limit: usize) -> ShelfQuery {
        ShelfQuery::new(ALARMS, limit)
    }

    /// Makes it of a row; `None` for a row of something else.
    #[must_use]
    pub fn read(key: &RowKey, row: &CaseStatsRow) -> Option<Self> {
        let CaseStatsRow::Alarmed { alarm, raised_ms } = row else {
            return None;
        };
        let (case, version) = key.item.as_bytes().split_at_checked(16)?;
        Some(Self {
            case_id: CaseId::from_bytes(case.try_into().ok()?),
            version: CaseVersion::new(u32::from_be_bytes(version.try_into().ok()?))?,
            alarm: *alarm,
            raised_at: Timestamp::from_millisecond(*raised_ms).ok()?,
        })
    }
}

/// The row with the alarm of a version of a case.
pub(super) fn alarm_key(case_id: CaseId, version: CaseVersion) -> RowKey {
    let mut item = [0; 20];
    item[..16].copy_from_slice(case_id.as_bytes());
    item[16..].copy_from_slice(&version.get().to_be_bytes());
    RowKey::new(ALARMS, Item::from_bytes(&item).unwrap_or(Item::NONE))
}
