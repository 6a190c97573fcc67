//! Server-sent events as a client reads them.

use serde_json::Value;

/// The most bytes without the end of an event: feedback is a few kilobytes.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SseEvent {
    pub(crate) name: String,
    /// Where to go on behind it, if the stream says so.
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

impl SseEvent {
    /// The data as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| panic!("not JSON: {}", self.data))
    }
}

/// Reads the events of one reply.
#[derive(Debug)]
pub(crate) struct SseReader {
    response: reqwest::Response,
    unread: Vec<u8>,
}

impl SseReader {
    pub(crate) fn new(response: reqwest::Response) -> Self {
        Self {
            response,
            unread: Vec::new(),
        }
    }

    /// The next event, or `None` when the reply has ended as a reply should.
    pub(crate) async fn next(&mut self) -> Option<SseEvent> {
        self.try_next().await.unwrap()
    }

    /// The same, if the connection lives so long.
    pub(crate) async fn try_next(&mut self) -> reqwest::Result<Option<SseEvent>> {
        loop {
            while let Some(end) = find(&self.unread, b"\n\n") {
                let block: Vec<u8> = self.unread.drain(..end + 2).collect();
                if let Some(event) = parse(std::str::from_utf8(&block).unwrap()) {
                    return Ok(Some(event));
                }
            }
            assert!(self.unread.len() < EVENT_BYTES_MAX, "an event does not end");
            match self.response.chunk().await? {
                Some(chunk) => self.unread.extend_from_slice(&chunk),
                None => {
                    assert!(
                        self.unread.is_empty(),
                        "the stream breaks off within an event"
                    );
                    return Ok(None);
                }
            }
        }
    }

    /// All events that are left.
    pub(crate) async fn rest(mut self) -> Vec<SseEvent> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// An event, unless the block has only comments, which keep a connection alive.
fn parse(block: &str) -> Option<SseEvent> {
    let mut event = SseEvent {
        name: "message".to_owned(),
        id: None,
        data: String::new(),
    };
    let mut lines = Vec::new();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut event.name),
            "id" => event.id = Some(value.to_owned()),
            "data" => lines.push(value),
            _ => {}
        }
    }
    event.data = lines.join("\n");
    (!lines.is_empty()).then_some(event)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
