use std::net::SocketAddr;
use std::time::Duration;

use medcards_core::testing::{Gate, Operation, Script};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::feedback::answered;
use crate::stream::events;
use crate::world::World;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) task: JoinHandle<std::io::Result<()>>,
}

pub(crate) async fn serve(world: &World) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let api = world.api.clone();
    let task = tokio::spawn(medcards_http::serve(listener, api, async {
        let _ = stopped.await;
    }));
    Server {
        address,
        stop,
        task,
    }
}

/// Sends a request as text, and leaves the connection open.
async fn begin(address: SocketAddr, request: String) -> TcpStream {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    connection
}

/// Everything until the server closes the connection.
async fn rest(mut connection: TcpStream) -> String {
    let mut response = Vec::new();
    connection.read_to_end(&mut response).await.unwrap();
    String::from_utf8(response).unwrap()
}

fn post(path: &str, token: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {len}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn an_answer_under_way_is_finished_and_acknowledged() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let token = world.guest().await;
    let server = serve(&world).await;
    world.plan.hang_next(Operation::RecordAnswer, 1);
    let path = format!("/v1/cases/{case_id}/answers");
    let body = json!({"options": ["A"]}).to_string();
    let connection = begin(server.address, post(&path, &token, &body)).await;
    world.plan.called(Operation::RecordAnswer, 1).await;

    server.stop.send(()).unwrap();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    world.plan.release();
    assert!(rest(connection).await.starts_with("HTTP/1.1 201"));
    server.task.await.unwrap().unwrap();
    assert_eq!(
        world.get(&token, "/v1/me/stats").await.expect(200)["answered"],
        1
    );
}

#[tokio::test]
async fn a_stream_under_way_gets_its_end() {
    let world = World::new().await;
    let token = world.guest().await;
    let url = answered(&world, &token).await;
    let gate = Gate::new();
    world
        .provider
        .push(Script::deltas(["It is ", "this."]).gated(&gate));
    let server = serve(&world).await;
    let request = format!(
        "GET {url} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n\
         accept: text/event-stream\r\n\r\n"
    );
    let connection = begin(server.address, request).await;
    world.provider.called(1).await;
    server.stop.send(()).unwrap();
    gate.open();
    let response = rest(connection).await;
    assert!(response.contains("event: end\n"), "{response}");
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_that_takes_too_long_gets_an_end_and_an_idle_client_none() {
    let world = World::with(|config| config.with_drain_patience(Duration::from_millis(50))).await;
    let token = world.guest().await;
    let url = answered(&world, &token).await;
    world.provider.push(Script::deltas(["It is "]).then_hangs());
    let server = serve(&world).await;
    let request = format!(
        "GET {url} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n\
         accept: text/event-stream\r\n\r\n"
    );
    let streaming = begin(server.address, request).await;
    let idle = begin(server.address, "GET /healthz HTTP/1.1\r\n".to_owned()).await;
    world.provider.called(1).await;
    server.stop.send(()).unwrap();
    let response = rest(streaming).await;
    let body: String = response
        .lines()
        .filter(|l| l.starts_with("event: ") || l.starts_with("data: "))
        .map(|line| {
            if line.starts_with("data: ") {
                format!("{line}\n\n")
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    let events = events(&body);
    let (name, end) = events.last().unwrap();
    assert_eq!((name.as_str(), &end["tier"]), ("end", &json!("authored")));
    server.task.await.unwrap().unwrap();
    drop(idle);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_free_place() {
    let world = World::with(|config| config.with_connections_max(1)).await;
    let server = serve(&world).await;
    let first = begin(server.address, "GET /healthz HTTP/1.1\r\n".to_owned()).await;
    let request = "GET /healthz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n".to_owned();
    let second = begin(server.address, request).await;
    let waiting = tokio::spawn(rest(second));
    // Many times what the server needs to answer, on the one thread that all share.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    drop(first);
    assert!(waiting.await.unwrap().starts_with("HTTP/1.1 200"));
    server.stop.send(()).unwrap();
    server.task.await.unwrap().unwrap();
}
