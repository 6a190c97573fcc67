//! Another server is told of badges and regraded answers, and fails in every way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use medcards_core::time::{Clock, SystemClock};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use xxhash_rust::xxh3::xxh3_64;

use crate::harness::{
    Home, Server, Student, admin_token, is_corrected, is_done, is_learnt, on_each_store, until,
};
use crate::learning::Known;

on_each_store!(
    each_badge_and_each_regraded_answer_arrives_though_both_servers_fail,
    a_message_that_is_not_wanted_is_given_up_and_sent_again_when_told,
);

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// How many students there are: each is told of a badge and of a corrected key.
const STUDENTS: usize = 25;

/// How old a message may be, as the specification would have it.
const AGE_MAX_S: i64 = 5 * 60;

/// The most requests that are left without an answer at a time: a server that sends eight at once goes
/// on with others.
const HANGING_MAX: usize = 3;

/// How the receiver fares.
#[derive(Clone, Copy, Debug)]
enum Mood {
    /// It takes everything.
    Well,
    /// It fails more often than not, each time in another way.
    Failing,
    /// It wants nothing any more.
    Gone,
}

/// What it does with a request.
#[derive(Clone, Copy, Debug)]
enum Act {
    Answer(&'static str),
    /// Takes the message, and goes away before it says so.
    Take,
    /// Goes away.
    Drop,
    /// Says nothing, for as long as anybody listens.
    Hang,
}

const TAKEN: &str = "204 No Content";

/// What failing looks like, in an order that only a hash knows.
const FAILURES: [Act; 8] = [
    Act::Answer(TAKEN),
    Act::Answer("200 OK"),
    Act::Take,
    Act::Answer("500 Internal Server Error"),
    Act::Answer("503 Service Unavailable\r\nretry-after: 0"),
    Act::Answer("429 Too Many Requests\r\nretry-after: 1"),
    Act::Drop,
    Act::Hang,
];

/// A message as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    id: String,
    body: String,
}

#[derive(Debug)]
struct Received {
    mood: Mood,
    requests: u64,
    taken: Vec<Message>,
    hanging: Vec<TcpStream>,
}

/// The other server.
struct Receiver {
    url: String,
    received: Arc<Mutex<Received>>,
    listening: AbortHandle,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Receiver {
    async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=hush", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Received {
            mood,
            requests: 0,
            taken: Vec::new(),
            hanging: Vec::new(),
        }));
        let shared = Arc::clone(&received);
        let listening = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                drop(tokio::spawn(receive(stream, Arc::clone(&shared))));
            }
        });
        Self {
            url,
            received,
            listening: listening.abort_handle(),
        }
    }

    fn is(&self, mood: Mood) {
        self.received.lock().unwrap().mood = mood;
    }

    fn taken(&self) -> Vec<Message> {
        self.received.lock().unwrap().taken.clone()
    }

    /// Waits until it took so many.
    async fn has_taken(&self, count: usize) {
        until("messages arrive", async || {
            (self.taken().len() >= count).then_some(())
        })
        .await;
    }

    async fn launch(&self, home: &Home) -> Server {
        let launch = home.launch().with("MEDCARDS_WEBHOOK_URL", &self.url);
        launch.with("MEDCARDS_WEBHOOK_SECRET", SECRET).start().await
    }

    /// Kills the server, and starts another when what it held has ended.
    async fn relaunch(&self, home: &Home, server: Server) -> Server {
        server.kill();
        self.received.lock().unwrap().hanging.clear();
        home.end_leases().await;
        self.launch(home).await
    }
}

/// Reads a request and does something with it. One that breaks off is none.
async fn receive(mut stream: TcpStream, received: Arc<Mutex<Received>>) -> Option<()> {
    let message = read(&mut stream).await?;
    let act = {
        let mut received = received.lock().unwrap();
        received.requests += 1;
        let act = match received.mood {
            Mood::Well => Act::Answer(TAKEN),
            Mood::Gone => Act::Answer("410 Gone"),
            Mood::Failing => {
                let luck = xxh3_64(&received.requests.to_le_bytes());
                FAILURES[luck as usize % FAILURES.len()]
            }
        };
        match act {
            Act::Hang if received.hanging.len() < HANGING_MAX => {
                received.hanging.push(stream);
                return None;
            }
            Act::Answer(status) if status.starts_with('2') => received.taken.push(message),
            Act::Take => received.taken.push(message),
            _ => {}
        }
        act
    };
    if let Act::Answer(status) = act {
        let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
    Some(())
}

/// Reads a message, which must be signed.
async fn read(stream: &mut TcpStream) -> Option<Message> {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = std::str::from_utf8(&bytes).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length: usize = header(head, "content-length").parse().unwrap();
        if body.len() == length {
            break (head, body);
        }
    };
    assert!(
        head.starts_with("POST /hook?token=hush HTTP/1.1\r\n"),
        "{head}"
    );
    assert_eq!(header(head, "content-type"), "application/json");
    let (id, timestamp) = (
        header(head, "webhook-id"),
        header(head, "webhook-timestamp"),
    );
    let sent_s: i64 = timestamp.parse().unwrap();
    let age_s = SystemClock::new().now().as_second() - sent_s;
    assert!(age_s.abs() < AGE_MAX_S, "sent {age_s} s ago");
    let signature = signature(&format!("{id}.{timestamp}.{body}"));
    let signatures = header(head, "webhook-signature");
    assert!(
        signatures.split(' ').any(|it| it == signature),
        "{signatures}"
    );
    Some(Message {
        id: id.to_owned(),
        body: body.to_owned(),
    })
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let field = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
    field.unwrap_or_else(|| panic!("no {name} in {head}")).1
}

/// HMAC-SHA256 by another library than the sender's, which writes it for tokens.
fn signature(text: &str) -> String {
    let secret = STANDARD
        .decode(SECRET.trim_start_matches("whsec_"))
        .unwrap();
    let key = EncodingKey::from_secret(&secret);
    let mac = crypto::sign(text.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!(
        "v1,{}",
        STANDARD.encode(URL_SAFE_NO_PAD.decode(mac).unwrap())
    )
}

/// What a message says: of whom, and which badge, or which case and whether the answer is right.
type Said = (String, String, String);

/// What all messages say, each once for each id.
fn said(taken: &[Message]) -> Vec<Said> {
    let mut of_ids = BTreeMap::new();
    for message in taken {
        let before = of_ids.insert(&message.id, &message.body);
        let is_same = before.is_none_or(|before| *before == message.body);
        assert!(is_same, "a message that is sent again is the same");
    }
    let mut said: Vec<_> = of_ids
        .into_values()
        .map(|body| {
            let message: Value = serde_json::from_str(body).unwrap();
            let (user, notice) = (&message["data"]["user_id"], &message["data"]["notice"]);
            let kind = notice["kind"].as_str().unwrap();
            assert_eq!(message["type"], format!("medcards.{kind}"));
            assert!(message["timestamp"].is_string());
            (
                user.as_str().unwrap().to_owned(),
                kind.to_owned(),
                of_notice(notice),
            )
        })
        .collect();
    said.sort();
    said
}

fn of_notice(notice: &Value) -> String {
    match notice["kind"].as_str().unwrap() {
        "badge" => notice["badge"].to_string(),
        _ => format!("{} {}", notice["case_id"], notice["is_correct"]),
    }
}

/// What the server told the students themselves.
async fn told(server: &Server, students: &[Student]) -> Vec<Said> {
    let mut told = Vec::new();
    for student in students {
        let notices = student.at(server.url()).get("/v1/me/notices").await;
        for notice in notices.expect(200)["items"].as_array().unwrap() {
            let kind = notice["kind"].as_str().unwrap();
            if ["badge", "regraded"].contains(&kind) {
                told.push((student.user_id.clone(), kind.to_owned(), of_notice(notice)));
            }
        }
    }
    told.sort();
    told
}

async fn each_badge_and_each_regraded_answer_arrives_though_both_servers_fail(home: Home) {
    let receiver = Receiver::start(Mood::Failing).await;
    let mut server = receiver.launch(&home).await;
    is_learnt(&home, &server).await;
    let cases = Known::all(&server.client().student()).await;
    let (case, wrong) = (&cases[0], cases[0].options(false));
    let students = [(); STUDENTS].map(|()| server.client().student());
    for student in &students {
        let answer = student.answer(&case.id, &wrong).await.expect(201);
        assert_eq!(answer["is_correct"], false);
    }
    receiver.has_taken(STUDENTS / 5).await;
    server = receiver.relaunch(&home, server).await;
    let admin = server.client().holder(admin_token());
    let path = format!("/v1/admin/cases/{}/corrections", case.id);
    let form = json!({"case_version": 1, "right": wrong, "reason": "it was right"});
    admin.post(&path, &form).await.expect(201);
    for share in [2, 3, 4] {
        receiver.has_taken(STUDENTS * share / 5).await;
        server = receiver.relaunch(&home, server).await;
    }
    receiver.is(Mood::Well);
    server = receiver.relaunch(&home, server).await;
    is_corrected(&home, &server, 1).await;
    is_done(&home, &server).await;

    let told = told(&server, &students).await;
    assert_eq!(told.len(), 2 * STUDENTS);
    let different: BTreeSet<_> = told.iter().collect();
    assert_eq!(
        different.len(),
        told.len(),
        "nobody is told twice: {told:?}"
    );
    // The last ones are taken, though the server may not have read that yet.
    until("everything has arrived", async || {
        (said(&receiver.taken()).len() >= told.len()).then_some(())
    })
    .await;
    assert_eq!(said(&receiver.taken()), told);
    let output = server.output();
    assert!(
        !output.contains("hush") && !output.contains(SECRET),
        "{output}"
    );
    server.stop().await;
}

async fn a_message_that_is_not_wanted_is_given_up_and_sent_again_when_told(home: Home) {
    let receiver = Receiver::start(Mood::Gone).await;
    let server = receiver.launch(&home).await;
    is_learnt(&home, &server).await;
    let admin = server.client().holder(admin_token());
    let cases = Known::all(&server.client().student()).await;
    let dead = async || {
        let dead = admin.get("/v1/admin/jobs/dead").await.expect(200);
        dead["items"].as_array().unwrap().clone()
    };
    let students = [(); 2].map(|()| server.client().student());
    for student in &students {
        student
            .answer(&cases[0].id, &cases[0].options(true))
            .await
            .expect(201);
    }
    until("both messages are given up", async || {
        (dead().await.len() == students.len()).then_some(())
    })
    .await;
    let given_up = dead().await;
    for job in &given_up {
        assert_eq!(
            (&job["kind"], &job["attempts"]),
            (&json!("webhook"), &json!(1))
        );
        assert!(job["reason"].as_str().unwrap().contains("410"), "{job}");
    }
    assert_eq!(receiver.taken(), []);

    // One is sent again, the other forgotten.
    receiver.is(Mood::Well);
    let [sent, forgotten] = [0, 1].map(|n| given_up[n]["id"].as_str().unwrap());
    for (path, id) in [("discard", forgotten), ("requeue", sent)] {
        let path = format!("/v1/admin/jobs/{path}");
        let decided = admin.post(&path, &json!({"ids": [id]})).await;
        assert_eq!(decided.expect(200), json!({"count": 1}));
        let again = admin.post(&path, &json!({"ids": [id]})).await;
        assert_eq!(
            again.expect(200),
            json!({"count": 0}),
            "it is not dead any more"
        );
    }
    receiver.has_taken(1).await;
    is_done(&home, &server).await;
    let taken = receiver.taken();
    let ids: Vec<_> = taken.iter().map(|message| &*message.id).collect();
    assert_eq!(ids, [sent]);
    assert_eq!(dead().await, Vec::<Value>::new());
    let said = said(&taken);
    let told = told(&server, &students).await;
    assert!(said.len() == 1 && told.contains(&said[0]), "{said:?}");
}
