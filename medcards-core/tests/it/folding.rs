use std::collections::{BTreeMap, HashSet};

use jiff::ToSpan;
use medcards_core::event::{Event, EventBody, LogPosition};
use medcards_core::job::{JobKind, NewJob};
use medcards_core::notice::NoticeBody;
use medcards_core::shard::Bucket;
use medcards_core::testing::{SAMPLE_START, sample_user_id};
use medcards_core::view::{
    Announced, Applied, Changes, Facts, Folded, Folder, ITEM_LEN_MAX, Item, NewAward, Projection,
    ProjectionRow, RowKey, SetAside, Stop, ViewName, fold,
};
use medcards_core::{ErrorKind, UserId};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How many rows scripts name.
const ROWS: u8 = 4;

/// What an event does, one after the other.
#[derive(Clone, Debug)]
enum Step {
    /// Adds to a row, which is 0 where there is none.
    Add(u8, i64),
    Award(u8),
    Enqueue,
    /// Makes a row what another is, or takes it away where there is none.
    Copy(u8, u8),
    Notify,
    Panic,
    Remove(u8),
    SetAside,
}

/// Does what is written down for each event, which is found by its place.
#[derive(Clone, Debug)]
struct Scripted(Vec<Vec<Step>>);

fn key(row: u8) -> RowKey {
    RowKey::of_view(Item::from_bytes(&[row]).expect("a byte fits"))
}

fn position(n: usize) -> LogPosition {
    LogPosition {
        transaction: 0,
        sequence: n as u64 + 1,
    }
}

fn event(n: usize) -> Event {
    let body = EventBody::OutageDeclared {
        began_at: SAMPLE_START,
        ended_at: SAMPLE_START,
        declared_at: SAMPLE_START,
    };
    Event {
        position: position(n),
        user_id: UserId::EVERYONE,
        bucket: Bucket::of(&UserId::EVERYONE),
        body,
    }
}

fn job(n: u64) -> NewJob {
    let kind = JobKind::new("follow").expect("a plain name");
    let mut job = NewJob::new(kind, n.to_string(), SAMPLE_START);
    // Always the same, so that two runs can be compared.
    job.id = medcards_core::JobId::from_uuid(Uuid::from_u128(n.into()));
    job
}

fn notice(n: u64) -> (UserId, NoticeBody) {
    let badge = n.to_string();
    (sample_user_id(1), NoticeBody::Badge { badge })
}

fn award(n: u64, badge: u8) -> NewAward {
    NewAward {
        user_id: sample_user_id(u32::from(badge % 2)),
        badge: format!("badge {}", badge / 2),
        at: SAMPLE_START + (n as i64).seconds(),
        job: None,
    }
}

impl Projection for Scripted {
    type Row = i64;

    fn name(&self) -> ViewName {
        ViewName::new("scripted").expect("a plain name")
    }

    fn version(&self) -> u64 {
        1
    }

    fn likely_rows(&self, _event: &Event, _facts: &Facts) -> Vec<RowKey> {
        Vec::new()
    }

    fn place(&self, _key: &RowKey, _row: &i64) -> Option<i64> {
        None
    }

    fn apply(&self, event: &Event, _facts: &Facts, changes: &mut Changes<i64>) -> Result<(), Stop> {
        let n = event.position.sequence;
        for step in &self.0[n as usize - 1] {
            match step {
                Step::Add(row, more) => {
                    let before = changes.find(key(*row))?.copied().unwrap_or_default();
                    changes.put(key(*row), before.wrapping_add(*more))?;
                }
                Step::Award(badge) => changes.award(award(n, *badge)),
                Step::Enqueue => changes.enqueue(job(n)),
                Step::Copy(from, to) => match changes.find(key(*from))?.copied() {
                    Some(row) => changes.put(key(*to), row)?,
                    None => changes.remove(key(*to))?,
                },
                Step::Notify => {
                    let (user_id, body) = notice(n);
                    changes.notify(user_id, SAMPLE_START, body);
                }
                Step::Panic => panic!("a projection with a fault, on purpose"),
                Step::Remove(row) => changes.remove(key(*row))?,
                Step::SetAside => return Err(Stop::SetAside("it cannot count".to_owned())),
            }
        }
        Ok(())
    }
}

/// Computes what a script comes to, each event on a copy.
fn expected(script: &[Vec<Step>]) -> Folded<i64> {
    let mut all: Folded<i64> = Folded {
        rows: BTreeMap::new(),
        announced: Vec::new(),
        awards: Vec::<NewAward>::new(),
        set_aside: Vec::new(),
    };
    for (at, steps) in script.iter().enumerate() {
        let n = at as u64 + 1;
        let mut next = all.clone();
        let mut reason = None;
        for step in steps {
            match step {
                Step::Add(row, more) => {
                    let row = next.rows.entry(key(*row)).or_default();
                    *row = row.wrapping_add(*more);
                }
                Step::Award(badge) => {
                    let new = award(n, *badge);
                    let has = |it: &NewAward| (it.user_id, &it.badge) == (new.user_id, &new.badge);
                    if !next.awards.iter().any(has) {
                        next.awards.push(new);
                    }
                }
                Step::Enqueue => {
                    let announced = Announced::Job(job(n));
                    next.announced.push((position(at), announced));
                }
                Step::Copy(from, to) => {
                    match next.rows.get(&key(*from)).copied() {
                        Some(row) => next.rows.insert(key(*to), row),
                        None => next.rows.remove(&key(*to)),
                    };
                }
                Step::Notify => {
                    let (user_id, body) = notice(n);
                    let at_instant = SAMPLE_START;
                    let announced = Announced::Notice {
                        user_id,
                        at: at_instant,
                        body,
                    };
                    next.announced.push((position(at), announced));
                }
                Step::Panic => reason = Some("the projection panicked"),
                Step::Remove(row) => _ = next.rows.remove(&key(*row)),
                Step::SetAside => reason = Some("it cannot count"),
            }
            if reason.is_some() {
                break;
            }
        }
        match reason {
            Some(reason) => {
                let set_aside = SetAside::new(&event(at), reason.to_owned());
                all.set_aside.push(set_aside);
            }
            None => all = next,
        }
    }
    all
}

/// Applies a script to rows that are stored, and read only when they are missed; they are written after
/// each event of which `pauses` says so, and then forgotten if it says that too.
fn stored(script: &[Vec<Step>], pauses: &[(bool, bool)]) -> Folded<i64> {
    let mut folder = Folder::new(Scripted(script.to_vec()));
    let mut all: Folded<i64> = Folded {
        rows: BTreeMap::new(),
        announced: Vec::new(),
        awards: Vec::<NewAward>::new(),
        set_aside: Vec::new(),
    };
    let mut awarded = HashSet::new();
    let save = |folder: &mut Folder<Scripted>, rows: &mut BTreeMap<RowKey, i64>| {
        for (key, row) in folder.take_changed() {
            match row {
                Some(row) => rows.insert(key, row),
                None => rows.remove(&key),
            };
        }
    };
    for at in 0..script.len() {
        let event = event(at);
        loop {
            match folder.apply(&event, &Facts::default()) {
                Applied::Missing(key) => {
                    assert!(!folder.knows(&key), "what is known is not missed");
                    folder.learn(key, all.rows.get(&key).copied());
                }
                Applied::SetAside(reason) => {
                    all.set_aside.push(SetAside::new(&event, reason));
                    break;
                }
                Applied::Done { announced, awards } => {
                    let placed = announced.into_iter().map(|it| (event.position, it));
                    all.announced.extend(placed);
                    for award in awards {
                        if awarded.insert((award.user_id, award.badge.clone())) {
                            all.awards.push(award);
                        }
                    }
                    break;
                }
            }
        }
        let (pauses, forgets) = pauses[at % pauses.len()];
        if pauses {
            save(&mut folder, &mut all.rows);
            if forgets {
                folder.forget();
                assert!(folder.is_empty());
            }
        }
    }
    save(&mut folder, &mut all.rows);
    all
}

fn step() -> impl Strategy<Value = Step> {
    let row = 0..ROWS;
    prop_oneof![
        8 => (row.clone(), any::<i64>()).prop_map(|(row, more)| Step::Add(row, more)),
        4 => (row.clone(), row.clone()).prop_map(|(from, to)| Step::Copy(from, to)),
        3 => row.prop_map(Step::Remove),
        2 => (0..6_u8).prop_map(Step::Award),
        2 => Just(Step::Enqueue),
        2 => Just(Step::Notify),
        1 => Just(Step::SetAside),
    ]
}

fn script() -> impl Strategy<Value = Vec<Vec<Step>>> {
    prop::collection::vec(prop::collection::vec(step(), 0..6), 1..20)
}

proptest! {
    #[test]
    fn each_event_counts_whole_or_not_at_all(script in script()) {
        let events: Vec<_> = (0..script.len()).map(event).collect();
        let folded = fold(Scripted(script.clone()), &events, &Facts::default());
        prop_assert_eq!(folded, expected(&script));
    }

    #[test]
    fn rows_that_are_read_when_missed_come_to_the_same(
        script in script(),
        pauses in prop::collection::vec(any::<(bool, bool)>(), 1..8),
    ) {
        prop_assert_eq!(stored(&script, &pauses), expected(&script));
    }

    #[test]
    fn items_are_ordered_as_their_bytes_are(
        one in prop::collection::vec(0..3_u8, 0..ITEM_LEN_MAX),
        other in prop::collection::vec(0..3_u8, 0..ITEM_LEN_MAX),
    ) {
        let [first, second] = [&one, &other].map(|bytes| Item::from_bytes(bytes).unwrap());
        prop_assert_eq!(first.cmp(&second), one.cmp(&other));
        prop_assert_eq!(first == second, one == other);
        prop_assert_eq!(first.as_bytes(), &one[..]);
    }

    #[test]
    fn a_row_comes_back_as_it_was(row in sample_row()) {
        let bytes = row.to_bytes().unwrap();
        prop_assert_eq!(&SampleRow::from_bytes(&bytes).unwrap(), &row);
        for len in 0..bytes.len() {
            let error = SampleRow::from_bytes(&bytes[..len]).unwrap_err();
            prop_assert_eq!(error.kind(), ErrorKind::Corrupt, "{} of {} bytes", len, bytes.len());
        }
        let longer = [&bytes[..], &[0]].concat();
        let error = SampleRow::from_bytes(&longer).unwrap_err();
        prop_assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn bytes_of_no_row_are_refused_and_nothing_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        if let Err(error) = SampleRow::from_bytes(&bytes) {
            prop_assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }
}

/// Folders over one script each, with rows 0 and 1 known: 10, and none.
fn folder(script: Vec<Vec<Step>>) -> Folder<Scripted> {
    let mut folder = Folder::new(Scripted(script));
    folder.learn(key(0), Some(10));
    folder.learn(key(1), None);
    folder
}

fn apply(folder: &mut Folder<Scripted>, n: usize) -> Applied {
    folder.apply(&event(n), &Facts::default())
}

fn nothing() -> Applied {
    Applied::Done {
        announced: Vec::new(),
        awards: Vec::new(),
    }
}

#[test]
fn an_event_that_stops_leaves_nothing_behind() {
    let so_far = vec![
        Step::Add(0, 5),
        Step::Add(1, 5),
        Step::Remove(0),
        Step::Notify,
        Step::Enqueue,
        Step::Award(1),
    ];
    for (stop, wanted) in [
        (
            Step::SetAside,
            Applied::SetAside("it cannot count".to_owned()),
        ),
        (
            Step::Panic,
            Applied::SetAside("the projection panicked".to_owned()),
        ),
        (Step::Add(2, 1), Applied::Missing(key(2))),
        (Step::Remove(2), Applied::Missing(key(2))),
    ] {
        let stopped = [so_far.clone(), vec![stop]].concat();
        let mut folder = folder(vec![stopped, vec![], vec![Step::Copy(0, 1)]]);
        assert_eq!(apply(&mut folder, 0), wanted);
        assert_eq!(folder.take_changed(), []);
        assert_eq!(apply(&mut folder, 1), nothing(), "nothing is left to do");
        assert_eq!(apply(&mut folder, 2), nothing());
        assert_eq!(folder.take_changed(), [(key(1), Some(10))]);
        assert_eq!(folder.len(), 2);
    }
}

#[test]
fn an_event_that_stops_keeps_what_came_before_it() {
    let script = vec![
        vec![Step::Add(0, 1), Step::Remove(1)],
        vec![Step::Remove(0), Step::Add(1, 7), Step::SetAside],
    ];
    let mut folder = folder(script);
    assert_eq!(apply(&mut folder, 0), nothing());
    assert!(matches!(apply(&mut folder, 1), Applied::SetAside(_)));
    let changed = [(key(0), Some(11)), (key(1), None)];
    assert_eq!(folder.take_changed(), changed);
    assert_eq!(folder.take_changed(), [], "they count as stored");
}

#[test]
fn an_event_that_missed_a_row_counts_once_when_it_is_there() {
    let steps = vec![Step::Add(0, 1), Step::Notify, Step::Add(2, 1)];
    let mut folder = folder(vec![steps]);
    assert_eq!(apply(&mut folder, 0), Applied::Missing(key(2)));
    folder.learn(key(2), Some(20));
    let (user_id, body) = notice(1);
    let announced = Announced::Notice {
        user_id,
        at: SAMPLE_START,
        body,
    };
    let wanted = Applied::Done {
        announced: vec![announced],
        awards: Vec::new(),
    };
    assert_eq!(apply(&mut folder, 0), wanted);
    let changed = [(key(0), Some(11)), (key(2), Some(21))];
    assert_eq!(folder.take_changed(), changed);
}

#[test]
fn what_is_known_is_not_learnt_again() {
    let mut folder = folder(vec![vec![Step::Add(0, 1)], vec![Step::Copy(0, 1)]]);
    assert_eq!(apply(&mut folder, 0), nothing());
    folder.learn(key(0), Some(99));
    folder.learn(key(0), None);
    assert_eq!(apply(&mut folder, 1), nothing());
    let changed = [(key(0), Some(11)), (key(1), Some(11))];
    assert_eq!(folder.take_changed(), changed);
}

#[test]
fn an_event_that_cannot_be_read_is_set_aside_with_its_kind() {
    let mut unreadable = event(0);
    unreadable.body = EventBody::Unreadable {
        kind: "of_tomorrow".to_owned(),
        reason: "it is not known".to_owned(),
    };
    // The script has no event, so that applying it would panic.
    let folded = fold(Scripted(Vec::new()), [&unreadable], &Facts::default());
    let wanted = SetAside {
        position: position(0),
        kind: "of_tomorrow".to_owned(),
        reason: "it is not known".to_owned(),
    };
    assert_eq!(folded.set_aside, [wanted]);
    assert!(folded.rows.is_empty());
}

#[test]
fn a_projection_that_panics_stops_no_other_event() {
    let script = vec![
        vec![Step::Add(0, 1), Step::Panic],
        vec![Step::Add(0, 2)],
        vec![Step::Notify, Step::Panic],
    ];
    let events: Vec<_> = (0..3).map(event).collect();
    let folded = fold(Scripted(script.clone()), &events, &Facts::default());
    assert_eq!(folded, expected(&script));
    assert_eq!((folded.set_aside.len(), folded.rows[&key(0)]), (2, 2));
}

#[test]
fn a_badge_is_awarded_by_the_first_event_that_earns_it() {
    let script = vec![
        vec![Step::Award(0), Step::SetAside],
        vec![Step::Award(0), Step::Award(1)],
        vec![Step::Award(0), Step::Award(2), Step::Award(2)],
    ];
    let events: Vec<_> = (0..3).map(event).collect();
    let folded = fold(Scripted(script), &events, &Facts::default());
    assert_eq!(folded.awards, [award(2, 0), award(2, 1), award(3, 2)]);
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let set_aside = SetAside::new(&event(0), format!("x{}", "é".repeat(400)));
    assert_eq!(set_aside.reason, format!("x{}", "é".repeat(249)));
}

#[test]
fn an_item_takes_as_many_bytes_as_it_says() {
    for len in [0, 1, 16, ITEM_LEN_MAX] {
        let bytes = vec![7; len];
        assert_eq!(Item::from_bytes(&bytes).unwrap().as_bytes(), bytes);
    }
    assert_eq!(Item::from_bytes(&[0; ITEM_LEN_MAX + 1]), None);
    assert_eq!(Item::from_bytes(&[0; 1_000]), None);
    assert_eq!(Item::from_bytes(&[]), Some(Item::NONE));
    assert_eq!(Item::named("week").as_bytes(), b"week");
    let long = "0123456789012345678901234567890123456789 and more";
    let cut = Item::named(long);
    assert_eq!(cut.as_bytes(), &long.as_bytes()[..ITEM_LEN_MAX]);
}

#[test]
fn an_item_of_an_id_gives_it_back() {
    let id = *sample_user_id(3).as_uuid();
    assert_eq!(Item::of(&id).id(), Some(id));
    for other in [&b""[..], b"week", &[1; 15], &[1; 17]] {
        assert_eq!(Item::from_bytes(other).unwrap().id(), None);
    }
    assert_eq!(RowKey::of_user(sample_user_id(3)).owner, id);
    assert!(RowKey::of_view(Item::NONE) < RowKey::new(id, Item::NONE));
    assert!(RowKey::new(id, Item::NONE) < RowKey::new(id, Item::named("a")));
}

/// A row with a field of each kind that rows have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum SampleRow {
    Counts {
        right: u32,
        wrong: u64,
        last_ms: i64,
    },
    Days(Vec<(i16, bool)>),
    Named(String, Option<[u8; 3]>),
}

fn sample_row() -> impl Strategy<Value = SampleRow> {
    prop_oneof![
        any::<(u32, u64, i64)>().prop_map(|(right, wrong, last_ms)| SampleRow::Counts {
            right,
            wrong,
            last_ms
        }),
        any::<Vec<(i16, bool)>>().prop_map(SampleRow::Days),
        any::<(String, Option<[u8; 3]>)>().prop_map(|(name, of)| SampleRow::Named(name, of)),
    ]
}
