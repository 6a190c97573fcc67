use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::routing::get;
use bytes::Bytes;
use criterion::Criterion;
use medcards_benches::compare::{Comparison, compare};
use medcards_benches::report::{Report, Target};
use medcards_cache::MokaCache;
use medcards_core::UserId;
use medcards_core::app::{AnswerForm, Medcards};
use medcards_core::limit::Quota;
use medcards_core::memory::MemoryStore;
use medcards_core::testing::{PlainPrompt, ScriptedProvider, sample_content};
use medcards_core::time::SystemClock;
use medcards_http::{Guests, HttpConfig};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::load::Load;

/// How many clients there are: a class that reads its feedback at once.
const CONNECTIONS: usize = 32;

/// How many different answers they ask for.
const ANSWERS: u32 = 64;

/// So much in so little time that nobody is ever refused; every request is counted all the same.
const QUOTA_MAX: u32 = u32::MAX;

pub(crate) fn run(criterion: &mut Criterion, report: &mut Report) {
    // One thread for either server, one for the clients: all that the smallest machine has.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("this machine has threads to spare");
    let (address, medcards) = runtime.block_on(serve_medcards());
    let requests = runtime.block_on(requests(&medcards, guest(address)));
    let mut ours = Load::new(address, CONNECTIONS, requests.clone());
    let (head, body) = warm(&mut ours, &requests);
    let bare = serve_bare(&runtime, &head, body);
    let mut bare = Load::new(bare, CONNECTIONS, requests);
    compare(
        criterion,
        report,
        &Comparison {
            work: &format!("http_feedback/{CONNECTIONS} connections"),
            ours: "medcards-http",
            baseline: "bare axum",
            pieces: 1,
            target: Target::RateAtLeast(0.7),
        },
        |count| bare.send(count),
        |count| ours.send(count),
    );
    for (server, load) in [("medcards-http", &ours), ("bare axum", &bare)] {
        let (median, p99) = load.latencies();
        if median > Duration::ZERO {
            report.remark(format!(
                "http_feedback: {server} p50 {:.0} us, p99 {:.0} us",
                median.as_secs_f64() * 1e6,
                p99.as_secs_f64() * 1e6
            ));
        }
    }
}

async fn serve_medcards() -> (SocketAddr, Medcards) {
    let cache = MokaCache::builder(Arc::new(SystemClock::new())).build();
    let medcards = Medcards::builder(Arc::new(MemoryStore::new()))
        .cache(Arc::new(cache))
        .ai(
            Arc::new(ScriptedProvider::new()),
            Arc::new(PlainPrompt::default()),
        )
        .build()
        .await
        .expect("memory has no errors");
    let quota = Quota::new(QUOTA_MAX, Duration::from_secs(60)).expect("the quota is sound");
    let config = HttpConfig::new()
        .with_jwt_secret("a secret of this bench, long enough for its signature")
        .with_guests(Guests::Enabled)
        .with_quota(Some(quota))
        .with_ai_quota(Some(quota));
    let api = medcards_http::router(medcards.clone(), config).expect("the configuration is sound");
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback has ports");
    let address = listener.local_addr().expect("it listens");
    drop(tokio::spawn(medcards_http::serve(
        listener,
        api,
        std::future::pending(),
    )));
    (address, medcards)
}

/// A guest: its id and its token.
fn guest(address: SocketAddr) -> (UserId, String) {
    let mut load = Load::new(address, 1, Vec::new());
    let request = b"POST /v1/guest HTTP/1.1\r\nhost: bench\r\ncontent-length: 0\r\n\r\n";
    let (_, body) = load.ask(request);
    let guest: serde_json::Value = serde_json::from_slice(&body).expect("a guest is JSON");
    let text = |name: &str| {
        guest[name]
            .as_str()
            .expect("it has id and token")
            .to_owned()
    };
    (text("user_id").parse().expect("it is an id"), text("token"))
}

/// Lets the guest answer, and writes the requests for the feedback.
async fn requests(medcards: &Medcards, (user_id, token): (UserId, String)) -> Vec<Vec<u8>> {
    let contents = (0..ANSWERS).map(sample_content).collect();
    let published = medcards.store().publish(contents, medcards.now()).await;
    let mut requests = Vec::new();
    for case in published.expect("memory has no errors") {
        let form = AnswerForm {
            options: vec!["A".to_owned()],
            ..AnswerForm::default()
        };
        let submitted = medcards.submit_answer(user_id, case.case_id, form).await;
        let answer_id = submitted
            .expect("the choice is one of the options")
            .answer
            .id;
        let request = format!(
            "GET /v1/answers/{answer_id}/feedback HTTP/1.1\r\nhost: bench\r\n\
             accept: application/json\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        requests.push(request.into_bytes());
    }
    requests
}

/// Asks for all feedback twice; the second time it comes from the local tier. Returns one response.
fn warm(load: &mut Load, requests: &[Vec<u8>]) -> (String, Vec<u8>) {
    let mut last = (String::new(), Vec::new());
    for request in requests.iter().chain(requests) {
        last = load.ask(request);
    }
    let is_local = String::from_utf8_lossy(&last.1).contains("\"tier\":\"local\"");
    assert!(is_local, "warm feedback comes from the local tier");
    last
}

/// Serves the same bytes with the same headers, and does nothing else.
fn serve_bare(runtime: &Runtime, head: &str, body: Vec<u8>) -> SocketAddr {
    let headers = headers_of(head);
    let body = Bytes::from(body);
    let handler = move || {
        let (headers, body) = (headers.clone(), body.clone());
        async move { (headers, Body::from(body)) }
    };
    let router = Router::new().route("/v1/answers/{id}/feedback", get(handler));
    let listener = runtime
        .block_on(TcpListener::bind("127.0.0.1:0"))
        .expect("loopback has ports");
    let address = listener.local_addr().expect("it listens");
    drop(runtime.spawn(async { axum::serve(listener, router).await }));
    address
}

/// The headers of a response, without those that the server itself adds.
fn headers_of(head: &str) -> HeaderMap {
    let lines = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "));
    let own = lines.filter(|(name, _)| !["content-length", "date"].contains(name));
    let parse = |(name, value): (&str, &str)| {
        Some((
            name.parse::<HeaderName>().ok()?,
            HeaderValue::from_str(value).ok()?,
        ))
    };
    own.filter_map(parse).collect()
}
