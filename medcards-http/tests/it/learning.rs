use std::sync::Arc;
use std::time::Duration;

use medcards_core::CaseId;
use medcards_core::case::CaseStore;
use medcards_core::event::{EventBody, EventLog, LogPosition};
use medcards_core::job::JobQueue;
use medcards_core::learning::ability::AbilityProjection;
use medcards_core::learning::case_stats::CaseStatsProjection;
use medcards_core::learning::habits::HabitsProjection;
use medcards_core::learning::reviews::ReviewsProjection;
use medcards_core::learning::user_stats::UserStatsProjection;
use medcards_core::view::{
    CaseFact, Facts, Projection, ProjectionRow, RowWrite, Runner, StoredRow, ViewCommit, ViewStore,
    fold,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::World;

/// Builds a view of all that was answered, as its runner does.
async fn build<P: Projection>(world: &World, projection: P) {
    let (store, now) = (&world.memory, world.medcards.now());
    let corrections = store.list_corrections(0, 100).await.unwrap();
    let mut facts = Facts::new(&corrections);
    let events = store.read_events(LogPosition::START, 1_000).await.unwrap();
    for event in &events {
        if let EventBody::AnswerRecorded { answer } = &event.body {
            let (id, version) = (answer.case_id, answer.case_version);
            let case = store.find_case(id, Some(version)).await.unwrap().unwrap();
            facts.insert(id, version, CaseFact::of(&case));
        }
    }
    let name = projection.name();
    let (version, known) = (projection.version(), corrections.len() as u64);
    let projection = Arc::new(projection);
    let folded = fold(Arc::clone(&projection), &events, &facts);
    let rows = folded.rows.iter().map(|(key, row)| {
        RowWrite::Put(StoredRow {
            key: *key,
            place: projection.place(key, row),
            bytes: row.to_bytes().unwrap(),
        })
    });
    let begun = store.begin_edition(&name, version, known, now).await;
    let edition = begun.unwrap().next.unwrap().number;
    let runner = Runner::new(Uuid::from_u128(1));
    let lease = Duration::from_secs(60);
    assert!(store.take_lead(&name, runner, now, lease).await.unwrap());
    let commit = ViewCommit {
        view: name.clone(),
        edition,
        runner,
        from: LogPosition::START,
        to: events.last().map_or(LogPosition::START, |it| it.position),
        rows: rows.collect(),
        announced: Vec::new(),
        awards: folded.awards,
        set_aside: Vec::new(),
    };
    store.commit(commit).await.unwrap();
    assert!(store.switch(&name, edition).await.unwrap());
}

async fn build_all(world: &World) {
    build(world, UserStatsProjection::new()).await;
    build(world, CaseStatsProjection::new()).await;
    build(world, ReviewsProjection::new()).await;
    build(world, HabitsProjection::new()).await;
    build(world, AbilityProjection::new()).await;
}

/// Answers a case with the option of this key; returns the id of the answer.
async fn answer(world: &World, token: &str, case_id: CaseId, key: &str) -> String {
    let path = format!("/v1/cases/{case_id}/answers");
    let form = json!({"options": [key], "time_to_answer_ms": 4_000});
    let answer = world.post(token, &path, &form).await.expect(201);
    world.clock.advance(Duration::from_secs(1));
    answer["id"].as_str().unwrap().to_owned()
}

/// A key that is right in a case, and one that is not.
async fn keys(world: &World, case_id: CaseId) -> (String, String) {
    let case = world
        .memory
        .find_case(case_id, None)
        .await
        .unwrap()
        .unwrap();
    let right = case.content.right_options();
    let options = case.content.options().iter().enumerate();
    let of = |wanted: bool| {
        let mut options = options.clone();
        let found = options.find(|(at, _)| right.contains(*at) == wanted);
        found.unwrap().1.key.as_str().to_owned()
    };
    (of(true), of(false))
}

#[tokio::test]
async fn the_dashboard_follows_what_was_answered() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let token = world.guest().await;
    let dashboard = async || world.get(&token, "/v1/me/dashboard").await.expect(200);
    let empty = dashboard().await;
    assert_eq!(
        (&empty["cases"], &empty["last_at"]),
        (&json!(0), &Value::Null)
    );
    let (right, wrong) = keys(&world, case_id).await;
    for key in [&right, &right, &wrong] {
        answer(&world, &token, case_id, key).await;
    }
    build_all(&world).await;
    let full = dashboard().await;
    let total = json!({"answered": 3, "correct": 2, "mean_time_ms": 4_000});
    assert_eq!((&full["total"], &full["cases"]), (&total, &json!(1)));
    assert_eq!(full["specialties"][0]["total"], total);
    assert_eq!(full["specialties"][0]["topics"][0]["total"], total);
    assert_eq!(full["percentile"], Value::Null);
    assert_eq!(full["specialties"][0]["mastery"], "attempted");
    assert_eq!(full["specialties"][0]["topics"][0]["mastery"], "attempted");
    let today = json!([{"date": "2026-01-15", "answered": 3, "correct": 2}]);
    assert_eq!(full["days"], today);
    let other = world.get(&world.guest().await, "/v1/me/dashboard").await;
    assert_eq!(other.expect(200)["cases"], 0);
}

#[tokio::test]
async fn reviews_that_are_due_are_listed_with_their_cases() {
    let world = World::new().await;
    world.publish(3).await;
    let token = world.guest().await;
    let listed = world.get(&token, "/v1/cases").await.expect(200);
    let ids = listed["items"].as_array().unwrap().iter();
    let ids: Vec<CaseId> = ids
        .map(|it| it["id"].as_str().unwrap().parse().unwrap())
        .collect();
    for case_id in &ids {
        let (_, wrong) = keys(&world, *case_id).await;
        answer(&world, &token, *case_id, &wrong).await;
    }
    build_all(&world).await;
    let reviews = async |query: &str| {
        let path = format!("/v1/me/reviews{query}");
        world.get(&token, &path).await.expect(200)
    };
    assert_eq!(reviews("").await, json!({"items": [], "has_more": false}));
    world.clock.advance(Duration::from_hours(30 * 24));
    let due = reviews("?limit=2").await;
    assert_eq!(
        (due["items"].as_array().unwrap().len(), &due["has_more"]),
        (2, &json!(true))
    );
    let first = &due["items"][0];
    assert_eq!(first["case_id"], ids[0].to_string());
    assert_eq!(first["stem"], listed["items"][0]["stem"]);
    assert_eq!(first["answers"], 1);
    assert!(first["recall"].as_f64().unwrap() < 0.9);
    assert_eq!(reviews("?limit=3").await["has_more"], false);
}

#[tokio::test]
async fn what_was_chosen_is_shown_to_who_has_answered() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let (right, wrong) = keys(&world, case_id).await;
    let (one, two) = (world.guest().await, world.guest().await);
    answer(&world, &one, case_id, &right).await;
    build_all(&world).await;
    let late = answer(&world, &two, case_id, &wrong).await;
    let path = format!("/v1/cases/{case_id}/figures");
    let figures = async |token: &str, path: &str| world.get(token, path).await.expect(200);

    let seen = figures(&one, &path).await;
    assert_eq!(
        (&seen["answered"], &seen["correct"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (&seen["students"], &seen["band"]),
        (&json!(1), &Value::Null)
    );
    let of_right = json!({"key": right, "answers": 1, "percent": 100.0});
    assert!(
        seen["options"].as_array().unwrap().contains(&of_right),
        "{seen}"
    );
    // Not known to the view yet, but to whoever has the answer.
    assert_eq!(figures(&two, &path).await["options"], Value::Null);
    let named = format!("{path}?answer={late}");
    assert_eq!(figures(&two, &named).await["options"], seen["options"]);
    // Another student's answer proves nothing.
    let stranger = world.guest().await;
    assert_eq!(figures(&stranger, &named).await["options"], Value::Null);
    let admin = world.admin();
    assert_eq!(figures(&admin, &path).await["options"], seen["options"]);

    for (path, status, code) in [
        (format!("{path}?version=2"), 404, "case_not_found"),
        (format!("{path}?version=0"), 400, "invalid_parameter"),
        (format!("{path}?answer=x"), 400, "invalid_parameter"),
        ("/v1/cases/nope/figures".to_owned(), 400, "invalid_id"),
    ] {
        world.get(&one, &path).await.expect_problem(status, code);
    }
}

#[tokio::test]
async fn streak_and_badges_follow_what_was_answered() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let token = world.guest().await;
    let get = async |path: &str| world.get(&token, path).await.expect(200);
    let streak = get("/v1/me/streak").await;
    assert_eq!(
        (&streak["days"], &streak["at_risk_until"]),
        (&json!(0), &Value::Null)
    );
    let first = async || {
        let badges = get("/v1/me/badges").await;
        let mut items = badges["items"].as_array().unwrap().iter();
        let found = items.find(|it| it["badge"] == "first-answer");
        found.unwrap().clone()
    };
    let progress = |have: u32| json!({"of": "answers", "have": have, "need": 1});
    let badge = first().await;
    assert_eq!(
        (&badge["awarded_at"], &badge["progress"]),
        (&Value::Null, &progress(0))
    );

    let (right, _) = keys(&world, case_id).await;
    answer(&world, &token, case_id, &right).await;
    build_all(&world).await;
    let streak = get("/v1/me/streak").await;
    assert_eq!(
        (&streak["days"], &streak["is_active_today"]),
        (&json!(1), &json!(true))
    );
    let badge = first().await;
    assert!(badge["awarded_at"].is_string(), "{badge}");
    assert_eq!(badge["progress"], progress(1));
    // The badge is told too.
    let told = get("/v1/me/notices").await;
    let kinds = told["items"].as_array().unwrap().iter();
    assert!(
        kinds.map(|it| &it["badge"]).any(|it| it == "first-answer"),
        "{told}"
    );
}

/// Of forty students who do well elsewhere most choose another option than the key.
#[tokio::test]
async fn a_key_that_is_probably_wrong_is_told_to_admins_alone() {
    let world = World::new().await;
    world.publish(12).await;
    let token = world.guest().await;
    let listed = world.get(&token, "/v1/cases").await.expect(200);
    let ids = listed["items"].as_array().unwrap().iter();
    let ids: Vec<CaseId> = ids
        .map(|it| it["id"].as_str().unwrap().parse().unwrap())
        .collect();
    let (suspect, others) = ids.split_first().unwrap();
    for student in 0..40 {
        let token = world.guest().await;
        for case_id in others {
            let (right, wrong) = keys(&world, *case_id).await;
            let key = if student % 4 == 0 { &wrong } else { &right };
            answer(&world, &token, *case_id, key).await;
        }
        let (right, wrong) = keys(&world, *suspect).await;
        let key = if student % 4 == 0 { &right } else { &wrong };
        answer(&world, &token, *suspect, key).await;
    }
    build(&world, CaseStatsProjection::new()).await;
    let alarms = world
        .get(&world.admin(), "/v1/admin/cases/alarms")
        .await
        .expect(200);
    assert_eq!(alarms["items"].as_array().unwrap().len(), 1, "{alarms}");
    assert_eq!(alarms["items"][0]["case_id"], suspect.to_string());
    let path = format!("/v1/cases/{suspect}/figures");
    let seen = world.get(&world.admin(), &path).await.expect(200);
    assert_eq!(seen["alarm"], alarms["items"][0]["alarm"]);
    assert!(seen["discrimination"].as_f64().unwrap() < 0.0);
    let seen = world.get(&token, &path).await.expect(200);
    assert!(
        seen.get("alarm").is_none() && seen.get("discrimination").is_none(),
        "{seen}"
    );
}

#[tokio::test]
async fn a_corrected_key_is_a_new_version_and_figures_follow() {
    let world = World::new().await;
    let admin = world.admin();
    let case_id = world.publish(1).await;
    let (right, wrong) = keys(&world, case_id).await;
    let token = world.guest().await;
    answer(&world, &token, case_id, &wrong).await;
    let path = format!("/v1/admin/cases/{case_id}/corrections");
    let form = |version: u32, keys: &[&str], reason: &str| json!({"case_version": version, "right": keys, "reason": reason});
    for (body, status, code) in [
        (form(2, &[&wrong], "x"), 409, "conflict"),
        (form(0, &[&wrong], "x"), 422, "invalid_field"),
        (form(1, &[&wrong], " "), 422, "invalid_field"),
        (form(1, &[&wrong], &"x".repeat(501)), 422, "invalid_field"),
        (form(1, &[&right], "x"), 422, "invalid_field"),
        (form(1, &["Z"], "x"), 422, "invalid_field"),
        (form(1, &[], "x"), 422, "invalid_field"),
        (json!({"right": [wrong]}), 422, "invalid_field"),
    ] {
        world
            .post(&admin, &path, &body)
            .await
            .expect_problem(status, code);
    }
    let absent = format!("/v1/admin/cases/{}/corrections", world.answer_id());
    let good = form(1, &[&wrong], "the guideline changed");
    let reply = world.post(&admin, &absent, &good).await;
    reply.expect_problem(404, "case_not_found");
    world
        .post(&token, &path, &good)
        .await
        .expect_problem(403, "role_missing");

    let corrected = world.post(&admin, &path, &good).await.expect(201);
    let expected = json!([{"number": 1, "case_version": 1, "right": [wrong]}]);
    assert_eq!(
        (&corrected["version"], &corrected["corrections"]),
        (&json!(2), &expected)
    );
    let shown = world.get(&token, &format!("/v1/cases/{case_id}")).await;
    assert_eq!(shown.expect(200)["version"], 2);
    let counts = world.memory.job_counts(world.medcards.now()).await.unwrap();
    assert_eq!(
        (counts[0].kind.as_str(), counts[0].due),
        ("notify-regraded", 1)
    );
    build_all(&world).await;
    let dashboard = world.get(&token, "/v1/me/dashboard").await.expect(200);
    assert_eq!(dashboard["total"]["correct"], 1);
    // What was seen stays.
    let answers = world.get(&token, "/v1/me/answers").await.expect(200);
    assert_eq!(answers["items"][0]["is_correct"], false);
}

#[tokio::test]
async fn the_next_case_comes_with_its_reason() {
    let (world, without) = (World::new().await, World::without_coach().await);
    // Which of them it is, is for the policy and the student.
    let of_policy = ["exploration", "match", "untried"];
    for (world, reasons) in [(&world, &of_policy[..]), (&without, &["unseen"])] {
        let case_id = world.publish(1).await;
        let token = world.guest().await;
        let next = world.get(&token, "/v1/cases/next").await.expect(200);
        assert_eq!(next["id"], case_id.to_string());
        let reason = next["reason"].as_str().unwrap();
        assert!(reasons.contains(&reason), "{reason}");
        let because = next["because"].as_str().unwrap();
        assert!(because.starts_with("because "), "{because}");
        assert!(next["reason_data"].is_object());
    }
}

#[tokio::test]
async fn what_cannot_be_is_a_clear_problem() {
    let world = World::new().await;
    let token = world.guest().await;
    for (path, code) in [
        ("/v1/me/dashboard?days=1", "unknown_parameter"),
        ("/v1/me/reviews?limit=0", "invalid_parameter"),
        ("/v1/me/reviews?limit=101", "invalid_parameter"),
        ("/v1/me/reviews?cursor=x", "unknown_parameter"),
    ] {
        world.get(&token, path).await.expect_problem(400, code);
    }
    let without = World::without_coach().await;
    let case_id = without.publish(1).await;
    let figures = format!("/v1/cases/{case_id}/figures");
    for path in [
        "/v1/me/dashboard",
        "/v1/me/reviews",
        "/v1/me/streak",
        "/v1/me/badges",
        &figures,
    ] {
        let reply = without.get(&token, path).await;
        reply.expect_problem(404, "learning_disabled");
    }
    let reply = without
        .get(&without.admin(), "/v1/admin/cases/alarms")
        .await;
    reply.expect_problem(404, "learning_disabled");
    let reply = world.get(&token, "/v1/admin/cases/alarms").await;
    reply.expect_problem(403, "role_missing");
}

/// Where none are given, those that the store keeps are shown.
#[tokio::test]
async fn leaderboards_are_those_of_what_is_learnt() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let token = world.guest().await;
    let (right, _) = keys(&world, case_id).await;
    answer(&world, &token, case_id, &right).await;
    build(
        &world,
        medcards_core::learning::boards::BoardsProjection::new(),
    )
    .await;
    let board = world.get(&token, "/v1/leaderboards/week").await.expect(200);
    assert_eq!(board["standings"][0]["is_me"], true);
    assert_eq!(board["standings"][0]["points"], 1);
}
