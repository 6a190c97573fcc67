use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Method, Request};
use medcards_core::limit::{LimitDecision, LimitedCall, Quota, RateLimiter};
use medcards_core::testing::Operation;
use medcards_core::{ErrorKind, Result};
use medcards_http::HttpConfig;
use serde_json::json;

use crate::feedback::answered;
use crate::world::{SECRET, World, request};

async fn probe(world: &World, path: &str) -> crate::world::Reply {
    world
        .send(request(Method::GET, path, None, Body::empty()))
        .await
}

#[tokio::test(start_paused = true)]
async fn probes_tell_life_from_readiness() {
    let world = World::new().await;
    probe(&world, "/healthz").await.expect(200);
    probe(&world, "/readyz").await.expect(200);
    world
        .plan
        .fail_next(Operation::FindUser, 1, ErrorKind::Unavailable);
    probe(&world, "/readyz")
        .await
        .expect_problem(503, "not_ready");
    world.plan.hang_next(Operation::FindUser, 1);
    probe(&world, "/readyz")
        .await
        .expect_problem(503, "not_ready");
    probe(&world, "/readyz").await.expect(200);
    world.api.drain();
    probe(&world, "/readyz")
        .await
        .expect_problem(503, "not_ready");
    probe(&world, "/healthz").await.expect(200);
    world.get(&world.guest().await, "/v1/me").await.expect(200);
}

#[tokio::test]
async fn failures_of_the_store_have_a_status_and_tell_nothing_else() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let token = world.guest().await;
    let path = format!("/v1/cases/{case_id}/answers");
    for (kind, status, code) in [
        (ErrorKind::Busy, 503, "busy"),
        (ErrorKind::Conflict, 409, "id_reused"),
        (ErrorKind::Corrupt, 500, "internal"),
        (ErrorKind::Denied, 500, "internal"),
        (ErrorKind::Full, 507, "storage_full"),
        (ErrorKind::RateLimited, 503, "unavailable"),
        (ErrorKind::ReadOnly, 503, "storage_read_only"),
        (ErrorKind::Timeout, 504, "storage_timeout"),
        (ErrorKind::Unavailable, 503, "unavailable"),
        (ErrorKind::Unexpected, 500, "internal"),
    ] {
        world.plan.fail_next(Operation::RecordAnswer, 1, kind);
        let reply = world.post(&token, &path, &json!({"options": ["A"]})).await;
        reply.expect_problem(status, code);
        assert_eq!(
            reply.headers.contains_key("retry-after"),
            status == 503,
            "{kind}"
        );
        assert!(
            status < 500 || !reply.text().contains("fault plan"),
            "{}",
            reply.text()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_is_ended() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let token = world.guest().await;
    world.plan.hang_next(Operation::FindCase, 1);
    let path = format!("/v1/cases/{case_id}");
    world
        .get(&token, &path)
        .await
        .expect_problem(503, "unfinished");
    world.get(&token, &path).await.expect(200);
}

/// A limiter with a defect.
#[derive(Debug)]
struct Panics;

impl std::fmt::Display for Panics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Panics")
    }
}

#[async_trait]
impl RateLimiter for Panics {
    async fn check_all(&self, _: &[LimitedCall]) -> Result<Vec<LimitDecision>> {
        panic!("the secret of the house")
    }
}

#[tokio::test]
async fn a_panic_is_a_problem_that_tells_nothing() {
    let world = World::with(|config| {
        config
            .with_quota(Some(Quota::DEFAULT))
            .with_limiter(Arc::new(Panics))
    })
    .await;
    let token = world.admin();
    let reply = world.get(&token, "/v1/me").await;
    reply.expect_problem(500, "internal");
    assert!(!reply.text().contains("secret of the house"));
}

#[tokio::test]
async fn figures_count_routes_and_tiers_and_name_nobody() {
    let world = World::new().await;
    let token = world.guest().await;
    let url = answered(&world, &token).await;
    world.get(&token, &url).await.expect(200);
    world.get(&token, &url).await.expect(200);
    world.get(&token, "/v1/cases/nope").await.expect(400);
    world.get(&token, "/no/such/path").await.expect(404);
    let reply = probe(&world, "/metrics").await;
    reply.expect(200);
    let text = reply.text();
    for line in [
        "http_requests_total{route=\"/v1/answers/{id}/feedback\",method=\"GET\",status=\"200\"} 2",
        "http_requests_total{route=\"/v1/cases/{case_id}\",method=\"GET\",status=\"400\"} 1",
        "http_requests_total{route=\"unmatched\",method=\"GET\",status=\"404\"} 1",
        "http_request_duration_seconds_bucket{route=\"/v1/answers/{id}/feedback\",le=\"+Inf\"} 2",
        "medcards_feedback_total{tier=\"live\"} 1",
        "medcards_feedback_total{tier=\"local\"} 1",
        "medcards_live_calls_total 1",
        "medcards_flights 0",
        "# TYPE http_request_duration_seconds histogram",
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    let user_id = world.get(&token, "/v1/me").await.expect(200)["user_id"].to_string();
    assert!(!text.contains(user_id.trim_matches('"')));
}

#[tokio::test]
async fn spend_is_current_and_adds_up() {
    let world = World::new().await;
    let token = world.guest().await;
    let url = answered(&world, &token).await;
    let live = world.get(&token, &url).await.expect(200);
    world.get(&token, &url).await.expect(200);
    let admin = world.admin();
    let cost = live["cost_microdollars"].as_u64().unwrap();
    // The live call is booked in the background.
    let spend = loop {
        let spend = world.get(&admin, "/v1/admin/spend").await.expect(200);
        if spend["totals"]["resolutions"] == 2 {
            break spend;
        }
        tokio::task::yield_now().await;
    };
    let totals = json!({"resolutions": 2, "cost_microdollars": cost, "saved_microdollars": cost});
    assert_eq!(spend["totals"], totals);
    let day = "2026-01-15";
    let item = |tier: &str, cost: u64, saved: u64| {
        json!({"day": day, "tier": tier, "model": "sample-model-1", "case_id": null,
               "resolutions": 1, "cost_microdollars": cost, "saved_microdollars": saved})
    };
    assert_eq!(
        spend["items"],
        json!([item("local", 0, cost), item("live", cost, 0)])
    );
    let used = |scope: &str, spent: u64| {
        json!({"scope": scope, "limit_microdollars": null, "spent_microdollars": spent,
               "set_aside_microdollars": 0})
    };
    let budget = json!({
        "day": day,
        "scopes": [used("day", cost), used("month", cost), used("chat", 0), used("feedback", cost),
                   used("precompute", 0)],
        "per_user_limit_microdollars": null,
        "premium_percent": 0,
    });
    assert_eq!(spend["budget"], budget);
    let by_case = world
        .get(&admin, "/v1/admin/spend?by_case=true")
        .await
        .expect(200);
    assert!(by_case["items"][0]["case_id"].is_string());
    assert_eq!(by_case["totals"], totals);

    for (query, resolutions) in [
        ("?from=2026-01-15&to=2026-01-15", 2),
        ("?from=2026-01-16", 0),
        ("?to=2026-01-14", 0),
        ("?from=2025-01-01&to=&by_case=0", 2),
    ] {
        let reply = world.get(&admin, &format!("/v1/admin/spend{query}")).await;
        if query == "?from=2026-01-16" {
            reply.expect_problem(400, "invalid_parameter");
        } else {
            assert_eq!(
                reply.expect(200)["totals"]["resolutions"],
                resolutions,
                "{query}"
            );
        }
    }
    for query in [
        "?from=yesterday",
        "?by_case=maybe",
        "?from=1900-01-01",
        "?until=2026-01-01",
    ] {
        assert_eq!(
            world
                .get(&admin, &format!("/v1/admin/spend{query}"))
                .await
                .status,
            400
        );
    }
}

#[tokio::test]
async fn browsers_on_other_pages_are_let_in_only_if_configured() {
    let preflight = |origin: &str| {
        Request::builder()
            .method(Method::OPTIONS)
            .uri("/v1/cases")
            .header("origin", origin)
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "authorization")
            .body(Body::empty())
            .unwrap()
    };
    let allowed = "access-control-allow-origin";
    let closed = World::new().await;
    let reply = closed.send(preflight("https://app.example.org")).await;
    assert!(!reply.headers.contains_key(allowed));

    let open = World::with(|config| config.with_cors_origins(["https://app.example.org"])).await;
    let reply = open.send(preflight("https://app.example.org")).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header(allowed)),
        (200, "https://app.example.org")
    );
    assert!(
        !open
            .send(preflight("https://evil.example.org"))
            .await
            .headers
            .contains_key(allowed)
    );
}

#[tokio::test]
async fn every_response_forbids_guessing_its_type() {
    let world = World::new().await;
    for path in ["/healthz", "/v1/me", "/nothing", "/docs/", "/openapi.json"] {
        assert_eq!(
            probe(&world, path).await.header("x-content-type-options"),
            "nosniff",
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_process_without_the_api_is_watched_all_the_same() {
    let mut world = World::new().await;
    let config = HttpConfig::new().with_jwt_secret(SECRET);
    world.api = medcards_http::operation_router(world.medcards.clone(), config).unwrap();
    for path in ["/healthz", "/readyz", "/metrics"] {
        probe(&world, path).await.expect(200);
    }
    for path in ["/v1/me", "/docs", "/openapi.json"] {
        let reply = probe(&world, path).await;
        reply.expect_problem(404, "route_not_found");
    }
}
