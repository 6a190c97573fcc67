use std::collections::BTreeSet;

use medcards_core::case::CaseRecord;
use serde_json::Value;

use crate::deck;
use crate::harness::{Home, Launch, Model, Mood, Student, admin_token, on_each_store, uuid_v7};

on_each_store!(
    a_guest_answers_a_case_and_reads_why_the_very_option_chosen_is_wrong,
    every_student_sees_an_order_of_their_own_and_always_the_same,
    one_live_call_of_anthropic_serves_all_who_chose_alike_even_after_a_restart,
    one_live_call_of_openai_serves_all_who_chose_alike_even_after_a_restart,
    a_model_that_fails_or_is_away_leaves_the_words_of_the_author,
);

/// A case as shown, with what only the deck's file knows about it.
struct Shown {
    case: Value,
    record: CaseRecord,
}

impl Shown {
    fn id(&self) -> &str {
        self.case["id"].as_str().unwrap()
    }

    /// The key that was shown with this text: found as a person finds it, by reading.
    fn key_of(&self, text: &str) -> &str {
        let options = self.case["options"].as_array().unwrap();
        let option = options.iter().find(|option| option["text"] == text);
        option.unwrap_or_else(|| panic!("no option says {text:?}"))["key"]
            .as_str()
            .unwrap()
    }

    /// The text and explanation of a wrong option.
    fn wrong_option(&self) -> (&str, &str) {
        let right = &self.record.answer_keys;
        let mut options = self.record.options.iter();
        let option = options.find(|option| !right.contains(&option.key)).unwrap();
        (&option.text, option.explanation.as_deref().unwrap())
    }

    /// The keys that were shown with the right options, in the order of the author.
    fn right_keys(&self) -> Vec<&str> {
        let right = &self.record.answer_keys;
        let options = self.record.options.iter();
        let options = options.filter(|option| right.contains(&option.key));
        options.map(|option| self.key_of(&option.text)).collect()
    }
}

async fn next_case(student: &Student) -> Shown {
    let case = student.get("/v1/cases/next").await.expect(200);
    let name = case["source"]["external_id"].as_str().unwrap();
    let record = deck::records()
        .into_iter()
        .map(|(_, record)| record)
        .find(|one| one.id == name);
    Shown {
        record: record.unwrap(),
        case,
    }
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[track_caller]
fn assert_has(object: &Value, wanted: &[&str]) {
    let keys = keys(object);
    let missing: Vec<_> = wanted.iter().filter(|key| !keys.contains(**key)).collect();
    assert!(missing.is_empty(), "{missing:?} missing in {object}");
}

/// How often a server calls a model that fails at once, for one feedback.
const ATTEMPTS: u64 = 3;

const FEEDBACK_KEYS: [&str; 6] = [
    "text",
    "tier",
    "model",
    "cost_microdollars",
    "saved_microdollars",
    "latency_us",
];

async fn a_guest_answers_a_case_and_reads_why_the_very_option_chosen_is_wrong(home: Home) {
    let server = home.launch().start().await;
    let guest = server.client().guest().await;
    let shown = next_case(&guest).await;
    assert_has(
        &shown.case,
        &["id", "version", "options", "stem", "specialty"],
    );
    for option in shown.case["options"].as_array().unwrap() {
        assert_eq!(
            keys(option),
            BTreeSet::from(["key", "text"]),
            "nothing gives the right one away"
        );
    }
    for telling in [
        "answer_keys",
        "correct_options",
        "explanation",
        "explanations",
        "references",
    ] {
        assert!(
            !keys(&shown.case).contains(telling),
            "{telling} is shown before the answer"
        );
    }

    let (wrong, why) = shown.wrong_option();
    let answer_id = uuid_v7();
    let form = serde_json::json!({
        "id": answer_id, "options": [shown.key_of(wrong)], "time_to_answer_ms": 5_000, "confidence": 70,
    });
    let path = format!("/v1/cases/{}/answers", shown.id());
    let first = guest.post(&path, &form).await;
    let answer = first.expect(201);
    assert_has(
        &answer,
        &[
            "id",
            "is_correct",
            "correct_options",
            "explanations",
            "feedback_url",
        ],
    );
    assert_eq!(answer["id"], answer_id.as_str());
    assert_eq!(answer["is_correct"], false);
    assert_eq!(
        answer["correct_options"],
        serde_json::json!(shown.right_keys())
    );
    for option in &shown.record.options {
        let key = shown.key_of(&option.text);
        let explanations = answer["explanations"].as_array().unwrap();
        let explained = explanations.iter().find(|one| one["key"] == key).unwrap();
        assert_eq!(explained["text"].as_str(), option.explanation.as_deref());
    }

    let again = guest.post(&path, &form).await;
    assert_eq!(
        again.expect(200),
        answer,
        "the same id gives the first answer back"
    );

    let url = answer["feedback_url"].as_str().unwrap();
    assert_eq!(url, format!("/v1/answers/{answer_id}/feedback"));
    let feedback = guest.get(url).await.expect(200);
    assert_has(&feedback, &FEEDBACK_KEYS);
    assert_eq!(feedback["tier"], "authored");
    assert!(
        feedback["text"].as_str().unwrap().contains(why),
        "{feedback}"
    );
    assert_streamed(&guest, &answer_id, &feedback).await;

    let stats = guest.get("/v1/me/stats").await.expect(200);
    assert_eq!(
        (&stats["answered"], &stats["correct"]),
        (&1.into(), &0.into())
    );
    let listed = guest.walk("/v1/me/answers?").await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["id"], answer_id.as_str());
    let next = next_case(&guest).await;
    assert_ne!(next.id(), shown.id(), "an unseen case comes first");
    server.stop().await;
}

/// Deltas, then one end, which says what the JSON says.
async fn assert_streamed(student: &Student, answer_id: &str, feedback: &Value) {
    let events = student.feedback_stream(answer_id).await.rest().await;
    let (end, deltas) = events.split_last().unwrap();
    assert_eq!(end.name, "end");
    assert!(!deltas.is_empty());
    assert!(
        deltas.iter().all(|event| event.name == "delta"),
        "{events:?}"
    );
    let joined: String = deltas
        .iter()
        .map(|event| event.json()["text"].as_str().unwrap().to_owned())
        .collect();
    let end = end.json();
    assert_has(&end, &FEEDBACK_KEYS);
    assert_eq!(end["text"], feedback["text"]);
    assert_eq!(end["text"], joined.as_str());
}

async fn every_student_sees_an_order_of_their_own_and_always_the_same(home: Home) {
    let server = home.launch().start().await;
    let order = |case: &Value| -> Vec<String> {
        let options = case["options"].as_array().unwrap().iter();
        options
            .map(|option| option["text"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = server.client().guest().await;
    let shown = next_case(&first).await;
    let path = format!("/v1/cases/{}", shown.id());
    let mut orders = BTreeSet::new();
    for _ in 0..8 {
        let guest = server.client().guest().await;
        let seen = guest.get(&path).await;
        orders.insert(order(&seen.json()));
        let tag = seen.headers["etag"].to_str().unwrap().to_owned();
        let request = guest.client.get(&path).bearer_auth(&guest.token);
        let unchanged = request.header("if-none-match", &tag).send().await.unwrap();
        assert_eq!(unchanged.status(), 304);
    }
    assert!(orders.len() > 1, "eight students see one order");
    assert_eq!(order(&first.get(&path).await.json()), order(&shown.case));
}

/// The settings that put the live tier on this model.
fn with_model(home: &Home, dialect: &str, model: &Model) -> Launch {
    home.launch()
        .with("MEDCARDS_AI", dialect)
        .with("MEDCARDS_AI_URL", model.url())
        .with("MEDCARDS_AI_KEY", "a-key-that-nobody-checks")
        .with("MEDCARDS_AI_MODEL", "claude-haiku-4-5")
}

/// Two students who choose alike, an admin who looks at the money, and a restart.
async fn check_tiers(home: Home, dialect: &str) {
    let model = Model::start(Mood::Writes).await;
    let server = with_model(&home, dialect, &model).start().await;
    let student = server.client().guest().await;
    let shown = next_case(&student).await;
    let (wrong, _) = shown.wrong_option();
    let chosen = shown.key_of(wrong).to_owned();
    let answer = student.answer(shown.id(), &[&chosen]).await.expect(201);
    let answer_id = answer["id"].as_str().unwrap().to_owned();

    let events = student.feedback_stream(&answer_id).await.rest().await;
    let live = events.last().unwrap().json();
    assert_eq!(live["tier"], "live", "{dialect}: {live}");
    assert_eq!(live["text"], model.written(), "{dialect}");
    let cost = live["cost_microdollars"].as_u64().unwrap();
    assert!(cost > 0, "{dialect}: {live}");
    let deltas = events.iter().filter(|event| event.name == "delta").count();
    assert_eq!(
        (deltas, events.len()),
        (crate::harness::PIECES, deltas + 1),
        "{dialect}"
    );

    let other = server.client().guest().await;
    let others = other.answer(shown.id(), &[&chosen]).await.expect(201);
    let local = other.feedback(others["id"].as_str().unwrap()).await;
    assert_eq!(local["tier"], "local", "{dialect}: {local}");
    assert_eq!(local["text"], live["text"]);
    assert_eq!(local["cost_microdollars"], 0);
    assert_eq!(
        local["saved_microdollars"], cost,
        "what the call cost is what it saves"
    );
    assert_eq!(model.calls(), 1, "{dialect}");
    assert_booked(&server.client().holder(admin_token()), cost).await;
    server.stop().await;

    let server = with_model(&home, dialect, &model).start().await;
    let student = student.at(server.url());
    let kept = student.feedback(&answer_id).await;
    assert_eq!(kept["tier"], "precomputed", "{dialect}: {kept}");
    assert_eq!(
        (&kept["text"], &kept["cost_microdollars"]),
        (&live["text"], &0.into())
    );
    assert!(kept["saved_microdollars"].as_u64().unwrap() > 0);
    assert_eq!(model.calls(), 1, "{dialect}: nothing is asked twice");
}

/// The ledger shows one live call that cost this, and one saved.
async fn assert_booked(admin: &Student, cost: u64) {
    let spend = admin.get("/v1/admin/spend").await.expect(200);
    let of_tier = |tier: &str| -> (u64, u64, u64) {
        let rows = spend["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["tier"] == tier);
        rows.fold((0, 0, 0), |sum, row| {
            let number = |name: &str| row[name].as_u64().unwrap();
            let (served, cost, saved) = sum;
            (
                served + number("resolutions"),
                cost + number("cost_microdollars"),
                saved + number("saved_microdollars"),
            )
        })
    };
    assert_eq!(of_tier("live"), (1, cost, 0), "{spend}");
    assert_eq!(of_tier("local"), (1, 0, cost), "{spend}");
}

async fn one_live_call_of_anthropic_serves_all_who_chose_alike_even_after_a_restart(home: Home) {
    check_tiers(home, "anthropic").await;
}

async fn one_live_call_of_openai_serves_all_who_chose_alike_even_after_a_restart(home: Home) {
    check_tiers(home, "openai").await;
}

async fn a_model_that_fails_or_is_away_leaves_the_words_of_the_author(home: Home) {
    let model = Model::start(Mood::Fails).await;
    let away = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for url in [model.url(), away.as_str()] {
        let launch = with_model(&home, "anthropic", &model).with("MEDCARDS_AI_URL", url);
        let server = launch.start().await;
        let student = server.client().guest().await;
        let shown = next_case(&student).await;
        let (wrong, why) = shown.wrong_option();
        let answer = student
            .answer(shown.id(), &[shown.key_of(wrong)])
            .await
            .expect(201);
        let feedback = student.feedback(answer["id"].as_str().unwrap()).await;
        assert_eq!(feedback["tier"], "authored", "{feedback}");
        assert!(
            feedback["text"].as_str().unwrap().contains(why),
            "{feedback}"
        );
        assert_eq!(feedback["cost_microdollars"], 0);
    }
    assert_eq!(
        model.calls(),
        ATTEMPTS,
        "a call that failed before its first word is made again, so often and no more"
    );
}
