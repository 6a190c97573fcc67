//! Checks of the search of [`CaseStore`](crate::case::CaseStore).

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::steps::{
    WORKS, assert_refused, at, case_ids, changed, foreign_cursors, limit, publish, publish_at,
};
use crate::case::{CaseFilter, CaseQuery, CaseRecord, VignetteRecord};
use crate::id::CaseId;
use crate::store::{PageLimit, Store};

fn search(words: &str, limit: PageLimit) -> CaseQuery {
    CaseQuery {
        search: Some(words.to_owned()),
        limit,
        ..CaseQuery::default()
    }
}

/// A case whose searched fields say nothing but what `change` puts there.
fn blank(n: u32, change: impl FnOnce(&mut CaseRecord)) -> crate::case::CaseContent {
    changed(n, |record| {
        record.stem = "Stem".to_owned();
        record.vignette.clear();
        for option in &mut record.options {
            option.text = format!("Option {}", option.key);
        }
        (record.specialty, record.topic) = (None, None);
        record.tags.clear();
        change(record);
    })
}

/// Asserts which cases each search finds, as places in `cases`, in any order.
async fn assert_found(store: &dyn Store, cases: &[CaseId], table: &[(&str, &[usize])]) {
    for (words, expected) in table {
        let found: BTreeSet<_> = case_ids(store, &search(words, limit(100)))
            .await
            .into_iter()
            .collect();
        let expected: BTreeSet<_> = expected.iter().map(|at| cases[*at]).collect();
        assert_eq!(found, expected, "search for {words:?}");
    }
}

async fn publish_stems(store: &dyn Store, stems: &[&str]) -> Vec<CaseId> {
    let content = |(n, stem): (u32, &&str)| blank(n, |record| record.stem = (*stem).to_owned());
    let cases = publish(store, (0..).zip(stems).map(content).collect()).await;
    cases.iter().map(|case| case.id).collect()
}

/// A search looks at stem, vignette, options, specialty and topic, and at nothing that a student may
/// see only after the answer.
pub async fn a_search_looks_at_the_fields_it_should(store: Arc<dyn Store>) {
    let word = || "needle".to_owned();
    let contents = vec![
        blank(0, |record| record.stem = word()),
        blank(1, |record| {
            record.vignette = vec![VignetteRecord {
                label: "History".to_owned(),
                text: word(),
            }];
        }),
        blank(2, |record| record.options[3].text = word()),
        blank(3, |record| record.specialty = Some(word())),
        blank(4, |record| record.topic = Some(word())),
        blank(5, |record| record.tags = vec!["other".to_owned(), word()]),
        blank(6, |record| record.explanation = Some(word())),
        blank(7, |record| record.options[0].explanation = Some(word())),
        blank(8, |record| record.references = vec![word()]),
        blank(9, |record| record.licence = Some(word())),
    ];
    let cases = publish(&*store, contents).await;
    let ids: Vec<_> = cases.iter().map(|case| case.id).collect();
    assert_found(&*store, &ids, &[("needle", &[0, 1, 2, 3, 4])]).await;
}

/// A case matches if each word of the search begins one of its words, in whichever field.
pub async fn each_word_of_a_search_must_begin_a_word(store: Arc<dyn Store>) {
    let stems = [
        "Acute heart failure",
        "Heart-burn at night",
        "Type 2 diabetes",
        "Sweetheart",
    ];
    let mut ids = publish_stems(&*store, &stems).await;
    let apart = blank(20, |record| {
        record.stem = "Acute".to_owned();
        record.options[0].text = "The heart".to_owned();
    });
    ids.push(publish(&*store, vec![apart]).await[0].id);
    let table: &[(&str, &[usize])] = &[
        ("heart", &[0, 1, 4]),
        ("hea", &[0, 1, 4]),
        ("heart fail", &[0]),
        ("fail heart acute", &[0]),
        ("acute heart", &[0, 4]),
        ("heart burn", &[1]),
        ("heart-burn", &[1]),
        ("heart night failure", &[]),
        ("hearts", &[]),
        ("2 diab", &[2]),
        ("art", &[]),
        ("the", &[4]),
    ];
    assert_found(&*store, &ids, table).await;
}

/// A search disregards case and the accents of Latin letters, on both sides.
pub async fn a_search_disregards_case_and_accents(store: Arc<dyn Store>) {
    let stems = [
        "MÉNINGITE AIGUË",
        "meningite",
        "Señor Ångström",
        "Пневмония",
        "Grippe H5N1",
        "Nguyễn, Řezníček, Çelik",
        "Ten µg",
        "Σήψις",
    ];
    let ids = publish_stems(&*store, &stems).await;
    let table: &[(&str, &[usize])] = &[
        ("méningite", &[0, 1]),
        ("MENINGITE", &[0, 1]),
        ("Ménïng", &[0, 1]),
        ("aigue", &[0]),
        ("SENOR angs", &[2]),
        ("пневмо", &[3]),
        ("ПНЕВМОНИЯ", &[3]),
        ("h5n", &[4]),
        ("nguyen reznicek celik", &[5]),
        ("ŇGÚYÊŃ", &[5]),
        ("μg", &[6]),
        ("µg", &[6]),
        ("ΜG", &[6]),
        ("ΣΉΨΙΣ", &[7]),
        ("σήψις", &[7]),
    ];
    assert_found(&*store, &ids, table).await;
}

/// A search without a word in it matches nothing.
pub async fn a_search_without_a_word_matches_nothing(store: Arc<dyn Store>) {
    let ids = publish_stems(&*store, &["One", "Two ... three"]).await;
    let table: &[(&str, &[usize])] = &[("", &[]), (" ", &[]), ("...", &[]), (" - \" * ' ", &[])];
    assert_found(&*store, &ids, table).await;
}

/// A search is words: what looks like the syntax of a search engine is none.
pub async fn a_search_has_no_syntax(store: Arc<dyn Store>) {
    let ids = publish_stems(&*store, &["Chest pain", "Chest AND pain", "stem:chest*"]).await;
    let table: &[(&str, &[usize])] = &[
        ("\"chest pain\"", &[0, 1]),
        ("chest AND pain", &[1]),
        ("chest OR fever", &[]),
        ("chest NOT pain", &[]),
        ("NEAR(chest pain)", &[]),
        ("chest* pain*", &[0, 1]),
        ("stem:chest", &[2]),
        ("chest -pain", &[0, 1]),
        ("(chest", &[0, 1, 2]),
        ("chest\" OR \"\"", &[]),
        ("'; DROP TABLE cases; --", &[]),
        ("chest^2", &[]),
        ("pa%n", &[]),
        ("p_in", &[]),
        ("chest\u{0}pain", &[0, 1]),
    ];
    assert_found(&*store, &ids, table).await;
}

/// What follows the sixteenth word of a search is ignored.
pub async fn words_beyond_the_sixteenth_are_ignored(store: Arc<dyn Store>) {
    let words: Vec<_> = (0..16)
        .map(|n| format!("word{}", (b'a' + n) as char))
        .collect();
    let sixteen = words.join(" ");
    let ids = publish_stems(&*store, &[&sixteen, "word"]).await;
    let table: &[(&str, &[usize])] = &[
        (&sixteen, &[0]),
        (&format!("{sixteen} missing"), &[0]),
        (&format!("missing {sixteen}"), &[]),
    ];
    assert_found(&*store, &ids, table).await;
}

/// The best matches come first: a case about the word before one that mentions it in passing.
pub async fn the_best_matches_come_first(store: Arc<dyn Store>) {
    let passing = |n| {
        blank(n, |record| {
            let text = "A long story of many other things, in which asthma is said once, and no \
                        more, before it goes on about work, travel, animals and food.";
            record.vignette = vec![VignetteRecord {
                label: String::new(),
                text: text.to_owned(),
            }];
        })
    };
    let about = blank(1, |record| {
        record.stem = "Asthma".to_owned();
        record.specialty = Some("Asthma".to_owned());
    });
    // Published in the middle, so that neither order of arrival puts it first.
    let cases = publish(&*store, vec![passing(0)]).await;
    let best = publish_at(&*store, vec![about], at(1)).await[0].id;
    let last = publish_at(&*store, vec![passing(2)], at(2)).await[0].id;
    let found = case_ids(&*store, &search("asthma", limit(100))).await;
    assert_eq!(found.first(), Some(&best));
    let rest: HashSet<_> = found[1..].iter().copied().collect();
    assert_eq!(rest, HashSet::from([cases[0].id, last]));
}

/// A search finds current versions by what they say, not by what older ones said.
pub async fn a_search_finds_the_current_version(store: Arc<dyn Store>) {
    let ids = publish_stems(&*store, &["Old word"]).await;
    let changed = blank(0, |record| record.stem = "New word".to_owned());
    publish_at(&*store, vec![changed], at(1)).await;
    assert_found(&*store, &ids, &[("old", &[]), ("new", &[0])]).await;
    let page = store
        .list_cases(&search("word", limit(10)))
        .await
        .expect(WORKS);
    assert_eq!(page.items.len(), 1, "a case is found once");
    assert_eq!(page.items[0].content.stem(), "New word");
}

/// A search and a filter both hold.
pub async fn a_search_obeys_the_filter(store: Arc<dyn Store>) {
    let made = |n, specialty: &str, lang: &str| {
        blank(n, |record| {
            record.stem = "Shared word".to_owned();
            record.specialty = Some(specialty.to_owned());
            record.lang = lang.parse().expect("it is a tag");
        })
    };
    let contents = vec![
        made(0, "Pédiatrie", "fr"),
        made(1, "Surgery", "fr"),
        made(2, "Surgery", "en"),
    ];
    let cases = publish(&*store, contents).await;
    for (specialty, lang, expected) in [
        (Some("PÉDIATRIE"), None, 0),
        (Some("surgery"), Some("fr"), 1),
        (None, Some("en"), 2),
    ] {
        let locale = lang.map(|tag| tag.parse().expect("it is a tag"));
        let filter = CaseFilter {
            specialty: specialty.map(str::to_owned),
            locale,
        };
        let query = CaseQuery {
            filter,
            ..search("word", limit(10))
        };
        assert_eq!(
            case_ids(&*store, &query).await,
            [cases[expected].id],
            "{query:?}"
        );
    }
}

/// Pages of any limit hold every match once, in the same order.
pub async fn pages_of_a_search_hold_every_match_once(store: Arc<dyn Store>) {
    publish_ranked(&*store, 0..24).await;
    let all = case_ids(&*store, &search("word", limit(100))).await;
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 24);
    for items in [1, 2, 7, 8, 23, 24, 25] {
        let found = case_ids(&*store, &search("word", limit(items))).await;
        assert_eq!(found, all, "pages of {items}");
    }
}

/// Walking a search while other cases are published repeats none, and misses none of before.
pub async fn a_walk_through_a_search_is_not_disturbed_by_new_cases(store: Arc<dyn Store>) {
    publish_ranked(&*store, 0..20).await;
    let before = case_ids(&*store, &search("word", limit(100))).await;
    let mut seen = Vec::new();
    let mut query = search("word", limit(3));
    for n in (100_u32..).step_by(8) {
        let page = store.list_cases(&query).await.expect(WORKS);
        seen.extend(page.items.iter().map(|case| case.id));
        let Some(next) = page.next else { break };
        query.after = Some(next);
        assert!(seen.len() < 500, "the walk goes round in circles");
        publish_ranked(&*store, n..n + 8).await;
    }
    let distinct: HashSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "no case is shown twice");
    for case_id in before {
        assert!(
            distinct.contains(&case_id),
            "a match of before the walk is missing"
        );
    }
}

/// Publishes cases that match `word`, in four ways that differ in how well.
async fn publish_ranked(store: &dyn Store, numbers: std::ops::Range<u32>) {
    let content = |n: u32| {
        blank(n, |record| match n % 4 {
            0 => record.stem = "Word".to_owned(),
            1 => record.options[1].text = "A word among others in an option".to_owned(),
            2 => record.topic = Some("word".to_owned()),
            _ => record.stem = "Here a word stands in the midst of a longer stem".to_owned(),
        })
    };
    publish(store, numbers.map(content).collect()).await;
}

/// A search refuses made-up cursors, and those of other searches and lists.
pub async fn a_search_refuses_foreign_cursors(store: Arc<dyn Store>) {
    publish_ranked(&*store, 0..4).await;
    let of_list = CaseQuery {
        search: None,
        ..search("", limit(1))
    };
    let filter = CaseFilter {
        specialty: None,
        locale: Some(crate::user::Locale::ENGLISH),
    };
    let of_filter = CaseQuery {
        filter,
        ..search("word", limit(1))
    };
    let mut foreign = Vec::new();
    for query in [search("stem", limit(1)), of_list, of_filter] {
        foreign.push(store.list_cases(&query).await.expect(WORKS).next);
    }
    let store = &store;
    assert_refused(foreign_cursors(foreign), |cursor| async move {
        let after = Some(cursor);
        store
            .list_cases(&CaseQuery {
                after,
                ..search("word", limit(1))
            })
            .await
    })
    .await;
}
