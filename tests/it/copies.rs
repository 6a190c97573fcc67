use std::time::{Duration, Instant};

use medcards_core::case::CaseRecord;
use serde_json::Value;
use tempfile::TempDir;

use crate::deck;
use crate::harness::{Client, Home, Reply, Server, Student, admin_token, send, until};

/// How many answers are given and looked for.
const ANSWERS: usize = 12;

/// How long a read may take whose replicas are behind or gone, on a machine that also compiles.
const READ_MAX: Duration = Duration::from_secs(10);

/// Two servers on one database, each with a folder of its own.
struct Pair {
    servers: [Server; 2],
    _home: Home,
    _folder: TempDir,
}

impl Pair {
    async fn start(home: Home) -> Self {
        let folder = TempDir::new().unwrap();
        let first = home.launch().start().await;
        let second = home.launch_in(folder.path()).start().await;
        Self {
            servers: [first, second],
            _home: home,
            _folder: folder,
        }
    }
}

/// An answer that was given, and what the server said that must be sent to see it.
struct Given {
    case_id: String,
    answer_id: String,
    token: Option<String>,
}

async fn give(student: &Student) -> Given {
    let case = student.get("/v1/cases/next").await.expect(200);
    let case_id = case["id"].as_str().unwrap().to_owned();
    let key = case["options"][0]["key"].as_str().unwrap();
    let reply = student.answer(&case_id, &[key]).await;
    let answer_id = reply.expect(201)["id"].as_str().unwrap().to_owned();
    let token = reply.headers.get("medcards-consistency");
    Given {
        case_id,
        answer_id,
        token: token.map(|token| token.to_str().unwrap().to_owned()),
    }
}

async fn read(student: &Student, path: &str, token: Option<&str>) -> Reply {
    let mut request = student.client.get(path).bearer_auth(&student.token);
    if let Some(token) = token {
        request = request.header("medcards-consistency", token);
    }
    let began = Instant::now();
    let reply = send(request).await;
    let took = began.elapsed();
    assert!(took < READ_MAX, "{path} took {took:?}");
    reply
}

/// The student sees the answer everywhere, as the latest of so many, with its token and without.
async fn assert_sees(student: &Student, given: &Given, answers: usize) {
    for token in [given.token.as_deref(), None] {
        let listed = read(student, "/v1/me/answers?limit=1", token).await;
        let listed = listed.expect(200);
        assert_eq!(
            listed["items"][0]["id"],
            given.answer_id.as_str(),
            "{token:?}"
        );
        let stats = read(student, "/v1/me/stats", token).await.expect(200);
        assert_eq!(stats["answered"], answers, "{token:?}");
        let path = format!("/v1/answers/{}/feedback", given.answer_id);
        let feedback = read(student, &path, token).await.expect(200);
        assert_eq!(feedback["origin"], "authored", "{token:?}");
        let next = read(student, "/v1/cases/next", token).await.expect(200);
        assert_ne!(next["id"], given.case_id.as_str(), "{token:?}");
    }
}

async fn check_answers(home: Home) {
    let pair = Pair::start(home).await;
    let [here, there] = &pair.servers;
    for (here, there) in [(here, there), (there, here)] {
        let known_to_both = here.client().student();
        for student in [here.client().guest().await, known_to_both] {
            for answers in 1..=ANSWERS {
                let given = give(&student).await;
                assert_sees(&student.at(there.url()), &given, answers).await;
            }
        }
    }
}

#[tokio::test]
async fn an_answer_through_one_server_is_seen_at_once_through_the_other() {
    check_answers(Home::postgres()).await;
}

#[tokio::test]
async fn an_answer_through_one_server_is_seen_at_once_through_the_other_that_has_replicas() {
    check_answers(Home::postgres_with_replicas()).await;
}

async fn import(client: &Client, record: &CaseRecord) -> Value {
    let request = client.post("/v1/admin/cases").bearer_auth(admin_token());
    let request = request.header("content-type", "application/x-ndjson");
    let line = serde_json::to_string(record).unwrap();
    send(request.body(line)).await.expect(200)["items"][0].clone()
}

/// The names of the cases that a list has.
async fn named(student: &Student, query: &str) -> Vec<String> {
    let listed = student.walk(&format!("/v1/cases?{query}")).await;
    let name = |case: &Value| case["source"]["external_id"].as_str().unwrap().to_owned();
    listed.iter().map(name).collect()
}

#[tokio::test]
async fn a_case_imported_through_one_server_is_shown_by_the_other_at_once() {
    let pair = Pair::start(Home::postgres()).await;
    let [here, there] = pair.servers.each_ref().map(Server::client);
    let (_, mut record) = deck::records().swap_remove(0);
    record.id = "imported".to_owned();
    record.specialty = Some("Lateness".to_owned());
    let reader = there.student();
    for (version, (word, other)) in (1..).zip([("wombat", "quokka"), ("quokka", "wombat")]) {
        record.stem = format!("Is it too late for a {word}?");
        let imported = import(&here, &record).await;
        assert_eq!(imported["version"], version);
        let case_id = imported["case_id"].as_str().unwrap();
        for path in [
            format!("/v1/cases/{case_id}"),
            "/v1/cases/next?specialty=lateness".to_owned(),
        ] {
            let shown = reader.get(&path).await.expect(200);
            assert_eq!(shown["stem"], record.stem.as_str(), "{path}");
            assert_eq!(shown["version"], version, "{path}");
        }
        assert_eq!(named(&reader, &format!("q={word}")).await, ["imported"]);
        assert!(named(&reader, &format!("q={other}")).await.is_empty());
        assert_eq!(named(&reader, "specialty=LATENESS").await, ["imported"]);
        let key = record.answer_keys[0].as_str();
        let answered = reader.answer(case_id, &[key]).await;
        assert_eq!(answered.expect(201)["case_version"], version);
    }
}

/// How many answers replicas have looked up.
fn looked_up(home: &Home) -> u64 {
    let name = home.database().name();
    let sql = "select coalesce(sum(idx_scan), 0) from pg_stat_user_tables
               where relname like 'interactions%'";
    let running = home.replicas().iter().filter(|one| one.is_running());
    running
        .map(|replica| replica.psql(name, sql).parse::<u64>().unwrap())
        .sum()
}

/// Asks with a token until a replica answers.
async fn assert_asks_replicas(home: &Home, student: &Student, token: &str) {
    let before = looked_up(home);
    until("replicas are asked", async || {
        read(student, "/v1/me/stats", Some(token)).await.expect(200);
        (looked_up(home) > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_student_sees_their_own_answers_while_replicas_are_behind_or_gone() {
    let home = Home::postgres_with_replicas();
    let server = home.launch().start().await;
    let student = server.client().student();
    let mut answers = 0;
    let mut answer_and_see = async || {
        let mut last = None;
        for _ in 0..ANSWERS {
            let given = give(&student).await;
            assert!(
                given.token.is_some(),
                "where there are replicas there are tokens"
            );
            answers += 1;
            assert_sees(&student, &given, answers).await;
            last = given.token;
        }
        last.unwrap()
    };
    let token = answer_and_see().await;
    assert_asks_replicas(&home, &student, &token).await;

    let [one, other] = home.replicas() else {
        panic!("there are two replicas");
    };
    one.pause_replay();
    other.pause_replay();
    let token = answer_and_see().await;
    one.resume_replay();
    assert_asks_replicas(&home, &student, &token).await;
    answer_and_see().await;
    one.kill();
    answer_and_see().await;
    other.kill();
    let token = answer_and_see().await;

    one.start_again();
    assert_asks_replicas(&home, &student, &token).await;
    answer_and_see().await;
    assert_eq!(student.walk("/v1/me/answers?").await.len(), answers);
    server.stop().await;
}
