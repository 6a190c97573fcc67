//! Checks of [`ViewStore`], of a store that also keeps the log, jobs and notices.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::notices::{all_notices, notice};
use super::steps::{WORKS, all_at_once, at, events_after};
use super::whole::WholeStore;
use crate::ErrorKind;
use crate::event::{EventBody, LogPosition};
use crate::id::UserId;
use crate::job::{JobKind, JobQueue, NewJob};
use crate::notice::{NewNotice, NoticeBody};
use crate::store::Consistency;
use crate::testing::sample_user_id;
use crate::view::{
    Announced, Award, Committed, EditionNumber, EditionOf, EditionState, ITEM_LEN_MAX, Item,
    NewAward, Placement, ROWS_PER_CALL_MAX, RowKey, RowWrite, Runner, SET_ASIDE_KEPT_MAX, SetAside,
    ShelfQuery, StoredRow, ViewCommit, ViewName, ViewState, ViewStore,
};

/// How long a lead of a check lasts.
const LEASE: Duration = Duration::from_secs(60);

/// What all reads of the checks ask for.
const STRONG: Consistency = Consistency::Strong;

/// The most sweeps until nothing is left: far more than any check has rows.
const SWEEPS_MAX: usize = 100;

fn named(name: &str) -> ViewName {
    ViewName::new(name).expect("a check uses names that exist")
}

/// The view of most checks.
fn stats() -> ViewName {
    named("stats")
}

fn runner(n: u32) -> Runner {
    Runner::new(*sample_user_id(n).as_uuid())
}

fn owner(n: u32) -> Uuid {
    *sample_user_id(n).as_uuid()
}

fn item(bytes: impl AsRef<[u8]>) -> Item {
    Item::from_bytes(bytes.as_ref()).expect("a check uses items that exist")
}

fn key(n: u32, bytes: impl AsRef<[u8]>) -> RowKey {
    RowKey::new(owner(n), item(bytes))
}

/// A row of this name, which says so.
fn row(n: u32, name: &str, place: Option<i64>) -> StoredRow {
    StoredRow {
        key: key(n, name),
        place,
        bytes: name.as_bytes().to_vec(),
    }
}

fn put(row: StoredRow) -> RowWrite {
    RowWrite::Put(row)
}

/// The places of some events in the log, the first one first.
async fn places(store: &dyn WholeStore, count: usize) -> Vec<LogPosition> {
    let outage = EventBody::OutageDeclared {
        began_at: at(0),
        ended_at: at(1),
        declared_at: at(2),
    };
    let before = store.count_events(LogPosition::START).await.expect(WORKS);
    assert_eq!(before, 0, "a check counts its events once");
    store.append_events(vec![outage; count]).await.expect(WORKS);
    let events = events_after(store, LogPosition::START, count, 100).await;
    events.iter().map(|event| event.position).collect()
}

async fn find(store: &dyn ViewStore, name: &ViewName) -> ViewState {
    store.view(name).await.expect(WORKS)
}

/// Begins the next edition of a view, of this version.
async fn begin(store: &dyn ViewStore, name: &ViewName, version: u64) -> EditionNumber {
    let begun = store.begin_edition(name, version, 0, at(0)).await;
    begun.expect(WORKS).next.expect("it was begun").number
}

async fn lead(store: &dyn ViewStore, name: &ViewName, n: u32, seconds: i64) -> bool {
    let leads = store.take_lead(name, runner(n), at(seconds), LEASE).await;
    leads.expect(WORKS)
}

/// Begins the first edition of the view of most checks, and has the first runner lead.
async fn begin_stats(store: &dyn ViewStore) -> EditionNumber {
    let number = begin(store, &stats(), 1).await;
    assert!(lead(store, &stats(), 1, 0).await);
    number
}

/// A commit of the first runner which changes nothing.
fn nothing(edition: EditionNumber, from: LogPosition, to: LogPosition) -> ViewCommit {
    ViewCommit {
        view: stats(),
        edition,
        runner: runner(1),
        from,
        to,
        rows: Vec::new(),
        announced: Vec::new(),
        awards: Vec::new(),
        set_aside: Vec::new(),
    }
}

async fn commit(store: &dyn ViewStore, commit: ViewCommit) {
    let committed = store.commit(commit).await.expect(WORKS);
    assert_eq!(committed, Committed::Done);
}

/// Writes rows where the edition stands, before the first event.
async fn write(store: &dyn ViewStore, edition: EditionNumber, rows: Vec<RowWrite>) {
    let start = LogPosition::START;
    let with_rows = ViewCommit {
        rows,
        ..nothing(edition, start, start)
    };
    commit(store, with_rows).await;
}

/// All rows of some owners.
async fn rows_of(store: &dyn ViewStore, edition: &EditionOf, owners: &[u32]) -> Vec<StoredRow> {
    let mut rows = Vec::new();
    for n in owners {
        let listed = store.list_rows(edition, owner(*n), None, 1_000, &STRONG);
        rows.extend(listed.await.expect(WORKS));
    }
    rows
}

/// The items of what a shelf gives, as text.
async fn shelf(store: &dyn ViewStore, edition: &EditionOf, query: ShelfQuery) -> Vec<String> {
    let rows = store.list_shelf(edition, &query, &STRONG).await;
    names(&rows.expect(WORKS))
}

fn names(rows: &[StoredRow]) -> Vec<String> {
    let name = |row: &StoredRow| String::from_utf8_lossy(row.key.item.as_bytes()).into_owned();
    rows.iter().map(name).collect()
}

fn award(n: u32, badge: &str, seconds: i64) -> NewAward {
    NewAward {
        user_id: sample_user_id(n),
        badge: badge.to_owned(),
        at: at(seconds),
        job: None,
    }
}

async fn awards(store: &dyn ViewStore, n: u32) -> Vec<Award> {
    let listed = store.list_awards(sample_user_id(n), &STRONG).await;
    listed.expect(WORKS)
}

/// A job of these checks, due at once.
fn job(payload: &str) -> NewJob {
    let kind = JobKind::new("follow").expect("the name is plain");
    NewJob::new(kind, payload, at(0))
}

/// Tells the `n`th sample user of what an event did.
fn announced(n: u32, text: &str) -> Announced {
    let NewNotice { user_id, at, body } = notice(sample_user_id(n), text);
    Announced::Notice { user_id, at, body }
}

/// The payloads of the jobs that were enqueued since the last look, sorted.
async fn new_jobs(queue: &dyn JobQueue) -> Vec<String> {
    let kinds = [job("").kind];
    let lease = Duration::from_secs(100_000_000);
    let claimed = queue.claim(&kinds, 1_000, at(1_000), lease).await;
    let claimed = claimed.expect(WORKS);
    let mut payloads: Vec<_> = claimed.into_iter().map(|job| job.payload).collect();
    payloads.sort();
    payloads
}

/// The badges, or other texts, that users were told of, in order.
async fn told(store: &Arc<dyn WholeStore>) -> Vec<(UserId, String)> {
    let notices = all_notices(store).await.into_iter();
    let told = notices.map(|it| match it.body {
        NoticeBody::Badge { badge } => (it.user_id, badge),
        other => panic!("nobody wrote a notice of {}", other.kind()),
    });
    told.collect()
}

fn set_aside(position: LogPosition, reason: &str) -> SetAside {
    SetAside {
        position,
        kind: "outage_declared".to_owned(),
        reason: reason.to_owned(),
    }
}

async fn assert_invalid(store: &dyn ViewStore, what: &str, commit: ViewCommit) {
    let error = store.commit(commit).await.expect_err(what);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error}");
}

/// A view that nobody began has no edition, no rows and no leader, and is not listed.
pub async fn a_view_that_nobody_began_is_empty(store: Arc<dyn WholeStore>) {
    places(&*store, 2).await;
    let unknown = ViewState {
        name: stats(),
        current: None,
        next: None,
        announced: LogPosition::START,
        lead: None,
    };
    assert_eq!(find(&*store, &stats()).await, unknown);
    assert_eq!(store.list_views().await.expect(WORKS), []);
    for edition in [
        EditionOf::Current(stats()),
        EditionOf::Number(EditionNumber::new(1)),
    ] {
        let keys = [key(1, "a")];
        let found = store.find_rows(&edition, &keys, &STRONG).await;
        assert_eq!(found.expect(WORKS), []);
        assert_eq!(rows_of(&*store, &edition, &[1]).await, []);
        let query = ShelfQuery::new(owner(1), 10);
        assert_eq!(shelf(&*store, &edition, query).await, [""; 0]);
    }
    assert_eq!(awards(&*store, 1).await, []);
    let switched = store.switch(&stats(), EditionNumber::new(1)).await;
    assert!(!switched.expect(WORKS));
    let given_up = store.give_up_lead(&stats(), runner(1)).await;
    given_up.expect(WORKS);
    let error = store.take_lead(&stats(), runner(1), at(0), LEASE).await;
    let error = error.expect_err("there is nothing to lead");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(find(&*store, &stats()).await, unknown);
}

/// A view that is new has announced what the log has, and its edition stands before the first event.
pub async fn a_new_view_has_announced_what_the_log_has(store: Arc<dyn WholeStore>) {
    let places = places(&*store, 3).await;
    let begun = store.begin_edition(&stats(), 7, 2, at(5)).await;
    let begun = begun.expect(WORKS);
    let next = begun.next.expect("it was begun");
    let expected = EditionState {
        number: next.number,
        version: 7,
        corrections: 2,
        position: LogPosition::START,
        set_aside: 0,
        begun_at: at(5),
    };
    assert_eq!(next, expected);
    assert_eq!(begun.announced, places[2]);
    assert_eq!((begun.current, begun.lead), (None, None));
    assert_eq!(begun.name, stats());
    assert_eq!(find(&*store, &stats()).await, begun);
    let current = EditionOf::Current(stats());
    assert_eq!(rows_of(&*store, &current, &[1]).await, []);
}

/// Beginning the edition that is being built changes nothing.
pub async fn an_edition_begun_again_stays_as_it_is(store: Arc<dyn WholeStore>) {
    let places = places(&*store, 2).await;
    let number = begin_stats(&*store).await;
    let with_rows = ViewCommit {
        rows: vec![put(row(1, "a", None))],
        ..nothing(number, LogPosition::START, places[0])
    };
    commit(&*store, with_rows).await;
    let before = find(&*store, &stats()).await;
    let again = store.begin_edition(&stats(), 1, 0, at(500)).await;
    assert_eq!(again.expect(WORKS), before);
    assert_eq!(find(&*store, &stats()).await, before);
    let edition = EditionOf::Number(number);
    assert_eq!(rows_of(&*store, &edition, &[1]).await, [row(1, "a", None)]);
}

/// Beginning an edition of another version, or with more corrections, gives up the one being built.
pub async fn an_edition_of_other_rules_gives_up_the_next_one(store: Arc<dyn WholeStore>) {
    let places = places(&*store, 2).await;
    let mut old = begin_stats(&*store).await;
    for (version, corrections) in [(2, 0), (2, 1), (1, 1)] {
        write(&*store, old, vec![put(row(1, "a", None))]).await;
        commit(&*store, nothing(old, LogPosition::START, places[0])).await;
        let begun = store
            .begin_edition(&stats(), version, corrections, at(9))
            .await;
        let next = begun.expect(WORKS).next.expect("it was begun");
        assert_ne!(next.number, old);
        assert_eq!((next.version, next.corrections), (version, corrections));
        assert_eq!(next.position, LogPosition::START);
        let late = store.commit(nothing(old, places[0], places[1])).await;
        assert_eq!(late.expect(WORKS), Committed::Gone);
        for edition in [old, next.number].map(EditionOf::Number) {
            assert_eq!(rows_of(&*store, &edition, &[1]).await, []);
        }
        old = next.number;
    }
}

/// Of many who begin the same edition at once, all get the same.
pub async fn an_edition_begun_by_many_at_once_is_one(store: Arc<dyn WholeStore>) {
    let beginning = (0..8).map(|_| {
        let store = Arc::clone(&store);
        async move { begin(&*store, &stats(), 1).await }
    });
    let numbers: HashSet<_> = all_at_once(beginning).await.into_iter().collect();
    assert_eq!(numbers.len(), 1);
}

/// All views are listed in the order of their names, each with its own editions and rows.
pub async fn views_are_listed_and_kept_apart(store: Arc<dyn WholeStore>) {
    let names = ["b", "a-b", "c", "a", "a1"];
    let mut numbers = BTreeMap::new();
    for name in names {
        let view = named(name);
        let edition = begin(&*store, &view, 1).await;
        assert!(lead(&*store, &view, 1, 0).await);
        let rows = vec![put(row(1, name, None))];
        let start = LogPosition::START;
        let with_rows = ViewCommit {
            view: view.clone(),
            rows,
            ..nothing(edition, start, start)
        };
        commit(&*store, with_rows).await;
        numbers.insert(view, edition);
    }
    let distinct: HashSet<_> = numbers.values().collect();
    assert_eq!(distinct.len(), names.len(), "no two share a number");
    let listed = store.list_views().await.expect(WORKS);
    let of = |view: &ViewState| (view.name.clone(), view.next.expect("it was begun").number);
    let wanted: Vec<_> = numbers.clone().into_iter().collect();
    assert_eq!(listed.iter().map(of).collect::<Vec<_>>(), wanted);
    for (view, number) in numbers {
        let edition = EditionOf::Number(number);
        let own = [row(1, view.as_str(), None)];
        assert_eq!(rows_of(&*store, &edition, &[1]).await, own);
        assert!(store.switch(&view, number).await.expect(WORKS));
        let current = EditionOf::Current(view);
        assert_eq!(rows_of(&*store, &current, &[1]).await, own);
    }
}

/// One runner leads until its lease has ended, however often others ask; it may go on.
pub async fn one_runner_leads_until_its_lease_has_ended(store: Arc<dyn WholeStore>) {
    begin(&*store, &stats(), 1).await;
    assert!(lead(&*store, &stats(), 1, 0).await);
    let leader = async || find(&*store, &stats()).await.lead;
    assert_eq!(leader().await, Some((runner(1), at(60))));
    assert!(!lead(&*store, &stats(), 2, 30).await);
    assert!(lead(&*store, &stats(), 1, 30).await);
    assert_eq!(leader().await, Some((runner(1), at(90))));
    assert!(!lead(&*store, &stats(), 2, 90).await, "it has just ended");
    assert!(lead(&*store, &stats(), 2, 91).await);
    assert_eq!(leader().await, Some((runner(2), at(151))));
    assert!(!lead(&*store, &stats(), 1, 100).await);
}

/// A lead that is given up is free at once; nobody gives up that of another.
pub async fn a_lead_given_up_is_free(store: Arc<dyn WholeStore>) {
    begin(&*store, &stats(), 1).await;
    assert!(lead(&*store, &stats(), 1, 0).await);
    let give_up = async |n| {
        let given_up = store.give_up_lead(&stats(), runner(n)).await;
        given_up.expect(WORKS);
    };
    give_up(2).await;
    assert!(!lead(&*store, &stats(), 2, 1).await);
    give_up(1).await;
    assert_eq!(find(&*store, &stats()).await.lead, None);
    assert!(lead(&*store, &stats(), 2, 1).await);
}

/// Of many who take a lead at once, one has it.
pub async fn one_of_many_takes_the_lead(store: Arc<dyn WholeStore>) {
    begin(&*store, &stats(), 1).await;
    let taking = (0..8).map(|n| {
        let store = Arc::clone(&store);
        async move { (n, lead(&*store, &stats(), n, 0).await) }
    });
    let taken = all_at_once(taking).await;
    let leaders: Vec<_> = taken.into_iter().filter(|(_, leads)| *leads).collect();
    assert_eq!(leaders.len(), 1);
    let lead = find(&*store, &stats()).await.lead;
    assert_eq!(lead, Some((runner(leaders[0].0), at(60))));
}

/// Rows are found as they were committed, whatever bytes they and their names have.
pub async fn rows_are_found_as_they_were_committed(store: Arc<dyn WholeStore>) {
    let edition = begin_stats(&*store).await;
    let longest = [0xff; ITEM_LEN_MAX];
    let items: [&[u8]; 8] = [
        b"",
        b"\0",
        b"\0\0",
        b"a",
        b"a\0",
        b"\x80\xfe\xff",
        &longest[..ITEM_LEN_MAX - 1],
        &longest,
    ];
    let placed = [None, Some(0), Some(-1), Some(i64::MIN), Some(i64::MAX)];
    let all_bytes: Vec<u8> = (0..=u8::MAX).collect();
    let bytes = [Vec::new(), vec![0], all_bytes.repeat(100)];
    let rows: Vec<_> = (0..)
        .zip(items)
        .map(|(n, item): (usize, _)| StoredRow {
            key: key(n as u32 % 2, item),
            place: placed[n % placed.len()],
            bytes: bytes[n % bytes.len()].clone(),
        })
        .collect();
    let of_view = StoredRow {
        key: RowKey::of_view(Item::NONE),
        place: Some(1),
        bytes: vec![1],
    };
    let rows = [rows, vec![of_view]].concat();
    write(&*store, edition, rows.iter().cloned().map(put).collect()).await;
    let edition = EditionOf::Number(edition);
    for row in &rows {
        let found = store.find_rows(&edition, &[row.key], &STRONG).await;
        let found = found.expect(WORKS);
        assert_eq!(found, std::slice::from_ref(row), "{:?}", row.key);
    }
    let missing = [key(7, ""), key(0, "b"), key(1, "")];
    let mut keys: Vec<_> = rows.iter().map(|row| row.key).collect();
    keys.extend(missing);
    let found = store.find_rows(&edition, &keys, &STRONG).await;
    let mut found = found.expect(WORKS);
    found.sort_by_key(|row| row.key);
    let mut wanted = rows;
    wanted.sort_by_key(|row| row.key);
    assert_eq!(found, wanted);
    let found = store.find_rows(&edition, &missing, &STRONG).await;
    assert_eq!(found.expect(WORKS), []);
    let found = store.find_rows(&edition, &[], &STRONG).await;
    assert_eq!(found.expect(WORKS), []);
}

/// A row that is put again is replaced whole, and one that is removed is gone.
pub async fn rows_are_replaced_and_removed(store: Arc<dyn WholeStore>) {
    let number = begin_stats(&*store).await;
    let edition = EditionOf::Number(number);
    let first = ["a", "b", "c", "d"].map(|name| put(row(1, name, Some(1))));
    write(&*store, number, first.to_vec()).await;
    let replaced = StoredRow {
        bytes: vec![9],
        ..row(1, "a", Some(5))
    };
    let without_place = row(1, "c", None);
    let changes = vec![
        put(replaced.clone()),
        RowWrite::Remove(key(1, "b")),
        put(without_place.clone()),
        RowWrite::Remove(key(1, "never there")),
        RowWrite::Remove(key(2, "a")),
    ];
    write(&*store, number, changes).await;
    let wanted = [replaced, without_place, row(1, "d", Some(1))];
    assert_eq!(rows_of(&*store, &edition, &[1]).await, wanted);
    let query = ShelfQuery::new(owner(1), 10);
    assert_eq!(shelf(&*store, &edition, query).await, ["d", "a"]);
    write(&*store, number, vec![put(row(1, "b", None))]).await;
    let found = store.find_rows(&edition, &[key(1, "b")], &STRONG).await;
    assert_eq!(found.expect(WORKS), [row(1, "b", None)]);
}

/// As many rows as are allowed are written at once, found at once, and listed at once; no more are.
pub async fn as_many_rows_as_allowed_are_written_at_once(store: Arc<dyn WholeStore>) {
    let number = begin_stats(&*store).await;
    let edition = EditionOf::Number(number);
    let many = |count: u32| -> Vec<StoredRow> {
        (0..count)
            .map(|n| StoredRow {
                key: key(1, n.to_be_bytes()),
                place: Some(i64::from(n)),
                bytes: n.to_string().into_bytes(),
            })
            .collect()
    };
    let most = many(ROWS_PER_CALL_MAX as u32);
    let puts: Vec<_> = most.iter().cloned().map(put).collect();
    write(&*store, number, puts.clone()).await;
    let mut keys: Vec<_> = most.iter().map(|row| row.key).collect();
    let found = store.find_rows(&edition, &keys, &STRONG).await;
    let mut found = found.expect(WORKS);
    found.sort_by_key(|row| row.key);
    assert!(found == most, "all rows are found");
    let one_more = row(1, "one more", Some(i64::MAX));
    write(&*store, number, vec![put(one_more.clone())]).await;
    let (all, none) = (usize::MAX, None);
    let listed = store.list_rows(&edition, owner(1), none, all, &STRONG);
    assert!(listed.await.expect(WORKS) == most, "a list is bounded");
    let query = ShelfQuery::new(owner(1), all);
    let listed = store.list_shelf(&edition, &query, &STRONG).await;
    assert!(listed.expect(WORKS) == most, "a shelf is bounded");

    keys.push(one_more.key);
    let refused = store.find_rows(&edition, &keys, &STRONG).await;
    let error = refused.expect_err("it asks for too many");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let start = LogPosition::START;
    let too_many = ViewCommit {
        rows: [puts, vec![RowWrite::Remove(one_more.key)]].concat(),
        ..nothing(number, start, start)
    };
    assert_invalid(&*store, "it writes too many", too_many).await;
    let removes = most.iter().map(|row| RowWrite::Remove(row.key));
    write(&*store, number, removes.collect()).await;
    assert_eq!(rows_of(&*store, &edition, &[1]).await, [one_more]);
}

/// A commit counts only from where the edition stands, and moves it; any other writes nothing and is
/// told where that is.
pub async fn a_commit_counts_from_where_the_edition_stands(store: Arc<dyn WholeStore>) {
    let number = begin_stats(&*store).await;
    let places = places(&*store, 4).await;
    let whole = |from, to, name: &str| ViewCommit {
        rows: vec![put(row(1, name, None))],
        announced: vec![(to, announced(1, name)), (to, Announced::Job(job(name)))],
        awards: vec![award(1, name, 0)],
        set_aside: vec![set_aside(to, name)],
        ..nothing(number, from, to)
    };
    let start = LogPosition::START;
    let position = async || {
        let state = find(&*store, &stats()).await;
        let next = state.next.expect("it is being built");
        (next.position, next.set_aside, state.announced)
    };
    let elsewhere = store.commit(whole(places[0], places[1], "early")).await;
    assert_eq!(elsewhere.expect(WORKS), Committed::Elsewhere(start));
    assert_eq!(position().await, (start, 0, start));
    commit(&*store, whole(start, places[1], "first")).await;
    assert_eq!(position().await, (places[1], 1, places[1]));
    for (from, to) in [
        (start, places[2]),
        (places[0], places[2]),
        (places[2], places[3]),
    ] {
        let elsewhere = store.commit(whole(from, to, "late")).await;
        assert_eq!(elsewhere.expect(WORKS), Committed::Elsewhere(places[1]));
    }
    commit(&*store, whole(places[1], places[2], "second")).await;
    assert_eq!(position().await, (places[2], 2, places[2]));
    let edition = EditionOf::Number(number);
    let rows = ["first", "second"].map(|name| row(1, name, None));
    assert_eq!(rows_of(&*store, &edition, &[1]).await, rows);
    assert_eq!(new_jobs(&*store).await, ["first", "second"]);
    let texts: Vec<_> = told(&store).await.into_iter().map(|it| it.1).collect();
    assert_eq!(texts, ["first", "first", "second", "second"]);
    let badges: Vec<_> = awards(&*store, 1).await;
    let badges: HashSet<_> = badges.into_iter().map(|it| it.badge).collect();
    assert_eq!(badges, ["first", "second"].map(str::to_owned).into());
    let reasons = store.list_set_aside(number, 10).await.expect(WORKS);
    let reasons: Vec<_> = reasons.into_iter().map(|it| it.reason).collect();
    assert_eq!(reasons, ["second", "first"]);
}

/// Of many who commit from the same place at once, one counts.
pub async fn one_of_many_commits_at_once_counts(store: Arc<dyn WholeStore>) {
    let number = begin_stats(&*store).await;
    let places = places(&*store, 8).await;
    let committing = places.clone().into_iter().enumerate().map(|(n, to)| {
        let store = Arc::clone(&store);
        async move {
            let name = n.to_string();
            let mine = ViewCommit {
                rows: vec![put(row(1, &name, None)), put(row(2, "all", Some(n as i64)))],
                announced: vec![(to, Announced::Job(job(&name)))],
                ..nothing(number, LogPosition::START, to)
            };
            (n, store.commit(mine).await.expect(WORKS))
        }
    });
    let committed = all_at_once(committing).await;
    let (done, others): (Vec<_>, Vec<_>) = committed
        .into_iter()
        .partition(|(_, it)| *it == Committed::Done);
    assert_eq!(done.len(), 1, "one counts");
    let n = done[0].0;
    for (_, other) in others {
        assert_eq!(other, Committed::Elsewhere(places[n]));
    }
    let name = n.to_string();
    let wanted = [row(1, &name, None), row(2, "all", Some(n as i64))];
    let edition = EditionOf::Number(number);
    assert_eq!(rows_of(&*store, &edition, &[1, 2]).await, wanted);
    assert_eq!(new_jobs(&*store).await, [name]);
}

/// Only who leads commits, also after its lease has ended, until another leads.
pub async fn only_who_leads_commits(store: Arc<dyn WholeStore>) {
    let number = begin(&*store, &stats(), 1).await;
    let places = places(&*store, 3).await;
    let start = LogPosition::START;
    let mine = |from, to| ViewCommit {
        rows: vec![put(row(1, "mine", None))],
        ..nothing(number, from, to)
    };
    let committed = async |it| store.commit(it).await.expect(WORKS);
    let nobody = committed(mine(start, places[0])).await;
    assert_eq!(nobody, Committed::NotLeading);
    // A lease of long ago, by whatever clock.
    let long_ago = Timestamp::UNIX_EPOCH;
    let leads = store.take_lead(&stats(), runner(1), long_ago, LEASE).await;
    assert!(leads.expect(WORKS));
    assert_eq!(committed(mine(start, places[0])).await, Committed::Done);
    assert!(lead(&*store, &stats(), 2, 0).await);
    let late = committed(mine(places[0], places[1])).await;
    assert_eq!(late, Committed::NotLeading);
    let of_leader = ViewCommit {
        runner: runner(2),
        ..nothing(number, places[0], places[1])
    };
    assert_eq!(committed(of_leader).await, Committed::Done);
    let position = find(&*store, &stats()).await.next.map(|it| it.position);
    assert_eq!(position, Some(places[1]));
}

/// A commit to an edition that is not there, or of another view, is told so.
pub async fn a_commit_to_no_edition_is_told_so(store: Arc<dyn WholeStore>) {
    let number = begin_stats(&*store).await;
    let start = LogPosition::START;
    let other = named("other");
    begin(&*store, &other, 1).await;
    assert!(lead(&*store, &other, 1, 0).await);
    let unknown = EditionNumber::new(number.get() + 1_000);
    for gone in [
        nothing(unknown, start, start),
        ViewCommit {
            view: other,
            ..nothing(number, start, start)
        },
        ViewCommit {
            view: named("unknown"),
            ..nothing(number, start, start)
        },
    ] {
        let committed = store.commit(gone).await.expect(WORKS);
        assert_eq!(committed, Committed::Gone);
    }
}

/// A commit that cannot be written is refused, and nothing of it is written.
pub async fn a_commit_that_cannot_be_written_is_refused_whole(store: Arc<dyn WholeStore>) {
    let number = begin_stats(&*store).await;
    let places = places(&*store, 2).await;
    commit(&*store, nothing(number, LogPosition::START, places[0])).await;
    let good = || ViewCommit {
        rows: vec![put(row(1, "a", None))],
        announced: vec![(places[1], announced(1, "a"))],
        awards: vec![award(1, "a", 0)],
        set_aside: vec![set_aside(places[1], "a")],
        ..nothing(number, places[0], places[1])
    };
    let mut bad_job = good();
    let nul = Announced::Job(job("\0"));
    bad_job.announced.push((places[1], nul));
    let mut bad_award = good();
    bad_award.awards.push(NewAward {
        job: Some(job("x").in_order_of_user()),
        ..award(1, "b", 0)
    });
    let backwards = ViewCommit {
        to: LogPosition::START,
        ..good()
    };
    for (what, bad) in [
        ("a job with a NUL", bad_job),
        ("a job in the order of nobody", bad_award),
        ("it goes back", backwards),
    ] {
        assert_invalid(&*store, what, bad).await;
    }
    let state = find(&*store, &stats()).await;
    let next = state.next.expect("it is being built");
    assert_eq!((next.position, next.set_aside), (places[0], 0));
    assert_eq!(state.announced, places[0]);
    let edition = EditionOf::Number(number);
    assert_eq!(rows_of(&*store, &edition, &[1]).await, []);
    assert_eq!(awards(&*store, 1).await, []);
    assert_eq!(told(&store).await, []);
    assert_eq!(new_jobs(&*store).await, [""; 0]);
    commit(&*store, good()).await;
}

/// What events do is done once for each, whichever edition comes to them first, and not at all for
/// those of before the view was new.
pub async fn an_event_is_announced_once(store: Arc<dyn WholeStore>) {
    // The view is new when the log has two of its five events.
    let outage = EventBody::OutageDeclared {
        began_at: at(0),
        ended_at: at(1),
        declared_at: at(2),
    };
    let old = places(&*store, 2).await;
    let first = begin_stats(&*store).await;
    store.append_events(vec![outage; 3]).await.expect(WORKS);
    let new = events_after(&*store, old[1], 3, 10).await;
    let new: Vec<_> = new.iter().map(|event| event.position).collect();
    let places = [old, new].concat();
    let of = |n: usize| {
        let name = format!("event {n}");
        let tell = (places[n], announced(n as u32, &name));
        [tell, (places[n], Announced::Job(job(&name)))]
    };
    let with = |edition, from: Option<usize>, to: usize| ViewCommit {
        announced: (from.map_or(0, |n| n + 1)..=to).flat_map(of).collect(),
        ..nothing(
            edition,
            from.map_or(LogPosition::START, |n| places[n]),
            places[to],
        )
    };
    let announced_to = async || find(&*store, &stats()).await.announced;
    assert_eq!(announced_to().await, places[1]);
    commit(&*store, with(first, None, 0)).await;
    assert_eq!(announced_to().await, places[1], "it does not go back");
    commit(&*store, with(first, Some(0), 2)).await;
    assert_eq!(announced_to().await, places[2]);
    assert_eq!(new_jobs(&*store).await, ["event 2"]);
    assert!(store.switch(&stats(), first).await.expect(WORKS));
    let second = begin(&*store, &stats(), 2).await;
    // The next edition is ahead of the current one for a while.
    commit(&*store, with(second, None, 3)).await;
    assert_eq!(new_jobs(&*store).await, ["event 3"]);
    assert_eq!(announced_to().await, places[3]);
    commit(&*store, with(first, Some(2), 4)).await;
    assert_eq!(new_jobs(&*store).await, ["event 4"]);
    commit(&*store, with(second, Some(3), 4)).await;
    assert!(store.switch(&stats(), second).await.expect(WORKS));
    assert_eq!(announced_to().await, places[4]);
    assert_eq!(new_jobs(&*store).await, [""; 0]);
    let wanted = [2_u32, 3, 4].map(|n| (sample_user_id(n), format!("event {n}")));
    assert_eq!(told(&store).await, wanted);
}

/// A badge is awarded once, with its notice and its job, whatever was announced; a new edition takes
/// none away and gives none twice.
pub async fn a_badge_is_awarded_once(store: Arc<dyn WholeStore>) {
    let places = places(&*store, 3).await;
    let first = begin_stats(&*store).await;
    let with_job = |badge: &str, seconds, payload: &str| NewAward {
        job: Some(job(payload)),
        ..award(1, badge, seconds)
    };
    let awarding = |edition, from, to, awards| ViewCommit {
        awards,
        ..nothing(edition, from, to)
    };
    let start = LogPosition::START;
    let some = vec![
        with_job("ten", 20, "ten"),
        with_job("ten", 5, "again in the same commit"),
        with_job("one", 10, "one"),
        award(2, "ten", 30),
    ];
    commit(&*store, awarding(first, start, places[0], some)).await;
    let more = vec![with_job("ten", 1, "again"), award(1, "Ten", 40)];
    commit(&*store, awarding(first, places[0], places[1], more)).await;
    assert!(store.switch(&stats(), first).await.expect(WORKS));
    let second = begin(&*store, &stats(), 2).await;
    // Rules that give one badge no more, and another to an event of long ago.
    let others = vec![with_job("ten", 20, "rebuilt"), with_job("old", 2, "old")];
    commit(&*store, awarding(second, start, places[1], others)).await;
    assert!(store.switch(&stats(), second).await.expect(WORKS));
    let has = |badge: &str, seconds| Award {
        badge: badge.to_owned(),
        at: at(seconds),
    };
    let wanted = [
        has("old", 2),
        has("one", 10),
        has("ten", 20),
        has("Ten", 40),
    ];
    assert_eq!(awards(&*store, 1).await, wanted);
    assert_eq!(awards(&*store, 2).await, [has("ten", 30)]);
    assert_eq!(awards(&*store, 3).await, []);
    assert_eq!(new_jobs(&*store).await, ["old", "one", "ten"]);
    let notices = all_notices(&store).await;
    let seen = |n: u32, badge: &str, seconds| {
        let notice = notice(sample_user_id(n), badge);
        (notice.user_id, at(seconds), notice.body)
    };
    let told: Vec<_> = notices
        .into_iter()
        .map(|it| (it.user_id, it.at, it.body))
        .collect();
    let wanted = [
        seen(1, "ten", 20),
        seen(1, "one", 10),
        seen(2, "ten", 30),
        seen(1, "Ten", 40),
        seen(1, "old", 2),
    ];
    assert_eq!(told, wanted);
}

/// The rows of an owner are listed in the order of their items as bytes, and pages of any limit hold
/// each once.
pub async fn rows_of_an_owner_are_listed_in_order_of_item(store: Arc<dyn WholeStore>) {
    let number = begin_stats(&*store).await;
    let edition = EditionOf::Number(number);
    let longest = [0xff; ITEM_LEN_MAX];
    let items: [&[u8]; 9] = [
        b"",
        b"\0",
        b"\0\0",
        b"B",
        b"a",
        b"a\0",
        b"aa",
        b"\xc3\xa9",
        &longest,
    ];
    let of = |n: u32| {
        let row = move |item| StoredRow {
            key: key(n, item),
            place: None,
            bytes: vec![n as u8],
        };
        items.map(row).to_vec()
    };
    let mut puts: Vec<_> = [of(1), of(2), of(3)]
        .concat()
        .into_iter()
        .map(put)
        .collect();
    puts.reverse();
    write(&*store, number, puts).await;
    for limit in [1, 2, 9, 100] {
        let mut listed: Vec<StoredRow> = Vec::new();
        loop {
            let after = listed.last().map(|row| row.key.item);
            let page = store.list_rows(&edition, owner(2), after, limit, &STRONG);
            let page = page.await.expect(WORKS);
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            listed.extend(page);
        }
        assert_eq!(listed, of(2), "pages of {limit}");
    }
    // A place between two rows, where none is.
    let after = Some(item("a\u{1}"));
    let listed = store.list_rows(&edition, owner(2), after, 1, &STRONG).await;
    assert_eq!(names(&listed.expect(WORKS)), ["aa"]);
    let listed = store.list_rows(&edition, owner(2), None, 0, &STRONG).await;
    assert_eq!(listed.expect(WORKS), []);
}

/// The rows of an owner that have a place are read from the lowest or the highest, equal places always
/// in the order of items; within bounds, and after a row.
pub async fn a_shelf_is_read_in_order_of_place(store: Arc<dyn WholeStore>) {
    let number = begin_stats(&*store).await;
    let edition = EditionOf::Number(number);
    let placed = [
        ("e", Some(i64::MAX)),
        ("d", Some(0)),
        ("none", None),
        ("b", Some(-7)),
        ("a", Some(i64::MIN)),
        ("c", Some(-7)),
        ("", Some(-7)),
        ("f", Some(i64::MAX)),
    ];
    let rows = [1, 2].map(|n| placed.map(|(name, place)| put(row(n, name, place))));
    write(&*store, number, rows.concat()).await;
    let up = ["a", "", "b", "c", "d", "e", "f"];
    let down = ["e", "f", "d", "", "b", "c", "a"];
    let query = ShelfQuery::new(owner(1), 100);
    for (order, wanted) in [(Placement::Ascending, up), (Placement::Descending, down)] {
        assert_eq!(
            shelf(&*store, &edition, ShelfQuery { order, ..query }).await,
            wanted
        );
        for limit in [1, 2, 7] {
            let mut listed: Vec<StoredRow> = Vec::new();
            loop {
                let last = listed.last();
                let page = ShelfQuery {
                    order,
                    limit,
                    after: last.map(|row| (row.place.expect("it has one"), row.key.item)),
                    ..query
                };
                let page = store.list_shelf(&edition, &page, &STRONG).await;
                let page = page.expect(WORKS);
                assert!(page.len() <= limit);
                if page.is_empty() {
                    break;
                }
                listed.extend(page);
            }
            assert_eq!(names(&listed), wanted, "pages of {limit}, {order:?}");
            assert!(listed.iter().all(|row| row.key.owner == owner(1)));
        }
    }
    let within = |from, to, order| ShelfQuery {
        from,
        to,
        order,
        ..query
    };
    for (from, to, up) in [
        (-7, 0, vec!["", "b", "c", "d"]),
        (-6, -1, vec![]),
        (1, 0, vec![]),
        (i64::MIN, i64::MIN, vec!["a"]),
        (i64::MAX, i64::MAX, vec!["e", "f"]),
        (0, i64::MAX, vec!["d", "e", "f"]),
    ] {
        let query = within(from, to, Placement::Ascending);
        assert_eq!(shelf(&*store, &edition, query).await, up, "{from}..={to}");
    }
    let both = ShelfQuery {
        after: Some((-7, item("b"))),
        ..within(-7, 0, Placement::Descending)
    };
    assert_eq!(shelf(&*store, &edition, both).await, ["c"]);
    // A place where no row is.
    let between = ShelfQuery {
        after: Some((-6, item("z"))),
        limit: 2,
        ..query
    };
    assert_eq!(shelf(&*store, &edition, between).await, ["d", "e"]);
    let none = ShelfQuery { limit: 0, ..query };
    assert_eq!(shelf(&*store, &edition, none).await, [""; 0]);
}

/// The next edition becomes the current one when it has come as far; reads of the current one see that
/// at once, and what is not of the edition stays.
pub async fn the_next_edition_takes_the_place_of_the_current_one(store: Arc<dyn WholeStore>) {
    let first = begin_stats(&*store).await;
    let places = places(&*store, 3).await;
    let current = EditionOf::Current(stats());
    let with = |edition, from, to, name: &str| ViewCommit {
        rows: vec![put(row(1, name, Some(1)))],
        ..nothing(edition, from, to)
    };
    let start = LogPosition::START;
    commit(&*store, with(first, start, places[1], "first")).await;
    let switch = async |edition| store.switch(&stats(), edition).await.expect(WORKS);
    assert!(switch(first).await);
    let state = find(&*store, &stats()).await;
    assert_eq!(state.current.map(|it| it.number), Some(first));
    assert_eq!((state.next, state.announced), (None, places[1]));
    assert_eq!(state.lead, Some((runner(1), at(60))));
    assert!(switch(first).await, "it is the current one");
    let second = begin(&*store, &stats(), 2).await;
    assert_eq!(find(&*store, &stats()).await.current, state.current);
    commit(&*store, with(second, start, places[0], "second")).await;
    assert!(!switch(second).await, "it is behind");
    assert_eq!(
        rows_of(&*store, &current, &[1]).await,
        [row(1, "first", Some(1))]
    );
    // Both are led on.
    commit(&*store, with(first, places[1], places[2], "third")).await;
    commit(&*store, with(second, places[0], places[2], "fourth")).await;
    let unknown = EditionNumber::new(second.get() + 1_000);
    assert!(!switch(unknown).await);
    assert!(!store.switch(&named("other"), second).await.expect(WORKS));
    assert!(switch(second).await);
    let wanted = ["fourth", "second"].map(|name| row(1, name, Some(1)));
    assert_eq!(rows_of(&*store, &current, &[1]).await, wanted);
    let query = ShelfQuery::new(owner(1), 10);
    assert_eq!(shelf(&*store, &current, query).await, ["fourth", "second"]);
    let keys = [key(1, "fourth"), key(1, "first")];
    let found = store.find_rows(&current, &keys, &STRONG).await;
    assert_eq!(names(&found.expect(WORKS)), ["fourth"]);
    let state = find(&*store, &stats()).await;
    assert_eq!(
        state.current.map(|it| (it.number, it.version)),
        Some((second, 2))
    );
    assert_eq!((state.next, state.announced), (None, places[2]));
    assert!(!switch(first).await, "it is gone");
}

/// An edition that is gone has no rows, and those it had are swept until none is left; others stay.
pub async fn an_edition_that_is_gone_has_no_rows(store: Arc<dyn WholeStore>) {
    let rows = |name: &str| {
        let row = |n: u32| put(row(1, &format!("{name} {n}"), Some(n.into())));
        (0..5).map(row).collect::<Vec<_>>()
    };
    let replaced = begin_stats(&*store).await;
    write(&*store, replaced, rows("replaced")).await;
    assert!(store.switch(&stats(), replaced).await.expect(WORKS));
    let given_up = begin(&*store, &stats(), 2).await;
    write(&*store, given_up, rows("given up")).await;
    let current = begin(&*store, &stats(), 3).await;
    write(&*store, current, rows("current")).await;
    assert!(store.switch(&stats(), current).await.expect(WORKS));
    let next = begin(&*store, &stats(), 4).await;
    write(&*store, next, rows("next")).await;
    let lists = async || {
        for gone in [replaced, given_up].map(EditionOf::Number) {
            assert_eq!(rows_of(&*store, &gone, &[1]).await, []);
            let query = ShelfQuery::new(owner(1), 10);
            assert_eq!(shelf(&*store, &gone, query).await, [""; 0]);
            let keys = [key(1, "replaced 1"), key(1, "given up 1")];
            let found = store.find_rows(&gone, &keys, &STRONG).await;
            assert_eq!(found.expect(WORKS), []);
        }
        for kept in [current, next].map(EditionOf::Number) {
            assert_eq!(rows_of(&*store, &kept, &[1]).await.len(), 5);
        }
        let start = LogPosition::START;
        let late = store.commit(nothing(replaced, start, start)).await;
        assert_eq!(late.expect(WORKS), Committed::Gone);
    };
    lists().await;
    for sweeps in 0.. {
        assert!(sweeps < SWEEPS_MAX, "sweeping comes to an end");
        let swept = store.sweep_rows(2).await.expect(WORKS);
        assert!(swept <= 2, "no more than asked for");
        if swept == 0 {
            break;
        }
    }
    lists().await;
}

/// Events that were set aside are listed the latest first, and counted; of very many not all are kept.
pub async fn events_set_aside_are_kept_and_counted(store: Arc<dyn WholeStore>) {
    let places = places(&*store, 5).await;
    let first = begin_stats(&*store).await;
    let reason = |n: usize| format!("reason {n}: \"é\" \\ 🩺");
    let with = |edition, from, to, events: &[usize]| ViewCommit {
        set_aside: events
            .iter()
            .map(|n| set_aside(places[*n], &reason(*n)))
            .collect(),
        ..nothing(edition, from, to)
    };
    let start = LogPosition::START;
    commit(&*store, with(first, start, places[1], &[0, 1])).await;
    commit(&*store, with(first, places[1], places[4], &[3])).await;
    let kept = async |edition, limit| {
        let listed = store.list_set_aside(edition, limit).await;
        listed.expect(WORKS)
    };
    let wanted = [3, 1, 0].map(|n| set_aside(places[n], &reason(n)));
    assert_eq!(kept(first, 10).await, wanted);
    assert_eq!(kept(first, 2).await, wanted[..2]);
    assert_eq!(kept(first, 0).await, []);
    let state = find(&*store, &stats()).await.next;
    assert_eq!(state.map(|it| it.set_aside), Some(3));
    assert!(store.switch(&stats(), first).await.expect(WORKS));
    let second = begin(&*store, &stats(), 2).await;
    assert_eq!(kept(second, 10).await, []);
    let many = vec![0; SET_ASIDE_KEPT_MAX + 5];
    // No log has one place twice, so they are told apart by places that are made up.
    let events = many.iter().zip(1..).map(|(_, sequence)| {
        let position = LogPosition {
            sequence,
            ..places[0]
        };
        set_aside(position, "all alike")
    });
    let commit_many = ViewCommit {
        set_aside: events.collect(),
        ..nothing(second, start, places[4])
    };
    commit(&*store, commit_many).await;
    assert_eq!(kept(second, usize::MAX).await.len(), SET_ASIDE_KEPT_MAX);
    let state = find(&*store, &stats()).await;
    let counts = [state.current, state.next].map(|it| it.map(|it| it.set_aside));
    assert_eq!(counts, [Some(3), Some(SET_ASIDE_KEPT_MAX as u64 + 5)]);
    assert!(store.switch(&stats(), second).await.expect(WORKS));
    assert_eq!(kept(first, 10).await, [], "it is gone");
}
