use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use axum::response::Response;
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use medcards_core::event::LogPosition;
use medcards_core::job::{Effects, JobKind, JobOutcome, JobQueue, NewJob, Settlement};
use medcards_core::memory::MemoryStore;
use medcards_core::notice::{NewNotice, NoticeBody, NoticeStore};
use medcards_core::testing::Operation;
use medcards_core::{ErrorKind, UserId};
use medcards_http::HttpConfig;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tower::ServiceExt;

use crate::serving::{Server, serve};
use crate::world::{World, request, sign_with_secret};

const ME: &str = "7f1b6c1e-58a7-4f0b-9f3a-0d9f5a1c2b3d";
const OPEN_STREAMS: &str = "medcards_live_connections{transport=\"event_stream\"}";
const OPEN_SOCKETS: &str = "medcards_live_connections{transport=\"websocket\"}";

const OTHER: &str = "00000000-0000-4000-8000-000000000007";

fn user(id: &str) -> UserId {
    id.parse().unwrap()
}

/// A world, and where its notices are kept.
async fn told(configure: impl FnOnce(HttpConfig) -> HttpConfig) -> (World, MemoryStore) {
    let world = World::with(configure).await;
    let store = world.memory.clone();
    (world, store)
}

fn token_of(world: &World, id: &str) -> String {
    sign_with_secret(&json!({"sub": id, "exp": world.in_an_hour()}))
}

/// Writes streaks of these lengths as the effect of a job, in one transaction.
async fn write(store: &impl JobQueue, now: medcards_core::Timestamp, notices: Vec<(&str, u32)>) {
    let kind = JobKind::new("tell").unwrap();
    let enqueued = store
        .enqueue(vec![NewJob::new(kind.clone(), "", now)], now)
        .await;
    enqueued.unwrap();
    let lease = Duration::from_secs(60);
    let claimed = store.claim(&[kind], 1, now, lease).await.unwrap();
    let notices = notices.into_iter().map(|(id, days)| NewNotice {
        user_id: user(id),
        at: now,
        body: NoticeBody::Streak { days },
    });
    let settlement = Settlement {
        claim: claimed[0].claim(),
        outcome: JobOutcome::Done,
        effects: Effects {
            notices: notices.collect(),
            ..Effects::default()
        },
    };
    store.settle(vec![settlement], now).await.unwrap();
}

async fn tell(world: &World, store: &MemoryStore, days: impl IntoIterator<Item = u32>) {
    for days in days {
        write(store, world.medcards.now(), vec![(ME, days)]).await;
    }
}

type Client = WebSocketStream<TcpStream>;

/// The status with which a handshake was refused.
type Refused = (u16, Value);

async fn try_connect(
    address: SocketAddr,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<Client, Refused> {
    let mut request = format!("ws://{address}{path}")
        .into_client_request()
        .unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(address).await.unwrap();
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((client, response)) => {
            let names = headers
                .iter()
                .any(|(name, _)| *name == "sec-websocket-protocol");
            let chosen = response.headers().get("sec-websocket-protocol");
            assert_eq!(
                chosen.map(|it| it.to_str().unwrap()),
                names.then_some("medcards")
            );
            Ok(client)
        }
        Err(WsError::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            let problem = serde_json::from_slice(body).unwrap_or_default();
            Err((response.status().as_u16(), problem))
        }
        Err(error) => panic!("{error}"),
    }
}

async fn connect(server: &Server, token: &str, after: Option<&str>) -> Client {
    let path = match after {
        None => "/v1/me/live".to_owned(),
        Some(after) => format!("/v1/me/live?after={after}"),
    };
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    try_connect(server.address, &path, &headers).await.unwrap()
}

/// The next message, or the code with which the server closes.
async fn next(client: &mut Client) -> Result<Value, u16> {
    loop {
        match client.next().await.unwrap().unwrap() {
            Message::Text(text) => return Ok(serde_json::from_str(&text).unwrap()),
            Message::Close(frame) => return Err(frame.unwrap().code.into()),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn cursor(message: &Value) -> String {
    message["cursor"].as_str().unwrap().to_owned()
}

/// A stream of events, and what is read of it so far.
struct Events {
    body: Body,
    text: String,
}

impl Events {
    async fn open(world: &World, token: &str, after: Option<&str>) -> Self {
        let response = open(world, token, after).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: response.into_body(),
            text: String::new(),
        }
    }

    /// The next event: id, name and data; `None` at the end.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if block.starts_with(':') {
                    continue;
                }
                let field = |name: &str| {
                    let mut lines = block.lines();
                    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    found.unwrap_or_default().to_owned()
                };
                let data = serde_json::from_str(&field("data")).unwrap();
                return Some((field("id"), field("event"), data));
            }
            let frame = self.body.frame().await?.unwrap();
            let data = frame.into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The data of the next event, which must have this name.
    async fn expect(&mut self, name: &str) -> Value {
        let (id, event, data) = self.next().await.unwrap();
        assert_eq!(event, name, "{data}");
        if event != "end" {
            assert_eq!(cursor(&data), id);
        }
        data
    }
}

async fn open(world: &World, token: &str, after: Option<&str>) -> Response {
    let mut request = request(
        Method::GET,
        "/v1/me/notices/stream",
        Some(token),
        Body::empty(),
    );
    if let Some(after) = after {
        let headers = request.headers_mut();
        headers.insert("last-event-id", after.parse().unwrap());
    }
    world.api.router().oneshot(request).await.unwrap()
}

/// The value of a metric, with its labels.
async fn metric(world: &World, name: &str) -> String {
    let reply = world
        .send(request(Method::GET, "/metrics", None, Body::empty()))
        .await;
    let line = reply.text().lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no metric {name}"));
    line.rsplit_once(' ').unwrap().1.to_owned()
}

#[tokio::test]
async fn what_happens_is_told_to_its_student_over_a_websocket() {
    let (world, store) = told(|config| config).await;
    let server = serve(&world).await;
    tell(&world, &store, [1]).await;
    let mut client = connect(&server, &token_of(&world, ME), None).await;
    let began = next(&mut client).await.unwrap();
    assert_eq!(began["type"], "began");
    write(&store, world.medcards.now(), vec![(OTHER, 9), (ME, 2)]).await;
    tell(&world, &store, [3]).await;
    for days in [2, 3] {
        let notice = next(&mut client).await.unwrap();
        assert_eq!(notice["type"], "notice");
        assert_eq!(
            (&notice["kind"], &notice["days"]),
            (&json!("streak"), &json!(days))
        );
        assert_eq!(notice["at"], json!(world.medcards.now()));
    }
    // Whoever saw only the first message missed the same.
    let mut again = connect(&server, &token_of(&world, ME), Some(&cursor(&began))).await;
    assert_eq!(next(&mut again).await, Ok(began));
    for days in [2, 3] {
        assert_eq!(next(&mut again).await.unwrap()["days"], days);
    }
}

#[tokio::test]
async fn what_happens_is_told_to_its_student_as_events() {
    let (world, store) = told(|config| config).await;
    let token = token_of(&world, ME);
    tell(&world, &store, [1]).await;
    let mut events = Events::open(&world, &token, None).await;
    let began = events.expect("began").await;
    write(&store, world.medcards.now(), vec![(OTHER, 9), (ME, 2)]).await;
    let notice = events.expect("notice").await;
    assert_eq!(
        (&notice["type"], &notice["days"]),
        (&json!("notice"), &json!(2))
    );
    let mut again = Events::open(&world, &token, Some(&cursor(&began))).await;
    assert_eq!(again.expect("began").await, began);
    assert_eq!(again.expect("notice").await, notice);
}

#[tokio::test]
async fn notices_are_read_page_by_page() {
    let (world, store) = told(|config| config).await;
    let token = token_of(&world, ME);
    let page = async |query: &str| {
        let path = format!("/v1/me/notices{query}");
        world.get(&token, &path).await.expect(200)
    };
    let empty = page("").await;
    assert_eq!(
        (&empty["items"], &empty["has_more"]),
        (&json!([]), &json!(false))
    );
    write(&store, world.medcards.now(), vec![(OTHER, 9)]).await;
    tell(&world, &store, 1..=3).await;
    let first = page(&format!("?limit=2&after={}", cursor(&empty))).await;
    assert_eq!(first["has_more"], true);
    let second = page(&format!("?limit=2&after={}", cursor(&first))).await;
    assert_eq!(second["has_more"], false);
    let days = |page: &Value| -> Vec<u64> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|it| it["days"].as_u64().unwrap()).collect()
    };
    assert_eq!((days(&first), days(&second)), (vec![1, 2], vec![3]));
    let end = page(&format!("?after={}", cursor(&second))).await;
    assert_eq!((days(&end), cursor(&end)), (vec![], cursor(&second)));
}

/// The tail has it too by then.
#[tokio::test]
async fn what_happens_while_the_missed_is_read_comes_once() {
    let (world, store) = told(|config| config).await;
    let plan = &world.plan;
    plan.hang_next(Operation::ListNotices, 1);
    let mut events = Events::open(&world, &token_of(&world, ME), None).await;
    events.expect("began").await;
    plan.called(Operation::ListNotices, 1).await;
    tell(&world, &store, [1]).await;
    // The first read from now on may have begun before.
    let reads = plan.calls(Operation::ReadNotices) + 2;
    plan.called(Operation::ReadNotices, reads).await;
    plan.release();
    assert_eq!(events.expect("notice").await["days"], 1);
    tell(&world, &store, [2]).await;
    assert_eq!(events.expect("notice").await["days"], 2);
}

/// However often the connection drops, and to whichever process and in whichever way the client
/// returns.
#[tokio::test]
async fn each_notice_comes_once_whenever_connections_drop() {
    const NOTICES: u32 = 400;
    for seed in 0..3 {
        let mut random = fastrand::Rng::with_seed(seed);
        let store = MemoryStore::new();
        let worlds = [
            World::sharing(&store, |config| config).await,
            World::sharing(&store, |config| config).await,
        ];
        let servers = [serve(&worlds[0]).await, serve(&worlds[1]).await];
        let token = token_of(&worlds[0], ME);
        let now = worlds[0].medcards.now();
        let mut last = {
            let mut client = connect(&servers[0], &token, None).await;
            cursor(&next(&mut client).await.unwrap())
        };
        let writer = tokio::spawn({
            let (store, mut random) = (store.clone(), fastrand::Rng::with_seed(seed + 100));
            async move {
                let mut days = 1..=NOTICES;
                while !days.is_empty() {
                    let burst = days.by_ref().take(random.usize(1..30));
                    let notices = burst.flat_map(|days| [(OTHER, days), (ME, days)]);
                    write(&store, now, notices.collect()).await;
                    // Some are written while the client comes back, some while it reads.
                    for _ in 0..random.usize(0..200) {
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
        let mut got = Vec::new();
        while got.len() < NOTICES as usize {
            let process = random.usize(0..2);
            let wanted = random.usize(0..60).min(NOTICES as usize - got.len());
            let after = Some(last.clone());
            let mut take = |notice: Value| {
                got.push(u32::try_from(notice["days"].as_u64().unwrap()).unwrap());
                last = cursor(&notice);
            };
            if random.bool() {
                let mut client = connect(&servers[process], &token, after.as_deref()).await;
                next(&mut client).await.unwrap();
                for _ in 0..wanted {
                    // One that fell too far behind is told so, and comes back.
                    let Ok(notice) = next(&mut client).await else {
                        break;
                    };
                    take(notice);
                }
            } else {
                let mut events = Events::open(&worlds[process], &token, after.as_deref()).await;
                events.expect("began").await;
                for _ in 0..wanted {
                    let (_, name, notice) = events.next().await.unwrap();
                    if name == "end" {
                        break;
                    }
                    take(notice);
                }
            }
        }
        writer.await.unwrap();
        assert!(got.iter().copied().eq(1..=NOTICES), "seed {seed}: {got:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_keep_up_is_cut_off_and_comes_back() {
    let (world, store) = told(|config| config).await;
    let token = token_of(&world, ME);
    let mut events = Events::open(&world, &token, None).await;
    let mut last = cursor(&events.expect("began").await);
    tell(&world, &store, 1..=20).await;
    while metric(&world, OPEN_STREAMS).await != "0" {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let cut_off = "medcards_live_cut_off_total{transport=\"event_stream\"}";
    assert_eq!(metric(&world, cut_off).await, "1");
    let mut got = Vec::new();
    while let Some((_, name, data)) = events.next().await {
        if name == "notice" {
            got.push(data["days"].as_u64().unwrap());
            last = cursor(&data);
        }
    }
    assert!(got.len() < 20, "{got:?}");
    let mut again = Events::open(&world, &token, Some(&last)).await;
    again.expect("began").await;
    while got.len() < 20 {
        got.push(again.expect("notice").await["days"].as_u64().unwrap());
    }
    assert!(got.into_iter().eq(1..=20));
}

#[tokio::test]
async fn a_client_with_too_much_waiting_is_told_so_after_what_waited() {
    let (world, store) = told(|config| config).await;
    let server = serve(&world).await;
    let token = token_of(&world, ME);
    let mut client = connect(&server, &token, None).await;
    let mut last = cursor(&next(&mut client).await.unwrap());
    // All at once, and more than may wait.
    write(
        &store,
        world.medcards.now(),
        (1..=300).map(|days| (ME, days)).collect(),
    )
    .await;
    let mut got = Vec::new();
    let code = loop {
        match next(&mut client).await {
            Ok(notice) => {
                got.push(notice["days"].as_u64().unwrap());
                last = cursor(&notice);
            }
            Err(code) => break code,
        }
    };
    assert_eq!(code, 1_013);
    let mut again = connect(&server, &token, Some(&last)).await;
    next(&mut again).await.unwrap();
    while got.len() < 300 {
        got.push(next(&mut again).await.unwrap()["days"].as_u64().unwrap());
    }
    assert!(got.into_iter().eq(1..=300));
}

#[tokio::test]
async fn a_connection_ends_with_its_token() {
    let (world, _) = told(|config| config).await;
    let server = serve(&world).await;
    // With the leeway for clocks it is good for one second more.
    let exp = world.medcards.now().as_second() - 29;
    let token = sign_with_secret(&json!({"sub": ME, "exp": exp}));
    let mut client = connect(&server, &token, None).await;
    let mut events = Events::open(&world, &token, None).await;
    next(&mut client).await.unwrap();
    events.expect("began").await;
    assert_eq!(next(&mut client).await, Err(4_401));
    assert_eq!(events.expect("end").await, json!({"reason": "expired"}));
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_its_session() {
    let (world, store) = told(|config| config).await;
    let (id, token) = world.session(&token_of(&world, ME)).await;
    let mut events = Events::open(&world, &token, None).await;
    events.expect("began").await;
    let later = async {
        tokio::time::sleep(Duration::from_secs(200)).await;
        tell(&world, &store, [1]).await;
    };
    tokio::join!(later, events.expect("notice"));
    let revoked = world.delete(&token, &format!("/v1/sessions/{id}")).await;
    revoked.expect(204);
    assert_eq!(events.expect("end").await, json!({"reason": "expired"}));
}

#[tokio::test]
async fn draining_ends_all_connections_and_takes_no_more() {
    let (world, _) = told(|config| config).await;
    let server = serve(&world).await;
    let token = token_of(&world, ME);
    let mut client = connect(&server, &token, None).await;
    next(&mut client).await.unwrap();
    // One that never answers does not hold the server up.
    let silent = connect(&server, &token, None).await;
    let mut events = Events::open(&world, &token, None).await;
    events.expect("began").await;

    server.stop.send(()).unwrap();
    assert_eq!(next(&mut client).await, Err(1_001));
    assert_eq!(events.expect("end").await, json!({"reason": "draining"}));
    server.task.await.unwrap().unwrap();
    world.api.drained().await;
    drop(silent);
    let response = open(&world, &token, None).await;
    assert_eq!(response.status(), 503);
    assert_eq!(metric(&world, OPEN_SOCKETS).await, "0");
}

/// It holds a place among the connections of the server too.
#[tokio::test]
async fn a_websocket_counts_as_a_connection_of_the_server() {
    let (world, _) = told(|config| config.with_connections_max(1)).await;
    let server = serve(&world).await;
    let token = token_of(&world, ME);
    let mut client = connect(&server, &token, None).await;
    next(&mut client).await.unwrap();
    let second = connect(&server, &token, None);
    tokio::pin!(second);
    for _ in 0..1_000 {
        assert!(futures_util::poll!(&mut second).is_pending());
        tokio::task::yield_now().await;
    }
    client.close(None).await.unwrap();
    next(&mut second.await).await.unwrap();
}

#[tokio::test]
async fn connections_are_limited_for_each_user_and_in_all() {
    let (world, _) = told(|config| {
        config
            .with_live_connections_max(3)
            .with_live_connections_per_user_max(2)
    })
    .await;
    let server = serve(&world).await;
    let (mine, other) = (token_of(&world, ME), token_of(&world, OTHER));
    let bearer = format!("Bearer {mine}");
    let headers = [("authorization", bearer.as_str())];
    let first = Events::open(&world, &mine, None).await;
    let mut second = connect(&server, &mine, None).await;
    let refused = try_connect(server.address, "/v1/me/live", &headers).await;
    let (status, problem) = refused.unwrap_err();
    assert_eq!((status, &problem["code"]), (429, &json!("live_too_many")));
    let third = Events::open(&world, &other, None).await;
    let response = open(&world, &other, None).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));

    // Whoever leaves makes room.
    second.close(None).await.unwrap();
    drop((first, third));
    let until_free = async |token: &str| {
        while open(&world, token, None).await.status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    until_free(&mine).await;
    until_free(&other).await;
}

#[tokio::test]
async fn browsers_send_their_token_as_a_subprotocol() {
    let (world, _) = told(|config| config.with_cors_origins(["https://app.example.org"])).await;
    let server = serve(&world).await;
    let token = token_of(&world, ME);
    let named = format!("medcards, bearer.{token}");
    let own = format!("http://{}", server.address);
    let protocol = "sec-websocket-protocol";
    for origin in [own.as_str(), "https://app.example.org"] {
        let headers = [(protocol, named.as_str()), ("origin", origin)];
        let client = try_connect(server.address, "/v1/me/live", &headers).await;
        next(&mut client.unwrap()).await.unwrap();
    }
    let foreign = [
        (protocol, named.as_str()),
        ("origin", "https://evil.example.org"),
    ];
    let two = format!("medcards, bearer.{token}, bearer.{token}");
    let in_url = format!("/v1/me/live?token={token}");
    for (path, headers, status, code) in [
        ("/v1/me/live", &foreign[..], 403, "origin_refused"),
        ("/v1/me/live", &[], 401, "token_missing"),
        (
            "/v1/me/live",
            &[(protocol, "medcards")],
            401,
            "token_missing",
        ),
        (
            "/v1/me/live",
            &[(protocol, "medcards, bearer.")],
            401,
            "token_malformed",
        ),
        (
            "/v1/me/live",
            &[(protocol, "medcards, bearer.x.y.z")],
            401,
            "token_malformed",
        ),
        (
            "/v1/me/live",
            &[(protocol, two.as_str())],
            401,
            "token_malformed",
        ),
        (&in_url, &[], 401, "token_missing"),
        (
            &in_url,
            &[(protocol, named.as_str())],
            400,
            "unknown_parameter",
        ),
        (
            "/v1/me/live?after=x",
            &[(protocol, named.as_str())],
            400,
            "invalid_parameter",
        ),
    ] {
        let refused = try_connect(server.address, path, headers).await;
        let (got, problem) = refused.unwrap_err();
        assert_eq!(
            (got, &problem["code"]),
            (status, &json!(code)),
            "{path} {headers:?}"
        );
    }
    // Nowhere else is it looked for there.
    let other = Request::builder().uri("/v1/me").header(protocol, &named);
    let reply = world.send(other.body(Body::empty()).unwrap()).await;
    reply.expect_problem(401, "token_missing");
}

#[tokio::test]
async fn clients_that_talk_are_closed() {
    let (world, _) = told(|config| config).await;
    let server = serve(&world).await;
    let token = token_of(&world, ME);
    let mut client = connect(&server, &token, None).await;
    next(&mut client).await.unwrap();
    client.send(Message::text("hello")).await.unwrap();
    assert_eq!(next(&mut client).await, Err(1_008));

    // Some pings are fine, a flood is not.
    let mut client = connect(&server, &token, None).await;
    next(&mut client).await.unwrap();
    let closed = async {
        let mut pongs = 0;
        loop {
            client.send(Message::Ping("x".into())).await?;
            if let Message::Pong(_) = client.next().await.unwrap()? {
                pongs += 1;
            } else {
                return Ok::<u32, WsError>(pongs);
            }
        }
    };
    let pongs = closed.await.unwrap();
    assert!((50..=100).contains(&pongs), "{pongs}");

    let mut client = connect(&server, &token, None).await;
    next(&mut client).await.unwrap();
    client
        .send(Message::binary(vec![0; 100_000]))
        .await
        .unwrap();
    loop {
        match client.next().await {
            None | Some(Err(_) | Ok(Message::Close(_))) => break,
            Some(Ok(_)) => {}
        }
    }
}

#[tokio::test]
async fn a_client_that_answers_no_pings_is_closed() {
    let (world, _) = told(|config| config).await;
    let server = serve(&world).await;
    let token = token_of(&world, ME);
    let mut client = connect(&server, &token, None).await;
    next(&mut client).await.unwrap();
    assert_eq!(metric(&world, OPEN_SOCKETS).await, "1");
    // Nothing is under way that time could overtake.
    tokio::time::pause();
    while metric(&world, OPEN_SOCKETS).await != "0" {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::resume();
    // Read as bytes: what speaks WebSocket would answer the pings first.
    let mut bytes = Vec::new();
    let mut stream = client.into_inner();
    stream.read_to_end(&mut bytes).await.unwrap();
    let mut close = vec![0x88, 8];
    close.extend(4_408_u16.to_be_bytes());
    close.extend(b"silent");
    assert!(bytes.ends_with(&close), "{bytes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_ends_what_it_must_and_nothing_else() {
    let world = World::new().await;
    let (plan, inner) = (&world.plan, &world.memory);
    let token = token_of(&world, ME);
    plan.fail_next(Operation::LastNotice, 1, ErrorKind::Unavailable);
    assert_eq!(open(&world, &token, None).await.status(), 503);

    let mut events = Events::open(&world, &token, None).await;
    let began = events.expect("began").await;
    tell(&world, inner, [1]).await;
    events.expect("notice").await;
    // The tail waits, and goes on where it was.
    plan.fail_next(Operation::ReadNotices, 3, ErrorKind::Unavailable);
    tell(&world, inner, [2]).await;
    assert_eq!(events.expect("notice").await["days"], 2);

    plan.fail_next(Operation::ListNotices, 1, ErrorKind::Unavailable);
    let mut again = Events::open(&world, &token, Some(&cursor(&began))).await;
    again.expect("began").await;
    assert_eq!(again.expect("end").await, json!({"reason": "unavailable"}));
    world.get(&token, "/v1/me/notices").await.expect(200);
}

/// As after a store was restored from a copy.
#[tokio::test]
async fn a_cursor_from_beyond_the_end_goes_on_from_now() {
    let (world, store) = told(|config| config).await;
    let ahead = World::new().await;
    tell(&ahead, &ahead.memory, 1..=9).await;
    let token = token_of(&world, ME);
    let page = ahead.get(&token, "/v1/me/notices").await.expect(200);
    tell(&world, &store, [1]).await;
    let mut events = Events::open(&world, &token, Some(&cursor(&page))).await;
    events.expect("began").await;
    let after = |page: &Value| format!("/v1/me/notices?after={}", cursor(page));
    let end = world.get(&token, &after(&page)).await.expect(200);
    assert_eq!(end["items"], json!([]));
    tell(&world, &store, [2]).await;
    assert_eq!(events.expect("notice").await["days"], 2);
    let next = world.get(&token, &after(&end)).await.expect(200);
    assert_eq!(next["items"][0]["days"], 2);
}

#[tokio::test]
async fn nothing_is_read_while_nobody_listens() {
    let world = World::new().await;
    let plan = &world.plan;
    let token = token_of(&world, ME);
    for _ in 0..2 {
        let before = plan.calls(Operation::ReadNotices);
        let mut events = Events::open(&world, &token, None).await;
        events.expect("began").await;
        plan.called(Operation::ReadNotices, before + 1).await;
        drop(events);
        tokio::time::pause();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let after = plan.calls(Operation::ReadNotices);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(plan.calls(Operation::ReadNotices), after);
        tokio::time::resume();
    }
}

#[tokio::test]
async fn what_cannot_be_is_a_clear_problem() {
    let (world, store) = told(|config| config).await;
    let token = token_of(&world, ME);
    for (path, status, code) in [
        ("/v1/me/notices?after=1", 400, "invalid_parameter"),
        ("/v1/me/notices?limit=0", 400, "invalid_parameter"),
        ("/v1/me/notices?limit=101", 400, "invalid_parameter"),
        ("/v1/me/notices?cursor=x", 400, "unknown_parameter"),
        ("/v1/me/notices/stream?after=1", 400, "invalid_parameter"),
        ("/v1/me/notices/stream?limit=1", 400, "unknown_parameter"),
        ("/v1/me/live", 426, "upgrade_required"),
    ] {
        world.get(&token, path).await.expect_problem(status, code);
    }
    assert_eq!(open(&world, &token, Some("nonsense")).await.status(), 400);
    assert_eq!(store.last_notice().await.unwrap(), LogPosition::START);

    let without = World::without_coach().await;
    for path in ["/v1/me/notices", "/v1/me/notices/stream"] {
        let reply = without.get(&token, path).await;
        reply.expect_problem(404, "learning_disabled");
    }
}
