//! Clients over three servers, each told of everything once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use medcards_core::UserId;
use medcards_core::event::LogPosition;
use medcards_core::notice::NOTICES_PER_READ_MAX;
use medcards_core::store::LearningStore;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::harness::{Client, Home, Server, Student, is_learnt, until};

/// How many clients listen, unless `MEDCARDS_CLIENTS` says otherwise: a thousand take a minute.
const CLIENTS: usize = 200;

/// How many servers they listen at.
const SERVERS: usize = 3;

/// How many answers each of them gives.
const ANSWERS: usize = 3;

/// How many of them answer at the same time.
const AT_ONCE: usize = 32;

/// After how many notices a client loses its connection, and comes back at the next server.
const NOTICES_PER_CONNECTION: usize = 2;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Students answer while they listen; their connections break again and again, and one server is
/// killed. What each was told is what is written down for it, in that order, once.
#[tokio::test]
async fn each_client_is_told_of_everything_once_whatever_breaks() {
    let home = Home::postgres();
    let folders: Vec<PathBuf> = (0..SERVERS)
        .map(|n| home.folder().join(format!("server-{n}")))
        .collect();
    let mut servers = Vec::new();
    for folder in &folders {
        servers.push(home.launch_in(folder).start().await);
    }
    let (urls, _) = watch::channel(urls_of(&servers));
    let count = std::env::var("MEDCARDS_CLIENTS").map_or(CLIENTS, |count| count.parse().unwrap());
    let students: Vec<Student> = (0..count).map(|_| servers[0].client().student()).collect();

    let told = Arc::new(AtomicU64::new(0));
    let (is_over, over) = watch::channel(false);
    let mut listeners = JoinSet::new();
    let mut began = Vec::new();
    for (n, student) in students.iter().enumerate() {
        let (tell_began, is_begun) = tokio::sync::oneshot::channel();
        began.push(is_begun);
        listeners.spawn(
            Listener {
                user_id: student.user_id.clone(),
                token: student.token.clone(),
                number: n,
                urls: urls.subscribe(),
                over: over.clone(),
                told: Arc::clone(&told),
                began: Some(tell_began),
            }
            .listen(),
        );
    }
    for is_begun in began {
        is_begun.await.unwrap();
    }

    let answering = tokio::spawn(answer_all(students.clone(), urls.subscribe()));
    let half = (count * ANSWERS / 2) as u64;
    until("half of them were told of something", async || {
        (told.load(Ordering::SeqCst) >= half.min(count as u64)).then_some(())
    })
    .await;
    servers.remove(SERVERS - 1).kill();
    urls.send_replace(urls_of(&servers));
    servers.push(home.launch_in(&folders[SERVERS - 1]).start().await);
    urls.send_replace(urls_of(&servers));
    answering.await.unwrap();

    is_learnt(&home, &servers[0]).await;
    let written = home
        .with_learning(async |_, learnt| written(learnt, &students).await)
        .await;
    let count_written: usize = written.values().map(Vec::len).sum();
    until("everybody was told of everything", async || {
        (told.load(Ordering::SeqCst) >= count_written as u64).then_some(())
    })
    .await;
    is_over.send_replace(true);
    let heard: HashMap<String, Heard> = listeners.join_all().await.into_iter().collect();
    let mut resumed = 0;
    for student in &students {
        let written = &written[&student.user_id];
        assert!(!written.is_empty(), "every student is told of something");
        let heard = &heard[&student.user_id];
        assert_eq!(&heard.notices, written, "{}", student.user_id);
        resumed += heard.resumed;
    }
    assert!(resumed > 0, "no connection broke");
    println!(
        "{count} clients at {SERVERS} servers were told of {count_written} notices, each once; connections \
         broke {resumed} times, and one server was killed"
    );
}

fn urls_of(servers: &[Server]) -> Vec<String> {
    servers.iter().map(|it| it.url().to_owned()).collect()
}

/// What is written down for each student, in its order.
async fn written(learnt: &dyn LearningStore, students: &[Student]) -> HashMap<String, Vec<String>> {
    let mut written = HashMap::new();
    for student in students {
        let user_id: UserId = student.user_id.parse().unwrap();
        let notices = learnt
            .list_notices(user_id, LogPosition::START, NOTICES_PER_READ_MAX)
            .await
            .unwrap();
        let said = notices
            .iter()
            .map(|it| format!("{} at {}", it.body.kind(), it.at));
        written.insert(student.user_id.clone(), said.collect());
    }
    written
}

async fn answer_all(students: Vec<Student>, urls: watch::Receiver<Vec<String>>) {
    let url = urls.borrow()[0].clone();
    let anyone = Client::new(&url).student();
    let cases = Arc::new(anyone.walk("/v1/cases?limit=100").await);
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let mut answering = JoinSet::new();
    for (n, student) in students.into_iter().enumerate() {
        let (cases, at_once) = (Arc::clone(&cases), Arc::clone(&at_once));
        let student = student.at(&url);
        answering.spawn(async move {
            for answer in 0..ANSWERS {
                let _turn = at_once.acquire().await.unwrap();
                let case = &cases[(n + answer) % cases.len()];
                let id = case["id"].as_str().unwrap();
                let key = case["options"][answer % 2]["key"].as_str().unwrap();
                let reply = student.answer(id, &[key]).await;
                assert!(reply.status < 300, "{}", reply.status);
            }
        });
    }
    answering.join_all().await;
}

/// What a client heard.
#[derive(Debug, Default)]
struct Heard {
    notices: Vec<String>,
    /// How often it came back.
    resumed: u64,
}

/// A client that listens, and comes back with the last cursor it saw whenever its connection breaks.
struct Listener {
    user_id: String,
    token: String,
    number: usize,
    urls: watch::Receiver<Vec<String>>,
    over: watch::Receiver<bool>,
    told: Arc<AtomicU64>,
    began: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Listener {
    async fn listen(mut self) -> (String, Heard) {
        let mut heard = Heard::default();
        let mut cursor: Option<String> = None;
        for connection in 0.. {
            if *self.over.borrow() {
                break;
            }
            let Some(mut socket) = self.connect(connection, cursor.as_deref()).await else {
                continue;
            };
            if cursor.is_some() {
                heard.resumed += 1;
            }
            let mut before_break = NOTICES_PER_CONNECTION;
            while before_break > 0 {
                let message = tokio::select! {
                    message = socket.next() => message,
                    _ = self.over.wait_for(|over| *over) => break,
                };
                // A server that was killed, or that closes: come back.
                let Some(Ok(message)) = message else { break };
                let Message::Text(text) = message else {
                    continue;
                };
                let message: Value = serde_json::from_str(&text).unwrap();
                cursor = Some(message["cursor"].as_str().unwrap().to_owned());
                if message["type"] == "began" {
                    if let Some(began) = self.began.take() {
                        began.send(()).unwrap();
                    }
                    continue;
                }
                let (kind, at) = (&message["kind"], &message["at"]);
                let said = format!("{} at {}", kind.as_str().unwrap(), at.as_str().unwrap());
                heard.notices.push(said);
                self.told.fetch_add(1, Ordering::SeqCst);
                before_break -= 1;
            }
            // Dropped without a word, as when a network goes away.
        }
        (self.user_id, heard)
    }

    async fn connect(&self, connection: usize, cursor: Option<&str>) -> Option<Socket> {
        let url = {
            let urls = self.urls.borrow();
            urls[(self.number + connection) % urls.len()].replace("http://", "ws://")
        };
        let url = match cursor {
            Some(cursor) => format!("{url}/v1/me/live?after={cursor}"),
            None => format!("{url}/v1/me/live"),
        };
        let mut request = url.into_client_request().unwrap();
        let protocols = format!("medcards, bearer.{}", self.token);
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", protocols.parse().unwrap());
        match connect_async(request).await {
            Ok((socket, _)) => Some(socket),
            // The server is gone: let whoever replaces it get on with it.
            Err(_) => {
                tokio::task::yield_now().await;
                None
            }
        }
    }
}
