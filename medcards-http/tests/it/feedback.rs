use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use medcards_core::ai::Billed;
use medcards_core::jiff::tz::TimeZone;
use medcards_core::spend::{MicroDollars, Purpose, Reservation, ReserveOutcome, SpendBudget};
use medcards_core::testing::Script;
use medcards_core::{ErrorKind, ReservationId};
use serde_json::{Value, json};

use crate::world::{World, request};

/// Answers the first sample case, and returns the address of the feedback.
pub(crate) async fn answered(world: &World, token: &str) -> String {
    let case_id = world.publish(1).await;
    let path = format!("/v1/cases/{case_id}/answers");
    let answer = world
        .post(token, &path, &json!({"options": ["B"]}))
        .await
        .expect(201);
    answer["feedback_url"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn when_the_money_of_a_day_is_gone_the_author_speaks_until_the_next() {
    let day = MicroDollars::new(1_000_000_000);
    let budget = SpendBudget::of_day(day);
    let world = World::within(budget).await;
    let token = world.guest().await;
    let url = answered(&world, &token).await;
    let all = Reservation {
        id: ReservationId::new(world.medcards.now()),
        day: world.medcards.now().to_zoned(TimeZone::UTC).date(),
        amount: day,
        purpose: Purpose::Feedback,
        payer: None,
    };
    let reserved = world.medcards.store().reserve(&all, &budget);
    assert_eq!(reserved.await.unwrap(), ReserveOutcome::Granted);
    let feedback = world.get(&token, &url).await.expect(200);
    assert_eq!(feedback["origin"], "authored");
    let tiers = feedback["tiers"].as_array().unwrap();
    let is_exhausted = |tier: &Value| tier["outcome"] == "spend_budget_exhausted";
    assert!(tiers.iter().any(is_exhausted), "{feedback}");
    // A guest's token is good for longer.
    world.clock.advance(Duration::from_hours(24));
    let feedback = world.get(&token, &url).await.expect(200);
    assert_eq!(feedback["origin"], "live", "{feedback}");
}

#[tokio::test]
async fn feedback_has_the_shape_that_clients_rely_on() {
    let world = World::new().await;
    let token = world.guest().await;
    let url = answered(&world, &token).await;
    world
        .provider
        .push(Script::deltas(["Say \"no\",\n", "then \u{1f600} say why."]));
    for (tier, tiers) in [
        ("live", &[("local", "miss"), ("live", "hit")][..]),
        ("local", &[("local", "hit")][..]),
    ] {
        let reply = world.get(&token, &url).await;
        let feedback = reply.expect(200);
        assert_eq!(feedback["text"], "Say \"no\",\nthen \u{1f600} say why.");
        assert_eq!(feedback["tier"], tier);
        assert_eq!(feedback["model"], "sample-model-1");
        assert_eq!(feedback["origin"], "live");
        assert_eq!(feedback["review"], "unreviewed");
        assert_eq!(feedback["freshness"], "fresh");
        assert_eq!(feedback["prompt_version"], 1);
        assert_eq!(feedback["written_at"], "2026-01-15T08:00:00Z");
        let outcomes = feedback["tiers"].as_array().unwrap();
        for (outcome, (tier, what)) in [(0, tiers[0]), (outcomes.len() - 1, tiers[tiers.len() - 1])]
        {
            assert_eq!(outcomes[outcome], json!({"tier": tier, "outcome": what}));
        }
        for number in ["cost_microdollars", "saved_microdollars", "latency_us"] {
            assert!(feedback[number].is_u64(), "{number}");
        }
        assert!(feedback.get("is_replaced").is_none());
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn a_broken_model_gives_what_the_author_wrote() {
    let world = World::new().await;
    let token = world.guest().await;
    let url = answered(&world, &token).await;
    world
        .provider
        .push(Script::fails(ErrorKind::Unavailable, Billed::Nothing));
    let feedback = world.get(&token, &url).await.expect(200);
    assert_eq!(
        (&feedback["tier"], &feedback["model"]),
        (&json!("authored"), &json!(null))
    );
    assert_eq!(feedback["prompt_version"], json!(null));
    assert!(
        feedback["text"]
            .as_str()
            .unwrap()
            .contains("What finding 2 means")
    );
    assert!(
        feedback["tiers"]
            .to_string()
            .contains(r#"{"outcome":"failed","tier":"live"}"#)
    );
}

#[tokio::test]
async fn another_students_feedback_is_as_absent_as_one_that_nobody_has() {
    let world = World::new().await;
    let token = world.guest().await;
    let url = answered(&world, &token).await;
    let stranger = world.guest().await;
    let mut theirs = world
        .get(&stranger, &url)
        .await
        .expect_problem(404, "answer_not_found");
    let unknown = format!("/v1/answers/{}/feedback", world.answer_id());
    let mut nobodys = world
        .get(&stranger, &unknown)
        .await
        .expect_problem(404, "answer_not_found");
    for problem in [&mut theirs, &mut nobodys] {
        problem["request_id"].take();
    }
    assert_eq!(theirs, nobodys);
    assert_eq!(world.provider.calls(), 0, "a stranger costs nothing");
}

#[tokio::test]
async fn a_form_that_is_not_served_is_refused() {
    let world = World::new().await;
    let token = world.guest().await;
    let url = answered(&world, &token).await;
    let mut request = request(Method::GET, &url, Some(&token), Body::empty());
    request
        .headers_mut()
        .insert("accept", "text/html".parse().unwrap());
    world
        .send(request)
        .await
        .expect_problem(406, "not_acceptable");
}

#[tokio::test]
async fn where_the_router_is_mounted_shows_in_addresses() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let token = world.guest().await;
    let outer = axum::Router::new().nest("/learn", world.api.router());
    let path = format!("/learn/v1/cases/{case_id}/answers");
    let mut request = request(
        Method::POST,
        &path,
        Some(&token),
        r#"{"options":["A"]}"#.into(),
    );
    request
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    let response = tower::ServiceExt::oneshot(outer.clone(), request)
        .await
        .unwrap();
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.starts_with("/learn/v1/answers/"), "{location}");
    let request = crate::world::request(Method::GET, &location, Some(&token), Body::empty());
    assert_eq!(
        tower::ServiceExt::oneshot(outer, request)
            .await
            .unwrap()
            .status(),
        200
    );
}
