use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use proptest::prelude::*;
use serde_json::json;

use crate::world::{World, request};

#[tokio::test]
async fn bodies_that_cannot_be_read_say_why() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let token = world.guest().await;
    let path = format!("/v1/cases/{case_id}/answers");
    let json = "application/json";
    let deep = "[".repeat(100_000);
    let nested = format!("{{\"options\":{}", "[".repeat(5_000));
    let huge = format!("{{\"options\":[\"{}\"]}}", "A".repeat(70_000));
    for (kind, body, status, code) in [
        (json, &b""[..], 400, "malformed_json"),
        (json, b"{", 400, "malformed_json"),
        (json, b"{\"options\":[\"A\"]}}", 400, "malformed_json"),
        (json, b"{\"options\":[\"A\"]} x", 400, "malformed_json"),
        (json, b"{'options':['A']}", 400, "malformed_json"),
        (json, b"{\"options\":[\"A\",]}", 400, "malformed_json"),
        (json, b"{\"options\":[\"\\ud800\"]}", 400, "malformed_json"),
        (json, b"\xff\xfe{}", 400, "invalid_utf8"),
        (json, b"{\"options\":[\"\xc3\x28\"]}", 400, "invalid_utf8"),
        (json, nested.as_bytes(), 422, "invalid_field"),
        (json, deep.as_bytes(), 413, "body_too_large"),
        (json, huge.as_bytes(), 413, "body_too_large"),
        (
            json,
            b"{\"options\":[\"A\"],\"options\":[\"B\"]}",
            422,
            "invalid_field",
        ),
        (
            "text/plain",
            b"{\"options\":[\"A\"]}",
            415,
            "unsupported_media_type",
        ),
        (
            "application/x-www-form-urlencoded",
            b"options=A",
            415,
            "unsupported_media_type",
        ),
        ("", b"{\"options\":[\"A\"]}", 415, "unsupported_media_type"),
        (
            "application/jsonp",
            b"{\"options\":[\"A\"]}",
            415,
            "unsupported_media_type",
        ),
    ] {
        let mut request = request(Method::POST, &path, Some(&token), body.to_vec().into());
        request
            .headers_mut()
            .insert("content-type", kind.parse().unwrap());
        let reply = world.send(request).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        assert_eq!(reply.status, status, "{shown}: {}", reply.text());
        reply.expect_problem(status, code);
    }
    for kind in [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/problem+json",
    ] {
        let mut request = request(
            Method::POST,
            &path,
            Some(&token),
            r#"{"options":["A"]}"#.into(),
        );
        request
            .headers_mut()
            .insert("content-type", kind.parse().unwrap());
        world.send(request).await.expect(201);
    }
    assert_eq!(
        world.get(&token, "/v1/me/stats").await.expect(200)["answered"],
        3
    );
}

#[tokio::test]
async fn a_body_of_unknown_length_is_read_no_further_than_allowed() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let token = world.guest().await;
    let chunks = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1_000]));
    let path = format!("/v1/cases/{case_id}/answers");
    let mut endless = request(Method::POST, &path, Some(&token), Body::from_stream(chunks));
    endless
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    world
        .send(endless)
        .await
        .expect_problem(413, "body_too_large");

    let broken =
        futures_util::stream::iter([Ok(b"{".to_vec()), Err(std::io::Error::other("reset"))]);
    let mut broken = request(Method::POST, &path, Some(&token), Body::from_stream(broken));
    broken
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    world
        .send(broken)
        .await
        .expect_problem(400, "body_unreadable");
}

#[tokio::test]
async fn queries_that_cannot_be_read_say_why() {
    let world = World::new().await;
    world.publish(1).await;
    let token = world.guest().await;
    let long = format!("/v1/cases?q={}", "a".repeat(801));
    let many = format!("/v1/cases?{}", "q=&".repeat(40));
    for (path, code) in [
        ("/v1/cases?limit=0", "invalid_parameter"),
        ("/v1/cases?limit=101", "invalid_parameter"),
        ("/v1/cases?limit=-1", "invalid_parameter"),
        ("/v1/cases?limit=ten", "invalid_parameter"),
        ("/v1/cases?limit=4294967296", "invalid_parameter"),
        ("/v1/cases?lang=english-please-now", "invalid_parameter"),
        ("/v1/cases?cursor=made-up", "invalid_parameter"),
        ("/v1/cases?cursor=%27%3B--", "invalid_parameter"),
        ("/v1/cases?specialty=a&specialty=b", "invalid_parameter"),
        ("/v1/cases?specialty=a%00b", "invalid_parameter"),
        (&long, "invalid_parameter"),
        ("/v1/cases?speciality=x", "unknown_parameter"),
        ("/v1/cases?=x", "unknown_parameter"),
        ("/v1/cases?q=%", "malformed_query"),
        ("/v1/cases?q=%zz", "malformed_query"),
        ("/v1/cases?q=%4", "malformed_query"),
        ("/v1/cases?q=%ff", "malformed_query"),
        ("/v1/cases?q=%C3%28", "malformed_query"),
        ("/v1/cases/next?limit=1", "unknown_parameter"),
        ("/v1/me/answers?cursor=made-up", "invalid_parameter"),
        ("/v1/me/answers?limit=0", "invalid_parameter"),
        (&many, "invalid_parameter"),
    ] {
        let reply = world.get(&token, path).await;
        assert_eq!(reply.status, 400, "{path}: {}", reply.text());
        reply.expect_problem(400, code);
    }
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist_are_problems_too() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let token = world.guest().await;
    let unknown = world.answer_id();
    for (method, path, status, code) in [
        (Method::GET, "/", 404, "route_not_found"),
        (Method::GET, "/v1", 404, "route_not_found"),
        (Method::GET, "/v1/nothing", 404, "route_not_found"),
        (Method::GET, "/v2/cases", 404, "route_not_found"),
        (Method::GET, "/v1/cases/", 404, "route_not_found"),
        (Method::GET, "/docs/nothing.js", 404, "route_not_found"),
        (Method::GET, "/v1/cases/nope", 400, "invalid_id"),
        (Method::GET, "/v1/cases/%ff", 400, "invalid_id"),
        (Method::GET, "/v1/cases/%00", 400, "invalid_id"),
        (Method::GET, "/v1/answers/nope/feedback", 400, "invalid_id"),
        (Method::DELETE, "/v1/sessions/nope", 400, "invalid_id"),
        (Method::DELETE, "/v1/sessions/%30", 400, "invalid_id"),
        (
            Method::DELETE,
            "/v1/sessions/00112233445566778899AABBCCDDEEFF",
            400,
            "invalid_id",
        ),
        (
            Method::DELETE,
            "/v1/sessions/00112233445566778899aabbccddeeff",
            404,
            "session_not_found",
        ),
        (
            Method::GET,
            "/v1/sessions/00112233445566778899aabbccddeeff",
            405,
            "method_not_allowed",
        ),
        (Method::PUT, "/v1/sessions", 405, "method_not_allowed"),
        (
            Method::GET,
            "/v1/sessions?limit=1",
            400,
            "unknown_parameter",
        ),
        (
            Method::GET,
            &format!("/v1/cases/{unknown}"),
            404,
            "case_not_found",
        ),
        (
            Method::GET,
            &format!("/v1/cases/{case_id}?version=0"),
            400,
            "invalid_parameter",
        ),
        (
            Method::GET,
            &format!("/v1/cases/{case_id}?version=2"),
            404,
            "case_not_found",
        ),
        (Method::DELETE, "/v1/cases", 405, "method_not_allowed"),
        (Method::GET, "/v1/guest", 405, "method_not_allowed"),
        (Method::POST, "/healthz", 405, "method_not_allowed"),
    ] {
        let reply = world
            .send(request(method.clone(), path, Some(&token), Body::empty()))
            .await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        reply.expect_problem(status, code);
        if status == 405 {
            assert!(!reply.header("allow").is_empty());
        }
    }
    let answers = format!("/v1/cases/{unknown}/answers");
    world
        .post(&token, &answers, &json!({"options": ["A"]}))
        .await
        .expect_problem(404, "case_not_found");
}

#[tokio::test]
async fn headers_that_make_no_sense_harm_nobody() {
    let world = World::new().await;
    world.publish(1).await;
    let token = world.guest().await;
    let get = |path: &str, name: &str, value: &[u8]| {
        let request = Request::builder()
            .uri(path)
            .header("authorization", format!("Bearer {token}"));
        world.send(request.header(name, value).body(Body::empty()).unwrap())
    };
    for (name, value, status) in [
        ("medcards-consistency", &b"shard0-0123abcd"[..], 200),
        ("medcards-consistency", b"two words", 400),
        ("medcards-consistency", b"\xff", 400),
        ("if-none-match", b"\xff\xff", 200),
        ("accept", b"\xff", 200),
        ("content-length", b"many", 200),
        ("x-request-id", b"\xff", 200),
    ] {
        assert_eq!(
            get("/v1/me/stats", name, value).await.status,
            status,
            "{name} {value:?}"
        );
    }
    let problem = get("/v1/me/stats", "medcards-consistency", b"two words").await;
    problem.expect_problem(400, "invalid_header");
}

#[tokio::test]
async fn a_request_id_is_taken_over_if_it_is_sane() {
    let world = World::new().await;
    let id_for = async |given: &[u8]| {
        let request = Request::builder()
            .uri("/healthz")
            .header("x-request-id", given);
        let reply = world.send(request.body(Body::empty()).unwrap()).await;
        reply.header("x-request-id").to_owned()
    };
    assert_eq!(id_for(b"trace/4711").await, "trace/4711");
    let long = "x".repeat(65);
    for strange in [&b""[..], b"two words", b"\xe9", long.as_bytes()] {
        let made = id_for(strange).await;
        assert!(!made.is_empty() && made.as_bytes() != strange);
    }
    assert_ne!(id_for(b"").await, id_for(b"").await);
}

/// Bodies near enough to the truth to get past the first check.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        "[{}\\[\\]\":,a-z0-9 \\\\ué\u{0}]{0,80}".prop_map(String::into_bytes),
        (
            "(id|options|confidence|case_version|x)",
            "[\\[\\]{}\"0-9A-Za-z,.:-]{0,30}"
        )
            .prop_map(|(name, value)| format!("{{\"{name}\":{value}}}").into_bytes()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is sent, the answer is whole and blames the client.
    #[test]
    fn no_request_breaks_the_server(
        method in "(GET|POST|PATCH|PUT|DELETE|HEAD|OPTIONS|X)",
        path in "(/v1/cases|/v1/cases/next|/v1/me/answers|/v1/sessions|/v1/admin/cases|/v1/answers|/)?(/[a-z0-9%.~-]{0,12}){0,3}",
        query in proptest::option::of("[a-z=&%+0-9]{0,30}"),
        kind in "(application/json|application/x-ndjson|text/plain|)",
        body in bodies(),
        is_admin in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            let token = if is_admin { world.admin() } else { world.guest().await };
            let case_id = world.publish(1).await;
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            for path in [format!("/{}{query}", path.trim_start_matches('/')), format!("/v1/cases/{case_id}/answers")] {
                let request = Request::builder()
                    .method(method.as_bytes())
                    .uri(&path)
                    .header("authorization", format!("Bearer {token}"))
                    .header("content-type", &kind)
                    .body(Body::from(body.clone()));
                let Ok(request) = request else { continue };
                let reply = world.send(request).await;
                assert!(reply.status.as_u16() < 500, "{method} {path}: {}", reply.text());
                if reply.status.is_client_error() && method != "HEAD" {
                    assert!(reply.json()["code"].is_string(), "{method} {path}: {}", reply.status);
                }
                assert_ne!(reply.status, StatusCode::SWITCHING_PROTOCOLS);
            }
        });
    }
}
