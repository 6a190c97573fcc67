//! Checks of [`CaseStore`](crate::case::CaseStore), but for its search.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::steps::{
    WORKS, all_at_once, assert_refused, at, case, case_ids, changed, foreign_cursors, limit,
    publish, publish_at, publish_samples, record, student,
};
use crate::case::{
    CaseContent, CaseFilter, CaseQuery, CaseRecord, CaseVersion, Difficulty, Media, OptionOrdering,
    OptionRecord, Publication, PublicationOutcome,
};
use crate::id::CaseId;
use crate::store::{Consistency, Store};
use crate::testing::{SAMPLE_START, sample_answer, sample_content};

async fn publish_one(store: &dyn Store, content: CaseContent, seconds: i64) -> Publication {
    store
        .publish(vec![content], at(seconds))
        .await
        .expect(WORKS)[0]
}

fn version(number: u32) -> CaseVersion {
    CaseVersion::new(number).expect("a check asks for versions from 1")
}

fn with_stem(n: u32, stem: &str) -> CaseContent {
    changed(n, |record| record.stem = stem.to_owned())
}

fn all() -> CaseQuery {
    CaseQuery {
        limit: limit(100),
        ..CaseQuery::default()
    }
}

/// New content becomes version 1 of a new case, and is found whole.
pub async fn new_content_becomes_a_case_and_is_found_whole(store: Arc<dyn Store>) {
    let option = |n: u32| OptionRecord {
        key: format!("opt-{n}"),
        text: format!("Réponse {n} — β₂ \u{1f9e0}"),
        explanation: n
            .is_multiple_of(2)
            .then(|| "Parce que.\n\nVoilà.".to_owned()),
    };
    let several = CaseRecord {
        id: "whole-1".to_owned(),
        source: "checks".to_owned(),
        lang: "fr".parse().expect("it is a tag"),
        stem: "Quels signes, parmi les suivants ? 'quoted' \"twice\" \\ % _ ;".to_owned(),
        options: (0..26).map(option).collect(),
        answer_keys: vec!["opt-0".to_owned(), "opt-25".to_owned()],
        multi: Some(true),
        option_ordering: Some(OptionOrdering::Fixed),
        difficulty: Some(Difficulty::Hard),
        media: vec![Media {
            url: "https://example.org/a.png".to_owned(),
            media_type: "image/png".to_owned(),
            alt: "Un tracé".to_owned(),
        }],
        ..CaseRecord::default()
    };
    let bare = CaseRecord {
        id: "whole-2".to_owned(),
        stem: "Yes or no?".to_owned(),
        options: ["yes", "no"]
            .map(|key| OptionRecord {
                key: key.to_owned(),
                text: key.to_owned(),
                explanation: None,
            })
            .into(),
        answer_keys: vec!["no".to_owned()],
        ..CaseRecord::default()
    };
    for content in [several.try_into(), bare.try_into(), Ok(sample_content(1))] {
        let content: CaseContent = content.expect("the record is well formed");
        let publication = publish_one(&*store, content.clone(), 1).await;
        assert_eq!(publication.outcome, PublicationOutcome::Created);
        assert_eq!(publication.version, CaseVersion::FIRST);
        for asked in [None, Some(CaseVersion::FIRST)] {
            let found = store
                .find_case(publication.case_id, asked)
                .await
                .expect(WORKS);
            let found = found.expect("the case is found");
            assert_eq!(found.id, publication.case_id);
            assert_eq!(found.version, CaseVersion::FIRST);
            assert_eq!(found.published_at, at(1));
            assert_eq!(found.content, content);
        }
    }
}

/// Content equal to the current version changes nothing.
pub async fn equal_content_changes_nothing(store: Arc<dyn Store>) {
    let first = publish_one(&*store, sample_content(1), 1).await;
    let before = case(&*store, first.case_id).await;
    let again = publish_one(&*store, sample_content(1), 2).await;
    let outcome = PublicationOutcome::Unchanged;
    assert_eq!(again, Publication { outcome, ..first });
    assert_eq!(case(&*store, first.case_id).await, before);
    let next = store
        .find_case(first.case_id, Some(version(2)))
        .await
        .expect(WORKS);
    assert_eq!(next, None);
}

/// Changed content becomes the next version, also when it is what an older version said.
pub async fn changed_content_becomes_the_next_version(store: Arc<dyn Store>) {
    let first = publish_one(&*store, with_stem(1, "One?"), 1).await;
    for (number, stem) in [(2, "Two?"), (3, "One?")] {
        let next = publish_one(&*store, with_stem(1, stem), i64::from(number)).await;
        let outcome = PublicationOutcome::NewVersion;
        assert_eq!(
            next,
            Publication {
                version: version(number),
                outcome,
                ..first
            }
        );
        let current = case(&*store, first.case_id).await;
        assert_eq!(
            (current.version, current.content.stem()),
            (version(number), stem)
        );
        assert_eq!(current.published_at, at(i64::from(number)));
    }
}

/// A version stays as it was when later ones are published.
pub async fn an_old_version_stays_as_it_was(store: Arc<dyn Store>) {
    let first = publish_one(&*store, with_stem(1, "One?"), 1).await;
    let before = case(&*store, first.case_id).await;
    publish_one(&*store, with_stem(1, "Two?"), 2).await;
    let old = store
        .find_case(first.case_id, Some(CaseVersion::FIRST))
        .await
        .expect(WORKS);
    assert_eq!(old, Some(before));
}

/// What became of each content is said in the order of the batch.
pub async fn publications_come_in_the_order_of_the_batch(store: Arc<dyn Store>) {
    let before = publish_samples(&*store, 4).await;
    let batch = [
        with_stem(3, "Changed?"),
        sample_content(10),
        sample_content(0),
        with_stem(1, "Changed too?"),
        sample_content(9),
        sample_content(2),
    ];
    let publications = store.publish(batch.to_vec(), at(1)).await.expect(WORKS);
    let outcomes: Vec<_> = publications
        .iter()
        .map(|publication| publication.outcome)
        .collect();
    use PublicationOutcome::{Created, NewVersion, Unchanged};
    assert_eq!(
        outcomes,
        [
            NewVersion, Created, Unchanged, NewVersion, Created, Unchanged
        ]
    );
    for (at, known) in [(0, 3), (2, 0), (3, 1), (5, 2)] {
        assert_eq!(publications[at].case_id, before[known].id);
    }
    for (content, publication) in batch.iter().zip(publications) {
        assert_eq!(case(&*store, publication.case_id).await.content, *content);
    }
    assert_eq!(store.publish(Vec::new(), at(2)).await.expect(WORKS), []);
}

/// When a batch names a case twice, the later content wins the later version.
pub async fn the_later_of_two_contents_in_a_batch_wins(store: Arc<dyn Store>) {
    let stems = ["One?", "Two?", "Two?", "Three?"];
    let batch = stems.map(|stem| with_stem(1, stem)).to_vec();
    let publications = store.publish(batch, at(1)).await.expect(WORKS);
    let versions: Vec<_> = publications.iter().map(|one| one.version.get()).collect();
    assert_eq!(versions, [1, 2, 2, 3]);
    let case_id = publications[0].case_id;
    assert!(
        publications
            .iter()
            .all(|publication| publication.case_id == case_id)
    );
    for (number, stem) in [(1, "One?"), (2, "Two?"), (3, "Three?")] {
        let found = store
            .find_case(case_id, Some(version(number)))
            .await
            .expect(WORKS);
        assert_eq!(found.expect("each version is found").content.stem(), stem);
    }
    assert_eq!(case(&*store, case_id).await.version, version(3));
}

/// Publishing the same content at once gives one version of one case.
pub async fn the_same_content_published_at_once_gives_one_version(store: Arc<dyn Store>) {
    let calls = (0..16).map(|caller| {
        let store = Arc::clone(&store);
        let batch = vec![sample_content(1), sample_content(2)];
        async move { store.publish(batch, at(caller)).await.expect(WORKS) }
    });
    let publications: Vec<_> = all_at_once(calls).await.concat();
    let created = publications
        .iter()
        .filter(|one| one.outcome == PublicationOutcome::Created);
    assert_eq!(created.count(), 2, "each case is created by one caller");
    assert!(
        publications
            .iter()
            .all(|one| one.version == CaseVersion::FIRST)
    );
    let ids: BTreeSet<CaseId> = publications.iter().map(|one| one.case_id).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(
        case_ids(&*store, &all()).await,
        ids.into_iter().collect::<Vec<_>>()
    );
}

/// Different contents of one case published at once each get a version of their own.
pub async fn different_contents_published_at_once_each_get_a_version(store: Arc<dyn Store>) {
    let calls = (0..16).map(|caller| {
        let store = Arc::clone(&store);
        let content = with_stem(1, &format!("Edition {caller}?"));
        async move { (content.clone(), publish_one(&*store, content, caller).await) }
    });
    let published = all_at_once(calls).await;
    let versions: BTreeSet<u32> = published.iter().map(|(_, one)| one.version.get()).collect();
    assert_eq!(versions, (1..=16).collect());
    for (content, publication) in published {
        let asked = Some(publication.version);
        let found = store
            .find_case(publication.case_id, asked)
            .await
            .expect(WORKS);
        assert_eq!(found.expect("each version is found").content, content);
    }
}

/// Source and external id name a case together: neither does alone.
pub async fn source_and_external_id_name_a_case_together(store: Arc<dyn Store>) {
    let named = |source: &str, id: &str| {
        changed(1, |record| {
            (record.source, record.id) = (source.to_owned(), id.to_owned())
        })
    };
    let names = [
        ("a", "1"),
        ("b", "1"),
        ("a", "2"),
        ("A", "1"),
        ("a/1", "x"),
        ("a", "1/x"),
    ];
    let mut ids = HashSet::new();
    for (source, id) in names {
        let publication = publish_one(&*store, named(source, id), 1).await;
        assert_eq!(
            publication.outcome,
            PublicationOutcome::Created,
            "{source} {id}"
        );
        assert!(ids.insert(publication.case_id));
    }
}

/// A case or version that nobody published is not found.
pub async fn an_unknown_case_or_version_is_not_found(store: Arc<dyn Store>) {
    let case_id = publish_samples(&*store, 1).await[0].id;
    let unknown = CaseId::new(SAMPLE_START);
    for (case_id, number) in [(case_id, Some(2)), (unknown, None), (unknown, Some(1))] {
        let found = store
            .find_case(case_id, number.map(version))
            .await
            .expect(WORKS);
        assert_eq!(found, None);
    }
}

/// Without a search, current versions are listed in order of id.
pub async fn cases_are_listed_in_order_of_id(store: Arc<dyn Store>) {
    assert_eq!(case_ids(&*store, &all()).await, []);
    let mut ids = Vec::new();
    // Published newest first, so that the order of arrival is not that of the ids.
    for seconds in (0_u32..10).rev() {
        ids.push(
            publish_one(&*store, sample_content(seconds), i64::from(seconds))
                .await
                .case_id,
        );
    }
    ids.sort_unstable();
    publish_one(&*store, with_stem(4, "Changed?"), 20).await;
    let page = store.list_cases(&all()).await.expect(WORKS);
    assert_eq!(
        page.items.iter().map(|case| case.id).collect::<Vec<_>>(),
        ids
    );
    for listed in page.items {
        assert_eq!(listed, case(&*store, listed.id).await);
    }
}

/// Pages of any limit hold every case once.
pub async fn pages_of_any_limit_hold_every_case_once(store: Arc<dyn Store>) {
    publish_samples(&*store, 24).await;
    let ids = case_ids(&*store, &all()).await;
    assert_eq!(ids.len(), 24);
    for items in [1, 2, 7, 8, 23, 24, 25] {
        let query = CaseQuery {
            limit: limit(items),
            ..CaseQuery::default()
        };
        assert_eq!(case_ids(&*store, &query).await, ids, "pages of {items}");
    }
}

/// Walking cases while others are published repeats none, and misses none of before.
pub async fn a_walk_through_cases_is_not_disturbed_by_new_ones(store: Arc<dyn Store>) {
    let before = publish_samples(&*store, 20).await;
    let mut seen = Vec::new();
    let mut query = CaseQuery {
        limit: limit(3),
        ..CaseQuery::default()
    };
    for n in 0.. {
        let page = store.list_cases(&query).await.expect(WORKS);
        seen.extend(page.items.iter().map(|case| case.id));
        let Some(next) = page.next else { break };
        query.after = Some(next);
        assert!(seen.len() < 200, "the walk goes round in circles");
        // Ids of before and after those walked, and a new version of each that is known.
        for seconds in [-100, 100] {
            let content = changed(n, |record| record.id = format!("new-{n}-{seconds}"));
            publish_one(&*store, content, seconds).await;
        }
        publish_one(&*store, with_stem(n % 20, &format!("Changed {n}?")), 200).await;
        assert!(n < 200);
    }
    let distinct: HashSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "no case is shown twice");
    for case in before {
        assert!(
            distinct.contains(&case.id),
            "a case of before the walk is missing"
        );
    }
}

/// A filter lets through the cases of that specialty, without regard to case, and that language.
pub async fn a_filter_lets_through_what_it_names(store: Arc<dyn Store>) {
    let made = |n, specialty: Option<&str>, lang: &str| {
        changed(n, |record| {
            record.specialty = specialty.map(str::to_owned);
            record.lang = lang.parse().expect("it is a tag");
        })
    };
    let contents = vec![
        made(0, Some("Cardiology"), "en"),
        made(1, Some("Pédiatrie"), "fr"),
        made(2, Some("Cardiology"), "fr"),
        made(3, None, "pt-BR"),
        made(4, Some("Cardiology and others"), "pt"),
    ];
    let cases = publish(&*store, contents).await;
    for (specialty, locale, expected) in [
        (Some("Cardiology"), None, &[0, 2][..]),
        (Some("cARDIOLOGY"), None, &[0, 2]),
        (Some("PÉDIATRIE"), None, &[1]),
        (None, Some("fr"), &[1, 2]),
        (None, Some("pt"), &[4]),
        (None, Some("pt-BR"), &[3]),
        (Some("cardiology"), Some("fr"), &[2]),
        (Some("Cardio"), None, &[]),
        (Some("%"), None, &[]),
        (None, Some("de"), &[]),
    ] {
        let locale = locale.map(|tag| tag.parse().expect("it is a tag"));
        let filter = CaseFilter {
            specialty: specialty.map(str::to_owned),
            locale,
        };
        let mut expected: Vec<_> = expected.iter().map(|at: &usize| cases[*at].id).collect();
        expected.sort_unstable();
        for items in [1, 100] {
            let (filter, limit) = (filter.clone(), limit(items));
            let query = CaseQuery {
                filter,
                limit,
                ..CaseQuery::default()
            };
            assert_eq!(case_ids(&*store, &query).await, expected, "{query:?}");
        }
    }
}

/// A filter looks at the current version alone.
pub async fn a_filter_looks_at_the_current_version(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 2).await;
    let moved = changed(0, |record| record.specialty = Some("Neurology".to_owned()));
    publish_at(&*store, vec![moved], at(1)).await;
    for (specialty, expected) in [("Cardiology", cases[1].id), ("Neurology", cases[0].id)] {
        let filter = CaseFilter {
            specialty: Some(specialty.to_owned()),
            locale: None,
        };
        let query = CaseQuery {
            filter,
            ..CaseQuery::default()
        };
        assert_eq!(case_ids(&*store, &query).await, [expected], "{specialty}");
    }
}

/// A list of cases refuses made-up cursors, those of other lists and those of other filters.
pub async fn a_list_of_cases_refuses_foreign_cursors(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 3).await;
    let user_id = student(&*store, 1).await;
    for seconds in 0..3 {
        record(&*store, &sample_answer(user_id, &cases[0], at(seconds))).await;
    }
    let one = CaseQuery {
        limit: limit(1),
        ..CaseQuery::default()
    };
    let filter = CaseFilter {
        specialty: Some("Cardiology".to_owned()),
        locale: None,
    };
    let filtered = CaseQuery {
        filter,
        ..one.clone()
    };
    let searched = CaseQuery {
        search: Some("sample".to_owned()),
        ..one.clone()
    };
    let of_answers = store
        .list_answers(user_id, None, limit(1), &Consistency::Strong)
        .await;
    let foreign = vec![
        of_answers.expect(WORKS).next,
        store.list_cases(&filtered).await.expect(WORKS).next,
        store.list_cases(&searched).await.expect(WORKS).next,
    ];
    let (store, one) = (&store, &one);
    assert_refused(foreign_cursors(foreign), |cursor| async move {
        store
            .list_cases(&CaseQuery {
                after: Some(cursor),
                ..one.clone()
            })
            .await
    })
    .await;
}
