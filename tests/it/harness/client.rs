//! Those who ask the server: anybody, and students.

use bytes::Bytes;
use medcards_core::time::{Clock, SystemClock};
use medcards_core::{AnswerId, Timestamp};
use reqwest::header::{ACCEPT, HeaderMap};
use serde_json::{Value, json};

use super::stream::SseReader;
use super::{Claims, PATIENCE};

/// The most pages a list may have before a walk counts as endless: 20,000 items.
const PAGES_MAX: usize = 1_000;

/// Anybody.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    pub(crate) fn new(url: &str) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        Self {
            http,
            url: url.to_owned(),
        }
    }

    /// The same, asking the server that listens elsewhere now.
    pub(crate) fn at(&self, url: &str) -> Self {
        Self {
            http: self.http.clone(),
            url: url.to_owned(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("{}{path}", self.url))
    }

    pub(crate) fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.post(format!("{}{path}", self.url))
    }

    /// A request with this method.
    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().unwrap();
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// A new guest.
    pub(crate) async fn guest(&self) -> Student {
        let guest = send(self.post("/v1/guest")).await.expect(201);
        let text = |name: &str| guest[name].as_str().unwrap().to_owned();
        Student {
            client: self.clone(),
            user_id: text("user_id"),
            token: text("token"),
        }
    }

    /// A new student, with a token as an identity provider signs it.
    pub(crate) fn student(&self) -> Student {
        let user_id = uuid_v7();
        Student {
            token: Claims::of(&user_id).sign(),
            user_id,
            client: self.clone(),
        }
    }

    /// Whoever holds this token.
    pub(crate) fn holder(&self, token: impl Into<String>) -> Student {
        Student {
            client: self.clone(),
            user_id: String::new(),
            token: token.into(),
        }
    }
}

/// Sends a request and reads the whole reply.
pub(crate) async fn send(request: reqwest::RequestBuilder) -> Reply {
    try_send(request).await.unwrap()
}

/// Sends a request and reads the whole reply, if the server lives so long.
pub(crate) async fn try_send(request: reqwest::RequestBuilder) -> reqwest::Result<Reply> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Reply {
        status,
        headers,
        body: response.bytes().await?,
    })
}

/// Somebody with a token.
#[derive(Clone, Debug)]
pub(crate) struct Student {
    pub(crate) client: Client,
    pub(crate) user_id: String,
    pub(crate) token: String,
}

impl Student {
    /// The same at a server that listens elsewhere now.
    pub(crate) fn at(&self, url: &str) -> Self {
        Self {
            client: self.client.at(url),
            ..self.clone()
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        send(self.client.get(path).bearer_auth(&self.token)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.try_post(path, body).await.unwrap()
    }

    pub(crate) async fn try_post(&self, path: &str, body: &Value) -> reqwest::Result<Reply> {
        try_send(self.client.post(path).bearer_auth(&self.token).json(body)).await
    }

    /// Chooses options of a case, under a new id.
    pub(crate) async fn answer(&self, case_id: &str, keys: &[&str]) -> Reply {
        let body = json!({"id": uuid_v7(), "options": keys, "time_to_answer_ms": 4_200});
        self.post(&format!("/v1/cases/{case_id}/answers"), &body)
            .await
    }

    pub(crate) async fn feedback(&self, answer_id: &str) -> Value {
        self.get(&format!("/v1/answers/{answer_id}/feedback"))
            .await
            .expect(200)
    }

    /// The same as a stream that has begun.
    pub(crate) async fn feedback_stream(&self, answer_id: &str) -> SseReader {
        let request = self
            .client
            .get(&format!("/v1/answers/{answer_id}/feedback"));
        let request = request
            .bearer_auth(&self.token)
            .header(ACCEPT, "text/event-stream");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let media_type = response.headers()["content-type"].to_str().unwrap();
        assert!(media_type.starts_with("text/event-stream"), "{media_type}");
        SseReader::new(response)
    }

    /// All items of a list, by walking its cursors. `path` has a query already, if only `?`.
    pub(crate) async fn walk(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        for _ in 0..PAGES_MAX {
            let page = self.get(&format!("{path}{cursor}")).await.expect(200);
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match &page["next_cursor"] {
                Value::Null => return items,
                next => cursor = format!("&cursor={}", next.as_str().unwrap()),
            }
        }
        panic!("the list {path} does not end");
    }
}

/// A reply that was read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// The body as JSON, which must be.
    pub(crate) fn json(&self) -> Value {
        let parsed = serde_json::from_slice(&self.body);
        parsed.unwrap_or_else(|_| panic!("not JSON, status {}: {:?}", self.status, self.body))
    }

    /// The body as JSON, if the status is this.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self.json()
    }

    /// The code of the problem that it must be, after checking its form.
    pub(crate) fn problem(&self, status: u16) -> String {
        let problem = self.expect(status);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(problem["status"], status, "{problem}");
        for field in ["type", "title"] {
            assert!(problem[field].is_string(), "{field} of {problem}");
        }
        problem["code"]
            .as_str()
            .unwrap_or_else(|| panic!("no code: {problem}"))
            .to_owned()
    }
}

/// An answer id that a client made at this instant.
pub(crate) fn uuid_v7_of(instant: Timestamp) -> String {
    AnswerId::new(instant).to_string()
}

/// A new answer id, made by the client as clients make it.
pub(crate) fn uuid_v7() -> String {
    AnswerId::new(SystemClock::new().now()).to_string()
}
