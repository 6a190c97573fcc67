//! A server that speaks as the servers of models do, on a free port of this machine.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::stream::{self, StreamExt};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// In how many pieces it writes.
pub(crate) const PIECES: usize = 3;

/// What it writes: long enough to pass for feedback, with the options that it has to name.
fn words_for(body: &Bytes) -> [String; PIECES] {
    let mut prompt = String::new();
    collect(&serde_json::from_slice(body).unwrap(), &mut prompt);
    let options = prompt
        .split_once("The options, in no order:")
        .map_or("", |(_, options)| options);
    let marked = |mark: &str| {
        let lines = options.lines().filter(|line| line.contains(mark));
        let texts = lines.filter_map(|line| line.rsplit("] ").next());
        let quoted: Vec<String> = texts.map(|text| format!("“{text}”")).collect();
        quoted.join(" and ")
    };
    [
        format!(
            "You chose {}, which is tempting because the story begins like it.\n\n",
            marked("[chosen] ")
        ),
        "Look at the findings again: they point to another cause.\n\n".to_owned(),
        format!(
            "What is right is {}: the first step follows from that cause.\n\nAsk what has changed.",
            marked("[right] ")
        ),
    ]
}

/// All texts of a request, wherever they stand in it.
fn collect(value: &serde_json::Value, texts: &mut String) {
    match value {
        serde_json::Value::String(text) => {
            texts.push_str(text);
            texts.push('\n');
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| collect(value, texts)),
        serde_json::Value::Object(fields) => {
            fields.values().for_each(|value| collect(value, texts));
        }
        _ => {}
    }
}

/// The tokens it says it has read and written.
const TOKENS: (u64, u64) = (400, 150);

/// What such a call costs at a dollar for a million tokens read and five for as many written, in
/// millionths of a dollar.
pub(crate) const CALL_COST: u64 = TOKENS.0 + 5 * TOKENS.1;

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// With the first words, then with the others once it is [released](Model::release).
    Waits,
    /// With the words, all at once.
    Writes,
    /// With the first words, then with silence until the caller goes away.
    Stalls,
    /// With an error.
    Fails,
}

/// A model that is no model. Dropping it closes its port.
#[derive(Debug)]
pub(crate) struct Model {
    url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    mood: Mood,
    calls: AtomicU64,
    written: Mutex<String>,
    is_released: watch::Sender<bool>,
}

impl Model {
    pub(crate) async fn start(mood: Mood) -> Self {
        let shared = Arc::new(Shared {
            mood,
            calls: AtomicU64::new(0),
            written: Mutex::default(),
            is_released: watch::Sender::new(false),
        });
        let app = Router::new()
            .route("/v1/messages", post(messages))
            .route("/v1/chat/completions", post(completions))
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, shared, task }
    }

    /// Where it listens, without a path.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Lets it write what it holds back, now and from now on.
    pub(crate) fn release(&self) {
        self.shared.is_released.send_replace(true);
    }

    /// What it wrote last, or was about to.
    pub(crate) fn written(&self) -> String {
        self.shared.written.lock().unwrap().clone()
    }

    /// How often it was asked.
    pub(crate) fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::SeqCst)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Anthropic Messages.
async fn messages(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let (input, output) = TOKENS;
    let event = |data: serde_json::Value| {
        format!(
            "event: {}\ndata: {data}\n\n",
            data["type"].as_str().unwrap()
        )
    };
    let usage = json!({"input_tokens": input, "output_tokens": 1});
    let head = event(json!({"type": "message_start", "message": {"usage": usage}}));
    let words = shared.words_for(&body).map(|text| {
        let delta = json!({"type": "text_delta", "text": text});
        event(json!({"type": "content_block_delta", "index": 0, "delta": delta}))
    });
    let stop = json!({"stop_reason": "end_turn"});
    let usage = json!({"output_tokens": output});
    let tail = event(json!({"type": "message_delta", "delta": stop, "usage": usage}))
        + &event(json!({"type": "message_stop"}));
    shared.answer(head, words, tail)
}

/// Chat completions of OpenAI.
async fn completions(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let (input, output) = TOKENS;
    let event = |data: serde_json::Value| format!("data: {data}\n\n");
    let words = shared.words_for(&body).map(|text| {
        event(json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]}))
    });
    let stop = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let usage = json!({"prompt_tokens": input, "completion_tokens": output});
    let tail = event(stop) + &event(json!({"choices": [], "usage": usage})) + "data: [DONE]\n\n";
    shared.answer(String::new(), words, tail)
}

impl Shared {
    fn words_for(&self, body: &Bytes) -> [String; PIECES] {
        let words = words_for(body);
        *self.written.lock().unwrap() = words.concat();
        words
    }

    fn answer(&self, head: String, words: [String; PIECES], tail: String) -> Response {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let pieces = match self.mood {
            Mood::Fails => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Mood::Stalls => vec![head, words[0].clone()],
            Mood::Waits | Mood::Writes => [head].into_iter().chain(words).chain([tail]).collect(),
        };
        let pieces = pieces
            .into_iter()
            .map(|piece| Ok::<_, Infallible>(Bytes::from(piece)));
        let pieces = stream::iter(pieces);
        let released = self.is_released.subscribe();
        let body = match self.mood {
            Mood::Waits => Body::from_stream(pieces.enumerate().then(move |(n, piece)| {
                // The head and the first words come at once.
                let mut released = (n > 1).then(|| released.clone());
                async move {
                    if let Some(released) = &mut released {
                        // Nobody is left to release it when the model is gone.
                        drop(released.wait_for(|is_released| *is_released).await);
                    }
                    piece
                }
            })),
            Mood::Stalls => Body::from_stream(pieces.chain(stream::pending())),
            Mood::Fails | Mood::Writes => Body::from_stream(pieces),
        };
        ([("content-type", "text/event-stream")], body).into_response()
    }
}
