//! Checks of [`EventLog`](crate::event::EventLog).

use std::collections::HashSet;
use std::sync::Arc;

use super::steps::{
    WORKS, all_at_once, all_events, at, changed, end_log, events_after, events_until_end, hinted,
    joined, publish_samples, record, student,
};
use crate::ErrorKind;
use crate::answer::Answer;
use crate::case::{CaseCorrection, CaseVersion, KeyCorrection};
use crate::event::{
    CALIBRATIONS_PER_EVENT_MAX, CaseCalibration, EVENTS_PER_READ_MAX, Event, EventBody,
    LogPosition, ReaderName,
};
use crate::id::UserId;
use crate::shard::Bucket;
use crate::store::Store;
use crate::testing::{sample_answer, sample_case};
use crate::user::UserSettings;

/// How many write at once while the log is read.
const WRITERS: u32 = 8;

/// How many answers each of them writes.
const ANSWERS_PER_WRITER: u32 = 25;

fn reader(name: &str) -> ReaderName {
    ReaderName::new(name).expect("a check uses names that exist")
}

async fn cursor(store: &dyn Store, name: &str) -> LogPosition {
    store.find_cursor(&reader(name)).await.expect(WORKS)
}

fn answer_of(event: &Event) -> &Answer {
    match &event.body {
        EventBody::AnswerRecorded { answer } => answer,
        other => panic!("the event of an answer is {}", other.kind()),
    }
}

fn assert_in_order(events: &[Event]) {
    assert!(
        events
            .iter()
            .all(|event| event.position > LogPosition::START)
    );
    let grows = events
        .windows(2)
        .all(|pair| pair[0].position < pair[1].position);
    assert!(grows, "later events stand at greater places");
}

/// Records this many answers of one user, and returns their events.
async fn some_events(store: &dyn Store, count: u32) -> Vec<Event> {
    let cases = publish_samples(store, 1).await;
    let user_id = student(store, 1).await;
    for second in 0..count {
        record(
            store,
            &sample_answer(user_id, &cases[0], at(i64::from(second))),
        )
        .await;
    }
    events_after(store, LogPosition::START, count as usize, 100).await
}

/// The event of an answer carries the whole answer, its user and the user's bucket.
pub async fn an_event_carries_the_whole_answer(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 2).await;
    let user_id = student(&*store, 1).await;
    let full = sample_answer(user_id, &cases[0], at(1));
    let bare = Answer {
        time_to_answer_ms: None,
        confidence: None,
        ..sample_answer(user_id, &cases[1], at(2))
    };
    record(&*store, &full).await;
    record(&*store, &bare).await;
    let events = all_events(&*store).await;
    assert_eq!(events.len(), 2);
    for (event, answer) in events.iter().zip([full, bare]) {
        assert_eq!(*answer_of(event), answer);
        assert_eq!(event.user_id, user_id);
        assert_eq!(event.bucket, Bucket::of(&user_id));
    }
}

/// Events of all kinds and users stand in the order of their commits.
pub async fn events_stand_in_the_order_of_commits(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 1).await;
    let users = [student(&*store, 1).await, student(&*store, 2).await];
    let mut expected = Vec::new();
    for second in (0_i64..12).rev() {
        let user_id = users[usize::from(second % 3 == 0)];
        if second % 4 == 0 {
            let settings = UserSettings::default();
            store
                .update_settings(user_id, settings, at(second))
                .await
                .expect(WORKS);
            expected.push((user_id, "settings_changed"));
        } else {
            record(&*store, &sample_answer(user_id, &cases[0], at(second))).await;
            expected.push((user_id, "answer_recorded"));
        }
    }
    let events = all_events(&*store).await;
    let seen: Vec<_> = events
        .iter()
        .map(|event| (event.user_id, event.body.kind()))
        .collect();
    assert_eq!(seen, expected);
    assert_in_order(&events);
}

/// Reading on from the last event's place, in parts of any size, gives every event once.
pub async fn reading_on_gives_every_event_once(store: Arc<dyn Store>) {
    let events = some_events(&*store, 24).await;
    assert_in_order(&events);
    for limit in [1, 2, 7, 24, 1_000] {
        let parts = events_after(&*store, LogPosition::START, 24, limit).await;
        assert_eq!(parts, events, "parts of {limit}");
    }
    let last = events[23].position;
    assert_eq!(store.read_events(last, 100).await.expect(WORKS), []);
    assert_eq!(
        store.read_events(LogPosition::START, 0).await.expect(WORKS),
        []
    );
}

/// One read returns no more than its limit, and never more than the most that is allowed.
pub async fn a_read_of_the_log_is_bounded(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 1).await;
    let user_id = student(&*store, 1).await;
    let calls = (0..EVENTS_PER_READ_MAX as i64 + 5).map(|second| {
        let store = Arc::clone(&store);
        let answer = sample_answer(user_id, &cases[0], at(second));
        async move { store.record_answer(answer).await.expect(WORKS) }
    });
    let recorded = all_at_once(calls).await.len();
    let events = events_after(&*store, LogPosition::START, recorded, 100).await;
    assert_eq!(events.len(), recorded);
    let read = store
        .read_events(LogPosition::START, usize::MAX)
        .await
        .expect(WORKS);
    assert_eq!(read, events[..EVENTS_PER_READ_MAX]);
}

/// Reading while many write misses nothing, repeats nothing, and agrees with a later reading.
pub async fn reading_while_many_write_misses_and_repeats_nothing(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 1).await;
    let mut users = Vec::new();
    for n in 0..WRITERS {
        users.push(student(&*store, n).await);
    }
    let total = (WRITERS * ANSWERS_PER_WRITER) as usize;
    let reading = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { events_until_end(&*store, 7).await })
    };
    let writing = users.into_iter().map(|user_id| {
        let (store, case) = (Arc::clone(&store), Arc::clone(&cases[0]));
        async move {
            let mut ids = Vec::new();
            for second in 0..i64::from(ANSWERS_PER_WRITER) {
                let answer = sample_answer(user_id, &case, at(second));
                ids.push(record(&*store, &answer).await.answer.id);
            }
            (user_id, ids)
        }
    });
    let written = all_at_once(writing).await;
    end_log(&*store).await;
    let events = joined(reading).await;
    assert_in_order(&events);
    let distinct: HashSet<_> = events.iter().map(|event| answer_of(event).id).collect();
    assert_eq!(distinct.len(), total, "no event is missing");
    assert_eq!(events.len(), total, "no event is repeated");
    for (user_id, ids) in written {
        let own = events.iter().filter(|event| event.user_id == user_id);
        let seen: Vec<_> = own.map(|event| answer_of(event).id).collect();
        assert_eq!(
            seen, ids,
            "one writer's events stand in the order of its commits"
        );
    }
    assert_eq!(events_until_end(&*store, 1_000).await, events);
}

/// A reader who never said anything stands at the start.
pub async fn an_unknown_reader_stands_at_the_start(store: Arc<dyn Store>) {
    assert_eq!(cursor(&*store, "nobody").await, LogPosition::START);
}

/// A reader that was moved is found where it was moved to, and no other reader moves with it.
pub async fn a_moved_reader_is_found_where_it_was_moved_to(store: Arc<dyn Store>) {
    let events = some_events(&*store, 3).await;
    let mut from = LogPosition::START;
    for event in &events {
        store
            .move_cursor(&reader("stats"), from, event.position)
            .await
            .expect(WORKS);
        assert_eq!(cursor(&*store, "stats").await, event.position);
        from = event.position;
    }
    store
        .move_cursor(&reader("stats"), from, from)
        .await
        .expect(WORKS);
    assert_eq!(cursor(&*store, "stats").await, from);
    assert_eq!(cursor(&*store, "badges").await, LogPosition::START);
}

/// A reader that is elsewhere is not moved.
pub async fn a_reader_that_is_elsewhere_is_not_moved(store: Arc<dyn Store>) {
    let [first, second, third] = [0, 1, 2].map({
        let events = some_events(&*store, 3).await;
        move |at: usize| events[at].position
    });
    let stats = reader("stats");
    for from in [first, third] {
        let refused = store.move_cursor(&stats, from, third).await;
        let error = refused.expect_err("the reader never said anything");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
    store
        .move_cursor(&stats, LogPosition::START, second)
        .await
        .expect(WORKS);
    for from in [LogPosition::START, first, third] {
        let error = store
            .move_cursor(&stats, from, third)
            .await
            .expect_err("it is elsewhere");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert_eq!(cursor(&*store, "stats").await, second);
    }
}

/// Of many who move a reader at once from the same place, one succeeds.
pub async fn one_of_many_moves_of_a_reader_at_once_succeeds(store: Arc<dyn Store>) {
    let events = some_events(&*store, 16).await;
    let moves = events.iter().map(|event| {
        let (store, to) = (Arc::clone(&store), event.position);
        async move {
            (
                to,
                store
                    .move_cursor(&reader("stats"), LogPosition::START, to)
                    .await,
            )
        }
    });
    let mut moved = Vec::new();
    for (to, result) in all_at_once(moves).await {
        match result {
            Ok(()) => moved.push(to),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
        }
    }
    assert_eq!(moved, [cursor(&*store, "stats").await]);
}

/// A reader does not go back.
pub async fn a_reader_does_not_go_back(store: Arc<dyn Store>) {
    let events = some_events(&*store, 2).await;
    let (first, second) = (events[0].position, events[1].position);
    let stats = reader("stats");
    store
        .move_cursor(&stats, LogPosition::START, second)
        .await
        .expect(WORKS);
    for to in [first, LogPosition::START] {
        let error = store
            .move_cursor(&stats, second, to)
            .await
            .expect_err("it lies before");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(cursor(&*store, "stats").await, second);
    }
}

/// An event of everyone of each kind.
fn of_everyone() -> [EventBody; 3] {
    let correction = KeyCorrection {
        number: 1,
        case_id: sample_case(1).id,
        version: CaseVersion::FIRST,
        right: [1, 3].into_iter().collect(),
        corrected_in: CaseVersion::FIRST.next(),
        corrected_at: at(3),
    };
    [
        EventBody::CasesCalibrated {
            calibrations: (0..CALIBRATIONS_PER_EVENT_MAX as u32)
                .map(|n| calibration(n % 9))
                .collect(),
            calibrated_at: at(1),
        },
        EventBody::OutageDeclared {
            began_at: at(-60),
            ended_at: at(-1),
            declared_at: at(2),
        },
        EventBody::KeyCorrected { correction },
    ]
}

fn calibration(n: u32) -> CaseCalibration {
    CaseCalibration {
        case_id: sample_case(n).id,
        version: CaseVersion::FIRST,
        discrimination_millionths: 1_234_567,
        difficulty_millionths: -i64::from(n),
        answers: u64::from(n) << 33,
    }
}

/// Events of everyone are read as they were appended, in their order, among those of users.
pub async fn events_of_everyone_are_read_as_they_were_appended(store: Arc<dyn Store>) {
    let cases = publish_samples(&*store, 1).await;
    let user_id = student(&*store, 1).await;
    let [first, second, third] = of_everyone();
    let append = async |bodies| store.append_events(bodies).await.expect(WORKS);
    append(vec![first.clone(), second.clone()]).await;
    record(&*store, &sample_answer(user_id, &cases[0], at(1))).await;
    append(Vec::new()).await;
    append(vec![third.clone(), first.clone()]).await;
    let mut events = all_events(&*store).await;
    assert_in_order(&events);
    assert_eq!(answer_of(&events.remove(2)).user_id, user_id);
    let bodies: Vec<_> = events.iter().map(|event| event.body.clone()).collect();
    assert_eq!(bodies, [first.clone(), second, third, first]);
    for event in events {
        assert_eq!(event.user_id, UserId::EVERYONE);
        assert_eq!(event.bucket, Bucket::of(&UserId::EVERYONE));
    }
}

/// An event that is of one user, too long, or cannot be read is not appended, and none with it.
pub async fn an_event_that_is_not_of_everyone_is_refused(store: Arc<dyn Store>) {
    let case = &publish_samples(&*store, 1).await[0];
    let answer = sample_answer(student(&*store, 1).await, case, at(1));
    let [_, good, _] = of_everyone();
    let calibrations = (0..=CALIBRATIONS_PER_EVENT_MAX as u32).map(calibration);
    for bad in [
        EventBody::AnswerRecorded { answer },
        EventBody::SettingsChanged {
            settings: UserSettings::default(),
            changed_at: at(1),
        },
        EventBody::CasesCalibrated {
            calibrations: calibrations.collect(),
            calibrated_at: at(1),
        },
        EventBody::Unreadable {
            kind: "of_tomorrow".to_owned(),
            reason: "it is not known".to_owned(),
        },
    ] {
        let what = bad.kind().to_owned();
        let refused = store.append_events(vec![good.clone(), bad]).await;
        let error = refused.expect_err("it is not of everyone");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error}");
    }
    assert_eq!(all_events(&*store).await, []);
}

/// The events after a place are counted.
pub async fn events_after_a_place_are_counted(store: Arc<dyn Store>) {
    let count = async |after| store.count_events(after).await.expect(WORKS);
    assert_eq!(count(LogPosition::START).await, 0);
    let events = some_events(&*store, 7).await;
    assert_eq!(count(LogPosition::START).await, 7);
    for (left, event) in (0..7).rev().zip(&events) {
        assert_eq!(count(event.position).await, left);
    }
}

/// Who waits for events hears of those that this store wrote since it began to listen.
pub async fn who_waits_for_events_hears_of_them(store: Arc<dyn Store>) {
    let case = &publish_samples(&*store, 1).await[0];
    let user_id = student(&*store, 1).await;
    let mut hint = store.appended();
    record(&*store, &sample_answer(user_id, case, at(1))).await;
    hinted(&mut hint).await;
    let [_, outage, _] = of_everyone();
    store.append_events(vec![outage]).await.expect(WORKS);
    hinted(&mut hint).await;
    let settings = UserSettings::default();
    let updated = store.update_settings(user_id, settings, at(2)).await;
    updated.expect(WORKS);
    hinted(&mut hint).await;
    let correction = CaseCorrection {
        case_id: case.id,
        current: case.version,
        content: changed(0, |record| record.stem = "Corrected?".to_owned()),
        versions: vec![(case.version, [1].into_iter().collect())],
        jobs: Vec::new(),
        corrected_at: at(3),
    };
    store.correct_case(correction).await.expect(WORKS);
    hinted(&mut hint).await;
}
