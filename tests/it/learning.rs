//! What is learnt of answers, figure by figure, as one who has the deck works it out.

use std::collections::{BTreeMap, BTreeSet};

use medcards_core::Timestamp;
use medcards_core::case::CaseRecord;
use medcards_core::learning::next::RECENT_ANSWERS_MAX;
use medcards_core::time::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::deck;
use crate::harness::{Home, Student, is_learnt, on_each_store, uuid_v7, uuid_v7_of};

on_each_store!(
    what_was_answered_is_told_figure_by_figure_and_to_nobody_else,
    reviews_come_due_as_time_goes_by_and_the_next_case_says_why,
    no_case_comes_again_at_once_though_no_view_knows_of_the_answer,
);

/// How many cases the student answers.
const CASES: usize = 12;

/// A case, with what only the deck's file knows about it.
pub(crate) struct Known {
    pub(crate) id: String,
    record: CaseRecord,
}

impl Known {
    /// All cases of the deck.
    pub(crate) async fn all(student: &Student) -> Vec<Self> {
        let mut records: BTreeMap<_, _> = deck::records()
            .into_iter()
            .map(|(_, record)| (record.id.clone(), record))
            .collect();
        let listed = student.walk("/v1/cases?limit=100").await;
        let known = listed.iter().filter_map(|case| {
            Some(Self {
                id: case["id"].as_str()?.to_owned(),
                record: records.remove(case["source"]["external_id"].as_str()?)?,
            })
        });
        known.collect()
    }

    /// The options that make a right or a wrong answer.
    pub(crate) fn options(&self, is_right: bool) -> Vec<&str> {
        let right = &self.record.answer_keys;
        if is_right {
            return right.iter().map(String::as_str).collect();
        }
        let mut keys = self.record.options.iter().map(|option| &*option.key);
        vec![keys.find(|key| !right.iter().any(|it| it == key)).unwrap()]
    }

    fn specialty(&self) -> String {
        self.record.specialty.clone().unwrap().to_lowercase()
    }

    fn topic(&self) -> String {
        self.record.topic.clone().unwrap().to_lowercase()
    }
}

/// Answers, counted by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    answered: u64,
    correct: u64,
    time_ms: u64,
}

impl Count {
    fn add(&mut self, is_right: bool, time_ms: u64) {
        self.answered += 1;
        self.correct += u64::from(is_right);
        self.time_ms += time_ms;
    }

    fn json(self) -> Value {
        let mean_time_ms = self.time_ms.checked_div(self.answered);
        json!({"answered": self.answered, "correct": self.correct, "mean_time_ms": mean_time_ms})
    }
}

/// Counts of several, those with the most answers first, and then by name.
fn ranked(counts: &BTreeMap<String, Count>) -> Vec<(String, Value)> {
    let mut ranked: Vec<_> = counts.iter().collect();
    ranked.sort_by_key(|(name, count)| (std::cmp::Reverse(count.answered), *name));
    let named = |(name, count): (&String, &Count)| (name.clone(), count.json());
    ranked.into_iter().map(named).collect()
}

/// The names and totals of a list.
fn totals(items: &Value) -> Vec<(String, Value)> {
    let item = |it: &Value| (it["name"].as_str().unwrap().to_owned(), it["total"].clone());
    items.as_array().unwrap().iter().map(item).collect()
}

/// Answers a case, under an id of this instant.
async fn answer(student: &Student, case: &Known, is_right: bool, id: String, ms: u64) -> Value {
    let form = json!({"id": id, "options": case.options(is_right), "time_to_answer_ms": ms});
    let path = format!("/v1/cases/{}/answers", case.id);
    let answer = student.post(&path, &form).await.expect(201);
    assert_eq!(answer["is_correct"], is_right, "{answer}");
    answer
}

async fn what_was_answered_is_told_figure_by_figure_and_to_nobody_else(home: Home) {
    let server = home.launch().start().await;
    let [student, other, idle] = [(); 3].map(|()| server.client().student());
    let cases = Known::all(&student).await;
    let (mut total, mut row, mut longest_row) = (Count::default(), 0_u64, 0);
    let mut specialties = BTreeMap::<String, Count>::new();
    let mut topics = BTreeMap::<String, BTreeMap<String, Count>>::new();
    let mut days = BTreeMap::<String, Count>::new();
    let mut instants = Vec::<String>::new();
    // The first case comes again at the end, and is a case that was answered before.
    let again = (CASES, &cases[0]);
    for (n, case) in cases.iter().take(CASES).enumerate().chain([again]) {
        let (is_right, time_ms) = (n % 3 != 1, 1_000 * (n as u64 + 1));
        let given = answer(&student, case, is_right, uuid_v7(), time_ms).await;
        let at = given["created_at"].as_str().unwrap().to_owned();
        row = if is_right { row + 1 } else { 0 };
        longest_row = row.max(longest_row);
        let of_specialty = topics.entry(case.specialty()).or_default();
        for count in [
            &mut total,
            specialties.entry(case.specialty()).or_default(),
            of_specialty.entry(case.topic()).or_default(),
            days.entry(at[..10].to_owned()).or_default(),
        ] {
            count.add(is_right, time_ms);
        }
        instants.push(at);
    }
    answer(&other, &cases[0], false, uuid_v7(), 5_000).await;
    is_learnt(&home, &server).await;

    let dashboard = student.get("/v1/me/dashboard").await.expect(200);
    assert_eq!(dashboard["total"], total.json());
    assert_eq!(dashboard["cases"], CASES);
    assert_eq!(dashboard["last_at"], *instants.last().unwrap());
    assert_eq!(dashboard["percentile"], Value::Null);
    assert_eq!(totals(&dashboard["specialties"]), ranked(&specialties));
    for specialty in dashboard["specialties"].as_array().unwrap() {
        let of_specialty = &topics[specialty["name"].as_str().unwrap()];
        assert_eq!(totals(&specialty["topics"]), ranked(of_specialty));
        assert_eq!(specialty["other_topics"], Count::default().json());
    }
    assert_eq!(dashboard["other_specialties"], Count::default().json());
    let of_day = |(date, count): (&String, &Count)| json!({"date": date, "answered": count.answered, "correct": count.correct});
    let expected: Vec<_> = days.iter().map(of_day).collect();
    assert_eq!(dashboard["days"], json!(expected));
    let weeks = dashboard["weeks"].as_array().unwrap().iter();
    let of_weeks: u64 = weeks.map(|week| week["correct"].as_u64().unwrap()).sum();
    assert_eq!(of_weeks, total.correct);

    let streak = student.get("/v1/me/streak").await.expect(200);
    assert_eq!(
        (&streak["days"], &streak["longest"]),
        (&json!(days.len()), &json!(days.len()))
    );
    assert_eq!(
        (&streak["freezes_left"], &streak["freezes_used"]),
        (&json!(0), &json!(0))
    );

    let badges = student.get("/v1/me/badges").await.expect(200);
    for badge in badges["items"].as_array().unwrap() {
        let progress = &badge["progress"];
        let have = match progress["of"].as_str().unwrap() {
            "active_days" | "streak_days" => days.len() as u64,
            "answers" => total.answered,
            "right_answers" => total.correct,
            "right_in_a_row" => longest_row,
            "specialties" => specialties.len() as u64,
            other => panic!("{other} is new: count it here too"),
        };
        assert_eq!(progress["have"], have, "{badge}");
        let is_earned = have >= progress["need"].as_u64().unwrap();
        assert_eq!(badge["awarded_at"].is_string(), is_earned, "{badge}");
        if badge["badge"] == "first-answer" {
            assert_eq!(badge["awarded_at"], instants[0]);
        }
    }
    assert_eq!(
        student.get("/v1/me/reviews").await.expect(200),
        json!({"items": [], "has_more": false}),
        "nothing is due a moment after"
    );

    // The figures of the case that both have answered, the student twice.
    let path = format!("/v1/cases/{}/figures", cases[0].id);
    let figures = student.get(&path).await.expect(200);
    assert_eq!(
        (
            &figures["answered"],
            &figures["correct"],
            &figures["students"]
        ),
        (&json!(3), &json!(2), &json!(2)),
        "{figures}"
    );
    let (right, wrong) = (cases[0].options(true), cases[0].options(false));
    for option in figures["options"].as_array().unwrap() {
        let key = option["key"].as_str().unwrap();
        let answers = 2 * u64::from(right.contains(&key)) + u64::from(wrong.contains(&key));
        let percent = [0.0, 33.3, 66.7][answers as usize];
        assert_eq!(
            (&option["answers"], &option["percent"]),
            (&json!(answers), &json!(percent)),
            "{option}"
        );
    }
    assert_eq!(other.get(&path).await.expect(200), figures);
    // Whoever has not answered sees no options.
    let unseen = idle.get(&path).await.expect(200);
    assert_eq!(
        (&unseen["answered"], &unseen["options"]),
        (&json!(3), &Value::Null)
    );

    is_nobodys(&idle).await;
    let theirs = other.get("/v1/me/dashboard").await.expect(200);
    let one = json!({"answered": 1, "correct": 0, "mean_time_ms": 5_000});
    assert_eq!((&theirs["total"], &theirs["cases"]), (&one, &json!(1)));
    let expected = vec![(cases[0].specialty(), one)];
    assert_eq!(totals(&theirs["specialties"]), expected);
    let theirs = other.get("/v1/me/notices").await.expect(200);
    let theirs = theirs["items"].as_array().unwrap().iter();
    let theirs: BTreeSet<_> = theirs.map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(theirs, BTreeSet::from(["badge", "streak"]));
}

/// Who has not answered anything is told of nothing.
async fn is_nobodys(student: &Student) {
    let dashboard = student.get("/v1/me/dashboard").await.expect(200);
    assert_eq!(dashboard["total"], Count::default().json());
    assert_eq!(dashboard["cases"], 0);
    for list in ["specialties", "days", "weeks"] {
        assert_eq!(dashboard[list], json!([]));
    }
    let streak = student.get("/v1/me/streak").await.expect(200);
    assert_eq!(
        (&streak["days"], &streak["longest"]),
        (&json!(0), &json!(0))
    );
    let badges = student.get("/v1/me/badges").await.expect(200);
    for badge in badges["items"].as_array().unwrap() {
        assert_eq!(badge["awarded_at"], Value::Null);
        assert_eq!(badge["progress"]["have"], 0);
    }
    for path in ["/v1/me/reviews", "/v1/me/notices"] {
        assert_eq!(student.get(path).await.expect(200)["items"], json!([]));
    }
}

async fn reviews_come_due_as_time_goes_by_and_the_next_case_says_why(home: Home) {
    let server = home.launch().start().await;
    let student = server.client().student();
    let cases = Known::all(&student).await;
    let now = SystemClock::new().now();
    // Answered long ago, as an app that was offline tells it: ids have the instants.
    let ago = |days: i64| now - std::time::Duration::from_hours(24 * days as u64);
    let mut last = BTreeMap::<String, (String, bool)>::new();
    for (case, days, is_right) in [
        (&cases[0], 80, false),
        (&cases[1], 40, true),
        (&cases[2], 60, false),
    ] {
        let given = answer(&student, case, is_right, uuid_v7_of(ago(days)), 9_000).await;
        let at = given["created_at"].as_str().unwrap().to_owned();
        last.insert(case.id.clone(), (at, is_right));
    }
    is_learnt(&home, &server).await;
    let due = student.get("/v1/me/reviews").await.expect(200);
    assert_eq!(due["has_more"], false);
    let due = due["items"].as_array().unwrap();
    let mut instants = Vec::new();
    for review in due {
        let id = review["case_id"].as_str().unwrap();
        let case = cases.iter().find(|case| case.id == id).unwrap();
        assert_eq!(review["last_at"], last[id].0);
        assert_eq!(
            (&review["answers"], &review["lapses"]),
            (&json!(1), &json!(u32::from(!last[id].1)))
        );
        assert_eq!(review["stem"], case.record.stem);
        assert_eq!(review["topic"], case.record.topic.clone().unwrap());
        let at = |field: &str| -> Timestamp { review[field].as_str().unwrap().parse().unwrap() };
        // Due when the chance to know it still is nine in ten, in whole days and at least one.
        let days = review["stability_days"].as_f64().unwrap().round().max(1.0);
        let waited = at("due_at").duration_since(at("last_at")).as_secs_f64();
        assert!((waited / 86_400.0 - days).abs() < 0.01, "{review}");
        let recall = review["recall"].as_f64().unwrap();
        assert!(0.0 < recall && recall < 0.9, "{review}");
        instants.push(at("due_at"));
    }
    assert_eq!(due.len(), last.len(), "{due:?}");
    assert!(
        instants.is_sorted(),
        "those due longest first: {instants:?}"
    );

    let mut kinds = BTreeSet::new();
    for _ in 0..RECENT_ANSWERS_MAX {
        let next = student.get("/v1/cases/next").await.expect(200);
        let id = next["id"].as_str().unwrap();
        let case = cases.iter().find(|case| case.id == id).unwrap();
        let (kind, data) = (next["reason"].as_str().unwrap(), &next["reason_data"]);
        let topic = case.record.topic.clone().unwrap();
        let because = next["because"].as_str().unwrap();
        assert!(because.starts_with("because "), "{because}");
        match (kind, last.get(id)) {
            ("due", Some((at, was_right))) => {
                assert_eq!(data["last_at"], *at);
                let last_time = if *was_right { "right" } else { "wrong" };
                assert_eq!(data["last_time"], last_time, "{next}");
                assert!(
                    because.contains(&topic) && because.contains("days ago"),
                    "{because}"
                );
            }
            ("untried", None) => {
                // A topic of another specialty is another topic.
                let area = |it: &Known| (it.specialty(), it.topic());
                let mut tried = cases.iter().filter(|it| last.contains_key(&it.id));
                assert!(tried.all(|it| area(it) != area(case)), "{next}");
                assert!(because.contains(&topic), "{because}");
            }
            ("exploration" | "match" | "weak_topic", None) => {}
            _ => panic!("{kind} is no reason for {:?}: {next}", last.get(id)),
        }
        kinds.insert(kind.to_owned());
        let given = answer(&student, case, true, uuid_v7(), 9_000).await;
        let at = given["created_at"].as_str().unwrap().to_owned();
        last.insert(id.to_owned(), (at, true));
        is_learnt(&home, &server).await;
    }
    assert!(kinds.contains("due") && kinds.len() > 1, "{kinds:?}");
}

/// The server only serves, and nobody works for it.
async fn no_case_comes_again_at_once_though_no_view_knows_of_the_answer(home: Home) {
    let server = home.launch().with("MEDCARDS_ROLE", "serve").start().await;
    let student = server.client().student();
    let cases = Known::all(&student).await;
    let mut answered = Vec::<String>::new();
    for n in 0..2 * RECENT_ANSWERS_MAX + 5 {
        let next = student.get("/v1/cases/next").await.expect(200);
        let id = next["id"].as_str().unwrap();
        let recent = &answered[answered.len().saturating_sub(RECENT_ANSWERS_MAX)..];
        assert!(
            !recent.iter().any(|it| it == id),
            "{id} comes again after {n} answers"
        );
        let case = cases.iter().find(|case| case.id == id).unwrap();
        answer(&student, case, n % 2 == 0, uuid_v7(), 1_000).await;
        answered.push(id.to_owned());
    }
    let dashboard = student.get("/v1/me/dashboard").await.expect(200);
    assert_eq!(dashboard["cases"], 0, "no view knows of them");
}
