//! Personal feedback: for one student, made for one wish, kept nowhere.

use medcards_core::ErrorKind;
use medcards_core::ai::{Billed, PersonalContext, PromptPart};
use medcards_core::feedback::{FeedbackRequest, RequestAudience, Tier};
use medcards_core::testing::{Operation, Script, sample_user_id};

use super::Bench;

fn personal(bench: &Bench, user: u32, text: &str) -> FeedbackRequest {
    let context = PersonalContext {
        user_id: sample_user_id(user),
        text: text.to_owned(),
    };
    FeedbackRequest {
        audience: RequestAudience::Personal(context),
        payer: None,
        ..bench.request(1)
    }
}

#[tokio::test]
async fn it_is_made_anew_for_each_wish_and_kept_in_no_tier() {
    let bench = Bench::new().await;
    for user in 0..3 {
        bench
            .provider
            .push(Script::deltas([format!("for student {user}")]));
        let request = personal(&bench, user, "I always confuse these");
        let resolution = bench.resolver.resolve(&request).await;
        assert_eq!(resolution.text(), format!("for student {user}"));
        assert!(resolution.is_personal() && resolution.entry().is_none());
    }
    assert_eq!(bench.provider.calls(), 3);
    assert!(!bench.is_cached(1));
    for operation in [
        Operation::CachePut,
        Operation::PutFeedback,
        Operation::CacheGetLocal,
    ] {
        assert_eq!(bench.faults.calls(operation), 0, "{operation:?}");
    }
}

#[tokio::test]
async fn shared_feedback_is_made_without_knowing_of_any_student() {
    let bench = Bench::new().await;
    bench.resolver.resolve(&personal(&bench, 1, "zebra")).await;
    bench.resolve(1).await;
    let prompts = bench.provider.prompts();
    let speaks = |at: usize| {
        prompts[at]
            .parts
            .iter()
            .any(|p| matches!(p, PromptPart::Student(_)))
    };
    assert!(speaks(0) && !speaks(1));
    assert!(!format!("{prompts:?}").contains("zebra"), "nor does a log");
}

#[tokio::test]
async fn without_a_model_what_anyone_may_see_is_served() {
    let bench = Bench::new().await;
    bench.provider.push(Script::deltas(["for anyone"]));
    bench.resolve(1).await;
    bench.settled().await;
    bench
        .provider
        .push(Script::fails(ErrorKind::Unavailable, Billed::Nothing));
    let resolution = bench.resolver.resolve(&personal(&bench, 1, "why?")).await;
    assert_eq!(
        (resolution.tier(), resolution.text()),
        (Tier::Local, "for anyone")
    );
    assert!(!resolution.is_personal());
}
