//! Every refusal has its kind, its price and its advice, and no error has a secret in it.

use std::time::Duration;

use medcards_ai::{RETRY_AFTER_MAX, Timeouts};
use medcards_core::ErrorKind;
use medcards_core::ai::{AiProvider, Billed};

use crate::sample::{KEY, ask, prompt, providers};
use crate::server::{Answer, End, Server};

#[tokio::test]
async fn every_status_has_its_kind_and_price() {
    use ErrorKind::*;
    for (status, kind, billed) in [
        (204, Unexpected, Billed::Unknown),
        (302, Invalid, Billed::Nothing),
        (400, Invalid, Billed::Nothing),
        (401, Denied, Billed::Nothing),
        (402, Denied, Billed::Nothing),
        (403, Denied, Billed::Nothing),
        (404, NotFound, Billed::Nothing),
        (408, Timeout, Billed::Unknown),
        (409, Unavailable, Billed::Nothing),
        (413, Invalid, Billed::Nothing),
        (422, Invalid, Billed::Nothing),
        (429, RateLimited, Billed::Nothing),
        (500, Unavailable, Billed::Nothing),
        (502, Unavailable, Billed::Nothing),
        (503, Unavailable, Billed::Nothing),
        (504, Timeout, Billed::Unknown),
        (529, Unavailable, Billed::Nothing),
    ] {
        for answer in [
            Answer::json(status, r#"{"type":"error","error":{"type":"some_error"}}"#),
            Answer::new(status, "text/html", "<html>a page of a proxy</html>"),
            Answer::json(status, "{\"error\":").with_end(End::Cut),
        ] {
            let server = Server::start(answer.with_header("location", "http://127.0.0.1:1/")).await;
            for provider in providers(&server.url) {
                let failure = ask(&*provider, prompt()).await.failure();
                assert_eq!(failure.error.kind(), kind, "{status}: {failure}");
                assert_eq!(failure.billed, billed, "{status}");
                assert!(
                    failure.to_string().contains(&status.to_string()),
                    "{failure}"
                );
            }
            assert_eq!(
                server.requests().len(),
                2,
                "nothing is tried twice or followed"
            );
        }
    }
}

#[tokio::test]
async fn a_spent_quota_is_told_from_a_rate() {
    for (body, kind) in [
        (
            r#"{"error":{"type":"rate_limit_error","message":"slow"}}"#,
            ErrorKind::RateLimited,
        ),
        (
            r#"{"error":{"type":"rate_limit_error","details":{"error_code":"enforced_spend_limit_reached"}}}"#,
            ErrorKind::Denied,
        ),
        (
            r#"{"error":{"type":"insufficient_quota","code":"insufficient_quota"}}"#,
            ErrorKind::Denied,
        ),
        (
            r#"{"error":{"type":"tokens","code":"rate_limit_exceeded"}}"#,
            ErrorKind::RateLimited,
        ),
        (
            r#"{"error":{"type":7,"code":null,"details":null}}"#,
            ErrorKind::RateLimited,
        ),
    ] {
        let server = Server::start(Answer::json(429, body)).await;
        for provider in providers(&server.url) {
            assert_eq!(
                ask(&*provider, prompt()).await.failure().error.kind(),
                kind,
                "{body}"
            );
        }
    }
    let server =
        Server::start(Answer::json(429, "{}").with_header("x-should-retry", "false")).await;
    for provider in providers(&server.url) {
        assert!(
            !ask(&*provider, prompt())
                .await
                .failure()
                .error
                .is_retryable()
        );
    }
}

#[tokio::test]
async fn the_wait_a_server_asks_for_is_kept_within_reason() {
    let date = ("date", "Wed, 21 Oct 2026 07:28:00 GMT");
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let check = [
        (vec![("retry-after", "17")], seconds(17)),
        (vec![("retry-after", "0")], seconds(0)),
        (
            vec![("retry-after", "1.5")],
            Some(Duration::from_millis(1_500)),
        ),
        (
            vec![("retry-after-ms", "250"), ("retry-after", "17")],
            Some(Duration::from_millis(250)),
        ),
        (
            vec![date, ("retry-after", "Wed, 21 Oct 2026 07:28:30 GMT")],
            seconds(30),
        ),
        (
            vec![date, ("retry-after", "Wed, 21 Oct 2026 07:27:30 GMT")],
            seconds(0),
        ),
        (vec![("retry-after", "Wed, 21 Oct 2026 07:28:30 GMT")], None),
        (vec![("retry-after", "999999999999")], Some(RETRY_AFTER_MAX)),
        (vec![("retry-after", "inf")], None),
        (vec![("retry-after", "-3")], None),
        (vec![("retry-after", "soon")], None),
        (vec![], None),
    ];
    for (headers, wait) in check {
        for status in [429, 529] {
            let answer = headers
                .iter()
                .fold(Answer::json(status, "{}"), |answer, (name, value)| {
                    answer.with_header(name, value)
                });
            let server = Server::start(answer).await;
            for provider in providers(&server.url) {
                let failure = ask(&*provider, prompt()).await.failure();
                assert_eq!(failure.error.retry_after(), wait, "{headers:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_error_names_its_type_and_request_but_repeats_no_words() {
    let body = r#"{"type":"error","error":{"type":"invalid_request_error","code":"you wrote SECRET",
        "message":"messages.0: SECRET WORDS of the student"},"request_id":"req_1"}"#;
    let server =
        Server::start(Answer::json(400, body).with_header("request-id", "req_011CSHoEeq")).await;
    for provider in providers(&server.url) {
        let failure = ask(&*provider, prompt()).await.failure();
        let told = format!("{failure} {failure:?} {provider} {provider:?}");
        assert!(told.contains("invalid_request_error"), "{told}");
        assert!(told.contains("req_011CSHoEeq"), "{told}");
        for secret in ["SECRET", KEY, "Spironolactone"] {
            assert!(!told.contains(secret), "{told}");
        }
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_costs_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for provider in providers(&url) {
        let failure = ask(&*provider, prompt()).await.failure();
        assert_eq!(failure.error.kind(), ErrorKind::Unavailable);
        assert!(failure.error.is_retryable());
        assert_eq!(failure.billed, Billed::Nothing);
        assert!(
            failure.to_string().contains("cannot be reached"),
            "{failure}"
        );
        assert!(!format!("{failure:?}").contains(KEY));
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_on_the_question_may_have_worked_on_it() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            // Reads something, so that the question was sent, and hangs up.
            let mut bytes = [0; 16];
            let _ = tokio::io::AsyncReadExt::read(&mut socket, &mut bytes).await;
        }
    });
    for provider in providers(&url) {
        let failure = ask(&*provider, prompt()).await.failure();
        assert_eq!(failure.error.kind(), ErrorKind::Unavailable);
        assert_eq!(failure.billed, Billed::Unknown);
    }
    server.abort();
}

#[tokio::test]
async fn a_connection_that_never_stands_costs_nothing() {
    // A listener whose queue is full accepts no more; the kernel drops what comes.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let connect = tokio::net::TcpStream::connect(address);
        waiting.push(tokio::time::timeout(Duration::from_millis(100), connect).await);
    }
    assert!(waiting.iter().any(Result::is_err), "the queue is full");
    let timeouts = Timeouts {
        connect: Duration::from_millis(100),
        ..Timeouts::default()
    };
    let provider = medcards_ai::AnthropicProvider::builder("claude-haiku-4-5")
        .with_base_url(format!("http://{address}"))
        .with_timeouts(timeouts)
        .build()
        .unwrap();
    let provider: &dyn AiProvider = &provider;
    let failure = ask(provider, prompt()).await.failure();
    assert_eq!(failure.billed, Billed::Nothing, "{failure:?}");
    assert!(failure.error.is_retryable());
}

#[tokio::test]
async fn a_server_is_taken_at_its_word_on_whether_to_try_again() {
    use ErrorKind::*;
    for (status, word, kind) in [
        (400, "true", Unavailable),
        (400, "false", Invalid),
        (401, "true", Denied),
        (409, "false", Unexpected),
        (429, "true", RateLimited),
        (429, "false", Denied),
        (500, "false", Unexpected),
        (504, "false", Unexpected),
        (529, "true", Unavailable),
        (529, "false", Unexpected),
        (529, "perhaps", Unavailable),
    ] {
        let answer = Answer::json(status, "{}").with_header("x-should-retry", word);
        let server = Server::start(answer.with_header("retry-after", "7")).await;
        for provider in providers(&server.url) {
            let error = ask(&*provider, prompt()).await.failure().error;
            assert_eq!(error.kind(), kind, "{status} {word}");
            let waits = error.retry_after().is_some();
            assert_eq!(waits, kind.is_transient(), "{status} {word}");
        }
    }
}
