use std::sync::Arc;
use std::time::Duration;

use medcards_core::app::Medcards;
use medcards_core::case::CaseVersion;
use medcards_core::event::EventBody;
use medcards_core::job::{JobKind, JobQueue, NewJob};
use medcards_core::learning::NOTIFY_REGRADED;
use medcards_core::learning::user_stats::UserStatsProjection;
use medcards_core::notice::{NOTICE_KEPT_FOR, NoticeBody};
use medcards_core::testing::sample_user_id;
use medcards_core::time::Clock;
use medcards_jobs::learning::{LearningRunner, NotifyRegraded, Recalibrate, Sweep, TellRegraded};
use medcards_jobs::worker::Workers;

use crate::world::{Process, World, until};

fn start(process: &Process) -> Workers {
    let stores = &process.stores;
    let queue = Arc::clone(&stores.learning) as Arc<dyn JobQueue>;
    Workers::builder(queue, Arc::clone(&stores.clock))
        .handler(Arc::new(NotifyRegraded::new(stores.clone())))
        .handler(Arc::new(TellRegraded::new(stores.clone())))
        .handler(Arc::new(Sweep::new(stores.clone())))
        .handler(Arc::new(Recalibrate::new(stores.clone())))
        .start()
        .expect("each kind is done once")
}

async fn all_done(world: &World) {
    until("all jobs are done", async || {
        world.clock.advance(Duration::from_millis(500));
        let counts = world.store.job_counts(world.clock.now()).await;
        let counts = counts.expect("a store in memory does not fail");
        counts.iter().all(|it| it.due + it.later + it.dead == 0)
    })
    .await;
}

fn walk(world: &World, case: usize) -> NewJob {
    let payload = format!(r#"{{"case_id":"{}","versions":[1]}}"#, world.cases[case].id);
    NewJob::new(JobKind::named(NOTIFY_REGRADED), payload, world.clock.now())
}

#[tokio::test(start_paused = true)]
async fn each_student_is_told_once_of_the_last_answer() {
    let world = World::new().await;
    let mut luck = fastrand::Rng::with_seed(1);
    let (case, other) = (1, 2);
    // One answers long before, and again at the end of a log that is walked in several parts.
    let mut again = world.answer_of(100, case);
    world.record(again.clone()).await;
    // Of two answers of another, the first one is right and the last one is not.
    let mut changing = world.answer_of(101, case);
    world.record(changing.clone()).await;
    world.record(world.answer_of(102, other)).await;
    for _ in 0..60 {
        world.record_some(1_000, &mut luck).await;
    }
    for user in 1_000..1_700 {
        world.record(world.answer_of(user, case)).await;
    }
    let fresh = world.answer_of(100, case);
    (again.id, again.created_at) = (fresh.id, fresh.created_at);
    world.record(again).await;
    let fresh = world.answer_of(101, case);
    (changing.id, changing.created_at) = (fresh.id, fresh.created_at);
    changing.chosen = [3].into_iter().collect();
    world.record(changing).await;
    world.correct(case, vec![walk(&world, case as usize)]).await;

    let (a, b) = (world.process(), world.process());
    let crews = [start(&a), start(&b)];
    all_done(&world).await;
    let mut told: Vec<_> = world
        .notices()
        .await
        .into_iter()
        .map(|it| match it.body {
            NoticeBody::Regraded {
                case_id,
                version,
                is_correct,
            } => {
                assert_eq!(case_id, world.cases[case as usize].id);
                assert_eq!(version, CaseVersion::FIRST);
                (it.user_id, is_correct)
            }
            other => panic!("{other:?} is no regrade"),
        })
        .collect();
    told.sort_unstable();
    let right = (0..crate::world::USERS).chain([100]).chain(1_000..1_700);
    let right = right.map(|n| (sample_user_id(n), true));
    let mut expected: Vec<_> = right.chain([(sample_user_id(101), false)]).collect();
    expected.sort_unstable();
    assert_eq!(told.len(), expected.len());
    assert!(told == expected);
    for crew in &crews {
        crew.stop(Duration::ZERO).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_walk_that_nobody_can_do_is_dead() {
    let world = World::new().await;
    let process = world.process();
    let crew = start(&process);
    let now = world.clock.now();
    let broken = NewJob::new(JobKind::named(NOTIFY_REGRADED), "{}", now);
    let baseless = walk(&world, 1);
    world
        .store
        .enqueue(vec![broken, baseless], now)
        .await
        .unwrap();
    until("both are dead", async || {
        world.store.list_dead(None, 10).await.unwrap().len() == 2
    })
    .await;
    crew.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn old_notices_and_free_keys_are_swept() {
    let world = World::new().await;
    world.record(world.answer_of(1, 1)).await;
    world.correct(1, vec![walk(&world, 1)]).await;
    let process = world.process();
    let crew = start(&process);
    all_done(&world).await;
    assert_eq!(world.notices().await.len(), 1);
    let sweep = async || {
        let now = world.clock.now();
        let job = NewJob::new(Sweep::job_kind(), "", now);
        world.store.enqueue(vec![job], now).await.unwrap();
        all_done(&world).await;
    };
    world
        .clock
        .advance(NOTICE_KEPT_FOR - Duration::from_secs(60));
    sweep().await;
    assert_eq!(world.notices().await.len(), 1);
    world.clock.advance(Duration::from_secs(120));
    sweep().await;
    assert_eq!(world.notices().await.len(), 0);
    // The key of the job that told the student is free.
    let left = world.store.sweep_keys(world.clock.now(), 10).await.unwrap();
    assert_eq!(left, 0);
    crew.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn cases_are_calibrated_from_first_answers() {
    let world = World::new().await;
    // The first case is hard and the second easy; answers after the first say the opposite.
    for user in 0..200 {
        let luck = (user * 7_919) % 100;
        for (case, right_percent) in [(0, 25), (1, 80)] {
            for is_first in [true, false] {
                let mut answer = world.answer_of(user, case);
                answer.is_correct = (luck < right_percent) == is_first;
                world.record(answer).await;
            }
        }
    }
    // Too few to say anything.
    world.record(world.answer_of(1, 2)).await;
    let process = world.process();
    let crew = start(&process);
    let now = world.clock.now();
    let job = NewJob::new(Recalibrate::job_kind(), "", now);
    world.store.enqueue(vec![job], now).await.unwrap();
    all_done(&world).await;
    let last = world.events().await.pop().unwrap();
    let EventBody::CasesCalibrated { calibrations, .. } = last.body else {
        panic!("nothing was calibrated: {last:?}");
    };
    assert_eq!(calibrations.len(), 2);
    let of = |case: usize| {
        let id = world.cases[case].id;
        calibrations.iter().find(|it| it.case_id == id).unwrap()
    };
    assert_eq!((of(0).answers, of(1).answers), (200, 200));
    assert!(of(0).difficulty_millionths > 0, "{:?}", of(0));
    assert!(of(1).difficulty_millionths < 0, "{:?}", of(1));
    crew.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn one_handle_keeps_all_views_and_does_all_jobs() {
    let world = World::new().await;
    let medcards = Medcards::builder(Arc::new(world.store.clone()))
        .clock(Arc::clone(&world.clock) as _)
        .build()
        .await
        .unwrap();
    let learning = || Arc::new(world.store.clone());
    let serving = LearningRunner::builder(&medcards, learning())
        .product_views()
        .product_jobs()
        .unwrap()
        .with_views(false)
        .with_workers(false)
        .start()
        .unwrap();
    let mut luck = fastrand::Rng::with_seed(2);
    world.record_some(300, &mut luck).await;
    world.correct(1, vec![walk(&world, 1)]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(serving.statuses().await.unwrap().is_empty());
    assert!(serving.runner_statuses().is_empty());

    let runner = LearningRunner::builder(&medcards, learning())
        .product_views()
        .product_jobs()
        .unwrap()
        .start()
        .unwrap();
    until("all views are whole", async || {
        let statuses = runner.statuses().await.unwrap();
        statuses.len() == 6
            && statuses
                .iter()
                .all(|it| it.behind_events == Some(0) && it.state.next.is_none())
    })
    .await;
    until("students are told", async || {
        world.clock.advance(Duration::from_millis(500));
        world.notices().await.len() >= crate::world::USERS as usize
    })
    .await;
    let set_aside = |it: &medcards_jobs::view::ViewStatus| it.set_aside.len();
    let statuses = runner.statuses().await.unwrap();
    assert_eq!(statuses.iter().map(set_aside).sum::<usize>(), 0);
    // Whoever only serves can ask for a rebuild.
    let projection = UserStatsProjection::new();
    use medcards_core::view::Projection;
    let before = serving.status(&projection.name()).await.unwrap();
    serving.rebuild(&projection.name()).await.unwrap();
    until("it is rebuilt", async || {
        let view = serving.status(&projection.name()).await.unwrap().state;
        view.next.is_none() && view.current.unwrap().number != before.state.current.unwrap().number
    })
    .await;
    runner.stop(Duration::from_secs(5)).await;
    for status in runner.statuses().await.unwrap() {
        assert_eq!(status.state.lead, None);
    }
}
