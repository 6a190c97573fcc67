use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::event::EventBody;
use medcards_core::job::{ClaimedJob, Effects, JobKind, JobQueue, NewJob};
use medcards_core::notice::{NewNotice, NoticeBody};
use medcards_core::testing::{Operation, sample_user_id};
use medcards_core::time::Clock;
use medcards_core::{Error, ErrorKind, JobId, Result};
use medcards_jobs::worker::{JobContext, JobEnd, JobHandler, JobPolicy, Workers};
use tokio::sync::{Notify, watch};

use crate::world::{Process, World, until};

fn kind() -> JobKind {
    JobKind::named("errand")
}

/// Does what the payload of its job says, and counts.
#[derive(Debug, Default)]
struct Errand {
    policy: JobPolicy,
    /// How often each job was begun.
    begun: Mutex<HashMap<JobId, u32>>,
    /// The payloads of those that are done, in their order.
    done: Mutex<Vec<String>>,
    running: AtomicU64,
    running_max: AtomicU64,
    /// How many were dropped half-way.
    dropped: AtomicU64,
    gate: Notify,
    began: watch::Sender<u64>,
}

struct Running<'a>(&'a Errand, bool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        self.0
            .dropped
            .fetch_add(u64::from(!self.1), Ordering::SeqCst);
    }
}

impl Errand {
    fn of(policy: JobPolicy) -> Arc<Self> {
        Arc::new(Self {
            policy,
            ..Self::default()
        })
    }

    fn begun(&self) -> u64 {
        *self.began.borrow()
    }

    fn done(&self) -> Vec<String> {
        self.done.lock().expect("no test panics with it").clone()
    }
}

fn notice(text: &str, now: medcards_core::Timestamp) -> Effects {
    Effects {
        notices: vec![NewNotice {
            user_id: sample_user_id(1),
            at: now,
            body: NoticeBody::Badge {
                badge: text.to_owned(),
            },
        }],
        ..Effects::default()
    }
}

#[async_trait]
impl JobHandler for Errand {
    fn kind(&self) -> JobKind {
        kind()
    }

    fn policy(&self) -> JobPolicy {
        self.policy
    }

    async fn run(&self, job: &ClaimedJob, context: &JobContext) -> Result<JobEnd> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.running_max.fetch_max(running, Ordering::SeqCst);
        let mut guard = Running(self, false);
        let times = {
            let mut begun = self.begun.lock().expect("no test panics with it");
            let times = begun.entry(job.id).or_default();
            *times += 1;
            *times
        };
        self.began.send_modify(|it| *it += 1);
        let end = match job.payload.as_str() {
            "fails" => Err(Error::new(
                ErrorKind::Unavailable,
                "run errand",
                "it is away",
            )),
            "fails once" if times == 1 => {
                let error = Error::new(ErrorKind::RateLimited, "run errand", "it is busy");
                Err(error.with_retry_after(Duration::from_secs(100)))
            }
            "panics" => panic!("a handler has a defect"),
            "is hopeless" => Ok(JobEnd::Dead {
                reason: "it is hopeless".to_owned(),
            }),
            "writes what is refused" => Ok(JobEnd::Done(Effects {
                events: vec![EventBody::SettingsChanged {
                    settings: Default::default(),
                    changed_at: context.now(),
                }],
                ..Effects::default()
            })),
            "waits" => {
                self.gate.notified().await;
                Ok(JobEnd::Done(notice("waits", context.now())))
            }
            other => Ok(JobEnd::Done(notice(other, context.now()))),
        };
        guard.1 = true;
        if matches!(end, Ok(JobEnd::Done(_))) {
            self.done
                .lock()
                .expect("no test panics with it")
                .push(job.payload.clone());
        }
        end
    }
}

fn start(process: &Process, errand: &Arc<Errand>) -> Workers {
    let queue = Arc::clone(&process.stores.learning) as Arc<dyn JobQueue>;
    Workers::builder(queue, Arc::clone(&process.stores.clock))
        .handler(Arc::clone(errand) as _)
        .start()
        .expect("a store in memory does not fail")
}

async fn enqueue(world: &World, payload: &str) -> JobId {
    let now = world.clock.now();
    let job = NewJob::new(kind(), payload, now);
    let id = job.id;
    world
        .store
        .enqueue(vec![job], now)
        .await
        .expect("a store in memory does not fail");
    id
}

/// How many are due or claimed, and how many dead.
async fn left(world: &World) -> (u64, u64) {
    let counts = world
        .store
        .job_counts(world.clock.now())
        .await
        .expect("a store in memory does not fail");
    let count = counts.into_iter().find(|it| it.kind == kind());
    count.map_or((0, 0), |it| (it.due + it.later, it.dead))
}

async fn all_done(world: &World) {
    until("all jobs have ended", async || left(world).await.0 == 0).await;
}

#[tokio::test(start_paused = true)]
async fn many_jobs_are_done_once_and_no_more_at_a_time_than_allowed() {
    let world = World::new().await;
    let now = world.clock.now();
    let jobs = |n: u32| (0..500).map(move |i| NewJob::new(kind(), format!("{n}/{i}"), now));
    for n in 0..4 {
        world.store.enqueue(jobs(n).collect(), now).await.unwrap();
    }
    let (a, b) = (world.process(), world.process());
    let policy = JobPolicy {
        concurrency_max: 20,
        ..JobPolicy::default()
    };
    let errands = [Errand::of(policy), Errand::of(policy)];
    let crews = [start(&a, &errands[0]), start(&b, &errands[1])];
    all_done(&world).await;
    let mut done: Vec<_> = errands.iter().flat_map(|it| it.done()).collect();
    assert_eq!(done.len(), 2_000);
    done.sort_unstable();
    done.dedup();
    assert_eq!(done.len(), 2_000);
    assert_eq!(world.notices().await.len(), 2_000);
    for (errand, crew) in errands.iter().zip(&crews) {
        assert!(errand.running_max.load(Ordering::SeqCst) <= 20);
        crew.stop(Duration::ZERO).await;
    }
    // In batches: a call for each would be a thousand of each.
    let calls = |operation| a.plan.calls(operation) + b.plan.calls(operation);
    assert!(calls(Operation::ClaimJobs) < 300);
    assert!(calls(Operation::SettleJobs) < 300);
}

#[tokio::test(start_paused = true)]
async fn a_job_is_begun_at_once_when_it_is_enqueued() {
    let world = World::new().await;
    let process = world.process();
    let errand = Errand::of(JobPolicy::default());
    let workers = start(&process, &errand);
    tokio::time::sleep(Duration::from_millis(2_345)).await;
    for n in 1..4 {
        let before = tokio::time::Instant::now();
        enqueue(&world, "done").await;
        errand
            .began
            .subscribe()
            .wait_for(|it| *it >= n)
            .await
            .unwrap();
        // Time goes on only when everybody waits for it.
        assert_eq!(before.elapsed(), Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(777)).await;
    }
    // One that is due later is begun then, and not at the next poll.
    let now = world.clock.now();
    let later = NewJob::new(kind(), "later", now).at(now + Duration::from_millis(50));
    world.store.enqueue(vec![later], now).await.unwrap();
    tokio::time::sleep(Duration::from_millis(49)).await;
    assert_eq!(errand.begun(), 3);
    world.clock.advance(Duration::from_millis(50));
    tokio::time::sleep(Duration::from_millis(3)).await;
    assert_eq!(errand.begun(), 4);
    workers.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_job_is_tried_again_later_and_is_dead_in_the_end() {
    // What the job does, how often it is begun, and why it is dead.
    let table = [
        ("fails", 3, Some("run errand: it is away")),
        ("panics", 3, Some("its handler panicked")),
        ("is hopeless", 1, Some("it is hopeless")),
        (
            "writes what is refused",
            3,
            Some(
                "its effects cannot be written: append event: it is of one user, and is written with what it tells of",
            ),
        ),
        ("fails once", 2, None),
        ("done", 1, None),
    ];
    for (payload, begun, reason) in table {
        let world = World::new().await;
        let process = world.process();
        let policy = JobPolicy {
            attempts_max: 3,
            ..JobPolicy::default()
        };
        let errand = Errand::of(policy);
        let workers = start(&process, &errand);
        // Beside it, others that are settled in the same call are not hindered.
        let id = enqueue(&world, payload).await;
        enqueue(&world, "done").await;
        until(payload, async || {
            world.clock.advance(Duration::from_secs(1));
            left(&world).await.0 == 0
        })
        .await;
        assert_eq!(errand.begun.lock().unwrap()[&id], begun, "{payload}");
        let dead = world.store.list_dead(None, 10).await.unwrap();
        let reasons: Vec<_> = dead.iter().map(|it| it.reason.as_str()).collect();
        assert_eq!(reasons, Vec::from_iter(reason), "{payload}");
        // Somebody looks, and has it done again: it has all its attempts each time.
        for n in 1..=2 {
            world.store.requeue(&[id], world.clock.now()).await.unwrap();
            until(payload, async || {
                world.clock.advance(Duration::from_secs(1));
                left(&world).await.0 == 0
            })
            .await;
            let again = if reason.is_some() { n * begun } else { 0 };
            assert_eq!(
                errand.begun.lock().unwrap()[&id],
                begun + again,
                "{payload}"
            );
        }
        workers.stop(Duration::ZERO).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_waits_as_long_as_it_was_told() {
    let world = World::new().await;
    let process = world.process();
    let errand = Errand::of(JobPolicy::default());
    let workers = start(&process, &errand);
    enqueue(&world, "fails once").await;
    until("it has failed", async || errand.begun() == 1).await;
    world.clock.advance(Duration::from_secs(99));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(errand.begun(), 1);
    world.clock.advance(Duration::from_secs(2));
    all_done(&world).await;
    assert_eq!(errand.done(), ["fails once"]);
    workers.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_ends_its_workers_is_dead_after_its_attempts() {
    let world = World::new().await;
    let policy = JobPolicy {
        attempts_max: 3,
        ..JobPolicy::default()
    };
    let id = enqueue(&world, "done").await;
    for _ in 0..3 {
        let lease = Duration::from_secs(60);
        let claimed = world
            .store
            .claim(&[kind()], 1, world.clock.now(), lease)
            .await;
        assert_eq!(claimed.unwrap().len(), 1);
        world.clock.advance(lease);
    }
    let process = world.process();
    let errand = Errand::of(policy);
    let workers = start(&process, &errand);
    all_done(&world).await;
    assert_eq!(errand.begun(), 0);
    let dead = world.store.list_dead(None, 10).await.unwrap();
    assert_eq!((dead[0].id, dead[0].attempts), (id, 4));
    assert!(
        dead[0]
            .reason
            .starts_with("it was begun 3 times, and at last its worker died")
    );
    workers.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_kept_while_its_job_runs_and_the_job_passes_on_when_it_is_lost() {
    let world = World::new().await;
    let (a, b) = (world.process(), world.process());
    let (first, second) = (
        Errand::of(JobPolicy::default()),
        Errand::of(JobPolicy::default()),
    );
    let crew = start(&a, &first);
    enqueue(&world, "waits").await;
    until("it is begun", async || first.begun() == 1).await;
    let other = start(&b, &second);
    // Heartbeats keep it for ten leases.
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        world.clock.advance(Duration::from_secs(10));
    }
    assert_eq!((first.begun(), second.begun()), (1, 0));
    // The first cannot say any more that it lives, nor claim its job again.
    a.plan.hang_next(Operation::HeartbeatJobs, 1);
    a.plan.hang_next(Operation::ClaimJobs, 1);
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        world.clock.advance(Duration::from_secs(10));
    }
    assert_eq!((first.begun(), second.begun()), (1, 1));
    // It wakes, is told that the job is lost, and drops it; what the second does counts.
    a.plan.release();
    until("it is dropped", async || {
        first.dropped.load(Ordering::SeqCst) == 1
    })
    .await;
    second.gate.notify_one();
    all_done(&world).await;
    assert_eq!(world.notices().await.len(), 1);
    assert!(first.done().is_empty());
    crew.stop(Duration::ZERO).await;
    other.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_writes_after_it_was_given_up_does_not_count() {
    let world = World::new().await;
    let (a, b) = (world.process(), world.process());
    let (first, second) = (
        Errand::of(JobPolicy::default()),
        Errand::of(JobPolicy::default()),
    );
    let crew = start(&a, &first);
    // The job is done, and the process stops before that is written.
    a.plan.hang_next(Operation::SettleJobs, 1);
    a.plan.hang_next(Operation::HeartbeatJobs, 1);
    enqueue(&world, "done").await;
    until("it is done", async || first.done().len() == 1).await;
    a.plan.hang_next(Operation::ClaimJobs, 1);
    world.clock.advance(Duration::from_secs(61));
    let other = start(&b, &second);
    until("it is done again", async || second.done().len() == 1).await;
    a.plan.release();
    all_done(&world).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    // Each has done it, and it was written once.
    assert_eq!(world.notices().await.len(), 1);
    crew.stop(Duration::ZERO).await;
    other.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_fails_loses_nothing_and_doubles_nothing() {
    for operation in [
        Operation::ClaimJobs,
        Operation::SettleJobs,
        Operation::HeartbeatJobs,
        Operation::NextDue,
        Operation::JobCounts,
    ] {
        for kind in [ErrorKind::Unavailable, ErrorKind::Timeout] {
            let world = World::new().await;
            let process = world.process();
            process.plan.fail_next(operation, 3, kind);
            process.plan.lose_next_reply(operation, 3, kind);
            let errand = Errand::of(JobPolicy::default());
            let workers = start(&process, &errand);
            for _ in 0..20 {
                enqueue(&world, "done").await;
                tokio::time::sleep(Duration::from_secs(10)).await;
                // A claim whose reply was lost comes back when its lease ends.
                world.clock.advance(Duration::from_secs(10));
            }
            all_done(&world).await;
            assert_eq!(world.notices().await.len(), 20, "{operation:?}");
            workers.stop(Duration::ZERO).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_jobs_end_and_gives_back_the_rest() {
    let world = World::new().await;
    let process = world.process();
    let policy = JobPolicy {
        concurrency_max: 16,
        ..JobPolicy::default()
    };
    let errand = Errand::of(policy);
    let workers = start(&process, &errand);
    for _ in 0..40 {
        enqueue(&world, "waits").await;
    }
    until("as many run as may", async || errand.begun() == 16).await;
    // Some end within the patience.
    let stopping = workers.clone();
    let stopping = tokio::spawn(async move { stopping.stop(Duration::from_secs(10)).await });
    tokio::time::sleep(Duration::from_secs(3)).await;
    for _ in 0..5 {
        errand.gate.notify_one();
    }
    stopping.await.unwrap();
    assert_eq!(errand.done().len(), 5);
    assert_eq!(errand.dropped.load(Ordering::SeqCst), 11);
    assert_eq!(errand.begun(), 16);
    // The others are due now, without a wait for their leases.
    let counts = world.store.job_counts(world.clock.now()).await.unwrap();
    assert_eq!((counts[0].due, counts[0].later), (35, 0));
}

#[tokio::test(start_paused = true)]
async fn jobs_in_the_order_of_their_user_are_done_one_after_the_other() {
    let world = World::new().await;
    let now = world.clock.now();
    let mut jobs = Vec::new();
    for n in 0..30 {
        for user in 0..3 {
            let job = NewJob::new(kind(), format!("{user}/{n:02}"), now);
            jobs.push(job.for_user(sample_user_id(user)).in_order_of_user());
        }
    }
    world.store.enqueue(jobs, now).await.unwrap();
    let (a, b) = (world.process(), world.process());
    let errands = [
        Errand::of(JobPolicy::default()),
        Errand::of(JobPolicy::default()),
    ];
    let crews = [start(&a, &errands[0]), start(&b, &errands[1])];
    all_done(&world).await;
    let notices = world.notices().await;
    for user in 0..3 {
        let prefix = format!("{user}/");
        let written: Vec<_> = notices
            .iter()
            .filter_map(|it| match &it.body {
                NoticeBody::Badge { badge } => badge.strip_prefix(&prefix),
                _ => None,
            })
            .collect();
        assert!(written.is_sorted(), "{written:?}");
        assert_eq!(written.len(), 30);
    }
    for crew in &crews {
        crew.stop(Duration::ZERO).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_handlers_of_one_kind_are_refused() {
    let world = World::new().await;
    let process = world.process();
    let queue = Arc::clone(&process.stores.learning) as Arc<dyn JobQueue>;
    let started = Workers::builder(queue, Arc::clone(&process.stores.clock))
        .handler(Errand::of(JobPolicy::default()))
        .handler(Errand::of(JobPolicy::default()))
        .start();
    assert_eq!(started.unwrap_err().kind(), ErrorKind::Invalid);
}
