use std::time::Duration;

use medcards_examples::simulator::{Script, Simulator};
use medcards_tests::redis::RedisServer;
use reqwest::header::ACCEPT;
use serde_json::{Value, json};

use crate::harness::{
    Fleet, Home, Launch, Model, Mood, SseReader, Student, admin_token, on_each_store, send, until,
    uuid_v7,
};

on_each_store!(a_student_talks_with_the_coach_and_a_lost_connection_loses_no_words,);

/// A machine that is busy with all of this is no reason to take Redis for away.
const PATIENT: [(&str, &str); 1] = [("MEDCARDS_REDIS_PATIENCE", "2s")];

/// How fast the simulator writes: so slowly that a reply is still being written after its first
/// words were read.
const SLOW_TOKENS_PER_SECOND: u32 = 40;

/// How long ago a turn began that its process cannot be writing any more.
const LONG_AGO: &str = "interval '10 minutes'";

fn with_simulator(launch: Launch, simulator: &Simulator) -> Launch {
    launch
        .with("MEDCARDS_AI", "anthropic")
        .with("MEDCARDS_AI_URL", &simulator.base_url())
        .with("MEDCARDS_AI_KEY", "a-key-that-nobody-checks")
        .with("MEDCARDS_AI_MODEL", "claude-haiku-4-5")
}

fn slowly() -> Script {
    Script {
        tokens_per_second: SLOW_TOKENS_PER_SECOND,
        ..Script::default()
    }
}

/// Answers the next case, and returns the id of the answer.
async fn answered(student: &Student) -> String {
    let case = student.get("/v1/cases/next").await.expect(200);
    let key = case["options"][0]["key"].as_str().unwrap();
    let answer = student.answer(case["id"].as_str().unwrap(), &[key]).await;
    answer.expect(201)["id"].as_str().unwrap().to_owned()
}

fn question(answer_id: &str, text: &str) -> Value {
    json!({"id": uuid_v7(), "answer_id": answer_id, "text": text})
}

fn turn_path(question: &Value) -> String {
    format!("/v1/chat/turns/{}", question["id"].as_str().unwrap())
}

/// A stream of a reply that has begun: of a question, or of a turn if there is none.
async fn stream(
    student: &Student,
    question: Option<&Value>,
    path: &str,
    last: Option<&str>,
) -> SseReader {
    let mut request = match question {
        Some(question) => student.client.post(path).json(question),
        None => student.client.get(path),
    };
    request = request
        .bearer_auth(&student.token)
        .header(ACCEPT, "text/event-stream");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    SseReader::new(response)
}

/// What one reader of a stream holds in hands.
#[derive(Debug, Default)]
struct Read {
    text: String,
    last: Option<String>,
    end: Option<Value>,
    restarts: usize,
}

impl Read {
    /// Reads on, at most so many deltas, or to the end.
    async fn on(&mut self, events: &mut SseReader, deltas_max: usize) {
        let mut deltas = 0;
        while deltas < deltas_max {
            let Ok(Some(event)) = events.try_next().await else {
                return;
            };
            if event.id.is_some() {
                self.last.clone_from(&event.id);
            }
            let data = event.json();
            match event.name.as_str() {
                "start" => {}
                "delta" => {
                    self.text.push_str(data["text"].as_str().unwrap());
                    deltas += 1;
                }
                "restart" => {
                    self.text.clear();
                    self.restarts += 1;
                }
                "end" => {
                    assert!(self.end.is_none(), "two ends");
                    self.end = Some(data);
                }
                other => panic!("an event {other}"),
            }
        }
    }

    #[track_caller]
    fn assert_whole(&self, origin: &str) -> &Value {
        let end = self.end.as_ref().expect("the reply has an end");
        assert_eq!(end["reply"]["origin"], origin, "{end}");
        assert_eq!(end["reply"]["text"], self.text.as_str());
        assert!(!self.text.is_empty());
        end
    }
}

async fn a_student_talks_with_the_coach_and_a_lost_connection_loses_no_words(home: Home) {
    let simulator = Simulator::start(slowly()).await.unwrap();
    let server = with_simulator(home.launch(), &simulator).start().await;
    let student = server.client().student();
    let answer = answered(&student).await;

    // The connection is lost after the first words, and later ones are read on another.
    let first = question(&answer, "Why is my choice wrong?");
    let mut read = Read::default();
    read.on(
        &mut stream(&student, Some(&first), "/v1/chat", None).await,
        2,
    )
    .await;
    assert!(read.end.is_none(), "the reply was over before it was lost");
    let begun = student.get(&turn_path(&first)).await.expect(200);
    assert_eq!(begun["reply"], Value::Null, "{begun}");
    let last = read.last.clone();
    read.on(
        &mut stream(&student, Some(&first), "/v1/chat", last.as_deref()).await,
        2,
    )
    .await;
    assert!(read.end.is_none(), "the reply was over before it was lost");
    let last = read.last.clone();
    let mut rest = stream(&student, None, &turn_path(&first), last.as_deref()).await;
    read.on(&mut rest, usize::MAX).await;
    assert_eq!(read.restarts, 0);
    let first_turn = read.assert_whole("live").clone();

    // The second question is asked with what was said before, and a JSON reply.
    let second = question(&answer, "And what speaks for the other?");
    let second_turn = student.post("/v1/chat", &second).await;
    let second_turn = match second_turn.status {
        200 => second_turn.expect(200),
        _ => {
            let location = second_turn.headers["location"].to_str().unwrap().to_owned();
            second_turn.expect(202);
            let mut read = Read::default();
            read.on(
                &mut stream(&student, None, &location, None).await,
                usize::MAX,
            )
            .await;
            read.assert_whole("live").clone()
        }
    };
    assert_eq!(second_turn["reply"]["origin"], "live");
    let chat = format!("/v1/answers/{answer}/chat");
    let turns = student.walk(&format!("{chat}?limit=1")).await;
    assert_eq!(turns, [second_turn.clone(), first_turn.clone()]);
    let calls = simulator.counts().calls_of("POST /v1/messages", "good");
    assert_eq!(calls, 2, "a lost connection asks no model again");
    assert_booked(&server.client().holder(admin_token()), &turns).await;

    // Another process finds all of it; what is forgotten is forgotten.
    server.stop().await;
    let server = with_simulator(home.launch(), &simulator).start().await;
    let student = student.at(server.url());
    assert_eq!(student.walk(&format!("{chat}?")).await, turns);
    assert_eq!(
        student.post("/v1/chat", &first).await.expect(200),
        first_turn
    );
    let mut read = Read::default();
    let mut again = stream(&student, None, &turn_path(&second), None).await;
    read.on(&mut again, usize::MAX).await;
    assert_eq!(read.assert_whole("live"), &second_turn);
    let request = student.client.request("DELETE", &chat);
    let forgotten = send(request.bearer_auth(&student.token)).await;
    assert_eq!(forgotten.status, 204);
    assert!(student.walk(&format!("{chat}?")).await.is_empty());
    let gone = student.get(&turn_path(&first)).await;
    assert_eq!(gone.problem(404), "turn_not_found");
    let calls = simulator.counts().calls_of("POST /v1/messages", "good");
    assert_eq!(calls, 2, "what is written is not written again");
}

/// The budget tells what these turns cost, and has nothing set aside any more.
async fn assert_booked(admin: &Student, turns: &[Value]) {
    let cost = |turn: &Value| turn["reply"]["cost_microdollars"].as_u64().unwrap();
    let wanted: u64 = turns.iter().map(cost).sum();
    assert!(wanted > 0, "{turns:?}");
    until("what the chat cost is booked", async || {
        let spend = admin.get("/v1/admin/spend").await.expect(200);
        let scopes = spend["budget"]["scopes"].as_array().unwrap().clone();
        let scope = |name: &str| {
            let mut scopes = scopes.iter();
            scopes.find(|scope| scope["scope"] == name).cloned()
        };
        let (day, chat, feedback) = (
            scope("day").unwrap(),
            scope("chat").unwrap(),
            scope("feedback").unwrap(),
        );
        assert_eq!(day["limit_microdollars"], 5_000_000, "{spend}");
        assert_eq!(chat["limit_microdollars"], Value::Null, "{spend}");
        assert_eq!(feedback["spent_microdollars"], 0, "{spend}");
        let is_booked = [day, chat].iter().all(|scope| {
            scope["spent_microdollars"] == wanted && scope["set_aside_microdollars"] == 0
        });
        is_booked.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_reply_that_one_server_writes_is_read_on_at_another() {
    let redis = RedisServer::start();
    // The fleet wants a model; its servers are told of a slower one.
    let model = Model::start(Mood::Fails).await;
    let simulator = Simulator::start(slowly()).await.unwrap();
    let url = simulator.base_url();
    let settings = [PATIENT[0], ("MEDCARDS_AI_URL", url.as_str())];
    let fleet = Fleet::start(&redis.url(), &model, &settings).await;
    let student = fleet.student();
    let answer = answered(&student).await;
    let asked = question(&answer, "Why is my choice wrong?");
    let mut read = Read::default();
    read.on(
        &mut stream(&student, Some(&asked), "/v1/chat", None).await,
        2,
    )
    .await;
    assert!(read.end.is_none(), "the reply was over before it was lost");
    let began = read.text.clone();
    for server in &fleet.servers[1..] {
        let there = student.at(server.url());
        let mut other = Read {
            text: began.clone(),
            ..Read::default()
        };
        let mut events = stream(&there, Some(&asked), "/v1/chat", read.last.as_deref()).await;
        other.on(&mut events, usize::MAX).await;
        let end = other.assert_whole("live");
        assert_eq!(other.restarts, 0, "the words go on where they stopped");
        assert_eq!(&there.get(&turn_path(&asked)).await.expect(200), end);
    }
    assert_eq!(
        simulator.counts().all_calls_of("POST /v1/chat/completions"),
        1,
        "one reply, however many servers are asked for it"
    );
    assert_eq!(model.calls(), 0);
}

#[tokio::test]
async fn a_turn_whose_server_was_killed_is_asked_again_and_nothing_is_lost() {
    let home = Home::postgres();
    let simulator = Simulator::start(slowly()).await.unwrap();
    let server = with_simulator(home.launch(), &simulator).start().await;
    let student = server.client().student();
    let answer = answered(&student).await;
    let kept = question(&answer, "What comes first?");
    let kept_turn = {
        let mut read = Read::default();
        let mut events = stream(&student, Some(&kept), "/v1/chat", None).await;
        read.on(&mut events, usize::MAX).await;
        read.assert_whole("live").clone()
    };
    let asked = question(&answer, "Why is my choice wrong?");
    let mut read = Read::default();
    let mut events = stream(&student, Some(&asked), "/v1/chat", None).await;
    read.on(&mut events, 2).await;
    assert!(read.end.is_none(), "the reply was over before the kill");
    server.kill();
    read.on(&mut events, usize::MAX).await;
    assert!(read.end.is_none(), "a killed server ends no reply");

    let server = with_simulator(home.launch(), &simulator).start().await;
    let student = student.at(server.url());
    let path = turn_path(&asked);
    let begun = student.get(&path).await.expect(200);
    assert_eq!(begun["question"], asked["text"], "the question is kept");
    assert_eq!(begun["reply"], Value::Null);
    // Whoever asks again at once waits for the process that writes it, as long as it may live. That
    // time is over for the store.
    let mut events = stream(&student, Some(&asked), "/v1/chat", read.last.as_deref()).await;
    let sql = format!(
        "update chat_turns set started_at = started_at - {LONG_AGO} where reply is null returning id"
    );
    let changed = home.database().psql(&sql);
    assert!(changed.contains(asked["id"].as_str().unwrap()), "{changed}");
    read.on(&mut events, usize::MAX).await;
    let end = read.assert_whole("live").clone();
    assert_eq!(student.get(&path).await.expect(200), end);
    let turns = student.walk(&format!("/v1/answers/{answer}/chat?")).await;
    assert_eq!(turns, [end, kept_turn]);
    // The call whose end nobody saw stays set aside: it may have cost as much.
    let spend = server.client().holder(admin_token());
    let spend = spend.get("/v1/admin/spend").await.expect(200);
    let scopes = spend["budget"]["scopes"].as_array().unwrap();
    let chat = scopes.iter().find(|scope| scope["scope"] == "chat");
    let chat = chat.unwrap();
    let spent: u64 = turns
        .iter()
        .map(|turn| turn["reply"]["cost_microdollars"].as_u64().unwrap())
        .sum();
    assert!(
        chat["spent_microdollars"].as_u64().unwrap()
            + chat["set_aside_microdollars"].as_u64().unwrap()
            > spent,
        "{spend}"
    );
    tokio::time::timeout(Duration::from_secs(60), server.stop())
        .await
        .expect("it stops although a call before it is unknown");
}
