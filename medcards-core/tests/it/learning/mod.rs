//! Projections, on logs that are made here.

mod ability;
mod boards;
mod case_stats;
mod habits;
mod handle;
mod irt;
mod next;
mod reviews;
mod user_stats;

use medcards_core::answer::Answer;
use medcards_core::case::{CaseVersion, OptionOrder, OptionSet};
use medcards_core::event::{Event, EventBody, LogPosition};
use medcards_core::shard::Bucket;
use medcards_core::view::{CaseFact, Facts, Folded, ProjectionRow};
use medcards_core::{AnswerId, CaseId, Timestamp, UserId};
use uuid::Uuid;

/// The `n`th user.
fn user(n: u32) -> UserId {
    UserId::from_uuid(Uuid::from_fields(n, 1, 0x4001, &[0x81; 8]))
}

/// The `n`th case.
fn case(n: u32) -> CaseId {
    CaseId::from_uuid(Uuid::from_fields(n, 2, 0x4002, &[0x82; 8]))
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("the test names an instant")
}

/// An answer to the first version of a case: with the option at this position, of which the first is
/// right.
fn answer(user_id: UserId, case_id: CaseId, chosen: usize, at: Timestamp) -> Answer {
    Answer {
        id: AnswerId::new(at),
        user_id,
        case_id,
        case_version: CaseVersion::FIRST,
        chosen: OptionSet::from_iter([chosen]),
        shown: OptionOrder::authored(4),
        is_correct: chosen == 0,
        time_to_answer_ms: Some(20_000),
        confidence: None,
        created_at: at,
    }
}

/// A log of these events, in this order.
fn log(bodies: impl IntoIterator<Item = (UserId, EventBody)>) -> Vec<Event> {
    let event = |(sequence, (user_id, body)): (u64, _)| Event {
        position: LogPosition {
            transaction: 0,
            sequence,
        },
        user_id,
        bucket: Bucket::of(&user_id),
        body,
    };
    (1..).zip(bodies).map(event).collect()
}

/// A log of these answers, in this order.
fn answers(answers: impl IntoIterator<Item = Answer>) -> Vec<Event> {
    log(answers
        .into_iter()
        .map(|answer| (answer.user_id, EventBody::AnswerRecorded { answer })))
}

/// Makes the first versions of so many cases known, all of one specialty and topic.
fn facts(cases: u32) -> Facts {
    let mut facts = Facts::default();
    for n in 0..cases {
        let fact = CaseFact::new("Cardiology", "Rhythm", 4, OptionSet::from_iter([0]));
        facts.insert(case(n), CaseVersion::FIRST, fact);
    }
    facts
}

/// Checks that each row is read as it is written, and returns the length of the longest.
fn stored_len_max<R: ProjectionRow>(folded: &Folded<R>) -> usize {
    let len = |row: &R| {
        let bytes = row.to_bytes().expect("the row has a stored form");
        let read = R::from_bytes(&bytes).expect("what is written is read");
        assert_eq!(&read, row);
        bytes.len()
    };
    folded.rows.values().map(len).max().unwrap_or_default()
}
