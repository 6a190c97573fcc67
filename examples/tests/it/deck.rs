use std::collections::{BTreeMap, BTreeSet};

use medcards::case::{CaseContent, CaseQuery, CaseRecord, CaseStore, Difficulty};
use medcards::memory::MemoryStore;
use medcards::testing::ManualClock;
use medcards::time::Clock;
use medcards_examples::deck::{DeckCounts, deck, load_deck, load_deck_once};

#[test]
fn every_case_is_explained_sourced_and_sorted() {
    let deck = deck().unwrap();
    let mut ids = BTreeSet::new();
    for case in &deck {
        let id = case.external_id();
        assert!(ids.insert(id), "{id} is there twice");
        assert_eq!(case.source(), "medcards-deck", "{id}");
        assert!(
            case.options()
                .iter()
                .all(|option| option.explanation.is_some()),
            "{id}"
        );
        assert!(!case.references().is_empty(), "{id} names no source");
        assert!(
            case.specialty().is_some() && case.difficulty().is_some(),
            "{id}"
        );
        assert!(case.licence().is_some(), "{id}");
    }
}

#[test]
fn no_case_has_a_notice_so_that_all_can_be_shuffled() {
    for case in deck().unwrap() {
        let id = case.external_id().to_owned();
        let mut record = CaseRecord::from(case);
        // As the author left it: how options are ordered is deduced again.
        record.option_ordering = None;
        let (_, notices) = record.into_content().unwrap();
        assert_eq!(notices, [], "{id}");
    }
}

#[test]
fn the_deck_is_broad_and_its_difficulty_spread() {
    let deck = deck().unwrap();
    assert!(deck.len() >= 60, "{}", deck.len());
    let specialties: BTreeSet<_> = deck.iter().filter_map(|case| case.specialty()).collect();
    assert!(specialties.len() >= 10, "{specialties:?}");
    let mut bands: BTreeMap<Option<Difficulty>, usize> = BTreeMap::new();
    for case in &deck {
        *bands.entry(case.difficulty()).or_default() += 1;
    }
    assert_eq!(bands.len(), 3, "{bands:?}");
    assert!(
        bands.values().all(|count| count * 6 >= deck.len()),
        "{bands:?}"
    );
    assert!(deck.iter().any(|case| case.several_right()));
}

#[test]
fn the_right_option_is_not_always_in_one_place() {
    let mut places: BTreeMap<Option<usize>, usize> = BTreeMap::new();
    let deck = deck().unwrap();
    for case in &deck {
        *places
            .entry(case.right_options().positions().next())
            .or_default() += 1;
    }
    assert!(
        places.values().all(|count| count * 2 < deck.len()),
        "{places:?}"
    );
}

#[tokio::test]
async fn loading_the_deck_again_changes_nothing() {
    let store = MemoryStore::new();
    let now = ManualClock::default().now();
    let first = load_deck(&store, now).await.unwrap();
    assert_eq!((first.created, first.updated), (first.cases, 0));
    let again = load_deck(&store, now).await.unwrap();
    assert_eq!(
        again,
        DeckCounts {
            created: 0,
            ..first
        }
    );
}

/// A case of the deck as an operator has corrected it.
fn corrected(case: CaseContent) -> CaseContent {
    let mut record = CaseRecord::from(case);
    record.stem.push_str(" Choose the best.");
    record.into_content().expect("a case that was corrected").0
}

async fn stems(store: &MemoryStore) -> Vec<String> {
    let mut stems = Vec::new();
    let mut query = CaseQuery::default();
    loop {
        let page = store.list_cases(&query).await.expect("a store in memory");
        stems.extend(page.items.iter().map(|case| case.content.stem().to_owned()));
        match page.next {
            Some(cursor) => query.after = Some(cursor),
            None => return stems,
        }
    }
}

#[tokio::test]
async fn a_corrected_case_stays_corrected_whichever_server_starts() {
    let store = MemoryStore::new();
    let now = ManualClock::default().now();
    let first = load_deck_once(&store, now).await.unwrap();
    assert_eq!((first.created, first.updated), (first.cases, 0));
    let case = corrected(deck().unwrap().remove(0));
    let stem = case.stem().to_owned();
    store.publish(vec![case], now).await.unwrap();

    let again = load_deck_once(&store, now).await.unwrap();
    assert_eq!((again.created, again.updated), (0, 0));
    assert_eq!(again.cases, first.cases);
    assert!(stems(&store).await.contains(&stem));
}

/// A server that is given another store starts there as on its first one.
#[tokio::test]
async fn each_store_gets_the_deck_also_one_that_has_cases() {
    let now = ManualClock::default().now();
    load_deck_once(&MemoryStore::new(), now).await.unwrap();
    let other = MemoryStore::new();
    let case = corrected(deck().unwrap().remove(0));
    other.publish(vec![case], now).await.unwrap();
    let counts = load_deck_once(&other, now).await.unwrap();
    assert_eq!((counts.created, counts.updated), (counts.cases - 1, 1));
}

#[tokio::test]
async fn servers_that_start_at_once_load_the_deck_once() {
    let store = MemoryStore::new();
    let now = ManualClock::default().now();
    let (one, other) = tokio::join!(load_deck_once(&store, now), load_deck_once(&store, now));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.created + other.created, one.cases);
    assert_eq!(one.updated + other.updated, 0);
    assert_eq!(stems(&store).await.len(), one.cases);
}
