//! A server on a free port of this machine that answers with exactly the bytes it is told to.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What is answered to one request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) end: End,
}

/// What comes after the pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The end of a chunked body.
    Complete,
    /// A closed connection, in the midst of a chunked body.
    Cut,
    /// A closed connection, which is how a body without a length ends.
    Closed,
    /// Nothing, for ever.
    Silence,
    /// Not even the head of an answer.
    NoHead,
}

impl Answer {
    pub(crate) fn events(body: impl AsRef<[u8]>) -> Self {
        Self::new(200, "text/event-stream; charset=utf-8", body)
    }

    pub(crate) fn json(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self::new(status, "application/json", body)
    }

    pub(crate) fn new(status: u16, media_type: &str, body: impl AsRef<[u8]>) -> Self {
        Self {
            status,
            headers: vec![("content-type", media_type.to_owned())],
            pieces: vec![body.as_ref().to_vec()],
            end: End::Complete,
        }
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn with_pieces<'a>(mut self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        self.pieces = pieces.into_iter().map(<[u8]>::to_vec).collect();
        self
    }

    pub(crate) fn with_end(mut self, end: End) -> Self {
        self.end = end;
        self
    }
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Method and address, such as `GET /v1/models`.
    pub(crate) fn line(&self) -> &str {
        let line = self.head.lines().next().unwrap();
        line.strip_suffix(" HTTP/1.1").unwrap()
    }
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    /// Told when the pieces of an answer are written.
    pub(crate) written: Arc<Notify>,
    /// Told when a client hangs up on [`End::Silence`].
    pub(crate) hung_up: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(answer: Answer) -> Self {
        Self::start_with(move |_| answer.clone()).await
    }

    /// Answers the n-th request, from 0, with what `answer` gives for n.
    pub(crate) async fn start_with(
        answer: impl Fn(usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_asked(move |number, _| answer(number)).await
    }

    /// Answers the n-th request, from 0, with what `answer` gives for n and the request.
    pub(crate) async fn start_asked(
        answer: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), answer)
    }

    /// The same where something listens already.
    pub(crate) fn on(
        listener: TcpListener,
        answer: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            requests: Arc::default(),
            written: Arc::default(),
            hung_up: Arc::default(),
        });
        let requests = Arc::clone(&shared.requests);
        let (written, hung_up) = (Arc::clone(&shared.written), Arc::clone(&shared.hung_up));
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                socket.set_nodelay(true).unwrap();
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    // The client may hang up at any time; that is no matter here.
                    let _ = serve(socket, &shared).await;
                });
            }
        });
        Self {
            url,
            requests,
            written,
            hung_up,
            task,
        }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is answered to the n-th request.
type Script = dyn Fn(usize, &Request) -> Answer + Send + Sync;

struct Shared {
    answer: Box<Script>,
    requests: Arc<Mutex<Vec<Request>>>,
    written: Arc<Notify>,
    hung_up: Arc<Notify>,
}

async fn serve(mut socket: TcpStream, shared: &Shared) -> std::io::Result<()> {
    while let Some(request) = read_request(&mut socket).await? {
        let number = {
            let mut requests = shared.requests.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        let answer = (shared.answer)(number, &request);
        if answer.end != End::NoHead {
            write_answer(&mut socket, &answer).await?;
        }
        shared.written.notify_one();
        match answer.end {
            End::Complete => {}
            End::Closed | End::Cut => return Ok(()),
            End::NoHead | End::Silence => {
                // Whatever comes now is the end: of the connection, or of patience with it.
                let _ = socket.read_u8().await;
                shared.hung_up.notify_one();
            }
        }
    }
    Ok(())
}

async fn write_answer(socket: &mut TcpStream, answer: &Answer) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Whatever\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let chunked = answer.end != End::Closed;
    head.push_str(if chunked {
        "transfer-encoding: chunked\r\n\r\n"
    } else {
        "connection: close\r\n\r\n"
    });
    socket.write_all(head.as_bytes()).await?;
    for piece in answer.pieces.iter().filter(|piece| !piece.is_empty()) {
        let mut framed = Vec::new();
        if chunked {
            framed.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        }
        framed.extend_from_slice(piece);
        if chunked {
            framed.extend_from_slice(b"\r\n");
        }
        socket.write_all(&framed).await?;
    }
    if answer.end == End::Complete {
        socket.write_all(b"0\r\n\r\n").await?;
    }
    socket.flush().await
}

async fn read_request(socket: &mut TcpStream) -> std::io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let head_len = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_len]).to_lowercase();
    let body_len: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |len| len.trim().parse().unwrap());
    while bytes.len() < head_len + body_len {
        if socket.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
    let head = String::from_utf8_lossy(&bytes[..head_len]).into_owned();
    Ok(Some(Request {
        head,
        body: bytes[head_len..head_len + body_len].to_vec(),
    }))
}
