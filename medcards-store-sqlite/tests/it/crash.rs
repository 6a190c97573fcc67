use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use medcards_core::answer::{AnswerStore, RecordOutcome};
use medcards_core::chat::{ChatStore, ChatTurn, TurnOrigin, TurnReply, TurnStart};
use medcards_core::event::LogPosition;
use medcards_core::job::{
    ClaimedJob, Effects, JobKind, JobOutcome, JobQueue, NewJob, Settled, Settlement,
};
use medcards_core::notice::{NewNotice, NoticeBody, NoticeStore};
use medcards_core::spend::MicroDollars;
use medcards_core::store::Consistency;
use medcards_core::testing::{SAMPLE_START, sample_user_id};
use medcards_core::{AnswerId, Timestamp, TurnId};
use medcards_store_sqlite::{SqliteConfig, SqliteStore};
use tokio::task::JoinSet;

use crate::fresh::{self, answer, answer_in, config, folder, path};

/// Set for a process that is to write until it is killed.
const FILE: &str = "MEDCARDS_TEST_CRASH_FILE";

/// How often a process is killed, and after how many acknowledgements: odd numbers, so that it is
/// at another point each time.
const KILLS: [usize; 6] = [1, 7, 131, 523, 1_009, 2_003];

#[tokio::test]
async fn every_acknowledged_answer_outlives_the_process_once() {
    let folder = folder();
    let mut acknowledged = Vec::new();
    for acknowledgements in KILLS {
        let written = write_and_kill(&path(folder.path()), ANSWERS, acknowledgements);
        acknowledged.extend(written.iter().map(|id| id.parse::<AnswerId>().unwrap()));
    }
    assert!(acknowledged.len() >= KILLS.iter().sum());

    let store = SqliteStore::open(config(folder.path())).await.unwrap();
    let mut events_by_id: HashMap<AnswerId, usize> = HashMap::new();
    for event in fresh::events(&store).await {
        let answer = answer_in(&event);
        *events_by_id.entry(answer.id).or_default() += 1;
        let kept = store
            .find_answer(answer.user_id, answer.id, &Consistency::Strong)
            .await;
        assert_eq!(kept.unwrap(), Some(answer), "an event has its answer");
    }
    for id in acknowledged {
        assert_eq!(events_by_id.get(&id), Some(&1), "{id} was acknowledged");
    }
    assert!(
        events_by_id.values().all(|count| *count == 1),
        "no answer is there twice"
    );
    let again = fresh::events(&store).await.last().map(answer_in).unwrap();
    let again = store.record_answer(again).await.unwrap();
    assert_eq!(again.outcome, RecordOutcome::Repeated);
    store.close().await;
    fresh::assert_sound(&path(folder.path())).await;
}

/// A turn that was acknowledged as begun is there, one that was acknowledged as replied to has its
/// reply, and what the kill broke off is begun again by the next process.
#[tokio::test]
async fn every_acknowledged_turn_outlives_the_process_once() {
    let folder = folder();
    let (mut begun, mut replied) = (HashSet::new(), HashSet::new());
    for acknowledgements in KILLS {
        for said in write_and_kill(&path(folder.path()), TURNS, acknowledgements) {
            let (what, id) = said.split_once(' ').unwrap();
            let id: TurnId = id.parse().unwrap();
            match what {
                "begun" => assert!(begun.insert(id), "{id} was begun once"),
                _ => assert!(replied.insert(id), "{id} was replied to once"),
            }
        }
    }
    assert!(begun.len() + replied.len() >= KILLS.iter().sum());

    let store = SqliteStore::open(config(folder.path())).await.unwrap();
    let mut broken = 0;
    for id in &begun {
        let kept = store.find_turn(sample_user_id(1), *id).await.unwrap();
        let kept = kept.expect("it was acknowledged");
        assert_eq!(kept.attempt, 1);
        match &kept.reply {
            Some(reply) => assert_eq!(reply.text, format!("Because of {id}.")),
            None => {
                assert!(!replied.contains(id), "the reply to {id} was acknowledged");
                broken += 1;
                let again = store.begin_turn(&kept, later(1)).await.unwrap();
                let again = match again {
                    TurnStart::Begun(again) => again,
                    other => panic!("its writer is dead, and yet {other:?}"),
                };
                assert_eq!(again.attempt, 2);
                let end = async |attempt| {
                    let reply = reply(*id);
                    let ended = store.end_turn(kept.user_id, *id, attempt, &reply);
                    ended.await.unwrap()
                };
                assert!(!end(1).await, "the dead writer was given up on");
                assert!(end(2).await);
            }
        }
    }
    assert!(broken > 0, "the kills broke some off");
    store.close().await;
    fresh::assert_sound(&path(folder.path())).await;
}

/// A job that was acknowledged as enqueued is done once or still to be done, never both. One that was
/// acknowledged as done has told its user, once.
#[tokio::test]
async fn every_acknowledged_job_outlives_the_process_with_its_notice() {
    let folder = folder();
    let (mut enqueued, mut done) = (HashSet::new(), HashSet::new());
    for acknowledgements in KILLS {
        for said in write_and_kill(&path(folder.path()), JOBS, acknowledgements) {
            let (what, id) = said.split_once(' ').unwrap();
            match what {
                "enqueued" => assert!(enqueued.insert(id.to_owned()), "{id} was enqueued once"),
                _ => assert!(done.insert(id.to_owned()), "{id} was done once"),
            }
        }
    }
    assert!(enqueued.len() + done.len() >= KILLS.iter().sum());

    let store = SqliteStore::open(config(folder.path())).await.unwrap();
    let mut told = HashSet::new();
    let mut after = LogPosition::START;
    loop {
        let notices = store.read_notices(after, 1_000).await.unwrap();
        for notice in &notices {
            let NoticeBody::Badge { badge } = &notice.body else {
                panic!("{notice:?}")
            };
            assert!(told.insert(badge.clone()), "{badge} was told once");
        }
        match notices.last() {
            Some(last) => after = last.position,
            None => break,
        }
    }
    let mut left = HashSet::new();
    loop {
        // All leases of the dead have ended.
        let claimed = claim(&store, 1_000, later(10_000)).await;
        if claimed.is_empty() {
            break;
        }
        left.extend(claimed.iter().map(|job| job.id.to_string()));
    }
    assert!(done.is_subset(&told));
    assert!(told.is_disjoint(&left), "what was told of is over");
    for id in &enqueued {
        assert!(told.contains(id) || left.contains(id), "{id} is lost");
    }
    store.close().await;
    fresh::assert_sound(&path(folder.path())).await;
}

async fn claim(store: &SqliteStore, limit: usize, now: Timestamp) -> Vec<ClaimedJob> {
    let kinds = [JobKind::new("tell").unwrap()];
    let lease = Duration::from_secs(5_000);
    store.claim(&kinds, limit, now, lease).await.unwrap()
}

/// The tests that write until they are killed, and what each line of theirs begins with.
const ANSWERS: (&str, &str) = ("crash::child_writes_until_killed", "stored ");
const JOBS: (&str, &str) = ("crash::child_works_until_killed", "job ");
const TURNS: (&str, &str) = ("crash::child_chats_until_killed", "turn ");

/// Lets another process write, kills it after some acknowledgements, and returns all of them.
fn write_and_kill(
    file: &Path,
    (child, says): (&str, &str),
    acknowledgements: usize,
) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", child, "--ignored", "--nocapture"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut acknowledged = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        // A line that the kill cut off was not heard by anyone.
        if output.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
            break;
        }
        let Some((_, said)) = line.split_once(says) else {
            continue;
        };
        acknowledged.push(said.trim().to_owned());
        if acknowledged.len() == acknowledgements {
            child.kill().unwrap();
        }
    }
    assert!(
        !child.wait().unwrap().success(),
        "the process was killed, it did not end"
    );
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by every_acknowledged_answer_outlives_the_process_once"]
async fn child_writes_until_killed() {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let store = SqliteStore::open(SqliteConfig::new(file)).await.unwrap();
    let mut writers = JoinSet::new();
    for writer in 0..16 {
        let store = store.clone();
        writers.spawn(async move {
            for n in 0.. {
                let recorded = store
                    .record_answer(answer(writer * 1_000_000 + n))
                    .await
                    .unwrap();
                writeln!(std::io::stdout().lock(), "stored {}", recorded.answer.id).unwrap();
            }
        });
    }
    writers.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by every_acknowledged_job_outlives_the_process_with_its_notice"]
async fn child_works_until_killed() {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let store = SqliteStore::open(SqliteConfig::new(file)).await.unwrap();
    let say = |what, id| writeln!(std::io::stdout().lock(), "job {what} {id}").unwrap();
    let mut workers = JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        workers.spawn(async move {
            loop {
                let job = NewJob::new(JobKind::new("tell").unwrap(), "", SAMPLE_START);
                let id = job.id;
                store.enqueue(vec![job], SAMPLE_START).await.unwrap();
                say("enqueued", id);
                for job in claim(&store, 1, SAMPLE_START).await {
                    let badge = job.id.to_string();
                    let notice = NewNotice {
                        user_id: sample_user_id(1),
                        at: SAMPLE_START,
                        body: NoticeBody::Badge { badge },
                    };
                    let settlement = Settlement {
                        claim: job.claim(),
                        outcome: JobOutcome::Done,
                        effects: Effects {
                            notices: vec![notice],
                            ..Effects::default()
                        },
                    };
                    let settled = store.settle(vec![settlement], SAMPLE_START).await;
                    assert_eq!(settled.unwrap(), [Settled::Done]);
                    say("done", job.id);
                }
            }
        });
    }
    workers.join_all().await;
}

fn later(seconds: u64) -> Timestamp {
    SAMPLE_START + Duration::from_secs(seconds)
}

fn reply(id: TurnId) -> TurnReply {
    TurnReply {
        text: format!("Because of {id}."),
        origin: TurnOrigin::Live,
        model: "sample-model-1".parse().ok(),
        cost: MicroDollars::new(1_250),
        replied_at: later(0),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by every_acknowledged_turn_outlives_the_process_once"]
async fn child_chats_until_killed() {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let store = SqliteStore::open(SqliteConfig::new(file)).await.unwrap();
    let mut writers = JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        writers.spawn(async move {
            loop {
                // A chat of its own, because a chat has few turns.
                let turn = ChatTurn {
                    id: TurnId::new(SAMPLE_START),
                    user_id: sample_user_id(1),
                    answer_id: AnswerId::new(SAMPLE_START),
                    question: "Why?".to_owned(),
                    started_at: SAMPLE_START,
                    attempt: 1,
                    reply: None,
                };
                let id = turn.id;
                let say = |what| writeln!(std::io::stdout().lock(), "turn {what} {id}").unwrap();
                store.begin_turn(&turn, SAMPLE_START).await.unwrap();
                say("begun");
                let ended = store.end_turn(turn.user_id, id, 1, &reply(id)).await;
                assert!(ended.unwrap());
                say("replied");
            }
        });
    }
    writers.join_all().await;
}
