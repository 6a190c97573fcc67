use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use medcards_core::ErrorKind;
use medcards_core::testing::Operation;
use medcards_http::{Guests, HttpConfig};
use serde_json::{Value, json};

use crate::world::{SECRET, World, request, sign_with_secret};

const HOUR: Duration = Duration::from_hours(1);

/// The ids of the sessions that whoever has this token sees, and which of them asks.
async fn listed(world: &World, token: &str) -> Vec<(String, bool)> {
    let list = world.get(token, "/v1/sessions").await.expect(200);
    assert_eq!(list["next_cursor"], Value::Null);
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| {
            let id = item["id"].as_str().unwrap().to_owned();
            (id, item["is_current"].as_bool().unwrap())
        })
        .collect()
}

async fn check(world: &World, token: &str, expected: Result<(), &str>) {
    let reply = world.get(token, "/v1/me").await;
    match expected {
        Ok(()) => drop(reply.expect(200)),
        Err(code) => {
            reply.expect_problem(401, code);
            let challenge = reply.header("www-authenticate");
            assert!(challenge.starts_with("Bearer error="), "{challenge}");
        }
    }
}

#[tokio::test]
async fn a_guest_signs_in_on_two_devices_and_out_of_one_and_then_everywhere() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let guest = world.guest().await;
    let me = world.get(&guest, "/v1/me").await.expect(200);

    let begin = request(Method::POST, "/v1/sessions", Some(&guest), Body::empty());
    let reply = world.send(begin).await;
    let begun = reply.expect(201);
    assert_eq!(reply.header("cache-control"), "no-store");
    let expires_at = world.medcards.now() + Duration::from_hours(24);
    assert_eq!(begun["expires_at"], expires_at.to_string());
    let phone_id = begun["session"].as_str().unwrap();
    let phone = begun["token"].as_str().unwrap();
    assert!(phone.starts_with("mcs1."), "{phone}");
    world.clock.advance(HOUR);
    let (laptop_id, laptop) = world.session(&guest).await;

    assert_eq!(world.get(phone, "/v1/me").await.expect(200), me);
    let answers = format!("/v1/cases/{case_id}/answers");
    let form = json!({"options": ["A"]});
    world.post(phone, &answers, &form).await.expect(201);
    let stats = world.get(&laptop, "/v1/me/stats").await.expect(200);
    assert_eq!(stats["answered"], 1);

    let as_seen_by =
        |current: &str| [&laptop_id, phone_id].map(|id| (id.to_owned(), id == current));
    assert_eq!(listed(&world, phone).await, as_seen_by(phone_id));
    assert_eq!(listed(&world, &laptop).await, as_seen_by(&laptop_id));
    assert_eq!(listed(&world, &guest).await, as_seen_by("neither"));

    let path = format!("/v1/sessions/{phone_id}");
    let ended = world.delete(&laptop, &path).await;
    ended.expect(204);
    assert!(ended.body.is_empty());
    check(&world, phone, Err("session_ended")).await;
    check(&world, &laptop, Ok(())).await;
    let again = world.delete(&laptop, &path).await;
    again.expect_problem(404, "session_not_found");
    assert_eq!(listed(&world, &guest).await, [(laptop_id, false)]);

    let (_, tablet) = world.session(&guest).await;
    world.delete(&laptop, "/v1/sessions").await.expect(204);
    for token in [phone, &laptop, &tablet] {
        check(&world, token, Err("session_ended")).await;
    }
    assert_eq!(listed(&world, &guest).await, []);
    check(&world, &guest, Ok(())).await;
    let (_, again) = world.session(&guest).await;
    check(&world, &again, Ok(())).await;
}

#[tokio::test]
async fn a_session_lives_on_while_it_is_used_and_outlives_its_token() {
    let world = World::new().await;
    let claims = json!({"sub": "someone@example.org", "exp": world.in_an_hour()});
    let signed = sign_with_secret(&claims);
    let (_, session) = world.session(&signed).await;
    let me = world.get(&signed, "/v1/me").await.expect(200);
    assert_eq!(me["kind"], "registered");
    for _ in 0..10 {
        world.clock.advance(22 * HOUR);
        assert_eq!(world.get(&session, "/v1/me").await.expect(200), me);
    }
    check(&world, &signed, Err("token_expired")).await;
    world.clock.advance(24 * HOUR);
    check(&world, &session, Err("session_ended")).await;
}

#[tokio::test]
async fn a_session_begins_no_other() {
    let world = World::new().await;
    let guest = world.guest().await;
    let (id, session) = world.session(&guest).await;
    let begin = request(Method::POST, "/v1/sessions", Some(&session), Body::empty());
    let refused = world.send(begin).await;
    refused.expect_problem(403, "sign_in_needed");
    assert_eq!(listed(&world, &session).await, [(id, true)]);
}

#[tokio::test]
async fn a_session_of_an_administrator_is_none_of_an_administrator() {
    let world = World::new().await;
    let admin = world.admin();
    world.get(&admin, "/v1/admin/spend").await.expect(200);
    let (_, session) = world.session(&admin).await;
    check(&world, &session, Ok(())).await;
    let refused = world.get(&session, "/v1/admin/spend").await;
    refused.expect_problem(403, "role_missing");
}

#[tokio::test]
async fn sessions_of_others_look_as_if_they_were_not_there() {
    let world = World::new().await;
    let (mine, other) = (world.guest().await, world.guest().await);
    let (id, session) = world.session(&mine).await;
    let (_, of_other) = world.session(&other).await;
    for token in [&other, &of_other] {
        assert!(
            listed(&world, token)
                .await
                .iter()
                .all(|(seen, _)| *seen != id)
        );
        let path = format!("/v1/sessions/{id}");
        let refused = world.delete(token, &path).await;
        let refused = refused.expect_problem(404, "session_not_found");
        let made_up = "/v1/sessions/00112233445566778899aabbccddeeff";
        let made_up = world.delete(token, made_up).await;
        let made_up = made_up.expect_problem(404, "session_not_found");
        assert_eq!(refused["detail"], made_up["detail"]);
    }
    world.delete(&other, "/v1/sessions").await.expect(204);
    check(&world, &session, Ok(())).await;
}

#[tokio::test]
async fn a_text_that_is_no_token_of_a_session_is_refused() {
    let world = World::new().await;
    let (id, session) = world.session(&world.guest().await).await;
    let last = if session.ends_with('A') { 'E' } else { 'A' };
    let other = format!("{}{last}", &session[..session.len() - 1]);
    for (token, code) in [
        (other, "session_ended"),
        (format!("{session}A"), "token_malformed"),
        (session[..session.len() - 1].to_owned(), "token_malformed"),
        (session.replace("mcs1.", "mcs1.."), "token_malformed"),
        (session.replace("mcs1", "mcs2"), "token_malformed"),
        ("mcs1.".to_owned(), "token_malformed"),
        (format!("mcs1.{id}"), "token_malformed"),
        (format!("mcs1.{}", "A".repeat(8_000)), "token_malformed"),
        (format!("mcs1.{}.{id}", "e30"), "token_malformed"),
    ] {
        check(&world, &token, Err(code)).await;
    }
    check(&world, &session, Ok(())).await;
}

/// Neither the token nor its digest is anywhere but in the answer that began the session.
#[tokio::test]
async fn an_id_is_not_enough_to_be_signed_in() {
    let world = World::new().await;
    let (id, session) = world.session(&world.guest().await).await;
    let list = world.get(&session, "/v1/sessions").await;
    assert!(!list.text().contains(&session["mcs1.".len()..]));
    assert_eq!(id.len(), 32, "half of a digest");
    check(&world, &id, Err("token_malformed")).await;
}

/// Whether a session is good is not known then: who is signed in must not be told to sign in again.
#[tokio::test]
async fn a_store_that_fails_is_no_reason_to_sign_in_again() {
    let world = World::new().await;
    let guest = world.guest().await;
    let (id, session) = world.session(&guest).await;
    for kind in [
        ErrorKind::Unavailable,
        ErrorKind::Timeout,
        ErrorKind::Corrupt,
    ] {
        world.plan.fail_next(Operation::TouchSession, 1, kind);
        let reply = world.get(&session, "/v1/me").await;
        reply.expect_problem(503, "sessions_unavailable");
        assert_eq!(reply.header("retry-after"), "1");
        assert!(!reply.headers.contains_key("www-authenticate"));
    }
    check(&world, &session, Ok(())).await;
    world
        .plan
        .fail_every(Operation::TouchSession, 1, ErrorKind::Unavailable);
    check(&world, &guest, Ok(())).await;
    world.plan.clear();
    for (operation, method, path) in [
        (
            Operation::CreateSession,
            Method::POST,
            "/v1/sessions".to_owned(),
        ),
        (
            Operation::ListSessions,
            Method::GET,
            "/v1/sessions".to_owned(),
        ),
        (
            Operation::RevokeSession,
            Method::DELETE,
            format!("/v1/sessions/{id}"),
        ),
        (
            Operation::RevokeSessions,
            Method::DELETE,
            "/v1/sessions".to_owned(),
        ),
    ] {
        world.plan.fail_next(operation, 1, ErrorKind::Unavailable);
        let request = request(method, &path, Some(&guest), Body::empty());
        world.send(request).await.expect_problem(503, "unavailable");
    }
    check(&world, &session, Ok(())).await;
}

#[tokio::test]
async fn a_server_without_sessions_says_so() {
    let world = World::new().await;
    let (_, session) = world.session(&world.guest().await).await;
    let config = HttpConfig::new()
        .with_jwt_secret(SECRET)
        .with_guests(Guests::Enabled);
    let without = World {
        api: medcards_http::router(world.medcards.clone(), config).unwrap(),
        ..world
    };
    let guest = without.guest().await;
    for (method, path) in [
        (Method::POST, "/v1/sessions"),
        (Method::GET, "/v1/sessions"),
        (Method::DELETE, "/v1/sessions"),
        (
            Method::DELETE,
            "/v1/sessions/00112233445566778899aabbccddeeff",
        ),
    ] {
        let request = request(method, path, Some(&guest), Body::empty());
        let reply = without.send(request).await;
        reply.expect_problem(403, "sessions_disabled");
    }
    check(&without, &session, Err("token_invalid")).await;
}

#[tokio::test]
async fn pages_of_an_allowed_origin_may_end_sessions() {
    let world = World::with(|config| config.with_cors_origins(["https://app.example.org"])).await;
    let preflight = Request::builder()
        .method(Method::OPTIONS)
        .uri("/v1/sessions/00112233445566778899aabbccddeeff")
        .header("origin", "https://app.example.org")
        .header("access-control-request-method", "DELETE")
        .header("access-control-request-headers", "authorization");
    let reply = world.send(preflight.body(Body::empty()).unwrap()).await;
    reply.expect(200);
    let methods = reply.header("access-control-allow-methods");
    assert!(methods == "*" || methods.contains("DELETE"), "{methods}");
}
