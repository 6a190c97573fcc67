use std::collections::HashMap;

use jiff::Timestamp;

use super::Learning;
use crate::case::{
    CORRECTIONS_PER_READ_MAX, Case, CaseContent, CaseCorrection, CaseRecord, CaseStore,
    CaseVersion, KeyCorrection, OptionSet,
};
use crate::event::{EventBody, EventLog};
use crate::id::CaseId;
use crate::job::{JobKind, NewJob};
use crate::{Error, ErrorKind, Result};

/// The kind of the job that tells students that an answer of theirs was regraded.
///
/// Its payload is JSON, such as `{"case_id":"0190b7a8-1c5e-7000-8000-0000000000aa","versions":[1,2]}`:
/// the case, and the versions whose key was corrected.
pub const NOTIFY_REGRADED: &str = "notify-regraded";

const OPERATION: &str = "correct key";

/// What is right in a case after all.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by whoever corrects a key")]
pub struct KeyFix {
    /// The case.
    pub case_id: CaseId,
    /// Its current version, as far as whoever corrects it knows.
    pub current: CaseVersion,
    /// The keys of all right options, such as `B`.
    pub right: Vec<String>,
    /// The explanation of the whole case from now on; `None` if it stays.
    pub explanation: Option<String>,
}

/// What correcting a key did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FixedKey {
    /// The version that was published.
    pub version: CaseVersion,
    /// What is right now in the versions that had the mistake.
    pub corrections: Vec<KeyCorrection>,
}

impl Learning {
    /// Corrects the key of a case: publishes a new version, and has whatever is derived from answers to
    /// the versions with the mistake follow it. Answers keep what was seen. A [job](NOTIFY_REGRADED) is
    /// enqueued that tells the students concerned.
    ///
    /// The mistake is in the current version, and in each earlier one with the same texts of options of
    /// which the same were right.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such case; [`ErrorKind::Conflict`] if its current version
    /// is another; [`ErrorKind::Invalid`] for keys that it does not have, for none, or if they are right
    /// already. Those of the store. Then nothing is written.
    ///
    /// # Cancel safety
    /// A dropped future leaves all of it written or nothing.
    pub async fn correct_key(&self, fix: KeyFix) -> Result<FixedKey> {
        let now = self.inner.medcards.now();
        let current = self.version_of(fix.case_id, None).await?;
        if current.version != fix.current {
            let context = "another version was published meanwhile: look at it first";
            return Err(Error::new(ErrorKind::Conflict, OPERATION, context));
        }
        let right = right_of(&current.content, &fix.right)?;
        let corrected = self.corrected(fix.case_id).await?;
        let versions = self.mistaken(&current, right, &corrected).await?;
        let correction = CaseCorrection {
            case_id: fix.case_id,
            current: fix.current,
            content: mended(&current.content, right, fix.explanation)?,
            jobs: vec![regraded_job(fix.case_id, &versions, now)?],
            versions,
            corrected_at: now,
        };
        let corrections = self.store().correct_case(correction).await?;
        let version = corrections
            .first()
            .map_or(fix.current, |it| it.corrected_in);
        Ok(FixedKey {
            version,
            corrections,
        })
    }

    /// Says that students could not answer for a while, through no fault of theirs: no streak ends by it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it ended before it began, or has not ended yet. Those of the store.
    ///
    /// # Cancel safety
    /// A dropped future leaves it said or not; to say it twice is to say it once.
    pub async fn declare_outage(&self, began_at: Timestamp, ended_at: Timestamp) -> Result<()> {
        let declared_at = self.inner.medcards.now();
        if began_at >= ended_at || ended_at > declared_at {
            let context = "it must end after it began, and before now";
            return Err(Error::new(ErrorKind::Invalid, "declare outage", context));
        }
        let outage = EventBody::OutageDeclared {
            began_at,
            ended_at,
            declared_at,
        };
        self.store().append_events(vec![outage]).await
    }

    async fn version_of(
        &self,
        case_id: CaseId,
        version: Option<CaseVersion>,
    ) -> Result<std::sync::Arc<Case>> {
        let found = self.store().find_case(case_id, version).await?;
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, OPERATION, "there is no such case"))
    }

    /// What was corrected in a case before, the last correction of each version.
    async fn corrected(&self, case_id: CaseId) -> Result<HashMap<CaseVersion, OptionSet>> {
        let (mut corrected, mut last) = (HashMap::new(), 0);
        loop {
            let limit = CORRECTIONS_PER_READ_MAX;
            let more = self.store().list_corrections(last, limit).await?;
            let Some(end) = more.last() else {
                return Ok(corrected);
            };
            last = end.number;
            let of_case = more.iter().filter(|it| it.case_id == case_id);
            corrected.extend(of_case.map(|it| (it.version, it.right)));
        }
    }

    /// The versions with the mistake of the current one, with what is right in each.
    async fn mistaken(
        &self,
        current: &Case,
        right: OptionSet,
        corrected: &HashMap<CaseVersion, OptionSet>,
    ) -> Result<Vec<(CaseVersion, OptionSet)>> {
        let right_in = |case: &Case| {
            let by_itself = case.content.right_options();
            corrected.get(&case.version).copied().unwrap_or(by_itself)
        };
        let mistaken = right_in(current);
        if mistaken == right {
            let context = "these options are right already";
            return Err(Error::new(ErrorKind::Invalid, OPERATION, context));
        }
        let mut versions = Vec::new();
        for number in 1..=current.version.get() {
            let Some(version) = CaseVersion::new(number) else {
                continue;
            };
            let case = self.version_of(current.id, Some(version)).await?;
            let moved = |set| moved(set, &current.content, &case.content);
            if let (Some(was), Some(is)) = (moved(mistaken), moved(right))
                && right_in(&case) == was
            {
                versions.push((version, is));
            }
        }
        Ok(versions)
    }
}

/// The options with these keys.
fn right_of(content: &CaseContent, keys: &[String]) -> Result<OptionSet> {
    let invalid = |context| Error::new(ErrorKind::Invalid, OPERATION, context);
    let position = |key: &String| {
        let found = content.position_of(key);
        found.ok_or_else(|| invalid("it names an option that the case does not have"))
    };
    let right: OptionSet = keys.iter().map(position).collect::<Result<_>>()?;
    if right.is_empty() {
        return Err(invalid("it must name at least one option that is right"));
    }
    Ok(right)
}

/// Options of one version as another has them, by their texts; `None` if the two do not have the same.
fn moved(set: OptionSet, from: &CaseContent, to: &CaseContent) -> Option<OptionSet> {
    if from.options().len() != to.options().len() {
        return None;
    }
    let place = |text: &str| to.options().iter().position(|it| it.text == text);
    let places = from.options().iter().map(|it| place(&it.text));
    let places = places.collect::<Option<Vec<_>>>()?;
    let all: OptionSet = places.iter().copied().collect();
    // Texts that occur twice cannot be told apart.
    (all.len() == places.len()).then(|| set.positions().map(|at| places[at]).collect())
}

/// The content with the right key.
fn mended(
    content: &CaseContent,
    right: OptionSet,
    explanation: Option<String>,
) -> Result<CaseContent> {
    let mut record = CaseRecord::from(content.clone());
    let keys = content.keys_of(right);
    record.answer_keys = keys.iter().map(ToString::to_string).collect();
    record.multi = Some(content.several_right() || right.len() > 1);
    record.explanation = explanation.or(record.explanation);
    record.try_into()
}

fn regraded_job(
    case_id: CaseId,
    versions: &[(CaseVersion, OptionSet)],
    now: Timestamp,
) -> Result<NewJob> {
    let kind = JobKind::new(NOTIFY_REGRADED)
        .ok_or_else(|| Error::new(ErrorKind::Unexpected, OPERATION, "the job has no kind"))?;
    let versions: Vec<_> = versions.iter().map(|(it, _)| it.to_string()).collect();
    let versions = versions.join(",");
    let payload = format!(r#"{{"case_id":"{case_id}","versions":[{versions}]}}"#);
    Ok(NewJob::new(kind, payload, now))
}
