//! Checks of corrections, which [`CaseStore`](crate::case::CaseStore) keeps together with the versions
//! that they publish, and which the log tells of.

use std::collections::HashSet;
use std::sync::Arc;

use super::steps::{WORKS, all_at_once, all_events, at, changed, publish_at, publish_samples};
use crate::case::{
    Case, CaseContent, CaseCorrection, CaseVersion, KeyCorrection, OptionSet, PublicationOutcome,
};
use crate::event::EventBody;
use crate::id::{CaseId, UserId};
use crate::job::{JobKind, NewJob};
use crate::shard::Bucket;
use crate::store::Store;
use crate::testing::{sample_case, sample_content};
use crate::{ErrorKind, Result};

fn version(number: u32) -> CaseVersion {
    CaseVersion::new(number).expect("a check uses versions that may exist")
}

fn right(position: usize) -> OptionSet {
    [position].into_iter().collect()
}

/// Content of the `n`th sample case whose stem says so.
fn reworded(n: u32, stem: &str) -> CaseContent {
    changed(n, |record| record.stem = stem.to_owned())
}

/// Corrects the keys of these versions of the `n`th sample case.
fn correction(n: u32, case: &Case, stem: &str, versions: &[u32]) -> CaseCorrection {
    let wrong = |number: &u32| (version(*number), right(3));
    CaseCorrection {
        case_id: case.id,
        current: case.version,
        content: reworded(n, stem),
        versions: versions.iter().map(wrong).collect(),
        jobs: Vec::new(),
        corrected_at: at(50),
    }
}

/// Publishes so many versions of the first sample case, and returns the last.
async fn published(store: &dyn Store, versions: u32) -> Arc<Case> {
    let mut case = publish_samples(store, 1).await.remove(0);
    for number in 2..=versions {
        let content = vec![reworded(0, &format!("Version {number}?"))];
        case = publish_at(store, content, at(number.into()))
            .await
            .remove(0);
    }
    assert_eq!(case.version, version(versions));
    case
}

async fn listed(store: &dyn Store) -> Vec<KeyCorrection> {
    store.list_corrections(0, 1_000).await.expect(WORKS)
}

async fn current(store: &dyn Store, case_id: CaseId) -> Arc<Case> {
    let found = store.find_case(case_id, None).await.expect(WORKS);
    found.expect("a published case is found")
}

fn assert_refused<T: std::fmt::Debug>(what: &str, result: Result<T>, kind: ErrorKind) {
    let error = result.expect_err(what);
    assert_eq!(error.kind(), kind, "{what}: {error}");
}

/// Asserts that nothing was written: neither a version after this one, nor a correction, nor an event.
async fn assert_untouched(store: &dyn Store, case: &Arc<Case>) {
    assert_eq!(current(store, case.id).await, *case);
    let next = store.find_case(case.id, Some(case.version.next())).await;
    assert_eq!(next.expect(WORKS), None);
    assert_eq!(listed(store).await, []);
    assert_eq!(all_events(store).await, []);
}

/// A correction publishes the next version, and is listed as it was returned; the versions that were
/// wrong stay as they were.
pub async fn a_correction_publishes_and_is_listed(store: Arc<dyn Store>) {
    let case = published(&*store, 3).await;
    let given = CaseCorrection {
        versions: vec![
            (version(3), right(1)),
            (version(1), [0, 2].into_iter().collect()),
        ],
        ..correction(0, &case, "Corrected?", &[])
    };
    let made = store.correct_case(given.clone()).await.expect(WORKS);
    let expected = |number, (version, right): (CaseVersion, OptionSet)| KeyCorrection {
        number,
        case_id: case.id,
        version,
        right,
        corrected_in: CaseVersion::new(4).expect("there may be four"),
        corrected_at: at(50),
    };
    let wanted = [
        expected(1, given.versions[0]),
        expected(2, given.versions[1]),
    ];
    assert_eq!(made, wanted);
    assert_eq!(listed(&*store).await, wanted);
    let corrected = Case {
        id: case.id,
        version: version(4),
        published_at: at(50),
        content: given.content,
    };
    assert_eq!(*current(&*store, case.id).await, corrected);
    let before = store.find_case(case.id, Some(version(3))).await;
    assert_eq!(before.expect(WORKS), Some(case));
}

/// Each correction is an event of everyone, in the order of their numbers.
pub async fn corrections_are_events_of_everyone(store: Arc<dyn Store>) {
    let case = published(&*store, 2).await;
    let both = correction(0, &case, "Corrected?", &[2, 1]);
    let mut made = store.correct_case(both).await.expect(WORKS);
    let again = current(&*store, case.id).await;
    let again = correction(0, &again, "Corrected again?", &[1]);
    made.extend(store.correct_case(again).await.expect(WORKS));
    let events = all_events(&*store).await;
    let told: Vec<_> = events.iter().map(|event| event.body.clone()).collect();
    let wanted = made
        .iter()
        .map(|it| EventBody::KeyCorrected { correction: *it });
    assert_eq!(told, wanted.collect::<Vec<_>>());
    for event in events {
        assert_eq!(event.user_id, UserId::EVERYONE);
        assert_eq!(event.bucket, Bucket::of(&UserId::EVERYONE));
    }
}

/// Corrections are numbered from 1 without a gap, also those made at once and after refused ones, and
/// are listed by pages of any limit.
pub async fn corrections_are_numbered_without_a_gap(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 8).await;
    let correcting = (0..).zip(cases.clone()).map(|(n, case)| {
        let store = Arc::clone(&store);
        async move {
            let wrong = CaseCorrection {
                current: version(9),
                ..correction(n, &case, "Refused?", &[1])
            };
            let refused = store.correct_case(wrong).await;
            assert_refused("its version is another", refused, ErrorKind::Conflict);
            let right = correction(n, &case, "Corrected?", &[1]);
            store.correct_case(right).await.expect(WORKS).remove(0)
        }
    });
    let mut made = all_at_once(correcting).await;
    made.sort_by_key(|it| it.number);
    let numbers: Vec<_> = made.iter().map(|it| it.number).collect();
    assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
    for limit in [1, 3, 8, 5_000] {
        let mut listed: Vec<KeyCorrection> = Vec::new();
        loop {
            let after = listed.last().map_or(0, |it| it.number);
            let page = store.list_corrections(after, limit).await.expect(WORKS);
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            listed.extend(page);
        }
        assert_eq!(listed, made, "pages of {limit}");
    }
    assert_eq!(store.list_corrections(0, 0).await.expect(WORKS), []);
    let events = all_events(&*store).await;
    let told: HashSet<_> = events
        .iter()
        .map(|event| match &event.body {
            EventBody::KeyCorrected { correction } => correction.number,
            other => panic!("a correction is told of by {}", other.kind()),
        })
        .collect();
    assert_eq!((told.len(), events.len()), (8, 8));
}

/// Of many who correct the same version at once, one does; the others learn that another is current.
pub async fn one_of_many_corrections_at_once_counts(store: Arc<dyn Store>) {
    let case = published(&*store, 1).await;
    let correcting = (0..8).map(|n| {
        let (store, case) = (Arc::clone(&store), Arc::clone(&case));
        async move {
            let mine = correction(0, &case, &format!("Corrected by {n}?"), &[1]);
            store.correct_case(mine).await
        }
    });
    let mut made = Vec::new();
    for corrected in all_at_once(correcting).await {
        match corrected {
            Ok(corrections) => made.extend(corrections),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
        }
    }
    assert_eq!(made.len(), 1);
    assert_eq!(listed(&*store).await, made);
    assert_eq!(current(&*store, case.id).await.version, version(2));
    assert_eq!(all_events(&*store).await.len(), 1);
}

/// A correction of a case or a version that there is not is refused, and writes nothing.
pub async fn a_correction_of_what_is_not_there_is_refused(store: Arc<dyn Store>) {
    let case = published(&*store, 2).await;
    let nowhere = CaseCorrection {
        case_id: sample_case(9).id,
        ..correction(0, &case, "Corrected?", &[1])
    };
    let no_version = correction(0, &case, "Corrected?", &[1, 3]);
    for (what, bad) in [("no case", nowhere), ("no version", no_version)] {
        let refused = store.correct_case(bad).await;
        assert_refused(what, refused, ErrorKind::NotFound);
    }
    assert_untouched(&*store, &case).await;
}

/// A correction of a case whose current version is another is refused, and writes nothing.
pub async fn a_correction_of_another_current_version_is_refused(store: Arc<dyn Store>) {
    let case = published(&*store, 2).await;
    for current in [1, 3] {
        let late = CaseCorrection {
            current: version(current),
            ..correction(0, &case, "Corrected?", &[1])
        };
        let refused = store.correct_case(late).await;
        assert_refused("it is another", refused, ErrorKind::Conflict);
    }
    assert_untouched(&*store, &case).await;
}

/// A correction whose content is of another case, or changes nothing, or whose job cannot be enqueued is
/// refused, and writes nothing.
pub async fn a_correction_that_cannot_be_written_is_refused(store: Arc<dyn Store>) {
    let case = published(&*store, 2).await;
    let good = || correction(0, &case, "Corrected?", &[1]);
    let kind = JobKind::new("follow").expect("the name is plain");
    for (what, bad) in [
        (
            "another case",
            CaseCorrection {
                content: sample_content(1),
                ..good()
            },
        ),
        (
            "another source",
            CaseCorrection {
                content: changed(0, |record| record.source = "others".to_owned()),
                ..good()
            },
        ),
        (
            "the current version",
            CaseCorrection {
                content: case.content.clone(),
                ..good()
            },
        ),
        (
            "a job with a NUL",
            CaseCorrection {
                jobs: vec![NewJob::new(kind, "\0", at(0))],
                ..good()
            },
        ),
    ] {
        let refused = store.correct_case(bad).await;
        assert_refused(what, refused, ErrorKind::Invalid);
    }
    assert_untouched(&*store, &case).await;
}

/// After a correction publishing keeps its rules: what was corrected is the current version, and other
/// content makes the next.
pub async fn publishing_goes_on_after_a_correction(store: Arc<dyn Store>) {
    let case = published(&*store, 1).await;
    let given = correction(0, &case, "Corrected?", &[1]);
    let corrected = given.content.clone();
    store.correct_case(given).await.expect(WORKS);
    for (content, number, outcome) in [
        (corrected, 2, PublicationOutcome::Unchanged),
        (case.content.clone(), 3, PublicationOutcome::NewVersion),
    ] {
        let publications = store.publish(vec![content], at(90)).await.expect(WORKS);
        assert_eq!(publications[0].case_id, case.id);
        assert_eq!(publications[0].version, version(number));
        assert_eq!(publications[0].outcome, outcome);
    }
    let late = correction(0, &case, "Too late?", &[1]);
    let refused = store.correct_case(late).await;
    assert_refused("it is another", refused, ErrorKind::Conflict);
    let found = current(&*store, case.id).await;
    let again = correction(0, &found, "Corrected again?", &[3, 1]);
    let made = store.correct_case(again).await.expect(WORKS);
    let numbers: Vec<_> = made.iter().map(|it| (it.number, it.corrected_in)).collect();
    assert_eq!(numbers, [(2, version(4)), (3, version(4))]);
    assert_eq!(listed(&*store).await.len(), 3);
}
