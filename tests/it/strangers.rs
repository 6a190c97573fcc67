use std::collections::BTreeSet;

use medcards_core::case::CaseRecord;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    Claims, Home, Launch, Reply, SECRET, Server, Student, admin_token, forge, on_each_store, send,
    uuid_v7,
};

on_each_store!(
    another_students_answer_looks_exactly_like_an_absent_one,
    another_students_turns_and_chats_look_exactly_like_absent_ones,
    only_reviewers_and_admins_judge_what_models_wrote,
    only_a_role_that_the_issuer_gave_opens_what_is_for_admins,
);

/// A student with one answer, and the case that was answered.
async fn answered(server: &Server) -> (Student, String, String) {
    let student = server.client().guest().await;
    let case = student.get("/v1/cases/next").await.expect(200);
    let case_id = case["id"].as_str().unwrap().to_owned();
    let key = case["options"][0]["key"].as_str().unwrap();
    let answer = student.answer(&case_id, &[key]).await.expect(201);
    (student, case_id, answer["id"].as_str().unwrap().to_owned())
}

/// All of a reply that may differ from one for something absent, but for what names the request.
fn telling(reply: &Reply) -> (u16, BTreeSet<String>, Value) {
    let mut body = reply.json();
    body.as_object_mut().unwrap().remove("request_id");
    (
        reply.status,
        reply.headers.keys().map(ToString::to_string).collect(),
        body,
    )
}

async fn another_students_answer_looks_exactly_like_an_absent_one(home: Home) {
    let server = home.launch().start().await;
    let (owner, case_id, answer_id) = answered(&server).await;
    let stranger = server.client().guest().await;
    let absent = uuid_v7();
    for media_type in ["application/json", "text/event-stream"] {
        let ask = async |id: &str| {
            let request = stranger.client.get(&format!("/v1/answers/{id}/feedback"));
            send(
                request
                    .bearer_auth(&stranger.token)
                    .header("accept", media_type),
            )
            .await
        };
        let (theirs, nobodys) = (ask(&answer_id).await, ask(&absent).await);
        assert_eq!(theirs.problem(404), "answer_not_found", "{media_type}");
        assert_eq!(telling(&theirs), telling(&nobodys), "{media_type}");
    }
    assert!(stranger.walk("/v1/me/answers?").await.is_empty());
    assert_eq!(
        stranger.get("/v1/me/stats").await.expect(200)["answered"],
        0
    );

    // The id of another student's answer is free for this one, and tells nothing.
    let owned = &owner.walk("/v1/me/answers?").await[0]["options"];
    let case = stranger
        .get(&format!("/v1/cases/{case_id}"))
        .await
        .expect(200);
    let mut options = case["options"].as_array().unwrap().iter();
    let other = options.find(|option| option["key"] != owned[0]).unwrap();
    let form = json!({"id": answer_id, "options": [other["key"]]});
    stranger
        .post(&format!("/v1/cases/{case_id}/answers"), &form)
        .await
        .expect(201);
    let stranger_has = stranger.walk("/v1/me/answers?").await;
    assert_eq!(
        (stranger_has.len(), &stranger_has[0]["options"]),
        (1, &form["options"])
    );
    let owner_has = owner.walk("/v1/me/answers?").await;
    assert_eq!((owner_has.len(), &owner_has[0]["options"]), (1, owned));
}

async fn another_students_turns_and_chats_look_exactly_like_absent_ones(home: Home) {
    let server = home.launch().start().await;
    let (owner, _, answer_id) = answered(&server).await;
    let (stranger, _, strangers_answer) = answered(&server).await;
    let question = json!({"id": uuid_v7(), "answer_id": answer_id, "text": "Why not another?"});
    let turn_id = question["id"].as_str().unwrap();
    let turn = owner.post("/v1/chat", &question).await.expect(200);
    let absent = uuid_v7();
    let ask = async |method: &str, path: &str, body: Option<Value>, media_type: &str| {
        let request = stranger.client.request(method, path);
        let mut request = request.bearer_auth(&stranger.token);
        request = request.header("accept", media_type);
        if let Some(body) = body {
            request = request.json(&body);
        }
        send(request).await
    };
    for media_type in ["application/json", "text/event-stream"] {
        let path = |id: &str| format!("/v1/chat/turns/{id}");
        let theirs = ask("GET", &path(turn_id), None, media_type).await;
        let nobodys = ask("GET", &path(&absent), None, media_type).await;
        assert_eq!(theirs.problem(404), "turn_not_found", "{media_type}");
        assert_eq!(telling(&theirs), telling(&nobodys), "{media_type}");

        let path = |id: &str| format!("/v1/answers/{id}/chat");
        let theirs = ask("GET", &path(&answer_id), None, media_type).await;
        let nobodys = ask("GET", &path(&absent), None, media_type).await;
        assert_eq!(theirs.problem(404), "answer_not_found", "{media_type}");
        assert_eq!(telling(&theirs), telling(&nobodys), "{media_type}");

        // With the id of the turn and without, asked the same and something else.
        for text in ["Why not another?", "What did they ask?"] {
            for id in [Some(turn_id), None] {
                let form =
                    |answer: &str| Some(json!({"id": id, "answer_id": answer, "text": text}));
                let theirs = ask("POST", "/v1/chat", form(&answer_id), media_type).await;
                let nobodys = ask("POST", "/v1/chat", form(&absent), media_type).await;
                assert_eq!(theirs.problem(404), "answer_not_found", "{media_type}");
                assert_eq!(telling(&theirs), telling(&nobodys), "{media_type}");
            }
        }
    }
    for id in [&answer_id, &absent] {
        let path = format!("/v1/answers/{id}/chat");
        let forgotten = ask("DELETE", &path, None, "application/json").await;
        assert_eq!((forgotten.status, forgotten.body.len()), (204, 0), "{id}");
    }
    // The id of another student's turn is free for this one, and tells nothing.
    let form = json!({"id": turn_id, "answer_id": strangers_answer, "text": "Mine?"});
    let mine = stranger.post("/v1/chat", &form).await.expect(200);
    assert_eq!(mine["question"], "Mine?");
    let path = format!("/v1/chat/turns/{turn_id}");
    assert_eq!(stranger.get(&path).await.expect(200), mine);
    let request = stranger
        .client
        .request("DELETE", &format!("/v1/answers/{strangers_answer}/chat"));
    assert_eq!(send(request.bearer_auth(&stranger.token)).await.status, 204);
    assert_eq!(
        owner.get(&path).await.expect(200),
        turn,
        "the owner's stays"
    );
    let chat = format!("/v1/answers/{answer_id}/chat?");
    assert_eq!(owner.walk(&chat).await, [turn]);
    // Nor may those who may do more.
    let admin = server.client().holder(admin_token());
    assert_eq!(admin.get(&path).await.problem(404), "turn_not_found");
    assert_eq!(admin.get(&chat).await.problem(404), "answer_not_found");
}

async fn only_reviewers_and_admins_judge_what_models_wrote(home: Home) {
    let server = home.launch().start().await;
    let case_id = answered(&server).await.1;
    let role = |role: &str| Claims::of(&uuid_v7()).with("role", json!(role));
    let metadata =
        |name: &str, role: &str| Claims::of(&uuid_v7()).with(name, json!({"role": role}));
    let (yes, no) = (true, false);
    let key = format!("fk1/{case_id}/1/1/en/1/a-model");
    let shared = format!("/v1/admin/cases/{case_id}/shared-answers");
    // What each may: judge, and administer.
    for (claims, judges, administers) in [
        (role("admin"), yes, yes),
        (role("reviewer"), yes, no),
        (metadata("app_metadata", "reviewer"), yes, no),
        (metadata("user_metadata", "reviewer"), no, no),
        (metadata("user_metadata", "admin"), no, no),
        (role("Reviewer"), no, no),
        (role("student"), no, no),
        (role("authenticated"), no, no),
        (Claims::of(&uuid_v7()), no, no),
    ] {
        let holder = server.client().holder(claims.sign());
        let approve = json!({"key": key, "decision": "approve"});
        let put = |id: String| {
            let request = holder.client.request("PUT", &format!("{shared}/{id}"));
            let form =
                json!({"case_version": 1, "locale": "en", "question": "Why?", "answer": "So."});
            send(request.bearer_auth(&holder.token).json(&form))
        };
        let delete = |id: String| {
            let request = holder.client.request("DELETE", &format!("{shared}/{id}"));
            send(request.bearer_auth(&holder.token))
        };
        let id = uuid_v7();
        for (what, reply, may, status) in [
            (
                "the queue",
                holder.get("/v1/admin/feedback").await,
                judges,
                200,
            ),
            (
                "a review",
                holder.post("/v1/admin/feedback/review", &approve).await,
                judges,
                404,
            ),
            (
                "the spend",
                holder.get("/v1/admin/spend").await,
                administers,
                200,
            ),
            (
                "shared answers",
                holder.get(&shared).await,
                administers,
                200,
            ),
            ("a shared answer", put(id.clone()).await, administers, 200),
            ("one less", delete(id).await, administers, 204),
        ] {
            if may {
                assert_eq!(reply.status, status, "{what}, {claims:?}: {:?}", reply.body);
            } else {
                assert_eq!(reply.problem(403), "role_missing", "{what}, {claims:?}");
            }
        }
    }
    let guest = server.client().guest().await;
    for path in [
        "/v1/admin/feedback",
        "/v1/admin/views",
        "/v1/admin/jobs",
        "/v1/admin/cases/alarms",
        &shared,
    ] {
        assert_eq!(guest.get(path).await.problem(403), "role_missing");
        let nobody = send(server.client().get(path)).await;
        assert_eq!(nobody.problem(401), "token_missing");
    }
}

#[tokio::test]
async fn no_token_that_we_did_not_sign_opens_anything() {
    let folder = TempDir::new().unwrap();
    let server = Launch::on(folder.path()).start().await;
    let (owner, _, answer_id) = answered(&server).await;
    let claims = || Claims::of(&owner.user_id);
    let expired = claims().with("exp", json!(crate::harness::seconds_from_now(-3_600)));
    let early = claims().with("nbf", json!(crate::harness::seconds_from_now(3_600)));
    let cut = owner.token.rsplit_once('.').unwrap().0.to_owned();
    let tokens = [
        (
            "signed by another secret",
            claims().sign_with("another secret of more than 32 bytes"),
        ),
        ("expired", expired.sign()),
        ("not valid yet", early.sign()),
        ("without expiry", claims().with("exp", Value::Null).sign()),
        ("without subject", claims().with("sub", Value::Null).sign()),
        (
            "of no algorithm",
            forge(&json!({"alg": "none", "typ": "JWT"}), &claims(), ""),
        ),
        (
            "of an algorithm nobody has",
            forge(&json!({"alg": "HS1"}), &claims(), "AAAA"),
        ),
        (
            "of a public key that is ours to sign with",
            forge(&json!({"alg": "RS256"}), &claims(), "AAAA"),
        ),
        ("without its signature", cut.clone()),
        ("with an empty signature", format!("{cut}.")),
        ("with a secret for a token", SECRET.to_owned()),
        ("with words for a token", "not a token".to_owned()),
    ];
    for (what, token) in tokens {
        let holder = server.client().holder(token);
        for path in [
            "/v1/cases",
            "/v1/me/stats",
            "/v1/leaderboards/week",
            "/v1/me/dashboard",
            "/v1/me/notices",
            "/v1/me/notices/stream",
            "/v1/me/live",
            "/v1/admin/views",
            "/v1/admin/jobs/dead",
            "/v1/admin/spend",
            "/v1/admin/feedback",
            &format!("/v1/answers/{answer_id}/chat"),
            &format!("/v1/chat/turns/{answer_id}"),
        ] {
            let reply = holder.get(path).await;
            reply.problem(401);
            assert!(
                reply.headers.contains_key("www-authenticate"),
                "a token {what}: {path}"
            );
        }
        holder
            .get(&format!("/v1/answers/{answer_id}/feedback"))
            .await
            .problem(401);
    }
    let nobody = send(server.client().get("/v1/me/stats")).await;
    assert_eq!(nobody.problem(401), "token_missing");
    assert_eq!(
        owner.get("/v1/me/stats").await.expect(200)["answered"],
        1,
        "the owner still may"
    );
}

async fn only_a_role_that_the_issuer_gave_opens_what_is_for_admins(home: Home) {
    let server = home.launch().start().await;
    let claims = || Claims::of(&uuid_v7());
    let (yes, no) = (true, false);
    let table = [
        ("a student", claims(), no),
        (
            "another role",
            claims().with("role", json!("authenticated")),
            no,
        ),
        // Users may write into it what they like.
        (
            "the metadata of the user",
            claims().with("user_metadata", json!({"role": "admin"})),
            no,
        ),
        (
            "a name of a user",
            claims().with("name", json!("admin")),
            no,
        ),
        ("the role", claims().with("role", json!("admin")), yes),
        (
            "one of several roles",
            claims().with("roles", json!(["editor", "admin"])),
            yes,
        ),
        (
            "the metadata of the issuer",
            claims().with("app_metadata", json!({"role": "admin"})),
            yes,
        ),
    ];
    for (what, claims, is_admin) in table {
        let holder = server.client().holder(claims.sign());
        let spend = holder.get("/v1/admin/spend").await;
        let import = holder
            .client
            .post("/v1/admin/cases")
            .bearer_auth(&holder.token);
        let import = import
            .header("content-type", "application/x-ndjson")
            .body(one_case());
        let import = send(import).await;
        if is_admin {
            assert_eq!(
                (spend.status, import.status),
                (200, 200),
                "{what}: {:?}",
                import.body
            );
        } else {
            assert_eq!(spend.problem(403), "role_missing", "{what}");
            assert_eq!(import.problem(403), "role_missing", "{what}");
        }
    }
    let guest = server.client().guest().await;
    assert_eq!(
        guest.get("/v1/admin/spend").await.problem(403),
        "role_missing"
    );
    assert!(
        server
            .client()
            .holder(admin_token())
            .get("/v1/cases")
            .await
            .status
            == 200
    );
}

fn one_case() -> String {
    let record: CaseRecord = crate::deck::records().remove(0).1;
    serde_json::to_string(&record).unwrap()
}

#[tokio::test]
async fn where_guests_are_off_there_is_no_token_for_the_asking() {
    let folder = TempDir::new().unwrap();
    let server = Launch::on(folder.path())
        .with("MEDCARDS_GUESTS", "off")
        .start()
        .await;
    let refused = send(server.client().post("/v1/guest")).await;
    assert_eq!(refused.problem(403), "guests_disabled");
}

#[tokio::test]
async fn few_guests_begin_at_one_address_and_each_has_limits_of_its_own() {
    let folder = TempDir::new().unwrap();
    let server = Launch::on(folder.path())
        .with("MEDCARDS_LOGIN_LIMIT", "3/24h")
        .with("MEDCARDS_AI_LIMIT", "5/24h")
        .start()
        .await;
    for _ in 0..3 {
        let guest = send(server.client().post("/v1/guest")).await;
        assert_eq!(guest.status, 201);
    }
    let refused = send(server.client().post("/v1/guest")).await;
    assert_eq!(refused.problem(429), "rate_limited");
    let policy = refused.headers["ratelimit-policy"].to_str().unwrap();
    assert_eq!(policy, "\"login\";q=3;w=86400");
    let path = format!("/v1/answers/{}/feedback", uuid::Uuid::now_v7());
    for student in [server.client().student(), server.client().student()] {
        for n in 0..7 {
            // There is no such answer; but it might have been one.
            let status = student.get(&path).await.status;
            assert_eq!(status, if n < 5 { 404 } else { 429 }, "call {n}");
        }
    }
}

#[tokio::test]
async fn a_student_who_asks_too_much_is_told_when_to_come_back() {
    let folder = TempDir::new().unwrap();
    let server = Launch::on(folder.path())
        .with("MEDCARDS_RATE_LIMIT", "20/1h")
        .start()
        .await;
    let eager = server.client().student();
    let mut refused = 0;
    for _ in 0..30 {
        let reply = eager.get("/v1/me/stats").await;
        if reply.status == 429 {
            assert_eq!(reply.problem(429), "rate_limited");
            let wait: u64 = reply.headers["retry-after"]
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            assert!((1..=7_200).contains(&wait), "{wait} s");
            refused += 1;
        } else {
            assert_eq!(reply.status, 200);
            assert!(
                reply.headers.contains_key("ratelimit"),
                "{:?}",
                reply.headers
            );
        }
    }
    assert_eq!(refused, 10);
    assert_eq!(
        server.client().student().get("/v1/me/stats").await.status,
        200,
        "others are not slowed down"
    );
}
