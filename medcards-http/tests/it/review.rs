use axum::body::Body;
use axum::http::Method;
use medcards_core::feedback::{Feedback, FeedbackKey, Origin, ReviewState};
use medcards_core::testing::{sample_feedback, sample_key};
use serde_json::{Value, json};

use crate::feedback::answered;
use crate::world::{World, request, sign_with_secret};

const QUEUE: &str = "/v1/admin/feedback";
const REVIEW: &str = "/v1/admin/feedback/review";

fn reviewer(world: &World) -> String {
    sign_with_secret(
        &json!({"sub": "dr@example.org", "role": "reviewer", "exp": world.in_an_hour()}),
    )
}

/// A student has been shown what a model wrote: the address of the feedback, and its key.
async fn shown(world: &World, student: &str) -> (String, String) {
    let url = answered(world, student).await;
    let feedback = world.get(student, &url).await.expect(200);
    assert_eq!(feedback["tier"], "live");
    let queue = world.get(&reviewer(world), QUEUE).await.expect(200);
    let key = queue["items"][0]["key"].as_str().unwrap().to_owned();
    (url, key)
}

async fn review(world: &World, body: &Value) -> Value {
    let reply = world.post(&reviewer(world), REVIEW, body).await;
    reply.expect(200)
}

#[tokio::test]
async fn the_queue_shows_what_is_needed_to_judge() {
    let world = World::new().await;
    let (_, key) = shown(&world, &world.guest().await).await;
    let queue = world.get(&reviewer(&world), QUEUE).await.expect(200);
    let item = &queue["items"][0];
    assert_eq!(queue["next_cursor"], Value::Null);
    assert_eq!(item["key"], key);
    assert_eq!(item["review"], "unreviewed");
    assert_eq!(item["origin"], "live");
    assert_eq!(item["model"], "sample-model-1");
    assert_eq!(item["locale"], "en");
    assert!(
        item["text"]
            .as_str()
            .unwrap()
            .starts_with("Scripted feedback")
    );
    assert!(item["cost_microdollars"].as_u64().unwrap() > 0);
    assert_eq!(item["case"]["stem"], "Which finding fits sample 0 best?");
    assert_eq!(item["case"]["vignette"][0]["label"], "History");
    let options = item["case"]["options"].as_array().unwrap();
    let marks: Vec<_> = options
        .iter()
        .map(|option| (option["chosen"] == true, option["correct"] == true))
        .collect();
    // B was chosen, and A is right.
    assert_eq!(
        marks,
        [(false, true), (true, false), (false, false), (false, false)]
    );
    for other in ["approved", "withdrawn"] {
        let path = format!("{QUEUE}?review={other}");
        let none = world.get(&reviewer(&world), &path).await.expect(200);
        assert_eq!(none["items"], json!([]), "{other}");
    }
}

#[tokio::test]
async fn a_withdrawn_text_is_gone_from_every_tier_and_stays_gone() {
    let world = World::new().await;
    let student = world.guest().await;
    let (url, key) = shown(&world, &student).await;
    let text = world.get(&student, &url).await.expect(200)["text"].clone();
    let after = review(&world, &json!({"key": key, "decision": "withdraw"})).await;
    assert_eq!(after["review"], "withdrawn");
    for _ in 0..3 {
        let feedback = world.get(&student, &url).await.expect(200);
        assert_eq!(feedback["tier"], "authored");
        assert_ne!(feedback["text"], text);
    }
    // Written anew by whoever did not hear of it, it is not kept.
    let key: FeedbackKey = key.parse().unwrap();
    let again = sample_feedback("The same again.");
    let kept = world.medcards.store().put_feedback(&key, &again).await;
    assert!(!kept.unwrap());
    let feedback = world.get(&student, &url).await.expect(200);
    assert_eq!(feedback["tier"], "authored");
    let restarted = World::on(std::sync::Arc::clone(world.medcards.store())).await;
    let feedback = restarted.get(&student, &url).await.expect(200);
    assert_eq!(feedback["tier"], "authored", "in another process too");
}

#[tokio::test]
async fn an_approved_text_stays_and_leaves_the_queue() {
    let world = World::new().await;
    let student = world.guest().await;
    let (url, key) = shown(&world, &student).await;
    let text = world.get(&student, &url).await.expect(200)["text"].clone();
    let after = review(&world, &json!({"key": key, "decision": "approve"})).await;
    assert_eq!(
        (&after["review"], &after["text"]),
        (&json!("approved"), &text)
    );
    let feedback = world.get(&student, &url).await.expect(200);
    assert_eq!(
        (&feedback["review"], &feedback["text"]),
        (&json!("approved"), &text)
    );
    let queue = world.get(&reviewer(&world), QUEUE).await.expect(200);
    assert_eq!(queue["items"], json!([]));
    let path = format!("{QUEUE}?review=approved");
    let approved = world.get(&reviewer(&world), &path).await.expect(200);
    assert_eq!(approved["items"][0]["key"], key);
}

#[tokio::test]
async fn mended_words_are_shown_instead_and_the_last_decision_counts() {
    let world = World::new().await;
    let student = world.guest().await;
    let (url, key) = shown(&world, &student).await;
    let mend = json!({"key": key, "decision": "mend", "text": "  Better words.\n\nOf two. "});
    let after = review(&world, &mend).await;
    assert_eq!(after["text"], "Better words.\n\nOf two.");
    assert_eq!(
        (&after["origin"], &after["review"]),
        (&json!("reviewer"), &json!("approved"))
    );
    let feedback = world.get(&student, &url).await.expect(200);
    assert_eq!(feedback["text"], "Better words.\n\nOf two.");
    // Another reviewer sees it differently; deciding the same twice is deciding once.
    for _ in 0..2 {
        let after = review(&world, &json!({"key": key, "decision": "withdraw"})).await;
        assert_eq!(after["review"], "withdrawn");
    }
    let feedback = world.get(&student, &url).await.expect(200);
    assert_eq!(feedback["tier"], "authored");
    let after = review(&world, &json!({"key": key, "decision": "approve"})).await;
    assert_eq!(after["review"], "approved");
    let feedback = world.get(&student, &url).await.expect(200);
    assert_eq!(feedback["text"], "Better words.\n\nOf two.");
}

#[tokio::test]
async fn decisions_that_cannot_be_are_refused_and_change_nothing() {
    let world = World::new().await;
    let student = world.guest().await;
    let (_, key) = shown(&world, &student).await;
    let mend = |text: &str| json!({"key": key, "decision": "mend", "text": text});
    for (body, field) in [
        (json!({"key": "nonsense", "decision": "approve"}), "key"),
        (json!({"key": key, "decision": "burn"}), "decision"),
        (json!({"key": key, "decision": "mend"}), "text"),
        (
            json!({"key": key, "decision": "approve", "text": "Words."}),
            "text",
        ),
        (mend(" \n "), "text"),
        (mend(&"x".repeat(4_001)), "text"),
        (mend("Words.\u{0}"), "text"),
        (mend("The answer is (B), as everybody knows."), "text"),
    ] {
        let reply = world.post(&reviewer(&world), REVIEW, &body).await;
        let problem = reply.expect_problem(422, "invalid_field");
        assert_eq!(problem["errors"][0]["name"], field, "{problem}");
    }
    let unknown = json!({"key": sample_key(99).to_string(), "decision": "approve"});
    let reply = world.post(&reviewer(&world), REVIEW, &unknown).await;
    reply.expect_problem(404, "not_found");
    let queue = world.get(&reviewer(&world), QUEUE).await.expect(200);
    assert_eq!(queue["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn only_reviewers_and_administrators_may() {
    let world = World::new().await;
    let (_, key) = shown(&world, &world.guest().await).await;
    let of = |claims: Value| {
        let mut all = json!({"sub": "someone@example.org", "exp": world.in_an_hour()});
        let fields = claims.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(fields);
        sign_with_secret(&all)
    };
    let approve = json!({"key": key, "decision": "approve"});
    for (token, may) in [
        (of(json!({"role": "reviewer"})), true),
        (of(json!({"app_metadata": {"roles": ["reviewer"]}})), true),
        (world.admin(), true),
        (of(json!({"role": "student"})), false),
        (of(json!({"user_metadata": {"role": "reviewer"}})), false),
        (world.guest().await, false),
    ] {
        let (read, write) = (
            world.get(&token, QUEUE).await,
            world.post(&token, REVIEW, &approve).await,
        );
        if may {
            read.expect(200);
            write.expect(200);
        } else {
            read.expect_problem(403, "role_missing");
            write.expect_problem(403, "role_missing");
        }
    }
    // A reviewer is no administrator.
    let spend = world.get(&reviewer(&world), "/v1/admin/spend").await;
    spend.expect_problem(403, "role_missing");
    for (method, path) in [(Method::GET, QUEUE), (Method::POST, REVIEW)] {
        let reply = world.send(request(method, path, None, Body::empty())).await;
        reply.expect_problem(401, "token_missing");
    }
}

#[tokio::test]
async fn a_long_queue_is_walked_page_by_page_oldest_first() {
    let world = World::new().await;
    world.publish(1).await;
    let store = world.medcards.store();
    let keys: Vec<_> = (0..7).map(sample_key).collect();
    for key in &keys {
        let feedback = Feedback {
            origin: Origin::Batch,
            ..sample_feedback("Words.")
        };
        store.put_feedback(key, &feedback).await.unwrap();
    }
    let (mut walked, mut path) = (Vec::new(), format!("{QUEUE}?limit=3"));
    loop {
        let page = world.get(&reviewer(&world), &path).await.expect(200);
        for item in page["items"].as_array().unwrap() {
            // The sample keys are of cases that this store does not have.
            assert_eq!(item["case"], Value::Null);
            assert_eq!(item["origin"], "batch");
            let key = item["key"].as_str().unwrap().to_owned();
            // Deciding on the way does not disturb the walk.
            review(&world, &json!({"key": key, "decision": "approve"})).await;
            walked.push(key);
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("{QUEUE}?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    let expected: Vec<_> = keys.iter().map(ToString::to_string).collect();
    assert_eq!(walked, expected);
    for (query, name) in [
        ("?review=nice", "review"),
        ("?limit=0", "limit"),
        ("?cursor=other.1", "cursor"),
    ] {
        let reply = world
            .get(&reviewer(&world), &format!("{QUEUE}{query}"))
            .await;
        let problem = reply.expect_problem(400, "invalid_parameter");
        assert_eq!(problem["errors"][0]["name"], name, "{problem}");
    }
    let kept = store.find_feedback(&keys[0]).await.unwrap().unwrap();
    assert_eq!(kept.review, ReviewState::Approved);
}
