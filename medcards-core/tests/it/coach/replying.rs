//! Where replies come from, what they cost, and what is shown.

use async_trait::async_trait;
use medcards_core::ErrorKind;
use medcards_core::SharedAnswerId;
use medcards_core::ai::{AiCapability, Billed, PromptPart, StopReason};
use medcards_core::chat::{
    Reusable, ReuseWish, SemanticReuse, SharedAnswer, SharedAnswers, SimilarQuestions,
};
use medcards_core::spend::{MicroDollars, Purpose, SpendBudget, SpendScope, TokenUsage};
use medcards_core::testing::Operation;
use medcards_core::user::Locale;

use super::*;

fn assert_unavailable(turn: &ChatTurn) {
    assert_eq!(origin(turn), TurnOrigin::Unavailable);
    assert!(
        reply(turn).starts_with(PlainChat::UNAVAILABLE),
        "fixed words"
    );
    assert!(
        reply(turn).contains("Sample 1 is explained"),
        "what the author explains"
    );
}

#[tokio::test]
async fn a_question_that_is_declined_costs_nothing() {
    let bench = Bench::new().await;
    let turn = bench.ask("My chest hurts [decline]").await.unwrap();
    assert_eq!(reply(&turn), PlainChat::DECLINED);
    assert_eq!(origin(&turn), TurnOrigin::Declined);
    assert_eq!(turn.reply.as_ref().unwrap().cost, MicroDollars::ZERO);
    assert_eq!(bench.provider.calls(), 0);
    // And the model never reads it later.
    bench.ask("Why?").await.unwrap();
    let prompts = bench.provider.prompts();
    assert!(
        prompts[0]
            .parts
            .iter()
            .all(|part| !part.text().contains("chest"))
    );
}

#[tokio::test(start_paused = true)]
async fn whatever_the_model_does_there_is_a_reply() {
    for (name, script) in [
        ("refused", Script::fails(ErrorKind::Denied, Billed::Nothing)),
        (
            "limited",
            Script::fails(ErrorKind::RateLimited, Billed::Nothing),
        ),
        ("silent", Script::hangs()),
        ("stalled", Script::deltas(["It is "]).then_hangs()),
        ("cut", Script::deltas(["It is "]).then_breaks_off()),
        (
            "failing",
            Script::deltas(["It is "]).then_fails(ErrorKind::Unavailable, Billed::Unknown),
        ),
        ("endless", Script::deltas(vec!["words ".repeat(100); 50])),
    ] {
        let bench = Bench::new().await;
        bench.provider.push(script);
        let stream = bench.coach.ask(bench.user, bench.question("Why?")).await;
        let seen = read(stream.unwrap()).await;
        let turn = seen.turn.unwrap();
        assert_unavailable(&turn);
        assert_eq!(bench.find(turn.id).await, *turn, "{name}");
        assert_eq!(bench.provider.calls(), 1, "{name}");
        // A new turn may ask again.
        assert_eq!(
            origin(&bench.ask("Why?").await.unwrap()),
            TurnOrigin::Live,
            "{name}"
        );
    }
}

#[tokio::test]
async fn without_a_model_the_author_speaks() {
    let bench = Bench::new().await;
    let none = builder(&bench.medcards, &bench.store, &bench.faults);
    let authored = ScriptedProvider::new().with_capability(AiCapability::AUTHORED_ONLY);
    let authored_only = builder(&bench.medcards, &bench.store, &bench.faults);
    for builder in [none, authored_only.ai(Arc::new(authored.clone()))] {
        let coach = builder.build().unwrap();
        let stream = coach.ask(bench.user, bench.question("Why?")).await.unwrap();
        assert_unavailable(&read(stream).await.turn.unwrap());
    }
    assert_eq!(authored.calls(), 0);
}

#[tokio::test]
async fn a_reply_that_must_not_be_shown_is_asked_for_once_more() {
    let bench = Bench::new().await;
    bench
        .provider
        .push(Script::deltas(["It is ", "wrong. [unfit]"]));
    bench.provider.push(Script::deltas(WORDS));
    let stream = bench.coach.ask(bench.user, bench.question("Why?")).await;
    let seen = read(stream.unwrap()).await;
    assert_eq!((seen.text, seen.restarts), (WORDS.concat(), 1));
    let turn = seen.turn.unwrap();
    assert_eq!(origin(&turn), TurnOrigin::Live);
    assert_eq!(bench.provider.calls(), 2);
    assert_eq!(bench.coach.tally().rejected, 1);

    let usage = TokenUsage::default();
    bench.provider.push(Script::deltas(["[unfit]"]));
    bench
        .provider
        .push(Script::deltas(["No."]).then_ends(StopReason::Refusal, usage));
    assert_unavailable(&bench.ask("Why?").await.unwrap());
    assert_eq!(bench.provider.calls(), 4, "and not again and again");
}

#[tokio::test]
async fn what_must_not_be_shown_is_not_shown_while_it_comes() {
    let bench = Bench::new().await;
    let gate = Gate::new();
    let script = Script::deltas(["It is ", "[hide] this", " and this. [unfit]"]);
    bench.provider.push(script.gated(&gate));
    bench.provider.push(Script::deltas(WORDS));
    let mut stream = bench
        .coach
        .ask(bench.user, bench.question("Why?"))
        .await
        .unwrap();
    gate.admit(1);
    let mut seen = Seen::default();
    seen.take(stream.next().await.unwrap().unwrap());
    gate.open();
    while let Some(event) = stream.next().await {
        seen.take(event.unwrap());
        assert!(!seen.text.contains("this"), "{}", seen.text);
    }
    assert_eq!(seen.text, WORDS.concat());
}

#[tokio::test]
async fn a_budget_for_chat_that_is_spent_ends_calls_and_not_replies() {
    let budget = SpendBudget {
        chat_per_day: Some(MicroDollars::new(5_000)),
        ..SpendBudget::default()
    };
    let mut config = CoachConfig::default();
    config.spend_budget = budget;
    let bench = Bench::with(|builder| builder.config(config)).await;
    let mut live = 0;
    for _ in 0..20 {
        let turn = bench.ask("Why?").await.unwrap();
        match origin(&turn) {
            TurnOrigin::Live => live += 1,
            _ => assert_unavailable(&turn),
        }
    }
    assert!((1..20).contains(&live), "{live} of 20 within the budget");
    assert_eq!(bench.provider.calls(), live);
    bench.coach.close(Duration::from_secs(1)).await;

    use medcards_core::spend::SpendLedger;
    let utc = medcards_core::jiff::tz::TimeZone::UTC;
    let day = bench.medcards.now().to_zoned(utc).date();
    let scopes = [
        SpendScope::Purpose(day, Purpose::Chat),
        SpendScope::User(day, bench.user),
        SpendScope::Purpose(day, Purpose::Feedback),
    ];
    let sums = bench.store.sums(&scopes).await.unwrap();
    assert!(sums[0].spent.get() > 0 && sums[0].spent.get() <= 5_000);
    assert_eq!(
        sums[0], sums[1],
        "the student pays for what the coach costs"
    );
    assert_eq!(sums[2].spent, MicroDollars::ZERO);
}

fn shared(bench: &Bench, question: &str, answer: &str) -> SharedAnswer {
    SharedAnswer {
        id: SharedAnswerId::new(bench.medcards.now()),
        case_id: bench.case.id,
        case_version: bench.case.version,
        locale: Locale::ENGLISH,
        question: question.to_owned(),
        answer: answer.to_owned(),
        reviewer: sample_user_id(9),
        reviewed_at: bench.medcards.now(),
    }
}

#[tokio::test]
async fn a_reviewed_answer_to_the_same_question_is_reused() {
    let bench = Bench::new().await;
    let words = "Because the lungs are full of water.";
    let answer = shared(&bench, "Why is furosemide given?", words);
    bench.store.put_shared_answer(&answer).await.unwrap();
    // Off by default.
    assert_eq!(
        origin(&bench.ask("Why give furosemide?").await.unwrap()),
        TurnOrigin::Live
    );

    let reuse = SimilarQuestions::new(Arc::new(bench.store.clone()));
    let coach = builder(&bench.medcards, &bench.store, &bench.faults)
        .ai(Arc::new(bench.provider.clone()))
        .reuse(Arc::new(reuse))
        .build()
        .unwrap();
    let calls = bench.provider.calls();
    for (question, is_reused) in [
        ("Why give furosemide?", true),
        ("Why not give furosemide?", false),
        ("Why give spironolactone?", false),
    ] {
        bench.clock.advance(Duration::from_millis(2));
        let stream = coach
            .ask(bench.user, bench.question(question))
            .await
            .unwrap();
        let turn = read(stream).await.turn.unwrap();
        let reused = (origin(&turn), reply(&turn)) == (TurnOrigin::Reused, words);
        assert_eq!(reused, is_reused, "{question}");
        if is_reused {
            assert_eq!(turn.reply.as_ref().unwrap().cost, MicroDollars::ZERO);
        }
    }
    assert_eq!(bench.provider.calls(), calls + 2);

    // An answer about another version, or in another language, is for nobody here.
    bench.store.remove_shared_answer(answer.id).await.unwrap();
    let version = bench.case.version.next();
    let others = [
        SharedAnswer {
            case_version: version,
            ..answer.clone()
        },
        SharedAnswer {
            locale: "fr".parse().unwrap(),
            id: SharedAnswerId::new(bench.medcards.now()),
            ..answer
        },
    ];
    for other in &others {
        bench.store.put_shared_answer(other).await.unwrap();
    }
    bench.clock.advance(Duration::from_millis(2));
    let stream = coach
        .ask(bench.user, bench.question("Why give furosemide?"))
        .await;
    let turn = read(stream.unwrap()).await.turn.unwrap();
    assert_eq!(origin(&turn), TurnOrigin::Live);

    // Neither is a store of them that is away the end of a chat.
    bench
        .faults
        .fail_next(Operation::ListSharedAnswers, 1, ErrorKind::Unavailable);
    bench.clock.advance(Duration::from_millis(2));
    let stream = coach.ask(bench.user, bench.question("Why?")).await;
    assert_eq!(
        origin(&read(stream.unwrap()).await.turn.unwrap()),
        TurnOrigin::Live
    );
}

/// Takes any answer for any question.
#[derive(Debug)]
struct Careless(SharedAnswer);

impl std::fmt::Display for Careless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Careless")
    }
}

#[async_trait]
impl SemanticReuse for Careless {
    async fn find_reusable(&self, _wish: ReuseWish<'_>) -> Result<Option<Reusable>> {
        let answer = self.0.clone();
        let similarity = 1.0;
        Ok(Some(Reusable { answer, similarity }))
    }
}

#[tokio::test]
async fn an_answer_about_another_case_is_never_reused() {
    let bench = Bench::new().await;
    let foreign = SharedAnswer {
        case_id: medcards_core::CaseId::new(bench.medcards.now()),
        ..shared(&bench, "Why?", "Because.")
    };
    let coach = builder(&bench.medcards, &bench.store, &bench.faults)
        .reuse(Arc::new(Careless(foreign)))
        .build()
        .unwrap();
    let stream = coach.ask(bench.user, bench.question("Why?")).await.unwrap();
    assert_eq!(
        origin(&read(stream).await.turn.unwrap()),
        TurnOrigin::Unavailable
    );
}

#[tokio::test]
async fn a_question_is_sent_as_the_students_words_with_what_was_said_before() {
    let bench = Bench::new().await;
    bench.provider.push(Script::deltas(["Because."]));
    bench.ask("Why?").await.unwrap();
    bench.ask("Since when?").await.unwrap();
    let prompt = bench.provider.prompts().pop().unwrap();
    assert_eq!(prompt.instructions, "Reply.");
    assert_eq!(
        prompt.parts[1..],
        [
            PromptPart::Student("Why?".to_owned()),
            PromptPart::Coach("Because.".to_owned()),
            PromptPart::Student("Since when?".to_owned()),
        ]
    );
}
