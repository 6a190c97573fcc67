use std::time::Duration;

use medcards_core::case::{CaseCorrection, CaseQuery, CaseStore, CaseVersion, OptionSet};
use medcards_core::event::{EventBody, EventLog, LogPosition, ReaderName};
use medcards_core::job::{
    Effects, Enqueued, JobKind, JobOutcome, JobQueue, NewJob, Settled, Settlement,
};
use medcards_core::notice::{NoticeBody, NoticeStore};
use medcards_core::store::Consistency;
use medcards_core::testing::{SAMPLE_START, sample_record, sample_user_id};
use medcards_core::view::{
    Committed, EditionOf, NewAward, RowKey, RowWrite, Runner, SetAside, ShelfQuery, StoredRow,
    ViewCommit, ViewStore,
};
use medcards_core::{JobId, UserId};
use medcards_store_sqlite::SqliteStore;

use super::{later, position};

/// A view with a row and a badge, a job that waits and one that is dead, and a corrected key.
pub(super) async fn write(store: &SqliteStore) {
    let user_id = sample_user_id(1);
    let name = ReaderName::new("user-stats").unwrap();
    let begun = store
        .begin_edition(&name, 3, 1, SAMPLE_START)
        .await
        .unwrap();
    let edition = begun.next.unwrap().number;
    let runner = Runner::new(*sample_user_id(2).as_uuid());
    let lease = Duration::from_secs(60);
    let led = store.take_lead(&name, runner, SAMPLE_START, lease).await;
    assert!(led.unwrap());
    let award = NewAward {
        user_id,
        badge: "first-answer".to_owned(),
        at: later(9),
        job: Some(job(1)),
    };
    let aside = SetAside {
        position: position(2),
        kind: "answer_recorded".to_owned(),
        reason: "there is no such case".to_owned(),
    };
    let commit = ViewCommit {
        view: name.clone(),
        edition,
        runner,
        from: LogPosition::START,
        to: position(3),
        rows: vec![RowWrite::Put(view_row())],
        announced: Vec::new(),
        awards: vec![award],
        set_aside: vec![aside],
    };
    assert_eq!(store.commit(commit).await.unwrap(), Committed::Done);
    assert!(store.switch(&name, edition).await.unwrap());
    let jobs = vec![job(2), job(3)];
    store.enqueue(jobs, SAMPLE_START).await.unwrap();
    let claimed = store
        .claim(&[kind()], 1, SAMPLE_START, lease)
        .await
        .unwrap();
    let outcome = JobOutcome::Dead {
        reason: "it cannot be done".to_owned(),
    };
    let dead = Settlement {
        claim: claimed[0].claim(),
        outcome,
        effects: Effects::default(),
    };
    let settled = store.settle(vec![dead], later(10)).await.unwrap();
    assert_eq!(settled, [Settled::Done]);
    let search = CaseQuery {
        search: Some("now known".to_owned()),
        ..CaseQuery::default()
    };
    let found = store.list_cases(&search).await.unwrap().items;
    let mut content = sample_record(1);
    content.stem = "Which finding fits best, now known by another key?".to_owned();
    let correction = CaseCorrection {
        case_id: found[0].id,
        current: found[0].version,
        content: content.try_into().unwrap(),
        versions: vec![(CaseVersion::FIRST, OptionSet::from_bits(2).unwrap())],
        jobs: Vec::new(),
        corrected_at: later(11),
    };
    let made = store.correct_case(correction).await.unwrap();
    assert_eq!(made.len(), 1);
}

fn kind() -> JobKind {
    JobKind::new("tell").unwrap()
}

fn job(n: u8) -> NewJob {
    let mut job = NewJob::new(kind(), format!("job {n}"), later(i64::from(n) - 10))
        .for_user(sample_user_id(1))
        .once(format!("key {n}"), Duration::from_secs(3_600));
    job.id = JobId::from_bytes([n; 16]);
    job
}

fn view_row() -> StoredRow {
    StoredRow {
        key: RowKey::of_user(sample_user_id(1)),
        place: Some(-7),
        bytes: vec![0, 1, 255],
    }
}

pub(super) async fn check(store: &SqliteStore) {
    let user_id = sample_user_id(1);
    let name = ReaderName::new("user-stats").unwrap();
    let view = store.view(&name).await.unwrap();
    let current = view.current.unwrap();
    assert_eq!((current.version, current.corrections), (3, 1));
    assert_eq!((current.position, current.set_aside), (position(3), 1));
    assert_eq!((view.announced, view.next), (position(3), None));
    let runner = Runner::new(*sample_user_id(2).as_uuid());
    assert_eq!(view.lead, Some((runner, later(60))));
    let strong = Consistency::Strong;
    let shelf = ShelfQuery::new(*user_id.as_uuid(), 10);
    let of_view = EditionOf::Current(name);
    let rows = store.list_shelf(&of_view, &shelf, &strong).await;
    assert_eq!(rows.unwrap(), [view_row()]);
    let aside = store.list_set_aside(current.number, 10).await.unwrap();
    assert_eq!(aside[0].reason, "there is no such case");
    let awards = store.list_awards(user_id, &strong).await.unwrap();
    assert_eq!((awards.len(), awards[0].at), (1, later(9)));
    let notices = store.list_notices(user_id, LogPosition::START, 10).await;
    let badge = "first-answer".to_owned();
    assert_eq!(notices.unwrap()[0].body, NoticeBody::Badge { badge });
    let dead = store.list_dead(None, 10).await.unwrap();
    assert_eq!((dead.len(), dead[0].payload.as_str()), (1, "job 1"));
    assert_eq!((dead[0].attempts, dead[0].died_at), (1, later(10)));
    assert_eq!(store.next_due(&[kind()]).await.unwrap(), Some(later(-8)));
    let again = vec![job(1), job(2), job(3)];
    let again = store.enqueue(again, SAMPLE_START).await.unwrap();
    assert_eq!(again, [Enqueued::Known; 3]);
    let corrections = store.list_corrections(0, 10).await.unwrap();
    assert_eq!(corrections.len(), 1);
    let correction = corrections[0];
    assert_eq!((correction.number, correction.corrected_in.get()), (1, 3));
    assert_eq!(correction.corrected_at, later(11));
    let events = store.read_events(position(3), 10).await.unwrap();
    let [event] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(event.user_id, UserId::EVERYONE);
    assert_eq!(event.body, EventBody::KeyCorrected { correction });
}
