use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request};
use medcards_core::ErrorKind;
use medcards_core::limit::Quota;
use medcards_core::memory::MemoryRateLimiter;
use medcards_core::testing::{FaultPlan, Faulty, ManualClock, Operation};

use crate::world::{Reply, World, request};

fn quota(calls: u32) -> Option<Quota> {
    Some(Quota::new(calls, Duration::from_mins(1)).unwrap())
}

/// A request from an address, maybe through proxies.
fn from(address: &str, forwarded: Option<&str>, mut request: Request<Body>) -> Request<Body> {
    let peer = SocketAddr::new(address.parse().unwrap(), 1_234);
    request.extensions_mut().insert(ConnectInfo(peer));
    if let Some(forwarded) = forwarded {
        request
            .headers_mut()
            .insert("x-forwarded-for", forwarded.parse().unwrap());
    }
    request
}

fn anonymous() -> Request<Body> {
    request(Method::GET, "/v1/me", None, Body::empty())
}

#[tokio::test]
async fn each_user_has_a_quota_and_hears_of_it() {
    let world = World::with(|config| config.with_quota(quota(3))).await;
    let (token, other) = (world.guest().await, world.guest().await);
    for remaining in [2, 1, 0] {
        let reply = world.get(&token, "/v1/me").await;
        reply.expect(200);
        assert_eq!(reply.header("ratelimit-policy"), "\"default\";q=3;w=60");
        assert_eq!(
            reply.header("ratelimit"),
            format!("\"default\";r={remaining};t=120")
        );
    }
    let refused = world.get(&token, "/v1/me").await;
    refused.expect_problem(429, "rate_limited");
    assert_eq!(refused.header("ratelimit"), "\"default\";r=0;t=120");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    world.get(&other, "/v1/me").await.expect(200);

    world.clock.advance(Duration::from_secs(wait - 1));
    world
        .get(&token, "/v1/me")
        .await
        .expect_problem(429, "rate_limited");
    world.clock.advance(Duration::from_secs(1));
    world.get(&token, "/v1/me").await.expect(200);
}

#[tokio::test]
async fn what_is_refused_is_not_done() {
    let world = World::with(|config| config.with_quota(quota(1))).await;
    let case_id = world.publish(1).await;
    let token = world.guest().await;
    world.get(&token, "/v1/me").await.expect(200);
    let path = format!("/v1/cases/{case_id}/answers");
    let form = serde_json::json!({"options": ["A"]});
    world
        .post(&token, &path, &form)
        .await
        .expect_problem(429, "rate_limited");
    world.clock.advance(Duration::from_mins(2));
    assert_eq!(
        world.get(&token, "/v1/me/stats").await.expect(200)["answered"],
        0
    );
}

#[tokio::test]
async fn callers_without_a_token_share_the_quota_of_their_address() {
    let world = World::with(|config| {
        config
            .with_quota(quota(2))
            .with_trusted_proxies(["10.0.0.0/8"])
    })
    .await;
    let status = async |address: &str, forwarded: Option<&str>| {
        world
            .send(from(address, forwarded, anonymous()))
            .await
            .status
            .as_u16()
    };
    assert_eq!(status("198.51.100.1", None).await, 401);
    assert_eq!(status("198.51.100.1", Some("203.0.113.1")).await, 401);
    assert_eq!(
        status("198.51.100.1", Some("203.0.113.2")).await,
        429,
        "the header is not believed"
    );
    assert_eq!(status("198.51.100.2", None).await, 401);

    assert_eq!(status("10.0.0.1", Some("203.0.113.9")).await, 401);
    assert_eq!(status("10.0.0.2", Some("203.0.113.9")).await, 401);
    assert_eq!(status("10.0.0.1", Some("1.2.3.4, 203.0.113.9")).await, 429);
    assert_eq!(status("10.0.0.1", Some("203.0.113.8")).await, 401);

    assert_eq!(status("2001:db8:1:2::1", None).await, 401);
    assert_eq!(status("2001:db8:1:2::2", None).await, 401);
    assert_eq!(
        status("2001:db8:1:2:ffff::3", None).await,
        429,
        "a network counts as one"
    );
    assert_eq!(status("2001:db8:1:3::1", None).await, 401);
}

#[tokio::test]
async fn guests_of_one_address_are_few() {
    let world = World::with(|config| {
        config
            .with_quota(quota(100))
            .with_guest_quota(quota(2).unwrap())
    })
    .await;
    let guest = async |address: &str| -> Reply {
        let made = request(Method::POST, "/v1/guest", None, Body::empty());
        world.send(from(address, None, made)).await
    };
    assert_eq!(
        guest("198.51.100.1").await.header("ratelimit"),
        "\"guest\";r=1;t=120"
    );
    guest("198.51.100.1").await.expect(201);
    let refused = guest("198.51.100.1").await;
    refused.expect_problem(429, "rate_limited");
    assert_eq!(refused.header("ratelimit-policy"), "\"guest\";q=2;w=60");
    guest("198.51.100.2").await.expect(201);
}

#[tokio::test]
async fn probes_are_never_limited() {
    let world = World::with(|config| config.with_quota(quota(1))).await;
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        for _ in 0..3 {
            let probe = request(Method::GET, path, None, Body::empty());
            world
                .send(from("198.51.100.1", None, probe))
                .await
                .expect(200);
        }
    }
}

#[tokio::test]
async fn a_limiter_that_is_away_lets_calls_through() {
    let plan = FaultPlan::new();
    let limiter = MemoryRateLimiter::new(Arc::new(ManualClock::default()));
    let faulty = Arc::new(Faulty::new(limiter, plan.clone()));
    let world = World::with(|config| config.with_quota(quota(1)).with_limiter(faulty)).await;
    let token = world.guest().await;
    world.get(&token, "/v1/me").await.expect(200);
    plan.fail_next(Operation::CheckLimit, 1, ErrorKind::Unavailable);
    let reply = world.get(&token, "/v1/me").await;
    reply.expect(200);
    assert!(!reply.headers.contains_key("ratelimit"));
    world
        .get(&token, "/v1/me")
        .await
        .expect_problem(429, "rate_limited");
}
