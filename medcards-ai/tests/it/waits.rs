//! No wait is for ever. Time is paused once the call waits, so that it passes at once.

use futures_util::StreamExt;
use medcards_core::ErrorKind;
use medcards_core::ai::{AiEvent, Billed};

use crate::sample::{prompt, providers, request};
use crate::server::{Answer, End, Server};
use crate::streams::{ANTHROPIC, OPENAI};

#[tokio::test]
async fn a_server_that_never_begins_to_answer_is_given_up() {
    for which in 0..2 {
        let server = Server::start(Answer::events([]).with_end(End::NoHead)).await;
        let [anthropic, openai] = providers(&server.url);
        let provider = [anthropic, openai].into_iter().nth(which).unwrap();
        let call = tokio::spawn(async move { provider.stream(request(prompt())).await.map(drop) });
        server.written.notified().await;
        let before = tokio::time::Instant::now();
        tokio::time::pause();
        let failure = call.await.unwrap().unwrap_err();
        assert_eq!(failure.error.kind(), ErrorKind::Timeout);
        assert_eq!(failure.billed, Billed::Unknown);
        assert!(
            before.elapsed().as_secs() <= 61,
            "after the first-byte timeout"
        );
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_stream_that_stalls_is_given_up() {
    for which in 0..2 {
        let body = [ANTHROPIC, OPENAI][which];
        let half = &body[..body.find(" is tempting").unwrap() + 40];
        let server = Server::start(Answer::events(half).with_end(End::Silence)).await;
        let mut events = providers(&server.url)[which]
            .stream(request(prompt()))
            .await
            .unwrap();
        let first = events.next().await.unwrap().unwrap();
        assert_eq!(first, AiEvent::Delta("Spironolactone".to_owned()));
        let before = tokio::time::Instant::now();
        tokio::time::pause();
        let failure = loop {
            match events.next().await.unwrap() {
                Ok(event) => assert!(matches!(event, AiEvent::Delta(_))),
                Err(failure) => break failure,
            }
        };
        assert_eq!(failure.error.kind(), ErrorKind::Timeout);
        assert_eq!(failure.billed, Billed::Unknown);
        assert!(
            before.elapsed().as_secs() <= 31,
            "after the time between bytes"
        );
        assert!(events.next().await.is_none());
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_document_that_stalls_is_given_up() {
    for which in 0..2 {
        let server = Server::start(Answer::json(200, "{").with_end(End::Silence)).await;
        let provider = providers(&server.url).into_iter().nth(which).unwrap();
        let call = tokio::spawn(async move { provider.stream(request(prompt())).await.map(drop) });
        server.written.notified().await;
        tokio::time::pause();
        let failure = call.await.unwrap().unwrap_err();
        assert_eq!(failure.error.kind(), ErrorKind::Timeout);
        assert_eq!(failure.billed, Billed::Unknown);
        tokio::time::resume();
    }
}

#[tokio::test]
async fn an_error_whose_body_stalls_is_still_that_error() {
    for which in 0..2 {
        let server = Server::start(Answer::json(529, "{").with_end(End::Silence)).await;
        let provider = providers(&server.url).into_iter().nth(which).unwrap();
        let call = tokio::spawn(async move { provider.stream(request(prompt())).await.map(drop) });
        server.written.notified().await;
        tokio::time::pause();
        let failure = call.await.unwrap().unwrap_err();
        assert_eq!(failure.error.kind(), ErrorKind::Unavailable);
        assert_eq!(failure.billed, Billed::Nothing);
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_dropped_stream_closes_its_connection() {
    for which in 0..2 {
        let body = [ANTHROPIC, OPENAI][which];
        let half = &body[..body.find(" is tempting").unwrap()];
        let server = Server::start(Answer::events(half).with_end(End::Silence)).await;
        let mut events = providers(&server.url)[which]
            .stream(request(prompt()))
            .await
            .unwrap();
        events.next().await.unwrap().unwrap();
        drop(events);
        let limit = std::time::Duration::from_secs(10);
        tokio::time::timeout(limit, server.hung_up.notified())
            .await
            .unwrap();
    }
}
