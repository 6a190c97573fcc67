use medcards_core::case::{CaseContent, CaseFilter, CaseQuery, CaseStore};
use medcards_core::store::PageLimit;
use medcards_core::testing::{SAMPLE_START, sample_record};
use medcards_store_pg::PgStore;

use crate::place::{config, fresh};

fn content(n: u32, lang: &str, stem: &str, text: &str) -> CaseContent {
    let mut record = sample_record(n);
    record.stem = stem.to_owned();
    record.lang = lang.parse().unwrap();
    record.vignette.clear();
    record.vignette.push(medcards_core::case::VignetteRecord {
        label: String::new(),
        text: text.to_owned(),
    });
    (record.specialty, record.topic) = (None, None);
    record.try_into().unwrap()
}

fn query(words: &str, limit: u32) -> CaseQuery {
    CaseQuery {
        search: Some(words.to_owned()),
        limit: PageLimit::new(limit).unwrap(),
        ..CaseQuery::default()
    }
}

async fn stems(store: &PgStore, query: &CaseQuery) -> Vec<String> {
    let page = store.list_cases(query).await.unwrap();
    let stem = |case: &std::sync::Arc<medcards_core::case::Case>| case.content.stem().to_owned();
    page.items.iter().map(stem).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_language_of_a_case_decides_which_forms_count_as_the_word() {
    let (store, _database) = fresh().await;
    let filler = "one two three four five six seven eight nine ten eleven twelve";
    // Each pair has the same shape; in one of each, the language knows the form as the word.
    let contents = vec![
        content(1, "en", "Infections", filler),
        content(2, "en", "Infectionists", filler),
        content(3, "fr", "Opérations", filler),
        content(4, "fr", "Opérationnalisme", filler),
    ];
    store.publish(contents, SAMPLE_START).await.unwrap();
    assert_eq!(
        stems(&store, &query("infection", 10)).await,
        ["Infections", "Infectionists"]
    );
    assert_eq!(
        stems(&store, &query("opération", 10)).await,
        ["Opérations", "Opérationnalisme"]
    );
    let french = CaseFilter {
        locale: "fr".parse().ok(),
        specialty: None,
    };
    let in_french = CaseQuery {
        filter: french,
        ..query("infection", 10)
    };
    assert!(stems(&store, &in_french).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_goes_on_with_a_walk_whatever_is_published_meanwhile() {
    let (one, database) = fresh().await;
    let other = PgStore::open(config(&database.url())).await.unwrap();
    let weak = "a word in passing among many others that are not the one looked for at all";
    let before: Vec<_> = (0..12)
        .map(|n| content(n, "en", &format!("Case {n} on the word"), weak))
        .collect();
    one.publish(before, SAMPLE_START).await.unwrap();
    let expected = stems(&one, &query("word", 100)).await;
    assert_eq!(expected.len(), 12);

    let mut seen = Vec::new();
    let mut query = query("word", 2);
    for (round, store) in [&one, &other].into_iter().cycle().enumerate() {
        let page = store.list_cases(&query).await.unwrap();
        seen.extend(
            page.items
                .iter()
                .map(|case| case.content.external_id().to_owned()),
        );
        let Some(next) = page.next else { break };
        query.after = Some(next);
        // New cases, better and worse; and cases that were shown, or will be, in a new version that
        // matches better or worse than before.
        let n = u32::try_from(round).unwrap();
        let changed = [
            content(100 + n, "en", "Word word word", "word"),
            content(n, "en", "Word", "word word"),
            content(
                11 - n,
                "en",
                "Something else",
                "with a word far behind at its very end",
            ),
        ];
        store.publish(changed.into(), SAMPLE_START).await.unwrap();
        assert!(round < 50, "the walk goes round in circles");
    }
    let mut distinct = seen.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(
        distinct.len(),
        seen.len(),
        "a case is shown twice: {seen:?}"
    );
    assert_eq!(seen.len(), 12, "each case of before is shown: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_of_any_length_can_be_published_and_found_by_its_first_words() {
    let (store, _database) = fresh().await;
    let word = "x".repeat(3_000);
    let mut record = sample_record(1);
    record.stem = "Needle".to_owned();
    for part in 0..60 {
        let text = (0..2_500).map(|n| format!("w{part}x{n} "));
        record.vignette.push(medcards_core::case::VignetteRecord {
            label: format!("Part {part}"),
            text: text.collect(),
        });
    }
    record.topic = Some("topic".to_owned());
    record.options[0].text = word.clone();
    let content = record.try_into().unwrap();
    store.publish(vec![content], SAMPLE_START).await.unwrap();
    for words in ["needle", "w0x17", "w3x"] {
        assert_eq!(
            stems(&store, &query(words, 10)).await,
            ["Needle"],
            "{words}"
        );
    }
    let mut long = sample_record(2);
    long.stem = word.clone();
    let long = long.try_into().unwrap();
    store.publish(vec![long], SAMPLE_START).await.unwrap();
    assert_eq!(stems(&store, &query(&word, 10)).await, [word]);
}
