use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use medcards_ai::layer::{Deadline, DeadlineConfig};
use medcards_core::ErrorKind;
use medcards_core::ai::{AiEvent, AiProvider, Billed};
use medcards_core::testing::{Gate, Script};
use tokio::time::{Instant, advance};

use super::{Double, ask, request};

const CONFIG: DeadlineConfig = DeadlineConfig {
    first_event: Duration::from_secs(10),
    between_events: Duration::from_secs(15),
    total: Duration::from_secs(45),
};

#[tokio::test(start_paused = true)]
async fn a_call_or_a_stream_that_never_begins_is_given_up() {
    for script in [Script::hangs(), Script::deltas([""; 0]).then_hangs()] {
        let double = Double::new();
        double.scripted.push(script);
        let began = Instant::now();
        let failure = ask(&Deadline::new(double, CONFIG)).await.unwrap_err();
        assert_eq!(failure.error.kind(), ErrorKind::Timeout);
        assert_eq!((failure.billed, failure.refusal), (Billed::Unknown, None));
        assert_eq!(began.elapsed().as_secs(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_the_call_counts_in_the_wait_for_the_first_word() {
    let double = Double::new();
    double.delay(Duration::from_secs(9));
    double.scripted.push(Script::deltas([""; 0]).then_hangs());
    let began = Instant::now();
    let failure = ask(&Deadline::new(double, CONFIG)).await.unwrap_err();
    assert_eq!(failure.error.kind(), ErrorKind::Timeout);
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_stalls_is_given_up_and_dropped() {
    let double = Double::new();
    double
        .scripted
        .push(Script::deltas(["It is "]).then_hangs());
    let provider = Deadline::new(Arc::clone(&double), CONFIG);
    let mut stream = provider.stream(request()).await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!(first, AiEvent::Delta("It is ".to_owned()));
    let began = Instant::now();
    let failure = stream.next().await.unwrap().unwrap_err();
    assert_eq!(failure.error.kind(), ErrorKind::Timeout);
    assert_eq!(failure.billed, Billed::Unknown);
    assert_eq!(began.elapsed().as_secs(), 15);
    double.scripted.streams_closed().await;
    assert!(stream.next().await.is_none(), "nothing comes after it");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_moves_for_ever_is_given_up_in_the_end() {
    let double = Double::new();
    let gate = Gate::new();
    double
        .scripted
        .push(Script::deltas(["word "; 100]).gated(&gate));
    let provider = Deadline::new(double, CONFIG);
    let mut stream = provider.stream(request()).await.unwrap();
    let (began, mut words) = (Instant::now(), 0);
    let failure = loop {
        gate.admit(1);
        match stream.next().await.unwrap() {
            Ok(_) => words += 1,
            Err(failure) => break failure,
        }
        advance(Duration::from_secs(4)).await;
    };
    assert_eq!(failure.error.kind(), ErrorKind::Timeout);
    assert_eq!((began.elapsed().as_secs(), words), (48, 12));
}

#[tokio::test(start_paused = true)]
async fn a_reply_in_time_is_left_as_it_is() {
    let double = Double::new();
    double.delay(Duration::from_secs(9));
    let expected = ask(&double).await.unwrap();
    assert_eq!(ask(&Deadline::new(double, CONFIG)).await.unwrap(), expected);
}
