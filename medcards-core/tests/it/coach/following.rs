//! Readers who hang up, come back, and come from elsewhere.

use medcards_core::ErrorKind;

use super::*;

#[tokio::test]
async fn a_reply_is_written_although_its_reader_hung_up() {
    let bench = Bench::new().await;
    let gate = Gate::new();
    bench.provider.push(Script::deltas(WORDS).gated(&gate));
    let question = bench.question("Why?");
    let turn_id = question.turn_id.unwrap();
    let mut stream = bench.coach.ask(bench.user, question).await.unwrap();
    gate.admit(1);
    let first = stream.next().await.unwrap().unwrap();
    assert!(matches!(first, ChatEvent::Delta { .. }));
    drop(stream);
    gate.open();
    let followed = bench
        .coach
        .follow(bench.user, turn_id, ChatPlace::START)
        .await;
    let seen = read(followed.unwrap()).await;
    assert_eq!(seen.text, WORDS.concat());
    assert_eq!(bench.provider.calls(), 1);
    bench.provider.streams_closed().await;
}

/// While it is written, after it was, and in another process.
#[tokio::test]
async fn a_reader_goes_on_where_it_was_from_every_place() {
    let text = WORDS.concat();
    let bench = Bench::new().await;
    let gate = Gate::new();
    let script = Script::deltas(WORDS).gated(&gate);
    bench.provider.push(script);
    let question = bench.question("Why?");
    let turn_id = question.turn_id.unwrap();
    let mut stream = bench.coach.ask(bench.user, question).await.unwrap();
    let places: Vec<_> = (0..=text.len())
        .filter(|offset| text.is_char_boundary(*offset))
        .collect();
    let (other, other_provider) = bench.elsewhere();

    // Two of three deltas are there.
    gate.admit(2);
    let mut seen = Seen::default();
    for _ in 0..2 {
        seen.take(stream.next().await.unwrap().unwrap());
    }
    let mut followers = Vec::new();
    for offset in &places {
        let so_far = seen.text.len();
        let from = ChatPlace::after(&text[..*offset]);
        // Nobody can have read more than there is.
        if *offset <= so_far {
            let stream = bench.coach.follow(bench.user, turn_id, from).await.unwrap();
            followers.push((*offset, stream));
        }
        let stream = other.follow(bench.user, turn_id, from).await.unwrap();
        followers.push((*offset, stream));
    }
    gate.open();
    for (offset, stream) in followers {
        let seen = Seen {
            text: text[..offset].to_owned(),
            ..Seen::default()
        };
        let seen = seen.read_to_end(stream).await;
        assert_eq!(
            (seen.text.as_str(), seen.restarts),
            (text.as_str(), 0),
            "from {offset}"
        );
        let added: usize = seen.places.len();
        assert_eq!(added == 0, offset == text.len(), "only what is new is sent");
        if let Some(last) = seen.places.last() {
            assert_eq!(*last, ChatPlace::after(&text));
        }
    }
    for coach in [&bench.coach, &other] {
        for offset in &places {
            let from = ChatPlace::after(&text[..*offset]);
            let stream = coach.follow(bench.user, turn_id, from).await.unwrap();
            let seen = Seen {
                text: text[..*offset].to_owned(),
                ..Seen::default()
            };
            assert_eq!(seen.read_to_end(stream).await.restarts, 0, "from {offset}");
        }
    }
    assert_eq!((bench.provider.calls(), other_provider.calls()), (1, 0));
}

#[tokio::test]
async fn who_read_other_words_begins_anew() {
    let bench = Bench::new().await;
    bench.provider.push(Script::deltas(WORDS));
    let turn = bench.ask("Why?").await.unwrap();
    for read_before in ["It was ", "It is the größte potassium. And more.", "x"] {
        let from = ChatPlace::after(read_before);
        let stream = bench.coach.follow(bench.user, turn.id, from).await.unwrap();
        let seen = Seen {
            text: read_before.to_owned(),
            ..Seen::default()
        };
        let seen = seen.read_to_end(stream).await;
        assert_eq!(
            (seen.text, seen.restarts),
            (WORDS.concat(), 1),
            "{read_before}"
        );
    }
}

/// Each place that a stream gave is one from which the rest can be had.
#[tokio::test]
async fn every_place_of_a_stream_leads_on() {
    let bench = Bench::new().await;
    let turn = bench.ask("Why?").await.unwrap();
    let whole = reply(&turn).to_owned();
    let stream = bench
        .coach
        .follow(bench.user, turn.id, ChatPlace::START)
        .await;
    for place in read(stream.unwrap()).await.places {
        let text = place.to_string();
        let stream = bench
            .coach
            .follow(bench.user, turn.id, text.parse().unwrap())
            .await;
        let seen = Seen {
            text: whole[..place.offset()].to_owned(),
            ..Seen::default()
        };
        assert_eq!(seen.read_to_end(stream.unwrap()).await.restarts, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_another_process_waits_for_the_whole() {
    let bench = Bench::new().await;
    let gate = Gate::new();
    bench.provider.push(Script::deltas(WORDS).gated(&gate));
    let question = bench.question("Why?");
    let here = bench.coach.ask(bench.user, question.clone()).await.unwrap();
    let (other, other_provider) = bench.elsewhere();
    let there = other.ask(bench.user, question).await.unwrap();
    let reading = tokio::spawn(read(there));
    gate.admit(2);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!reading.is_finished());
    gate.open();
    assert_eq!(reading.await.unwrap().turn, read(here).await.turn);
    assert_eq!(other_provider.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn too_many_who_wait_for_another_process_are_asked_to_come_again() {
    let mut config = CoachConfig::default();
    config.polls_max = 1;
    let bench = Bench::with(|builder| builder.config(config)).await;
    let (other, other_provider) = bench.elsewhere();
    let gate = Gate::new();
    other_provider.push(Script::deltas(WORDS).gated(&gate));
    let question = bench.question("Why?");
    let there = other.ask(bench.user, question.clone()).await.unwrap();
    let first = tokio::spawn(read(
        bench.coach.ask(bench.user, question.clone()).await.unwrap(),
    ));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut second = bench.coach.ask(bench.user, question.clone()).await.unwrap();
    let error = second.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(second.next().await.is_none());
    gate.open();
    assert_eq!(first.await.unwrap().turn, read(there).await.turn);
    let third = bench.coach.ask(bench.user, question).await.unwrap();
    assert_eq!(read(third).await.text, WORDS.concat());
}

#[tokio::test(start_paused = true)]
async fn a_chat_that_is_forgotten_stays_forgotten() {
    let bench = Bench::new().await;
    let gate = Gate::new();
    bench.provider.push(Script::deltas(WORDS).gated(&gate));
    let question = bench.question("Why?");
    let turn_id = question.turn_id.unwrap();
    let here = bench.coach.ask(bench.user, question.clone()).await.unwrap();
    let (other, _) = bench.elsewhere();
    let mut there = other.ask(bench.user, question).await.unwrap();
    assert_eq!(
        bench.coach.forget(bench.user, bench.answer).await.unwrap(),
        1
    );
    gate.open();
    // Whoever reads it already reads it to its end.
    assert_eq!(read(here).await.text, WORDS.concat());
    let error = there.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let found = bench.coach.turn(bench.user, turn_id).await;
    assert_eq!(found.unwrap_err().kind(), ErrorKind::NotFound);
}
