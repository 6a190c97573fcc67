use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// The longest response that is read: a hundred times what a feedback has.
const RESPONSE_BYTES_MAX: usize = 256 * 1024;

/// Clients that keep their connections, each sending one request after the other.
///
/// They do as little as a client can: requests are written beforehand, and of a response only the
/// status and the length are looked at.
pub(crate) struct Load {
    runtime: Runtime,
    connections: Vec<Connection>,
    requests: Arc<[Vec<u8>]>,
    latency_ns: Arc<Mutex<Histogram<u64>>>,
}

struct Connection {
    stream: TcpStream,
    read: BytesMut,
}

impl Load {
    /// Opens the connections. The requests are sent in turn.
    pub(crate) fn new(server: SocketAddr, connections: usize, requests: Vec<Vec<u8>>) -> Self {
        // One thread, so that as many cores are left to either server.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("this machine has room for a runtime");
        let connect = async || {
            let stream = TcpStream::connect(server)
                .await
                .expect("the server listens");
            stream.set_nodelay(true).expect("the connection is open");
            Connection {
                stream,
                read: BytesMut::with_capacity(8 * 1024),
            }
        };
        let connections = runtime.block_on(async {
            let mut open = Vec::with_capacity(connections);
            for _ in 0..connections {
                open.push(connect().await);
            }
            open
        });
        // Three digits of what is at most a minute.
        let latency_ns = Histogram::new_with_max(60_000_000_000, 3).expect("the bounds are sound");
        Self {
            runtime,
            connections,
            requests: requests.into(),
            latency_ns: Arc::new(Mutex::new(latency_ns)),
        }
    }

    /// Sends that many requests over all connections, and says how long that took.
    pub(crate) fn send(&mut self, count: u64) -> Duration {
        let next = Arc::new(AtomicU64::new(0));
        let connections = std::mem::take(&mut self.connections);
        let started = Instant::now();
        self.connections = self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for mut connection in connections {
                let (next, requests) = (Arc::clone(&next), Arc::clone(&self.requests));
                let latency_ns = Arc::clone(&self.latency_ns);
                tasks.spawn(async move {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= count {
                            return connection;
                        }
                        let started = Instant::now();
                        connection
                            .exchange(&requests[n as usize % requests.len()])
                            .await;
                        let took = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
                        lock(&latency_ns).saturating_record(took);
                    }
                });
            }
            tasks.join_all().await
        });
        started.elapsed()
    }

    /// The response to one request: head and body.
    pub(crate) fn ask(&mut self, request: &[u8]) -> (String, Vec<u8>) {
        let connection = self.connections.first_mut().expect("there is a connection");
        self.runtime.block_on(connection.ask(request))
    }

    /// The latencies of all requests since they were last forgotten: median and 99th percentile.
    pub(crate) fn latencies(&self) -> (Duration, Duration) {
        let latency_ns = lock(&self.latency_ns);
        let at = |quantile| Duration::from_nanos(latency_ns.value_at_quantile(quantile));
        (at(0.5), at(0.99))
    }
}

fn lock(latency_ns: &Mutex<Histogram<u64>>) -> std::sync::MutexGuard<'_, Histogram<u64>> {
    latency_ns.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    async fn exchange(&mut self, request: &[u8]) {
        let (head, length) = self.respond(request).await;
        self.read.clear();
        debug_assert!(head + length > 0, "a response has a head");
    }

    async fn ask(&mut self, request: &[u8]) -> (String, Vec<u8>) {
        let (head, length) = self.respond(request).await;
        let body = self.read[head..head + length].to_vec();
        let head = String::from_utf8_lossy(&self.read[..head]).into_owned();
        self.read.clear();
        (head, body)
    }

    /// Sends a request and reads the response; returns the lengths of its head and body.
    async fn respond(&mut self, request: &[u8]) -> (usize, usize) {
        self.stream
            .write_all(request)
            .await
            .expect("the server takes requests");
        loop {
            let read = self
                .stream
                .read_buf(&mut self.read)
                .await
                .expect("the server answers");
            assert!(read > 0, "the server closed the connection");
            assert!(
                self.read.len() <= RESPONSE_BYTES_MAX,
                "the response is too long"
            );
            let Some(head) = find(&self.read, b"\r\n\r\n").map(|end| end + 4) else {
                continue;
            };
            let status = &self.read[..12.min(head)];
            let is_good = status == b"HTTP/1.1 200" || status == b"HTTP/1.1 201";
            assert!(is_good, "{}", String::from_utf8_lossy(&self.read));
            let length = content_length(&self.read[..head]);
            if self.read.len() >= head + length {
                return (head, length);
            }
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let name = b"\r\ncontent-length: ";
    let digits = find(head, name)
        .map(|at| &head[at + name.len()..])
        .expect("it has a length");
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
