use std::marker::PhantomData;

use jiff::Timestamp;
use uuid::Uuid;

use crate::ai::{ModelId, PromptVersion};
use crate::answer::{Answer, Confidence};
use crate::case::{
    Case, CaseContent, CaseRecord, CaseVersion, Difficulty, OptionRecord, OptionSet, VignetteRecord,
};
use crate::feedback::{Feedback, FeedbackKey, Origin, ReviewState, Shared};
use crate::id::{AnswerId, CaseId, UserId};
use crate::spend::MicroDollars;
use crate::user::Locale;

/// When the samples begin: 15 January 2026, 08:00 UTC.
pub const SAMPLE_START: Timestamp = Timestamp::constant(1_768_464_000, 0);

/// The record of the `n`th sample case, to be changed as a test needs it.
///
/// Four options, of which the one at position `n % 4` is right, every field filled.
#[must_use]
pub fn sample_record(n: u32) -> CaseRecord {
    let right = n as usize % 4;
    let option = |(position, key): (usize, &str)| OptionRecord {
        key: key.to_owned(),
        text: format!("Finding {} of sample {n}", position + 1),
        explanation: Some(format!(
            "What finding {} means in sample {n}.",
            position + 1
        )),
    };
    CaseRecord {
        id: format!("sample-{n}"),
        source: "samples".to_owned(),
        lang: Locale::ENGLISH,
        stem: format!("Which finding fits sample {n} best?"),
        vignette: vec![VignetteRecord {
            label: "History".to_owned(),
            text: format!(
                "A person of {} years has been unwell for two days.",
                20 + n % 60
            ),
        }],
        options: ["A", "B", "C", "D"]
            .into_iter()
            .enumerate()
            .map(option)
            .collect(),
        answer_keys: vec![["A", "B", "C", "D"][right].to_owned()],
        explanation: Some(format!("Sample {n} is explained by its history.")),
        specialty: Some("Cardiology".to_owned()),
        topic: Some("Rhythm".to_owned()),
        tags: vec!["sample".to_owned(), format!("tag{n}")],
        difficulty: Some(Difficulty::Medium),
        references: vec!["Written for tests.".to_owned()],
        licence: Some("CC0-1.0".to_owned()),
        ..CaseRecord::default()
    }
}

/// The content of the `n`th sample case; see [`sample_record`].
///
/// # Panics
/// Never: every sample record is well formed.
#[must_use]
pub fn sample_content(n: u32) -> CaseContent {
    sample_record(n)
        .try_into()
        .expect("a sample record is well formed")
}

/// The first version of the `n`th sample case, published at [`SAMPLE_START`], always with the same
/// id.
#[must_use]
pub fn sample_case(n: u32) -> Case {
    Case {
        id: CaseId::from_uuid(version_seven(SAMPLE_START, n)),
        version: CaseVersion::FIRST,
        published_at: SAMPLE_START,
        content: sample_content(n),
    }
}

/// The id of the `n`th sample user: always the same, and not of version 7.
#[must_use]
pub fn sample_user_id(n: u32) -> UserId {
    UserId::from_uuid(Uuid::from_fields(n, 0x5a5a, 0x4a5a, &[0x8a; 8]))
}

/// A new answer of a user to a case at an instant, to the millisecond: the first option, which is
/// right or wrong as the case has it.
#[must_use]
pub fn sample_answer(user_id: UserId, case: &Case, at: Timestamp) -> Answer {
    let id = AnswerId::new(at);
    let chosen: OptionSet = [0].into_iter().collect();
    Answer {
        id,
        user_id,
        case_id: case.id,
        case_version: case.version,
        chosen,
        shown: case.order_shown_to(&user_id),
        is_correct: case.is_correct(chosen),
        time_to_answer_ms: Some(12_345),
        confidence: Confidence::try_from(60).ok(),
        created_at: id.instant().unwrap_or(at),
    }
}

/// The key of feedback on the first option of the `n`th sample case, in English.
///
/// # Panics
/// Never: the name of the sample model is well formed.
#[must_use]
pub fn sample_key(n: u32) -> FeedbackKey {
    FeedbackKey {
        case_id: sample_case(n).id,
        case_version: CaseVersion::FIRST,
        chosen: [0].into_iter().collect(),
        locale: Locale::ENGLISH,
        prompt_version: PromptVersion::new(1),
        model: sample_model(),
    }
}

/// An unreviewed feedback with this text, written by a model at [`SAMPLE_START`].
#[must_use]
pub fn sample_feedback(text: &str) -> Feedback<Shared> {
    Feedback {
        text: text.to_owned(),
        origin: Origin::Live,
        model: Some(sample_model()),
        prompt_version: Some(PromptVersion::new(1)),
        review: ReviewState::Unreviewed,
        cost: MicroDollars::new(1_250),
        written_at: SAMPLE_START,
        audience: PhantomData,
    }
}

pub(super) fn sample_model() -> ModelId {
    "sample-model-1".parse().expect("the name has no space")
}

fn version_seven(at: Timestamp, n: u32) -> Uuid {
    let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
    let mut random = [0; 10];
    random[6..].copy_from_slice(&n.to_be_bytes());
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}
