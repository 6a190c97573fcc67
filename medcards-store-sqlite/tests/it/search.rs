use medcards_core::case::{CaseQuery, CaseRecord, CaseStore};
use medcards_core::testing::{SAMPLE_START, sample_record};

use crate::fresh;

#[tokio::test]
async fn a_search_is_words_and_never_a_query() {
    let (store, _folder) = fresh::store().await;
    let stem = "Méningite near AND not the drum, C3 complement, Łódź and 肺炎?".to_owned();
    let record = CaseRecord {
        stem,
        ..sample_record(1)
    };
    store
        .publish(vec![record.try_into().unwrap()], SAMPLE_START)
        .await
        .unwrap();
    for (search, finds) in [
        ("meningite", true),
        ("MÉNIN", true),
        ("méningite drum", true),
        ("meningite AND drum", true),
        ("near", true),
        ("NOT the", true),
        ("c3", true),
        ("łódź", true),
        ("肺炎", true),
        ("\"drum\"", true),
        ("drum*", true),
        ("leading:drum", false),
        ("drum OR absent", false),
        ("NEAR(drum absent)", false),
        ("rum", false),
        ("\"", false),
        ("*", false),
        ("drum\0absent", false),
        ("-drum", true),
        ("^drum", true),
        ("'); DROP TABLE cases; --", false),
    ] {
        let query = CaseQuery {
            search: Some(search.to_owned()),
            ..CaseQuery::default()
        };
        let page = store.list_cases(&query).await.unwrap();
        assert_eq!(!page.items.is_empty(), finds, "{search:?}");
    }
}
