//! What whoever moves a deployment relies on, as checks of pairs: a store to move from, and one to
//! move into, both fresh and empty.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use jiff::civil::date;
use tokio::sync::Notify;

use super::chats::WORDS;
use super::steps::{WORKS, answers_of, at, changed, events_after, limit, walk};
use crate::ErrorKind;
use crate::ai::ModelId;
use crate::case::{Case, CaseContent, CaseCorrection, CaseFilter, CaseQuery, CaseVersion};
use crate::chat::{
    ChatStore, ChatSummary, ChatTurn, SharedAnswer, SharedAnswers, TurnOrigin, TurnReply,
};
use crate::event::{Event, EventBody, LogPosition, ReaderName};
use crate::feedback::{Feedback, FeedbackKey, Review, ReviewDecision, ReviewState, Tier};
use crate::id::{AnswerId, ReservationId, SharedAnswerId, TurnId, UserId};
use crate::job::{
    ClaimedJob, Effects, Enqueued, JobClaim, JobKind, JobOutcome, JobQueue, NewJob, Settled,
    Settlement,
};
use crate::spend::{
    MicroDollars, Purpose, Reservation, SpendBudget, SpendQuery, SpendRow, SpendScope, settled_row,
};
use crate::store::{Consistency, LearningStore, Store};
use crate::testing::{
    SAMPLE_START, sample_answer, sample_case, sample_content, sample_feedback, sample_key,
    sample_user_id,
};
use crate::transfer::{
    Inventory, Part, Place, Row, Stand, Step, TargetState, TransferSource, TransferTarget, carry,
};
use crate::user::{User, UserKind, UserSettings};
use crate::view::{Committed, NewAward, Runner, ViewCommit, ViewStore};

/// How many users a filled store has.
const USERS: u32 = 40;

/// How many cases, before the French one.
const CASES: u32 = 12;

/// How many answers are sent at once, so that a store with group commit is filled quickly.
const AT_ONCE: usize = 256;

/// How many turns all chats have together: three each.
const CHAT_TURNS: u32 = 60;

/// How many jobs were enqueued.
const JOBS: u32 = 60;

/// Their kinds.
const JOB_KINDS: [&str; 2] = ["sample-call", "sample-tell"];

/// Over how many seconds the answers lie: fourteen months.
const SPAN_SECONDS: i64 = 425 * 86_400;

/// How many events are read at once.
const EVENTS_PER_READ: usize = 500;

/// The readers of the log that a filled store has, and one that it does not have.
const READERS: [&str; 4] = ["at-start", "in-the-middle", "at-end", "never-seen"];

/// Fills a store with everything that a deployment has: cases in several versions, users with and
/// without settings, so many answers over fourteen months, reviewed feedback, spending, readers of the
/// log at the start, in the middle and at the end, chats, and shared answers; corrected keys, badges,
/// and jobs that wait, are claimed, were given up or are done.
pub async fn fill<S: Store + ChatStore + SharedAnswers + LearningStore>(store: &S, answers: u32) {
    let cases = fill_cases(store).await;
    for n in 0..USERS {
        // Some only ever answered: nobody made sure of them.
        if n % 8 != 7 {
            ensure(store, n).await;
        }
    }
    let step = SPAN_SECONDS / i64::from(answers.max(1));
    let (answer_count, mut rounds) = (answers as usize, 0);
    let answers: Vec<_> = (0..answers)
        .map(|n| {
            let case = &cases[n as usize % cases.len()];
            let user = sample_user_id(n * 7 % USERS);
            let mut answer = sample_answer(user, case, at(i64::from(n) * step));
            if n % 5 == 0 {
                (answer.time_to_answer_ms, answer.confidence) = (None, None);
            }
            answer
        })
        .collect();
    for some in answers.chunks(AT_ONCE) {
        let recorded = some
            .iter()
            .map(|answer| store.record_answer(answer.clone()));
        for recorded in join_all(recorded).await {
            recorded.expect(WORKS);
        }
        let settings = UserSettings {
            time_zone: "Europe/Paris".parse().expect("the zone is well formed"),
            ..UserSettings::default()
        };
        // The first user is always known.
        let changed = store.update_settings(sample_user_id(0), settings, SAMPLE_START);
        changed.await.expect(WORKS);
        rounds += 1;
    }
    fill_feedback(store).await;
    fill_spending(store).await;
    fill_chats(store).await;
    fill_shared_answers(store).await;
    let count = answer_count + rounds;
    let count = count + fill_corrections(store, &cases).await;
    let events = events_after(store, LogPosition::START, count, EVENTS_PER_READ).await;
    fill_awards(store, events[0].position).await;
    fill_jobs(store).await;
    let middle = events[count / 3].position;
    let end = events[count - 1].position;
    for (reader, to) in READERS.into_iter().zip([LogPosition::START, middle, end]) {
        let reader = named(reader);
        let moved = store.move_cursor(&reader, LogPosition::START, to);
        moved.await.expect(WORKS);
    }
}

async fn fill_cases(store: &dyn Store) -> Vec<Arc<Case>> {
    let mut contents: Vec<_> = (0..CASES).map(sample_content).collect();
    contents.push(changed(CASES, |record| {
        record.lang = "fr".parse().expect("the tag is well formed");
        record.specialty = None;
        record.stem = "Œdème, \"douleur\" \\ fièvre\tet\nfrissons ?".to_owned();
    }));
    let mut cases = publish_cases(store, contents, SAMPLE_START).await;
    for round in 1..3 {
        let again = (0..3)
            .map(|n| changed(n, |record| record.stem = format!("Edition {round} of {n}?")))
            .collect();
        cases.extend(publish_cases(store, again, at(60 * round)).await);
    }
    cases
}

async fn publish_cases(
    store: &dyn Store,
    contents: Vec<CaseContent>,
    now: Timestamp,
) -> Vec<Arc<Case>> {
    let mut cases = Vec::new();
    for publication in store.publish(contents, now).await.expect(WORKS) {
        let found = store.find_case(publication.case_id, Some(publication.version));
        cases.push(
            found
                .await
                .expect(WORKS)
                .expect("a published case is found"),
        );
    }
    cases
}

async fn ensure(store: &dyn Store, n: u32) {
    let kind = [UserKind::Guest, UserKind::Registered][n as usize % 2];
    let user = User::new(sample_user_id(n), kind, at(n.into()));
    store.ensure_user(user).await.expect(WORKS);
}

async fn fill_feedback(store: &dyn Store) {
    let texts = [
        "plain",
        "tab\there",
        "line\nend \\. \\N",
        "“quoted” 'it' \"is\"",
        "",
        "é 漢 🩺",
    ];
    let mend = ReviewDecision::Mend("Mended\\by a reviewer.".to_owned());
    let decisions = [
        None,
        Some(ReviewDecision::Approve),
        Some(mend),
        Some(ReviewDecision::Withdraw),
    ];
    for n in 0..24 {
        let key = sample_key(n);
        let feedback = sample_feedback(texts[n as usize % texts.len()]);
        store.put_feedback(&key, &feedback).await.expect(WORKS);
        if let Some(decision) = &decisions[n as usize % decisions.len()] {
            let review = Review {
                decision: decision.clone(),
                reviewer: sample_user_id(n),
                reviewed_at: at(n.into()),
            };
            store.review_feedback(&key, review).await.expect(WORKS);
        }
    }
}

async fn fill_spending(store: &dyn Store) {
    let model: ModelId = "a/b:c-1".parse().expect("the name is well formed");
    let case_id = sample_key(0).case_id;
    for n in 0..9_i8 {
        let day = date(2026, 1, 10 + n);
        let wish = Reservation {
            id: ReservationId::new(at(n.into())),
            day,
            amount: MicroDollars::new(1_000),
            purpose: Purpose::ALL[n.unsigned_abs() as usize % 3],
            payer: (n % 2 == 0).then(|| sample_user_id(n.unsigned_abs().into()).into()),
        };
        let budget = SpendBudget::default();
        store.reserve(&wish, &budget).await.expect(WORKS);
        if n % 3 != 0 {
            let spent = settled_row(day, model.clone(), case_id, MicroDollars::new(700));
            store.settle(wish.id, &spent).await.expect(WORKS);
        }
        let served = SpendRow {
            day,
            tier: Tier::Authored,
            model: None,
            case_id: None,
            resolutions: 3,
            cost: MicroDollars::ZERO,
            saved: MicroDollars::new(2_100),
        };
        store.add(&[served]).await.expect(WORKS);
    }
}

/// The `n`th chat: its user, and the answer that it is about, which need not be there.
fn chat(n: u32) -> (UserId, AnswerId) {
    let answer_id = AnswerId::from_bytes(u128::from(n % 5).to_be_bytes());
    (sample_user_id(n % 4), answer_id)
}

/// Turns without a reply and with one of each origin, begun once and more often, and summaries.
async fn fill_chats(store: &dyn ChatStore) {
    let origins = [
        None,
        Some(TurnOrigin::Live),
        Some(TurnOrigin::Reused),
        Some(TurnOrigin::Declined),
        Some(TurnOrigin::Unavailable),
    ];
    for n in 0..CHAT_TURNS {
        let (user_id, answer_id) = chat(n);
        let text = WORDS[n as usize % WORDS.len()];
        let turn = ChatTurn {
            id: TurnId::new(at(n.into())),
            user_id,
            answer_id,
            question: format!("{text}?"),
            started_at: at(n.into()),
            attempt: 1,
            reply: None,
        };
        let attempts = 1 + n % 3;
        for _ in 0..attempts {
            let begun = store.begin_turn(&turn, at(1_000_000)).await;
            begun.expect(WORKS);
        }
        if let Some(origin) = origins[n as usize % origins.len()] {
            let reply = TurnReply {
                text: text.to_owned(),
                origin,
                model: "a/b:c-1".parse().ok().filter(|_| n % 2 == 0),
                cost: MicroDollars::new(n.into()),
                replied_at: at(i64::from(n) + 1),
            };
            let ended = store.end_turn(user_id, turn.id, attempts, &reply).await;
            assert!(ended.expect(WORKS));
        }
        if n % 7 == 0 {
            let summary = ChatSummary {
                user_id,
                answer_id,
                through: turn.id,
                text: text.to_owned(),
            };
            store.put_summary(&summary).await.expect(WORKS);
        }
    }
}

async fn fill_shared_answers(store: &dyn SharedAnswers) {
    for (n, text) in (0..).zip(WORDS) {
        let shared = SharedAnswer {
            id: SharedAnswerId::new(at(n.into())),
            case_id: sample_case(n % 3).id,
            case_version: CaseVersion::new(n + 1).expect("there may be that many versions"),
            locale: ["en", "fr-CA"][n as usize % 2]
                .parse()
                .expect("tags are well formed"),
            question: format!("{text}?"),
            answer: text.to_owned(),
            reviewer: sample_user_id(n),
            reviewed_at: at(n.into()),
        };
        store.put_shared_answer(&shared).await.expect(WORKS);
    }
}

/// Corrects the keys of one version of a case, and of two of another; returns how many events that
/// makes.
async fn fill_corrections(store: &dyn Store, cases: &[Arc<Case>]) -> usize {
    let mut made = 0;
    for (n, versions) in [(4, 1), (0, 2)] {
        let found = store.find_case(cases[n as usize].id, None).await;
        let current = found.expect(WORKS).expect("a published case is found");
        let versions = (1..=versions).filter_map(CaseVersion::new);
        let right = |version| (version, [2].into_iter().collect());
        let correction = CaseCorrection {
            case_id: current.id,
            current: current.version,
            content: changed(n, |record| record.answer_keys = vec!["C".to_owned()]),
            versions: versions.map(right).collect(),
            jobs: Vec::new(),
            corrected_at: at(i64::from(n) + 1_000),
        };
        made += store.correct_case(correction).await.expect(WORKS).len();
    }
    made
}

/// Gives badges to some users, by an event of a view.
async fn fill_awards<S: ViewStore>(store: &S, to: LogPosition) {
    let view = ReaderName::new("sample-view").expect("the name is well formed");
    let begun = store.begin_edition(&view, 1, 0, SAMPLE_START).await;
    let edition = begun.expect(WORKS).next.expect("it was begun").number;
    let runner = Runner::new(*sample_user_id(0).as_uuid());
    let lease = Duration::from_secs(60);
    let leads = store.take_lead(&view, runner, SAMPLE_START, lease).await;
    assert!(leads.expect(WORKS));
    let badges = ["first-answer", "Zebra", "été", "a", "B"];
    let award = |n: u32| NewAward {
        user_id: sample_user_id(n % 7),
        badge: badges[n as usize % badges.len()].to_owned(),
        at: at(100 - i64::from(n)),
        job: None,
    };
    let commit = ViewCommit {
        view,
        edition,
        runner,
        from: LogPosition::START,
        to,
        rows: Vec::new(),
        announced: Vec::new(),
        awards: (0..20).map(award).collect(),
        set_aside: Vec::new(),
    };
    let committed = store.commit(commit).await.expect(WORKS);
    assert_eq!(committed, Committed::Done);
}

/// The `n`th job of a filled store, due at an instant of its own.
fn job(n: u32) -> NewJob {
    let kind = JOB_KINDS[n as usize % JOB_KINDS.len()];
    let text = WORDS[n as usize % WORDS.len()];
    let job = NewJob::new(kind_of_job(kind), text, at(n.into()));
    let job = match n % 3 {
        0 => job,
        1 => job.for_user(sample_user_id(n % 4)),
        _ => job.for_user(sample_user_id(n % 4)).in_order_of_user(),
    };
    match n % 4 {
        0 => job.once(format!("key {n}"), Duration::from_secs(3_600)),
        _ => job,
    }
}

fn kind_of_job(kind: &str) -> JobKind {
    JobKind::new(kind).expect("the name is well formed")
}

/// Jobs that wait, were begun once or twice, are to be tried again, are dead, and are done.
async fn fill_jobs<S: JobQueue>(store: &S) {
    let jobs = (0..JOBS).map(job).collect();
    store.enqueue(jobs, SAMPLE_START).await.expect(WORKS);
    let kinds = JOB_KINDS.map(kind_of_job);
    for round in 0_u32..2 {
        let now = at(1_000 * i64::from(round + 1));
        let lease = Duration::from_secs(500);
        let claimed = store.claim(&kinds, 20, now, lease).await.expect(WORKS);
        let settle = |(n, job): (u32, &ClaimedJob)| {
            let reason = "it did not work: \\N".to_owned();
            let outcome = match n % 5 {
                0 => JobOutcome::Done,
                1 | 2 => JobOutcome::Dead { reason },
                3 => JobOutcome::Retry {
                    at: at(1_500 + i64::from(n)),
                    reason,
                },
                _ => return None,
            };
            Some(Settlement {
                claim: job.claim(),
                outcome,
                effects: Effects::default(),
            })
        };
        let settlements: Vec<_> = (0..).zip(&claimed).filter_map(settle).collect();
        assert!(settlements.len() > 10, "some jobs are due");
        let settled = store.settle(settlements, at(2_000)).await.expect(WORKS);
        assert!(settled.iter().all(|it| *it == Settled::Done));
    }
}

/// Corrections and badges are the same, and so is what is to be done, which is done in the end.
async fn assert_same_learning<S, T>(source: &S, target: &T)
where
    S: Store + LearningStore,
    T: Store + LearningStore,
{
    let (one, other) = (
        source.list_corrections(0, 100).await.expect(WORKS),
        target.list_corrections(0, 100).await.expect(WORKS),
    );
    assert_eq!(one, other, "key corrections");
    assert_eq!(one.len(), 3);
    for user_id in (0..7).map(sample_user_id) {
        let one = source.list_awards(user_id, &Consistency::Strong).await;
        let other = target.list_awards(user_id, &Consistency::Strong).await;
        let one = one.expect(WORKS);
        assert_eq!(one, other.expect(WORKS), "badges of user {user_id}");
        assert!(!one.is_empty());
    }
    let (one, other) = (
        source.list_dead(None, 100).await.expect(WORKS),
        target.list_dead(None, 100).await.expect(WORKS),
    );
    assert_eq!(one, other, "dead jobs");
    let dead: Vec<_> = one.iter().map(|job| job.id).collect();
    for rounds in 0.. {
        let (one, other) = (done_jobs(source).await, done_jobs(target).await);
        assert_eq!(one, other, "jobs of round {rounds}");
        if one.is_empty() {
            assert!(rounds > 1, "some jobs wait for others");
            break;
        }
    }
    let again: Vec<_> = (0..JOBS).map(job).collect();
    let (one, other) = (
        source.enqueue(again.clone(), at(3_000)).await.expect(WORKS),
        target.enqueue(again, at(3_000)).await.expect(WORKS),
    );
    assert_eq!(one, other, "keys of jobs");
    assert!(one.contains(&Enqueued::Known), "some keys are taken");
    let (one, other) = (
        source.requeue(&dead, at(3_000)).await.expect(WORKS),
        target.requeue(&dead, at(3_000)).await.expect(WORKS),
    );
    assert_eq!(one, other, "dead jobs in the queue again");
}

/// Claims all jobs that can be claimed, ends them, and returns them by id.
async fn done_jobs<S: JobQueue>(store: &S) -> Vec<ClaimedJob> {
    let (kinds, now) = (JOB_KINDS.map(kind_of_job), at(1_000_000));
    let lease = Duration::from_secs(60);
    let claimed = store.claim(&kinds, 100, now, lease).await;
    let mut claimed = claimed.expect(WORKS);
    let done = |job: &ClaimedJob| Settlement {
        claim: job.claim(),
        outcome: JobOutcome::Done,
        effects: Effects::default(),
    };
    let settled = store.settle(claimed.iter().map(done).collect(), now).await;
    assert!(settled.expect(WORKS).iter().all(|it| *it == Settled::Done));
    claimed.sort_by_key(|job| job.id);
    claimed
}

async fn assert_same_chats<S, T>(source: &S, target: &T)
where
    S: ChatStore + SharedAnswers,
    T: ChatStore + SharedAnswers,
{
    let mut turns = 0;
    for (user_id, answer_id) in (0..20).map(chat) {
        let (one, other) = (
            turns_of(source, user_id, answer_id).await,
            turns_of(target, user_id, answer_id).await,
        );
        assert_eq!(one, other, "turns of user {user_id}");
        turns += one.len();
        let one = source.find_summary(user_id, answer_id).await.expect(WORKS);
        let other = target.find_summary(user_id, answer_id).await;
        assert_eq!(one, other.expect(WORKS), "summary of user {user_id}");
    }
    assert_eq!(turns, CHAT_TURNS as usize);
    for case_id in (0..4).map(|n| sample_case(n).id) {
        let one = source.list_shared_answers(case_id).await.expect(WORKS);
        let other = target.list_shared_answers(case_id).await.expect(WORKS);
        assert_eq!(one, other, "shared answers about case {case_id}");
    }
}

async fn turns_of(store: &dyn ChatStore, user_id: UserId, answer_id: AnswerId) -> Vec<ChatTurn> {
    let page = limit(100);
    walk(page, |after| async move {
        let list = store.list_turns(user_id, answer_id, after.as_ref(), page);
        list.await
    })
    .await
}

/// Whoever had claimed a job before the move does not end it behind it.
async fn assert_claims_stay_behind<T: LearningStore + TransferSource>(target: &T) {
    let jobs = target
        .read_rows(Part::Jobs, None, 1_000)
        .await
        .expect(WORKS);
    let claim = |row| match row {
        Row::Job(job) if job.attempt > 0 => Some(JobClaim {
            id: job.id,
            attempt: job.attempt,
        }),
        _ => None,
    };
    let claims: Vec<JobClaim> = jobs.rows.into_iter().filter_map(claim).collect();
    assert!(claims.len() > 1, "some were claimed");
    let lost = target.heartbeat(&claims, at(2_000), Duration::from_secs(60));
    assert_eq!(lost.await.expect(WORKS), claims);
    let ended = |claim: &JobClaim| Settlement {
        claim: *claim,
        outcome: JobOutcome::Done,
        effects: Effects::default(),
    };
    let settled = JobQueue::settle(target, claims.iter().map(ended).collect(), at(2_000)).await;
    assert!(settled.expect(WORKS).iter().all(|it| *it == Settled::Lost));
}

/// Compares two filled stores through the abilities that callers have. It does the jobs of both, so it
/// comes last.
pub async fn assert_same<S, T>(source: &S, target: &T)
where
    S: Store + ChatStore + SharedAnswers + LearningStore,
    T: Store + ChatStore + SharedAnswers + LearningStore,
{
    assert_same_chats(source, target).await;
    assert_same_cases(source, target).await;
    let answers = |store, user_id| answers_of(store, user_id, limit(100));
    for n in 0..USERS {
        let user_id = sample_user_id(n);
        let (one, other) = (source.find_user(user_id), target.find_user(user_id));
        assert_eq!(one.await.expect(WORKS), other.await.expect(WORKS), "{n}");
        let (one, other) = (answers(source, user_id), answers(target, user_id));
        assert_eq!(one.await, other.await, "answers of user {n}");
    }
    for state in [
        ReviewState::Approved,
        ReviewState::Unreviewed,
        ReviewState::Withdrawn,
    ] {
        let (one, other) = (feedback_in(source, state), feedback_in(target, state));
        assert_eq!(one.await, other.await, "{} feedback", state.as_str());
    }
    for by_case in [false, true] {
        let query = SpendQuery {
            from: date(2000, 1, 1),
            to: date(2100, 1, 1),
            by_case,
        };
        let (one, other) = (source.totals(&query), target.totals(&query));
        assert_eq!(one.await.expect(WORKS), other.await.expect(WORKS));
    }
    assert_same_sums(source, target).await;
    assert_same_log(source, target).await;
    assert_same_learning(source, target).await;
}

async fn assert_same_sums(source: &dyn Store, target: &dyn Store) {
    let mut scopes = Vec::new();
    for n in 0..9 {
        let day = date(2026, 1, 10 + n);
        for purpose in Purpose::ALL {
            let user_id = sample_user_id(n.unsigned_abs().into());
            scopes.extend(SpendScope::of(day, Some(purpose), Some(user_id)));
        }
    }
    let (one, other) = (source.sums(&scopes), target.sums(&scopes));
    let (one, other) = (one.await.expect(WORKS), other.await.expect(WORKS));
    assert_eq!(one, other);
    assert!(one.iter().any(|sum| sum.set_aside > MicroDollars::ZERO));
}

/// Every reader finds the same events behind where it was, in the same order.
async fn assert_same_log(source: &dyn Store, target: &dyn Store) {
    for reader in READERS.map(named) {
        let from = source.find_cursor(&reader).await.expect(WORKS);
        let to = target.find_cursor(&reader).await.expect(WORKS);
        let left = rest_of_log(source, from).await;
        let found = events_after(target, to, left.len(), EVENTS_PER_READ).await;
        assert!(told(&found) == told(&left), "{reader} reads on elsewhere");
    }
}

/// Whom the events concern and what they say, without their places.
fn told(events: &[Event]) -> Vec<(UserId, &EventBody)> {
    let told = events.iter().map(|event| (event.user_id, &event.body));
    told.collect()
}

async fn rest_of_log(store: &dyn Store, mut after: LogPosition) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let more = store.read_events(after, EVENTS_PER_READ).await;
        let more = more.expect(WORKS);
        let Some(last) = more.last() else {
            return events;
        };
        after = last.position;
        events.extend(more);
    }
}

async fn feedback_in(store: &dyn Store, state: ReviewState) -> Vec<(FeedbackKey, Feedback)> {
    let page = limit(100);
    walk(page, |after| async move {
        store.list_feedback(state, after.as_ref(), page).await
    })
    .await
}

async fn assert_same_cases(source: &dyn Store, target: &dyn Store) {
    let listed = cases_in(source, None).await;
    assert_eq!(listed, cases_in(target, None).await);
    for case in &listed {
        for version in (1..=case.version.get()).filter_map(CaseVersion::new) {
            let one = source.find_case(case.id, Some(version)).await;
            let other = target.find_case(case.id, Some(version)).await;
            let one = one.expect(WORKS).expect("versions stay");
            assert_eq!(Some(one), other.expect(WORKS));
        }
    }
    for search in ["edition", "oedeme frissons", "sample", "nobody"] {
        // Which match is the better one is each store's own matter.
        let (mut one, mut other) = (
            cases_in(source, Some(search)).await,
            cases_in(target, Some(search)).await,
        );
        one.sort_by_key(|case| case.id);
        other.sort_by_key(|case| case.id);
        assert_eq!(one, other, "search for {search}");
    }
}

async fn cases_in(store: &dyn Store, search: Option<&str>) -> Vec<Arc<Case>> {
    let query = CaseQuery {
        filter: CaseFilter::default(),
        search: search.map(str::to_owned),
        after: None,
        limit: limit(100),
    };
    store.list_cases(&query).await.expect(WORKS).items
}

fn named(reader: &str) -> ReaderName {
    ReaderName::new(reader).expect("the name is well formed")
}

/// Everything comes over as it was, and moving again changes nothing.
pub async fn everything_is_carried_once<S, T>(source: &S, target: &T)
where
    S: Store + ChatStore + SharedAnswers + LearningStore + TransferSource,
    T: Store + ChatStore + SharedAnswers + LearningStore + TransferTarget,
{
    fill(source, 600).await;
    let inventory = inventory_of(source).await;
    assert_eq!(
        target.target_state().await.expect(WORKS),
        TargetState::Empty
    );
    let rows: u64 = Part::ALL.map(|part| inventory.part(part).rows).iter().sum();
    let carried = carry(source, target, &inventory, 100, |_, _| {}).await;
    assert_eq!(carried.expect(WORKS), rows);
    let found = inventory_of(target).await;
    assert!(inventory.compare(&found).is_empty());
    assert_eq!(inventory.fingerprint(), found.fingerprint());
    let begun = TargetState::Begun(inventory.fingerprint());
    assert_eq!(target.target_state().await.expect(WORKS), begun);
    target.end_transfer().await.expect(WORKS);
    target.end_transfer().await.expect(WORKS);
    let ended = TargetState::Ended(inventory.fingerprint());
    assert_eq!(target.target_state().await.expect(WORKS), ended);
    let again = carry(source, target, &inventory, 100, |_, _| {}).await;
    assert_eq!(again.expect(WORKS), 0);
    assert_claims_stay_behind(target).await;
    assert_same(source, target).await;
}

/// A move that is dropped anywhere goes on behind its last step, and no row is there twice.
pub async fn a_move_goes_on_where_it_was_dropped<S, T>(source: &S, target: &T)
where
    S: Store + ChatStore + SharedAnswers + LearningStore + TransferSource,
    T: Store + ChatStore + SharedAnswers + LearningStore + TransferTarget,
{
    fill(source, 300).await;
    let inventory = inventory_of(source).await;
    let mut reached = 0;
    for round in 1_u64.. {
        let stop = Notify::new();
        let mut carried = 0;
        let moving = carry(source, target, &inventory, 7, |_, rows| {
            carried += rows;
            if carried > reached + round % 5 * 7 {
                stop.notify_one();
            }
        });
        let done = tokio::select! {
            biased;
            () = stop.notified() => None,
            done = moving => Some(done),
        };
        if let Some(done) = done {
            done.expect(WORKS);
            assert!(round > 5, "the move was dropped some times");
            break;
        }
        reached = carried;
        let ended = target.end_transfer().await;
        let refused = ended.expect_err("half a move is not ended");
        assert_eq!(refused.kind(), ErrorKind::Conflict);
    }
    assert!(inventory.compare(&inventory_of(target).await).is_empty());
    assert_same(source, target).await;
}

/// Two movers at once do not write a step twice: one of them is refused.
pub async fn a_step_is_written_once<S, T>(source: &S, target: &T)
where
    S: Store + ChatStore + SharedAnswers + LearningStore + TransferSource,
    T: Store + ChatStore + SharedAnswers + LearningStore + TransferTarget,
{
    fill(source, 40).await;
    let inventory = inventory_of(source).await;
    let begun = target.begin_transfer(inventory.fingerprint()).await;
    begun.expect(WORKS);
    let batch = source.read_rows(Part::Answers, None, 10).await;
    let batch = batch.expect(WORKS);
    let to = batch.next.map_or(Stand::End, Stand::After);
    let step = Step {
        part: Part::Answers,
        from: Stand::Start,
        rows: batch.rows,
        to,
    };
    target.write_step(&step).await.expect(WORKS);
    // Without rows, so that only the place can be what is refused.
    let elsewhere = Step {
        from: Stand::After(Place::new("elsewhere")),
        rows: Vec::new(),
        ..step.clone()
    };
    for late in [step, elsewhere] {
        let written = target.write_step(&late).await;
        let refused = written.expect_err("the part stands elsewhere");
        assert_eq!(refused.kind(), ErrorKind::Conflict);
    }
    let progress = target.progress(Part::Answers).await.expect(WORKS);
    assert_eq!(progress.rows, 10);
    assert_eq!(target.count_rows(Part::Answers).await.expect(WORKS), 10);
}

/// The rest of a source that changed since is refused, and so is data of the target's own.
pub async fn what_does_not_belong_together_is_refused<S, T>(source: &S, target: &T, other: &T)
where
    S: Store + ChatStore + SharedAnswers + LearningStore + TransferSource,
    T: Store + ChatStore + SharedAnswers + LearningStore + TransferTarget,
{
    fill(source, 40).await;
    let before = inventory_of(source).await;
    target
        .begin_transfer(before.fingerprint())
        .await
        .expect(WORKS);
    let case = cases_in(source, None).await.remove(0);
    let late = sample_answer(sample_user_id(1), &case, SAMPLE_START);
    source.record_answer(late).await.expect(WORKS);
    let after = inventory_of(source).await;
    assert_eq!(before.compare(&after).users, [sample_user_id(1)]);
    let contents = vec![sample_content(0)];
    other.publish(contents, SAMPLE_START).await.expect(WORKS);
    let state = other.target_state().await.expect(WORKS);
    assert!(matches!(state, TargetState::Occupied(_)), "{state:?}");
    for target in [target, other] {
        let carried = carry(source, target, &after, 100, |_, _| {}).await;
        let refused = carried.expect_err("it holds something else");
        assert_eq!(refused.kind(), ErrorKind::Conflict);
    }
}

async fn inventory_of<S: TransferSource>(store: &S) -> Inventory {
    let inventory = Inventory::take(store, |_| None, |_, _| {}).await;
    inventory.expect(WORKS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_copy_of_a_filled_store_is_found_the_same() {
        let store = MemoryStore::new();
        fill(&store, 100).await;
        let copy = store.copied();
        assert_same(&store, &copy).await;
    }
}
