use std::time::Duration;

use medcards_core::ErrorKind;
use medcards_core::event::{Event, EventBody, EventLog, LogPosition};
use medcards_core::notice::NoticeBody;
use medcards_core::store::Consistency;
use medcards_core::testing::{Operation, sample_user_id};
use medcards_core::view::{
    Announced, Changes, Facts, Item, Projection, RowKey, Stop, ViewName, ViewStore,
};
use medcards_jobs::view::{ViewRunner, ViewRunnerConfig, rebuild, view_status};

use crate::world::{Process, Tally, World, at_once, told, until};

/// Every call of a runner to its store.
const CALLS: [Operation; 9] = [
    Operation::BeginEdition,
    Operation::CommitView,
    Operation::FindCase,
    Operation::FindRows,
    Operation::FindView,
    Operation::ListCorrections,
    Operation::ReadEvents,
    Operation::SwitchView,
    Operation::TakeLead,
];

fn start(process: &Process) -> ViewRunner {
    start_with(process, Tally::FIRST)
}

fn start_with(process: &Process, tally: Tally) -> ViewRunner {
    ViewRunner::start(tally, process.stores.clone(), ViewRunnerConfig::default())
}

/// Checks the view, and that students were told once of all that it would tell them.
async fn check(world: &World, context: &str) {
    world.check(&Tally::FIRST, context).await;
    let folded = world.folded(Tally::FIRST).await;
    let of_view = folded.announced.iter().filter_map(|(_, it)| match it {
        Announced::Notice { user_id, at, body } => Some((*user_id, *at, body.clone())),
        Announced::Job(_) => None,
    });
    let badges = folded.awards.iter().map(|it| {
        let badge = it.badge.clone();
        (it.user_id, it.at, NoticeBody::Badge { badge })
    });
    let mut expected: Vec<_> = of_view.chain(badges).collect();
    expected.sort_by_key(|(user_id, at, body)| (*user_id, *at, format!("{body:?}")));
    let told = told(&world.notices().await);
    let wrong = told
        .iter()
        .zip(&expected)
        .find(|(told, expected)| told != expected);
    assert_eq!((told.len(), wrong), (expected.len(), None), "{context}");
}

/// A world whose view has begun, so that all its events are announced.
async fn begun() -> World {
    let world = World::new().await;
    let process = world.process();
    let runner = start(&process);
    until("the view is begun", async || {
        world.is_whole(&Tally::FIRST).await
    })
    .await;
    runner.stop().await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_view_is_what_its_log_says() {
    for seed in 0..8 {
        let world = begun().await;
        let mut luck = fastrand::Rng::with_seed(seed);
        let process = world.process();
        let runner = start(&process);
        for _ in 0..5 {
            world.record_some(luck.u32(0..300), &mut luck).await;
            if luck.bool() {
                world.record_poison().await;
            }
            tokio::time::sleep(Duration::from_millis(luck.u64(0..300))).await;
        }
        check(&world, &format!("seed {seed}")).await;
        runner.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_that_does_not_fit_into_memory_is_the_same() {
    let world = begun().await;
    let mut luck = fastrand::Rng::with_seed(1);
    let process = world.process();
    let config = ViewRunnerConfig {
        rows_kept_max: 2,
        ..ViewRunnerConfig::default()
    };
    let runner = ViewRunner::start(Tally::FIRST, process.stores.clone(), config);
    for _ in 0..20 {
        world.record_some(20, &mut luck).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    check(&world, "few rows in memory").await;
    assert!(process.plan.calls(Operation::FindRows) > 10);
    rebuild(
        &world.store,
        &Tally::view(),
        medcards_core::testing::SAMPLE_START,
    )
    .await
    .unwrap();
    check(&world, "rebuilt with few rows in memory").await;
    runner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_loses_nothing_and_doubles_nothing() {
    for operation in CALLS {
        for kind in [ErrorKind::Unavailable, ErrorKind::Timeout] {
            let context = format!("{operation:?} {kind}");
            let world = begun().await;
            let mut luck = fastrand::Rng::with_seed(2);
            world.record_some(50, &mut luck).await;
            // Whoever goes on in the middle has rows to read.
            let before = world.process();
            let runner = start(&before);
            check(&world, &context).await;
            runner.stop().await;
            let process = world.process();
            process.plan.fail_next(operation, 2, kind);
            process.plan.lose_next_reply(operation, 2, kind);
            let runner = start(&process);
            world.record_some(50, &mut luck).await;
            check(&world, &context).await;
            rebuild(
                &world.store,
                &Tally::view(),
                medcards_core::testing::SAMPLE_START,
            )
            .await
            .unwrap();
            process.plan.fail_next(operation, 2, kind);
            process.plan.lose_next_reply(operation, 2, kind);
            world.record_some(50, &mut luck).await;
            check(&world, &context).await;
            let failures = runner.status().failures;
            // Those that were planned and not met would show a test that tests nothing.
            if !matches!(operation, Operation::FindCase | Operation::BeginEdition) {
                assert!(failures >= 3, "{context}: {failures}");
            }
            runner.stop().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_wakes_after_another_took_over_changes_nothing() {
    for operation in CALLS {
        for nth in 0..3 {
            let context = format!("{operation:?} {nth}");
            let world = begun().await;
            let mut luck = fastrand::Rng::with_seed(nth);
            world.record_some(1_500, &mut luck).await;
            rebuild(
                &world.store,
                &Tally::view(),
                medcards_core::testing::SAMPLE_START,
            )
            .await
            .unwrap();
            let (paused, awake) = (world.process(), world.process());
            // The call after so many others waits, as if the process were stopped there.
            let rest = paused.plan.clone();
            let first = start(&paused);
            rest.called(Operation::FindView, 1 + nth).await;
            rest.hang_next(operation, 1);
            let calls = rest.calls(operation);
            world.record_some(20, &mut luck).await;
            let hangs =
                tokio::time::timeout(Duration::from_secs(5), rest.called(operation, calls + 1));
            let hangs = hangs.await.is_ok();
            let second = start(&awake);
            world.clock.advance(Duration::from_secs(31));
            world.record_some(20, &mut luck).await;
            if hangs {
                check(&world, &context).await;
            }
            world.record_some(20, &mut luck).await;
            paused.plan.clear();
            paused.plan.release();
            world.record_some(20, &mut luck).await;
            check(&world, &context).await;
            first.stop().await;
            second.stop().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_lead_passes_on_when_it_ends_and_not_before() {
    let world = begun().await;
    let (a, b) = (world.process(), world.process());
    let first = start(&a);
    until("the first leads", async || first.status().leads).await;
    // It hangs, and prolongs nothing.
    a.plan.hang_next(Operation::ReadEvents, 1);
    let second = start(&b);
    let mut luck = fastrand::Rng::with_seed(3);
    world.record_some(10, &mut luck).await;
    let looks = b.plan.calls(Operation::TakeLead);
    until("the second has tried", async || {
        b.plan.calls(Operation::TakeLead) > looks + 3
    })
    .await;
    assert!(!second.status().leads);
    assert_eq!(b.plan.calls(Operation::CommitView), 0);
    world.clock.advance(Duration::from_secs(31));
    check(&world, "after the lease").await;
    assert!(second.status().leads);
    a.plan.release();
    until("the first knows", async || !first.status().leads).await;
    second.stop().await;
    // Given up, it passes on without the clock.
    until("the first leads again", async || first.status().leads).await;
    first.stop().await;
    let view = world.view(&Tally::view()).await;
    assert_eq!(view.lead, None);
}

#[tokio::test(start_paused = true)]
async fn a_lead_is_prolonged_while_it_is_used() {
    let world = begun().await;
    let (a, b) = (world.process(), world.process());
    let first = start(&a);
    until("the first leads", async || first.status().leads).await;
    let second = start(&b);
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        world.clock.advance(Duration::from_secs(10));
    }
    assert!(first.status().leads);
    assert!(!second.status().leads);
    assert_eq!(first.status().conflicts, 0);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_view_is_rebuilt_while_events_come() {
    let world = begun().await;
    let mut luck = fastrand::Rng::with_seed(4);
    world.record_some(4_000, &mut luck).await;
    let process = world.process();
    let runner = start(&process);
    check(&world, "before").await;
    let before = world.view(&Tally::view()).await.current.unwrap();
    let asked = rebuild(&world.store, &Tally::view(), before.begun_at).await;
    let next = asked.unwrap().next.unwrap();
    // Asked again, it is the same one that is built.
    let again = rebuild(&world.store, &Tally::view(), before.begun_at).await;
    assert_eq!(again.unwrap().next.unwrap().number, next.number);
    until("it is switched", async || {
        world.record_some(3, &mut fastrand::Rng::with_seed(5)).await;
        tokio::task::yield_now().await;
        let view = world.view(&Tally::view()).await;
        // The edition that answers is kept up meanwhile.
        view.current.unwrap().number == next.number
    })
    .await;
    check(&world, "after").await;
    assert_eq!(runner.status().switches, 1);
    let unknown = ViewName::new("unknown").unwrap();
    let refused = rebuild(&world.store, &unknown, before.begun_at).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound);
    runner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_edition_that_answers_is_kept_up_while_the_next_is_built() {
    let world = begun().await;
    let mut luck = fastrand::Rng::with_seed(6);
    world.record_some(30_000, &mut luck).await;
    let process = world.process();
    let runner = start(&process);
    check(&world, "before").await;
    let before = world.view(&Tally::view()).await.current.unwrap();
    rebuild(&world.store, &Tally::view(), before.begun_at)
        .await
        .unwrap();
    let commits = process.plan.calls(Operation::CommitView);
    process
        .plan
        .called(Operation::CommitView, commits + 1)
        .await;
    assert!(runner.status().is_rebuilding);
    world.record_some(1, &mut luck).await;
    let last = world.events().await.last().unwrap().position;
    at_once("the event counts", async || {
        let view = world.view(&Tally::view()).await;
        view.current.unwrap().position == last
    })
    .await;
    let view = world.view(&Tally::view()).await;
    assert!(view.next.is_some(), "it was switched before: record more");
    check(&world, "after").await;
    runner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn poison_is_set_aside_with_its_reason_and_blocks_nothing() {
    let world = begun().await;
    let process = world.process();
    let runner = start(&process);
    let mut luck = fastrand::Rng::with_seed(7);
    world.record_some(10, &mut luck).await;
    world.record_poison().await;
    world.record_some(10, &mut luck).await;
    check(&world, "poison").await;
    let status = view_status(&process.stores, &Tally::view()).await.unwrap();
    assert_eq!(status.behind_events, Some(0));
    let reasons: Vec<_> = status.set_aside.iter().map(|it| &*it.reason).collect();
    assert_eq!(reasons[0], "the projection panicked");
    assert_eq!(reasons[1], "it is refused");
    assert!(reasons[2].starts_with("there is no version 1 of case "));
    assert_eq!(runner.status().set_aside, 3);
    runner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_corrected_key_changes_what_counts_as_right() {
    let world = begun().await;
    let process = world.process();
    let runner = start(&process);
    let mut luck = fastrand::Rng::with_seed(8);
    world.record_some(200, &mut luck).await;
    world.check(&Tally::FIRST, "before").await;
    let keys = [RowKey::of_case(world.cases[1].id)];
    let edition = medcards_core::view::EditionOf::Current(Tally::view());
    let bytes = async || {
        let rows = world.store.find_rows(&edition, &keys, &Consistency::Strong);
        rows.await.unwrap().remove(0).bytes
    };
    let before = bytes().await;
    world.correct(1, Vec::new()).await;
    world.check(&Tally::FIRST, "one correction").await;
    assert_ne!(bytes().await, before);
    world.correct(2, Vec::new()).await;
    world.correct(3, Vec::new()).await;
    world.record_some(20, &mut luck).await;
    world.check(&Tally::FIRST, "three corrections").await;
    // Badges stay, and nobody has one twice.
    for n in 0..crate::world::USERS {
        let awards = world
            .store
            .list_awards(sample_user_id(n), &Consistency::Strong);
        assert!(awards.await.unwrap().len() <= 1);
    }
    runner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn newer_rules_make_the_view_anew_and_older_ones_leave_it() {
    let world = begun().await;
    let mut luck = fastrand::Rng::with_seed(9);
    world.record_some(100, &mut luck).await;
    let (old, new) = (world.process(), world.process());
    let newer = Tally { version: 2 };
    let older_runner = start(&old);
    world.check(&Tally::FIRST, "the older program").await;
    let newer_runner = start_with(&new, newer.clone());
    // The older one has the lead, and gives it up when it sees what the newer one has begun.
    world.check(&newer, "the newer program").await;
    world.record_some(10, &mut luck).await;
    world.check(&newer, "both").await;
    assert!(newer_runner.status().leads);
    assert!(!older_runner.status().leads);
    // After a return to the older program, that one makes the view anew.
    newer_runner.stop().await;
    world.record_some(10, &mut luck).await;
    tokio::time::sleep(Duration::from_secs(115)).await;
    assert!(!world.is_whole(&Tally::FIRST).await);
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.check(&Tally::FIRST, "the older program alone").await;
    older_runner.stop().await;
}

/// Changes as many rows of a user as an answer took milliseconds.
#[derive(Clone, Debug)]
struct Wide;

impl Projection for Wide {
    type Row = u64;

    fn name(&self) -> ViewName {
        ViewName::new("wide").expect("it is a name")
    }

    fn version(&self) -> u64 {
        1
    }

    fn likely_rows(&self, event: &Event, _facts: &Facts) -> Vec<RowKey> {
        wide_rows(event)
    }

    fn place(&self, _key: &RowKey, _row: &u64) -> Option<i64> {
        None
    }

    fn apply(&self, event: &Event, _facts: &Facts, changes: &mut Changes<u64>) -> Result<(), Stop> {
        for key in wide_rows(event) {
            let before = changes.find(key)?.copied().unwrap_or_default();
            changes.put(key, before + 1)?;
        }
        Ok(())
    }
}

fn wide_rows(event: &Event) -> Vec<RowKey> {
    let EventBody::AnswerRecorded { answer } = &event.body else {
        return Vec::new();
    };
    let key = |n: u32| {
        let item = Item::from_bytes(&n.to_be_bytes()).expect("it is short");
        RowKey::new(*answer.user_id.as_uuid(), item)
    };
    (0..answer.time_to_answer_ms.unwrap_or_default())
        .map(key)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn events_that_change_many_rows_are_committed_in_parts() {
    let world = World::new().await;
    for (user, rows) in [
        (1, 3_000),
        (2, 3_000),
        (3, 4_000),
        (4, 9_000),
        (5, 10_001),
        (6, 4_000),
        (0, 10_000),
        (1, 2),
    ] {
        let mut answer = world.answer_of(user, 1);
        answer.time_to_answer_ms = Some(rows);
        world.record(answer).await;
    }
    let process = world.process();
    let runner = ViewRunner::start(Wide, process.stores.clone(), ViewRunnerConfig::default());
    until("all events are read", async || world.is_whole(&Wide).await).await;
    let view = world.view(&Wide.name()).await.current.unwrap();
    assert_eq!(view.set_aside, 1);
    let kept = world.store.list_set_aside(view.number, 10).await.unwrap();
    assert_eq!(kept[0].reason, "it changes more than 10000 rows");
    let edition = medcards_core::view::EditionOf::Current(Wide.name());
    let mut counts = Vec::new();
    for user in 0..7 {
        let owner = *sample_user_id(user).as_uuid();
        let rows = world
            .store
            .list_rows(&edition, owner, None, 10_000, &Consistency::Strong);
        counts.push(rows.await.unwrap().len());
    }
    assert_eq!(counts, [10_000, 3_000, 3_000, 4_000, 9_000, 0, 4_000]);
    let left = world.store.count_events(view.position).await.unwrap();
    assert_eq!(left, 0);
    assert!(view.position > LogPosition::START);
    runner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_runner_says_how_far_behind_it_is() {
    use medcards_core::metric::{MetricSource, MetricValue};
    let world = begun().await;
    let mut luck = fastrand::Rng::with_seed(10);
    let process = world.process();
    world.record_some(12_500, &mut luck).await;
    // The first commit goes through; the next read waits.
    let runner = start(&process);
    process.plan.called(Operation::CommitView, 1).await;
    process.plan.hang_next(Operation::ReadEvents, 1);
    let reads = process.plan.calls(Operation::ReadEvents);
    process.plan.called(Operation::ReadEvents, reads + 1).await;
    world.clock.advance(Duration::from_secs(5));
    let gauge = |name: &str| {
        let mut metrics = Vec::new();
        runner.collect(&mut metrics);
        let found = metrics.iter().find(|it| it.name == name).unwrap();
        match found.value {
            MetricValue::Gauge(value) => value,
            _ => panic!("{name} is no gauge"),
        }
    };
    assert_eq!(gauge("medcards_view_leading"), 1.0);
    let position = world.view(&Tally::view()).await.current.unwrap().position;
    let behind = world.store.count_events(position).await.unwrap() as f64;
    assert!(behind > 1_000.0);
    assert_eq!(gauge("medcards_view_behind_events"), behind);
    // The answers are a millisecond apart.
    let behind_s = gauge("medcards_view_behind_seconds");
    assert!((behind_s - 5.0 - behind / 1e3).abs() < 0.01, "{behind_s}");
    process.plan.release();
    check(&world, "released").await;
    until("it knows", async || {
        gauge("medcards_view_behind_seconds") == 0.0 && gauge("medcards_view_behind_events") == 0.0
    })
    .await;
    runner.stop().await;
}
