/// Messages: streams, whole replies, refused requests, the cache.
mod anthropic;
/// Message batches.
mod batches;
/// What goes wrong on request.
mod faults;
/// Whether the words of replies are plausible feedback.
mod feedback;
/// Chat completions.
mod openai;
/// Files and batches of OpenAI.
mod openai_batches;
/// Steering it over HTTP, and rate limits.
mod steering;

use medcards_examples::simulator::{Script, Simulator};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

/// A part of a prompt as our provider sends it.
const CASE: &str = "<case>\nThe case:\nSpecialty: Cardiology\nHistory: She takes the drug for many \
    years. Potassium was 6.8 mmol/L.\nQuestion: What now?\n\nThe options, in no order:\n- [chosen] \
    Bisoprolol by mouth\n- [right] Stop spironolactone at once\n- Furosemide\n</case>";

const INSTRUCTIONS: &str = "You are a teacher. Write 120 to 180 words of plain text.";

struct Server {
    simulator: Simulator,
    client: Client,
}

impl Server {
    async fn start(script: Script) -> Self {
        Self::of(Simulator::start(script).await.unwrap())
    }

    fn of(simulator: Simulator) -> Self {
        Self {
            simulator,
            client: Client::new(),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.simulator.base_url())
    }

    fn get(&self, path: &str) -> RequestBuilder {
        let request = self.client.get(self.url(path));
        request.header("anthropic-version", "2023-06-01")
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        let request = self.client.post(self.url(path)).json(body);
        request.header("anthropic-version", "2023-06-01")
    }

    async fn message(&self, body: &Value) -> Response {
        self.post("/v1/messages", body).send().await.unwrap()
    }

    async fn completion(&self, body: &Value) -> Response {
        let request = self.post("/v1/chat/completions", body);
        request.send().await.unwrap()
    }

    fn calls(&self, outcome: &str) -> u64 {
        let counts = self.simulator.counts();
        counts.calls_of("POST /v1/messages", outcome)
            + counts.calls_of("POST /v1/chat/completions", outcome)
    }
}

/// A request for feedback in the dialect of Anthropic.
fn message(stream: bool) -> Value {
    json!({
        "model": "claude-haiku-4-5",
        "max_tokens": 1_000,
        "system": INSTRUCTIONS,
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": CASE }] }],
        "stream": stream,
    })
}

/// A request for feedback in the dialect of OpenAI.
fn completion(stream: bool) -> Value {
    json!({
        "model": "gpt-simulated",
        "max_completion_tokens": 1_000,
        "messages": [
            { "role": "system", "content": INSTRUCTIONS },
            { "role": "user", "content": CASE },
        ],
        "stream": stream,
        "stream_options": { "include_usage": true },
    })
}

async fn json_of(response: Response, status: StatusCode) -> Value {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["content-type"], "application/json");
    response.json().await.unwrap()
}

/// The data of all events of a stream that came to its end.
async fn events_of(response: Response) -> Vec<String> {
    assert_eq!(response.status(), StatusCode::OK);
    let media_type = response.headers()["content-type"].to_str().unwrap();
    assert!(media_type.starts_with("text/event-stream"), "{media_type}");
    data_of(&response.text().await.unwrap())
}

fn data_of(body: &str) -> Vec<String> {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(str::to_owned).collect()
}

fn read(data: &str) -> Value {
    serde_json::from_str(data).unwrap()
}
