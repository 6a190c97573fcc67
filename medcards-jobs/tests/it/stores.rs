use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::answer::AnswerStore;
use medcards_core::app::Medcards;
use medcards_core::case::{Case, CaseCorrection, CaseStore, CaseVersion, OptionSet};
use medcards_core::event::{EventBody, EventLog, LogPosition};
use medcards_core::job::{ClaimedJob, Effects, JobKind, JobQueue, NewJob};
use medcards_core::learning::NOTIFY_REGRADED;
use medcards_core::notice::{NewNotice, NoticeBody, NoticeStore};
use medcards_core::store::{LearningStore, Store};
use medcards_core::testing::{
    FaultPlan, Faulty, ManualClock, Operation, SAMPLE_START, sample_answer, sample_content,
    sample_record, sample_user_id,
};
use medcards_core::time::Clock;
use medcards_core::user::{User, UserKind, UserSettings, UserStore};
use medcards_core::{Result, Timestamp};
use medcards_jobs::learning::LearningRunner;
use medcards_jobs::worker::{JobContext, JobEnd, JobHandler, Workers};
use medcards_store_pg::{Keeping, PgConfig, PgStore};
use medcards_store_sqlite::{SqliteConfig, SqliteStore};
use medcards_tests::learnt::assert_learnt;
use medcards_tests::pg::{Cluster, Installed};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

/// How long anything may take before it counts as hung, on a machine that also compiles.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many users, cases and answers there are: enough that every view has rows of many.
const USERS: u32 = 12;
const CASES: u32 = 20;
const ANSWERS: u32 = 400;

/// Waits until something holds, in time that nobody paused.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn sqlite() -> (SqliteStore, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let config = SqliteConfig::new(folder.path().join("store.sqlite"));
    let store = SqliteStore::open(config).await;
    (store.expect("a new file is opened"), folder)
}

fn kind() -> JobKind {
    JobKind::named("errand")
}

/// Tells a user who did the job, and holds the end back until it may pass.
struct Slow {
    name: &'static str,
    begun: AtomicU64,
    gate: Semaphore,
}

impl Slow {
    fn new(name: &'static str, passes: usize) -> Arc<Self> {
        Arc::new(Self {
            name,
            begun: AtomicU64::new(0),
            gate: Semaphore::new(passes),
        })
    }

    async fn is_begun(&self) {
        let begun = async || self.begun.load(Ordering::SeqCst) == 1;
        until(self.name, begun).await;
    }
}

impl fmt::Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

fn badge(name: &str, at: Timestamp) -> NewNotice {
    NewNotice {
        user_id: sample_user_id(1),
        at,
        body: NoticeBody::Badge {
            badge: name.to_owned(),
        },
    }
}

#[async_trait]
impl JobHandler for Slow {
    fn kind(&self) -> JobKind {
        kind()
    }

    async fn run(&self, _job: &ClaimedJob, context: &JobContext) -> Result<JobEnd> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.gate
            .acquire()
            .await
            .expect("the gate is never closed")
            .forget();
        let now = context.now();
        Ok(JobEnd::Done(Effects {
            notices: vec![badge(self.name, now)],
            jobs: vec![NewJob::new(JobKind::named("follow"), self.name, now)],
            events: vec![EventBody::OutageDeclared {
                began_at: now,
                ended_at: now,
                declared_at: now,
            }],
        }))
    }
}

/// What the store holds: the names in its notices, the payloads of the jobs that follow, and how many
/// events there are.
async fn written(store: &dyn Store, learning: &dyn LearningStore) -> (Vec<String>, u64, u64) {
    let notices = learning.read_notices(LogPosition::START, 100).await;
    let name = |body| match body {
        NoticeBody::Badge { badge } => badge,
        other => format!("{other:?}"),
    };
    let names = notices.expect("notices are read");
    let names = names.into_iter().map(|it| name(it.body)).collect();
    let counts = learning.job_counts(Timestamp::MAX).await;
    let jobs = counts.expect("jobs are counted");
    let jobs = jobs.iter().map(|it| it.due + it.later + it.dead).sum();
    let events = store.count_events(LogPosition::START).await;
    (names, jobs, events.expect("events are counted"))
}

/// A worker that slept past its lease does its job to the end, and nothing of that is written.
async fn check_a_worker_that_slept<S>(store: S)
where
    S: Store + LearningStore + Clone,
{
    let clock = Arc::new(ManualClock::default());
    let plan = FaultPlan::new();
    let asleep = Arc::new(Faulty::new(
        Arc::new(store.clone()) as Arc<dyn JobQueue>,
        plan.clone(),
    ));
    let (first, second) = (Slow::new("the first", 0), Slow::new("the second", 1));
    let start = |queue: Arc<dyn JobQueue>, handler: &Arc<Slow>| {
        let clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let workers = Workers::builder(queue, clock).handler(Arc::clone(handler) as _);
        workers.start().expect("there is one kind")
    };
    // Its heartbeats say nothing until it wakes.
    plan.hang_next(Operation::HeartbeatJobs, 1);
    let sleeper = start(asleep, &first);
    let job = NewJob::new(kind(), "", clock.now());
    store
        .enqueue(vec![job], clock.now())
        .await
        .expect("a job is enqueued");
    first.is_begun().await;
    // Nor does it claim the job again itself.
    plan.hang_next(Operation::ClaimJobs, 1);
    clock.advance(Duration::from_secs(61));
    let other = start(Arc::new(store.clone()), &second);
    let done = async || other.done(&kind()) == 1;
    until("the second has done it", done).await;
    let expected = (vec!["the second".to_owned()], 1, 1);
    assert_eq!(written(&store, &store).await, expected);

    first.gate.add_permits(1);
    plan.release();
    // Whoever stops patiently writes first how its jobs ended.
    sleeper.stop(PATIENCE).await;
    other.stop(PATIENCE).await;
    assert_eq!(sleeper.done(&kind()), 0, "its end is lost");
    assert_eq!(first.gate.available_permits(), 0, "it came to its end");
    assert_eq!(written(&store, &store).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_slept_past_its_lease_writes_nothing_in_sqlite() {
    let (store, _folder) = sqlite().await;
    check_a_worker_that_slept(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_slept_past_its_lease_writes_nothing_in_postgres() {
    let database = Cluster::shared(Installed::oldest().major()).fresh_database();
    let config = PgConfig::new(&database.url()).unwrap();
    let store = PgStore::open(config.with_keeping(Keeping::Elsewhere)).await;
    check_a_worker_that_slept(store.unwrap()).await;
}

/// Makes another option the right one of a case, and has students told.
async fn correct(store: &SqliteStore, case: &Case, n: u32, right: usize, now: Timestamp) {
    let current = store
        .find_case(case.id, None)
        .await
        .expect("a file is read")
        .expect("the case is published");
    let mut record = sample_record(n);
    record.answer_keys = vec![["A", "B"][right].to_owned()];
    record.explanation = Some(format!("Corrected after version {}.", current.version));
    let right: OptionSet = [right].into_iter().collect();
    let walk = format!(r#"{{"case_id":"{}","versions":[1]}}"#, case.id);
    let correction = CaseCorrection {
        case_id: case.id,
        current: current.version,
        content: record.try_into().expect("the record is whole"),
        versions: vec![(CaseVersion::FIRST, right)],
        jobs: vec![NewJob::new(JobKind::named(NOTIFY_REGRADED), walk, now)],
        corrected_at: now,
    };
    store
        .correct_case(correction)
        .await
        .expect("the version is current");
}

async fn are_whole(runner: &LearningRunner) -> bool {
    let statuses = runner.statuses().await.expect("a file is read");
    let is_whole = |it: &medcards_jobs::view::ViewStatus| {
        it.behind_events == Some(0) && it.state.next.is_none()
    };
    statuses.len() == 6 && statuses.iter().all(is_whole)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_views_of_a_file_are_what_its_log_says() {
    let (store, _folder) = sqlite().await;
    let mut luck = fastrand::Rng::with_seed(7);
    let clock = Arc::new(ManualClock::default());
    let contents = (0..CASES).map(sample_content).collect();
    let mut cases = Vec::new();
    for it in store.publish(contents, SAMPLE_START).await.unwrap() {
        let case = store.find_case(it.case_id, None).await.unwrap().unwrap();
        cases.push(Case::clone(&case));
    }
    let medcards = Medcards::builder(Arc::new(store.clone()))
        .clock(Arc::clone(&clock) as _)
        .build()
        .await
        .unwrap();
    let start = |with_workers| {
        LearningRunner::builder(&medcards, Arc::new(store.clone()))
            .product_views()
            .product_jobs()
            .unwrap()
            .with_workers(with_workers)
            .start()
            .unwrap()
    };
    // Two processes, of which one takes over half-way.
    let processes = [start(true), start(true)];
    for n in 0..ANSWERS {
        clock.advance(Duration::from_secs(luck.u64(1..3_600)));
        let now = clock.now();
        let user_id = sample_user_id(luck.u32(0..USERS));
        let at = luck.u32(0..CASES);
        let case = &cases[at as usize];
        let mut answer = sample_answer(user_id, case, now);
        answer.chosen = [luck.usize(0..2)].into_iter().collect();
        store.record_answer(answer).await.unwrap();
        match n % 100 {
            30 => {
                let mut settings = UserSettings::default();
                settings.time_zone = "Asia/Tokyo".parse().unwrap();
                let user = User::new(user_id, UserKind::Guest, now);
                store.ensure_user(user).await.unwrap();
                let updated = store.update_settings(user_id, settings, now).await;
                updated.unwrap();
            }
            50 => {
                let outage = EventBody::OutageDeclared {
                    began_at: now - Duration::from_secs(24 * 60 * 60),
                    ended_at: now,
                    declared_at: now,
                };
                store.append_events(vec![outage]).await.unwrap();
            }
            70 => correct(&store, case, at, luck.usize(0..2), now).await,
            99 if n == ANSWERS / 2 - 1 => processes[0].stop(PATIENCE).await,
            _ => {}
        }
    }
    until("students are told, and all jobs are done", async || {
        let counts = store.job_counts(clock.now()).await.unwrap();
        counts.iter().all(|it| it.due + it.later + it.dead == 0)
    })
    .await;
    // Nobody writes any more but those who keep the views.
    processes[1].stop(PATIENCE).await;
    let last = start(false);
    until("all views are whole", async || are_whole(&last).await).await;
    last.stop(PATIENCE).await;
    let learnt = assert_learnt(&store, &store).await;
    assert!(learnt.events > ANSWERS as usize, "{learnt:?}");
    assert!(learnt.rows > 500 && learnt.awards > 0, "{learnt:?}");
    let notices = store.read_notices(LogPosition::START, 1_000).await;
    let regraded = |body: &NoticeBody| matches!(body, NoticeBody::Regraded { .. });
    assert!(notices.unwrap().iter().any(|it| regraded(&it.body)));
}
