//! Checks of [`JobQueue`], of a store that also keeps the log and notices.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::chats::WORDS;
use super::notices::{all_notices, notice};
use super::steps::{WORKS, all_at_once, at, changed, events_after, hinted, publish_samples};
use super::whole::WholeStore;
use crate::case::CaseCorrection;
use crate::event::{Event, EventBody, LogPosition};
use crate::id::{JobId, UserId};
use crate::job::{
    ClaimedJob, DeadJob, Effects, Enqueued, JOB_DEDUP_KEY_LEN_MAX, JOB_PAYLOAD_LEN_MAX,
    JOB_REASON_LEN_MAX, JOBS_PER_CALL_MAX, JobClaim, JobCounts, JobKind, JobOutcome, JobQueue,
    NewJob, Settled, Settlement,
};
use crate::testing::sample_user_id;
use crate::{ErrorKind, Result};

/// How long a claim of a check is good.
const LEASE: Duration = Duration::from_secs(60);

/// How many claim at once.
const CLAIMERS: usize = 8;

fn kind(name: &str) -> JobKind {
    JobKind::new(name).expect("a check uses names that exist")
}

/// What most jobs of the checks do.
fn work() -> JobKind {
    kind("work")
}

/// What some jobs do besides.
fn other() -> JobKind {
    kind("other")
}

/// A job that is due `seconds` into the samples, whose payload says so.
fn job(seconds: i64) -> NewJob {
    NewJob::new(work(), seconds.to_string(), at(seconds))
}

/// A job in the order of the `n`th sample user.
fn ordered(n: u32, seconds: i64) -> NewJob {
    job(seconds).for_user(sample_user_id(n)).in_order_of_user()
}

/// Enqueues jobs of which none is known.
pub(super) async fn enqueue(queue: &dyn JobQueue, jobs: Vec<NewJob>) {
    let count = jobs.len();
    let enqueued = queue.enqueue(jobs, at(0)).await.expect(WORKS);
    assert_eq!(enqueued, vec![Enqueued::New; count]);
}

async fn is_new(queue: &dyn JobQueue, job: NewJob, now: Timestamp) -> bool {
    let enqueued = queue.enqueue(vec![job], now).await.expect(WORKS);
    assert_eq!(enqueued.len(), 1, "a job is answered");
    enqueued[0] == Enqueued::New
}

/// Claims jobs of both kinds.
pub(super) async fn claim(queue: &dyn JobQueue, limit: usize, seconds: i64) -> Vec<ClaimedJob> {
    let kinds = [work(), other()];
    let claimed = queue.claim(&kinds, limit, at(seconds), LEASE).await;
    claimed.expect(WORKS)
}

/// Claims the one job that can be claimed.
async fn claim_one(queue: &dyn JobQueue, seconds: i64) -> ClaimedJob {
    let mut claimed = claim(queue, 10, seconds).await;
    assert_eq!(claimed.len(), 1, "there is one job to claim");
    claimed.remove(0)
}

/// The payloads of what can be claimed, sorted.
async fn claimable(queue: &dyn JobQueue, seconds: i64) -> Vec<String> {
    sorted_payloads(&claim(queue, 1_000, seconds).await)
}

fn sorted_payloads(jobs: &[ClaimedJob]) -> Vec<String> {
    let mut payloads: Vec<_> = jobs.iter().map(|job| job.payload.clone()).collect();
    payloads.sort();
    payloads
}

fn settlement(claim: JobClaim, outcome: JobOutcome) -> Settlement {
    Settlement {
        claim,
        outcome,
        effects: Effects::default(),
    }
}

fn dead(reason: &str) -> JobOutcome {
    let reason = reason.to_owned();
    JobOutcome::Dead { reason }
}

fn retry(seconds: i64) -> JobOutcome {
    JobOutcome::Retry {
        at: at(seconds),
        reason: "it did not work".to_owned(),
    }
}

/// Ends an attempt, and says whether that counts.
async fn settle_with(queue: &dyn JobQueue, settlement: Settlement, seconds: i64) -> Settled {
    let settled = queue.settle(vec![settlement], at(seconds)).await;
    let settled = settled.expect(WORKS);
    assert_eq!(settled.len(), 1, "a settlement is answered");
    settled[0]
}

async fn settle(queue: &dyn JobQueue, job: &ClaimedJob, outcome: JobOutcome, seconds: i64) {
    let settled = settle_with(queue, settlement(job.claim(), outcome), seconds).await;
    assert_eq!(settled, Settled::Done);
}

/// Has a job of these seconds die, and returns its id.
async fn die(queue: &dyn JobQueue, seconds: i64) -> JobId {
    enqueue(queue, vec![job(seconds)]).await;
    let claimed = claim_one(queue, seconds).await;
    settle(queue, &claimed, dead("it cannot work"), seconds).await;
    claimed.id
}

async fn list_dead(queue: &dyn JobQueue) -> Vec<DeadJob> {
    queue.list_dead(None, 1_000).await.expect(WORKS)
}

fn assert_invalid<T: std::fmt::Debug>(what: &str, result: Result<T>) {
    let error = result.expect_err(what);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error}");
}

fn outage(n: i64) -> EventBody {
    EventBody::OutageDeclared {
        began_at: at(n),
        ended_at: at(n + 1),
        declared_at: at(n + 2),
    }
}

/// One effect of each kind, told apart by `n`.
fn effects(n: u32) -> Effects {
    Effects {
        notices: vec![notice(sample_user_id(n), &format!("effect-{n}"))],
        jobs: vec![NewJob::new(other(), format!("effect {n}"), at(0))],
        events: vec![outage(n.into())],
    }
}

/// Asserts that just the effects of these numbers were written.
async fn assert_effects(store: &Arc<dyn WholeStore>, numbers: &[u32]) {
    let kinds = [other()];
    let claimed = store.claim(&kinds, 1_000, at(100_000), LEASE).await;
    let mut payloads: Vec<_> = numbers.iter().map(|n| format!("effect {n}")).collect();
    payloads.sort();
    assert_eq!(sorted_payloads(&claimed.expect(WORKS)), payloads);

    let users: Vec<UserId> = all_notices(store)
        .await
        .iter()
        .map(|it| it.user_id)
        .collect();
    let wanted: Vec<UserId> = numbers.iter().copied().map(sample_user_id).collect();
    assert_eq!(users, wanted, "who is told");

    // What was committed before the last is shown before it.
    let last = outage(i64::from(u32::MAX));
    store.append_events(vec![last.clone()]).await.expect(WORKS);
    let mut events: Vec<Event> = Vec::new();
    while events.last().is_none_or(|event| event.body != last) {
        let after = events.last().map_or(LogPosition::START, |it| it.position);
        events.extend(events_after(&**store, after, 1, 100).await);
    }
    events.pop();
    let bodies: Vec<_> = events.into_iter().map(|it| it.body).collect();
    let wanted: Vec<_> = numbers.iter().map(|n| outage(i64::from(*n))).collect();
    assert_eq!(bodies, wanted, "what happened");
}

/// A job is claimed as it was given, whatever it says and whomever it is for.
pub async fn a_new_job_is_claimed_as_it_was_given(store: Arc<dyn WholeStore>) {
    let longest = "k".repeat(64);
    for (n, payload) in (0..).zip(WORDS) {
        let kind = kind(["work", &longest, "a-1"][n % 3]);
        let given = NewJob::new(kind.clone(), payload, at(5));
        let given = match n % 2 {
            0 => given,
            _ => given.for_user(sample_user_id(3)),
        };
        let enqueued = store.enqueue(vec![given.clone()], at(2)).await;
        assert_eq!(enqueued.expect(WORKS), [Enqueued::New]);
        let claimed = store.claim(&[kind], 10, at(7), LEASE).await.expect(WORKS);
        let expected = ClaimedJob {
            id: given.id,
            kind: given.kind,
            payload: payload.to_owned(),
            user_id: given.user_id,
            enqueued_at: at(2),
            run_at: at(5),
            attempt: 1,
            tries: 1,
            leased_until: at(67),
        };
        assert_eq!(claimed, [expected]);
    }
}

/// The longest payload and the longest key are kept whole.
pub async fn the_longest_job_that_is_allowed_is_kept(store: Arc<dyn WholeStore>) {
    let payload = "é".repeat(JOB_PAYLOAD_LEN_MAX / 2);
    let key = |end: &str| "é".repeat(JOB_DEDUP_KEY_LEN_MAX / 2 - 1) + end;
    let given = |end: &str| NewJob::new(work(), payload.as_str(), at(0)).once(key(end), LEASE);
    assert!(is_new(&*store, given("ab"), at(0)).await);
    assert!(!is_new(&*store, given("ab"), at(0)).await);
    assert!(is_new(&*store, given("ac"), at(0)).await);
    for claimed in claim(&*store, 10, 0).await {
        assert!(claimed.payload == payload, "the payload is whole");
    }
}

/// A job is claimed when its instant has come, and not before.
pub async fn a_job_is_not_claimed_before_its_time(store: Arc<dyn WholeStore>) {
    enqueue(&*store, vec![job(10)]).await;
    assert_eq!(claimable(&*store, 9).await, [""; 0]);
    assert_eq!(claimable(&*store, 10).await, ["10"]);
}

/// Only jobs of the kinds that were asked for are claimed.
pub async fn only_jobs_of_the_given_kinds_are_claimed(store: Arc<dyn WholeStore>) {
    let kinds = ["a", "b", "c", "a-b"].map(kind);
    let jobs = kinds.clone();
    let jobs = jobs.map(|kind| NewJob::new(kind.clone(), kind.as_str(), at(0)));
    enqueue(&*store, jobs.to_vec()).await;
    let [a, b, c, _] = kinds;
    for (kinds, expected) in [
        (vec![], vec![]),
        (vec![kind("unknown")], vec![]),
        (vec![b], vec!["b"]),
        (vec![a, c], vec!["a", "c"]),
    ] {
        let claimed = store.claim(&kinds, 10, at(1), LEASE).await.expect(WORKS);
        assert_eq!(sorted_payloads(&claimed), expected);
    }
}

/// Of the jobs that are due, those due longest are claimed first.
pub async fn jobs_due_longest_are_claimed_first(store: Arc<dyn WholeStore>) {
    enqueue(&*store, [5, 1, 4, 2, 3, 9].map(job).to_vec()).await;
    assert_eq!(sorted_payloads(&claim(&*store, 2, 8).await), ["1", "2"]);
    assert_eq!(sorted_payloads(&claim(&*store, 2, 8).await), ["3", "4"]);
    assert_eq!(sorted_payloads(&claim(&*store, 2, 8).await), ["5"]);
}

/// A claim takes no more than its limit, and never more than the most that is allowed.
pub async fn a_claim_is_bounded(store: Arc<dyn WholeStore>) {
    let jobs = |count: usize| (0..count as i64).map(job).collect::<Vec<_>>();
    enqueue(&*store, jobs(JOBS_PER_CALL_MAX)).await;
    enqueue(&*store, jobs(10)).await;
    for (limit, expected) in [(0, 0), (7, 7), (usize::MAX, JOBS_PER_CALL_MAX), (10, 3)] {
        let claimed = claim(&*store, limit, 10_000).await;
        assert_eq!(claimed.len(), expected, "of {limit}");
    }
}

/// Many who claim at once get all jobs, and each of them once.
pub async fn claimers_at_once_get_different_jobs(store: Arc<dyn WholeStore>) {
    let jobs: Vec<_> = (0..100).map(job).collect();
    let mut expected: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    enqueue(&*store, jobs).await;
    let claiming = (0..CLAIMERS).map(|_| {
        let store = Arc::clone(&store);
        async move {
            let mut claimed = Vec::new();
            loop {
                let more = claim(&*store, 7, 200).await;
                if more.is_empty() {
                    return claimed;
                }
                claimed.extend(more);
            }
        }
    });
    let mut claimed = all_at_once(claiming).await.concat();
    // What one of them held while the others looked, they passed over.
    claimed.extend(claim(&*store, 100, 200).await);
    assert!(claimed.iter().all(|job| job.attempt == 1));
    let mut ids: Vec<_> = claimed.iter().map(|job| job.id).collect();
    ids.sort();
    expected.sort();
    assert_eq!(ids, expected);
}

/// A job whose lease has ended is claimed again, as the next attempt.
pub async fn a_job_whose_lease_has_ended_is_claimed_again(store: Arc<dyn WholeStore>) {
    enqueue(&*store, vec![job(0)]).await;
    let first = claim_one(&*store, 100).await;
    assert_eq!(first.leased_until, at(160));
    assert_eq!(claimable(&*store, 159).await, [""; 0]);
    let second = claim_one(&*store, 160).await;
    assert_eq!((second.id, second.attempt), (first.id, 2));
    assert_eq!(second.leased_until, at(220));
    assert_eq!((second.enqueued_at, second.tries), (at(0), 2));
    assert_eq!(second.run_at, at(160), "the lease ended");
}

/// A heartbeat makes a claim good for a lease from then.
pub async fn a_heartbeat_prolongs_a_claim(store: Arc<dyn WholeStore>) {
    enqueue(&*store, vec![job(0), job(1)]).await;
    let claimed = claim(&*store, 10, 100).await;
    let kept = [claimed[0].claim()];
    let lost = store.heartbeat(&kept, at(150), LEASE).await.expect(WORKS);
    assert_eq!(lost, []);
    assert_eq!(claimable(&*store, 160).await, [claimed[1].payload.clone()]);
    assert_eq!(claimable(&*store, 209).await, [""; 0]);
    let again = claim(&*store, 10, 210).await;
    assert_eq!(again[0].id, claimed[0].id);
    assert_eq!(again[0].attempt, 2);
}

/// A heartbeat returns the claims that are lost: claimed again since, ended, or never there.
pub async fn a_heartbeat_of_a_lost_claim_says_so(store: Arc<dyn WholeStore>) {
    enqueue(&*store, vec![job(0), job(1), job(2), job(3)]).await;
    let first: HashMap<_, _> = claim(&*store, 10, 10)
        .await
        .into_iter()
        .map(|job| (job.payload.clone(), job))
        .collect();
    settle(&*store, &first["0"], JobOutcome::Done, 11).await;
    settle(&*store, &first["1"], dead("it cannot work"), 11).await;
    let kept = [first["2"].claim()];
    let lost = store.heartbeat(&kept, at(60), LEASE).await.expect(WORKS);
    assert_eq!(lost, []);
    // Late, but nobody else was faster.
    let lost = store.heartbeat(&kept, at(130), LEASE).await.expect(WORKS);
    assert_eq!(lost, []);
    let second = claim_one(&*store, 140).await;
    assert_eq!(second.payload, "3");
    let unknown = JobClaim {
        id: JobId::new(at(0)),
        attempt: 1,
    };
    let mut wanted = vec![
        first["0"].claim(),
        first["1"].claim(),
        first["3"].claim(),
        unknown,
    ];
    let mut claims = wanted.clone();
    claims.extend([second.claim(), first["2"].claim()]);
    let lost = store.heartbeat(&claims, at(150), LEASE).await;
    let mut lost = lost.expect(WORKS);
    let order = |claim: &JobClaim| (claim.id, claim.attempt);
    lost.sort_by_key(order);
    wanted.sort_by_key(order);
    assert_eq!(lost, wanted);
    assert_eq!(claimable(&*store, 209).await, [""; 0], "the others hold");
}

/// A job that is done is in no list and is never claimed again.
pub async fn a_job_that_is_done_is_forgotten(store: Arc<dyn WholeStore>) {
    enqueue(&*store, vec![job(0)]).await;
    let claimed = claim_one(&*store, 0).await;
    settle(&*store, &claimed, JobOutcome::Done, 1).await;
    assert_eq!(claimable(&*store, 100_000).await, [""; 0]);
    assert_eq!(list_dead(&*store).await, []);
    assert_eq!(store.job_counts(at(2)).await.expect(WORKS), []);
    assert_eq!(store.next_due(&[work()]).await.expect(WORKS), None);
}

/// An attempt whose lease has ended counts if no other was made since.
pub async fn a_late_attempt_counts_if_no_other_was_made(store: Arc<dyn WholeStore>) {
    enqueue(&*store, vec![job(0)]).await;
    let claimed = claim_one(&*store, 0).await;
    settle(&*store, &claimed, JobOutcome::Done, 10_000).await;
    assert_eq!(claimable(&*store, 100_000).await, [""; 0]);
}

/// An attempt after which another was made is lost, and writes nothing; the other one goes on.
pub async fn a_lost_attempt_writes_nothing(store: Arc<dyn WholeStore>) {
    enqueue(&*store, vec![job(0)]).await;
    let first = claim_one(&*store, 0).await;
    let second = claim_one(&*store, 60).await;
    for outcome in [JobOutcome::Done, dead("it cannot work"), retry(0)] {
        let late = Settlement {
            effects: effects(1),
            ..settlement(first.claim(), outcome)
        };
        assert_eq!(settle_with(&*store, late, 61).await, Settled::Lost);
    }
    assert_eq!(claimable(&*store, 100).await, [""; 0]);
    assert_eq!(list_dead(&*store).await, []);
    assert_effects(&store, &[]).await;
    settle(&*store, &second, JobOutcome::Done, 70).await;
}

/// Settling an attempt again is lost, in another call and in the same one; effects are written once.
pub async fn an_attempt_is_settled_once(store: Arc<dyn WholeStore>) {
    let queue: &dyn JobQueue = &*store;
    for (n, outcome) in (0..).zip([JobOutcome::Done, dead("it cannot work")]) {
        enqueue(&*store, vec![job(0)]).await;
        let claimed = store.claim(&[work()], 10, at(1_000), LEASE).await;
        let claimed = claimed.expect(WORKS).remove(0);
        let end = Settlement {
            effects: effects(n),
            ..settlement(claimed.claim(), outcome)
        };
        let twice = vec![end.clone(), end.clone()];
        let settled = queue.settle(twice, at(1_001)).await.expect(WORKS);
        assert_eq!(settled, [Settled::Done, Settled::Lost]);
        assert_eq!(settle_with(&*store, end, 1_002).await, Settled::Lost);
        let lost = store.heartbeat(&[claimed.claim()], at(1_003), LEASE).await;
        assert_eq!(lost.expect(WORKS), [claimed.claim()]);
        let again = store.claim(&[work()], 10, at(90_000), LEASE).await;
        assert_eq!(again.expect(WORKS), []);
    }
    assert_effects(&store, &[0, 1]).await;
}

/// An attempt that has ended is over also where the job is in the queue again: to be tried again, or
/// requeued after it had died. Until the next claim nobody has it.
pub async fn an_attempt_ends_once_though_its_job_goes_on(store: Arc<dyn WholeStore>) {
    enqueue(&*store, vec![job(0)]).await;
    let first = claim_one(&*store, 0).await;
    let unborn = JobClaim {
        attempt: 0,
        ..first.claim()
    };
    let end = |n, claim, outcome| Settlement {
        effects: effects(n),
        ..settlement(claim, outcome)
    };
    for (n, claim, outcome, settled) in [
        (1, unborn, retry(5), Settled::Lost),
        (2, first.claim(), retry(5), Settled::Done),
        (3, first.claim(), retry(5), Settled::Lost),
        (4, first.claim(), JobOutcome::Done, Settled::Lost),
    ] {
        let found = settle_with(&*store, end(n, claim, outcome), 1).await;
        assert_eq!(found, settled, "the settlement {n}");
    }
    let lost = store.heartbeat(&[first.claim()], at(2), LEASE).await;
    assert_eq!(lost.expect(WORKS), [first.claim()]);
    let work = [work()];
    let claim = async |seconds| {
        let claimed = store.claim(&work, 10, at(seconds), LEASE).await;
        claimed.expect(WORKS).remove(0)
    };
    let second = claim(5).await;
    assert_eq!(second.attempt, 2, "it is due when that was asked for");
    settle(&*store, &second, dead("it cannot work"), 6).await;
    assert_eq!(store.requeue(&[second.id], at(7)).await.expect(WORKS), 1);
    for (n, claim) in [(5, first.claim()), (6, second.claim())] {
        for outcome in [JobOutcome::Done, dead("it cannot work"), retry(900)] {
            let late = settle_with(&*store, end(n, claim, outcome), 8).await;
            assert_eq!(late, Settled::Lost);
        }
    }
    let lost = store.heartbeat(&[second.claim()], at(9), LEASE).await;
    assert_eq!(lost.expect(WORKS), [second.claim()]);
    let third = claim(9).await;
    assert_eq!(third.attempt, 3);
    let end = end(7, third.claim(), JobOutcome::Done);
    assert_eq!(settle_with(&*store, end, 10).await, Settled::Done);
    assert_effects(&store, &[2, 7]).await;
}

/// Of many who settle the same attempt at once, one counts.
pub async fn one_of_many_settlements_at_once_counts(store: Arc<dyn WholeStore>) {
    enqueue(&*store, vec![job(0)]).await;
    let claimed = claim_one(&*store, 0).await;
    let settling = (0..8).map(|n| {
        let store = Arc::clone(&store);
        let end = Settlement {
            effects: effects(n),
            ..settlement(claimed.claim(), JobOutcome::Done)
        };
        async move { (n, settle_with(&*store, end, 1).await) }
    });
    let settled = all_at_once(settling).await;
    let counted = settled.iter().filter(|(_, it)| *it == Settled::Done);
    let counted: Vec<u32> = counted.map(|(n, _)| *n).collect();
    assert_eq!(counted.len(), 1, "one counts");
    assert_effects(&store, &counted).await;
}

/// Effects are written with the end of their attempt, whatever the end.
pub async fn effects_are_written_with_the_end(store: Arc<dyn WholeStore>) {
    for (n, outcome) in [(1, JobOutcome::Done), (2, dead("why")), (3, retry(900_000))] {
        enqueue(&*store, vec![job(0)]).await;
        let claimed = store.claim(&[work()], 10, at(n.into()), LEASE).await;
        let end = Settlement {
            effects: effects(n),
            ..settlement(claimed.expect(WORKS)[0].claim(), outcome)
        };
        assert_eq!(settle_with(&*store, end, 5).await, Settled::Done);
    }
    assert_effects(&store, &[1, 2, 3]).await;
}

/// A job of an effect is claimed like any other: its key, its order and its instant count.
pub async fn a_job_of_an_effect_is_like_any_other(store: Arc<dyn WholeStore>) {
    let taken = job(50).once("key", LEASE);
    enqueue(&*store, vec![job(0), taken.clone()]).await;
    let claimed = claim_one(&*store, 0).await;
    let again = NewJob {
        id: JobId::new(at(0)),
        ..taken
    };
    let jobs = vec![ordered(1, 10), ordered(1, 5), again, job(20)];
    let end = Settlement {
        effects: Effects {
            jobs,
            ..Effects::default()
        },
        ..settlement(claimed.claim(), JobOutcome::Done)
    };
    assert_eq!(settle_with(&*store, end, 3).await, Settled::Done);
    assert_eq!(claimable(&*store, 9).await, [""; 0]);
    let first = claim_one(&*store, 10).await;
    assert_eq!((first.payload.as_str(), first.enqueued_at), ("10", at(3)));
    settle(&*store, &first, JobOutcome::Done, 10).await;
    assert_eq!(claimable(&*store, 10).await, ["5"]);
    assert_eq!(claimable(&*store, 50).await, ["20", "50"]);
}

/// Settlements are answered in their order, whichever of them count.
pub async fn settlements_are_answered_in_their_order(store: Arc<dyn WholeStore>) {
    let queue: &dyn JobQueue = &*store;
    enqueue(&*store, (0..6).map(job).collect()).await;
    let claimed = claim(&*store, 10, 10).await;
    let end = |job: &ClaimedJob| settlement(job.claim(), JobOutcome::Done);
    for n in [1, 3] {
        let settled = settle_with(&*store, end(&claimed[n]), 11).await;
        assert_eq!(settled, Settled::Done);
    }
    let settled = queue
        .settle(claimed.iter().map(end).collect(), at(12))
        .await;
    let (done, lost) = (Settled::Done, Settled::Lost);
    let expected = [done, lost, done, lost, done, done];
    assert_eq!(settled.expect(WORKS), expected);
    assert_eq!(queue.settle(Vec::new(), at(12)).await.expect(WORKS), []);
}

/// Settlements of which one cannot be written are refused, all of them.
pub async fn effects_that_cannot_be_written_are_refused_whole(store: Arc<dyn WholeStore>) {
    let queue: &dyn JobQueue = &*store;
    enqueue(&*store, vec![job(0), job(1)]).await;
    let claimed = claim(&*store, 10, 10).await;
    let answered = EventBody::SettingsChanged {
        settings: Default::default(),
        changed_at: at(0),
    };
    let with_job = |job| Effects {
        jobs: vec![job],
        ..Effects::default()
    };
    for (what, bad) in [
        (
            "a job with a NUL",
            with_job(NewJob::new(work(), "\0", at(0))),
        ),
        (
            "an event of a user",
            Effects {
                events: vec![answered],
                ..Effects::default()
            },
        ),
    ] {
        let end = |job: &ClaimedJob, effects| Settlement {
            effects,
            ..settlement(job.claim(), JobOutcome::Done)
        };
        let ends = vec![end(&claimed[0], effects(1)), end(&claimed[1], bad)];
        assert_invalid(what, queue.settle(ends, at(11)).await);
    }
    assert_effects(&store, &[]).await;
    for claimed in &claimed {
        settle(&*store, claimed, JobOutcome::Done, 12).await;
    }
}

/// What cannot be enqueued is refused, and all jobs of the call with it.
pub async fn jobs_that_cannot_be_enqueued_are_refused_whole(store: Arc<dyn WholeStore>) {
    let long = |len| "x".repeat(len);
    let text = |payload: String| NewJob::new(work(), payload, at(0));
    for (what, bad) in [
        ("a long payload", text(long(JOB_PAYLOAD_LEN_MAX + 1))),
        ("a payload with a NUL", text("a\0b".to_owned())),
        (
            "a long key",
            job(0).once(long(JOB_DEDUP_KEY_LEN_MAX + 1), LEASE),
        ),
        ("a key with a NUL", job(0).once("a\0b", LEASE)),
        ("an order of nobody", job(0).in_order_of_user()),
    ] {
        let jobs = vec![job(1).once("key", LEASE), bad];
        assert_invalid(what, store.enqueue(jobs, at(0)).await);
    }
    assert_eq!(claimable(&*store, 1_000).await, [""; 0]);
    assert!(is_new(&*store, job(1).once("key", LEASE), at(0)).await);
}

/// Too many at once are refused.
pub async fn too_many_at_once_are_refused(store: Arc<dyn WholeStore>) {
    let queue: &dyn JobQueue = &*store;
    let count = JOBS_PER_CALL_MAX + 1;
    let jobs: Vec<_> = (0..count as i64).map(job).collect();
    let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    let ends = ids.iter().map(|id| JobClaim {
        id: *id,
        attempt: 1,
    });
    let ends: Vec<_> = ends
        .map(|claim| settlement(claim, JobOutcome::Done))
        .collect();
    assert_invalid("jobs", store.enqueue(jobs, at(0)).await);
    assert_eq!(claimable(&*store, 10_000).await, [""; 0]);
    assert_invalid("settlements", queue.settle(ends, at(0)).await);
    assert_invalid("jobs to requeue", store.requeue(&ids, at(0)).await);
    assert_invalid("jobs to discard", store.discard(&ids).await);
}

/// A job whose id is in the queue or dead is known, and stays as it is.
pub async fn a_job_that_is_there_is_known(store: Arc<dyn WholeStore>) {
    let first = job(0);
    let changed = NewJob {
        payload: "changed".to_owned(),
        ..first.clone()
    };
    let twice = vec![first.clone(), changed.clone(), job(50)];
    let enqueued = store.enqueue(twice, at(0)).await.expect(WORKS);
    assert_eq!(enqueued, [Enqueued::New, Enqueued::Known, Enqueued::New]);
    assert!(!is_new(&*store, changed.clone(), at(1)).await);
    let claimed = claim_one(&*store, 10).await;
    assert_eq!((claimed.id, claimed.payload.as_str()), (first.id, "0"));
    assert!(!is_new(&*store, changed.clone(), at(2)).await);
    settle(&*store, &claimed, dead("why"), 11).await;
    assert!(!is_new(&*store, changed, at(3)).await);
    assert_eq!(list_dead(&*store).await[0].payload, "0");
}

/// A key is taken while its job is in the queue or dead, however long that is, and free afterwards.
pub async fn a_key_is_taken_while_its_job_is_there(store: Arc<dyn WholeStore>) {
    let keyed = || job(0).once("key", Duration::ZERO);
    assert!(is_new(&*store, keyed(), at(0)).await);
    assert!(!is_new(&*store, keyed(), at(10)).await, "it waits");
    let claimed = claim_one(&*store, 20).await;
    assert!(!is_new(&*store, keyed(), at(21)).await, "it is claimed");
    settle(&*store, &claimed, retry(30), 22).await;
    assert!(!is_new(&*store, keyed(), at(23)).await, "it waits again");
    let claimed = claim_one(&*store, 30).await;
    settle(&*store, &claimed, dead("why"), 31).await;
    assert!(!is_new(&*store, keyed(), at(90_000)).await, "it is dead");
    assert_eq!(store.discard(&[claimed.id]).await.expect(WORKS), 1);
    assert!(is_new(&*store, keyed(), at(90_000)).await, "it is gone");
    assert!(!is_new(&*store, keyed(), at(90_000)).await, "it is new");
    let claimed = claim_one(&*store, 90_000).await;
    settle(&*store, &claimed, JobOutcome::Done, 90_000).await;
    assert!(is_new(&*store, keyed(), at(90_000)).await, "it is done");
}

/// A key is taken as long as was asked for from when its job was enqueued, although that is done.
pub async fn a_key_is_taken_as_long_as_was_asked(store: Arc<dyn WholeStore>) {
    let keyed = |seconds| job(0).once("key", Duration::from_secs(seconds));
    assert!(is_new(&*store, keyed(100), at(0)).await);
    let claimed = claim_one(&*store, 1).await;
    settle(&*store, &claimed, JobOutcome::Done, 2).await;
    assert!(!is_new(&*store, keyed(5_000), at(99)).await);
    assert!(is_new(&*store, keyed(50), at(100)).await);
    let claimed = claim_one(&*store, 101).await;
    settle(&*store, &claimed, JobOutcome::Done, 102).await;
    assert!(!is_new(&*store, keyed(50), at(149)).await);
    assert!(is_new(&*store, keyed(50), at(150)).await);
}

/// A key counts together with the kind of its job, and for every letter.
pub async fn a_key_is_of_one_kind(store: Arc<dyn WholeStore>) {
    for key in ["key", "Key", "key ", "", "ключ", "k%y"] {
        for kind in [work(), other()] {
            let job = || NewJob::new(kind.clone(), "", at(0)).once(key, LEASE);
            assert!(is_new(&*store, job(), at(0)).await, "{key:?} of {kind}");
            assert!(!is_new(&*store, job(), at(0)).await, "{key:?} of {kind}");
        }
    }
}

/// A key that an earlier job of the same call took is taken.
pub async fn a_key_is_taken_within_a_call(store: Arc<dyn WholeStore>) {
    let keys = ["a", "b", "a", "c", "b", "a"];
    let jobs = keys.map(|key| job(0).once(key, LEASE)).to_vec();
    let ids: HashSet<_> = [0, 1, 3].into_iter().map(|n: usize| jobs[n].id).collect();
    let enqueued = store.enqueue(jobs, at(0)).await.expect(WORKS);
    let (new, known) = (Enqueued::New, Enqueued::Known);
    assert_eq!(enqueued, [new, new, known, new, known, known]);
    let claimed = claim(&*store, 10, 0).await;
    assert_eq!(claimed.len(), 3);
    assert!(claimed.iter().all(|job| ids.contains(&job.id)));
    assert_eq!(store.enqueue(Vec::new(), at(0)).await.expect(WORKS), []);
}

/// Of many who enqueue under a key at once, one does.
pub async fn one_of_many_takes_a_key(store: Arc<dyn WholeStore>) {
    // The same keys in other orders, so that whoever locks them one by one must mind the order.
    let enqueuing = (0..8).map(|n: usize| {
        let store = Arc::clone(&store);
        let mut keys = ["a", "b", "c", "d"];
        keys.rotate_left(n % 4);
        let jobs = keys.map(|key| NewJob::new(work(), key, at(0)).once(key, LEASE));
        async move { store.enqueue(jobs.to_vec(), at(0)).await.expect(WORKS) }
    });
    let enqueued = all_at_once(enqueuing).await.concat();
    let new = enqueued.iter().filter(|it| **it == Enqueued::New).count();
    assert_eq!(new, 4);
    assert_eq!(claimable(&*store, 0).await, ["a", "b", "c", "d"]);
}

/// Sweeping forgets the keys that are free again, at most as many as asked for, and says how many.
pub async fn keys_that_are_free_are_swept(store: Arc<dyn WholeStore>) {
    let keyed = |n: i64, seconds| job(n).once(format!("{n}"), Duration::from_secs(seconds));
    let jobs = vec![
        keyed(0, 10),
        keyed(1, 10),
        keyed(2, 10),
        keyed(3, 1_000),
        keyed(4, 10),
    ];
    enqueue(&*store, jobs).await;
    let claimed = claim(&*store, 10, 5).await;
    for claimed in &claimed {
        match claimed.payload.as_str() {
            "4" => settle(&*store, claimed, dead("why"), 6).await,
            _ => settle(&*store, claimed, JobOutcome::Done, 6).await,
        }
    }
    let sweep = async |seconds, limit| store.sweep_keys(at(seconds), limit).await.expect(WORKS);
    assert_eq!(sweep(9, 10).await, 0, "all are taken");
    assert_eq!(sweep(10, 2).await, 2);
    assert_eq!(sweep(10, 0).await, 0);
    assert_eq!(sweep(10, 10).await, 1);
    assert_eq!(sweep(10, 10).await, 0);
    assert!(!is_new(&*store, keyed(3, 1), at(20)).await);
    assert!(!is_new(&*store, keyed(4, 1), at(20)).await);
    assert!(is_new(&*store, keyed(0, 1), at(20)).await);
}

/// Jobs in the order of their user are claimed one at a time, in the order in which they were enqueued,
/// also of other kinds, due later, and enqueued in one call.
pub async fn jobs_in_order_are_done_one_at_a_time(store: Arc<dyn WholeStore>) {
    let of_other_kind = NewJob {
        kind: other(),
        ..ordered(1, 10)
    };
    enqueue(&*store, vec![ordered(1, 30), of_other_kind]).await;
    enqueue(&*store, vec![ordered(1, 20)]).await;
    assert_eq!(
        claimable(&*store, 25).await,
        [""; 0],
        "the first is not due"
    );
    for expected in ["30", "10", "20"] {
        let one = claim_one(&*store, 100).await;
        assert_eq!(one.payload, expected);
        assert_eq!(claimable(&*store, 100).await, [""; 0], "it is under way");
        settle(&*store, &one, JobOutcome::Done, 100).await;
    }
}

/// A job in order holds up those behind it whatever kinds a worker asks for.
pub async fn a_job_in_order_holds_up_those_of_other_kinds(store: Arc<dyn WholeStore>) {
    let of_other_kind = NewJob {
        kind: other(),
        ..ordered(1, 10)
    };
    enqueue(&*store, vec![ordered(1, 0), of_other_kind]).await;
    let others = async || {
        let claimed = store.claim(&[other()], 10, at(20), LEASE).await;
        sorted_payloads(&claimed.expect(WORKS))
    };
    assert_eq!(others().await, [""; 0], "the first waits");
    let first = store.claim(&[work()], 10, at(20), LEASE).await;
    let first = first.expect(WORKS).remove(0);
    assert_eq!(others().await, [""; 0], "the first is under way");
    settle(&*store, &first, JobOutcome::Done, 20).await;
    assert_eq!(others().await, ["10"]);
}

/// A job in order that is to be tried again holds up those behind it, and so does one whose worker died;
/// one that is given up does not.
pub async fn a_retried_job_holds_up_those_behind_it(store: Arc<dyn WholeStore>) {
    enqueue(&*store, vec![ordered(1, 0), ordered(1, 1)]).await;
    let first = claim_one(&*store, 10).await;
    settle(&*store, &first, retry(50), 10).await;
    assert_eq!(claimable(&*store, 49).await, [""; 0]);
    let first = claim_one(&*store, 50).await;
    assert_eq!((first.payload.as_str(), first.attempt), ("0", 2));
    assert_eq!(claimable(&*store, 109).await, [""; 0]);
    let first = claim_one(&*store, 110).await;
    assert_eq!((first.payload.as_str(), first.attempt), ("0", 3));
    settle(&*store, &first, dead("why"), 111).await;
    assert_eq!(claimable(&*store, 111).await, ["1"]);
}

/// A job in order that was dead and is back waits for another that is under way.
pub async fn a_requeued_job_waits_for_one_under_way(store: Arc<dyn WholeStore>) {
    enqueue(&*store, vec![ordered(1, 0), ordered(1, 1)]).await;
    let first = claim_one(&*store, 10).await;
    settle(&*store, &first, dead("why"), 10).await;
    let second = claim_one(&*store, 10).await;
    assert_eq!(store.requeue(&[first.id], at(11)).await.expect(WORKS), 1);
    assert_eq!(claimable(&*store, 12).await, [""; 0]);
    settle(&*store, &second, retry(20), 13).await;
    assert_eq!(claimable(&*store, 14).await, [""; 0]);
    let second = claim_one(&*store, 20).await;
    assert_eq!(second.payload, "1");
    settle(&*store, &second, JobOutcome::Done, 20).await;
    assert_eq!(claimable(&*store, 20).await, ["0"]);
}

/// Jobs in the order of one user hold up neither those of others, nor those in any order.
pub async fn jobs_in_order_hold_up_no_others(store: Arc<dyn WholeStore>) {
    let user_id = sample_user_id(1);
    let jobs = vec![
        ordered(1, 0),
        ordered(1, 1),
        ordered(2, 2),
        job(3).for_user(user_id),
        job(4).for_user(user_id),
        job(5),
        ordered(2, 6),
    ];
    enqueue(&*store, jobs).await;
    assert_eq!(claimable(&*store, 10).await, ["0", "2", "3", "4", "5"]);
    assert_eq!(claimable(&*store, 10).await, [""; 0]);
}

/// However many claim at once, no two jobs in the order of a user are under way, and all are done in
/// their order.
pub async fn claimers_at_once_keep_the_order_of_a_user(store: Arc<dyn WholeStore>) {
    let users = 4_u32;
    let jobs = |n: i64| (0..users).map(move |user| ordered(user, n));
    enqueue(&*store, (0..10).flat_map(jobs).collect()).await;
    let claiming = (0..CLAIMERS).map(|_| {
        let store = Arc::clone(&store);
        async move {
            // As often as there are jobs, since another may hold all that can be claimed.
            for _ in 0..40 {
                do_and_tell(&*store).await;
            }
        }
    });
    all_at_once(claiming).await;
    while do_and_tell(&*store).await {}
    // Notices stand in the order of the commits that ended the jobs.
    let notices = all_notices(&store).await;
    for user_id in (0..users).map(sample_user_id) {
        let own = notices.iter().filter(|it| it.user_id == user_id);
        let order: Vec<_> = own.map(|it| it.body.clone()).collect();
        let wanted = (0..10).map(|n| notice(user_id, &n.to_string()).body);
        assert_eq!(order, wanted.collect::<Vec<_>>());
    }
}

/// Does what can be claimed, tells its users so, and says whether there was anything.
async fn do_and_tell(queue: &dyn JobQueue) -> bool {
    let claimed = claim(queue, 2, 100).await;
    for job in &claimed {
        assert_eq!(job.attempt, 1, "nobody gave up");
        let user_id = job.user_id.expect("it was given");
        let end = Settlement {
            effects: Effects {
                notices: vec![notice(user_id, &job.payload)],
                ..Effects::default()
            },
            ..settlement(job.claim(), JobOutcome::Done)
        };
        assert_eq!(settle_with(queue, end, 100).await, Settled::Done);
    }
    !claimed.is_empty()
}

/// A job that is to be tried again is claimed when that was asked for, as the next attempt.
pub async fn a_retry_is_due_when_it_was_asked_for(store: Arc<dyn WholeStore>) {
    enqueue(&*store, vec![job(0)]).await;
    let first = claim_one(&*store, 10).await;
    settle(&*store, &first, retry(500), 11).await;
    assert_eq!(claimable(&*store, 499).await, [""; 0]);
    let second = claim_one(&*store, 500).await;
    assert_eq!((second.id, second.attempt), (first.id, 2));
    settle(&*store, &second, retry(100), 501).await;
    let third = claim_one(&*store, 501).await;
    assert_eq!((third.attempt, third.tries), (3, 3));
    assert_eq!(third.run_at, at(100));
}

/// A job that was released is due at once, and that attempt is none of its tries; those before it are.
pub async fn a_released_job_is_due_at_once(store: Arc<dyn WholeStore>) {
    enqueue(&*store, vec![job(0)]).await;
    settle(&*store, &claim_one(&*store, 0).await, retry(10), 1).await;
    for attempt in 2..5 {
        let second = i64::from(attempt) * 10;
        let claimed = claim_one(&*store, second).await;
        assert_eq!((claimed.attempt, claimed.tries), (attempt, 2));
        let released = Settlement {
            effects: effects(attempt),
            ..settlement(claimed.claim(), JobOutcome::Released)
        };
        let settled = settle_with(&*store, released.clone(), second + 5).await;
        assert_eq!(settled, Settled::Done);
        assert_eq!(
            settle_with(&*store, released, second + 5).await,
            Settled::Lost
        );
        let due = store.next_due(&[work()]).await.expect(WORKS);
        assert_eq!(due, Some(at(second + 5)));
        let others = store.claim(&[other()], 10, at(second), LEASE).await;
        let others = others.expect(WORKS);
        assert_eq!(others.len(), 1, "its effects are written once");
        settle(&*store, &others[0], JobOutcome::Done, second).await;
    }
    let last = claim_one(&*store, 100).await;
    assert_eq!((last.attempt, last.tries, last.run_at), (5, 2, at(45)));
    settle(&*store, &last, JobOutcome::Done, 101).await;
}

/// A job that is given up is kept as it was given, with how often and why it failed.
pub async fn a_job_given_up_is_kept(store: Arc<dyn WholeStore>) {
    let given = NewJob::new(other(), WORDS[2], at(0)).for_user(sample_user_id(5));
    let enqueued = store.enqueue(vec![given.clone()], at(1)).await;
    assert_eq!(enqueued.expect(WORKS), [Enqueued::New]);
    claim_one(&*store, 10).await;
    let second = claim_one(&*store, 100).await;
    let reason = "é".repeat(JOB_REASON_LEN_MAX);
    settle(&*store, &second, dead(&reason), 120).await;
    let expected = DeadJob {
        id: given.id,
        kind: given.kind,
        payload: given.payload,
        user_id: given.user_id,
        enqueued_at: at(1),
        attempts: 2,
        died_at: at(120),
        reason: "é".repeat(JOB_REASON_LEN_MAX / 2),
    };
    assert_eq!(list_dead(&*store).await, [expected]);
    assert_eq!(claimable(&*store, 100_000).await, [""; 0]);
    enqueue(&*store, vec![job(0)]).await;
    let claimed = claim_one(&*store, 0).await;
    // A character of two bytes does not fit in the middle of the last place.
    let reason = format!("x{}", "é".repeat(JOB_REASON_LEN_MAX / 2));
    settle(&*store, &claimed, dead(&reason), 1).await;
    let found = list_dead(&*store).await;
    let found = found.iter().find(|it| it.id == claimed.id);
    let kept = &found.expect("it is dead").reason;
    assert!(kept.len() >= JOB_REASON_LEN_MAX - 1 && reason.starts_with(kept.as_str()));
}

/// Dead jobs are listed in the order of their ids, and pages of any limit hold each once.
pub async fn dead_jobs_are_listed_in_order_of_id(store: Arc<dyn WholeStore>) {
    let mut ids = Vec::new();
    for seconds in [5, 1, 4, 2, 3] {
        ids.push(die(&*store, seconds).await);
    }
    ids.sort();
    for limit in [1, 2, 5, 100] {
        let mut listed: Vec<JobId> = Vec::new();
        loop {
            let page = store.list_dead(listed.last().copied(), limit).await;
            let page = page.expect(WORKS);
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            listed.extend(page.iter().map(|it| it.id));
        }
        assert_eq!(listed, ids, "pages of {limit}");
    }
    assert_eq!(store.list_dead(None, 0).await.expect(WORKS), []);
}

/// A dead job that is put back is due at once, and its attempts go on, but its tries begin anew; others
/// are not put back.
pub async fn a_requeued_job_is_due_and_goes_on(store: Arc<dyn WholeStore>) {
    let (first, second) = (die(&*store, 1).await, die(&*store, 2).await);
    enqueue(&*store, vec![job(3)]).await;
    let waiting = claim_one(&*store, 3).await;
    let ids = [first, waiting.id, JobId::new(at(0)), first];
    assert_eq!(store.requeue(&ids, at(500)).await.expect(WORKS), 1);
    assert_eq!(store.requeue(&ids, at(600)).await.expect(WORKS), 0);
    let due = store.next_due(&[work()]).await.expect(WORKS);
    assert_eq!(due, Some(at(63)), "the one that is claimed");
    settle(&*store, &waiting, JobOutcome::Done, 63).await;
    assert_eq!(claimable(&*store, 499).await, [""; 0]);
    let again = claim_one(&*store, 500).await;
    assert_eq!((again.id, again.attempt, again.tries), (first, 2, 1));
    assert_eq!(again.run_at, at(500));
    assert_eq!((again.payload.as_str(), again.enqueued_at), ("1", at(0)));
    let left: Vec<_> = list_dead(&*store).await.iter().map(|it| it.id).collect();
    assert_eq!(left, [second]);
}

/// A dead job that is discarded is gone for good; others stay.
pub async fn a_discarded_job_is_gone(store: Arc<dyn WholeStore>) {
    let (first, second) = (die(&*store, 1).await, die(&*store, 2).await);
    enqueue(&*store, vec![job(3)]).await;
    let waiting = claim_one(&*store, 3).await;
    let ids = [first, waiting.id, JobId::new(at(0)), first];
    assert_eq!(store.discard(&ids).await.expect(WORKS), 1);
    assert_eq!(store.discard(&ids).await.expect(WORKS), 0);
    assert_eq!(store.requeue(&[first], at(4)).await.expect(WORKS), 0);
    let left: Vec<_> = list_dead(&*store).await.iter().map(|it| it.id).collect();
    assert_eq!(left, [second]);
    settle(&*store, &waiting, JobOutcome::Done, 5).await;
}

/// Jobs are counted by kind: due, later and dead, and since when the one due longest is.
pub async fn jobs_are_counted_by_kind(store: Arc<dyn WholeStore>) {
    let of = |kind: &JobKind, seconds| NewJob::new(kind.clone(), "", at(seconds));
    let (a, b, c) = (kind("a"), kind("a-b"), kind("b"));
    let jobs = vec![of(&c, 10), of(&a, 30), of(&c, 20), of(&c, 40), of(&b, 90)];
    enqueue(&*store, jobs).await;
    die(&*store, 1).await;
    let counts = |kind: &JobKind, due, later, dead, since: Option<i64>| JobCounts {
        kind: kind.clone(),
        due,
        later,
        dead,
        due_since: since.map(at),
    };
    let expected = [
        counts(&a, 1, 0, 0, Some(30)),
        counts(&b, 0, 1, 0, None),
        counts(&c, 2, 1, 0, Some(10)),
        counts(&work(), 0, 0, 1, None),
    ];
    assert_eq!(store.job_counts(at(30)).await.expect(WORKS), expected);
    let claimed = store
        .claim(std::slice::from_ref(&c), 1, at(35), LEASE)
        .await;
    assert_eq!(claimed.expect(WORKS).len(), 1);
    let found = store.job_counts(at(40)).await.expect(WORKS);
    assert_eq!(found[2], counts(&c, 2, 1, 0, Some(20)));
}

/// The next instant at which a job of some kinds is due is the earliest, also one that has passed.
pub async fn the_next_due_instant_is_the_earliest(store: Arc<dyn WholeStore>) {
    let due = async |kinds: &[JobKind]| store.next_due(kinds).await.expect(WORKS);
    assert_eq!(due(&[work(), other()]).await, None);
    let long_ago = NewJob::new(other(), "", at(0) - SignedDuration::from_hours(24 * 365));
    enqueue(&*store, vec![job(50), job(20), long_ago.clone()]).await;
    assert_eq!(due(&[work()]).await, Some(at(20)));
    assert_eq!(due(&[work(), other()]).await, Some(long_ago.run_at));
    assert_eq!(due(&[kind("unknown")]).await, None);
    assert_eq!(due(&[]).await, None);
    assert_eq!(claim(&*store, 10, 30).await.len(), 2);
    assert_eq!(due(&[work()]).await, Some(at(50)));
    assert_eq!(due(&[other()]).await, Some(at(90)), "the lease ends");
}

/// Who waits for jobs hears of those that this store enqueued since it began to listen.
pub async fn who_waits_for_jobs_hears_of_them(store: Arc<dyn WholeStore>) {
    let mut hint = store.enqueued();
    enqueue(&*store, vec![job(0), job(1)]).await;
    hinted(&mut hint).await;
    let claimed = claim(&*store, 1, 10).await.remove(0);
    let end = Settlement {
        effects: effects(1),
        ..settlement(claimed.claim(), dead("why"))
    };
    assert_eq!(settle_with(&*store, end, 1).await, Settled::Done);
    hinted(&mut hint).await;
    assert_eq!(store.requeue(&[claimed.id], at(2)).await.expect(WORKS), 1);
    hinted(&mut hint).await;
}

/// A correction of a case enqueues its jobs with it, and one that is refused none.
pub async fn a_correction_enqueues_its_jobs(store: Arc<dyn WholeStore>) {
    let case = publish_samples(&*store, 1).await.remove(0);
    let keyed = |payload: &str| NewJob::new(work(), payload, at(0)).once(payload, LEASE);
    let given = CaseCorrection {
        case_id: case.id,
        current: case.version,
        content: changed(0, |record| record.stem = "Corrected?".to_owned()),
        versions: vec![(case.version, [1].into_iter().collect())],
        jobs: vec![keyed("first"), keyed("second"), keyed("first")],
        corrected_at: at(50),
    };
    let late = CaseCorrection {
        jobs: vec![keyed("late")],
        ..given.clone()
    };
    store.correct_case(given).await.expect(WORKS);
    let refused = store.correct_case(late).await;
    let error = refused.expect_err("another version is current");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(!is_new(&*store, keyed("second"), at(60)).await);
    let claimed = claim(&*store, 10, 100).await;
    assert_eq!(sorted_payloads(&claimed), ["first", "second"]);
    assert!(claimed.iter().all(|job| job.enqueued_at == at(50)));
}
