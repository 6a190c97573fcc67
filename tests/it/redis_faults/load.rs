//! Students at work on several servers, and some who ask too much.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use medcards_core::time::{Clock, SystemClock};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::record::{Outcome, Phase, Record, Records};
use crate::harness::{Fleet, SseReader, Student, try_send, until, uuid_v7};

/// How many students study.
const STUDENTS: usize = 36;

/// How many ask as often as they can.
const HAMMERS: usize = 3;

/// What each client may ask.
pub(super) const QUOTA: (u64, Duration) = (60, Duration::from_secs(5));

/// How long a student thinks before each request: then the requests of a student are well within the
/// quota, and within the third of it that each server allows while Redis is away.
const THINKS_FOR: Duration = Duration::from_millis(250);

/// How long one who hammers waits: then it asks four times as much as the quota allows.
const HAMMERS_EVERY: Duration = Duration::from_millis(20);

/// After how many rounds a student signs in again and out of the session before.
const ROUNDS_PER_SESSION: usize = 3;

/// A case and one of its options.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) case_id: String,
    pub(super) option: String,
}

/// What all of them share.
#[derive(Debug)]
struct Shared {
    records: Records,
    urls: Vec<String>,
    choices: Vec<Choice>,
    /// How many of the choices they make so far.
    open: AtomicUsize,
    is_over: AtomicBool,
    /// How often the words were those of the author because there is no money left.
    without_money: AtomicU64,
}

/// Students at work, until they are told to [end](Self::end).
#[derive(Debug)]
pub(super) struct Load {
    shared: Arc<Shared>,
    students: JoinSet<Studied>,
}

/// What a student remembers at the end.
#[derive(Debug)]
pub(super) struct Studied {
    pub(super) student: Student,
    /// The answers that were acknowledged.
    pub(super) answers: BTreeSet<String>,
    /// The tokens of sessions that were ended before anything happened to Redis.
    pub(super) ended_before: Vec<String>,
    /// The token of the session that goes on.
    pub(super) session: Option<String>,
}

impl Load {
    /// Lets them begin on the first of these choices.
    pub(super) fn begin(fleet: &Fleet, choices: Vec<Choice>, open: usize) -> Self {
        let shared = Arc::new(Shared {
            records: Records::new(),
            urls: fleet.servers.iter().map(|s| s.url().to_owned()).collect(),
            choices,
            open: open.into(),
            is_over: false.into(),
            without_money: 0.into(),
        });
        let mut students = JoinSet::new();
        for who in 0..STUDENTS + HAMMERS {
            let mut desk = Desk {
                studied: Studied {
                    student: fleet.student(),
                    answers: BTreeSet::new(),
                    ended_before: Vec::new(),
                    session: None,
                },
                shared: Arc::clone(&shared),
                who,
                asked: who,
                session_id: String::new(),
            };
            students.spawn(async move {
                if who < STUDENTS {
                    desk.study().await;
                } else {
                    desk.hammer().await;
                }
                desk.studied
            });
        }
        Self { shared, students }
    }

    pub(super) fn records(&self) -> &Records {
        &self.shared.records
    }

    /// Lets them make more choices.
    pub(super) fn open(&self, choices: usize) {
        self.shared.open.store(choices, Ordering::SeqCst);
    }

    /// Waits until so many more requests have ended.
    pub(super) async fn goes_on(&self, requests: u64) {
        let wanted = self.records().count() + requests;
        until("requests go on", async || {
            (self.records().count() >= wanted).then_some(())
        })
        .await;
    }

    /// How often nobody wrote because there is no money left.
    pub(super) fn without_money(&self) -> u64 {
        self.shared.without_money.load(Ordering::SeqCst)
    }

    /// Who asks too much.
    pub(super) fn hammers() -> std::ops::Range<usize> {
        STUDENTS..STUDENTS + HAMMERS
    }

    /// Lets each end what it has begun.
    pub(super) async fn end(&mut self) -> Vec<Studied> {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let mut studied = Vec::new();
        while let Some(ended) = self.students.join_next().await {
            studied.push(ended.unwrap());
        }
        studied
    }
}

/// Where one student sits.
struct Desk {
    studied: Studied,
    shared: Arc<Shared>,
    who: usize,
    /// How often it asked, so that each server has its turn.
    asked: usize,
    session_id: String,
}

impl Desk {
    async fn study(&mut self) {
        for round in 0.. {
            if self.is_over() {
                return;
            }
            if round == 0 || (round + self.who).is_multiple_of(ROUNDS_PER_SESSION) {
                self.change_session().await;
            }
            if let Some(id) = self.answer().await {
                let path = format!("/v1/answers/{id}/feedback");
                self.feedback(&path).await;
                self.feedback_as_it_comes(&path).await;
            }
            let paths = [
                ("next case", "/v1/cases/next"),
                ("search", "/v1/cases?q=pain"),
                ("stats", "/v1/me/stats"),
                ("me", "/v1/me"),
                ("leaderboard", "/v1/leaderboards/week"),
                ("my rank", "/v1/me/leaderboards/week"),
            ];
            for turn in 0..2 {
                let (what, path) = paths[(self.who + 2 * round + turn) % paths.len()];
                self.get(what, path).await;
            }
        }
    }

    async fn hammer(&mut self) {
        while !self.is_over() {
            let request = self.request("GET", "/v1/me");
            self.send("hammer", 200, request).await;
            sleep(HAMMERS_EVERY).await;
        }
    }

    fn is_over(&self) -> bool {
        self.shared.is_over.load(Ordering::SeqCst)
    }

    /// Signs in, and out of the session before.
    async fn change_session(&mut self) {
        let before = self.studied.session.take();
        sleep(THINKS_FOR).await;
        let request = self.request("POST", "/v1/sessions");
        let begun = self.send("sign in", 201, request).await;
        let old_id = std::mem::take(&mut self.session_id);
        if let Some(begun) = begun {
            let begun: Value = serde_json::from_slice(&begun).unwrap();
            let text = |name: &str| begun[name].as_str().unwrap().to_owned();
            self.session_id = text("session");
            self.studied.session = Some(text("token"));
        }
        let Some(before) = before else {
            return;
        };
        sleep(THINKS_FOR).await;
        let path = format!("/v1/sessions/{old_id}");
        let request = self.request("DELETE", &path);
        let phase = self.shared.records.phase();
        let ended = self.send("sign out", 204, request).await;
        if ended.is_some() && phase == Phase::Before {
            self.studied.ended_before.push(before);
        }
    }

    async fn answer(&mut self) -> Option<String> {
        let open = self.shared.open.load(Ordering::SeqCst);
        // Numbers without a pattern that students would share.
        let place = (self.who * 31 + self.asked * 17) % open;
        let choice = self.shared.choices[place].clone();
        let id = uuid_v7();
        let form = json!({"id": id, "options": [choice.option], "time_to_answer_ms": 4_200});
        let path = format!("/v1/cases/{}/answers", choice.case_id);
        sleep(THINKS_FOR).await;
        let request = self.request("POST", &path).json(&form);
        self.send("answer", 201, request).await?;
        self.studied.answers.insert(id.clone());
        Some(id)
    }

    async fn feedback(&mut self, path: &str) {
        let Some(body) = self.get("feedback", path).await else {
            return;
        };
        let feedback: Value = serde_json::from_slice(&body).unwrap();
        self.read(&feedback);
    }

    /// Notes whether there was money for it. There are words in any case.
    fn read(&self, feedback: &Value) {
        if super::is_without_money(feedback) {
            self.shared.without_money.fetch_add(1, Ordering::SeqCst);
        }
        let text = feedback["text"].as_str().unwrap();
        assert!(!text.is_empty(), "{feedback}");
    }

    async fn feedback_as_it_comes(&mut self, path: &str) {
        sleep(THINKS_FOR).await;
        let request = self.request("GET", path);
        let request = request.header("accept", "text/event-stream");
        let watch = Watch::start(self, "feedback as it comes");
        let outcome = match request.send().await {
            Ok(response) if response.status() == 200 => {
                let mut events = SseReader::new(response);
                let mut end = None;
                loop {
                    match events.try_next().await {
                        Ok(Some(event)) if event.name == "end" => end = Some(event.json()),
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(error) => {
                            watch.stop(self, Outcome::Badly(error.to_string()));
                            return;
                        }
                    }
                }
                match end {
                    Some(end) => {
                        self.read(&end);
                        Outcome::Well
                    }
                    None => Outcome::Badly("the stream has no end".to_owned()),
                }
            }
            Ok(response) if response.status() == 429 => Outcome::Limited,
            Ok(response) => Outcome::Badly(response.status().to_string()),
            Err(error) => Outcome::Badly(format!("{error:?}")),
        };
        watch.stop(self, outcome);
    }

    async fn get(&mut self, what: &'static str, path: &str) -> Option<bytes::Bytes> {
        sleep(THINKS_FOR).await;
        let request = self.request("GET", path);
        self.send(what, 200, request).await
    }

    /// A request of the next server, with the session if there is one and it can be.
    fn request(&mut self, method: &str, path: &str) -> RequestBuilder {
        self.asked += 1;
        let url = &self.shared.urls[self.asked % self.shared.urls.len()];
        let student = &self.studied.student;
        let token = self.studied.session.as_ref().unwrap_or(&student.token);
        let request = student.client.at(url).request(method, path);
        request.bearer_auth(token)
    }

    /// Sends a request, notes what becomes of it, and returns the body if that was what it should be.
    async fn send(
        &self,
        what: &'static str,
        status: u16,
        request: RequestBuilder,
    ) -> Option<bytes::Bytes> {
        let watch = Watch::start(self, what);
        let (outcome, body) = match try_send(request).await {
            Ok(reply) if reply.status == status => (Outcome::Well, Some(reply.body)),
            Ok(reply) if reply.status == 429 => {
                assert!(reply.headers.contains_key("retry-after"));
                (Outcome::Limited, None)
            }
            Ok(reply) => {
                let words = String::from_utf8_lossy(&reply.body);
                (Outcome::Badly(format!("{} {words}", reply.status)), None)
            }
            Err(error) => (Outcome::Badly(format!("{error:?}")), None),
        };
        watch.stop(self, outcome);
        body
    }
}

/// The time of one request.
struct Watch {
    what: &'static str,
    phase: Phase,
    began: Timestamp,
    began_at: Instant,
}

impl Watch {
    fn start(desk: &Desk, what: &'static str) -> Self {
        Self {
            what,
            phase: desk.shared.records.phase(),
            began: SystemClock::new().now(),
            began_at: Instant::now(),
        }
    }

    fn stop(self, desk: &Desk, outcome: Outcome) {
        desk.shared.records.add(Record {
            who: desk.who,
            what: self.what,
            phase: self.phase,
            began: self.began,
            ended: SystemClock::new().now(),
            took: self.began_at.elapsed(),
            outcome,
        });
    }
}
