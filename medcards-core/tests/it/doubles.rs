use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use medcards_core::ErrorKind;
use medcards_core::ai::{
    AiEvent, AiProvider, AiRequest, Billed, Prompt, PromptPart, PromptVersion, ReplyEnd,
    StopReason, collect_reply,
};
use medcards_core::memory::MemoryStore;
use medcards_core::spend::{Purpose, TokenUsage};
use medcards_core::testing::{
    FaultPlan, Faulty, Gate, ManualClock, Operation, SAMPLE_START, Script, ScriptedProvider,
    sample_user_id,
};
use medcards_core::time::Clock;
use medcards_core::user::{User, UserKind, UserStore};

fn prompt(text: &str) -> Prompt {
    Prompt {
        version: PromptVersion::new(1),
        instructions: "Be kind.".to_owned(),
        parts: vec![PromptPart::Case(text.to_owned())],
        cache_through: None,
        output_tokens_max: 100,
    }
}

#[test]
fn a_manual_clock_keeps_its_monotonic_time_when_set_back() {
    let clock = ManualClock::default();
    clock.advance(Duration::from_secs(3));
    clock.set(SAMPLE_START - Duration::from_secs(60));
    assert_eq!(clock.monotonic_us(), 3_000_000);
    assert_eq!(clock.now(), SAMPLE_START - Duration::from_secs(60));
}

#[tokio::test]
async fn equal_prompts_get_equal_default_replies() {
    let provider = ScriptedProvider::new();
    let mut texts = Vec::new();
    for text in ["one", "one", "two"] {
        let stream = provider.stream(request(prompt(text))).await.unwrap();
        let reply = collect_reply(stream).await.unwrap();
        assert_eq!(reply.stop, StopReason::Complete);
        assert!(reply.usage.input > 0 && reply.usage.output > 0);
        texts.push(reply.text);
    }
    assert_eq!(texts[0], texts[1]);
    assert_ne!(texts[0], texts[2]);
    assert_eq!(provider.calls(), 3);
    assert_eq!(provider.prompts(), ["one", "one", "two"].map(prompt));
}

#[tokio::test]
async fn a_gate_lets_through_as_many_events_as_it_admits() {
    let (provider, gate) = (ScriptedProvider::new(), Gate::new());
    provider.push(Script::deltas(["a", "b"]).gated(&gate));
    let mut stream = provider.stream(request(prompt(""))).await.unwrap();
    assert!(stream.next().now_or_never().is_none());
    gate.admit(1);
    assert_eq!(
        stream.next().await.unwrap().unwrap(),
        AiEvent::Delta("a".to_owned())
    );
    assert!(stream.next().now_or_never().is_none());
    gate.open();
    assert_eq!(
        stream.next().await.unwrap().unwrap(),
        AiEvent::Delta("b".to_owned())
    );
    let end = stream.next().await.unwrap().unwrap();
    assert!(matches!(
        end,
        AiEvent::End(ReplyEnd {
            stop: StopReason::Complete,
            ..
        })
    ));
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn scripts_fail_end_hang_and_break_off_where_they_say() {
    let provider = ScriptedProvider::new();
    let usage = TokenUsage {
        input: 3,
        output: 4,
        ..TokenUsage::default()
    };
    provider.push(Script::fails(ErrorKind::RateLimited, Billed::Nothing));
    provider.push(Script::deltas(["a"]).then_fails(ErrorKind::Unavailable, Billed::Tokens(usage)));
    provider.push(Script::deltas(["a"]).then_breaks_off());
    provider.push(Script::deltas(["a"]).then_ends(StopReason::MaxTokens, usage));
    provider.push(Script::deltas(["a"]).then_hangs());
    provider.push(Script::hangs());

    let failure = provider.stream(request(prompt(""))).await.err().unwrap();
    assert_eq!(
        (failure.error.kind(), failure.billed),
        (ErrorKind::RateLimited, Billed::Nothing)
    );
    let failure = collect_reply(provider.stream(request(prompt(""))).await.unwrap())
        .await
        .unwrap_err();
    let seen = (failure.error.kind(), failure.billed);
    assert_eq!(seen, (ErrorKind::Unavailable, Billed::Tokens(usage)));
    let failure = collect_reply(provider.stream(request(prompt(""))).await.unwrap())
        .await
        .unwrap_err();
    assert_eq!(
        (failure.error.kind(), failure.billed),
        (ErrorKind::Corrupt, Billed::Unknown)
    );
    let reply = collect_reply(provider.stream(request(prompt(""))).await.unwrap())
        .await
        .unwrap();
    assert_eq!((reply.stop, reply.usage), (StopReason::MaxTokens, usage));
    provider.streams_closed().await;
    let mut stream = provider.stream(request(prompt(""))).await.unwrap();
    assert!(stream.next().await.is_some());
    assert!(stream.next().now_or_never().is_none());
    assert!(provider.streams_closed().now_or_never().is_none());
    drop(stream);
    provider.streams_closed().await;
    assert!(
        provider
            .stream(request(prompt("")))
            .now_or_never()
            .is_none()
    );
    provider.called(6).await;
}

#[tokio::test]
async fn a_plan_fails_loses_hangs_and_passes_on() {
    let plan = FaultPlan::new();
    let store = Faulty::new(MemoryStore::new(), plan.clone());
    let user = User::new(sample_user_id(1), UserKind::Guest, SAMPLE_START);

    plan.fail_next(Operation::EnsureUser, 1, ErrorKind::Full);
    assert_eq!(
        store.ensure_user(user.clone()).await.unwrap_err().kind(),
        ErrorKind::Full
    );
    assert_eq!(store.inner().find_user(user.id).await.unwrap(), None);

    plan.lose_next_reply(Operation::EnsureUser, 1, ErrorKind::Timeout);
    assert_eq!(
        store.ensure_user(user.clone()).await.unwrap_err().kind(),
        ErrorKind::Timeout
    );
    assert_eq!(
        store.inner().find_user(user.id).await.unwrap(),
        Some(user.clone())
    );

    plan.hang_next(Operation::FindUser, 1);
    let mut hanging = store.find_user(user.id);
    assert!((&mut hanging).now_or_never().is_none());
    assert_eq!(store.find_user(user.id).await.unwrap(), Some(user.clone()));
    plan.release();
    assert_eq!(hanging.await.unwrap(), Some(user.clone()));

    plan.fail_every(Operation::FindUser, 3, ErrorKind::Busy);
    let mut fails = Vec::new();
    for _ in 0..6 {
        fails.push(store.find_user(user.id).await.is_err());
    }
    assert_eq!(
        fails,
        [true, false, false, true, false, false],
        "the third and sixth call"
    );
    assert_eq!(plan.calls(Operation::FindUser), 8);
    plan.clear();
    assert_eq!(store.find_user(user.id).await.unwrap(), Some(user));
}

fn request(prompt: Prompt) -> AiRequest {
    AiRequest::new(Purpose::Feedback, prompt)
}
