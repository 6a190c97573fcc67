//! Somebody who takes the steps of a trace on one server.

use std::collections::{BTreeSet, HashMap};

use reqwest::Response;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::compare::{Aside, unshuffled};
use super::step::{See, Step, Who};
use crate::harness::{Client, SseReader, Student};

/// What came back, without what must differ.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen(pub(super) Value);

impl Seen {
    pub(super) fn status(&self) -> u16 {
        let status = self.0["status"].as_u64();
        u16::try_from(status.expect("a reply has a status")).unwrap()
    }
}

/// What later steps need from earlier replies to the same caller.
#[derive(Debug, Default)]
struct Memory {
    /// The case shown last as the next one: its id, and a key of it.
    next: Option<(String, String)>,
    answer_id: Option<String>,
    turn_id: Option<String>,
    event_id: Option<String>,
    cursor: Option<String>,
    etag: Option<String>,
    consistency: Option<String>,
}

/// Asks one server, and remembers what it said.
#[derive(Debug, Default)]
pub(super) struct Player {
    client: Option<Client>,
    guest: Option<Student>,
    /// The case imported last.
    imported: Option<String>,
    /// The session begun last: its id, and its token.
    session: Option<(String, String)>,
    memories: HashMap<String, Memory>,
    aside: Aside,
    steps: usize,
}

impl Player {
    /// From now on it asks this one.
    pub(super) fn asks(&mut self, client: Client) {
        self.client = Some(client);
    }

    /// These ids and instants are the same on every server.
    pub(super) fn knows(&mut self, ids: &BTreeSet<String>, instants: &BTreeSet<String>) {
        self.aside.share(ids);
        self.aside.share(instants);
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("the server is started")
    }

    pub(super) async fn list_cases(&self) -> Vec<Value> {
        self.client().student().walk("/v1/cases?limit=100").await
    }

    pub(super) async fn openapi(&self) -> Value {
        self.client()
            .student()
            .get("/openapi.json")
            .await
            .expect(200)
    }

    pub(super) async fn play(&mut self, step: &Step) -> Seen {
        self.steps += 1;
        match step.see {
            See::Walk | See::WalkInOrder => self.walk(step).await,
            See::Exactly | See::Names | See::Unshuffled => {
                let (seen, _) = self.ask(step, &step.path).await;
                Seen(seen)
            }
        }
    }

    /// Walks a list to its end: how long the pages are, and what is on them.
    async fn walk(&mut self, step: &Step) -> Seen {
        let (mut pages, mut items) = (Vec::new(), Vec::new());
        let mut path = step.path.clone();
        loop {
            let (seen, next) = self.ask(step, &path).await;
            let Some(listed) = seen["body"]["items"].as_array() else {
                return Seen(seen);
            };
            pages.push(listed.len());
            items.extend(listed.iter().cloned());
            match next {
                Some(cursor) => path = format!("{}&cursor={cursor}", step.path),
                None => break,
            }
        }
        if step.see == See::Walk {
            // Which of two matches is the better one is the store's to say.
            items.sort_by_key(|item| item["id"].as_str().map(str::to_owned));
        }
        Seen(json!({"status": 200, "pages": pages, "items": items}))
    }

    /// Asks, remembers, and returns what was seen and the cursor of the next page.
    async fn ask(&mut self, step: &Step, path: &str) -> (Value, Option<String>) {
        let who = step.who.to_string();
        let memory = self.memories.entry(who.clone()).or_default();
        let (next, key) = memory.next.clone().unzip();
        let (session_id, session) = self.session.clone().unzip();
        let filled = |text: &str| {
            let fill = |text: String, name: &str, value: &Option<String>| {
                text.replace(name, value.as_deref().unwrap_or_default())
            };
            let text = fill(text.to_owned(), "{next}", &next);
            let text = fill(text, "{key}", &key);
            let text = fill(text, "{answer}", &memory.answer_id);
            let text = fill(text, "{turn}", &memory.turn_id);
            let text = fill(text, "{event}", &memory.event_id);
            let text = fill(text, "{cursor}", &memory.cursor);
            let text = fill(text, "{etag}", &memory.etag);
            let text = fill(text, "{session}", &session_id);
            fill(text, "{imported}", &self.imported)
        };
        let client = self.client.as_ref().expect("the server is started");
        let mut request = client
            .request(step.method, &filled(path))
            .header("x-request-id", format!("step-{}", self.steps));
        if let Some(token) = step.who.token(self.guest.as_ref(), session.as_deref()) {
            request = request.bearer_auth(token);
        }
        for (name, value) in &step.headers {
            request = request.header(*name, filled(value));
        }
        if let Some(token) = memory.consistency.as_ref().filter(|_| step.sends_token) {
            request = request.header("medcards-consistency", token);
        }
        if let Some(body) = &step.body {
            request = request.body(filled(body));
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = read(response).await;
        self.remember(&who, step, status, &headers, &body);
        let next_cursor = body["next_cursor"].as_str().map(str::to_owned);
        (self.seen(step, status, &headers, body), next_cursor)
    }

    fn remember(&mut self, who: &str, step: &Step, status: u16, headers: &HeaderMap, body: &Value) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let memory = self.memories.get_mut(who).unwrap();
        let header = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
        if let Some(etag) = header("etag") {
            memory.etag = Some(etag);
        }
        if body["items"].is_array() {
            memory.cursor = text(&body["next_cursor"]);
        }
        if body["reason"].is_string() {
            memory.next = text(&body["id"]).zip(text(&body["options"][0]["key"]));
        }
        if body["feedback_url"].is_string() {
            memory.answer_id = text(&body["id"]);
            // Without one, a read is as fresh as can be.
            memory.consistency = header("medcards-consistency");
        }
        if body["question"].is_string() && body["answer_id"].is_string() {
            memory.turn_id = text(&body["id"]);
        }
        let events = body.as_array().into_iter().flatten();
        if let Some(id) = events.filter_map(|event| text(&event["id"])).next() {
            memory.event_id = Some(id);
        }
        if let Some(case_id) = text(&body["items"][0]["case_id"])
            && step.who == Who::Admin
        {
            self.imported = Some(case_id);
        }
        if step.path == "/v1/sessions" && status == 201 {
            self.session = text(&body["session"]).zip(text(&body["token"]));
        }
        if step.path == "/v1/guest" && status == 201 {
            let token = text(&body["token"]).unwrap();
            self.guest = Some(self.client().holder(token));
        }
    }

    fn seen(&mut self, step: &Step, status: u16, headers: &HeaderMap, body: Value) -> Value {
        let mut headers = self.aside.headers(headers);
        let body = match step.see {
            See::Exactly | See::Walk | See::WalkInOrder => self.aside.json(body),
            See::Names => names(&body),
            See::Unshuffled => {
                headers.as_object_mut().unwrap().remove("etag");
                unshuffled(self.aside.json(body))
            }
        };
        json!({"status": status, "headers": headers, "body": body})
    }
}

/// The body as what it says it is.
async fn read(response: Response) -> Value {
    let media_type = response.headers().get("content-type");
    let media_type = media_type.map_or("", |value| value.to_str().unwrap());
    if media_type.starts_with("text/event-stream") {
        let events = SseReader::new(response).rest().await;
        let events = events
            .iter()
            .map(|event| json!({"event": event.name, "id": event.id, "data": event.json()}));
        return events.collect();
    }
    let is_json = media_type.contains("json");
    let bytes = response.bytes().await.unwrap();
    match is_json && !bytes.is_empty() {
        true => serde_json::from_slice(&bytes).unwrap(),
        false => String::from_utf8_lossy(&bytes).into_owned().into(),
    }
}

/// What figures there are, whatever they say.
fn names(body: &Value) -> Value {
    let lines = body.as_str().unwrap_or_default().lines();
    // With Redis there is more to tell of.
    let of_redis = ["redis", "cache", "leaderboard", "limit", "session"]
        .map(|of| format!("# TYPE medcards_{of}_"));
    let is_common = |line: &&str| !of_redis.iter().any(|start| line.starts_with(start));
    let lines = lines.filter(|line| line.starts_with("# TYPE"));
    let names: BTreeSet<_> = lines.filter(is_common).collect();
    json!(names)
}
