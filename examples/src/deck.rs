//! The built-in deck: original cases, so that a first start has something to show.

use std::fs;
use std::path::Path;

use medcards::case::{CaseContent, CaseQuery, CaseRecord, CaseStore, PublicationOutcome};
use medcards::store::PageLimit;
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

/// The file of the data folder that says which edition of the deck was loaded.
const NOTE: &str = "deck-edition";

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

/// Publishes the deck into a store that has no case, or that had another edition of the deck.
///
/// So a case of the deck that an operator has corrected stays corrected until the deck itself
/// changes. Which edition was loaded is noted in the data folder.
///
/// # Errors
/// Those of the store; [`ErrorKind::ReadOnly`] if the note cannot be written.
///
/// # Cancel safety
/// A dropped future leaves each case either published whole or not at all.
pub async fn load_deck_once(
    store: &(impl CaseStore + ?Sized),
    data: &Path,
    now: Timestamp,
) -> Result<DeckCounts> {
    let edition = format!("{:016x}", xxh3_64(FILES.concat().as_bytes()));
    let note = data.join(NOTE);
    let is_noted = fs::read_to_string(&note).is_ok_and(|noted| noted.trim() == edition);
    let one = CaseQuery {
        limit: PageLimit::new(1)?,
        ..CaseQuery::default()
    };
    if is_noted && !store.list_cases(&one).await?.items.is_empty() {
        let cases = FILES.iter().map(|file| file.lines().count()).sum();
        return Ok(DeckCounts {
            cases,
            ..DeckCounts::default()
        });
    }
    let counts = load_deck(store, now).await?;
    // Written last: whoever is stopped before loads again, which changes nothing.
    fs::write(&note, edition).map_err(|source| {
        let context = format!("{} cannot be written", note.display());
        Error::new(ErrorKind::ReadOnly, "note the deck", context).with_source(source)
    })?;
    Ok(counts)
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
