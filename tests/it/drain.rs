use std::collections::BTreeSet;

use medcards_store_sqlite::{SqliteConfig, SqliteStore};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::harness::{Launch, Model, Mood, Server, Student, send, until, uuid_v7};
use crate::kill::logged_answers;

/// How many students send answers when the server is asked to stop.
const STUDENTS: usize = 8;

/// A student who reads feedback whose model has fallen silent after its first words.
async fn begin_to_read(server: &Server) -> crate::harness::SseReader {
    let student = server.client().student();
    let case = student.get("/v1/cases/next").await.expect(200);
    let key = case["options"][0]["key"].as_str().unwrap();
    let answer = student
        .answer(case["id"].as_str().unwrap(), &[key])
        .await
        .expect(201);
    let mut stream = student
        .feedback_stream(answer["id"].as_str().unwrap())
        .await;
    assert_eq!(
        stream.next().await.unwrap().name,
        "delta",
        "the first words arrive"
    );
    stream
}

/// Sends answers until the server takes no more, and returns the ids that it acknowledged.
async fn send_until_refused(student: Student, case_id: String, key: String) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let path = format!("/v1/cases/{case_id}/answers");
    loop {
        let form = json!({"id": uuid_v7(), "options": [key]});
        match student.try_post(&path, &form).await {
            Ok(reply) if reply.status == 201 => {
                acknowledged.push(reply.json()["id"].as_str().unwrap().to_owned());
            }
            Ok(reply) => {
                reply.problem(503);
                return acknowledged;
            }
            Err(_) => return acknowledged,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_asked_to_stop_ends_its_streams_and_keeps_every_answer() {
    let folder = TempDir::new().unwrap();
    let model = Model::start(Mood::Stalls).await;
    let server = Launch::on(folder.path())
        .with("MEDCARDS_AI", "anthropic")
        .with("MEDCARDS_AI_URL", model.url())
        .with("MEDCARDS_AI_KEY", "a-key-that-nobody-checks")
        .start()
        .await;
    let stream = begin_to_read(&server).await;
    let cases = server.client().student().walk("/v1/cases?limit=100").await;
    let mut students = JoinSet::new();
    for case in cases.iter().take(STUDENTS) {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let (id, key) = (text(&case["id"]), text(&case["options"][0]["key"]));
        students.spawn(send_until_refused(server.client().student(), id, key));
    }
    until("answers are on their way", async || {
        let reply = send(server.client().get("/metrics")).await;
        let metrics = String::from_utf8_lossy(&reply.body).into_owned();
        metrics.contains("/answers").then_some(())
    })
    .await;

    server.terminate();
    // The connection breaks with an error here if the server is cut off rather than drained.
    let events = stream.rest().await;
    assert_eq!(
        events
            .last()
            .expect("the stream is ended, not dropped")
            .name,
        "end"
    );
    assert_eq!(events.iter().filter(|event| event.name == "end").count(), 1);
    let status = server.exit().await;
    assert_eq!(status.code(), Some(0), "{status}");

    let acknowledged: Vec<_> = students.join_all().await.concat();
    assert!(!acknowledged.is_empty());
    let store = SqliteStore::open(SqliteConfig::new(folder.path().join("medcards.sqlite"))).await;
    let store = store.unwrap();
    let logged = logged_answers(&store).await;
    let logged: BTreeSet<_> = logged.iter().map(|answer| answer.id.to_string()).collect();
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|id| !logged.contains(*id))
        .collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    store.close().await;
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_told_so_and_the_first_goes_on() {
    let folder = TempDir::new().unwrap();
    let first = Launch::on(folder.path()).start().await;
    let (code, words) = Launch::on(folder.path()).fail().await;
    assert_eq!(code, Some(2), "{words}");
    assert!(!words.contains("panicked"), "{words}");
    assert_eq!(send(first.client().get("/readyz")).await.status, 200);
    let (code, words) = Launch::on(&folder.path().join("other"))
        .with("MEDCARDS_LISTEN", first.address())
        .fail()
        .await;
    assert_eq!(code, Some(2), "the port is in use: {words}");
    assert!(!words.contains("panicked"), "{words}");
    first.stop().await;
}
