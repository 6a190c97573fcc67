use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use medcards_core::ErrorKind;
use medcards_core::app::Medcards;
use medcards_core::memory::MemoryStore;
use medcards_core::spend::{MicroDollars, SpendBudget};
use medcards_core::user::UserKind;
use medcards_http::{Guests, HttpConfig};
use serde_json::{Value, json};

use crate::feedback::answered;
use crate::world::{SECRET, World, request, sign, sign_with_secret};

const USER: &str = "7f1b6c1e-58a7-4f0b-9f3a-0d9f5a1c2b3d";

/// Stands for everyone in what is stored, and is no user.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// A token with any header and claims, and this signature.
fn pasted(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

async fn check(world: &World, token: &str, expected: Result<(), &str>) {
    let reply = world.get(token, "/v1/me").await;
    match expected {
        Ok(()) => drop(reply.expect(200)),
        Err(code) => {
            reply.expect_problem(401, code);
            assert!(reply.header("www-authenticate").starts_with("Bearer"));
        }
    }
}

#[tokio::test]
async fn only_tokens_that_are_signed_and_good_now_are_taken() {
    let world = World::new().await;
    let now = world.medcards.now().as_second();
    let good = json!({"sub": USER, "exp": now + 60});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        sign_with_secret(&claims)
    };
    let signature = sign_with_secret(&good)
        .rsplit_once('.')
        .unwrap()
        .1
        .to_owned();
    let hs256 = json!({"alg": "HS256", "typ": "JWT"});
    let forged = pasted(
        &hs256,
        &json!({"sub": USER, "exp": now + 60, "role": "admin"}),
        &signature,
    );
    for (token, expected) in [
        (sign_with_secret(&good), Ok(())),
        (with("exp", json!(now + 60)), Ok(())),
        (with("exp", json!(now as f64 + 0.5)), Ok(())),
        (with("exp", json!(now - 29)), Ok(())),
        (with("exp", json!(now - 30)), Err("token_expired")),
        (with("exp", json!(0)), Err("token_expired")),
        (with("exp", json!(null)), Err("token_invalid")),
        (with("exp", json!("2099-01-01")), Err("token_malformed")),
        (with("exp", json!(1e300)), Ok(())),
        (with("nbf", json!(now + 30)), Ok(())),
        (with("nbf", json!(now + 31)), Err("token_invalid")),
        (with("sub", json!("")), Err("token_invalid")),
        (with("sub", json!(null)), Err("token_invalid")),
        (with("sub", json!(7)), Err("token_malformed")),
        (with("sub", json!("x".repeat(256))), Err("token_invalid")),
        (with("sub", json!(NOBODY)), Err("token_invalid")),
        (
            with("sub", json!(NOBODY.replace('-', ""))),
            Err("token_invalid"),
        ),
        (with("aud", json!("whatever")), Ok(())),
        (
            sign(&good, "another secret, also of 32 bytes!"),
            Err("token_invalid"),
        ),
        (forged, Err("token_invalid")),
        (pasted(&hs256, &good, "!"), Err("token_invalid")),
        (
            pasted(&json!({"alg": "none"}), &good, ""),
            Err("token_invalid"),
        ),
        (
            pasted(&json!({"alg": "None"}), &good, &signature),
            Err("token_invalid"),
        ),
        (
            pasted(&json!({"alg": "HS512"}), &good, &signature),
            Err("token_invalid"),
        ),
        (
            pasted(&json!({"alg": "RS256"}), &good, &signature),
            Err("token_invalid"),
        ),
        (
            pasted(&json!({"alg": "HS256", "crit": ["b64"]}), &good, &signature),
            Err("token_invalid"),
        ),
        (
            pasted(&json!({}), &good, &signature),
            Err("token_malformed"),
        ),
        (
            pasted(&json!([]), &good, &signature),
            Err("token_malformed"),
        ),
        ("nonsense".to_owned(), Err("token_malformed")),
        ("a.b.c".to_owned(), Err("token_malformed")),
        ("..".to_owned(), Err("token_malformed")),
        (
            format!("{}.x", sign_with_secret(&good)),
            Err("token_malformed"),
        ),
        ("x".repeat(9_000), Err("token_malformed")),
    ] {
        check(&world, &token, expected).await;
    }
}

#[tokio::test]
async fn a_token_that_was_good_is_refused_once_it_expires() {
    let world = World::new().await;
    let token =
        sign_with_secret(&json!({"sub": USER, "exp": world.medcards.now().as_second() + 60}));
    check(&world, &token, Ok(())).await;
    world.clock.advance(Duration::from_secs(89));
    check(&world, &token, Ok(())).await;
    world.clock.advance(Duration::from_secs(1));
    check(&world, &token, Err("token_expired")).await;

    let guest = world.guest().await;
    world.clock.advance(Duration::from_hours(30 * 24));
    check(&world, &guest, Ok(())).await;
    world.clock.advance(Duration::from_secs(30));
    check(&world, &guest, Err("token_expired")).await;
}

#[tokio::test]
async fn headers_that_carry_no_bearer_token_are_told_apart() {
    let world = World::new().await;
    let token = world.guest().await;
    for (values, code) in [
        (vec![], "token_missing"),
        (vec![String::new()], "token_malformed"),
        (vec!["Bearer".to_owned()], "token_malformed"),
        (vec!["Bearer ".to_owned()], "token_malformed"),
        (vec![format!("Basic {token}")], "token_malformed"),
        (vec![token.clone()], "token_malformed"),
        (
            vec![format!("Bearer {token}"), format!("Bearer {token}")],
            "token_malformed",
        ),
        (vec!["Bearer \u{e9}".to_owned()], "token_malformed"),
    ] {
        let mut request = Request::builder().uri("/v1/me");
        for value in &values {
            request = request.header("authorization", value.as_bytes());
        }
        let reply = world.send(request.body(Body::empty()).unwrap()).await;
        reply.expect_problem(401, code);
    }
    for scheme in ["Bearer", "bearer", "BEARER "] {
        let request = Request::builder()
            .uri("/v1/me")
            .header("authorization", format!("{scheme} {token}"));
        world
            .send(request.body(Body::empty()).unwrap())
            .await
            .expect(200);
    }
}

#[tokio::test]
async fn every_path_of_a_user_asks_for_a_token() {
    let world = World::new().await;
    let id = world.answer_id();
    for (method, path) in [
        (Method::GET, "/v1/cases".to_owned()),
        (Method::GET, "/v1/cases/next".to_owned()),
        (Method::GET, format!("/v1/cases/{id}")),
        (Method::POST, format!("/v1/cases/{id}/answers")),
        (Method::GET, format!("/v1/answers/{id}/feedback")),
        (Method::POST, "/v1/chat".to_owned()),
        (Method::GET, format!("/v1/chat/turns/{id}")),
        (Method::GET, format!("/v1/answers/{id}/chat")),
        (Method::DELETE, format!("/v1/answers/{id}/chat")),
        (Method::GET, format!("/v1/admin/cases/{id}/shared-answers")),
        (
            Method::PUT,
            format!("/v1/admin/cases/{id}/shared-answers/{id}"),
        ),
        (
            Method::DELETE,
            format!("/v1/admin/cases/{id}/shared-answers/{id}"),
        ),
        (Method::GET, "/v1/me".to_owned()),
        (Method::PATCH, "/v1/me/settings".to_owned()),
        (Method::GET, "/v1/me/answers".to_owned()),
        (Method::GET, "/v1/me/stats".to_owned()),
        (Method::GET, "/v1/me/dashboard".to_owned()),
        (Method::GET, "/v1/me/reviews".to_owned()),
        (Method::GET, "/v1/me/streak".to_owned()),
        (Method::GET, "/v1/me/badges".to_owned()),
        (Method::GET, format!("/v1/cases/{id}/figures")),
        (Method::GET, "/v1/admin/cases/alarms".to_owned()),
        (Method::POST, format!("/v1/admin/cases/{id}/corrections")),
        (Method::GET, "/v1/me/notices".to_owned()),
        (Method::GET, "/v1/me/notices/stream".to_owned()),
        (Method::GET, "/v1/me/live".to_owned()),
        (Method::POST, "/v1/sessions".to_owned()),
        (Method::GET, "/v1/sessions".to_owned()),
        (Method::DELETE, "/v1/sessions".to_owned()),
        (Method::DELETE, format!("/v1/sessions/{id}")),
        (Method::GET, "/v1/me/cohort".to_owned()),
        (Method::GET, "/v1/me/leaderboards/week".to_owned()),
        (Method::GET, "/v1/leaderboards/week".to_owned()),
        (Method::POST, "/v1/admin/cases".to_owned()),
        (Method::GET, "/v1/admin/spend".to_owned()),
        (Method::GET, "/v1/admin/feedback".to_owned()),
        (Method::POST, "/v1/admin/feedback/review".to_owned()),
        (Method::POST, "/v1/admin/leaderboards/rebuild".to_owned()),
        (Method::GET, "/v1/admin/views".to_owned()),
        (Method::POST, "/v1/admin/views/boards/rebuild".to_owned()),
        (Method::GET, "/v1/admin/jobs".to_owned()),
        (Method::GET, "/v1/admin/jobs/dead".to_owned()),
        (Method::POST, "/v1/admin/jobs/requeue".to_owned()),
        (Method::POST, "/v1/admin/jobs/discard".to_owned()),
        (Method::POST, "/v1/admin/outages".to_owned()),
    ] {
        let reply = world
            .send(request(method, &path, None, Body::empty()))
            .await;
        reply.expect_problem(401, "token_missing");
    }
}

#[tokio::test]
async fn only_claims_that_the_issuer_writes_make_an_administrator() {
    let world = World::new().await;
    for (roles, is_admin) in [
        (json!({"role": "admin"}), true),
        (json!({"roles": ["teacher", "admin"]}), true),
        (json!({"app_metadata": {"role": "admin"}}), true),
        (json!({"app_metadata": {"roles": ["admin"]}}), true),
        (json!({}), false),
        (json!({"role": "authenticated"}), false),
        (json!({"role": ["admin"]}), false),
        (json!({"role": "administrator"}), false),
        (json!({"roles": "admin"}), false),
        (
            json!({"user_metadata": {"role": "admin", "roles": ["admin"]}}),
            false,
        ),
        (
            json!({"app_metadata": {"app_metadata": {"role": "admin"}}}),
            false,
        ),
        (json!({"app_metadata": "admin"}), false),
    ] {
        let mut claims = json!({"sub": USER, "exp": world.in_an_hour()});
        claims
            .as_object_mut()
            .unwrap()
            .extend(roles.as_object().unwrap().clone());
        let reply = world
            .get(&sign_with_secret(&claims), "/v1/admin/spend")
            .await;
        if is_admin {
            reply.expect(200);
        } else {
            reply.expect_problem(403, "role_missing");
        }
    }
    world
        .get(&world.guest().await, "/v1/admin/spend")
        .await
        .expect_problem(403, "role_missing");
}

/// Of a budget that is kept for premium users altogether, others get nothing.
#[tokio::test]
async fn only_claims_that_the_issuer_writes_make_a_premium_user() {
    let budget = SpendBudget {
        per_day: Some(MicroDollars::MAX),
        premium_percent: 100,
        ..SpendBudget::default()
    };
    for (roles, is_premium) in [
        (json!({"role": "premium"}), true),
        (json!({"roles": ["teacher", "premium"]}), true),
        (json!({"app_metadata": {"role": "premium"}}), true),
        (json!({"app_metadata": {"roles": ["premium"]}}), true),
        (json!({"app_metadata": {"plan": "premium"}}), true),
        (json!({}), false),
        (json!({"role": "admin"}), false),
        (json!({"plan": "premium"}), false),
        (json!({"roles": "premium"}), false),
        (json!({"app_metadata": {"plan": "premium plus"}}), false),
        (json!({"app_metadata": {"plan": ["premium"]}}), false),
        (
            json!({"user_metadata": {"role": "premium", "plan": "premium"}}),
            false,
        ),
    ] {
        let world = World::within(budget).await;
        let mut claims = json!({"sub": USER, "exp": world.in_an_hour()});
        claims
            .as_object_mut()
            .unwrap()
            .extend(roles.as_object().unwrap().clone());
        let token = sign_with_secret(&claims);
        let url = answered(&world, &token).await;
        let feedback = world.get(&token, &url).await.expect(200);
        let expected = if is_premium { "live" } else { "authored" };
        assert_eq!(feedback["origin"], expected, "{roles}");
    }
}

#[tokio::test]
async fn guests_and_issuers_cannot_pass_for_each_other() {
    let world =
        World::with(|config| config.with_guest_secret("the guests' own secret of 32 bytes")).await;
    let guest_secret = "the guests' own secret of 32 bytes";
    let claims = |iss: &str| json!({"iss": iss, "sub": USER, "exp": world.in_an_hour(), "role": "admin", "kind": "guest"});
    let guest = "urn:medcards:guest";
    check(&world, &sign(&claims(guest), SECRET), Err("token_invalid")).await;
    check(
        &world,
        &sign(&claims("https://issuer"), guest_secret),
        Err("token_invalid"),
    )
    .await;
    let pretender = sign(&claims(guest), guest_secret);
    check(&world, &pretender, Ok(())).await;
    world
        .get(&pretender, "/v1/admin/spend")
        .await
        .expect_problem(403, "role_missing");

    let me = world.get(&world.guest().await, "/v1/me").await.expect(200);
    assert_eq!(me["kind"], "guest");
}

#[tokio::test]
async fn issuer_and_audience_count_if_they_are_configured() {
    let world = World::with(|config| {
        config
            .with_jwt_issuer("https://auth.example.org")
            .with_jwt_audience("authenticated")
    })
    .await;
    let claims = |iss: Value, aud: Value| {
        sign_with_secret(&json!({"sub": USER, "exp": world.in_an_hour(), "iss": iss, "aud": aud}))
    };
    let issuer = "https://auth.example.org";
    for (token, expected) in [
        (claims(json!(issuer), json!("authenticated")), Ok(())),
        (
            claims(json!(issuer), json!(["other", "authenticated"])),
            Ok(()),
        ),
        (claims(json!(issuer), json!("other")), Err("token_invalid")),
        (claims(json!(issuer), json!(null)), Err("token_invalid")),
        (
            claims(json!("https://evil"), json!("authenticated")),
            Err("token_invalid"),
        ),
        (
            claims(json!(null), json!("authenticated")),
            Err("token_invalid"),
        ),
        (world.guest().await, Ok(())),
    ] {
        check(&world, &token, expected).await;
    }
}

#[tokio::test]
async fn a_subject_is_one_user_for_ever() {
    let world = World::new().await;
    let user = async |iss: &str, sub: &str| {
        let token = sign_with_secret(&json!({"iss": iss, "sub": sub, "exp": world.in_an_hour()}));
        world.get(&token, "/v1/me").await.expect(200)["user_id"].clone()
    };
    assert_eq!(user("https://a", USER).await, USER);
    // Pinned: another value would lose every student whose subject is not a UUID.
    assert_eq!(
        user("https://a", "auth0|123").await,
        "33b34f23-ed2a-59f3-9bcf-e492beee4154"
    );
    assert_ne!(
        user("https://b", "auth0|123").await,
        user("https://a", "auth0|123").await
    );
    assert_ne!(
        user("https://a", "auth0|124").await,
        user("https://a", "auth0|123").await
    );
    let id = user("https://a", "auth0|123")
        .await
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let known = world.medcards.store().find_user(id).await.unwrap().unwrap();
    assert_eq!(known.kind, UserKind::Registered);
}

#[tokio::test]
async fn guests_are_made_only_where_they_are_taken() {
    let world = World::with(|config| config.with_guests(Guests::Disabled)).await;
    let request = request(Method::POST, "/v1/guest", None, Body::empty());
    world
        .send(request)
        .await
        .expect_problem(403, "guests_disabled");
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused() {
    let medcards = Medcards::builder(std::sync::Arc::new(MemoryStore::new()))
        .build()
        .await
        .unwrap();
    for config in [
        HttpConfig::new(),
        HttpConfig::new().with_guests(Guests::Enabled),
        HttpConfig::new().with_jwt_secret(""),
        HttpConfig::new()
            .with_jwt_secret(SECRET)
            .with_trusted_proxies(["10.0.0.0/33"]),
        HttpConfig::new()
            .with_jwt_secret(SECRET)
            .with_cors_origins(["https://exa\nmple"]),
        #[cfg(feature = "jwks")]
        HttpConfig::new().with_jwks_url("not a url"),
        #[cfg(feature = "jwks")]
        HttpConfig::new().with_jwks_url("file:///etc/keys"),
    ] {
        let error = medcards_http::router(medcards.clone(), config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}
