//! Leaderboards in Redis, with what becomes of them when the server loses something.

use std::sync::Arc;
use std::time::Duration;

use medcards_cache::RedisLeaderboards;
use medcards_core::answer::AnswerStore;
use medcards_core::case::{Case, CaseStore};
use medcards_core::event::{EVENTS_PER_READ_MAX, EventLog, LogPosition};
use medcards_core::leaderboard::{
    Applied, Batch, Board, BoardFeed, BoardKeeper, Cohort, FallbackLeaderboards, FedLeaderboards,
    Gain, Leaderboards, Neighbourhood, Period, STANDINGS_MAX, SpecialtyName, Top, Week,
};
use medcards_core::memory::{MemoryLeaderboards, MemoryStore};
use medcards_core::testing::{sample_answer, sample_record, sample_user_id};
use medcards_core::time::{Clock, SystemClock};
use medcards_core::user::{User, UserKind, UserStore};
use medcards_core::{ErrorKind, Timestamp};
use medcards_tests::redis::RedisServer;

use super::places::{process_on, raw, until};

mod conformance {
    use medcards_cache::{Redis, RedisLeaderboards};

    use super::super::places::on_every_kind;

    type Made = (RedisLeaderboards, ());

    async fn make(redis: Redis) -> Made {
        (RedisLeaderboards::new(redis), ())
    }

    on_every_kind!(leaderboard_conformance);
}

const WORKS: &str = "a server that runs does as it is asked";

const SPECIALTIES: [Option<&str>; 3] = [Some("Cardiology"), Some("Médecine {générale}"), None];

/// A store with students who answer.
#[derive(Clone)]
struct School {
    store: MemoryStore,
    cases: Vec<Arc<Case>>,
}

fn now() -> Timestamp {
    SystemClock::new().now()
}

impl School {
    async fn new() -> Self {
        let store = MemoryStore::new();
        let mut cases = Vec::new();
        for n in 0..6 {
            let mut record = sample_record(if n % 2 == 0 { 4 * n } else { 4 * n + 1 });
            record.specialty = SPECIALTIES[n as usize / 2].map(str::to_owned);
            let content = vec![record.try_into().expect("it is well formed")];
            let published = store.publish(content, now()).await.expect(WORKS);
            let case = store.find_case(published[0].case_id, None).await;
            cases.push(case.expect(WORKS).expect("it is published"));
        }
        Self { store, cases }
    }

    async fn answer(&self, n: u32, case: usize, at: Timestamp) {
        let user = User::new(sample_user_id(n), UserKind::Guest, at);
        self.store.ensure_user(user).await.expect(WORKS);
        let answer = sample_answer(sample_user_id(n), &self.cases[case], at);
        self.store.record_answer(answer).await.expect(WORKS);
    }

    /// Answers of the last three weeks by 600 students, some of whom answer far more than others.
    async fn answers(&self, range: std::ops::Range<u32>) {
        let now = now();
        for n in range {
            let hash = n.wrapping_mul(0x9e37_79b1) >> 4;
            let at = now - Duration::from_hours(u64::from(hash % 504));
            let (user, case) = (hash / 5 % (1 + hash / 11 % 600), (hash / 7 % 6) as usize);
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

    fn feed(&self, boards: &Arc<RedisLeaderboards>) -> BoardFeed {
        BoardFeed::new(Arc::new(self.store.clone()), Arc::clone(boards) as _)
    }

    fn keeper(&self, boards: &Arc<RedisLeaderboards>) -> BoardKeeper {
        BoardKeeper::start(Arc::new(self.store.clone()), Arc::clone(boards) as _)
    }

    /// Boards in memory that have the whole log.
    async fn near(&self) -> Arc<MemoryLeaderboards> {
        let boards = nothing();
        let store = Arc::new(self.store.clone());
        carry_all(&BoardFeed::new(store, Arc::clone(&boards) as _)).await;
        boards
    }

    /// What boards in memory say of the whole log.
    async fn expected(&self) -> Everything {
        everything(&*self.near().await).await
    }
}

type Everything = (Vec<Top>, Vec<Neighbourhood>, Vec<Option<Cohort>>);

/// Everything that boards say.
async fn everything(boards: &dyn Leaderboards) -> Everything {
    let weeks = [0, 1, 2, 3].map(|n| Week::of(now() - Duration::from_hours(168 * n)));
    let mut periods = vec![Period::AllTime];
    periods.extend(weeks.map(Period::Week));
    let (mut tops, mut standings, mut cohorts) = (Vec::new(), Vec::new(), Vec::new());
    for period in periods {
        for specialty in SPECIALTIES {
            let specialty = specialty.map(SpecialtyName::new);
            let board = Board { period, specialty };
            tops.push(boards.top(&board, STANDINGS_MAX).await.expect(WORKS));
            for n in (0..600).step_by(7) {
                let standing = boards.standing(&board, sample_user_id(n), 3).await;
                standings.push(standing.expect(WORKS));
            }
        }
    }
    for week in weeks {
        for n in (0..600).step_by(3) {
            cohorts.push(boards.cohort(week, sample_user_id(n)).await.expect(WORKS));
        }
    }
    (tops, standings, cohorts)
}

/// Boards that know nothing.
fn nothing() -> Arc<MemoryLeaderboards> {
    Arc::new(MemoryLeaderboards::new(Arc::new(SystemClock::new())))
}

/// Feeds until there is nothing more.
async fn carry_all(feed: &BoardFeed) {
    while !feed.step().await.expect(WORKS).is_caught_up {}
}

/// Boards of so many answers on a server, and what feeds them.
async fn fed(server: &RedisServer, answers: u32) -> (Arc<RedisLeaderboards>, School, BoardFeed) {
    let boards = RedisLeaderboards::new(process_on(&server.url()).await);
    let boards = Arc::new(boards);
    let school = School::new().await;
    school.answers(0..answers).await;
    let feed = school.feed(&boards);
    carry_all(&feed).await;
    (boards, school, feed)
}

async fn position(boards: &dyn FedLeaderboards) -> Option<LogPosition> {
    let progress = boards.progress().await.ok()?;
    let is_done = progress.next.is_none();
    let current = progress.current.filter(|it| is_done && it.is_whole)?;
    Some(current.position)
}

fn all_time() -> Board {
    Board::overall(Period::AllTime)
}

/// The keys of the server but for those of the connection itself.
async fn keys(server: &RedisServer) -> Vec<String> {
    let mut raw = raw(server);
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*{boards}*")
        .query(&mut raw)
        .expect(WORKS);
    keys
}

async fn run<T: redis::FromRedisValue>(server: &RedisServer, command: &[&str]) -> T {
    let mut raw = raw(server);
    let mut sent = redis::cmd(command[0]);
    sent.arg(&command[1..]);
    sent.query(&mut raw).expect(WORKS)
}

/// The whole promise: whatever the server loses, and whoever feeds it, the boards come to say what
/// the log says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boards_say_what_the_log_says_whatever_redis_loses() {
    let server = RedisServer::start_with(&[("appendonly", "yes")]);
    let boards = || async { Arc::new(RedisLeaderboards::new(process_on(&server.url()).await)) };
    // Each with a connection of its own, as two processes.
    let (one, two) = (boards().await, boards().await);
    let school = School::new().await;
    let _keepers = [school.keeper(&one), school.keeper(&two)];
    let has_all = async || position(&*one).await == Some(school.end().await);

    school.answers(0..6_000).await;
    until("all is counted", has_all).await;
    school.answers(6_000..9_000).await;
    let _: () = run(&server, &["FLUSHALL"]).await;
    school.answers(9_000..12_000).await;
    until("all is counted after FLUSHALL", has_all).await;
    // In the middle of the work, so that the reply to some batch is lost.
    let before = position(&*one).await;
    school.answers(12_000..16_000).await;
    until("the work goes on", async || position(&*one).await != before).await;
    server.kill();
    school.answers(16_000..18_000).await;
    server.start_again();
    until("all is counted after a crash", has_all).await;
    server.kill();
    std::fs::remove_dir_all(server.data_folder().join("appendonlydir"))
        .expect("it has written one");
    server.start_again();
    school.answers(18_000..20_000).await;
    until("all is counted after a loss", has_all).await;

    let expected = school.expected().await;
    assert!(expected.0[0].as_of.is_complete);
    assert_eq!(everything(&*one).await, expected);
    assert_eq!(everything(&*two).await, expected);
}

/// One that nobody gains a point on any more is noticed by looking, any other by the next point.
#[tokio::test]
async fn the_loss_of_one_board_is_noticed_and_mended() {
    let server = RedisServer::start();
    let (boards, school, _) = fed(&server, 2_000).await;
    let expected = everything(&*boards).await;
    let sets: Vec<_> = keys(&server).await;
    let sets: Vec<_> = sets.iter().filter(|key| !key.ends_with("meta")).collect();
    assert!(sets.len() > 10, "{sets:?}");
    for set in [sets[0], sets[sets.len() / 2], sets[sets.len() - 1]] {
        let suffix = set.split_once(['/', '#']).expect("it names a board").1;
        let keys = keys(&server).await;
        let key = keys.iter().find(|key| key.ends_with(suffix));
        let deleted: u32 = run(&server, &["DEL", key.expect("it was rebuilt")]).await;
        assert_eq!(deleted, 1);
        // A new one, as it would wait for a while after a loss that it knows of.
        let feed = school.feed(&boards);
        let step = feed.verify_and_step().await.expect(WORKS);
        assert!(step.began_rebuild, "the loss of {set} was not noticed");
        carry_all(&feed).await;
        assert_eq!(everything(&*boards).await, expected, "{set}");
    }

    let keys = keys(&server).await;
    let overall = keys.iter().find(|key| key.ends_with("/all-time"));
    let overall = overall.expect("it has one");
    let _: u32 = run(&server, &["ZREMRANGEBYRANK", overall, "0", "0"]).await;
    let top = boards.top(&all_time(), 1).await.expect(WORKS);
    assert!(!top.as_of.is_complete, "it says that some are missing");
    school.answer(1, 4, now()).await;
    let feed = school.feed(&boards);
    let step = feed.step().await.expect(WORKS);
    assert!(step.was_overtaken, "gains are refused: {step:?}");
    carry_all(&feed).await;
    assert_eq!(everything(&*boards).await, school.expected().await);
}

#[tokio::test]
async fn the_loss_of_the_hash_is_noticed_and_mended() {
    let server = RedisServer::start();
    let (boards, _school, feed) = fed(&server, 500).await;
    let expected = everything(&*boards).await;
    let keys = keys(&server).await;
    let meta = keys.iter().find(|key| key.ends_with("meta"));
    let _: u32 = run(&server, &["DEL", meta.expect("there is one")]).await;
    let top = boards.top(&all_time(), 1).await.expect(WORKS);
    assert_eq!(top, Top::default());
    carry_all(&feed).await;
    assert_eq!(everything(&*boards).await, expected);
}

#[tokio::test]
async fn boards_of_a_week_expire_and_those_of_all_time_do_not() {
    let server = RedisServer::start();
    let boards = Arc::new(RedisLeaderboards::new(process_on(&server.url()).await));
    let school = School::new().await;
    school.answers(0..500).await;
    carry_all(&school.feed(&boards)).await;
    let (mut weekly, mut all_time) = (0, 0);
    for key in keys(&server).await {
        let expires_at: i64 = run(&server, &["EXPIRETIME", &key]).await;
        let name = key.rsplit_once(':').expect("it has a namespace").1;
        match name.split_once(['/', '#']) {
            Some((_, name)) if !name.starts_with("all-time") => {
                let week: Week = name[..8].parse().expect("it names a week");
                assert_eq!(expires_at, week.kept_until().as_second() + 60, "{key}");
                weekly += 1;
            }
            _ => {
                assert_eq!(expires_at, -1, "{key}");
                all_time += 1;
            }
        }
    }
    assert!(weekly >= 9 && all_time == 4, "{weekly} and {all_time}");
}

#[tokio::test]
async fn a_rebuild_leaves_nothing_of_the_old_boards() {
    let server = RedisServer::start();
    let (boards, school, feed) = fed(&server, 500).await;
    let before = keys(&server).await.len();
    for _ in 0..3 {
        boards.begin_rebuild(0).await.expect(WORKS);
        carry_all(&feed).await;
        assert_eq!(position(&*boards).await, Some(school.end().await));
        assert_eq!(keys(&server).await.len(), before);
    }
    let fields: Vec<String> = run(&server, &["HKEYS", "medcards:{boards}:meta"]).await;
    // All sets, and the current edition with its place and its corrections.
    assert_eq!(fields.len(), before - 1 + 3, "{fields:?}");
}

/// A script that fails midway is not undone, so it must look at everything before it begins.
#[tokio::test]
async fn a_batch_that_meets_something_else_changes_nothing() {
    let server = RedisServer::start();
    let boards = RedisLeaderboards::new(process_on(&server.url()).await);
    let progress = boards.begin_rebuild(0).await.expect(WORKS);
    let edition = progress.next.expect("it was begun").edition;
    let week = Week::of(now());
    let places = format!("medcards:{{boards}}:{edition}#{week}");
    let _: () = run(&server, &["SET", &places, "something else"]).await;
    let end = LogPosition {
        transaction: 0,
        sequence: 1,
    };
    let gain = Gain {
        position: end,
        user_id: sample_user_id(1),
        week,
        specialty: None,
    };
    let batch = Batch {
        from: LogPosition::START,
        to: end,
        gains: &[gain],
    };
    let applied = boards.apply(edition, &batch).await.expect(WORKS);
    assert_eq!(applied, Applied::Gone);
    let top = boards.top(&all_time(), 1).await.expect(WORKS);
    assert_eq!((top.members, top.as_of.position), (0, LogPosition::START));
    assert_eq!(keys(&server).await, ["medcards:{boards}:meta"]);
    let progress = boards.begin_rebuild(0).await.expect(WORKS);
    let edition = progress.next.expect("the lost one is given up").edition;
    let applied = boards.apply(edition, &batch).await.expect(WORKS);
    assert_eq!(applied, Applied::Done);
}

/// Redis says WRONGTYPE to who takes it for a board: for ever, were it left there.
#[tokio::test]
async fn what_somebody_put_in_the_place_of_boards_is_dropped_and_they_are_built_anew() {
    let server = RedisServer::start();
    let (boards, school, _) = fed(&server, 500).await;
    let expected = everything(&*boards).await;
    for suffix in ["/all-time", "/all-time/cardiology", "meta"] {
        let keys = keys(&server).await;
        let key = keys.iter().find(|key| key.ends_with(suffix));
        let key = key.expect("it was built");
        let _: () = run(&server, &["SET", key, "something else"]).await;
        let feed = school.feed(&boards);
        let step = feed.verify_and_step().await.expect(WORKS);
        assert!(step.began_rebuild, "{key} is lost");
        let top = boards
            .top(&all_time(), 1)
            .await
            .expect("boards can be read");
        assert!(!top.as_of.is_complete, "{key}");
        carry_all(&feed).await;
        assert_eq!(everything(&*boards).await, expected, "{key}");
    }
}

#[tokio::test]
async fn a_server_without_room_refuses_gains_whole_and_takes_them_later() {
    let server = RedisServer::start_with(&[("maxmemory-policy", "noeviction")]);
    let boards = Arc::new(RedisLeaderboards::new(process_on(&server.url()).await));
    let school = School::new().await;
    school.answers(0..1_000).await;
    let feed = school.feed(&boards);
    carry_all(&feed).await;
    school.answers(1_000..2_000).await;
    let _: () = run(&server, &["CONFIG", "SET", "maxmemory", "1"]).await;
    feed.step().await.unwrap_err();
    let read = boards
        .top(&all_time(), 1)
        .await
        .expect("reads need no room");
    assert!(read.as_of.is_complete);
    let _: () = run(&server, &["CONFIG", "SET", "maxmemory", "0"]).await;
    carry_all(&feed).await;
    assert_eq!(everything(&*boards).await, school.expected().await);
}

/// Reads go on then, and boards that are read know nothing of gains that never came to them.
#[tokio::test]
async fn a_server_without_room_is_not_complete_for_who_reads_through_a_keeper() {
    let server = RedisServer::start_with(&[("maxmemory-policy", "noeviction")]);
    let far = Arc::new(RedisLeaderboards::new(process_on(&server.url()).await));
    let school = School::new().await;
    school.answer(1, 0, now()).await;
    let keeper = school.keeper(&far);
    let boards = FallbackLeaderboards::new(Arc::clone(&far) as _, nothing());
    let boards = boards.with_keeper(keeper.clone());
    let top = async || boards.top(&all_time(), 1).await.expect(WORKS);
    let is_complete = async || top().await.as_of.is_complete;
    until("the point counts", is_complete).await;

    let _: () = run(&server, &["CONFIG", "SET", "maxmemory", "1"]).await;
    school.answer(1, 0, now()).await;
    until("that is noticed", async || !is_complete().await).await;
    assert_eq!(top().await.standings[0].points, 1);
    assert!(keeper.counts().failures > 0);
    let alone = far.top(&all_time(), 1).await.expect("reads need no room");
    assert!(alone.as_of.is_complete, "it is the keeper who knows");
    let _: () = run(&server, &["CONFIG", "SET", "maxmemory", "0"]).await;
    until("there is room again", is_complete).await;
    assert_eq!(top().await.standings[0].points, 2);
}

#[tokio::test]
async fn reads_go_on_without_redis() {
    let server = RedisServer::start();
    let (far, school, _) = fed(&server, 1_000).await;
    let boards = FallbackLeaderboards::new(Arc::clone(&far) as _, school.near().await);
    let expected = school.expected().await;
    assert_eq!(everything(&boards).await, expected);
    server.kill();
    assert_eq!(everything(&boards).await, expected);
    match far.progress().await {
        Ok(progress) => panic!("Redis is away, and yet: {progress:?}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
    }
}

#[tokio::test]
async fn the_near_boards_answer_while_lost_ones_are_built_anew() {
    let server = RedisServer::start();
    let (far, school, feed) = fed(&server, 500).await;
    let boards = FallbackLeaderboards::new(Arc::clone(&far) as _, school.near().await);
    let expected = school.expected().await;
    let _: () = run(&server, &["FLUSHALL"]).await;
    assert_eq!(everything(&boards).await, expected);
    carry_all(&feed).await;
    assert_eq!(everything(&*far).await, expected);
}
