use std::sync::Arc;

use axum::body::Body;
use axum::http::Method;
use medcards_core::testing::ReplicatedStore;
use serde_json::{Value, json};

use crate::world::{Reply, World, request};

/// A student in front of several processes on one store, of which none remembers an answer.
struct Visit {
    store: ReplicatedStore,
    token: String,
    /// The case that is answered, and the other one.
    cases: [String; 2],
}

impl Visit {
    /// The replica knows the cases, and no answer.
    async fn begin() -> Self {
        let store = ReplicatedStore::new();
        let world = World::on(Arc::new(store.clone())).await;
        world.publish(2).await;
        let token = world.guest().await;
        store.catch_up();
        let next = world.get(&token, "/v1/cases/next").await.expect(200);
        let list = world.get(&token, "/v1/cases").await.expect(200);
        let ids = list["items"].as_array().unwrap().iter();
        let ids = ids.map(|case| case["id"].as_str().unwrap().to_owned());
        let (answered, others): (Vec<_>, Vec<_>) = ids.partition(|id| next["id"] == id.as_str());
        let cases = [answered[0].clone(), others[0].clone()];
        Self {
            store,
            token,
            cases,
        }
    }

    async fn answer(&self, form: &Value) -> Reply {
        let world = World::on(Arc::new(self.store.clone())).await;
        let path = format!("/v1/cases/{}/answers", self.cases[0]);
        world.post(&self.token, &path, form).await
    }

    async fn read(&self, path: &str, consistency: Option<&str>, accept: &str) -> Reply {
        let world = World::on(Arc::new(self.store.clone())).await;
        let mut request = request(Method::GET, path, Some(&self.token), Body::empty());
        let headers = request.headers_mut();
        headers.insert("accept", accept.parse().unwrap());
        if let Some(value) = consistency {
            headers.insert("medcards-consistency", value.parse().unwrap());
        }
        world.send(request).await
    }

    /// Reads everything that an answer changes, and returns how many reads the replica served.
    async fn see_the_answer(&self, feedback_url: &str, consistency: Option<&str>) -> u64 {
        let before = self.store.replica_reads();
        let json = async |path| {
            self.read(path, consistency, "application/json")
                .await
                .expect(200)
        };
        assert_eq!(json("/v1/me/stats").await["answered"], 1);
        let answers = json("/v1/me/answers").await;
        assert_eq!(answers["items"][0]["case_id"], self.cases[0].as_str());
        assert_eq!(json("/v1/cases/next").await["id"], self.cases[1].as_str());
        assert!(json(feedback_url).await["text"].is_string());
        let stream = self
            .read(feedback_url, consistency, "text/event-stream")
            .await;
        assert_eq!(stream.status, 200);
        assert!(stream.text().contains("event: end"), "{}", stream.text());
        self.store.replica_reads() - before
    }
}

#[tokio::test]
async fn a_student_sees_their_own_answer_however_far_a_replica_is_behind() {
    let visit = Visit::begin().await;
    let reply = visit.answer(&json!({"options": ["A"]})).await;
    let url = reply.expect(201)["feedback_url"]
        .as_str()
        .unwrap()
        .to_owned();
    let consistency = reply.header("medcards-consistency");
    assert_eq!(visit.see_the_answer(&url, Some(consistency)).await, 0);
    assert_eq!(visit.see_the_answer(&url, None).await, 0);
    for foreign in ["zz-unknown-1", "shard0-0123abcd"] {
        assert_eq!(visit.see_the_answer(&url, Some(foreign)).await, 0);
    }
    visit.store.catch_up();
    let all = visit.see_the_answer(&url, Some(consistency)).await;
    assert_eq!(all, 5, "what a replica can serve is served by it");
    assert_eq!(visit.see_the_answer(&url, None).await, 0);
}

#[tokio::test]
async fn an_answer_sent_again_gives_a_token_too() {
    let visit = Visit::begin().await;
    let id = World::new().await.answer_id();
    let form = json!({"options": ["A"], "id": id});
    visit.answer(&form).await.expect(201);
    let again = visit.answer(&form).await;
    let url = again.expect(200)["feedback_url"]
        .as_str()
        .unwrap()
        .to_owned();
    let consistency = again.header("medcards-consistency");
    assert_eq!(visit.see_the_answer(&url, Some(consistency)).await, 0);
}

#[tokio::test]
async fn the_token_of_an_earlier_answer_does_not_hide_feedback_on_a_later_one() {
    let visit = Visit::begin().await;
    let first = visit.answer(&json!({"options": ["A"]})).await;
    visit.store.catch_up();
    let later = visit.answer(&json!({"options": ["B"]})).await.expect(201);
    let url = later["feedback_url"].as_str().unwrap();
    let earlier = Some(first.header("medcards-consistency"));
    for accept in ["application/json", "text/event-stream"] {
        assert_eq!(
            visit.read(url, earlier, accept).await.status,
            200,
            "{accept}"
        );
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_one_is_refused_by_every_read_that_takes_one() {
    let visit = Visit::begin().await;
    let world = World::on(Arc::new(visit.store.clone())).await;
    let path = format!("/v1/cases/{}/answers", visit.cases[0]);
    let form = json!({"options": ["A"]});
    let answer = world.post(&visit.token, &path, &form).await.expect(201);
    let url = answer["feedback_url"].as_str().unwrap();
    // This process remembers the answer, and its feedback.
    world.get(&visit.token, url).await.expect(200);
    for path in ["/v1/me/stats", "/v1/me/answers", "/v1/cases/next", url] {
        for token in ["", "two words", &"z".repeat(65)] {
            let mut request = request(Method::GET, path, Some(&visit.token), Body::empty());
            let value = token.parse().unwrap();
            request.headers_mut().insert("medcards-consistency", value);
            let problem = world.send(request).await;
            problem.expect_problem(400, "invalid_header");
        }
    }
}
