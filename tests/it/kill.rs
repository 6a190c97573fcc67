use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use medcards_core::answer::Answer;
use medcards_core::event::{EVENTS_PER_READ_MAX, EventBody, LogPosition};
use medcards_core::store::Store;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use medcards_tests::learnt::assert_learnt;

use crate::harness::{
    Home, PATIENCE, Server, Student, is_learnt, on_each_store, send, until, uuid_v7,
};

on_each_store!(every_acknowledged_answer_outlives_kills_of_the_server_and_none_is_there_twice,);

/// How many students answer at once.
const STUDENTS: u64 = 16;

/// How often the server is killed, unless `MEDCARDS_KILLS` says otherwise.
const KILLS: u64 = 6;

/// How often the database is, unless `MEDCARDS_KILLS` says otherwise.
const KILLS_OF_THE_DATABASE: u64 = 3;

/// How long a server may take to find a database that is back, on a machine that also compiles. It
/// takes a second at most elsewhere.
const RECOVERY_MAX: Duration = Duration::from_secs(20);

/// How soon a refused answer is sent again.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

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
    /// How often an answer was refused, to be sent again.
    refused: AtomicU64,
    is_over: AtomicBool,
    cases: Vec<Value>,
}

/// Kills the server again and again while students answer, and compares what they remember with
/// what the server lists and with the answer log.
async fn every_acknowledged_answer_outlives_kills_of_the_server_and_none_is_there_twice(
    home: Home,
) {
    let started = Instant::now();
    let mut server = home.launch().start().await;
    let class = Class::begin(&server).await;
    let kills = kills(KILLS);
    for kill in 0..kills {
        class.is_acknowledged(more(kill)).await;
        server.kill();
        server = home.launch().start().await;
        class.goes_on_at(server.url());
    }
    let ledgers = class.end().await;
    assert_kept(&home, server, &ledgers).await;
    report(&format!("{kills} kills of the server"), &ledgers, started);
}

/// Kills the database under the server, which stays: what is sent meanwhile is refused, to be sent
/// again, and the server finds back by itself.
async fn every_acknowledged_answer_outlives_kills_of_the_database_and_none_is_there_twice(
    home: Home,
) {
    let started = Instant::now();
    let server = home.launch().start().await;
    let class = Class::begin(&server).await;
    let kills = kills(KILLS_OF_THE_DATABASE);
    let mut slowest = [Duration::ZERO; 2];
    for kill in 0..kills {
        class.is_acknowledged(more(kill)).await;
        home.cluster().kill();
        until("the server is not ready", async || {
            let probe = send(server.client().get("/readyz")).await;
            (probe.status == 503).then(|| assert_eq!(probe.problem(503), "not_ready"))
        })
        .await;
        class.is_refused(STUDENTS).await;
        home.cluster().start_again();
        let back = Instant::now();
        until("the server is ready", async || {
            let probe = send(server.client().get("/readyz")).await;
            (probe.status == 200).then_some(())
        })
        .await;
        let ready = back.elapsed();
        class.is_acknowledged(1).await;
        for (slowest, took) in slowest.iter_mut().zip([ready, back.elapsed()]) {
            *slowest = took.max(*slowest);
        }
    }
    assert!(
        slowest[1] < RECOVERY_MAX,
        "an answer was taken after {slowest:?}"
    );
    let ledgers = class.end().await;
    assert_kept(&home, server, &ledgers).await;
    let [ready, taking] = slowest;
    let what = format!(
        "{kills} kills of the database, ready again after {ready:.0?} at most and taking answers \
         after {taking:.0?}"
    );
    report(&what, &ledgers, started);
}

mod the_database {
    use crate::harness::Home;

    #[tokio::test]
    async fn is_killed() {
        let home = Home::postgres_of_its_own();
        super::every_acknowledged_answer_outlives_kills_of_the_database_and_none_is_there_twice(
            home,
        )
        .await;
    }

    #[tokio::test]
    async fn is_killed_behind_a_pooler() {
        let home = Home::postgres_of_its_own_behind_a_pooler();
        super::every_acknowledged_answer_outlives_kills_of_the_database_and_none_is_there_twice(
            home,
        )
        .await;
    }
}

fn kills(default: u64) -> u64 {
    std::env::var("MEDCARDS_KILLS").map_or(default, |kills| kills.parse().unwrap())
}

/// How many answers are acknowledged before this kill.
fn more(kill: u64) -> u64 {
    ACKNOWLEDGED_BETWEEN_KILLS * (1 + kill % 4) + 7 * kill % 13
}

/// The students who answer at once.
#[derive(Debug)]
struct Class {
    shared: Arc<Shared>,
    url: watch::Sender<String>,
    students: JoinSet<(Student, Ledger)>,
}

impl Class {
    /// Lets them begin.
    async fn begin(server: &Server) -> Self {
        let cases = server.client().student().walk("/v1/cases?limit=100").await;
        let shared = Arc::new(Shared {
            acknowledged: 0.into(),
            refused: 0.into(),
            is_over: false.into(),
            cases,
        });
        let (url, listening) = watch::channel(server.url().to_owned());
        let mut students = JoinSet::new();
        for _ in 0..STUDENTS {
            let student = server.client().student();
            let shared = Arc::clone(&shared);
            students.spawn(answer_until_over(student, shared, listening.clone()));
        }
        Self {
            shared,
            url,
            students,
        }
    }

    /// Waits until this many more answers are acknowledged.
    async fn is_acknowledged(&self, more: u64) {
        grows_by(more, "students are acknowledged", &self.shared.acknowledged).await;
    }

    /// Waits until this many more answers are refused.
    async fn is_refused(&self, more: u64) {
        grows_by(more, "students are refused", &self.shared.refused).await;
    }

    /// Tells the students where the server listens now.
    fn goes_on_at(&self, url: &str) {
        self.url.send_replace(url.to_owned());
    }

    /// Stops them, each after an acknowledged answer.
    async fn end(self) -> Vec<(Student, Ledger)> {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.students.join_all().await
    }
}

async fn grows_by(more: u64, what: &str, count: &AtomicU64) {
    let wanted = count.load(Ordering::SeqCst) + more;
    until(what, async || {
        (count.load(Ordering::SeqCst) >= wanted).then_some(())
    })
    .await;
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
                Ok(refused) => {
                    // Busy, if it waited for a connection for as long as it may.
                    let code = refused.problem(503);
                    assert!(["busy", "unavailable"].contains(&code.as_str()), "{code}");
                    assert_eq!(refused.headers["retry-after"], "1");
                    shared.refused.fetch_add(1, Ordering::SeqCst);
                    is_repeated = true;
                    // Sooner than it was asked to: the tests measure when the server is back.
                    sleep(RETRY_INTERVAL).await;
                    continue;
                }
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

/// What the students remember is what the server lists, and what is in the log.
async fn assert_kept(home: &Home, server: Server, ledgers: &[(Student, Ledger)]) {
    for (student, ledger) in ledgers {
        assert_listed(&student.at(server.url()), ledger).await;
    }
    is_learnt(home, &server).await;
    server.stop().await;
    // Closed before another opens it: a file is one's alone.
    home.with_store(async |store| assert_logged(store, ledgers).await)
        .await;
    let learnt = home.with_learning(async |store, views| assert_learnt(store, views).await);
    let learnt = learnt.await;
    assert!(learnt.awards > 0, "nobody has a badge: {learnt:?}");
    say(&format!("every figure is that of the log: {learnt:?}"));
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
async fn assert_logged(store: &dyn Store, ledgers: &[(Student, Ledger)]) {
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
    for answer in logged_answers(store).await {
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
}

/// The answers of all events, in the order of the log.
pub(crate) async fn logged_answers(store: &dyn Store) -> Vec<Answer> {
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

fn report(what: &str, ledgers: &[(Student, Ledger)], started: Instant) {
    let answers: usize = ledgers.iter().map(|(_, ledger)| ledger.answers.len()).sum();
    let [stored, lost] = ledgers.iter().fold([0, 0], |sum, (_, ledger)| {
        [sum[0] + ledger.repeated[0], sum[1] + ledger.repeated[1]]
    });
    say(&format!(
        "{what}, {answers} answers acknowledged, all there once; of {} sent again {stored} were \
         stored before and {lost} were not; {:.1} s",
        stored + lost,
        started.elapsed().as_secs_f64(),
    ));
}

#[expect(
    clippy::print_stderr,
    reason = "the figures are what the command is run for"
)]
fn say(text: &str) {
    eprintln!("{text}");
}
