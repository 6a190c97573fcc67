use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use medcards_core::answer::Answer;
use medcards_core::case::CaseStore;
use medcards_core::event::{EVENTS_PER_READ_MAX, EventBody, EventLog, LogPosition};
use medcards_store_sqlite::{SqliteConfig, SqliteStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::{Launch, PATIENCE, Student, until, uuid_v7};

/// How many students answer at once.
const STUDENTS: usize = 16;

/// How often the server is killed, unless `MEDCARDS_KILLS` says otherwise.
const KILLS: u64 = 10;

/// The server is killed after at least this many more acknowledgements, and at most four times as
/// many: another number each time, so that it is at another point each time.
const ACKNOWLEDGED_BETWEEN_KILLS: u64 = 150;

/// An answer that the server has acknowledged, as the student remembers it.
#[derive(Clone, Debug, PartialEq)]
struct Acknowledged {
    case_id: String,
    options: Value,
    is_correct: bool,
}

/// What one student remembers.
#[derive(Debug, Default)]
struct Ledger {
    answers: HashMap<String, Acknowledged>,
    /// Answers that were sent again because nothing came back: found stored, found not stored.
    repeated: [u64; 2],
}

/// What all students share.
#[derive(Debug)]
struct Shared {
    acknowledged: AtomicU64,
    is_over: AtomicBool,
    cases: Vec<Value>,
}

/// Kills the server again and again while students answer, and compares what they remember with
/// what the server lists and with the answer log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_answer_outlives_kills_and_none_is_there_twice() {
    let kills = std::env::var("MEDCARDS_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let folder = TempDir::new().unwrap();
    let started = Instant::now();
    let mut server = Launch::on(folder.path()).start().await;
    let cases = server.client().student().walk("/v1/cases?limit=100").await;
    let shared = Arc::new(Shared {
        acknowledged: 0.into(),
        is_over: false.into(),
        cases,
    });
    let (url, listening) = watch::channel(server.url().to_owned());
    let mut students = JoinSet::new();
    for _ in 0..STUDENTS {
        let student = server.client().student();
        students.spawn(answer_until_over(
            student,
            Arc::clone(&shared),
            listening.clone(),
        ));
    }
    for kill in 0..kills {
        let more = ACKNOWLEDGED_BETWEEN_KILLS * (1 + kill % 4) + 7 * kill % 13;
        let wanted = shared.acknowledged.load(Ordering::SeqCst) + more;
        until("students are acknowledged", async || {
            (shared.acknowledged.load(Ordering::SeqCst) >= wanted).then_some(())
        })
        .await;
        server.kill();
        server = Launch::on(folder.path()).start().await;
        url.send_replace(server.url().to_owned());
    }
    shared.is_over.store(true, Ordering::SeqCst);
    let ledgers: Vec<_> = students.join_all().await;
    for (student, ledger) in &ledgers {
        assert_listed(&student.at(server.url()), ledger).await;
    }
    server.stop().await;
    assert_logged(&folder.path().join("medcards.sqlite"), &ledgers).await;
    report(kills, &ledgers, started);
}

/// Answers case after case; an answer that nobody acknowledged is sent again until somebody does.
async fn answer_until_over(
    mut student: Student,
    shared: Arc<Shared>,
    mut listening: watch::Receiver<String>,
) -> (Student, Ledger) {
    let mut ledger = Ledger::default();
    for n in 0.. {
        if shared.is_over.load(Ordering::SeqCst) {
            break;
        }
        let case = &shared.cases[n % shared.cases.len()];
        let options = case["options"].as_array().unwrap();
        let form = json!({"id": uuid_v7(), "options": [options[n % options.len()]["key"]]});
        let path = format!("/v1/cases/{}/answers", case["id"].as_str().unwrap());
        let mut is_repeated = false;
        let (status, answer) = loop {
            match student.try_post(&path, &form).await {
                Ok(reply) if reply.status < 300 => break (reply.status, reply.json()),
                Ok(reply) => panic!("{}: {:?}", reply.status, reply.body),
                Err(_) => is_repeated = true,
            }
            // Nothing came back: the server is gone, and listens elsewhere when it is back.
            let back = timeout(PATIENCE, listening.changed()).await;
            back.expect("the server did not answer, though nobody killed it")
                .unwrap();
            let url = listening.borrow_and_update().clone();
            student = student.at(&url);
        };
        assert!(
            status == 201 || is_repeated,
            "an answer sent once was taken for one sent before"
        );
        if is_repeated {
            ledger.repeated[usize::from(status == 201)] += 1;
        }
        let acknowledged = Acknowledged {
            case_id: answer["case_id"].as_str().unwrap().to_owned(),
            options: answer["options"].clone(),
            is_correct: answer["is_correct"].as_bool().unwrap(),
        };
        assert_eq!(
            (&answer["id"], &acknowledged.options),
            (&form["id"], &form["options"])
        );
        ledger
            .answers
            .insert(answer["id"].as_str().unwrap().to_owned(), acknowledged);
        shared.acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    (student, ledger)
}

/// The server lists every answer of the student once, as it was acknowledged, and no other.
async fn assert_listed(student: &Student, ledger: &Ledger) {
    let listed = student.walk("/v1/me/answers?limit=100").await;
    let mut unseen = ledger.answers.clone();
    for answer in &listed {
        let id = answer["id"].as_str().unwrap();
        let acknowledged = unseen.remove(id);
        let acknowledged =
            acknowledged.unwrap_or_else(|| panic!("{id} is there twice, or is nobody's"));
        let listed = Acknowledged {
            case_id: answer["case_id"].as_str().unwrap().to_owned(),
            options: answer["options"].clone(),
            is_correct: answer["is_correct"].as_bool().unwrap(),
        };
        assert_eq!(listed, acknowledged, "{id}");
    }
    assert!(unseen.is_empty(), "acknowledged and lost: {unseen:?}");
    let stats = student.get("/v1/me/stats").await.expect(200);
    let correct = ledger
        .answers
        .values()
        .filter(|answer| answer.is_correct)
        .count();
    assert_eq!(stats["answered"], ledger.answers.len());
    assert_eq!(stats["correct"], correct);
}

/// The answer log has exactly one event for each answer, with the same content.
async fn assert_logged(file: &Path, ledgers: &[(Student, Ledger)]) {
    let store = SqliteStore::open(SqliteConfig::new(file)).await.unwrap();
    let mut unseen: HashMap<(String, String), &Acknowledged> = HashMap::new();
    for (student, ledger) in ledgers {
        let named = |id: &String| (student.user_id.clone(), id.clone());
        unseen.extend(
            ledger
                .answers
                .iter()
                .map(|(id, answer)| (named(id), answer)),
        );
    }
    for answer in logged_answers(&store).await {
        let id = answer.id.to_string();
        let acknowledged = unseen.remove(&(answer.user_id.to_string(), id.clone()));
        let acknowledged =
            acknowledged.unwrap_or_else(|| panic!("{id} has two events, or is nobody's"));
        let case = store
            .find_case(answer.case_id, Some(answer.case_version))
            .await
            .unwrap()
            .unwrap();
        let keys = case.content.keys_of(answer.chosen);
        assert_eq!(
            json!(keys.iter().map(|key| key.as_str()).collect::<Vec<_>>()),
            acknowledged.options
        );
        assert_eq!(answer.is_correct, acknowledged.is_correct, "{id}");
        assert_eq!(answer.case_id.to_string(), acknowledged.case_id, "{id}");
    }
    assert!(
        unseen.is_empty(),
        "acknowledged, but not in the log: {unseen:?}"
    );
    store.close().await;
}

/// The answers of all events, in the order of the log.
pub(crate) async fn logged_answers(store: &SqliteStore) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut position = LogPosition::START;
    loop {
        let events = store
            .read_events(position, EVENTS_PER_READ_MAX)
            .await
            .unwrap();
        let Some(last) = events.last() else {
            return answers;
        };
        position = last.position;
        answers.extend(events.into_iter().filter_map(|event| match event.body {
            EventBody::AnswerRecorded { answer } => Some(answer),
            _ => None,
        }));
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the figures are what the command is run for"
)]
fn report(kills: u64, ledgers: &[(Student, Ledger)], started: Instant) {
    let answers: usize = ledgers.iter().map(|(_, ledger)| ledger.answers.len()).sum();
    let [stored, lost] = ledgers.iter().fold([0, 0], |sum, (_, ledger)| {
        [sum[0] + ledger.repeated[0], sum[1] + ledger.repeated[1]]
    });
    eprintln!(
        "{kills} kills, {answers} answers acknowledged, all there once; of {} sent again {stored} were \
         stored before and {lost} were not; {:.1} s",
        stored + lost,
        started.elapsed().as_secs_f64(),
    );
}
