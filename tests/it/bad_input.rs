use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
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
    let (server, student, path) = runtime.block_on(async {
        let server = Launch::on(folder.path()).start().await;
        let (student, path, _) = student_and_path(&server).await;
        (server, student, path)
    });
    let anything = || vec(any::<u8>(), 0..512);
    let requests = proptest::prop_oneof![
        anything(),
        (anything(), anything()).prop_map(|(target, rest)| {
            [b"GET /v1/", &target[..], b" HTTP/1.1\r\nHost: a\r\n", &rest, b"\r\n\r\n"].concat()
        }),
        anything().prop_map(move |body| {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                student.token,
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
