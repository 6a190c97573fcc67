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
use medcards_http::HttpConfig;
use tower::ServiceExt;

use crate::feedback::answered;
use crate::world::{Reply, SECRET, World, request};

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

#[track_caller]
fn check_refused(reply: &Reply, violated: &[&str]) {
    let problem = reply.expect_problem(429, "rate_limited");
    assert_eq!(problem["violated-policies"], serde_json::json!(violated));
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        violated
            .iter()
            .all(|name| detail.contains(&format!("`{name}`"))),
        "{detail}"
    );
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!(wait > 0);
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
        assert_eq!(reply.header("ratelimit-policy"), "\"client\";q=3;w=60");
        assert_eq!(
            reply.header("ratelimit"),
            format!("\"client\";r={remaining};t=120")
        );
    }
    let refused = world.get(&token, "/v1/me").await;
    check_refused(&refused, &["client"]);
    assert_eq!(refused.header("ratelimit"), "\"client\";r=0;t=120");
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
async fn few_begin_a_session_at_one_address() {
    let world = World::with(|config| {
        config
            .with_quota(quota(100))
            .with_login_quota(quota(2))
            .with_trusted_proxies(["10.0.0.0/8"])
    })
    .await;
    let guest = async |address: &str, forwarded: Option<&str>| -> Reply {
        let made = request(Method::POST, "/v1/guest", None, Body::empty());
        world.send(from(address, forwarded, made)).await
    };
    let first = guest("198.51.100.1", None).await;
    first.expect(201);
    assert_eq!(
        first.header("ratelimit-policy"),
        "\"client\";q=100;w=60, \"login\";q=2;w=60"
    );
    assert_eq!(
        first.header("ratelimit"),
        "\"client\";r=99;t=120, \"login\";r=1;t=120"
    );
    // The same address, written as one of IPv6, and told by a proxy.
    guest("::ffff:198.51.100.1", None).await.expect(201);
    let refused = guest("10.0.0.1", Some("198.51.100.1:443")).await;
    check_refused(&refused, &["login"]);
    assert_eq!(
        refused.header("ratelimit-policy"),
        first.header("ratelimit-policy")
    );
    check_refused(
        &guest("198.51.100.1", Some("203.0.113.1")).await,
        &["login"],
    );
    guest("198.51.100.2", None).await.expect(201);
    guest("10.0.0.1", Some("198.51.100.1, 198.51.100.3"))
        .await
        .expect(201);

    guest("2001:db8:1:2::1", None).await.expect(201);
    guest("10.0.0.1", Some("2001:db8:1:2:3:4:5:6"))
        .await
        .expect(201);
    check_refused(&guest("2001:db8:1:2:ffff::", None).await, &["login"]);
    guest("2001:db8:1:3::1", None).await.expect(201);

    // What was refused counted nowhere: of the client's hundred three are gone with this one.
    let other = world.send(from("198.51.100.1", None, anonymous())).await;
    assert_eq!(other.header("ratelimit"), "\"client\";r=97;t=120");
}

#[tokio::test]
async fn a_token_does_not_hide_the_address_that_begins_sessions() {
    let world =
        World::with(|config| config.with_quota(quota(100)).with_login_quota(quota(1))).await;
    for status in [201, 429] {
        let token = world.guest().await;
        let again = request(Method::POST, "/v1/guest", Some(&token), Body::empty());
        world
            .send(from("198.51.100.1", None, again))
            .await
            .expect(status);
    }
}

#[tokio::test]
async fn feedback_has_a_quota_of_its_own_for_each_client() {
    let world = World::with(|config| config.with_quota(quota(100)).with_ai_quota(quota(2))).await;
    let (token, other) = (world.guest().await, world.guest().await);
    let (url, others) = (
        answered(&world, &token).await,
        answered(&world, &other).await,
    );
    world.get(&token, &url).await.expect(200);
    let second = world.get(&token, &url).await;
    second.expect(200);
    let (policy, left) = (
        second.header("ratelimit-policy"),
        second.header("ratelimit"),
    );
    assert_eq!(policy, "\"client\";q=100;w=60, \"ai\";q=2;w=60");
    let (client, ai) = left.split_once(", ").unwrap();
    assert_eq!(ai, "\"ai\";r=0;t=120");
    for _ in 0..3 {
        check_refused(&world.get(&token, &url).await, &["ai"]);
    }
    // The refused ones did not use up the client's quota.
    let next = world.get(&token, "/v1/me").await;
    let remaining = |header: &str| -> u32 {
        let rest = header.strip_prefix("\"client\";r=").unwrap();
        rest.strip_suffix(";t=120").unwrap().parse().unwrap()
    };
    assert_eq!(remaining(next.header("ratelimit")), remaining(client) - 1);
    world.get(&other, &others).await.expect(200);
}

#[tokio::test]
async fn what_is_used_up_is_named_and_the_longest_wait_told() {
    let hourly = Quota::new(2, Duration::from_hours(1)).unwrap();
    let world = World::with(|config| {
        config
            .with_quota(quota(2))
            .with_route_quota("GET /v1/me", hourly)
    })
    .await;
    let token = world.guest().await;
    for remaining in [1, 0] {
        let reply = world.get(&token, "/v1/me").await;
        reply.expect(200);
        assert_eq!(
            reply.header("ratelimit-policy"),
            "\"client\";q=2;w=60, \"GET /v1/me\";q=2;w=3600"
        );
        assert_eq!(
            reply.header("ratelimit"),
            format!("\"client\";r={remaining};t=120, \"GET /v1/me\";r={remaining};t=7200")
        );
    }
    let refused = world.get(&token, "/v1/me").await;
    check_refused(&refused, &["client", "GET /v1/me"]);
    assert_eq!(refused.header("retry-after"), "3601");
    check_refused(&world.get(&token, "/v1/me/stats").await, &["client"]);

    world.clock.advance(Duration::from_mins(2));
    let refused = world.get(&token, "/v1/me").await;
    check_refused(&refused, &["GET /v1/me"]);
    assert_eq!(refused.header("retry-after"), "3481");
    world.get(&token, "/v1/me/stats").await.expect(200);
}

#[tokio::test]
async fn a_call_costs_what_it_is_worth() {
    let world = World::with(|config| {
        config
            .with_quota(quota(20))
            .with_route_cost("GET /v1/me", 4)
            .with_route_cost("GET /v1/me/stats", 0)
    })
    .await;
    world.publish(1).await;
    let token = world.guest().await;
    for (path, remaining) in [
        ("/v1/cases", 19),
        ("/v1/cases?q=fever", 16),
        ("/v1/cases?%71=fever", 13),
        ("/v1/cases?q=", 12),
        ("/v1/me", 8),
        ("/v1/me/stats", 8),
    ] {
        let reply = world.get(&token, path).await;
        reply.expect(200);
        let expected = format!("\"client\";r={remaining};t=120");
        assert_eq!(reply.header("ratelimit"), expected, "{path}");
    }
    let head = request(
        Method::HEAD,
        "/v1/cases?q=fever",
        Some(&token),
        Body::empty(),
    );
    let head = world.send(head).await;
    assert_eq!(head.header("ratelimit"), "\"client\";r=5;t=120");
    let import = request(Method::POST, "/v1/admin/cases", Some(&token), Body::empty());
    check_refused(&world.send(import).await, &["client"]);
    for _ in 0..5 {
        world.get(&token, "/v1/me/answers").await.expect(200);
    }
    check_refused(&world.get(&token, "/v1/cases").await, &["client"]);
    // What costs nothing always goes on.
    world.get(&token, "/v1/me/stats").await.expect(200);
}

#[tokio::test]
async fn no_call_is_dearer_than_all_of_the_quota() {
    let world = World::with(|config| config.with_quota(quota(2))).await;
    let token = world.guest().await;
    let reply = world.get(&token, "/v1/cases?q=fever").await;
    reply.expect(200);
    assert_eq!(reply.header("ratelimit"), "\"client\";r=0;t=120");
}

#[tokio::test]
async fn users_at_one_address_have_each_their_quota_unless_the_address_has_one_too() {
    for (together, statuses) in [(None, [200; 6]), (quota(4), [200, 200, 200, 200, 429, 429])] {
        let world =
            World::with(|config| config.with_quota(quota(3)).with_address_quota(together)).await;
        let tokens = [world.guest().await, world.guest().await];
        let mut replies = Vec::new();
        for n in 0..6 {
            let me = request(Method::GET, "/v1/me", Some(&tokens[n % 2]), Body::empty());
            replies.push(world.send(from("198.51.100.1", None, me)).await);
        }
        let seen: Vec<_> = replies.iter().map(|reply| reply.status.as_u16()).collect();
        assert_eq!(seen, statuses);
        let Some(together) = together else { continue };
        assert_eq!(
            replies[1].header("ratelimit"),
            "\"client\";r=2;t=120, \"address\";r=2;t=120"
        );
        check_refused(&replies[4], &["address"]);
        let who_has_no_token = from("198.51.100.1", None, anonymous());
        check_refused(&world.send(who_has_no_token).await, &["address"]);
        assert_eq!(together.limit(), 4);
    }
}

#[tokio::test]
async fn each_quota_can_be_turned_off_or_left_alone() {
    let hears_of = async |configure: fn(HttpConfig) -> HttpConfig| {
        let world = World::with(configure).await;
        let token = world.guest().await;
        let url = answered(&world, &token).await;
        let guest = request(Method::POST, "/v1/guest", None, Body::empty());
        let guest = world.send(from("198.51.100.1", None, guest)).await;
        let feedback = world.get(&token, &url).await;
        let of = |reply: Reply| {
            let policy = reply.headers.get("ratelimit-policy");
            policy.map_or(String::new(), |policy| policy.to_str().unwrap().to_owned())
        };
        (of(guest), of(feedback))
    };
    let heard = |guest: &str, feedback: &str| (guest.to_owned(), feedback.to_owned());
    assert_eq!(
        hears_of(|config| config.with_quota(quota(100))).await,
        heard(
            "\"client\";q=100;w=60, \"login\";q=100;w=60",
            "\"client\";q=100;w=60, \"ai\";q=60;w=60"
        )
    );
    assert_eq!(
        hears_of(|config| config.with_quota(None)).await,
        heard("", "")
    );
    assert_eq!(
        hears_of(|config| config.with_quota(None).with_ai_quota(quota(7))).await,
        heard("", "\"ai\";q=7;w=60")
    );
    let without = |config: HttpConfig| {
        config
            .with_quota(quota(100))
            .with_login_quota(None)
            .with_ai_quota(None)
    };
    let client = "\"client\";q=100;w=60";
    assert_eq!(hears_of(without).await, heard(client, client));
}

#[tokio::test]
async fn a_router_that_is_mounted_elsewhere_counts_the_same() {
    let world = World::with(|config| config.with_quota(quota(100))).await;
    let token = world.guest().await;
    let app = axum::Router::new().nest("/schools/{school}/v1/api", world.api.router());
    let search = "/schools/blue/v1/api/v1/cases?q=fever";
    let search = request(Method::GET, search, Some(&token), Body::empty());
    let response = app.oneshot(search).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["ratelimit"], "\"client\";r=97;t=120");
}

#[tokio::test]
async fn a_quota_of_no_route_is_refused_at_the_start() {
    let world = World::new().await;
    for route in ["GET /v1/casses", "DELETE /v1/cases", "GET /healthz"] {
        let config = HttpConfig::new().with_jwt_secret(SECRET);
        let config = config.with_route_quota(route, Quota::DEFAULT);
        let error = medcards_http::router(world.medcards.clone(), config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.context().contains(&format!("`{route}`")), "{error}");
        assert!(
            error.context().contains("GET /v1/cases/{case_id}"),
            "{error}"
        );
    }
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

/// Each would cost the store a query before its call is counted.
#[tokio::test]
async fn made_up_sessions_of_one_network_are_looked_up_a_hundred_times_a_minute() {
    let world = World::with(|config| config.with_quota(quota(100_000))).await;
    let guest = world.guest().await;
    let (_, known) = world.session(&guest).await;
    let ask = async |token: &str, address: &str| {
        let asked = request(Method::GET, "/v1/me", Some(token), Body::empty());
        world.send(from(address, None, asked)).await
    };
    ask(&known, "203.0.113.9").await.expect(200);
    let made_up = |n: u32| format!("mcs1.{n:03}{:0>40}", 0);
    for n in 0..100 {
        let reply = ask(&made_up(n), "203.0.113.9").await;
        reply.expect_problem(401, "session_ended");
    }
    let asked = world.plan.calls(Operation::TouchSession);
    for n in 100..110 {
        let reply = ask(&made_up(n), "203.0.113.9").await;
        reply.expect_problem(429, "rate_limited");
        assert_eq!(reply.header("retry-after"), "60");
    }
    assert_eq!(world.plan.calls(Operation::TouchSession), asked);
    // Who was known goes on, and who comes from elsewhere.
    ask(&known, "203.0.113.9").await.expect(200);
    let reply = ask(&made_up(200), "203.0.113.10").await;
    reply.expect_problem(401, "session_ended");
    world.clock.advance(Duration::from_mins(2));
    let reply = ask(&made_up(300), "203.0.113.9").await;
    reply.expect_problem(401, "session_ended");
}
