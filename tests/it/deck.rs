use std::collections::{BTreeMap, BTreeSet};

use medcards_core::case::{CaseContent, CaseRecord, Difficulty, names_option_letter};

use crate::harness::workspace;

/// The records of the deck, each with the file and line it stands in.
pub(crate) fn records() -> Vec<(String, CaseRecord)> {
    let folder = workspace().join("examples/deck");
    let mut files: Vec<_> = folder
        .read_dir()
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "jsonl")
    });
    files.sort();
    let mut records = Vec::new();
    for file in files {
        for (line, text) in (1..).zip(std::fs::read_to_string(&file).unwrap().lines()) {
            let place = format!("{} line {line}", file.file_name().unwrap().display());
            let record = serde_json::from_str(text).unwrap_or_else(|why| panic!("{place}: {why}"));
            records.push((place, record));
        }
    }
    records
}

/// What the records say, after every check of an import.
fn contents() -> Vec<(String, CaseContent)> {
    let content = |(place, record): (String, CaseRecord)| {
        let (content, notices) = record
            .into_content()
            .unwrap_or_else(|why| panic!("{place}: {why}"));
        assert!(notices.is_empty(), "{place}: {notices:?}");
        (place, content)
    };
    records().into_iter().map(content).collect()
}

#[test]
fn the_deck_is_broad_enough_and_every_case_has_a_name_of_its_own() {
    let contents = contents();
    assert!(contents.len() >= 60, "{} cases", contents.len());
    let specialties: BTreeSet<_> = contents
        .iter()
        .filter_map(|(_, case)| case.specialty())
        .collect();
    assert!(specialties.len() >= 10, "{specialties:?}");
    let mut seen = BTreeSet::new();
    for (place, case) in &contents {
        let name = (case.source().to_owned(), case.external_id().to_owned());
        assert!(
            seen.insert(name),
            "{place}: {} is there twice",
            case.external_id()
        );
        assert_eq!(case.source(), "medcards-deck", "{place}");
    }
}

#[test]
fn every_option_is_explained_without_naming_a_letter() {
    for (place, case) in contents() {
        let whole = case
            .explanation()
            .unwrap_or_else(|| panic!("{place}: no explanation"));
        let of_options = case.options().iter().map(|option| {
            let explanation = option.explanation.as_deref();
            explanation.unwrap_or_else(|| panic!("{place}: {} is not explained", option.key))
        });
        for explanation in of_options.chain([whole]) {
            assert!(!names_option_letter(explanation), "{place}: {explanation}");
        }
    }
}

#[test]
fn every_case_names_its_sources_and_its_licence() {
    for (place, case) in contents() {
        assert!(!case.references().is_empty(), "{place}: no reference");
        assert_eq!(case.licence(), Some("MIT OR Apache-2.0"), "{place}");
        assert!(
            case.topic().is_some() && !case.vignette().is_empty(),
            "{place}"
        );
    }
}

#[test]
fn easy_and_hard_cases_are_spread_over_the_deck() {
    let contents = contents();
    let share = |wanted: Difficulty| {
        let count = contents
            .iter()
            .filter(|(_, case)| case.difficulty() == Some(wanted))
            .count();
        count * 100 / contents.len()
    };
    for difficulty in [Difficulty::Easy, Difficulty::Medium, Difficulty::Hard] {
        let percent = share(difficulty);
        assert!((10..=60).contains(&percent), "{difficulty:?}: {percent} %");
    }
}

/// Who always takes the same place, or the longest text, should not do well.
#[test]
fn the_place_and_the_length_of_an_option_do_not_give_it_away() {
    let contents = contents();
    let mut by_position: BTreeMap<usize, usize> = BTreeMap::new();
    let mut longest = 0;
    for (_, case) in &contents {
        let right = case.right_options();
        for position in right.positions() {
            *by_position.entry(position).or_default() += 1;
        }
        let lengths = case
            .options()
            .iter()
            .map(|option| option.text.chars().count());
        let longest_at = lengths
            .enumerate()
            .max_by_key(|(_, length)| *length)
            .unwrap()
            .0;
        longest += usize::from(right.contains(longest_at));
    }
    for position in 0..4 {
        let percent = by_position.get(&position).unwrap_or(&0) * 100 / contents.len();
        assert!(
            (10..=40).contains(&percent),
            "position {position}: {percent} %"
        );
    }
    let percent = longest * 100 / contents.len();
    assert!(
        percent <= 50,
        "the longest option is right in {percent} % of the cases"
    );
}
