//! Which questions are taken, and what asking again does.

use medcards_core::ErrorKind;
use medcards_core::chat::{QUESTION_LEN_MAX, TURN_AGE_MAX, TURN_SKEW_MAX};
use medcards_core::testing::{Operation, sample_user_id};

use super::*;

#[tokio::test]
async fn a_question_gets_the_words_of_the_model() {
    let bench = Bench::new().await;
    bench.provider.push(Script::deltas(WORDS));
    let turn = bench.ask("Why?").await.unwrap();
    assert_eq!(reply(&turn), WORDS.concat());
    assert_eq!(origin(&turn), TurnOrigin::Live);
    let kept = bench.find(turn.id).await;
    assert_eq!(kept, *turn, "what was shown is what is kept");
    assert_eq!(kept.question, "Why?");
    assert!(kept.reply.unwrap().cost.get() > 0);
}

#[tokio::test]
async fn words_that_are_no_question_are_refused() {
    let bench = Bench::new().await;
    let too_long = "x".repeat(QUESTION_LEN_MAX + 1);
    for text in ["", " \n\t", "a\0b", "\u{1b}[31m", &too_long] {
        let error = bench.ask(text).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{} bytes", text.len());
    }
    let longest = "x".repeat(QUESTION_LEN_MAX);
    assert_eq!(
        origin(&bench.ask(&longest).await.unwrap()),
        TurnOrigin::Live
    );
    assert_eq!(bench.provider.calls(), 1);
}

#[tokio::test]
async fn an_answer_of_another_student_does_not_exist() {
    let bench = Bench::new().await;
    let stranger = sample_user_id(2);
    let asked = bench.coach.ask(stranger, bench.question("Why?")).await;
    assert_eq!(asked.err().unwrap().kind(), ErrorKind::NotFound);
    let unknown = ChatQuestion {
        answer_id: AnswerId::new(bench.medcards.now()),
        ..bench.question("Why?")
    };
    let asked = bench.coach.ask(bench.user, unknown).await;
    assert_eq!(asked.err().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(bench.provider.calls(), 0);
}

#[tokio::test]
async fn a_turn_of_another_student_does_not_exist() {
    let bench = Bench::new().await;
    let turn = bench.ask("Why?").await.unwrap();
    let stranger = sample_user_id(2);
    let found = bench.coach.turn(stranger, turn.id).await;
    assert_eq!(found.unwrap_err().kind(), ErrorKind::NotFound);
    let followed = bench
        .coach
        .follow(stranger, turn.id, ChatPlace::START)
        .await;
    assert_eq!(followed.err().unwrap().kind(), ErrorKind::NotFound);
    let listed = bench
        .coach
        .turns(stranger, bench.answer, None, Default::default())
        .await;
    assert_eq!(listed.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(bench.coach.forget(stranger, bench.answer).await.unwrap(), 0);
    assert_eq!(bench.find(turn.id).await, *turn);
}

#[tokio::test]
async fn an_id_must_be_fresh_unless_it_is_known() {
    let bench = Bench::new().await;
    let now = bench.medcards.now();
    let second = Duration::from_secs(1);
    let id = |at| Some(TurnId::new(at));
    for (turn_id, is_taken) in [
        (id(now - TURN_AGE_MAX - second), false),
        (id(now - TURN_AGE_MAX + second), true),
        (id(now + TURN_SKEW_MAX), true),
        (id(now + TURN_SKEW_MAX + second), false),
        (Some(TurnId::from_bytes([7; 16])), false),
        (None, true),
    ] {
        let question = ChatQuestion {
            turn_id,
            ..bench.question("Why?")
        };
        let asked = bench.coach.ask(bench.user, question).await;
        match asked {
            Ok(stream) => drop(read(stream).await),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Invalid),
        }
        if let Some(turn_id) = turn_id {
            let found = bench.coach.turn(bench.user, turn_id).await;
            assert_eq!(found.is_ok(), is_taken, "{turn_id}");
        }
    }
    let question = bench.question("Why now?");
    let first = read(bench.coach.ask(bench.user, question.clone()).await.unwrap()).await;
    bench.clock.advance(TURN_AGE_MAX * 2);
    let again = read(bench.coach.ask(bench.user, question).await.unwrap()).await;
    assert_eq!(again.turn, first.turn);
}

#[tokio::test]
async fn the_same_id_again_gives_the_reply_and_costs_nothing() {
    let bench = Bench::new().await;
    let question = bench.question("Why?");
    let first = read(bench.coach.ask(bench.user, question.clone()).await.unwrap()).await;
    let (other_process, other_provider) = bench.elsewhere();
    for coach in [&bench.coach, &other_process] {
        let again = read(coach.ask(bench.user, question.clone()).await.unwrap()).await;
        assert_eq!(again.turn, first.turn);
    }
    assert_eq!((bench.provider.calls(), other_provider.calls()), (1, 0));
}

#[tokio::test]
async fn an_id_that_was_used_for_another_question_is_refused() {
    let bench = Bench::new().await;
    let question = bench.question("Why?");
    read(bench.coach.ask(bench.user, question.clone()).await.unwrap()).await;
    let other = ChatQuestion {
        text: "How?".to_owned(),
        ..question
    };
    let asked = bench.coach.ask(bench.user, other).await;
    assert_eq!(asked.err().unwrap().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn of_many_who_ask_at_once_one_makes_the_call() {
    let bench = Bench::new().await;
    let gate = Gate::new();
    bench.provider.push(Script::deltas(WORDS).gated(&gate));
    let question = bench.question("Why?");
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(bench.coach.ask(bench.user, question.clone()).await.unwrap());
    }
    gate.open();
    for stream in streams {
        let seen = read(stream).await;
        assert_eq!((seen.text, seen.restarts), (WORDS.concat(), 0));
    }
    assert_eq!(bench.provider.calls(), 1);
}

#[tokio::test]
async fn beyond_the_turns_allowed_a_question_is_asked_to_come_again() {
    let mut config = CoachConfig::default();
    config.turns_max = 1;
    let bench = Bench::with(|builder| builder.config(config)).await;
    let gate = Gate::new();
    bench.provider.push(Script::deltas(WORDS).gated(&gate));
    let first = bench.question("Why?");
    let stream = bench.coach.ask(bench.user, first.clone()).await.unwrap();
    bench.provider.called(1).await;

    let second = bench.question("How?");
    let refused = bench
        .coach
        .ask(bench.user, second.clone())
        .await
        .err()
        .unwrap();
    assert_eq!(refused.kind(), ErrorKind::Busy);
    assert!(refused.retry_after().is_some());
    let found = bench.coach.turn(bench.user, second.turn_id.unwrap()).await;
    assert_eq!(
        found.unwrap_err().kind(),
        ErrorKind::NotFound,
        "nothing was begun"
    );

    // What is under way can be joined all the same.
    let joined = bench.coach.ask(bench.user, first).await.unwrap();
    gate.open();
    assert_eq!(read(stream).await.turn, read(joined).await.turn);
    let stream = bench.coach.ask(bench.user, second).await.unwrap();
    assert_eq!(origin(&read(stream).await.turn.unwrap()), TurnOrigin::Live);
}

#[tokio::test]
async fn a_store_that_cannot_begin_a_turn_makes_no_call() {
    let bench = Bench::new().await;
    bench
        .faults
        .fail_next(Operation::BeginTurn, 1, ErrorKind::Unavailable);
    let error = bench.ask("Why?").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(bench.provider.calls(), 0);
}

/// The turn exists then, though nobody was told.
#[tokio::test]
async fn a_beginning_that_was_lost_on_the_way_is_followed() {
    let mut config = CoachConfig::default();
    config.broken_after = config.reply_deadline;
    let bench = Bench::with(|builder| builder.config(config.clone())).await;
    bench
        .faults
        .lose_next_reply(Operation::BeginTurn, 1, ErrorKind::Timeout);
    let question = bench.question("Why?");
    let asked = bench.coach.ask(bench.user, question.clone()).await;
    assert_eq!(asked.err().unwrap().kind(), ErrorKind::Timeout);
    bench
        .clock
        .advance(config.broken_after + Duration::from_secs(1));
    let seen = read(bench.coach.ask(bench.user, question).await.unwrap()).await;
    assert_eq!(seen.turn.unwrap().attempt, 2);
}

#[tokio::test]
async fn a_closed_coach_takes_no_questions_and_still_shows_replies() {
    let bench = Bench::new().await;
    let turn = bench.ask("Why?").await.unwrap();
    bench.coach.close(Duration::from_secs(1)).await;
    let error = bench.ask("How?").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let followed = bench
        .coach
        .follow(bench.user, turn.id, ChatPlace::START)
        .await;
    assert_eq!(read(followed.unwrap()).await.turn.unwrap(), turn);
}
