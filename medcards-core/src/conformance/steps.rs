use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use tokio::sync::Barrier;

use crate::answer::{Answer, RecordedAnswer};
use crate::case::{Case, CaseContent, CaseQuery, CaseRecord};
use crate::event::{Event, LogPosition};
use crate::id::{CaseId, UserId};
use crate::store::{Consistency, Hint, Page, PageCursor, PageLimit, Store};
use crate::testing::{SAMPLE_START, sample_answer, sample_content, sample_record, sample_user_id};
use crate::user::{User, UserKind};
use crate::{ErrorKind, Result};

/// What a check expects of every call that its promise does not say may fail.
pub(super) const WORKS: &str = "a healthy backend does as it is asked";

/// The number of the sample user, and case, whose answer marks the end of a log.
const LAST_STUDENT: u32 = u32::MAX;

/// The most pages of a walk: far more than any check has items, so that a walk in circles ends.
const PAGES_MAX: usize = 2_000;

/// How long a log may take to show what was committed: another transaction may hold it back.
const EVENTS_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long to wait before events are looked for again: a log may show them late, not never.
const EVENTS_POLL: Duration = Duration::from_millis(5);

/// How long a hint of what the store itself did may take.
const HINT_WAIT_MAX: Duration = Duration::from_secs(5);

/// That many seconds into the samples.
pub(super) fn at(seconds: i64) -> Timestamp {
    SAMPLE_START + seconds.seconds()
}

pub(super) fn limit(items: u32) -> PageLimit {
    PageLimit::new(items).expect("a check takes a limit that exists")
}

/// Makes sure of the `n`th sample user.
pub(super) async fn student(store: &dyn Store, n: u32) -> UserId {
    let user = User::new(sample_user_id(n), UserKind::Guest, SAMPLE_START);
    store.ensure_user(user).await.expect(WORKS).id
}

/// Makes content of the `n`th sample record after changing it.
pub(super) fn changed(n: u32, change: impl FnOnce(&mut CaseRecord)) -> CaseContent {
    let mut record = sample_record(n);
    change(&mut record);
    record
        .try_into()
        .expect("a check publishes well-formed content")
}

/// Publishes contents at an instant, and returns their cases.
pub(super) async fn publish_at(
    store: &dyn Store,
    contents: Vec<CaseContent>,
    now: Timestamp,
) -> Vec<Arc<Case>> {
    let mut cases = Vec::with_capacity(contents.len());
    for publication in store.publish(contents, now).await.expect(WORKS) {
        cases.push(case(store, publication.case_id).await);
    }
    cases
}

/// Publishes contents, and returns their cases.
pub(super) async fn publish(store: &dyn Store, contents: Vec<CaseContent>) -> Vec<Arc<Case>> {
    publish_at(store, contents, SAMPLE_START).await
}

/// Publishes the first `count` sample cases.
pub(super) async fn publish_samples(store: &dyn Store, count: u32) -> Vec<Arc<Case>> {
    publish(store, (0..count).map(sample_content).collect()).await
}

/// The current version of a case that must be there.
pub(super) async fn case(store: &dyn Store, case_id: CaseId) -> Arc<Case> {
    store
        .find_case(case_id, None)
        .await
        .expect(WORKS)
        .expect("a published case is found")
}

/// Records an answer, whose instant must be that of its id: a store may refuse another.
pub(super) async fn record(store: &dyn Store, answer: &Answer) -> RecordedAnswer {
    assert_eq!(Some(answer.created_at), answer.id.instant());
    store.record_answer(answer.clone()).await.expect(WORKS)
}

/// All answers of a user, by walking pages of this limit.
pub(super) async fn answers_of(
    store: &dyn Store,
    user_id: UserId,
    limit: PageLimit,
) -> Vec<Answer> {
    walk(limit, |after| async move {
        store
            .list_answers(user_id, after.as_ref(), limit, &Consistency::Strong)
            .await
    })
    .await
}

/// The ids of all cases of a query, by walking its pages.
pub(super) async fn case_ids(store: &dyn Store, query: &CaseQuery) -> Vec<CaseId> {
    let cases = walk(query.limit, |after| async move {
        store
            .list_cases(&CaseQuery {
                after,
                ..query.clone()
            })
            .await
    });
    cases.await.iter().map(|case| case.id).collect()
}

/// Walks all pages of a list.
pub(super) async fn walk<T, F>(limit: PageLimit, next: impl Fn(Option<PageCursor>) -> F) -> Vec<T>
where
    F: Future<Output = Result<Page<T>>>,
{
    let mut items = Vec::new();
    let mut after = None;
    for _ in 0..PAGES_MAX {
        let is_first = after.is_none();
        let page = next(after).await.expect(WORKS);
        assert!(
            page.items.len() <= limit.get(),
            "a page holds no more than was asked for"
        );
        assert!(
            is_first || !page.items.is_empty(),
            "a cursor leads to a page with items"
        );
        items.extend(page.items);
        after = page.next;
        if after.is_none() {
            return items;
        }
    }
    panic!("the walk did not end after {PAGES_MAX} pages");
}

/// Asserts that a list refuses each of these cursors.
pub(super) async fn assert_refused<T, F>(cursors: Vec<PageCursor>, list: impl Fn(PageCursor) -> F)
where
    F: Future<Output = Result<Page<T>>>,
{
    for cursor in cursors {
        let text = cursor.to_string();
        match list(cursor).await {
            Ok(_) => panic!("the list took {text:?}, a cursor that it did not give"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Invalid, "{text:?}: {error}"),
        }
    }
}

/// Cursors that look like some and that nobody gave, with those of other lists.
pub(super) fn foreign_cursors(of_other_lists: Vec<Option<PageCursor>>) -> Vec<PageCursor> {
    let longest = "z".repeat(PageCursor::LEN_MAX);
    let id = sample_user_id(1).to_string();
    let texts = ["0", "1", "-1", "~", "AAAA", "bm9uc2Vuc2U", &id, &longest].map(PageCursor::parse);
    let made_up = texts.map(|cursor| cursor.expect("a cursor may have these characters"));
    let of_other_lists = of_other_lists
        .into_iter()
        .map(|cursor| cursor.expect("there is more"));
    of_other_lists.chain(made_up).collect()
}

/// Makes all the calls at once, each on a task of its own.
pub(super) async fn all_at_once<T, F>(calls: impl IntoIterator<Item = F>) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let calls: Vec<F> = calls.into_iter().collect();
    let start = Arc::new(Barrier::new(calls.len()));
    let begin = |call: F| {
        let start = Arc::clone(&start);
        tokio::spawn(async move {
            start.wait().await;
            call.await
        })
    };
    let tasks: Vec<_> = calls.into_iter().map(begin).collect();
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(joined(task).await);
    }
    results
}

/// Waits for a task, and panics as it did.
pub(super) async fn joined<T>(task: tokio::task::JoinHandle<T>) -> T {
    match task.await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Reads the log after a place, in parts of `limit`, until it has shown `count` events or more.
pub(super) async fn events_after(
    store: &dyn Store,
    mut after: LogPosition,
    count: usize,
    limit: usize,
) -> Vec<Event> {
    let mut events = Vec::new();
    let mut waited = Duration::ZERO;
    while events.len() < count {
        let more = store.read_events(after, limit).await.expect(WORKS);
        assert!(
            more.len() <= limit,
            "a read returns no more than was asked for"
        );
        match more.last() {
            Some(last) => after = last.position,
            None => {
                let shown = events.len();
                assert!(
                    waited < EVENTS_WAIT_MAX,
                    "the log shows {shown} events of {count}"
                );
                tokio::time::sleep(EVENTS_POLL).await;
                waited += EVENTS_POLL;
            }
        }
        events.extend(more);
    }
    events
}

/// Waits for a hint that was given. A store that is busy may give it late, and not never.
pub(super) async fn hinted(hint: &mut Hint) {
    let patience = Duration::from_secs(3_600);
    let waited = tokio::time::timeout(HINT_WAIT_MAX, hint.wait(patience)).await;
    assert!(matches!(waited, Ok(())), "who waits hears of it");
}

/// All events from the start, up to the one of an answer that is recorded now.
pub(super) async fn all_events(store: &dyn Store) -> Vec<Event> {
    end_log(store).await;
    events_until_end(store, 100).await
}

/// Records an answer that [`events_until_end`] knows: what was committed before is shown before.
pub(super) async fn end_log(store: &dyn Store) {
    let user_id = student(store, LAST_STUDENT).await;
    let case = &publish(store, vec![sample_content(LAST_STUDENT)]).await[0];
    record(store, &sample_answer(user_id, case, at(-1))).await;
}

/// Reads the log from the start, in parts of `limit`, until it shows what [`end_log`] recorded.
pub(super) async fn events_until_end(store: &dyn Store, limit: usize) -> Vec<Event> {
    let last = sample_user_id(LAST_STUDENT);
    let mut events: Vec<Event> = Vec::new();
    while !events.iter().any(|event| event.user_id == last) {
        let after = events
            .last()
            .map_or(LogPosition::START, |event| event.position);
        events.extend(events_after(store, after, 1, limit).await);
    }
    events.retain(|event| event.user_id != last);
    events
}
