//! The built-in deck: original cases, so that a first start has something to show.

use medcards::case::{CaseContent, CaseRecord, CaseStore, PublicationOutcome};
use medcards::event::{EventLog, LogPosition, ReaderName};
use medcards::{Error, ErrorKind, Result, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

/// The files of the deck, one case a line.
const FILES: [&str; 12] = [
    include_str!("../deck/cardiology.jsonl"),
    include_str!("../deck/endocrinology.jsonl"),
    include_str!("../deck/gastroenterology.jsonl"),
    include_str!("../deck/haematology.jsonl"),
    include_str!("../deck/infectious-diseases.jsonl"),
    include_str!("../deck/nephrology.jsonl"),
    include_str!("../deck/neurology.jsonl"),
    include_str!("../deck/obstetrics-and-gynaecology.jsonl"),
    include_str!("../deck/paediatrics.jsonl"),
    include_str!("../deck/psychiatry.jsonl"),
    include_str!("../deck/respiratory-medicine.jsonl"),
    include_str!("../deck/surgery.jsonl"),
];

/// Where the cursor of an edition stands once it was loaded: anywhere but at the start.
const LOADED: LogPosition = LogPosition {
    transaction: 0,
    sequence: 1,
};

/// What loading the deck changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "three counts")]
pub struct DeckCounts {
    /// Cases in the deck.
    pub cases: usize,
    /// Of these, how many were not in the store.
    pub created: usize,
    /// Of these, how many were there with another content.
    pub updated: usize,
}

/// The cases of the deck.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for a line that is not a case, which a test rules out.
pub fn deck() -> Result<Vec<CaseContent>> {
    let lines = FILES.iter().flat_map(|file| file.lines());
    lines.map(|line| record(line)?.try_into()).collect()
}

/// Publishes the deck, which changes nothing if it is published already.
///
/// # Errors
/// Those of the store.
///
/// # Cancel safety
/// A dropped future leaves each case either published whole or not at all.
pub async fn load_deck(store: &(impl CaseStore + ?Sized), now: Timestamp) -> Result<DeckCounts> {
    let publications = store.publish(deck()?, now).await?;
    let count = |outcome| {
        publications
            .iter()
            .filter(|one| one.outcome == outcome)
            .count()
    };
    Ok(DeckCounts {
        cases: publications.len(),
        created: count(PublicationOutcome::Created),
        updated: count(PublicationOutcome::NewVersion),
    })
}

/// Publishes the deck into a store that never had this edition of it.
///
/// So a case of the deck that an operator has corrected stays corrected until the deck itself
/// changes. Which editions a store had is noted in the store, since many servers may share it and a
/// server may be given another one: each edition as a cursor that has left the start of the log.
///
/// # Errors
/// Those of the store.
///
/// # Cancel safety
/// A dropped future leaves each case either published whole or not at all.
pub async fn load_deck_once(
    store: &(impl CaseStore + EventLog + ?Sized),
    now: Timestamp,
) -> Result<DeckCounts> {
    let edition = format!("deck-{:016x}", xxh3_64(FILES.concat().as_bytes()));
    let edition = ReaderName::new(&edition).ok_or_else(|| {
        let context = "the name of an edition cannot be that of a cursor: this is a defect";
        Error::new(ErrorKind::Unexpected, "note the deck", context)
    })?;
    if store.find_cursor(&edition).await? != LogPosition::START {
        let cases = FILES.iter().map(|file| file.lines().count()).sum();
        return Ok(DeckCounts {
            cases,
            ..DeckCounts::default()
        });
    }
    let counts = load_deck(store, now).await?;
    // Moved last: whoever is stopped before loads again, which changes nothing.
    let moved = store.move_cursor(&edition, LogPosition::START, LOADED);
    match moved.await {
        // Another server loaded the same at the same time.
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(counts),
        moved => moved.map(|()| counts),
    }
}

fn record(line: &str) -> Result<CaseRecord> {
    serde_json::from_str(line).map_err(|source| {
        Error::new(
            ErrorKind::Corrupt,
            "read deck",
            "a line of the built-in deck is not a case",
        )
        .with_source(source)
    })
}
