//! Replies of models: whatever a server sends, it is deltas, then one end or one failure.

#![no_main]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{LazyLock, Mutex};
use std::thread;

use futures_util::StreamExt;
use libfuzzer_sys::fuzz_target;
use medcards_ai::{AnthropicProvider, OpenAiProvider, REPLY_BYTES_MAX};
use medcards_core::ai::{AiEvent, AiProvider, AiRequest, Prompt, PromptVersion};
use medcards_core::spend::{Price, Purpose};
use tokio::runtime::{Builder, Runtime};

/// What the server sends next.
static REPLY: Mutex<Vec<u8>> = Mutex::new(Vec::new());

static CLIENTS: LazyLock<Clients> = LazyLock::new(Clients::new);

struct Clients {
    runtime: Runtime,
    /// Both dialects, streamed and whole.
    providers: [Box<dyn AiProvider>; 4],
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, reply)) = bytes.split_first() else {
        return;
    };
    reply.clone_into(&mut REPLY.lock().unwrap());
    let Clients { runtime, providers } = &*CLIENTS;
    runtime.block_on(check(&*providers[usize::from(*which) % providers.len()]));
});

async fn check(provider: &dyn AiProvider) {
    let prompt = Prompt {
        version: PromptVersion::new(1),
        instructions: "Explain.".to_owned(),
        parts: Vec::new(),
        cache_through: None,
        output_tokens_max: 100,
    };
    let Ok(mut stream) = provider
        .stream(AiRequest::new(Purpose::Feedback, prompt))
        .await
    else {
        return;
    };
    let mut text_bytes = 0;
    let mut is_over = false;
    while let Some(event) = stream.next().await {
        assert!(!is_over, "nothing comes after the end or a failure");
        match event {
            Ok(AiEvent::Delta(text)) => {
                assert!(!text.is_empty(), "no delta is empty");
                text_bytes += text.len();
                assert!(text_bytes <= REPLY_BYTES_MAX);
            }
            Ok(_) | Err(_) => is_over = true,
        }
    }
    assert!(is_over, "a stream says how it ended");
}

impl Clients {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || serve(stream));
            }
        });
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let providers =
            runtime.block_on(async { [true, false].map(|is_streamed| of(&url, is_streamed)) });
        let [[a, b], [c, d]] = providers;
        Self {
            runtime,
            providers: [a, b, c, d],
        }
    }
}

fn of(url: &str, is_streamed: bool) -> [Box<dyn AiProvider>; 2] {
    let anthropic = AnthropicProvider::builder("claude-haiku-4-5").with_base_url(url);
    let openai = OpenAiProvider::builder("a-model")
        .with_base_url(url)
        .with_price(Price::default());
    [
        Box::new(anthropic.with_streaming(is_streamed).build().unwrap()),
        Box::new(openai.with_streaming(is_streamed).build().unwrap()),
    ]
}

/// Answers each request of a connection with the bytes of the moment.
fn serve(stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut requests = BufReader::new(stream);
    while let Some(length) = head(&mut requests) {
        let mut body = vec![0; length];
        if requests.read_exact(&mut body).is_err() {
            return;
        }
        let media_type = if body.windows(13).any(|part| part == b"\"stream\":true") {
            "text/event-stream"
        } else {
            "application/json"
        };
        let reply = REPLY.lock().unwrap().clone();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
            reply.len()
        );
        if requests
            .get_mut()
            .write_all(&[head.as_bytes(), &reply].concat())
            .is_err()
        {
            return;
        }
    }
}

/// Reads the head of a request and returns the length of its body; `None` at the end.
fn head(requests: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if requests.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            None if line.trim_end().is_empty() => return Some(length),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().ok()?;
            }
            _ => {}
        }
    }
}
