use std::time::Duration;

use medcards_core::answer::AnswerStore;
use medcards_core::case::{CaseCorrection, CaseStore, OptionSet};
use medcards_core::event::{EventBody, EventLog, LogPosition};
use medcards_core::job::{
    Effects, Enqueued, JobClaim, JobKind, JobOutcome, JobQueue, NewJob, Settled, Settlement,
};
use medcards_core::notice::{NewNotice, NoticeBody, NoticeStore};
use medcards_core::store::{Consistency, Hint};
use medcards_core::testing::{SAMPLE_START, sample_content, sample_record, sample_user_id};
use medcards_core::user::{User, UserKind, UserSettings, UserStore};
use medcards_core::view::{
    Announced, Committed, EditionNumber, EditionOf, Item, NewAward, RowKey, RowWrite, Runner,
    StoredRow, ViewCommit, ViewName, ViewStore,
};
use medcards_core::{ErrorKind, Timestamp, UserId};
use medcards_store_sqlite::SqliteStore;
use sqlx::{Connection, Row};

use crate::fresh::{self, answer, config, folder, path};

const LEASE: Duration = Duration::from_secs(60);

fn kind() -> JobKind {
    JobKind::new("tell").unwrap()
}

fn later(seconds: u64) -> Timestamp {
    SAMPLE_START + Duration::from_secs(seconds)
}

fn position(sequence: u64) -> LogPosition {
    LogPosition {
        transaction: 0,
        sequence,
    }
}

fn runner() -> Runner {
    Runner::new(*sample_user_id(99).as_uuid())
}

fn view_name() -> ViewName {
    ViewName::new("user-stats").unwrap()
}

/// Begins an edition of the view, led by the one runner.
async fn begin(store: &SqliteStore, version: u64) -> EditionNumber {
    let name = view_name();
    let view = store.begin_edition(&name, version, 0, SAMPLE_START).await;
    let led = store.take_lead(&name, runner(), SAMPLE_START, LEASE).await;
    assert!(led.unwrap());
    view.unwrap().next.unwrap().number
}

async fn find(store: &SqliteStore, edition: EditionOf, key: RowKey) -> Vec<StoredRow> {
    let found = store
        .find_rows(&edition, &[key], &Consistency::Strong)
        .await;
    found.unwrap()
}

fn row(n: u32) -> StoredRow {
    StoredRow {
        key: RowKey::new(*sample_user_id(n).as_uuid(), Item::named("row")),
        place: Some(i64::from(n)),
        bytes: vec![7; 100],
    }
}

fn commit(edition: EditionNumber, sequence: u64, rows: Vec<RowWrite>) -> ViewCommit {
    ViewCommit {
        view: view_name(),
        edition,
        runner: runner(),
        from: position(sequence),
        to: position(sequence + 1),
        rows,
        announced: Vec::new(),
        awards: Vec::new(),
        set_aside: Vec::new(),
    }
}

fn streak(user_id: UserId, days: u32) -> NewNotice {
    NewNotice {
        user_id,
        at: SAMPLE_START,
        body: NoticeBody::Streak { days },
    }
}

/// Tells a user of streaks, one after the other.
async fn tell(store: &SqliteStore, user_id: UserId, days: impl IntoIterator<Item = u32>) {
    let job = NewJob::new(kind(), "", SAMPLE_START);
    store.enqueue(vec![job], SAMPLE_START).await.unwrap();
    let claimed = store.claim(&[kind()], 1, SAMPLE_START, LEASE).await;
    let claim = claimed.unwrap()[0].claim();
    let notices = days.into_iter().map(|days| streak(user_id, days)).collect();
    let outcome = JobOutcome::Done;
    let effects = Effects {
        notices,
        ..Effects::default()
    };
    let settled = settle(store, claim, outcome, effects).await;
    assert_eq!(settled, Settled::Done);
}

async fn settle(
    store: &SqliteStore,
    claim: JobClaim,
    outcome: JobOutcome,
    effects: Effects,
) -> Settled {
    let settlement = Settlement {
        claim,
        outcome,
        effects,
    };
    store.settle(vec![settlement], later(1)).await.unwrap()[0]
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_shown_as_that_and_holds_up_none() {
    let (store, folder) = fresh::store().await;
    for n in 0..4 {
        store.record_answer(answer(n)).await.unwrap();
    }
    for damage in [
        r#"UPDATE events SET kind = 'sworn', body = '{"kind":"sworn","by":"a secret"}'
           WHERE sequence = 1"#,
        r#"UPDATE events SET body = '{"kind":"answer_recorded","answer":"a secret"}'
           WHERE sequence = 2"#,
        "UPDATE events SET body = 'a secret' WHERE sequence = 3",
    ] {
        fresh::run_raw(&path(folder.path()), damage).await;
    }
    let events = store.read_events(LogPosition::START, 10).await.unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event.body.kind()).collect();
    let known = "answer_recorded";
    assert_eq!(kinds, ["sworn", known, known, known]);
    for event in &events[..3] {
        let EventBody::Unreadable { reason, .. } = &event.body else {
            panic!("{event:?}")
        };
        assert!(!reason.is_empty() && !reason.contains("secret"), "{reason}");
    }
    assert!(matches!(events[3].body, EventBody::AnswerRecorded { .. }));
}

#[tokio::test]
async fn notices_of_unknown_kinds_are_passed_over() {
    let (store, folder) = fresh::store().await;
    let user_id = sample_user_id(1);
    tell(&store, user_id, 1..=6).await;
    let damage = r#"UPDATE notices SET kind = 'sung', body = '{"kind":"sung"}'
        WHERE sequence IN (1, 2, 4, 6)"#;
    fresh::run_raw(&path(folder.path()), damage).await;
    // After which place, how many, and which are shown.
    for (after, limit, expected) in [
        (0, 10, vec![3, 5]),
        (0, 2, vec![3, 5]),
        (0, 1, vec![3]),
        (3, 1, vec![5]),
        (5, 10, vec![]),
        (0, 0, vec![]),
    ] {
        let of_all = store.read_notices(position(after), limit).await.unwrap();
        let of_user = store.list_notices(user_id, position(after), limit).await;
        for notices in [of_all, of_user.unwrap()] {
            let days = notices.iter().map(|notice| notice.position.sequence);
            assert_eq!(days.collect::<Vec<_>>(), expected, "{after} {limit}");
        }
    }
}

#[tokio::test]
async fn numbers_of_notices_are_never_given_twice() {
    let (store, folder) = fresh::store().await;
    let user_id = sample_user_id(1);
    tell(&store, user_id, 1..=3).await;
    assert_eq!(store.sweep_notices(later(1), 10).await.unwrap(), 3);
    store.close().await;
    let store = SqliteStore::open(config(folder.path())).await.unwrap();
    assert_eq!(store.last_notice().await.unwrap(), position(3));
    tell(&store, user_id, [4]).await;
    let notices = store.read_notices(position(3), 10).await.unwrap();
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].position, position(4));
}

/// More than one transaction deletes, and no more goes than was asked for.
#[tokio::test]
async fn sweeping_goes_on_until_it_has_what_was_asked_for() {
    let (store, folder) = fresh::store().await;
    let old = begin(&store, 1).await;
    let rows = |range: std::ops::Range<u32>| range.map(|n| RowWrite::Put(row(n))).collect();
    let done = store.commit(commit(old, 0, rows(0..5_000))).await;
    assert_eq!(done.unwrap(), Committed::Done);
    assert!(store.switch(&view_name(), old).await.unwrap());
    let new = begin(&store, 2).await;
    let done = store.commit(commit(new, 0, rows(0..3))).await;
    assert_eq!(done.unwrap(), Committed::Done);
    assert!(store.switch(&view_name(), new).await.unwrap());
    for (limit, swept) in [(0, 0), (4_500, 4_500), (10_000, 500), (10_000, 0)] {
        assert_eq!(store.sweep_rows(limit).await.unwrap(), swept, "{limit}");
    }
    for n in 0..3 {
        let current = EditionOf::Current(view_name());
        assert_eq!(find(&store, current, row(n).key).await, [row(n)]);
    }
    let mut file = fresh::raw(&path(folder.path())).await;
    let left = "SELECT (SELECT count(*) FROM view_rows), (SELECT count(*) FROM view_editions)";
    let left = sqlx::query(left).fetch_one(&mut file).await.unwrap();
    assert_eq!((left.get::<i64, _>(0), left.get::<i64, _>(1)), (3, 1));
    file.close().await.unwrap();

    tell(&store, sample_user_id(1), 0..2_500).await;
    for (limit, swept) in [(2_200, 2_200), (10_000, 300)] {
        let notices = store.sweep_notices(later(1), limit).await.unwrap();
        assert_eq!(notices, swept, "{limit}");
    }
}

/// Who waits for events, for jobs and for notices.
struct Waiting([Hint; 3]);

impl Waiting {
    fn at(store: &SqliteStore) -> Self {
        Self([store.appended(), store.enqueued(), store.noticed()])
    }

    /// Which of them heard something since they were last asked.
    async fn heard(&mut self) -> [bool; 3] {
        let mut heard = [false; 3];
        for (hint, heard) in self.0.iter_mut().zip(&mut heard) {
            let wait = hint.wait(Duration::MAX);
            *heard = tokio::time::timeout(Duration::ZERO, wait).await.is_ok();
        }
        heard
    }
}

#[tokio::test]
async fn who_waits_hears_of_what_was_written_and_of_nothing_else() {
    let (store, _folder) = fresh::store().await;
    let mut waiting = Waiting::at(&store);
    let (events, jobs, notices, none) = (
        [true, false, false],
        [false, true, false],
        [false, false, true],
        [false; 3],
    );
    let user_id = sample_user_id(1);
    let answer = answer(1);
    for heard in [events, none] {
        store.record_answer(answer.clone()).await.unwrap();
        assert_eq!(waiting.heard().await, heard);
    }
    let user = User::new(user_id, UserKind::Guest, SAMPLE_START);
    store.ensure_user(user).await.unwrap();
    assert_eq!(waiting.heard().await, none);
    let settings = UserSettings::default();
    let changed = store.update_settings(user_id, settings, SAMPLE_START).await;
    changed.unwrap();
    assert_eq!(waiting.heard().await, events);
    let outage = EventBody::OutageDeclared {
        began_at: SAMPLE_START,
        ended_at: later(1),
        declared_at: later(2),
    };
    store.append_events(vec![outage.clone()]).await.unwrap();
    assert_eq!(waiting.heard().await, events);

    let job = NewJob::new(kind(), "", SAMPLE_START);
    for heard in [jobs, none] {
        store
            .enqueue(vec![job.clone()], SAMPLE_START)
            .await
            .unwrap();
        assert_eq!(waiting.heard().await, heard);
    }
    let claimed = store.claim(&[kind()], 1, SAMPLE_START, LEASE).await;
    let claim = claimed.unwrap()[0].claim();
    assert_eq!(waiting.heard().await, none);
    let effects = || Effects {
        notices: vec![streak(user_id, 3)],
        events: vec![outage.clone()],
        ..Effects::default()
    };
    for heard in [[true; 3], none] {
        settle(&store, claim, JobOutcome::Done, effects()).await;
        assert_eq!(waiting.heard().await, heard);
    }

    let edition = begin(&store, 1).await;
    let announced = |sequence, what| ViewCommit {
        announced: vec![(position(sequence + 1), what)],
        ..commit(edition, sequence, Vec::new())
    };
    let tells = Announced::Notice {
        user_id,
        at: SAMPLE_START,
        body: NoticeBody::Streak { days: 4 },
    };
    // Behind what the log had when the view was begun.
    let skip = ViewCommit {
        to: position(10),
        ..announced(0, tells.clone())
    };
    for (commit, heard) in [
        (skip, none),
        (announced(10, Announced::Job(job.clone())), jobs),
        (announced(10, Announced::Job(job.clone())), none),
        (announced(11, tells), notices),
        (commit(edition, 12, vec![RowWrite::Put(row(1))]), none),
    ] {
        store.commit(commit).await.unwrap();
        assert_eq!(waiting.heard().await, heard);
    }

    let published = store.publish(vec![sample_content(1)], SAMPLE_START).await;
    let published = published.unwrap()[0];
    assert_eq!(waiting.heard().await, none);
    let mut changed = sample_record(1);
    changed.stem = "Which of them is right?".to_owned();
    let correction = CaseCorrection {
        case_id: published.case_id,
        current: published.version,
        content: changed.try_into().unwrap(),
        versions: vec![(published.version, OptionSet::from_bits(2).unwrap())],
        jobs: vec![NewJob::new(kind(), "", SAMPLE_START)],
        corrected_at: later(3),
    };
    store.correct_case(correction.clone()).await.unwrap();
    assert_eq!(waiting.heard().await, [true, true, false]);
    store.correct_case(correction).await.unwrap_err();
    assert_eq!(waiting.heard().await, none);
}

/// A file that is full takes nothing of a commit, and all of it when there is room.
#[tokio::test]
async fn a_full_store_takes_a_commit_whole_or_not_at_all() {
    let folder = folder();
    let small = config(folder.path()).with_size_max_bytes(900_000);
    let store = SqliteStore::open(small).await.unwrap();
    let edition = begin(&store, 1).await;
    let user_id = sample_user_id(1);
    let job = NewJob::new(kind(), "", SAMPLE_START);
    let whole = || {
        let announced = Announced::Job(job.clone());
        let award = NewAward {
            user_id,
            badge: "first-answer".to_owned(),
            at: SAMPLE_START,
            job: None,
        };
        ViewCommit {
            announced: vec![(position(1), announced)],
            awards: vec![award],
            ..commit(
                edition,
                0,
                (0..9_000).map(|n| RowWrite::Put(row(n))).collect(),
            )
        }
    };
    let mut waiting = Waiting::at(&store);
    let refused = store.commit(whole()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Full, "{refused}");
    let view = store.view(&view_name()).await.unwrap();
    assert_eq!(view.next.unwrap().position, LogPosition::START);
    let found = find(&store, EditionOf::Number(edition), row(0).key).await;
    assert_eq!(found, []);
    assert_eq!(store.next_due(&[kind()]).await.unwrap(), None);
    let awards = store.list_awards(user_id, &Consistency::Strong).await;
    assert_eq!(awards.unwrap(), []);
    assert_eq!(waiting.heard().await, [false; 3]);
    store.close().await;

    let store = SqliteStore::open(config(folder.path())).await.unwrap();
    assert_eq!(store.commit(whole()).await.unwrap(), Committed::Done);
    let again = store.commit(whole()).await.unwrap();
    assert_eq!(again, Committed::Elsewhere(position(1)));
    assert_eq!(store.next_due(&[kind()]).await.unwrap(), Some(SAMPLE_START));
    let known = store.enqueue(vec![job], SAMPLE_START).await.unwrap();
    assert_eq!(known, [Enqueued::Known]);
    store.close().await;
    fresh::assert_sound(&path(folder.path())).await;
}
