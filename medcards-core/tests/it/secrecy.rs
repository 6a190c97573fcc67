//! What a student wrote, or was told, is in no `Debug` output: that is what ends up in logs.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use medcards_core::ai::{
    AiEvent, AiRequest, PersonalContext, Prompt, PromptPart, PromptVersion, Reply, StopReason,
};
use medcards_core::feedback::{
    Feedback, FeedbackEvent, FeedbackRequest, Origin, Personal, RequestAudience, ReviewState,
};
use medcards_core::spend::{MicroDollars, Purpose, TokenUsage};
use medcards_core::testing::{sample_case, sample_key, sample_user_id};

const WORDS: &str = "zebra@example.org";

fn check(value: &dyn Debug) {
    for printed in [format!("{value:?}"), format!("{value:#?}")] {
        assert!(!printed.contains("zebra"), "{printed}");
        assert!(!printed.is_empty());
    }
}

#[test]
fn nothing_that_carries_words_of_a_student_says_them() {
    let context = PersonalContext {
        user_id: sample_user_id(1),
        text: WORDS.to_owned(),
    };
    check(&context);
    check(&FeedbackRequest {
        key: sample_key(1),
        case: Arc::new(sample_case(1)),
        audience: RequestAudience::Personal(context),
        payer: None,
    });
    for part in [
        PromptPart::Case(WORDS.to_owned()),
        PromptPart::Coach(WORDS.to_owned()),
        PromptPart::Student(WORDS.to_owned()),
    ] {
        check(&part);
        let prompt = Prompt {
            version: PromptVersion::new(1),
            instructions: WORDS.to_owned(),
            parts: vec![part],
            cache_through: None,
            output_tokens_max: 1,
        };
        check(&AiRequest::new(Purpose::Feedback, prompt.clone()));
        check(&prompt);
    }
    check(&AiEvent::Delta(WORDS.to_owned()));
    check(&Reply {
        text: WORDS.to_owned(),
        stop: StopReason::Complete,
        usage: TokenUsage::default(),
        model: "m".parse().unwrap(),
        cost: MicroDollars::ZERO,
    });
    check(&FeedbackEvent::Delta(WORDS.into()));
    check(&Feedback::<Personal> {
        text: WORDS.to_owned(),
        origin: Origin::Live,
        model: None,
        prompt_version: None,
        review: ReviewState::Unreviewed,
        cost: MicroDollars::ZERO,
        written_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        audience: PhantomData,
    });
}
