use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use medcards_core::answer::AnswerStore;
use medcards_core::case::{CaseCorrection, CaseRecord, CaseStore, OptionSet};
use medcards_core::event::{EVENTS_PER_READ_MAX, EventBody, EventLog, LogPosition};
use medcards_core::leaderboard::{
    Applied, Batch, Board, BoardFeed, BoardKeeper, Cohort, Edition, FallbackLeaderboards,
    FedLeaderboards, FeedStep, Gain, Leaderboards, Neighbourhood, Period, Progress, STANDINGS_MAX,
    SpecialtyName, Standing, Top, Week, gains_of,
};
use medcards_core::memory::{MemoryLeaderboards, MemoryStore};
use medcards_core::metric::{MetricSource, MetricValue};
use medcards_core::testing::{
    FaultPlan, Faulty, ManualClock, Operation, SAMPLE_START, sample_answer, sample_record,
    sample_user_id,
};
use medcards_core::time::Clock;
use medcards_core::user::{User, UserKind, UserStore};
use medcards_core::view::Facts;
use medcards_core::{Error, ErrorKind, Timestamp, UserId};

const WORKS: &str = "memory does as it is asked";

/// A store with students who answer, right or wrong.
struct School {
    store: MemoryStore,
    cases: Vec<Arc<medcards_core::case::Case>>,
}

const SPECIALTIES: [Option<&str>; 3] = [Some("Cardiology"), Some("NEUROLOGY"), None];

impl School {
    /// Of the cases, those with an even number are answered right, and each two are of a specialty.
    async fn new() -> Self {
        let store = MemoryStore::new();
        let mut cases = Vec::new();
        for n in 0..6 {
            let mut record = sample_record(if n % 2 == 0 { 4 * n } else { 4 * n + 1 });
            record.specialty = SPECIALTIES[n as usize / 2].map(str::to_owned);
            let content = vec![record.try_into().expect(WORKS)];
            let published = store.publish(content, SAMPLE_START).await.expect(WORKS);
            let case = store
                .find_case(published[0].case_id, None)
                .await
                .expect(WORKS);
            cases.push(case.expect(WORKS));
        }
        Self { store, cases }
    }

    async fn answer(&self, n: u32, case: usize, at: Timestamp) {
        let user = User::new(sample_user_id(n), UserKind::Guest, SAMPLE_START);
        self.store.ensure_user(user).await.expect(WORKS);
        let answer = sample_answer(sample_user_id(n), &self.cases[case], at);
        assert_eq!(answer.is_correct, case.is_multiple_of(2));
        self.store.record_answer(answer).await.expect(WORKS);
    }

    /// Many answers of two weeks, the same each time.
    async fn answers(&self, count: u32) {
        for n in 0..count {
            let hash = n.wrapping_mul(0x9e37_79b1) >> 8;
            let at = SAMPLE_START + Duration::from_hours(u64::from(hash % 336));
            let (user, case) = (hash % 97 * (hash % 3), (hash / 7 % 6) as usize);
            self.answer(user, case, at).await;
        }
    }

    async fn end(&self) -> LogPosition {
        let mut end = LogPosition::START;
        loop {
            let events = self.store.read_events(end, EVENTS_PER_READ_MAX).await;
            match events.expect(WORKS).last() {
                Some(last) => end = last.position,
                None => return end,
            }
        }
    }
}

fn boards() -> Arc<MemoryLeaderboards> {
    let clock = Arc::new(ManualClock::default());
    Arc::new(MemoryLeaderboards::new(clock))
}

/// Everything that boards say.
async fn everything(boards: &dyn Leaderboards) -> (Vec<Vec<Standing>>, Vec<Option<Cohort>>) {
    let weeks = [0, 7].map(|days| Week::of(SAMPLE_START + Duration::from_hours(24 * days)));
    let periods = [
        Period::AllTime,
        Period::Week(weeks[0]),
        Period::Week(weeks[1]),
    ];
    let (mut tops, mut cohorts) = (Vec::new(), Vec::new());
    for period in periods {
        for specialty in [None, Some("cardiology"), Some("neurology"), Some("surgery")] {
            let specialty = specialty.map(SpecialtyName::new);
            let board = Board { period, specialty };
            let top = boards.top(&board, STANDINGS_MAX).await.expect(WORKS);
            tops.push(top.standings);
        }
    }
    for week in weeks {
        for n in 0..100 {
            let mut cohort = boards.cohort(week, sample_user_id(n)).await.expect(WORKS);
            if let Some(cohort) = &mut cohort {
                cohort.as_of = Default::default();
            }
            cohorts.push(cohort);
        }
    }
    (tops, cohorts)
}

/// Feeds until there is nothing more.
async fn feed(feed: &BoardFeed) -> FeedStep {
    loop {
        let step = feed.step().await.expect(WORKS);
        if step.is_caught_up {
            return step;
        }
    }
}

async fn wait_for(boards: &dyn FedLeaderboards, position: LogPosition) {
    let stands = async || {
        let progress = boards.progress().await.expect(WORKS);
        let is_there = progress.current.is_some_and(|it| it.position == position);
        is_there && progress.next.is_none()
    };
    while !stands().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn boards_show_what_the_log_says() {
    let school = School::new().await;
    school.answers(2_500).await;
    let boards = boards();
    feed(&BoardFeed::new(
        Arc::new(school.store.clone()),
        Arc::clone(&boards) as _,
    ))
    .await;

    let mut points: HashMap<(Option<&str>, UserId), u64> = HashMap::new();
    let events = school.store.read_events(LogPosition::START, 1_000);
    let mut events = events.await.unwrap();
    while let Some(last) = events.last() {
        let more = school.store.read_events(last.position, 1_000).await;
        let more = more.unwrap();
        if more.is_empty() {
            break;
        }
        events.extend(more);
    }
    for event in &events {
        let medcards_core::event::EventBody::AnswerRecorded { answer } = &event.body else {
            continue;
        };
        let mut cases = school.cases.iter();
        let case = cases.find(|case| case.id == answer.case_id).unwrap();
        if answer.is_correct {
            *points.entry((None, answer.user_id)).or_default() += 1;
            if let Some(specialty) = case.content.specialty() {
                *points.entry((Some(specialty), answer.user_id)).or_default() += 1;
            }
        }
    }
    for specialty in [None, Some("Cardiology"), Some("NEUROLOGY")] {
        let board = Board {
            period: Period::AllTime,
            specialty: specialty.map(SpecialtyName::new),
        };
        let top = boards.top(&board, STANDINGS_MAX).await.unwrap();
        assert!(top.as_of.is_complete);
        let of_board = points.iter().filter(|((of, _), _)| *of == specialty);
        assert_eq!(of_board.count() as u64, top.members);
        for standing in &top.standings {
            assert_eq!(points[&(specialty, standing.user_id)], standing.points);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn several_keepers_count_each_point_once() {
    let school = School::new().await;
    let alone = boards();
    let shared = boards();
    let store = Arc::new(school.store.clone());
    let start = || BoardKeeper::start(Arc::clone(&store) as _, Arc::clone(&shared) as _);
    let keepers = [start(), start(), start()];
    school.answers(3_000).await;
    wait_for(&*shared, school.end().await).await;
    feed(&BoardFeed::new(
        Arc::clone(&store) as _,
        Arc::clone(&alone) as _,
    ))
    .await;
    let expected = everything(&*alone).await;
    assert_eq!(everything(&*shared).await, expected);

    keepers[0].rebuild().await.unwrap();
    wait_for(&*shared, school.end().await).await;
    assert_eq!(everything(&*shared).await, expected);
    let counts = keepers.each_ref().map(BoardKeeper::counts);
    let rebuilds: u64 = counts.iter().map(|counts| counts.rebuilds).sum();
    assert_eq!(rebuilds, 2, "{counts:?}");
    for keeper in &keepers {
        keeper.stop().await;
    }
    school.answer(1, 0, SAMPLE_START).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(everything(&*shared).await, expected, "they have stopped");
}

#[tokio::test(start_paused = true)]
async fn a_keeper_goes_on_after_the_store_failed() {
    let school = School::new().await;
    school.answers(500).await;
    let plan = FaultPlan::new();
    plan.fail_next(Operation::ReadEvents, 40, ErrorKind::Unavailable);
    let store = Arc::new(Faulty::new(school.store.clone(), plan));
    let boards = boards();
    let keeper = BoardKeeper::start(store, Arc::clone(&boards) as _);
    wait_for(&*boards, school.end().await).await;
    let counts = keeper.counts();
    assert_eq!(counts.failures, 40);
    assert!(counts.events >= 500, "{counts:?}");
}

/// What each read through a keeper says of itself.
async fn completeness(boards: &dyn Leaderboards) -> [bool; 3] {
    let (board, week) = (Board::overall(Period::AllTime), Week::of(SAMPLE_START));
    let user_id = sample_user_id(1);
    let top = boards.top(&board, 1).await.expect(WORKS);
    let standing = boards.standing(&board, user_id, 1).await.expect(WORKS);
    let cohort = boards.cohort(week, user_id).await.expect(WORKS);
    let cohort = cohort.expect("the student has a point");
    [top.as_of, standing.as_of, cohort.as_of].map(|as_of| as_of.is_complete)
}

/// The figure of this name that a keeper shows.
fn shown(keeper: &BoardKeeper, name: &str) -> MetricValue {
    let mut metrics = Vec::new();
    keeper.collect(&mut metrics);
    let metric = metrics.into_iter().find(|metric| metric.name == name);
    metric.expect("it is shown").value
}

/// Boards know nothing of a log that cannot be read, or of gains that never come to them.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_kept_up_is_not_complete_for_who_reads_through_its_keeper() {
    let school = School::new().await;
    school.answer(1, 0, SAMPLE_START).await;
    let plan = FaultPlan::new();
    let store = Arc::new(Faulty::new(school.store.clone(), plan.clone()));
    let boards = boards();
    let keeper = BoardKeeper::start(store, Arc::clone(&boards) as _);
    // Near ones that know nothing.
    let fallback = FallbackLeaderboards::new(Arc::clone(&boards) as _, self::boards());
    let fallback = fallback.with_keeper(keeper.clone());
    assert!(!keeper.is_kept_up(), "it has not looked yet");
    wait_for(&*boards, school.end().await).await;
    let wait_until = async |is_complete| {
        while keeper.is_kept_up() != is_complete {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    wait_until(true).await;
    assert_eq!(completeness(&keeper).await, [true; 3]);
    assert_eq!(completeness(&fallback).await, [true; 3]);
    // Idle for long: it looks, and so it knows.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(completeness(&keeper).await, [true; 3]);

    let failures = keeper.counts().failures;
    plan.fail_next(Operation::ReadEvents, 1_000, ErrorKind::Unavailable);
    school.answer(1, 0, SAMPLE_START).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(keeper.is_kept_up(), "that was a moment ago");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(completeness(&keeper).await, [false; 3]);
    assert_eq!(completeness(&fallback).await, [false; 3]);
    assert_eq!(completeness(&*boards).await, [true; 3], "they cannot know");
    let MetricValue::Gauge(behind_s) = shown(&keeper, "medcards_leaderboard_behind_seconds") else {
        panic!("it goes up and down");
    };
    assert!((7.0..10.0).contains(&behind_s), "{behind_s}");
    let counts = keeper.counts();
    assert!(counts.failures > failures, "{counts:?}");
    for (name, count) in [
        ("medcards_leaderboard_events_total", counts.events),
        ("medcards_leaderboard_failures_total", counts.failures),
        ("medcards_leaderboard_rebuilds_total", counts.rebuilds),
    ] {
        assert_eq!(shown(&keeper, name), MetricValue::Counter(count), "{name}");
    }

    wait_until(true).await;
    assert_eq!(completeness(&fallback).await, [true; 3]);
    let top = fallback.top(&Board::overall(Period::AllTime), 1).await;
    assert_eq!(top.expect(WORKS).standings[0].points, 2);
}

/// Else an administrator who has them built anew takes from all students that theirs are complete.
#[tokio::test(start_paused = true)]
async fn boards_are_kept_up_while_others_are_built_beside_them() {
    let school = School::new().await;
    school.answers(2_500).await;
    let boards = boards();
    let feed = BoardFeed::new(Arc::new(school.store.clone()), Arc::clone(&boards) as _);
    let step = feed.step().await.expect(WORKS);
    assert!(!step.counts_all, "the first of them are still being built");
    self::feed(&feed).await;
    school.answer(1, 0, SAMPLE_START).await;
    boards.begin_rebuild(0).await.expect(WORKS);
    let step = feed.step().await.expect(WORKS);
    assert!(step.counts_all && !step.is_caught_up, "{step:?}");
}

#[tokio::test(start_paused = true)]
async fn a_keeper_stops_when_nobody_holds_it() {
    let school = School::new().await;
    let boards = boards();
    let keeper = BoardKeeper::start(Arc::new(school.store.clone()), Arc::clone(&boards) as _);
    wait_for(&*boards, school.end().await).await;
    drop(keeper);
    while Arc::strong_count(&boards) > 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn boards_in_memory_without_room_leave_out_who_is_new_and_say_so() {
    let school = School::new().await;
    for n in 0..10 {
        school.answer(n, 4, SAMPLE_START).await;
    }
    for _ in 0..3 {
        school.answer(0, 4, SAMPLE_START).await;
    }
    let clock = Arc::new(ManualClock::default());
    // All time, week and cohort: three places for each.
    let boards = Arc::new(MemoryLeaderboards::with_places_max(12, clock));
    feed(&BoardFeed::new(
        Arc::new(school.store.clone()),
        Arc::clone(&boards) as _,
    ))
    .await;
    let board = Board::overall(Period::AllTime);
    let top = boards.top(&board, 10).await.unwrap();
    let points: Vec<_> = top.standings.iter().map(|it| it.points).collect();
    assert_eq!((points, top.members), (vec![4, 1, 1, 1], 4));
    assert!(!top.as_of.is_complete);
}

#[tokio::test]
async fn boards_of_a_week_are_gone_when_they_are_not_kept_any_more() {
    let school = School::new().await;
    school.answer(1, 0, SAMPLE_START).await;
    let clock = Arc::new(ManualClock::default());
    let boards = Arc::new(MemoryLeaderboards::new(Arc::clone(&clock) as _));
    feed(&BoardFeed::new(
        Arc::new(school.store.clone()),
        Arc::clone(&boards) as _,
    ))
    .await;
    let week = Week::of(SAMPLE_START);
    let members = async |period| {
        let top = boards.top(&Board::overall(period), 1).await.unwrap();
        top.members
    };
    let left = Duration::try_from(week.kept_until().duration_since(clock.now())).unwrap();
    clock.advance(left - Duration::from_micros(1));
    assert_eq!(members(Period::Week(week)).await, 1);
    let user_id = sample_user_id(1);
    assert!(boards.cohort(week, user_id).await.unwrap().is_some());
    clock.advance(Duration::from_micros(1));
    assert_eq!(members(Period::Week(week)).await, 0);
    assert!(boards.cohort(week, user_id).await.unwrap().is_none());
    assert_eq!(members(Period::AllTime).await, 1);
}

/// Leaderboards whose current edition is always found to have lost something.
#[derive(Debug)]
struct Leaky(MemoryLeaderboards);

impl std::fmt::Display for Leaky {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Leaky")
    }
}

#[async_trait::async_trait]
impl FedLeaderboards for Leaky {
    async fn progress(&self) -> medcards_core::Result<Progress> {
        let mut progress = self.0.progress().await?;
        if let Some(current) = &mut progress.current {
            current.is_whole = false;
        }
        Ok(progress)
    }

    async fn verify(&self) -> medcards_core::Result<Progress> {
        self.progress().await
    }

    async fn apply(&self, edition: Edition, batch: &Batch<'_>) -> medcards_core::Result<Applied> {
        self.0.apply(edition, batch).await
    }

    async fn begin_rebuild(&self, corrections: u64) -> medcards_core::Result<Progress> {
        self.0.begin_rebuild(corrections).await
    }

    async fn switch(&self, edition: Edition, at: LogPosition) -> medcards_core::Result<bool> {
        self.0.switch(edition, at).await
    }
}

#[async_trait::async_trait]
impl Leaderboards for Leaky {
    async fn top(&self, board: &Board, limit: usize) -> medcards_core::Result<Top> {
        self.0.top(board, limit).await
    }

    async fn standing(
        &self,
        board: &Board,
        user_id: UserId,
        neighbours: usize,
    ) -> medcards_core::Result<Neighbourhood> {
        self.0.standing(board, user_id, neighbours).await
    }

    async fn cohort(&self, week: Week, user_id: UserId) -> medcards_core::Result<Option<Cohort>> {
        self.0.cohort(week, user_id).await
    }

    async fn rebuild(&self) -> medcards_core::Result<()> {
        self.0.rebuild().await
    }
}

#[tokio::test(start_paused = true)]
async fn boards_that_are_lost_again_and_again_are_built_less_and_less_often() {
    let school = School::new().await;
    school.answer(1, 0, SAMPLE_START).await;
    let clock = Arc::new(ManualClock::default());
    let boards = Arc::new(Leaky(MemoryLeaderboards::new(clock)));
    let keeper = BoardKeeper::start(Arc::new(school.store.clone()), Arc::clone(&boards) as _);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let in_a_minute = keeper.counts().rebuilds;
    assert!((4..=8).contains(&in_a_minute), "{in_a_minute}");
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let in_an_hour = keeper.counts().rebuilds - in_a_minute;
    assert!((10..=16).contains(&in_an_hour), "{in_an_hour}");
}

/// Leaderboards that fail while they are told to.
#[derive(Debug)]
struct Flaky {
    boards: Arc<MemoryLeaderboards>,
    is_away: AtomicBool,
}

impl Flaky {
    /// The boards of this log.
    async fn of(school: &School) -> Arc<Self> {
        let boards = boards();
        let store = Arc::new(school.store.clone());
        feed(&BoardFeed::new(store, Arc::clone(&boards) as _)).await;
        let is_away = AtomicBool::new(false);
        Arc::new(Self { boards, is_away })
    }

    fn read(&self) -> medcards_core::Result<()> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "read", "it is away"));
        }
        Ok(())
    }

    fn go_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }
}

impl std::fmt::Display for Flaky {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flaky")
    }
}

#[async_trait::async_trait]
impl Leaderboards for Flaky {
    async fn top(&self, board: &Board, limit: usize) -> medcards_core::Result<Top> {
        self.read()?;
        self.boards.top(board, limit).await
    }

    async fn standing(
        &self,
        board: &Board,
        user_id: UserId,
        neighbours: usize,
    ) -> medcards_core::Result<Neighbourhood> {
        self.read()?;
        self.boards.standing(board, user_id, neighbours).await
    }

    async fn cohort(&self, week: Week, user_id: UserId) -> medcards_core::Result<Option<Cohort>> {
        self.read()?;
        self.boards.cohort(week, user_id).await
    }

    async fn rebuild(&self) -> medcards_core::Result<()> {
        self.read()?;
        self.boards.rebuild().await
    }
}

#[tokio::test]
async fn the_near_boards_answer_while_the_far_ones_are_away() {
    let school = School::new().await;
    school.answers(500).await;
    let (far, near) = (Flaky::of(&school).await, Flaky::of(&school).await);
    let boards = FallbackLeaderboards::new(Arc::clone(&far) as _, Arc::clone(&near) as _);
    let expected = everything(&*near).await;
    // While the far ones know all, nobody asks the near ones.
    near.go_away(true);
    assert_eq!(everything(&boards).await.0, expected.0);
    near.go_away(false);
    far.go_away(true);
    assert_eq!(everything(&boards).await, expected);
    boards.rebuild().await.unwrap_err();
    assert!(near.boards.progress().await.unwrap().next.is_some());
    near.go_away(true);
    let nobody = boards.top(&Board::overall(Period::AllTime), 1).await;
    assert_eq!(nobody.unwrap_err().kind(), ErrorKind::Unavailable);
    far.go_away(false);
    assert_eq!(everything(&boards).await.0, expected.0);
}

#[tokio::test]
async fn whichever_boards_count_more_answer_when_neither_is_complete() {
    let school = School::new().await;
    school.answer(1, 0, SAMPLE_START).await;
    // Being built for the first time, up to one event and up to none.
    let (more, less) = (boards(), boards());
    let edition = more.begin_rebuild(0).await.unwrap().next.unwrap().edition;
    less.begin_rebuild(0).await.unwrap();
    let events = school.store.read_events(LogPosition::START, 10);
    let facts = Facts::default();
    assert!(
        gains_of(&events.await.unwrap(), &facts).is_empty(),
        "unknown"
    );
    let to = school.end().await;
    let from = LogPosition::START;
    let gains = &[Gain {
        position: to,
        user_id: sample_user_id(1),
        week: Week::of(SAMPLE_START),
        specialty: None,
    }];
    let applied = more.apply(edition, &Batch { from, to, gains }).await;
    assert_eq!(applied.unwrap(), Applied::Done);
    for (far, near) in [(&more, &less), (&less, &more)] {
        let boards = FallbackLeaderboards::new(Arc::clone(far) as _, Arc::clone(near) as _);
        assert_eq!(completeness(&boards).await, [false; 3]);
        let top = boards.top(&Board::overall(Period::AllTime), 1).await;
        assert_eq!(top.unwrap().members, 1);
    }
}

/// The answers keep what they were; boards that were built before the correction do not.
#[tokio::test]
async fn boards_follow_the_correction_of_a_key() {
    let school = School::new().await;
    // Case 0 is answered right, case 1 wrong.
    for (n, case) in [(1, 0), (1, 0), (2, 1), (3, 0)] {
        school.answer(n, case, SAMPLE_START).await;
    }
    let boards = boards();
    let store = Arc::new(school.store.clone());
    let carrier = BoardFeed::new(Arc::clone(&store) as _, Arc::clone(&boards) as _);
    feed(&carrier).await;
    let points = async || {
        let top = boards.top(&Board::overall(Period::AllTime), 10).await;
        let standings = top.unwrap().standings.into_iter();
        let points = standings.map(|it| (it.user_id, it.points));
        points.collect::<HashMap<_, _>>()
    };
    let [one, two, three] = [1, 2, 3].map(sample_user_id);
    assert_eq!(points().await, HashMap::from([(one, 2), (three, 1)]));

    let wrong = [0, 1].map(|n| Arc::clone(&school.cases[n]));
    let events = store.read_events(LogPosition::START, 10).await.unwrap();
    let mut chosen = events.iter().filter_map(|event| match &event.body {
        EventBody::AnswerRecorded { answer } if answer.case_id == wrong[1].id => {
            Some(answer.chosen)
        }
        _ => None,
    });
    let chosen = chosen.next_back().unwrap();
    for (case, right) in [(&wrong[0], OptionSet::EMPTY), (&wrong[1], chosen)] {
        let mut record = CaseRecord::from(case.content.clone());
        record.stem.push_str(" (mended)");
        let correction = CaseCorrection {
            case_id: case.id,
            current: case.version,
            content: record.try_into().unwrap(),
            versions: vec![(case.version, right)],
            jobs: Vec::new(),
            corrected_at: SAMPLE_START,
        };
        store.correct_case(correction).await.unwrap();
    }
    let step = carrier.step().await.unwrap();
    assert!(step.began_rebuild, "{step:?}");
    feed(&carrier).await;
    assert_eq!(points().await, HashMap::from([(two, 1)]));
    let current = boards.progress().await.unwrap().current.unwrap();
    assert_eq!(current.corrections, 2);
    // Another process, which has read nothing yet, sees no reason to begin anew.
    let other = BoardFeed::new(store, Arc::clone(&boards) as _);
    assert!(!other.step().await.unwrap().began_rebuild);
}
