//! The trace itself: what students and others ask, in order.

mod coach;

mod learning;

mod review;

use std::collections::{BTreeMap, BTreeSet};

use medcards_core::Timestamp;
use medcards_core::jiff::SignedDuration;
use serde_json::{Value, json};
use uuid::Builder;

pub(super) use self::review::written;
use super::cases::{case, with};
use super::step::{STUDENTS, See, Step, Who, student_id};
use crate::deck;
use crate::harness::{Claims, forge};

/// Where the random part begins: the same requests every time.
const SEED: u64 = 2_026;

/// How many requests are random before cases change, and again after.
const RANDOM_STEPS: usize = 160;

/// How long ago the first answer was given; each later one a second after.
const BEGUN_AGO: SignedDuration = SignedDuration::from_hours(3);

/// Nobody and nothing has this id.
const ABSENT: &str = "0190b7a8-1c5e-7000-8000-000000000001";

/// Queries of the list of cases: good ones, then bad ones.
const CASE_QUERIES: &str = "
?limit=1 ?limit=100 ?specialty=Surgery ?specialty=sUrGeRy ?lang=en ?lang=fr ?lang=pt-BR
?lang=pt ?specialty=%C3%A9pid%C3%A9miologie ?specialty=%C3%89PID%C3%89MIOLOGIE&lang=fr
?specialty=STRASSE ?specialty=Stra%C3%9Fe ?specialty=None+such ?specialty=Surgery&lang=de
?specialty= ?limit= ?q= ?specialty=%25 ?specialty=surger_ ?limit=0 ?limit=101 ?limit=-1
?limit=a ?lang=not+a+language ?what=ever ?limit=2&limit=3 ?cursor=nobody-gave-this
?cursor=c1.0.0 ?cursor=%00 ?cursor=%ff ?cursor=% ?q=a%00b
";

/// What is searched for, a search on each line.
///
/// Nothing is asked that begins after a mark within a word, as of a vowel in Hindi or Arabic, nor a
/// letter in a circle: SQLite has no word of the one and none but a part of the other.
const SEARCHES: &str = include_str!("../searches.txt");

/// Numbers that look random and are the same every time (SplitMix64).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(count).unwrap()).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// An answer that was sent to a named case.
#[derive(Clone, Debug)]
struct Sent {
    student: usize,
    id: String,
    case: String,
    form: Value,
}

/// The trace of students, with what is the same on every server.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) steps: Vec<Step>,
    pub(super) ids: BTreeSet<String>,
    pub(super) instants: BTreeSet<String>,
}

impl Script {
    /// The trace on cases with these ids, by name, at about this time.
    pub(super) fn new(cases: &BTreeMap<String, String>, now: Timestamp) -> Self {
        let mut author = Author::new(cases, now);
        author.tour_of_cases();
        author.tour_of_searches();
        author.tour_of_answers();
        author.tour_of_users();
        author.tour_of_chats();
        author.tour_of_shared_answers();
        author.tour_of_reviews();
        author.tour_of_learning();
        author.tour_of_sessions();
        author.tour_of_errors();
        author.wander();
        author.change_cases();
        author.wander();
        author.come_round("Surgery");
        author.look_back();
        author.bring_late();
        author.script
    }
}

/// Writes the trace.
struct Author<'a> {
    script: Script,
    cases: &'a BTreeMap<String, String>,
    names: Vec<String>,
    dice: Dice,
    now: Timestamp,
    answers: i64,
    sent: Vec<Sent>,
    has_next: [bool; STUDENTS],
}

impl<'a> Author<'a> {
    fn new(cases: &'a BTreeMap<String, String>, now: Timestamp) -> Self {
        let mut ids: BTreeSet<_> = (0..STUDENTS).map(student_id).collect();
        ids.insert(ABSENT.to_owned());
        Self {
            script: Script {
                steps: Vec::new(),
                ids,
                instants: BTreeSet::new(),
            },
            cases,
            names: cases.keys().cloned().collect(),
            dice: Dice(SEED),
            now,
            answers: 0,
            sent: Vec::new(),
            has_next: [false; STUDENTS],
        }
    }

    fn add(&mut self, step: Step) {
        self.script.steps.push(step);
    }

    fn get(&mut self, who: Who, path: impl Into<String>) {
        self.add(Step::get(who, path));
    }

    fn id_of(&self, name: &str) -> &'a str {
        &self.cases[name]
    }

    /// A new answer id, a second after the one before.
    fn new_id(&mut self) -> String {
        self.answers += 1;
        self.id_at(self.now - BEGUN_AGO + SignedDuration::from_secs(self.answers))
    }

    fn id_at(&mut self, instant: Timestamp) -> String {
        let millisecond = u64::try_from(instant.as_millisecond()).unwrap();
        let random = [self.dice.roll(), self.dice.roll()].map(u64::to_be_bytes);
        let random = random.concat()[..10].try_into().unwrap();
        let id = Builder::from_unix_timestamp_millis(millisecond, &random).into_uuid();
        let instant = Timestamp::from_millisecond(instant.as_millisecond()).unwrap();
        self.script.instants.insert(instant.to_string());
        self.script.ids.insert(id.to_string());
        id.to_string()
    }

    fn answer(&mut self, who: Who, case: &str, form: &Value) {
        let path = format!("/v1/cases/{case}/answers");
        self.add(Step::json(who, "POST", path, form.to_string()));
    }

    /// Sends a good answer to a named case.
    fn send(&mut self, student: usize, name: &str, keys: &[&str]) -> Sent {
        let id = self.new_id();
        let mut form = json!({"id": id, "options": keys});
        if self.dice.one_in(2) {
            form["time_to_answer_ms"] = json!(self.dice.below(90_000));
        }
        if self.dice.one_in(3) {
            form["confidence"] = json!(self.dice.below(101));
        }
        let case = self.id_of(name).to_owned();
        self.answer(Who::Student(student), &case, &form);
        let sent = Sent {
            student,
            id,
            case,
            form,
        };
        self.sent.push(sent.clone());
        sent
    }

    fn tour_of_cases(&mut self) {
        let who = || Who::Student(0);
        self.get(who(), "/v1/cases");
        for query in CASE_QUERIES.split_whitespace() {
            self.get(who(), format!("/v1/cases{query}"));
        }
        let long = "a".repeat(900);
        self.get(who(), format!("/v1/cases?cursor={long}"));
        self.get(who(), format!("/v1/cases?specialty={long}"));
        for list in [
            "/v1/cases?limit=7",
            "/v1/cases?limit=100",
            "/v1/cases?lang=fr&limit=1",
            "/v1/cases?specialty=surgery&limit=4",
        ] {
            self.add(Step::get(who(), list).seen(See::WalkInOrder));
        }
        // A cursor goes on with its own list and no other.
        for path in [
            "/v1/cases?limit=3",
            "/v1/cases?limit=3&cursor={cursor}",
            "/v1/cases?limit=5&cursor={cursor}",
            "/v1/cases?lang=en&cursor={cursor}",
            "/v1/cases?limit=3",
            "/v1/me/answers?cursor={cursor}",
            "/v1/cases?q=pain&cursor={cursor}",
            "/v1/cases?q=pain&limit=2",
            "/v1/cases?q=chest&cursor={cursor}",
            "/v1/cases?q=pain&limit=2",
            "/v1/cases?cursor={cursor}",
        ] {
            self.get(who(), path);
        }
        for name in ["surgery-001", "surgery-006", "signs", "several", "letters"] {
            let path = format!("/v1/cases/{}", self.id_of(name));
            for query in [
                "",
                "?version=1",
                "?version=2",
                "?version=0",
                "?version=4294967295",
                "?version=4294967296",
                "?version=a",
                "?versoin=1",
            ] {
                self.get(who(), format!("{path}{query}"));
            }
            self.get(who(), &path);
            for tag in ["{etag}", "W/{etag}", "\"other\", {etag}", "*", "\"other\""] {
                self.add(Step::get(who(), &path).with("if-none-match", tag));
            }
            self.get(Who::Student(1), path);
        }
        for path in [
            format!("/v1/cases/{ABSENT}"),
            format!("/v1/cases/{ABSENT}?version=1"),
            "/v1/cases/not-an-id".to_owned(),
            "/v1/cases/".to_owned(),
            format!("/v1/cases/{}", self.id_of("surgery-001").to_uppercase()),
            format!("/v1/cases/{}", self.id_of("surgery-001").replace('-', "")),
        ] {
            self.get(who(), path);
        }
    }

    fn tour_of_searches(&mut self) {
        let who = || Who::Student(1);
        let (long, many) = ("a".repeat(300), ["the"; 40].join(" "));
        for words in SEARCHES.lines().chain([" ", &long, &many]) {
            let path = format!("/v1/cases?limit=9&q={}", encoded(words));
            self.add(Step::get(who(), path).seen(See::Walk));
        }
        for query in [
            "q=pain&specialty=surgery",
            "q=pain&lang=en",
            "q=quelle&lang=fr",
            "q=quelle&lang=en",
            "q=pain&limit=1",
            "q=year&limit=100",
        ] {
            self.add(Step::get(who(), format!("/v1/cases?{query}")).seen(See::Walk));
        }
        // A leading word makes the better match.
        for query in [
            "q=quokka",
            "q=quokka&limit=1",
            "q=quokka&specialty=zoology",
            "q=quok&lang=en",
        ] {
            self.add(Step::get(who(), format!("/v1/cases?{query}")).seen(See::WalkInOrder));
        }
    }

    fn tour_of_answers(&mut self) {
        let who = || Who::Student(2);
        let right = |name: &str| {
            let record = deck::records().into_iter().map(|(_, record)| record);
            let mut record = record.filter(|record| record.id == name);
            record.next().unwrap().answer_keys
        };
        self.get(who(), "/v1/me/stats");
        self.get(who(), "/v1/me/answers");
        self.get(who(), "/v1/cases/next");
        // One right option, several, some of several, wrong ones.
        for (name, keys) in [
            ("cardiology-001", right("cardiology-001")),
            ("cardiology-004", right("cardiology-004")),
            ("cardiology-004", right("cardiology-004")[..1].to_vec()),
            (
                "cardiology-004",
                right("cardiology-004").into_iter().rev().collect(),
            ),
            (
                "cardiology-004",
                ["A", "B", "C", "D", "E"].map(str::to_owned).to_vec(),
            ),
            ("cardiology-002", vec!["E".to_owned()]),
            ("french", vec!["B".to_owned()]),
            ("letters", vec!["A".to_owned()]),
        ] {
            let keys: Vec<_> = keys.iter().map(String::as_str).collect();
            let sent = self.send(2, name, &keys);
            let path = format!("/v1/answers/{}/feedback", sent.id);
            self.add(Step::get(who(), &path).with_token(true));
            self.get(who(), &path);
            self.add(Step::get(who(), &path).with("accept", "text/event-stream"));
            self.get(Who::Student(3), path);
        }
        let known = self.sent[0].clone();
        let (case, other) = (self.id_of("cardiology-001"), self.id_of("cardiology-002"));
        let id = || known.id.clone();
        // Sent again: the same, in contradiction, for another case, wrongly, by somebody else.
        for (who, case, form) in [
            (who(), case, known.form.clone()),
            (
                who(),
                case,
                json!({"id": id(), "options": ["A"], "confidence": 1}),
            ),
            (who(), other, json!({"id": id(), "options": ["A"]})),
            (who(), ABSENT, json!({"id": id(), "options": ["A"]})),
            (who(), case, json!({"id": id(), "options": ["Z"]})),
            (
                who(),
                case,
                json!({"id": id(), "options": ["A"], "case_version": 7}),
            ),
            (
                who(),
                case,
                json!({"id": id().to_uppercase(), "options": ["A"]}),
            ),
            (Who::Student(3), case, json!({"id": id(), "options": ["B"]})),
            (Who::Student(3), case, json!({"id": id(), "options": ["C"]})),
        ] {
            self.answer(who, case, &form);
        }
        let day = SignedDuration::from_hours(24);
        for (days, options) in [
            (-1, "A"),
            (-31, "B"),
            (-62, "C"),
            (-89, "D"),
            (-91, "A"),
            (-3_650, "A"),
            (-10_000, "A"),
            (1, "A"),
            (20_000, "A"),
        ] {
            let id = self.id_at(self.now + day * days);
            self.answer(who(), case, &json!({"id": id, "options": [options]}));
            self.get(who(), format!("/v1/answers/{id}/feedback"));
        }
        let fresh = self.new_id();
        for form in [
            json!({"options": ["A"]}),
            json!({"id": null, "options": ["A"], "case_version": null, "confidence": null}),
            json!({"id": fresh, "options": ["A", "B"]}),
            json!({"id": fresh, "options": ["A", "A"]}),
            json!({"id": fresh, "options": []}),
            json!({"id": fresh, "options": ["Z"]}),
            json!({"id": fresh, "options": ["a"]}),
            json!({"id": fresh, "options": [""]}),
            json!({"id": fresh, "options": ["A\u{0}"]}),
            json!({"id": fresh, "options": "A"}),
            json!({"id": fresh, "options": [1]}),
            json!({"id": fresh}),
            json!({"id": "7", "options": ["A"]}),
            json!({"id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "options": ["A"]}),
            json!({"id": 7, "options": ["A"]}),
            json!({"id": fresh, "options": ["A"], "case_version": 0}),
            json!({"id": fresh, "options": ["A"], "case_version": 2}),
            json!({"id": fresh, "options": ["A"], "confidence": 101}),
            json!({"id": fresh, "options": ["A"], "confidence": 256}),
            json!({"id": fresh, "options": ["A"], "time_to_answer_ms": -1}),
            json!({"id": fresh, "options": ["A"], "time_to_answer_ms": 4_294_967_296_u64}),
            json!({"id": fresh, "options": ["A"], "optoins": ["A"]}),
            json!(["A"]),
            json!({"id": fresh, "options": ["A"], "case_version": 1, "confidence": 0,
                "time_to_answer_ms": 4_294_967_295_u64}),
        ] {
            self.answer(who(), case, &form);
        }
        for name in ["not-an-id", ABSENT] {
            self.answer(who(), name, &json!({"id": fresh, "options": ["A"]}));
        }
        self.get(who(), "/v1/answers/{answer}/feedback");
        for body in [
            "",
            "hello",
            "{\"options\":[",
            "{}",
            "null",
            "{\"options\":[\"A\"]} x",
        ] {
            let path = format!("/v1/cases/{case}/answers");
            self.add(Step::json(who(), "POST", &path, body));
            let untyped = Step::new(who(), "POST", path);
            self.add(Step {
                body: Some(body.to_owned()),
                ..untyped
            });
        }
        self.lists_of(2);
    }

    /// What a student sees of their own answers.
    fn lists_of(&mut self, student: usize) {
        let who = || Who::Student(student);
        for query in [
            "",
            "?limit=2",
            "?limit=2&cursor={cursor}",
            "?limit=0",
            "?limit=101",
            "?cursor=nobody-gave-this",
            "?cursor=a1.0.0.0",
            "?specialty=Surgery",
        ] {
            let token = self.dice.one_in(2);
            self.add(Step::get(who(), format!("/v1/me/answers{query}")).with_token(token));
        }
        for limit in [1, 3, 100] {
            let path = format!("/v1/me/answers?limit={limit}");
            let token = self.dice.one_in(2);
            self.add(
                Step::get(who(), path)
                    .seen(See::WalkInOrder)
                    .with_token(token),
            );
        }
        // Somebody else's cursor.
        self.get(who(), "/v1/me/answers?limit=1");
        self.add(Step::get(who(), "/v1/me/stats").with_token(true));
        self.get(who(), "/v1/me/stats");
        self.get(who(), "/v1/me");
    }

    fn tour_of_users(&mut self) {
        let who = || Who::Student(3);
        for body in [
            "{}",
            r#"{"time_zone": "Europe/Paris"}"#,
            r#"{"locale": "fr"}"#,
            r#"{"time_zone": "Mars/Olympus"}"#,
            r#"{"locale": "not a language"}"#,
            r#"{"time_zone": null}"#,
            r#"{"locale": "de-AT", "time_zone": "Asia/Kolkata"}"#,
            r#"{"locale": null, "time_zone": ""}"#,
            r#"{"time_zone": 7}"#,
            r#"{"timezone": "UTC"}"#,
            r#"{"level": "preclinical"}"#,
            r#"{"level": "resident", "locale": null}"#,
            r#"{"level": "professor"}"#,
            r#"{"level": ""}"#,
            r#"{"level": 7}"#,
            r#"{"level": null}"#,
            r#"{"locale": "fr"}"#,
            "[]",
            "",
        ] {
            self.add(Step::json(who(), "PATCH", "/v1/me/settings", body));
            self.get(who(), "/v1/me");
        }
        // The language of feedback follows, for what was answered before too.
        let sent = self.send(3, "psychiatry-001", &["A"]);
        let path = format!("/v1/answers/{}/feedback", sent.id);
        for locale in ["fr", "es", "de", "ja"] {
            self.get(who(), &path);
            let body = json!({"locale": locale}).to_string();
            self.add(Step::json(who(), "PATCH", "/v1/me/settings", body));
            self.get(who(), &path);
            self.add(Step::get(who(), &path).with("accept", "text/event-stream"));
        }
        let guest = || Who::Guest;
        self.add(Step::new(Who::Nobody, "POST", "/v1/guest"));
        for path in [
            "/v1/me",
            "/v1/me/stats",
            "/v1/me/answers",
            "/v1/cases?lang=fr",
            "/v1/cases?q=quokka",
        ] {
            self.add(Step::get(guest(), path).seen(See::Unshuffled));
        }
        let case = self.id_of("cardiology-001");
        let form = json!({"options": ["B"], "confidence": 50});
        let path = format!("/v1/cases/{case}/answers");
        let step = Step::json(guest(), "POST", path, form.to_string());
        self.add(step.seen(See::Unshuffled));
        self.get(guest(), "/v1/answers/{answer}/feedback");
        self.get(guest(), "/v1/me/answers");
        self.add(Step::get(guest(), "/v1/me/stats").with_token(true));
        self.add(Step::json(
            guest(),
            "PATCH",
            "/v1/me/settings",
            r#"{"locale": "fr"}"#,
        ));
        self.get(guest(), "/v1/me");
        self.get(guest(), "/v1/admin/spend");
    }

    /// Signing in and out. The guest is there already.
    fn tour_of_sessions(&mut self) {
        let session = || Who::Session;
        let sessions = "/v1/sessions";
        self.get(Who::Guest, sessions);
        for who in [Who::Guest, Who::Admin, Who::Student(1), Who::Guest] {
            self.add(Step::new(who, "POST", sessions));
            self.get(session(), "/v1/me");
            self.get(session(), "/v1/admin/spend");
            self.get(session(), sessions);
            self.add(Step::new(session(), "POST", sessions));
        }
        self.get(session(), "/v1/cases?lang=fr");
        self.add(Step::get(session(), "/v1/me/stats").with_token(true));
        for id in ["{session}", ABSENT, "not-an-id", &"0".repeat(32)] {
            self.add(Step::new(
                Who::Student(1),
                "DELETE",
                format!("/v1/sessions/{id}"),
            ));
        }
        for who in [Who::Guest, session(), Who::Nobody] {
            self.add(Step::new(who.clone(), "DELETE", "/v1/sessions/{session}"));
            self.get(who.clone(), "/v1/me");
            self.get(who, sessions);
        }
        self.add(Step::new(Who::Student(1), "POST", sessions));
        for who in [Who::Guest, session(), Who::Nobody] {
            self.add(Step::new(who.clone(), "DELETE", sessions));
            self.get(who, sessions);
        }
        self.get(Who::Student(1), sessions);
    }

    fn tour_of_errors(&mut self) {
        let claims = || Claims::of(&student_id(0));
        let holders = [
            "nonsense".to_owned(),
            "mcs1.nonsense".to_owned(),
            format!("mcs1.{}", "A".repeat(43)),
            claims().with("exp", json!(1)).sign(),
            claims().with("exp", Value::Null).sign(),
            claims().with("sub", Value::Null).sign(),
            Claims::of("not a uuid").sign(),
            claims().sign_with("another secret of more than 32 bytes"),
            forge(&json!({"alg": "none"}), &claims(), ""),
        ];
        for token in holders {
            for path in ["/v1/me", "/v1/cases", "/v1/admin/spend"] {
                self.get(Who::Holder(token.clone()), path);
            }
        }
        for path in [
            "/",
            "/healthz",
            "/readyz",
            "/openapi.json",
            "/docs",
            "/docs/",
            "/v1",
            "/v1/",
            "/nothing",
            "/v1/cases",
            "/v1/me",
            "/v1/me/stats",
            "/v1/me/cohort",
            "/v1/me/leaderboards/week",
            "/v1/leaderboards/all-time",
            "/v1/cases/next",
            "/v1/admin/spend",
            "/v1/chat",
            "/v1/chat/turns",
            "/v1/admin/feedback",
            "//",
            "/v1/cases/%2e%2e/me",
        ] {
            self.get(Who::Nobody, path);
        }
        self.add(Step::get(Who::Nobody, "/metrics").seen(See::Names));
        for (method, path) in [
            ("DELETE", "/v1/me"),
            ("PUT", "/v1/me/settings"),
            ("POST", "/v1/cases"),
            ("GET", "/v1/guest"),
            ("HEAD", "/v1/cases"),
            ("OPTIONS", "/v1/cases"),
            ("HEAD", "/healthz"),
            ("PATCH", "/v1/me"),
            ("GET", "/v1/chat"),
            ("DELETE", "/v1/chat"),
            ("PUT", "/v1/admin/feedback"),
            ("GET", "/v1/admin/feedback/review"),
        ] {
            self.add(Step::new(Who::Student(0), method, path));
        }
        let student = || Who::Student(0);
        self.add(Step::get(student(), "/v1/me").with("authorization", "Basic dXNlcjpwYXNz"));
        self.add(Step::get(Who::Nobody, "/v1/me").with("authorization", "Basic dXNlcjpwYXNz"));
        self.add(Step::get(Who::Nobody, "/v1/me").with("authorization", "Bearer"));
        // What boards show depends on the moment: they follow the log.
        for path in [
            "/v1/leaderboards/month",
            "/v1/leaderboards/week?limit=0",
            "/v1/me/leaderboards/2026-W54",
            "/v1/me/leaderboards/week?neighbours=11",
            "/v1/me/cohort?week=2026-W01",
        ] {
            self.get(student(), path);
        }
        for token in ["7.1", "nobody-gave-this", "0", "a b", ""] {
            for path in ["/v1/me/stats", "/v1/me/answers", "/v1/cases/next"] {
                self.add(Step::get(Who::Student(2), path).with("medcards-consistency", token));
            }
        }
        for accept in [
            "text/html",
            "application/json;q=0",
            "*/*",
            "text/*",
            "nonsense",
        ] {
            let path = format!("/v1/answers/{}/feedback", self.sent[0].id);
            self.add(Step::get(Who::Student(2), path).with("accept", accept));
        }
        for id in [ABSENT, "not-an-id"] {
            let path = format!("/v1/answers/{id}/feedback");
            self.get(student(), &path);
            self.add(Step::get(student(), path).with("accept", "text/event-stream"));
        }
        let import = || Step::import(&[case("refused", "Which?").to_string()]);
        for who in [Who::Nobody, Who::Student(0)] {
            self.add(Step { who, ..import() });
        }
        self.add(Step::import(&[]));
        self.add(Step::import(&["\n\n".to_owned()]));
        for media_type in ["image/png", "multipart/form-data; boundary=a"] {
            self.add(Step {
                headers: vec![("content-type", media_type.to_owned())],
                ..import()
            });
        }
        for query in [
            "?from=yesterday",
            "?from=2026-02-30",
            "?from=2026-02-01&to=2026-01-01",
            "?from=1900-01-01",
            "?by_case=maybe",
            "?to=9999-12-31",
            "?by_case=1&from=2020-01-01&to=2020-12-31",
            "?to=-009999-01-01",
            "?what=ever",
        ] {
            self.get(Who::Admin, format!("/v1/admin/spend{query}"));
        }
    }

    /// Students who do what students do, in no order.
    fn wander(&mut self) {
        let specialties = [
            "Surgery",
            "neurology",
            "Cardiology",
            "PSYCHIATRY",
            "Nephrology",
        ];
        let first = self.script.steps.len();
        while self.script.steps.len() < first + RANDOM_STEPS {
            let student = self.dice.below(STUDENTS);
            let who = || Who::Student(student);
            let token = self.dice.one_in(2);
            let mut step = match self.dice.below(20) {
                0..5 => {
                    let specialty = *self.dice.pick(&specialties);
                    let query = match self.dice.below(5) {
                        0 => "?lang=fr".to_owned(),
                        1 => format!("?specialty={specialty}"),
                        2 => format!("?specialty={specialty}&lang=en"),
                        _ => String::new(),
                    };
                    self.has_next[student] = true;
                    Step::get(who(), format!("/v1/cases/next{query}"))
                }
                5..9 if self.has_next[student] => {
                    let id = self.new_id();
                    let form = json!({"id": id, "options": ["{key}"]}).to_string();
                    if self.dice.one_in(4) {
                        self.add(Step::json(who(), "POST", "/v1/cases/{next}/answers", &form));
                    }
                    Step::json(who(), "POST", "/v1/cases/{next}/answers", form)
                }
                9..11 => {
                    let name = self.dice.pick(&self.names).clone();
                    let key = *self.dice.pick(&["A", "B", "C"]);
                    self.send(student, &name, &[key]);
                    continue;
                }
                11 => {
                    let Sent {
                        case,
                        mut form,
                        student,
                        ..
                    } = self.dice.pick(&self.sent).clone();
                    if self.dice.one_in(2) {
                        form["options"] = json!([*self.dice.pick(&["A", "B", "Z"])]);
                    }
                    self.answer(Who::Student(student), &case, &form);
                    continue;
                }
                12 | 13 => {
                    let sent = self.dice.pick(&self.sent).clone();
                    let path = format!("/v1/answers/{}/feedback", sent.id);
                    let reader = match self.dice.one_in(5) {
                        true => student,
                        false => sent.student,
                    };
                    let step = Step::get(Who::Student(reader), path);
                    match self.dice.one_in(2) {
                        true => step,
                        false => step.with("accept", "text/event-stream"),
                    }
                }
                14 => {
                    let limit = 1 + self.dice.below(5);
                    let path = format!("/v1/me/answers?limit={limit}");
                    self.add(Step::get(who(), &path).with_token(token));
                    Step::get(who(), format!("{path}&cursor={{cursor}}"))
                }
                15 | 16 => Step::get(who(), "/v1/me/stats"),
                17 => {
                    let zone = *self.dice.pick(&["UTC", "America/Lima", "Europe/Kyiv"]);
                    let locale = *self.dice.pick(&["fr", "en", "de"]);
                    let body = json!({"time_zone": zone, "locale": locale}).to_string();
                    Step::json(who(), "PATCH", "/v1/me/settings", body)
                }
                18 => {
                    let name = self.dice.pick(&self.names).clone();
                    Step::get(who(), format!("/v1/cases/{}", self.id_of(&name)))
                }
                _ => {
                    let limit = 1 + self.dice.below(30);
                    let path = format!("/v1/cases?limit={limit}");
                    self.add(Step::get(who(), &path));
                    Step::get(who(), format!("{path}&cursor={{cursor}}"))
                }
            };
            step.sends_token = token;
            self.add(step);
        }
    }

    /// Cases get new versions, and are shown, found and answered in them.
    fn change_cases(&mut self) {
        let mut lines = Vec::new();
        for (_, mut record) in deck::records() {
            match record.id.as_str() {
                "surgery-001" => record.stem.push_str(" Think of the platypus."),
                "surgery-002" => record.specialty = Some("Urology".to_owned()),
                "surgery-003" => record.answer_keys = vec!["A".to_owned()],
                "surgery-004" => record.options.truncate(3),
                "neurology-001" => {}
                _ => continue,
            }
            if record.id == "surgery-004" {
                record.answer_keys = vec!["B".to_owned()];
            }
            lines.push(serde_json::to_string(&record).unwrap());
        }
        let old = self.send(0, "surgery-003", &["C"]);
        let who = || Who::Student(0);
        self.get(who(), "/v1/cases?specialty=surgery&limit=2");
        lines.push("broken".to_owned());
        self.add(Step::import(&lines));
        self.get(who(), "/v1/cases?specialty=surgery&limit=2&cursor={cursor}");
        self.add(Step::import(&lines));
        for name in [
            "surgery-001",
            "surgery-002",
            "surgery-003",
            "surgery-004",
            "neurology-001",
        ] {
            let path = format!("/v1/cases/{}", self.id_of(name));
            for query in ["", "?version=1", "?version=2", "?version=3"] {
                self.get(who(), format!("{path}{query}"));
            }
            for version in [json!(1), json!(2), json!(3), Value::Null] {
                for key in ["A", "E"] {
                    let id = self.new_id();
                    let form = json!({"id": id, "options": [key], "case_version": version});
                    let case = self.id_of(name);
                    self.answer(who(), case, &form);
                    self.get(who(), format!("/v1/answers/{id}/feedback"));
                }
            }
        }
        // An answer stands, whatever has become of its case.
        self.answer(who(), &old.case, &old.form);
        self.get(who(), format!("/v1/answers/{}/feedback", old.id));
        for list in [
            "q=platypus",
            "q=urology",
            "q=surgery&limit=2",
            "q=surgery&specialty=urology",
        ] {
            self.add(Step::get(who(), format!("/v1/cases?{list}")).seen(See::Walk));
        }
        for list in ["specialty=surgery&limit=2", "specialty=Urology&limit=100"] {
            self.add(Step::get(who(), format!("/v1/cases?{list}")).seen(See::WalkInOrder));
        }
        self.lists_of(0);
    }

    /// A student who has answered all cases of a specialty begins anew with the first.
    fn come_round(&mut self, specialty: &str) {
        let who = || Who::Student(1);
        for round in 0..9 {
            let path = format!("/v1/cases/next?specialty={specialty}");
            self.add(Step::get(who(), path).with_token(round % 2 == 0));
            let form = json!({"id": self.new_id(), "options": ["{key}"]}).to_string();
            self.add(Step::json(who(), "POST", "/v1/cases/{next}/answers", form));
        }
        for query in [
            "?specialty=None+such",
            "?lang=sw",
            "?lang=not+a+language",
            "?limit=1",
            "?specialty=",
        ] {
            self.get(who(), format!("/v1/cases/next{query}"));
        }
    }

    /// Everything that was answered, by student, and what it cost.
    fn look_back(&mut self) {
        for student in 0..STUDENTS {
            self.lists_of(student);
        }
        self.get(Who::Admin, "/v1/admin/spend");
        self.get(Who::Admin, "/v1/admin/spend?by_case=true");
        for who in [Who::Student(0), Who::Admin] {
            self.add(Step::new(who, "POST", "/v1/admin/leaderboards/rebuild"));
        }
        self.get(Who::Admin, "/v1/cases?limit=100");
        self.add(Step::get(Who::Nobody, "/metrics").seen(See::Names));
    }

    /// A case whose id, and with it the order of its options, is each server's own.
    fn bring_late(&mut self) {
        let late = with(
            case("late", "Is it too late for a wombat?"),
            "specialty",
            json!("Lateness"),
        );
        self.add(Step::import(&[late]));
        let who = || Who::Student(0);
        for path in [
            "/v1/cases/{imported}",
            "/v1/cases/{imported}?version=2",
            "/v1/cases?specialty=lateness",
            "/v1/cases?q=wombat",
            "/v1/cases/next?specialty=Lateness",
        ] {
            self.add(Step::get(who(), path).seen(See::Unshuffled));
        }
        let form = json!({"id": self.new_id(), "options": ["B"]}).to_string();
        let step = Step::json(who(), "POST", "/v1/cases/{imported}/answers", form);
        self.add(step.seen(See::Unshuffled));
        let next = Step::get(who(), "/v1/cases/next?specialty=Lateness");
        self.add(next.seen(See::Unshuffled).with_token(true));
        self.get(who(), "/v1/answers/{answer}/feedback");
        self.add(Step::get(who(), "/v1/me/answers?limit=1").with_token(true));
    }
}

/// The text as it stands in a query.
fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
