//! Servers that serve, and others that work for them.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Home, Server, Student, admin_token, is_done, is_learnt, uuid_v7};

/// How many views of the log there are.
const VIEWS: usize = 6;

/// Servers of both roles on one database.
struct Shift {
    home: Home,
    serving: Vec<Server>,
    working: Vec<Server>,
    folders: Vec<TempDir>,
}

impl Shift {
    async fn start() -> Self {
        let mut shift = Self {
            home: Home::postgres(),
            serving: Vec::new(),
            working: Vec::new(),
            folders: Vec::new(),
        };
        for _ in 0..2 {
            let working = shift.launch("work").await;
            shift.working.push(working);
            let serving = shift.launch("serve").await;
            shift.serving.push(serving);
        }
        shift
    }

    async fn launch(&mut self, role: &str) -> Server {
        let folder = TempDir::new().unwrap();
        let launch = self.home.launch_in(folder.path());
        self.folders.push(folder);
        launch.with("MEDCARDS_ROLE", role).start().await
    }

    /// Has a student answer at one server that serves, and read at the other.
    async fn is_counted(&self, student: &Student, answered: u64) {
        let [here, there] = [0, 1].map(|n| student.at(self.serving[n].url()));
        let case = here.get("/v1/cases/next").await.expect(200);
        let path = format!("/v1/cases/{}/answers", case["id"].as_str().unwrap());
        let form = json!({"id": uuid_v7(), "options": [case["options"][0]["key"]]});
        here.post(&path, &form).await.expect(201);
        is_learnt(&self.home, &self.serving[1]).await;
        let dashboard = there.get("/v1/me/dashboard").await.expect(200);
        assert_eq!(dashboard["total"]["answered"], answered);
    }

    /// Corrects the key of a case that the student has answered, and waits until they are told.
    async fn is_regraded(&self, student: &Student, told: usize) {
        let admin = self.serving[0].client().holder(admin_token());
        let student = student.at(self.serving[1].url());
        let answers = student.get("/v1/me/answers?limit=100").await.expect(200);
        let last = &answers["items"][0];
        let case_id = last["case_id"].as_str().unwrap();
        let path = format!("/v1/admin/cases/{case_id}/corrections");
        let case = student
            .get(&format!("/v1/cases/{case_id}"))
            .await
            .expect(200);
        let right = case["options"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| &it["key"]);
        let mut corrected = 0;
        // One of them is right already.
        for key in right.take(2) {
            let form = json!({"case_version": 1, "right": [key], "reason": "a test"});
            corrected += usize::from(admin.post(&path, &form).await.status == 201);
        }
        assert_eq!(corrected, 1);
        is_done(&self.home, &self.serving[0]).await;
        let notices = student.get("/v1/me/notices").await.expect(200);
        let notices = notices["items"].as_array().unwrap().iter();
        let regraded = notices.filter(|it| it["kind"] == "regraded").count();
        assert_eq!(regraded, told);
    }
}

#[tokio::test]
async fn who_works_hands_over_when_it_stops_and_is_replaced_when_it_is_killed() {
    let mut shift = Shift::start().await;
    let student = shift.serving[0].client().student();
    shift.is_counted(&student, 1).await;
    shift.is_regraded(&student, 1).await;

    // A stop gives everything up at once; the other one works alone.
    shift.working.remove(0).stop().await;
    shift.is_counted(&student, 2).await;
    shift.is_regraded(&student, 2).await;

    // One comes, and the one that leads is killed: when its leases have ended the new one goes on.
    let working = shift.launch("work").await;
    shift.working.push(working);
    shift.working.remove(0).kill();
    shift.is_counted(&student, 3).await;
    shift.is_regraded(&student, 3).await;
    for server in shift.serving.into_iter().chain(shift.working) {
        server.stop().await;
    }
}

#[tokio::test]
async fn who_works_serves_nothing_and_who_serves_keeps_no_view() {
    let mut shift = Shift::start().await;
    let working = shift.working[0].client().student();
    for path in ["/v1/cases/next", "/v1/me/dashboard", "/v1/admin/views", "/"] {
        assert_eq!(working.get(path).await.status, 404, "{path}");
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(working.get(path).await.status, 200, "{path}");
    }
    // Nobody works any more: answers are taken, and counted when somebody does again.
    for working in shift.working.drain(..) {
        working.stop().await;
    }
    let student = shift.serving[0].client().student();
    let case = student.get("/v1/cases/next").await.expect(200);
    let key = case["options"][0]["key"].as_str().unwrap();
    let answer = student.answer(case["id"].as_str().unwrap(), &[key]).await;
    answer.expect(201);
    let admin = shift.serving[1].client().holder(admin_token());
    let views = admin.get("/v1/admin/views").await.expect(200);
    let views = views["items"].as_array().unwrap();
    assert_eq!(views.len(), VIEWS);
    let is_left =
        |view: &Value| view["led_until"].is_null() && view["current"]["behind_events"] == 1;
    assert!(views.iter().all(is_left), "{views:?}");
    let working = shift.launch("work").await;
    shift.working.push(working);
    is_learnt(&shift.home, &shift.serving[1]).await;
    let dashboard = student.get("/v1/me/dashboard").await.expect(200);
    assert_eq!(dashboard["total"]["answered"], 1);
}
