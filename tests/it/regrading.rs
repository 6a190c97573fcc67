//! A key that was wrong, and all that follows its correction.

use medcards_core::case::CaseRecord;
use medcards_tests::learnt::assert_learnt;
use serde_json::{Value, json};

use crate::harness::{
    Home, Server, Student, admin_token, is_corrected, is_done, is_learnt, on_each_store, send,
    until,
};
use crate::learning::Known;

on_each_store!(
    all_follows_a_corrected_key_and_each_student_is_told_once_though_the_server_is_killed,
);

/// How many students choose each option.
const CHOOSE: [(&str, usize); 3] = [("A", 8), ("B", 10), ("C", 2)];

/// With how many right answers in a row the badge `row-10` is awarded.
const ROW: usize = 10;

/// The case, of a specialty that no other has.
fn record() -> CaseRecord {
    let record = json!({
        "id": "wrong-key",
        "source": "tests",
        "specialty": "Regrading",
        "topic": "Keys",
        "stem": "Which of these is right?",
        "options": [
            {"key": "A", "text": "The option that was right"},
            {"key": "B", "text": "The option that is right after all"},
            {"key": "C", "text": "The option that turns out to be right"},
        ],
        "answer_keys": ["A"],
    });
    serde_json::from_value(record).unwrap()
}

/// A student, and what they chose, in their order.
struct Pupil {
    student: Student,
    chosen: Vec<&'static str>,
    /// How many right answers to other cases.
    elsewhere: u64,
}

/// The school of one case.
struct School {
    case_id: String,
    pupils: Vec<Pupil>,
    /// Who has a badge because of the answer that was right.
    with_badge: Student,
}

async fn all_follows_a_corrected_key_and_each_student_is_told_once_though_the_server_is_killed(
    home: Home,
) {
    let mut server = home.launch().start().await;
    let school = School::begin(&server).await;
    is_learnt(&home, &server).await;
    school.is_graded(&server, 1, "A").await;
    assert!(school.has_badge(&server).await, "ten right in a row");

    // The key is B: the server dies as soon as it has said that it took note.
    let corrected = school.correct(&server, 1, "B").await;
    let one = json!([{"number": 1, "case_version": 1, "right": ["B"]}]);
    assert_eq!(
        (&corrected["version"], &corrected["corrections"]),
        (&json!(2), &one)
    );
    server = restart(&home, server).await;
    // It dies again when somebody was told, and others perhaps not.
    school.somebody_is_told(&server, 1).await;
    server = restart(&home, server).await;
    is_corrected(&home, &server, 1).await;
    is_done(&home, &server).await;
    school.is_graded(&server, 1, "B").await;
    school.is_told(&server, &["B"]).await;

    // The key is C: that of both versions.
    let corrected = school.correct(&server, 2, "C").await;
    let both = json!([
        {"number": 2, "case_version": 1, "right": ["C"]},
        {"number": 3, "case_version": 2, "right": ["C"]},
    ]);
    assert_eq!(
        (&corrected["version"], &corrected["corrections"]),
        (&json!(3), &both)
    );
    // It dies while views are built anew.
    school.view_is_built(&server, 3).await;
    server = restart(&home, server).await;
    is_corrected(&home, &server, 3).await;
    is_done(&home, &server).await;
    school.is_graded(&server, 1, "C").await;
    school.is_told(&server, &["B", "C"]).await;
    assert!(school.has_badge(&server).await, "a badge stays");

    server.stop().await;
    let learnt = home.with_learning(async |store, views| assert_learnt(store, views).await);
    let learnt = learnt.await;
    assert!(learnt.awards > school.pupils.len(), "{learnt:?}");
}

/// Kills it, and starts another when what it held has ended.
async fn restart(home: &Home, server: Server) -> Server {
    server.kill();
    home.end_leases().await;
    home.launch().start().await
}

impl School {
    /// All answer the case.
    async fn begin(server: &Server) -> Self {
        let client = server.client();
        let import = client.post("/v1/admin/cases").bearer_auth(admin_token());
        let import = import.header("content-type", "application/x-ndjson");
        let line = serde_json::to_string(&record()).unwrap();
        let imported = send(import.body(line)).await.expect(200);
        let case_id = imported["items"][0]["case_id"].as_str().unwrap().to_owned();
        let chosen = CHOOSE.map(|(key, count)| vec![key; count]).concat();
        let mut pupils: Vec<_> = chosen
            .into_iter()
            .map(|key| Pupil {
                student: client.student(),
                chosen: vec![key],
                elsewhere: 0,
            })
            .collect();
        // One changes their mind.
        pupils[0].chosen.push("B");
        // One has answered others before, all rightly.
        let with_badge = pupils[1].student.clone();
        let cases = Known::all(&with_badge).await;
        for case in cases.iter().take(ROW - 1) {
            let given = with_badge.answer(&case.id, &case.options(true)).await;
            assert_eq!(given.expect(201)["is_correct"], true);
            pupils[1].elsewhere += 1;
        }
        for pupil in &pupils {
            for key in &pupil.chosen {
                let given = pupil.student.answer(&case_id, &[key]).await.expect(201);
                assert_eq!(given["is_correct"], *key == "A");
            }
        }
        Self {
            case_id,
            pupils,
            with_badge,
        }
    }

    /// Corrects the key of the case, which has this version.
    async fn correct(&self, server: &Server, version: u32, right: &str) -> Value {
        let admin = server.client().holder(admin_token());
        let path = format!("/v1/admin/cases/{}/corrections", self.case_id);
        let form = json!({"case_version": version, "right": [right], "reason": "a new guideline"});
        admin.post(&path, &form).await.expect(201)
    }

    /// All figures are those of this key, and answers are what they were.
    async fn is_graded(&self, server: &Server, version: u32, right: &str) {
        let case_id = &self.case_id;
        let all = || self.pupils.iter().flat_map(|pupil| &pupil.chosen);
        let is_right = |key: &&&str| **key == right;
        let path = format!("/v1/cases/{case_id}/figures?version={version}");
        let figures = self.pupils[0]
            .student
            .at(server.url())
            .get(&path)
            .await
            .expect(200);
        assert_eq!(figures["answered"], all().count());
        assert_eq!(figures["correct"], all().filter(is_right).count());
        assert_eq!(figures["students"], self.pupils.len());
        for option in figures["options"].as_array().unwrap() {
            let chose = all().filter(|key| option["key"] == ***key).count();
            assert_eq!(option["answers"], chose, "{option}");
        }
        let board = "/v1/leaderboards/all-time?specialty=regrading&limit=100";
        let board = self.pupils[0]
            .student
            .at(server.url())
            .get(board)
            .await
            .expect(200);
        let on_board = self
            .pupils
            .iter()
            .filter(|it| it.chosen.contains(&right))
            .count();
        assert_eq!(board["members"], on_board, "{board}");
        for pupil in &self.pupils {
            let student = pupil.student.at(server.url());
            let correct = pupil.chosen.iter().filter(|key| **key == right).count() as u64;
            let answered = pupil.chosen.len() as u64;
            let dashboard = student.get("/v1/me/dashboard").await.expect(200);
            let total = &dashboard["total"];
            assert_eq!(total["answered"], answered + pupil.elsewhere);
            assert_eq!(
                total["correct"],
                correct + pupil.elsewhere,
                "{right}: {dashboard}"
            );
            let mut specialties = dashboard["specialties"].as_array().unwrap().iter();
            let of_case = specialties.find(|it| it["name"] == "regrading").unwrap();
            assert_eq!(of_case["total"]["correct"], correct);
            let mine = "/v1/me/leaderboards/all-time?specialty=regrading";
            let mine = student.get(mine).await.expect(200);
            let points = mine["me"]["points"].as_u64().unwrap_or_default();
            assert_eq!(points, correct, "{mine}");
            // What was seen stays, the latest first.
            let answers = student.get("/v1/me/answers?limit=100").await.expect(200);
            let answers = answers["items"].as_array().unwrap().iter();
            let of_case = answers.filter(|it| it["case_id"] == *case_id);
            let seen: Vec<_> = of_case.map(|it| it["is_correct"].clone()).collect();
            let then = pupil.chosen.iter().rev().map(|key| json!(*key == "A"));
            assert_eq!(seen, then.collect::<Vec<_>>());
        }
    }

    /// Each student was told once of each of these keys, in their order, by their last answer.
    async fn is_told(&self, server: &Server, keys: &[&str]) {
        for pupil in &self.pupils {
            let told = self.told(server, pupil).await;
            let last = *pupil.chosen.last().unwrap();
            let of_keys = keys.iter().map(|key| (json!(1), json!(*key == last)));
            assert_eq!(told, of_keys.collect::<Vec<_>>(), "{last}");
        }
    }

    /// The versions and results that a student was told of the case.
    async fn told(&self, server: &Server, pupil: &Pupil) -> Vec<(Value, Value)> {
        let student = pupil.student.at(server.url());
        let notices = student.get("/v1/me/notices").await.expect(200);
        assert_eq!(notices["has_more"], false);
        let regraded = notices["items"].as_array().unwrap().iter();
        let regraded = regraded.filter(|it| it["kind"] == "regraded");
        regraded
            .map(|it| {
                assert_eq!(it["case_id"], *self.case_id);
                (it["case_version"].clone(), it["is_correct"].clone())
            })
            .collect()
    }

    async fn somebody_is_told(&self, server: &Server, times: usize) {
        until("somebody is told", async || {
            for pupil in &self.pupils {
                if self.told(server, pupil).await.len() >= times {
                    return Some(());
                }
            }
            None
        })
        .await;
    }

    /// Waits until a view is being built with so many corrections, or one has been.
    async fn view_is_built(&self, server: &Server, corrections: u64) {
        let admin = server.client().holder(admin_token());
        until("a view is built anew", async || {
            let views = admin.get("/v1/admin/views").await.expect(200);
            let mut views = views["items"].as_array()?.iter();
            let knows = |view: &Value| {
                [&view["next"], &view["current"]]
                    .iter()
                    .any(|edition| edition["corrections"] == corrections)
            };
            views.any(knows).then_some(())
        })
        .await;
    }

    async fn has_badge(&self, server: &Server) -> bool {
        let student = self.with_badge.at(server.url());
        let badges = student.get("/v1/me/badges").await.expect(200);
        let mut badges = badges["items"].as_array().unwrap().iter();
        let badge = badges.find(|it| it["badge"] == "row-10").unwrap();
        badge["awarded_at"].is_string()
    }
}
