//! Boards that are a view of the store, against those in memory.

use std::sync::Arc;
use std::time::Duration;

use medcards_core::answer::AnswerStore;
use medcards_core::case::{CaseVersion, OptionSet};
use medcards_core::conformance::LEADERBOARD_CHECKS;
use medcards_core::event::{EventBody, EventLog, LogPosition};
use medcards_core::leaderboard::{
    Applied, Batch, Board, Cohort, Edition, EditionProgress, FedLeaderboards, Gain, Leaderboards,
    Neighbourhood, Period, Progress, STANDINGS_MAX, SpecialtyName, Top, Week, gains_of,
};
use medcards_core::learning::boards::{BoardsProjection, StoredLeaderboards};
use medcards_core::memory::{MemoryLeaderboards, MemoryStore};
use medcards_core::notice::NoticeBody;
use medcards_core::store::{Consistency, Store};
use medcards_core::testing::{ManualClock, build_view, sample_user_id};
use medcards_core::time::{Clock, SystemClock};
use medcards_core::view::{
    Announced, CaseFact, Committed, EditionNumber, EditionOf, Facts, Folder, Projection,
    ProjectionRow, RowWrite, Runner, StoredRow, ViewCommit, ViewStore, fold,
};
use medcards_core::{CaseId, Result, Timestamp, UserId};
use proptest::prelude::*;
use uuid::Uuid;

use super::{answer, answers, at, case, user};

const WORKS: &str = "memory does as it is asked";

const SPECIALTIES: [&str; 5] = ["", "Cardiology", "a/b", "Chirurgie Générale", "Neurology"];

/// Case `n` is of the specialty `n`.
fn facts() -> Facts {
    let mut facts = Facts::default();
    for (n, specialty) in (0..).zip(SPECIALTIES) {
        let fact = CaseFact::new(specialty, "", 4, OptionSet::from_iter([0]));
        facts.insert(case(n), CaseVersion::FIRST, fact);
    }
    facts
}

/// Boards in a store, of which each part can be fed on its own.
#[derive(Debug)]
struct Fed {
    store: MemoryStore,
    boards: StoredLeaderboards,
    facts: Facts,
    clock: Arc<dyn Clock>,
}

impl Fed {
    fn new(clock: Arc<dyn Clock>) -> Self {
        let store = MemoryStore::new();
        let (log, views) = (Arc::new(store.clone()), Arc::new(store.clone()));
        Self {
            boards: StoredLeaderboards::new(log, views, Arc::clone(&clock)),
            store,
            facts: facts(),
            clock,
        }
    }

    fn runner() -> Runner {
        Runner::new(Uuid::from_u128(1))
    }

    /// The event that brings a gain.
    fn event(gain: &Gain) -> medcards_core::event::Event {
        let name = gain.specialty.as_ref().map_or("", SpecialtyName::as_str);
        let specialty = SPECIALTIES.iter().position(|it| it.to_lowercase() == name);
        let case_id = case(specialty.map_or(9, |n| n as u32));
        let at = gain.week.begins_at() + Duration::from_hours(1);
        let answer = answer(gain.user_id, case_id, 0, at);
        medcards_core::event::Event {
            position: gain.position,
            user_id: gain.user_id,
            bucket: answer.bucket(),
            body: EventBody::AnswerRecorded { answer },
        }
    }
}

impl std::fmt::Display for Fed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fed")
    }
}

#[async_trait::async_trait]
impl Leaderboards for Fed {
    async fn top(&self, board: &Board, limit: usize) -> Result<Top> {
        self.boards.top(board, limit).await
    }

    async fn standing(
        &self,
        board: &Board,
        user_id: UserId,
        neighbours: usize,
    ) -> Result<Neighbourhood> {
        self.boards.standing(board, user_id, neighbours).await
    }

    async fn cohort(&self, week: Week, user_id: UserId) -> Result<Option<Cohort>> {
        self.boards.cohort(week, user_id).await
    }

    async fn rebuild(&self) -> Result<()> {
        let corrections = self.progress().await?.corrections();
        self.begin_rebuild(corrections).await.map(drop)
    }
}

#[async_trait::async_trait]
impl FedLeaderboards for Fed {
    async fn progress(&self) -> Result<Progress> {
        let state = self.store.view(&BoardsProjection::new().name()).await?;
        let progress = |edition: medcards_core::view::EditionState| EditionProgress {
            edition: Edition::new(edition.number.get() as u64),
            corrections: edition.corrections,
            position: edition.position,
            is_whole: true,
        };
        Ok(Progress {
            current: state.current.map(progress),
            next: state.next.map(progress),
        })
    }

    async fn verify(&self) -> Result<Progress> {
        self.progress().await
    }

    async fn apply(&self, edition: Edition, batch: &Batch<'_>) -> Result<Applied> {
        batch.check()?;
        let number = EditionNumber::new(edition.get() as i64);
        let mut folder = Folder::new(BoardsProjection::new());
        for gain in batch.gains {
            let event = Self::event(gain);
            loop {
                match folder.apply(&event, &self.facts) {
                    medcards_core::view::Applied::Done { .. } => break,
                    medcards_core::view::Applied::Missing(key) => {
                        let of = EditionOf::Number(number);
                        let (keys, strong) = ([key], &Consistency::Strong);
                        let rows = self.store.find_rows(&of, &keys, strong);
                        let rows = rows.await?;
                        let row = rows
                            .first()
                            .map(|row| ProjectionRow::from_bytes(&row.bytes));
                        folder.learn(key, row.transpose()?);
                    }
                    medcards_core::view::Applied::SetAside(reason) => panic!("{reason}"),
                }
            }
        }
        let changed = folder.take_changed().into_iter();
        let rows = changed.map(|(key, row)| {
            let row = row.expect("boards take no row away");
            RowWrite::Put(StoredRow {
                key,
                place: BoardsProjection::new().place(&key, &row),
                bytes: row.to_bytes().expect("a row has a stored form"),
            })
        });
        let view = BoardsProjection::new().name();
        let lease = Duration::from_secs(60);
        let now = self.clock.now();
        let leads = self.store.take_lead(&view, Self::runner(), now, lease);
        assert!(leads.await?);
        let committed = self.store.commit(ViewCommit {
            view,
            edition: number,
            runner: Self::runner(),
            from: batch.from,
            to: batch.to,
            rows: rows.collect(),
            announced: Vec::new(),
            awards: Vec::new(),
            set_aside: Vec::new(),
        });
        Ok(match committed.await? {
            Committed::Done => Applied::Done,
            Committed::Elsewhere(position) => Applied::Elsewhere(position),
            Committed::Gone | Committed::NotLeading => Applied::Gone,
        })
    }

    async fn begin_rebuild(&self, corrections: u64) -> Result<Progress> {
        let next = self.progress().await?.next;
        let corrections = corrections.max(next.map_or(0, |next| next.corrections));
        let projection = BoardsProjection::new();
        let (name, version) = (projection.name(), projection.version());
        let now = self.clock.now();
        self.store
            .begin_edition(&name, version, corrections, now)
            .await?;
        self.progress().await
    }

    async fn switch(&self, edition: Edition, position: LogPosition) -> Result<bool> {
        let next = self.progress().await?.next;
        if next.is_none_or(|next| (next.edition, next.position) != (edition, position)) {
            return Ok(false);
        }
        let number = EditionNumber::new(edition.get() as i64);
        let name = BoardsProjection::new().name();
        self.store.switch(&name, number).await
    }
}

/// What boards of a view do otherwise: they answer nothing while they are built for the first time, and
/// those that have not come as far as the old ones do not take their place.
const APART: [&str; 2] = [
    "leaderboards::answers_say_what_they_take_into_account",
    "leaderboards::a_rebuild_is_not_seen_before_it_is_switched_in",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_boards_keep_the_promises_of_all_boards() {
    let mut checked = 0;
    for check in LEADERBOARD_CHECKS {
        if !APART.contains(&check.name) {
            let clock = Arc::new(SystemClock::new());
            (check.run)(Arc::new(Fed::new(clock))).await;
            checked += 1;
        }
    }
    assert_eq!(checked + APART.len(), LEADERBOARD_CHECKS.len());
}

/// Everything that boards say, but for where they stand.
async fn everything(
    boards: &dyn Leaderboards,
    users: u32,
    weeks: &[Week],
) -> (Vec<Top>, Vec<Neighbourhood>, Vec<Option<Cohort>>) {
    let (mut tops, mut standings, mut cohorts) = (Vec::new(), Vec::new(), Vec::new());
    let mut periods = vec![Period::AllTime];
    periods.extend(weeks.iter().map(|week| Period::Week(*week)));
    for period in periods {
        for specialty in SPECIALTIES {
            let specialty = Some(specialty).filter(|name| !name.is_empty());
            let specialty = specialty.map(SpecialtyName::new);
            let board = Board { period, specialty };
            let mut top = boards.top(&board, STANDINGS_MAX).await.expect(WORKS);
            top.as_of = Default::default();
            tops.push(top);
            for n in 0..users {
                let found = boards.standing(&board, user(n), 3).await;
                let mut found = found.expect(WORKS);
                found.as_of = Default::default();
                standings.push(found);
            }
        }
    }
    for week in weeks {
        for n in 0..users {
            let mut cohort = boards.cohort(*week, user(n)).await.expect(WORKS);
            if let Some(cohort) = &mut cohort {
                cohort.as_of = Default::default();
            }
            cohorts.push(cohort);
        }
    }
    (tops, standings, cohorts)
}

/// The boards in the store and those in memory, fed with the same gains, at the time of the latest.
async fn both(gains: &[Gain]) -> (Fed, MemoryLeaderboards, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
    let memory = MemoryLeaderboards::new(Arc::clone(&clock) as _);
    let stored = Fed::new(Arc::clone(&clock) as _);
    let edition = async |boards: &dyn FedLeaderboards| {
        let progress = boards.begin_rebuild(0).await.expect(WORKS);
        progress.next.expect("it was begun").edition
    };
    let editions = (edition(&memory).await, edition(&stored).await);
    let mut from = LogPosition::START;
    for gain in gains {
        let at = gain.week.begins_at() + Duration::from_hours(1);
        clock.set(clock.now().max(at));
        let batch = Batch {
            from,
            to: gain.position,
            gains: std::slice::from_ref(gain),
        };
        let applied = memory.apply(editions.0, &batch).await.expect(WORKS);
        assert_eq!(applied, Applied::Done);
        let applied = stored.apply(editions.1, &batch).await.expect(WORKS);
        assert_eq!(applied, Applied::Done);
        from = gain.position;
    }
    assert!(memory.switch(editions.0, from).await.expect(WORKS));
    assert!(stored.switch(editions.1, from).await.expect(WORKS));
    (stored, memory, clock)
}

fn gain((sequence, (n, week, specialty)): (u64, (u32, i64, usize))) -> Gain {
    let begin = at("2026-01-05T00:00:00Z");
    let then = begin + Duration::from_hours(168 * week as u64);
    let name = Some(SPECIALTIES[specialty]).filter(|name| !name.is_empty());
    Gain {
        position: LogPosition {
            transaction: 0,
            sequence,
        },
        user_id: user(n),
        week: Week::of(then),
        specialty: name.map(SpecialtyName::new),
    }
}

/// Some twelve weeks, in order but for answers that come late.
fn gains() -> impl Strategy<Value = Vec<Gain>> {
    let one = (0..70_u32, 0..6_i64, 0..SPECIALTIES.len());
    proptest::collection::vec(one, 0..250).prop_map(|all| {
        let count = all.len().max(1) as i64;
        let placed = (0..).zip(all).map(|(place, (n, late, specialty))| {
            let week = 12 * place / count;
            (n * n / 70, (week - (late - 2).max(0)).max(0), specialty)
        });
        (1..).zip(placed).map(gain).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn stored_boards_say_what_those_in_memory_say(gains in gains()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (stored, memory, _) = both(&gains).await;
            let weeks = (0..13).map(|week| gain((1, (0, week, 0))).week);
            let weeks: Vec<_> = weeks.collect();
            let expected = everything(&memory, 70, &weeks).await;
            let found = everything(&stored, 70, &weeks).await;
            assert_eq!(found, expected);
        });
    }
}

/// A store gives those with equal points from the first on only.
#[tokio::test]
async fn neighbours_are_found_among_many_of_equal_points() {
    // More than three reads of the same points, of ids that stand close together and far apart.
    let ids = |n: u32| match n % 3 {
        0 => UserId::from_uuid(Uuid::from_u128(1 << 90 | u128::from(n))),
        1 => user(n),
        _ => sample_user_id(n),
    };
    let mut gains: Vec<_> = (0..1_800).map(|n| (ids(n), 1)).collect();
    gains.extend((1_800..2_500).map(|n| (ids(n), 3)));
    gains.extend((2_500..2_520).map(|n| (ids(n), n - 2_490)));
    let points = gains
        .iter()
        .flat_map(|(user_id, points)| (0..*points).map(move |_| *user_id));
    let week = Week::of(at("2026-01-05T00:00:00Z"));
    let gains: Vec<_> = (1..)
        .zip(points)
        .map(|(sequence, user_id)| Gain {
            position: LogPosition {
                transaction: 0,
                sequence,
            },
            user_id,
            week,
            specialty: None,
        })
        .collect();
    let clock = Arc::new(ManualClock::new(week.begins_at()));
    let memory = MemoryLeaderboards::new(Arc::clone(&clock) as _);
    let stored = Fed::new(clock);
    for boards in [&memory as &dyn FedLeaderboards, &stored] {
        let progress = boards.begin_rebuild(0).await.unwrap();
        let edition = progress.next.unwrap().edition;
        let mut from = LogPosition::START;
        for gains in gains.chunks(200) {
            let to = gains.last().unwrap().position;
            let batch = Batch { from, to, gains };
            assert_eq!(boards.apply(edition, &batch).await.unwrap(), Applied::Done);
            from = to;
        }
        assert!(boards.switch(edition, from).await.unwrap());
    }
    for period in [Period::AllTime, Period::Week(week)] {
        let board = Board::overall(period);
        for n in (0..2_520).step_by(97).chain(2_498..2_520) {
            for neighbours in [1, 3, 100] {
                let expected = memory.standing(&board, ids(n), neighbours).await.unwrap();
                let found = stored.standing(&board, ids(n), neighbours).await.unwrap();
                assert_eq!(found, expected, "{n} with {neighbours} on {board}");
            }
        }
    }
}

#[test]
fn a_student_is_told_of_each_better_rank_in_the_cohort_of_the_week_once() {
    let (now, last_week) = (at("2026-01-14T10:00:00Z"), at("2026-01-07T10:00:00Z"));
    let points = |n: u32, points: usize| (0..points).map(move |_| (n, now));
    let mut given: Vec<(u32, Timestamp)> = points(1, 3).chain(points(2, 3)).collect();
    given.extend(points(3, 5));
    // Overtaken and back again: told once. And a late answer says nothing of last week.
    given.extend(points(1, 3));
    given.extend(points(3, 2));
    given.extend(points(1, 2));
    given.extend([(2, last_week), (2, last_week), (3, last_week)]);
    let events = answers(
        given
            .iter()
            .map(|(n, at)| answer(user(*n), case(0), 0, *at)),
    );
    let folded = fold(BoardsProjection::new(), &events, &facts());
    let told = folded.announced.iter().map(|(position, it)| match it {
        Announced::Notice {
            user_id,
            at,
            body: NoticeBody::Rank { week, rank, points },
        } => {
            assert_eq!((week.as_str(), *at), ("2026-W03", now));
            let n = (1..4).find(|n| user(*n) == *user_id).unwrap();
            (position.sequence, n, *rank, *points)
        }
        other => panic!("{other:?}"),
    });
    let told: Vec<_> = told.collect();
    // Student 1 is first at once. The others reach the same points, and so the same rank, with the third.
    // Student 1 falls behind, and is back with the fifth. What follows brings nobody a better rank.
    let expected = vec![(6, 2, 1, 3), (9, 3, 1, 3), (13, 1, 1, 5)];
    assert_eq!(told, expected);
    assert!(folded.set_aside.is_empty());
}

#[test]
fn wrong_answers_and_unknown_cases_bring_no_points() {
    let now = at("2026-01-14T10:00:00Z");
    let wrong = answers([answer(user(1), case(0), 1, now)]);
    let folded = fold(BoardsProjection::new(), &wrong, &facts());
    assert!(folded.rows.is_empty() && folded.set_aside.is_empty());
    let unknown = answers([answer(user(1), case(99), 0, now)]);
    let folded = fold(BoardsProjection::new(), &unknown, &facts());
    assert!(folded.rows.is_empty());
    assert_eq!(folded.set_aside.len(), 1);
    assert!(gains_of(&unknown, &facts()).is_empty());
}

#[tokio::test]
async fn boards_are_complete_unless_something_waits_for_long() {
    let clock = Arc::new(ManualClock::default());
    let store = MemoryStore::new();
    let (log, views): (Arc<dyn Store>, Arc<dyn ViewStore>) =
        (Arc::new(store.clone()), Arc::new(store.clone()));
    let boards = StoredLeaderboards::new(
        Arc::clone(&log),
        Arc::clone(&views),
        Arc::clone(&clock) as _,
    );
    let board = Board::overall(Period::AllTime);
    let as_of = async || boards.top(&board, 1).await.unwrap().as_of;
    assert!(!as_of().await.is_complete, "never built");
    build_view(BoardsProjection::new(), &log, &views, &*clock)
        .await
        .unwrap();
    assert!(as_of().await.is_complete);
    let given = answer(user(1), CaseId::from_bytes([7; 16]), 1, clock.now());
    store.record_answer(given).await.unwrap();
    assert!(as_of().await.is_complete, "that was a moment ago");
    clock.advance(Duration::from_secs(5));
    assert!(!as_of().await.is_complete);
    boards.rebuild().await.unwrap();
    assert!(store.list_views().await.unwrap()[0].next.is_some());
    build_view(BoardsProjection::new(), &log, &views, &*clock)
        .await
        .unwrap();
    let as_of = as_of().await;
    let last = store.read_events(LogPosition::START, 1).await.unwrap();
    assert!(as_of.is_complete);
    assert_eq!(as_of.position, last[0].position);
}
