use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::deck;
use crate::harness::{
    Home, Launch, PATIENCE, Server, Student, admin_token, on_each_store, send, uuid_v7,
};

on_each_store!(
    a_body_that_is_no_answer_is_a_clear_problem,
    a_body_that_is_no_question_to_the_coach_is_a_clear_problem,
    what_no_reviewer_or_admin_should_send_is_a_clear_problem,
    the_good_cases_of_a_broken_deck_come_in_and_the_bad_ones_are_named_by_line,
);

/// The most bytes of a reply that anybody reads here.
const REPLY_BYTES_MAX: u64 = 1024 * 1024;

/// How many random requests are sent: each is a connection to a process.
const RANDOM_REQUESTS: u32 = 256;

/// Sends bytes as they are and reads until the server closes the connection.
async fn raw(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may close before it has read everything, and then this fails: that is its answer.
    if stream.write_all(bytes).await.is_ok() {
        drop(stream.shutdown().await);
    }
    read_until_closed(stream).await
}

async fn read_until_closed(stream: TcpStream) -> Vec<u8> {
    let mut reply = Vec::new();
    let mut stream = stream.take(REPLY_BYTES_MAX);
    let read = timeout(PATIENCE, stream.read_to_end(&mut reply)).await;
    // However the connection ends, it must end.
    drop(read.expect("the server closes the connection"));
    reply
}

/// The status of a raw reply, if there is one.
fn status(reply: &[u8]) -> Option<u16> {
    let line = reply.strip_prefix(b"HTTP/1.1 ")?;
    std::str::from_utf8(line.get(..3)?).ok()?.parse().ok()
}

async fn assert_serves(server: &Server) {
    assert_eq!(
        send(server.client().get("/healthz")).await.status,
        200,
        "{}",
        server.output()
    );
    let output = server.output();
    assert!(!output.contains("panicked"), "{output}");
}

/// A student, and the path on which the student's answers to some case are sent.
async fn student_and_path(server: &Server) -> (Student, String, String) {
    let student = server.client().student();
    let case = student.get("/v1/cases/next").await.expect(200);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let path = format!("/v1/cases/{}/answers", text(&case["id"]));
    (student, path, text(&case["options"][0]["key"]))
}

async fn a_body_that_is_no_answer_is_a_clear_problem(home: Home) {
    let server = home.launch().start().await;
    let (student, path, key) = student_and_path(&server).await;
    let deep = "[".repeat(20_000);
    let unknown = json!({"options": [key], "optoins": ["B"]}).to_string();
    let wrong_id = json!({"options": [key], "id": "7"}).to_string();
    let old_id =
        json!({"options": [key], "id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}).to_string();
    let no_option = json!({"options": ["Z"]}).to_string();
    let confident = json!({"options": [key], "confidence": 101}).to_string();
    let table: [(&str, &[u8], &[u16]); 12] = [
        ("nothing", b"", &[400]),
        ("words", b"hello", &[400]),
        ("half of an object", br#"{"options":["#, &[400]),
        ("invalid UTF-8", b"{\"options\":[\"\xff\xfe\"]}", &[400]),
        ("a list", b"[]", &[400, 422]),
        ("very deep", deep.as_bytes(), &[400, 422]),
        ("no options", br#"{"options":[]}"#, &[400, 422]),
        ("an unknown field", unknown.as_bytes(), &[400, 422]),
        ("an id that is none", wrong_id.as_bytes(), &[400, 422]),
        ("an id without an instant", old_id.as_bytes(), &[400, 422]),
        (
            "an option that the case has not",
            no_option.as_bytes(),
            &[400, 422],
        ),
        ("more than certain", confident.as_bytes(), &[400, 422]),
    ];
    for (what, body, expected) in table {
        let request = student.client.post(&path).bearer_auth(&student.token);
        let reply = request
            .header("content-type", "application/json")
            .body(body.to_vec());
        let reply = send(reply).await;
        assert!(
            expected.contains(&reply.status),
            "{what}: {} {:?}",
            reply.status,
            reply.body
        );
        let code = reply.problem(reply.status);
        assert!(
            code.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
            "{what}: {code}"
        );
    }
    let unknown = "/v1/cases/0190b7a8-1c5e-7000-8000-000000000001";
    for (path, expected) in [
        (unknown.to_owned(), 404),
        (format!("{unknown}/answers/nothing"), 404),
        ("/v1/cases/not-an-id".to_owned(), 400),
        ("/v1/cases?limit=0".to_owned(), 400),
        ("/v1/cases?limit=100000".to_owned(), 400),
        ("/v1/cases?cursor=%00%ff".to_owned(), 400),
        ("/v1/cases?what=ever".to_owned(), 400),
        ("/v1/me/answers?cursor=nobody-gave-this".to_owned(), 400),
        ("/v1/leaderboards/month".to_owned(), 400),
        ("/v1/leaderboards/2026-W54".to_owned(), 400),
        ("/v1/leaderboards/week?limit=100000".to_owned(), 400),
        ("/v1/me/leaderboards/%00".to_owned(), 400),
        ("/v1/me/reviews?limit=0".to_owned(), 400),
        ("/v1/me/notices?after=nobody-gave-this".to_owned(), 400),
        ("/v1/me/notices/stream?after=%00".to_owned(), 400),
        ("/v1/me/live".to_owned(), 426),
        (format!("{unknown}/figures"), 404),
        (format!("/v1/answers/{}/feedback", uuid_v7()), 404),
    ] {
        let reply = student.get(&path).await;
        assert_eq!(reply.status, expected, "{path}: {:?}", reply.body);
        reply.problem(expected);
    }
    assert_eq!(
        student.get("/v1/me/stats").await.expect(200)["answered"],
        0,
        "nothing was recorded"
    );
    assert_serves(&server).await;
}

/// What is wrong, as whom, with what, at which path, and what comes of it.
type Refused = (
    &'static str,
    &'static str,
    String,
    Vec<u8>,
    (u16, &'static str),
);

/// Sends what each line says and compares the problem.
async fn assert_refused(who: &Student, table: Vec<Refused>) {
    for (what, method, path, body, (status, code)) in table {
        for accept in ["application/json", "text/event-stream"] {
            let request = who.client.request(method, &path).bearer_auth(&who.token);
            let request = request
                .header("content-type", "application/json")
                .header("accept", accept);
            let reply = send(request.body(body.clone())).await;
            assert_eq!(reply.problem(status), code, "{what}: {:?}", reply.body);
        }
    }
}

async fn a_body_that_is_no_question_to_the_coach_is_a_clear_problem(home: Home) {
    let server = home.launch().start().await;
    let (student, path, key) = student_and_path(&server).await;
    let answer = student.post(&path, &json!({"options": [key]})).await;
    let answer = answer.expect(201)["id"].as_str().unwrap().to_owned();
    let good = json!({"id": uuid_v7(), "answer_id": answer, "text": "Why?"});
    let with = |name: &str, value: serde_json::Value| {
        let mut form = good.clone();
        form[name] = value;
        form.to_string().into_bytes()
    };
    let absent = uuid_v7();
    let old = "0190b7a8-1c5e-7000-8000-000000000001";
    let (chat, field) = ("/v1/chat", (422, "invalid_field"));
    let ask = |what, body: Vec<u8>, expected| (what, "POST", chat.to_owned(), body, expected);
    let get = |what, path: String, expected| (what, "GET", path, Vec::new(), expected);
    let table = vec![
        ask("nothing", Vec::new(), (400, "malformed_json")),
        ask("words", b"hello".to_vec(), (400, "malformed_json")),
        ask(
            "half of an object",
            b"{\"text\":".to_vec(),
            (400, "malformed_json"),
        ),
        ask(
            "invalid UTF-8",
            b"{\"text\":\"\xff\xfe\"}".to_vec(),
            (400, "invalid_utf8"),
        ),
        ask("very deep", "[".repeat(20_000).into_bytes(), field),
        ask("deep within", with("text", deep(100)), field),
        ask(
            "deeper than anything",
            format!("{{\"text\":{}", "[".repeat(20_000)).into_bytes(),
            field,
        ),
        ask("no text", with("text", json!("")), field),
        ask("blanks", with("text", json!(" \n\t ")), field),
        ask("too long", with("text", json!("x".repeat(4_097))), field),
        ask(
            "too long in letters of two bytes",
            with("text", json!("é".repeat(2_049))),
            field,
        ),
        ask("a zero", with("text", json!("a\u{0}b")), field),
        ask("an escape", with("text", json!("\u{1b}[2J")), field),
        ask("a number", with("text", json!(7)), field),
        ask(
            "half a pair",
            br#"{"text": "\ud800"}"#.to_vec(),
            (400, "malformed_json"),
        ),
        ask(
            "an unknown field",
            with("role", json!("system")),
            (422, "unknown_field"),
        ),
        ask("an id that is none", with("id", json!("7")), field),
        ask(
            "an id without an instant",
            with("id", json!("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
            field,
        ),
        ask("an id of long ago", with("id", json!(old)), field),
        ask("no answer's id", with("answer_id", json!("7")), field),
        ask(
            "an absent answer",
            with("answer_id", json!(absent)),
            (404, "answer_not_found"),
        ),
        get(
            "an absent turn",
            format!("/v1/chat/turns/{absent}"),
            (404, "turn_not_found"),
        ),
        get(
            "a turn's id that is none",
            "/v1/chat/turns/7".to_owned(),
            (400, "invalid_id"),
        ),
        get(
            "an id of nothing",
            "/v1/chat/turns/%00%ff".to_owned(),
            (400, "invalid_id"),
        ),
        get(
            "a chat of an absent answer",
            format!("/v1/answers/{absent}/chat"),
            (404, "answer_not_found"),
        ),
        get(
            "a chat of nothing",
            "/v1/answers/7/chat".to_owned(),
            (400, "invalid_id"),
        ),
        get(
            "a page of nothing",
            format!("/v1/answers/{answer}/chat?limit=0"),
            (400, "invalid_parameter"),
        ),
        get(
            "a cursor of nobody",
            format!("/v1/answers/{answer}/chat?cursor=%00%ff"),
            (400, "malformed_query"),
        ),
        get(
            "a parameter of nobody",
            format!("/v1/answers/{answer}/chat?a=b"),
            (400, "unknown_parameter"),
        ),
        (
            "a chat of nothing, away",
            "DELETE",
            "/v1/answers/7/chat".to_owned(),
            Vec::new(),
            (400, "invalid_id"),
        ),
    ];
    assert_refused(&student, table).await;
    let listed = student.walk(&format!("/v1/answers/{answer}/chat?")).await;
    assert!(listed.is_empty(), "nothing was begun: {listed:?}");

    let post = || student.client.post(chat).bearer_auth(&student.token);
    let untyped = post().header("content-type", "text/plain");
    let untyped = send(untyped.body(good.to_string())).await;
    assert_eq!(untyped.problem(415), "unsupported_media_type");
    let asked = student.post(chat, &good).await.expect(200);
    assert_eq!(asked["reply"]["origin"], "unavailable", "{asked}");
    let turn = format!("/v1/chat/turns/{}", good["id"].as_str().unwrap());
    for last in [
        "x",
        "7:0",
        &format!("{absent}:0-0000000000000000"),
        "\u{e9}",
    ] {
        let get = student.client.get(&turn).bearer_auth(&student.token);
        for request in [post().json(&good), get] {
            let request = request
                .header("accept", "text/event-stream")
                .header("last-event-id", last);
            assert_eq!(send(request).await.problem(400), "invalid_header", "{last}");
        }
    }
    let other = json!({"id": good["id"], "answer_id": answer, "text": "How?"});
    let other = student.post(chat, &other).await;
    assert_eq!(other.problem(409), "id_reused");
    for number in 1..100 {
        let form = json!({"answer_id": answer, "text": format!("And of {number}?")});
        student.post(chat, &form).await.expect(200);
    }
    let form = json!({"answer_id": answer, "text": "One more?"});
    assert_eq!(student.post(chat, &form).await.problem(409), "chat_full");
    assert_eq!(student.post(chat, &good).await.expect(200), asked);
    assert_serves(&server).await;
}

fn deep(levels: usize) -> serde_json::Value {
    (0..levels).fold(json!("Why?"), |inner, _| json!([inner]))
}

async fn what_no_reviewer_or_admin_should_send_is_a_clear_problem(home: Home) {
    let server = home.launch().start().await;
    let admin = server.client().holder(admin_token());
    let case = admin.walk("/v1/cases?limit=100").await.remove(0);
    let case = case["id"].as_str().unwrap();
    let absent = uuid_v7();
    let (queue, review) = ("/v1/admin/feedback", "/v1/admin/feedback/review");
    let key = format!("fk1/{case}/1/1/en/1/a-model");
    let field = (422, "invalid_field");
    let decide = |what, body: serde_json::Value, expected| {
        let body = body.to_string().into_bytes();
        (what, "POST", review.to_owned(), body, expected)
    };
    let mend = |text: &str| json!({"key": key, "decision": "mend", "text": text});
    let list = |what, query: &str, expected| {
        (what, "GET", format!("{queue}{query}"), Vec::new(), expected)
    };
    let shared = format!("/v1/admin/cases/{case}/shared-answers");
    let good = json!({"case_version": 1, "locale": "en", "question": "Why?", "answer": "Because."});
    let put = |what, name: &str, value: serde_json::Value, expected| {
        let mut form = good.clone();
        form[name] = value;
        (
            what,
            "PUT",
            format!("{shared}/{absent}"),
            form.to_string().into_bytes(),
            expected,
        )
    };
    let delete = |what, path: String, expected| (what, "DELETE", path, Vec::new(), expected);
    let elsewhere = format!("/v1/admin/cases/{absent}/shared-answers/{absent}");
    let table = vec![
        decide(
            "a key of nothing",
            json!({"key": "7", "decision": "approve"}),
            field,
        ),
        decide(
            "a key of many letters",
            json!({"key": "f".repeat(50_000), "decision": "approve"}),
            field,
        ),
        decide(
            "an absent key",
            json!({"key": key, "decision": "approve"}),
            (404, "not_found"),
        ),
        decide(
            "no decision",
            json!({"key": key, "decision": "burn"}),
            field,
        ),
        decide(
            "words for nothing",
            json!({"key": key, "decision": "approve", "text": "a"}),
            field,
        ),
        decide(
            "mended with nothing",
            json!({"key": key, "decision": "mend"}),
            field,
        ),
        decide("mended with blanks", mend(" \n "), field),
        decide("mended with a zero", mend("a\u{0}"), field),
        decide("mended with a book", mend(&"x".repeat(4_001)), field),
        decide(
            "in the name of another",
            json!({"key": key, "decision": "approve", "reviewer": absent}),
            (422, "unknown_field"),
        ),
        decide("very deep", deep(100), field),
        (
            "half of an object",
            "POST",
            review.to_owned(),
            b"{\"key\":".to_vec(),
            (400, "malformed_json"),
        ),
        list(
            "a state of nothing",
            "?review=burnt",
            (400, "invalid_parameter"),
        ),
        list("a page of nothing", "?limit=0", (400, "invalid_parameter")),
        list(
            "a cursor of nobody",
            "?cursor=%00%ff",
            (400, "malformed_query"),
        ),
        list("a parameter of nobody", "?a=b", (400, "unknown_parameter")),
        put("no version", "case_version", json!(0), field),
        put(
            "an absent version",
            "case_version",
            json!(7),
            (404, "case_not_found"),
        ),
        put("no language", "locale", json!("not a language"), field),
        put("no question", "question", json!(" "), field),
        put("a question with a zero", "question", json!("a\u{0}"), field),
        put(
            "a question that is too long",
            "question",
            json!("x".repeat(4_097)),
            field,
        ),
        put(
            "an answer that is too long",
            "answer",
            json!("x".repeat(16_385)),
            field,
        ),
        put(
            "an unknown field",
            "reviewer",
            json!(absent),
            (422, "unknown_field"),
        ),
        (
            "an id that is none",
            "PUT",
            format!("{shared}/7"),
            good.to_string().into_bytes(),
            (400, "invalid_id"),
        ),
        (
            "an absent case",
            "PUT",
            elsewhere.clone(),
            good.to_string().into_bytes(),
            (404, "case_not_found"),
        ),
        delete(
            "an absent answer to all",
            format!("{shared}/{absent}"),
            (404, "shared_answer_not_found"),
        ),
        delete(
            "one of an absent case",
            elsewhere,
            (404, "shared_answer_not_found"),
        ),
        delete("one of no id", format!("{shared}/7"), (400, "invalid_id")),
        (
            "one of no case",
            "GET",
            "/v1/admin/cases/7/shared-answers".to_owned(),
            Vec::new(),
            (400, "invalid_id"),
        ),
    ];
    assert_refused(&admin, table).await;
    assert_eq!(admin.get(&shared).await.expect(200)["items"], json!([]));
    let settings = "/v1/me/settings";
    let levels = [json!("professor"), json!(7), json!(["resident"])];
    let levels = levels.map(|level| {
        let body = json!({"level": level}).to_string().into_bytes();
        (
            "a level of nobody",
            "PATCH",
            settings.to_owned(),
            body,
            field,
        )
    });
    let student = server.client().student();
    assert_refused(&student, levels.to_vec()).await;
    assert_eq!(student.get("/v1/me").await.expect(200)["level"], "clinical");
    assert_serves(&server).await;
}

/// Most clients send a whole body before they read: a server that closes at once would leave them
/// with a broken pipe, and without the reason.
#[tokio::test]
async fn whoever_sends_ten_megabytes_before_reading_is_told_that_it_is_too_much() {
    let folder = TempDir::new().unwrap();
    let server = Launch::on(folder.path()).start().await;
    let (student, path, _) = student_and_path(&server).await;
    let body = format!(r#"{{"options":["{}"]}}"#, "A".repeat(10 * 1024 * 1024));
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        student.token,
        body.len()
    );
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    for piece in std::iter::once(head.as_bytes()).chain(body.as_bytes().chunks(64 * 1024)) {
        let sent = stream.write_all(piece).await;
        sent.expect("the server takes in what it refuses, up to a limit");
    }
    let reply = read_until_closed(stream).await;
    assert_eq!(
        status(&reply),
        Some(413),
        "{}",
        String::from_utf8_lossy(&reply)
    );
    assert_serves(&server).await;
}

#[tokio::test]
async fn a_request_that_is_no_http_ends_with_its_connection() {
    let folder = TempDir::new().unwrap();
    let server = Launch::on(folder.path()).start().await;
    let (student, path, _) = student_and_path(&server).await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n",
        student.token
    );
    let get =
        |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\nzzz\r\nhello\r\n"
    );
    let endless = format!(
        "{head}Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\nffffffffffffffffff\r\n"
    );
    let short = format!("{head}Content-Length: 1000\r\nContent-Type: application/json\r\n\r\n{{}}");
    let two = format!("{head}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}");
    let many: String = (0..500).map(|n| format!("X-{n}: {n}\r\n")).collect();
    let many = format!("GET /healthz HTTP/1.1\r\nHost: a\r\n{many}\r\n");
    let long = get(&format!("/v1/cases?q={}", "a".repeat(1024 * 1024)));
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("garbage", vec![0, 255, 1, 254, 10, 13, 10, 13, 10]),
        ("a TLS greeting", vec![22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]),
        (
            "a preface of HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        ),
        ("a chunk of no size", chunked.into_bytes()),
        ("a chunk of any size", endless.into_bytes()),
        ("a body that does not come", short.into_bytes()),
        ("two lengths", two.into_bytes()),
        ("five hundred headers", many.into_bytes()),
        ("a url of a megabyte", long.into_bytes()),
        ("a url that is cut", get("/v1/cases/%").into_bytes()),
        (
            "a url that is not UTF-8",
            get("/v1/cases/%ff%fe").into_bytes(),
        ),
        (
            "a url that climbs",
            get("/../../../../etc/passwd").into_bytes(),
        ),
        ("a url with nothing in it", get("//////").into_bytes()),
        (
            "a header without end",
            format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(1024 * 1024)).into_bytes(),
        ),
    ];
    for (what, bytes) in table {
        let reply = raw(server.address(), &bytes).await;
        let status = status(&reply);
        let is_refused = status.is_none_or(|status| (400..500).contains(&status));
        assert!(is_refused, "{what}: {}", String::from_utf8_lossy(&reply));
    }
    assert_eq!(
        student.get("/v1/me/stats").await.expect(200)["answered"],
        0,
        "nothing was recorded"
    );
    assert_serves(&server).await;
}

#[tokio::test]
async fn a_client_that_never_ends_its_request_is_let_go_while_others_are_served() {
    let folder = TempDir::new().unwrap();
    let server = Launch::on(folder.path()).start().await;
    let mut slow = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream
            .write_all(b"GET /v1/cases HTTP/1.1\r\nHost: a\r\nX-Slow: ")
            .await
            .unwrap();
        slow.push(stream);
    }
    assert_serves(&server).await;
    for stream in slow {
        let reply = read_until_closed(stream).await;
        assert!(
            status(&reply).is_none_or(|status| status == 408),
            "{reply:?}"
        );
    }
    assert_serves(&server).await;
}

#[test]
fn random_bytes_never_stop_the_server() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = runtime.unwrap();
    let folder = TempDir::new().unwrap();
    let (server, student, paths) = runtime.block_on(async {
        let server = Launch::on(folder.path()).start().await;
        let (student, path, _) = student_and_path(&server).await;
        let others = ["/v1/chat", "/v1/admin/feedback/review"].map(str::to_owned);
        (server, student, [&[path], &others[..]].concat())
    });
    let token = student.token;
    let admin = admin_token();
    let anything = || vec(any::<u8>(), 0..512);
    let requests = proptest::prop_oneof![
        anything(),
        (anything(), anything(), select(&["", "chat/turns/", "answers/", "admin/feedback?"][..])).prop_map(|(target, rest, route)| {
            [b"GET /v1/", route.as_bytes(), &target[..], b" HTTP/1.1\r\nHost: a\r\n", &rest, b"\r\n\r\n"].concat()
        }),
        (anything(), select(paths)).prop_map(move |(body, path)| {
            let token = if path.contains("admin") { &admin } else { &token };
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                token,
                body.len()
            );
            [head.as_bytes(), &body].concat()
        }),
    ];
    let config = Config {
        cases: RANDOM_REQUESTS,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    runner
        .run(&requests, |bytes| {
            let reply = runtime.block_on(raw(server.address(), &bytes));
            let status = status(&reply);
            let is_refused = status.is_none_or(|status| (400..500).contains(&status));
            proptest::prop_assert!(is_refused, "{}", String::from_utf8_lossy(&reply));
            Ok(())
        })
        .unwrap();
    runtime.block_on(assert_serves(&server));
}

async fn the_good_cases_of_a_broken_deck_come_in_and_the_bad_ones_are_named_by_line(home: Home) {
    let server = home.launch().start().await;
    let admin = server.client().holder(admin_token());
    let before = admin.walk("/v1/cases?limit=100").await.len();
    let case = |n: usize| {
        let mut record = deck::records()[n].1.clone();
        record.source = "broken-deck".to_owned();
        serde_json::to_value(&record).unwrap()
    };
    let mut no_answer = case(2);
    no_answer["answer_keys"] = json!([]);
    let mut strange_answer = case(3);
    strange_answer["answer_keys"] = json!(["Z"]);
    let mut one_option = case(4);
    one_option["options"] = json!([one_option["options"][0]]);
    let station = json!({"id": "station-1", "OSCE_Examination": {"Patient_Actor": {}}});
    let long = format!(r#"{{"id":"{}"}}"#, "a".repeat(1024 * 1024));
    let lines: [(Vec<u8>, bool); 12] = [
        (case(0).to_string().into(), true),
        (b"not json".to_vec(), false),
        (b"{\"id\": \"\xff\xfe\"}".to_vec(), false),
        (no_answer.to_string().into(), false),
        (case(1).to_string().into(), true),
        (strange_answer.to_string().into(), false),
        (one_option.to_string().into(), false),
        (station.to_string().into(), false),
        (long.into_bytes(), false),
        (b"{\"id\":".to_vec(), false),
        (b"null".to_vec(), false),
        (case(5).to_string().into(), true),
    ];
    let body = lines
        .iter()
        .map(|(line, _)| line.as_slice())
        .collect::<Vec<_>>()
        .join(&b'\n');
    let request = admin
        .client
        .post("/v1/admin/cases")
        .bearer_auth(&admin.token);
    let reply = send(
        request
            .header("content-type", "application/x-ndjson")
            .body(body),
    )
    .await;
    let report = reply.expect(200);
    let good = lines.iter().filter(|(_, is_good)| *is_good).count();
    assert_eq!(report["created"], good, "{report}");
    assert_eq!(report["rejected"], lines.len() - good, "{report}");
    let errors = report["errors"].as_array().unwrap();
    let named: Vec<_> = errors
        .iter()
        .map(|error| error["line"].as_u64().unwrap())
        .collect();
    let bad = (1..)
        .zip(&lines)
        .filter(|(_, (_, is_good))| !is_good)
        .map(|(line, _)| line);
    assert_eq!(named, bad.collect::<Vec<u64>>(), "{report}");
    assert!(
        errors
            .iter()
            .all(|error| !error["reason"].as_str().unwrap().is_empty())
    );
    let osce = errors.iter().find(|error| error["line"] == 8).unwrap();
    assert!(osce["reason"].as_str().unwrap().contains("OSCE"), "{osce}");
    assert_eq!(admin.walk("/v1/cases?limit=100").await.len(), before + good);
    assert_serves(&server).await;
}
